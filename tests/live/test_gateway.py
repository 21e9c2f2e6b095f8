"""What only a gateway's sub-agents have: their end is told by it, and it can die (issue 7)."""

from __future__ import annotations

import itertools
import json
import random
import select
from typing import Any

import pytest
from clis import Cli
from home import rounds
from rig import LONG_SECONDS, Live

pytestmark = [
    pytest.mark.timeout(1500),
    pytest.mark.skipif(not rounds(0, 1), reason="some minutes: scripts/live runs it"),
]
a_gateway = pytest.mark.parametrize("cli", ["openclaw"], indirect=True)
KILLS_COUNT = 10
MOMENT_SECONDS_MAX = 10.0  # a sub-agent begins some seconds after its task was queued, and works for three


def prove_one_at_a_time(live: Live) -> list[dict[str, Any]]:
    """By the gateway's own word: one sub-agent for each label, of a task never two at once, none alive; returns them."""
    found = live.sub_agents()
    labels = [one["label"] for one in found]
    assert len(labels) == len({*labels}), labels
    assert {one["status"] for one in found} <= {"done", "failed", "killed", "timeout"}, found
    for task in {label.rpartition(".")[0] for label in labels}:
        runs = [one for one in found if one["label"].startswith(f"{task}.")]
        for earlier, later in itertools.pairwise(runs):
            assert earlier["endedAt"] <= later["startedAt"], (earlier, later)
    return found


@a_gateway
def test_a_gate_that_says_no_fails_the_task(cli: Cli, live: Live) -> None:
    """The sub-agent ended well and said so; what counts is the gate (SPEC 10.1)."""
    live.begin(cli, loop="max_retries = 0", fallback="[]")
    live.order("S1")
    path = live.root / "SPRINT_S1_SPEC.md"
    path.write_text(path.read_text().replace("\n\n", "\n\n**Verify:** `false`\n\n", 1))
    live.queue("S1")

    state = live.run_out()

    assert (state["failed"], state["completed"]) == (["S1"], []), live.story()
    assert [one["gate"]["passed"] for one in live.results()] == [False]


@a_gateway
def test_the_deadline_ends_the_sub_agent(cli: Cli, live: Live) -> None:
    """The gateway is told of none; AWM's own holds, and the gateway says that it was killed (SPEC 8.4)."""
    live.begin(cli, loop="max_retries = 0\nstrikes_max = 1\nattempt_max_minutes = 1", fallback="[]")
    live.order("S1")
    live.plan({0: ("busy", LONG_SECONDS)})
    live.queue("S1")
    live.run_out()

    assert [one["outcome"] for one in live.results()] == ["timed_out"], live.story()
    assert [one["status"] for one in prove_one_at_a_time(live)] == ["killed"]


@a_gateway
def test_a_gateway_that_dies_in_the_middle_costs_no_try(cli: Cli, live: Live) -> None:
    """SIGKILL while a tool runs, and a restart: the task is done in a second sub-agent, and nothing else is (SPEC 7.3)."""
    live.begin(cli, loop="max_retries = 0\nstrikes_max = 1", fallback="[]")
    live.order("S1")
    live.plan({0: ("busy", LONG_SECONDS)})
    live.queue("S1")
    _until_its_tool_runs(live)
    ran = live.running()
    live.plan({})

    live.kill_gateway()
    live.beat()
    live.start_gateway()
    live.prove_the_end_of(ran)
    state = live.run_out()

    assert (state["completed"], live.words()) == (["S1"], ["wombat-S1"]), live.story()
    assert [one["outcome"] for one in live.results()] == ["rebooted", "succeeded"]
    assert [one["status"] for one in prove_one_at_a_time(live)] == ["failed", "done"]


@a_gateway
def test_a_gateway_that_dies_at_any_moment_loses_no_task(cli: Cli, live: Live) -> None:
    """Ten kills at random: every task is done in the end, no label was started twice, no two of a task lived (SPEC 8.8)."""
    tasks = [f"S{number}" for number in range(1, KILLS_COUNT + 1)]
    moments = random.Random(live.root.name)
    live.begin(cli, loop="max_retries = 0\nstrikes_max = 1", fallback="[]")
    live.plan({0: ("slow", LONG_SECONDS * KILLS_COUNT)})
    for task in tasks:
        live.order(task)
        live.queue(task) if task == tasks[0] else live.add(task)
        live.beat()
        select.select((), (), (), moments.uniform(0, MOMENT_SECONDS_MAX))
        live.kill_gateway()
        live.start_gateway()
        live.run_out()

    assert live.state()["completed"] == tasks, live.story()
    assert {*live.words()} == {f"wombat-{task}" for task in tasks}
    assert {one["outcome"] for one in live.results()} <= {"rebooted", "succeeded"}
    found = prove_one_at_a_time(live)
    assert len({one["label"].rpartition(".")[0] for one in found}) == KILLS_COUNT


@a_gateway
def test_a_job_of_the_gateway_beats_the_home(cli: Cli, live: Live) -> None:
    """`awm install --openclaw`, twice: one job, and a doctor finds all well. Its first beat starts the task, one with
    nothing to say stays silent, and what there is to tell is its text. No model is asked for any of it.
    """
    live.begin(cli)
    live.environment["PATH"] = f"{cli.path.parent}:{live.environ()['PATH']}"
    live.order("S1")
    live.awm("install", "--openclaw")
    live.awm("install", "--openclaw")
    [job] = [job for job in _claw(live, "cron", "list", "--all", "--json")["jobs"] if job["name"].startswith("awm-")]
    checkup = json.loads(live.awm("doctor", "--json"))["findings"]
    assert not live.requests()

    live.queue("S1")
    first = _run_job(live, job["id"])
    live.wait_for(lambda: len(live.results()) == 1, seconds=LONG_SECONDS)
    live.wait_for(lambda: not live.supervisors(), seconds=LONG_SECONDS)
    asked_count = len(live.requests())
    runs = [_run_job(live, job["id"]) for _ in range(3)]
    live.awm("uninstall", "--openclaw")

    found = {one["what"]: one["remedy"] for one in checkup}
    assert found[f"OpenClaw's job {job['id']} beats this home"] == ""
    assert found["it takes the token, and allows sessions_list, sessions_spawn, subagents, sessions_history"] == ""
    assert found["its sub-agents may run commands"] == ""
    assert (first["status"], [one["status"] for one in runs]) == ("ok", ["ok"] * 3), runs
    assert live.state()["completed"] == ["S1"], live.story()
    texts = [one["diagnostics"]["summary"] for one in (first, *runs)]
    assert texts[0].startswith("🚀 Sprint S1 started")
    assert any("✅ Sprint S1 COMPLETE" in text for text in texts[1:]), texts
    assert runs[-1]["deliverySuppressionReason"] == "silent"
    assert texts[-1] == "NO_REPLY"
    assert len(live.requests()) == asked_count
    assert [job["name"] for job in _claw(live, "cron", "list", "--all", "--json")["jobs"] if "awm" in job["name"]] == []


def _until_its_tool_runs(live: Live) -> None:
    def is_at_work() -> bool:
        return any("tail -f" in what for what in live.running().values())

    live.wait_for(is_at_work, beat_every=2.0, seconds=LONG_SECONDS)


def _claw(live: Live, *words: str) -> Any:
    return json.loads(live.program(str(live.cli.path), *words))


def _run_job(live: Live, name: str) -> dict[str, Any]:
    """Run it now; what its run came to."""
    run_id = _claw(live, "cron", "run", name)["runId"]

    def ended() -> list[dict[str, Any]]:
        entries = _claw(live, "cron", "runs", "--id", name)["entries"]
        return [one for one in entries if one.get("runId") == run_id and one["action"] == "finished"]

    return live.wait_for(ended, seconds=LONG_SECONDS)[0]
