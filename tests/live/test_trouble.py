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

    number = len(live.results()) + 1  # a slow start can have been a stall before
    live.prove_the_end_of(live.running(), number)
    state = live.run_out()

    outcomes = [one["outcome"] for one in live.results()]
    assert (outcomes[0], outcomes[-1], state["completed"]) == ("stalled", "succeeded", ["S1"]), live.story()
    assert live.words() == ["wombat-S1"]


def test_a_stop_ends_the_cli_and_its_tool(cli: Cli, live: Live) -> None:
    """`awm stop` while a tool runs, in a session of its own; of aider, which runs none, while its model thinks. `awm resume`
    has the task done (SPEC 8.3).
    """
    live.begin(cli)
    live.order("S1")
    _work_for_ever(cli, live)

    ran = live.running()
    live.awm("stop")
    live.prove_the_end_of(ran)
    live.awm("resume")
    state = live.run_out()

    assert [one["outcome"] for one in live.results()] == ["stopped", "succeeded"], live.story()
    assert (state["completed"], live.words()) == (["S1"], ["wombat-S1"])


@pytest.mark.parametrize("whom", ["everything", "the supervisor"])
def test_what_is_killed_in_the_middle_is_done_again(whom: str, cli: Cli, live: Live) -> None:
    """By SIGKILL, while a tool runs: all, as at a crash of the machine; or the supervisor alone, and the beat that finds it
    dead ends the CLI and its tool before the task is done again (SPEC 7.2, 8.3).
    """
    live.begin(cli)
    live.order("S1")
    _work_for_ever(cli, live)
    ran = live.running()
    for pid in live.supervisors() if whom == "the supervisor" else live.processes().keys() - {live.server_pid}:
        kill(pid, signal.SIGKILL, str(live.root))
    if whom == "everything":
        live.start_gateway()

    live.prove_the_end_of(ran)
    state = live.run_out()

    assert (state["completed"], live.words()) == (["S1"], ["wombat-S1"]), live.story()
    assert [one["outcome"] for one in live.results()] == ["lost", "succeeded"]


def _work_for_ever(cli: Cli, live: Live) -> None:
    """Until a tool of the first attempt runs that does not end, or the CLI without tools waits for its model."""
    live.plan({0: ("busy" if cli.has_tools else "hang", LONG_SECONDS)})
    live.queue("S1")
    live.wait_for(
        lambda: any("tail -f" in what for what in live.running().values()) if cli.has_tools else live.asked_in("hang"),
        beat_every=2.0,
        seconds=LONG_SECONDS,
    )
    live.plan({})


def test_a_refused_login_turns_the_agent_off(cli: Cli, live: Live) -> None:
    """A person is asked once, the fallback goes on, and no try is spent (SPEC 7.2)."""
    live.begin(cli, loop="max_retries = 0")
    live.order("S1")
    live.plan({0: ("auth", LONG_SECONDS)})
    live.queue("S1")

    state = live.run_out()

    assert [one["outcome"] for one in live.results()] == ["auth", "succeeded"], live.story()
    assert (state["completed"], list(state["agentsOff"])) == (["S1"], ["first"])
    [told] = live.texts("auth")
    assert told.startswith("🔑 First is turned off — ")


@pytest.mark.parametrize("mode", ["rate", "overloaded"])
def test_a_refusal_that_passes_is_no_try(mode: str, cli: Cli, live: Live) -> None:
    """429 with retry-after, and overload, for ten seconds: the CLI waits it out, or AWM does (SPEC 9.1)."""
    live.begin(cli, loop="max_retries = 0")
    live.order("S1")
    live.plan({0: (mode, 10.0)})
    live.queue("S1", rateLimitRetryMinutes=0.1)

    state = live.run_out()

    outcomes = {one["outcome"] for one in live.results()}
    assert (state["completed"], live.words()) == (["S1"], ["wombat-S1"]), live.story()
    assert outcomes <= {"limited", "succeeded"}


def test_a_cut_stream_is_no_success(cli: Cli, live: Live) -> None:
    """Half an answer, again and again for ten seconds: whatever the CLI makes of it, only a whole answer ends it well. A
    tool call that came through may have been carried out (SPEC 10).
    """
    live.begin(cli, loop=IMPATIENT)
    live.order("S1")
    live.plan({0: ("cut", 10.0)})
    live.queue("S1")

    state = live.run_out()

    assert (state["completed"], set(live.words())) == (["S1"], {"wombat-S1"}), live.story()
    assert live.requests()[-1]["mode"] == "ok"
