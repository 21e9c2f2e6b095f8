"""The webhook receiver: HTTP in, a request in the inbox out, and a beat (SPEC 13.4, 17).

Answers come before work: 202 queued · 200 known already · 204 an event that asks for nothing · 400 no delivery ·
401 not rightly signed, without a detail · 403 a browser, or another host's name · 404 no such webhook trigger · 408 too
slow · 413 over 256 KiB · 429 too many · 503 the disk, or a bad triggers file. Each connection carries one request and
has a bounded life.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from filelock import FileLock, Timeout
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from awm_loop import clock, durable
from awm_loop.config import (
    HOOK_BODY_BYTES_MAX,
    HOOK_BODY_SECONDS,
    HOOK_CONNECTION_SECONDS,
    HOOK_CONNECTIONS_MAX,
    HOOK_DRAIN_BYTES_MAX,
    HOOK_PER_MINUTE_MAX,
    HOOK_STOP_SECONDS,
)
from awm_loop.errors import AwmError
from awm_loop.triggers import inbox, webhook
from awm_loop.triggers.seen import Seen
from awm_loop.wiring import Home

PATH_CHARS_MAX = 200  # of a path in a line on stderr

Secrets = Mapping[str, list[bytes]]  # by trigger; under "" those of all that have none of their own
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


def serve(home: Home, secrets: Secrets, listener: socket.socket, host: str) -> None:
    """Serve until SIGTERM or SIGINT. Raises AwmError where this home has a receiver already, DiskError."""
    directory = home.store.directory / "hook"
    with durable.disk_trouble(directory):
        directory.mkdir(mode=0o700, exist_ok=True)
    with _only_one(directory):
        receiver = Receiver(home, secrets, host, Seen(directory / "seen", clock.now().wall.timestamp()))
        asyncio.run(_serve(receiver, listener, _greeting(home, listener)))


def _greeting(home: Home, listener: socket.socket) -> str:
    webhooks = [one.id for one in home.triggers() if one.type == "webhook"]
    address, port = listener.getsockname()[:2]
    shown = f"[{address}]" if ":" in address else address
    known = ", ".join(webhooks) or "none yet: `awm triggers create --help`"
    return f"listening at http://{shown}:{port}/hook/TRIGGER; webhook triggers: {known}"


async def _serve(receiver: Receiver, listener: socket.socket, greeting: str) -> None:
    app = Starlette(routes=[Route("/hook/{trigger}", receiver.take, methods=["POST"])])
    server = _Server(
        uvicorn.Config(
            Told(app),
            http=ShortLived,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=HOOK_CONNECTIONS_MAX,
            timeout_graceful_shutdown=HOOK_STOP_SECONDS,
        )
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, server.handle_exit, number, None)
    print(greeting, flush=True)
    await server.serve(sockets=[listener])


class _Server(uvicorn.Server):
    """Stops in order at a signal and ends with 0; uvicorn's own way is to send itself the signal again after that."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class ShortLived(H11Protocol):
    """A connection that ends after a while, whatever comes on it: slow headers hold nobody's place for long."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._end = self.loop.call_later(HOOK_CONNECTION_SECONDS, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end.cancel()
        super().connection_lost(exc)


class Told:
    """Around the app: one line on stderr for each request, and no second request on a connection."""

    def __init__(self, app: Starlette) -> None:
        self._app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        async def tell(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
                path = ascii(scope["path"][:PATH_CHARS_MAX])[1:-1]
                said = " ".join([str(message["status"]), scope["method"], path, *scope.get("awm.note", ())])
                print(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {said}", file=sys.stderr, flush=True)
            await send(message)

        await self._app(scope, receive, tell)


class Receiver:
    """Of one home. Everything after the body is read happens without a pause, so two deliveries never meet."""

    def __init__(self, home: Home, secrets: Secrets, host: str, seen: Seen) -> None:
        self._home = home
        self._secrets = secrets
        self._hosts = {"localhost", host.lower(), *(name.lower() for name in home.config.hook.hosts)}
        self._seen = seen
        self._beats = Beats(home.path)
        self._taken_at: deque[float] = deque(maxlen=HOOK_PER_MINUTE_MAX)

    async def take(self, request: Request) -> Response:
        """Answer one POST to `/hook/<trigger>`."""
        if not self._is_for_us(request):
            return _refusal(403, "not for this host, or from a browser")
        if "content-length" in request.headers and "transfer-encoding" in request.headers:
            return _refusal(400, "content-length and transfer-encoding do not go together")
        try:
            async with asyncio.timeout(HOOK_BODY_SECONDS):
                body = await _body(request)
        except TimeoutError:
            return _refusal(408, "the body came too slowly")
        except ClientDisconnect:
            return _refusal(400, "the body was cut off")
        if body is None:
            return _refusal(413, f"the body has more than {HOOK_BODY_BYTES_MAX} bytes")
        return self._answer(request, webhook.Message(request.headers.raw, body))

    def _is_for_us(self, request: Request) -> bool:
        """No browser, which names an Origin, and no name of a host that somebody else made lead here (SPEC 17)."""
        named = request.headers.getlist("host")
        try:
            host = urlsplit(f"//{named[0]}").hostname or ""
        except (ValueError, IndexError):
            return False
        return len(named) == 1 and "origin" not in request.headers and (host in self._hosts or _is_address(host))

    def _answer(self, request: Request, message: webhook.Message) -> Response:
        now = clock.now()
        name = request.path_params["trigger"]
        form = webhook.form_of(message, self._secrets.get(name, self._secrets[""]), now.wall.timestamp())
        if form is None:
            return _refusal(401, "unauthorized")
        try:
            trigger = next((one for one in self._home.triggers() if one.id == name), None)
            if trigger is None or trigger.type != "webhook" or not trigger.enabled:
                return _refusal(404, "no enabled webhook trigger of that name")
            delivery = webhook.delivery(message, form, now.wall.timestamp())
            request.scope["awm.note"] = [form, delivery.id]
            if delivery.values is None:
                return Response(status_code=204)
            values = {key: value for key, value in delivery.values.items() if key not in trigger.values}
            return self._queue(name, delivery, values, now.wall.timestamp())
        except webhook.MalformedError as error:
            return _refusal(400, str(error))
        except AwmError as error:
            error.show()
            return _refusal(503, "not now; see the receiver's own output")

    def _queue(self, trigger: str, delivery: webhook.Delivery, values: dict[str, str], now: float) -> Response:
        """Write the request, remember the delivery, start a beat. Raises AwmError.

        Neither its id nor its address is signed, so its signature is remembered too, and both count for every trigger
        that the secret is of: a replay is known, under another id and at another address too. Killed between the two,
        the delivery that is sent again has the same name, and so the same task.
        """
        whose = trigger if trigger in self._secrets else ""
        keys = [_key(whose, delivery.id), _key("", "", delivery.signature)]
        if any(self._seen.has(key, now) for key in keys):
            return JSONResponse({"status": "already"})
        at = clock.now().boottime
        if len(self._taken_at) == HOOK_PER_MINUTE_MAX and at - self._taken_at[0] < 60:
            return JSONResponse({"error": "too many"}, 429, {"retry-after": "60"})
        inbox.write_request(self._home.path, {"trigger": trigger, "values": values}, f"hook-{keys[0]}.json")
        self._seen.add(keys, now)
        self._taken_at.append(at)
        self._beats.kick()
        return JSONResponse({"status": "queued"}, 202)


class Beats:
    """Starts beats, one at a time, each in a session of its own that outlives the receiver."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._running: subprocess.Popen[bytes] | None = None
        self._is_wanted = False

    def kick(self) -> None:
        """A beat begins now, or when the one that runs has ended: it may have looked at the inbox already."""
        if self._running is not None:
            self._is_wanted = True
            return
        self._is_wanted = False
        package = str(Path(__file__).parent.parent.parent)
        command = [sys.executable, "-P", "-m", "awm_loop.cli.main", "--home", str(self._home), "beat"]
        try:
            self._running = subprocess.Popen(
                command, env=os.environ | {"PYTHONPATH": package}, stdin=subprocess.DEVNULL, start_new_session=True
            )
        except OSError as error:
            print(f"awm: cannot start a beat: {error.strerror}; the timer's next one takes it", file=sys.stderr)
            return
        pidfd = os.pidfd_open(self._running.pid)
        asyncio.get_running_loop().add_reader(pidfd, self._ended, pidfd)

    def _ended(self, pidfd: int) -> None:
        asyncio.get_running_loop().remove_reader(pidfd)
        os.close(pidfd)
        if self._running is not None:
            self._running.wait()
        self._running = None
        if self._is_wanted:
            self.kick()


@contextmanager
def _only_one(directory: Path) -> Iterator[None]:
    """Two receivers would not know each other's deliveries. The lock's file is never unlinked."""
    lock = FileLock(directory / "lock", timeout=0, mode=0o600, fallback_to_soft=False)
    with durable.disk_trouble(directory, "lock"), suppress(Timeout):
        lock.acquire()
    if not lock.is_locked:
        raise AwmError("another `awm hook` serves this home", "one is enough: it serves every webhook trigger")
    try:
        yield
    finally:
        lock.release()


async def _body(request: Request) -> bytes | None:
    """The body; None where it is too big."""
    body, size = bytearray(), 0
    async for chunk in request.stream():
        size += len(chunk)
        body += chunk if size <= HOOK_BODY_BYTES_MAX else b""
        if size > HOOK_DRAIN_BYTES_MAX:
            break
    return bytes(body) if size <= HOOK_BODY_BYTES_MAX else None


def _is_address(host: str) -> bool:
    """A number, which no name server can make lead elsewhere."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _key(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _refusal(status: int, why: str) -> JSONResponse:
    return JSONResponse({"error": why}, status)
