"""A queue of tasks through each real CLI: prompt in, tool used, commit made, gate passed, notice sent (issue 5)."""

from __future__ import annotations

import pytest
from clis import Cli
from rig import Live

pytestmark = pytest.mark.timeout(400)
TASKS = ("S1", "S2", "S3")


def test_a_queue_of_tasks_ends_with_real_commits(cli: Cli, live: Live) -> None:
    """The prompt reaches the model through the CLI, the model's tool call commits, the reader sees it end (SPEC 8.2)."""
    live.begin(cli)
    for task in TASKS:
        live.order(task)
    live.queue(*TASKS)

    state = live.run_out()

    assert state["completed"] == list(TASKS), live.story()
    assert live.words() == [f"wombat-{task}" for task in TASKS]
    assert [(one["outcome"], one["exitCode"]) for one in live.results()] == [("succeeded", 0)] * 3
    for task, one, text in zip(TASKS, live.results(), live.texts("completed"), strict=True):
        words = f"The word wombat-{task} is written."  # aider names a file before them that it had in its chat
        assert one["summary"].endswith(words)
        assert text.startswith(f"✅ Sprint {task} COMPLETE — ")
    assert [bool(one["sessionId"]) for one in live.results()] == [cli.has_sessions] * 3
    assert [one["tokens"]["input"] > 0 for one in live.results()] == [True] * 3
    assert [one["gate"]["passed"] for one in live.results()] == [True] * 3
    assert {request["model"] for request in live.requests()} >= {cli.served[0]}
