"""The same world, driven rule by rule: what breaks a guarantee is shrunk to its shortest story (SPEC 15)."""

from __future__ import annotations

import os
from contextlib import ExitStack

import pytest
from disk import Fault
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from world import CHANGES_MAX, World

ALL_ROUNDS = os.environ.get("AWM_ALL_ROUNDS") == "1"
PLACES = st.integers(min_value=1, max_value=CHANGES_MAX)
KINDS = st.sampled_from(["spawn", "stop request", "reaper", "send", "exchange", "probe", "read", "list"])


class Life(RuleBasedStateMachine):
    """A home, its people and its machine. At the end comes the calm, in which all must drain."""

    world: World

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()

    @initialize(seed=st.integers(min_value=0, max_value=999))
    def begins(self, seed: int) -> None:
        self.world = World(seed)
        self.stack.enter_context(self.world.mounted())
        self.world.begins()

    @rule(seconds=st.sampled_from([1.0, 60.0, 300.0, 1_800.0, 90_000.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.passes(seconds)

    @rule()
    def beats(self) -> None:
        self.world.heartbeat({})

    @rule(at=PLACES, fault=st.sampled_from(list(Fault)))
    def meets_a_fault(self, at: int, fault: Fault) -> None:
        self.world.heartbeat({at: fault})

    @rule(kind=KINDS, fault=st.sampled_from(list(Fault)))
    def meets_a_fault_of_a_kind(self, kind: str, fault: Fault) -> None:
        self.world.heartbeat({kind: fault})

    @rule(at=PLACES)
    def is_edited_in_a_beat(self, at: int) -> None:
        self.world.heartbeat({at: self.world.person_meanwhile})

    @rule(at=PLACES)
    def beats_twice_at_once(self, at: int) -> None:
        self.world.heartbeat({at: self.world.heartbeat})

    @rule(at=PLACES, other=PLACES, fault=st.sampled_from([Fault.CRASH_BEFORE, Fault.CRASH_AFTER, Fault.TORN]))
    def dies_after_an_edit_in_a_beat(self, at: int, other: int, fault: Fault) -> None:
        self.world.heartbeat({at: self.world.person_meanwhile, other: fault})

    @rule()
    def a_person_acts(self) -> None:
        self.world.person.acts()

    @rule()
    def reboots(self) -> None:
        self.world.reboots()

    @rule()
    def loses_power(self) -> None:
        self.world.loses_power()

    @rule()
    def the_clock_leaps(self) -> None:
        self.world.leaps()

    @rule()
    def is_suspended(self) -> None:
        self.world.suspends()

    @rule()
    def the_disk_fills(self) -> None:
        self.world.disk_fills()

    @rule()
    def a_channel_fails(self) -> None:
        self.world.channel_fails()

    def teardown(self) -> None:
        with self.stack:
            if hasattr(self, "world") and not self.world.truth.is_broken:
                self.world.calms()


@pytest.mark.timeout(900)
def test_no_sequence_of_events_breaks_a_guarantee() -> None:
    """Faults, edits, clocks and power in any order: every guarantee holds at each step, and all drains (SPEC 15)."""
    wanted = settings(
        max_examples=400 if ALL_ROUNDS else 25,
        stateful_step_count=40,
        derandomize=True,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )

    run_state_machine_as_test(Life, settings=wanted)  # type: ignore[no-untyped-call]
