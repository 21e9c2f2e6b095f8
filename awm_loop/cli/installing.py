"""`awm install` and `awm uninstall`: put a home on the machine's timer, and take it off (docs/decisions/0005).

What is written are the templates of `systemd/`, filled in. A timer's environment is not the shell's: nvm, pyenv and npm
put programs where only the shell looks, so they are looked for here and now, and where they were found goes along.
"""

from __future__ import annotations

import os
import pwd
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import click

from awm_loop.attempt.scope import home_name
from awm_loop.cli import gateway_job
from awm_loop.cli.carried import search_path, wanted_variables
from awm_loop.cli.setting_up import find_home, open_home
from awm_loop.cli.steps import File, Run, Step, run, take
from awm_loop.errors import AwmError, ConfigError
from awm_loop.wiring import Home

CHECKOUT = Path(__file__).resolve().parent.parent.parent


@click.command()
@click.option("--systemd", is_flag=True, help="A timer of systemd: yours, or the system's for root.")
@click.option("--cron", is_flag=True, help="A line in your crontab.")
@click.option("--openclaw", is_flag=True, help="A job of your OpenClaw gateway, every 5 minutes; with AWM's skill.")
@click.option("--dry-run", is_flag=True, help="Print what would be written and run; do nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one object.")
@click.pass_context
def install(context: click.Context, /, dry_run: bool, as_json: bool, **schedulers: bool) -> None:
    """Put this home on a timer, one beat a minute.

    It is systemd's where a manager answers, else cron's. Repeat to update.

    \b
    Example:  awm install --dry-run
    """
    asked = [name for name, is_asked in schedulers.items() if is_asked]
    if len(asked) > 1:
        raise click.UsageError("one of --systemd, --cron and --openclaw")
    home = open_home(context)
    warnings = ["agents will run as root, and can do what root can"] if os.geteuid() == 0 else []
    chosen = asked[0] if asked else _whoever_answers()
    if asked == ["systemd"] and not _answers():
        silence = f"no systemd manager answers `systemctl {_whose()} show`"
        if not dry_run:
            raise AwmError(silence, "awm install --cron")
        warnings.append(f"{silence}: only --cron can be installed here")
    values = _values(home, warnings)
    match chosen:
        case "systemd":
            steps, keys_path = _systemd_steps(values), Path.home() / ".config" / "awm" / "environment"
            known, where = _text(keys_path) or "", str(keys_path)
        case "openclaw":
            steps = gateway_job.install_steps(values, home.config.openclaw, warnings)
            known, where = "", "the gateway's own environment"
        case _:
            crontab = _crontab()
            line = _filled("awm.cron", values, cron_word).splitlines()[-1]
            steps = _crontab_steps(crontab, with_line(crontab, line))
            known, where = crontab.decode(errors="replace"), "your crontab, above the line"
    warnings += [
        f"the timer does not know {name}: put {name}=… into {where}"
        for name in wanted_variables(home.config)
        if not re.search(rf"^\s*{re.escape(name)}\s*=", known, re.M)
    ]
    said = {"home": str(home.path), "scheduler": chosen, "name": values["name"]}
    take(steps, said, warnings, dry_run=dry_run, as_json=as_json)
    if not as_json:
        beats = "a beat every 5 minutes" if chosen == "openclaw" else "a beat every minute"
        word = "up to date" if not steps else "a dry run: nothing was done" if dry_run else beats
        why = "" if asked or chosen == "systemd" else ", as no systemd manager answers"
        click.echo(f"{chosen}{why}: {values['name']}: {word}")


@click.command()
@click.option("--openclaw", is_flag=True, help="The job of your OpenClaw gateway, and AWM's skill, instead.")
@click.option("--dry-run", is_flag=True, help="Print what would be removed and run; do nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one object.")
@click.pass_context
def uninstall(context: click.Context, openclaw: bool, dry_run: bool, as_json: bool) -> None:
    """Take this home off the timer: undo `awm install`. State, running agents and lingering stay.

    \b
    Example:  awm uninstall
    """
    home_path = find_home(context.obj)
    name = home_name(home_path)
    warnings: list[str] = []
    steps = gateway_job.uninstall_steps(name, str(home_path), warnings) if openclaw else _steps_out(name, warnings)
    take(steps, {"home": str(home_path), "name": name}, warnings, dry_run=dry_run, as_json=as_json)
    if not as_json:
        stays = "state and running agents stay, and an agent's end starts the next task: `awm pause` prevents that"
        click.echo(f"{name}: {stays if steps else 'nothing is installed'}")


def _steps_out(name: str, warnings: list[str]) -> list[Step]:
    """What takes the home called `name` off systemd's timer and out of the crontab."""
    steps: list[Step] = []
    units = [
        path for path in (_unit_directory() / f"{name}.timer", _unit_directory() / f"{name}.service") if path.exists()
    ]
    if units:
        systemctl = ["systemctl", _whose()]
        steps += [
            Run([*systemctl, "disable", "--now", f"{name}.timer"], if_refused="systemd did not disable the timer"),
            Run([*systemctl, "clean", "--what=state", f"{name}.timer"], if_refused="its stamp file stays"),
            *(File(path, None) for path in units),
            Run([*systemctl, "daemon-reload"], if_refused="systemd knows the units until it is restarted"),
        ]
    if shutil.which("crontab") is not None:
        try:
            crontab = _crontab()
            steps += _crontab_steps(crontab, without_line(crontab, name))
        except AwmError as error:  # who may not use cron has no line there
            warnings.append(error.message)
    return steps


def _whoever_answers() -> str:
    if _answers():
        return "systemd"
    if shutil.which("crontab") is not None:
        return "cron"
    raise AwmError(
        "no systemd manager answers, and there is no crontab program",
        f"have something call {CHECKOUT / 'heartbeat.py'} every minute (docs/HEARTBEAT.md)",
    )


def _answers() -> bool:
    return run(["systemctl", _whose(), "show", "--property=Version"]).returncode == 0


# What is filled in


def _values(home: Home, warnings: list[str]) -> dict[str, str]:
    """What is filled in for each `@word@` of the templates. Raises ConfigError."""
    heartbeat = CHECKOUT / "heartbeat.py"
    if not heartbeat.is_file():
        raise ConfigError(f"there is no {heartbeat} for a timer to call", "run awm from a checkout")
    values = {
        "name": home_name(home.path),
        "home": str(home.path),
        "user": str(Path.home()),
        "python": os.path.abspath(sys.executable),  # noqa: PTH100  resolved, it would not be the virtual environment's
        "heartbeat": str(heartbeat),
        "path": search_path(home.config, warnings),
    }
    for value in values.values():
        if re.search(r"[\x00-\x1f\x7f\x85\u2028\u2029\ud800-\udfff]", value):
            raise ConfigError(f"{value!r} cannot stand in a unit or a crontab", "rename the directory")
    return values


def _filled(template: str, values: Mapping[str, str], quoted: Callable[[str], str]) -> str:
    text = (CHECKOUT / "systemd" / template).read_text(encoding="utf-8")
    return re.sub(rf"@({'|'.join(values)})@", lambda found: quoted(values[found[1]]), text)


# systemd


def _whose() -> str:
    return "--user" if os.geteuid() else "--system"


def _unit_directory() -> Path:
    if os.geteuid() == 0:
        return Path("/etc/systemd/system")
    # The manager was started by the login and not by this shell: it goes by neither its HOME nor its XDG_CONFIG_HOME.
    return Path(_account().pw_dir) / ".config" / "systemd" / "user"


def _account() -> pwd.struct_passwd:
    """Who we are to the login. Raises ConfigError where nobody knows, as in some containers."""
    try:
        return pwd.getpwuid(os.getuid())
    except KeyError as error:
        raise ConfigError(f"uid {os.getuid()} has no name on this machine", "awm install --cron") from error


def _systemd_steps(values: Mapping[str, str]) -> list[Step]:
    """What is left to do. Raises AwmError where systemd finds fault with the units."""
    timer = f"{values['name']}.timer"
    start = {name: values[name].replace("$", "$$") for name in ("python", "heartbeat")}  # ExecStart= alone expands
    texts = {
        f"{values['name']}.{kind}": _filled(f"awm.{kind}", {**values, **start}, _unit_word)
        for kind in ("service", "timer")
    }
    _verify(texts)
    systemctl = ["systemctl", _whose()]
    steps: list[Step] = [
        File(_unit_directory() / name, text) for name, text in texts.items() if _text(_unit_directory() / name) != text
    ]
    if steps:
        steps.append(Run([*systemctl, "daemon-reload"]))
    if any(run([*systemctl, "--quiet", is_so, timer]).returncode for is_so in ("is-enabled", "is-active")):
        steps.append(Run([*systemctl, "enable", "--now", timer]))
    user = _account().pw_name
    lingers = ["loginctl", "show-user", user, "--property=Linger", "--value"]
    if os.geteuid() != 0 and run(lingers).stdout.strip() != b"yes":
        refused = f"the timer and its agents end when you log out; have root run: loginctl enable-linger {user}"
        steps.append(Run(["loginctl", "enable-linger", user], if_refused=refused))
    return steps


def _unit_word(value: str) -> str:
    """For between double quotes in a unit file."""
    return re.sub(r'([\\"])', r"\\\1", value).replace("%", "%%")


def _verify(texts: Mapping[str, str]) -> None:
    """Have systemd look at the units before they are in place; on a machine without its analyzer nobody does."""
    with tempfile.TemporaryDirectory() as directory:
        paths = [Path(directory) / name for name in texts]
        for path in paths:
            path.write_text(texts[path.name], encoding="utf-8")
        done = run(["systemd-analyze", _whose(), "--man=no", "verify", *map(str, paths)])
    said = [line for line in done.stderr.decode(errors="replace").splitlines() if any(name in line for name in texts)]
    if said:
        raise AwmError("systemd finds fault with the units: " + "; ".join(said), "nothing is installed; see --dry-run")


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


# cron


def _crontab() -> bytes:
    """What `crontab -l` prints; nothing where there is none. Raises AwmError."""
    done = run(["crontab", "-l"])
    if done.returncode == 0:
        return done.stdout
    if b"no crontab" in done.stderr:
        return b""
    said = " ".join(done.stderr.decode(errors="replace").split())
    raise AwmError(f"cannot read your crontab: {said}", "`crontab -l` says more; `awm install --systemd` needs none")


def _crontab_steps(old: bytes, new: bytes) -> list[Step]:
    if new == old:
        return []
    return [Run(["crontab", "-"], new) if new else Run(["crontab", "-r"])]


def with_line(crontab: bytes, line: str) -> bytes:
    """`crontab` with `line`, in place of the home's earlier one or at the end; every other byte is kept."""
    name = line.rpartition(" ")[2]
    new = line.encode() + b"\n"
    lines = crontab.splitlines(keepends=True)
    ours = [index for index, one in enumerate(lines) if _is_of(one, name)]
    if not ours:
        return crontab + (b"\n" if crontab and not crontab.endswith(b"\n") else b"") + new
    return b"".join(new if index == ours[0] else one for index, one in enumerate(lines) if index not in ours[1:])


def without_line(crontab: bytes, name: str) -> bytes:
    """`crontab` without the lines of the home called `name`."""
    return b"".join(one for one in crontab.splitlines(keepends=True) if not _is_of(one, name))


def _is_of(line: bytes, name: str) -> bool:
    return not line.lstrip().startswith(b"#") and line.rstrip().endswith(f" # {name}".encode())


def cron_word(value: str) -> str:
    """One word of a command in a crontab, where `\\%` is `%` unless another backslash precedes."""
    return shlex.quote(value).replace("%", "'\\%'")
