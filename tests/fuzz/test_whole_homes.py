"""A home in which any file may be anything, beaten by real processes and looked at by every verb (SPEC 4.7, 6.3)."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Any

import pytest
from bad_input import Scene, dumped, files_like, fuzzed, scene
from click.testing import CliRunner
from home import QUICK, Home
from hypothesis import given
from hypothesis import strategies as st
from test_attempt_files import FILES, SAMPLE
from test_logs_and_metrics import ENTRY, METRICS, lines_like
from test_settings_and_specs import configs, specs

from awm_loop.cli.main import awm
from awm_loop.errors import EXIT_BUSY, EXIT_CONFIG, EXIT_DISK, EXIT_OK, AwmError

VERBS = [
    ["status"],
    ["status", "--json"],
    ["why", "S1"],
    ["why", "S2", "--json"],
    ["logs"],
    ["logs", "S1"],
    ["logs", "--json"],
    ["metrics"],
    ["metrics", "--json"],
    ["check"],
    ["doctor", "--json"],
    ["restore", "--dry-run"],
    ["replay"],
    ["skip", "S2", "--dry-run"],
]


def strew(data: st.DataObject, state: Path, attempt: Path) -> None:
    """Files beside the state file, any of which may be there and may be anything."""
    strewn: dict[Path, st.SearchStrategy[bytes]] = {
        state / "log.jsonl": lines_like(ENTRY),
        state / "work_metrics.json": files_like(METRICS),
        state / "look-again": st.binary(max_size=3),
        attempt / "result.json": files_like(FILES["result.json"]),
        attempt / "started": files_like(FILES["started"]),
        attempt / "order.json": files_like(FILES["order.json"]),
        attempt / "samples.jsonl": lines_like(SAMPLE),
        attempt / "out.log": st.binary(max_size=80),
    }
    attempt.mkdir(parents=True, exist_ok=True)
    for path, contents in strewn.items():
        if data.draw(st.booleans()):
            path.write_bytes(data.draw(contents))


@fuzzed(50, 1_500)
@given(st.data())
def test_every_verb_says_what_is_wrong_and_never_shows_a_traceback(data: st.DataObject) -> None:
    """SPEC 14: a face that crashes over what it should show is no face."""
    with scene() as found:
        states = data.draw(found.states())
        found.put(data.draw(files_like(states) | st.just(dumped(states))))
        strew(data, found.path / "state", found.attempt.path)
        for words in data.draw(st.lists(st.sampled_from(VERBS), min_size=3, max_size=5, unique_by=tuple)):
            done = CliRunner().invoke(awm, ["--home", str(found.path), *words], standalone_mode=False)
            if done.exception is not None and not isinstance(done.exception, AwmError):
                raise done.exception


@fuzzed(10, 100)
@given(st.data())
def test_a_real_beat_ends_with_a_code_that_says_what_was_wrong(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """SPEC 4.7, 6.3: 0, 74, 75 or 78 and no traceback; with 78, the files of the person are as they were."""
    home = Home(
        tmp_path_factory.mktemp(f"home-{uuid.uuid4().hex}-", numbered=False)
    )  # paths of one length: data is drawn from them
    try:
        before = spoil(home, data)
        done = home.heartbeat()
        assert done.code in {EXIT_OK, EXIT_DISK, EXIT_BUSY, EXIT_CONFIG}, done
        assert "Traceback" not in done.err, done
        if done.code == EXIT_CONFIG:
            assert {path: path.read_bytes() for path in before} == before
            assert done.err.startswith("awm: ")
    finally:
        home.end_all()


def spoil(home: Home, data: st.DataObject) -> dict[Path, bytes]:
    """Write what a person may have written; returns it."""
    state: dict[str, Any] = Scene(home.root).state() | {"project": str(home.project)}
    state["specFiles"] = {task: str(home.spec(task)) for task in ("S1", "S2", "S3")}
    home.state_path.write_bytes(data.draw(files_like(state | data.draw(st.sampled_from([{}, {"attempts": []}])))))
    os.utime(home.state_path, (1e9, 1e9))
    home.config(QUICK)
    if data.draw(st.integers(0, 3)) == 0:
        (home.path / "awm.toml").write_bytes(data.draw(configs))
    if data.draw(st.booleans()):
        (home.root / "SPRINT_S2_SPEC.md").write_bytes(data.draw(specs))
    strew(data, home.state_path.parent, home.state_path.parent / "attempts" / Scene(home.root).attempt.path.name)
    paths = [home.state_path, home.path / "awm.toml", home.root / "SPRINT_S2_SPEC.md"]
    return {path: path.read_bytes() for path in paths}
