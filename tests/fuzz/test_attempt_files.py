"""Any bytes in an attempt's directory: what an agent reports, and AWM's own files, where agents can write (SPEC 8, 17)."""

from __future__ import annotations

import json
from typing import Any

import example
from bad_input import dumped, files_like, fuzzed, scene
from hypothesis import given
from hypothesis import strategies as st
from test_state_files import RESULT, look_at

from awm_loop import clock
from awm_loop.agents import generic
from awm_loop.attempt.directory import (
    AdviceEntry,
    GateEntry,
    LimitEntry,
    Marker,
    Order,
    ResultEntry,
    StopRequest,
    let_go,
    look,
    take_lock,
)
from awm_loop.attempt.output import tail
from awm_loop.core.model import Outcome
from awm_loop.core.observation import Exited, Result

NOW = example.NOW.wall
REPORT = {
    "status": "succeeded",
    "summary": "Added the bar",
    "question": "Which one?",
    "resetsAt": "2026-11-22T00:00:00Z",
    "error": "none",
    "tokens": {"input": 10, "output": 5},
    "costUsd": 0.25,
    "sessionId": "abc",
    "contextShare": 0.5,
}
ADVICE = {"rootCause": "a loop", "action": "relaunch", "text": "skip the build"}
SAMPLE = {"at": 1.5, "idleSeconds": 3.0, "busySeconds": 0.0, "boottime": 5000.0, "pids": [1, 2]}


def files() -> dict[str, Any]:
    """Good ones, by name."""
    whole = ResultEntry.model_validate(RESULT, from_attributes=True).model_copy(
        update={
            "gate": GateEntry(passed=True, before=False, seconds=1.0, changed=("a",)),
            "limit": LimitEntry(resets_at=NOW, source="result file"),
            "advice": AdviceEntry(cause="c", action="relaunch", text="t"),
        }
    )
    marker = Marker(boot_id=clock.boot_id(), boottime=1.0, at=NOW, supervisor=(1, 1))
    order = Order(
        key=example.ATTEMPT.key, task="S1", number=4, agent="local", kind="shell", command=(), model="", env_pass=(),
        home="/home", workspace="/project", limit_seconds=60, sample_seconds=1, stop_grace_seconds=1,
        require_commit=False, base="abc",
    )  # fmt: skip
    named = {"result.json": whole, "started": marker, "order.json": order, "stop": StopRequest(why="stalled")}
    return {name: json.loads(file.to_bytes()) for name, file in named.items()}


FILES = files()


@fuzzed(80, 2_000)
@given(st.data())
def test_a_beat_takes_any_file_of_an_attempt_for_what_it_says_or_for_nothing(data: st.DataObject) -> None:
    """SPEC 8.1, 8.2: the state a result leads to can be read again; a file that says nothing is no file."""
    with scene() as found:
        found.put(dumped(data.draw(found.states())))
        for name, good in FILES.items():
            if data.draw(st.booleans()):
                (found.attempt / name).write_bytes(data.draw(files_like(good)))
        found.beat()
        look_at(found, True)


@fuzzed(80, 2_000)
@given(st.lists(files_like(SAMPLE) | st.just(dumped(SAMPLE)), max_size=4), files_like(FILES["started"]))
def test_a_beat_takes_any_samples_of_a_live_attempt(lines: list[bytes], started: bytes) -> None:
    """SPEC 8.4: the agent can write there; nothing it writes crashes the beat, nor is it a progress without an end."""
    with scene() as found:
        found.put(dumped(found.state()))
        found.attempt.path.mkdir(parents=True)
        (found.attempt / "started").write_bytes(started)
        (found.attempt / "samples.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
        lock = take_lock(found.attempt / "sup.lock")
        assert lock is not None
        try:
            found.beat()
            look_at(found, True)
        finally:
            let_go(lock)


@fuzzed(80, 2_000)
@given(st.integers(-20, 255), st.none() | files_like(REPORT), st.binary(max_size=60) | st.just(dumped(ADVICE)))
def test_any_report_of_an_agent_is_a_result_that_is_read_back_as_it_was(
    exit_code: int, report: bytes | None, output: bytes
) -> None:
    """SPEC 8.6: a malformed one is a failure that says so; what it says reaches state, notices and metrics whole."""
    with scene() as found:
        found.put(dumped(found.state()))
        found.attempt.path.mkdir(parents=True)
        (found.attempt / "out.log").write_bytes(output)
        said = tail(found.attempt / "out.log", 4096)
        reading = generic.read(exit_code, report, said)
        result = reported(reading, generic.read_advice(report, said))

        found.attempt.write_result(result)

        assert look(found.attempt, clock.now()) == Exited(result=result)
        found.beat()
        look_at(found, True)


@fuzzed(80, 2_000)
@given(files_like(ADVICE))
def test_any_answer_of_an_analysis_is_an_advice_or_none(answer: bytes) -> None:
    """SPEC 7.4: one that is read is passed on; the next attempt's prompt, the state and the notice can hold it."""
    advice = generic.read_advice(answer, "")
    with scene() as found:
        state = found.state()
        state["attempts"][0]["isAnalysis"] = True
        found.put(dumped(state | {"tasks": {"S1": {"strikes": 3, "analysis": "due"}}}))
        found.attempt.path.mkdir(parents=True)
        result = reported(generic.Reading(outcome=Outcome.SUCCEEDED), advice)
        found.attempt.write_result(result)

        assert found.attempt.result() == result
        found.beat()
        look_at(found, True)


def reported(reading: generic.Reading, advice: Any) -> Result:
    """As a supervisor makes it of what the agent said."""
    names = ("outcome", "summary", "error", "question", "session_id", "tokens", "cost_usd", "context_share", "limit")
    return Result(
        exit_code=0, started_at=NOW, ended_at=NOW, seconds=1.0, advice=advice,
        **{name: getattr(reading, name) for name in names},
    )  # fmt: skip
