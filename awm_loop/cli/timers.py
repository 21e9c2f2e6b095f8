"""Who beats a home: the systemd timers, crontab lines and jobs of a gateway that name it (docs/MEASURED.md 1).

Found by what is on the machine and not by who put it there, so that a unit written by hand counts too. A manager,
a crontab or a gateway that cannot be asked has none.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ASK_SECONDS_MAX = 10.0  # a manager that hangs has no timers
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
_CRON_VARIABLE = re.compile(r"\s*([A-Za-z_]\w*)\s*=\s*(.*)")
_CRON_JOB = re.compile(r"\s*(?!#)(?:@(?!reboot)\w+|(?:\S+\s+){4}\S+)\s+(.+)")

_ESCAPED = re.compile(r"\\([$`])")  # systemd quotes for a shell, and shlex does not know these two
_CRON_HOME = re.compile(r"'[^']*'|\\.|\$HOME\b|\$\{HOME\}")  # what the shell expands, and what it takes as it stands


@dataclass(frozen=True, slots=True)
class Timer:
    """One of them. `environment` is what it sets beside the scheduler's own."""

    scheduler: str  # user or system, a manager of systemd's; or cron, or openclaw
    unit: str  # of systemd's; the id of a gateway's job
    is_active: bool
    environment: Mapping[str, str]
    command: Sequence[str]

    def __str__(self) -> str:
        words = {"user": "systemd user timer ", "system": "systemd timer ", "cron": "a line of the crontab"}
        words["openclaw"] = "OpenClaw's job "
        return words[self.scheduler] + self.unit


def of(home: Path) -> list[Timer]:
    """The timers that beat `home`, active or not."""
    return [
        *_of_systemd("user", home),
        *_of_systemd("system", home),
        *(timer for timer in _in_crontab(said("crontab", "-l")) if _names(timer, home)),
        *(timer for timer in _in_gateway(said("openclaw", "cron", "list", "--all", "--json")) if _names(timer, home)),
    ]


def said(*command: str) -> str:
    """What a command prints; "" where it fails, hangs, or is not there."""
    # Cron's environment does not say where the user's manager listens.
    environment = {"XDG_RUNTIME_DIR": f"/run/user/{os.getuid()}", **os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=ASK_SECONDS_MAX,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace") if done.returncode == 0 else ""


def _of_systemd(manager: str, home: Path) -> Iterator[Timer]:
    found = {unit["Unit"]: unit for unit in _shown(manager, ("Id", "Unit", "ActiveState"), "*.timer")}
    services = _shown(manager, ("Id", "Environment", "EnvironmentFiles", "ExecStart"), *found) if found else []
    for service in services:
        unit = found.get(service["Id"])
        runs = re.search(r"path=(.*?) ; argv\[\]=(.*?) ; ", service["ExecStart"])  # of argv no word says where it ends
        if unit is None or runs is None:
            continue
        timer = Timer(
            scheduler=manager,
            unit=unit["Id"],
            is_active=unit["ActiveState"] == "active",
            environment=dict(_assignments(_words(_ESCAPED.sub(r"\1", service["Environment"])))) | _from_files(service),
            command=[runs[1], *runs[2].split()[1:]],
        )
        if _names(timer, home):
            yield timer


def _shown(manager: str, properties: Sequence[str], *units: str) -> list[dict[str, str]]:
    """`systemctl show`: a block of `Name=value` lines for each unit; the lines of one name are joined."""
    blocks = said("systemctl", f"--{manager}", "show", "--all", f"--property={','.join(properties)}", "--", *units)
    result = []
    for block in blocks.split("\n\n"):
        unit: dict[str, str] = {}
        for name, separator, value in (line.partition("=") for line in block.splitlines()):
            if separator:
                unit[name] = f"{unit[name]}\n{value}" if name in unit else value
        if unit:
            result.append(dict.fromkeys(properties, "") | unit)
    return result


def _from_files(service: Mapping[str, str]) -> dict[str, str]:
    """What the unit's EnvironmentFile= lines set, of those that can be read."""
    result: dict[str, str] = {}
    for line in service["EnvironmentFiles"].splitlines():
        with suppress(OSError):
            text = Path(line.rpartition(" (")[0]).read_text(encoding="utf-8", errors="replace")
            for entry in text.splitlines():
                result |= {} if entry.lstrip()[:1] in "#;" else dict(_assignments(_words(entry)))
    return result


def _assignments(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    for word in words:
        if found := _ASSIGNMENT.fullmatch(word):
            yield found[1], found[2]


def _in_crontab(text: str) -> Iterator[Timer]:
    variables: dict[str, str] = {}
    for line in text.splitlines():
        if variable := _CRON_VARIABLE.fullmatch(line):
            variables[variable[1]] = variable[2].strip().strip("\"'")
        elif job := _CRON_JOB.fullmatch(line):
            command = re.split(r"(?<!\\)%", job[1])[0].replace("\\%", "%")  # what follows a bare % is its input
            words = _words(_CRON_HOME.sub(_expanded, command))
            yield Timer("cron", "", True, variables | dict(_assignments(words)), words)


def _in_gateway(text: str) -> Iterator[Timer]:
    """The command jobs among what `openclaw cron list --json` prints; nothing where that is something else."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return
    jobs = said.get("jobs") if isinstance(said, dict) else None
    for job in jobs if isinstance(jobs, list) else ():
        if not isinstance(job, dict) or not isinstance(payload := job.get("payload"), dict):
            continue
        argv = payload.get("argv")
        if isinstance(argv, list) and argv and all(isinstance(word, str) for word in argv):
            words = _words(argv[-1]) if argv[1:-1] == ["-lc"] else argv  # a line for its shell
            sets = dict(_assignments(words))
            if isinstance(environment := payload.get("env"), dict):
                sets = {name: value for name, value in environment.items() if isinstance(value, str)} | sets
            yield Timer("openclaw", str(job.get("id")), job.get("enabled") is True, sets, words)


def _expanded(found: re.Match[str]) -> str:
    return str(Path.home()) if found[0].startswith("$") else found[0]


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:  # quotes that do not end
        return []


def _names(timer: Timer, home: Path) -> bool:
    """Whether its command is a beat, and one of this home (SPEC 3.1)."""
    words = list(timer.command)
    beats = [word for word in words if Path(word).name == "heartbeat.py"]
    if not beats and "beat" not in words:
        return False
    after = [words[at + 1] for at, word in enumerate(words[:-1]) if word == "--home"]
    after += [word.removeprefix("--home=") for word in words if word.startswith("--home=")]
    named = after or [timer.environment.get("AWM_HOME") or (str(Path(beats[0]).parent) if beats else "")]
    return bool(named[0]) and os.path.realpath(named[0]) == os.path.realpath(home)
