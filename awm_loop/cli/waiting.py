"""What a queued task waits for, in the order a beat would ask (SPEC 4.3, 7.5): for `awm why` and `awm watch`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from awm_loop import terminal
from awm_loop.cli import standing
from awm_loop.core import choice, projects
from awm_loop.core.machine import Signal, classify_queued
from awm_loop.core.model import Instant, Policy, Reset, Spec, Work
from awm_loop.core.observation import SpecBad, SpecRead
from awm_loop.core.project import DEFAULT_PROJECT, ProjectStatus
from awm_loop.errors import ConfigError
from awm_loop.ports import Loaded
from awm_loop.wiring import Home

AHEAD_SHOWN_MAX = 3


@dataclass(frozen=True, slots=True)
class Wait:
    """One thing in the way. `until` where that is known; `then` is what to type, "" where it goes by itself."""

    what: str
    until: datetime | None = None
    then: str = ""


def text_of(wait: Wait, now: datetime) -> str:
    """`S1, which is running`, `the limit of account openai, in 12 min (14:05)`."""
    return terminal.plain(wait.what) + (f", {standing.when_text(wait.until, now)}" if wait.until else "")


def waits(home: Home, loaded: Loaded, task_id: str, now: Instant) -> list[Wait]:
    """All that keeps a queued task from starting at this moment, the nearest first; none: the next beat starts it."""
    work, policy, spec = loaded.work, home.policy(loaded.settings, now), home.read_spec(loaded.work, task_id)
    if isinstance(spec, Spec):
        work = choice.learnt(work, task_id, spec, policy)  # a beat does that when it may start something
    found = [Wait("you: the loop is paused", then="awm resume")] if work.paused else []
    if work.reset is not None or choice.reset_due(work, policy):
        refused = work.pending.refused if isinstance(work.pending, Reset) else None
        found.append(Wait(f"the session reset that is due{f': {refused[0]}' if refused else ''}"))
    if why := projects.shut(work, projects.project_of(work, task_id), now, policy):
        found.append(Wait(why, policy.day_ends_at if "budget" in why else None, _opens(work, task_id, policy)))
    if why := projects.hindrance(work, task_id):
        return [Wait(f"nothing, but the next beat blocks it: {why}")]
    if others := projects.unmet(work, task_id):
        found.append(Wait(f"{', '.join(others)}, which it depends on"))
    found += _before(work, task_id, policy)
    task = work.task(task_id)
    if task.not_before is not None and choice.is_waiting(work, task_id, now):
        pause = (
            f"the pause after try {task.tries} of {policy.retries_max + 1}" if task.tries else "its time (`notBefore`)"
        )
        return [*found, Wait(pause, task.not_before.until)]
    return found or _hindrances(home, work, task_id, now, policy)


def _opens(work: Work, task_id: str, policy: Policy) -> str:
    """What to type about a project that is shut."""
    project_id = projects.project_of(work, task_id)
    project = projects.found(work, project_id, policy)
    if project_id == DEFAULT_PROJECT:
        return ""
    if project is None:
        return f"awm check, or awm projects create {project_id} --path DIR"
    verb = "edit" if project.status is ProjectStatus.ACTIVE else "resume"
    return f"awm projects {verb} {project_id}"


def _before(work: Work, task_id: str, policy: Policy) -> list[Wait]:
    """The tasks that run, where no more may, and those that stand before it."""
    running = [attempt.task for attempt in work.attempts]
    order = choice.in_order(work)
    ahead = order[: order.index(task_id)]
    found = []
    if len(running) >= policy.max_parallel:
        found.append(Wait(f"{', '.join(running)}, which {'is' if len(running) == 1 else 'are'} running"))
    if ahead:
        more = f" and {len(ahead) - AHEAD_SHOWN_MAX} more" if len(ahead) > AHEAD_SHOWN_MAX else ""
        then = "" if running or work.paused else f"awm why {ahead[0]}"
        found.append(Wait(f"{', '.join(ahead[:AHEAD_SHOWN_MAX])}{more}, before it in the queue", then=then))
    return found


def _hindrances(home: Home, work: Work, task_id: str, now: Instant, policy: Policy) -> list[Wait]:
    """What the next beat would find in the way of the task that is next, as only for that one it looks."""
    spec = home.read_spec(work, task_id)
    if isinstance(spec, SpecBad):
        return [Wait(f"nothing, but the next beat blocks it: {spec.reason}")]
    try:
        head, branch = home.head(projects.path_of(work, projects.project_of(work, task_id), policy))
    except ConfigError as error:
        return [Wait(f"you: {error.message}")]
    worktree = home.worktree(task_id)
    seen = SpecRead(spec=spec, head=head, branch=branch, worktree=worktree, past=tuple(home.past()), next_up=None)
    judged = classify_queued(work, task_id, seen, now, policy)
    match judged.signal:
        case Signal.UNFIT:
            return [Wait(f"nothing, but the next beat blocks it: {judged.reason}")]
        case Signal.TOO_LATE:
            return [Wait("its project's next window: it would not end within this one")]
        case Signal.OCCUPIED:
            return [Wait(f"{', '.join(attempt.task for attempt in work.attempts)}, which works where it would")]
        case Signal.ACCOUNT_CLOSED:
            return [_limit(work, seen, task_id, now, policy)]
    return []


def _limit(work: Work, seen: SpecRead, task_id: str, now: Instant, policy: Policy) -> Wait:
    """All agents that could do it are off, or their accounts closed; the first account to open ends the wait."""
    fit = choice.fit_agents(seen.spec, work.task(task_id), policy, seen.past)
    agents = [] if isinstance(fit, SpecBad) else [agent for agent in fit if agent.name not in work.agents_off]
    if not agents and not isinstance(fit, SpecBad):
        return Wait(
            f"you: {fit[0].name} is turned off, {work.agents_off[fit[0].name]}", then=f"awm agents on {fit[0].name}"
        )
    accounts = list(dict.fromkeys(agent.account for agent in agents))
    closed = [deadline.until for name in accounts if (deadline := choice.closed_until(work, name, now))]
    return Wait(f"the limit of account {', '.join(accounts)}", min(closed, default=None))
