"""One process of an attempt with its whole tree, watched from its start to its end (SPEC 8.2-8.4).

One single-threaded loop over a few descriptors: the pipes of its output, and its pidfd. It ends the tree when the main
process ended by itself, was asked to, passed its limit, or will not go on by its own words. It records what happened
and decides nothing.
"""

from __future__ import annotations

import json
import math
import os
import select
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from awm_loop import clock, fault
from awm_loop.attempt import gitlocks, reap
from awm_loop.attempt.directory import AttemptDirectory, Marker, Order, StopRequest, put
from awm_loop.attempt.liveness import Liveness
from awm_loop.attempt.output import CHUNK_BYTES, Lines, OutputLog
from awm_loop.attempt.procfs import Identity
from awm_loop.attempt.spawn import Child, Invocation
from awm_loop.core.model import Outcome, StopReason
from awm_loop.regular import open_regular

STOP_POLL_SECONDS = 0.25  # how soon a stop request is seen
SWEEP_STEP_SECONDS = 0.02
RUNS_ALREADY = Invocation(argv=(), environment={}, directory=Path(), stdin_path=Path())  # nothing is to be run
DRAIN_BYTES_MAX = 1024 * 1024  # of output left in a pipe when the tree is gone: more than any pipe holds

OUTCOME_OF_STOP = {
    StopReason.STALLED: Outcome.STALLED,
    StopReason.OPERATOR: Outcome.STOPPED,
    StopReason.SKIP: Outcome.STOPPED,
    StopReason.REMOVED: Outcome.STOPPED,
    StopReason.REQUEUED: Outcome.STOPPED,
    StopReason.UNATTENDED: Outcome.LOST,
    StopReason.CANNOT_BEGIN: Outcome.LOST,
}


@dataclass(slots=True)
class Tended:
    """An attempt this process holds: the locks, and the agent once it runs. Survives exec as numbers."""

    directory: AttemptDirectory
    order: Order
    lock_fd: int
    child: Child | None = None
    problem: str = ""  # why the agent could not be run


class Stuck(Protocol):
    """What a program came to that lives on and does not go on."""

    @property
    def outcome(self) -> Outcome:
        """As its end is recorded."""

    @property
    def error(self) -> str:
        """One line for people."""


class Listener(Protocol):
    """Hears what an agent says, line by line, each with when it was seen."""

    def out(self, line: str, at: datetime) -> None:
        """One line of stdout."""

    def err(self, line: str, at: datetime) -> None:
        """One line of stderr."""

    def stuck(self) -> Stuck | None:
        """Not None: it is ended now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One process of an attempt: the agent itself, or what is run before and after it. Its output goes to `<name>.log`.

    Without `limit_seconds` the attempt's hard time limit holds and liveness is sampled for the stall rule. With a
    `listener`, stderr goes to `<name>-errors.log`.
    """

    invocation: Invocation
    name: str = "out"
    limit_seconds: float | None = None
    listener: Listener | None = None

    @property
    def is_agent(self) -> bool:
        """Whether it is the agent itself, whose output is the attempt's."""
        return self.name == "out"


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How the main process of a stage went, and its tree with it. `cut_short` is set where somebody ended it."""

    exit_code: int
    cut_short: Outcome | None
    error: str
    started: Marker
    removed_locks: tuple[str, ...]


def outcome_of(request: StopRequest) -> Outcome:
    reason = StopReason(request.why) if request.why in set(StopReason) else StopReason.OPERATOR
    return OUTCOME_OF_STOP[reason]


def keep_evidence(directory: AttemptDirectory, text: str) -> None:
    """Best effort: a full disk must not keep an attempt from being ended."""
    with suppress(OSError):
        put(directory / "evidence.txt", text)


@dataclass(slots=True)
class _Stream:
    """One of the pipes: where it is kept, and who hears it."""

    log: OutputLog
    heard: Callable[[str, datetime], None] | None
    lines: Lines = field(default_factory=Lines)

    def take(self, chunk: bytes) -> None:
        self.log.append(chunk)
        if self.heard is not None:
            self._tell(self.lines.feed(chunk))

    def close(self) -> None:
        self.log.close()
        if self.heard is not None:
            self._tell(self.lines.close())

    def _tell(self, lines: list[str]) -> None:
        at = clock.now().wall if lines else None
        for line in lines:
            if self.heard is not None and at is not None:
                self.heard(line, at)


def _pump(fd: int, stream: _Stream, liveness: Liveness) -> bool:
    """Take what the pipe has now; False once every writer has closed it."""
    try:
        chunk = os.read(fd, CHUNK_BYTES)
    except BlockingIOError:
        return True
    if not chunk:
        return False
    stream.take(chunk)
    liveness.feed(chunk)
    return True


def _drain(fd: int, stream: _Stream, liveness: Liveness) -> None:
    """What the pipe still holds when the tree is gone; bounded, should a writer have escaped."""
    for _ in range(DRAIN_BYTES_MAX // CHUNK_BYTES):
        readable, _, _ = select.select([fd], [], [], 0)
        if not readable or not _pump(fd, stream, liveness):
            return


@dataclass(slots=True)
class Watch:
    """The loop of one stage; `run` it once."""

    tended: Tended
    child: Child
    marker: Marker
    stage: Stage
    spared: set[int]
    exit_code: int | None = None
    cut_short: Outcome | None = None
    error: str = ""
    sweep: reap.Sweep | None = None

    def run(self) -> End:
        order = self.tended.order
        streams = self._streams()
        ignored = (Path(order.home) / "state", Path(order.home) / "memory")
        liveness = Liveness(Path(order.workspace), ignored, order.sample_seconds)
        pidfd = os.pidfd_open(self.child.pid)
        poll = select.poll()
        for fd in (*streams, pidfd):
            poll.register(fd, select.POLLIN)
        sample_at = time.monotonic()  # at once, but where it has ended already: then the next agent need not wait
        stop_at = self._seconds_left()
        while True:
            ready = {fd for fd, _ in poll.poll(max(self._timeout(sample_at), 0) * 1000)}
            for fd in ready & streams.keys():
                if not _pump(fd, streams[fd], liveness):
                    poll.unregister(fd)
            # Each time: orphans of a tree that forks without end would else fill the process table, and in a sweep its
            # dead would make each look slower.
            if self._reap() and pidfd in ready:
                poll.unregister(pidfd)
            now = time.monotonic()
            if self.sweep is None:
                self._look_for_an_end(liveness, is_over=now >= stop_at)
            if self.sweep is not None and self.sweep.step(now) and self._reap():
                break
            if now >= sample_at and self.sweep is None:
                sample_at = self._sample(liveness)
        fault.point("supervise.tree:gone")
        for fd, stream in streams.items():
            _drain(fd, stream, liveness)
            stream.close()
            os.close(fd)
        if self.sweep.left:
            self.error += f"; could not be ended: {', '.join(str(who.pid) for who in self.sweep.left)}"
        os.close(pidfd)
        since = self.marker.at
        locks = gitlocks.remove_git_locks(Path(order.workspace), since) if self.cut_short or self.exit_code else []
        return End(
            exit_code=self.exit_code or 0,
            cut_short=self.cut_short,
            error=self.error,
            started=self.marker,
            removed_locks=tuple(locks),
        )

    def _streams(self) -> dict[int, _Stream]:
        """By the pipes there are."""
        listener, path = self.stage.listener, self.tended.directory / f"{self.stage.name}.log"
        found = {self.child.output_fd: _Stream(OutputLog(path), listener.out if listener else None)}
        if self.child.errors_fd >= 0:
            errors_path = path.with_name(f"{self.stage.name}-errors.log")
            found[self.child.errors_fd] = _Stream(OutputLog(errors_path), listener.err if listener else None)
        return found

    def _seconds_left(self) -> float:
        """When the hard time limit falls, on the monotonic clock: a suspended machine does not use it up."""
        if self.stage.limit_seconds is not None:
            return time.monotonic() + self.stage.limit_seconds
        gone = max(clock.now().boottime - self.marker.boottime, 0.0)
        return time.monotonic() + max(self.tended.order.limit_seconds - gone, 0.0)

    def _timeout(self, sample_at: float) -> float:
        if self.sweep is not None:
            return SWEEP_STEP_SECONDS
        return min(sample_at - time.monotonic(), STOP_POLL_SECONDS)

    def _look_for_an_end(self, liveness: Liveness, *, is_over: bool) -> None:
        """Begin the sweep when the agent ended by itself, was asked to end, or passed its hard limit."""
        request = self.tended.directory.stop_request()
        if self.exit_code is None and request is not None:
            self.cut_short = outcome_of(request)
        elif self.exit_code is None and is_over:
            self.cut_short = Outcome.TIMED_OUT
            seconds = self.stage.limit_seconds or self.tended.order.limit_seconds
            self.error = f"over its hard time limit of {seconds / 60:g} min"
        stuck = self.stage.listener.stuck() if self.stage.listener and self.exit_code is None else None
        if self.cut_short is None and stuck is not None:
            self.cut_short, self.error = stuck.outcome, stuck.error
        if self.exit_code is None and self.cut_short is None:
            return
        if self.cut_short is not None:
            seen = liveness.evidence({who.pid for who in self._tree()}, clock.now())
            keep_evidence(self.tended.directory, seen)
            self.error = self.error or _first_line(seen).removeprefix("Likely cause: ")
        fault.point("supervise.sweep:before")
        self.sweep = reap.Sweep(self._tree, self.tended.order.stop_grace_seconds)

    def _tree(self) -> set[Identity]:
        return reap.own_descendants(Path(self.tended.order.home), self.spared)

    def _sample(self, liveness: Liveness) -> float:
        """Append one sample; returns when the next is due. A stage with a limit of its own can not stall."""
        if self.stage.limit_seconds is not None:
            return math.inf
        sample = liveness.sample({who.pid for who in self._tree()}, clock.now(), time.monotonic())
        line = json.dumps(sample.to_json(), separators=(",", ":")).encode() + b"\n"
        try:
            fd = open_regular(self.tended.directory / "samples.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            try:
                os.write(fd, line)
            finally:
                os.close(fd)
        except OSError:
            pass  # a full disk: without samples nothing is called a stall, and the hard limit still holds
        return time.monotonic() + self.tended.order.sample_seconds

    def _reap(self) -> bool:
        """Collect every dead child; True once the agent's main process is among the collected."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return self.exit_code is not None
            if pid == 0:
                return self.exit_code is not None
            self.spared.discard(pid)
            if pid == self.child.pid:
                self.exit_code = os.waitstatus_to_exitcode(status)


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")
