"""What /proc says about processes. They come and go between two reads, and every answer allows for that.

Plain reads and not psutil: the start time in ticks, environments and open files are what proves a process ours
(SPEC 15.9), and psutil tells the start time by the wall clock. One process costs about 20 microseconds.
"Gone" and "not ours to read" are answers (None, or left out); any other error of the kernel (EMFILE, ENOMEM) is raised,
because a look that failed must never read as "nothing is there" (SPEC 7.3).
"""

from __future__ import annotations

import contextlib
import os
import platform
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

UNREADABLE = (FileNotFoundError, ProcessLookupError, PermissionError)


class Doing(StrEnum):
    """What a process is at, in plain words. The earlier, the better it explains an attempt that does not get on."""

    STOPPED = "is stopped, by a signal or a debugger"
    COMPUTING = "computes"
    STDIN = "waits for input on stdin"
    FILE_LOCK = "waits for a file lock that another process holds"
    DISK = "hangs in the kernel, on a disk or a network file system"
    NETWORK = "waits for the network"
    SLEEPING = "sleeps"
    PIPE = "waits for the output of another process"
    THREADS = "waits for a lock or for another of its threads"
    EVENTS_AND_NETWORK = "waits for events and has network connections open"
    EVENTS = "waits for events"
    UNKNOWN = "waits in the kernel"
    CHILDREN = "waits for its children"
    ENDED = "has ended"


# The system calls a process can wait in for long, as the kernel numbers them on this machine.
CALLS: Mapping[int, Doing | str] = {
    "x86_64": {
        **dict.fromkeys((0, 19, 45, 47), "read"),
        **dict.fromkeys((7, 23, 34, 43, 128, 130, 232, 270, 271, 281, 288, 441), Doing.EVENTS),
        **dict.fromkeys((35, 230), Doing.SLEEPING),
        **dict.fromkeys((61, 247), Doing.CHILDREN),
        **dict.fromkeys((72, 73), Doing.FILE_LOCK),
        42: Doing.NETWORK,
        202: Doing.THREADS,
    },
    "aarch64": {
        **dict.fromkeys((63, 65, 207, 212), "read"),
        **dict.fromkeys((22, 72, 73, 133, 137, 202, 242, 441), Doing.EVENTS),
        **dict.fromkeys((101, 115), Doing.SLEEPING),
        **dict.fromkeys((95, 260), Doing.CHILDREN),
        **dict.fromkeys((25, 32), Doing.FILE_LOCK),
        203: Doing.NETWORK,
        98: Doing.THREADS,
    },
}.get(platform.machine(), {})
STATES = {"T": Doing.STOPPED, "t": Doing.STOPPED, "R": Doing.COMPUTING, "D": Doing.DISK}


class Identity(NamedTuple):
    """One process of this boot, for ever: `starttime` is in clock ticks since boot, so no clock jump moves it."""

    pid: int
    starttime: int


@dataclass(frozen=True, slots=True)
class Process:
    """One line of /proc/PID/stat. `cpu_ticks` includes the children it has waited for."""

    pid: int
    ppid: int
    pgid: int
    sid: int
    starttime: int
    state: str
    threads: int
    cpu_ticks: int

    @property
    def identity(self) -> Identity:
        return Identity(self.pid, self.starttime)

    @property
    def gone(self) -> bool:
        """Nothing of it runs any more. A zombie whose main thread alone has ended still works in its other threads."""
        return self.state in "ZX" and self.threads <= 1


class Written(NamedTuple):
    """Bytes since the process began, children it waited for included: passed to write(2), and charged to a disk."""

    called: int
    charged: int


def read(pid: int) -> Process | None:
    """The process now, zombies included; None when there is none."""
    line = _contents(pid, "stat")
    if not line:
        return None
    # The name stands in parentheses and may hold spaces, `)` and newlines itself: the last `)` ends it.
    fields = line[line.rindex(b")") + 2 :].split()
    state, ppid, pgid, sid = fields[0].decode(), int(fields[1]), int(fields[2]), int(fields[3])
    cpu_ticks = sum(int(ticks) for ticks in fields[11:15])
    return Process(pid, ppid, pgid, sid, int(fields[19]), state, int(fields[17]), cpu_ticks)


def scan() -> dict[int, Process]:
    """Every process by pid. Not one instant: what is forked during the scan may be missing."""
    return {process.pid: process for process in map(read, _pids()) if process is not None}


def argv(pid: int) -> tuple[str, ...]:
    """Its command line; empty for a zombie, a kernel thread and one that is gone."""
    line = _contents(pid, "cmdline") or b""
    return tuple(word.decode(errors="backslashreplace") for word in line.rstrip(b"\0").split(b"\0")) if line else ()


def environ(pid: int) -> tuple[bytes, ...]:
    """The entries of the environment it was executed with; empty when gone or not ours to read."""
    return tuple((_contents(pid, "environ") or b"").split(b"\0"))


def link(pid: int, name: str) -> str:
    """Where a link such as `cwd`, `exe` or `fd/0` points, "" when gone or not ours to read."""
    try:
        return os.readlink(f"/proc/{pid}/{name}")  # noqa: PTH115 - a Path takes five times as long
    except UNREADABLE:
        return ""


def open_files(pid: int) -> Iterator[tuple[str, str]]:
    """Each open file as (link name such as `fd/0`, where it points); nothing when gone or not ours to read."""
    try:
        with os.scandir(f"/proc/{pid}/fd") as entries:
            names = [f"fd/{entry.name}" for entry in entries]
    except UNREADABLE:
        return
    for name in names:
        yield name, link(pid, name)


def written(pid: int) -> Written | None:
    """None when gone or not ours to read."""
    text = _contents(pid, "io")
    if not text:
        return None
    counters = dict(line.split(b": ") for line in text.splitlines())
    return Written(called=int(counters[b"wchar"]), charged=int(counters[b"write_bytes"]))


def wchan(pid: int) -> str:
    """The kernel function its main thread sleeps in; "" when it runs or the kernel does not say."""
    name = (_contents(pid, "wchan") or b"").decode(errors="replace")
    return "" if name == "0" else name


def syscall(pid: int) -> tuple[int, int] | None:
    """Number and first argument of the system call its main thread waits in; None when in none, or not said."""
    words = (_contents(pid, "syscall") or b"").split()
    return (int(words[0]), int(words[1], 16)) if len(words) > 3 else None


def doing(process: Process, tcp_inodes: Container[int]) -> Doing:
    """What the process's main thread is at. `tcp_inodes` are the TCP sockets known to be of the attempt."""
    if process.gone:
        return Doing.ENDED
    if process.state in STATES:
        return STATES[process.state]
    number, descriptor = syscall(process.pid) or (-1, 0)
    call = CALLS.get(number, Doing.UNKNOWN)
    if call == Doing.EVENTS:
        connected = any(_is_tcp(target, tcp_inodes) for _, target in open_files(process.pid))
        return Doing.EVENTS_AND_NETWORK if connected else Doing.EVENTS
    if isinstance(call, Doing):
        return call
    target = link(process.pid, f"fd/{descriptor}")
    if _is_tcp(target, tcp_inodes):
        return Doing.NETWORK
    if descriptor == 0:
        return Doing.STDIN
    return Doing.PIPE if target.startswith(("pipe:", "socket:")) else Doing.UNKNOWN


def descendants(processes: Mapping[int, Process], roots: Iterable[int]) -> set[int]:
    """The pids below `roots` in the tree, without the roots themselves."""
    children = defaultdict(list)
    for process in processes.values():
        children[process.ppid].append(process.pid)
    found: set[int] = set()
    ahead = list(roots)
    tops = set(ahead)
    while ahead:
        new = [pid for pid in children.pop(ahead.pop(), ()) if pid not in tops]
        found.update(new)
        ahead += new
    return found


def own_children() -> set[int] | None:
    """The children of this single-threaded process, uncollected dead among them; None where the kernel does not tell.

    Exact, for all that proc(5) warns of: the kernel may skip entries when one is removed meanwhile, which only we do.
    """
    line = _contents(os.getpid(), f"task/{os.getpid()}/children")
    return None if line is None else {int(pid) for pid in line.split()}


def holders(path: Path) -> set[int]:
    """The processes, other than this one, that have this very file open. A file that does not exist has none."""
    try:
        wanted = path.stat()
    except FileNotFoundError:
        return set()
    return {
        pid
        for pid in _others()
        for name, target in open_files(pid)
        # The name first: to stat whatever a stranger has open may hang on a dead network disk.
        if path.name in target and _is_file(Path(f"/proc/{pid}/{name}"), wanted)
    }


def marked(key: str, directory: Path) -> set[int]:
    """The processes, other than this one, whose environment names the attempt `key` that lives in `directory`.

    They were executed with `AWM_ATTEMPT=<key>` and an `AWM_PROMPT_FILE` in that directory. The key alone proves
    nothing: in another home the same task has the same keys, and its agent must not be killed for ours.
    """
    entry = f"AWM_ATTEMPT={key}".encode()
    wanted = os.path.realpath(directory)
    return {pid for pid in _others() if entry in (entries := environ(pid)) and _attempt_directory(entries) == wanted}


def _is_tcp(target: str, tcp_inodes: Container[int]) -> bool:
    return target.startswith("socket:[") and int(target[8:-1]) in tcp_inodes


def _attempt_directory(entries: Iterable[bytes]) -> str:
    name = b"AWM_PROMPT_FILE="
    path = next((entry.removeprefix(name) for entry in entries if entry.startswith(name)), b"")
    return os.path.realpath(Path(os.fsdecode(path)).parent) if path else ""


def _pids() -> list[int]:
    with os.scandir("/proc") as entries:
        return [int(entry.name) for entry in entries if entry.name.isdigit()]


def _others() -> Iterator[int]:
    own = os.getpid()
    return (pid for pid in _pids() if pid != own)


def _contents(pid: int, name: str) -> bytes | None:
    with contextlib.suppress(*UNREADABLE), open(f"/proc/{pid}/{name}", "rb", buffering=0) as file:
        return file.read()
    return None


def _is_file(path: Path, wanted: os.stat_result) -> bool:
    try:
        return os.path.samestat(path.stat(), wanted)
    except UNREADABLE:
        return False
