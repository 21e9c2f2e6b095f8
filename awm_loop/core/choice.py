"""Which task next, and which agent for it (SPEC 7.5, 7.6)."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from awm_loop.core.estimate import Past, best
from awm_loop.core.model import AUTO, Agent, Deadline, Instant, Outcome, Policy, Priority, Spec, Task, Work
from awm_loop.core.observation import SpecBad, SpecRead

LAST = datetime(9999, 1, 1, tzinfo=UTC)  # in every zone, this is a time that Python has


class Place(NamedTuple):
    """Where an attempt works: the project's directory itself, or a worktree of the task's own (SPEC 10.3)."""

    workspace: str
    is_worktree: bool


def in_order(work: Work) -> Sequence[str]:
    """Queued ids by priority, then queue order; the queue itself where no priorities differ."""
    rank = {priority: index for index, priority in enumerate(Priority)}
    special = {task.id: rank[task.priority] for task in work.tasks.values() if task.priority is not Priority.MEDIUM}
    return sorted(work.queue, key=lambda one: special.get(one, rank[Priority.MEDIUM])) if special else work.queue


def candidate(work: Work, now: Instant, policy: Policy) -> str | None:
    """The queued task to look at now: the first; only with `allow_overtake` the first that does not wait (SPEC 4.3)."""
    if len(work.attempts) >= policy.max_parallel or reset_due(work, policy):
        return None
    queue = in_order(work)
    if policy.allow_overtake:
        queue = [task_id for task_id in queue if not is_before(work.task(task_id).not_before, now)] or queue
    return queue[0] if queue else None


def is_waiting(work: Work, task_id: str, now: Instant) -> bool:
    """True before the task's `notBefore`. One that met a limit is looked at anew: its account or agents may change."""
    task = work.task(task_id)
    is_limited = bool(task.earlier) and task.earlier[-1].outcome is Outcome.LIMITED
    return is_before(task.not_before, now) and not is_limited


def closed_until(work: Work, account: str, now: Instant) -> Deadline | None:
    """The account's deadline, as long as it is closed; at it the account is open."""
    deadline = work.accounts[account].deadline if account in work.accounts else None
    return deadline if is_before(deadline, now) else None


def is_open(work: Work, agent: Agent, now: Instant) -> bool:
    """Whether it may be started: its account is open, and nobody refused its login or bill since a person looked."""
    return agent.name not in work.agents_off and not closed_until(work, agent.account, now)


def is_before(deadline: Deadline | None, now: Instant) -> bool:
    return deadline is not None and deadline.remaining_seconds(now) > 0


def workspace(work: Work, task_id: str, seen: SpecRead, policy: Policy) -> Place | SpecBad:
    """SPEC 10.3: where the task is to work."""
    wanted = seen.spec.isolation or policy.isolation
    can_branch = bool(seen.head) and bool(seen.branch or work.task(task_id).branch)
    if wanted == "worktree" and not can_branch:
        why = "the project is not in git" if seen.head is None else "the project has no commit on a branch"
        return SpecBad(reason=f"it is to work in a worktree, and {why}")
    is_worktree = can_branch and (wanted == "worktree" or (wanted == "auto" and policy.max_parallel > 1))
    return Place(seen.worktree, True) if is_worktree else Place(work.project, False)


def is_occupied(work: Work, place: Place) -> bool:
    """One attempt per workspace; beside one in the project's own directory nobody may move its branch."""
    return any(
        attempt.workspace == place.workspace or not (attempt.is_worktree and place.is_worktree)
        for attempt in work.attempts
    )


def reset_due(work: Work, policy: Policy) -> str:
    """SPEC 11.1: why the session is to be reset at the next rest, in the words of its notice; "" where it is not."""
    if policy.context_share_max <= work.context_share:
        return f"Context at ~{work.context_share:.0%} — saving state and resetting."
    if 0 < policy.reset_after <= work.since_reset:
        done = f"{work.since_reset} sprint{'s' if work.since_reset != 1 else ''} done"
        return f"{done} — saving state and resetting."
    return ""


def next_due(work: Work, now: Instant) -> datetime | None:
    """When the earliest known wait ends: of a task, an account, or a channel; None where none is known or none ends."""
    deadlines = [task.not_before for task in work.tasks.values()]
    deadlines += [account.deadline for account in work.accounts.values()]
    deadlines += [channel.not_before for channel in work.channels.values() if work.outbox]
    waits = [deadline.remaining_seconds(now) for deadline in deadlines if deadline and is_before(deadline, now)]
    first = min(waits, default=math.inf)
    return now.wall + timedelta(seconds=first) if first < (LAST - now.wall).total_seconds() else None


def fit_agents(spec: Spec, task: Task, policy: Policy, past: Sequence[Past] = ()) -> list[Agent] | SpecBad:
    """Who can do a task, in the order to be asked: the spec's own `Model:`, else its route; then the fallbacks.

    An analysis has its own agent, which also does what it took over (SPEC 7.4).
    """
    chosen = policy.analysis_agent if task.analysis == "due" else task.agent
    if chosen in policy.agents:
        return [policy.agents[chosen]]
    if task.analysis == "due":
        return SpecBad(reason="its stalls are to be analysed, and awm.toml has no `analysis_agent` any more")
    agents = policy.agents.values()
    able = [agent for agent in agents if agent.kind != "shell" or spec.has_script]
    wanted = (spec.model or _routed(spec, able, policy, past)).casefold()
    named = [agent for agent in agents if agent.name.casefold() == wanted]
    named += [agent for agent in agents if agent.model and agent.model.casefold() == wanted]
    if spec.unbuilt:
        lines = ", ".join(f"`{line}`" for line in spec.unbuilt)
        return SpecBad(reason=f"the spec asks for what this version cannot do: {lines}")
    if not named:
        names = ", ".join(sorted(policy.agents))
        return SpecBad(reason=f"`Model: {spec.model}` names no agent and no model of one; agents: {names}")
    if named[0] not in able:
        names = ", ".join(sorted(agent.name for agent in able)) or "none"
        what = f"the spec has no ```sh run block for agent {named[0].name} (kind shell) to run"
        return SpecBad(reason=f"{what}; agents that could do it: {names} (`**Model:** …`)")
    return [named[0], *(policy.agents[name] for name in named[0].fallback if policy.agents[name] in able)]


def _routed(spec: Spec, able: Sequence[Agent], policy: Policy, past: Sequence[Past]) -> str:
    """The agent of a task that names none: its type's route, else the default one, else the default agent."""
    route = policy.routes.get(spec.type) or policy.routes.get("default") or policy.default_agent
    if route != AUTO:
        return route
    meant = [agent.name for agent in able if not agent.roles or spec.type in agent.roles]
    untried = policy.default_agent if policy.default_agent in meant or not meant else meant[0]
    return best(past, meant, spec.type) or untried
