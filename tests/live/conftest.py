"""A live home for each CLI that is installed; or a skip that says aloud why there is none."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "e2e"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from clis import KNOWN, Cli
from rig import Live, why_not

from awm_loop.cli.replaying import difference
from awm_loop.store import recording


@pytest.fixture(params=list(KNOWN))
def cli(request: pytest.FixtureRequest) -> Cli:
    found = KNOWN[request.param]
    if reason := why_not(found):
        pytest.skip(f"{found.name.upper()} ITSELF IS NOT TESTED HERE: {reason}")
    return found


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    """Its processes are ended with the test, and its beats must all replay (SPEC 15.12)."""
    found = Live(tmp_path)
    try:
        yield found
    finally:
        found.end_all()
    for path in recording.paths(found.path / "state"):
        assert [parted for record in recording.read(path) if (parted := difference(record))] == []
