"""Which image of a supervisor tends an agent: it is replaced while an agent works, never between two (SPEC 8.2)."""

from __future__ import annotations

from pathlib import Path

from home import QUICK, Home


def passed(home: Home, *names: str) -> list[str]:
    """The points of these names that were passed so far, in their order."""
    path = home.root / "faults"
    lines = path.read_text().splitlines() if path.exists() else []
    return [line.split()[0] for line in lines if line.split()[0] in names]


def logged(home: Home) -> None:
    """From now on every passage is logged."""
    home.environment["AWM_FAULT"] = f"seed=1 kill=0 pause=1 pause_seconds=0 log={home.root / 'faults'}"


def waits_for(home: Home, path: Path) -> str:
    return home.work(f"until [ -e {path} ]; do sleep 0.02; done")


def test_agents_that_end_at_once_are_all_tended_by_one_image(home: Home) -> None:
    """Its successor would have to import and rehearse while nothing works (docs/MEASURED.md 7)."""
    logged(home)
    for task in ("S1", "S2", "S3"):
        home.spec(task)
    home.queue("S1", "S2", "S3")
    home.beat()
    home.wait_for(lambda: home.is_idle)  # without a timer, whose beat may start one in a supervisor of its own
    assert home.finish()["completed"] == ["S1", "S2", "S3"]
    points = ("spawn.fork:after", "supervision.image:begun", "supervision.exec:before")
    assert passed(home, *points) == ["spawn.fork:after", "supervision.image:begun"]  # no fork of what has grown
    assert home.begun() == ["S1", "S2", "S3"]


def test_an_agent_that_works_longer_gets_a_fresh_image_meanwhile(home: Home) -> None:
    """Code is as it stands when the agent begins, and nothing leaks through a night (SPEC 8.2)."""
    logged(home)
    home.spec("S1")
    home.spec("S2", waits_for(home, home.root / "go"))
    home.queue("S1", "S2")
    home.beat()
    home.wait_for(lambda: len(passed(home, "supervision.rehearsal:after")) == 2)
    assert home.begun() == ["S1", "S2"]
    assert passed(home, "supervision.agent:begun", "supervision.exec:before", "supervision.image:begun") == [
        "supervision.image:begun",
        "supervision.agent:begun",
        "supervision.exec:before",
        "supervision.image:begun",
    ]
    (home.root / "go").touch()
    assert home.finish()["completed"] == ["S1", "S2"]


def test_worktree_preparation_and_gate_are_run_before_the_image_is_replaced(home: Home) -> None:
    """So that no import falls between two agents, whatever is made ready for the second (SPEC 10)."""
    logged(home)
    home.config('[loop]\nisolation = "worktree"\ngate_must_fail_first = true\n[project]\nprepare = ["true"]\n')
    home.spec("S1", f"touch S1; git add S1; {home.work()}", header="**Verify:** test -e S1")
    home.spec("S2", f"touch S2; git add S2; {waits_for(home, home.root / 'go')}", header="**Verify:** test -e S2")
    home.queue("S1", "S2")
    home.beat()
    home.wait_for(lambda: "supervision.exec:before" in passed(home, "supervision.exec:before"))
    points = passed(home, "supervision.beat:before", "supervise.stage:begun", "supervision.exec:before")
    turn = points[points.index("supervision.beat:before") :]
    assert turn == ["supervision.beat:before", *["supervise.stage:begun"] * 3, "supervision.exec:before"]
    (home.root / "go").touch()
    assert home.finish()["completed"] == ["S1", "S2"]
    assert home.git("ls-files") == "S1\nS2"


def test_supervisors_that_a_beat_started_are_not_of_its_agent(home: Home) -> None:
    """One supervisor's beat may start others, and those may be left to it: they outlive its agent (SPEC 8.2, 15.9)."""
    home.config(f"{QUICK}max_parallel = 3\n")

    def until(name: str) -> str:
        return f"touch {home.root}/$AWM_TASK\n{waits_for(home, home.root / name)}"

    home.spec("S1")
    home.spec("S2", until("go"), header="**Depends:** S1")
    home.spec("S3", until("S2"), header="**Depends:** S1")
    home.spec("S4", until("S5"), header="**Depends:** S3")
    home.spec("S5", until("went"), header="**Depends:** S3")
    home.queue("S1", "S2", "S3", "S4", "S5")
    home.beat()
    home.wait_for(lambda: home.state()["completed"] == ["S1", "S3", "S4"] and len(home.supervisors()) == 2)
    (home.root / "go").touch()
    home.wait_for(lambda: "S2" in home.state()["completed"])
    (home.root / "went").touch()
    assert home.finish()["completed"] == ["S1", "S3", "S4", "S2", "S5"]
    assert len(home.attempts()) == 5
