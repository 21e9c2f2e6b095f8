"""Any bytes in the files beside the state: journal, recording, metrics, history, marks (SPEC 3.2, 12.3)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import example
from bad_input import dumped, files_like, fuzzed, scene
from hypothesis import given
from hypothesis import strategies as st
from test_state_files import look_at

from awm_loop.cli.look import last_good
from awm_loop.cli.replaying import difference
from awm_loop.core.model import Ended, Phase
from awm_loop.errors import AwmError, BadFileError
from awm_loop.store import journal, metrics, recording

ENTRY = {
    "seq": 3,
    "at": "2026-11-21T12:00:00Z",
    "what": "queued ready -> launching, launch",
    "task": "S1",
    "attempt": 4,
}
SPRINT = {
    "sprint": "S1", "agent": "codex", "status": "success", "durationMinutes": 5.5, "etaMinutes": 4.0, "type": "coding",
    "timestamp": "2026-11-21T12:00:00Z", "errorType": None, "notes": "n", "attempt": 4, "tokens": {"input": 3},
}  # fmt: skip
METRICS = {
    "version": 1, "created": "2026-11-21T12:00:00Z", "sprints": [SPRINT, SPRINT | {"status": "failed", "attempt": 5}],
    "summary": {
        "totalCompleted": 1, "totalFailed": 1, "avgDurationMinutes": 5.5,
        "agentPerformance": {"codex": {"completed": 1, "failed": 1, "successRate": 50, "avgDurationMinutes": 5.5}},
    },
    "theirs": {"a": [1]},
}  # fmt: skip
GOLDEN = Path(__file__).parent.parent / "golden"
ENDED = Ended(task="S9", number=9, outcome=Phase.COMPLETED, at=example.NOW.wall, agent="codex", minutes=1.0, attempts=1)


def lines_like(good: Any) -> st.SearchStrategy[bytes]:
    """A file of lines: some good, some not, the last one torn."""
    line = st.just(dumped(good)) | files_like(good).map(lambda data: data.replace(b"\n", b" "))
    return st.tuples(st.lists(line, max_size=4), st.sampled_from([b"", b"\n", b'\n{"seq'])).map(
        lambda parts: b"\n".join(parts[0]) + parts[1]
    )


@fuzzed(80, 2_000)
@given(lines_like(ENTRY))
def test_a_journal_of_any_lines_keeps_each_whole_one(data: bytes) -> None:
    """SPEC 3.2, 4.3: it only grows; a torn end is cut; a beat over it leaves a state that can be read."""
    with scene() as found:
        path = found.path / "state" / "log.jsonl"
        path.write_bytes(data)
        journal.tail(path, 10)
        whole = data[: data.rfind(b"\n") + 1]
        state = found.state() | {"attempts": [], "inProgress": None}
        found.put(dumped(state))

        found.beat()

        look_at(found, True)
        assert path.read_bytes().startswith(whole)


@fuzzed(80, 2_000)
@given(files_like(METRICS))
def test_metrics_of_any_bytes_are_counted_or_set_aside_whole(data: bytes) -> None:
    """SPEC 4.7, 12.3: no history is no reason to stop; what was there is kept, strangers' keys and entries too."""
    with scene() as found:
        path = found.path / "state" / "work_metrics.json"
        path.write_bytes(data)
        metrics.past(path)
        for show in (metrics.summary_json, metrics.summary_text):
            try:
                json.dumps(show(path))
            except BadFileError:
                continue

        set_aside = metrics.record(path, [ENDED], example.NOW)

        kept = [one.read_bytes() for one in path.parent.glob("work_metrics.json.bad-*")]
        assert kept == ([data] if set_aside else [])
        written = metrics.load(path)
        assert written is not None
        assert written["sprints"][-1]["sprint"] == "S9"
        if not set_aside:
            before = json.loads(data.decode("utf-8-sig"))
            assert json.dumps(written["sprints"][:-1]) == json.dumps(before.get("sprints", []))
            assert all(written[key] == value for key, value in before.items() if key not in ("sprints", "summary"))
        metrics.summary_text(path)


@fuzzed(50, 1_500)
@given(st.data())
def test_a_recording_of_any_lines_is_replayed_or_named_as_bad(data: st.DataObject) -> None:
    """SPEC 14, `awm replay`: a line that is no record is named by its number."""
    golden = data.draw(st.sampled_from(sorted(GOLDEN.glob("*.jsonl"))))
    good = data.draw(st.sampled_from(golden.read_bytes().splitlines()[:20]))
    with scene() as found:
        path = found.path / "recording.jsonl"
        path.write_bytes(data.draw(lines_like(json.loads(good))))
        try:
            for record in recording.read(path):
                difference(record)
        except BadFileError as error:
            told = error.message
        else:
            told = f"{path}, line "
        assert told.startswith(f"{path}, line ")


@fuzzed(50, 1_500)
@given(st.data())
def test_a_history_of_any_files_never_stops_a_beat_over_a_good_state(data: st.DataObject) -> None:
    """SPEC 4.6: a base that cannot be read is no base; `awm restore` finds the newest that can be."""
    with scene() as found:
        history = found.path / "state" / "history"
        history.mkdir()
        state = found.state() | {"rev": 3}
        for name in data.draw(st.lists(st.sampled_from(["1", "2", "3", "4", "03", "²", "x", "9" * 30]), unique=True)):
            (history / f"{name}.json").write_bytes(data.draw(files_like(state)))
        found.put(dumped(state | {"attempts": [], "inProgress": None}))
        try:
            found.beat()
        except AwmError as error:
            told = error
        else:
            told = None
        last_good(found.opened())
        look_at(found, told is None)
