"""Old attempts go, and nothing that anybody may still ask for (SPEC 3.2, 8.1)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from awm_loop import clock
from awm_loop.attempt.directory import take_lock
from awm_loop.cli import pruning
from awm_loop.core.model import Work, attempt_key
from awm_loop.store import jsontext
from awm_loop.wiring import Home
from awm_loop.workspace import scratch as scratches
from awm_loop.workspace.scratch import scratch

NOTHING = Work(active=True, idle_since=None, project="p", queue=(), completed=(), next_attempt=100)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    (tmp_path / "state").mkdir(mode=0o700)
    return Home.open(tmp_path)


def attempts(home: Home, *tasks: str) -> list[str]:
    """One ended attempt of each, numbered from 1; returns their keys."""
    keys = [attempt_key(task, number) for number, task in enumerate(tasks, start=1)]
    for key in keys:
        path = home.path / "state" / "attempts" / key
        path.mkdir(parents=True)
        (path / "result.json").write_text("{}")
        (path / "out.log").write_text("said")
    return keys


def left(home: Home) -> set[str]:
    return {path.name for path in (home.path / "state" / "attempts").iterdir()}


def test_the_oldest_attempts_go_and_the_newest_stay(home: Home) -> None:
    """By number: a directory's time can be anything."""
    keys = attempts(home, *"ABCDE")

    assert pruning.prune(home, NOTHING, 2) == keys[:3]
    assert left(home) == {*keys[3:]}
    assert pruning.prune(home, NOTHING, 2) == []
    assert not (home.path / "state" / "cache" / "gone").exists()


@pytest.mark.parametrize("place", ["queue", "blocked"])
def test_attempts_of_a_task_that_is_not_over_stay(place: str, home: Home) -> None:
    """The next prompt quotes them (SPEC 8.2)."""
    keys = attempts(home, *"ABACD")

    assert pruning.prune(home, replace(NOTHING, **{place: ("A",)}), 1) == [keys[1], keys[3]]


@pytest.mark.parametrize("odd", ["tended", "no result", "a link"])
def test_what_may_live_stays_and_keeps_nothing_else(odd: str, home: Home) -> None:
    """Whatever the state says: a lock that is held is an agent's (SPEC 8.1)."""
    keys = attempts(home, *"ABC")
    path = home.path / "state" / "attempts" / keys[0]
    with _made(odd, path):
        assert pruning.prune(home, NOTHING, 1) == [keys[1]]
    assert (path / "out.log").read_text() == "said"


@contextmanager
def _made(odd: str, path: Path) -> Iterator[None]:
    fd = take_lock(path / "sup.lock") if odd == "tended" else None
    if odd == "no result":
        (path / "result.json").unlink()
    if odd == "a link":
        (path / "sup.lock").symlink_to("nowhere")
    yield
    if fd is not None:
        os.close(fd)


def test_no_number_is_given_twice_where_all_were_removed_but_the_newest(home: Home) -> None:
    """Also where a person put an old state back (SPEC 8.1, 15.2)."""
    attempts(home, *"ABCDE")
    home.store.path.write_bytes(jsontext.layout({"queue": ["X"]}))
    pruning.prune(home, NOTHING, 1)

    loaded = home.store.load(clock.now())

    assert loaded is not None
    assert loaded.work.next_attempt == 6


def test_a_kill_between_leaves_nothing_that_stays(home: Home) -> None:
    """What was taken out and not removed yet goes with the next (SPEC 6.4)."""
    keys = attempts(home, *"ABC")
    gone = home.path / "state" / "cache" / "gone"
    gone.mkdir(parents=True)
    (home.path / "state" / "attempts" / keys[0]).rename(gone / keys[0])

    assert pruning.prune(home, NOTHING, 1) == [keys[1]]
    assert not gone.exists()


def test_a_scratch_folder_that_a_kill_left_is_removed_by_a_later_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A day later: a younger one may be somebody's at work."""
    monkeypatch.setattr(scratches.tempfile, "tempdir", str(tmp_path))
    old, young, other = (tmp_path / name for name in ("awm-scratch-old", "awm-scratch-young", "somebodys"))
    for path in (old, young, other):
        path.mkdir()
        (path / "index").touch()
    for path in (old, other):
        os.utime(path, (1, 1))

    with scratch() as mine:
        there: Sequence[Path] = sorted(tmp_path.iterdir())

    assert there == sorted([mine, young, other])
    assert sorted(tmp_path.iterdir()) == sorted([young, other])


def test_an_attempt_is_removed_however_deep_it_is(home: Home) -> None:
    """An agent knows where its result goes, and may make directories there (SPEC 17)."""
    keys = attempts(home, *"ABC")
    subprocess.run(["mkdir", "-p", home.path / "state" / "attempts" / keys[0] / ("d/" * 1500)], check=True)

    assert pruning.prune(home, NOTHING, 2) == keys[:1]
    assert not (home.path / "state" / "cache" / "gone").exists()
