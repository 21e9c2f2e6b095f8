"""How AWM calls aider and reads what it says (SPEC 8.2, 9.1, 9.3, 10.1). Its lines were recorded of 0.86.2."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from awm_loop.agents import aider
from awm_loop.agents.reading import Ask, Call, Reading
from awm_loop.config import COUNT_MAX
from awm_loop.core.model import Outcome
from awm_loop.core.observation import Limit

RECORDED = Path(__file__).parent / "transcripts" / "aider"
AT = datetime(2026, 11, 21, 7, 30, tzinfo=UTC)
DONE = "MOCK-FINAL: file written and committed."
TOKENS = "Tokens: 2.4k sent, 30 received. Cost: $0.0063 message, $0.0063 session."
RATE = """litellm.RateLimitError: RateLimitError: OpenAIException - Rate limit reached
The API provider has rate limited you. Try again later or check your quotas."""


def read(out: str, err: str = "", exit_code: int = 0) -> Reading:
    """What a run comes to that is never stuck."""
    reader = aider.KIND.reader()
    for line in out.splitlines():
        reader.out(line, AT)
        assert reader.stuck() is None
    for line in err.splitlines():
        reader.err(line, AT)
        assert reader.stuck() is None
    return reader.end(exit_code, AT)


TABLE = {
    "ok": Reading(outcome=Outcome.SUCCEEDED, summary=DONE, tokens={"input": 2400, "output": 30}, cost_usd=0.0063),
    "talk": Reading(
        outcome=Outcome.HOLLOW,
        summary="I would add rate limiting: on 429 Too Many Requests, wait.\nShall I go on?",
        error="it edited nothing",
        tokens={"input": 2400, "output": 21},
        cost_usd=0.0062,
    ),
    "auth": Reading(
        outcome=Outcome.AUTH,
        error="litellm.AuthenticationError: AuthenticationError: OpenAIException - Incorrect API key provided: dummy."
        " You can find your API key at https://platform.openai.com/account/api-keys. The API provider is not able to"
        " authenticate you. Check your API key.",
    ),
    "rl": Reading(
        outcome=Outcome.LIMITED,
        error="litellm.RateLimitError: RateLimitError: OpenAIException - Rate limit reached for gpt-4o in organization"
        " org-x on tokens per min (TPM): Limit 30000, Used 29000, Requested 2400. Please try again in 2.8s. Visit"
        " https://platform.openai.com/account/rate-limits to learn more. The API provider has rate limited you. Try"
        " again later or check your quotas.",
        limit=Limit(resets_at=AT + timedelta(seconds=2.8), source="relative time"),
    ),
}


@pytest.mark.parametrize("name", TABLE)
def test_a_recorded_run_is_read_as_what_it_was(name: str) -> None:
    """The recorded runs of agent-clis.md §5 mean what it says of them, and two of our own; all end with 0."""
    assert read((RECORDED / f"{name}.stdout").read_text()) == TABLE[name]


@pytest.mark.parametrize(
    ("out", "expected"),
    [
        ("Commit 15132fe feat: x", Outcome.SUCCEEDED),
        ("Applied edit to src/a b.py", Outcome.SUCCEEDED),
        ("Committing soon, Applied edit to a", Outcome.HOLLOW),
        ("Commit this please", Outcome.HOLLOW),
        ("Did not apply edit to a (--dry-run)", Outcome.HOLLOW),
        ("", Outcome.HOLLOW),
    ],
)
def test_only_an_edit_or_a_commit_is_a_success(out: str, expected: Outcome) -> None:
    """It ends with 0 whatever happened (agent-clis.md §5): its own line on its work has to be there."""
    assert read(out).outcome is expected


@pytest.mark.parametrize(
    ("out", "expected"),
    [
        (f"{RATE}\nRetrying in 0.2 seconds...\nHello.\n{TOKENS}\n\nCommit 15132fe x", Outcome.SUCCEEDED),
        (f"{RATE}\nRetrying in 0.2 seconds...\n\nHello.\n\n{TOKENS}\n", Outcome.HOLLOW),
        (f"{TOKENS}\n\nApplied edit to a\nCommit 15132fe x\n\n{RATE}", Outcome.LIMITED),
        (f"Applied edit to a\n{RATE}", Outcome.LIMITED),
        (
            f"Applied edit to a\n{RATE}\nRetrying in 0.2 seconds...\nCommit 15132fe (no commit message)",
            Outcome.SUCCEEDED,
        ),
        (f"I handle\n{RATE}\nand\nApplied edit to a\n{TOKENS}", Outcome.HOLLOW),
        (f"I handle\n\n{RATE}\n\n{TOKENS}", Outcome.HOLLOW),
    ],
)
def test_what_came_last_counts(out: str, expected: Outcome) -> None:
    """An error that an answer followed is over, and one within an answer is the model's words (SPEC 9.3); one after
    a commit ended the run (agent-clis.md §6)."""
    assert read(out).outcome is expected


ERRORS = {
    "litellm.InternalServerError: AnthropicException - Overloaded": (Outcome.LIMITED, True),
    "litellm.ServiceUnavailableError: nobody knows these words": (Outcome.LIMITED, True),
    "litellm.RateLimitError: nobody knows these words": (Outcome.LIMITED, True),
    "litellm.BadRequestError: AnthropicException - Your credit balance is too low": (Outcome.BILLING, True),
    "litellm.BudgetExceededError: nobody knows these words": (Outcome.BILLING, True),
    "litellm.PermissionDeniedError: nobody knows these words": (Outcome.AUTH, False),
    "litellm.APIConnectionError: OpenAIException - Connection error.": (Outcome.FAILED, False),
    "litellm.NotFoundError: no such model": (Outcome.FAILED, False),
    "Model openai/gpt-4o has hit a token limit!": (Outcome.FAILED, False),
}


@pytest.mark.parametrize("line", ERRORS)
def test_an_exception_tells_why_it_gave_up(line: str) -> None:
    """The words of litellm's exception decide, else its name."""
    outcome, has_limit = ERRORS[line]
    reading = read(f"Aider v0.86.2\n\n{line}\n\nhttps://example.invalid/help\n")

    assert (reading.outcome, reading.error, reading.limit is not None) == (outcome, line, has_limit)


def test_a_wait_within_the_run_is_not_the_reset() -> None:
    """ "Retrying in 4.0 seconds..." is its own next try (limit_messages.jsonl); killed there, it was limited."""
    expected = Reading(
        outcome=Outcome.LIMITED, error=RATE.replace("\n", " "), limit=Limit(resets_at=None, source="no time stated")
    )

    assert read(f"{RATE}\nRetrying in 4.0 seconds...", exit_code=-15) == expected


@pytest.mark.parametrize(
    ("out", "tokens", "cost"),
    [
        (f"{TOKENS}\n\nb\n\nTokens: 12k sent, 1.5k received. Cost: $0.03 message, $0.04 session.", (14400, 1530), 0.04),
        ("Tokens: 12k sent, 1.1k cache write, 3.4k cache hit, 500 received.\nCost: $0.03 message, $0.05 session.", (12000, 500), 0.05),
        ("Tokens: 123k sent, 45k cache hit, 1.2k received. Cost: $0.0063 message,\n$1.25 session.", (123000, 1200), 1.25),
        ("Tokens: 950 sent, 3 received.", (950, 3), None),
        ("Tokens: 1.2.3k sent, 9999999999999k received. Cost: $. message, $.. session.", (0, 0), None),
    ],
)  # fmt: skip
def test_tokens_are_summed_and_the_last_cost_is_the_session_s(
    out: str, tokens: tuple[int, int], cost: float | None
) -> None:
    """Each answer tells its tokens, and the cost so far; the line may be wrapped at 80 columns."""
    reading = read(out)

    assert (reading.tokens, reading.cost_usd) == ({"input": tokens[0], "output": tokens[1]}, cost)


def test_sums_stay_in_bounds() -> None:
    """A count of a file is bounded (SPEC 17): a sum of counts as well."""
    most = "words\n\nTokens: 999999999M sent, 999999999M received.\n\n"

    assert read(most * 3).tokens == {"input": COUNT_MAX, "output": COUNT_MAX}


def test_an_overloaded_provider_is_waited_for() -> None:
    """litellm's advice behind an error is none of an agent's sentences."""
    body = '{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'
    said = f"litellm.InternalServerError: AnthropicException - {body}. Handle with `litellm.InternalServerError`."

    assert read(said).outcome is Outcome.LIMITED


def test_a_bad_set_up_is_told_with_its_exit_code() -> None:
    """What it says on stderr is its own; what it prints besides is not searched."""
    usage = "usage: aider [--model]\naider: error: unrecognized arguments: --nope"

    assert read("You've hit your usage limit.", usage, 2) == Reading(
        outcome=Outcome.FAILED, error="exit code 2: aider: error: unrecognized arguments: --nope"
    )
    assert read(f"{TOKENS}\n\nCommit 15132fe x", exit_code=-9) == Reading(
        outcome=Outcome.FAILED,
        error="killed by signal 9",
        tokens={"input": 2400, "output": 30},
        cost_usd=0.0063,
    )


ASK = Ask(
    executable="/opt/aider",
    workspace=Path("/project"),
    prompt_path=Path("/attempt/prompt.md"),
    scratch=Path("/attempt/scratch"),
)
ARGV = (
    "--yes-always --no-check-update --analytics-disable --no-pretty --no-show-release-notes --no-show-model-warnings"
    " --no-gitignore --chat-history-file /attempt/scratch/chat.md --input-history-file /attempt/scratch/input"
    " --message-file /attempt/prompt.md"
)


@pytest.mark.parametrize(
    ("ask", "argv"),
    [
        (replace(ASK, session="s", is_resumed=True), f"/opt/aider {ARGV}"),
        (replace(ASK, model="openai/gpt-4o", extra=("--map-tokens", "0")), f"/opt/aider --model openai/gpt-4o {ARGV} --map-tokens 0"),
    ],
)  # fmt: skip
def test_it_is_called_so_that_it_works_unattended(ask: Ask, argv: str) -> None:
    """agent-clis.md §5: its prompt from a file, yes to everything, no updates; it has no sessions."""
    assert aider.KIND.call(ask) == Call(argv=tuple(argv.split()))


LINES = st.sampled_from(
    [*RATE.splitlines(), *TOKENS.splitlines(), "", "Commit 15132fe x", "Retrying in 4.0 seconds..."]
)


@settings(deadline=None)
@given(st.lists(LINES | st.text(st.characters()) | st.from_regex(aider.TOKENS)), st.sampled_from([0, 1, -9]))
def test_no_line_whatsoever_breaks_the_reader(said: list[str], exit_code: int) -> None:
    """Agent output is data from outside (SPEC 17): any text, in any order, on both streams."""
    reader = aider.KIND.reader()
    for line in said:
        reader.out(line, AT)
        reader.err(line, AT)

    assert isinstance(reader.end(exit_code, AT), Reading)


@pytest.mark.parametrize(
    ("words", "summary"), [("I write the words.\n\n", "I write the words."), ("", "")], ids=["words", "none"]
)
def test_an_edit_is_none_of_the_last_words(words: str, summary: str) -> None:
    """An answer often ends with its edits, which may have blank lines; observed live of 0.86.2 (SPEC 12.1)."""
    edit = "work.txt\n```\n<<<<<<< SEARCH\none\n\ntwo\n=======\nthree\n\nfour\n>>>>>>> REPLACE\n```\n"
    out = f"Aider v0.86.2\nRepo-map: disabled\n\n{words}{edit}\n{TOKENS}\n\nwork.txt\nApplied edit to work.txt\n"

    assert read(out).summary == summary
