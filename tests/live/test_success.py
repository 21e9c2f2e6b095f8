"""A queue of tasks through each real CLI: prompt in, tool used, commit made, gate passed, notice sent (issue 5)."""

from __future__ import annotations

import re

import pytest
from clis import Cli
from rig import Live

pytestmark = pytest.mark.timeout(400)


def test_a_queue_of_tasks_ends_with_real_commits(cli: Cli, live: Live) -> None:
    """The prompt reaches the model through the CLI, the model's tool call commits, the reader sees it end (SPEC 8.2)."""
    live.begin(cli)
    for task in ("S1", "S2"):
        live.order(task)
    live.queue("S1", "S2")

    state = live.run_out()

    assert state["completed"] == ["S1", "S2"], live.story()
    assert live.words() == ["wombat-S1", "wombat-S2"]
    assert [(one["outcome"], one["exitCode"]) for one in live.results()] == [("succeeded", 0)] * 2
    assert [one["summary"] for one in live.results()] == [
        f"The word wombat-{task} is written." for task in ("S1", "S2")
    ]
    assert [bool(one["sessionId"]) for one in live.results()] == [cli.has_sessions] * 2
    assert [one["tokens"]["input"] > 0 for one in live.results()] == [True, True]
    assert [one["gate"]["passed"] for one in live.results()] == [True, True]
    told = [re.sub(r" Commit [0-9a-f]{7}\n.*", "", text) for text in live.texts("completed")]
    assert told == [f"✅ Sprint {task} COMPLETE — The word wombat-{task} is written." for task in ("S1", "S2")]
    assert {request["model"] for request in live.requests()} >= {cli.served[0]}
