"""Some seeds of the simulation, each a story of its own (SPEC 15); `./scripts/soak` plays thousands."""

from __future__ import annotations

import os

import pytest
from soak import Tally, run
from world import World, play

ALL_ROUNDS = os.environ.get("AWM_ALL_ROUNDS") == "1"
SEEDS = range(600 if ALL_ROUNDS else 100)
PARTS = 10
TELLING = (1, 32, 23, 44, 9, 20, 34, 407)  # seeds that take most rows; others follow until all are
SEEDS_MAX = 200


@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", range(PARTS))
def test_no_seed_breaks_a_guarantee(part: int) -> None:
    """Whatever fails, dies, leaps or is edited: the guarantees hold at every operation, and all drains (SPEC 15)."""
    tally = run(seed for seed in SEEDS if seed % PARTS == part)

    assert [f"{what}: ./scripts/soak --seed {seed} --verbose" for seed, what in tally.broken] == []


def test_the_same_seed_tells_the_same_story() -> None:
    """A failing seed can be replayed: nothing is drawn from anything but the seed."""
    stories: list[list[str]] = [[], []]
    worlds = [World(7, story.append) for story in stories]
    plain = []
    for world, story in zip(worlds, stories, strict=True):
        world.run()
        plain.append([line.replace(str(world.root), "").split(" plan ")[0] for line in story if ".tmp" not in line])

    assert plain[0] == plain[1]


@pytest.mark.timeout(900)
def test_a_few_seeds_take_every_row() -> None:
    """The world is wild enough: every decision of the table is taken."""
    tally = Tally()
    for seed in (*TELLING, *range(SEEDS_MAX)):
        if not tally.never:
            break
        tally.add(run([seed]))

    assert tally.never == []


def test_a_broken_guarantee_names_the_command_that_replays_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails says how to see it again, operation by operation."""
    monkeypatch.setattr("awm_loop.beat.choice.candidates", lambda *_: 1 / 0)

    _, error = play(3)

    assert isinstance(error, ZeroDivisionError)
    assert "./scripts/soak --seed 3 --verbose" in error.__notes__[0]
