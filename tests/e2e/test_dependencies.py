"""Tasks that wait for others (SPEC 5.1, 7.5, 13.5), through real beats, supervisors and agents."""

from __future__ import annotations

import pytest
from home import QUICK, Home
from test_verbs import awm


def test_a_task_starts_after_those_it_depends_on_whatever_the_queue_and_the_priorities_say(home: Home) -> None:
    """SPEC 7.5: dependencies completed."""
    home.config(QUICK)
    home.spec("S1", header="**Depends:** S2, S3\n**Priority:** P0")
    home.spec("S2", header="**Depends:** S3")
    home.spec("S3", header="**Priority:** P3")
    home.queue("S1", "S2", "S3")

    state = home.finish()

    assert (state["completed"], home.begun()) == (["S3", "S2", "S1"], ["S3", "S2", "S1"])


def test_what_depends_on_a_failed_task_is_blocked_with_one_notice_for_all(home: Home) -> None:
    """The others go on (issue: dependencies)."""
    home.config(QUICK)
    home.spec("S1", "exit 1")
    home.spec("S2", header="**Depends:** S1")
    home.spec("S3", header="**Depends:** S1")
    home.spec("S4")
    home.queue("S1", "S2", "S3", "S4", maxRetries=0)

    state = home.finish()

    assert (state["failed"], state["blocked"], state["completed"]) == (["S1"], ["S2", "S3"], ["S4"])
    assert home.begun() == ["S4"]
    (notice,) = home.texts("blocked")
    assert notice == (
        "✋ Sprint S2 is blocked — it depends on S1, which failed. When that is mended: awm retry S2\nSo are: S3"
    )


def test_a_circle_is_refused_when_it_is_added_and_named(home: Home) -> None:
    """SPEC 13.5: cycles refused with the cycle named; nothing of it is queued."""
    home.queue()
    first = home.spec("S1", header="**Depends:** S2")
    second = home.spec("S2", header="**Depends:** S1")

    done = awm(home, "add", str(first), str(second))

    assert (done.code, done.out) == (78, "")
    assert done.err == (
        "awm: S2 would depend on itself: S1 -> S2 -> S1\nhint: take one `**Depends:**` out of their specs\n"
    )
    assert home.state()["queue"] == []


def test_a_circle_that_a_person_writes_into_the_file_is_blocked_and_named(home: Home) -> None:
    """A beat cannot refuse: it says what is wrong, and goes on with the rest (SPEC 13.5)."""
    home.config(QUICK)
    home.spec("S1", header="**Depends:** S2")
    home.spec("S2", header="**Depends:** S1")
    home.spec("S3")
    home.queue("S1", "S2", "S3")

    state = home.finish()

    assert (state["blocked"], state["completed"]) == (["S1", "S2"], ["S3"])
    assert state["tasks"]["S1"]["reason"] == "its dependencies go round in a circle: S1 -> S2 -> S1"


@pytest.mark.parametrize(("said", "why"), [("S9", "it depends on S9, which is not there"), ("S 9!", None)])
def test_a_dependency_that_cannot_be_is_told(home: Home, said: str, why: str | None) -> None:
    """SPEC 5.1: only that task is blocked."""
    home.config(QUICK)
    home.spec("S1", header=f"**Depends:** {said}")
    home.spec("S2")
    home.queue("S1", "S2")

    state = home.finish()

    assert (state["blocked"], state["completed"]) == (["S1"], ["S2"])
    assert state["tasks"]["S1"]["reason"] == (
        why or f"spec file {home.root}/SPRINT_S1_SPEC.md: `Depends: S 9!`: '9!' is not a task id"
    )


def test_why_says_what_it_waits_for(home: Home) -> None:
    """SPEC 14: a person can see why at every moment."""
    home.config(QUICK)
    home.spec("S1", header="**Depends:** S2")
    home.spec("S2")
    home.queue("S1", "S2", active=False)
    home.beat()

    done = awm(home, "why", "S1")

    assert "S2, which it depends on" in done.out
