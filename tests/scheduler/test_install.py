"""`awm install` and `awm uninstall` without a scheduler: what they would write, where programs are found, what they say.

The crontab program is a stand-in that keeps a file, and nothing of this machine's schedulers is written: with --systemd
there are dry runs only. Real schedulers are in test_systemd.py and test_cron.py.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from home import REPOSITORY, Done, Home, only
from hypothesis import given
from hypothesis import strategies as st

from awm_loop.attempt.scope import home_name
from awm_loop.cli.installing import cron_word, with_line, without_line

CRONTAB = """\
#!/bin/sh
[ -z "$REFUSED" ] || { echo "you ($REFUSED) are not allowed to use this program" >&2; exit 1; }
case "$1" in
  -l) cat "$TABLE" 2> /dev/null || { echo "no crontab for you" >&2; exit 1; } ;;
  -r) rm "$TABLE" ;;
  -) cat > "$TABLE" ;;
esac
"""
SYSTEMCTL = '#!/bin/sh\n[ "$3" = "--property=Version" ] && [ "$ANSWERS" ]\n'
AS_ROOT = ["agents will run as root, and can do what root can"] if os.geteuid() == 0 else []
WHOSE = "--user" if os.geteuid() else "--system"
SILENT = f"no systemd manager answers `systemctl {WHOSE} show`: only --cron can be installed here"
NAME = "awm-sprints-1a2b3c4d"
LINE = f"* * * * * AWM_HOME=/s /p /h # {NAME}"


@dataclass(frozen=True)
class Shell:
    """Somebody's shell: a PATH with stand-ins for the schedulers first, and a home to install."""

    home: Home

    @property
    def programs(self) -> Path:
        return self.home.root / "bin"

    @property
    def table(self) -> Path:
        return self.home.root / "table"

    def program(self, name: str, text: str = "#!/bin/sh\n", below: str = "bin") -> Path:
        path = self.home.root / below / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
        return path

    def awm(self, *arguments: str, path: str = "/usr/local/bin:/usr/bin:/bin", **environment: str) -> Done:
        done = subprocess.run(
            [sys.executable, "-m", "awm_loop.cli.main", "--home", str(self.home.path), *arguments],
            env={
                "PATH": f"{self.programs}:{path}",
                "HOME": str(self.home.user),
                "LANG": "C.UTF-8",
                "TABLE": str(self.table),
                **environment,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def said(self, *arguments: str, path: str = "/usr/local/bin:/usr/bin:/bin") -> dict[str, Any]:
        """The `--json` object of a command that ends well."""
        done = self.awm(*arguments, "--json", path=path)
        assert (done.code, done.err) == (0, ""), done
        found: dict[str, Any] = json.loads(done.out)
        return found

    def line_path(self, path: str) -> list[str]:
        """The directories below the test's own that a crontab line would have in its PATH."""
        line = only(self.said("install", "--cron", "--dry-run", path=path)["steps"])["stdin"]
        words = dict(word.split("=", 1) for word in shlex.split(line.replace("\\%", "%")) if "=" in word)
        root = f"{self.home.root}/"
        return [one.removeprefix(root) for one in words["PATH"].split(":") if one.startswith(root)]


@pytest.fixture
def shell(home: Home) -> Shell:
    found = Shell(home)
    found.program("crontab", CRONTAB)
    found.program("systemctl", SYSTEMCTL)
    return found


def expected_line(shell: Shell) -> str:
    home, user = shell.home.path, shell.home.user
    settings = f"HOME={user} PATH=/usr/local/bin:/usr/bin:/bin AWM_HOME={home}"
    return f"* * * * * {settings} {sys.executable} {REPOSITORY}/heartbeat.py # {home_name(home)}\n"


# cron


def test_the_line_goes_into_the_crontab_and_out_again(shell: Shell) -> None:
    """What was there stays, byte for byte; without other lines the crontab is gone again, too."""
    for others in (b"", b"# mine\r\n\n0 5 * * 1\techo 100\\%\n", b"MAILTO=you@example.org\n\xff\n"):
        shell.table.write_bytes(others) if others else shell.table.unlink(missing_ok=True)

        installed = shell.said("install", "--cron")
        table = shell.table.read_bytes()
        again = shell.said("install", "--cron")
        gone = shell.said("uninstall")

        name = home_name(shell.home.path)
        subject = {"home": str(shell.home.path), "name": name, "dryRun": False}
        step = {"run": ["crontab", "-"], "stdin": table.decode(errors="backslashreplace")}
        assert table == others + expected_line(shell).encode()
        assert installed == subject | {"scheduler": "cron", "steps": [step], "warnings": AS_ROOT}
        assert again == installed | {"steps": []}
        out = {"run": ["crontab", "-"], "stdin": others.decode(errors="backslashreplace")}
        assert gone == subject | {"steps": [out if others else {"run": ["crontab", "-r"]}], "warnings": []}
        assert (shell.table.read_bytes() if shell.table.exists() else b"") == others


TABLES = st.lists(st.binary().filter(lambda line: b"\n" not in line and not line.rstrip().endswith(NAME.encode())))


@given(TABLES, st.booleans())
def test_other_lines_of_a_crontab_are_kept_whatever_they_are(lines: list[bytes], is_ended: bool) -> None:
    """Into it and out again is the crontab that it was, with its last line ended; twice in is once in."""
    crontab = b"".join(line + b"\n" for line in lines)
    given = crontab if is_ended else crontab.removesuffix(b"\n")

    once = with_line(given, LINE)

    ended = given if not given or given.endswith(b"\n") else given + b"\n"
    assert once == ended + LINE.encode() + b"\n"
    assert with_line(once, LINE) == once
    assert without_line(once, NAME) == ended
    assert without_line(given, NAME) == given


@given(TABLES, TABLES)
def test_a_changed_line_stays_where_it_was(before: list[bytes], after: list[bytes]) -> None:
    """An update replaces the home's line in its place, a second copy goes, and another home's line stays."""
    other = LINE.replace("1a2b3c4d", "0f0f0f0f").encode()
    changed = LINE.replace("/p", "/another/python")
    old = b"\n".join([*before, LINE.encode(), other, *after, LINE.encode(), b""])

    assert with_line(old, changed) == b"\n".join([*before, changed.encode(), other, *after, b""])


def as_cron_reads(command: str) -> str:
    """Debian's cron on the command of a line: `\\%` is a percent sign, a bare one ends the command."""
    read = ""
    is_escaped = False
    for character in command:
        if is_escaped and character == "%":
            read = read[:-1]
        elif character == "%":
            return read
        is_escaped = character == "\\" and not is_escaped
        read += character
    return read


@given(st.text(alphabet="%\\'\" $a/*", min_size=1))
def test_any_word_comes_through_cron_and_the_shell(word: str) -> None:
    """Percent signs, backslashes, quotes and dollars of a path arrive as they are."""
    assert shlex.split(as_cron_reads(cron_word(word))) == [word]


def test_a_crontab_that_is_refused_is_an_error_with_a_hint(shell: Shell) -> None:
    """Exit 78 at the installation; who may not use cron has no line to take out."""
    put, out = shell.awm("install", "--cron", REFUSED="you"), shell.awm("uninstall", REFUSED="you")

    refusal = "cannot read your crontab: you (you) are not allowed to use this program"
    hint = "`crontab -l` says more; `awm install --systemd` needs none"
    assert (put.code, put.out, put.err) == (78, "", f"awm: {refusal}\nhint: {hint}\n")
    name = home_name(shell.home.path)
    assert (out.code, out.out, out.err) == (0, f"{name}: nothing is installed\n", f"warning: {refusal}\n")


def test_the_doctor_finds_the_installed_line(shell: Shell) -> None:
    """What `awm install` wrote is what `awm doctor` calls a timer of this home."""
    before = shell.awm("doctor").out
    shell.said("install", "--cron")

    after = shell.awm("doctor").out

    assert "nothing beats this home by itself" in before
    assert "nothing beats this home" not in after
    assert " beats this home" in after


# What goes along


def test_programs_are_found_where_the_installing_shell_finds_them(shell: Shell) -> None:
    """The PATH has, in the shell's order: agents (a shim too), their interpreters, the notifier, words of the gate."""
    shell.program("claude", "#!/usr/bin/env -S FORCE=1 node --flag\n", "nvm/bin")
    shell.program("node", below="node")
    shell.program("codex", "#!/bin/sh\nexec pyenv exec codex\n", "shims")
    shell.program("tell", below="tell")
    shell.program("pytest", below="venv/bin")
    shell.program("unwanted", below="games")
    shell.home.config(
        '[agents.a]\nkind = "command"\ncommand = ["claude"]\n[agents.b]\nkind = "command"\ncommand = ["codex", "exec"]\n'
        '[notify]\ncommand = ["tell"]\n[project]\nverify = "cd app && pytest -q"\n'
    )
    order = ["venv/bin", "games", "nvm/bin/", "shims", "node", "tell"]
    path = ":".join(["", ".", *(f"{shell.home.root}/{one}" for one in order), "/usr/bin:/bin"])

    assert shell.line_path(path) == ["venv/bin", "nvm/bin", "shims", "node", "tell"]


def test_a_directory_is_one_however_path_spells_it(shell: Shell) -> None:
    """`//` and `/./` in a PATH are the same place; one that begins nowhere is none for a timer, and that is said."""
    shell.program("claude", below="a/b")
    shell.program("codex", below="c")
    shell.home.config(
        '[agents.a]\nkind = "command"\ncommand = ["claude"]\n[agents.b]\nkind = "command"\ncommand = ["codex"]\n'
    )
    path = f"{shell.home.root}/a//./b:{os.path.relpath(shell.home.root / 'c')}:/usr/bin:/bin"

    line = only(shell.said("install", "--cron", "--dry-run", path=path)["steps"])["stdin"]
    warnings = shell.said("install", "--cron", "--dry-run", path=path)["warnings"]

    assert f"PATH={shell.home.root}/a/b:/usr/bin" in line
    assert warnings[-1] == (
        f"a timer cannot look in {os.path.relpath(shell.home.root / 'c')}, which your PATH names from here: write it out"
    )


def test_a_program_that_is_not_found_is_said(shell: Shell) -> None:
    """An agent or an interpreter that this shell does not know either is a warning that names who wants it."""
    shell.program("claude", "#!/usr/bin/env no-such-node\n")
    shell.home.config(
        '[agents.a]\nkind = "command"\ncommand = ["claude"]\n[agents.b]\nkind = "command"\ncommand = ["no-such-agent"]\n'
        '[agents.c]\nkind = "command"\ncommand = ["{workspace}/agent"]\n'
    )

    said = shell.said("install", "--cron", "--dry-run")

    assert said["warnings"] == [
        *AS_ROOT,
        "agents.a.command: `no-such-node` is not on this PATH",
        "agents.b.command: `no-such-agent` is not on this PATH",
    ]


def test_variables_that_the_timer_will_lack_are_said(shell: Shell) -> None:
    """`env_pass` and `env:NAME` are not written anywhere by AWM (SPEC 3.3): it says where a person puts them."""
    shell.home.config(
        '[agents.a]\nkind = "command"\ncommand = ["sh"]\nenv_pass = ["A_KEY", "B_KEY"]\n'
        '[notify]\nurls = ["env:A_URL"]\nping_url = "env:B_KEY"\n'
    )
    shell.table.write_text("A_KEY=secret\n")
    keys = shell.home.user / ".config" / "awm" / "environment"
    keys.parent.mkdir(parents=True)
    keys.write_text("# keys\nB_KEY=secret\n")

    cron = shell.said("install", "--cron", "--dry-run")["warnings"]
    systemd = shell.said("install", "--systemd", "--dry-run")["warnings"]

    where = "your crontab, above the line"
    assert cron == [
        *AS_ROOT,
        *(f"the timer does not know {name}: put {name}=… into {where}" for name in ("B_KEY", "A_URL")),
    ]
    assert systemd == [
        *AS_ROOT,
        SILENT,
        *(f"the timer does not know {name}: put {name}=… into {keys}" for name in ("A_KEY", "A_URL")),
    ]


# systemd


def units(shell: Shell) -> dict[str, str]:
    """The unit files that a dry run says it would write, by name."""
    steps = shell.said("install", "--systemd", "--dry-run")["steps"]
    return {Path(step["write"]).name: step["text"] for step in steps if "write" in step}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze on this machine")
def test_systemd_finds_no_fault_in_the_units(shell: Shell) -> None:
    """Not a word from `systemd-analyze verify` about the units of a home, as a user's."""
    directory = shell.home.root / "units"
    directory.mkdir()
    for name, text in units(shell).items():
        (directory / name).write_text(text)

    done = subprocess.run(
        ["systemd-analyze", "--user", "--man=no", "verify", *directory.iterdir()],
        env=shell.home.environ() | {"XDG_RUNTIME_DIR": str(shell.home.root), "SYSTEMD_LOG_TARGET": "console"},
        capture_output=True,
        text=True,
        check=False,
    )

    name = home_name(shell.home.path)
    assert sorted(path.name for path in directory.iterdir()) == [f"{name}.service", f"{name}.timer"]
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_service_says_all_that_a_beat_needs(shell: Shell) -> None:
    """Each word of the template is filled in; a scheduler's environment gives none of them."""
    directives = re.findall(
        r"^(ExecStart|Environment)=(.*)$", units(shell)[f"{home_name(shell.home.path)}.service"], re.M
    )

    assert directives == [
        ("ExecStart", f'"{sys.executable}" "{REPOSITORY}/heartbeat.py"'),
        ("Environment", f'"AWM_HOME={shell.home.path}"'),
        ("Environment", '"PATH=/usr/local/bin:/usr/bin:/bin"'),
        ("Environment", f'"HOME={shell.home.user}"'),
    ]


def test_a_fault_that_systemd_finds_is_shown_and_nothing_is_installed(shell: Shell) -> None:
    """`systemd-analyze verify` looks first. What it says of other units of the machine is not ours."""
    shell.program("systemd-analyze", '#!/bin/sh\necho "/lib/other.service:1: old" >&2\necho "$4:9: Unknown key" >&2\n')

    done = shell.awm("install", "--systemd", "--dry-run")

    assert (done.code, done.out) == (78, "")
    assert re.fullmatch(
        r"awm: systemd finds fault with the units: \S+/awm-home-\w{8}\.service:9: Unknown key\n"
        r"hint: nothing is installed; see --dry-run\n",
        done.err,
    )


# Choice, dry runs, errors


def test_systemd_is_chosen_where_it_answers_else_cron(shell: Shell) -> None:
    """Without a flag, and it is said which, and why not the other."""
    answered, alone = shell.awm("install", "--dry-run", ANSWERS="yes"), shell.awm("install", "--dry-run")

    name = home_name(shell.home.path)
    assert answered.out.splitlines()[-1] == f"systemd: {name}: a dry run: nothing was done"
    assert alone.out.splitlines() == [
        "would run     crontab -    # with the whole crontab; its other lines stay as they are:",
        f"    {expected_line(shell).rstrip()}",
        f"cron, as no systemd manager answers: {name}: a dry run: nothing was done",
    ]


def test_two_schedulers_at_once_are_refused(shell: Shell) -> None:
    """SPEC 14: neither wins in silence; exit 2 as for any slip on the command line."""
    done = shell.awm("install", "--systemd", "--cron", "--dry-run")

    assert (done.code, done.out, done.err.splitlines()[-1]) == (2, "", "Error: one of --systemd, --cron and --openclaw")


def test_a_dry_run_says_that_systemd_does_not_answer_here(shell: Shell) -> None:
    """SPEC 14: what the installation itself would refuse is no surprise; with a manager there is no such word."""
    alone, answered = (shell.awm("install", "--systemd", "--dry-run", ANSWERS=answer) for answer in ("", "yes"))

    assert (alone.code, answered.code) == (0, 0)
    assert f"warning: {SILENT}\n" in alone.err
    assert SILENT not in answered.err


def test_a_dry_run_writes_nothing(shell: Shell) -> None:
    """SPEC 14: neither below the home nor anywhere in the person's directory, nor in the crontab."""
    shell.table.write_text("# mine\n")
    before = sorted(shell.home.root.rglob("*")), shell.home.tree()

    for arguments in (("install", "--cron"), ("install", "--systemd"), ("uninstall",)):
        assert shell.awm(*arguments, "--dry-run").code == 0

    assert (sorted(shell.home.root.rglob("*")), shell.home.tree()) == before
    assert shell.table.read_text() == "# mine\n"


def test_without_any_scheduler_the_program_to_call_is_named(shell: Shell) -> None:
    """A machine with neither, such as most containers: exit 78, and what else could call the heartbeat."""
    (shell.programs / "crontab").unlink()
    shell.program("git")

    done = shell.awm("install", path="/nowhere")

    hint = f"have something call {REPOSITORY / 'heartbeat.py'} every minute (docs/HEARTBEAT.md)"
    said = "no systemd manager answers, and there is no crontab program"
    assert (done.code, done.out, done.err) == (78, "", f"awm: {said}\nhint: {hint}\n")


def test_a_home_that_no_unit_can_name_is_refused(shell: Shell, tmp_path: Path) -> None:
    """A line end in a path would end the line of a unit or a crontab."""
    path = tmp_path / "two\nlines"
    path.mkdir()
    (path / "awm.toml").touch()

    done = shell.awm("--home", str(path), "install", "--cron", "--dry-run")

    expected = f"awm: {str(path)!r} cannot stand in a unit or a crontab\nhint: rename the directory\n"
    assert (done.code, done.out, done.err) == (78, "", expected)


def test_a_home_that_is_gone_can_still_be_taken_off(shell: Shell) -> None:
    """The line is known by its name, which is made of the path alone."""
    shell.said("install", "--cron")
    shutil.rmtree(shell.home.path)

    done = shell.awm("uninstall")

    assert (done.code, shell.table.exists()) == (0, False)


@given(st.text(alphabet=st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1))
def test_a_homes_name_is_one_that_units_may_have(text: str) -> None:
    """Letters, digits and hyphens, short enough with an attempt's key; two homes of one name differ."""
    name = home_name(Path("/a", text))

    assert re.fullmatch(r"awm-[A-Za-z0-9][A-Za-z0-9-]{0,31}-[0-9a-f]{8}", name)
    assert name != home_name(Path("/b", text))
