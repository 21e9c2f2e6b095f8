"""What holds for the readers of all CLIs."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import test_aider
import test_claude
import test_codex
import test_gemini
import test_openclaw
import test_opencode
from hypothesis import given, settings
from hypothesis import strategies as st

from awm_loop.agents import kinds
from awm_loop.agents.reading import Reading
from awm_loop.config import CLIS

AT = datetime(2026, 11, 21, 7, 30, tzinfo=UTC)
RECORDED = Path(__file__).parent / "transcripts"
TABLES: dict[str, dict[str, Reading]] = {
    "claude": {name: reading for (name, _), reading in test_claude.TABLE.items()},
    "codex": {name: reading for (name, _), reading in test_codex.TABLE.items()},
    "gemini": {name: reading for (name, _), reading in test_gemini.TABLE.items()},
    "opencode": {name: reading for (name, _), reading in test_opencode.TABLE.items()},
    "aider": test_aider.TABLE,
    "openclaw": test_openclaw.TABLE,
}
STUCK = {"gemini": {"capacity"}, "opencode": {"cap", "cut"}}
BEGUN: dict[str, tuple[dict[str, Any], str]] = {  # the line that tells a session, and where
    "claude": ({"type": "system", "subtype": "init"}, "session_id"),
    "codex": ({"type": "thread.started"}, "thread_id"),
    "gemini": ({"type": "init"}, "session_id"),
    "opencode": ({"type": "step_start"}, "sessionID"),
}


def test_every_cli_has_its_table() -> None:
    """A new CLI is read from what it was heard to print (issue 5)."""
    assert set(TABLES) == set(CLIS)


@pytest.mark.parametrize("kind", TABLES)
def test_the_table_holds_every_recorded_run(kind: str) -> None:
    """No recorded run is left out; those that were stuck have tests of their own."""
    assert {path.stem for path in (RECORDED / kind).iterdir()} == set(TABLES[kind]) | STUCK.get(kind, set())


@pytest.mark.parametrize("kind", BEGUN)
def test_what_it_says_of_a_session_that_is_gone_is_known_and_nothing_else_is(kind: str) -> None:
    """`Kind.gone`: then the attempt begins afresh; after any other failure it does not (SPEC 7.2, 9)."""
    gone = kinds.kind(kind).gone

    assert gone
    assert [name for name, reading in TABLES[kind].items() if gone.search(reading.error)] == ["gone"]


@pytest.mark.parametrize("kind", BEGUN)
@pytest.mark.parametrize("name", ["--yolo", "../../x", "a b", "", 7, None])
def test_what_could_not_be_an_id_is_no_session(kind: str, name: object) -> None:
    """A session's id becomes an argument and a part of a file's name later (SPEC 17)."""
    reader, (event, key) = kinds.kind(kind).reader(), BEGUN[kind]

    reader.out(json.dumps(event | {key: name}), AT)
    none = reader.session_id
    reader.out(json.dumps(event | {key: "ses_1-a"}), AT)

    assert (none, reader.session_id) == ("", "ses_1-a")


@pytest.mark.parametrize("kind", TABLES)
@settings(deadline=None)
@given(
    st.lists(st.text() | test_claude.JSON.map(json.dumps) | st.just("[" * 100_000), max_size=6), st.integers(-64, 255)
)
def test_no_line_whatsoever_breaks_a_reader(kind: str, said: list[str], exit_code: int) -> None:
    """An agent's output is data from outside: any line is read or passed over, on both streams (SPEC 17)."""
    reader = kinds.kind(kind).reader()
    for line in said:
        reader.out(line, AT)
        reader.err(line, AT)
        reader.stuck()

    assert isinstance(reader.end(exit_code, AT), Reading)
