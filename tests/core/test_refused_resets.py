"""A reset that the world refuses: it stays promised, holds the work up for a while, and is given up aloud (SPEC 11.1)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from build import NOW, POLICY, working
from loop import Loop

from awm_loop.config import RESET_REFUSED_SECONDS_MAX
from awm_loop.core.model import Instant, Reset

FULL, SAVED, TOLD = (
    "working full -> resetting, reset",
    "resetting saved -> resuming",
    "resuming told -> working",
)
READY = "queued ready -> launching, launch"
WHY = "the gateway does not answer"
GIVEN_UP = f"⚠️ What was done is saved. The assistant's session could not be reset: {WHY}. The work goes on."


def later(seconds: float) -> Instant:
    return replace(NOW, wall=NOW.wall + timedelta(seconds=seconds), boottime=NOW.boottime + seconds)


@pytest.fixture
def loop() -> Loop:
    """A reset is due, and will be refused."""
    found = Loop(working("S1", since_reset=3), replace(POLICY, reset_after=3))
    found.refusal = WHY
    return found


def test_it_stays_promised_and_is_said_once(loop: Loop) -> None:
    """Each beat tries again; nothing starts, nothing is saved, and no beat calls for another at once (SPEC 6.4, 11.1)."""
    assert loop.beat() == [FULL]
    assert not loop.wants_another
    saved = len(loop.states)
    assert [loop.beat(now=later(300)), loop.beat(now=later(600))] == [[], []]

    assert loop.remembered == ["reset.0"] * 3
    assert loop.work.pending == Reset(key="reset.0", refused=(WHY, NOW.wall))
    assert len(loop.states) == saved
    assert [(one.what, one.note) for one in loop.journal][1:] == [("the assistant's session is not reset yet", WHY)]


def test_done_at_last_it_goes_on_as_ever(loop: Loop) -> None:
    """SPEC 11.1."""
    loop.beat()
    loop.refusal = None

    assert loop.beat(now=later(60)) == [SAVED, TOLD, READY]
    assert loop.told[1] == "✅ Reset complete. Fresh session online."


@pytest.mark.parametrize("direction", [1, -1])
def test_it_is_given_up_after_a_quarter_of_an_hour(loop: Loop, direction: int) -> None:
    """Not a second before, wherever the clock went; it is not tried again then, and nobody is told it was done."""
    loop.beat()
    assert loop.beat(now=later(direction * (RESET_REFUSED_SECONDS_MAX - 1))) == []
    tried = len(loop.remembered)

    assert loop.beat(now=later(direction * RESET_REFUSED_SECONDS_MAX)) == [SAVED, TOLD, READY]
    assert (len(loop.remembered), loop.told[1]) == (tried, GIVEN_UP)
    assert loop.work.since_reset == 0


def test_a_reason_that_is_no_news_is_not_journalled(loop: Loop) -> None:
    """It waits for its own notice to be delivered, or for a pause to end: nothing is refused."""
    loop.refusal = ""
    assert loop.beat() == [FULL]
    assert loop.beat(now=later(RESET_REFUSED_SECONDS_MAX)) == []

    assert loop.work.pending == Reset(key="reset.0")
    assert [one.what for one in loop.journal] == [FULL]


def test_a_pause_gives_nothing_up(loop: Loop) -> None:
    """What happens meanwhile is seen when the person resumes (SPEC 4.4)."""
    loop.beat()
    loop.work = replace(loop.work, active=False)
    assert loop.beat(now=later(2 * RESET_REFUSED_SECONDS_MAX)) == []
    loop.work = replace(loop.work, active=True)
    loop.refusal = None

    assert loop.beat(now=later(60)) == [SAVED, TOLD, READY]
    assert len(loop.remembered) == 3


def test_a_dry_run_tries_nothing(loop: Loop) -> None:
    """SPEC 6.2."""
    loop.beat()

    assert loop.foreseen() == [SAVED, TOLD, READY]
    assert len(loop.remembered) == 1
