"""How AWM calls opencode and reads what it says (SPEC 8.2, 9.1, 9.3, 10.1). Its lines were recorded of 1.18.33."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from awm_loop.agents import opencode
from awm_loop.agents.reading import Ask, Reading
from awm_loop.config import COUNT_MAX
from awm_loop.core.model import Outcome
from awm_loop.core.observation import Limit

RECORDED = Path(__file__).parent / "transcripts" / "opencode"
AT = datetime(2026, 11, 21, 7, 30, tzinfo=UTC)
WAITED_AT = datetime(2026, 11, 21, 19, 56, 54, tzinfo=UTC)  # when `cap` was recorded
DONE = "MOCK-FINAL: file written and committed."
TOKENS = {"input": 2400, "output": 110}
NO_TIME = Limit(resets_at=None, source="no time stated")
ACCOUNT = "This request would exceed your account's rate limit. Please try again later."
ORGANIZATION = (
    "This request would exceed your organization's rate limit of 50 requests per minute. Please try again later."
)
LOG = 'timestamp=2026-11-21T19:56:53.840Z level=ERROR run=72034279 message="stream error" providerID=mock'


def read(out: str, err: str = "", exit_code: int = 0, at: datetime = AT) -> Reading:
    """What a run comes to that is never stuck."""
    reader = opencode.KIND.reader()
    for line in out.splitlines():
        reader.out(line, at)
        assert reader.stuck() is None
    for line in err.splitlines():
        reader.err(line, at)
        assert reader.stuck() is None
    return reader.end(exit_code, at)


def recorded(name: str, stream: str = "stdout") -> str:
    path = RECORDED / f"{name}.{stream}"
    return path.read_text() if path.exists() else ""


def lines(*said: dict[str, Any]) -> str:
    return "\n".join(json.dumps(one) for one in said)


def step(reason: str = "stop", read: int = 1200, made: int = 55, **told: Any) -> dict[str, Any]:
    part = {"type": "step-finish", "reason": reason, "tokens": {"input": read, "output": made}, "cost": 0.25, **told}
    return {"type": "step_finish", "sessionID": "ses_1", "part": part}


def text(said: str) -> dict[str, Any]:
    return {"type": "text", "sessionID": "ses_1", "part": {"type": "text", "text": said}}


def error(message: str, status: int | None = None, name: str = "APIError", **data: Any) -> dict[str, Any]:
    told = {"message": message, "statusCode": status, **data}
    return {"type": "error", "sessionID": "ses_1", "error": {"name": name, "data": told}}


def succeeded(session: str, **known: Any) -> Reading:
    usual: dict[str, Any] = {"summary": DONE, "tokens": TOKENS, "cost_usd": 0.009315}
    return Reading(outcome=Outcome.SUCCEEDED, session_id=session, **{**usual, **known})


TABLE = {
    ("no-key", 1): Reading(
        outcome=Outcome.AUTH,
        error="Model not found: anthropic/claude-sonnet-4-5. Did you mean: claude-sonnet-4-5, claude-sonnet-4-5-20250929?"
        " (it has no key for that provider, or there is no such model)",
        session_id="ses_dff92d18effe1LSQmwRsyd3LhD",
    ),
    ("gone", 1): Reading(outcome=Outcome.FAILED, error="exit code 1: Error: Session not found"),
    ("ok", 0): succeeded("ses_e02fb1b1fffeFMhNKFVPhO2Xks"),
    ("slow", 0): succeeded("ses_e02f23911ffevYC2zOvFXySZmH"),
    ("text-ok", 0): succeeded("", summary=f"I will write the file and commit.\n{DONE}", tokens=None, cost_usd=None),
    ("auth", 1): Reading(outcome=Outcome.AUTH, error="invalid x-api-key", session_id="ses_e02f45a25ffesYhR85FPl2Iiyd"),
    ("overload", 1): Reading(
        outcome=Outcome.LIMITED, error="Overloaded", session_id="ses_e02e54fcfffe75pn4Jh3KRqvHW", limit=NO_TIME
    ),
    ("rl-ra2", 1): Reading(
        outcome=Outcome.LIMITED,
        error=ORGANIZATION,
        session_id="ses_e02f2e7b8ffe6lhqjI91b3NEhp",
        limit=Limit(resets_at=AT + timedelta(seconds=2), source="header retry-after"),
    ),
}


@pytest.mark.parametrize(("name", "exit_code"), TABLE)
def test_a_recorded_run_is_read_as_what_it_was(name: str, exit_code: int) -> None:
    """The recorded runs of agent-clis.md §4 mean what it says of them."""
    assert read(recorded(name), recorded(name, "stderr"), exit_code) == TABLE[name, exit_code]


def test_a_run_that_said_nothing_at_all_has_failed() -> None:
    """A long wait shows nothing without `--print-logs` and the plugin (observed): then nobody can tell what it was."""
    assert read("", "", 124) == Reading(outcome=Outcome.FAILED, error="exit code 124")


def test_a_wait_of_hours_is_seen_as_it_begins() -> None:
    """SPEC 9.1, issue 5: a retry-after of 7980 s is slept out in process; the plugin tells until when."""
    reader = opencode.KIND.reader()
    for line in recorded("cap", "stderr").splitlines():
        before = reader.stuck()
        reader.err(line, WAITED_AT)

    expected = Reading(
        outcome=Outcome.LIMITED,
        error=ACCOUNT,
        session_id="ses_e0051429affev3NFnO4HGuyLi4",
        limit=Limit(resets_at=datetime(2026, 11, 21, 22, 9, 53, 867000, tzinfo=UTC), source="announced retry"),
    )
    assert (before, reader.stuck(), reader.end(-9, AT)) == (None, expected, expected)


def test_a_wait_that_is_over_is_forgotten() -> None:
    """With the next request, or the next event, the run goes on; a wait of seconds is none."""
    reader = opencode.KIND.reader()
    waits = {"type": "awm_waiting", "message": ACCOUNT, "until": (WAITED_AT.timestamp() + 601) * 1000}
    seen = []
    for line in (
        json.dumps(waits),
        "timestamp=2026-11-21T22:09:54Z level=INFO run=7 message=stream providerID=mock small=false agent=build",
        json.dumps(waits | {"until": (WAITED_AT.timestamp() + 599) * 1000}),
        json.dumps(waits),
    ):
        reader.err(line, WAITED_AT)
        seen.append(reader.stuck() is not None)
    reader.out(json.dumps(text("On it.")), WAITED_AT)

    assert [*seen, reader.stuck()] == [True, False, False, True, None]


def test_a_run_that_was_stopped_while_it_waited_was_limited() -> None:
    """Without the plugin the log still tells that the last request failed and no other followed; titles are noise."""
    log = f'{LOG} small=false agent=build error.error="AI_APICallError: {{}}"'
    title = f'{LOG} small=true agent=title error.error="AI_RetryError: {ACCOUNT}"'
    limited = Reading(outcome=Outcome.LIMITED, error=f"AI_APICallError: {ACCOUNT}", limit=NO_TIME)
    asks = "timestamp=2026-11-21T22:09:54Z level=INFO run=7 message=stream providerID=mock small=false agent=build"
    failed = Reading(outcome=Outcome.FAILED, error="killed by signal 15")

    assert read("", f"{log.format(ACCOUNT)}\n{title}", -15) == limited
    assert read("", title, -15) == failed
    assert read("", f"{log.format(ACCOUNT)}\n{asks}", -15) == failed
    assert read("", log.format('Say \\"hi\\"'), -15) == Reading(
        outcome=Outcome.FAILED, error='AI_APICallError: Say "hi"'
    )


def test_answers_that_break_off_again_and_again_are_no_progress() -> None:
    """A truncated stream makes it ask again without an end (agent-clis.md §4, and recorded here)."""
    reader = opencode.KIND.reader()
    seen = []
    for line in recorded("cut").splitlines():
        reader.out(line, AT)
        seen.append(reader.stuck())

    expected = Reading(
        outcome=Outcome.FAILED,
        error="its answers break off: 5 in a row",
        session_id="ses_e0051bbadffe80dvaPODMv3Se6",
        tokens={"input": 0, "output": 0},
        cost_usd=0.0,
    )
    assert seen == [None] * 9 + [expected]
    assert reader.end(-9, AT) == expected


def test_only_answers_in_a_row_count_as_broken_off() -> None:
    """An answer with a reason, or with output, is progress."""
    cut = [step("unknown", made=0)] * 4

    assert read(lines(*cut, step("tool-calls"), *cut, step("unknown", made=7), *cut, step())).outcome == "succeeded"


HEADERS: dict[str, tuple[dict[str, str], timedelta | datetime | None]] = {
    "retry-after-ms": ({"Retry-After-Ms": "1500", "retry-after": "2"}, timedelta(milliseconds=1500)),
    "retry-after": ({"retry-after": "7980", "x-ratelimit-reset": "5"}, timedelta(seconds=7980)),
    "a date": ({"retry-after": "Sat, 21 Nov 2026 09:30:00 GMT"}, timedelta(hours=2)),
    "a past date": ({"retry-after": "Sat, 21 Nov 2026 06:30:00 GMT"}, timedelta(hours=-1)),
    "unified": ({"anthropic-ratelimit-unified-reset": "1795254063"}, datetime(2026, 11, 21, 9, 41, 3, tzinfo=UTC)),
    "milliseconds": ({"x-ratelimit-reset": "1795254063000"}, datetime(2026, 11, 21, 9, 41, 3, tzinfo=UTC)),
    "ISO": (
        {"anthropic-ratelimit-requests-remaining": "0", "anthropic-ratelimit-requests-reset": "2026-11-21T08:30:00Z"},
        timedelta(hours=1),
    ),
    "the one used up": (
        {
            "x-ratelimit-reset-requests": "1s",
            "x-ratelimit-remaining-requests": "99",
            "x-ratelimit-reset-tokens": "6m0s",
            "x-ratelimit-remaining-tokens": "0",
        },
        timedelta(minutes=6),
    ),
    "Codex": (
        {
            "x-codex-secondary-used-percent": "31",
            "x-codex-secondary-reset-after-seconds": "500000",
            "x-codex-primary-used-percent": "100.0",
            "x-codex-primary-reset-after-seconds": "8000",
        },
        timedelta(seconds=8000),
    ),
    "nonsense": ({"retry-after": "soon", "x-ratelimit-reset": "", "retry-after-ms": "NaN"}, None),
    "no zone": ({"retry-after": "2026-11-21T08:30:00"}, None),
    "absurd": ({"retry-after": "9999999999999", "x-ratelimit-reset": "99999999999d"}, None),
    "none": ({"content-type": "application/json"}, None),
}


@pytest.mark.parametrize("case", HEADERS)
def test_the_headers_of_an_answer_tell_when_a_limit_ends(case: str) -> None:
    """SPEC 9.1: structured fields come first; of several windows the one that is used up counts."""
    headers, expected = HEADERS[case]
    limit = read(lines(error("Slow down", 429, responseHeaders=headers)), exit_code=1).limit

    assert limit is not None
    if case == "absurd":
        assert limit.resets_at is None or limit.resets_at > AT + timedelta(days=300)
    else:
        assert limit.resets_at == (AT + expected if isinstance(expected, timedelta) else expected)


ERRORS = {
    "a cap in the body": (
        error(
            "Too Many Requests",
            429,
            responseBody='{"error":{"type":"usage_limit_reached","message":"The usage limit has been reached",'
            '"resets_in_seconds":5400}}',
        ),
        (Outcome.LIMITED, "Too Many Requests", timedelta(minutes=90)),
    ),
    "a time in the message": (
        error("Rate limit reached for gpt-4o. Please try again in 20s.", 429, responseBody="<html>"),
        (Outcome.LIMITED, "Rate limit reached for gpt-4o. Please try again in 20s.", timedelta(seconds=20)),
    ),
    "an unknown wording": (error("Nope", 429), (Outcome.LIMITED, "Nope", None)),
    "no credit": (
        error("Your credit balance is too low to access the API.", 400, responseHeaders={"retry-after": "9"}),
        (Outcome.BILLING, "Your credit balance is too low to access the API.", None),
    ),
    "forbidden": (error("Nope", 403), (Outcome.AUTH, "Nope", None)),
    "no login": (error("", name="ProviderAuthError"), (Outcome.AUTH, "ProviderAuthError", None)),
    "a full context": (
        error("prompt is too long", name="ContextOverflowError"),
        (Outcome.FAILED, "prompt is too long (its context is full: only a fresh session can go on)", None),
    ),
    "a server's own failure": (error("Internal server error", 500), (Outcome.FAILED, "Internal server error", None)),
    "no known model": (
        error("", name="ProviderModelNotFoundError"),
        (Outcome.FAILED, "ProviderModelNotFoundError", None),
    ),
    "a text": ({"type": "error", "error": "Boom"}, (Outcome.FAILED, "Boom", None)),
}


@pytest.mark.parametrize("case", ERRORS)
def test_an_error_event_says_why_the_run_failed(case: str) -> None:
    """SPEC 9.3: the last `error` event is terminal; its body, its words and its status tell what it means."""
    event, (outcome, said, delta) = ERRORS[case]
    reading = read(lines(text("You've hit your usage limit."), event), exit_code=1)
    resets_at = reading.limit and reading.limit.resets_at

    assert (reading.outcome, reading.error, resets_at) == (outcome, said, AT + delta if delta else None)
    assert (reading.limit is not None) == (outcome in {Outcome.LIMITED, Outcome.BILLING})


@pytest.mark.parametrize(
    ("out", "err", "exit_code", "expected"),
    [
        (lines(step("length")), "", 0, 'its last step did not stop of itself: "length"'),
        (lines(step("tool-calls")), "", 0, 'its last step did not stop of itself: "tool-calls"'),
        (lines(step()), "", -15, "killed by signal 15"),
        ("", "Error: Session not found", 1, "exit code 1: Error: Session not found"),
        (
            "",
            "\x1b[91m\x1b[1mError: \x1b[0mYou must provide a message",
            1,
            "exit code 1: Error: You must provide a message",
        ),
        ("", "Error: Session not found\n\x1b[0m\n", 1, "exit code 1: Error: Session not found"),
        ('{"type":"step_start","sessionID":"se', "", 0, "exit code 0"),
        ('Loading...\n{"type":"step_start"}', "", 0, "exit code 0"),
        ("", "", 0, "exit code 0"),
    ],
)
def test_an_end_without_a_stop_is_a_failure(out: str, err: str, exit_code: int, expected: str) -> None:
    """It has no last event: only a last step that stopped of itself, and exit code 0, are a success."""
    reading = read(out, err, exit_code)

    assert (reading.outcome, reading.error) == (Outcome.FAILED, expected)


def test_text_mode_tells_its_errors_on_stderr() -> None:
    """A failed run in text is searched in its last lines of stderr; what the agent wrote is not (SPEC 9.3)."""
    reading = read("You've hit your usage limit.\n", f"> build · mock\n\x1b[91m\x1b[1mError: \x1b[0m{ORGANIZATION}", 1)
    silent = read("You've hit your usage limit.\n", "", 1)

    assert reading == Reading(outcome=Outcome.LIMITED, error=f"Error: {ORGANIZATION}", limit=NO_TIME)
    assert silent == Reading(outcome=Outcome.FAILED, error="exit code 1")


def test_sums_stay_in_bounds() -> None:
    """A count of a file is bounded (SPEC 17): a sum of counts as well, and a sum of costs."""
    most = step("tool-calls", COUNT_MAX, COUNT_MAX, cost=COUNT_MAX)
    reading = read(lines(most, most, step("stop", COUNT_MAX, COUNT_MAX, cost=COUNT_MAX)))

    assert (reading.tokens, reading.cost_usd) == ({"input": COUNT_MAX, "output": COUNT_MAX}, COUNT_MAX)


def test_the_name_of_a_header_is_for_people() -> None:
    """Whatever it holds, what is kept of it is short, drives no terminal and can be written (SPEC 17)."""
    name = "ratelimit-reset-\ud800\x1b[2J" + "x" * 100
    limit = read(lines(error("Slow down", 429, responseHeaders={name: "30"})), exit_code=1).limit

    assert limit == Limit(
        resets_at=AT + timedelta(seconds=30), source="header " + ("ratelimit-reset-?" + "x" * 100)[:60]
    )


def test_a_wait_beyond_the_calendar_has_no_end() -> None:
    """A wait of three thousand years, said in the year 9000."""
    late = AT.replace(year=9000)
    said = lines(error("Slow down", 429, responseHeaders={"retry-after": "999999d"}))

    assert read(said, exit_code=1, at=late).limit == Limit(resets_at=None, source="HTTP status 429, no time stated")


def test_a_good_end_after_a_refused_permission_is_hollow() -> None:
    """SPEC 10.1: what it was not allowed to do is told on stderr alone (1.18.33, its source)."""
    refused = "\x1b[93m\x1b[1m!\x1b[0m permission requested: bash (git commit *); auto-rejecting"
    expected = Reading(
        outcome=Outcome.HOLLOW,
        summary=DONE,
        error="it was not allowed: bash (git commit *)",
        session_id="ses_1",
        tokens={"input": 1200, "output": 55},
        cost_usd=0.25,
    )

    assert read(lines(text(DONE), step()), refused) == expected


def test_the_order_of_keys_and_broken_lines_mean_nothing() -> None:
    """JSON is parsed, never matched by how a line begins; what cannot be parsed is passed over (agent-clis.md §6)."""
    turned = [json.dumps(dict(reversed(json.loads(line).items()))) for line in recorded("ok").splitlines()]
    noise = ["", "null", "[]", '{"type":"step_finish","part":{"reas', "Loading…", '{"type":"step_finish"', "[[[" * 9999]

    assert read("\n".join([*noise, *turned])) == TABLE["ok", 0]


ASK = Ask(
    executable="/opt/opencode",
    workspace=Path("/project"),
    prompt_path=Path("/attempt/prompt.md"),
    scratch=Path("/attempt/scratch"),
)


@pytest.mark.parametrize(
    ("ask", "argv"),
    [
        (replace(ASK, session="ses_1"), "/opt/opencode run --format json --auto --print-logs"),
        (
            replace(ASK, model="mock/claude", session="ses_1", is_resumed=True, extra=("--variant", "high")),
            "/opt/opencode run --format json --auto --print-logs -m mock/claude -s ses_1 --variant high",
        ),
    ],
)
def test_it_is_called_so_that_it_works_unattended(ask: Ask, argv: str) -> None:
    """agent-clis.md §4: the prompt on stdin, no questions, no updates, its config beside the person's own files."""
    call = opencode.KIND.call(ask)

    assert call.argv == tuple(argv.split())
    environment = dict(call.environment)
    assert json.loads(environment.pop("OPENCODE_CONFIG_CONTENT")) == {
        "autoupdate": False,
        "share": "disabled",
        "plugin": ["file:///attempt/scratch/waiting.js"],
    }
    assert environment == {
        "OPENCODE_DISABLE_AUTOUPDATE": "1",
        "OPENCODE_DISABLE_MODELS_FETCH": "1",
        "npm_config_fetch_retry_mintimeout": "1000",
        "npm_config_fetch_retry_factor": "2",
        "npm_config_fetch_timeout": "30000",
    }
    assert call.files.keys() == {"waiting.js"}


NAMES = """part error name data message statusCode responseHeaders responseBody retry-after reason tokens input output
cost sessionID until x-ratelimit-reset text"""
KEYS = st.sampled_from(NAMES.split())
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.just("stop"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(), inner, max_size=5),
    max_leaves=12,
)
TYPES = st.sampled_from(["step_start", "text", "tool_use", "step_finish", "error", "awm_waiting", None])
EVENTS = st.builds(
    lambda kind, more: json.dumps({"type": kind, **more}), TYPES, st.dictionaries(KEYS, VALUES, max_size=5)
)


@settings(deadline=None)
@given(st.lists(EVENTS | st.text(st.characters())), st.sampled_from([0, 1, -9]))
def test_no_line_whatsoever_breaks_the_reader(said: list[str], exit_code: int) -> None:
    """Agent output is data from outside (SPEC 17): any bytes, any JSON, in any order, on both streams."""
    reader = opencode.KIND.reader()
    for line in said:
        reader.out(line, AT)
        reader.err(line, AT)
        reader.stuck()

    assert isinstance(reader.end(exit_code, AT), Reading)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms", "x-ratelimit-reset"]), VALUES | st.from_regex(
    r"(\d{1,20}[dhms]?){1,5}", fullmatch=True
)))  # fmt: skip
def test_no_header_whatsoever_breaks_the_reader(headers: dict[str, Any]) -> None:
    """Headers come from whoever answered: any value, any number, is a time or none."""
    reading = read(lines(error("Slow down", 429, responseHeaders=headers)), exit_code=1)

    assert reading.outcome is Outcome.LIMITED
