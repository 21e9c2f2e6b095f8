"""How long a task will take: SPEC 12.4."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awm_loop.core.estimate import Estimate, Past, best, estimate


def took(*minutes: float, agent: str = "codex", task_type: str = "coding") -> list[Past]:
    return [Past(agent=agent, type=task_type, minutes=each) for each in minutes]


def test_like_tasks_of_the_agent_come_first() -> None:
    """Same agent and same type, and nothing else, where there is one of them (SPEC 12.4)."""
    sprints = took(30, 40, task_type="documentation") + took(8, 12) + took(90, agent="opus")

    assert estimate(sprints, "codex", "coding") == Estimate(minutes=10, p80_minutes=None, count=2)


def test_a_type_new_to_the_agent_falls_back_to_the_agent() -> None:
    """The agent's other tasks say more than another agent's like ones (SPEC 12.4)."""
    sprints = took(30, 40, task_type="documentation") + took(90, agent="opus")

    assert estimate(sprints, "codex", "coding") == Estimate(minutes=35, p80_minutes=None, count=2)


def test_a_new_agent_falls_back_to_all() -> None:
    """Agent unknown: all tasks, whatever their type (SPEC 12.4)."""
    sprints = took(90, agent="opus") + took(10, agent="gemini", task_type="documentation") + took(20)

    assert estimate(sprints, "aider", "coding") == Estimate(minutes=20, p80_minutes=None, count=3)


def test_no_type_is_a_type() -> None:
    """Tasks whose spec names no type are like each other (SPEC 12.4)."""
    assert estimate(took(5) + took(50, task_type=""), "codex", "") == Estimate(minutes=50, p80_minutes=None, count=1)


def test_without_a_past_there_is_no_estimate() -> None:
    """Nothing finished yet: the ETA is from the spec or unknown (SPEC 12.1)."""
    assert estimate([], "codex", "coding") is None


def test_four_tasks_have_no_p80() -> None:
    """p80 needs 5 (SPEC 12.4)."""
    assert estimate(took(1, 2, 3, 4), "codex", "coding") == Estimate(minutes=2.5, p80_minutes=None, count=4)


def test_five_tasks_have_a_p80() -> None:
    """p80 where there are 5 or more of the chosen set (SPEC 12.4)."""
    sprints = took(1, 2, 3, 4, 100)

    assert estimate(sprints, "codex", "coding") == Estimate(minutes=3, p80_minutes=23.2, count=5)


def test_p80_counts_the_chosen_set_only() -> None:
    """Tasks of others do not make up the number (SPEC 12.4)."""
    sprints = took(1, 2, 3, 4) + took(9, 9, 9, 9, agent="opus")

    assert estimate(sprints, "codex", "coding") == Estimate(minutes=2.5, p80_minutes=None, count=4)


PASTS = st.lists(
    st.builds(
        Past,
        agent=st.sampled_from(["codex", "opus"]),
        type=st.sampled_from(["", "coding"]),
        minutes=st.integers(min_value=1, max_value=10_000).map(float),
    ),
    min_size=1,
)


@given(PASTS, st.randoms())
def test_order_does_not_matter_and_nothing_is_invented(sprints: list[Past], random: Random) -> None:
    """The same past in any order gives the same estimate, within what was seen (SPEC 12.4)."""
    shuffled = sprints.copy()
    random.shuffle(shuffled)
    minutes = [past.minutes for past in sprints]

    guess = estimate(sprints, "codex", "coding")

    assert guess is not None
    assert guess == estimate(shuffled, "codex", "coding")
    assert min(minutes) <= guess.minutes <= (guess.p80_minutes or max(minutes)) <= max(minutes)
    assert (guess.p80_minutes is None) == (guess.count < 5)


def record(agent: str, good: int, bad: int, minutes: float = 5.0, task_type: str = "coding") -> list[Past]:
    done = [Past(agent=agent, type=task_type, minutes=minutes)] * good
    return done + [Past(agent=agent, type=task_type, minutes=0.0, succeeded=False)] * bad


@pytest.mark.parametrize(
    ("past", "chosen"),
    [
        (record("a", 4, 0) + record("b", 3, 1), None),
        (record("a", 4, 0) + record("b", 1, 4), "b"),
        (record("a", 5, 0) + record("b", 98, 2), "b"),
        (record("a", 5, 0) + record("b", 6, 0), "b"),
        (record("a", 5, 0, minutes=9) + record("b", 5, 0, minutes=8), "b"),
        (record("a", 5, 0) + record("b", 5, 0), "a"),
        (record("a", 9, 0, task_type="docs") + record("b", 3, 3), "b"),
        (record("stranger", 99, 0), None),
    ],
)
def test_the_agent_that_does_best_is_chosen(past: list[Past], chosen: str | None) -> None:
    """Of at least 5 finished tasks of the type, by the lower bound of the rate, ties by time (SPEC 7.6)."""
    assert best(past, ["a", "b"], "coding") == chosen


def test_what_failed_says_nothing_of_the_time() -> None:
    """Only successes count for the estimate (SPEC 12.4)."""
    assert estimate(record("a", 2, 5), "a", "coding") == Estimate(minutes=5.0, p80_minutes=None, count=2)
