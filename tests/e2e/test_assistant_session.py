"""The assistant's own session at a gateway, through whole beats: reset, watched, told, and else left alone (SPEC 11.1, 12.2)."""

from __future__ import annotations

import json
import re
import subprocess
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from claw import TOKEN, Claw, claw
from home import QUICK, Home, rounds
from test_use_cases import at, needs_a_clock
from test_verbs import awm

from awm_loop import assistant, gateway

__all__ = ["claw"]

SESSION = "agent:main:main"
BEGIN = "2 sprints done — saving state and resetting."
DONE = "✅ Reset complete. Fresh session online."
NOT_YET = "the assistant's session is not reset yet"


def queue(home: Home, claw: Claw, *tasks: str, every: int = 2, channel: str = "test") -> None:
    """A home whose assistant has a session at the gateway, and reads there; none of its agents works there."""
    messages = f'channel = "{channel}"\ntarget = "me"\n' if channel else ""
    home.config(f'{QUICK}[openclaw]\nurl = "{claw.url}"\nsession = "{SESSION}"\n{messages}')
    for task in tasks:
        home.spec(task, home.work())
    home.queue(*tasks, autoNewAfterSprints=every)


def told(claw: Claw) -> list[str]:
    """What the gateway did, in order: `reset`, or the first line of a message."""
    lines = [" ".join(line) for line in claw.truth()]
    found = [re.fullmatch(r'message test me (".*")', line) for line in lines]
    told = [json.loads(one[1]).splitlines()[0] if one else line for one, line in zip(found, lines, strict=True)]
    return [line.partition(". Commit ")[0] for line in told]


def notes(home: Home) -> str:
    return "".join(path.read_text() for path in sorted((home.path / "memory").glob("*.md")))


def test_a_reset_is_told_then_written_down_then_done_then_told(home: Home, claw: Claw) -> None:
    """The order of SPEC 11.1, as the gateway and the notes saw it."""
    claw.be(tokens={SESSION: [1000, 128_000]}, slow={"sessions": 1.0})
    queue(home, claw, "S1", "S2", "S3")
    home.beat()
    home.wait_for(lambda: claw.requests("sessions"))
    at_the_reset = told(claw)[-1], f"reset {SESSION}" in told(claw), notes(home).count("session reset")
    home.finish()

    assert at_the_reset == (BEGIN, False, 1)
    assert told(claw) == [
        "🚀 Sprint S1 started — Thing S1",
        "✅ Sprint S1 COMPLETE — Thing S1",
        "🚀 Sprint S2 started — Thing S2",
        "✅ Sprint S2 COMPLETE — Thing S2",
        BEGIN,
        f"reset {SESSION}",
        DONE,
        "📊 2 done, resuming with S3, 1 in the queue",
        "🚀 Sprint S3 started — Thing S3",
        "✅ Sprint S3 COMPLETE — Thing S3",
        "🏁 Queue finished — 3 of 3 sprints completed",
    ]


def test_a_gateway_that_is_down_holds_the_reset_up_and_everybody_sees_why(home: Home, claw: Claw) -> None:
    """The promise stays, said once; `awm why` tells it; when the gateway is back the next beat keeps it (SPEC 11.1)."""
    claw.be(tokens={SESSION: [1000, 128_000]})
    queue(home, claw, "S1", "S2", "S3", channel="")
    claw.kill()
    home.beat()
    home.wait_for(lambda: (home.state()["pending"] or {}).get("since") and not home.state()["outbox"], beat_every=0.5)
    before = home.state_path.read_bytes()
    silent = [home.heartbeat().out for _ in range(3)]
    why = awm(home, "why", "S3").out

    assert (silent[-1], home.state_path.read_bytes()) == ("", before)
    assert [line["note"] for line in home.journal() if line["what"] == NOT_YET] == [
        f"the gateway at {claw.url} does not answer (ConnectError)"
    ]
    assert "the session reset that is due: the gateway at" in why
    assert (home.state()["queue"], home.begun()) == (["S3"], ["S1", "S2"])

    claw.start()
    home.finish()

    assert (told(claw), home.begun()) == ([f"reset {SESSION}"], ["S1", "S2", "S3"])
    assert DONE in home.texts("reset")


@needs_a_clock
def test_a_reset_that_is_refused_for_too_long_is_given_up_and_told(home: Home, claw: Claw) -> None:
    """After a quarter of an hour the work goes on, and the notice does not say that the session is fresh (SPEC 11.1)."""
    claw.be(tokens={SESSION: [1000, 128_000]}, deny=["sessions"])
    queue(home, claw, "S1", "S2", "S3", channel="")
    home.beat()
    home.wait_for(lambda: (home.state()["pending"] or {}).get("since"), beat_every=0.5)
    at(home, datetime.now(UTC) + timedelta(minutes=14))
    home.beat()
    assert home.state()["pending"]
    at(home, datetime.now(UTC) + timedelta(minutes=16))
    home.finish()

    assert home.texts("reset")[1] == (
        "⚠️ What was done is saved. The assistant's session could not be reset: "
        f"the gateway at {claw.url} does not allow the tool sessions. The work goes on."
    )
    assert (DONE in home.texts("reset"), home.begun(), told(claw)) == (False, ["S1", "S2", "S3"], [])


def test_a_full_context_of_the_assistant_resets_its_session(home: Home, claw: Claw) -> None:
    """At 85 %, by the gateway's own figures, asked for when a task ended (SPEC 11.1)."""
    claw.be(tokens={SESSION: [108_800, 128_000], f"{SESSION}:other": [1, 10]})
    queue(home, claw, "S1", every=0)

    home.finish()

    assert home.texts("reset")[0] == "Context at ~85% — saving state and resetting."
    assert [line for line in told(claw) if line.startswith("reset")] == [f"reset {SESSION}"]


def test_figures_that_are_none_are_no_context(claw: Claw) -> None:
    """Numbers from outside may be anything (SPEC 11.1)."""
    cases = {
        (108_799, 128_000): 108_799 / 128_000,
        (300, 100): 1.0,
        (0, 1): 0.0,
        (None, 128_000): None,
        (10**400, 1): None,
        (1, 10**400): None,
        (1, 0): None,
        (-5, 3): None,
        ("9", 10): None,
        (1e308, 1e-308): None,
    }
    for figures, share in cases.items():
        claw.be(tokens={SESSION: figures})
        assert assistant.context_share(gateway.Gateway(claw.url, TOKEN), SESSION) == share, figures


def test_a_session_that_does_not_exist_is_not_made(home: Home, claw: Claw) -> None:
    """To reset one that is not there would make it (SPEC 11.1)."""
    claw.be(tokens={f"{SESSION}:other": [1, 10]})
    queue(home, claw, "S1", every=1)

    home.finish()

    assert (DONE in told(claw), claw.requests("sessions")) == (True, [])


def test_an_assistant_at_work_is_not_interrupted(home: Home, claw: Claw) -> None:
    """Its session is reset when it is at rest (SPEC 15.13)."""
    claw.be(tokens={SESSION: [1000, 128_000]}, busy=[SESSION])
    queue(home, claw, "S1", every=1, channel="")
    home.beat()
    home.wait_for(lambda: (home.state()["pending"] or {}).get("since"), beat_every=0.5)

    assert home.state()["pending"]["why"] == f"the assistant is at work in {SESSION}"
    assert claw.requests("sessions") == []

    claw.be(busy=[])
    home.finish()

    assert told(claw) == [f"reset {SESSION}"]


def test_a_task_adds_nothing_to_the_session_but_its_notice_and_an_idle_beat_asks_nothing(
    home: Home, claw: Claw
) -> None:
    """Issue 7: of the assistant's tokens, work costs what its notices are long, and rest costs none (SPEC 6.4, 11.1)."""
    claw.be(tokens={SESSION: [1000, 128_000]})
    queue(home, claw, "S1", every=0)
    home.finish()
    asked = [request["tool"] for request in claw.requests()]
    for _ in range(3):
        home.beat()

    assert sorted(set(asked)) == ["message", "sessions_list"]
    assert asked.count("message") == 3  # started, completed, the report
    assert asked.count("sessions_list") == 1
    assert len(claw.requests()) == len(asked)
    assert {request["sessionKey"] for request in claw.requests("sessions_list")} == {"agent:main:awm"}


def test_a_message_whose_answer_is_lost_is_sent_again_and_none_overtakes_it(home: Home, claw: Claw) -> None:
    """At least once, in order: nobody can know whether it arrived (SPEC 12.2)."""
    claw.be(lose={"message": 1})
    queue(home, claw, "S1", every=0)

    home.finish()

    messages = told(claw)
    assert messages[:2] == ["🚀 Sprint S1 started — Thing S1"] * 2
    assert messages[2:] == ["✅ Sprint S1 COMPLETE — Thing S1", "🏁 Queue finished — 1 of 1 sprints completed"]


def test_a_loop_that_is_paused_keeps_its_session(home: Home, claw: Claw) -> None:
    """What is promised is kept when the person resumes, and told as what it was (SPEC 4.4)."""
    claw.be(tokens={SESSION: [1000, 128_000]}, deny=["sessions"])
    queue(home, claw, "S1", "S2", every=1, channel="")
    home.beat()
    home.wait_for(lambda: (home.state()["pending"] or {}).get("since"), beat_every=0.5)
    awm(home, "pause")
    claw.be(deny=[])
    home.beat()

    assert told(claw) == []

    awm(home, "resume")
    home.finish()

    assert told(claw) == [f"reset {SESSION}"] * 2
    assert home.texts("reset").count(DONE) == 2


def test_half_a_channel_is_a_mistake_that_is_said(home: Home, claw: Claw) -> None:
    """SPEC 16: exit 78 and what belongs there; nothing is started."""
    queue(home, claw, "S1")
    home.config(f'{QUICK}[openclaw]\nurl = "{claw.url}"\nchannel = "test"\n')
    done = home.heartbeat()

    assert (done.code, done.err.splitlines()[0]) == (78, "awm: awm.toml: [openclaw] `channel` and `target` go together")
    assert home.begun() == []


@pytest.mark.timeout(3600)
def test_killed_at_any_step_it_goes_on_there(home: Home, claw: Claw) -> None:
    """Every reset is told, written down and done; done twice only where a kill fell upon it (SPEC 11.1, 15.11)."""
    claw.be(tokens={SESSION: [1000, 128_000]})
    tasks = [f"S{number}" for number in range(rounds(3, 30))]
    queue(home, claw, *tasks, every=1)
    for number in range(rounds(12, 300)):
        if home.is_idle:
            break
        with home.begin_beat() as process:
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=60 if number % 3 == 0 else (number % 7) * 0.06)
            process.kill()
            process.communicate()
    state = home.finish(beat_every=0.2)

    assert state["completed"] == tasks
    assert notes(home).count("session reset") == len(tasks)
    assert told(claw).count(f"reset {SESSION}") >= len(tasks)
    assert [line["what"] for line in home.journal()].count("resetting saved -> resuming") == len(tasks)
