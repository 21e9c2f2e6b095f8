"""How AWM calls Claude Code and reads what it says (SPEC 8.2, 9.1, 9.3, 10.1). Its lines were recorded of 2.1.329."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from awm_loop.agents import claude
from awm_loop.agents.reading import Ask, Call, Reading
from awm_loop.core.model import Outcome
from awm_loop.core.observation import Limit

RECORDED = Path(__file__).parent / "transcripts" / "claude"
AT = datetime(2026, 11, 21, 7, 30, tzinfo=UTC)
DONE = "MOCK-FINAL: file written and committed."
TOKENS = {"input": 2400, "output": 110}
NOTHING = {"input": 0, "output": 0}


def read(out: str, err: str = "", exit_code: int = 0) -> Reading:
    reader = claude.KIND.reader()
    for line in out.splitlines():
        reader.out(line, AT)
        assert reader.stuck() is None
    for line in err.splitlines():
        reader.err(line, AT)
    return reader.end(exit_code, AT)


def recorded(name: str, stream: str = "stdout") -> str:
    path = RECORDED / f"{name}.{stream}"
    return path.read_text() if path.exists() else ""


def events(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in recorded(name).splitlines()]


def lines(*said: dict[str, Any]) -> str:
    return "\n".join(json.dumps(one) for one in said)


def result(**told: Any) -> dict[str, Any]:
    good = {"type": "result", "subtype": "success", "is_error": False, "result": DONE, "session_id": "s"}
    return {**good, "usage": {"input_tokens": 2400, "output_tokens": 110}, **told}


def succeeded(session: str, **known: Any) -> Reading:
    usual: dict[str, Any] = {"tokens": TOKENS, "cost_usd": 0.01226, "context_share": 0.001631}
    return Reading(outcome=Outcome.SUCCEEDED, summary=DONE, session_id=session, **{**usual, **known})


def failed(outcome: Outcome, session: str, error: str, limit: Limit | None = None) -> Reading:
    return Reading(outcome=outcome, session_id=session, error=error, limit=limit, tokens=NOTHING, cost_usd=0.0)


NO_TIME = Limit(resets_at=None, source="no time stated")
TABLE = {
    ("ok", 0): succeeded("2c44492b-23ca-45cd-b362-e54bb2b7280c"),
    ("rl2-ok", 0): succeeded("1c2da52a-6d25-4b83-b01c-818bc7f81815"),
    ("slow2-sj", 0): succeeded("7b0f4bcc-e85d-4d19-b6fc-d952346671c4"),
    ("warn-oauth", 0): succeeded("a6c223bc-5df4-4dc5-b7e3-bbc8717ab74e", cost_usd=0.00613),
    ("cut", 0): succeeded(
        "295255a3-bd94-453d-80ea-541bed23ad9c",
        tokens={"input": 7200, "output": 114},
        cost_usd=0.03282,
        context_share=0.001685,
    ),
    ("json-ok", 0): succeeded("f18a1369-6f70-47b4-b776-a950188e47c8", context_share=None),
    ("text-ok", 0): succeeded("", tokens=None, cost_usd=None, context_share=None),
    ("noperm", 0): Reading(
        outcome=Outcome.HOLLOW,
        summary=DONE,
        error="it was not allowed to use Bash",
        session_id="4c09da84-4276-4ff1-b240-de8915aa7fc5",
        tokens=TOKENS,
        cost_usd=0.01226,
    ),
    ("SIGINT", 0): Reading(
        outcome=Outcome.FAILED,
        error="error_during_execution: [ede_diagnostic] result_type=user last_content_type=n/a stop_reason=tool_use",
        session_id="8559096f-889d-478c-b68e-22e39332f982",
        tokens={"input": 1200, "output": 55},
        cost_usd=0.00613,
        context_share=0.001631,
    ),
    ("root-nosandbox", 1): Reading(
        outcome=Outcome.FAILED,
        error="exit code 1: --dangerously-skip-permissions cannot be used with root/sudo privileges for security"
        " reasons",
    ),
    ("gone", 1): failed(
        Outcome.FAILED,
        "11111111-2222-4333-8444-555555555555",
        "error_during_execution: No conversation found with session ID: 11111111-2222-4333-8444-555555555555",
    ),
    ("cap-oauth", 1): failed(
        Outcome.LIMITED,
        "3963e245-a8e8-4072-b28a-faaa2bea23f3",
        "You've hit your 5-hour limit · resets 9:41am (UTC)",
        Limit(resets_at=datetime(2026, 11, 21, 9, 41, 3, tzinfo=UTC), source="rate_limit_event"),
    ),
    ("cap-oauth-text", 1): Reading(
        outcome=Outcome.LIMITED,
        error="You've hit your 5-hour limit · resets 9:41am (UTC)",
        limit=Limit(resets_at=datetime(2026, 11, 21, 9, 41, tzinfo=UTC), source="clock with zone"),
    ),
    ("cap-key", 1): failed(
        Outcome.LIMITED,
        "3d63ed6a-a2d8-4fab-b6e2-379c53ce39dc",
        "API Error: Request rejected (429) · This request would exceed your account's rate limit."
        " Please try again later.",
        NO_TIME,
    ),
    ("rl-ra3600", 1): failed(
        Outcome.LIMITED,
        "08412518-db92-4623-aaf5-b0596ea03ca5",
        "API Error: Request rejected (429) · This request would exceed your organization's rate limit of 50 requests"
        " per minute. Please try again later.",
        NO_TIME,
    ),
    ("overload", 1): failed(
        Outcome.LIMITED,
        "4e7801e0-6a4c-45e8-bd84-8f1c2a7fbd72",
        "API Error: 529 Overloaded. This is a server-side issue, usually temporary — try again in a moment."
        " If it persists, check your inference gateway (127.0.0.1:8901).",
        NO_TIME,
    ),
    ("credit", 1): failed(
        Outcome.BILLING, "9ab09669-bd23-4ea2-8078-e285f7b7c338", "Credit balance is too low", NO_TIME
    ),
    ("auth-mr1", 1): failed(
        Outcome.AUTH, "2291bb38-03e0-47ca-abaa-ed6a0d758df4", "Invalid API key · Fix external API key"
    ),
    ("auth-oauth", 1): failed(
        Outcome.AUTH, "91e5153a-8b17-4230-84aa-15462e814528", "Not logged in · Please run /login"
    ),
}


@pytest.mark.parametrize(("name", "exit_code"), TABLE)
def test_every_recorded_run_is_read_as_it_was(name: str, exit_code: int) -> None:
    """Each recorded run, whole, comes to what was observed of it (issue 5; SPEC 9.1, 10.1)."""
    assert read(recorded(name), recorded(name, "stderr"), exit_code) == TABLE[name, exit_code]


@pytest.mark.parametrize(("name", "exit_code"), TABLE)
def test_neither_the_order_of_keys_nor_noise_changes_the_reading(name: str, exit_code: int) -> None:
    """The order of keys is not stable between versions, and what stands between the lines is passed over."""
    shuffled = []
    for line in recorded(name).splitlines():
        if line.startswith("{"):
            shuffled += [json.dumps(dict(reversed(json.loads(line).items()))), '{"type":"stream_event","event":{', ""]
            shuffled += ['{"type":"system","subtype":"status","status":"requesting"}', "[1, null]", "\r"]
        else:
            shuffled.append(line)

    assert read("\n".join(shuffled), recorded(name, "stderr"), exit_code) == TABLE[name, exit_code]


@pytest.mark.parametrize(("name", "exit_code"), [key for key in TABLE if recorded(key[0]).count("\n") > 1])
def test_a_verbose_array_is_read_like_its_lines(name: str, exit_code: int) -> None:
    """`--output-format json --verbose` prints all events as one array."""
    array = "[" + ",".join(recorded(name).splitlines()) + "]"

    assert read(array, "", exit_code) == TABLE[name, exit_code]


@pytest.mark.parametrize("name", ["ok", "cut", "rl2-ok", "warn-oauth"])
def test_without_its_result_a_run_has_failed(name: str) -> None:
    """A run that was cut off says nothing of its end, whatever its exit code (SPEC 10.1)."""
    kept = recorded(name).splitlines()[:-1]
    half = recorded(name).splitlines()[-1][:300]

    assert read("\n".join([*kept, half]), "boom\n", 143) == Reading(
        outcome=Outcome.FAILED, error="exit code 143: boom", session_id=TABLE[name, 0].session_id
    )
    assert read("\n".join(["npm notice", *kept])) == Reading(
        outcome=Outcome.FAILED, error="exit code 0: npm notice", session_id=TABLE[name, 0].session_id
    )


def test_a_cut_off_run_tells_of_the_limit_it_was_stopped_by() -> None:
    """The rejection, and the message of the CLI's own after it, tell of the limit without the result (SPEC 9.1)."""
    whole = recorded("cap-oauth").splitlines()
    session = "3963e245-a8e8-4072-b28a-faaa2bea23f3"
    limit = Limit(resets_at=datetime(2026, 11, 21, 9, 41, 3, tzinfo=UTC), source="rate_limit_event")
    text = "You've hit your 5-hour limit · resets 9:41am (UTC)"

    assert read("\n".join(whole[:2]), "", 1) == Reading(
        outcome=Outcome.LIMITED, error="HTTP status 429", session_id=session, limit=limit
    )
    assert read("\n".join(whole[:3]), "", 1) == Reading(
        outcome=Outcome.LIMITED, error=text, session_id=session, limit=limit
    )
    assert read("\n".join([whole[0], *whole[2:]]), "", 1) == TABLE["cap-oauth", 1]


def test_what_the_cli_says_itself_stands_for_a_missing_result() -> None:
    """A message of the CLI's own tells why it failed, where the result is cut off; a rejection before it holds."""
    said = {"type": "assistant", "message": {"model": "<synthetic>", "content": [{"type": "text", "text": "Oh no."}]}}
    rejected = {"type": "rate_limit_event", "rate_limit_info": {"status": "rejected", "resetsAt": 1795254063}}

    assert read("\n".join(recorded("auth-mr1").splitlines()[:-1]), "", 1) == Reading(
        outcome=Outcome.AUTH,
        error="Invalid API key · Fix external API key",
        session_id="2291bb38-03e0-47ca-abaa-ed6a0d758df4",
    )
    assert read(lines(rejected, said), "", 1) == Reading(
        outcome=Outcome.LIMITED,
        error="Oh no.",
        limit=Limit(resets_at=datetime(2026, 11, 21, 9, 41, 3, tzinfo=UTC), source="rate_limit_event"),
    )


def test_a_rejection_that_the_run_went_on_after_is_no_limit() -> None:
    """Extra usage goes on after a rejection; what fails later failed for its own reason."""
    rejected: Any = {"type": "rate_limit_event", "rate_limit_info": {"status": "rejected", "resetsAt": 1795254063}}
    answer = {"type": "assistant", "message": {"model": "claude-opus-5-5", "content": []}, "session_id": "s"}
    allowed = {"type": "rate_limit_event", "rate_limit_info": {"status": "allowed", "resetsAt": 1795254063}}
    paid = {**allowed, "rate_limit_info": {**rejected["rate_limit_info"], "isUsingOverage": True}}

    for after in (answer, allowed, paid):
        assert read(lines(rejected, after, result())).outcome is Outcome.SUCCEEDED
        assert read(lines(rejected, after), "", 137) == Reading(
            outcome=Outcome.FAILED, error="exit code 137", session_id=after.get("session_id", "")
        )


def test_a_rejection_does_not_hide_another_failure() -> None:
    """A login that fails, or a server's error, is not a limit because one was told of before."""
    rejected = {"type": "rate_limit_event", "rate_limit_info": {"status": "rejected", "resetsAt": 1795254063}}
    for status, outcome in ((401, Outcome.AUTH), (500, Outcome.FAILED)):
        said = result(is_error=True, api_error_status=status, result="It went wrong.", terminal_reason="api_error")

        assert read(lines(rejected, said), "", 1) == Reading(
            outcome=outcome, error="It went wrong.", session_id="s", tokens=TOKENS
        )


def test_the_epoch_is_taken_before_the_text() -> None:
    """The structured reset wins over the clock of the text, in seconds or milliseconds (SPEC 9.1)."""
    for epoch in (1795446083, 1795446083000):
        rejected = {"type": "rate_limit_event", "rate_limit_info": {"status": "rejected", "resetsAt": epoch}}
        for text in ("You've hit your weekly limit · resets Nov 23, 3pm (UTC)", "Your credit balance is too low"):
            assert read(lines(rejected, result(is_error=True, result=text)), "", 1) == Reading(
                outcome=Outcome.LIMITED,
                error=text,
                session_id="s",
                tokens=TOKENS,
                limit=Limit(resets_at=datetime(2026, 11, 23, 15, 1, 23, tzinfo=UTC), source="rate_limit_event"),
            )


@pytest.mark.parametrize(
    ("text", "status", "outcome"),
    [
        ("API Error: 500 Internal server error. This is a server-side issue.", 500, Outcome.FAILED),
        ("Request timed out. Check your internet connection", None, Outcome.FAILED),
        ("Prompt is too long", 400, Outcome.FAILED),
        ("Failed to authenticate. API Error: 403 Forbidden", 403, Outcome.AUTH),
        ("OAuth token has expired", 401, Outcome.AUTH),
        ("API Error: 402 in words nobody knows", 402, Outcome.BILLING),
        ("API Error: 529 in words nobody knows", 529, Outcome.LIMITED),
        ("in words nobody knows", 429, Outcome.LIMITED),
    ],
)
def test_a_failure_of_the_api_is_told_by_words_then_by_status(text: str, status: int | None, outcome: Outcome) -> None:
    """A failure has the subtype "success" too; what it is, its text says, else its status (observed)."""
    said = result(is_error=True, result=text, api_error_status=status, terminal_reason="api_error")

    reading = read(lines(said), "", 1)

    assert (reading.outcome, reading.error, reading.summary) == (outcome, text, "")
    assert (reading.limit is not None) == (outcome in {Outcome.LIMITED, Outcome.BILLING})


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [
        ("authentication_error", Outcome.AUTH),
        ("permission_error", Outcome.AUTH),
        ("billing_error", Outcome.BILLING),
        ("rate_limit_error", Outcome.LIMITED),
        ("overloaded_error", Outcome.LIMITED),
        ("api_error", Outcome.FAILED),
    ],
)
def test_the_type_of_an_error_stands_for_its_status(kind: str, outcome: Outcome) -> None:
    """Where no status was told, and no words that are known, the type of the API's error decides."""
    assert read(lines(result(is_error=True, result="Oh no.", api_error_type=kind)), "", 1).outcome is outcome


@pytest.mark.parametrize(
    "told",
    [
        {"terminal_reason": "api_error"},
        {"terminal_reason": "aborted_streaming"},
        {"api_error": "server_error"},
        {"subtype": "error_max_turns", "result": None},
        {"is_error": True},
        {"is_error": []},
    ],
)
def test_one_field_that_tells_of_a_failure_is_enough(told: dict[str, Any]) -> None:
    """Which of its fields tells of a failure differs between versions and causes (observed)."""
    assert read(lines(result(**told))).outcome is Outcome.FAILED


def test_a_good_result_with_another_exit_code_is_a_failure() -> None:
    """Success is a good result and exit code 0."""
    assert read(lines(result()), "", 1) == Reading(
        outcome=Outcome.FAILED,
        summary=DONE,
        error="exit code 1, after its result",
        session_id="s",
        tokens=TOKENS,
    )


def test_an_older_version_told_a_limit_as_a_good_result() -> None:
    """Versions of 2025 printed `text|epoch` in a message of their own; an agent that writes the same has no limit."""
    text = "Claude AI usage limit reached|1749924000"
    own = {"type": "assistant", "message": {"model": "<synthetic>", "content": [{"type": "text", "text": text}]}}
    agent = {"type": "assistant", "message": {"model": "claude-opus-4", "content": [{"type": "text", "text": text}]}}
    reading = read(lines(own, result(result=text)))

    assert reading.outcome is Outcome.LIMITED
    assert reading.limit is not None
    assert reading.limit.resets_at == datetime(2025, 6, 14, 18, 0, tzinfo=UTC)
    assert read(lines(agent, result(result=text))).outcome is Outcome.SUCCEEDED
    assert read(lines(own, agent, result(result=text))).outcome is Outcome.SUCCEEDED


def test_the_tools_it_was_denied_are_named_once_each() -> None:
    """An agent that was not allowed to use a tool cannot have done the work (observed)."""
    denials = [{"tool_name": "Bash"}, {"tool_name": "Write"}, {"tool_name": "Bash"}, None]

    assert read(lines(result(permission_denials=denials))) == Reading(
        outcome=Outcome.HOLLOW,
        summary=DONE,
        error="it was not allowed to use Bash, Write, a tool",
        session_id="s",
        tokens=TOKENS,
    )


def test_a_question_that_nobody_could_answer_does_no_harm() -> None:
    """Headless these two are always denied, and the work goes on without them."""
    waived = [{"tool_name": "AskUserQuestion"}, {"tool_name": "ExitPlanMode"}]

    assert read(lines(result(permission_denials=waived))) == Reading(
        outcome=Outcome.SUCCEEDED, summary=DONE, session_id="s", tokens=TOKENS
    )
    assert read(lines(result(permission_denials=[*waived, {"tool_name": "Bash"}]))).error == (
        "it was not allowed to use Bash"
    )


def test_of_a_long_last_word_the_end_is_kept() -> None:
    """An analysis answers at the end (SPEC 7.4)."""
    answer = '{"rootCause":"server","action":"skip"}'

    assert read(lines(result(result="x" * 5000 + answer))).summary == "x" * (4000 - len(answer)) + answer


def test_text_mode_is_not_searched_where_it_ended_well() -> None:
    """What is printed with exit code 0 are the agent's words (SPEC 9.3)."""
    text = "You've hit your 5-hour limit · resets 9:41am (UTC)\nis what the new test prints."

    assert read(text) == Reading(outcome=Outcome.SUCCEEDED, summary=text)


@pytest.mark.parametrize(("out", "error"), [("Execution error", "exit code 0: Execution error"), ("", "exit code 0")])
def test_text_mode_without_words_of_the_agent_has_failed(out: str, error: str) -> None:
    """An interrupted run prints a word of the CLI's own with exit code 0, or nothing."""
    assert read(out) == Reading(outcome=Outcome.FAILED, error=error)


def test_a_long_line_or_an_early_one_is_not_searched() -> None:
    """Only the last lines of a failed run are searched, and short ones only (SPEC 9.3)."""
    limit = "You've hit your 5-hour limit · resets 9:41am (UTC)"
    early = "\n".join([limit, *("more" for _ in range(20))])
    last = "\n".join([limit, *("more" for _ in range(19))])

    assert read(limit + " x" * 400, "", 1).outcome is Outcome.FAILED
    assert read(early, "", 1).outcome is Outcome.FAILED
    assert read(last, "", 1).outcome is Outcome.LIMITED


def test_a_wrapped_message_is_read_whole() -> None:
    """A message may be broken over lines, and more may follow it."""
    text = "Working\nClaude usage limit reached. Your limit will reset \n     at 3pm (America/Santiago).\n"

    assert read(text, "", 1).limit == Limit(
        resets_at=datetime(2026, 11, 21, 18, 0, tzinfo=UTC), source="clock with zone"
    )


@pytest.mark.parametrize("text", ["No conversation found with session ID: s", "Error: Session ID s is already in use."])
def test_a_session_that_cannot_be_had_is_a_failure(text: str) -> None:
    """A session that is unknown, or exists already, is told on stderr only (observed)."""
    assert read("", text, 1) == Reading(outcome=Outcome.FAILED, error=f"exit code 1: {text}")


def test_a_long_wait_is_seen_and_a_short_one_is_not() -> None:
    """A retry announced for later than ten minutes ends the run; it is over once anything else is said (issue 5)."""
    retry = {"type": "system", "subtype": "api_retry", "error_status": 429, "error": "rate_limit", "session_id": "s"}
    reader = claude.KIND.reader()

    reader.out(lines({**retry, "retry_delay_ms": 600_000}), AT)
    assert reader.stuck() is None
    reader.out(lines({**retry, "retry_delay_ms": 3_600_000}), AT)
    assert reader.stuck() == Reading(
        outcome=Outcome.LIMITED,
        error="it waits 3600 s before it tries again: rate_limit",
        session_id="s",
        limit=Limit(resets_at=AT + timedelta(hours=1), source="announced retry"),
    )
    reader.out(lines({"type": "assistant", "message": {}}), AT)
    assert reader.stuck() is None


def test_a_run_that_was_stopped_while_it_waited_was_limited() -> None:
    """Without a result of its own, a long wait is what it came to; a result is better."""
    retry = {"type": "system", "subtype": "api_retry", "retry_delay_ms": 3_600_000, "error": "rate_limit"}
    reader = claude.KIND.reader()

    reader.out(lines(retry), AT)

    assert reader.end(143, AT).limit == Limit(resets_at=AT + timedelta(hours=1), source="announced retry")
    assert reader.end(143, AT) == reader.stuck()
    reader.out(lines(result()), AT)
    assert reader.end(0, AT).outcome is Outcome.SUCCEEDED


def test_the_context_share_is_that_of_the_last_answer() -> None:
    """The last message of the model fills the context, a subagent's fills its own; the window stands beside the cost."""
    usage = {"input_tokens": 4, "cache_read_input_tokens": 150_000, "cache_creation_input_tokens": 9_996}
    said = {"type": "assistant", "message": {"model": "claude-opus-5-5", "usage": {**usage, "output_tokens": 0}}}
    inner = {**said, "parent_tool_use_id": "toolu_1", "message": {"model": "claude-opus-5-5", "usage": {}}}
    models = {"claude-haiku-5": {"contextWindow": 1000}, "claude-opus-5-5[1m]": {"contextWindow": 200_000}}

    small = {"claude-opus-5-5": {"contextWindow": 100}}

    assert read(lines(said, inner, result(modelUsage=models))).context_share == 0.8
    assert read(lines(said, result(modelUsage=small))).context_share == 1.0
    assert read(lines(said, result(modelUsage={"other": {"contextWindow": 10}}))).context_share is None


@pytest.mark.parametrize("number", [True, -1, 10**16, 10**400, float("nan"), float("inf"), "7", None])
def test_a_number_that_cannot_be_is_not_told(number: object) -> None:
    """What is no count, or an absurd one, is as if it were not there."""
    said = result(usage={"input_tokens": number, "output_tokens": 7}, total_cost_usd=number)

    assert read(lines(said)) == Reading(outcome=Outcome.SUCCEEDED, summary=DONE, session_id="s")


def test_a_wait_beyond_the_calendar_has_no_end() -> None:
    """A wait of thirty thousand years is a limit without a time."""
    reader = claude.KIND.reader()

    reader.out(lines({"type": "system", "subtype": "api_retry", "retry_delay_ms": 10**15}), AT)

    assert reader.stuck() == Reading(
        outcome=Outcome.LIMITED,
        error="it waits 1000000000000 s before it tries again: it does not say why",
        limit=Limit(resets_at=None, source="announced retry"),
    )


def test_a_line_is_read_up_to_four_mebibytes() -> None:
    """A byte order mark does no harm; a line too long for any event is passed over."""
    assert read("\ufeff" + lines(result())).outcome is Outcome.SUCCEEDED
    assert read(lines(result(padding="x" * 4 * 1024 * 1024))) == Reading(outcome=Outcome.FAILED, error="exit code 0")


def test_what_it_says_cannot_drive_a_terminal() -> None:
    """Escapes and lone surrogates of an agent's words do not get through (SPEC 17)."""
    assert read(lines(result(result="\x1b[31mred\x1b[0m \ud800"))).summary == "red ?"


@pytest.mark.parametrize("name", ["json-ok", "cap-oauth", "noperm"])
def test_a_result_that_a_wrapper_prints_over_several_lines_is_read(name: str) -> None:
    """`--output-format json` through a program that makes it fit for people; none of its lines is taken for text."""
    told = events(name)[-1]
    exit_code = next(code for recorded, code in TABLE if recorded == name)

    assert read(json.dumps(told, indent=2), exit_code=exit_code) == read(json.dumps(told), exit_code=exit_code)


def test_a_result_over_several_lines_that_breaks_off_tells_of_no_limit() -> None:
    """What its lines hold are an agent's words (SPEC 9.3)."""
    said = '{\n  "type": "result",\n  "result": "Done.\\n\n"\nRate limit reached\n'

    assert read(said, exit_code=1) == Reading(outcome=Outcome.FAILED, error="exit code 1")


def test_the_session_is_known_from_the_first_line() -> None:
    """A run that is killed in the middle can be resumed."""
    reader = claude.KIND.reader()
    assert reader.session_id == ""

    reader.out(recorded("ok").splitlines()[0], AT)

    assert reader.session_id == "2c44492b-23ca-45cd-b362-e54bb2b7280c"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(deadline=None)
@given(st.data())
def test_no_value_whatsoever_breaks_the_reader(data: st.DataObject) -> None:
    """The same of the recorded events with any value at any of their keys."""
    reader = claude.KIND.reader()
    for name in ("cap-oauth", "rl2-ok", "noperm"):
        for event in events(name):
            key = data.draw(st.sampled_from(sorted(set(event) - {"type", "subtype"})))
            inner = event[key]
            if isinstance(inner, dict) and inner:
                inner[data.draw(st.sampled_from(sorted(inner)))] = data.draw(JSON)
            else:
                event[key] = data.draw(JSON)
            reader.out(json.dumps(event), AT)
            reader.stuck()

    assert isinstance(reader.end(0, AT), Reading)


def ask(**told: Any) -> Ask:
    return Ask(
        executable="claude", workspace=Path("/w"), prompt_path=Path("/a/prompt.md"), scratch=Path("/a/scratch"), **told
    )


RECOMMENDED = ("claude", "-p", "--output-format", "stream-json", "--verbose", "--dangerously-skip-permissions")
QUIET = {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1"}


def test_it_is_called_as_recommended(monkeypatch: pytest.MonkeyPatch) -> None:
    """No questions, no updates, no telemetry, a session chosen or resumed; the prompt is on stdin (observed)."""
    monkeypatch.setattr("os.geteuid", lambda: 1000)

    assert claude.KIND.call(ask()) == Call(argv=RECOMMENDED, environment=QUIET)
    assert claude.KIND.call(ask(session="u", model="sonnet", extra=("--max-turns", "9"))) == Call(
        argv=(*RECOMMENDED, "--session-id", "u", "--model", "sonnet", "--max-turns", "9"), environment=QUIET
    )
    assert claude.KIND.call(ask(session="u", is_resumed=True, is_sandboxed=False)) == Call(
        argv=(*RECOMMENDED, "--resume", "u"), environment=QUIET
    )


def test_as_root_it_is_told_that_it_is_in_a_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    """As root it refuses to run without questions unless it is told so (observed)."""
    monkeypatch.setattr("os.geteuid", lambda: 0)

    assert claude.KIND.call(ask()).environment == {**QUIET, "IS_SANDBOX": "1"}
