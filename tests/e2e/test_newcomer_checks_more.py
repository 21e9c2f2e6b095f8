"""What a second new user was told too little about, or nothing: gates, slips, and the command line itself (SPEC 5.1, 14)."""

from __future__ import annotations

import pytest
from home import QUICK, Done, Home
from test_newcomer_check import checked
from test_verbs import awm


def test_a_gate_that_is_none_is_told_when_it_is_added(home: Home) -> None:
    """SPEC 5.1, 10.1: without the colon it is prose, and the task would pass for done without a gate."""
    home.queue()

    done = awm(home, "add", str(home.spec("S1", header="**Verify** false")))

    warning = "warning: S1: `**Verify** false` sets nothing; `**Verify:** …` does"
    assert done == Done(0, f"queued S1 (1 in the queue)\n{warning}\n", "")


def test_a_configuration_with_a_problem_is_not_called_ok(home: Home) -> None:
    """SPEC 4.7, 16: one line does not deny what the next one says."""
    home.config(QUICK + '[agents.mine]\nkind = "command"\ncommand = ["cladue"]\n')
    home.queue()

    done = awm(home, "check")

    assert done.out.splitlines() == [
        f"{home.path}/awm.toml: 1 problem",
        f"{home.state_path}: ok, 0 queued",
        "agents.mine.command: `cladue` is not on this PATH",
    ]
    assert done.err == "awm: 1 problem found\nhint: mend what is named above\n"


def test_the_gates_programs_are_looked_for(home: Home) -> None:
    """SPEC 10.1: one that is nowhere on PATH is a problem, one of the project that a task may make a warning."""
    home.spec("S1", header="**Verify:** ./no-such-test.sh && pytset -q")
    home.spec("S2", header="**Verify:** ./notes.txt; true")
    home.spec("S3", header="**Verify:** cd app && ./test.sh")
    home.spec("S4", header="**Verify:** ./test.sh")
    home.queue("S1", "S2", "S3", "S4")
    (home.project / "notes.txt").write_text("no program")
    (home.project / "test.sh").write_text("#!/bin/sh\n")
    (home.project / "test.sh").chmod(0o755)

    gates = [f"gate `{gate}`: " for gate in ("./no-such-test.sh && pytset -q", "./notes.txt; true")]
    assert checked(home) == (
        78,
        [f"{gates[0]}`pytset` is not on this PATH"],
        [
            f"{gates[0]}`./no-such-test.sh`: there is no file {home.project}/no-such-test.sh",
            f"{gates[1]}`./notes.txt`: {home.project}/notes.txt is not executable",
        ],
    )


def test_the_doctor_knows_that_a_task_may_make_its_gates_file(home: Home) -> None:
    """SPEC 10.1: a relative program is looked for in the project, and one that is missing may be meant."""
    home.spec("S1", header="**Verify:** ./test.sh")
    home.queue("S1")

    told = awm(home, "doctor").out.splitlines()

    what = f"gate `./test.sh`: `./test.sh`: there is no file {home.project}/test.sh"
    assert f"warning  {what} → correct the gate, unless a task is to make it" in told


@pytest.mark.parametrize(
    ("header", "why"),
    [
        ("**Timeout:** 0 min", "`Timeout: 0 min` is not a length such as `45 min`"),
        ("**Isolation:** container", "`Isolation: container` is neither in-place nor worktree"),
    ],
)
def test_a_header_that_cannot_be_kept_is_named_with_its_file(home: Home, header: str, why: str) -> None:
    """SPEC 5.1: of many specs, the one to mend, and the task that would be given up."""
    path = home.spec("S1", header=header)
    home.queue()
    added = awm(home, "add", str(path))
    home.queue("S1")

    done = awm(home, "check")

    assert (added.code, added.err.splitlines()[0]) == (78, f"awm: spec file {path}: {why}")
    assert done.out.splitlines()[2:] == [f"S1: spec file {path}: {why}"]
    assert done.err.splitlines()[1] == "hint: mend what is named above; `awm skip S1` gives S1 up"


@pytest.mark.parametrize("option", [("--home", "{home}"), ("--home={home}",)])
def test_a_home_after_the_verb_is_told_where_it_goes(home: Home, option: tuple[str, ...]) -> None:
    """SPEC 3.1, 14: an error says what to type."""
    done = awm(home, "status", *(word.format(home=home.path) for word in option), named=False)

    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines()[-1] == "Error: --home goes before the verb: awm --home DIR status"


def test_help_is_a_word_too(home: Home) -> None:
    """SPEC 14: as git has it, of all verbs and of one; a verb that is none is refused."""
    whole, one, none = (awm(home, "help", *words, named=False) for words in ((), ("add",), ("nonsense",)))

    assert whole == awm(home, "--help", named=False)
    assert one == awm(home, "add", "--help", named=False)
    assert (none.code, none.out) == (2, "")


def test_no_line_of_the_help_is_cut(home: Home) -> None:
    """SPEC 14: each verb's line says the whole of it."""
    assert "..." not in awm(home, "--help", named=False).out.partition("Begin:")[2]
