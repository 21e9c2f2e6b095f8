"""What keeps a project's tasks from starting: its status, window, budget and dependencies (SPEC 13)."""

import graphlib
from collections.abc import Collection, Mapping

from awm_loop.core.model import Instant, Policy, Work
from awm_loop.core.project import DEFAULT_PROJECT, Bounds, Project, ProjectStatus, Spent, Use

A_DAY = " a day"
ALL = ""  # stands for all projects together where budgets are counted
CIRCLE_SHOWN_MAX = 8
COUNT_MAX = 10**15  # of what is counted: far from what the state file can hold
UNITS = {"attempts": "attempts", "minutes": "minutes", "tokens": "tokens", "cost_usd": "dollars"}


def project_of(work: Work, task_id: str) -> str:
    """The id of the project a task is of."""
    return work.project_of.get(task_id, DEFAULT_PROJECT)


def found(project_id: str, policy: Policy) -> Project | None:
    """A project by its id; None for one that nobody knows any more."""
    if project_id != DEFAULT_PROJECT:
        return policy.projects.get(project_id)
    return Project(id=project_id, verify=policy.verify, bounds=policy.own)


def halted(project_id: str, policy: Policy) -> str:
    """Why a person keeps a project from starting anything, in words; "" where nobody does."""
    project = found(project_id, policy)
    if project is None:
        return f"project {project_id} is in no projects.json"
    if project.status is not ProjectStatus.ACTIVE:
        return f"project {project_id} is {project.status}"
    others = {name: policy.projects.get(name) for name in project.depends}
    if before := [name for name, one in others.items() if not one or one.status is not ProjectStatus.COMPLETED]:
        return f"project {project_id} comes after {', '.join(before)}"
    return ""


def barred(project_id: str, now: Instant, policy: Policy) -> str:
    """Why not even what was promised for a project starts at this moment, in words; "" where it may (SPEC 15.6)."""
    project, why = found(project_id, policy), halted(project_id, policy)
    if project is None or why:
        return why
    for bounds, whose in ((policy.bounds, "the work window"), (project.bounds, f"the window of project {project_id}")):
        if bounds.opens_at is not None and now.wall < bounds.opens_at:
            return f"{whose} is closed"
    return ""


def shut(work: Work, project_id: str, now: Instant, policy: Policy) -> str:
    """Why nothing new of a project starts at this moment, in words; "" where something may."""
    project, why = found(project_id, policy), barred(project_id, now, policy)
    if project is None or why:
        return why
    if closed := work.closed.get(ALL) or work.closed.get(project_id):
        return closed
    live = sum(attempt.project_id == project_id for attempt in work.attempts)
    if 0 < project.max_parallel <= live:
        return f"{live} attempts of project {project_id} are live, and no more may be"
    return ""


def stuck(work: Work, policy: Policy) -> list[str]:
    """Why nothing that is queued starts before a person acts, in words; [] where something may, now or in time."""
    kept = dict[str, str]()  # by project
    found, after = dict[str, None](), dict[str, str]()
    for task_id in work.queue:
        project_id, depends = project_of(work, task_id), work.task(task_id).depends
        if project_id not in kept:
            kept[project_id] = _kept(work, project_id, policy)
        after = after or (waits(work) if depends else after)
        if not kept[project_id] and after.get(task_id) != "":
            return []
        found[kept[project_id] or f"{task_id} depends on {', '.join(depends)}"] = None
    return [*found]


def _kept(work: Work, project_id: str, policy: Policy) -> str:
    """Why a project starts nothing before a person acts; the budget of a day is one tomorrow."""
    closed = [one for one in (ALL, project_id) if one in work.closed]
    lasting = [work.closed[one] for one in closed if not overspent(work, one, policy).endswith(A_DAY)]
    return lasting[0] if lasting else halted(project_id, policy)


def overspent(work: Work, project_id: str, policy: Policy, running: Use | None = None) -> str:
    """The budget that is reached, of a project or of ALL together, in words; "" where none is.

    With what a live attempt has taken so far (`running`): whether that is to be stopped, as a hard budget wants. The
    number of attempts is no reason for that.
    """
    project = found(project_id, policy)
    bounds = policy.bounds if project_id == ALL else project.bounds if project else Bounds()
    if running is not None and not bounds.is_hard:
        return ""
    spent = list(work.spent.values()) if project_id == ALL else [work.spent.get(project_id) or Spent()]
    for limit, name, words in ((bounds.in_all, "in_all", " in all"), (bounds.by_day, "today", A_DAY)):
        used = [getattr(one, name) for one in spent if name == "in_all" or one.day == policy.today]
        for unit, noun in UNITS.items():
            allowed = getattr(limit, unit)
            parts = [getattr(one, unit) for one in (*used, *([running] if running else ()))]
            if allowed is None or (running is not None and unit == "attempts"):
                continue
            if sum(part for part in parts if part is not None) >= allowed:
                whose = "of all projects" if project_id == ALL else f"of project {project_id}"
                amount = f"{allowed:,.10g} {noun.removesuffix('s') if allowed == 1 else noun}"
                return f"the budget {whose} is reached: {amount}{words}"
    return ""


def charged(work: Work, project_id: str, use: Use, today: str, number: int | None = None) -> Mapping[str, Spent]:
    """The ledger with what one attempt took; `number` where it starts, so that projects take turns (SPEC 7.5)."""
    old = work.spent.get(project_id) or Spent()
    same_day = old.today if old.day == today else Use()
    new = Spent(
        day=today,
        today=_sum(same_day, use),
        in_all=_sum(old.in_all, use),
        last_attempt=old.last_attempt if number is None else number,
    )
    return {**work.spent, project_id: new}


def _sum(counted: Use, more: Use) -> Use:
    """Both together, up to COUNT_MAX; never less than was counted, where a person may have written more."""
    total = {}
    for unit in UNITS:
        before, added = getattr(counted, unit), getattr(more, unit)
        parts = [part for part in (before, added) if part is not None]
        total[unit] = max(min(sum(parts), COUNT_MAX), before or 0) if parts else None
    return Use(**total)


def waits(work: Work) -> dict[str, str]:
    """The queued tasks that depend on one that is not completed, with why that can never be, "" where it may."""
    depends = {task: known.depends for task in work.queue if (known := work.tasks.get(task)) and known.depends}
    if not depends:
        return {}
    done = {*work.completed}
    asked = {task: left for task, others in depends.items() if (left := [one for one in others if one not in done])}
    there = {*work.queue, *work.blocked, *(attempt.task for attempt in work.attempts)}
    never = {one: "which is not there" for others in asked.values() for one in others if one not in there}
    never |= dict.fromkeys(work.failed, "which failed") | dict.fromkeys(work.skipped, "which was skipped")
    found = dict.fromkeys(asked, "")
    for task, others in asked.items():
        if other := next((one for one in others if one in never), None):
            found[task] = f"it depends on {other}, {never[other]}"
    blocked = {task: [*work.task(task).depends] for task in work.blocked}  # the first of a circle is, before the others
    edges = asked | blocked
    while (names := circle(edges)) and asked.keys().isdisjoint(names):
        edges = {task: others for task, others in edges.items() if task not in names}
    shown = " -> ".join(names[:CIRCLE_SHOWN_MAX])
    return found | {task: f"its dependencies go round in a circle: {shown}" for task in names if task in asked}


def circle(edges: Mapping[str, Collection[str]]) -> list[str]:
    """Names that lead to each other along the edges, as `a b a`, the least one first; [] where there are none."""
    try:
        graphlib.TopologicalSorter(edges).prepare()
    except graphlib.CycleError as error:
        names = error.args[1][:0:-1]
        first = names.index(min(names))
        return [*names[first:], *names[:first], names[first]]
    return []
