"""How AWM reads what any program wrote into its result file, and the answer of an analysis (SPEC 7.4, 8.6)."""

from __future__ import annotations

import json

import pytest

from awm_loop.agents import generic
from awm_loop.agents.reading import Reading
from awm_loop.core.model import Advised, Outcome
from awm_loop.core.observation import Advice

ANSWER = {"rootCause": "the server", "action": "skip", "text": "a {brace}"}
WHOLE = json.dumps(ANSWER)
PRETTY = json.dumps(ANSWER, indent=2)


@pytest.mark.parametrize(
    "text",
    [
        WHOLE,
        PRETTY,
        f"It is so.\n{WHOLE}",
        f"It is so: {WHOLE}",
        f"It is so.\n```json\n{WHOLE}\n```\n",
        f"It is so.\n```json\n{PRETTY}\n```\nThat is all.",
        f'At first {{"rootCause": "the network", "action": "retry"}} seemed likely.\n{PRETTY}',
    ],
)
def test_the_answer_of_an_analysis_is_found_among_other_words(text: str) -> None:
    """Models put it into a fence, over lines, or after a sentence; in the result file as in the words (SPEC 7.4)."""
    expected = Advice(cause="the server", action=Advised.SKIP, text="a {brace}")

    assert generic.read_advice(None, text) == expected
    assert generic.read_advice(text.encode(), "") == expected


@pytest.mark.parametrize("text", ["", "}{", '"rootCause"', '{"rootCause": "x"', '} "rootCause" {', "{\udc80}"])
def test_what_is_no_answer_is_none(text: str) -> None:
    """Agent output is data from outside: never a traceback."""
    assert generic.read_advice(None, text) is None
    assert generic.read_advice(text.encode("utf-8", "surrogatepass"), text) is None


@pytest.mark.parametrize(("given", "kept"), [("ses_1-a", "ses_1-a"), ("--yolo", ""), ("../../x", ""), ("a b", "")])
def test_what_could_not_be_an_id_is_no_session(given: str, kept: str) -> None:
    """A session's id becomes an argument and a part of a file's name later (SPEC 17)."""
    report = json.dumps({"status": "succeeded", "sessionId": given}).encode()

    assert generic.read(0, report, "") == Reading(outcome=Outcome.SUCCEEDED, session_id=kept)


def test_what_an_error_says_can_be_written_and_drives_no_terminal() -> None:
    """Of a malformed file, and of a program's last line (SPEC 17)."""
    report = json.dumps({"status": "failed", "tokens": {"a\x1b[2J": -1}}).encode()

    assert generic.read(0, report, "").error == (
        "the agent's result file is malformed: tokens.a: Input should be greater than or equal to 0"
    )
    assert generic.read(1, None, "x\udc80").error == "exit code 1: x?"
