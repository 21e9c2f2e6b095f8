"""Done means done: an agent's word is checked by the owner's gate (SPEC 10.1, 10.2)."""

from __future__ import annotations

import signal
import subprocess
import sys

from e2e.home import QUICK, REPOSITORY, Home, kill


def gated(home: Home, gate: str, script: str, header: str = "", config: str = "") -> None:
    """Queue S1 with a gate."""
    home.config(f"{QUICK}{config}\n")
    home.spec("S1", script, header=f"**Verify:** {gate}\n{header}")
    home.queue("S1")


def test_a_green_gate_completes_what_a_red_one_does_not(home: Home) -> None:
    """The first try leaves the gate red, is retried with its output in the prompt, and then passes (SPEC 10.1, 7.2)."""
    gated(home, "cat done.txt", home.work(f"[ -e {home.root}/again ] && echo yes > done.txt; touch {home.root}/again"))

    state = home.finish()

    assert (state["completed"], home.begun()) == (["S1"], ["S1", "S1"])
    first, second = home.results()
    assert (first["outcome"], first["gate"]["passed"]) == ("hollow", False)
    assert first["error"].startswith("the gate failed (exit code 1): cat: done.txt: No such file")
    assert (second["outcome"], second["gate"]["passed"], second["gate"]["before"]) == ("succeeded", True, False)
    assert "The output of the gate it failed:\n\n```text\ncat: done.txt: No such file or directory\n```" in home.prompt(
        2
    )
    assert "```text\ncat done.txt\n```" in home.prompt(1)


def test_a_gate_that_stays_red_fails_the_task(home: Home) -> None:
    """After `maxRetries` it has failed, and the report says why (SPEC 7.2)."""
    gated(home, "exit 3", home.work(), config="max_retries = 1")

    state = home.finish()

    assert (state["failed"], home.begun()) == (["S1"], ["S1", "S1"])
    assert "❌ S1 failed — under 1 min, 2 attempts — the gate failed (exit code 3)" in home.texts("report")[0]


def test_a_gate_that_is_green_already_costs_no_agent(home: Home) -> None:
    """With `gate_must_fail_first`: completed, reported as such, no commit needed (SPEC 10.2)."""
    gated(home, "true", home.work(), config="gate_must_fail_first = true")

    state = home.finish()

    assert (state["completed"], home.begun()) == (["S1"], [])
    assert home.texts("completed") == ["✅ Sprint S1 COMPLETE — its gate was green already, no agent was started"]


def test_a_red_gate_first_lets_the_agent_work(home: Home) -> None:
    """Red, then green (SPEC 10.2)."""
    gated(home, "test -e done.txt", home.work("touch done.txt"), config="gate_must_fail_first = true")

    assert (home.finish()["completed"], home.begun()) == (["S1"], ["S1"])


def test_an_agent_that_rewrites_its_gate_gains_nothing(home: Home) -> None:
    """It is judged by the files as they were before it, also uncommitted ones, and gets its own back (SPEC 10.2)."""
    judge = home.project / "judge.sh"
    judge.write_text("test -e done.txt\n")
    gated(home, "sh judge.sh", home.work("echo true > judge.sh"), config="max_retries = 0")

    state = home.finish()

    assert (state["failed"], judge.read_text()) == (["S1"], "true\n")
    [text] = home.texts("failed")
    assert "the gate failed (exit code 1)" in text
    assert text.endswith(
        "⚠️ it changed its own gate (judge.sh), and was judged by the version before. Is that its task? "
        "Then let `**Gate-files:** tests/` name the judge instead"
    )


def test_the_gate_is_the_one_of_the_first_attempt(home: Home) -> None:
    """An agent that rewrites its spec gains nothing either (SPEC 10.1)."""
    spec = home.root / "SPRINT_S1_SPEC.md"
    gated(home, "test -e done.txt", home.work(f"sed -i s/test.-e.done.txt/true/ {spec}"), config="max_retries = 1")

    assert home.finish()["failed"] == ["S1"]
    assert "**Verify:** true" in spec.read_text()


def test_a_gate_that_hangs_is_ended_with_all_it_started(home: Home) -> None:
    """It has a time limit of its own, and is no stall of the agent's (SPEC 10.1)."""
    gated(
        home,
        f"sleep 1000 & echo $! > {home.root}/pid; sleep 1000",
        home.work(),
        config="max_retries = 0\ngate_max_minutes = 0.005",
    )

    state = home.finish()

    assert (state["failed"], state["tasks"]["S1"].get("strikes", 0)) == (["S1"], 0)
    assert "the gate failed (over its hard time limit of 0.005 min)" in home.results()[0]["error"]
    assert not home.processes()


def test_the_project_has_a_gate_for_all(home: Home) -> None:
    """`verify` in awm.toml holds where the spec names none (SPEC 10.1)."""
    home.config(f'{QUICK}max_retries = 0\n[project]\nverify = "test -e done.txt"\n')
    home.spec("S1", home.work())
    home.spec("S2", home.work(), header="**Verify:** true")
    home.queue("S1", "S2")

    state = home.finish()

    assert (state["failed"], state["completed"]) == (["S1"], ["S2"])


def test_work_that_leaves_no_commit_says_so(home: Home) -> None:
    """`Commit: no` (SPEC 10.1)."""
    gated(home, "test -e done.txt", "touch done.txt", header="**Commit:** no")

    assert home.finish()["completed"] == ["S1"]


def test_a_supervisor_killed_while_the_gate_runs_gives_the_files_back(home: Home) -> None:
    """What was swapped for the gate is put back by whoever comes after (SPEC 10.2, 10.3)."""
    judge = home.project / "judge.sh"
    judge.write_text(f"[ -e {home.root}/killed ] || sleep 1000\ntest -e done.txt\n")
    gated(home, "sh judge.sh", home.work("echo '# mine' > judge.sh; touch done.txt"))
    home.beat()
    home.wait_for(lambda: home.begun() and judge.read_text().startswith("[ -e"))
    home.wait_for(lambda: any("sleep 1000" in line for line in home.processes().values()))

    (home.root / "killed").touch()
    for pid in home.supervisors():
        kill(pid, signal.SIGKILL, str(home.root))
    state = home.finish(beat_every=0.2)

    assert (state["completed"], judge.read_text()) == (["S1"], "# mine\n")


def test_a_retry_by_hand_takes_the_gate_anew(home: Home) -> None:
    """Whoever mends the gate and retries is judged by what is there now (SPEC 10.1, 14)."""
    judge = home.project / "judge.sh"
    judge.write_text("exit 1\n")
    gated(home, "sh judge.sh", home.work(), config="max_retries = 0")
    assert home.finish()["failed"] == ["S1"]

    judge.write_text("test -e done.txt\n")
    home.spec("S1", home.work("touch done.txt"), header="**Verify:** sh ./judge.sh")
    awm = [sys.executable, "-m", "awm_loop.cli.main", "--home", str(home.path), "retry", "S1"]
    subprocess.run(awm, check=True, env=home.environ() | {"PYTHONPATH": str(REPOSITORY)}, capture_output=True)

    assert home.finish()["completed"] == ["S1"]
