"""`awm install --openclaw`: a job in the scheduler of an OpenClaw gateway that beats this home, and a skill.

The job runs `heartbeat.py` as a command, which costs no model call: where nothing happened it prints NO_REPLY, which
the gateway keeps to itself; any other text it passes on. It goes by its declaration key, so that a second `cron add`
changes it and adds none (docs/OPENCLAW.md). Seen with 2026.9.6.
"""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from awm_loop.cli.steps import File, Run, Step, run
from awm_loop.config import OpenClawConfig
from awm_loop.errors import AwmError

EVERY = "5m"
EVERY_MS = 5 * 60 * 1000
QUIET = "NO_REPLY"
SKILL = Path(__file__).resolve().parent.parent / "templates" / "openclaw-skill.md"
SKILL_SAYS = "`~/awm/.venv/bin/awm --home ~/sprints`\ninstead, with the person's own paths."
BY_HAND = "`openclaw cron list` says more; docs/HEARTBEAT.md has what to paste instead"


def install_steps(values: Mapping[str, str], config: OpenClawConfig, warnings: list[str]) -> list[Step]:
    """What is left to do. `values` are those of the templates of `systemd/`. Raises AwmError."""
    program = _program()
    argv = [values["python"], values["heartbeat"], "--home", values["home"], "--quiet-token", QUIET]
    delivers = not config.channel  # else the outbox sends each notice there, and it would come twice
    steps: list[Step] = []
    job = next(iter(_jobs(program, values["name"])), None)
    if job is None or not _is_as_wanted(job, argv, values["path"], delivers):
        add = [program, "cron", "add", "--declaration-key", values["name"], "--name", values["name"]]
        add += ["--description", f"AWM: one beat of {values['home']}", "--every", EVERY]
        add += ["--command-argv", json.dumps(argv), "--command-env", f"PATH={values['path']}"]
        add += [*(["--announce", "--channel", "last"] if delivers else ["--no-deliver"]), "--json"]
        steps.append(Run(add, instead=BY_HAND))
    if job is not None and job.get("enabled") is False:
        steps.append(Run([program, "cron", "enable", str(job["id"])], instead=BY_HAND))
    skill = _skill_path(program, warnings)
    if skill is not None and SKILL.exists():
        awm = [str(Path(values["python"]).parent / "awm"), "--home", values["home"]]
        text = SKILL.read_text(encoding="utf-8").replace(SKILL_SAYS, f"`{shlex.join(awm)}`\ninstead.")
        old = _text(skill)
        steps += [] if old == text else [File(skill, text)]
        if old is not None and not _names(old, values["home"]):
            warnings.append("the assistant's skill did not name this home: from now on it names this one alone")
    return steps


def uninstall_steps(name: str, home: str, warnings: list[str]) -> list[Step]:
    """What is left to do to take out the job called `name`, and the skill of `home`. Raises AwmError."""
    program = _program()
    steps: list[Step] = [
        Run([program, "cron", "rm", str(job["id"]), "--json"], instead=BY_HAND) for job in _jobs(program, name)
    ]
    skill = _skill_path(program, warnings)
    old = _text(skill) if skill is not None else None
    if skill is None or old is None:
        return steps
    if _names(old, home):
        return [*steps, File(skill, None, folder_of_ours=skill.parent)]
    warnings.append(f"{skill} stays: it does not name this home")
    return steps


def _names(skill: str, home: str) -> bool:
    """Whether a skill is the one of this home: an assistant has room for one."""
    return f"--home {shlex.quote(home)}`" in skill


def _program() -> str:
    found = shutil.which("openclaw")
    if found is None:
        raise AwmError("there is no `openclaw` on this PATH", "add it to PATH; docs/HEARTBEAT.md needs none")
    return found


def _jobs(program: str, name: str) -> list[dict[str, Any]]:
    """This home's jobs: one at most, but for what a person copied. Raises AwmError."""
    jobs = _said(program, "cron", "list", "--all", "--json")
    found = jobs.get("jobs") if isinstance(jobs, dict) else None
    if not isinstance(found, list):
        raise AwmError("`openclaw cron list --all --json` prints no jobs", BY_HAND)
    return [job for job in found if isinstance(job, dict) and job.get("declarationKey") == name and "id" in job]


def _is_as_wanted(job: Mapping[str, Any], argv: list[str], path: str, delivers: bool) -> bool:
    schedule, payload, delivery = (job.get(key) for key in ("schedule", "payload", "delivery"))
    return (
        isinstance(schedule, dict)
        and isinstance(payload, dict)
        and isinstance(delivery, dict)
        and (schedule.get("everyMs"), payload.get("argv")) == (EVERY_MS, argv)
        and payload.get("env") == {"PATH": path}
        and delivery.get("mode") == ("announce" if delivers else "none")  # it keeps the channel of an earlier one
    )


def _skill_path(program: str, warnings: list[str]) -> Path | None:
    """Where the skill belongs: into the workspace of the agent that answers by default."""
    agents = _said(program, "agents", "list", "--json")
    rows = [row for row in agents if isinstance(row, dict)] if isinstance(agents, list) else []
    rows.sort(key=lambda row: row.get("isDefault") is not True)
    workspace = rows[0].get("workspace") if rows else None
    if not isinstance(workspace, str) or not Path(workspace).is_absolute():
        warnings.append("`openclaw agents list --json` names no workspace: the skill is not placed")
        return None
    return Path(workspace) / "skills" / "awm" / "SKILL.md"


def _said(program: str, *words: str) -> object:
    """The JSON that it prints. Raises AwmError where it fails."""
    done = run([program, *words])
    try:
        said = json.loads(done.stdout)
    except (ValueError, RecursionError):
        said = None
    if done.returncode != 0:
        error = said.get("error") if isinstance(said, dict) else None
        text = str(error.get("message")) if isinstance(error, dict) else done.stderr.decode(errors="replace")
        raise AwmError(f"`openclaw {shlex.join(words)}` failed: {' '.join(text.split())}", BY_HAND)
    return said


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
