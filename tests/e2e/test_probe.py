"""`awm agents probe`: one real task for one agent, and nothing of it stays (SPEC 14)."""

from __future__ import annotations

import json
from pathlib import Path

from home import QUICK, Home
from test_clis import with_clis
from test_verbs import awm


def left_over(home: Home) -> list[str]:
    return sorted(path.name for path in (home.root / "tmp").iterdir())


def test_an_agent_that_does_it_is_told_and_nothing_stays(home: Home) -> None:
    """A real task, gate and commit in a repository of its own; the home is as it was (issue 5)."""
    home.config(QUICK)
    (home.root / "tmp").mkdir()
    home.environment["TMPDIR"] = str(home.root / "tmp")
    before = home.tree()

    done = awm(home, "agents", "probe", "local", "--json")

    assert (done.code, done.err) == (0, ""), done
    told = json.loads(done.out)
    assert (told["agent"], told["outcome"], told["error"]) == ("local", "succeeded", None)
    assert (home.tree(), left_over(home)) == (before, [])


def test_an_agent_that_only_says_it_did_is_not_believed(home: Home) -> None:
    """Its own program, its own words, tokens and cost; the gate decides (SPEC 10.1)."""
    with_clis(home, "claude")

    done = awm(home, "agents", "probe", "claude", "--json")

    told = json.loads(done.out)
    assert (done.code, told["outcome"], told["tokens"]["output"] > 0) == (1, "hollow", True), done


def test_an_agent_whose_login_is_refused_is_told_so(home: Home) -> None:
    """Exit 1; it is not turned off by a probe (issue 5)."""
    with_clis(home, "claude", claude=["auth"])
    (home.root / "tmp").mkdir()
    home.environment["TMPDIR"] = str(home.root / "tmp")

    done = awm(home, "agents", "probe", "claude")

    assert (done.code, done.err) == (1, ""), done
    assert done.out.splitlines()[:2] == ["agent     claude", "outcome   auth"]
    assert (Path(home.state_path).exists(), left_over(home)) == (False, [])


def test_what_is_no_agent_is_said_with_those_there_are(home: Home) -> None:
    """An error that says what to type (SPEC 14)."""
    home.config(QUICK)

    done = awm(home, "agents", "probe", "codex")

    assert (done.code, done.err) == (78, "awm: there is no agent codex\nhint: agents: local\n")
