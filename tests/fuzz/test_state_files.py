"""Any bytes as `current_work.json`: a bad file, or work that survives being written and read (SPEC 4.2, 4.7)."""

from __future__ import annotations

import json
from typing import Any, get_args

import example
from bad_input import Scene, files_like, fuzzed, scene
from hypothesis import given
from hypothesis import strategies as st

from awm_loop import clock
from awm_loop.cli import standing, waiting
from awm_loop.core.model import Outcome, Work
from awm_loop.core.observation import Result
from awm_loop.errors import AwmError, BadFileError
from awm_loop.store import document, jsontext
from awm_loop.store.shape import Document, known_keys

RESULT = Result(
    outcome=Outcome.SUCCEEDED,
    exit_code=0,
    started_at=example.NOW.wall,
    ended_at=example.NOW.wall,
    seconds=1.0,
    summary="done",
    tokens={"input": 1},
    cost_usd=0.5,
    commits=("abc",),
)
BY_NAME = ("tasks", "accounts", "channels")


def foreign(raw: dict[str, Any]) -> dict[str, str]:
    """What in a state is not AWM's, by its place: keys of the file, and of what people keep with a task."""
    ours = known_keys(Document) | {"lastUpdated"}
    found = {key: value for key, value in raw.items() if key not in ours}
    for name in BY_NAME:
        entries = raw.get(name) if isinstance(raw.get(name), dict) else {}
        keys = known_keys(get_args(Document.model_fields[name].annotation)[1])
        found |= {
            f"{name}/{entry}/{key}": value
            for entry, inner in entries.items()
            for key, value in inner.items()
            if key not in keys
        }
    return {place: json.dumps(value) for place, value in found.items()}


def lists(work: Work) -> tuple[tuple[str, ...], ...]:
    return work.queue, work.completed, work.failed, work.skipped, work.blocked


@fuzzed(300, 8_000)
@given(files_like(example.full()))
def test_a_state_that_is_read_can_be_written_and_read_again(data: bytes) -> None:
    """SPEC 4.2, 15.14: the same work, stable from then on, and every stranger's value as it was."""
    try:
        parsed = document.parse(data, example.PATH)
        work, _ = document.read(parsed, example.PATH, example.NOW, example.DEFAULT_AGENT)
    except BadFileError as error:
        if not error.message.startswith(str(example.PATH)) or not error.hint:
            raise
        return
    texts: jsontext.Texts = {}
    once = jsontext.layout(document.write(work, parsed.raw, example.NOW, 1, work), texts)
    read = document.parse(once, example.PATH)
    again, _ = document.read(read, example.PATH, example.NOW, example.DEFAULT_AGENT)

    assert (lists(again), foreign(read.raw)) == (lists(work), foreign(parsed.raw))
    assert jsontext.layout(document.write(again, read.raw, example.NOW, 1, again), texts) == once
    assert parsed == document.parse.__wrapped__(data, example.PATH)


@fuzzed(120, 2_500)
@given(st.data())
def test_a_beat_over_any_state_ends_well_or_leaves_every_byte(data: st.DataObject) -> None:
    """SPEC 4.7, 6.3: trouble has a name; what was not understood is as it was, what was is still to be understood."""
    with scene() as found:
        raw = data.draw(files_like(data.draw(found.states())))
        if data.draw(st.booleans()):
            found.attempt.write_result(RESULT)
        found.put(raw)
        try:
            done = found.beat()
        except BadFileError:
            assert found.state_path.read_bytes() == raw
            return
        except AwmError:
            done = None
        look_at(found, done is not None)


def look_at(found: Scene, is_well: bool) -> None:
    """What every command does with a state that a beat left."""
    home = found.opened()
    loaded = home.store.load(clock.now())
    assert loaded is not None or not is_well
    if loaded is not None:
        json.dumps(standing.json_of(standing.standing(home, loaded.work)))
        for task_id in loaded.work.queue:
            waiting.waits(home, loaded, task_id, clock.now())
