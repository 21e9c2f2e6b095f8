"""What figures depend on: the machine and the versions, and nothing that tells whose machine it is."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import tempfile
from importlib.metadata import version
from pathlib import Path

import gap
import peers

UNKNOWN = "unknown"


def facts() -> dict[str, str]:
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace"))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cores": f"{os.cpu_count()} x {cpu[1] if cpu else platform.machine()}",
        "memory": f"{memory:.0f} GiB",
        "kernel": platform.release().partition("-")[0],
        "filesystem": _said("stat", "-f", "-c", "%T", tempfile.gettempdir()),
        "python": platform.python_version(),
    }


def versions(checkout: Path) -> dict[str, str]:
    """Of AWM, with its commit, and of all that is compared; "none" of what is not installed."""
    found = re.search(r'^__version__ = "(.*)"', (checkout / "awm_loop" / "__init__.py").read_text(), re.M)
    own = ("--", "awm_loop", "heartbeat.py")
    commit = _said("git", "-C", str(checkout), "log", "-1", "--format=%h", *own)
    changed = _said("git", "-C", str(checkout), "diff", "--stat", "HEAD", *own)
    return {
        "awm": f"{found[1] if found else 'unknown'} ({commit}{' and changes' if changed != UNKNOWN else ''})",
        "pydantic": version("pydantic"),
        "git": _said("git", "--version"),
        "systemd": _said("systemctl", "--version") if gap.can_have_units() else "none",
        **{name: "none" if name in peers.missing() else _said(*words) for name, words in peers.VERSIONS.items()},
    }


def _said(*command: str) -> str:
    """The version, or else the first line, that a command prints."""
    if not shutil.which(command[0]):
        return UNKNOWN
    lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    number = re.search(r"\bv?(\d+(?:\.\d+)+[\w.+~-]*|\d{8})", lines[0]) if lines else None
    return number[1] if number else (lines or [UNKNOWN])[0]
