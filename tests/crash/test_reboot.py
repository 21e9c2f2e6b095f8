"""An attempt that a reboot ended: told from a death in this boot by the boot id in its start marker (SPEC 7.2, 8.1)."""

from __future__ import annotations

import json

import pytest
from home import Home

OTHER_BOOT = "00000000-0000-4000-8000-000000000000"
WHY = "the machine was restarted while it ran"


def reboot(home: Home, number: int) -> None:
    """Everything dies at once, and the attempt's marker is of another boot."""
    started = home.attempt(number) / "started"
    home.end_all()
    marker = json.loads(started.read_text())
    started.write_text(json.dumps(marker | {"bootId": OTHER_BOOT}))


def test_a_reboot_is_no_strike_and_no_try(home: Home) -> None:
    """The task starts again, told that part may be done, and succeeds (SPEC 7.2)."""
    go = home.root / "go"
    home.spec("S1", home.work(f"until [ -e {go} ]; do sleep 0.02; done"))
    home.queue("S1")
    home.beat()
    home.wait_for(lambda: len(home.begun()) == 1)
    reboot(home, 1)
    home.beat()
    home.wait_for(lambda: len(home.begun()) == 2)
    task = home.state()["tasks"]["S1"]
    go.touch()

    state = home.finish()

    assert (task["reboots"], task.get("strikes", 0), task.get("tries", 0)) == (1, 0, 0)
    assert [result["outcome"] for result in home.results()] == ["rebooted", "succeeded"]
    assert f"Attempt 1 by local — rebooted: {WHY}" in home.prompt(2)
    assert "Part of the work may exist already." in home.prompt(2)
    assert (state["completed"], home.texts("retry"), home.texts("stall")) == (["S1"], [], [])


def test_reboots_are_forgiven_five_times(home: Home) -> None:
    """The sixth ends the task: an agent that brings the machine down must not do so for ever (SPEC 7.2)."""
    home.spec("S1", home.work("sleep 1000"))
    home.queue("S1")
    home.beat()
    for number in range(1, 7):
        home.wait_for(lambda number=number: len(home.begun()) == number)
        reboot(home, number)
        home.beat()

    state = home.finish()

    assert [result["outcome"] for result in home.results()] == ["rebooted"] * 6
    assert (len(home.begun()), state["failed"], state["tasks"]["S1"]["reason"]) == (6, ["S1"], WHY)
    assert home.texts("failed") == [f"❌ Sprint S1 failed — {WHY}"]


def test_a_death_in_this_boot_is_lost_and_counts_as_a_try(home: Home) -> None:
    """The same scene without another boot id (SPEC 7.2)."""
    home.spec("S1", home.work("sleep 1000"))
    home.queue("S1", maxRetries=0)
    home.beat()
    home.wait_for(lambda: home.begun() == ["S1"])
    home.end_all()

    state = home.finish()

    assert [result["outcome"] for result in home.results()] == ["lost"]
    assert (state["failed"], state["tasks"]["S1"]["tries"]) == (["S1"], 1)


@pytest.mark.parametrize("marker", ["", "{", '{"bootId": 7}'])
def test_a_start_marker_that_says_nothing_still_counts(marker: str, home: Home) -> None:
    """Its existence is what matters, as on a full disk: swept, lost, and a new number (SPEC 8.1, 15.2)."""
    mark = home.root / "once"
    home.spec("S1", home.work(f"[ -e {mark} ] || {{ touch {mark}; sleep 1000; }}"))
    home.queue("S1")
    home.beat()
    home.wait_for(mark.exists)
    home.end_all()
    (home.attempt(1) / "started").write_text(marker)

    state = home.finish()

    assert [result["outcome"] for result in home.results()] == ["lost", "succeeded"]
    assert (state["completed"], [line[2][-2:] for line in home.truth() if line[0] == "begin"]) == (["S1"], [".1", ".2"])
