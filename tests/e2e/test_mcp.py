"""`awm mcp`: the SDK's own client against the real process (SPEC 14, 5.1, 17)."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from home import QUICK, REPOSITORY, Home, only
from mcp import Client, StdioServerParameters
from test_verbs import awm

from awm_loop.cli.tools import ANSWER_CHARS_MAX

ARGUMENTS = ("-m", "awm_loop.cli.main", "--home")
LOOKS = {"status", "queue", "why", "logs", "metrics", "sessions"}
EDITS = {"add", "answer", "retry", "skip", "pause", "resume"}
HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}},
}

Call = Callable[..., Awaitable[Any]]


def assisted(home: Home, talk: Callable[[Call], Awaitable[None]]) -> None:
    """An assistant's session: `talk` calls tools, each answer is the structured object, a refusal the text."""

    async def session() -> None:
        parameters = StdioServerParameters(
            command=sys.executable,
            args=[*ARGUMENTS, str(home.path), "mcp"],
            env=home.environ() | {"PYTHONPATH": str(REPOSITORY)},
        )
        async with Client(parameters) as client:

            async def call(tool: str, **arguments: object) -> Any:
                result = await client.call_tool(tool, arguments)
                return only(result.content).text if result.is_error else result.structured_content

            await talk(call)

    asyncio.run(session())


def refusal(tool: str, *lines: str) -> str:
    return "\n".join([f"Error executing tool {tool}: {lines[0]}", *lines[1:]])


def test_an_assistant_queues_work_and_reads_the_result(home: Home) -> None:
    """SPEC 14: from the text of a spec to its commit, with the timer's beats between."""
    home.queue()
    text = home.spec(
        "S1", home.work("printf 'a \\033[31mred\\033[0m line\\n'"), header="**Priority:** high"
    ).read_text()

    async def talk(call: Call) -> None:
        added = await call("add", spec=text)
        assert added == {
            "added": ["S1"],
            "queue": ["S1"],
            "problems": [],
            "warnings": [],
            "paused": False,
            "then": "the next beat of the timer acts on it",
        }
        assert (home.path / "state" / "specs" / "S1.md").read_text() == text
        assert [(one["task"], one["priority"]) for one in (await call("queue"))["tasks"]] == [("S1", "high")]
        assert home.attempts() == []
        home.finish()
        status = await call("status")
        assert (status["standing"]["completed"], status["next"]) == (["S1"], ["awm add SPEC.md queues more"])
        session = only((await call("sessions", task="S1"))["sessions"])
        assert (session["status"], session["agent"], len(session["commits"])) == ("completed", "local", 1)
        assert (await call("logs", task="S1"))["lines"] == ["a red line"]
        assert [one["outcome"] for one in (await call("why", task="S1"))["attempts"]] == ["succeeded"]
        assert (await call("metrics"))["total"]["completed"] == 1
        assert "working resting" not in (await call("logs", lines=200))["lines"][0]

    assisted(home, talk)
    assert home.state()["completed"] == ["S1"]


def test_it_answers_what_an_agent_asks(home: Home) -> None:
    """The question is in `why`, whole; the answer starts nothing here, and the next beat's prompt holds it (SPEC 7.2)."""
    question = "blue or green, " * 100 + "which?"
    asks = f"""! grep -q '[T]he blue one' "$AWM_PROMPT_FILE" || exit 0
echo '{{"status": "blocked", "question": "{question}"}}' > $AWM_RESULT_FILE"""
    command = json.dumps([home.agent(asks)])
    home.config(
        f'{QUICK}require_commit = false\ndefault_agent = "mine"\n[agents.mine]\nkind = "command"\ncommand = {command}\n'
    )
    home.spec("S1")
    home.queue("S1")
    home.finish()

    async def talk(call: Call) -> None:
        why = await call("why", task="S1")
        assert (why["where"], why["reason"]) == ("blocked", question)
        answered = await call("answer", task="S1", text="The blue one")
        assert (answered["where"], answered["running"]) == ("queue", [])
        assert len(home.attempts()) == 1
        home.finish()

    assisted(home, talk)
    assert home.state()["completed"] == ["S1"]
    assert "The answer of the person in charge: The blue one" in home.prompt(2)


def test_it_pauses_skips_retries_and_resumes(home: Home) -> None:
    """Edits of the state that the next beats act on (SPEC 4.4, 7.2)."""
    home.spec("S1", "sleep 300")
    home.spec("S2")
    home.queue("S1", "S2")
    home.beat()
    home.wait_for(home.agents)

    async def talk(call: Call) -> None:
        paused = await call("pause")
        assert (paused["paused"], paused["running"], paused["queue"]) == (True, ["S1"], ["S2"])
        assert (await call("skip", task="S1", reason="too slow"))["where"] == "running"
        home.wait_for(lambda: home.state()["skipped"] == ["S1"], beat_every=0.2)
        assert (await call("retry", task="S1"))["queue"] == ["S1", "S2"]
        assert (await call("skip", task="S1"))["where"] == "skipped"
        assert not (await call("resume"))["paused"]
        home.finish()

    assisted(home, talk)
    assert (home.state()["completed"], home.state()["skipped"]) == (["S2"], ["S1"])


def test_a_path_lies_in_the_home_or_the_project(home: Home) -> None:
    """The caller is an assistant: what lies elsewhere, also by a link, is no spec (SPEC 5.1)."""
    home.queue()
    outside = home.root / "S1.md"
    outside.write_text(home.spec("S1").read_text())
    for name, folder in (("S2", home.path), ("S3", home.project)):
        (folder / f"{name}.md").write_text(outside.read_text().replace("S1", name))
    (home.path / "link.md").symlink_to(outside)

    async def talk(call: Call) -> None:
        for path in (str(outside), "link.md", "../S1.md"):
            told = await call("add", path=path)
            assert told.endswith(f" lies neither in the home nor in the project\nhint: move it to {home.path}"), told
        assert (await call("add", path="S2.md"))["added"] == ["S2"]
        assert (await call("add", path=str(home.project / "S3.md"), task="mine"))["added"] == ["mine"]

    assisted(home, talk)
    assert home.state()["queue"] == ["S2", "mine"]


def test_what_cannot_be_done_is_a_tool_error_with_its_hint(home: Home) -> None:
    """As the command line says it; nothing is changed, and a spec that is there stays (SPEC 14)."""
    home.queue()
    text = home.spec("S1").read_text()

    async def talk(call: Call) -> None:
        await call("add", spec=text)
        before = home.state()
        assert await call("add", spec=f"{text}and more\n") == refusal(
            "add",
            "S1 is already there (queue)",
            "hint: --id NAME gives it another id; `awm retry S1` runs the old one again",
        )
        assert await call("add", spec="just do it") == refusal(
            "add", "the spec names no task", "hint: begin it with `# Sprint ID: title`, or give `task`"
        )
        for name in ("../S2", "a\nb", "\x1b[31m"):
            assert "is not a task id" in await call("add", spec="do it", task=name)
        assert "has either" in await call("add", spec="x", path="y", task="S2")
        assert "over 1 MiB" in await call("add", spec="x" * (1024 * 1024 + 1), task="S2")
        assert "is empty" in await call("add", spec=" \n", task="S2")
        assert "there is no project nope" in await call("add", spec="x", task="S2", project="nope")
        assert await call("why", task="S11") == refusal("why", "there is no task S11", "hint: did you mean S1?")
        assert await call("answer", task="S1", text="x") == refusal(
            "answer", "S1 is not blocked, it is in the queue", "hint: awm why S1"
        )
        assert "greater than or equal to 1" in await call("logs", lines=0)
        assert home.state() == before

    assisted(home, talk)
    assert (home.path / "state" / "specs" / "S1.md").read_text() == text


def test_files_that_are_mended_while_it_serves_are_read_anew(home: Home) -> None:
    """A bad awm.toml or state is each call's own trouble (SPEC 4.7)."""
    home.queue()

    async def talk(call: Call) -> None:
        home.config("[loop]\nmax_paralel = 2\n")
        assert "did you mean `max_parallel`?" in await call("status")
        home.config(QUICK)
        home.put_bytes(b"{")
        assert "current_work.json" in await call("status")
        home.queue()
        assert (await call("status"))["standing"]["loop"] == "idle"

    assisted(home, talk)


def test_every_answer_is_bounded(home: Home) -> None:
    """Whatever the files hold, an answer is one that a client can take (SPEC 17)."""
    ids = [f"S{number}" for number in range(3000)]
    home.queue(
        *ids[:1000],
        completed=ids[1000:2000],
        failed=ids[2000:],
        tasks={task: {"reason": "x" * 3000} for task in ids[2000:]},
    )
    journal = home.path / "state" / "log.jsonl"
    rows = [
        {"seq": n, "at": "\x1b[31m", "what": "y" * 5000, "task": "S1", "z": [[[0] * 999]] * 99} for n in range(1, 99)
    ]
    journal.write_text("".join(f"{json.dumps(row)}\n" for row in rows) + '{"seq": 99, "what": "\\ud800", "z": NaN}\n')

    async def talk(call: Call) -> None:
        for tool in sorted(LOOKS - {"why"}):
            arguments = {"limit": 200} if tool == "queue" else {"lines": 200} if tool == "logs" else {}
            answer = await call(tool, **arguments)
            assert isinstance(answer, dict), (tool, answer)
            assert len(json.dumps(answer, ensure_ascii=False)) <= ANSWER_CHARS_MAX
        assert (await call("status"))["standing"]["completed"][-1] == "S1999"
        assert (await call("why", task="S2999"))["where"] == "failed"

    assisted(home, talk)


def test_its_tools_are_named_as_the_verbs_and_those_that_look_say_so(home: Home) -> None:
    """SPEC 14: a client may let pass what only looks."""
    home.queue()

    async def session() -> dict[str, bool | None]:
        parameters = StdioServerParameters(
            command=sys.executable,
            args=[*ARGUMENTS, str(home.path), "mcp"],
            env=home.environ() | {"PYTHONPATH": str(REPOSITORY)},
        )
        async with Client(parameters) as client:
            tools = (await client.list_tools()).tools
            assert all(tool.description for tool in tools)
            return {tool.name: tool.annotations.read_only_hint if tool.annotations else None for tool in tools}

    assert asyncio.run(session()) == dict.fromkeys(LOOKS, True) | dict.fromkeys(EDITS, False)


def test_stdout_is_the_protocols_alone_and_it_ends_with_its_client(home: Home) -> None:
    """Lines that are no message, and half a character, end nothing; an end of input does, with exit code 0."""
    home.queue()
    call = {"method": "tools/call", "params": {"name": "add", "arguments": {"spec": "# Sprint S1: \ud800\n"}}}
    sent = [
        json.dumps(HELLO).encode(),
        b'{"jsonrpc": "2.0", "method": "notifications/initialized"}',
        b"\xff\xfe no message",
        json.dumps({"jsonrpc": "2.0", "id": 2, **call}).encode(),
        b'{"jsonrpc": "2.0", "id": 3, "method": "tools/list"}',
    ]
    with subprocess.Popen(
        [sys.executable, *ARGUMENTS, str(home.path), "mcp"],
        env=home.environ() | {"PYTHONPATH": str(REPOSITORY)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"".join(line + b"\n" for line in sent))
        process.stdin.flush()
        answers = [json.loads(process.stdout.readline())]
        while answers[-1].get("id") != 3:
            answers.append(json.loads(process.stdout.readline()))
        rest, _ = process.communicate(timeout=60)

    assert (process.returncode, rest, answers[0]["id"]) == (0, b"", 1)
    assert home.state()["queue"] == []


def test_without_the_extra_it_says_what_to_install(home: Home) -> None:
    """SPEC 14: `awm mcp` alone needs `[mcp]`."""
    (home.root / "none" / "mcp").mkdir(parents=True)
    (home.root / "none" / "mcp" / "__init__.py").write_text("raise ModuleNotFoundError('no', name='mcp')\n")
    done = awm(home, "mcp", PYTHONPATH=f"{home.root / 'none'}{os.pathsep}{REPOSITORY}")

    assert (done.code, done.out, done.err.splitlines()) == (
        78,
        "",
        [
            "awm: `awm mcp` needs mcp, which is not installed",
            "hint: pip install 'awm-loop[mcp]'; in a checkout: ./scripts/setup dev",
        ],
    )


@pytest.mark.parametrize("verb", ["add", "status"])
def test_the_other_verbs_do_not_need_it(home: Home, verb: str) -> None:
    """Nothing but `awm mcp` imports the SDK."""
    (home.root / "none" / "mcp").mkdir(parents=True)
    (home.root / "none" / "mcp" / "__init__.py").write_text("raise SystemExit('imported')\n")
    home.queue()
    done = awm(
        home,
        verb,
        *([str(home.spec("S1"))] if verb == "add" else []),
        PYTHONPATH=f"{home.root / 'none'}{os.pathsep}{REPOSITORY}",
    )

    assert (done.code, done.err) == (0, "")
