"""What the gateway's launcher promises beyond what all do: one label, one sub-agent, whatever is lost (SPEC 7.3, 8.8, 15.1)."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from benches import GatewayBench
from claw import TOKEN, Claw, claw
from home import Home

from awm_loop.config import GATEWAY_UNSEEN_SECONDS
from awm_loop.gateway import Gateway, NotAllowed, ToolFailed, Trouble
from awm_loop.launchers.gateway import INTENT

__all__ = ["claw"]
LONG = "sleep 1000"


@pytest.fixture
def bench(home: Home, claw: Claw) -> GatewayBench:
    return GatewayBench(home, claw)


def spawn(bench: GatewayBench, number: int = 1, script: str = LONG) -> None:
    """A sub-agent that nobody of ours remembers to have started."""
    wanted = bench.wanted(script, number)
    args = {"task": wanted.told, "label": bench.label(number), "cwd": wanted.workspace}
    assert not isinstance(Gateway(bench.claw.url, TOKEN).invoke("sessions_spawn", args, bench.launcher.parent), Trouble)


def test_the_intent_is_on_disk_before_the_gateway_hears_of_it(bench: GatewayBench, claw: Claw) -> None:
    """And names the label, for who comes after (SPEC 8.1, 8.8)."""
    claw.be(deny=["subagents"])

    found = bench.launcher.start(bench.wanted(LONG))

    assert isinstance(found, NotAllowed)
    assert json.loads((bench.wanted(LONG).directory / INTENT).read_text()) == {
        "label": bench.label(),
        "parent": bench.launcher.parent,
    }
    assert claw.requests("sessions_spawn") == []


def test_one_that_was_killed_after_its_intent_is_looked_for_before_it_is_started(
    bench: GatewayBench, claw: Claw
) -> None:
    """For as long as the grace: the request may still be on its way (SPEC 7.3)."""
    claw.be(deny=["subagents"])
    bench.launcher.start(bench.wanted(LONG))
    claw.be(deny=[])

    assert bench.start(LONG) is True
    assert set(bench.waits) == {"whether it was started is not known yet"}
    assert len(claw.labels()) == 1


def test_one_that_was_started_by_who_was_killed_is_found(bench: GatewayBench, claw: Claw) -> None:
    """And not started again (SPEC 8.8)."""
    spawn(bench)

    assert (bench.start(LONG), len(claw.labels())) == (False, 1)


def test_of_two_with_one_label_one_is_ended(home: Home, bench: GatewayBench, claw: Claw) -> None:
    """The gateway does not dedupe; the next look does (SPEC 15.1)."""
    spawn(bench)
    spawn(bench)

    home.wait_for(lambda: bench.seen() == "alive" and len(claw.living()) == 1)

    assert sorted(task["status"] for task in claw.tasks()) == ["cancelled", "running"]


def test_an_older_one_of_the_same_task_is_ended_before_a_new_one_begins(bench: GatewayBench, claw: Claw) -> None:
    """Whoever started it (SPEC 15.1)."""
    spawn(bench, 1)

    assert bench.start(LONG, 2) is True
    assert (claw.living(), claw.labels("double")) == ([bench.label(2)], [])


def test_an_older_one_that_comes_late_is_ended_by_the_next_look(home: Home, bench: GatewayBench, claw: Claw) -> None:
    """Its request was on its way when its supervisor was killed (SPEC 15.1)."""
    bench.start(LONG, 2)
    spawn(bench, 1)

    home.wait_for(lambda: bench.seen(2) == "alive" and claw.living() == [bench.label(2)])


@pytest.mark.parametrize("word", ["queued", "pondering"])
def test_a_word_that_is_not_known_is_no_end(bench: GatewayBench, claw: Claw, word: str) -> None:
    """Only what is told as over is over (SPEC 7.3)."""
    bench.start(LONG)
    claw.be(word=word)

    assert bench.seen() == "alive"


def test_a_gateway_that_never_says_what_it_did_is_asked_three_times(bench: GatewayBench, claw: Claw) -> None:
    """Each time after a grace; then a person has to look (SPEC 7.3)."""
    claw.be(fail=["sessions_spawn"])

    found = bench.launcher.start(bench.wanted(LONG))

    assert found == ToolFailed("tool execution failed")
    assert len(claw.requests("sessions_spawn")) == 3


def test_what_is_called_off_may_still_be_on_its_way(bench: GatewayBench, claw: Claw) -> None:
    """It is looked for a while, and ended when it comes (SPEC 8.3)."""
    claw.be(late_seconds=GATEWAY_UNSEEN_SECONDS / 3)
    wanted = bench.wanted(LONG)
    assert bench.start(LONG) is True

    assert bench.launcher.call_off(wanted.directory, 2 * GATEWAY_UNSEEN_SECONDS) is True
    assert (len(claw.labels()), claw.living(), (wanted.directory / INTENT).exists()) == (1, [], False)


def test_a_gateway_that_is_away_is_not_waited_for_to_call_off(bench: GatewayBench, claw: Claw) -> None:
    """The intent stays, and the next attempt looks again (SPEC 8.3)."""
    wanted = bench.wanted(LONG)
    bench.start(LONG)
    claw.kill()

    assert bench.launcher.call_off(wanted.directory, 1000) is False
    assert (wanted.directory / INTENT).exists()


def test_rows_of_a_list_that_are_none_are_passed_over(bench: GatewayBench, claw: Claw) -> None:
    """Whatever a gateway of another version lists (SPEC 17)."""
    bench.start(LONG)
    claw.be(
        rows=[
            None,
            5,
            {},
            {"label": 5},
            {"label": bench.label(2)},
            {"label": bench.label(3), "execution": 1, "error": {}},
        ]
    )

    assert (bench.seen(), bench.seen(2), bench.seen(3)) == ("alive", "alive", "alive")


def test_a_model_is_passed_on_where_one_is_named(bench: GatewayBench, claw: Claw) -> None:
    """Else the gateway chooses (SPEC 8.9)."""
    bench.launcher.start(bench.wanted("true"))
    bench.launcher.start(replace(bench.wanted("true", 2), model="mock/two"))

    assert [request["args"].get("model") for request in claw.requests("sessions_spawn")] == [None, "mock/two"]
