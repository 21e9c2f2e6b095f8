"""How long a task will take, learnt from what like tasks took (SPEC 12.4)."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

P80_COUNT_MIN = 5  # SPEC 12.4: fewer say nothing about the slow end


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """One task that succeeded, and the minutes it took. `type` is "" where its spec named none."""

    agent: str
    type: str
    minutes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What to expect: the median, the time four of five keep within (None below 5 tasks), and how many tasks say so."""

    minutes: float
    p80_minutes: float | None
    count: int


def estimate(sprints: Sequence[Past], agent: str, task_type: str) -> Estimate | None:
    """The median minutes of that agent's like tasks: same agent and type, else same agent, else all (SPEC 12.4).

    Only successes count, so `sprints` holds no others: a task that failed at once must not shorten the ETA, a stall
    must not lengthen it. "No type" is a type of its own. p80 is interpolated and never beyond the slowest task chosen.
    None where there is no past at all.
    """
    own = [past for past in sprints if past.agent == agent]
    chosen = [past for past in own if past.type == task_type] or own or sprints
    minutes = [past.minutes for past in chosen]
    if not minutes:
        return None
    p80 = statistics.quantiles(minutes, n=5, method="inclusive")[3] if len(minutes) >= P80_COUNT_MIN else None
    return Estimate(minutes=statistics.median(minutes), p80_minutes=p80, count=len(minutes))
