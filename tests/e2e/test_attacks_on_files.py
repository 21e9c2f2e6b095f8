"""What an agent leaves in its attempt's directory and in the repository must wedge nobody (SPEC 8.1, 8.3, 17)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from home import QUICK, Home, only

from awm_loop.cli import supervision
from awm_loop.store import specfile
from awm_loop.wiring import Home as Wired

STRANGE = {
    "a FIFO": "mkfifo $n",
    "a directory": "mkdir $n",
    "a dangling link": "ln -s /nowhere/at/all $n",
    "a link to no end": "ln -s /dev/zero $n",
    "no end of zeros": "truncate -s 1T $n 2> /dev/null || truncate -s 100M $n",
}


def replace(path: str, what: str) -> str:
    """A script that puts something strange in the place of a file, whoever makes that file anew meanwhile."""
    return f"f={path}\nn=$f.strange\n{STRANGE[what]}\nuntil mv -T $n $f; do rm -f $f; done"


ANSWER = "answer/agent-result.json"


def leave(name: str, what: str) -> str:
    return replace(f"$(dirname $AWM_PROMPT_FILE)/{name}", what)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        *(("result.json", what) for what in STRANGE),
        *((name, "a FIFO") for name in ("samples.jsonl", "evidence.txt", "started", ANSWER)),
        ("samples.jsonl", "a link to no end"),
        ("started", "a dangling link"),
        ("agent.lock", "a directory"),
    ],
)
def test_a_strange_file_in_its_directory_delays_no_other_task(name: str, what: str, home: Home) -> None:
    """Its own end is recorded, whatever is in the way; what it says of itself may count as malformed (SPEC 8.2)."""
    home.config(QUICK + "max_retries = 0\n")
    home.spec("S1", home.work(leave(name, what)))
    home.spec("S2")
    home.queue("S1", "S2")

    home.beat()
    home.wait_for(lambda: home.is_idle, beat_every=1, seconds=30)

    state = home.state()
    where = "failed" if name == ANSWER else "completed"
    assert [(key, state[key]) for key in ("completed", "failed", "attempts")] == [
        ("completed", ["S2"] if where == "failed" else ["S1", "S2"]),
        ("failed", ["S1"] if where == "failed" else []),
        ("attempts", []),
    ]
    assert home.begun() == ["S1", "S2"]


@pytest.mark.parametrize(
    ("name", "what"), [("out.log", "a FIFO"), ("gate.log", "a FIFO"), ("out.log", "a link to no end")]
)
def test_a_strange_log_does_not_keep_the_next_attempt_from_its_prompt(name: str, what: str, home: Home) -> None:
    """It is read with the state lock held (SPEC 5.2, 6.2)."""
    home.spec(
        "S1",
        f"[ -e {home.root}/once ] && exit 0\ntouch {home.root}/once\n{leave(name, what)}",
        header="**Commit:** no\n**Verify:** [ -e yes ] || { touch yes; false; }",
    )
    home.queue("S1")

    home.beat()
    home.wait_for(lambda: home.is_idle, beat_every=1, seconds=30)

    assert home.state()["completed"] == ["S1"]


@pytest.mark.parametrize("what", STRANGE)
def test_whatever_is_called_stop_is_a_request(what: str, home: Home) -> None:
    """That cannot be read: a person's, to be safe; and the beat's own replaces it (SPEC 8.3)."""
    home.spec("S1", home.work(f"{leave('stop', what)}\nsleep 1000"), header="**Timeout:** 30 sec")
    home.queue("S1")

    home.beat()
    home.wait_for(home.results, beat_every=1, seconds=20)

    assert only(home.results())["outcome"] == "stopped"


@pytest.mark.parametrize("name", ["HEAD", "refs/heads/main"])
@pytest.mark.parametrize("what", ["a FIFO", "a link to no end"])
def test_a_strange_head_asks_a_person_and_stops_no_beat(name: str, what: str, home: Home) -> None:
    """Git would wait for a writer, for ever; the agent ended well, so it did not fail (SPEC 10.1, 17)."""
    home.spec("S1", replace(f"$PWD/.git/{name}", what))
    home.spec("S2")
    home.queue("S1", "S2")
    path = home.project / ".git" / name
    kept = path.read_bytes()

    home.beat()
    home.wait_for(home.results, seconds=20)
    done = home.heartbeat()

    message = f"git cannot be asked: {path} is not a regular file"
    assert (only(home.results())["outcome"], only(home.results())["question"]) == (
        "blocked",
        f"{message} (`ls -l {path}`)",
    )
    assert (done.code, done.err) == (78, f"awm: {message}\nhint: `ls -l {path}`\n")
    path.unlink()
    path.write_bytes(kept)
    state = home.finish()
    assert (state["blocked"], state["completed"]) == (["S1"], ["S2"])


def test_a_git_that_disappears_while_the_agent_works_is_no_failure(home: Home) -> None:
    """It ended well; whether it left a commit, nobody can say (SPEC 10.1)."""
    bare = home.root / "bin"
    bare.mkdir()
    for program in ("sh", "flock", "mv", "sleep", "git", "cut", "echo"):
        found = next(path for folder in os.environ["PATH"].split(":") if (path := Path(folder, program)).exists())
        (bare / program).symlink_to(found.resolve())
    home.environment = {"PATH": str(bare)}
    home.spec("S1", f"{home.work()}\nmv {bare}/git {bare}/gone")
    home.queue("S1")

    home.beat()
    result = only(home.wait_for(home.results))

    message = f"{home.project} is a git repository, but there is no `git` on PATH"
    assert (result["outcome"], result["error"], result["question"], result["commits"]) == (
        "blocked",
        message,
        f"{message} (is git on PATH? install git, or set PATH)",
        [],
    )


@pytest.mark.parametrize("is_packed", [False, True])
def test_without_git_nothing_is_started_in_a_git_project(is_packed: bool, home: Home) -> None:
    """Also where HEAD can be read without it: an agent's work could not be judged (SPEC 10.1)."""
    if is_packed:
        home.git("pack-refs", "--all")
    home.spec("S1")
    home.queue("S1")
    closed = home.root / "bin"
    closed.mkdir(mode=0)
    home.environment = {"PATH": str(closed)}

    done = home.heartbeat()

    message = f"{home.project} is a git repository, but there is no `git` on PATH"
    assert (done.code, done.err) == (78, f"awm: {message}\nhint: is git on PATH? install git, or set PATH\n")
    assert (home.attempts(), home.state()["queue"]) == ([], ["S1"])


def test_a_lock_with_a_strange_name_does_not_lose_the_result(home: Home) -> None:
    """Bytes that are no UTF-8 are escaped in it (SPEC 8.3)."""
    home.config(QUICK + "max_retries = 0\n")
    home.spec("S1", "touch \"$(printf '.git/refs/heads/b\\377.lock')\"; exit 3")
    home.queue("S1")

    home.finish()

    result = only(home.results())
    assert (result["outcome"], result["removedLocks"]) == ("failed", ["refs/heads/b\\xff.lock"])


def test_a_long_spec_is_not_rehearsed(home: Home) -> None:
    """To parse it takes seconds in which neither a stop nor a time limit would be served (SPEC 8.3)."""
    parsed = []
    for lines in ("- a\n" * 250, "- a\n" * 25_000):
        text = f"# Sprint S1: Long\n\n<div>\n\n{lines}\n```sh run\ntrue\n```\n"
        (home.root / "SPRINT_S1_SPEC.md").write_text(text)
        home.queue("S1")
        before = specfile.run_blocks.cache_info().misses
        supervision._rehearse(Wired.open(home.path))
        parsed.append(specfile.run_blocks.cache_info().misses > before)

    assert parsed == [True, False]
