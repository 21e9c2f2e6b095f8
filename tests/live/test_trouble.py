"""What goes wrong with real CLIs: a model that never answers, machines that die, logins and requests that are refused."""

from __future__ import annotations

import signal

import pytest
from clis import Cli
from home import kill, rounds
from rig import LONG_SECONDS, Live

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(not rounds(0, 1), reason="a quarter of an hour: scripts/live runs it"),
]
IMPATIENT = "stall_minutes = 0.3\nsample_seconds = 3"


def test_a_model_that_never_answers_is_a_stall(cli: Cli, live: Live) -> None:
    """The silent CLI is ended with all it started, and the task goes on in a new attempt (SPEC 7.2, 8.4)."""
    live.begin(cli, loop=IMPATIENT)
    live.order("S1")
    live.plan({0: ("hang", LONG_SECONDS)})
    live.queue("S1")
    live.wait_for(lambda: live.asked_in("hang"), beat_every=2.0, seconds=LONG_SECONDS)
    live.plan({})

    state = live.run_out()

    outcomes = [one["outcome"] for one in live.results()]
    assert (outcomes[0], outcomes[-1], state["completed"]) == ("stalled", "succeeded", ["S1"]), live.story()
    assert live.words() == ["wombat-S1"]
    assert live.processes().keys() <= live.serving()


def test_when_all_is_killed_in_the_middle_the_task_is_done_again(cli: Cli, live: Live) -> None:
    """As at a crash of the machine: supervisor, CLI and its tools die by SIGKILL while the model thinks (SPEC 7.5)."""
    live.begin(cli)
    live.order("S1")
    live.plan({0: ("hang", LONG_SECONDS)})
    live.queue("S1")
    live.wait_for(lambda: live.asked_in("hang"), beat_every=2.0, seconds=LONG_SECONDS)
    live.plan({})
    while found := live.processes().keys() - live.serving():
        for pid in found:
            kill(pid, signal.SIGKILL, str(live.root))

    state = live.run_out()

    assert (state["completed"], live.words()) == (["S1"], ["wombat-S1"]), live.story()
    assert [one["outcome"] for one in live.results()][-1] == "succeeded"
    assert live.processes().keys() <= live.serving()


def test_a_refused_login_turns_the_agent_off(cli: Cli, live: Live) -> None:
    """A person is asked once, the fallback goes on, and no try is spent (SPEC 7.2)."""
    live.begin(cli)
    live.order("S1")
    live.plan({0: ("auth", LONG_SECONDS)})
    live.queue("S1")

    state = live.run_out()

    assert [one["outcome"] for one in live.results()] == ["auth", "succeeded"], live.story()
    assert (state["completed"], list(state["agentsOff"])) == (["S1"], ["first"])


@pytest.mark.parametrize("mode", ["rate", "overloaded"])
def test_a_refusal_that_passes_is_no_try(mode: str, cli: Cli, live: Live) -> None:
    """429 with retry-after, and overload, for ten seconds: the CLI waits it out, or AWM does (SPEC 9.1)."""
    live.begin(cli)
    live.order("S1")
    live.plan({0: (mode, 10.0)})
    live.queue("S1", rateLimitRetryMinutes=0.1)

    state = live.run_out()

    outcomes = {one["outcome"] for one in live.results()}
    assert (state["completed"], live.words()) == (["S1"], ["wombat-S1"]), live.story()
    assert outcomes <= {"limited", "succeeded"}


def test_a_cut_stream_is_no_success(cli: Cli, live: Live) -> None:
    """Half an answer, again and again for ten seconds: whatever the CLI makes of it, the work is there at the end."""
    live.begin(cli, loop=IMPATIENT)
    live.order("S1")
    live.plan({0: ("cut", 10.0)})
    live.queue("S1")

    state = live.run_out()

    assert (state["completed"], live.words()) == (["S1"], ["wombat-S1"]), live.story()
