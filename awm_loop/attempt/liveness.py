"""Is an agent getting on, at work without result, or stuck? The numbers for the stall rule (SPEC 8.4).

No single sign will do: healthy agents are silent for minutes, hung ones print spinners (docs/MEASURED.md 4). So
progress is any of five things; without one, time adds up as idle or as busy, and the table decides when it is too much.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shlex
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from awm_loop.attempt import gitlocks, procfs, sockets
from awm_loop.attempt.procfs import Doing, Identity, Process, Written
from awm_loop.core.model import Instant

RECENT_MAX = 200  # SPEC 8.4: lines and command lines remembered
BUSY_FRACTION = 0.05  # of one core; docs/MEASURED.md 4
WRITTEN_BYTES_MIN = 4096  # SPEC 8.4
SUSPEND_SECONDS = 2.0  # more than this between the two clocks is a suspend
LATE_FACTOR = 3.0  # a window this many times too long: the machine or the supervisor stood still
ENTRIES_MAX = 20_000  # files and directories looked at in a workspace: about 60 ms
LOOKED_AT_BYTES_MAX = 1024 * 1024  # of output in one window: about 15 ms
LINE_BYTES_MAX = 4096  # output without a line end counts as a line at this length
EVIDENCE_CHARS_MAX = 8000
EVIDENCE_PROCESSES_MAX = 24
ARGV_CHARS_MAX = 150
NAME_CHARS_MAX = 40  # of a command line in the likely cause, which is told in notices
REMEMBERED_MAX = 1000  # processes in one line of samples.jsonl, whose readers look at its last 64 KiB
UNSURE = {Doing.THREADS, Doing.EVENTS, Doing.EVENTS_AND_NETWORK, Doing.UNKNOWN}
GIT_FILES = ("HEAD", "logs/HEAD", "index")
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")

BREAKS = re.compile(rb"\r|\x1b\[[0-?]*[A-HJKdf]")  # what moves the cursor or erases begins a new line
ESCAPES = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]P_^X][^\x07\x1b\n]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")
GLYPHS = re.compile(
    rb"\xe2(?:[\xa0-\xa3][\x80-\xbf]|\x97[\x86-\x97\xb4-\xb7\xa6]|\x9c[\xa2-\xbf]|\x9d[\x80-\x8b]|\x80[\xa2\xa6])|\xc2\xb7"
)  # Braille; ◆◇○◌●◐◓◑◒◴◷◶◵◦; the dingbat stars ✢..❋; • … ·
UUIDS = re.compile(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")  # a CLI's sign of life has a new one each time
NOISE = bytes([*range(10), *range(11, 33), 127]) + b"0123456789|/-\\."  # control, blank, digits, ASCII spinners; not \n


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One look at an attempt.

    `progress` holds what was seen since the look before: output, network, workspace, process, written. The seconds
    add up since the last progress. `cpu` is in cores; `processes` are those that still run.
    """

    at: Instant
    progress: frozenset[str]
    busy: bool
    cpu: float
    idle_seconds: float
    busy_seconds: float
    processes: tuple[Identity, ...]

    def to_json(self) -> dict[str, object]:
        """A line of `samples.jsonl`."""
        return {
            "at": self.at.wall.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "boottime": round(self.at.boottime, 3),
            "bootId": self.at.boot_id,
            "progress": sorted(self.progress),
            "busy": self.busy,
            "cpu": round(self.cpu, 3),
            "idleSeconds": round(self.idle_seconds, 3),
            "busySeconds": round(self.busy_seconds, 3),
            "processes": [list(identity) for identity in self.processes[:REMEMBERED_MAX]],
        }


class Liveness:
    """Watches one attempt: `feed` it the output as it comes, ask it for a `sample` every `interval_seconds`.

    `workspace` is where the agent works, `ignored` the parts of it that are AWM's own.
    """

    def __init__(self, workspace: Path, ignored: Iterable[Path], interval_seconds: float) -> None:
        self._workspace = os.path.realpath(workspace)
        self._ignored = frozenset(os.path.realpath(path) for path in ignored)
        self._interval_seconds = interval_seconds
        self._lines = _Lines()
        self._argvs = _Recent()
        self._before: _Look | None = None
        self._sample: Sample | None = None

    def feed(self, chunk: bytes) -> None:
        """Take the next piece of output: any bytes, cut anywhere. What a flood adds is not looked at."""
        self._lines.feed(chunk)

    def sample(self, pids: set[int], now: Instant, monotonic: float) -> Sample:
        """Look at the processes `pids` (the attempt's tree, without the supervisor). The first look is the baseline.

        A window adds to idle or busy only within one boot, without a suspend in it, and when it is not far longer than
        the interval; progress counts in any.
        """
        look = self._look(pids, now, monotonic)
        # Also at the baseline: what is there then is not new later.
        heard = self._lines.take_new()
        started = [self._argvs.add(argv) for argv in map(procfs.argv, pids) if argv]
        before, self._before = self._before, look
        progress: set[str] = set()
        cpu = idle_seconds = busy_seconds = 0.0
        if before is not None and self._sample is not None:
            seconds = monotonic - before.monotonic
            ticks = _grown(before, look, lambda identity, at: at.processes[identity].cpu_ticks)
            cpu = ticks / TICKS_PER_SECOND / seconds if seconds > 0 else 0.0
            progress = _changes(before, look)
            progress |= {"output"} if heard else set()
            progress |= {"process"} if any(started) else set()
            if not progress:
                counted = seconds if self._counts(before, look) else 0.0
                idle_seconds = self._sample.idle_seconds + (counted if cpu < BUSY_FRACTION else 0.0)
                busy_seconds = self._sample.busy_seconds + (counted if cpu >= BUSY_FRACTION else 0.0)
        if progress:
            self._lines.arrivals_count = 0
        self._sample = Sample(
            at=now,
            progress=frozenset(progress),
            busy=cpu >= BUSY_FRACTION,
            cpu=cpu,
            idle_seconds=idle_seconds,
            busy_seconds=busy_seconds,
            processes=tuple(sorted(process.identity for process in look.processes.values() if not process.gone)),
        )
        return self._sample

    def evidence(self, pids: set[int], now: Instant) -> str:
        """What the processes do at this moment, for people and the next prompt: a likely cause, then one line each.

        At most 8 KB. Command lines in it are the agent's words: data, never an instruction.
        """
        tcp_inodes = sockets.received(pids)
        seen = [process for process in map(procfs.read, sorted(pids)) if process is not None]
        doing = {process: procfs.doing(process, tcp_inodes) for process in seen}
        arrivals_count = self._lines.arrivals_count
        lines = [_likely_cause(doing, arrivals_count)]
        if self._sample is not None:
            lines.append(
                f"Since the last progress: {self._sample.idle_seconds:.0f} s idle, {self._sample.busy_seconds:.0f} s"
                f" busy, output {arrivals_count} times without a new line. CPU: {self._sample.cpu:.0%} of one core."
            )
        lines += [_line(process, doing[process], now) for process in seen[:EVIDENCE_PROCESSES_MAX]]
        if len(seen) > EVIDENCE_PROCESSES_MAX:
            lines.append(f"... and {len(seen) - EVIDENCE_PROCESSES_MAX} more processes")
        return "\n".join(lines)[:EVIDENCE_CHARS_MAX] + "\n"

    def _look(self, pids: set[int], now: Instant, monotonic: float) -> _Look:
        processes = [process for process in map(procfs.read, pids) if process is not None]
        return _Look(
            boottime=now.boottime,
            monotonic=monotonic,
            boot_id=now.boot_id,
            processes={process.identity: process for process in processes},
            written={process.identity: procfs.written(process.pid) or Written(0, 0) for process in processes},
            received=sockets.received(pids),
            workspace=_fingerprint(self._workspace, self._ignored),
        )

    def _counts(self, before: _Look, after: _Look) -> bool:
        seconds = after.monotonic - before.monotonic
        suspended_seconds = after.boottime - before.boottime - seconds
        late = seconds > LATE_FACTOR * self._interval_seconds
        return before.boot_id == after.boot_id and suspended_seconds <= SUSPEND_SECONDS and not late


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """What one sample read, to be compared with the next."""

    boottime: float
    monotonic: float
    boot_id: str
    processes: Mapping[Identity, Process]
    written: Mapping[Identity, Written]
    received: Mapping[int, int]
    workspace: int


def _changes(before: _Look, after: _Look) -> set[str]:
    kinds = set()
    if any(count > before.received.get(inode, 0) for inode, count in after.received.items()):
        kinds.add("network")
    if before.workspace != after.workspace:
        kinds.add("workspace")
    # Output to a pipe is charged to no disk, and ten bytes added to a log are charged as a whole page (both measured):
    # so both counters must have grown.
    called = _grown(before, after, lambda identity, at: at.written[identity].called)
    charged = _grown(before, after, lambda identity, at: at.written[identity].charged)
    if min(called, charged) >= WRITTEN_BYTES_MIN:
        kinds.add("written")
    return kinds


def _grown(before: _Look, after: _Look, counter: Callable[[Identity, _Look], int]) -> int:
    """How much a counter of the whole tree has grown; never negative.

    The kernel adds what a process used to the parent that waits for it. So one that ended still counts in the tree when
    one above it lives; what the supervisor waited for took its count out of the tree.
    """
    parents = {process.pid: process for process in before.processes.values()}

    def still_counts(process: Process | None) -> bool:
        while process is not None and process.identity not in after.processes:
            process = parents.get(process.ppid)
        return process is not None

    was = sum(counter(identity, before) for identity, process in before.processes.items() if still_counts(process))
    return max(0, sum(counter(identity, after) for identity in after.processes) - was)


def _fingerprint(workspace: str, ignored: frozenset[str]) -> int:
    """A number that changes when a file in the workspace does: by path, size and mtime, the shallow ones first.

    Symlinks are not followed. Of `.git` only what a commit, a checkout or `git add` touches is looked at. Directories
    count by name alone, else a lock file that comes and goes would look like work.
    """
    total = 0
    left = ENTRIES_MAX
    ahead = deque([workspace])
    while ahead and left > 0:
        # Vanished or closed to us: then its files are left out, and that is a change as well.
        with contextlib.suppress(OSError), os.scandir(ahead.popleft()) as entries:
            for entry in itertools.islice(entries, left):
                left -= 1
                if entry.name == ".git":
                    git_dir = gitlocks.follow(Path(entry.path))
                    total ^= hash(tuple(_stamp(git_dir / name) for name in GIT_FILES))
                elif entry.path in ignored or entry.name.endswith((".log", ".lock")):
                    continue
                elif entry.is_dir(follow_symlinks=False):
                    ahead.append(entry.path)
                    total ^= hash(entry.path)
                else:
                    total ^= hash((entry.path, _stamp(entry)))
    return total


def _stamp(file: os.DirEntry[str] | Path) -> tuple[int, int] | None:
    try:
        status = file.stat(follow_symlinks=False)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


class _Recent:
    """The last RECENT_MAX distinct things."""

    def __init__(self) -> None:
        self._things: dict[Hashable, None] = {}  # the oldest first

    def add(self, thing: Hashable) -> bool:
        """Remember it. True when it was not among them."""
        new = self._things.pop(thing, self) is self
        self._things[thing] = None
        if len(self._things) > RECENT_MAX:
            del self._things[next(iter(self._things))]
        return new


class _Lines:
    """Tells new lines of output from those seen before, with a bounded effort for each window."""

    def __init__(self) -> None:
        self._recent = _Recent()
        self._unfinished = b""
        self._torn = False  # output was passed over: up to the next line end there is only a rest of a line
        self._left_bytes = LOOKED_AT_BYTES_MAX
        self._new = False
        self.arrivals_count = 0  # of output since the last progress; who sees progress sets it back

    def take_new(self) -> bool:
        """Whether a new line came since the last call; begins the next window."""
        new, self._new = self._new, False
        self._left_bytes = LOOKED_AT_BYTES_MAX
        return new

    def feed(self, chunk: bytes) -> None:
        self.arrivals_count += 1
        if self._left_bytes <= 0:
            self._unfinished, self._torn = b"", True
            return
        self._left_bytes -= len(chunk)
        text = BREAKS.sub(b"\n", self._unfinished + chunk)
        if self._torn:
            _, ended, text = text.partition(b"\n")
            self._torn = not ended
        # An unfinished line does not count: cut where the program's buffer happened to end, an old line looks new.
        text, _, self._unfinished = text.rpartition(b"\n")
        if len(self._unfinished) > LINE_BYTES_MAX:
            text, self._unfinished = text + b"\n" + self._unfinished, b""
        text = GLYPHS.sub(b"", UUIDS.sub(b"", ESCAPES.sub(b"", text)))
        for line in dict.fromkeys(text.translate(None, NOISE).split(b"\n")):
            if line:
                self._new |= self._recent.add(hash(line))


def _likely_cause(doing: Mapping[Process, Doing], arrivals_count: int) -> str:
    """One line in plain words: first those at the tips of the tree, as others wait for them; then by `Doing`."""
    parents = {process.ppid for process, what in doing.items() if what is not Doing.ENDED}
    order = list(Doing)
    suspects: dict[Doing, list[Process]] = {}
    for process in sorted(doing, key=lambda process: (process.pid in parents, order.index(doing[process]))):
        suspects.setdefault(doing[process], []).append(process)
    for what in (Doing.ENDED, Doing.CHILDREN):
        suspects.pop(what, None)
    found = [f"{_name(processes[0].pid)} {what}" for what, processes in suspects.items()][:3]
    if len(suspects.get(Doing.COMPUTING, ())) >= 3:
        found.insert(0, f"{len(suspects[Doing.COMPUTING])} processes compute at once, as in a build or a test run")
    if arrivals_count >= 3:
        found.insert(0, "it goes on printing what it printed before, as one that polls or shows a spinner")
    if not found:
        return "Likely cause: unknown; no process of the attempt waits for anything but its children."
    unsure = next(iter(suspects), Doing.UNKNOWN) in UNSURE
    return f"Likely cause: {'; '.join(found)}" + (" (for which, cannot be seen from outside)." if unsure else ".")


def _name(pid: int) -> str:
    """The program as it was called, for people: when they read it, its pid is long gone."""
    program, *arguments = procfs.argv(pid) or ("",)
    if not program:
        return f"pid {pid}"
    shown = "".join(char if char.isprintable() else " " for char in shlex.join([Path(program).name, *arguments]))
    return f"`{shown if len(shown) <= NAME_CHARS_MAX else shown[: NAME_CHARS_MAX - 1] + '…'}`"


def _line(process: Process, what: Doing, now: Instant) -> str:
    call = procfs.syscall(process.pid)
    where = f"syscall {call[0]} on {call[1]:#x}" if call else "no syscall"
    age_seconds = now.boottime - process.starttime / TICKS_PER_SECOND
    return (
        f"pid {process.pid} (parent {process.ppid}, state {process.state}) {what}: {where}, wchan"
        f" {procfs.wchan(process.pid) or '-'}, CPU {process.cpu_ticks / TICKS_PER_SECOND:.1f} s in {age_seconds:.0f} s,"
        f" argv {shlex.join(procfs.argv(process.pid))[:ARGV_CHARS_MAX]!r}"
    )
