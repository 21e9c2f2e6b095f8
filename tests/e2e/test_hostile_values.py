"""Values of agents and specs that are legal and mean harm: none may wedge the loop or reach a terminal (SPEC 4.7, 8.6, 17)."""

from __future__ import annotations

import json

import pytest
from home import QUICK, Home

NO_COMMIT = "**Commit:** no"
CLIPBOARD = "\x1b]52;c;aGFja2Vk\x07\x1b[2J\x9b31m"


def assert_the_loop_goes_on(home: Home) -> None:
    """The next task is done, and what AWM wrote it can read again."""
    state = home.finish()
    assert "S2" in state["completed"]
    assert home.heartbeat().code == 0


REPORTS = {
    "tokens beyond 64 bits": {"tokens": {"input": 10**30}},
    "negative tokens": {"tokens": {"input": -5}},
    "endless cost": {"costUsd": float("inf")},
    "cost that is no number": {"costUsd": float("nan")},
    "cost beyond reason": {"costUsd": 1e308},
    "half a character": {"summary": "\ud800"},
    "NUL": {"summary": "a\0b", "sessionId": "\0"},
    "long words": {"summary": "x" * 100_000, "error": "y" * 100_000, "sessionId": "z" * 20_000},
    "keys of ours": {"tokens": {"outcome": 1, "a" * 1000: 2}},
}


@pytest.mark.parametrize("name", list(REPORTS))
def test_a_report_never_wedges_the_loop(name: str, home: Home) -> None:
    """Taken, bounded, or refused as malformed; the state stays one that AWM can read (SPEC 4.7, 8.6)."""
    (home.root / "answer").write_text(json.dumps({"status": "succeeded", **REPORTS[name]}))
    agent = home.agent(f'[ $AWM_TASK = S2 ] || cp {home.root}/answer "$AWM_RESULT_FILE"')
    home.config(f'{QUICK}default_agent = "mine"\n[agents.mine]\nkind = "command"\ncommand = ["{agent}"]\n')
    home.spec("S1", header=NO_COMMIT)
    home.spec("S2", header=NO_COMMIT)
    home.queue("S1", "S2", maxRetries=0)

    assert_the_loop_goes_on(home)


@pytest.mark.parametrize("reset", ["9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+12:00", -1e18, 1e300, 0])
def test_a_stated_reset_never_wedges_the_loop(reset: object, home: Home) -> None:
    """However far away it is said to be (SPEC 9.1)."""
    (home.root / "answer").write_text(json.dumps({"status": "limited", "resetsAt": reset}))
    agent = home.agent(f'[ $AWM_TASK = S2 ] || cp {home.root}/answer "$AWM_RESULT_FILE"')
    home.config(
        f'{QUICK}default_agent = "mine"\n[agents.mine]\nkind = "command"\ncommand = ["{agent}"]\naccount = "a"\n'
    )
    home.spec("S1", header=NO_COMMIT)
    home.spec("S2", header=NO_COMMIT + "\n**Model:** local")
    home.queue("S1", "S2", retryOnRateLimit=False)

    assert_the_loop_goes_on(home)


SPECS = {
    "endless estimate": "**Est:** " + "9" * 400 + " min",
    "endless timeout": "**Timeout:** " + "9" * 400 + " h",
    "long estimate": "**Est:** 99999999999999999999 h",
    "long timeout": "**Timeout:** 99999999999999999999 h",
    "no timeout at all": "**Timeout:** 0 min",
    "tiny timeout": "**Timeout:** 0.0000001 s",
}


@pytest.mark.parametrize("name", list(SPECS))
def test_a_header_never_wedges_the_loop(name: str, home: Home) -> None:
    """A number of any size is a number, or blocks its task (SPEC 5.1)."""
    home.config(QUICK + "strikes_max = 1\n")
    home.spec("S1", "true", header=f"{NO_COMMIT}\n{SPECS[name]}")
    home.spec("S2", "true", header=NO_COMMIT)
    home.queue("S1", "S2")

    assert_the_loop_goes_on(home)


def test_titles_as_long_as_a_spec_may_be_do_not_wedge_the_loop(home: Home) -> None:
    """The state stays below the size that AWM reads, however long the night is (SPEC 4.7, 5.1)."""
    tasks = [f"T{number}" for number in range(5)]
    for task in (*tasks, "S2"):
        home.spec(task, "true", header=NO_COMMIT, title="x" * 1_000_000)
    home.queue(*tasks, "S2")
    home.beat()
    home.wait_for(lambda: home.is_idle, seconds=15)

    assert_the_loop_goes_on(home)


def test_an_agent_does_not_write_on_the_terminal_of_a_person(home: Home) -> None:
    """Control characters of its output and its report stay out of what a beat prints (SPEC 17)."""
    agent = home.agent(f"printf 'last words %s\\n' '{CLIPBOARD}'; exit 1")
    home.config(f'{QUICK}[agents.mine]\nkind = "command"\ncommand = ["{agent}"]\n')
    (home.root / "answer").write_text(json.dumps({"status": "blocked", "question": f"Which{CLIPBOARD}?"}))
    home.spec("S1", header="**Model:** mine")
    home.spec("S2", f'cp {home.root}/answer "$AWM_RESULT_FILE"', header=NO_COMMIT)
    home.queue("S1", "S2", maxRetries=1)

    said = home.heartbeat().out
    home.wait_for(lambda: home.is_idle)
    said += home.heartbeat().out

    assert "last words" in said
    assert "Which" in said
    assert unprintable(said) == []


def test_a_spec_does_not_write_on_the_terminal_of_a_person(home: Home) -> None:
    """Nor do control characters of its title (SPEC 17)."""
    home.spec("S1", "true", header=NO_COMMIT, title=f"Thing{CLIPBOARD}")
    home.queue("S1")

    said = home.heartbeat().out

    assert "Thing" in said
    assert unprintable(said) == []


def unprintable(text: str) -> list[str]:
    return [char for char in text if not char.isprintable() and char != "\n"]
