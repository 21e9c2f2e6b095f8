"""Sessions of real CLIs that are gone on with: after a task, and after a cap (SPEC 11.2)."""

from __future__ import annotations

import pytest
from clis import SOON_SECONDS, Cli
from home import rounds
from rig import LONG_SECONDS, Live

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(not rounds(0, 1), reason="some minutes: scripts/live runs it"),
]


def test_the_next_task_goes_on_in_the_same_session(cli: Cli, live: Live) -> None:
    """With `resume_sessions` its prompt comes into the conversation of the task before; tokens count once."""
    if not cli.has_sessions:
        pytest.skip(f"{cli.name} has no sessions")
    live.begin(cli, loop="resume_sessions = true")
    for task in ("S1", "S2"):
        live.order(task)
    live.queue("S1", "S2")

    state = live.run_out()

    assert (state["completed"], live.words()) == (["S1", "S2"], ["wombat-S1", "wombat-S2"]), live.story()
    first, second = live.results()
    assert second["sessionId"] == first["sessionId"] != ""
    assert second["tokens"] == first["tokens"]
    told = (live.served / "last.json").read_text()
    assert [word in told for word in ("wombat-S1", "wombat-S2")] == [True, True]


def test_a_session_that_a_cap_cut_short_is_gone_on_with(cli: Cli, live: Live) -> None:
    """Once its account is open again, by the same agent, which has no fallback; or, where the CLI keeps no session that had
    no answer, anew (SPEC 9.1).
    """
    if not cli.has_sessions:
        pytest.skip(f"{cli.name} has no sessions")
    live.begin(cli, fallback="[]")
    live.order("S1")
    live.plan({0: ("cap", cli.cap_seconds)})
    live.queue("S1")
    live.wait_for(live.results, beat_every=2.0, seconds=LONG_SECONDS)
    if cli.cap_seconds > SOON_SECONDS:
        live.plan({})
        live.wait_for(lambda: live.state()["rateLimitedUntil"] and not live.supervisors(), beat_every=2.0)
        live.open_account()

    state = live.run_out()

    assert (state["completed"], live.words()) == (["S1"], ["wombat-S1"]), live.story()
    assert [one["outcome"] for one in live.results()] == ["limited", "succeeded"]
    capped, done = live.results()
    assert capped["sessionId"] in {done["sessionId"], ""}
