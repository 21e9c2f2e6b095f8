"""Fault points: what they do, that each is come to, and that nothing is lost or doubled at any of them (SPEC 8.1, 15)."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from bombardment import GROUP, bombard, drawn, groups, pause_everywhere, points, strike_each
from home import PATIENCE_SECONDS, REPOSITORY, rounds

PROGRAM = """
import sys
from awm_loop import fault
before = set(sys.modules)
for name in sys.argv[1:]:
    fault.point(name)
print(*sorted(set(sys.modules) - before))
"""


def passing(setting: str | None, *names: str) -> subprocess.CompletedProcess[str]:
    """A process that passes the points `names` under AWM_FAULT, then says which modules that took."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY)}
    environment |= {"AWM_FAULT": setting} if setting is not None else {}
    command = [sys.executable, "-c", PROGRAM, *names]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )


def test_every_point_has_a_name_of_its_own() -> None:
    """So that a line of the table is one place in the source, and "zero hits" means that place (facts: coverage)."""
    names = points()

    assert [name for name, count in Counter(names).items() if count > 1] == []
    assert [
        name for name in names if not re.fullmatch(r"[a-z]+(-[a-z]+)*\.[a-z]+(-[a-z]+)*:[a-z]+(-[a-z]+)*", name)
    ] == []
    assert len(names) >= 25


def test_without_its_variable_a_point_does_nothing() -> None:
    """No file, no signal, and nothing imported for it: a beat is not slower for its fault points."""
    done = passing(None, "a.b:c")

    assert (done.returncode, done.stdout.split(), done.stderr) == (0, [], "")


def test_a_kill_is_logged_before_it_is_done(tmp_path: Path) -> None:
    """At the nth passage of the point named, by SIGKILL, so that nothing of the process runs afterwards."""
    log = tmp_path / "log"

    done = passing(f"at=a.b:c do=kill nth=2 log={log}", "a.b:c", "a.b:d", "a.b:c", "a.b:e")

    assert (done.returncode, done.stdout, log.read_text()) == (-signal.SIGKILL, "", "a.b:c kill\n")


def test_a_pause_is_logged_and_over_by_itself(tmp_path: Path) -> None:
    """The process goes on after it, and passes the same point again unharmed."""
    log = tmp_path / "log"

    done = passing(f"at=a.b:c do=pause pause_seconds=0 log={log}", "a.b:c", "a.b:c")

    assert (done.returncode, log.read_text()) == (0, "a.b:c pause\n")


def test_a_stopped_process_goes_on_when_it_is_told(tmp_path: Path) -> None:
    """SIGSTOP by itself at the point; SIGCONT from outside ends it."""
    log = tmp_path / "log"
    command = [sys.executable, "-c", PROGRAM, "a.b:c"]
    environment = {"PYTHONPATH": str(REPOSITORY), "AWM_FAULT": f"at=a.b:c do=stop log={log}"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert (os.WIFSTOPPED(status), log.read_text()) == (True, "a.b:c stop\n")
        process.send_signal(signal.SIGCONT)

        assert process.wait(timeout=PATIENCE_SECONDS) == 0


def test_one_seed_draws_the_same_for_the_same_processes(tmp_path: Path) -> None:
    """By their order: what one process after the other does is told again; among the names meant only (facts §7)."""
    names = [f"a.b:{letter}" for letter in "cdefghijkl"] + ["b.c:d"] * 20
    told = []
    for log in (tmp_path / "one", tmp_path / "two"):
        for _ in range(5):
            passing(f"seed=3 among=a. kill=0.05 pause=0.3 pause_seconds=0 log={log}", *names)
        told.append(log.read_text())

    assert told[0] == told[1]
    assert {line.split()[1] for line in told[0].splitlines()} == {"kill", "pause"}
    assert "b.c:d" not in told[0]


@pytest.mark.parametrize("names", groups(GROUP), ids=lambda names: names[0])
def test_processes_killed_at_a_point_lose_and_double_nothing(tmp_path: Path, names: tuple[str, ...]) -> None:
    """At the first passage of each of these points, then of the next, then a timer alone ends the queue (SPEC 8.1, 15)."""
    verdict = strike_each(tmp_path, names)

    assert verdict.broken == (), verdict.story
    assert [name for name in names if not verdict.struck[f"{name} kill"]] == []


def test_processes_that_pause_at_every_point_lose_and_double_nothing(tmp_path: Path) -> None:
    """Each point there is, also those that only come after a crash (SPEC 15; facts: pauses matter as much as kills)."""
    verdicts = [pause_everywhere(tmp_path / str(worktrees), worktrees=worktrees) for worktrees in (False, True)]

    assert [verdict.broken for verdict in verdicts] == [(), ()], [verdict.story for verdict in verdicts]
    paused = set().union(*(verdict.struck for verdict in verdicts))
    assert [name for name in points() if f"{name} pause" not in paused] == []


@pytest.mark.parametrize("seed", range(1, rounds(25, 400) + 1))
def test_processes_killed_and_paused_by_chance_lose_and_double_nothing(tmp_path: Path, seed: int) -> None:
    """Beats, supervisors, agents that fail and leave children, two beats at once, people who edit (SPEC 8.1, 15)."""
    verdict = bombard(tmp_path, drawn(seed))

    assert verdict.broken == (), f"{verdict.plan}\n{verdict.story}"


@pytest.mark.parametrize("setting", ["1", "seed=1", "at=a.b:c log=x", "at=a.b:c do=kil log=x"])
def test_a_setting_that_is_none_is_told_in_one_line(setting: str) -> None:
    """Whoever has it in the environment by accident is told what to do (SPEC 6.3)."""
    done = passing(setting, "a.b:c")

    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr == "awm: AWM_FAULT is for tests, and this is none of its forms\nhint: unset AWM_FAULT\n"
