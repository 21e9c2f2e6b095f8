"""Notices through a gateway: which of its answers count as delivered (SPEC 12.2, 17). A real server on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from awm_loop.core.model import Notice
from awm_loop.gateway import Gateway
from awm_loop.notify import openclaw

FAILED = {"ok": False, "error": {"type": "tool_error", "message": "tool execution failed"}}  # recorded


class Server:
    """What was asked, and what is answered: the status and body of a tool call, and whether it is ready."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.status, self.body, self.is_ready, self.address = 200, {}, True, ""

    def says(self, details: dict[str, object]) -> None:
        self.status, self.body = 200, {"ok": True, "result": {"content": [], "details": details}}


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply(200 if found.is_ready else 503, {"ready": found.is_ready})

        def do_POST(self) -> None:
            found.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.reply(found.status, found.body)

        def reply(self, status: int, body: object) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        found.address = f"http://127.0.0.1:{listening.server_port}"
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield found
        listening.shutdown()


def sent(server: Server, text: str = "🚀 Sprint S3 started") -> str | None:
    notice = Notice(id="n7", kind="started", task="S3", at=datetime.now(UTC), text=text, channels=("openclaw",))
    return openclaw.channel(Gateway(server.address, "T"), "telegram", "123")(notice)


def test_a_notice_is_one_call_of_the_tool_that_sends_messages(server: Server) -> None:
    """No session is named and no model has a turn (SPEC 12.2)."""
    server.says({"status": "ok", "deliveryStatus": "sent"})

    assert sent(server) is None
    assert server.asked == [
        {
            "tool": "message",
            "args": {"action": "send", "channel": "telegram", "target": "123", "message": "🚀 Sprint S3 started"},
        }
    ]


@pytest.mark.parametrize(
    ("status", "details"),
    [
        (
            200,
            {"status": "delivery_queued", "delivered": False, "message": "Delivery is pending: x. Do not resend it."},
        ),
        (200, {"status": "error", "error": "UNAVAILABLE: OUTBOUND_DELIVERY_QUEUED"}),
        (400, "OUTBOUND_DELIVERY_QUEUED: it is retried"),
    ],
)
def test_what_the_gateway_queued_itself_is_not_sent_again(server: Server, status: int, details: Any) -> None:
    """It owns the retry: to send it again would double it (SPEC 12.2)."""
    server.says(details)
    if status != 200:
        server.status, server.body = status, {"ok": False, "error": {"type": "tool_error", "message": details}}

    assert sent(server) is None


def test_a_failure_is_told_apart_from_a_gateway_that_starts(server: Server) -> None:
    """HTTP 500 says neither; both are tried again by the outbox's backoff, and the journal has the right reason."""
    server.status, server.body = 500, FAILED
    assert sent(server) == "tool execution failed"

    server.is_ready = False
    assert sent(server) == f"the gateway at {server.address} is starting"


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (401, {"error": {"message": "Unauthorized"}}, "the gateway at {url} does not take the token (HTTP 401)"),
        (404, {"ok": False}, "the gateway at {url} does not allow the tool message"),
        (200, {"result": {"details": {"status": "forbidden"}}}, "forbidden"),
        (200, {}, "what answers at {url} is no gateway (HTTP 200)"),
    ],
)
def test_what_is_refused_is_not_delivered(server: Server, status: int, body: dict[str, Any], reason: str) -> None:
    """And says why (SPEC 12.2)."""
    server.status, server.body = status, body

    assert sent(server) == reason.format(url=server.address)


def test_a_text_of_any_characters_is_sent(server: Server) -> None:
    """Escapes are left out, half a character is spelt (SPEC 17)."""
    server.says({})

    assert sent(server, "a\x1b[31mb\ud800") is None
    assert server.asked[0]["args"]["message"] == "ab\\ud800"


def test_nobody_there_is_a_reason() -> None:
    """Data, no exception."""
    notice = Notice(id="n7", kind="started", task="S3", at=datetime.now(UTC), text="x", channels=("openclaw",))

    assert "does not answer" in str(openclaw.channel(Gateway("http://127.0.0.1:9", ""), "telegram", "1")(notice))
