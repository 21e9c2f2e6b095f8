"""Attempts as processes of this machine: start, probe and stop, idempotent by attempt key (SPEC 8.2, 8.8)."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from awm_loop import fault
from awm_loop.agents import prompt
from awm_loop.attempt import reap, scope
from awm_loop.attempt.directory import AttemptDirectory, Order, look, put, take_lock
from awm_loop.attempt.output import tail
from awm_loop.attempt.procfs import Identity
from awm_loop.config import (
    ATTEMPT_LOCK_WAIT_SECONDS,
    PROMPT_TAIL_BYTES,
    SAMPLES_PER_STALL_MIN,
    AgentConfig,
    LoopConfig,
)
from awm_loop.core.model import Attempt, Instant, Outcome, Spec, Task, attempt_key
from awm_loop.core.observation import Alive, AttemptSeen, Exited, NotStarted, SpecBad, Unattended
from awm_loop.durable import disk_trouble, sync_folder
from awm_loop.errors import AwmError, ConfigError
from awm_loop.regular import open_regular

OF_AN_ATTEMPT = frozenset({"AWM_TASK", "AWM_ATTEMPT", "AWM_PROMPT_FILE", "AWM_RESULT_FILE"})
NO_PROCESS_HINTS = {
    errno.E2BIG: "its environment is too large: `env | wc -c`",
    errno.EAGAIN: "there are too many processes: `ulimit -u`",
    errno.ENOMEM: "there is no memory left: `free -h`",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalLauncher:
    """The launcher of one home. `begin` hands a written attempt to a supervisor: a new process, or this one."""

    home: Path
    loop: LoopConfig
    agents: Mapping[str, AgentConfig]
    clock: Callable[[], Instant]
    read_spec: Callable[[Attempt], Spec | SpecBad]
    prepare_of: Callable[[str], Sequence[str]]
    about: Callable[[str], prompt.About | None]  # a project, for the prompts
    begin: Callable[[AttemptDirectory], None]
    context_share: Callable[[], float | None] = lambda: None  # the assistant's: asked when one ended

    def directory(self, key: str) -> AttemptDirectory:
        return AttemptDirectory(self.home / "state" / "attempts" / key)

    def start(self, attempt: Attempt, task: Task) -> bool:
        """Write the order and the prompt, then have it begun. Raises DiskError."""
        directory = self.directory(attempt.key)
        if not isinstance(look(directory, self.clock()), NotStarted):
            return False
        with disk_trouble(directory.path):
            fault.point("launch.order:before-write")
            self._write(directory, attempt, task)
        fault.point("launch.begin:before")
        self.begin(directory)
        fault.point("launch.begin:after")
        return True

    def probe(self, attempts: Sequence[Attempt]) -> dict[str, AttemptSeen]:
        now = self.clock()
        seen = {attempt.key: look(self.directory(attempt.key), now) for attempt in attempts}
        for directory in [self.directory(key) for key, one in seen.items() if isinstance(one, Alive)]:
            marker = directory.marker()
            if marker is not None and marker.boot_id == now.boot_id:
                reap.wake(Identity(*marker.supervisor), directory / "sup.lock")
        if any(isinstance(one, Exited) for one in seen.values()) and (share := self.context_share()) is not None:
            return {key: _with_share(one, share) for key, one in seen.items()}
        return seen

    def stop(self, key: str, why: str) -> None:
        """Leave the request where the supervisor looks; where none tends the attempt, start one to sweep it."""
        directory = self.directory(key)
        with disk_trouble(directory.path):
            directory.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        fault.point("launch.stop:before-request")
        directory.write_stop_request(why)
        fault.point("launch.stop:requested")
        if isinstance(look(directory, self.clock()), NotStarted | Unattended):
            start_supervisor(self.home, directory)

    def _write(self, directory: AttemptDirectory, attempt: Attempt, task: Task) -> None:
        """Not synced: who passes the start makes the directory's name durable with the start marker."""
        parent = directory.path.parent
        parent.mkdir(mode=0o700, exist_ok=True)
        if next(parent.iterdir(), None) is None:  # the first of this home: what is in a lost directory is lost with it
            sync_folder(parent.parent)
        directory.path.mkdir(mode=0o700, exist_ok=True)
        config, spec = self._config(attempt), self.read_spec(attempt)
        if isinstance(spec, Spec):
            left = [self._left(task, number) for number in range(len(task.earlier))]
            about = self.about(attempt.project_id)
            put(directory / "prompt.md", prompt.of(spec, attempt, task, left, about))
            put(directory / "spec.md", spec.text)
        order = Order(
            key=attempt.key,
            task=attempt.task,
            number=attempt.number,
            agent=attempt.agent,
            kind=config.kind,
            command=tuple(config.command),
            model=attempt.model,
            env_pass=tuple(config.env_pass),
            home=str(self.home),
            workspace=str(self.home / os.path.expanduser(attempt.workspace)),  # noqa: PTH111  `/` joins an absolute path
            limit_seconds=attempt.limit_seconds,
            sample_seconds=min(self.loop.sample_seconds, self.loop.stall_minutes * 60 / SAMPLES_PER_STALL_MIN),
            stop_grace_seconds=self.loop.stop_grace_seconds,
            require_commit=attempt.require_commit,
            base=task.base,
            project_id=attempt.project_id,
            project=str(self.home / os.path.expanduser(attempt.project)),  # noqa: PTH111
            branch=task.branch,
            is_worktree=attempt.is_worktree,
            prepare=tuple(self.prepare_of(attempt.project_id)) if attempt.is_worktree else (),
            verify=attempt.verify,
            gate_files=attempt.gate_files,
            gate_number=task.gate_number,
            gate_first=attempt.gate_first,
            gate_seconds=self.loop.gate_max_minutes * 60,
            is_analysis=attempt.is_analysis,
            executable=config.executable,
            extra_args=tuple(config.extra_args),
            is_sandboxed=config.sandbox,
            session=attempt.session,
            problem=spec.reason if isinstance(spec, SpecBad) else "",
        )
        fault.point("launch.order:before-order")
        put(directory / "order.json", order.to_bytes().decode())

    def _config(self, attempt: Attempt) -> AgentConfig:
        """Raises ConfigError where `awm.toml` lost the agent between the promise and the start."""
        if attempt.agent not in self.agents:
            raise ConfigError(
                f"{attempt.task} is promised to agent {attempt.agent}, which awm.toml does not have any more",
                f"put [agents.{attempt.agent}] back, or give the task up: awm skip {attempt.task}",
            )
        return self.agents[attempt.agent]

    def _left(self, task: Task, index: int) -> prompt.Left:
        earlier = task.earlier[index]
        directory = self.directory(attempt_key(task.id, earlier.number))
        return prompt.Left(
            earlier=earlier,
            output_tail=tail(directory / "out.log", PROMPT_TAIL_BYTES),
            evidence=tail(directory / "evidence.txt", PROMPT_TAIL_BYTES),
            gate_tail=tail(directory / "gate.log", PROMPT_TAIL_BYTES) if earlier.outcome is Outcome.HOLLOW else "",
        )


def _with_share(seen: AttemptSeen, share: float) -> AttemptSeen:
    """A full context of the assistant's asks for a reset as a full one of an agent's does (SPEC 11.1)."""
    if not isinstance(seen, Exited):
        return seen
    return Exited(result=replace(seen.result, context_share=max(share, seen.result.context_share or 0.0)))


def start_supervisor(home: Path, directory: AttemptDirectory) -> None:
    """A supervisor in a session of its own, which outlives this process and holds the attempt's lock from its birth.

    The lock is taken here and inherited: at no moment is the attempt nobody's, and there is nothing to wait for. Where
    it cannot be had, somebody tends the attempt already. The supervisor gets this process's environment without what
    belongs to another attempt, and no other descriptor: an inherited stdout would keep cron's mailer waiting
    (docs/MEASURED.md 1). Raises DiskError, and AwmError where the machine has no process for it.
    """
    log = directory / "supervisor.log"
    with disk_trouble(log):
        log_fd = open_regular(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        with disk_trouble(directory / "sup.lock"):
            lock_fd = take_lock(directory / "sup.lock", ATTEMPT_LOCK_WAIT_SECONDS)  # `awm status` may be looking
        if lock_fd is not None:
            fault.point("launch.supervisor:before-spawn")
            _spawn_supervisor(home, directory.path.name, lock_fd, log_fd)
    finally:
        os.close(log_fd)


def _spawn_supervisor(home: Path, key: str, lock_fd: int, log_fd: int) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in OF_AN_ATTEMPT}
    environment["PYTHONPATH"] = str(Path(__file__).parent.parent.parent)
    os.set_inheritable(lock_fd, True)
    stdin_fd, held_fd = os.pipe()  # while it is open, or this process lives, the supervisor waits
    arguments = [sys.executable, *reap.SUPERVISOR, str(home), key, str(lock_fd)]
    try:
        pid = os.posix_spawn(
            sys.executable,
            arguments,
            environment,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, stdin_fd, 0),
                (os.POSIX_SPAWN_DUP2, log_fd, 1),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )
        scope.enter(home, key, pid)
    except OSError as error:
        hint = NO_PROCESS_HINTS.get(error.errno or 0, f"`ls -l {sys.executable}`")
        raise AwmError(f"cannot start a supervisor: {error.strerror}", hint) from error
    finally:
        fault.point("launch.supervisor:spawned")
        for fd in (lock_fd, stdin_fd, held_fd):
            os.close(fd)
        fault.point("launch.supervisor:let-go")
