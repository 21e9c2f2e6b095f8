"""How long a task will take, learnt from what like tasks took (SPEC 12.4)."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

P80_COUNT_MIN = 5  # SPEC 12.4: fewer say nothing about the slow end
KNOWN_COUNT_MIN = 5  # SPEC 7.6: fewer say nothing about an agent
Z = 1.96  # of the 95 % interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """One task that was brought to an end, and the minutes it took. `type` is "" where its spec named none."""

    agent: str
    type: str
    minutes: float
    succeeded: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What to expect: the median, the time four of five keep within (None below 5 tasks), and how many tasks say so."""

    minutes: float
    p80_minutes: float | None
    count: int


def estimate(sprints: Sequence[Past], agent: str, task_type: str) -> Estimate | None:
    """The median minutes of that agent's like tasks: same agent and type, else same agent, else all (SPEC 12.4).

    Only successes count: a task that failed at once must not shorten the ETA, a stall must not lengthen it. "No type"
    is a type of its own. p80 is interpolated and never beyond the slowest task chosen.
    None where there is no past at all.
    """
    good = [past for past in sprints if past.succeeded]
    own = [past for past in good if past.agent == agent]
    chosen = [past for past in own if past.type == task_type] or own or good
    minutes = [past.minutes for past in chosen]
    if not minutes:
        return None
    p80 = statistics.quantiles(minutes, n=5, method="inclusive")[3] if len(minutes) >= P80_COUNT_MIN else None
    return Estimate(minutes=statistics.median(minutes), p80_minutes=p80, count=len(minutes))


def best(sprints: Sequence[Past], agents: Sequence[str], task_type: str) -> str | None:
    """SPEC 7.6: of those with enough finished tasks of the type, the one with the best lower bound of its success rate.

    The bound is Wilson's, so that 5 of 5 are not worth more than 98 of 100. Ties go to the faster by the median of its
    successes, then to the one named first. None where nobody has enough.
    """
    ranks = {}
    for agent in agents:
        own = [past for past in sprints if (past.agent, past.type) == (agent, task_type)]
        if len(own) >= KNOWN_COUNT_MIN:
            minutes = [past.minutes for past in own if past.succeeded]
            ranks[agent] = (-_lower_bound(len(minutes), len(own)), statistics.median(minutes or [0.0]))
    return min(ranks, key=lambda agent: ranks[agent], default=None)


def _lower_bound(good: int, count: int) -> float:
    share, weight = good / count, Z * Z / count
    return (share + weight / 2 - Z * math.sqrt(share * (1 - share) / count + weight / count / 4)) / (1 + weight)
