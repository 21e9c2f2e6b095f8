"""What a new user stumbled over while steering the loop: each verb does what it says, and says what comes next (SPEC 14)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from home import REPOSITORY, Done, Home, only
from test_verbs import awm


def titled(home: Home, text: str = "# Something to do\n\n```sh run\ntrue\n```\n") -> Path:
    path = home.root / "titled.md"
    path.write_text(text)
    return path


def test_skipping_what_waits_starts_nothing(home: Home) -> None:
    """SPEC 14: `awm skip` of a waiting task edits the queue; work starts at a beat, and nobody asked for one."""
    for task in ("N1", "N2", "N3"):
        home.spec(task)
    home.queue("N1", "N2", "N3")

    done = [awm(home, "skip", task) for task in ("N1", "N2", "N3")]

    assert [one.out for one in done] == ["skipped N1\n", "skipped N2\n", "skipped N3\n"]
    assert (home.state()["skipped"], home.attempts(), home.begun()) == (["N1", "N2", "N3"], [], [])


def test_stopping_where_nothing_runs_starts_nothing(home: Home) -> None:
    """SPEC 4.4, 14: it is a pause then, and no beat is needed for one."""
    home.spec("N1")
    home.queue("N1")

    done = awm(home, "stop")

    assert done == Done(0, "paused; nothing was running. `awm resume` goes on\n", "")
    assert (home.state()["queue"], home.attempts()) == (["N1"], [])


@pytest.mark.parametrize("name", ["bad id", "-x", "ä", "a" * 65, "S1\n"])
def test_an_id_that_is_none_is_refused_wherever_it_comes_from(home: Home, name: str) -> None:
    """SPEC 17: `--id` is held to what a file name is held to; the state stays byte for byte."""
    home.queue()
    before = home.state_path.read_bytes()

    done = awm(home, "add", str(titled(home)), f"--id={name}")

    assert done == Done(
        78, "", f"awm: {name!r} is not a task id\nhint: --id NAME: letters, digits, `.`, `_`, `-`; at most 64\n"
    )
    assert home.state_path.read_bytes() == before


def test_words_that_the_state_cannot_hold_are_refused(home: Home) -> None:
    """SPEC 4.7: what would not be read back is never saved: here bytes that are not UTF-8."""
    home.spec("S1")
    home.queue("S1")
    before = home.state_path.read_bytes()

    done = awm(home, "skip", "S1", "--reason", "caf\udce9")

    assert (done.code, done.out) == (78, "")
    assert done.err.startswith("awm: that would make a state file that cannot be read back: ")
    assert home.state_path.read_bytes() == before


def test_a_second_init_tells_the_project_that_counts(home: Home) -> None:
    """SPEC 4.7: the state is kept, so its project is; the other is named as ignored."""
    there, other = home.root / "fresh", home.root / "other"
    other.mkdir()
    awm(home, "init", str(there), "--project", str(home.project), named=False)

    done = awm(home, "init", str(there), "--project", str(other), named=False)

    assert (done.code, done.err) == (0, "")
    assert f"agents work in {home.project}\n" in done.out
    path = there / "state" / "current_work.json"
    assert f"--project {other} is ignored: change `project` in {path}\n" in done.out


def test_init_says_that_a_project_is_a_file(home: Home) -> None:
    """SPEC 14: errors say what is wrong: it does exist."""
    path = titled(home)

    done = awm(home, "init", str(home.root / "fresh"), "--project", str(path), named=False)

    assert done == Done(
        78, "", f"awm: the project {path} is not a directory\nhint: name the directory agents work in\n"
    )


@pytest.mark.parametrize("verb", [("add", "titled.md"), ("run",), ("status",), ("beat",), ("check",)])
def test_a_directory_that_is_no_home_is_not_made_one(home: Home, verb: tuple[str, ...]) -> None:
    """SPEC 3.1: neither awm.toml nor a state: a slip of the hand, to be refused by every verb alike."""
    titled(home)
    before = sorted(home.project.iterdir())

    done = awm(home, "--home", str(home.project), *verb, named=False)

    assert done == Done(78, "", f"awm: {home.project} is not a home\nhint: `awm init {home.project}` makes it one\n")
    assert sorted(home.project.iterdir()) == before


def test_a_beat_in_an_empty_home_is_silent(home: Home) -> None:
    """SPEC 3.1: a timer's beat needs no awm.toml: there the defaults hold, and there is no work yet."""
    (home.path / "awm.toml").unlink()

    assert home.heartbeat() == Done(0, "", "")


def test_a_lost_state_file_is_no_missing_home(home: Home) -> None:
    """SPEC 4.7: where history exists it is a bad file, and `awm restore` finds it without an awm.toml."""
    home.spec("S1")
    home.queue("S1")
    home.finish(0.2)
    good = home.state_path.read_bytes()
    home.state_path.unlink()
    (home.path / "awm.toml").unlink()

    done = awm(home, "restore", "--yes")

    assert (done.code, home.state_path.read_bytes()) == (0, good)


def test_a_home_that_is_a_file_says_which_directory_is_meant(home: Home) -> None:
    """SPEC 14: `AWM_HOME=…/awm.toml` is a natural slip."""
    path = home.path / "awm.toml"

    done = awm(home, "status", named=False, AWM_HOME=str(path))

    assert done == Done(78, "", f"awm: the home {path} is a file\nhint: name the directory it lies in: {home.path}\n")


def test_what_is_added_to_a_paused_loop_is_said_to_wait(home: Home) -> None:
    """SPEC 4.4, 14: add and retry say that nothing starts, and what to type."""
    home.spec("S1")
    home.queue("S1", active=False)

    added = awm(home, "add", str(titled(home)))
    awm(home, "skip", "S1")
    retried = awm(home, "retry", "S1")

    assert added.out == "queued titled (2 in the queue); paused: `awm resume` goes on\n"
    assert retried.out == "S1 is at the head of the queue; paused: `awm resume` goes on\n"


def test_resume_says_what_starts_the_work_or_that_there_is_none(home: Home) -> None:
    """SPEC 14: what it says next is true."""
    home.spec("S1")
    home.queue("S1", active=False)
    some = awm(home, "resume").out
    awm(home, "skip", "S1")
    awm(home, "pause")
    none = awm(home, "resume").out

    assert some == "resumed; 1 in the queue. The next beat starts work: `awm run` or your timer\n"
    assert none == "resumed; nothing is queued: awm add SPEC.md\n"


def test_verbs_that_steer_answer_programs_too(home: Home) -> None:
    """SPEC 14: `--json` prints one object."""
    home.spec("S1")
    home.queue("S1")

    said = [
        json.loads(awm(home, *verb, "--json").out)
        for verb in (("skip", "S1"), ("retry", "S1"), ("pause",), ("resume",), ("stop",))
    ]

    assert said == [
        {"skipped": "S1"},
        {"retried": "S1", "queue": ["S1"]},
        {"paused": True, "running": []},
        {"paused": False, "queue": ["S1"]},
        {"paused": True, "stopped": [], "stopping": []},
    ]


@pytest.mark.parametrize("verb", ["status", "check", "restore"])
def test_an_error_is_an_object_too_where_one_was_asked_for(home: Home, verb: str) -> None:
    """SPEC 14, 4.7: on stdout beside the line for people."""
    home.put_bytes(b'{"queue": [')

    done = awm(home, verb, "--json")
    said = json.loads(done.out) if verb != "restore" else None

    if verb == "restore":  # it has no --json
        assert (done.code, done.out) == (2, "")
        return
    assert (done.code, sorted(said)) == (78, ["error", "hint"])
    assert done.err == f"awm: {said['error']}\nhint: {said['hint']}\n"
    assert said["hint"].endswith("`awm restore` puts the last good copy back")


def test_a_run_without_work_says_so_and_its_help_says_what_its_exit_code_means(home: Home) -> None:
    """SPEC 6.6, 14: 0 whatever became of the tasks."""
    home.queue()

    done = awm(home, "run")

    assert done == Done(0, "nothing queued: awm add SPEC.md\n", "")
    assert "Exit code" in awm(home, "run", "--help").out


def test_an_id_needs_no_colon_after_it(home: Home) -> None:
    """SPEC 5.1: `# Sprint S8` names the task as `# Sprint S8: Title` does."""
    home.queue()

    done = awm(home, "add", str(titled(home, "# Sprint S8\n\n```sh run\ntrue\n```\n")))

    assert done.out == "queued S8 (1 in the queue)\n"


def test_a_script_has_no_input(home: Home) -> None:
    """SPEC 8.7, 8.5: what a script reads from stdin is not the prompt."""
    home.spec("S1", f"cat > {home.root}/read\ngit commit -q --allow-empty -m x")
    home.queue("S1")
    home.finish(0.2)

    assert (home.root / "read").read_text() == ""


def test_an_error_text_has_no_rest_of_an_escape_sequence(home: Home) -> None:
    """SPEC 17: colours and cursor moves are taken out whole."""
    home.spec("S1", r"printf '\033[31mred\033[0m \033[2J\033]0;title\007end\n'; exit 1")
    home.queue("S1", maxRetries=0)
    home.finish(0.2)

    assert only(home.results())["error"] == "exit code 1: red end"


def test_a_program_that_is_not_there_is_looked_for_where_it_says(home: Home) -> None:
    """SPEC 8.6: a relative path starts at the workspace, and the error says so."""
    home.config('[loop]\ndefault_agent = "mine"\n[agents.mine]\nkind = "command"\ncommand = ["./agent.sh"]\n')
    home.spec("S1")
    home.queue("S1", maxRetries=0)
    home.finish(0.2)

    assert only(home.results())["error"] == f"program ./agent.sh (from {home.project}): No such file or directory"


def test_the_pasted_rules_look_at_the_exit_code_first() -> None:
    """SPEC 6.3: an assistant that stops at the first rule that fits must not miss a failed beat."""
    rules = [
        line for line in (REPOSITORY / "docs" / "HEARTBEAT.md").read_text().splitlines() if line.startswith("- It ")
    ]

    assert [rule.partition(":")[0] for rule in rules] == [
        "- It ended with an exit code other than 0",
        "- It printed `HEARTBEAT_OK`",
        "- It printed anything else",
    ]
