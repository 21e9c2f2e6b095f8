"""A spec that cannot be used blocks its own task, says why, and nothing else (SPEC 5.1, 8.7)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from home import QUICK, Home, only


def missing(path: Path) -> None:
    path.unlink()


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def written(data: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(data)

    return write


def with_header(line: str) -> Callable[[Path], None]:
    return written(f"# Sprint S1: Thing\n\n{line}\n\n```sh run\ntrue\n```\n".encode())


PROSE = "the spec has no ```sh run block for agent local (kind shell) to run; "
TROUBLE = {
    "missing": (missing, "spec file {path} does not exist"),
    "FIFO": (fifo, "spec file {path} is not a regular file"),
    "directory": (directory, "spec file {path} is not a regular file"),
    "device": (device, "spec file {path} is not a regular file"),
    "symlink to itself": (loop, "spec file {path} cannot be read: Too many levels of symbolic links"),
    "empty": (written(b""), "spec file {path} is empty"),
    "blank": (written(b" \n\t\n"), "spec file {path} is empty"),
    "not UTF-8": (written(b"# Sprint S1: B\xfcro\n"), "spec file {path} is not UTF-8 (byte 14)"),
    "over 1 MiB": (written(b"x" * (1024 * 1024 + 1)), "spec file {path} is over 1 MiB"),
    "unknown model": (
        with_header("**Model:** gpt-9"),
        "`Model: gpt-9` names no agent and no model of one; agents: helper, local",
    ),
    "bad timeout": (
        with_header("**Timeout:** soon"),
        "spec file {path}: `Timeout: soon` is not a length such as `45 min`",
    ),
    "prose": (
        written(b"# Sprint S1: Write a poem\n\nAbout the sea.\n"),
        PROSE + "agents that could do it: helper (`**Model:** …`)",
    ),
    "other code": (
        written(b"# Sprint S1: Thing\n\n```sh\ntrue\n```\n"),
        PROSE + "agents that could do it: helper (`**Model:** …`)",
    ),
}


def with_a_second_agent(home: Home) -> None:
    home.config(f'{QUICK}[agents.helper]\nkind = "command"\ncommand = ["true"]\n')


@pytest.mark.parametrize("name", list(TROUBLE))
def test_a_spec_that_cannot_be_used_blocks_its_task_only(name: str, home: Home) -> None:
    """At once, with the reason in state and notice, and without an attempt (SPEC 5.1)."""
    spoil, reason = TROUBLE[name]
    with_a_second_agent(home)
    path = home.spec("S1")
    home.spec("S2")
    spoil(path)
    home.queue("S1", "S2")

    state = home.finish()

    reason = reason.format(path=path)
    assert (state["blocked"], state["completed"], home.begun()) == (["S1"], ["S2"], ["S2"])
    assert state["tasks"]["S1"]["reason"] == reason
    assert home.texts("blocked") == [f"✋ Sprint S1 is blocked — {reason}. When that is mended: awm retry S1"]
    assert [path.name for path in home.attempts()] == [only(home.attempts()).name]


def test_a_spec_that_breaks_between_promise_and_start_fails_its_attempt(home: Home) -> None:
    """The attempt says so; nothing of the old spec is run (SPEC 5.1)."""
    mark = home.root / "once"
    path = home.spec("S1", home.work(f"touch {mark}; rm {home.root}/SPRINT_S1_SPEC.md; exit 1"))
    home.queue("S1")

    state = home.finish()

    assert (home.begun(), state["blocked"]) == (["S1"], ["S1"])
    assert state["tasks"]["S1"]["reason"] == f"spec file {path} does not exist"


def test_header_forms_are_free_in_case_and_spacing(home: Home) -> None:
    """`**Model:**` by name of an agent or of its model, `**Priority:**` by word or number (SPEC 5.1, 7.5)."""
    agent = home.agent(f'echo "begin $AWM_TASK $AWM_ATTEMPT" >> {home.truth_path}')
    home.config(f'{QUICK}[agents.helper]\nkind = "command"\ncommand = ["{agent}"]\nmodel = "gpt-5.2"\n')
    home.spec("S1", header="-  ** priority :**  p3 — later\n**model:** HELPER\n**COMMIT:** No")
    home.spec("S2", header="**Priority:** P0 — CRITICAL\n**Model:** `gpt-5.2`\n**Commit:** no")
    home.spec("S3", header="**Commit:** no")
    home.queue("S1", "S2", "S3")

    state = home.finish()

    assert state["completed"] == ["S2", "S3", "S1"]
    assert [text.splitlines()[1] for text in home.texts("started")] == [
        "🤖 Model: Helper (gpt-5.2)",
        "🤖 Model: Shell",
        "🤖 Model: Helper (gpt-5.2)",
    ]


def test_only_the_marked_blocks_of_a_spec_are_run(home: Home) -> None:
    """Fenced, `sh run`, joined in order, with `sh -eu` in the workspace; examples in other fences are text (SPEC 8.7)."""
    home.spec("S1").write_text(
        "# Sprint S1: Two blocks\n**Commit:** no\n\n"
        "```sh\necho example > example\n```\n\n"
        f"~~~ sh run\nwhere=$(pwd)\necho first > {home.root}/out\n~~~\n\n"
        "Between them, `sh run` in prose.\n\n"
        f'  ```sh run\n  echo "second $where" >> {home.root}/out\n  ```\n\n'
        "````\n```sh run\necho nested > nested\n```\n````\n"
    )
    home.queue("S1")

    assert home.finish()["completed"] == ["S1"]

    assert (home.root / "out").read_text() == f"first\nsecond {home.project}\n"
    assert [path.name for path in home.project.iterdir()] == [".git"]


def test_the_embedded_agent_stops_at_the_first_error(home: Home) -> None:
    """`sh -eu`: a command that fails, and a variable that is not set (SPEC 8.7)."""
    home.spec("S1", f"false\necho on >> {home.root}/on", header="**Commit:** no")
    home.spec("S2", f'echo "$NOT_SET"\necho on >> {home.root}/on', header="**Commit:** no")
    home.queue("S1", "S2", maxRetries=0)

    state = home.finish()

    assert (state["failed"], (home.root / "on").exists()) == (["S1", "S2"], False)
