"""What every launcher promises: three verbs, each of which may be repeated (SPEC 8.8). Run against each of them."""

from __future__ import annotations

import pytest
from benches import Bench, GatewayBench, LocalBench
from claw import claw
from home import Home

__all__ = ["claw"]


@pytest.fixture(params=["local", "gateway"])
def bench(request: pytest.FixtureRequest, home: Home, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A home without a state, so that no beat meddles, and one launcher of it."""
    for name, value in home.environ().items():
        monkeypatch.setenv(name, value)
    return LocalBench(home) if request.param == "local" else GatewayBench(home, request.getfixturevalue("claw"))


def wait_for(home: Home, bench: Bench, seen: str) -> None:
    home.wait_for(lambda: bench.seen() == seen)


def test_a_second_start_finds_the_first(home: Home, bench: Bench) -> None:
    """True for new, False for there already, while it runs and after; the agent begins once (SPEC 8.8)."""
    go = home.root / "go"
    script = home.work(f"until [ -e {go} ]; do sleep 0.02; done")

    started = [bench.start(script), bench.start(script)]
    home.wait_for(lambda: home.begun() == ["S1"])
    running = bench.seen()
    go.touch()
    wait_for(home, bench, bench.ENDED)
    started.append(bench.start(script))

    assert (started, running, bench.seen()) == ([True, False, False], "alive", bench.ENDED)
    assert home.begun() == ["S1"]


def test_what_was_never_started_is_not_there(home: Home, bench: Bench) -> None:
    """And a probe makes nothing (SPEC 7.3, 8.8)."""
    before = home.tree()

    assert bench.seen() == "absent"

    assert home.tree() == before


def test_could_not_look_is_not_not_there(home: Home, bench: Bench) -> None:
    """Whatever hides it: a lock that cannot be opened, a gateway that is away (SPEC 7.3)."""
    bench.blind()

    assert bench.seen() == "unknown"


def test_a_stop_ends_the_attempt_and_may_be_repeated(home: Home, bench: Bench) -> None:
    """What is seen next proves it, and a later stop leaves that alone (SPEC 8.3, 8.8)."""
    bench.start(home.work("sleep 1000"))
    home.wait_for(lambda: home.begun() == ["S1"])

    bench.stop()
    bench.stop()
    wait_for(home, bench, bench.STOPPED)
    bench.stop()

    assert bench.seen() == bench.STOPPED


def test_the_end_of_one_attempt_is_not_the_end_of_another(home: Home, bench: Bench) -> None:
    """Each number has its own (SPEC 8.1, 8.8)."""
    bench.start("true")
    wait_for(home, bench, bench.ENDED)

    assert (bench.seen(2), bench.start(home.work("sleep 1000"), 2)) == ("absent", True)
    assert bench.seen() == bench.ENDED


def test_the_same_task_of_another_home_is_left_alone(
    home: Home, bench: Bench, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """It has the same key in every home; who stops here must not stop there (SPEC 8.3, 15.9)."""
    other = Home(tmp_path_factory.mktemp("other"))
    theirs = GatewayBench(other, bench.claw) if isinstance(bench, GatewayBench) else LocalBench(other)
    try:
        theirs.start(other.work("sleep 1000"))
        other.wait_for(lambda: other.begun() == ["S1"])
        bench.start(home.work("sleep 1000"))
        home.wait_for(lambda: home.begun() == ["S1"])

        bench.stop()
        wait_for(home, bench, bench.STOPPED)

        assert theirs.seen() == "alive"
    finally:
        other.end_all()
