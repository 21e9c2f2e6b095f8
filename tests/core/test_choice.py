"""Which task next, on which agent, and when there will be something to do (SPEC 4.3, 7.5, 7.6)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from build import CODEX, LOCAL, NOW, OPUS, POLICY, SPEC, closed, later, live, told, working
from hypothesis import given
from hypothesis import strategies as st

from awm_loop.core import choice
from awm_loop.core.estimate import Past
from awm_loop.core.model import AUTO, Agent, Channel, Deadline, Earlier, Outcome, Policy, Spec, Task, Work
from awm_loop.core.observation import SpecBad
from awm_loop.core.project import Priority

NO_BLOCK = "the spec has no ```sh run block for agent local (kind shell) to run; agents that could do it: "


def with_priorities(**priorities: Priority) -> Work:
    """A queue in the order of the names."""
    return working(*priorities, tasks={name: Task(id=name, priority=one) for name, one in priorities.items()})


def waiting(seconds: float, task_id: str = "S1", *, outcome: Outcome = Outcome.FAILED) -> Task:
    """A task that waits so long after an attempt that ended so."""
    earlier = (Earlier(number=1, outcome=outcome, agent="codex", summary=""),)
    return Task(id=task_id, not_before=Deadline.after(seconds, NOW), earlier=earlier)


def test_priority_goes_before_the_order_of_the_queue() -> None:
    """Critical, high, medium, low; within each as they were queued (SPEC 7.5)."""
    work = with_priorities(
        A=Priority.LOW, B=Priority.MEDIUM, C=Priority.CRITICAL, D=Priority.HIGH, E=Priority.MEDIUM, F=Priority.CRITICAL
    )

    assert list(choice.in_order(work)) == ["C", "F", "D", "B", "E", "A"]


def test_without_priorities_the_queue_is_taken_as_it_is() -> None:
    """Ten thousand tasks are not copied for each look (SPEC 7.5)."""
    work = working("S1", "S2", tasks={"S1": Task(id="S1", tries=1), "S0": Task(id="S0")})

    assert choice.in_order(work) is work.queue


@given(st.lists(st.sampled_from(list(Priority)), max_size=30))
def test_the_order_loses_and_doubles_nobody(priorities: list[Priority]) -> None:
    """It is the queue, sorted and stable (SPEC 7.5)."""
    work = with_priorities(**{f"S{index}": priority for index, priority in enumerate(priorities)})

    order = list(choice.in_order(work))

    rank = {task_id: (list(Priority).index(work.task(task_id).priority), int(task_id[1:])) for task_id in work.queue}
    assert order == sorted(work.queue, key=rank.__getitem__)


def test_an_empty_queue_has_no_candidate() -> None:
    """There is nothing to look at (SPEC 7.5)."""
    assert list(choice.candidates(working(), NOW, POLICY)) == []
    assert list(choice.candidates(working(), NOW, replace(POLICY, allow_overtake=True))) == []


@pytest.mark.parametrize(
    ("overtake", "tasks", "looked_at"),
    [
        (False, (waiting(30),), []),
        (False, (waiting(0),), ["S1"]),
        (True, (waiting(30),), ["S2", "S3"]),
        (True, (waiting(0),), ["S1", "S2", "S3"]),
        (True, (waiting(30), waiting(60, "S2"), waiting(10, "S3")), []),
        (True, (waiting(30, outcome=Outcome.LIMITED),), ["S1", "S2", "S3"]),
        (False, (waiting(30, outcome=Outcome.LIMITED),), ["S1"]),
    ],
    ids=["not allowed", "due", "allowed", "allowed, due", "all wait", "allowed, a limit", "a limit"],
)
def test_who_waits_is_overtaken_only_where_that_is_allowed(
    overtake: bool, tasks: tuple[Task, ...], looked_at: list[str]
) -> None:
    """`allow_overtake`: also of those that turn out to wait when they are looked at (SPEC 4.3)."""
    work = working("S1", "S2", "S3", tasks={task.id: task for task in tasks})

    assert list(choice.candidates(work, NOW, replace(POLICY, allow_overtake=overtake))) == looked_at


@pytest.mark.parametrize(
    ("task", "is_waiting"),
    [
        (Task(id="S1"), False),
        (waiting(30), True),
        (waiting(0), False),
        (waiting(30, outcome=Outcome.LIMITED), False),
    ],
    ids=["no time", "backoff", "due", "limit"],
)
def test_who_met_a_limit_is_looked_at_anew(task: Task, is_waiting: bool) -> None:
    """Its account may be opened, or its agents changed, by hand; a backoff is waited out (SPEC 4.3, 9.1)."""
    assert choice.is_waiting(working("S1", tasks={"S1": task}), "S1", NOW) is is_waiting


def agents(*names: Agent, default: str = "codex") -> Policy:
    return replace(POLICY, agents={agent.name: agent for agent in names}, default_agent=default)


@pytest.mark.parametrize(
    ("model", "fit"),
    [
        ("", ["codex", "opus"]),
        ("opus", ["opus"]),
        ("OPUS", ["opus"]),
        ("GPT-5.2", ["codex", "opus"]),
        ("local", ["local"]),
    ],
)
def test_the_agent_is_the_specs_own_else_the_default(model: str, fit: list[str]) -> None:
    """`Model:` names an agent, else a model; then come that agent's fallbacks (SPEC 5.1, 7.6)."""
    found = choice.fit_agents(replace(SPEC, model=model, has_script=True), Task(id="S3"), POLICY)

    assert not isinstance(found, SpecBad)
    assert [agent.name for agent in found] == fit


def test_an_agents_name_goes_before_anothers_model() -> None:
    """`Model: opus` is the agent of that name, whoever else runs a model called so (SPEC 5.1)."""
    named_so = replace(CODEX, model="opus", fallback=())

    assert choice.fit_agents(replace(SPEC, model="opus"), Task(id="S3"), agents(named_so, OPUS)) == [OPUS]


def test_a_fallback_that_cannot_do_the_task_is_left_out() -> None:
    """The embedded agent has nothing to run in a spec without a block (SPEC 7.6, 8.7)."""
    codex = replace(CODEX, fallback=("local", "opus"))
    policy = agents(codex, LOCAL, OPUS)

    assert choice.fit_agents(SPEC, Task(id="S3"), policy) == [codex, OPUS]
    assert choice.fit_agents(replace(SPEC, has_script=True), Task(id="S3"), policy) == [codex, LOCAL, OPUS]


@pytest.mark.parametrize(
    ("spec", "policy", "reason"),
    [
        (
            replace(SPEC, model="gpt-9"),
            POLICY,
            "`Model: gpt-9` names no agent and no model of one; agents: codex, local, opus",
        ),
        (
            SPEC,
            replace(POLICY, default_agent="local"),
            NO_BLOCK + "codex, opus (`**Model:** …`)",
        ),
        (
            SPEC,
            agents(LOCAL, default="local"),
            NO_BLOCK + "none (`**Model:** …`)",
        ),
    ],
    ids=["unknown", "nothing to run", "nobody"],
)
def test_who_cannot_be_served_is_told_who_could(spec: Spec, policy: Policy, reason: str) -> None:
    """Unknown agents, and tasks that the agent cannot do, are blocked with the ones that exist (SPEC 5.1, 8.7)."""
    assert choice.fit_agents(spec, Task(id="S3"), policy) == SpecBad(reason=reason)


FAILING = {"console": Channel(name="console", failures=1, not_before=Deadline.after(20, NOW))}


@pytest.mark.parametrize(
    ("work", "due_seconds"),
    [
        (working("S1"), None),
        (working("S1", "S2", tasks={"S1": waiting(60), "S2": waiting(30, "S2")}), 30),
        (working("S1", tasks={"S1": waiting(60)}, accounts=closed(10)), 10),
        (working("S1", tasks={"S1": waiting(60)}, accounts=closed(-10)), 60),
        (working("S1", tasks={"S1": waiting(0)}), None),
        (working(channels=FAILING), None),
        (working(channels=FAILING, outbox=(told("report", "done"),)), 20),
        (live(), None),
    ],
    ids=[
        "nothing",
        "the first to end",
        "an account",
        "one that is over",
        "due",
        "nothing to send",
        "a channel",
        "live",
    ],
)
def test_the_next_known_wait_is_named(work: Work, due_seconds: float | None) -> None:
    """The earliest of tasks, accounts and channels that is still to come (SPEC 6.3)."""
    due = None if due_seconds is None else later(due_seconds).wall

    assert choice.next_due(work, NOW, POLICY) == due


def test_a_task_without_options_has_nothing_against_it() -> None:
    """Most tasks have no entry: nothing counted, nothing waited for, nothing known (SPEC 4.2)."""
    known = {"S1": Task(id="S1", tries=2)}
    work = working("S1", "S2", tasks=known)
    nothing = {"tries": 0, "strikes": 0, "reboots": 0, "attempts": 0, "seconds": 0.0, "cost_usd": None, "base": None}

    assert work.task("S1") == known["S1"]
    assert work.task("S2") == Task(id="S2", priority=None, not_before=None, earlier=(), **nothing)


@pytest.mark.parametrize(
    ("routes", "task_type", "model", "chosen"),
    [
        ({}, "coding", "", "codex"),
        ({"coding": "opus"}, "coding", "", "opus"),
        ({"coding": "opus"}, "docs", "", "codex"),
        ({"coding": "opus"}, "coding", "codex", "codex"),
        ({"default": "opus"}, "docs", "", "opus"),
        ({"default": AUTO}, "docs", "", "codex"),
        ({"default": AUTO}, "coding", "", "opus"),
        ({"coding": AUTO, "default": "codex"}, "coding", "", "opus"),
    ],
)
def test_a_task_goes_to_the_agent_of_its_route(routes: dict[str, str], task_type: str, model: str, chosen: str) -> None:
    """Its own `Model:`, else the route of its type, else the default; `auto` learns from what was done (SPEC 7.6)."""
    past = [Past(agent="opus", type="coding", minutes=1.0)] * 5
    policy = replace(POLICY, routes=routes)
    found = choice.fit_agents(replace(SPEC, type=task_type, model=model), Task(id="S3"), policy, past)

    assert isinstance(found, list)
    assert found[0].name == chosen


def test_the_route_that_learns_asks_only_whose_role_it_is() -> None:
    """An agent with `roles` is for those types of tasks (SPEC 16)."""
    past = [Past(agent="opus", type="coding", minutes=1.0)] * 5
    policy = replace(POLICY, routes={"default": AUTO}, agents={**POLICY.agents, "opus": replace(OPUS, roles=("docs",))})
    found = choice.fit_agents(replace(SPEC, type="coding"), Task(id="S3"), policy, past)

    assert isinstance(found, list)
    assert found[0].name == "codex"
