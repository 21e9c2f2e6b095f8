"""The table by itself: complete, without dead words, and shown as it is (SPEC 7.1)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from awm_loop.core import machine
from awm_loop.core.machine import ROWS, TABLE, Count, Do, Row, Signal, Tell
from awm_loop.core.model import Phase, StopReason

CHECKOUT = Path(__file__).parents[2]
STARTS = {Phase.QUEUED, Phase.CLOSED, Phase.WORKING, Phase.ARMED}
ENDS = {Phase.COMPLETED, Phase.FAILED, Phase.SKIPPED, Phase.BLOCKED, Phase.REMOVED, Phase.FIRED, Phase.PASSED}
LOOKS_AGAIN = {Phase.LAUNCHING, Phase.RUNNING, Phase.STOPPING, Phase.ENDED}
RESET = [Phase.WORKING, Phase.RESETTING, Phase.RESUMING]


def moves(rows: Iterable[Row] = TABLE) -> set[tuple[Phase, Phase]]:
    return {(row.phase, row.then) for row in rows if row.phase is not row.then}


def test_every_phase_can_be_reached() -> None:
    """From a queued task, a closed account, a loop at work and a call, each phase follows sooner or later (SPEC 7.1)."""
    reached = set(STARTS)
    while more := {then for phase, then in moves() if phase in reached} - reached:
        reached |= more

    assert reached == set(Phase)


def test_every_phase_can_be_left_but_those_that_end() -> None:
    """Only a task that is over, one that waits for a person, and a call that was taken stay so (SPEC 7.2, 13.2)."""
    assert set(Phase) - {phase for phase, _ in moves()} == ENDS
    assert {row.phase for row in TABLE} & ENDS == set()


def test_every_live_phase_leads_to_an_end() -> None:
    """Wherever a task stands, an end can be reached from there (SPEC 15.15)."""
    ending = ENDS | {Phase.IDLE, Phase.OPEN}
    while more := {phase for phase, then in moves() if then in ending} - ending:
        ending |= more

    assert ending == set(Phase)


@pytest.mark.parametrize(
    ("words", "used"),
    [
        (Signal, {row.signal for row in TABLE}),
        (Do, {row.do for row in TABLE}),
        (Count, {row.count for row in TABLE}),
        (Tell, {row.tell for row in TABLE}),
    ],
    ids=["signals", "effects", "counts", "notices"],
)
def test_no_word_is_unused(words: Iterable[str], used: set[str]) -> None:
    """Each signal, effect, count and notice stands in a row (SPEC 7.1)."""
    assert set(words) == used


def test_a_quiet_row_is_one_that_changes_nothing() -> None:
    """Staying is quiet only without effect, count and notice: such a row is never written down (SPEC 6.4)."""
    quiet = {row for row in TABLE if row.is_quiet}

    assert quiet == {row for row in TABLE if row == Row(row.phase, row.signal, row.phase)}
    assert all(row.phase is row.then for row in quiet)


def test_what_an_effect_did_is_looked_at_again() -> None:
    """A row with an effect on an attempt lands where the next beat probes; its loss is seen there (SPEC 6.2, 15.4)."""
    asked = {row.then for row in TABLE if row.do in {Do.LAUNCH, Do.STOP}}

    assert asked <= LOOKS_AGAIN


def test_a_reset_goes_one_way_and_tells_each_step() -> None:
    """Begun at work, never skipped, never broken off, and back at work; one effect, three notices (SPEC 11.1)."""
    steps = [row for row in TABLE if row.tell is Tell.RESET]

    assert [(row.phase, row.then) for row in steps] == list(zip(RESET, [*RESET[1:], RESET[0]], strict=True))
    assert [row.do for row in steps] == [Do.RESET, Do.NOTHING, Do.NOTHING]
    assert {row for row in TABLE if row.phase in RESET[1:]} == set(steps[1:])


def test_only_a_persons_word_removes_a_task() -> None:
    """And only once its attempt has ended; nothing of it is counted or told (SPEC 4.3, 4.6)."""
    assert [row for row in TABLE if row.then is Phase.REMOVED] == [Row(Phase.ENDED, Signal.WITHDRAWN, Phase.REMOVED)]


def test_in_a_phase_that_looks_a_failed_look_changes_nothing() -> None:
    """ "Could not look" is not "not there" (SPEC 7.3). Ended has been seen: a step within a beat."""
    assert all(ROWS[phase, Signal.UNSEEN].is_quiet for phase in LOOKS_AGAIN - {Phase.ENDED})


def test_a_stop_knows_why() -> None:
    """Each row that stops an attempt is named by a reason, or the attempt was unwanted by a person's (SPEC 8.3)."""
    reasons = {row.signal.value for row in TABLE if row.do is Do.STOP} - {Signal.UNWANTED.value}

    by_hand = {StopReason.OPERATOR, StopReason.SKIP, StopReason.REMOVED, StopReason.REQUEUED}
    assert reasons == {reason.value for reason in StopReason} - by_hand


def test_strikes_count_for_stalls_only() -> None:
    """Limit, reboot, operator and analysis add none (SPEC 15.5)."""
    struck = {row.signal for row in TABLE if row.count is Count.STRIKE}

    assert struck == {Signal.STRUCK, Signal.PUZZLING, Signal.STRUCK_OUT}


def test_a_missing_cell_names_itself() -> None:
    """No row is no default: it raises (SPEC 7.1)."""
    with pytest.raises(KeyError, match=r"completed.*alive"):
        ROWS[Phase.COMPLETED, Signal.ALIVE]


def test_two_rows_for_one_question_are_refused_at_import() -> None:
    """The table with a second answer to a question does not load (SPEC 7.1)."""
    path = Path(machine.__file__)
    source = path.read_text(encoding="utf-8")
    row = "Row(P.IDLE,       S.DRAINED,            P.IDLE),"
    assert source.count(row) == 1

    with pytest.raises(AssertionError, match="two rows of TABLE answer one question"):
        exec(compile(source.replace(row, f"{row} {row}"), path, "exec", dont_inherit=True), {"__name__": "doubled"})


def test_the_picture_in_the_documents_is_the_table() -> None:
    """docs/STATE_MACHINE.md is what its generator writes (SPEC 7.1)."""
    generator = [sys.executable, "scripts/state_machine.py", "--check"]
    done = subprocess.run(generator, cwd=CHECKOUT, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")


def test_a_stale_picture_is_found(tmp_path: Path) -> None:
    """`--check` says how to mend a file that is not what the generator writes, and writes nothing (SPEC 7.1)."""
    path = tmp_path / "STATE_MACHINE.md"
    path.write_text("old\n")
    generator = [sys.executable, "scripts/state_machine.py", "--check", str(path)]
    done = subprocess.run(generator, cwd=CHECKOUT, capture_output=True, text=True, check=False)

    assert (done.returncode, path.read_text()) == (1, "old\n")
    assert done.stderr == f"{path} is stale; run: scripts/state_machine.py {path}\n"
