"""`awm logs --follow`: the output of the agents as it comes, on to the next attempt (SPEC 8.2, 14)."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from home import REPOSITORY, Done, Home
from test_verbs import awm

from awm_loop.attempt.output import OutputLog
from awm_loop.cli.following import OutputReader
from awm_loop.config import LOG_HEAD_BYTES, LOG_TAIL_BYTES

ENDED = "S1 is completed; `awm why S1` tells more\n"


class Follower:
    """`awm logs --follow` while it runs; what it printed is in `said` and `complained`."""

    def __init__(self, home: Home, process: subprocess.Popen[bytes], out: Path, err: Path) -> None:
        self.home, self.process, self._out, self._err = home, process, out, err

    def said(self) -> str:
        return self._out.read_text()

    def wait_for(self, text: str) -> None:
        self.home.wait_for(lambda: text in self.said())

    def done(self) -> Done:
        """How it ended, which it must do by itself."""
        code = self.home.wait_for(lambda: None if self.process.poll() is None else (self.process.returncode,))[0]
        return Done(code, self.said(), self._err.read_text())


@contextmanager
def following(home: Home, *arguments: str) -> Iterator[Follower]:
    out, err = home.root / "followed.out", home.root / "followed.err"
    command = [sys.executable, "-m", "awm_loop.cli.main", "--home", str(home.path), "logs", "--follow", *arguments]
    with out.open("wb") as out_file, err.open("wb") as err_file:
        process = subprocess.Popen(
            command,
            env=home.environ() | {"PYTHONPATH": str(REPOSITORY)},
            stdin=subprocess.DEVNULL,
            stdout=out_file,
            stderr=err_file,
        )
    try:
        yield Follower(home, process, out, err)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def until(home: Home, name: str) -> str:
    """Shell: wait for a file of that name."""
    return f"while [ ! -e {home.root}/{name} ]; do sleep 0.02; done"


def test_it_prints_what_comes_and_ends_with_the_task(home: Home) -> None:
    """SPEC 14: from the last lines on, whole lines, without escapes (SPEC 17); exit 0 when the task has ended."""
    home.spec(
        "S1", home.work(f"echo one; echo two; {until(home, 'go')}; printf '\\033[31mthree\\033[0m\\nno line end'")
    )
    home.spec("S2", home.work("sleep 300"))
    home.queue("S1", "S2")
    home.beat()
    home.wait_for(lambda: "two" in awm(home, "logs", "S1").out)

    with following(home, "-n", "1", "S1") as follower:
        follower.wait_for("two\n")
        (home.root / "go").touch()
        done = follower.done()

    assert done == Done(0, "==> S1, attempt 1, local <==\ntwo\nthree\nno line end", ENDED)


def test_it_goes_on_with_the_next_attempt(home: Home) -> None:
    """SPEC 7.2: a retry is followed under its own name; who waits in the queue is waited for."""
    tried = home.root / "tried"
    again = f"[ -e {tried} ] && echo once more && git commit -q --allow-empty -m x && exit 0"
    home.spec("S1", f"{again}; echo first try; {until(home, 'go')}; touch {tried}; exit 1")
    home.queue("S1")

    with following(home, "S1") as follower:
        home.wait_for((home.root / "followed.err").read_text)
        home.beat()
        follower.wait_for("first try\n")
        (home.root / "go").touch()
        done = follower.done()

    assert done == Done(
        0,
        "==> S1, attempt 1, local <==\nfirst try\n==> S1, attempt 2, local <==\nonce more\n",
        f"S1 is in the queue: `awm why S1` tells what it waits for\n{ENDED}",
    )


def test_without_a_task_it_follows_all_until_the_loop_rests(home: Home) -> None:
    """SPEC 4.4: one attempt after the other, each under its name, none left out."""
    for task in ("S1", "S2", "S3"):
        home.spec(task, home.work(f"echo {task} works; {until(home, 'go')}"))
    home.queue("S1", "S2", "S3")
    home.beat()

    with following(home) as follower:
        follower.wait_for("S1 works\n")
        (home.root / "go").touch()
        done = follower.done()

    assert done == Done(
        0,
        "".join(f"==> S{n}, attempt {n}, local <==\nS{n} works\n" for n in (1, 2, 3)),
        "the loop is idle; `awm status` tells more\n",
    )


def test_in_a_paused_loop_it_does_not_wait_for_ever(home: Home) -> None:
    """SPEC 4.4: nothing will start before a person says so."""
    home.spec("S1")
    home.queue("S1", active=False)

    with following(home, "S1") as follower:
        done = follower.done()

    assert done == Done(0, "", "the loop is paused; `awm resume` goes on\n")


def test_of_a_task_that_has_ended_it_shows_the_last_lines(home: Home) -> None:
    """As `tail -F` would, and no more comes."""
    home.spec("S1", home.work("seq 1 30"))
    home.queue("S1")
    home.finish(0.2)

    with following(home, "-n", "2", "S1") as follower:
        done = follower.done()

    assert done == Done(0, "==> S1, attempt 1, local <==\n29\n30\n", ENDED)


def test_ctrl_c_leaves_and_the_agent_goes_on(home: Home) -> None:
    """Exit 130 and no traceback, as of any program that was interrupted."""
    home.spec("S1", home.work(f"echo here; {until(home, 'go')}"))
    home.queue("S1")
    home.beat()

    with following(home, "S1") as follower:
        follower.wait_for("here\n")
        os.kill(follower.process.pid, signal.SIGINT)
        done = follower.done()
    (home.root / "go").touch()
    state = home.finish(0.2)

    assert (done.code, done.err.strip()) == (130, "")
    assert (state["completed"], home.begun()) == (["S1"], ["S1"])


def test_a_reader_that_goes_away_ends_it_in_silence(home: Home) -> None:
    """`awm logs -f | head -1`: it ends too, and without a word."""
    home.spec("S1", home.work("while echo line; do sleep 0.05; done"))
    home.queue("S1")
    home.beat()
    script = f"{sys.executable} -m awm_loop.cli.main --home {home.path} logs -f S1 | head -1; echo ${{PIPESTATUS[0]}}"
    environment = home.environ() | {"PYTHONPATH": str(REPOSITORY)}

    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=False)

    assert (done.stdout, done.stderr) == ("==> S1, attempt 1, local <==\n0\n", "")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("S9",), 78, "awm: there is no task S9\nhint: `awm status` lists them; `awm add SPEC.md` adds one\n"),
        (("--json",), 2, "Error: --json goes without --follow\n"),
    ],
)
def test_what_cannot_be_followed_is_said(home: Home, arguments: tuple[str, ...], code: int, said: str) -> None:
    """SPEC 14: errors say what to type next."""
    home.queue("S1")

    done = awm(home, "logs", "--follow", *arguments)

    assert (done.code, done.out) == (code, "")
    assert done.err.endswith(said)


@pytest.mark.parametrize("seed", range(3))
def test_a_log_that_loses_its_middle_is_read_without_a_gap_or_a_double(tmp_path: Path, seed: int) -> None:
    """SPEC 8.2: head and tail in a new file; who reads along gets every byte once."""
    chance = random.Random(seed)
    log = OutputLog(tmp_path / "out.log")
    reader = OutputReader(tmp_path / "out.log")
    written, got, size = [], [], 0
    while size < LOG_HEAD_BYTES + 4 * LOG_TAIL_BYTES:
        chunk = "".join(f"{size} {number}\n" for number in range(chance.randrange(1, 60_000)))
        log.append(chunk.encode())
        written.append(chunk)
        size += len(chunk)
        while chance.random() < 0.9 and (text := reader.read()) is not None:
            got.append(text)
    log.close()
    while (text := reader.read()) is not None:
        got.append(text)
    reader.close()

    assert "".join(got) == "".join(written)


def test_a_reader_that_is_too_slow_is_told_how_much_it_missed(tmp_path: Path) -> None:
    """SPEC 8.2: what was cut before it was read is counted; nothing else is left out."""
    log = OutputLog(tmp_path / "out.log")
    log.append(b"begin\n")
    reader = OutputReader(tmp_path / "out.log")
    first = reader.read()
    line = b"x" * 1023 + b"\n"
    lines_count = (LOG_HEAD_BYTES + 5 * LOG_TAIL_BYTES) // len(line)
    for _ in range(lines_count // 64):
        log.append(line * 64)
    log.close()
    texts = []
    while (text := reader.read()) is not None:
        texts.append(text)
    reader.close()
    rest = "".join(texts)

    cut = re.search(r"\n\[AWM: (\d+) bytes of output left out here\]\n", rest)
    assert first == "begin\n"
    assert cut is not None
    assert len(rest) - len(cut[0]) + int(cut[1]) == lines_count // 64 * 64 * len(line)
