"""Notices and the dead-man's ping, through whole beats and real receivers (SPEC 12.2, 12.5)."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from home import QUICK, Home, only

RECEIVER = """\
#!{python}
import os, sys
line = sys.stdin.read().strip().encode() + b"\\n"
fd = os.open({path!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
os.write(fd, line)
sys.exit(os.path.exists({broken!r}))
"""


@contextmanager
def web() -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    """A server on loopback: its address, and the path and JSON body of each request it got."""
    got: list[tuple[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(None)

        def do_POST(self) -> None:
            self.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def answer(self, body: Any) -> None:
            got.append((self.path, body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}", got
        finally:
            server.shutdown()
            thread.join()


def receiver(home: Home) -> str:
    """A notification command that keeps what it got; it fails while the file `broken` is there."""
    path = home.root / "receiver"
    path.write_text(
        RECEIVER.format(python=sys.executable, path=str(home.root / "received"), broken=str(home.root / "broken"))
    )
    path.chmod(0o755)
    return str(path)


def received(home: Home) -> list[dict[str, Any]]:
    path = home.root / "received"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_command_gets_every_notice_once_in_order_while_agents_work(home: Home) -> None:
    """SPEC 12.2: also those of beats that supervisors ran; one JSON object each."""
    home.config(QUICK + f'[notify]\ncommand = ["{receiver(home)}"]\n')
    for task in ("S1", "S2"):
        home.spec(task, home.work("sleep 0.5"))
    home.queue("S1", "S2")

    home.beat()
    home.wait_for(lambda: len(received(home)) == 5)
    home.finish()

    assert [(one["kind"], one["task"]) for one in received(home)] == [
        ("started", "S1"),
        ("completed", "S1"),
        ("started", "S2"),
        ("completed", "S2"),
        ("report", ""),
    ]
    assert set(received(home)[0]) == {"id", "kind", "task", "project", "at", "text"}
    assert [one["id"] for one in received(home)] == ["n1", "n2", "n3", "n4", "n5"]
    assert [one["text"] for one in received(home)] == [one["text"] for one in home.told]


def test_a_dead_channel_delays_no_other_and_the_work_goes_on(home: Home) -> None:
    """SPEC 12.2: a delivery failure is never a work failure; what failed is kept and tried again."""
    with web() as (address, got):
        home.config(QUICK + f'[notify]\ncommand = ["{receiver(home)}"]\nurls = ["json://{address}/hook"]\n')
        (home.root / "broken").touch()
        home.spec("S1")
        home.queue("S1")
        home.beat()
        home.wait_for(lambda: home.is_idle, beat_every=0.5)
        home.wait_for(lambda: len(got) == 3 and not home.processes())
        home.wait_for(lambda: all(one["channels"] == ["command"] for one in home.state()["outbox"]), beat_every=0.5)
        state = home.state()

    assert (state["completed"], len(state["outbox"])) == (["S1"], 3)
    assert [one["id"] for one in received(home)] == ["n1"]
    assert state["channels"]["command"]["failures"] == 1
    assert only([line for line in home.journal() if "channel" in line["what"]])["note"] == "receiver: exit 1"


def test_a_channel_that_works_again_gets_what_it_missed(home: Home) -> None:
    """SPEC 12.2: at least once, in order; the backoff is a deadline a person may remove."""
    home.config(QUICK + f'[notify]\ncommand = ["{receiver(home)}"]\n')
    (home.root / "broken").touch()
    home.spec("S1")
    home.queue("S1")
    home.beat()
    home.wait_for(lambda: home.is_idle, beat_every=0.5)
    (home.root / "broken").unlink()
    home.edit(lambda state: state["channels"].clear())

    home.wait_for(lambda: not home.state()["outbox"], beat_every=0.5)

    assert [one["id"] for one in received(home)] == ["n1", "n1", "n2", "n3"]


def test_notify_user_false_still_sends_what_matters(home: Home) -> None:
    """SPEC 12.2: blocked, failed, skipped, bad state and the report."""
    home.spec("S1")
    home.spec("S2", header="**Depends:** S0")
    home.queue("S1", "S2", notifyUser=False)

    home.finish()

    assert [notice["kind"] for notice in home.told] == ["blocked", "report"]


def test_every_beat_pings_and_a_failed_one_says_so(home: Home) -> None:
    """SPEC 12.5: Healthchecks style, `/fail` from exit 70 up; supervisors' beats ping too."""
    with web() as (address, got):
        home.config(QUICK + f'[notify]\nping_url = "http://{address}/ping/abc"\n')
        home.spec("S1")
        home.queue("S1")
        home.beat()
        home.wait_for(lambda: home.is_idle, beat_every=0.5)
        home.wait_for(lambda: not home.processes())
        good = [path for path, _ in got]
        home.put_bytes(b"{")
        done = home.heartbeat()

        assert done.code == 78
        assert set(good) == {"/ping/abc"}
        assert len(good) >= 2
        assert got[-1][0] == "/ping/abc/fail"


def test_an_unset_variable_is_that_channels_trouble(home: Home) -> None:
    """SPEC 16, 12.2: `env:NAME` is read when it is needed; the loop does not fail by it."""
    home.config(QUICK + '[notify]\nurls = ["env:AWM_NOTIFY_URL"]\n')
    home.spec("S1")
    home.queue("S1")

    home.wait_for(lambda: home.is_idle, beat_every=0.5)

    failed = only([line for line in home.journal() if "channel" in line["what"]])
    assert failed["note"] == "awm.toml names env:AWM_NOTIFY_URL, and the environment has no AWM_NOTIFY_URL"
