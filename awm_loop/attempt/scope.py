"""Take a supervisor out of the control group of the service that started it, into a scope of its own (SPEC 8.2).

A service's control group is what `systemctl stop` ends, and what a one-shot's end ends unless its unit says otherwise
(docs/decisions/0005). A scope is not the service's any more: only its own end, the manager's or the machine's takes it.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import time
from pathlib import Path

PATIENCE_SECONDS = 2.0  # with a manager that does not answer: the session alone must do then
NAME_CHARS_MAX = 32
_MANAGER = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager")


def home_name(home: Path) -> str:
    """What units of this home are called: `awm-sprints-1a2b3c4d`, so that homes of one name can live side by side."""
    name = re.sub(r"[^A-Za-z0-9]+", "-", home.name)[:NAME_CHARS_MAX].strip("-") or "home"
    return f"awm-{name}-{hashlib.sha256(os.fsencode(home)).hexdigest()[:8]}"


def enter(home: Path, key: str, pid: int) -> None:
    """Move process `pid` into the scope of attempt `key`. The unit is gone when the last process in it has ended.

    Nothing happens outside of a service; where the manager does not answer or refuses, all stays as it was. Measured:
    12 ms, once for a chain of attempts.
    """
    group = _group(pid)
    if not group.endswith(".service"):
        return
    is_users = "/user@" in group
    if not is_users and os.geteuid() != 0:
        return  # the system's manager would refuse, or ask somebody for a password
    call = ["busctl", "--user" if is_users else "--system", "--quiet", "--allow-interactive-authorization=no", "call"]
    properties = ["PIDs", "au", "1", str(pid), "CollectMode", "s", "inactive-or-failed"]
    scope = f"{home_name(home)}-{key}.scope"
    request = [*call, *_MANAGER, "StartTransientUnit", "ssa(sv)a(sa(sv))", scope, "fail", "2", *properties, "0"]
    nowhere = subprocess.DEVNULL
    try:
        done = subprocess.run(
            request, stdin=nowhere, stdout=nowhere, stderr=nowhere, timeout=PATIENCE_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return
    deadline = time.monotonic() + PATIENCE_SECONDS
    while done.returncode == 0 and _group(pid) == group and time.monotonic() < deadline:
        time.sleep(0.001)  # the answer may come before the move


def _group(pid: int) -> str:
    """The path of systemd's control group `pid` is in, "" where there is none."""
    try:
        text = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8", errors="backslashreplace")
    except OSError:
        return ""
    found = re.findall(r"^(?:0:|\d+:name=systemd):(.*)$", text, re.M)
    return max(found, key=len, default="")
