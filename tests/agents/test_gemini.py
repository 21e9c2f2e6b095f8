"""How AWM calls Gemini CLI and reads what it says (SPEC 8.2, 9.1, 9.3, 10.1). Its lines were recorded of 0.61.0."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from awm_loop.agents import gemini
from awm_loop.agents.reading import Ask, Call, Reading
from awm_loop.config import COUNT_MAX
from awm_loop.core.model import Outcome
from awm_loop.core.observation import Limit

RECORDED = Path(__file__).parent / "transcripts" / "gemini"
AT = datetime(2026, 11, 21, 7, 30, tzinfo=UTC)
MIDNIGHT = Limit(resets_at=datetime(2026, 11, 21, 8, tzinfo=UTC), source="daily quota: midnight in California")
NO_TIME = Limit(resets_at=None, source="no time stated")
CAPACITY = Limit(resets_at=AT + timedelta(hours=2, minutes=13), source="relative time")
DONE = "MOCK-FINAL: file written and committed."
TOKENS = {"input": 2400, "output": 110}
NOTHING = {"input": 0, "output": 0}
DAILY = "You have exhausted your daily quota on this model."
QUOTA = (
    "You exceeded your current quota, please check your plan and billing details. For more information on this error,"
    " head to: https://ai.google.dev/gemini-api/docs/rate-limits. To monitor your current usage, head to:"
    " https://ai.dev/rate-limit. * Quota exceeded for metric: generativelanguage.googleapis.com/{}"
    " Please retry in {}s. Suggested retry after {}s."
)
WAITS = "Attempt 1 failed: You have exhausted your capacity on this model. Your quota will reset after 2h13m0s."


def read(out: str, err: str = "", exit_code: int = 0) -> Reading:
    """What a run comes to that is never stuck."""
    reader = gemini.KIND.reader()
    for line in out.splitlines():
        reader.out(line, AT)
        assert reader.stuck() is None
    for line in err.splitlines():
        reader.err(line, AT)
        assert reader.stuck() is None
    return reader.end(exit_code, AT)


def recorded(name: str, stream: str = "stdout") -> str:
    path = RECORDED / f"{name}.{stream}"
    return path.read_text() if path.exists() else ""


def lines(*said: dict[str, Any]) -> str:
    return "\n".join(json.dumps(one) for one in said)


def result(**told: Any) -> dict[str, Any]:
    stats = {"input_tokens": 2400, "output_tokens": 110, "tool_calls": 1}
    return {"type": "result", "status": "success", "stats": stats, **told}


def error(message: str, **told: Any) -> dict[str, Any]:
    return result(status="error", error={"type": "unknown", "message": message}, **told)


def said(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": text, "delta": True}


def succeeded(session: str, **known: Any) -> Reading:
    usual: dict[str, Any] = {"summary": DONE, "tokens": TOKENS}
    return Reading(outcome=Outcome.SUCCEEDED, session_id=session, **{**usual, **known})


def limited(session: str, error: str, limit: Limit, **known: Any) -> Reading:
    return Reading(
        outcome=Outcome.LIMITED, session_id=session, error=error, limit=limit, **{"tokens": NOTHING, **known}
    )


TABLE = {
    ("gone", 42): Reading(
        outcome=Outcome.FAILED,
        error="exit code 42: Error resuming session: No previous sessions found for this project.",
    ),
    ("ok", 0): succeeded("74fd15ad-e88e-4874-934d-251912e0ebbe"),
    ("rl2-ok", 0): succeeded("ba2f69d1-feec-4254-9bb0-5349cfbf43a4"),
    ("json-ok", 0): succeeded("8b386aa1-0be5-4a5d-bd48-a4e52e0c7ade"),
    ("text-ok", 0): succeeded("", summary=f"I will write the file and commit.\n{DONE}", tokens=None),
    ("noyolo", 0): Reading(
        outcome=Outcome.HOLLOW,
        summary=DONE,
        error="it used no tool",
        session_id="e0087599-b437-4a73-b97a-8667af52e4b2",
        tokens={"input": 1200, "output": 55},
    ),
    ("auth-sj", 137): Reading(
        outcome=Outcome.AUTH,
        error="API key not valid. Please pass a valid API key.",
        tokens=NOTHING,
    ),
    ("notrust", 55): Reading(
        outcome=Outcome.FAILED,
        error="exit code 55: Gemini CLI is not running in a trusted directory. To proceed, either use `--skip-trust`,"
        " set the `GEMINI_CLI_TRUST_WORKSPACE=true` environment variable, or trust this directory in interactive mode."
        " For more details, see https://geminicli.com/docs/cli/trusted-folders/#headless-and-automated-environments",
    ),
    ("day-sj", 173): limited("", DAILY, MIDNIGHT),
    ("day-json", 173): limited("906ea43d-36d3-4cd0-a50a-689aa6e30551", DAILY, MIDNIGHT, tokens=None),
    ("day-text", 1): limited(
        "",
        "Error when talking to Gemini API Full report available at: /tmp/gemini-client-error-Turn.run-sendMessageStream"
        f"-2026-11-21T19-50-51-859Z.json TerminalQuotaError: {DAILY} An unexpected critical error occurred:"
        "[object Object]",
        MIDNIGHT,
        tokens=None,
    ),
    ("long-sj", 173): limited(
        "",
        QUOTA.format("generate_requests_per_model, limit: 250, model: gemini-2.5-pro", "7980.5", "7980.5"),
        Limit(resets_at=AT + timedelta(seconds=7980.5), source="relative time"),
    ),
    ("rl-sj", 173): limited(
        "",
        QUOTA.format("generate_content_free_tier_requests, limit: 5, model: gemini-2.5-pro", "3.5", "3.5"),
        Limit(resets_at=AT + timedelta(seconds=3.5), source="relative time"),
    ),
    ("overload-sj", 247): limited("", "The model is overloaded. Please try again later.", NO_TIME),
}


@pytest.mark.parametrize(("name", "exit_code"), TABLE)
def test_a_recorded_run_is_read_as_what_it_was(name: str, exit_code: int) -> None:
    """The recorded runs of agent-clis.md §3 mean what it says of them, and three of our own."""
    assert read(recorded(name), recorded(name, "stderr"), exit_code) == TABLE[name, exit_code]


def test_a_wait_of_hours_is_seen_as_it_begins() -> None:
    """SPEC 9.1, issue 5: a used up quota is slept out in process; its stderr tells, and the stated time counts."""
    reader = gemini.KIND.reader()
    for line in recorded("capacity").splitlines():
        reader.out(line, AT)
    before = reader.stuck()
    for line in recorded("capacity", "stderr").splitlines():
        reader.err(line, AT)

    expected = limited("", WAITS, CAPACITY, tokens=None)
    assert (before, reader.stuck(), reader.end(-9, AT), reader.end(0, AT)) == (None, expected, expected, expected)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Attempt 3 failed. Retrying after 600001ms...", timedelta(milliseconds=600001)),
        ("Attempt 1 failed: No luck today.. Retrying after 8838105ms...", timedelta(milliseconds=8838105)),
        ("Attempt 9 failed: Please retry in 3.5s.. Retrying after 600000ms...", None),
        ("Attempt 1 failed: x. Retrying after 999999999999ms...", timedelta(milliseconds=999999999999)),
        ("Attempt 1 failed: x. Retrying after 99999999999999999999ms...", None),
        ("Attempt 1 failed: x. Retrying with backoff...", None),
    ],
)
def test_a_wait_without_a_stated_time_ends_when_it_says(line: str, expected: timedelta | None) -> None:
    """A retry later than SLEEP_SECONDS_MAX gives the account that deadline; a nearer one is noise (SPEC 9.1)."""
    reader = gemini.KIND.reader()
    reader.err(line, AT)
    stuck = reader.stuck()

    limit = None if expected is None else Limit(resets_at=AT + expected, source="announced retry")
    assert (stuck and stuck.limit) == limit
    assert (stuck is not None) == (limit is not None)


def test_a_status_of_any_type_is_no_success() -> None:
    """Agent output is data from outside: what cannot be looked up is a failure, and no traceback."""
    for status in ({"a": 1}, [1], 5):
        assert read(lines(result(status=status))).outcome is Outcome.FAILED


def test_of_a_long_last_word_the_end_is_kept() -> None:
    """An analysis answers at the end (SPEC 7.4)."""
    parts = [said("x" * 3000), said("y" * 3000), said("end")]

    assert read(lines(*parts, result())).summary == "x" * 997 + "y" * 3000 + "end"


def test_sums_stay_in_bounds() -> None:
    """A count of a file is bounded (SPEC 17): a sum of counts as well."""
    most = {"tokens": {"prompt": COUNT_MAX, "candidates": COUNT_MAX}}
    stats = {"models": {"a": most, "b": most}, "tools": {"totalCalls": 1}}

    assert read(json.dumps({"response": DONE, "stats": stats})).tokens == {"input": COUNT_MAX, "output": COUNT_MAX}


def test_a_run_that_goes_on_has_waited_enough() -> None:
    """A retry is over with the next event, or the next retry; it is no reason to stop the run later."""
    reader = gemini.KIND.reader()
    reader.err(f"{WAITS}. Retrying after 8838105ms...", AT)
    reader.err("Attempt 2 failed: The model is overloaded.. Retrying after 900ms...", AT)
    assert reader.stuck() is None

    reader.err(f"{WAITS}. Retrying after 8838105ms...", AT)
    reader.out(json.dumps(said("On it.")), AT)
    assert reader.stuck() is None
    assert reader.end(-15, AT) == Reading(outcome=Outcome.FAILED, error="killed by signal 15")


ERRORS = {
    401: (145, "[API Error: no]", Outcome.AUTH, None),
    403: (147, "[API Error: no]", Outcome.AUTH, None),
    429: (173, "[API Error: no]", Outcome.LIMITED, Limit(resets_at=None, source="HTTP status 429, no time stated")),
    503: (247, "[API Error: no]", Outcome.LIMITED, Limit(resets_at=None, source="HTTP status 503, no time stated")),
    529: (17, "[API Error: no]", Outcome.LIMITED, Limit(resets_at=None, source="HTTP status 529, no time stated")),
    500: (244, "[API Error: no]", Outcome.FAILED, None),
    400: (144, "[API Error: no]", Outcome.FAILED, None),
    404: (1, "[API Error: no]", Outcome.FAILED, None),
}


@pytest.mark.parametrize("status", ERRORS)
def test_the_exit_code_tells_what_an_unknown_wording_does_not(status: int) -> None:
    """Exit codes are the low byte of the HTTP status (agent-clis.md §0)."""
    exit_code, text, outcome, limit = ERRORS[status]
    expected = Reading(outcome=outcome, error="no", tokens=TOKENS, limit=limit)

    assert read(lines(error(text)), exit_code=exit_code) == expected


def test_the_error_object_of_json_mode_is_found_behind_the_noise_of_stderr() -> None:
    """With `-o json` stdout is empty, and the object is the tail of stderr, in one line or many; its code counts."""
    told = {"session_id": "5b-1", "error": {"type": "Error", "message": "Too bad.", "code": 429}}
    noise = 'Ripgrep is not available.\n{"level": "warn"}\nApiError: x {\n  status: 400\n}\n'
    limit = Limit(resets_at=None, source="HTTP status 429, no time stated")
    expected = Reading(outcome=Outcome.LIMITED, error="Too bad.", session_id="5b-1", limit=limit)

    assert read("", noise + json.dumps(told, indent=2), 1) == expected
    assert read("", noise + json.dumps(told), 1) == expected


@pytest.mark.parametrize(
    ("out", "error"),
    [
        (
            lines(said("Half"), result(stats={"input_tokens": 9, "output_tokens": 0, "tool_calls": 1})),
            "its answer broke",
        ),
        (
            lines(said("Half"), result(stats={"input_tokens": 9, "output_tokens": 5, "tool_calls": 0})),
            "it used no tool",
        ),
        (lines(said("Half"), result(stats=None)), "it used no tool"),
        (
            lines({"type": "error", "severity": "error", "message": "Maximum session turns exceeded"}, result()),
            "Maximum",
        ),
        (json.dumps({"response": "Half", "stats": {"tools": {"totalCalls": 0}}}, indent=2), "it used no tool"),
    ],
)
def test_a_good_end_that_cannot_be_one_is_hollow(out: str, error: str) -> None:
    """SPEC 10.1: without its shell it ends well with nothing done, and so it does where its answer breaks off."""
    reading = read(out)

    assert (reading.outcome, reading.error.startswith(error)) == (Outcome.HOLLOW, True)


def test_warnings_and_tools_that_fail_do_not_spoil_a_good_end() -> None:
    """`error` events that are warnings, failed tools, lines that are cut and noise are passed over."""
    out = lines(
        {"type": "init", "session_id": "5b-1"},
        said("First I look. You have exhausted your daily quota on this model."),
        {"type": "tool_use", "tool_name": "run_shell_command"},
        {"type": "tool_result", "status": "error", "error": {"message": "429 Too Many Requests"}},
        {"type": "error", "severity": "warning", "message": "Loop detected, stopping execution"},
        said("All "),
        {"type": "message", "role": "assistant", "content": None},
    )
    out = f'Loaded cached credentials.\n{out}\n{{"type":"mess\n\n{lines(said("done."), result(stats=None))}'

    assert read(out) == Reading(outcome=Outcome.SUCCEEDED, summary="All done.", session_id="5b-1")


def test_a_run_without_its_result_has_failed() -> None:
    """A SIGTERM ends it with exit code 0 and no result (observed): that is no success."""
    cut = recorded("ok").splitlines()
    session = "74fd15ad-e88e-4874-934d-251912e0ebbe"

    assert [read("\n".join(cut[:number]), exit_code=0) for number in (0, 1, 5)] == [
        Reading(outcome=Outcome.FAILED, error="exit code 0"),
        Reading(outcome=Outcome.FAILED, error="exit code 0", session_id=session),
        Reading(outcome=Outcome.FAILED, error="exit code 0", session_id=session),
    ]
    assert read(cut[0][:40]) == Reading(outcome=Outcome.FAILED, error="exit code 0")
    assert read(recorded("ok"), exit_code=-9) == Reading(
        outcome=Outcome.FAILED,
        summary=DONE,
        error="killed by signal 9, after its result",
        session_id=session,
        tokens=TOKENS,
    )


def test_a_bad_set_up_is_told_with_its_exit_code() -> None:
    """41 is a login that is not set up: AUTH; 42, 52, 53 and 55 are failures in the CLI's own words."""
    session = "Error resuming session: No previous sessions found for this project."

    assert [read("", "Invalid auth method selected.", 41), read("", session, 42), read("", "", 52)] == [
        Reading(outcome=Outcome.AUTH, error="Invalid auth method selected."),
        Reading(outcome=Outcome.FAILED, error=f"exit code 42: {session}"),
        Reading(outcome=Outcome.FAILED, error="exit code 52"),
    ]
    assert read("", "What?", 41) == Reading(outcome=Outcome.AUTH, error="exit code 41: What?")


def test_an_error_without_a_message_is_told_by_the_event_before() -> None:
    """A broken stream ends with status "error" and no message; an `error` event has told why (0.61.0, its source)."""
    why = {"type": "error", "severity": "error", "message": "The model returned an empty text response."}
    expected = Reading(outcome=Outcome.FAILED, error="The model returned an empty text response.", tokens=TOKENS)

    assert read(lines(why, result(status="error"))) == expected


def test_the_order_of_keys_means_nothing() -> None:
    """JSON is parsed, never matched by how a line begins (agent-clis.md §6)."""
    turned = [json.dumps(dict(reversed(json.loads(line).items()))) for line in recorded("day-sj").splitlines()]

    assert read("\n".join(turned), exit_code=173) == TABLE["day-sj", 173]


ASK = Ask(
    executable="/opt/gemini",
    workspace=Path("/project"),
    prompt_path=Path("/attempt/prompt.md"),
    scratch=Path("/attempt/scratch"),
)
QUIET = {"NO_COLOR": "1", "GEMINI_TELEMETRY_ENABLED": "false"}


@pytest.mark.parametrize(
    ("ask", "argv"),
    [
        (ASK, "/opt/gemini --approval-mode yolo --skip-trust -o stream-json"),
        (
            replace(ASK, model="gemini-2.5-pro", session="5b-1", extra=("--sandbox",)),
            "/opt/gemini -m gemini-2.5-pro --approval-mode yolo --skip-trust -o stream-json --session-id 5b-1 --sandbox",
        ),
        (
            replace(ASK, session="5b-1", is_resumed=True),
            "/opt/gemini --approval-mode yolo --skip-trust -o stream-json --resume 5b-1",
        ),
    ],
)
def test_it_is_called_so_that_it_works_unattended(ask: Ask, argv: str) -> None:
    """agent-clis.md §3: the prompt on stdin, every tool allowed, the directory trusted; new or resumed sessions."""
    assert gemini.KIND.call(ask) == Call(argv=tuple(argv.split()), environment=QUIET)


KEYS = st.sampled_from(
    [
        "status",
        "stats",
        "error",
        "message",
        "code",
        "session_id",
        "models",
        "tokens",
        "tool_calls",
        "content",
        "response",
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(), inner, max_size=5),
    max_leaves=12,
)
TYPES = st.sampled_from(["init", "message", "tool_use", "tool_result", "error", "result", None])
EVENTS = st.builds(
    lambda kind, more: json.dumps({"type": kind, **more}), TYPES, st.dictionaries(KEYS, VALUES, max_size=5)
)


@settings(deadline=None)
@given(
    st.lists(
        EVENTS | st.text(st.characters()) | st.sampled_from(["{", "}", "Attempt 1 failed: Retrying after 9999999ms..."])
    )
)
def test_no_line_whatsoever_breaks_the_reader(said: list[str]) -> None:
    """Agent output is data from outside (SPEC 17): any bytes, any JSON, in any order, on both streams."""
    reader = gemini.KIND.reader()
    for line in said:
        reader.out(line, AT)
        reader.err(line, AT)
        reader.stuck()

    assert isinstance(reader.end(0, AT), Reading)
