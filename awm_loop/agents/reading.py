"""What each kind of agent must be able to tell: how it is called, and what it said (SPEC 8.2, 8.6, 9.3, 10.1).

A CLI is one module beside this one with a `Kind`. Nothing here runs a program: a `Call` is what the supervisor is to
run, and a reader is fed with what the program writes, line by line as it comes, by whoever runs it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from awm_loop.core.model import Outcome
from awm_loop.core.observation import Limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What an agent's end means before the workspace is looked at.

    `outcome` is SUCCEEDED where the agent ended well and said so, HOLLOW where it says so and its own record shows that
    the work cannot be done, BLOCKED where it asks, else one of LIMITED, AUTH, BILLING, FAILED. `summary` is its last
    word on its work, `error` one line for people. `tokens` has "input" and "output", of this run alone where the CLI
    tells that apart. `context_share` is the used part of its context, from 0 to 1, `next_steps` what it proposes.
    """

    outcome: Outcome
    summary: str = ""
    question: str = ""
    error: str = ""
    tokens: Mapping[str, int] | None = None
    cost_usd: float | None = None
    session_id: str = ""
    context_share: float | None = None
    next_steps: tuple[str, ...] = ()
    limit: Limit | None = None


class Reader(Protocol):
    """Reads one run: whole lines without their ends, in the order they came; malformed ones are passed over.

    `at` is when a line was seen, aware: a limit's clock text counts from there (SPEC 9.1).
    """

    def out(self, line: str, at: datetime) -> None:
        """One line of stdout."""

    def err(self, line: str, at: datetime) -> None:
        """One line of stderr."""

    @property
    def session_id(self) -> str:
        """Of the session, as soon as it was told; "" before."""

    def stuck(self) -> Reading | None:
        """What it came to, where the program lives but will not go on for longer than `SLEEP_SECONDS_MAX`: it sleeps
        out a limit, or repeats itself without an end. Whoever runs it ends it then. Asked after every line."""

    def end(self, exit_code: int, at: datetime) -> Reading:
        """What the whole run came to; `exit_code` is negative for a signal. Asked once, when it has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What is wanted of a CLI. `executable` is its program as configured, `extra` what a person adds to its arguments.

    `session` is the id of a session: one that exists where `is_resumed`, else the one that a new session is to get,
    where the CLI lets it be chosen. `written_paths` are the directories that its work writes to, outside of the
    workspace or hidden in it: those of git, and that of its result file. `scratch` is a directory of the attempt's own.
    """

    executable: str
    workspace: Path
    prompt_path: Path
    scratch: Path
    model: str = ""
    extra: tuple[str, ...] = ()
    is_sandboxed: bool = True
    written_paths: tuple[Path, ...] = ()
    session: str = ""
    is_resumed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """How to run it, in the workspace, with the prompt on stdin. `environment` comes beside that of SPEC 8.5.

    `files` are to be written into `Ask.scratch` before, by name.
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One CLI. `executable` is its program's usual name, `install` the command that gets it; `logins` are the names of
    variables that its login may rest on: it gets those that the agent's `env_pass` names (SPEC 8.5).

    `leaves` are patterns, as in .gitignore, of what it keeps for itself in the workspace, where no option moves it.

    `gone` is found in the error of a run that knew nothing of the session it was to resume.

    `beside` finds, by session id and environment, a file that the CLI writes beside its output and that tells more of
    the run; its lines are fed to `reader.out` before `end`. None where there is none. `tells_totals` where `tokens` or
    `cost_usd` are those of the session over all its resumes: "tokens", "cost_usd".
    """

    executable: str
    install: str
    call: Callable[[Ask], Call]
    reader: Callable[[], Reader]
    logins: tuple[str, ...] = ()
    leaves: tuple[str, ...] = ()
    gone: re.Pattern[str] | None = None
    beside: Callable[[str, Mapping[str, str]], Path | None] = lambda _session, _environ: None
    tells_totals: frozenset[str] = frozenset()
