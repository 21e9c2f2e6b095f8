"""A disk that is full, has no inodes, or is read-only: a small tmpfs in a mount namespace of its own (SPEC 4.8, 6.3)."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from home import Done, Home, only, rounds

PAGE_BYTES = 4096
INODES = 2000
SMALL = f"size=1m,nr_inodes={INODES}"
Disk = Callable[[str], Home]
Fill = Callable[[Home, int], Callable[[], None]]


@pytest.fixture
def on_disk(home: Home) -> Iterator[Disk]:
    """Put `state/` of the home on a tmpfs with the given mount options, seen by its own processes only."""
    state = home.path / "state"
    script = f'mount -t tmpfs -o "mode=700,$0" none {state} && echo mounted && exec sleep 1000'
    holders: list[subprocess.Popen[str]] = []

    def mount(options: str) -> Home:
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, options]
        holder = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        holders.append(holder)
        if holder.stdout.readline() != "mounted\n":
            pytest.skip(f"NOT TESTED: no private tmpfs here: {holder.communicate()[1]}")
        home.prefix = ("nsenter", "-t", str(holder.pid), "-m")
        home.view = Path(f"/proc/{holder.pid}/root")
        return home

    yield mount
    home.end_all()
    for holder in holders:
        holder.kill()
        holder.communicate()


def fill(home: Home, pages_left: int) -> Callable[[], None]:
    """Leave so many pages free on the disk of `state/`; returns what makes room again."""
    filler = home.seen(home.path / "state" / "filler")
    with filler.open("ab", buffering=0) as file:
        try:
            while True:
                file.write(bytes(PAGE_BYTES))
        except OSError:
            file.truncate(filler.stat().st_size - pages_left * PAGE_BYTES)
    return filler.unlink


def fill_inodes(home: Home, left: int) -> Callable[[], None]:
    """Leave so many inodes free; returns what makes room again."""
    folder = home.seen(home.path / "state" / "fillers")
    folder.mkdir()
    with suppress(OSError):
        for number in range(INODES):
            (folder / str(number)).touch()
    for filler in list(folder.iterdir())[:left]:
        filler.unlink()
    return lambda: shutil.rmtree(folder)


def queue_one_more(home: Home, task: str) -> None:
    home.spec(task)
    home.edit(lambda state: (state["queue"].append(task), state["specFiles"].update({task: spec_path(home, task)})))


def spec_path(home: Home, task: str) -> str:
    return str(home.root / f"SPRINT_{task}_SPEC.md")


def test_a_full_disk_starts_nothing_and_leaves_the_old_state(on_disk: Disk) -> None:
    """Exit 74, one clear line, not a byte changed; with room again it goes on (SPEC 4.8)."""
    home = on_disk(SMALL)
    home.spec("S1")
    home.queue("S1")
    home.heartbeat("--dry-run")
    make_room = fill(home, 0)
    before = home.state_path.read_bytes()

    done = [home.heartbeat(), home.heartbeat()]

    state = home.path / "state"
    message = f"awm: cannot write {state}/current_work.json: No space left on device\nhint: free some space: `df -h {state}`\n"
    assert done == [Done(74, "", message)] * 2
    assert (home.state_path.read_bytes(), home.truth(), home.attempts()) == (before, [], [])
    assert not list(home.state_path.parent.glob(".*.tmp"))
    make_room()
    assert home.finish()["completed"] == ["S1"]


@pytest.mark.parametrize(
    ("fill_up", "steps"),
    [(fill, (1, 2, 3, 4, 6, 8, 10, 13)), (fill_inodes, (1, 2, 3, 4, 5, 6, 7, 8, 10, 12))],
    ids=["pages", "inodes"],
)
def test_a_disk_that_is_full_at_any_point_starts_every_task_once(
    fill_up: Fill, steps: list[int], on_disk: Disk
) -> None:
    """With room for one more each time the trouble comes one step later; nothing is lost or doubled (SPEC 4.8, 15.4)."""
    home = on_disk(SMALL)
    home.queue()
    codes = []
    tasks = [f"T{room}" for room in (steps if rounds(0, 1) else steps[::3])]
    for task in tasks:
        queue_one_more(home, task)
        make_room = fill_up(home, int(task[1:]))
        done = home.heartbeat()
        codes.append(done.code)
        assert (done.code == 0) == (done.err == ""), done
        assert "Traceback" not in done.err
        make_room()
        home.finish(beat_every=0.5)

    assert set(codes) <= {0, 74}
    assert home.state()["completed"] == tasks
    assert len({line[2] for line in home.truth() if line[0] == "begin"}) == len(home.begun())
    assert {line["seq"] for line in home.journal()} == set(range(1, home.state()["seq"] + 1))


def test_a_result_waits_for_room_on_the_disk(on_disk: Disk) -> None:
    """The agent ended well while the disk was full: that is not forgotten (SPEC 4.8, 8.1)."""
    home = on_disk(SMALL)
    go = home.root / "go"
    home.spec("S1", home.work(f"until [ -e {go} ]; do sleep 0.02; done"))
    home.queue("S1")
    home.beat()
    home.wait_for(lambda: home.begun() == ["S1"])
    make_room = fill(home, 0)
    go.touch()
    home.wait_for(lambda: home.truth()[-1][0] == "end" and not home.agents())
    home.heartbeat()
    assert home.results() == []

    make_room()
    state = home.finish()

    assert (state["completed"], home.begun()) == (["S1"], ["S1"])
    assert only(home.results())["outcome"] == "succeeded"


def test_an_attempt_is_ended_on_a_full_disk_too(on_disk: Disk) -> None:
    """Over its hard limit while nothing can be written: the tree is gone at once, the result comes with room (SPEC 8.3)."""
    home = on_disk(SMALL)
    home.spec("S1", home.work("trap '' TERM; sleep 1000 & sleep 1000"), header="**Timeout:** 1 sec")
    home.spec("S2")
    home.config("[loop]\nstrikes_max = 1\nstop_grace_seconds = 0.2\n")
    home.queue("S1", "S2")
    home.beat()
    home.wait_for(lambda: home.begun() == ["S1"])
    make_room = fill(home, 0)
    ours = {int(home.prefix[2])}
    home.wait_for(
        lambda: all(pid in ours or "awm_loop.cli.supervise" in argv for pid, argv in home.processes().items())
    )
    assert home.results() == []

    make_room()
    state = home.finish()

    assert (state["skipped"], state["completed"], home.begun()) == (["S1"], ["S2"], ["S1", "S2"])
    assert [result["outcome"] for result in home.results()] == ["timed_out", "succeeded"]


def test_a_disk_without_inodes_says_so(on_disk: Disk) -> None:
    """There is room and still nothing can be made (SPEC 4.8)."""
    home = on_disk(SMALL)
    home.spec("S1")
    home.queue("S1")
    home.lock_path.touch()
    make_room = fill_inodes(home, 0)
    before = home.state_path.read_bytes()

    done = home.heartbeat()

    state = home.path / "state"
    message = f"awm: cannot write {state}/current_work.json: No space left on device (no free inodes)\n"
    assert done == Done(74, "", message + f"hint: remove files: `df -i {state}`\n")
    assert (home.state_path.read_bytes(), home.truth()) == (before, [])
    make_room()
    assert home.finish()["completed"] == ["S1"]


def test_a_read_only_disk_starts_nothing(on_disk: Disk) -> None:
    """Exit 74; mounted read-write again it goes on (SPEC 4.8)."""
    home = on_disk(SMALL)
    home.spec("S1")
    home.queue("S1")
    state = home.path / "state"
    subprocess.run([*home.prefix, "mount", "-o", "remount,ro", str(state)], check=True)

    done = home.heartbeat()

    assert (done.code, done.out, home.truth()) == (74, "", []), done
    assert done.err.endswith(f": Read-only file system\nhint: mount it read-write: `findmnt -T {home.path}`\n"), (
        done.err
    )
    assert done.err.count("\n") == 2
    subprocess.run([*home.prefix, "mount", "-o", "remount,rw", str(state)], check=True)
    assert home.finish()["completed"] == ["S1"]


def test_a_bad_file_on_a_full_disk_is_still_a_bad_file(on_disk: Disk) -> None:
    """Exit 78 with its message, and one about the disk; no traceback (SPEC 4.7, 4.8)."""
    home = on_disk(SMALL)
    home.put_bytes(b"{nonsense")
    home.heartbeat("--dry-run")
    home.lock_path.touch()
    fill(home, 0)

    done = home.heartbeat()

    assert (done.code, done.out, home.state_path.read_bytes()) == (78, "", b"{nonsense")
    state = home.path / "state"
    first, _, second, _ = done.err.splitlines()
    assert first.startswith(f"awm: {state}/current_work.json:1:2: ")
    assert second.startswith(f"awm: cannot write {state}/quarantine/")
    assert second.endswith(": No space left on device")


def test_a_state_directory_of_another_user_is_named(home: Home) -> None:
    """Who is not its owner is told whom to run as (SPEC 3.3, 4.8)."""
    if shutil.which("setpriv") is None:
        pytest.skip("NOT TESTED: no setpriv here")
    home.spec("S1")
    home.queue("S1")
    for path in (home.root, *home.root.parents[:-2]):
        path.chmod(0o755)
    home.prefix = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")

    done = home.heartbeat()

    assert (done.code, done.out, home.truth()) == (74, "", []), done
    assert "Permission denied" in done.err
    assert "belongs to root" in done.err


def test_a_project_that_may_not_be_looked_at_is_the_operators_trouble(home: Home) -> None:
    """One line and what to type, no traceback (SPEC 6.3)."""
    if shutil.which("setpriv") is None:
        pytest.skip("NOT TESTED: no setpriv here")
    home.spec("S1")
    home.queue("S1")
    home.prefix = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
    home.project.chmod(0)

    done = home.heartbeat()

    assert (done.code, done.out, home.truth()) == (78, "", []), done
    assert done.err == (
        f"awm: {home.project}/.git cannot be looked at: Permission denied\n"
        f"hint: `ls -ld {home.project}`; run as its owner\n"
    )
