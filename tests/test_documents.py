"""The documents hold: what they show is run, what they cite exists, what they list is complete.

The README is run as a person would: its `sh` blocks in order, in one shell, in a copy of the checkout at `~/awm` with a
HOME of its own. The copy has its own `.venv`, which borrows the installed packages, so nothing is installed twice. What
would touch the machine's scheduler (`systemctl`, `loginctl`, `crontab`) meets stand-ins: no manager, a crontab in a file. A `text` block right after an `sh` block is what it must print; a line `…` stands for any number of lines.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from test_tidy import CHECKOUT, project_files

from awm_loop import clock, config
from awm_loop.core.model import Account, Attempt, Channel, Earlier, Ended, Notice, Task
from awm_loop.store import document
from awm_loop.store.shape import ClockEntry, Document, PendingEntry, shape_of

sys.path.insert(0, str(CHECKOUT / "tests" / "e2e"))

from home import Home, home, only

__all__ = ["home"]

THIS_SUITE = "./scripts/test"  # in the README too; run here it would run itself, so `.ci/run` runs it
STAND_IN = """\
#!/bin/sh
case "$(basename "$0") $*" in
  "crontab -") cat > "$CRONTAB" ;;
  "crontab -l") cat "$CRONTAB" 2> /dev/null || { echo "no crontab for you" >&2; exit 1; } ;;
  systemctl*) exit 1 ;; # nobody answers, so nothing is written where this machine's own manager would find it
esac
"""
SAME_EVERYWHERE = (
    (r"/\S*/awm-demo-\w+", "DEMO"),
    (r"(?<=ommit )[0-9a-f]{7}\b|\b(?=[0-9a-f]*\d)[0-9a-f]{7,40}\b", "HASH"),  # one of letters alone: seen
    (r"\b\d\d:\d\d:\d\d\b", "TIME"),
    (r"\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)\b", "DAY"),
    (r"\bpid \d+", "PID"),
    (r"~\d+ seconds?\b", "SOON"),
)


@dataclass(frozen=True)
class Block:
    """One `sh` block of the README: where it begins, what it runs, and what it must print, None where none is shown."""

    line: int
    commands: str
    shown: str | None


def readme() -> str:
    return (CHECKOUT / "README.md").read_text()


def blocks() -> Iterator[Block]:
    tokens = MarkdownIt().parse(readme())
    for token, following in zip(tokens, [*tokens[1:], None], strict=True):
        if token.type == "fence" and token.info == "sh":
            shows = following is not None and following.type == "fence" and following.info == "text"
            yield Block(token.map[0] + 1, token.content, following.content if shows else None)


@dataclass(frozen=True)
class Person:
    """Somebody with a HOME, a checkout at `~/awm`, and a machine whose only scheduler is a crontab that nobody reads."""

    home: Home

    @property
    def directory(self) -> Path:
        return self.home.user

    @property
    def checkout(self) -> Path:
        return self.directory / "awm"

    @property
    def crontab_path(self) -> Path:
        return self.home.root / "crontab"

    def arrive(self) -> None:
        for path in project_files():
            (self.checkout / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(CHECKOUT / path, self.checkout / path)
        venv.create(self.checkout / ".venv", symlinks=True)
        packages = next((self.checkout / ".venv").glob("lib/python*/site-packages"))
        (packages / "borrowed.pth").write_text(f"{self.checkout}\n{sysconfig.get_path('purelib')}\n")
        python = self.checkout / ".venv" / "bin" / "python"
        program(python.with_name("awm"), f"#!{python}\nfrom awm_loop.cli.main import main\nmain()\n")
        for name in ("requirements.lock", "requirements-dev.lock"):
            shutil.copy(self.checkout / name, self.checkout / ".venv" / f".awm-{name}")
        for name in ("systemctl", "loginctl", "crontab"):
            program(self.home.root / "bin" / name, STAND_IN)
        (self.home.root / "tmp").mkdir()

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        path = f"{self.home.root / 'bin'}:{os.environ['PATH']}"
        environment = {
            "PATH": path,
            "TMPDIR": str(self.home.root / "tmp"),
            "CRONTAB": str(self.crontab_path),
            "TZ": "UTC",
        }
        return subprocess.run(
            ["bash", "-c", script],
            cwd=self.checkout,
            env=self.home.environ() | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )


def program(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def person(home: Home) -> Person:
    found = Person(home)
    found.arrive()
    return found


def normal(text: str, person: Person | None = None) -> str:
    """Text without what differs from run to run: the person's HOME, hashes, times, pids, temporary names."""
    if person is not None:
        text = text.replace(str(person.directory), "/home/you")
    for pattern, word in SAME_EVERYWHERE:
        text = re.sub(pattern, word, text)
    return "\n".join(line.rstrip() for line in text.strip().splitlines()) + "\n"


def matches(shown: str, printed: str) -> bool:
    parts = [r"(?:.*\n)*?" if line == "…\n" else re.escape(line) for line in shown.splitlines(keepends=True)]
    return re.fullmatch("".join(parts), printed) is not None


@pytest.mark.timeout(600)  # half of it is the demo; alone on the machine 20 s
def test_every_command_of_the_readme_works_and_prints_what_is_shown(person: Person) -> None:
    """The README's commands are run in order, and its outputs are what they print."""
    found = [block for block in blocks() if block.commands.strip() != THIS_SUITE]
    script = "set -eu\n" + "".join(
        f"{{\n{block.commands}\n}} > {person.home.root}/out.{block.line} 2>&1\n" for block in found
    )

    done = person.run(script)

    printed = {block: person.home.root / f"out.{block.line}" for block in found}
    story = "\n".join(
        f"README line {block.line}:\n{path.read_text()}" for block, path in printed.items() if path.exists()
    )
    assert (done.returncode, done.stderr) == (0, ""), story
    for block, path in printed.items():
        if block.shown is not None:
            text = normal(path.read_text(), person)
            assert matches(normal(block.shown), text), f"README line {block.line} prints:\n{text}"


def test_a_shown_output_that_differs_is_found() -> None:
    """The comparison above can fail: only `…`, hashes, times, pids and paths may differ."""
    assert matches(normal("a 1234567 b\n…\nlast"), normal("a 89abcde b\nmiddle\nmore\nlast\n"))
    assert matches(normal("…\nlast"), normal("last"))
    assert not matches(normal("first\nlast"), normal("first\nmiddle\nlast"))
    assert not matches(normal("1 of 4"), normal("2 of 4"))


def test_the_readme_has_the_command_that_ci_runs() -> None:
    """SPEC 1: what CI calls green is what the README tells people to type."""
    assert THIS_SUITE in [block.commands.strip() for block in blocks()]
    assert THIS_SUITE in (CHECKOUT / ".ci" / "run").read_text().splitlines()


def test_every_link_of_the_documents_leads_somewhere() -> None:
    """A relative link or a path in backticks below docs/, scripts/, systemd/, state/ or awm_loop/ names a file."""
    for path in (path for path in project_files() if path.suffix == ".md"):
        text = (CHECKOUT / path).read_text()
        links = [CHECKOUT / path.parent / name for name in re.findall(r"\]\((?!\w+:|#)([^)#]+)", text)]
        named = re.findall(r"`((?:docs|scripts|systemd|tests|awm_loop)/[\w./-]+)`", text)
        missing = [str(name) for name in links + [CHECKOUT / name for name in named] if not name.exists()]

        assert missing == [], path


def test_every_rule_that_is_cited_stands_in_the_contract() -> None:
    """`SPEC 6.3` in a docstring or a comment is a rule of docs/SPEC.md, and its numbers have no gap."""
    text = (CHECKOUT / "docs" / "SPEC.md").read_text()
    sections = re.findall(r"^## (\d+)\. ", text, re.M)
    rules = re.findall(r"^\*\*(\d+\.\d+)\*\* ", text, re.M)
    cited = {
        number: path
        for path in project_files()
        if path.suffix in {".py", ".md", ".toml"}
        for found in re.findall(r"\bSPEC(?:[ -]|\.md )(\d+(?:\.\d+)?(?:(?:, | and )\d+(?:\.\d+)?)*)", read(path))
        for number in re.findall(r"\d+(?:\.\d+)?", found)
    }

    assert sections == [str(number) for number in range(1, 18)]
    for section in sections:
        own = [rule for rule in rules if rule.split(".")[0] == section]
        assert own == [f"{section}.{number}" for number in range(1, len(own) + 1)]
    assert {number: path for number, path in cited.items() if number not in {*rules, *sections}} == {}


def read(path: Path) -> str:
    return (CHECKOUT / path).read_text()


def test_the_state_example_is_the_starter_file_and_loads() -> None:
    """SPEC 4.1: the example, as it stands, is a valid state with its three tasks in the queue."""
    path = CHECKOUT / "state" / "current_work.example.json"
    parsed = document.parse(path.read_bytes(), path)
    work, settings = document.read(parsed, path, clock.now(), ("local", "local"))

    assert (work.queue, work.completed, work.attempts) == (("S1", "S2", "S3"), (), ())
    assert (work.paused, settings.max_retries, settings.limit_retry_minutes) == (False, 3, 15)
    assert set(document.STARTER) <= set(json.loads(path.read_bytes()))


def test_every_field_of_the_state_file_is_explained() -> None:
    """SPEC 4.1, 4.2: state/README.md names every key that AWM knows, and the README those that people edit."""
    shapes = (
        Document,
        ClockEntry,
        PendingEntry,
        *map(shape_of, (Task, Attempt, Account, Notice, Channel, Ended, Earlier)),
    )
    keys = {field.alias or name for shape in shapes for name, field in shape.model_fields.items()}
    explained = set(re.findall(r"`(\w+)`|\"(\w+)\":", (CHECKOUT / "state" / "README.md").read_text()))
    words = {word for pair in explained for word in pair}

    assert sorted(keys - words) == []
    assert [key for key in document.STARTER if f"`{key}`" not in readme()] == []


def test_every_setting_is_in_the_readme() -> None:
    """SPEC 16: the README names every key of awm.toml."""
    tables = (config.LoopConfig, config.AgentConfig, config.NotifyConfig)
    missing = [key for table in tables for key in table.model_fields if not re.search(rf"\b{key}\b", readme())]

    assert missing == []


def test_the_configuration_shown_is_one_that_loads(tmp_path: Path) -> None:
    """SPEC 16: the README's awm.toml is accepted as it stands."""
    shown = only([token.content for token in MarkdownIt().parse(readme()) if token.info == "toml"])
    (tmp_path / "awm.toml").write_text(shown)
    loaded = config.load(tmp_path / "awm.toml")

    assert (loaded.loop.default_agent, loaded.agents["claude"].kind) == ("claude", "claude")


def test_a_beat_that_ends_leaves_its_agents_alone() -> None:
    """docs/decisions/0005: the service has what agents outlive it by, each directive where systemd looks for it."""
    text = (CHECKOUT / "systemd" / "awm.service").read_text()
    unit, service = re.split(r"^\[Service\]$", text, flags=re.M)
    directives = re.findall(r"^(\w+)=", service, re.M)

    assert "\nKillMode=process\n" in service
    assert "\nType=oneshot\n" in service
    assert "\nStartLimitIntervalSec=0\n" in unit
    assert set(directives).isdisjoint({"PrivateTmp", "RuntimeDirectory", "ProtectHome", "RemainAfterExit"})


def test_every_directive_has_its_reason() -> None:
    """In the units, a comment stands before each directive or before the group it is in."""
    for name in ("awm.service", "awm.timer"):
        groups = read(Path("systemd") / name).split("\n\n")
        bare = [group for group in groups if re.search(r"^\w+=", group, re.M) and "#" not in group]

        assert [group.split("\n")[0] for group in bare] in (["[Unit]"], ["[Unit]", "[Install]"], ["[Install]"], []), (
            name
        )


def as_cron(person: Person, command: str) -> subprocess.CompletedProcess[str]:
    """Run a line as cron does: /bin/sh, in HOME, with the little environment that cron gives."""
    return subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=person.directory,
        env={"PATH": "/usr/bin:/bin", "HOME": str(person.directory), "SHELL": "/bin/sh", "LOGNAME": "you"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_installed_crontab_line_beats(person: Person) -> None:
    """SPEC 3.1, 6.3: run as cron runs it, the line that `awm install` writes is one silent beat of `~/sprints`."""
    (person.directory / "sprints").mkdir()
    (person.directory / "sprints" / "awm.toml").touch()

    said = person.run(".venv/bin/awm --home ~/sprints install")
    [line] = person.crontab_path.read_text().splitlines()
    done = as_cron(person, line.split(maxsplit=5)[5])

    assert (said.returncode, done.returncode, done.stdout, done.stderr) == (0, 0, "", "")
    assert (person.directory / "sprints" / "state").stat().st_mode & 0o777 == 0o700


def test_what_an_assistant_is_told_to_run_works(person: Person) -> None:
    """SPEC 3.4, 6.3: the commands of docs/HEARTBEAT.md, under the system's Python: silence, a task, how it stands."""
    spec = person.home.spec("S7")
    commands = re.findall(r"^    (AWM_HOME=.*)$", read(Path("docs/HEARTBEAT.md")), re.M)
    (person.directory / "sprints").mkdir()
    (person.directory / "sprints" / "awm.toml").touch()

    beat, add, status = [as_cron(person, command.replace("/absolute/path", str(spec.parent))) for command in commands]

    assert (beat.returncode, beat.stdout, beat.stderr) == (0, "HEARTBEAT_OK\n", "")
    assert (add.returncode, add.stdout, add.stderr) == (0, "queued S7 (1 in the queue)\n", "")
    assert (status.returncode, status.stdout.splitlines()[1]) == (0, "  queue      S7")
