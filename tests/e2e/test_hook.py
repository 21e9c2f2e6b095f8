"""`awm hook`: real HTTP against a real receiver on loopback (SPEC 13.4, 17)."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from home import PATIENCE_SECONDS, REPOSITORY, Home
from test_verbs import awm

from awm_loop.config import (
    HOOK_BODY_BYTES_MAX,
    HOOK_BODY_SECONDS,
    HOOK_CONNECTION_SECONDS,
    HOOK_PER_MINUTE_MAX,
    HOOK_WINDOW_SECONDS,
)

AWM = (sys.executable, "-m", "awm_loop.cli.main")
SECRET = "s3cret-of-32-bytes-and-no-more-ok"[:32]
OLD = "the-one-before-it-which-still-counts"
TRIGGERS = [
    {"id": "ci", "type": "webhook", "template": "broken-build"},
    {"id": "fixed", "type": "webhook", "template": "broken-build", "values": {"branch": "main"}},
    {"id": "off", "type": "webhook", "template": "broken-build", "enabled": False},
    {"id": "hand", "type": "manual", "template": "broken-build"},
]
RUN = {
    "action": "completed",
    "workflow_run": {
        "id": 42,
        "name": "build",
        "head_branch": "main",
        "head_sha": "c0ffee",
        "html_url": "https://github.com/me/app/actions/runs/42",
        "conclusion": "failure",
        "updated_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
    },
    "repository": {"full_name": "me/app"},
}
FAILURE = {
    "repository": "me/app",
    "workflow": "build",
    "branch": "main",
    "commit": "c0ffee",
    "url": "https://github.com/me/app/actions/runs/42",
    "run": "42",
}


def signature(signed: bytes, secret: str = SECRET) -> str:
    return "sha256=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


def ours(body: bytes, delivery: str = "d1", late_seconds: int = 0, secret: str = SECRET) -> dict[str, str]:
    """The headers of AWM's own form."""
    at = str(int(time.time()) - late_seconds)
    return {
        "X-AWM-Timestamp": at,
        "X-AWM-Signature": signature(f"{at}.".encode() + body, secret),
        "X-AWM-Delivery": delivery,
    }


def github(body: bytes, delivery: str = "g1", event: str = "workflow_run") -> dict[str, str]:
    return {
        "Content-Type": "application/json",
        "X-Hub-Signature-256": signature(body),
        "X-GitHub-Delivery": delivery,
        "X-GitHub-Event": event,
    }


@dataclass
class Receiver:
    """A running `awm hook` of `home`."""

    home: Home
    process: subprocess.Popen[str]
    port: int
    log_path: Path

    def post(self, body: bytes, headers: Mapping[str, str], path: str = "/hook/ci") -> int:
        url = f"http://127.0.0.1:{self.port}{path}"
        encoded = {name: value.encode("latin-1") for name, value in headers.items()}
        return httpx.post(url, content=body, headers=encoded, timeout=30).status_code

    def raw(self, data: bytes) -> bytes:
        """What comes back for these bytes, until the other side ends."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_SECONDS) as connection:
            connection.sendall(data)
            return b"".join(iter(lambda: connection.recv(65536), b""))

    def requests(self) -> list[dict[str, Any]]:
        """What lies in the inbox. The homes of these tests have no state, so no beat takes it."""
        return [json.loads(path.read_bytes()) for path in sorted((self.home.path / "state" / "inbox").glob("*"))]

    @property
    def log(self) -> list[str]:
        """The lines on stderr, without their times."""
        return [line.partition(" ")[2] for line in self.log_path.read_text().splitlines()]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_SECONDS)


def write_triggers(home: Home) -> None:
    (home.path / "state" / "triggers.json").write_text(json.dumps({"version": 1, "triggers": TRIGGERS}))


@pytest.fixture
def start(home: Home) -> Iterator[Callable[[], Receiver]]:
    """Starts receivers of the home, which end with the test."""
    begun: list[Receiver] = []
    home.config('[hook]\nsecrets = ["env:AWM_HOOK_SECRET", "env:OLD_SECRET"]\nhosts = ["hooks.example.org"]\n')
    write_triggers(home)

    def start() -> Receiver:
        log_path = home.root / f"hook-{len(begun)}.log"
        with log_path.open("w") as log:
            process = subprocess.Popen(
                [*home.prefix, *AWM, "--home", str(home.path), "hook", "--port", "0"],
                env=home.environ() | {"PYTHONPATH": str(REPOSITORY), "AWM_HOOK_SECRET": SECRET, "OLD_SECRET": OLD},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert process.stdout is not None
        said = process.stdout.readline()
        assert said.startswith("listening at http://127.0.0.1:"), (said, log_path.read_text())
        begun.append(Receiver(home, process, int(said.split(":")[2].split("/")[0]), log_path))
        return begun[-1]

    yield start
    for receiver in begun:
        receiver.process.kill()
        receiver.process.communicate()


@pytest.fixture
def receiver(start: Callable[[], Receiver]) -> Receiver:
    return start()


def test_a_rightly_signed_delivery_is_one_request(receiver: Receiver) -> None:
    """Queued once; what comes again is known, also under another id, for the id is not signed (SPEC 13.4)."""
    body = b'{"branch": "main", "count": 3, "nested": {"a": [1]}, "not a name": "x", "null": null}'
    headers = ours(body)

    assert [
        receiver.post(body, headers),
        receiver.post(body, headers),
        receiver.post(body, headers | {"X-AWM-Delivery": "d2"}),
        receiver.post(b'{"another": "body"}', ours(b'{"another": "body"}')),
    ] == [202, 200, 200, 200]
    assert receiver.requests() == [
        {"trigger": "ci", "values": {"branch": "main", "count": "3", "nested": '{"a": [1]}', "null": ""}}
    ]
    assert receiver.log == [
        "202 POST /hook/ci awm d1",
        "200 POST /hook/ci awm d1",
        "200 POST /hook/ci awm d2",
        "200 POST /hook/ci awm d1",
    ]


def test_each_delivery_of_its_own_is_queued(receiver: Receiver) -> None:
    """Other ids, other triggers, and the secret that is being replaced."""
    assert [
        receiver.post(b"{}", ours(b"{}")),
        receiver.post(b'{"n": 2}', ours(b'{"n": 2}', "d2", secret=OLD)),
        receiver.post(b"", ours(b"", "d3")),
        receiver.post(b'{"branch": "evil", "run": "7"}', ours(b'{"branch": "evil", "run": "7"}', "d4"), "/hook/fixed"),
    ] == [202] * 4
    assert sorted(json.dumps(request) for request in receiver.requests()) == [
        '{"trigger": "ci", "values": {"n": "2"}}',
        '{"trigger": "ci", "values": {}}',
        '{"trigger": "ci", "values": {}}',
        '{"trigger": "fixed", "values": {"run": "7"}}',  # its own `branch` is not for a stranger to say
    ]


def test_a_delivery_for_one_trigger_is_none_for_another(receiver: Receiver) -> None:
    """The address is not signed: what was taken once is known at every other, also under another id (SPEC 13.4)."""
    own, run = b'{"branch": "main"}', json.dumps(RUN).encode()
    headers = ours(own)

    assert [
        receiver.post(own, headers),
        receiver.post(own, headers, "/hook/fixed"),
        receiver.post(own, headers | {"X-AWM-Delivery": "d2"}, "/hook/fixed"),
        receiver.post(run, github(run)),
        receiver.post(run, github(run), "/hook/fixed"),
        receiver.post(run, github(run, "g2"), "/hook/fixed"),
    ] == [202, 200, 200, 202, 200, 200]
    assert [request["trigger"] for request in receiver.requests()] == ["ci", "ci"]


def test_a_trigger_may_have_a_secret_of_its_own(start: Callable[[], Receiver], home: Home) -> None:
    """It alone counts there, and nowhere else; the same event, signed with two, is two deliveries (SPEC 13.4)."""
    home.config('[hook]\nsecrets = ["env:AWM_HOOK_SECRET"]\n[hook.triggers]\nfixed = ["env:OLD_SECRET"]\n')
    receiver, body = start(), b'{"branch": "main"}'
    codes = [
        receiver.post(body, ours(body, secret=secret), path)
        for path in ("/hook/fixed", "/hook/ci")
        for secret in (OLD, SECRET)
    ]

    assert codes == [202, 401, 401, 202]
    assert sorted(request["trigger"] for request in receiver.requests()) == ["ci", "fixed"]


def changed(name: str, value: str | None) -> Callable[[dict[str, str]], dict[str, str]]:
    return lambda headers: {key: text for key, text in (headers | {name: value}).items() if text is not None}


WRONG = {
    "no signature": changed("X-AWM-Signature", None),
    "another secret": changed("X-AWM-Signature", "sha256=" + "0" * 64),
    "no algorithm": lambda headers: headers | {"X-AWM-Signature": headers["X-AWM-Signature"][7:]},
    "cut short": lambda headers: headers | {"X-AWM-Signature": headers["X-AWM-Signature"][:-1]},
    "empty": changed("X-AWM-Signature", ""),
    "not ASCII": changed("X-AWM-Signature", "sha256=ü"),
    "no timestamp": changed("X-AWM-Timestamp", None),
    "another timestamp": lambda headers: headers | {"X-AWM-Timestamp": str(int(headers["X-AWM-Timestamp"]) + 1)},
    "a timestamp that is none": changed("X-AWM-Timestamp", "now"),
    "both forms": changed("X-Hub-Signature-256", signature(b"{}")),
    "the other form's header": lambda headers: {"X-Hub-Signature-256": headers["X-AWM-Signature"]},
}


def test_what_is_not_rightly_signed_is_nothing(receiver: Receiver) -> None:
    """401 without a detail, the same for a trigger that is not there, and no file (SPEC 13.4)."""
    codes = {name: receiver.post(b"{}", change(ours(b"{}"))) for name, change in WRONG.items()}
    late = [receiver.post(b"{}", ours(b"{}", late_seconds=seconds)) for seconds in (302, -302, 10**9)]
    response = httpx.post(f"http://127.0.0.1:{receiver.port}/hook/nobody", content=b"{}")

    assert (codes, late) == (dict.fromkeys(WRONG, 401), [401] * 3)
    assert (response.status_code, response.json()) == (401, {"error": "unauthorized"})
    assert receiver.requests() == []


def test_the_window_of_a_timestamp_is_five_minutes(receiver: Receiver) -> None:
    """Either way, for clocks differ (SPEC 13.4); its exact ends are tested where time is an argument."""
    late = [HOOK_WINDOW_SECONDS - 10, 10 - HOOK_WINDOW_SECONDS]

    assert [receiver.post(b"{}", ours(b"{}", f"d{n}", late_seconds=n)) for n in late] == [202, 202]


def test_only_enabled_webhook_triggers_are_fired(receiver: Receiver) -> None:
    """Unknown, disabled, of another type, or no path of ours: 404; another method: 405."""
    paths = ["/hook/nobody", "/hook/off", "/hook/hand", "/hook/", "/", "/hook/ci/more", "/hook/..%2fci", "/hook/%00"]
    codes = [receiver.post(b"{}", ours(b"{}", f"d{n}"), path) for n, path in enumerate(paths)]

    assert codes == [404] * len(paths)
    assert httpx.get(f"http://127.0.0.1:{receiver.port}/hook/ci").status_code == 405
    assert receiver.requests() == []


@pytest.mark.parametrize("size", [HOOK_BODY_BYTES_MAX - 1, HOOK_BODY_BYTES_MAX, HOOK_BODY_BYTES_MAX + 1])
@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_body_has_256_kib_at_most(receiver: Receiver, size: int, is_chunked: bool) -> None:
    """Whether its length is said before or not (SPEC 13.4)."""
    body = json.dumps({"a": ""}).encode()
    body = body.replace(b'""', b'"' + b"x" * (size - len(body)) + b'"')
    content = iter([body[:100_000], body[100_000:]]) if is_chunked else body
    response = httpx.post(f"http://127.0.0.1:{receiver.port}/hook/ci", content=content, headers=ours(body))

    assert len(body) == size
    assert response.status_code == (202 if size <= HOOK_BODY_BYTES_MAX else 413)
    assert len(receiver.requests()) == (size <= HOOK_BODY_BYTES_MAX)


def test_so_many_a_minute_are_queued(receiver: Receiver) -> None:
    """The one beyond is told to come later; what is known or not signed takes nobody's place (SPEC 13.4)."""
    receiver.post(b"{}", {})
    codes = [receiver.post(b"%d" % n, ours(b"%d" % n, f"d{n}")) for n in range(5)]
    bodies = [json.dumps({"n": n}).encode() for n in range(HOOK_PER_MINUTE_MAX + 1)]
    queued = [receiver.post(body, ours(body, f"e{n}")) for n, body in enumerate(bodies)]

    assert codes == [400] * 5
    assert queued == [202] * HOOK_PER_MINUTE_MAX + [429]
    assert receiver.post(b"{}", ours(b"{}", "e0")) == 200
    assert len(receiver.requests()) == HOOK_PER_MINUTE_MAX


def test_a_hundred_at_once_are_one_request(receiver: Receiver) -> None:
    """However many connections bring the same delivery (SPEC 13.4)."""
    headers = ours(b"{}")
    with ThreadPoolExecutor(100) as pool:
        codes = list(pool.map(lambda _: receiver.post(b"{}", headers), range(100)))

    assert sorted(codes) == [200] * 99 + [202]
    assert len(receiver.requests()) == 1


def test_a_delivery_is_known_after_a_restart(start: Callable[[], Receiver]) -> None:
    """Though its request was taken long ago (SPEC 13.4)."""
    headers, github_body = ours(b"{}"), json.dumps(RUN).encode()
    first = start()
    codes = [first.post(b"{}", headers), first.post(github_body, github(github_body))]
    exit_code = first.stop()
    for path in (first.home.path / "state" / "inbox").iterdir():
        path.unlink()
    second = start()
    codes += [second.post(b"{}", headers), second.post(github_body, github(github_body))]

    assert (exit_code, codes, second.requests()) == (0, [202, 202, 200, 200], [])


def test_a_failed_run_of_github_is_one_request(receiver: Receiver) -> None:
    """Its values are what the shipped template wants; a replay, also under another id, queues nothing (issue 6)."""
    body = json.dumps(RUN).encode()

    assert [receiver.post(body, github(body, delivery)) for delivery in ("g1", "g1", "g2")] == [202, 200, 200]
    assert receiver.post(body, github(body, "g3") | {"X-Hub-Signature-256": signature(body, OLD + "x")}) == 401
    assert receiver.requests() == [{"trigger": "ci", "values": FAILURE}]


@pytest.mark.parametrize(
    ("event", "change"),
    [
        ("workflow_run", {"workflow_run": RUN["workflow_run"] | {"conclusion": "success"}}),  # type: ignore[operator]
        ("workflow_run", {"workflow_run": None}),
        ("workflow_run", {"action": "requested"}),
        ("ping", {}),
        ("push", {}),
    ],
)
def test_what_github_tells_besides_queues_nothing(receiver: Receiver, event: str, change: dict[str, object]) -> None:
    """204: taken, and nothing to do."""
    body = json.dumps(RUN | change).encode()

    assert (receiver.post(body, github(body, event=event)), receiver.requests()) == (204, [])


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"{", {}),
        (b"[]", {}),
        (b"\xff", {}),
        (b"[" * 100_000, {}),
        (b'{"a": "\\ud800"}', {}),
        (b"{}", {"X-AWM-Delivery": ""}),
        (b"{}", {"X-AWM-Delivery": "../../etc/passwd"}),
        (b"{}", {"X-AWM-Delivery": "x" * 129}),
    ],
)
def test_a_signed_message_that_is_no_delivery_is_refused(
    receiver: Receiver, body: bytes, headers: dict[str, str]
) -> None:
    """400, with words for whoever set it up, and never a traceback."""
    assert receiver.post(body, ours(body) | headers) == 400
    assert receiver.requests() == []
    assert len(receiver.log) == 1


def test_a_form_of_github_is_told_what_to_choose(receiver: Receiver) -> None:
    """GitHub's own default is a form, and its settings page shows this answer."""
    body = b"payload=%7B%7D"
    headers = github(body) | {"Content-Type": "application/x-www-form-urlencoded"}
    response = httpx.post(f"http://127.0.0.1:{receiver.port}/hook/ci", content=body, headers=headers)

    assert (response.status_code, "application/json" in response.json()["error"]) == (400, True)


def test_browsers_and_other_hosts_names_are_refused(receiver: Receiver) -> None:
    """An Origin is a browser's; a name that is not ours may have been made to lead here (SPEC 17)."""
    hosts = ["evil.example", "127.0.0.1.evil.example", "[::1", "localhost@evil.example", "hooks.example.org.", ""]
    good = ["localhost:1", "127.0.0.1", "[::1]:80", "hooks.example.org", "HOOKS.example.org:443"]

    assert [receiver.post(b"{}", ours(b"{}") | {"Host": host}) for host in hosts] == [403] * len(hosts)
    assert receiver.post(b"{}", ours(b"{}") | {"Origin": "http://127.0.0.1"}) == 403
    assert [receiver.post(b"{}", ours(b"{}") | {"Host": host}) for host in good] == [202, 200, 200, 200, 200]


SMUGGLED = {
    "two lengths": ["Content-Length: 2", "Content-Length: 3"],
    "length and chunks": ["Content-Length: 2", "Transfer-Encoding: chunked"],
    "chunks that are none": ["Transfer-Encoding: chunked, identity"],
    "two signatures": ["Content-Length: 2", "X-AWM-Signature: sha256=" + "0" * 64],
    "two times": ["Content-Length: 2", "X-AWM-Timestamp: 1"],
    "two ids": ["Content-Length: 2", "X-AWM-Delivery: other"],
    "two hosts": ["Content-Length: 2", "Host: evil.example"],
    "a folded line": ["Content-Length: 2", "X-A: b\r\n X-AWM-Delivery: other", "Host: evil.example"],
    "a bare line end": ["Content-Length: 2", "X-A: b\rX-B: c"],
    "NUL": ["Content-Length: 2", "X-A: \0"],
}


@pytest.mark.parametrize("name", SMUGGLED)
def test_a_request_with_two_meanings_is_refused(receiver: Receiver, name: str) -> None:
    """Of which a proxy may have seen the other: 4xx, one answer, the connection ends, nothing is queued."""
    lines = ["POST /hook/ci HTTP/1.1", "Host: localhost", *(f"{key}: {text}" for key, text in ours(b"{}").items())]
    more = b"POST /hook/ci HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
    answer = receiver.raw("\r\n".join([*lines, *SMUGGLED[name], "", ""]).encode() + b"{}" + more)

    assert (answer[:10], answer.count(b"HTTP/1.1 ")) == (b"HTTP/1.1 4", 1), answer
    assert receiver.requests() == []


def test_a_length_beside_chunks_is_refused(receiver: Receiver) -> None:
    """Each by itself would be right."""
    lines = ["POST /hook/ci HTTP/1.1", "Host: localhost", *(f"{key}: {text}" for key, text in ours(b"{}").items())]
    chunked = [*lines, "Transfer-Encoding: chunked", "Content-Length: 12", "", "2", "{}", "0", "", ""]

    assert (receiver.raw("\r\n".join(chunked).encode())[:12], receiver.requests()) == (b"HTTP/1.1 400", [])


def test_a_connection_carries_one_request(receiver: Receiver) -> None:
    """What follows a rightly signed one is not read."""
    lines = ["POST /hook/ci HTTP/1.1", "Host: localhost", *(f"{key}: {text}" for key, text in ours(b"{}").items())]
    one = "\r\n".join([*lines, "Content-Length: 2", "", "{}"]).encode()

    assert receiver.raw(one + one.replace(b"/ci", b"/fixed")).count(b"HTTP/1.1 ") == 1
    assert [request["trigger"] for request in receiver.requests()] == ["ci"]


def test_slow_senders_are_let_go(receiver: Receiver) -> None:
    """Slow headers and slow bodies have an end, and hold up nobody meanwhile (SPEC 13.4)."""
    begun = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        head = pool.submit(receiver.raw, b"POST /hook/ci HTTP/1.1\r\nHost: localhost\r\n")
        body = pool.submit(receiver.raw, b"POST /hook/ci HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
        assert receiver.post(b"{}", ours(b"{}")) == 202
        quick_seconds = time.monotonic() - begun
        slow_body = body.result()
        body_seconds = time.monotonic() - begun
        slow_head = head.result()
        head_seconds = time.monotonic() - begun

    assert (slow_body[:13], slow_head) == (b"HTTP/1.1 408 ", b"")
    assert quick_seconds < HOOK_BODY_SECONDS <= body_seconds < head_seconds
    assert HOOK_CONNECTION_SECONDS <= head_seconds < HOOK_CONNECTION_SECONDS + 20


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(receiver: Receiver, number: signal.Signals) -> None:
    """Exit 0, nothing on stderr, also while a sender is slow."""
    with socket.create_connection(("127.0.0.1", receiver.port)) as connection:
        connection.sendall(b"POST /hook/ci HTTP/1.1\r\n")
        assert (receiver.stop(number), receiver.log) == (0, [])


def test_a_delivery_starts_a_beat_that_has_no_secret(home: Home, start: Callable[[], Receiver]) -> None:
    """Nobody waits for the timer; not even an agent that is to see the variable gets it from here (SPEC 13.4, 8.5)."""
    home.spec("S1", home.work(f'echo "secret ${{AWM_HOOK_SECRET-none}}" >> {home.truth_path}'))
    home.queue("S1")
    receiver = start()
    with (home.path / "awm.toml").open("a") as file:
        file.write('[agents.local]\nkind = "shell"\nenv_pass = ["AWM_HOOK_SECRET"]\n')

    assert receiver.post(b"{}", ours(b"{}")) == 202
    home.wait_for(lambda: home.begun() == ["S1"])
    home.finish()
    assert [line[1:] for line in home.truth() if line[0] == "secret"] == [("none",)]


def test_a_failed_run_of_github_is_one_task_that_is_done(home: Home, start: Callable[[], Receiver]) -> None:
    """The fourth use case of issue 6: rightly signed it is one task, forged or replayed none, though that one is over."""
    (home.path / "templates").mkdir()
    shipped = (REPOSITORY / "awm_loop" / "templates" / "broken-build.md").read_text()
    block = "\n```sh run\ngit commit -q --allow-empty -m mended\n```\n"
    (home.path / "templates" / "broken-build.md").write_text(shipped + block)
    home.queue()
    receiver, body = start(), json.dumps(RUN).encode()
    forged = github(body, "g0") | {"X-Hub-Signature-256": signature(body, OLD[::-1])}

    codes = [receiver.post(body, forged), receiver.post(body, github(body))]
    home.wait_for(lambda: len(home.state()["completed"]) == 1)
    codes += [receiver.post(body, github(body)), receiver.post(body, github(body, "g2")), receiver.post(body, forged)]
    state = home.finish()

    assert codes == [401, 202, 200, 200, 401]
    assert [task.partition("-")[0] for task in state["completed"]] == ["ci"]
    assert (home.git("log", "-1", "--format=%s"), len(home.attempts())) == ("mended", 1)
    assert "# Sprint ci-" in home.prompt(1)
    assert "- Branch: `main`" in home.prompt(1)


def test_a_secret_is_told_to_nobody(receiver: Receiver) -> None:
    """Not in a file of the home, nor in an argv, nor on stderr (SPEC 3.3)."""
    receiver.post(b"{}", ours(b"{}") | {"X-AWM-Signature": SECRET})
    receiver.post(b"{}", ours(b"{}"), f"/hook/ci?{SECRET}")
    held = b"".join(path.read_bytes() for path in receiver.home.root.rglob("*") if path.is_file())

    assert SECRET.encode() not in held
    assert SECRET not in Path(f"/proc/{receiver.process.pid}/cmdline").read_text()
    assert len(receiver.log) == 2


def test_an_agent_of_the_same_user_cannot_read_a_secret(home: Home, start: Callable[[], Receiver]) -> None:
    """Not in the receiver's environment as it began, as of other processes of that user (SPEC 13.4)."""
    if os.geteuid() == 0:  # who may trace anything is stopped by nothing
        home.prefix = ("setpriv", "--bounding-set=-sys_ptrace,-perfmon,-sys_admin")
    with subprocess.Popen([*home.prefix, "sleep", "60"]) as other:
        said = [
            subprocess.run([*home.prefix, "cat", f"/proc/{pid}/environ"], capture_output=True, check=False)
            for pid in (other.pid, start().process.pid)
        ]
        other.kill()

    assert [(one.returncode, SECRET.encode() in one.stdout) for one in said] == [(0, False), (1, False)]


def test_what_a_stranger_sends_does_not_drive_a_terminal(receiver: Receiver) -> None:
    """One line of plain ASCII for each request, whatever its path is (SPEC 17)."""
    receiver.post(b"{}", {}, "/%1b[2J%0a%e2%80%ae" + "x" * 300)

    assert receiver.log == ["404 POST /\\x1b[2J\\n\\u202e" + "x" * 193]


def test_trouble_of_the_home_is_for_later(receiver: Receiver) -> None:
    """A bad triggers file, a disk that refuses: 503, told on stderr, and the sender may try again (SPEC 4.7, 4.8)."""
    path = receiver.home.path / "state" / "triggers.json"
    path.write_text("{")
    codes = [receiver.post(b"{}", ours(b"{}"))]
    write_triggers(receiver.home)
    inbox = receiver.home.path / "state" / "inbox"
    inbox.write_text("in the way")
    codes.append(receiver.post(b"{}", ours(b"{}")))
    inbox.unlink()
    codes.append(receiver.post(b"{}", ours(b"{}")))

    assert (codes, len(receiver.requests())) == ([503, 503, 202], 1)
    assert "Traceback" not in receiver.log_path.read_text()


def test_one_receiver_serves_a_home(receiver: Receiver) -> None:
    """Two would not know each other's deliveries."""
    done = awm(receiver.home, "hook", "--port", "0", AWM_HOOK_SECRET=SECRET, OLD_SECRET=OLD)

    assert (done.code, done.err.splitlines()[0]) == (78, "awm: another `awm hook` serves this home")


def test_a_port_that_is_taken_is_told(receiver: Receiver) -> None:
    """Exit 78, with what to type."""
    done = awm(receiver.home, "hook", "--port", str(receiver.port), AWM_HOOK_SECRET=SECRET, OLD_SECRET=OLD)

    told = f"awm: cannot listen at 127.0.0.1 port {receiver.port}: Address already in use"

    assert (done.code, done.err.splitlines()) == (78, [told, "hint: --port N, --host 127.0.0.1"])
