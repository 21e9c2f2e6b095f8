"""Every verb of `awm`, as a person types it (SPEC 14), against real homes and real agents."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from home import REPOSITORY, Done, Home, is_running, only

VERBS = [
    "init",
    "add",
    "run",
    "beat",
    "status",
    "logs",
    "pause",
    "resume",
    "stop",
    "retry",
    "skip",
    "check",
    "doctor",
    "restore",
    "metrics",
    "replay",
    "why",
    "watch",
    "answer",
    "agents",
    "edit",
    "install",
    "uninstall",
    "demo",
    "export",
    "import",
    "table",
    "projects",
    "queue",
    "sessions",
    "triggers",
    "hook",
    "mcp",
]


def awm(home: Home, *arguments: str, cwd: Path | None = None, named: bool = True, **environment: str) -> Done:
    """`awm` in its own process; with `named` its home is given by --home."""
    command = [sys.executable, "-m", "awm_loop.cli.main", *(["--home", str(home.path)] if named else []), *arguments]
    done = subprocess.run(
        command,
        cwd=cwd or home.root,
        env=home.environ() | {"PYTHONPATH": str(REPOSITORY)} | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def test_help_shows_the_verbs_that_work_and_each_has_an_example(home: Home) -> None:
    """SPEC 14: a verb appears only when it works; each `--help` has an example."""
    shown = awm(home, "--help", named=False).out
    listed = [line.split()[0] for line in shown.partition("Begin:")[2].splitlines() if line.startswith("  ")]

    assert sorted(listed) == sorted(VERBS)
    for verb in VERBS:
        assert "xample" in awm(home, verb, "--help").out, verb


def test_without_a_home_the_command_that_makes_one_is_named(home: Home) -> None:
    """SPEC 3.1: never silently the current directory."""
    done = awm(home, "status", cwd=home.root, named=False)

    hint = "go into your home, or name it: `awm --home DIR …`, AWM_HOME; `awm init` makes this directory one"
    assert done == Done(78, "", f"awm: no awm.toml at or above {home.root}\nhint: {hint}\n")


def test_the_nearest_awm_toml_above_is_the_home(home: Home) -> None:
    """SPEC 3.1: --home, else $AWM_HOME, else the nearest awm.toml at or above the current directory."""
    below = home.path / "deep" / "down"
    below.mkdir(parents=True)
    home.spec("S1")
    home.queue("S1")

    by_place = awm(home, "status", "--json", cwd=below, named=False)
    by_environment = awm(home, "status", "--json", named=False, AWM_HOME=str(home.path))

    assert json.loads(by_place.out)["home"] == str(home.path)
    assert json.loads(by_environment.out)["home"] == str(home.path)


def test_init_add_run_is_all_it_takes(home: Home) -> None:
    """SPEC 14, 6.6: from nothing to a finished queue, with notices in the exact form (SPEC 12.1)."""
    there = home.root / "fresh"
    specs = [home.spec(task) for task in ("S1", "S2")]

    made = awm(home, "init", str(there), "--project", str(home.project), named=False)
    added = awm(home, "add", *map(str, specs), cwd=there, named=False)
    ran = awm(home, "run", cwd=there, named=False)
    state = json.loads((there / "state" / "current_work.json").read_text())

    assert (made.code, added.out, ran.code, ran.err) == (0, "queued S1, S2 (2 in the queue)\n", 0, "")
    assert (state["completed"], state["active"], state["queue"]) == (["S1", "S2"], False, [])
    assert "🚀 Sprint S1 started — Thing S1\n🤖 Model: Shell\n⏱️ ETA: unknown\n📋 Next up: S2 — Thing S2\n" in ran.out
    assert ran.out.count("COMPLETE") == 2
    assert ran.out.count("🏁 Queue finished — 2 of 2 sprints completed") == 1


def test_init_keeps_what_is_there(home: Home) -> None:
    """SPEC 4.7: nothing of a person's is overwritten."""
    home.config("# mine\n")
    home.queue("S1")
    before = (home.path / "awm.toml").read_bytes(), home.state_path.read_bytes()

    done = awm(home, "init", str(home.path), "--project", str(home.project), named=False)

    assert (done.code, done.out.count("kept")) == (0, 2)
    assert ((home.path / "awm.toml").read_bytes(), home.state_path.read_bytes()) == before


def test_the_configuration_that_init_writes_is_valid_and_is_the_defaults(home: Home) -> None:
    """SPEC 16: every key is there as a comment, and taking the comment signs away changes nothing."""
    awm(home, "init", str(home.root / "fresh"), "--project", str(home.project), named=False)
    written = (home.root / "fresh" / "awm.toml").read_text()
    bare = written.partition("# [agents.claude]")
    loop = "\n".join(line.removeprefix("# ") for line in bare[0].splitlines() if " = " in line or line.startswith("["))
    home.config(loop)
    home.queue()

    done = awm(home, "check")

    assert done.code == 0, done


def test_add_takes_the_id_from_title_or_file_and_the_priority_from_the_spec(home: Home) -> None:
    """SPEC 5.1, 7.5: priority, then queue order."""
    home.queue()
    first = home.spec("S1")
    second = home.root / "SPRINT_late-one_SPEC.md"
    second.write_text("# Something to do\n\n**Priority:** P1 — HIGH\n\n```sh run\ntrue\n```\n")

    awm(home, "add", str(first))
    added = json.loads(awm(home, "add", str(second), "--json").out)

    assert added == {"added": ["late-one"], "queue": ["S1", "late-one"], "problems": [], "warnings": []}
    assert [task["task"] for task in json.loads(awm(home, "status", "--json").out)["queue"]] == ["late-one", "S1"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("add", "{spec}"), "awm: S1 is already there (queue)\nhint: --id NAME gives it another id"),
        (("add", "nowhere.md"), "nowhere.md does not exist"),
        (("retry", "S9"), "awm: there is no task S9\nhint: `awm status` lists them; `awm add SPEC.md` adds one\n"),
        (("logs", "S1"), "awm: S1 has no attempt yet"),
    ],
)
def test_a_wrong_command_says_what_to_type_and_changes_nothing(
    home: Home, arguments: tuple[str, ...], said: str
) -> None:
    """SPEC 14: errors say what to type next; exit 78; the state stays byte for byte."""
    spec = home.spec("S1")
    home.queue("S1")
    before = home.state_path.read_bytes()

    done = awm(home, *(part.format(spec=spec) for part in arguments))

    assert (done.code, done.out) == (78, "")
    assert said in done.err
    assert home.state_path.read_bytes() == before


def test_pause_lets_the_running_attempt_end_and_resume_goes_on(home: Home) -> None:
    """SPEC 4.4: while paused nothing new starts."""
    home.spec("S1", home.work(f"while [ ! -e {home.root}/go ]; do sleep 0.05; done"))
    home.spec("S2")
    home.queue("S1", "S2")
    home.beat()
    home.wait_for(lambda: home.begun() == ["S1"])

    paused = awm(home, "pause")
    (home.root / "go").touch()
    home.wait_for(lambda: home.state()["completed"] == ["S1"], beat_every=0.5)
    home.beat()
    still = (home.begun(), home.state()["active"], json.loads(awm(home, "status", "--json").out)["loop"])
    resumed = awm(home, "resume")
    state = home.finish()

    assert paused.out == "paused; S1 goes on to its end. `awm resume` goes on\n"
    assert still == (["S1"], False, "paused")
    assert resumed.code == 0
    assert (state["completed"], home.begun()) == (["S1", "S2"], ["S1", "S2"])


def test_stop_ends_the_whole_tree_and_puts_the_task_back_at_the_head(home: Home) -> None:
    """SPEC 7.2, 8.3: no try, no strike, loop paused; nothing of the attempt is left."""
    home.spec("S1", home.work("setsid sleep 300 & sleep 300"))
    home.spec("S2")
    home.queue("S1", "S2")
    home.beat()
    home.wait_for(lambda: home.begun() == ["S1"])
    pids = home.wait_for(lambda: [pid for pid, argv in home.processes().items() if "sleep 300" in argv])

    tried = awm(home, "stop", "--dry-run")
    done = awm(home, "stop")
    state = home.state()

    assert tried.out == "would stop S1 and pause\n"
    assert done.out == "stopped S1 and paused. `awm resume` goes on\n"
    assert (state["queue"], state["attempts"], state["active"]) == (["S1", "S2"], [], False)
    assert "tries" not in state["tasks"]["S1"]
    assert [pid for pid in pids if is_running(pid)] == []


def test_skip_ends_a_running_task_and_goes_on_with_the_next(home: Home) -> None:
    """SPEC 7.2: `awm skip` applies just that, without a pause."""
    home.spec("S1", home.work("sleep 300"))
    home.spec("S2")
    home.queue("S1", "S2")
    home.beat()
    home.wait_for(lambda: home.begun() == ["S1"])

    done = awm(home, "skip", "S1", "--reason", "done by hand")
    state = home.finish()

    assert done.out == "skipped S1\n"
    assert (state["skipped"], state["completed"]) == (["S1"], ["S2"])
    assert only(home.texts("skipped")) == "⏭️ Sprint S1 skipped — skipped by hand"


def test_retry_runs_a_failed_task_again_with_fresh_tries(home: Home) -> None:
    """SPEC 15.3: terminal lists only grow but for a journalled retry."""
    home.spec("S1", f"test -e {home.root}/mended\ngit commit -q --allow-empty -m done")
    home.queue("S1", maxRetries=1)
    home.finish(0.2)
    failed = home.state()
    (home.root / "mended").touch()

    done = awm(home, "retry", "S1")
    state = home.finish(0.2)

    assert (failed["failed"], failed["tasks"]["S1"]["tries"]) == (["S1"], 2)
    assert done.out == "S1 is at the head of the queue\n"
    assert (state["completed"], state["failed"]) == (["S1"], [])
    assert "retried, was in failed" in home.rows("S1")


def test_status_tells_what_runs_waits_and_needs_a_person(home: Home) -> None:
    """SPEC 14: one look; no colour where there is no terminal."""
    home.spec("S1", home.work("echo compiling; sleep 300"), header="**Est:** 10 min")
    home.spec("S2")
    home.queue("S1", "S2", blocked=["S0"], tasks={"S0": {"reason": "which colour?"}})
    home.beat()
    home.wait_for(lambda: "compiling" in awm(home, "status").out)
    home.beat()

    lines = awm(home, "status").out.splitlines()

    assert lines[0] == f"● working  {home.path}"
    assert lines[1].startswith("  running    S1 — Thing S1 (attempt 1, local, ")
    assert " of ~10 min" in lines[1]
    assert lines[2:5] == [
        "               compiling",
        "  queue      S2",
        "  blocked    S0 — which colour?",
    ]


def test_status_needs_no_lock_and_writes_nothing(home: Home) -> None:
    """SPEC 4.8: `status` works where nothing can be written."""
    home.spec("S1")
    home.queue("S1")
    before = home.tree()

    done = awm(home, "status")

    assert (done.code, home.tree()) == (0, before)


def test_logs_show_the_journal_and_an_attempts_output_without_escapes(home: Home) -> None:
    """SPEC 17: an agent's output must not drive the terminal."""
    home.spec("S1", "printf 'one\\033]52;c;aGk=\\007\\033[31mred\\033[0m\\n'\ngit commit -q --allow-empty -m x")
    home.queue("S1")
    home.finish(0.2)

    output = awm(home, "logs", "S1")
    journal = json.loads(awm(home, "logs", "--json").out)
    human = awm(home, "logs", "-n", "1")

    assert output.out == "onered\n"
    assert [entry["what"] for entry in journal if entry.get("task") == "S1"] == home.rows("S1")
    assert human.out.endswith("working drained -> idle\n")


def test_check_says_what_a_beat_would_say_without_one(home: Home) -> None:
    """SPEC 4.7: exit 78, file, line and column; nothing is written."""
    home.put_bytes(b'{"queue": ["S1",]}')
    before = home.tree()

    done = awm(home, "check")

    assert (done.code, done.out) == (78, "")
    assert done.err.startswith(f"awm: {home.state_path}:1:16: ")
    assert "trailing comma" in done.err
    assert home.tree() == before


def test_check_names_the_specs_that_would_be_blocked(home: Home) -> None:
    """SPEC 5.1: found before the night, not in it."""
    home.spec("S1", header="**Depends:** S0")
    home.queue("S1", "S2")

    done = awm(home, "check")

    assert done.code == 78
    assert "S1: it depends on S0, which is not there" in done.out
    assert f"S2: spec file {home.root}/SPRINT_S2_SPEC.md does not exist" in done.out


def test_restore_puts_the_last_good_copy_back_and_keeps_the_bad_bytes(home: Home) -> None:
    """SPEC 4.7: shows the difference; nothing is lost."""
    home.spec("S1")
    home.queue("S1")
    home.finish(0.2)
    good = home.state_path.read_bytes()
    home.state_path.write_bytes(b'{"queue": [')

    shown = awm(home, "restore", "--dry-run")
    untouched = home.state_path.read_bytes()
    done = awm(home, "restore", "--yes")

    assert '-{"queue": [' in shown.out
    assert untouched == b'{"queue": ['
    assert done.code == 0, done
    assert home.state_path.read_bytes() == good
    assert [path.read_bytes() for path in (home.path / "state" / "quarantine").glob("*.json")] == [b'{"queue": [']


def test_metrics_and_the_script_tell_the_same(home: Home) -> None:
    """SPEC 12.3: what the loop recorded is what both show."""
    home.spec("S1")
    home.queue("S1")
    home.finish(0.2)

    by_verb = json.loads(awm(home, "metrics", "--json").out)
    by_script = subprocess.run(
        [sys.executable, str(REPOSITORY / "scripts" / "log_sprint_metric.py"), "--summary", "--json"],
        env=home.environ() | {"AWM_HOME": str(home.path)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert json.loads(by_script.stdout) == by_verb
    assert by_verb["agents"]["local"]["completed"] == 1


def test_table_prints_every_row(home: Home) -> None:
    """SPEC 7.1: the decisions are there to read; `table` needs no home."""
    rows = json.loads(awm(home, "table", "--json", named=False).out)
    lines = awm(home, "table", named=False).out.splitlines()

    assert len(lines) == len(rows) + 1
    assert {"phase": "queued", "signal": "ready", "then": "launching"}.items() <= rows[0].items()


def test_beat_is_heartbeat(home: Home) -> None:
    """SPEC 6.1, 6.3: the same thing, the same options, the same exit codes."""
    home.spec("S1")
    home.queue("S1")

    rows = json.loads(awm(home, "beat", "--dry-run", "--json").out)["rows"]
    line = awm(home, "beat", "--dry-run").out
    home.put_bytes(b"{")

    assert [row["then"] for row in rows] == ["launching"]
    assert line.startswith("S1 attempt 1: queued ready -> launching, launch")
    assert awm(home, "beat").code == 78


def test_leaving_run_with_ctrl_c_leaves_the_agent_running(home: Home) -> None:
    """SPEC 6.6: left at any time without stopping the agents."""
    home.spec("S1", home.work(f"while [ ! -e {home.root}/go ]; do sleep 0.05; done"))
    home.queue("S1")
    command = [sys.executable, "-m", "awm_loop.cli.main", "--home", str(home.path), "run"]
    with subprocess.Popen(
        command, env=home.environ() | {"PYTHONPATH": str(REPOSITORY)}, stdout=subprocess.PIPE, text=True
    ) as process:
        home.wait_for(lambda: home.begun() == ["S1"])
        os.kill(process.pid, signal.SIGINT)
        said = process.communicate(timeout=30)[0]
    running = home.begun(), home.state()["inProgress"]
    (home.root / "go").touch()
    state = home.finish(0.2)

    assert "the agents go on" in said
    assert (process.returncode, running) == (0, (["S1"], "S1"))
    assert (state["completed"], home.begun()) == (["S1"], ["S1"])


def test_run_in_a_paused_home_says_so_and_ends(home: Home) -> None:
    """SPEC 6.6, 4.4: it does not wait for ever."""
    home.spec("S1")
    home.queue("S1", active=False)

    done = awm(home, "run")

    assert (done.code, done.out) == (0, "paused; `awm resume` goes on\n")


def test_the_demo_plays_its_four_sprints_to_the_report(home: Home) -> None:
    """SPEC 14: success, retry, stall and limit, in under 90 seconds, and nothing of it is left."""
    done = awm(home, "demo", named=False, TMPDIR=str(home.root))

    assert (done.code, done.err) == (0, "")
    for word in (
        "try 1 of 4 did not work",
        "stalled (strike 1 of 3)",
        "rate limited. Resets in ~",
        "is available again",
    ):
        assert word in done.out
    assert "🏁 Queue finished — 4 of 4 sprints completed" in done.out
    assert not list(home.root.glob("awm-demo-*"))
