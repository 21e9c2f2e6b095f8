"""A gateway's answers, as they were recorded, and as anybody might give them; and a fake that gives no others (SPEC 7.3, 17)."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from claw import CAP, TOKEN, Claw, claw
from home import Home

from awm_loop import gateway
from awm_loop.config import OpenClawConfig
from awm_loop.gateway import Blocked, Gateway, NotAllowed, Refused, Starting, ToolFailed, Trouble, Unreachable

__all__ = ["claw"]
RECORDED: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "gateway_recorded.json").read_text())
Answer = bytes | Callable[[socket.socket], None]


def http(status: int, body: bytes, headers: str = "") -> bytes:
    return f"HTTP/1.1 {status} X\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


def recorded(name: str) -> bytes:
    return http(RECORDED[name]["status"], json.dumps(RECORDED[name]["body"]).encode())


class Stub:
    """A server that gives one answer for each path, whatever it is asked; it keeps what it was asked."""

    def __init__(self, answers: Mapping[str, Answer]) -> None:
        self.answers, self.asked = answers, list[str]()
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.gateway = Gateway(f"http://127.0.0.1:{self.listening.getsockname()[1]}", "secret")
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.listening.accept()
            except OSError:
                return
            with connection:
                asked = connection.recv(65_536).decode()
                head, _, body = asked.partition("\r\n\r\n")
                sizes = [int(line.split(":")[1]) for line in head.lower().split("\r\n") if "content-length:" in line]
                while len(body.encode()) < sum(sizes) and (more := connection.recv(65_536)):
                    body += more.decode()
                asked = f"{head}\r\n\r\n{body}"
                self.asked.append(asked)
                answer = self.answers.get(asked.split(" ")[1], b"")
                with suppress(OSError):
                    answer(connection) if callable(answer) else connection.sendall(answer)


@pytest.fixture
def stub() -> Iterator[Callable[..., Stub]]:
    made: list[Stub] = []

    def make(answer: Answer, readiness: str = "started") -> Stub:
        made.append(Stub({"/tools/invoke": answer, "/startupz": recorded(readiness)}))
        return made[-1]

    yield make
    for one in made:
        one.listening.close()


@pytest.mark.parametrize(
    ("name", "kind", "text", "is_final"),
    [
        ("no token", Refused, "does not take the token (HTTP 401)", True),
        ("spawn denied", NotAllowed, "does not allow the tool sessions_spawn", True),
        ("spawn without a task", ToolFailed, "task required", True),
        ("spawn full", ToolFailed, "sessions_spawn has reached max active children", True),
        ("history of nobody", ToolFailed, "No session found: ", True),
        ("cancel again", ToolFailed, "Task is already terminal.", True),
        ("failed", ToolFailed, "tool execution failed", False),
    ],
)
def test_each_refusal_is_trouble_of_its_own_kind(
    stub: Callable[..., Stub], name: str, kind: type[Trouble], text: str, is_final: bool
) -> None:
    """Also those that come as HTTP 200 with `ok` (recorded of 2026.9.6)."""
    found = stub(recorded(name)).gateway.invoke("sessions_spawn", {})

    assert type(found) is kind
    assert (text in found.text, found.is_final) == (True, is_final)


def test_what_a_gateway_answers_well_is_given_back(stub: Callable[..., Stub]) -> None:
    """The details alone; and it is asked as it wants to be (recorded of 2026.9.6)."""
    server = stub(recorded("spawn"))

    found = server.gateway.invoke("sessions_spawn", {"task": "x"}, "agent:main:awm-1")

    assert found == RECORDED["spawn"]["body"]["result"]["details"]
    [asked] = server.asked
    assert "Authorization: Bearer secret\r\n" in asked
    assert json.loads(asked.partition("\r\n\r\n")[2]) == {
        "tool": "sessions_spawn",
        "args": {"task": "x"},
        "sessionKey": "agent:main:awm-1",
    }


def test_a_failure_of_one_that_is_not_ready_says_nothing_of_the_tool(stub: Callable[..., Stub]) -> None:
    """The same answer as of a tool that failed, so it is asked whether it is ready (recorded of 2026.9.6; SPEC 7.3)."""
    found = stub(recorded("failed"), "not started").gateway.invoke("subagents", {})

    assert isinstance(found, Starting)


@pytest.mark.parametrize(
    ("moods", "kind"),
    [
        ({}, None),
        ({"starting_seconds": 1000}, Starting),
        ({"failing": ["telegram"]}, None),
        ({"old": True}, None),
        ({"old": True, "failing": ["telegram"]}, None),
        ({"old": True, "starting_seconds": 1000}, Starting),
        ({"old": True, "starting_seconds": 1000, "failing": ["telegram"]}, Starting),
    ],
)
def test_a_broken_channel_does_not_make_it_unready(
    claw: Claw, moods: dict[str, Any], kind: type[Trouble] | None
) -> None:
    """`/readyz` is 503 as long as one is, which may be for weeks; sub-agents work all the same (its docs, 2026.9.6)."""
    claw.be(**moods)

    found = Gateway(claw.url, TOKEN).ready()

    assert found is None if kind is None else type(found) is kind


@pytest.mark.parametrize("status", [200, 404, 418, 500, 503])
def test_what_is_no_gateway_is_not_ready(status: int) -> None:
    """Whatever answers at its port (SPEC 7.3)."""
    bodies = [b"", b"<html>", b"{}", b'{"failing": 5}', b'{"failing": []}', b'{"ready": 1, "status": []}']
    made = [Stub({"/startupz": http(status, body), "/readyz": http(status, body)}) for body in bodies]

    found = [type(one.gateway.ready()) for one in made]
    for one in made:
        one.listening.close()

    assert found == [Starting if status == 503 else Unreachable] * len(bodies)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200",
        b"\0" * 100,
        http(200, b""),
        http(200, b"<html>"),
        http(200, b"[" * 100_000),
        http(200, b'{"ok":true,"result":' + b"9" * 5000 + b"}"),
        http(200, b"{}"),
        http(302, b"", "Location: http://127.0.0.1:1/\r\n"),
        http(404, b"not here"),
        http(418, b'{"ok":false}'),
        http(502, b"Bad gateway"),
        b"HTTP/1.1 200 X\r\nContent-Length: 100\r\n\r\n{",
        b"HTTP/1.1 200 X\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
    ],
)
def test_what_is_no_answer_of_a_gateway_is_not_reached(stub: Callable[..., Stub], answer: bytes) -> None:
    """Never a traceback, and never read as "it is not there" (SPEC 7.3, 17)."""
    found = stub(answer).gateway.invoke("subagents", {})

    assert isinstance(found, Unreachable)


def test_details_that_are_none_are_an_empty_answer(stub: Callable[..., Stub]) -> None:
    """Of whatever type they are (SPEC 17)."""
    bodies = [{"ok": True, "result": {"details": details}} for details in (None, 5, "x", [])]

    assert [stub(http(200, json.dumps(body).encode())).gateway.invoke("x", {}) for body in bodies] == [{}] * 4


@pytest.mark.parametrize("status", [[], {}, 5, None, True, 1e308])
def test_a_status_that_is_no_word_is_no_failure(stub: Callable[..., Stub], status: object) -> None:
    """Of whatever type it is (SPEC 17)."""
    body = {"ok": True, "result": {"details": {"status": status}}}

    assert stub(http(200, json.dumps(body).encode())).gateway.invoke("x", {}) == {"status": status}


@pytest.mark.parametrize(
    ("answer", "kind", "is_final"),
    [
        (http(403, b'{"ok":false,"error":{"type":"tool_call_blocked","message":"a rule says no"}}'), Blocked, True),
        (http(403, b"<html>"), Blocked, True),
        (http(429, b'{"error":{"message":"Too many failed authentication attempts.","type":"rate_limited"}}'), Starting, False),
        (http(408, b"{}"), Starting, False),
        (http(413, b'{"error":{"message":"Payload too large"}}'), ToolFailed, True),
    ],
)  # fmt: skip
def test_only_401_is_a_wrong_token(
    stub: Callable[..., Stub], answer: bytes, kind: type[Trouble], is_final: bool
) -> None:
    """A rule of somebody's and a request to wait are none, by its source (2026.9.6); else an agent would be turned off."""
    found = stub(answer).gateway.invoke("subagents", {})

    assert (type(found), isinstance(found, Trouble) and found.is_final) == (kind, is_final)


def test_what_is_asked_may_hold_half_a_character(stub: Callable[..., Stub]) -> None:
    """The name of a directory may be any bytes (SPEC 17)."""
    server = stub(recorded("spawn"))

    server.gateway.invoke("sessions_spawn", {"cwd": "/tmp/\udcff", "task": "größer"})

    assert json.loads(server.asked[0].partition("\r\n\r\n")[2])["args"] == {"cwd": "/tmp/\udcff", "task": "größer"}


def test_an_answer_without_an_end_is_cut(stub: Callable[..., Stub], monkeypatch: pytest.MonkeyPatch) -> None:
    """By size and by time (SPEC 17)."""
    monkeypatch.setattr(gateway, "GATEWAY_ANSWER_BYTES_MAX", 100_000)

    def flood(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 X\r\n\r\n")
        while True:
            connection.sendall(b" " * 10_000)

    def drip(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 X\r\n\r\n")
        while not gone.wait(0.05):
            connection.sendall(b" ")

    gone = threading.Event()
    found = [replace(stub(answer).gateway, answer_seconds_max=0.5).invoke("x", {}) for answer in (flood, drip)]
    gone.set()

    assert [isinstance(one, Unreachable) and "come to an end" in one.text for one in found] == [True, True]


def test_nobody_there_is_not_reached() -> None:
    """Connection refused (SPEC 7.3)."""
    assert isinstance(Gateway("http://127.0.0.1:1").invoke("x", {}), Unreachable)


def test_a_proxy_of_the_environment_gets_no_token(stub: Callable[..., Stub], monkeypatch: pytest.MonkeyPatch) -> None:
    """The token goes to the gateway alone (SPEC 17)."""
    gateway._client.cache_clear()
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    assert stub(recorded("spawn")).gateway.invoke("x", {}) == RECORDED["spawn"]["body"]["result"]["details"]


def test_no_word_of_trouble_has_the_token(stub: Callable[..., Stub]) -> None:
    """It goes to logs and notices (SPEC 3.3)."""
    server = stub(recorded("no token"))

    assert "secret" not in f"{server.gateway} {server.gateway.invoke('x', {})}"


OWN = {"gateway": {"port": 4711, "auth": {"mode": "token", "token": "own"}}}


@pytest.mark.parametrize(
    ("own", "environ", "settings", "found"),
    [
        (OWN, {}, {}, ("http://127.0.0.1:4711", "own")),
        (OWN, {"OPENCLAW_GATEWAY_TOKEN": "set"}, {}, ("http://127.0.0.1:4711", "set")),
        (OWN, {"MINE": "mine"}, {"token": "env:MINE"}, ("http://127.0.0.1:4711", "mine")),
        (OWN, {}, {"url": "https://claw.example.org/"}, ("https://claw.example.org", "own")),
        ({"gateway": {"port": True, "auth": {"token": "${TOKEN}"}}}, {}, {}, ("http://127.0.0.1:18789", "")),
        ({"gateway": {"port": 99999, "auth": {"token": {"env": "X"}}}}, {}, {}, ("http://127.0.0.1:18789", "")),
        ({"gateway": 5}, {"OPENCLAW_GATEWAY_TOKEN": "a\nb"}, {}, ("http://127.0.0.1:18789", "")),
        ("// JSON5\n{gateway: {}}", {}, {}, ("http://127.0.0.1:18789", "")),
        ("[" * 100_000, {}, {}, ("http://127.0.0.1:18789", "")),
        (None, {}, {}, ("http://127.0.0.1:18789", "")),
    ],
)
def test_address_and_token_are_those_of_the_gateways_own_file_where_nothing_else_is_said(
    tmp_path: Path, own: object, environ: dict[str, str], settings: dict[str, str], found: tuple[str, str]
) -> None:
    """Where it is JSON and has them as plain values; so most need no line in awm.toml (SPEC 16)."""
    path = tmp_path / "openclaw.json"
    if own is not None:
        path.write_text(own if isinstance(own, str) else json.dumps(own))

    one = gateway.of(OpenClawConfig(**settings), environ | {"OPENCLAW_CONFIG_PATH": str(path)})

    assert (one.url, one.token) == found


# The fake is held to what was recorded.


def shape(value: object) -> object:
    """Its keys and the types of its values."""
    if isinstance(value, dict):
        return {key: shape(one) for key, one in sorted(value.items())}
    return type(value).__name__


def shapes(*details: Any) -> dict[str, set[str]]:
    """Of each list of rows in some answers, the shapes that its rows have."""
    found: dict[str, set[str]] = {}
    for one in details:
        for key in ("tasks", "active", "recent", "messages", "sessions"):
            found.setdefault(key, set()).update(without_options(row) for row in one.get(key, []))
    return found


def without_options(row: dict[str, Any]) -> str:
    """A row's shape without what only some have: by hand, each with where it was seen."""
    optional = {
        "progressSummary", "error", "taskName",  # of those that said something, failed, were named
        "totalTokens", "endedAt",  # from the first answer, from the end
        "owner", "createdActor", "label", "parentSessionKey", "spawnedWorkspaceDir", "workspaceDir",  # of sub-agents' sessions
    }  # fmt: skip
    kept = {key: value for key, value in row.items() if key not in optional}
    if isinstance(row.get("execution"), dict):
        kept["execution"] = {"state": row["execution"]["state"]}
    if isinstance(row.get("__openclaw"), dict):
        kept["__openclaw"] = {}
    return json.dumps(shape(kept))


def exercised(home: Home, claw: Claw) -> dict[str, dict[str, Any]]:
    """What the fake answers, by the names of what was recorded."""
    said: dict[str, dict[str, Any]] = {}

    def ask(name: str, tool: str, args: dict[str, Any], *, token: str = TOKEN) -> Any:
        body = {"tool": tool, "args": args, "sessionKey": "agent:main:awm-1"}
        answer = httpx.post(f"{claw.url}/tools/invoke", json=body, headers={"Authorization": f"Bearer {token}"})
        said[name] = {"status": answer.status_code, "body": answer.json()}
        return answer.json().get("result", {}).get("details", {})

    answer = httpx.get(f"{claw.url}/startupz")
    said["started"] = {"status": answer.status_code, "body": answer.json()}
    for play, seconds in (("well", 0), (f"PLAY: fail {CAP}", 0), ("long", 1000)):
        told = f"{play}\n```sh run\nsleep {seconds}\n```\n"
        ask("spawn", "sessions_spawn", {"task": told, "label": f"awm-1-{play}.1", "cwd": str(home.project)})
    home.wait_for(lambda: claw.living() == ["awm-1-long.1"])
    home.wait_for(lambda: "lastActivityAt" in ask("list while one runs", "subagents", {})["tasks"][0]["execution"])
    claw.be(tool="exec")
    task = ask("list while one runs", "subagents", {"action": "list"})["tasks"][0]["taskId"]
    for name in ("cancel", "cancel again"):
        ask(name, "subagents", {"action": "cancel", "taskId": task})
    ask("cancel nobody", "subagents", {"action": "cancel", "taskId": "x"})
    ask("list after a cancel", "subagents", {"action": "list"})
    ask("history", "sessions_history", {"sessionKey": claw.tasks()[-1]["child"]})
    ask("history of nobody", "sessions_history", {"sessionKey": "x"})
    ask("spawn without a task", "sessions_spawn", {})
    ask("sessions", "sessions_list", {})
    ask("reset", "sessions", {"action": "reset", "sessionKey": "agent:main:main"})
    ask("message without a channel", "message", {"action": "send", "message": "x"})
    ask("no token", "subagents", {}, token="wrong")
    claw.be(deny=["sessions_spawn"])
    ask("spawn denied", "sessions_spawn", {"task": "x"})
    claw.be(deny=[], cap=0)
    ask("spawn full", "sessions_spawn", {"task": "x"})
    return said


def details(answers: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Of the lists among them."""
    return [one["body"]["result"]["details"] for name, one in answers.items() if "list" in name]


def rows(answers: Mapping[str, Any]) -> dict[str, set[str]]:
    """The shapes of the rows in all of them that have some."""
    others = [answers[name]["body"]["result"]["details"] for name in ("sessions", "history")]
    return shapes(*details(answers), *others)


def test_the_fake_answers_in_the_recorded_shapes(home: Home, claw: Claw) -> None:
    """Keys, types and status words; else the other tests would prove nothing of a real gateway."""
    claw.be(tokens={"agent:main:main": [7377, 128000]})

    said = exercised(home, claw)

    plain = [name for name in said if "list" not in name]
    assert {name: (said[name]["status"], shape(said[name]["body"])) for name in plain} == {
        name: (RECORDED[name]["status"], shape(RECORDED[name]["body"])) for name in plain
    }
    real = rows(RECORDED)
    assert {key: found - real[key] for key, found in rows(said).items()} == {key: set() for key in real}
    assert {key for one in details(said) for key in one} == {key for one in details(RECORDED) for key in one}
    words = {row["status"] for one in details(said) for row in one["tasks"]}
    assert (
        words
        == {"running", "completed", "failed", "cancelled"}
        <= {row["status"] for one in details(RECORDED) for row in one["tasks"]}
    )
