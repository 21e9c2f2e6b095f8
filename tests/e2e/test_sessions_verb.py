"""`awm sessions`: every attempt as a work session, from what it left on disk (SPEC 13, 14)."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from home import Home
from test_hand_edits_live import waiting
from test_projects_verb import refused, said

REPORT = """\
cat > "$AWM_RESULT_FILE" <<'END'
{"status": "succeeded", "summary": "All \\u001b[2Jpages are there", "tokens": {"input": 1200, "output": 34}, "costUsd": 0.25}
END
git commit -q --allow-empty -m D1"""


def listed(home: Home, *options: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(said(home, "sessions", "list", *options, "--json"))
    return found


@pytest.mark.parametrize("verb", ["list", "show"])
def test_each_verb_of_sessions_has_an_example(home: Home, verb: str) -> None:
    """SPEC 14."""
    assert f"awm sessions {verb} " in said(home, "sessions", verb, "--help").partition("xample")[2]


def test_every_attempt_is_a_session_with_how_it_went(home: Home) -> None:
    """Status, length, summary, outcome, tokens, cost, commits; the newest first (SPEC 13)."""
    home.queue()
    home.config("[loop]\nretry_backoff_seconds = [0]\nmax_retries = 1\n")
    said(home, "projects", "create", "docs", "--path", str(home.project))
    said(home, "add", str(home.spec("S1", "echo no >&2; exit 3")))
    home.finish(0.2)
    said(home, "add", str(home.spec("D1", REPORT)), "--project", "docs")
    home.finish(0.2)

    found = listed(home)
    commit = home.git("rev-parse", "HEAD")

    assert [(one["id"], one["project"], one["agent"], one["status"], one["outcome"]) for one in found] == [
        ("D1.3", "docs", "local", "completed", "succeeded"),
        ("S1.2", "default", "local", "failed", "failed"),
        ("S1.1", "default", "local", "failed", "failed"),
    ]
    newest, result = found[0], home.results()[2]
    assert (newest["tokens"], newest["costUsd"], newest["commits"]) == ({"input": 1200, "output": 34}, 0.25, [commit])
    assert (newest["summary"], newest["durationSeconds"]) == ("All pages are there", round(result["seconds"], 1))
    assert newest["startedAt"] < newest["endedAt"]
    assert [one["id"] for one in listed(home, "--task", "S1", "--limit", "1")] == ["S1.2"]
    assert [one["id"] for one in listed(home, "--project", "docs")] == ["D1.3"]
    table = said(home, "sessions").splitlines()
    assert table[0].split() == ["SESSION", "PROJECT", "AGENT", "STATUS", "STARTED", "TOOK", "WHAT"]
    assert [line.split()[0] for line in table[1:]] == ["D1.3", "S1.2", "S1.1"]
    assert table[1].endswith("  All pages are there")
    assert "  failed: exit code 3" in table[2]


def test_one_session_is_shown_with_its_files(home: Home) -> None:
    """By its id, or by its number alone."""
    home.queue("D1")
    home.spec("D1", REPORT)
    home.finish(0.2)

    text = said(home, "sessions", "show", "D1.1")

    assert text.startswith("D1.1 — completed\n  project   default\n  agent     local\n")
    assert "  tokens    1,200 input, 34 output\n  cost      $0.25\n  commits   " in text
    assert f"  prompt    {home.attempt(1)}/prompt.md\n  log       {home.attempt(1)}/out.log\n" in text
    assert said(home, "sessions", "show", "1") == text
    assert json.loads(said(home, "sessions", "show", "D1.1", "--json")) == listed(home)[0]
    hint = "`awm sessions list` shows the newest: S1.3 is attempt 3 of S1"
    assert refused(home, "sessions", "show", "D1.2") == ("there is no session D1.2", hint)
    assert refused(home, "sessions", "show", "1.D1") == ("there is no session 1.D1", hint)


def test_a_session_that_goes_on_is_running(home: Home) -> None:
    """It has a start, no end and no outcome."""
    waiting(home)

    [one] = listed(home)

    assert (one["id"], one["status"], one["outcome"], one["endedAt"]) == ("S1.1", "running", "", None)
    assert one["startedAt"]


def test_what_lies_among_the_attempts_is_passed_over(home: Home) -> None:
    """An agent can write there: any bytes, never a traceback (SPEC 17)."""
    home.queue("D1")
    home.spec("D1", REPORT)
    home.finish(0.2)
    attempts = home.path / "state" / "attempts"
    for name, order in (("0" * 12 + ".7", b"\xff{"), ("1" * 12 + ".8", b"[" * 9999), ("x.9", b"{}"), ("no", b"")):
        (attempts / name).mkdir()
        (attempts / name / "order.json").write_bytes(order)
    (attempts / "a-file.10").write_text("")
    (attempts / ("2" * 12 + ".11")).mkdir()
    (attempts / ("2" * 12 + ".11") / "order.json").mkdir()

    assert [one["id"] for one in listed(home)] == ["D1.1"]


def test_only_the_sessions_that_are_shown_are_read(home: Home) -> None:
    """There may be thousands of older ones. A file system without access times would fail at the newest."""
    home.queue("D1")
    home.spec("D1", REPORT)
    home.finish(0.2)
    order = json.loads((home.attempt(1) / "order.json").read_text())
    paths = {}
    for number in range(2, 52):
        directory = home.path / "state" / "attempts" / f"{number:012x}.{number}"
        directory.mkdir()
        paths[number] = directory / "order.json"
        paths[number].write_text(json.dumps(order | {"task": f"S{number}", "number": number}))
        os.utime(paths[number], (1, 2))

    found = listed(home, "--limit", "3")

    assert [one["id"] for one in found] == ["S51.51", "S50.50", "S49.49"]
    assert [number for number, path in paths.items() if path.stat().st_atime != 1] == [49, 50, 51]


def test_a_home_without_attempts_says_how_to_begin(home: Home) -> None:
    """SPEC 14."""
    assert said(home, "sessions") == "no sessions yet: awm run, or awm install for a timer, starts what is queued\n"
    assert said(home, "sessions", "--json") == "[]\n"


def test_sessions_of_what_nobody_knows_are_refused_by_name(home: Home) -> None:
    """A slip is not an empty list (SPEC 14)."""
    home.queue("S1", active=False)
    home.beat()
    said(home, "projects", "create", "docs", "--path", str(home.project))

    assert refused(home, "sessions", "--project", "dosc")[0] == "there is no project dosc"
    assert refused(home, "sessions", "list", "--project", "dosc")[0] == "there is no project dosc"
    assert refused(home, "sessions", "list", "--task", "S11")[0] == "there is no task S11"
    assert said(home, "sessions", "--project", "docs").startswith("no sessions of docs yet: ")
    assert said(home, "sessions", "list", "--task", "S1").startswith("no sessions of S1 yet: ")
    assert json.loads(said(home, "sessions", "--project", "docs", "--json")) == []
