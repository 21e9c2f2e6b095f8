"""How AWM calls Codex and reads what it says (SPEC 8.2, 9.1, 9.3, 10.1). Its lines were recorded of codex-cli 0.169.0."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_claude import JSON

from awm_loop.agents import codex
from awm_loop.agents.reading import Ask, Call, Reading
from awm_loop.core.model import Outcome
from awm_loop.core.observation import Limit

RECORDED = Path(__file__).parent / "transcripts" / "codex"
AT = datetime(2026, 11, 21, 7, 30, tzinfo=UTC)
DONE = "MOCK-FINAL: file written and committed."
TOKENS = {"input": 2400, "output": 110}
CLOCK = Limit(resets_at=datetime(2026, 11, 21, 9, 42, tzinfo=UTC), source="clock without a zone")
NO_TIME = Limit(resets_at=None, source="no time stated")
GOOD = {"type": "turn.completed", "usage": {"input_tokens": 2400, "output_tokens": 110}}
COMMIT = (
    "echo hello-from-mock >> mock_out.txt && git add -A && git -c user.name=mock -c user.email=mock@example.invalid"
    " commit -qm 'mock commit' && git rev-parse HEAD"
)


def read(out: str, err: str = "", exit_code: int = 0) -> Reading:
    reader = codex.KIND.reader()
    for line in out.splitlines():
        reader.out(line, AT)
        assert reader.stuck() is None
    for line in err.splitlines():
        reader.err(line, AT)
    return reader.end(exit_code, AT)


def recorded(name: str, stream: str = "stdout") -> str:
    path = RECORDED / f"{name}.{stream}"
    return path.read_text() if path.exists() else ""


def lines(*said: dict[str, Any]) -> str:
    return "\n".join(json.dumps(one) for one in said)


def ran(command: str, output: str = "", exit_code: int = 0, identity: str = "item_1") -> dict[str, Any]:
    item = {"id": identity, "type": "command_execution", "command": command, "aggregated_output": output}
    return {"type": "item.completed", "item": {**item, "exit_code": exit_code, "status": "completed"}}


def rollout(**payload: Any) -> dict[str, Any]:
    return {"timestamp": "2026-11-21T07:29:28.000Z", "type": "event_msg", "payload": payload}


def told(outcome: Outcome, session: str, error: str = "", limit: Limit | None = None, **known: Any) -> Reading:
    return Reading(outcome=outcome, session_id=session, error=error, limit=limit, **known)


FINISHED: dict[str, Any] = {"summary": DONE, "tokens": TOKENS}
TABLE = {
    ("gone", 1): told(
        Outcome.FAILED,
        "",
        "exit code 1: Error: thread/resume: thread/resume failed: no rollout found for thread id"
        " 11111111-2222-4333-8444-555555555555 (code -32600)",
    ),
    ("ok", 0): told(Outcome.SUCCEEDED, "01a1fd01-44d4-7422-8722-ca60109e1447", **FINISHED),
    ("rl2-ok", 0): told(Outcome.SUCCEEDED, "01a1fd02-c72d-74a3-883e-bac8483cc675", **FINISHED),
    ("text-ok", 0): told(Outcome.SUCCEEDED, "01a1fd02-c6da-7973-89cf-07cc6346ad6c", summary=DONE),
    ("slow", 0): told(
        Outcome.HOLLOW,
        "01a1fd03-98f8-7871-979e-2cf8ae0ebc47",
        f'it ended before its command did: /bin/bash -lc "sleep 40; {COMMIT}"',
        **FINISHED,
    ),
    ("slow-sbx", 0): told(
        Outcome.HOLLOW,
        "01a1fd03-9800-7b13-905c-87a18f7f2e3e",
        "it could not commit: fatal: Unable to create '/project/.git/index.lock': Read-only file system",
        **FINISHED,
    ),
    ("cap", 1): told(
        Outcome.LIMITED,
        "01a1fd02-f098-7422-ae25-792ee0c4cf5b",
        "You\u2019ve hit your usage limit. Upgrade to Pro (https://chatgpt.com/explore/pro), visit"
        " https://chatgpt.com/settings/usage to purchase more credits or try again at 9:42 AM.",
        CLOCK,
    ),
    ("cap-free", 1): told(
        Outcome.LIMITED,
        "01a1fd02-f02f-7760-8713-af01582a673a",
        "You\u2019ve hit your usage limit. Upgrade to Plus to continue using Codex (https://chatgpt.com/explore/plus),"
        " or try again at 9:42 AM.",
        CLOCK,
    ),
    ("rl-ra2", 1): told(
        Outcome.LIMITED,
        "01a1fd02-c6d9-7c51-83a0-b5d543e9c8f9",
        "exceeded retry limit, last status: 429 Too Many Requests, request id: req_mock_6",
        NO_TIME,
    ),
    ("quota", 1): told(
        Outcome.BILLING,
        "01a1fd03-2d4d-7532-b192-419a689cf569",
        "Quota exceeded. Check your plan and billing details.",
        NO_TIME,
    ),
    ("auth2", 1): told(
        Outcome.AUTH,
        "01a1fd0b-8d4f-73c0-9d14-9bdadbcf8a23",
        "unexpected status 401 Unauthorized: Incorrect API key provided: dummy. You can find your API key at"
        " https://platform.openai.com/account/api-keys., url: http://127.0.0.1:8901/v1/responses,"
        " request id: req_mock_6",
    ),
    ("overload", 1): told(
        Outcome.FAILED,
        "01a1fd03-2e75-7341-b46c-f8dfc0479339",
        "stream disconnected before completion: error sending request",
    ),
    ("context", 1): told(
        Outcome.FAILED,
        "01a1fd03-992f-7421-8e9b-2dd12fc1947d",
        "Codex ran out of room in the model's context window. Start a new thread or clear earlier history before"
        " retrying. (its context is full: only a fresh session can go on)",
    ),
}


@pytest.mark.parametrize(("name", "exit_code"), TABLE)
def test_every_recorded_run_is_read_as_it_was(name: str, exit_code: int) -> None:
    """Each recorded run, whole, comes to what was observed of it (issue 5; SPEC 9.1, 10.1)."""
    assert read(recorded(name), recorded(name, "stderr"), exit_code) == TABLE[name, exit_code]


@pytest.mark.parametrize(("name", "exit_code"), TABLE)
def test_neither_the_order_of_keys_nor_noise_changes_the_reading(name: str, exit_code: int) -> None:
    """The order of keys is no promise, and what stands between the lines is passed over."""
    shuffled = []
    for line in recorded(name).splitlines():
        if line.startswith("{"):
            shuffled += [json.dumps(dict(reversed(json.loads(line).items()))), '{"type":"turn.completed","usage":{', ""]
            shuffled += ['{"type":"item.updated","item":{"id":"item_9","type":"todo_list","items":[]}}', "[1, null]"]
        else:
            shuffled.append(line)

    assert read("\n".join(shuffled), recorded(name, "stderr"), exit_code) == TABLE[name, exit_code]


def test_a_run_that_was_cut_off_has_failed() -> None:
    """Without the end of its turn a run has failed, with its exit code and what stderr said last."""
    cut = "\n".join(recorded("ok").splitlines()[:-1]) + '\n{"type":"turn.compl'
    session = TABLE["ok", 0].session_id

    assert read(cut, recorded("ok", "stderr") + "boom\n", -9) == told(
        Outcome.FAILED, session, "killed by signal 9: boom"
    )
    assert read(cut, recorded("ok", "stderr"), -15) == told(Outcome.FAILED, session, "killed by signal 15")
    assert read("npm notice\n" + cut) == told(Outcome.FAILED, session, "exit code 0: npm notice")
    assert read("") == told(Outcome.FAILED, "", "exit code 0")


@pytest.mark.parametrize(
    "text",
    [
        "Error: thread/resume: thread/resume failed: no rollout found for thread id t (code -32600)",
        "Not inside a trusted directory and --skip-git-repo-check was not specified.",
    ],
)
def test_a_bad_setup_is_told_on_stderr_alone(text: str) -> None:
    """Such a run prints no line on stdout (observed)."""
    assert read("", text, 1) == told(Outcome.FAILED, "", f"exit code 1: {text}")


def test_text_mode_tells_of_a_limit_on_stderr() -> None:
    """In text mode the error is the last line of stderr, after the course of the run (SPEC 9.3)."""
    course = recorded("text-ok", "stderr").split("\nexec\n")[0] + "\nsession id: of-another-that-it-speaks-of"

    assert read("", course + "\nERROR: You\u2019ve hit your usage limit. Try again at 9:42 AM.\n", 1) == told(
        Outcome.LIMITED,
        "01a1fd02-c6da-7973-89cf-07cc6346ad6c",
        "ERROR: You\u2019ve hit your usage limit. Try again at 9:42 AM.",
        CLOCK,
    )


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("unexpected status 403 Forbidden: no words that are known, url: u, request id: r", Outcome.AUTH),
        ("Selected model is at capacity. Please try a different model.", Outcome.LIMITED),
        ("We\u2019re currently experiencing high demand, which may cause temporary errors.", Outcome.FAILED),
        ("exceeded retry limit, last status: 503 Service Unavailable, request id: r", Outcome.LIMITED),
        ("exceeded retry limit, last status: 401 Unauthorized, request id: r", Outcome.AUTH),
        ("unexpected status 500 Internal Server Error: boom", Outcome.FAILED),
        ("To use Codex with your ChatGPT plan, upgrade to Plus: https://chatgpt.com/explore/plus.", Outcome.BILLING),
        ("stream disconnected before completion: idle timeout waiting for SSE", Outcome.FAILED),
        ("", Outcome.FAILED),
    ],
)
def test_a_failed_turn_is_told_by_its_message(text: str, outcome: Outcome) -> None:
    """There is no code in its JSON: the words decide, and the status of HTTP among them (observed)."""
    said = lines({"type": "error", "message": text}, {"type": "turn.failed", "error": {"message": text}})

    reading = read(said, "", 1)

    assert (reading.outcome, reading.error) == (outcome, text or "it does not say why")


def test_a_turn_that_failed_without_its_last_line_has_its_error() -> None:
    """The error comes before the end of the turn; a retry in between is none."""
    said = lines({"type": "error", "message": "Quota exceeded. Check your plan and billing details."})
    retry = lines({"type": "error", "message": "Reconnecting... 1/5 (last status: 429 Too Many Requests)"})

    assert read(said + "\n" + retry, "", 1).outcome is Outcome.BILLING
    assert read(retry, "", 1) == told(Outcome.FAILED, "", "exit code 1")


def test_a_warning_is_not_a_failure() -> None:
    """An item of the type error is a warning, and an error that the turn was completed after was none (observed)."""
    warning = {"type": "item.completed", "item": {"type": "error", "message": "You've hit your usage limit."}}
    error = {"type": "error", "message": "stream error: last status: 429; retrying 1/5 in 200ms"}

    assert read(lines(warning, error, GOOD, error)) == told(Outcome.SUCCEEDED, "", tokens=TOKENS)


def test_a_completed_turn_with_another_exit_code_is_a_failure() -> None:
    """Success is a completed turn and exit code 0."""
    assert read(lines(GOOD), "", 1) == told(
        Outcome.FAILED, "", "exit code 1, after its turn was completed", tokens=TOKENS
    )


READ_ONLY = "fatal: Unable to create '/w/.git/worktrees/t/index.lock': Read-only file system\n"


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        ((ran("git commit -m x", READ_ONLY, 128),), Outcome.HOLLOW),
        ((ran("git commit -m x; true", "On branch t\n" + READ_ONLY),), Outcome.HOLLOW),
        ((ran("git commit -m x", READ_ONLY, 128), ran("git status")), Outcome.HOLLOW),
        ((ran("git commit -m x", READ_ONLY, 128), ran("git commit -m x", "failed", 1)), Outcome.HOLLOW),
        ((ran("git commit -m x", READ_ONLY, 128), ran("git commit -m x")), Outcome.SUCCEEDED),
        ((ran("rg lock", f"log.txt: {READ_ONLY}"),), Outcome.SUCCEEDED),
        ((ran("git fetch", READ_ONLY, 255),), Outcome.SUCCEEDED),
        ((ran("cat log", "error: /w/out: Read-only file system"),), Outcome.SUCCEEDED),
    ],
)
def test_a_git_directory_that_is_read_only_makes_it_hollow(said: tuple[dict[str, Any], ...], outcome: Outcome) -> None:
    """The turn ends well although nothing could be committed, unless a later commit went through (observed)."""
    assert read(lines(*said, GOOD)).outcome is outcome


def test_every_command_that_is_still_open_is_named() -> None:
    """A command that runs on when the turn ends is lost with it (observed)."""
    long = "x" * 1000
    begun = [{**ran(command, identity=command), "type": "item.started"} for command in ("make", "ls", long)]

    assert read(lines(*begun, ran("ls", identity="ls"), GOOD)) == told(
        Outcome.HOLLOW, "", f"it ended before its command did: make; {long[:200]}", tokens=TOKENS
    )


def test_a_commit_that_went_through_clears_what_is_still_open() -> None:
    """A server that runs on does no harm to work that is committed; a word in a command is no commit."""
    begun = {**ran("npm run dev &", identity="dev"), "type": "item.started"}

    for command, outcome in (
        (COMMIT, Outcome.SUCCEEDED),
        ("bash -lc 'git commit -m x'", Outcome.SUCCEEDED),
        ("git log --grep commit", Outcome.HOLLOW),
        ("echo git; echo commit", Outcome.HOLLOW),
    ):
        assert read(lines(begun, ran(command), GOOD)).outcome is outcome
    assert read(lines(begun, ran("git commit -m x", exit_code=1), GOOD)).outcome is Outcome.HOLLOW


def test_a_full_context_wants_a_fresh_session() -> None:
    """To go on in the same session would fail again, whatever the provider's words are."""
    for text in (
        "Your input exceeds the context window of this model. Please adjust your input.",
        "context_length_exceeded",
    ):
        said = lines({"type": "turn.failed", "error": {"message": text}})

        assert read(said, "", 1) == told(
            Outcome.FAILED, "", f"{text} (its context is full: only a fresh session can go on)"
        )


def test_the_log_of_others_is_none_of_its_last_words() -> None:
    """An MCP server that fails its login is not the agent; Codex's own log is (observed)."""
    worker = "2026-11-21T07:30:00.1Z ERROR rmcp::transport::worker: Unauthorized"
    client = "2026-11-21T07:30:00.1Z  WARN codex_core::mcp_connection_manager: Not logged in"
    own = "2026-11-21T07:30:00.1Z ERROR codex_core::codex: exceeded retry limit, last status: 401 Unauthorized"

    assert read("", f"{worker}\n{client}", 1) == told(Outcome.FAILED, "", "exit code 1")
    assert read("", f"{own}\n{worker}", 1) == told(Outcome.AUTH, "", own)


@pytest.mark.parametrize("exit_code", [-9, -11, 101, 134, 137, 139])
def test_a_crash_is_no_failed_login(exit_code: int) -> None:
    """What was printed before a crash may be of a tool; a limit still counts."""
    cap = "ERROR: You've hit your usage limit. Try again at 9:42 AM."

    assert read("", "Error: Unauthorized", exit_code).outcome is Outcome.FAILED
    assert read("", f"{cap}\nError: Unauthorized", exit_code).limit == CLOCK
    assert read("", "Error: Unauthorized", 1).outcome is Outcome.AUTH


def test_the_rollout_file_tells_when_the_limit_ends() -> None:
    """Its used-up window wins over the clock of the message, which may name another one (codex#41689; SPEC 9.1)."""
    primary = {"used_percent": 100.0, "window_minutes": 300, "resets_at": 1795254168}
    secondary = {"used_percent": 40.0, "window_minutes": 10080, "resets_at": 1795340568}
    info = {
        "total_token_usage": {"input_tokens": 900, "output_tokens": 7},
        "last_token_usage": {"total_tokens": 68_000},
        "model_context_window": 272_000,
    }
    said = lines(
        rollout(type="task_started"),
        rollout(type="token_count", info=None, rate_limits={"primary": primary, "secondary": secondary}),
        rollout(type="token_count", info=info, rate_limits=None),
        rollout(type="task_complete", error={"message": "m", "codex_error_info": "usage_limit_exceeded"}),
    )
    expected = TABLE["cap", 1]

    assert read(recorded("cap") + said, "", 1) == told(
        Outcome.LIMITED,
        expected.session_id,
        expected.error,
        Limit(resets_at=datetime(2026, 11, 21, 9, 42, 48, tzinfo=UTC), source="rollout file"),
        tokens={"input": 900, "output": 7},
        context_share=0.25,
    )


def test_a_good_run_takes_its_context_share_from_the_rollout_file() -> None:
    """The tokens of the turn's end go before those of the file; a share is 1 at most."""
    info = {
        "total_token_usage": {"input_tokens": 900, "output_tokens": 7},
        "last_token_usage": {"total_tokens": 300_000},
        "model_context_window": 272_000,
    }
    said = lines(rollout(type="token_count", info=info), rollout(type="task_complete", last_agent_message=DONE))

    assert read(recorded("ok") + said) == told(
        Outcome.SUCCEEDED, TABLE["ok", 0].session_id, context_share=1.0, **FINISHED
    )


def test_where_two_windows_are_used_up_the_later_counts() -> None:
    """The account opens when the last of its windows does; versions of 2025 told seconds from when they wrote."""
    windows = {
        "primary": {"used_percent": 100, "resets_in_seconds": 3632},
        "secondary": {"used_percent": 101.5, "resets_at": 1795254168},
        "plan_type": "plus",
    }
    for without, at, expected in (
        ("none", "2026-11-21T07:29:28.000Z", 1795254168),
        ("secondary", "2026-11-21T07:29:28.000Z", 1795249800),
        ("secondary", "2026-11-21T07:29:28.000", 1795249832),
        ("secondary", "yesterday", 1795249832),
    ):
        limits = {name: window for name, window in windows.items() if name != without}
        line = {**rollout(type="token_count", rate_limits=limits), "timestamp": at}

        reading = read(recorded("cap") + lines(line), "", 1)

        assert reading.limit == Limit(resets_at=datetime.fromtimestamp(expected, UTC), source="rollout file")


def test_what_the_rollout_file_tells_of_earlier_turns_does_not_count() -> None:
    """A resumed thread's file holds the limits and the errors of its earlier turns as well."""
    full = {"primary": {"used_percent": 100, "resets_at": 1795254168}}
    earlier = lines(
        rollout(type="token_count", rate_limits=full),
        rollout(type="task_complete", error={"codex_error_info": "unauthorized"}),
        rollout(type="task_started"),
    )
    boom = lines({"type": "turn.failed", "error": {"message": "boom"}})
    window = lines(rollout(type="token_count", rate_limits=full))

    assert read(recorded("cap") + earlier, "", 1) == TABLE["cap", 1]
    assert read(boom + "\n" + window, "", 1) == told(Outcome.FAILED, "", "boom")
    assert read(boom + "\n" + earlier, "", 1) == told(Outcome.FAILED, "", "boom")


@pytest.mark.parametrize(
    ("info", "outcome"),
    [
        ("usage_limit_exceeded", Outcome.LIMITED),
        ("server_overloaded", Outcome.LIMITED),
        ("unauthorized", Outcome.AUTH),
        ({"response_too_many_failed_attempts": {"http_status_code": 429}}, Outcome.LIMITED),
        ({"http_connection_failed": {"http_status_code": None}}, Outcome.FAILED),
        ("other", Outcome.FAILED),
    ],
)
def test_the_rollout_file_tells_why_where_the_message_does_not(info: object, outcome: Outcome) -> None:
    """`codex_error_info` stands in the rollout file alone (observed)."""
    failed = lines({"type": "turn.failed", "error": {"message": "words that nobody knows"}})
    why = lines(rollout(type="task_complete", error={"message": "m", "codex_error_info": info}))

    assert read(failed + "\n" + why, "", 1).outcome is outcome


def test_the_rollout_file_is_found_by_its_thread(tmp_path: Path) -> None:
    """It lies under the day it was begun on, in CODEX_HOME, else in the home's .codex."""
    session = "01a1fd02-f098-7422-ae25-792ee0c4cf5b"
    day = tmp_path / ".codex" / "sessions" / "2026" / "11" / "21"
    day.mkdir(parents=True)
    other, wanted = (day / f"rollout-2026-11-21T07-28-06-{name}.jsonl" for name in ("other", session))
    other.touch()
    wanted.touch()

    assert codex.KIND.beside(session, {"HOME": str(tmp_path)}) == wanted
    assert codex.KIND.beside(session, {"HOME": "/none", "CODEX_HOME": str(tmp_path / ".codex")}) == wanted
    assert codex.KIND.beside("unknown", {"HOME": str(tmp_path)}) is None
    assert codex.KIND.beside("*", {"HOME": str(tmp_path)}) is None
    assert codex.KIND.beside("", {"HOME": str(tmp_path)}) is None
    assert codex.KIND.beside(session, {}) is None


def test_the_session_is_known_from_the_first_line() -> None:
    """A run that is killed in the middle can be resumed."""
    reader = codex.KIND.reader()
    assert reader.session_id == ""

    reader.out(recorded("ok").splitlines()[0], AT)

    assert reader.session_id == "01a1fd01-44d4-7422-8722-ca60109e1447"


@settings(deadline=None)
@given(st.data())
def test_no_value_whatsoever_breaks_the_reader(data: st.DataObject) -> None:
    """The same of the recorded events with any value at any of their keys, and at those of the rollout file."""
    window = {"used_percent": 100, "resets_at": 1795254168, "resets_in_seconds": 5}
    said = [json.loads(line) for name in ("ok", "cap") for line in recorded(name).splitlines()]
    said += [rollout(type="token_count", rate_limits={"primary": window}, info={"model_context_window": 10})]
    said += [rollout(type="task_complete", error={"codex_error_info": {"x": {"http_status_code": 429}}})]
    reader = codex.KIND.reader()
    for event in said:
        inner: Any = event
        while isinstance(inner, dict) and inner:
            key = data.draw(st.sampled_from(sorted(inner)))
            if not isinstance(inner[key], dict) or data.draw(st.booleans()):
                inner[key] = inner[key] if key == "type" else data.draw(JSON)
                break
            inner = inner[key]
        reader.out(json.dumps(event), AT)

    assert isinstance(reader.end(data.draw(st.sampled_from((0, 1))), AT), Reading)


QUIET = ("-c", "analytics.enabled=false", "-c", "check_for_update_on_startup=false")
STARTED = ("codex", "exec", "--json", "--skip-git-repo-check", "-C", "/w")


def ask(**told: Any) -> Ask:
    return Ask(
        executable="codex", workspace=Path("/w"), prompt_path=Path("/a/prompt.md"), scratch=Path("/a/scratch"), **told
    )


def test_it_is_called_as_recommended() -> None:
    """A sandbox in which git can write, no questions, no updates, no telemetry, the prompt from stdin (observed)."""
    paths = (Path("/w/.git"), Path("/main/.git/worktrees/w"))

    assert codex.KIND.call(ask(written_paths=paths, model="gpt-5", extra=("-c", "x=1"), session="unused")) == Call(
        argv=(
            *STARTED,
            *("-s", "workspace-write", "--add-dir", "/w/.git", "--add-dir", "/main/.git/worktrees/w"),
            *("-c", "approval_policy=never", *QUIET, "-m", "gpt-5", "-c", "x=1", "-"),
        )
    )


def test_without_a_sandbox_it_is_told_to_use_none() -> None:
    """An agent that is walled in from outside needs no sandbox of its own."""
    assert codex.KIND.call(ask(is_sandboxed=False, written_paths=(Path("/w/.git"),))) == Call(
        argv=(*STARTED, "--dangerously-bypass-approvals-and-sandbox", *QUIET, "-")
    )


def test_a_thread_is_resumed_with_the_same_options_before_it() -> None:
    """`resume` itself takes neither a directory nor a sandbox: they are options of `exec`."""
    assert codex.KIND.call(ask(is_resumed=True, session="t")) == Call(
        argv=(*STARTED, "-s", "workspace-write", "-c", "approval_policy=never", *QUIET, "resume", "t", "-")
    )
