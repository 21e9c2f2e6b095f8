"""`awm check`: what a beat would stumble over, said without one (SPEC 4.7, 5.1, 16).

What certainly cannot work is a problem, exit 78; what may be meant is a warning.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import click

from awm_loop import clock, config
from awm_loop.agents import kinds
from awm_loop.cli import checking_calls, timers
from awm_loop.cli.setting_up import CONFIG_NAME, open_home
from awm_loop.core.model import Spec, Work
from awm_loop.core.notice import counted
from awm_loop.core.project import DEFAULT_PROJECT, ProjectStatus
from awm_loop.errors import AwmError, BadFileError, ConfigError
from awm_loop.notify import apprise_urls, ping
from awm_loop.ports import Settings
from awm_loop.store import specfile
from awm_loop.wiring import Home

# SPEC 8.6, and two that are filled in as well
PLACEHOLDERS = {"prompt_file", "workspace", "task", "attempt", "model", "result_file", "script_file", "key"}
_OPERATORS = frozenset(";|&()\n")


@dataclass
class Verdict:
    """What is wrong: `problems` cannot work, `warnings` may be meant. Each is one line."""

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        return [*self.problems, *(f"warning: {warning}" for warning in self.warnings)]


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path, exists=True))
@click.option("--json", "as_json", is_flag=True, help="Print one object.")
@click.pass_context
def check(context: click.Context, file: Path | None, as_json: bool) -> None:
    """Look for mistakes in awm.toml, state, triggers and specs. Exit 78 where something cannot work.

    \b
    Example:  awm check
    """
    home = open_home(context)
    path, found = file or home.store.path, Verdict()
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        read = f"{path}: not there yet"
        work, settings, project = None, Settings(), None
    else:
        work, settings, *_ = home.store.parse(data, clock.now())
        read = f"{path}: ok, {len(work.queue)} queued"
        project = home.project_path(work.project)
    for name in home.config.agents:
        if install := check_agent(home, name, project, found):
            found.problems[-1] += f"; to install it: {install}"
    check_notify(home, found)
    said_of_config = counted(len(found.problems), "problem") if found.problems else "ok"
    findings, unfit = [f"{home.path / CONFIG_NAME}: {said_of_config}", read], ""
    if work is not None:
        _check_project(home, work, found)
        found.problems += checking_calls.problems(home, work)
        found.warnings += checking_calls.warnings(home, work, settings)
        for gate in gates(home, work):
            check_gate(gate, project, found)
        of_tasks = verdict(home, work, settings, work.queue)
        found.problems += of_tasks.problems
        found.warnings += of_tasks.warnings
        unfit = of_tasks.problems[0].partition(":")[0] if of_tasks.problems else ""
    if as_json:
        said = {"ok": not found.problems, "checked": findings}
        click.echo(json.dumps({**said, "problems": found.problems, "warnings": found.warnings}, ensure_ascii=False))
    else:
        click.echo("\n".join([*findings, *found.lines()]))
    if found.problems:
        hint = "mend what is named above" + (f"; `awm skip {unfit}` gives {unfit} up" if unfit else "")
        context.exit(AwmError(f"{counted(len(found.problems), 'problem')} found", hint).show())


def verdict(home: Home, work: Work, settings: Settings, tasks: Sequence[str]) -> Verdict:
    """Of tasks whose specs a beat would block, why it would; and what in the others is probably a slip."""
    found = Verdict()
    for task_id in tasks:
        spec = home.read_spec(work, task_id)
        if isinstance(spec, Spec):
            found.warnings += [f"{task_id}: {warning}" for warning in specfile.warnings(spec.text)]
            reason = checking_calls.why_blocked(home, work, settings, task_id, spec)
        else:
            reason = spec.reason
        if reason:
            to_do = "" if work.spec_files.get(task_id) else ": name its file there with `awm edit`"
            found.problems.append(f"{task_id}: {reason}{to_do}")
    return found


def _check_project(home: Home, work: Work, found: Verdict) -> None:
    """Each project's directory, and the files beside the state."""
    with suppress(BadFileError):
        home.triggers()
    others = [one.id for one in home.project_entries() if one.status is ProjectStatus.ACTIVE]
    found.problems += [error.message for error in home.bad.values()]
    for project_id in (DEFAULT_PROJECT, *others):
        try:
            home.head(work, project_id)
        except ConfigError as error:
            found.problems.append(error.message)


def program(agent: config.AgentConfig) -> str:
    """What is started for an agent."""
    if agent.kind in config.CLIS:
        return agent.executable or kinds.kind(agent.kind).executable
    return agent.command[0] if agent.command else "sh"


def check_agent(home: Home, name: str, project: Path | None, found: Verdict) -> str:
    """Whether the agent's program can be started in `project`, and its command filled in.

    Returns the command that installs it where it is a CLI that is not there, the last of the problems; else "".
    """
    agent = home.config.agents[name]
    unknown = sorted({*re.findall(r"\{(\w+)\}", " ".join(agent.command))} - PLACEHOLDERS)
    for word in unknown:
        known = ", ".join(sorted(PLACEHOLDERS - {"script_file", "key"}))
        found.warnings.append(f"agents.{name}.command: {{{word}}} is not filled in; these are: {known}")
    problem = "" if unknown or agent.kind == "shell" else _why_not_run(program(agent), project)
    if not problem or agent.kind not in config.CLIS:
        found.problems += [f"agents.{name}.command: {problem}"] if problem else []
        return ""
    where = "" if "/" in program(agent) else f" ({os.environ.get('PATH', '')})"
    found.problems.append(f"agents.{name}: {problem}{where}")
    return kinds.kind(agent.kind).install


def _why_not_run(program: str, directory: Path | None) -> str:
    """Why a program cannot be started in `directory`; "" where it can, or where that is not known."""
    if program.startswith("~"):
        return f"`{program}`: nobody expands the `~`; write the path out"
    if "/" not in program:
        return "" if shutil.which(program) else f"`{program}` is not on this PATH"
    if "{" in program or (directory is None and not program.startswith("/")):
        return ""
    path = (directory or Path("/")) / program
    if not path.is_file():
        return f"`{program}`: there is no file {path}"
    return "" if os.access(path, os.X_OK) else f"`{program}`: {path} is not executable"


def gates(home: Home, work: Work) -> list[str]:
    """The project's gate and those of the queued specs, each once (SPEC 10.1)."""
    specs = [home.read_spec(work, task_id) for task_id in work.queue]
    found = [home.config.project.verify, *(spec.verify for spec in specs if isinstance(spec, Spec))]
    return list(dict.fromkeys(gate for gate in found if gate))


# What makes programs of words in ways that only running it tells: functions, case, a virtual environment.
_OWN_SHELL = re.compile(r"[(`]|\bcase\b|\bPATH=|(?:^|[;&|])\s*(?:\.|source|eval|alias)\s")


def check_gate(gate: str, project: Path | None, found: Verdict) -> str:
    """Whether a shell can parse it, and has its programs; returns the first that is not on PATH, "" where all are.

    A file of the project that is not there is a warning: a task may be to make it.
    """
    parsed = subprocess.run(["sh", "-n", "-c", gate], capture_output=True, check=False)
    if parsed.returncode:
        why = parsed.stderr.decode(errors="replace").strip().rpartition(": ")[2]
        found.problems.append(f"gate `{gate}`: sh cannot parse it: {why}")
        return ""
    words = _programs(gate)
    sought = [word for word in words if "/" not in word or word.startswith("/")]
    missing = [word for word in sought if not timers.said("sh", "-c", 'command -v "$1"', "sh", word)]
    if missing:
        found.problems.append(f"gate `{gate}`: `{missing[0]}` is not on this PATH")
    if project is not None and "cd" not in words:  # else it is not known where it looks
        unfit = (_why_not_run(word, project) for word in words if word not in sought)
        found.warnings += [f"gate `{gate}`: {why}" for why in unfit if why]
    return missing[0] if missing else ""


def _programs(gate: str) -> list[str]:
    """The first word of each command of a shell line, where that can be looked for before any work is done."""
    lexer = shlex.shlex(gate, posix=True, punctuation_chars=True)
    found, is_first = [], True
    try:
        for word in lexer:
            if _OPERATORS.issuperset(word):
                is_first = True
            elif is_first and not re.match(r"\w+=", word):
                found += [word] if re.fullmatch(r"[\w.+/-]+", word) else []
                is_first = False
    except ValueError:  # quotes that do not end, as `sh -n` says
        return []
    return [] if _OWN_SHELL.search(gate) else found


def check_notify(home: Home, found: Verdict) -> None:
    """URLs may be secrets, so none is repeated."""
    notify = home.config.notify
    for number, entry in enumerate(notify.urls, start=1):
        for url in _values(entry, found):
            problem = apprise_urls.problem(url)
            found.problems += [f"notify.urls, number {number}: {problem}"] if problem else []
    for url in _values(notify.ping_url, found):
        problem = ping.problem(url)
        found.problems += [f"notify.ping_url: {problem}"] if problem else []
    if notify.command:
        problem = _why_not_run(notify.command[0], Path("/"))
        found.problems += [f"notify.command: {problem}"] if problem else []


def _values(entry: str, found: Verdict) -> Iterator[str]:
    """The value of an entry where there is one. The timer's environment may have a name that is not set here."""
    try:
        value = config.environment_value(entry) if entry else ""
    except ConfigError as error:
        found.warnings.append(error.message)
        return
    if value:
        yield value
