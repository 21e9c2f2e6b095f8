"""Points at which a test may kill or delay this very process; without AWM_FAULT nothing at all happens there.

A point stands before and after each effect that matters, and is named for it: `store.save:before-journal`. AWM_FAULT is
read once, at import; supervisors inherit it, agents do not (SPEC 8.5). It is one of

    seed=17 among=store kill=0.04 pause=0.05 pause_seconds=0.02 log=PATH    any passage may kill or pause, by chance
    at=NAME do=kill|pause|stop nth=1 pause_seconds=0.02 log=PATH            the nth passage of one point, in a process

`among` is how the names begin that are meant, all without it.

What a passage draws depends on the seed, on the process's place among those that came to a point, and on how many it
has passed. Which process comes first is up to the kernel: one seed gives runs that are alike, not the same.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import time

_SETTING = os.environ.get("AWM_FAULT", "")
_FORM = re.compile(r"(?=.*\blog=\S)(?=.*\b(?:seed=\S|at=\S.*\bdo=(?:kill|pause|stop)\b))(?:\w+=\S*(?: |$))+")
_PAUSE_SECONDS = "0.02"
_places: dict[int, int] = {}  # by pid: a forked child shall not repeat its parent's draws
_passed: dict[str, int] = {}  # by point; "" counts all


if _SETTING and not _FORM.fullmatch(_SETTING):
    print("awm: AWM_FAULT is for tests, and this is none of its forms\nhint: unset AWM_FAULT", file=sys.stderr)  # noqa: T201
    sys.exit(78)


def point(name: str) -> None:
    """Pass the point `name`. Where AWM_FAULT says so, this process ends here by SIGKILL, waits, or stops itself."""
    if _SETTING:
        _strike(dict(part.split("=", 1) for part in _SETTING.split()), name)


def _strike(wanted: dict[str, str], name: str) -> None:
    """What is done is appended to the log first, as "name mode", in one write."""
    for counted in ("", name):
        _passed[counted] = _passed.get(counted, 0) + 1
    mode = _directed(wanted, name) if "at" in wanted else _drawn(wanted, name)
    if not mode:
        return
    _append(wanted["log"], f"{name} {mode}\n")
    if mode == "pause":
        time.sleep(float(wanted.get("pause_seconds", _PAUSE_SECONDS)))
    else:
        os.kill(os.getpid(), signal.SIGSTOP if mode == "stop" else signal.SIGKILL)


def _directed(wanted: dict[str, str], name: str) -> str:
    return wanted["do"] if name == wanted["at"] and _passed[name] == int(wanted.get("nth", "1")) else ""


def _drawn(wanted: dict[str, str], name: str) -> str:
    import random  # noqa: PLC0415  nobody's but a test's

    if not name.startswith(wanted.get("among", "")):
        return ""
    pid = os.getpid()
    if pid not in _places:
        _places[pid] = _append(f"{wanted['log']}.places", ".")
    drawn = random.Random(f"{wanted['seed']} {_places[pid]} {_passed['']}").random()  # noqa: S311  faults, not secrets
    kill = float(wanted.get("kill", "0"))
    if drawn < kill:
        return "kill"
    return "pause" if drawn < kill + float(wanted.get("pause", "0")) else ""


def _append(path: str, text: str) -> int:
    """By O_APPEND, in one write; returns where it ended. Nothing stays open: children close what they do not know."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, text.encode())
        return os.lseek(fd, 0, os.SEEK_CUR)
    finally:
        os.close(fd)
