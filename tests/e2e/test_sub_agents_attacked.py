"""Sub-agents where gateway, home and person do what nobody planned (SPEC 7.2, 7.3, 8.8, 15.1)."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta

import pytest
from claw import Claw, claw
from home import QUICK, Home, only
from test_sub_agents import begin, leave_behind, queue
from test_verbs import awm

__all__ = ["claw"]
TOKEN_LINE = "set OPENCLAW_GATEWAY_TOKEN to gateway.auth.token of openclaw.json: "


def until(home: Home) -> str:
    """A script that goes on when `go` is there."""
    return f"until [ -e {home.root}/go ]; do sleep 0.05; done"


def own_token(home: Home, token: str) -> None:
    """The gateway's own file, where AWM finds the token where no variable has it."""
    path = home.user / ".openclaw" / "openclaw.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"gateway": {"auth": {"token": token}}}))


def no_doubles(claw: Claw, home: Home) -> bool:
    """By the gateway's word, and by that of the agents themselves."""
    return [line for line in [*claw.truth(), *home.truth()] if line[0] == "double"] == []


@pytest.mark.parametrize("moods", [None, {"cap": 0}])
def test_a_gateway_that_lets_nothing_begin_until_the_time_is_over_is_nobodys_fault(
    home: Home, claw: Claw, moods: dict[str, object] | None
) -> None:
    """Neither a strike nor a try: the account waits, and it is said why (SPEC 7.3)."""
    claw.be(**moods or {})
    claw.kill()
    if moods:
        claw.start(is_awaited=False)
    home.spec("S1")
    queue(home, claw, "S1", loop="max_retries = 0\nstrikes_max = 1\nattempt_max_minutes = 0.4\n")
    home.beat()
    home.wait_for(home.results)
    home.wait_for(lambda: home.texts("limit"), beat_every=0.5)

    why = only(home.results())["error"]
    assert [one["outcome"] for one in home.results()] == ["limited"]
    assert home.texts("limit") == [f"⚡ Claw cannot work — {why}. Retry in ~15 minutes. Waiting."]

    claw.kill()
    claw.be(cap=5)
    claw.start()
    past = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=1)
    home.edit(lambda state: state.update(rateLimitedUntil=past.isoformat()))
    assert home.finish()["completed"] == ["S1"]
    assert len(claw.labels()) == 1


def test_a_home_made_anew_at_the_same_path_does_not_take_the_earlier_ones_sub_agents_for_its_own(
    home: Home, claw: Claw
) -> None:
    """A label is of one attempt, ever: what ended well for another home did nothing for this one (SPEC 15.2, 15.7)."""
    home.spec("S1")
    queue(home, claw, "S1")
    home.finish()
    shutil.rmtree(home.path)
    (home.path / "state").mkdir(parents=True, mode=0o700)
    queue(home, claw, "S1")
    home.finish()

    assert [one["outcome"] for one in home.results()] == ["succeeded"]
    assert (len(home.begun()), len(set(claw.labels()))) == (2, 2)


def test_a_gateway_that_comes_back_before_it_knows_what_it_interrupted_is_believed_later(
    home: Home, claw: Claw
) -> None:
    """It lists before it is ready, and as running what has ended: seen of 2026.9.6 (SPEC 7.3, 15.1)."""
    begin(home, claw, until(home), loop="max_retries = 0\nstrikes_max = 1\n")
    claw.kill()
    claw.be(lists_early=True, starting_seconds=1.0, stale_seconds=3.0)
    claw.start(is_awaited=False)
    (home.root / "go").touch()

    assert home.finish()["completed"] == ["S1"]
    assert [one["outcome"] for one in home.results()] == ["rebooted", "succeeded"]
    assert (len(claw.labels()), len(set(claw.labels())), no_doubles(claw, home)) == (2, 2, True)


def test_a_token_that_changes_while_a_sub_agent_works_costs_nothing(home: Home, claw: Claw) -> None:
    """The new one is read where the gateway has it (SPEC 7.3)."""
    del home.environment["OPENCLAW_GATEWAY_TOKEN"]
    own_token(home, "T")
    begin(home, claw, until(home))

    claw.be(token="another")
    home.wait_for(lambda: "does not take the token" in (home.attempt(1) / "out.log").read_text())
    own_token(home, "another")
    (home.root / "go").touch()

    assert home.finish()["completed"] == ["S1"]
    assert [one["outcome"] for one in home.results()] == ["succeeded"]


def test_a_sub_agent_out_of_sight_is_a_question_and_nobody_works_beside_it(home: Home, claw: Claw) -> None:
    """It may be at work: no fallback begins. When the person has mended it, it is ended first (SPEC 7.2, 15.1)."""
    home.spec("S1", home.work(until(home)))
    queue(home, claw, "S1")
    home.config((home.path / "awm.toml").read_text() + 'fallback = ["local"]\n')
    home.beat()
    home.wait_for(lambda: home.begun() == ["S1"])
    claw.be(token="another")
    home.wait_for(lambda: "S1" in home.state()["blocked"], beat_every=0.5)

    asked = only(home.results())["question"]
    assert TOKEN_LINE in asked
    assert len(claw.living()) == 1

    claw.be(token="T")
    (home.root / "go").touch()
    assert awm(home, "answer", "S1", "It is mended").code == 0
    assert home.finish()["completed"] == ["S1"]
    assert no_doubles(claw, home)


def test_a_local_agent_ends_the_sub_agent_that_was_left_before_it_begins(home: Home, claw: Claw) -> None:
    """The gateway was in trouble when its supervisor died, and then the person chose another agent (SPEC 15.1)."""
    begin(home, claw, until(home))
    awm(home, "pause")
    leave_behind(home, claw)
    home.config(QUICK + claw.config())
    awm(home, "resume")
    home.wait_for(lambda: len(home.begun()) == 2, beat_every=0.5)
    (home.root / "go").touch()

    assert home.finish()["completed"] == ["S1"]
    assert [one["outcome"] for one in home.results()] == ["lost", "succeeded"]
    assert [task["status"] for task in claw.tasks()] == ["cancelled"]
    assert no_doubles(claw, home)


def test_a_rule_that_blocks_a_tool_is_told_in_its_words(home: Home, claw: Claw) -> None:
    """HTTP 403 is no wrong token, and the agent is off until somebody has looked (SPEC 7.2)."""
    claw.be(block=["sessions_spawn"])
    home.spec("S1")
    queue(home, claw, "S1")
    home.beat()
    home.wait_for(home.results)

    result = only(home.results())
    blocks = f"the gateway at {claw.url} blocks the tool sessions_spawn: a rule says no"
    assert (result["outcome"], result["error"]) == ("auth", blocks)


def test_a_sub_agent_that_waits_for_an_approval_asks_the_person(home: Home, claw: Claw) -> None:
    """Who had the time of a stall for it, in OpenClaw; it is no stall, and its sub-agent is ended (SPEC 7.2)."""
    claw.be(wait="approval")
    begin(home, claw, until(home), loop="stall_minutes = 0.1\nsample_seconds = 0.5\nstrikes_max = 1\n")
    home.wait_for(lambda: "S1" in home.state()["blocked"], beat_every=0.5)

    assert only(home.results())["question"].startswith("its sub-agent waits for you in OpenClaw (approval); ")
    assert claw.living() == []

    claw.be(wait="")
    (home.root / "go").touch()
    awm(home, "answer", "S1", "allowed")
    assert home.finish()["completed"] == ["S1"]
