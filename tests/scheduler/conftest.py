"""One machine under systemd for all tests of a worker, and homes in it; or a skip that says why there is none."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "e2e"))

from bed import Bed, Sprints, booted, why_not
from home import QUICK, home

__all__ = ["home"]


@pytest.fixture(scope="session")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    reason = why_not(tmp_path_factory.mktemp("probe"))
    if reason:
        pytest.skip(f"REAL SYSTEMD AND CRON ARE NOT TESTED HERE: {reason}")
    with booted(tmp_path_factory.mktemp("bed")) as machine:
        yield machine


@pytest.fixture
def sprints_of(bed: Bed, tmp_path: Path) -> Iterator[Callable[[str], Sprints]]:
    """Makes the home of a user; its units, processes and crontab line are gone with the test."""
    made: list[Sprints] = []

    def make(owner: str) -> Sprints:
        found = Sprints(bed.root / f"{tmp_path.name}-{owner}", bed=bed, owner=owner)
        made.append(found)
        found.config(QUICK)
        with (found.user / ".gitconfig").open("a") as file:
            file.write("[safe]\ndirectory = *\n")
        found.prefix = bed.prefix(owner)
        found.give()
        if owner == "you":
            bed.must("loginctl", "enable-linger", "you")
            found.wait_for(lambda: found.systemctl("is-system-running").out == "running\n")
        return found

    yield make
    for one in made:
        one.awm("uninstall")
        one.systemctl("stop", one.service)
        one.end_all()
