"""Which task next, and which agent for it (SPEC 7.5, 7.6)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from awm_loop.core.model import PRIORITY_ORDER, Account, Agent, Attempt, Instant, Policy, Priority, Spec, Work


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfit:
    """No configured agent can do this task as it is written; `reason` is for people."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AllClosed:
    """Every agent that could do it waits for its account."""

    accounts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The agent to launch now; `chain` are all that are fit, in the order they may be asked."""

    agent: Agent
    chain: tuple[str, ...]


def in_order(work: Work) -> Iterator[str]:
    """Queued ids by priority, then queue order. Lazy, and one pass over the queue where priorities differ."""
    special = {task.priority for task in work.tasks.values() if task.priority is not Priority.MEDIUM}
    if not special:
        yield from work.queue
        return
    for priority in PRIORITY_ORDER:
        if priority in special or priority is Priority.MEDIUM:
            yield from (task_id for task_id in work.queue if work.task(task_id).priority is priority)


def candidate(work: Work, now: Instant, policy: Policy) -> str | None:
    """The one queued task to look at now, or None for an empty queue.

    The first in order; a task that waits is not overtaken unless `allow_overtake` (SPEC 4.3).
    """
    first = next(in_order(work), None)
    if first is None or not policy.allow_overtake:
        return first
    return next((task_id for task_id in in_order(work) if not is_waiting(work, task_id, now)), first)


def is_waiting(work: Work, task_id: str, now: Instant) -> bool:
    """True before the task's `notBefore`; at it the task is due."""
    not_before = work.task(task_id).not_before
    return not_before is not None and not_before.remaining_seconds(now) > 0


def is_closed(account: Account | None, now: Instant) -> bool:
    """True before an account's deadline; at it the account is open."""
    return account is not None and account.deadline is not None and account.deadline.remaining_seconds(now) > 0


def next_due(work: Work, now: Instant) -> datetime | None:
    """When the earliest known wait ends: of the next task, an account, or a channel; None where none is known."""
    first = next(in_order(work), None)
    deadlines = [work.task(first).not_before] if first else []
    deadlines += [account.deadline for account in work.accounts.values()]
    deadlines += [channel.not_before for channel in work.channels.values() if work.outbox]
    waits = [deadline.remaining_seconds(now) for deadline in deadlines if deadline is not None]
    return now.wall + timedelta(seconds=max(min(waits), 0.0)) if waits else None


def pick_agent(spec: Spec, work: Work, now: Instant, policy: Policy) -> Chosen | AllClosed | Unfit:
    """The spec's own `Model:`, else the default agent; when its account is closed, its fallbacks in order."""
    primary = _named(spec.model, policy) if spec.model else policy.agents[policy.default_agent]
    if primary is None:
        names = ", ".join(sorted(policy.agents))
        return Unfit(reason=f"`Model: {spec.model}` names no agent and no model of one; agents: {names}")
    if not _can_do(primary, spec):
        able = ", ".join(sorted(agent.name for agent in policy.agents.values() if _can_do(agent, spec)))
        return Unfit(
            reason=f"the spec has no ```sh run block for agent {primary.name} (kind shell) to run; "
            + (f"agents that could do it: {able} (`**Model:** …`)" if able else "no configured agent could do it")
        )
    chain = [primary, *(policy.agents[name] for name in primary.fallback if _can_do(policy.agents[name], spec))]
    for agent in chain:
        if not is_closed(work.accounts.get(agent.account), now):
            return Chosen(agent=agent, chain=tuple(agent.name for agent in chain))
    return AllClosed(accounts=tuple(dict.fromkeys(agent.account for agent in chain)))


def fallback(attempt: Attempt, work: Work, now: Instant, policy: Policy) -> Agent | None:
    """Who could go on where a limit ended this attempt: the first of its chain on another account that is open."""
    agents = (policy.agents[name] for name in attempt.chain if name in policy.agents)
    others = (agent for agent in agents if agent.account != attempt.account)
    return next((agent for agent in others if not is_closed(work.accounts.get(agent.account), now)), None)


def _named(model: str, policy: Policy) -> Agent | None:
    """An agent by name, else the first whose model it is; case does not matter."""
    wanted = model.casefold()
    by_name = (agent for agent in policy.agents.values() if agent.name.casefold() == wanted)
    by_model = (agent for agent in policy.agents.values() if agent.model and agent.model.casefold() == wanted)
    return next(by_name, None) or next(by_model, None)


def _can_do(agent: Agent, spec: Spec) -> bool:
    return agent.kind != "shell" or bool(spec.script)
