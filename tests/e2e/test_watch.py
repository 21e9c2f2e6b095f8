"""`awm watch`: the whole loop on one screen, on any terminal, from files alone (SPEC 14)."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from home import REPOSITORY, Done, Home
from rich.cells import cell_len
from test_verbs import awm

from awm_loop.cli.frame import frame
from awm_loop.wiring import Home as OpenHome

ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[?1049l"  # the terminal's second screen
TITLES = {
    "short": "Search bar",
    "long": "a very long title " * 40,
    "wide": "深層リンクの検索バー" * 20,
    "emoji": "🚀" * 90,
    "combining": "e\u0301" * 200,
}
LIMITED = """printf '{"status": "limited", "resetsAt": %s}' $(( $(date +%s) + 7200 )) > "$AWM_RESULT_FILE"; exit 1"""


class Screen:
    """`awm watch` in a terminal of a size: what it wrote so far, and the keys it is given."""

    def __init__(self, home: Home, process: subprocess.Popen[bytes], leader: int) -> None:
        self.home, self.process, self.leader, self.written = home, process, leader, b""

    def wait_for(self, text: bytes) -> None:
        self.home.wait_for(lambda: text in self.read())

    def read(self) -> bytes:
        while select.select([self.leader], [], [], 0)[0]:
            try:
                self.written += os.read(self.leader, 65_536)
            except OSError:  # the other side is closed
                break
        return self.written

    def type(self, keys: bytes) -> None:
        os.write(self.leader, keys)

    def exit_code(self) -> int:
        code: int = self.home.wait_for(
            lambda: (self.read(), None if self.process.poll() is None else (self.process.returncode,))[1]
        )[0]
        self.read()
        return code


@contextmanager
def watching(home: Home, width: int = 80, height: int = 24) -> Iterator[Screen]:
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
    before = termios.tcgetattr(follower)
    # Its own session, with this terminal as the one whose Ctrl-C reaches it.
    own_terminal = "import fcntl, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); sys.argv[0] = 'awm'; "
    program = f"{own_terminal}from awm_loop.cli.main import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, "--home", str(home.path), "watch"],
        env=home.environ() | {"PYTHONPATH": str(REPOSITORY), "TERM": "xterm-256color"},
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
    )
    try:
        yield Screen(home, process, leader)
        assert termios.tcgetattr(follower) == before
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        os.close(leader)
        os.close(follower)


def busy(home: Home, title: str = "Search bar") -> None:
    """One runs and prints, one is blocked, one failed, two wait."""
    home.spec("S1", home.work("echo compiling; echo linking; sleep 300"), header="**Est:** 10 min", title=title)
    home.spec("S2")
    home.spec("S3")
    home.queue(
        "S1",
        "S2",
        "S3",
        blocked=["S0"],
        failed=["S9"],
        completed=["S8"],
        tasks={"S0": {"reason": "which colour?"}, "S9": {"reason": "no module\x1b[2J"}},
    )
    home.beat()
    home.wait_for(lambda: "linking" in awm(home, "logs", "S1").out)


def test_without_a_terminal_it_prints_one_frame(home: Home) -> None:
    """SPEC 14: progress, what runs and how it gets on, what needs a person, what waits for what, the log's end."""
    busy(home)

    done = awm(home, "watch", COLUMNS="110")

    lines = done.out.splitlines()
    assert (done.code, done.err) == (0, "")
    assert re.fullmatch(rf"● working  {home.path}\W+ ▰▰▱▱▱▱▱▱▱▱  1/6 done  \d\d:\d\d:\d\d", lines[0]) or "…" in lines[0]
    assert re.fullmatch(r"S1  Search bar +\d+ s of ~10 min  quiet ▱{8}(  \d+ s)? +local #1", lines[3])
    blank = [re.sub(r"  +", "  ", line) for line in lines[4:]]
    assert [re.sub(r"^\d\d:\d\d:\d\d", "TIME", line) for line in blank] == [
        "",
        "NEEDS YOU",
        "S0  blocked — which colour?  awm why S0",
        "S9  failed — no module  awm why S9",
        "",
        "QUEUE 2",
        "S2  waits for S1, which is running  Thing S2",
        "S3  waits for S1, which is running  Thing S3",
        "",
        "LATELY",
        "TIME  S1  started — local",
        "",
        "LOG OF S1 #1",
        "compiling",
        "linking",
        "q leaves, the agents go on",
    ]


def test_a_limit_is_shown_with_its_end_and_what_waits_for_it(home: Home) -> None:
    """SPEC 9.1: the account, until when, and the next time anything is due."""
    home.config("[loop]\nlimit_margin_seconds = 0\n")
    home.spec("S1", LIMITED)
    home.queue("S1")
    home.wait_for(lambda: "ended limited -> queued" in home.rows("S1"), beat_every=0.2)

    shown = awm(home, "watch", COLUMNS="120").out

    when = r"in (2 h 00|1 h 59) min \((\w{3} )?\d\d:\d\d\)"
    assert re.search(rf"\nLIMITS\nlocal  opens {when}\n", shown)
    assert re.search(rf"\nS1  waits for the limit of account local, {when} +Thing S1\n", shown)
    assert re.search(rf"agents go on +next due {when}\n", shown)


def test_a_paused_loop_says_how_it_goes_on(home: Home) -> None:
    """SPEC 4.4."""
    home.spec("S1")
    home.queue("S1", active=False)

    shown = awm(home, "watch").out

    assert shown.startswith("● paused  ")
    assert re.search(r"\nS1  waits for you: the loop is paused +Thing S1\n", shown)
    assert shown.endswith("paused: awm resume goes on\n")


@pytest.mark.parametrize("title", TITLES.values(), ids=TITLES)
def test_no_line_is_wider_and_no_frame_higher_than_the_screen(home: Home, title: str) -> None:
    """Any size from 10x4 up, any title: what does not fit is cut, with an ellipsis."""
    busy(home, title)
    opened = OpenHome.open(home.path)

    for width in (10, 20, 39, 40, 60, 80, 200):
        for height in (4, 5, 10, 11, 24, 50):
            lines = frame(opened, width, height)
            assert len(lines) <= height, (width, height)
            assert [line.plain for line in lines if cell_len(line.plain) > width or "\n" in line.plain] == []


@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 10)])
def test_on_a_small_screen_what_matters_most_stays(home: Home, width: int, height: int) -> None:
    """What runs, what needs a person and what comes next are there; the rest shares what room is left."""
    busy(home, "a very long title " * 40)

    shown = "\n".join(line.plain for line in frame(OpenHome.open(home.path), width, height))

    for text in (
        "1/6 done",
        "RUNNING\nS1  a very long ti",
        "NEEDS YOU\nS0  blocked — which",
        "QUEUE 2\nS2  waits for S1",
    ):
        assert text in shown
    assert re.search(r"\nS1  a very long .*…  \d+ s of ~10 min", shown)  # the title gave way, not what follows it


@pytest.mark.parametrize("key", [b"q", b"Q", b"\x03"])
def test_q_or_ctrl_c_leaves_and_the_agents_go_on(home: Home, key: bytes) -> None:
    """SPEC 6.6 for watching: exit 0, the terminal as it was, the agent alive."""
    busy(home)
    agents = home.agents()

    with watching(home) as screen:
        screen.wait_for(b"linking")
        screen.type(key)
        code = screen.exit_code()

    assert (code, home.agents()) == (0, agents)
    assert screen.written.count(ENTER) == screen.written.count(LEAVE) == 1
    assert b"Traceback" not in screen.written


def test_it_shows_what_happens_while_it_is_open(home: Home) -> None:
    """Refreshed from the files alone: another process ends the task, and the screen says so."""
    home.spec("S1", home.work(f"while [ ! -e {home.root}/go ]; do sleep 0.05; done"))
    home.queue("S1")
    home.beat()
    home.wait_for(lambda: home.begun() == ["S1"])

    with watching(home) as screen:
        screen.wait_for(b"RUNNING")
        (home.root / "go").touch()
        screen.wait_for(b"1/1 done")
        screen.wait_for(b"idle")
        screen.type(b"q")
        code = screen.exit_code()

    assert code == 0


def test_a_state_file_that_breaks_meanwhile_is_shown_and_not_fatal(home: Home) -> None:
    """SPEC 4.7: the next frame is right again when the file is."""
    home.spec("S1")
    home.queue("S1", active=False)
    good = home.state_path.read_bytes()

    with watching(home, width=250) as screen:
        screen.wait_for(b"paused")
        home.put_bytes(b"{")
        screen.wait_for(b"current_work.json:1:2")
        before = len(screen.read())
        home.put_bytes(good)
        home.wait_for(lambda: b"paused" in screen.read()[before:])
        screen.type(b"q")
        code = screen.exit_code()

    assert code == 0


def test_a_bad_state_file_is_said_before_there_is_a_screen(home: Home) -> None:
    """SPEC 4.7, 6.3: exit 78, as every verb."""
    home.put_bytes(b"{")

    done = awm(home, "watch")

    assert (done.code, done.out) == (78, "")
    assert done.err.startswith(f"awm: {home.state_path}:1:2: ")


def test_without_a_state_it_says_how_to_begin(home: Home) -> None:
    """SPEC 14: errors say what to type next."""
    assert awm(home, "watch") == Done(
        78, "", f"awm: {home.state_path} does not exist yet\nhint: `awm add SPRINT_S1_SPEC.md` queues a first task\n"
    )


def test_watching_writes_nothing(home: Home) -> None:
    """SPEC 4.8: from files alone, without a lock."""
    home.spec("S1")
    home.queue("S1")
    before = home.tree()

    done = awm(home, "watch")

    assert (done.code, home.tree()) == (0, before)
