"""How a beat behaves towards its caller: silence, tokens, dry runs, exit codes, `--json` (SPEC 3.1, 6.1-6.4)."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest
from home import PATIENCE_SECONDS, QUICK, REPOSITORY, Done, Home, only

from awm_loop.triggers.inbox import write_request

AT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z")


def finished(home: Home) -> None:
    home.spec("S1")
    home.queue("S1")
    home.finish()


def running(home: Home) -> None:
    home.spec("S1", home.work("sleep 1000"))
    home.queue("S1")
    home.beat()
    home.wait_for(lambda: home.begun() == ["S1"])
    home.beat()


def waiting(home: Home) -> None:
    home.config("[loop]\nretry_backoff_seconds = [1000]\n")
    home.spec("S1", "exit 1")
    home.queue("S1")
    home.beat()
    home.wait_for(lambda: home.results() and not home.supervisors())
    home.beat()


def paused(home: Home) -> None:
    home.spec("S1")
    home.queue("S1", active=False)
    home.beat()


def limited(home: Home) -> None:
    home.spec("S1")
    home.queue("S1", rateLimitedUntil="2099-01-01T00:00:00Z")
    home.beat()


@pytest.mark.parametrize("settle", [finished, running, waiting, paused, limited])
def test_a_beat_with_nothing_new_changes_nothing_and_says_nothing(settle, home: Home) -> None:
    """Not a byte, not a time stamp, no file made or removed; cron sends no mail (SPEC 6.3, 6.4)."""
    settle(home)
    before = quiet_tree(home)

    assert [home.heartbeat() for _ in range(2)] == [Done(0, "", "")] * 2

    assert quiet_tree(home) == before


def quiet_tree(home: Home) -> dict[str, object]:
    """The home without what a running attempt writes by itself, and what the first beat leaves once: a lock, a note."""
    own = {
        "state",
        "state/cache",
        "state/cache/idle",
        "state/turnstile.lock",
    }  # of folders the time: the names are here
    tree = home.tree().items()
    return {path: found for path, found in tree if path not in own and not path.endswith("samples.jsonl")}


def test_a_quiet_beat_says_its_token_and_a_busy_one_does_not(home: Home) -> None:
    """Exactly WORD, once, and only where there is nothing else to say (SPEC 6.3)."""
    home.spec("S1")
    home.queue("S1")

    busy = home.heartbeat("--quiet-token", "NO_REPLY")
    home.finish()
    quiet = home.heartbeat("--quiet-token", "NO_REPLY")

    assert (busy.code, "NO_REPLY" in busy.out, busy.out.startswith("🚀 Sprint S1 started")) == (0, False, True)
    assert quiet == Done(0, "NO_REPLY\n", "")


def ready(home: Home) -> None:
    """A task that has not been looked at."""
    home.spec("S1")
    home.queue("S1")


def ended(home: Home) -> None:
    """An attempt whose end no beat has seen, and a mark that asks for one."""
    running(home)
    home.put_bytes(home.state_path.read_bytes())
    for pid in home.supervisors():
        os.kill(pid, 9)
    home.wait_for(lambda: not home.supervisors() and not home.agents())
    home.mark_path.touch()


@pytest.mark.parametrize("prepare", [ready, ended, finished, waiting, limited])
def test_a_dry_run_writes_nothing_at_all(prepare, home: Home) -> None:
    """No state, no lock, no mark taken, no notice sent, nothing started or stopped (SPEC 6.2)."""
    prepare(home)
    before, attempts = quiet_tree(home), home.attempts()

    done = [home.heartbeat("--dry-run"), home.heartbeat("--dry-run", "--json"), home.heartbeat("--dry-run", "--settle")]

    assert [(one.code, one.err) for one in done] == [(0, "")] * 3
    assert (quiet_tree(home), home.attempts()) == (before, attempts)
    assert not home.supervisors()


def test_a_dry_run_prints_the_decision(home: Home) -> None:
    """What the next beat would do, as it would say it (SPEC 6.2)."""
    ready(home)

    said = json.loads(home.heartbeat("--dry-run", "--json").out)

    assert said["effect"]["effect"] == "launch"
    assert [(row["task"], row["phase"], row["signal"], row["then"]) for row in said["rows"]] == [
        ("S1", "queued", "ready", "launching")
    ]
    assert "S1" in home.heartbeat("--dry-run").out
    assert home.truth() == []


def test_a_dry_run_shows_what_calls_for_work_and_writes_nothing(home: Home) -> None:
    """A slot that is due, files that changed, a request: what they would queue, and start (SPEC 6.2, 13.2)."""
    home.queue()
    for name in ("hourly", "docs", "added"):
        (home.path / f"{name}.md").write_text(f"# {name}\n\n```sh run\ntrue\n```\n")
    entries = [
        {
            "id": "hourly",
            "type": "time",
            "trigger": "0 * * * *",
            "template": "nightly-review",
            "createdAt": "2026-01-01T00:00:00Z",
        },
        {"id": "docs", "type": "file", "trigger": "*.txt", "debounceSeconds": 0, "spec": "docs.md"},
    ]
    (home.path / "state" / "triggers.json").write_text(json.dumps({"triggers": entries[1:]}))
    home.beat()
    (home.path / "state" / "triggers.json").write_text(json.dumps({"triggers": entries}))
    (home.project / "new.txt").write_text("new")
    write_request(home.path, {"spec": "added.md", "id": "ADDED"})
    before = quiet_tree(home)

    said = json.loads(home.heartbeat("--dry-run", "--json").out)
    assert [(row["task"].partition("-2")[0], row["then"]) for row in said["rows"] if row["phase"] == "armed"] == [
        ("hourly", "fired"),
        ("docs", "fired"),
        ("ADDED", "fired"),
    ]
    assert [row["then"] for row in said["rows"] if row["phase"] == "queued"] == ["blocked", "launching"]
    assert quiet_tree(home) == before


def test_settle_beats_until_nothing_is_left_to_do(home: Home) -> None:
    """In the foreground, until a beat has no effect (SPEC 6.2)."""
    ready(home)

    done = home.heartbeat("--settle")

    assert (done.code, done.err) == (0, "")
    assert done.out.count("🚀 Sprint S1 started") == 1
    assert home.finish()["completed"] == ["S1"]
    assert home.begun() == ["S1"]


def test_json_is_one_object_of_a_fixed_shape(home: Home) -> None:
    """`beat rows effect notices nextDue`, also when nothing happened (SPEC 6.3)."""
    home.spec("S1", home.work("sleep 1000"), title="Thing")
    home.queue("S1")

    first, second = home.heartbeat("--json"), home.heartbeat("--json")

    said = json.loads(first.out)
    key = only(home.attempts()).name
    notice = only(said["notices"])
    assert AT.fullmatch(said["beat"]["at"])
    assert AT.fullmatch(notice["at"])
    assert {**said, "beat": {**said["beat"], "at": "…"}, "notices": [{**notice, "at": "…", "text": "…"}]} == {
        "beat": {"at": "…", "home": str(home.path), "count": 1},
        "rows": [
            {
                "phase": "queued",
                "signal": "ready",
                "then": "launching",
                "effect": "launch",
                "task": "S1",
                "attempt": 1,
                "reason": "local",
            }
        ],
        "effect": {"effect": "launch", "attempt": key},
        "notices": [{"id": "n1", "kind": "started", "task": "S1", "at": "…", "text": "…"}],
        "nextDue": None,
    }
    again = json.loads(second.out)
    assert (again["effect"], again["notices"], again["nextDue"]) == (None, [], None)
    assert (first.err, second.err, first.code, second.code) == ("", "", 0, 0)


@pytest.mark.parametrize("broken", ["state", "config", "project", "agent"])
def test_what_a_person_must_mend_exits_with_78_and_no_traceback(broken: str, home: Home) -> None:
    """One line and a hint on stderr, nothing on stdout (SPEC 6.3)."""
    home.spec("S1")
    home.queue("S1", **({"project": str(home.root / "gone")} if broken == "project" else {}))
    if broken == "state":
        home.put_bytes(b"{")
    if broken == "config":
        home.config("[loop")
    if broken == "agent":
        home.config('[loop]\ndefault_agent = "nobody"\n')

    done = home.heartbeat()

    assert (done.code, done.out, home.truth()) == (78, "", [])
    assert [line.partition(":")[0] for line in done.err.splitlines()] == ["awm", "hint"]


def test_the_home_is_named_by_option_or_environment(home: Home) -> None:
    """`--home` wins over `$AWM_HOME` (SPEC 3.1)."""
    finished(home)
    elsewhere = home.root / "elsewhere"
    elsewhere.mkdir()
    beat = [sys.executable, str(REPOSITORY / "heartbeat.py"), "--json"]

    def asked(*arguments: str, **environment: str) -> str:
        done = subprocess.run(
            [*beat, *arguments],
            env=home.environ() | environment,
            cwd="/",
            capture_output=True,
            text=True,
            check=True,
            timeout=PATIENCE_SECONDS,
        )
        return json.loads(done.stdout)["beat"]["home"]

    assert asked(AWM_HOME=str(home.path)) == str(home.path)
    assert asked("--home", str(home.path), AWM_HOME=str(elsewhere)) == str(home.path)


def test_a_beat_lives_without_standard_streams(home: Home) -> None:
    """Started with stdin, stdout and stderr closed, as some timers do (SPEC 6.5)."""
    for task in ("S1", "S2"):
        home.spec(task)
    home.queue("S1", "S2")
    beat = f"exec {sys.executable} {REPOSITORY}/heartbeat.py --home {home.path} <&- >&- 2>&-"

    assert subprocess.run(["sh", "-c", beat], env=home.environ(), timeout=PATIENCE_SECONDS, check=False).returncode == 0

    assert home.finish()["completed"] == ["S1", "S2"]
    assert home.begun() == ["S1", "S2"]


def test_a_beat_that_nobody_reads_does_its_work(home: Home) -> None:
    """A reader that went away costs no task and no notice (SPEC 6.3, 12.2)."""
    home.config(QUICK)
    home.spec("S1")
    home.queue("S1")
    beat = home.begin_beat()
    beat.stdout.close()
    beat.stderr.close()
    beat.wait(PATIENCE_SECONDS)

    assert home.finish()["completed"] == ["S1"]
    assert "Traceback" not in home.story()
    assert [text.split(" —")[0] for text in home.texts("started")] == ["🚀 Sprint S1 started"]


def test_the_caller_waits_for_no_agent(home: Home) -> None:
    """No child keeps the stdout of a beat open, or cron's mailer would wait (SPEC 6.5, 8.2)."""
    home.spec("S1", home.work("sleep 1000"))
    home.queue("S1")

    done = home.heartbeat()

    assert (done.code, done.err) == (0, "")
    home.wait_for(lambda: home.begun() == ["S1"])
    assert home.agents()


def test_what_was_done_is_promised_no_more(home: Home) -> None:
    """The beat that does it proves it: the next has nothing to do again, and writes nothing (SPEC 6.2, 6.4)."""
    home.spec("S1", home.work("sleep 300"))
    home.queue("S1")

    home.beat()

    assert home.state()["pending"] is None
