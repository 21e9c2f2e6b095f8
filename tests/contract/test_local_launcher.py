"""What the local launcher promises beyond what all do: processes, locks, disks (SPEC 8.1, 8.3, 15.2)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from benches import attempt, local_launcher
from home import Home, only

from awm_loop.core.model import Attempt, Outcome, Task
from awm_loop.core.observation import AttemptSeen, Exited, NotStarted, ProbeFailed, Unattended
from awm_loop.errors import AwmError
from awm_loop.launchers.local import LocalLauncher, start_supervisor


@pytest.fixture
def launcher(home: Home, monkeypatch: pytest.MonkeyPatch) -> LocalLauncher:
    """The launcher of a home without a state, so that no beat meddles."""
    for name, value in home.environ().items():
        monkeypatch.setenv(name, value)
    return local_launcher(home)


def seen(launcher: LocalLauncher, one: Attempt) -> AttemptSeen:
    return launcher.probe([one])[one.key]


def ended(home: Home, launcher: LocalLauncher, one: Attempt) -> Exited:
    home.wait_for(lambda: isinstance(seen(launcher, one), Exited))
    found = seen(launcher, one)
    assert isinstance(found, Exited)
    return found


def test_starts_from_many_processes_make_one_attempt(home: Home, launcher: LocalLauncher) -> None:
    """Whoever comes second does no harm, even within the same millisecond (SPEC 8.1, 8.8)."""
    one = attempt(home, home.work("sleep 0.2"))
    script = f"""
import sys, time
from pathlib import Path
from awm_loop.attempt.directory import AttemptDirectory
from awm_loop.launchers.local import start_supervisor
home = Path(sys.argv[1])
while time.time() < float(sys.argv[2]):
    pass
for _ in range(3):
    start_supervisor(home, AttemptDirectory(home / "state" / "attempts" / "{one.key}"))
"""
    assert launcher.start(one, Task(id="S1"))
    at = str(time.time() + 0.5)
    racers = [
        subprocess.Popen([sys.executable, "-c", script, str(home.path), at], env=home.environ()) for _ in range(3)
    ]

    assert ended(home, launcher, one).result.outcome is Outcome.SUCCEEDED
    assert [racer.wait(60) for racer in racers] == [0, 0, 0]
    home.wait_for(lambda: not home.processes())
    assert [line[0] for line in home.truth()] == ["begin", "end"]


def test_no_room_for_a_process_is_told_and_costs_no_number(
    home: Home, launcher: LocalLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not our bug, so no traceback; when there is room, the same number starts (SPEC 6.3, 15.2)."""
    one = attempt(home, home.work())
    monkeypatch.setenv("PAD", "x" * 200_000)  # the kernel takes 128 KiB at most
    with pytest.raises(AwmError) as told:
        launcher.start(one, Task(id="S1"))
    monkeypatch.delenv("PAD")
    found = seen(launcher, one)
    started = launcher.start(one, Task(id="S1"))

    assert (told.value.message, told.value.hint, found) == (
        "cannot start a supervisor: Argument list too long",
        "its environment is too large: `env | wc -c`",
        NotStarted(),
    )
    assert (started, ended(home, launcher, one).result.outcome) == (True, Outcome.SUCCEEDED)


def test_what_the_disk_refuses_before_the_start_costs_no_number(home: Home, launcher: LocalLauncher) -> None:
    """The agent's script cannot be made, and no agent ran: the same number starts later (SPEC 4.8, 7.3)."""
    one = attempt(home, home.work())
    directory = launcher.directory(one.key)
    replace(launcher, begin=lambda _: None).start(one, Task(id="S1"))
    spec = (directory / "spec.md").rename(directory / "away")

    start_supervisor(home.path, directory)
    home.wait_for(lambda: not home.processes())
    found, told = seen(launcher, one), (directory / "supervisor.log").read_text()
    spec.rename(directory / "spec.md")
    start_supervisor(home.path, directory)

    assert found == NotStarted()
    assert told.startswith(f"awm: cannot write {directory / 'script.sh'}: No such file or directory\n")
    assert (ended(home, launcher, one).result.outcome, home.begun()) == (Outcome.SUCCEEDED, ["S1"])


def test_could_not_look_is_not_not_there(home: Home, launcher: LocalLauncher) -> None:
    """A lock that cannot be opened is told as that (SPEC 7.3)."""
    one = attempt(home, "true")
    directory = launcher.directory(one.key).path
    directory.mkdir(parents=True)
    (directory / "sup.lock").symlink_to("elsewhere")

    assert seen(launcher, one) == ProbeFailed(reason=f"{directory}: Too many levels of symbolic links")


def test_a_stop_before_the_start_keeps_the_number_from_ever_starting(home: Home, launcher: LocalLauncher) -> None:
    """Fenced: a start that comes late finds it passed (SPEC 8.1)."""
    one = attempt(home, home.work())

    launcher.stop(one.key, "cannot_begin")
    end = ended(home, launcher, one)
    started = launcher.start(one, Task(id="S1"))

    home.wait_for(lambda: not home.processes())
    assert (end.result.outcome, started, home.truth()) == (Outcome.LOST, False, [])
    assert json.loads((launcher.directory(one.key) / "started").read_text())["fenced"] is True


def test_a_supervisor_that_comes_late_finds_the_start_passed(home: Home, launcher: LocalLauncher) -> None:
    """Its predecessor died after the start and left no result: the number is used up (SPEC 8.1, 15.2)."""
    one = attempt(home, home.work("sleep 1000"))
    launcher.start(one, Task(id="S1"))
    home.wait_for(lambda: home.begun() == ["S1"])
    home.end_all()

    start_supervisor(home.path, launcher.directory(one.key))
    home.wait_for(lambda: not home.processes())

    assert (seen(launcher, one), home.begun()) == (Unattended(), ["S1"])


def test_an_attempt_of_another_home_is_left_alone(
    home: Home, launcher: LocalLauncher, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The same task has the same key in every home; who sweeps here must not kill there (SPEC 8.3, 15.9)."""
    other = Home(tmp_path_factory.mktemp("other"))
    try:
        other.spec("S1", other.work("sleep 1000"))
        other.queue("S1")
        other.beat()
        other.wait_for(lambda: other.begun() == ["S1"])
        one = attempt(home, home.work("sleep 1000"))
        launcher.start(one, Task(id="S1"))
        home.wait_for(lambda: home.begun() == ["S1"])
        assert one.key == only(other.attempts()).name
        theirs = other.agents()
        for pid in home.supervisors():
            os.kill(pid, signal.SIGKILL)
        home.wait_for(lambda: seen(launcher, one) == Unattended())

        launcher.stop(one.key, "unattended")
        end = ended(home, launcher, one)

        assert (end.result.outcome, other.agents()) == (Outcome.LOST, theirs)
    finally:
        other.end_all()


def test_a_directory_without_an_order_is_not_started(home: Home, launcher: LocalLauncher) -> None:
    """A beat died between the two: the start is made whole by the next (SPEC 8.1)."""
    one = attempt(home, home.work())
    launcher.directory(one.key).path.mkdir(parents=True)

    found = seen(launcher, one)
    started = launcher.start(one, Task(id="S1"))

    assert (found, started, ended(home, launcher, one).result.outcome) == (NotStarted(), True, Outcome.SUCCEEDED)
