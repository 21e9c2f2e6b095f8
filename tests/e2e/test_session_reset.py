"""The assistant's session is reset after so many sprints, at rest, and every step is told (SPEC 11)."""

from __future__ import annotations

import signal
import subprocess

import pytest
from e2e.home import QUICK, Home, rounds

STEPS = [
    "2 sprints done — saving state and resetting.",
    "✅ Reset complete. Fresh session online.",
]


def queue(home: Home, *tasks: str, config: str = "", every: int = 2) -> None:
    home.config(f"{QUICK}{config}\n")
    for task in tasks:
        home.spec(task, home.work())
    home.queue(*tasks, autoNewAfterSprints=every)


def notes(home: Home) -> str:
    return "".join(path.read_text() for path in sorted((home.path / "memory").glob("*.md")))


def test_every_second_completion_resets_the_session(home: Home) -> None:
    """Told, written down, told again, and on it goes with the next start (SPEC 11.1)."""
    queue(home, "S1", "S2", "S3", "S4", "S5")

    assert home.finish()["completed"] == ["S1", "S2", "S3", "S4", "S5"]
    assert home.texts("reset") == [
        *STEPS,
        "📊 2 done, resuming with S3, 3 in the queue",
        *STEPS,
        "📊 4 done, resuming with S5, 1 in the queue",
    ]
    kinds = [notice["kind"] for notice in home.told]
    assert kinds[kinds.index("reset") - 1 : kinds.index("reset") + 4] == [
        "completed",
        "reset",
        "reset",
        "reset",
        "started",
    ]
    text = notes(home)
    assert [line[:15] for line in text.splitlines() if line.startswith("- S")] == [
        f"- S{n} completed:"[:15] for n in (1, 2, 3, 4)
    ]
    assert text.count("session reset") == 2


def test_one_that_falls_due_with_the_last_task_is_done_before_the_report(home: Home) -> None:
    """SPEC 11.1."""
    queue(home, "S1", "S2")

    home.finish()

    kinds = [notice["kind"] for notice in home.told]
    assert kinds[-4:] == ["reset", "reset", "reset", "report"]


def test_a_full_context_resets_too(home: Home) -> None:
    """At 85 %, as the agent reports it (SPEC 11.1)."""
    home.config(QUICK)
    report = """echo '{"status": "succeeded", "contextShare": 0.87}' > $AWM_RESULT_FILE"""
    home.spec("S1", f"{home.work()}\n{report}")
    home.spec("S2", home.work())
    home.queue("S1", "S2")

    home.finish()

    assert home.texts("reset")[0] == "Context at ~87% — saving state and resetting."
    assert len(home.texts("reset")) == 3


@pytest.mark.timeout(3600)
def test_a_beat_killed_at_any_step_goes_on_there(home: Home) -> None:
    """Every step is told and written down, none twice but for a crash within a send (SPEC 11.1, 15.11)."""
    tasks = [f"S{number}" for number in range(rounds(4, 40))]
    queue(home, *tasks, every=1)
    for number in range(rounds(12, 400)):
        if home.state_path.exists() and home.is_idle:
            break
        with home.begin_beat() as process:
            home.wait_for(lambda: process.poll() is not None, seconds=60) if number % 3 == 0 else None
            delay = (number % 7) * 0.05
            try:
                process.wait(timeout=delay)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
            process.communicate()
    state = home.finish(beat_every=0.2)

    assert state["completed"] == tasks
    assert notes(home).count("session reset") == len(tasks)
    resets = [
        line["what"] for line in home.journal() if line["what"].startswith(("working full", "resetting", "resuming"))
    ]
    assert resets == [
        "working full -> resetting, reset",
        "resetting saved -> resuming",
        "resuming told -> working",
    ] * len(tasks)
