"""What an agent's end means, with agents that lie, vanish, flood and leave things behind (SPEC 7.2, 8.2, 8.6, 10.1, 12.1)."""

from __future__ import annotations

import json
import shutil
from datetime import datetime
from pathlib import Path

import pytest
from home import QUICK, Home, only

NO_COMMIT = "**Commit:** no"


def with_agent(home: Home, script: str, more: str = "") -> None:
    """Make `script` the default agent, a program of its own."""
    agent = home.agent(script)
    home.config(f'{QUICK}default_agent = "mine"\n{more}\n[agents.mine]\nkind = "command"\ncommand = ["{agent}"]\n')


def last_result(home: Home) -> dict[str, object]:
    return home.results()[-1]


def test_an_agent_that_ends_well_without_a_commit_is_hollow(home: Home) -> None:
    """Tried again with the reason in the prompt, `maxRetries` times, then failed with a notice (SPEC 7.2, 10.1)."""
    home.spec("S1", 'echo "begin S1 $AWM_ATTEMPT" >> ' + str(home.truth_path))
    home.spec("S2")
    home.queue("S1", "S2", maxRetries=2)

    state = home.finish()

    why = "it ended well but left no new commit"
    assert home.begun() == ["S1", "S1", "S1", "S2"]
    assert (state["failed"], state["completed"]) == (["S1"], ["S2"])
    assert [(result["outcome"], result["error"]) for result in home.results()[:3]] == [("hollow", why)] * 3
    assert why not in home.prompt(1)
    assert f"Attempt 1 by local — hollow: {why}" in home.prompt(2)
    assert f"Attempt 2 by local — hollow: {why}" in home.prompt(3)
    assert home.texts("retry") == [
        f"🔁 Sprint S1: try {number} of 3 did not work — {why}. Next in a moment" for number in (1, 2)
    ]
    assert home.texts("failed") == [f"❌ Sprint S1 failed — {why}"]
    task = state["tasks"]["S1"]
    assert (task["tries"], task.get("strikes", 0), task["reason"]) == (3, 0, why)


def test_a_commit_of_an_earlier_attempt_counts(home: Home) -> None:
    """The base is the tip at the task's first attempt (SPEC 10.1)."""
    mark = home.root / "once"
    home.spec("S1", home.work(f"[ -e {mark} ] && exit 0; touch {mark}") + "\nexit 1")
    home.queue("S1")

    state = home.finish()

    assert [result["outcome"] for result in home.results()] == ["failed", "succeeded"]
    assert state["completed"] == ["S1"]


def test_a_task_without_a_commit_may_say_so(home: Home) -> None:
    """`Commit: no`, and its notice leaves the commit out (SPEC 5.1, 10.1, 12.1)."""
    home.spec("S1", "true", header=NO_COMMIT, title="Look around")
    home.queue("S1")

    assert home.finish()["completed"] == ["S1"]

    assert home.texts("completed") == ["✅ Sprint S1 COMPLETE — Look around\n⏱️ Duration: under 1 min"]
    assert last_result(home)["commits"] == []


def test_a_project_outside_git_needs_no_commit(home: Home) -> None:
    """Where there is no repository there is none to ask for (SPEC 10.1)."""
    shutil.rmtree(home.project / ".git")
    home.spec("S1", "echo done > done.txt")
    home.queue("S1")

    assert home.finish()["completed"] == ["S1"]


def test_a_backoff_keeps_the_place_and_holds_no_slot(home: Home) -> None:
    """The task stands in `queue` with `notBefore`; a later one does not overtake; a short list repeats its last (SPEC 4.3, 7.2)."""
    home.config("[loop]\nretry_backoff_seconds = [0.2, 4]\n")
    home.spec("S1", home.work("exit 3"))
    home.spec("S2")
    home.queue("S1", "S2", maxRetries=3)
    home.beat()
    home.wait_for(lambda: len(home.results()) == 2 and not home.state()["attempts"], beat_every=0.2)

    waiting = home.state()
    assert (waiting["queue"], waiting["inProgress"], waiting["active"]) == (["S1", "S2"], None, True)
    assert waiting["tasks"]["S1"]["notBefore"] is not None
    assert home.beat("--dry-run")["nextDue"] is not None

    state = home.finish(beat_every=0.2)
    assert (home.begun(), state["failed"]) == (["S1"] * 4 + ["S2"], ["S1"])
    starts = [result["startedAt"] for result in home.results()]
    ends = [result["endedAt"] for result in home.results()]
    waits = [seconds_between(end, start) for end, start in zip(ends[:3], starts[1:4], strict=True)]
    assert [wait >= least for wait, least in zip(waits, (0.2, 4, 4), strict=True)] == [True] * 3, waits
    assert only({result["error"] for result in home.results()[:4]}) == "exit code 3"


def seconds_between(earlier: str, later: str) -> float:
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()


@pytest.mark.parametrize(
    ("command", "error"),
    [
        ("/nowhere/agent", "program /nowhere/agent: No such file or directory"),
        ("no-such-agent", "program no-such-agent: No such file or directory"),
        ("/proc/version", "program /proc/version: Permission denied"),
    ],
)
def test_a_program_that_cannot_be_run_is_a_failure(command: str, error: str, home: Home) -> None:
    """Tried and retried like any other, and the reason says what to mend (SPEC 7.2, 8.6)."""
    home.config(f'{QUICK}default_agent = "mine"\n[agents.mine]\nkind = "command"\ncommand = ["{command}"]\n')
    home.spec("S1")
    home.queue("S1", maxRetries=1)

    state = home.finish()

    assert (state["failed"], state["tasks"]["S1"]["reason"]) == (["S1"], error)
    assert [(result["outcome"], result["exitCode"]) for result in home.results()] == [("failed", 127)] * 2


def test_a_workspace_that_vanishes_fails_the_attempt_and_stops_the_loop_with_a_word(home: Home) -> None:
    """The running attempt is recorded; nothing starts while the project is away; then it goes on (SPEC 6.3, 7.2)."""
    go = home.root / "go"
    home.spec("S1", home.work(f"until [ -e {go} ]; do sleep 0.02; done; [ -e {go}.2 ] || exit 1"))
    home.queue("S1")
    home.beat()
    home.wait_for(lambda: home.begun() == ["S1"])
    home.project.rename(home.root / "elsewhere")
    go.touch()
    home.wait_for(lambda: home.results() and not home.supervisors())

    done = home.heartbeat()

    assert (done.code, done.out) == (78, "")
    assert done.err.startswith(f"awm: {home.state_path}: project directory {home.project} does not exist\nhint: ")
    assert last_result(home)["outcome"] == "failed"
    (home.root / "go.2").touch()
    (home.root / "elsewhere").rename(home.project)
    assert home.finish()["completed"] == ["S1"]


def test_a_flood_of_output_is_cut_in_the_middle(home: Home) -> None:
    """The first MiB and the last 20 MiB, and a line that says how much is missing (SPEC 8.2)."""
    head, tail, flood = 1024 * 1024, 20 * 1024 * 1024, 60 * 1024 * 1024
    with_agent(home, f"echo the first; head -c {flood} /dev/zero | tr '\\0' x; echo; echo the last")
    home.spec("S1", header=NO_COMMIT)
    home.queue("S1")

    assert home.finish()["completed"] == ["S1"]

    log = (home.attempt(1) / "out.log").read_bytes()
    cut = len("the first\n\nthe last\n") + flood - head - tail
    assert log.startswith(b"the first\nxxx")
    assert log.endswith(b"xxx\nthe last\n")
    assert len(log) == head + tail + len(f"\n[AWM: {cut} bytes of output left out here]\n")
    assert log[head:].startswith(f"\n[AWM: {cut} bytes of output left out here]\n".encode())


def test_an_agent_that_closes_its_output_is_watched_on(home: Home) -> None:
    """Its end counts, not the end of its pipe (SPEC 8.2)."""
    with_agent(home, f"echo bye; exec >&- 2>&-; sleep 0.5; echo end > {home.root}/after; exit 0")
    home.spec("S1", header=NO_COMMIT)
    home.queue("S1")

    assert home.finish()["completed"] == ["S1"]

    assert (home.root / "after").read_text() == "end\n"
    assert (home.attempt(1) / "out.log").read_text() == "bye\n"
    assert last_result(home)["seconds"] >= 0.5


def test_what_an_agent_leaves_running_is_ended_with_it(home: Home) -> None:
    """A dev server in the background keeps neither the pipe nor the next task waiting (SPEC 8.2, 8.3)."""
    with_agent(home, "echo begun; (trap '' TERM; sleep 1000) & nohup setsid sleep 1000 & echo ended; exit 0")
    home.spec("S1", header=NO_COMMIT)
    home.spec("S2", header=NO_COMMIT)
    home.queue("S1", "S2")

    assert home.finish()["completed"] == ["S1", "S2"]

    assert (home.attempt(1) / "out.log").read_text() == "begun\nended\n"
    assert only({result["outcome"] for result in home.results()}) == "succeeded"
    assert not home.processes()


def test_an_agent_killed_from_outside_is_a_failure_with_its_last_line(home: Home) -> None:
    """The signal and the end of the output are the reason (SPEC 7.2)."""
    with_agent(home, "echo 'Killing myself'; kill -9 $$")
    home.spec("S1", header=NO_COMMIT)
    home.queue("S1", maxRetries=0)

    state = home.finish()

    assert state["tasks"]["S1"]["reason"] == "killed by signal 9: Killing myself"
    assert (last_result(home)["exitCode"], state["failed"]) == (-9, ["S1"])


def answering(home: Home, answer: str, exit_code: int = 0) -> dict[str, object]:
    """Let an agent write `answer` into its result file; the result of its one attempt."""
    (home.root / "answer").write_text(answer)
    with_agent(home, f'cp {home.root}/answer "$AWM_RESULT_FILE"; exit {exit_code}')
    home.spec("S1", header=NO_COMMIT, title="Thing")
    home.queue("S1", maxRetries=0)
    home.finish()
    return only(home.results())


def test_a_result_file_is_believed_whatever_the_exit_code(home: Home) -> None:
    """Its fields reach the result, the notice and the metrics (SPEC 8.2, 8.6, 12.1, 12.3)."""
    said = {"status": "succeeded", "summary": "Search bar.", "tokens": {"input": 10, "output": 20}, "costUsd": 0.5}
    result = answering(home, json.dumps({**said, "sessionId": "abc", "mine": 1}), exit_code=9)

    picked = ("outcome", "exitCode", "summary", "tokens", "costUsd", "sessionId", "error", "gate", "limit")
    assert {key: result[key] for key in picked} == {
        "outcome": "succeeded",
        "exitCode": 9,
        "summary": "Search bar.",
        "tokens": {"input": 10, "output": 20},
        "costUsd": 0.5,
        "sessionId": "abc",
        "error": "",
        "gate": None,
        "limit": None,
    }
    assert home.texts("completed") == ["✅ Sprint S1 COMPLETE — Search bar\n⏱️ Duration: under 1 min"]
    assert home.texts("report") == [
        "🏁 Queue finished — 1 of 1 sprints completed\n✅ S1 completed — under 1 min, 1 attempt, $0.50"
    ]


def test_a_result_file_that_says_failed_wins_over_exit_0(home: Home) -> None:
    """SPEC 8.6."""
    result = answering(home, '{"status": "failed", "error": "the API is gone"}')

    assert (result["outcome"], result["exitCode"], result["error"]) == ("failed", 0, "the API is gone")
    assert home.texts("failed") == ["❌ Sprint S1 failed — the API is gone"]


def test_a_question_blocks_the_task_and_reaches_the_person(home: Home) -> None:
    """Other tasks go on (SPEC 7.2, 8.6, 12.1)."""
    (home.root / "answer").write_text('{"status": "blocked", "question": "Which database: A or B?"}')
    with_agent(home, f'[ $AWM_TASK = S2 ] || cp {home.root}/answer "$AWM_RESULT_FILE"')
    home.spec("S1", header=NO_COMMIT)
    home.spec("S2", header=NO_COMMIT)
    home.queue("S1", "S2")

    state = home.finish()

    assert (state["blocked"], state["completed"]) == (["S1"], ["S2"])
    assert state["tasks"]["S1"]["reason"] == "Which database: A or B?"
    assert [text.partition("?")[0] for text in home.texts("blocked")] == [
        "✋ Sprint S1 is blocked — Which database: A or B"
    ]
    assert home.texts("report")[0].splitlines()[-1] == "✋ Waiting for you: S1"


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "not json",
        "[]",
        "null",
        "{}",
        '{"status": "done"}',
        '{"status": "succeeded", "tokens": "many"}',
        '{"status": "succeeded", "summary": null}',
        '{"status": "succeeded"',
        '{"status": "succeeded", "summary": "' + "x" * 300_000 + '"}',
    ],
    ids=["empty", "prose", "list", "null", "no status", "unknown status", "tokens", "summary", "cut off", "huge"],
)
def test_a_malformed_result_file_is_a_failure_that_says_so(answer: str, home: Home) -> None:
    """Also after exit 0 (SPEC 8.6)."""
    result = answering(home, answer)

    assert result["outcome"] == "failed"
    assert str(result["error"]).startswith("the agent's result file is malformed: "), result


def test_a_result_file_that_is_no_file_is_a_failure_and_blocks_nobody(home: Home) -> None:
    """A FIFO in its place must not hang the supervisor (SPEC 8.6)."""
    with_agent(home, 'mkfifo "$AWM_RESULT_FILE"; exit 0')
    home.spec("S1", header=NO_COMMIT)
    home.queue("S1", maxRetries=0)

    home.wait_for(lambda: home.state().get("failed") == ["S1"], beat_every=1, seconds=8)

    assert "result file" in str(only(home.results())["error"])


def test_a_result_of_an_earlier_attempt_is_not_taken_for_the_next(home: Home) -> None:
    """Each attempt has a result file of its own (SPEC 8.6)."""
    mark = home.root / "once"
    with_agent(home, f'[ -e {mark} ] || echo \'{{"status": "failed"}}\' > "$AWM_RESULT_FILE"; touch {mark}')
    home.spec("S1", header=NO_COMMIT)
    home.queue("S1")

    assert home.finish()["completed"] == ["S1"]

    files = [Path(path) / "answer" / "agent-result.json" for path in home.attempts()]
    assert [path.exists() for path in files] == [True, False]
