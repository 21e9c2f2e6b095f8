"""Which task next, and which agent for it (SPEC 7.5, 7.6)."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from awm_loop.core.estimate import Past, best, estimate
from awm_loop.core.model import AUTO, Agent, Deadline, Instant, Outcome, Policy, Spec, Task, Work
from awm_loop.core.observation import SpecBad, SpecRead
from awm_loop.core.project import Bounds, Priority, Use
from awm_loop.core.projects import charged, found, project_of, shut, waits

MINUTE = timedelta(minutes=1)
LAST = datetime(9999, 1, 1, tzinfo=UTC)  # in every zone, this is a time that Python has


class Place(NamedTuple):
    """Where an attempt works: the project's directory itself, or a worktree of the task's own (SPEC 10.3)."""

    workspace: str
    is_worktree: bool


def in_order(work: Work) -> Sequence[str]:
    """Queued ids by priority, within one projects in turn, then queue order; the queue itself if all are equal.

    The project that started longest ago is first (SPEC 7.5).
    """
    rank = {priority: index for index, priority in enumerate(Priority)}
    special = {task.id: rank[task.priority] for task in work.tasks.values() if task.priority is not None}
    if not special and not work.project_of:
        return work.queue
    newest = {project_id: spent.last_attempt for project_id, spent in work.spent.items()}
    counts: dict[tuple[int, str], int] = {}
    places = []
    for index, task_id in enumerate(work.queue):
        key = (special.get(task_id, rank[Priority.MEDIUM]), project_of(work, task_id))
        counts[key] = nth = counts.get(key, -1) + 1
        places.append((key[0], nth, newest.get(key[1], 0), index))
    return [work.queue[place[3]] for place in sorted(places)]


def candidates(work: Work, now: Instant, policy: Policy) -> Iterator[str]:
    """The queued tasks to look at now, in turn; who asks for another one has seen the one before wait."""
    if len(work.attempts) >= policy.max_parallel or reset_due(work, policy):
        return
    yield from (task_id for task_id in in_turn(work, now, policy) if not is_waiting(work, task_id, now))


def following(work: Work, task_id: str, now: Instant, policy: Policy) -> str | None:
    """Who is next when this one and those that run are done, as far as can be told now."""
    done = (*work.completed, task_id, *(attempt.task for attempt in work.attempts))
    queue = tuple(other for other in work.queue if other != task_id)
    spent = charged(work, project_of(work, task_id), Use(), policy.today, work.next_attempt)
    then = replace(work, queue=queue, completed=done, attempts=(), spent=spent)
    return next(in_turn(then, now, policy), None)


def in_turn(work: Work, now: Instant, policy: Policy) -> Iterator[str]:
    """Those whose project is open and whose dependencies let them, one of each project, all with `allow_overtake`.

    One that waits holds up those of its project (SPEC 4.3). One that depends on another lets it go first.
    """
    dependent, held = waits(work), dict[str, bool]()  # by project
    for task_id in in_order(work):
        project_id = project_of(work, task_id)
        if project_id not in held:
            held[project_id] = bool(shut(work, project_id, now, policy))
        if held[project_id] or dependent.get(task_id) == "":
            continue
        yield task_id
        held[project_id] = not policy.allow_overtake


def learnt(work: Work, specs: Mapping[str, Spec], policy: Policy) -> Work:
    """What specs say of the order, the project where one is silent; what it is silent on stands as in the state.

    Its word on the priority counts until there is one: then a person may have set it.
    """
    news = dict[str, Task]()
    for task_id, spec in specs.items():
        task, project = work.task(task_id), found(project_of(work, task_id), policy)
        said = task.priority or spec.priority or (project.priority if project else None)
        priority = task.priority if said is Priority.MEDIUM else said
        new = replace(task, priority=priority, depends=spec.depends or task.depends)
        news |= {} if new == task else {task_id: new}
    return replace(work, tasks={**work.tasks, **news}) if news else work


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
    project = found(project_of(work, task_id), policy)
    wanted = seen.spec.isolation or (project.isolation if project else "") or policy.isolation
    can_branch = bool(seen.site.head) and bool(seen.site.branch or work.task(task_id).branch)
    if wanted == "worktree" and not can_branch:
        why = "the project is not in git" if seen.site.head is None else "the project has no commit on a branch"
        return SpecBad(reason=f"it is to work in a worktree, and {why}")
    is_worktree = can_branch and (wanted == "worktree" or (wanted == "auto" and policy.max_parallel > 1))
    return Place(seen.worktree if is_worktree else seen.site.directory, is_worktree)


def is_occupied(work: Work, place: Place, directory: str) -> bool:
    """One attempt per workspace; beside one in the project's own directory nobody may move its branch.

    Two projects may share one `directory`.
    """
    return any(
        attempt.workspace == place.workspace
        or (attempt.project == directory and not (attempt.is_worktree and place.is_worktree))
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


def next_due(work: Work, now: Instant, policy: Policy) -> datetime | None:
    """When the earliest known wait ends: of a task, an account, a channel, a window, or the day of a budget.

    None where none is known or none ends.
    """
    deadlines = [task.not_before for task in work.tasks.values()]
    deadlines += [account.deadline for account in work.accounts.values()]
    deadlines += [channel.not_before for channel in work.channels.values() if work.outbox]
    waits = [deadline.remaining_seconds(now) for deadline in deadlines if deadline and is_before(deadline, now)]
    named = {project_of(work, task_id) for task_id in work.queue}
    windows = [one.bounds for name in named if (one := found(name, policy))]
    times = [policy.day_ends_at if work.closed else None]
    times += [bounds.opens_at for bounds in (policy.bounds, *windows) if named]
    waits += [(one - now.wall).total_seconds() for one in times if one is not None and one > now.wall]
    first = min(waits, default=math.inf)
    return now.wall + timedelta(seconds=first) if first < (LAST - now.wall).total_seconds() else None


def misfit(seen: SpecRead, agent: Agent, windows: Sequence[Bounds], now: Instant) -> tuple[bool, str]:
    """Whether the task would not end within what is left of a window, and why it never can, "" where it may.

    By the median of its like, else by its own estimate (SPEC 13.3, 12.4).
    """
    guess = estimate(seen.past, agent.name, seen.spec.type)
    minutes = guess.minutes if guess else seen.spec.estimate_minutes
    if minutes is None:
        return False, ""
    ends = [(bounds.opened_at, bounds.closes_at) for bounds in windows if bounds.closes_at]
    whole = min(((end - start) / MINUTE for start, end in ends if start), default=math.inf)
    if minutes > whole:
        return True, f"it takes about {minutes:.0f} minutes, and its window is open for {whole:.0f}"
    return any(minutes > (end - now.wall) / MINUTE for _, end in ends), ""


def fit_agents(
    spec: Spec, task: Task, policy: Policy, past: Sequence[Past] = (), preferred: str = ""
) -> list[Agent] | SpecBad:
    """Who can do a task, in the order to be asked: its spec's `Model:`, else who its project prefers, else its route;
    then the fallbacks.

    An analysis has its own agent, which also does what it took over (SPEC 7.4).
    """
    chosen = policy.analysis_agent if task.analysis == "due" else task.agent
    if chosen in policy.agents:
        return [policy.agents[chosen]]
    if task.analysis == "due":
        return SpecBad(reason="its stalls are to be analysed, and awm.toml has no `analysis_agent` any more")
    agents = policy.agents.values()
    able = [agent for agent in agents if agent.kind != "shell" or spec.has_script]
    wanted = (spec.model or preferred or _routed(spec, able, policy, past)).casefold()
    named = [agent for agent in agents if agent.name.casefold() == wanted]
    named += [agent for agent in agents if agent.model and agent.model.casefold() == wanted]
    if not named:
        names = ", ".join(sorted(policy.agents))
        who = f"`Model: {spec.model}`" if spec.model else f"`agent` of its project, {preferred},"
        return SpecBad(reason=f"{who} names no agent and no model of one; agents: {names}")
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
