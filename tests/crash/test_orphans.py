"""What an attempt leaves when its supervisor dies or its directory goes: swept before the task starts again (SPEC 8.3, 15.1)."""

from __future__ import annotations

import shutil
import signal
from datetime import UTC, datetime

import pytest
from home import Home, is_running, kill


def left_once(home: Home, script: str) -> None:
    """A task whose first attempt runs `script` and stays, and whose second succeeds; the first runs when this returns."""
    mark = home.root / "once"
    home.spec("S1", home.work(f"[ -e {mark} ] || {{ {script}\n touch {mark}; sleep 1000; }}"))
    home.queue("S1")
    home.beat()
    home.wait_for(mark.exists)


def shoot_supervisor(home: Home) -> None:
    for pid in home.supervisors():
        kill(pid, signal.SIGKILL, str(home.root))
    home.wait_for(lambda: not home.supervisors())


def assert_one_after_the_other(home: Home, state: dict[str, object], outcomes: list[str]) -> None:
    """By the agents' own words no two lived at once, and nothing is left."""
    assert [line[0] for line in home.truth()] == ["begin", "begin", "end"], home.story()
    assert [result["outcome"] for result in home.results()] == outcomes
    assert state["completed"] == ["S1"]
    assert not home.processes()


def test_an_agent_does_not_outlive_its_supervisor(home: Home) -> None:
    """Its main process goes with it at once, before any beat has looked (SPEC 8.2)."""
    left_once(home, ":")
    agents = home.agents()

    shoot_supervisor(home)

    home.wait_for(lambda: not any(is_running(pid) for pid in agents))
    assert len(agents) == 1


def test_a_tree_without_a_supervisor_is_swept_before_the_next_attempt(home: Home) -> None:
    """Also what hides: own session, double fork, empty environment, TERM ignored (SPEC 8.3)."""
    daemon, pids = home.root / "daemon", home.root / "pids"
    shutil.copy(shutil.which("sleep"), daemon)
    left_once(
        home,
        f"""(trap '' TERM; {daemon} 1000 & echo $! >> {pids})
setsid {daemon} 1000 & echo $! >> {pids}
(env -i setsid sh -c '({daemon} 1000 & echo $! >> {pids}) &' &)
until [ $(wc -l < {pids}) = 3 ]; do sleep 0.02; done""",
    )
    shoot_supervisor(home)

    state = home.finish()

    assert [pid for pid in map(int, pids.read_text().split()) if is_running(pid)] == []
    assert_one_after_the_other(home, state, ["lost", "succeeded"])
    assert "Attempt 1 by local — lost: its supervisor died and left no result" in home.prompt(2)


def test_an_agent_that_kills_its_supervisor_is_swept_too(home: Home) -> None:
    """It costs it a try (SPEC 7.2, 8.2)."""
    left_once(home, "kill -9 $PPID")

    assert_one_after_the_other(home, home.finish(), ["lost", "succeeded"])


def test_an_attempt_whose_directory_was_removed_is_ended_before_the_next(home: Home) -> None:
    """`git clean -xfd` in a checkout that is the home: the agent still runs and bears its mark (SPEC 8.3, 15.1)."""
    home.config("[loop]\nretry_backoff_seconds = [0]\nstop_grace_seconds = 3\n")
    left_once(home, "trap '' TERM")
    home.beat()
    shutil.rmtree(home.attempt(1))

    assert_one_after_the_other(home, home.finish(), ["lost", "succeeded"])


@pytest.mark.parametrize("ended_by", ["supervisor", "reaper"])
def test_git_locks_of_a_killed_attempt_are_removed_and_journalled(ended_by: str, home: Home) -> None:
    """Made during it, with no git alive; the next attempt can commit (SPEC 8.3)."""
    lock = home.project / ".git" / "index.lock"
    home.config("[loop]\nretry_backoff_seconds = [0]\nstop_grace_seconds = 0.2\nattempt_max_minutes = 0.03\n")
    left_once(home, f"touch {lock} {lock.parent}/HEAD.lock")
    if ended_by == "reaper":
        shoot_supervisor(home)

    state = home.finish()

    assert (state["completed"], lock.exists()) == (["S1"], False)
    noted = [line["note"] for line in home.journal() if line["what"] == "removed git locks"]
    assert [sorted(note.split(", ")) for note in noted] == [["HEAD.lock", "index.lock"]]


def test_a_git_lock_from_before_the_attempt_stays(home: Home) -> None:
    """It may be a person's git at work (SPEC 8.3)."""
    lock = home.project / ".git" / "refs" / "heads" / "other.lock"
    lock.touch()
    began = datetime.now(UTC)
    left_once(home, ":")
    shoot_supervisor(home)

    home.finish()

    assert lock.exists()
    assert lock.stat().st_ctime < began.timestamp()
    assert [line for line in home.journal() if line["what"] == "removed git locks"] == []
