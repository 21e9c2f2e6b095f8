"""What a new user read on the screen and could not use: streams, aged notices, reasons, paths (SPEC 6.3, 14)."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from datetime import datetime, timedelta

import pytest
from home import QUICK, REPOSITORY, Done, Home, only
from test_verbs import awm

ASCII = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}


def test_the_quiet_token_is_said_only_by_a_beat_that_ended_well(home: Home) -> None:
    """SPEC 6.3: a token beside an error would hide it from whoever reads stdout alone."""
    home.put_bytes(b'{"queue":[')

    done = home.heartbeat("--quiet-token", "NO_REPLY")

    assert (done.code, done.out, "current_work.json" in done.err) == (78, "", True)


@pytest.mark.parametrize("encoding", [{"PYTHONIOENCODING": "latin-1"}, ASCII])
def test_a_terminal_without_utf8_gets_every_notice(home: Home, encoding: dict[str, str]) -> None:
    """SPEC 12.2: what cannot be encoded is escaped; the beat lives and its notice is delivered."""
    home.environment.update(encoding)
    home.spec("S1", home.work("sleep 300"))
    home.queue("S1")

    beat = home.heartbeat()
    status = awm(home, "status")

    assert (beat.code, beat.err) == (0, "")
    assert beat.out.startswith(r"\U0001f680 Sprint S1 started \u2014 Thing S1")
    assert (status.code, status.err) == (0, "")
    assert " working  " in status.out


def test_the_metrics_script_writes_to_a_terminal_without_utf8(home: Home) -> None:
    """SPEC 12.3: notes may hold any letter."""
    script = [sys.executable, str(REPOSITORY / "scripts" / "log_sprint_metric.py"), "--home", str(home.path)]
    logged = [*script, "--sprint", "Sé", "--agent", "codex", "--status", "success", "--duration", "5"]

    done = subprocess.run(logged, env=home.environ() | ASCII | {"PYTHONUTF8": "0"}, capture_output=True, check=False)

    assert (done.returncode, done.stderr) == (0, b"") or b"is not UTF-8" in done.stderr


@pytest.mark.parametrize(
    "verb", [("status",), ("logs",), ("status", "--json"), ("table",), ("beat", "--json"), ("run",)]
)
def test_a_stdout_that_is_full_is_one_line_and_74(home: Home, verb: tuple[str, ...]) -> None:
    """SPEC 6.3, 4.8: no traceback for a disk without room."""
    home.spec("S1")
    home.queue("S1", active=False)
    for before in ("resume", "pause"):  # so that there is a journal
        awm(home, before)
    command = [sys.executable, "-m", "awm_loop.cli.main", "--home", str(home.path), *verb]

    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command,
            env=home.environ() | {"PYTHONPATH": str(REPOSITORY)},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    assert (done.returncode, done.stderr) == (74, "awm: stdout: No space left on device\n")


def test_a_notice_that_comes_late_says_of_when_it_is(home: Home) -> None:
    """SPEC 12.2: a start told long after is no second start; programs have `at` for that."""
    home.spec("S1", home.work("sleep 300"))
    home.queue("S1")
    home.heartbeat("--dry-run")
    began = datetime.now().astimezone() - timedelta(minutes=3)
    notice = {
        "id": "n1",
        "kind": "started",
        "task": "S1",
        "at": began.isoformat(),
        "text": "old",
        "channels": ["console"],
    }
    young = {**notice, "id": "n2", "at": datetime.now().astimezone().isoformat(), "text": "new"}
    home.queue(outbox=[notice, young], nextNotice=3)

    done = home.heartbeat()

    assert done == Done(0, f"[{began:%H:%M}] old\nnew\n", "")


def test_notices_for_a_channel_that_is_gone_are_dropped_and_journalled(home: Home) -> None:
    """SPEC 12.2: nobody can deliver them any more; they are not counted as on their way."""
    home.config(QUICK + '[notify]\nurls = ["discord://x"]\n')
    home.spec("S1")
    home.queue("S1")
    home.wait_for(lambda: home.is_idle, beat_every=0.5)
    home.wait_for(lambda: not home.processes())
    waiting = home.state()["outbox"]
    home.config(QUICK)

    home.beat()

    state = home.state()
    assert (len(waiting), state["outbox"], state.get("channels", {})) == (3, [], {})
    dropped = [line for line in home.journal() if "no longer configured" in line["what"]]
    channel = waiting[0]["channels"][0]
    assert [line["what"] for line in dropped] == [f"dropped 3 notices for {channel}, which is no longer configured"]


def test_a_ping_url_that_is_none_is_said_in_words(home: Home) -> None:
    """SPEC 12.5: the beat's line says what is wrong, without the URL."""
    home.config(QUICK + '[notify]\nping_url = "ftp://x"\n')

    done = home.heartbeat()

    assert done == Done(0, "", "ping: not an http or https URL\n")


def test_the_cause_of_a_stall_names_the_program(home: Home) -> None:
    """SPEC 8.4: by the morning a pid means nothing."""
    home.config("[loop]\nstall_minutes = 0.02\nsample_seconds = 0.1\nstrikes_max = 1\nstop_grace_seconds = 0.3\n")
    home.spec("S1", "sleep 600")
    home.queue("S1")
    home.finish(0.2)

    assert re.match(r"`sleep 600` sleeps", only(home.results())["error"])


def test_logs_of_a_task_that_printed_nothing_say_why_and_where(home: Home) -> None:
    """SPEC 14: the outcome, the reason, the evidence, and the verb that tells the rest."""
    home.config("[loop]\nstall_minutes = 0.02\nsample_seconds = 0.1\nstrikes_max = 1\nstop_grace_seconds = 0.3\n")
    home.spec("S1", "exec sleep 600")
    home.queue("S1")
    home.finish(0.2)

    done = awm(home, "logs", "S1")

    evidence_path = home.attempt(1) / "evidence.txt"
    assert done == Done(
        0, f"(attempt 1: stalled — `sleep 600` sleeps; it printed nothing; {evidence_path}; more: awm why S1)\n", ""
    )


def test_logs_of_a_failed_end_close_with_the_reason(home: Home) -> None:
    """SPEC 14: under what it printed; of one that went well there is nothing to add."""
    home.spec("S1", "echo one; exit 3")
    home.spec("S2", "echo two; git commit -q --allow-empty -m x")
    home.queue("S1", "S2", maxRetries=0)
    home.finish(0.2)

    failed, succeeded = awm(home, "logs", "S1"), awm(home, "logs", "S2")
    said = json.loads(awm(home, "logs", "S1", "--json").out)

    assert failed.out == "one\n(attempt 1: failed — exit code 3: one; more: awm why S1)\n"
    assert succeeded.out == "two\n"
    assert said == {"task": "S1", "attempt": 1, "lines": ["one"], "outcome": "failed", "error": "exit code 3: one"}


def test_logs_of_an_unknown_task_say_what_every_verb_says(home: Home) -> None:
    """SPEC 14: one trouble, one message."""
    home.queue()

    assert awm(home, "logs", "nope") == awm(home, "skip", "nope")
    assert awm(home, "logs", "nope").err.startswith("awm: there is no task nope\n")


def test_journal_lines_are_aligned_for_long_ids(home: Home) -> None:
    """SPEC 14: what happened stands in one column."""
    for task in ("S1", "a-task-with-a-long-id"):
        home.spec(task)
    home.queue("S1", "a-task-with-a-long-id")
    home.finish(0.2)

    lines = awm(home, "logs").out.splitlines()

    assert len({re.search(r"(queued|launching|running|ended|working) ", line).start() for line in lines}) == 1


def test_status_names_the_channel_its_trouble_and_the_next_try(home: Home) -> None:
    """SPEC 12.2, 14: what was not delivered, to whom, why not, and when it is tried again."""
    home.config(QUICK + '[notify]\nurls = ["discord://x"]\n')
    home.spec("S1", home.work("sleep 300"))
    home.queue("S1")
    home.beat()
    home.wait_for(lambda: home.state()["channels"])

    line = only([line for line in awm(home, "status").out.splitlines() if line.startswith("  notices")])
    said = json.loads(awm(home, "status", "--json").out)["channels"]

    assert re.fullmatch(
        r"  notices    1 notice for url-\w{8}, not delivered: discord: not a URL that Apprise understands; "
        r"next try (in \d+ s|now)",
        line,
    )
    assert [(one["waiting"], one["problem"]) for one in said] == [(1, "discord: not a URL that Apprise understands")]


def test_status_names_a_notice_that_waits_for_the_next_beat(home: Home) -> None:
    """SPEC 12.2: a supervisor has no console, so what it has to tell there is told by the next beat that has one."""
    home.config("[loop]\nretry_backoff_seconds = [1000]\n")
    home.spec("S1", "exit 3")
    home.queue("S1")
    home.beat()
    home.wait_for(lambda: any(notice["kind"] == "retry" for notice in home.state()["outbox"]))

    done = awm(home, "status")

    assert (done.code, done.err) == (0, "")
    assert [line for line in done.out.splitlines() if line.startswith("  notices")] == [
        "  notices    1 notice for console, with the next beat"
    ]


def test_status_says_why_a_task_waits_for_its_next_try(home: Home) -> None:
    """SPEC 14: the reason stands beside the wait."""
    home.config("[loop]\nretry_backoff_seconds = [1000]\n")
    home.spec("S1", "exit 3")
    home.queue("S1")
    home.beat()
    home.wait_for(lambda: "tries" in home.state()["tasks"].get("S1", {}), beat_every=0.5)

    line = only([line for line in awm(home, "status").out.splitlines() if line.startswith("  queue")])

    assert re.fullmatch(r"  queue      S1  \(in 16 min, tries 1, strikes 0\) — exit code 3", line)


def test_status_says_what_comes_next(home: Home) -> None:
    """SPEC 14: for a loop at rest, a paused one, and one whose timer is missing."""
    home.spec("S1")
    home.queue("S1", active=False)
    paused = awm(home, "status").out.splitlines()[-1]
    awm(home, "resume")
    young = awm(home, "status").out.splitlines()[-1]
    old = time.time() - 301
    os.utime(home.state_path, (old, old))
    late = awm(home, "status").out.splitlines()[-1]
    home.finish(0.2)
    idle = awm(home, "status").out.splitlines()[-1]

    assert paused == "  next       awm resume goes on"
    assert young == "  next       your timer's next beat starts it; no timer yet: awm run, or awm install for a timer"
    assert late == "  next       no beat lately: awm run, or awm install for a timer"
    assert idle == "  next       awm add SPEC.md queues more"


def test_status_says_that_the_project_is_missing(home: Home) -> None:
    """SPEC 6.3: a loop that cannot work is not just `working`."""
    home.spec("S1")
    home.queue("S1", project=str(home.root / "gone"))

    line = awm(home, "status").out.splitlines()[-1]

    missing = f"{home.state_path}: project directory {home.root}/gone does not exist"
    assert line == f"  next       S1 waits for you: {missing}"


def test_the_help_shows_each_verbs_line_whole(home: Home) -> None:
    """SPEC 14: a line that is cut says nothing."""
    assert "..." not in awm(home, "--help", named=False).out.partition("\n\n")[2]


def test_a_task_skipped_while_it_waits_is_in_the_report(home: Home) -> None:
    """SPEC 12.1: every task that came to an end has its line."""
    for task in ("S1", "S2"):
        home.spec(task)
    home.queue("S1", "S2")
    awm(home, "skip", "S2", "--reason", "not needed")

    home.finish(0.2)

    report = only(home.texts("report")).splitlines()
    assert report[0] == "🏁 Queue finished — 1 of 2 sprints completed"
    assert "⏭️ S2 skipped — under 1 min, 0 attempts — not needed" in report
