"""Config to concrete ports: the only file that knows every adapter."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, time, timedelta
from functools import lru_cache
from pathlib import Path

from awm_loop import assistant, clock, config, durable, gateway, terminal
from awm_loop.agents import prompt
from awm_loop.attempt.directory import AttemptDirectory
from awm_loop.core.estimate import Past
from awm_loop.core.machine import Tell
from awm_loop.core.model import Agent, Attempt, Ended, Instant, Policy, Spec, Work, task_key
from awm_loop.core.notice import one_line
from awm_loop.core.observation import Call, Site, SpecBad
from awm_loop.core.project import DEFAULT_PROJECT, Project, ProjectStatus
from awm_loop.core.projects import project_of
from awm_loop.errors import BadFileError, ConfigError
from awm_loop.launchers.local import LocalLauncher, start_supervisor
from awm_loop.notify import channels, outbox
from awm_loop.ports import Ports, Settings
from awm_loop.store import memory, metrics, projects, specfile, triggers
from awm_loop.store.statefile import StateFile
from awm_loop.trigger import Trigger
from awm_loop.triggers import plan
from awm_loop.workspace import git

OVER = (ProjectStatus.COMPLETED, ProjectStatus.ARCHIVED)  # of projects that nothing new is queued for


@dataclass(frozen=True, slots=True)
class Home:
    """One home: its directory, its configuration, its state file."""

    path: Path
    config: config.Config
    # The files beside the state that were found to be bad: what stands in them does not happen (SPEC 4.7).
    bad: dict[Path, BadFileError] = field(default_factory=dict, compare=False)

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
        return specfile.read(path, task_id, self.directory_of(work, project_of(work, task_id)))

    def directory_of(self, work: Work, project_id: str) -> Path:
        """Where a project's agents work. Of one that is not known any more, the home."""
        if project_id == DEFAULT_PROJECT:
            return self.project_path(work.project)
        with suppress(BadFileError):
            named = _directories(self.projects_path, _identity(self.projects_path)).get(project_id)
            return self.project_path(named) if named else self.path
        return self.path

    @property
    def projects_path(self) -> Path:
        return self.path / "state" / projects.NAME

    def project_entries(self) -> tuple[projects.ProjectEntry, ...]:
        """The projects beside the default one; none where their file is bad: `bad` has that then, and work goes on."""
        try:
            return _read_projects(self.projects_path, _identity(self.projects_path))
        except BadFileError as error:
            self.bad[self.projects_path] = error
            return ()

    def going_on(self, project_id: str) -> projects.ProjectEntry | None:
        """A project that may be given work, paused too; None for one beside those. Raises ConfigError for one that is
        over: its tasks would wait, hidden, until it is resumed (SPEC 13.1).
        """
        entry = next((one for one in self.project_entries() if one.id == project_id), None)
        if entry is not None and entry.status in OVER:
            raise ConfigError(f"project {project_id} is {entry.status}", f"awm projects resume {project_id}")
        return entry

    def projects(self, now: Instant) -> dict[str, Project]:
        """What the core needs of them, by id, with their windows as they stand."""
        return projects.core_projects(self.project_entries(), now.wall)

    @property
    def specs_path(self) -> Path:
        """The folder of the specs that are made here: of templates, triggers and proposals."""
        return self.path / "state" / "specs"

    @property
    def triggers_path(self) -> Path:
        return self.path / "state" / triggers.NAME

    def triggers(self) -> tuple[Trigger, ...]:
        """Raises BadFileError, which is in `bad` then too, DiskError."""
        try:
            return _read_triggers(self.triggers_path, _identity(self.triggers_path))
        except BadFileError as error:
            self.bad[self.triggers_path] = error
            raise

    def prepare_of(self, project_id: str) -> Sequence[str]:
        """The shell lines that make a new worktree of a project ready."""
        if project_id == DEFAULT_PROJECT:
            return self.config.project.prepare
        return next((one.prepare for one in self.project_entries() if one.id == project_id), ())

    def project_path(self, project: str) -> Path:
        return self.path / os.path.expanduser(project)  # noqa: PTH111

    def head(self, work: Work, project_id: str) -> Site:
        """A project's directory. Raises ConfigError where it is not there."""
        path, is_default = self.directory_of(work, project_id), project_id == DEFAULT_PROJECT
        if is_default and not work.project:
            raise ConfigError(f"{self.store.path}: `project` is empty", "set it to the directory agents work in")
        try:
            is_there = stat.S_ISDIR(path.stat().st_mode)
            why = "is no directory"
        except FileNotFoundError:
            is_there, why = False, "does not exist"
        except OSError as error:
            is_there, why = False, f"cannot be had: {error.strerror}"
        if not is_there:
            where = f"{self.store.path}:" if is_default else f"{self.projects_path}: {project_id}:"
            mend = "correct `project`" if is_default else f"awm projects edit {project_id} --path DIR"
            hint = f"{mend}, or make the directory (is it on a disk that is not mounted?)"
            raise ConfigError(f"{where} project directory {path} {why}", hint)
        return Site(os.path.realpath(path), git.head(path), git.branch(path))

    def worktree(self, task_id: str) -> str:
        """Where a task's worktree lies, by a name that is no byte of the user's."""
        return str(self.path / "worktrees" / task_key(task_id))

    @property
    def metrics_path(self) -> Path:
        return self.path / "state" / "work_metrics.json"

    def record(self, report: Sequence[Ended], now: Instant) -> str | None:
        """Raises DiskError where the disk refuses; an unreadable file is told, and the loop goes on (SPEC 4.7)."""
        return metrics.record(self.metrics_path, report, now)

    def ports(self, begin: Callable[[AttemptDirectory], None] | None = None, scratch: Path | None = None) -> Ports:
        """The ports of a beat. `begin` takes over a new attempt in this process; without it, a new process does.

        Of a dry run, `scratch` is a folder for what a look at what calls for work has to write.
        """
        return Ports(
            store=self.store,
            launcher=replace(self.launcher(begin), context_share=self._context_share),
            clock=clock.now,
            policy=self.policy,
            read_spec=self.read_spec,
            head=self.head,
            worktree=self.worktree,
            remember=self._remember,
            past=self.past,
            record=self.record,
            calls=lambda work, now: self._called(work, now, scratch),
            taken=self._taken,
        )

    def launcher(self, begin: Callable[[AttemptDirectory], None] | None = None) -> LocalLauncher:
        """The launcher alone: to look with it asks no gateway."""
        return LocalLauncher(
            home=self.path,
            loop=self.config.loop,
            agents=self.config.agents,
            clock=clock.now,
            read_spec=self._spec_of,
            prepare_of=self.prepare_of,
            about=self._about,
            begin=begin or (lambda directory: start_supervisor(self.path, directory)),
        )

    def policy(self, settings: Settings, now: Instant) -> Policy:
        return policy(self.config, settings, self.projects(now), now)

    def _called(self, work: Work, now: Instant, scratch: Path | None) -> Sequence[Call]:
        """What calls for work now. Raises DiskError."""
        specs = scratch or self.specs_path
        proposed = list(self._proposed(work, specs)) if work.proposals else []
        if self.projects_path in self.bad or plan.is_idle(self.path, now.wall):
            return proposed  # where projects cannot be read, what calls for them waits too
        from awm_loop.triggers.calls import Calls, Standing  # noqa: PLC0415  a tenth of a beat, which an idle one saves

        def directory_of(project_id: str) -> Path | None:
            entry = self.going_on(project_id)
            return self.directory_of(work, project_id) if entry or project_id == DEFAULT_PROJECT else None

        live = {attempt.task for attempt in work.attempts}

        def standing(task: str) -> Standing:
            return Standing.LIVE if task in live else Standing.QUEUED if task in work.queue else Standing.OVER

        calls = Calls(self.path, directory_of, self.triggers, specs, is_dry=scratch is not None)
        return [*calls.calls(work.fired, standing, now), *proposed]

    def _proposed(self, work: Work, specs: Path) -> Iterator[Call]:
        """What agents proposed for projects that let them queue it themselves. Raises DiskError."""
        from awm_loop.triggers import proposals  # noqa: PLC0415  as above

        entries = [one for one in self.project_entries() if one.may_enqueue and one.status not in OVER]
        priorities = {one.id: one.priority for one in entries}
        for one in work.proposals:
            if one.project in priorities:
                yield Call(
                    trigger="",
                    key=one.id,
                    task=proposals.task_of(one),
                    project=one.project,
                    priority=priorities[one.project],
                    spec_path=str(proposals.write_spec(specs, one)),
                )

    def _taken(self, calls: Sequence[Call], work: Work) -> None:
        """Specs that were made for calls that were let pass go, and requests leave the inbox. Raises DiskError."""
        from awm_loop.triggers import inbox  # noqa: PLC0415  as above

        for call in calls:
            made = self.specs_path / f"{call.task}.md"
            if call.spec_path == str(made) and call.task not in work.spec_files:
                with suppress(OSError):
                    made.unlink()
        inbox.settle(self.path, calls)

    def _remember(self, work: Work, key: str) -> str | None:
        """Write down what was done; then the assistant's session is reset, where one is configured (SPEC 11.1).

        What is to come is told before it comes. A loop that is paused keeps its session.
        """
        now, session = clock.now(), self.config.openclaw.session
        if session and (work.paused or self._is_to_be_told(work, now)):
            return ""
        memory.write(self.path / self.config.loop.memory, work, key, now)
        trouble = assistant.reset(gateway.of(self.config.openclaw), session) if session else None
        return one_line(terminal.plain(trouble.text)) if trouble else None

    def _is_to_be_told(self, work: Work, now: Instant) -> bool:
        """Whether the first notice of a reset still waits for a channel that can be asked at any moment."""
        waiting = outbox.due(work, tuple(channels.senders(self.config)), now)
        told = [notice for notices in waiting.values() for notice in notices if notice.kind == Tell.RESET]
        return any((now.wall - notice.at).total_seconds() < config.RESET_TOLD_SECONDS_MAX for notice in told)

    def _context_share(self) -> float | None:
        session = self.config.openclaw.session
        return assistant.context_share(gateway.of(self.config.openclaw), session) if session else None

    def past(self) -> Sequence[Past]:
        return metrics.past(self.metrics_path)

    def _about(self, project_id: str) -> prompt.About | None:
        """What the prompts say of a project; nothing of one that has nothing to say."""
        entry = next((one for one in self.project_entries() if one.id == project_id), None)
        if entry is None or not (entry.description or entry.goals or entry.context or entry.next_steps):
            return None
        return prompt.About(
            name=entry.name or entry.id,
            description=entry.description,
            goals=entry.goals,
            context=entry.context,
            next_steps=entry.next_steps,
        )

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
            has_sessions=one.kind in config.PROGRAMS,
        )
        for name, one in settings.agents.items()
    }


def policy(settings: config.Config, published: Settings, others: Mapping[str, Project], now: Instant) -> Policy:
    """The core's numbers: `awm.toml`, with what the state file says where SPEC 16 lets it win, and the projects.

    Days of budgets are those of this machine's zone.
    """
    loop, local = settings.loop, now.wall.astimezone()
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
        projects=others,
        own=projects.bounds(projects.window_at(settings.project.window, now.wall), settings.project.budget),
        bounds=projects.bounds(projects.window_at(loop.window, now.wall), settings.budget),
        today=local.date().isoformat(),
        day_ends_at=datetime.combine(local.date() + timedelta(days=1), time.min).astimezone(),
        notify_user=published.notify_user,
        channels=channels.names(settings),
    )


def _identity(path: Path) -> tuple[int, int, int] | None:
    """What tells one content of a small file from the next, None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


@lru_cache(maxsize=1)
def _read_projects(path: Path, _: object) -> tuple[projects.ProjectEntry, ...]:
    """Once for each content, as a beat asks for each task's directory."""
    return projects.read(path)


@lru_cache(maxsize=1)
def _directories(path: Path, identity: object) -> dict[str, str]:
    """By project: each queued task's is looked up."""
    return {one.id: one.path for one in _read_projects(path, identity)}


@lru_cache(maxsize=1)
def _read_triggers(path: Path, _: object) -> tuple[Trigger, ...]:
    return triggers.read(path)
