"""The stall rule with real processes and short minutes: who is stopped, who is left alone, what is left (SPEC 7.2, 8.3, 8.4)."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from home import Home, is_running, only

STALL_SECONDS = 1.2
CONFIG = f"""\
[loop]
stall_minutes = {STALL_SECONDS / 60}
stop_grace_seconds = 0.2
retry_backoff_seconds = [0]
"""
STRUCK = re.compile(r"⚠️ Sprint S1 stalled \(strike ([12]) of 3\) — (`sleep \d+` sleeps)\. Starting again")
STRUCK_OUT = re.compile(
    r"⚠️ Sprint S1 stalled 3 times\. Root cause: (`sleep \d+` sleeps)\. Action: skipped, evidence kept"
)


def stalled_once(home: Home, script: str) -> dict[str, object]:
    """Let `script` run until the rule stops it, with one strike allowed; its result."""
    home.config(CONFIG + "strikes_max = 1\n")
    home.spec("S1", home.work(script))
    home.queue("S1")
    state = home.finish(beat_every=0.3)
    assert (state["skipped"], [result["outcome"] for result in home.results()]) == (["S1"], ["stalled"])
    return only(home.results())


def test_a_silent_sleeper_is_stopped_started_again_twice_and_skipped(home: Home) -> None:
    """Three strikes; the next prompts say what happened, the notices say why, the evidence is kept (SPEC 7.2, 7.4, 8.4)."""
    home.config(CONFIG)
    home.spec("S1", home.work("echo building; sleep 1000"))
    home.spec("S2")
    home.queue("S1", "S2")

    state = home.finish(beat_every=0.3)

    assert home.begun() == ["S1", "S1", "S1", "S2"]
    assert {key: state[key] for key in ("skipped", "completed", "failed", "queue")} == {
        "skipped": ["S1"],
        "completed": ["S2"],
        "failed": [],
        "queue": [],
    }
    task = state["tasks"]["S1"]
    assert (task["strikes"], task.get("tries", 0), task["attempts"]) == (3, 0, 3)
    assert [result["outcome"] for result in home.results()] == ["stalled"] * 3 + ["succeeded"]
    assert [STRUCK.fullmatch(text)[1] for text in home.texts("stall")] == ["1", "2"]
    assert STRUCK_OUT.fullmatch(only(home.texts("struck_out")))[1] == task["reason"].rstrip(".")
    for number in (1, 2, 3):
        assert "sleeps" in (home.attempt(number) / "evidence.txt").read_text().splitlines()[0]
    assert "An earlier attempt was stopped because it made no progress." not in home.prompt(1)
    for number in (2, 3):
        prompt = home.prompt(number)
        assert "An earlier attempt was stopped because it made no progress." in prompt
        assert "Its last output:\n\n```text\nbuilding\n" in prompt  # a shell may add that its child was terminated
        assert (
            f"What it was doing:\n\n```text\n{(home.attempt(1) / 'evidence.txt').read_text().rstrip()}\n```" in prompt
        )
    assert not home.processes()


def test_an_endless_loop_gets_four_times_the_minutes(home: Home) -> None:
    """Busy without progress is not idle; but it ends too (SPEC 8.4)."""
    result = stalled_once(home, "while :; do :; done")

    assert result["seconds"] >= 4 * STALL_SECONDS
    assert "computes" in result["error"]
    assert "mostly busy" in only(
        [line["note"] for line in home.journal() if line["what"].startswith("running stalled")]
    )


def test_a_line_said_again_and_again_is_no_progress(home: Home) -> None:
    """A shell that polls prints, forks and sleeps for ever and gets nowhere (SPEC 8.4)."""
    result = stalled_once(home, 'n=0; while :; do n=$((n + 1)); echo "still waiting ($n s)"; sleep 0.1; done')

    assert "it goes on printing what it printed before" in result["error"]
    assert result["seconds"] < 10 * STALL_SECONDS


def test_a_quiet_build_in_child_processes_is_left_alone(home: Home) -> None:
    """Nothing printed, nothing written, but each compiler is a new one (SPEC 8.4)."""
    home.config(CONFIG + "strikes_max = 1\n")
    home.spec("S1", home.work('for unit in $(seq 40); do sh -c "sleep 0.1; : compile $0" "unit$unit.c"; done'))
    home.queue("S1")

    state = home.finish(beat_every=0.3)

    assert (state["completed"], only(home.results())["outcome"]) == (["S1"], "succeeded")
    assert only(home.results())["seconds"] > 3 * STALL_SECONDS


def test_files_that_grow_in_the_workspace_are_progress(home: Home) -> None:
    """Also without a word of output (SPEC 8.4)."""
    home.config(CONFIG + "strikes_max = 1\n")
    home.spec("S1", home.work("for n in $(seq 20); do echo $n >> notes.txt; sleep 0.2; done"))
    home.queue("S1")

    assert home.finish(beat_every=0.3)["completed"] == ["S1"]


def test_an_attempt_past_twice_its_estimate_is_told_once(home: Home) -> None:
    """However many beats see it (SPEC 8.4)."""
    go = home.root / "go"
    home.spec("S1", home.work(f"until [ -e {go} ]; do sleep 0.05; done"), header="**Est:** 0.3 s")
    home.queue("S1")
    home.wait_for(lambda: home.texts("still_running"), beat_every=0.3)
    for _ in range(2):
        home.beat()
    go.touch()
    home.finish()

    assert home.texts("still_running") == ["⏳ Sprint S1 is still running — past twice its ETA of under 1 min"]


def test_a_daemon_that_hides_does_not_survive_the_stop(home: Home) -> None:
    """Double fork, own session, empty environment, no file of ours open, another directory: gone all the same (SPEC 8.3)."""
    daemon = home.root / "daemon"
    shutil.copy(shutil.which("sleep"), daemon)
    pids = home.root / "pids"
    hide = f"""\
(env -i setsid sh -c 'cd /; exec 9>&- 8>&- 7>&- 6>&- 5>&- 4>&- 3>&- </dev/null >/dev/null 2>&1
  (setsid {daemon} 1000 & echo $! >> {pids}) &' &)
trap '' TERM
until [ -s {pids} ]; do sleep 0.02; done
{daemon} 1000 & echo $! >> {pids}
sleep 1000"""
    stalled_once(home, hide)

    hidden = [int(line) for line in Path(pids).read_text().split()]
    assert len(hidden) == 2
    assert [pid for pid in hidden if is_running(pid)] == []
    assert not home.processes()


def test_a_strike_at_its_hard_limit_is_told_like_a_stall(home: Home) -> None:
    """`Timeout:` of the spec counts from the start, whatever progress there is (SPEC 5.1, 7.2, 8.2)."""
    home.config("[loop]\nstrikes_max = 1\nstop_grace_seconds = 0.2\n")
    home.spec(
        "S1", home.work("for n in $(seq 1000); do echo line $n x$n; sleep 0.05; done"), header="**Timeout:** 1.2 sec"
    )
    home.queue("S1")

    state = home.finish()

    result = only(home.results())
    assert (result["outcome"], result["error"]) == ("timed_out", "over its hard time limit of 0.02 min")
    assert 1.2 <= result["seconds"] < 10
    assert state["skipped"] == ["S1"]
    assert home.texts("struck_out") == [
        "⚠️ Sprint S1 stalled once. Root cause: over its hard time limit of 0.02 min. Action: skipped, evidence kept"
    ]


def test_the_hard_limit_of_the_loop_holds_where_the_spec_names_none(home: Home) -> None:
    """`attempt_max_minutes`, a fraction here; TERM is ignored, KILL is not (SPEC 8.3, 16)."""
    home.config("[loop]\nstrikes_max = 2\nstop_grace_seconds = 0.2\nattempt_max_minutes = 0.01\n")
    home.spec("S1", home.work("trap '' TERM; while :; do sleep 1000 || :; done"))
    home.queue("S1")

    state = home.finish()

    assert ([result["outcome"] for result in home.results()], state["skipped"]) == (["timed_out"] * 2, ["S1"])
    assert home.begun() == ["S1", "S1"]
    assert not home.processes()
