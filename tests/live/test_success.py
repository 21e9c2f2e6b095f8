"""A queue of tasks through each real CLI: prompt in, tool used, commit made, gate passed, notice sent (issue 5)."""

from __future__ import annotations

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
    for task, one, text in zip(("S1", "S2"), live.results(), live.texts("completed"), strict=True):
        words = f"The word wombat-{task} is written."  # aider names a file before them that it had in its chat
        assert one["summary"].endswith(words)
        assert text.startswith(f"✅ Sprint {task} COMPLETE — ")
    assert [bool(one["sessionId"]) for one in live.results()] == [cli.has_sessions] * 2
    assert [one["tokens"]["input"] > 0 for one in live.results()] == [True, True]
    assert [one["gate"]["passed"] for one in live.results()] == [True, True]
    assert {request["model"] for request in live.requests()} >= {cli.served[0]}
