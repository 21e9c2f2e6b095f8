"""`awm install --openclaw` and `awm uninstall --openclaw` with a program that answers as `openclaw` 2026.9.6 was seen to.

The real one runs the job in tests/live/test_gateway.py.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from home import REPOSITORY, Done, Home, only

from awm_loop.attempt.scope import home_name
from awm_loop.cli.gateway_job import SKILL, SKILL_SAYS

# It keeps its jobs in a file, one for each declaration key; its answers have the recorded keys.
OPENCLAW = """\
#!{python}
import json, os, pathlib, sys
words, jobs_path = sys.argv[1:], pathlib.Path(os.environ["JOBS"])
with open(os.environ["ASKED"], "a") as asked:
    print(json.dumps(words), file=asked)
def end(value, code=0):
    print(json.dumps(value, indent=2))
    raise SystemExit(code)
def fail(text):
    print(text, file=sys.stderr)
    end({{"ok": False, "error": {{"type": "cli_error", "message": text}}}}, 1)
if os.environ.get("DOWN"):
    fail("Gateway not reachable at ws://127.0.0.1:18789 (ECONNREFUSED).\\nStart it with `openclaw gateway run`")
jobs = json.loads(jobs_path.read_text()) if jobs_path.exists() else []
def save():
    jobs_path.write_text(json.dumps(jobs))
match words:
    case ["agents", "list", "--json"]:
        end([{{"id": "other", "workspace": "/nowhere"}},
             {{"id": "main", "workspace": os.environ["WORKSPACE"], "isDefault": True}}])
    case ["cron", "list", "--all", "--json"]:
        end({{"jobs": jobs}})
    case ["cron", "rm", name, "--json"]:
        if name not in [job["id"] for job in jobs]:
            fail("Automation not found: " + name)
        jobs[:] = [job for job in jobs if job["id"] != name]
        save()
        end({{"ok": True, "removed": True}})
    case ["cron", "enable", name]:
        [job] = [job for job in jobs if job["id"] == name]
        job["enabled"] = True
        save()
        end(job)
    case ["cron", "add", *options]:
        told = {{}}
        while options:
            option = options.pop(0)
            told[option] = True if option in ("--announce", "--no-deliver", "--json") else options.pop(0)
        known = [job for job in jobs if job.get("declarationKey") == told["--declaration-key"]]
        job = known[0] if known else {{"id": f"id-{{len(jobs)}}", "enabled": True}}
        assert told["--every"] == "5m"
        name, _, value = told["--command-env"].partition("=")
        job |= {{
            "declarationKey": told["--declaration-key"],
            "name": told["--name"],
            "description": told["--description"],
            "schedule": {{"kind": "every", "everyMs": 300000, "anchorMs": 1795313382647}},
            "sessionTarget": "isolated",
            "payload": {{"kind": "command", "argv": json.loads(told["--command-argv"]), "env": {{name: value}}}},
            "delivery": job.get("delivery", {{}}) | {{"mode": "none"}}
            if "--no-deliver" in told
            else {{"mode": "announce", "channel": told["--channel"]}},
        }}
        jobs[:] = [one for one in jobs if one["id"] != job["id"]] + [job]
        save()
        end({{"created": not known, "updated": bool(known), "job": job}})
    case _:
        fail(f"error: unknown command {{words}}")
"""


@dataclass(frozen=True)
class Person:
    """A person with a gateway, whose `openclaw` is on PATH, and a home to install."""

    home: Home

    @property
    def workspace(self) -> Path:
        return self.home.root / "workspace"

    @property
    def jobs_path(self) -> Path:
        return self.home.root / "jobs.json"

    def jobs(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.jobs_path.read_text()) if self.jobs_path.exists() else []
        return found

    def asked(self) -> list[list[str]]:
        """What `openclaw` was called with since the last look."""
        path = self.home.root / "asked"
        found = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        path.unlink(missing_ok=True)
        return found

    def awm(self, *arguments: str, at: Path | None = None, **environment: str) -> Done:
        done = subprocess.run(
            [sys.executable, "-m", "awm_loop.cli.main", "--home", str(at or self.home.path), *arguments],
            env={
                "PATH": f"{self.home.root}/bin:/usr/bin:/bin",
                "HOME": str(self.home.user),
                "LANG": "C.UTF-8",
                "JOBS": str(self.jobs_path),
                "ASKED": str(self.home.root / "asked"),
                "WORKSPACE": str(self.workspace),
                **environment,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def person(home: Home) -> Person:
    path = home.root / "bin" / "openclaw"
    path.parent.mkdir()
    path.write_text(OPENCLAW.format(python=sys.executable))
    path.chmod(0o755)
    return Person(home)


def test_the_job_is_added_once_changed_and_taken_out(person: Person) -> None:
    """Issue 7: twice is once, a change updates it, other jobs stay; it beats this home and is quiet with NO_REPLY."""
    mine = {"id": "mine", "enabled": True, "name": "mine", "payload": {"kind": "agentTurn", "message": "Hello"}}
    person.jobs_path.write_text(json.dumps([mine]))

    first = person.awm("install", "--openclaw")
    added = [words for words in person.asked() if words[:2] == ["cron", "add"]]
    again = person.awm("install", "--openclaw")
    not_added = [words for words in person.asked() if words[:2] == ["cron", "add"]]
    [job] = person.jobs()[1:]
    person.home.config('[openclaw]\nchannel = "telegram"\ntarget = "123"\n')
    person.awm("install", "--openclaw")
    [changed] = person.jobs()[1:]
    person.asked()
    person.awm("install", "--openclaw")
    not_changed = person.asked()
    gone = person.awm("uninstall", "--openclaw")

    name = home_name(person.home.path)
    assert (first.code, first.out.splitlines()[-1]) == (0, f"openclaw: {name}: a beat every 5 minutes")
    assert (len(added), not_added) == (1, [])
    assert (again.code, again.out) == (0, f"openclaw: {name}: up to date\n")
    beat = [sys.executable, str(REPOSITORY / "heartbeat.py"), "--home", str(person.home.path)]
    payload = {"kind": "command", "argv": [*beat, "--quiet-token", "NO_REPLY"]}
    path = {"PATH": "/usr/local/bin:/usr/bin:/bin"}
    assert (job["declarationKey"], job["name"]) == (name, name)
    assert job["payload"] == payload | {"env": {"PATH": job["payload"]["env"]["PATH"]}}
    assert set(path["PATH"].split(":")) <= set(job["payload"]["env"]["PATH"].split(":"))
    assert job["delivery"] == {"mode": "announce", "channel": "last"}
    assert changed == job | {"delivery": {"mode": "none", "channel": "last"}}  # the outbox sends: no notice twice
    assert [words for words in not_changed if words[:2] == ["cron", "add"]] == []
    assert (gone.code, person.jobs()) == (0, [mine])
    assert person.awm("uninstall", "--openclaw").out == f"{name}: nothing is installed\n"


def test_the_skill_is_placed_with_the_persons_own_paths(person: Person) -> None:
    """Into the workspace of the agent that answers by default, and out again; it names this home."""
    person.awm("install", "--openclaw")
    path = person.workspace / "skills" / "awm" / "SKILL.md"
    text = path.read_text()
    path.write_text("changed")
    person.awm("install", "--openclaw")

    awm = shlex.join([str(Path(sys.executable).parent / "awm"), "--home", str(person.home.path)])
    assert SKILL_SAYS in SKILL.read_text()
    assert text == SKILL.read_text().replace(SKILL_SAYS, f"`{awm}`\ninstead.")
    assert path.read_text() == text
    person.awm("uninstall", "--openclaw")
    assert [*path.parent.parent.iterdir()] == []


def test_what_a_person_put_beside_the_skill_stays(person: Person) -> None:
    """SPEC 17: what is not AWM's is not removed."""
    person.awm("install", "--openclaw")
    mine = person.workspace / "skills" / "awm" / "notes.md"
    mine.write_text("mine")

    person.awm("uninstall", "--openclaw")

    assert [*mine.parent.iterdir()] == [mine]


def test_of_two_homes_none_takes_the_others_job_or_skill_out(person: Person) -> None:
    """Two jobs; the one skill names the home that was installed last, which is said, and stays until that one goes."""
    other = person.home.path.with_name("home2")
    other.mkdir()
    (other / "awm.toml").touch()
    person.awm("install", "--openclaw")
    second = person.awm("install", "--openclaw", at=other)
    path = person.workspace / "skills" / "awm" / "SKILL.md"
    keys = {job["declarationKey"] for job in person.jobs()}
    first_out = person.awm("uninstall", "--openclaw")
    stays = f"--home {other}`" in path.read_text()
    person.awm("uninstall", "--openclaw", at=other)

    assert "warning: the assistant's skill did not name this home: from now on it names this one alone" in second.err
    assert keys == {home_name(person.home.path), home_name(other)}
    assert (first_out.code, stays) == (0, True)
    assert first_out.err == f"warning: {path} stays: it does not name this home\n"
    assert (person.jobs(), path.exists()) == ([], False)


def test_a_dry_run_says_the_command_and_changes_nothing(person: Person) -> None:
    """SPEC 14: what would be run and written, in words for a person and as one object; the gateway is only asked."""
    done = person.awm("install", "--openclaw", "--dry-run")
    said = json.loads(person.awm("install", "--openclaw", "--dry-run", "--json").out)

    name = home_name(person.home.path)
    line = next(line for line in done.out.splitlines() if line.startswith("would run"))
    assert shlex.split(line)[3:7] == ["cron", "add", "--declaration-key", name]
    assert done.out.splitlines()[-1] == f"openclaw: {name}: a dry run: nothing was done"
    assert (said["scheduler"], said["dryRun"]) == ("openclaw", True)
    assert [next(iter(step)) for step in said["steps"]] == ["run", "write"]
    assert {words[1] for words in person.asked()} == {"list"}
    assert not person.jobs_path.exists()
    assert not person.workspace.exists()


def test_what_stands_in_the_way_is_an_error_with_a_hint(person: Person) -> None:
    """No program, or no gateway behind it: exit 78, its own words, and what can be done without it."""
    down = person.awm("install", "--openclaw", DOWN="yes")
    missing = person.awm("install", "--openclaw", PATH="/usr/bin:/bin")

    said = "Gateway not reachable at ws://127.0.0.1:18789 (ECONNREFUSED). Start it with `openclaw gateway run`"
    assert (down.code, down.out) == (78, "")
    assert down.err.splitlines()[0] == f"awm: `openclaw cron list --all --json` failed: {said}"
    assert down.err.splitlines()[1].startswith("hint: ")
    assert (missing.code, missing.err.splitlines()[0]) == (78, "awm: there is no `openclaw` on this PATH")


def test_the_doctor_finds_the_job_also_one_written_by_hand(person: Person) -> None:
    """A job is a timer as any other: active, turned off (and turned on again by the remedy), or of `--command`."""
    before = person.awm("doctor").out
    person.awm("install", "--openclaw")
    active = person.awm("doctor").out
    [job] = person.jobs()
    person.jobs_path.write_text(json.dumps([job | {"enabled": False}]))
    off = json.loads(person.awm("doctor", "--json").out)["findings"]
    person.awm("install", "--openclaw")
    enabled = only(person.jobs())["enabled"]
    line = f"AWM_HOME={person.home.path} {sys.executable} {REPOSITORY}/heartbeat.py --quiet-token NO_REPLY"
    by_hand = {"id": "x", "enabled": True, "payload": {"kind": "command", "argv": ["sh", "-lc", line]}}
    strange: list[object] = [7, {"payload": []}, {"payload": {"argv": [1]}}, {"payload": {"argv": []}}]
    person.jobs_path.write_text(json.dumps([*strange, by_hand]))
    found = person.awm("doctor").out

    assert "nothing beats this home by itself" in before
    assert f"OpenClaw's job {job['id']} beats this home" in active
    assert {"openclaw cron enable id-0"} == {one["remedy"] for one in off if "nothing beats" in one["what"]}
    assert enabled is True
    assert "OpenClaw's job x beats this home" in found
