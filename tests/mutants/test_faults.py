"""The list of planted faults fits the code as it stands."""

from __future__ import annotations

import pytest
from plant import CHECKOUT, Fault, faults, find, planted

ALL = faults()
SOON = [fault for fault in ALL if fault.tests == "tests/core"][::6]  # seconds each; `scripts/mutants` plants them all


@pytest.mark.parametrize("fault", ALL, ids=lambda fault: fault.name)
def test_every_fault_can_be_planted(fault: Fault) -> None:
    """SPEC 15: a fault whose line is gone would be one that no test has to find."""
    text = (CHECKOUT / fault.file).read_text(encoding="utf-8")

    assert planted(text, fault) != text


def test_there_are_faults_for_every_part() -> None:
    """At least thirty, in core, beat, store and attempt."""
    parts = {fault.file.removeprefix("awm_loop/").partition("/")[0] for fault in ALL}

    assert len(ALL) >= 30
    assert {"core", "beat.py", "store", "durable.py", "attempt", "notify"} <= parts
    assert len({fault.name for fault in ALL}) == len(ALL)


@pytest.mark.parametrize("fault", SOON, ids=lambda fault: fault.name)
def test_a_planted_fault_is_found(fault: Fault) -> None:
    """A share of `scripts/mutants`: the suite fails where the product does."""
    _, verdict, _ = find(fault)

    assert verdict.startswith("found")
