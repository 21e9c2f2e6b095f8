"""Who finds an attempt that nobody tends ends what it left, and writes the result that proves its end (SPEC 8.3)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from awm_loop.attempt import abandoned
from awm_loop.attempt.abandoned import reap_attempt
from awm_loop.attempt.directory import AttemptDirectory, let_go, put, take_lock
from awm_loop.attempt.supervise import marker
from awm_loop.core.model import Outcome
from awm_loop.core.observation import Result

KEY = "0a1b2c3d4e5f.1"


@pytest.fixture
def directory(tmp_path: Path) -> AttemptDirectory:
    """An attempt that began, and whose supervisor is gone. Its order was lost, so its processes get no grace."""
    path = tmp_path / KEY
    path.mkdir()
    found = AttemptDirectory(path)
    assert found.pass_start(marker())
    return found


@pytest.fixture
def agent(directory: AttemptDirectory) -> Iterator[subprocess.Popen[bytes]]:
    """What the supervisor left: it holds `agent.lock`."""
    fd = take_lock(directory / "agent.lock")
    assert fd is not None
    with subprocess.Popen(["sleep", "300"], pass_fds=(fd,)) as process:
        os.close(fd)
        yield process
        process.kill()


def reaped(directory: AttemptDirectory) -> Result:
    """The result that a reaper leaves; the lock is free again then."""
    lock_fd = take_lock(directory / "sup.lock")
    assert lock_fd is not None
    reap_attempt(directory, lock_fd)
    again = take_lock(directory / "sup.lock")
    assert again is not None
    let_go(again)
    result = directory.result()
    assert result is not None
    return result


def test_what_a_dead_supervisor_left_is_ended_and_the_attempt_is_lost(
    directory: AttemptDirectory, agent: subprocess.Popen[bytes]
) -> None:
    """With evidence of what it was at (SPEC 8.3)."""
    result = reaped(directory)

    assert (result.outcome, result.error) == (Outcome.LOST, "its supervisor died and left no result")
    assert agent.wait() == -signal.SIGKILL
    assert f"pid {agent.pid} " in (directory / "evidence.txt").read_text()


def test_what_never_began_is_fenced_and_never_begins(tmp_path: Path) -> None:
    """Its number is used up: who comes later with the same order finds the start passed (SPEC 8.1)."""
    directory = AttemptDirectory(tmp_path)
    result = reaped(directory)

    assert (result.outcome, result.error, result.seconds) == (Outcome.LOST, "it never started", 0.0)
    assert not directory.pass_start(marker())


def test_a_result_that_is_there_already_stands(directory: AttemptDirectory) -> None:
    """The supervisor wrote it and died before it let go, or another reaper was first (SPEC 8.3, 15)."""
    first = reaped(directory)
    before = (directory / "result.json").stat().st_ino

    assert reaped(directory) == first
    assert (directory / "result.json").stat().st_ino == before


def test_after_a_reboot_nothing_is_looked_for(directory: AttemptDirectory, agent: subprocess.Popen[bytes]) -> None:
    """All of it is gone, and what bears its traces now is another's (SPEC 8.3)."""
    of_another_boot = marker().model_copy(update={"boot_id": "another", "boottime": 1e6})
    put(directory / "started", of_another_boot.model_dump_json(by_alias=True))

    result = reaped(directory)

    assert (result.outcome, result.error, result.seconds) == (
        Outcome.REBOOTED,
        "the machine was restarted while it ran",
        0.0,
    )
    assert agent.poll() is None


def test_who_holds_the_lock_unseen_is_named_in_the_end(
    directory: AttemptDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the reaper itself, whom it never ends; else a chain that forks faster than a look (SPEC 8.3, 15.9)."""
    monkeypatch.setattr(abandoned, "UNSEEN_SECONDS_MAX", 0.2)
    fd = take_lock(directory / "agent.lock")
    assert fd is not None
    began_at = time.monotonic()

    result = reaped(directory)
    os.close(fd)

    assert result.error == "its supervisor died and left no result; could not be ended: one that hides"
    assert time.monotonic() - began_at >= 0.2


def test_a_lock_that_the_agent_replaced_is_waited_for_by_nobody(directory: AttemptDirectory) -> None:
    """A link in the place of `agent.lock` proves nothing, and keeps no reaper from its end (SPEC 8.3, 17)."""
    (directory / "agent.lock").symlink_to("elsewhere")

    assert reaped(directory).error == "its supervisor died and left no result"


@pytest.mark.parametrize(
    "sample", ['"no sample"', '{"processes": 7}', '{"processes": [[1], ["a", 2], 3, [true, 4]]}', "{torn", "[" * 9999]
)
def test_of_the_last_sample_only_what_awm_would_write_is_believed(sample: str, directory: AttemptDirectory) -> None:
    """The agent can write there too (SPEC 8.4, 17)."""
    said = sample.replace("{", f'{{"bootId": {json.dumps(marker().boot_id)}, ', 1) if sample.endswith("}") else sample
    (directory / "samples.jsonl").write_text(f"{said}\n")

    assert reaped(directory).error == "its supervisor died and left no result"
