"""Each task in a worktree of its own, integrated when it is accepted (SPEC 10.3, 7.5)."""

from __future__ import annotations

import signal

from e2e.home import QUICK, Home, kill
from test_verbs import awm

PARALLEL = f"{QUICK}max_parallel = 2\n"


def written(home: Home, name: str, text: str, between: str = "") -> str:
    """A script that commits a line into a file; it works where it is started, which is not the project."""
    return f"""\
echo "begin $AWM_TASK $AWM_ATTEMPT $PWD" >> {home.truth_path}
{between}
echo {text} > {name}
git add {name}
git commit -q -m "$AWM_TASK: {text}"
echo "end $AWM_TASK $AWM_ATTEMPT" >> {home.truth_path}"""


def meeting(home: Home, name: str, other: str) -> str:
    """Go on only when the other has begun too."""
    return f"touch {home.root}/{name}; until [ -e {home.root}/{other} ]; do sleep 0.02; done"


def test_two_tasks_work_at_once_and_both_are_integrated(home: Home) -> None:
    """Up to `max_parallel`, each in a worktree; the base branch gets both, and nothing is left (SPEC 7.5, 10.3)."""
    home.config(PARALLEL)
    home.spec("S1", written(home, "a.txt", "one", meeting(home, "m1", "m2")))
    home.spec("S2", written(home, "b.txt", "two", meeting(home, "m2", "m1")))
    home.queue("S1", "S2")

    state = home.finish()

    assert sorted(state["completed"]) == ["S1", "S2"]
    assert (home.project / "a.txt").read_text() + (home.project / "b.txt").read_text() == "one\ntwo\n"
    assert {line[3] for line in home.truth() if line[0] == "begin"}.isdisjoint({str(home.project)})
    assert home.git("worktree", "list", "--porcelain").count("worktree ") == 1
    assert home.git("branch", "--list", "awm/*") == ""
    assert home.git("status", "--porcelain") == ""


def test_tasks_that_touch_one_line_are_not_both_integrated(home: Home) -> None:
    """The first is integrated, the second cannot be rebased: blocked, both sides named, its work kept (SPEC 10.3)."""
    home.config(PARALLEL)
    home.spec("S1", written(home, "a.txt", "one", meeting(home, "m1", "m2")))
    home.spec(
        "S2",
        written(
            home,
            "a.txt",
            "two",
            f"{meeting(home, 'm2', 'm1')}; until git -C {home.project} log | grep -q S1; do sleep 0.02; done",
        ),
    )
    home.queue("S1", "S2")

    state = home.finish()

    assert (state["completed"], state["blocked"]) == (["S1"], ["S2"])
    reason = state["tasks"]["S2"]["reason"]
    assert "a.txt" in reason
    assert "S1: one" in reason
    assert "S2: two" in reason
    assert reason.endswith(". Its work is on awm/S2: merge that and `awm skip S2`, or have it done again")
    assert (home.project / "a.txt").read_text() == "one\n"
    assert home.git("show", "awm/S2:a.txt") == "two"


def test_what_is_rebased_is_gated_again(home: Home) -> None:
    """Each alone passes, both together do not: the base branch's gate is green at every tip it has had (SPEC 10.3)."""
    home.config(f'{PARALLEL}max_retries = 0\n[project]\nverify = "test ! -e a.txt || test ! -e b.txt"\n')
    home.spec("S1", written(home, "a.txt", "one", meeting(home, "m1", "m2")))
    home.spec("S2", written(home, "b.txt", "two", meeting(home, "m2", "m1")))
    home.queue("S1", "S2")

    state = home.finish()

    assert (len(state["completed"]), len(state["failed"])) == (1, 1)
    assert sorted(path.name for path in home.project.glob("*.txt")) == [
        {"S1": "a.txt", "S2": "b.txt"}[state["completed"][0]]
    ]


def test_a_persons_dirty_file_stops_the_integration_and_stays(home: Home) -> None:
    """Blocked, file intact (SPEC 10.3)."""
    (home.project / "a.txt").write_text("old\n")
    home.git("add", "a.txt")
    home.git("commit", "-q", "-m", "a")
    (home.project / "a.txt").write_text("mine, not committed\n")
    home.spec("S1", written(home, "a.txt", "one"), header="**Isolation:** worktree")
    home.queue("S1")

    state = home.finish()

    assert state["blocked"] == ["S1"]
    assert "a.txt" in state["tasks"]["S1"]["reason"]
    assert (home.project / "a.txt").read_text() == "mine, not committed\n"
    assert home.git("show", "awm/S1:a.txt") == "one"


def test_dirty_files_that_nobody_else_touches_do_not_matter(home: Home) -> None:
    """They are neither committed nor moved (SPEC 10.3)."""
    (home.project / "notes.txt").write_text("mine\n")
    home.spec("S1", written(home, "a.txt", "one"), header="**Isolation:** worktree")
    home.queue("S1")

    assert home.finish()["completed"] == ["S1"]
    assert home.git("status", "--porcelain") == "?? notes.txt"


def test_uncommitted_work_of_a_stopped_attempt_is_kept(home: Home) -> None:
    """In `refs/awm/salvage/<task>/<n>`, and told (SPEC 10.3)."""
    home.config(f"{QUICK}strikes_max = 1\nstall_minutes = 0.02\n")
    home.spec(
        "S1", f"{home.work().splitlines()[0]}; echo half > half.txt; sleep 1000", header="**Isolation:** worktree"
    )
    home.queue("S1")

    state = home.finish()

    assert state["skipped"] == ["S1"]
    assert home.git("show", "refs/awm/salvage/S1/1:half.txt") == "half"
    assert "its uncommitted work is kept: git show refs/awm/salvage/S1/1" in home.texts("struck_out")[0]


def test_what_was_not_committed_is_not_judged(home: Home) -> None:
    """The gate sees what would be integrated, and nothing else (SPEC 10.1, 10.3)."""
    home.config(f"{QUICK}max_retries = 0\n")
    home.spec(
        "S1",
        written(home, "a.txt", "one") + "\necho done > needed.txt",
        header="**Isolation:** worktree\n**Verify:** test -e needed.txt",
    )
    home.queue("S1")

    state = home.finish()

    assert state["failed"] == ["S1"]
    assert home.git("show", "refs/awm/salvage/S1/1:needed.txt") == "done"
    assert not (home.project / "a.txt").exists()


def test_a_new_worktree_is_prepared_once(home: Home) -> None:
    """By the project's `prepare`, in the worktree, also for the retry that finds it there (SPEC 10.3)."""
    home.config(f'{QUICK}[project]\nprepare = ["echo $PWD >> {home.root}/prepared", "echo ready > .ready"]\n')
    home.spec(
        "S1",
        f"test -e .ready; [ -e {home.root}/again ] || {{ touch {home.root}/again; exit 1; }}\n"
        + written(home, "a.txt", "x"),
        header="**Isolation:** worktree",
    )
    (home.project / ".gitignore").write_text(".ready\n")
    home.git("add", ".gitignore")
    home.git("commit", "-q", "-m", "ignore")
    home.queue("S1")

    state = home.finish()

    assert state["completed"] == ["S1"]
    assert len((home.root / "prepared").read_text().splitlines()) == 1


def test_a_prepare_that_fails_fails_the_attempt(home: Home) -> None:
    """And says what it said; no agent is started (SPEC 10.3)."""
    home.config(f'{QUICK}max_retries = 0\n[project]\nprepare = ["echo no such tool; exit 4"]\n')
    home.spec("S1", written(home, "a.txt", "x"), header="**Isolation:** worktree")
    home.queue("S1")

    state = home.finish()

    assert (state["failed"], home.begun()) == (["S1"], [])
    assert state["tasks"]["S1"]["reason"] == "`prepare` failed: no such tool"


def test_a_worktree_needs_git(home: Home) -> None:
    """Asked for in a project that is not in git, the task is blocked (SPEC 10.3)."""
    plain = home.root / "plain"
    plain.mkdir()
    home.spec("S1", "true", header="**Isolation:** worktree")
    home.queue("S1", project=str(plain))

    state = home.finish()

    assert state["tasks"]["S1"]["reason"] == "it is to work in a worktree, and the project is not in git"


def test_a_place_for_worktrees_that_the_disk_refuses_fails_the_attempt(home: Home) -> None:
    """It says what is in the way: trouble of the world is no bug of ours (SPEC 10.3)."""
    home.config(f'{QUICK}isolation = "worktree"\nmax_retries = 0\n')
    (home.path / "worktrees").touch()
    home.spec("S1")
    home.queue("S1")

    state = home.finish()

    assert (state["failed"], len(home.attempts())) == (["S1"], 1)
    assert state["tasks"]["S1"]["reason"] == "cannot write {0}: {0} is no directory".format(home.path / "worktrees")
    assert (home.attempt(1) / "supervisor.log").read_text() == ""


def test_in_place_tasks_do_not_share_the_project(home: Home) -> None:
    """One attempt at a time there, whatever `max_parallel` (SPEC 10.3)."""
    home.config(f'{PARALLEL}isolation = "in-place"\n')
    for task in ("S1", "S2", "S3"):
        home.spec(task, home.work("sleep 0.2"))
    home.queue("S1", "S2", "S3")

    assert home.finish()["completed"] == ["S1", "S2", "S3"]
    assert not [line for line in home.truth() if line[0] == "double"]


def test_a_killed_supervisor_loses_no_worktree(home: Home) -> None:
    """The next attempt finds what was committed, and it is integrated (SPEC 8.3, 10.3)."""
    home.spec(
        "S1",
        f"[ -e {home.root}/once ] || {{ {written(home, 'a.txt', 'one')}\ntouch {home.root}/once; sleep 1000; }}\necho second >> {home.truth_path}",
        header="**Isolation:** worktree",
    )
    home.queue("S1")
    home.beat()
    home.wait_for((home.root / "once").exists)

    for pid in home.supervisors():
        kill(pid, signal.SIGKILL, str(home.root))
    state = home.finish(beat_every=0.2)

    assert (state["completed"], (home.project / "a.txt").read_text()) == (["S1"], "one\n")


def test_work_of_another_time_is_no_work_of_a_retry(home: Home) -> None:
    """That the task was integrated once says nothing of an attempt that leaves no commit (SPEC 10.1, 10.3)."""
    home.config(f"{QUICK}max_retries = 0\n")
    home.spec("S1", written(home, "a.txt", "one"), header="**Isolation:** worktree")
    home.queue("S1")
    home.finish()
    home.spec("S1", "true", header="**Isolation:** worktree")
    home.environment["AWM_FAULT"] = f"at=beat.effect:before do=kill nth=1 log={home.root}/faults"
    awm(home, "retry", "S1")
    home.heartbeat()
    del home.environment["AWM_FAULT"]
    home.git("commit", "-q", "--allow-empty", "-m", "by a person")

    state = home.finish()

    assert (state["completed"], state["failed"]) == ([], ["S1"])
