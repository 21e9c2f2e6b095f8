"""Config to concrete ports: the only file that knows every adapter."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from awm_loop import clock, config, durable
from awm_loop.attempt.directory import AttemptDirectory
from awm_loop.core.estimate import Past
from awm_loop.core.model import Agent, Attempt, Ended, Instant, Notice, Policy, Spec, Work, task_key
from awm_loop.core.observation import SpecBad
from awm_loop.errors import ConfigError
from awm_loop.launchers.local import LocalLauncher, start_supervisor
from awm_loop.notify import apprise_urls, command, outbox
from awm_loop.ports import Ports, Send, Settings
from awm_loop.store import memory, metrics, specfile
from awm_loop.store.statefile import StateFile
from awm_loop.workspace import git


@dataclass(frozen=True, slots=True)
class Home:
    """One home: its directory, its configuration, its state file."""

    path: Path
    config: config.Config

    @classmethod
    def open(cls, path: Path) -> Home:
        """Read the configuration; nothing is written. Raises ConfigError, DiskError."""
        with durable.disk_trouble(path, "open"):
            is_there = path.is_dir()
        if not is_there:
            raise ConfigError(f"the home {path} does not exist", f"awm init {path}")
        try:
            str(path).encode()
        except UnicodeEncodeError as error:
            shown = str(path).encode(errors="backslashreplace").decode()
            raise ConfigError(f"the home {shown} has a name that is not UTF-8", "rename it") from error
        return cls(path, config.load(path / "awm.toml"))

    @property
    def store(self) -> StateFile:
        agent = agents_of(self.config)[self.config.loop.default_agent]
        return StateFile(self.path / "state", (agent.name, agent.account))

    def spec_path(self, work: Work, task_id: str) -> Path | None:
        """Where a task's spec lies; relative paths are relative to the home."""
        named = work.spec_files.get(task_id)
        return None if not named else self.path / os.path.expanduser(named)  # noqa: PTH111  `/` joins an absolute path

    def read_spec(self, work: Work, task_id: str) -> Spec | SpecBad:
        path = self.spec_path(work, task_id)
        if path is None:
            return SpecBad(reason=f"`specFiles` has no entry for {task_id}")
        return specfile.read(path, task_id, self.project_path(work.project))

    def project_path(self, project: str) -> Path:
        return self.path / os.path.expanduser(project)  # noqa: PTH111

    def head(self, project: str) -> tuple[str | None, str]:
        """The commit and branch of a project. Raises ConfigError where its directory is not there."""
        path = self.project_path(project)
        if not project:
            raise ConfigError(f"{self.store.path}: `project` is empty", "set it to the directory agents work in")
        try:
            is_there = stat.S_ISDIR(path.stat().st_mode)
            why = "is no directory"
        except FileNotFoundError:
            is_there, why = False, "does not exist"
        except OSError as error:
            is_there, why = False, f"cannot be had: {error.strerror}"
        if not is_there:
            raise ConfigError(
                f"{self.store.path}: project directory {path} {why}",
                "correct `project`, or make the directory (is it on a disk that is not mounted?)",
            )
        return git.head(path), git.branch(path)

    def worktree(self, task_id: str) -> str:
        """Where a task's worktree lies, by a name that is no byte of the user's."""
        return str(self.path / "worktrees" / task_key(task_id))

    @property
    def metrics_path(self) -> Path:
        return self.path / "state" / "work_metrics.json"

    def record(self, report: Sequence[Ended], now: Instant) -> str | None:
        """Raises DiskError where the disk refuses; an unreadable file is told, and the loop goes on (SPEC 4.7)."""
        return metrics.record(self.metrics_path, report, now)

    def ports(self, begin: Callable[[AttemptDirectory], None] | None = None) -> Ports:
        """The ports of a beat. `begin` takes over a new attempt in this process; without it, a new process does."""
        launcher = LocalLauncher(
            home=self.path,
            loop=self.config.loop,
            agents=self.config.agents,
            clock=clock.now,
            read_spec=self._spec_of,
            project=self.config.project,
            begin=begin or (lambda directory: start_supervisor(self.path, directory)),
        )
        return Ports(
            store=self.store,
            launcher=launcher,
            clock=clock.now,
            policy=self.policy,
            read_spec=self.read_spec,
            head=self.head,
            worktree=self.worktree,
            remember=self._remember,
            past=self.past,
            record=self.record,
        )

    def policy(self, settings: Settings) -> Policy:
        return policy(self.config, settings)

    def _remember(self, work: Work, key: str) -> None:
        memory.write(self.path / self.config.loop.memory, work, key, clock.now())

    def past(self) -> Sequence[Past]:
        return metrics.past(self.metrics_path)

    def _spec_of(self, attempt: Attempt) -> Spec | SpecBad:
        project = self.project_path(attempt.project or attempt.workspace)
        return specfile.read(Path(attempt.spec_path), attempt.task, project)


def agents_of(settings: config.Config) -> dict[str, Agent]:
    """The configured agents; an account is shared by all that name it, else it is the agent's own."""
    return {
        name: Agent(
            name=name,
            kind=one.kind,
            model=one.model,
            account=one.account or name,
            fallback=tuple(one.fallback),
            roles=tuple(role.casefold() for role in one.roles),
            has_sessions=one.kind in config.CLIS,
        )
        for name, one in settings.agents.items()
    }


def policy(settings: config.Config, published: Settings) -> Policy:
    """The core's numbers: `awm.toml`, with what the state file says where SPEC 16 lets it win."""
    loop = settings.loop
    return Policy(
        retries_max=loop.max_retries if published.max_retries is None else published.max_retries,
        strikes_max=loop.strikes_max,
        reboots_max=config.REBOOTS_MAX,
        launches_max=config.LAUNCHES_MAX,
        backoff_seconds=tuple(loop.retry_backoff_seconds),
        stall_seconds=loop.stall_minutes * 60,
        stall_busy_factor=config.BUSY_FACTOR,
        attempt_max_seconds=loop.attempt_max_minutes * 60,
        late_factor=config.LATE_FACTOR,
        retry_on_limit=published.retry_on_limit,
        limit_retry_seconds=published.limit_retry_minutes * 60,
        limit_retry_max_seconds=config.LIMIT_RETRY_MAX_SECONDS,
        limit_margin_seconds=loop.limit_margin_seconds,
        limit_max_seconds=config.LIMIT_MAX_SECONDS,
        allow_overtake=loop.allow_overtake,
        max_parallel=loop.max_parallel,
        isolation=loop.isolation,
        require_commit=loop.require_commit,
        verify=settings.project.verify,
        gate_first=loop.gate_must_fail_first,
        reset_after=published.reset_after,
        context_share_max=loop.context_reset_fraction,
        analysis_agent=loop.analysis_agent,
        resume_sessions=loop.resume_sessions,
        routes={kind.casefold(): name for kind, name in settings.routes.items()},
        default_agent=loop.default_agent,
        agents=agents_of(settings),
        notify_user=published.notify_user,
        channels=channel_names(settings),
    )


def channel_names(settings: config.Config) -> tuple[str, ...]:
    """The channels every notice goes to. A URL may be a secret, so its channel is named by a hash of its entry."""
    urls = tuple(f"url-{_short_hash(url)}" for url in settings.notify.urls)
    return (outbox.CONSOLE, *urls, *(("command",) if settings.notify.command else ()))


def senders(settings: config.Config) -> dict[str, Send]:
    """A sender for each channel but the console. An `env:` value that is not set is that channel's trouble."""
    found: dict[str, Send] = {f"url-{_short_hash(url)}": _url_sender(url) for url in settings.notify.urls}
    if settings.notify.command:
        found["command"] = command.channel(settings.notify.command)
    return found


def _url_sender(entry: str) -> Send:
    def send(notice: Notice) -> str | None:
        try:
            url = config.environment_value(entry)
        except ConfigError as error:
            return error.message
        return apprise_urls.channel(url)(notice)

    return send


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
