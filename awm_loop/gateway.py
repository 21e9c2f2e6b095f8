"""An OpenClaw gateway over HTTP: one call of one tool, and what went wrong as data (docs/OPENCLAW.md).

What it does was recorded of 2026.9.6. Three things are not what one would think. HTTP 200 with `ok` may be a tool that
failed: that is told here as trouble. HTTP 500 says neither that a tool failed nor that it did nothing: it is `Starting`
where the gateway is not ready, else `ToolFailed`. And no request is known not to have been carried out because its
answer did not come.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from awm_loop.config import (
    GATEWAY_ANSWER_BYTES_MAX,
    GATEWAY_ANSWER_SECONDS_MAX,
    GATEWAY_CONFIG_BYTES_MAX,
    GATEWAY_CONNECT_SECONDS_MAX,
    GATEWAY_TEXT_CHARS_MAX,
    OpenClawConfig,
)
from awm_loop.regular import read_regular

if TYPE_CHECKING:
    import httpx

CONFIG_PATH = "OPENCLAW_CONFIG_PATH"
PORT = 18789  # its own default
NOT_STARTED = ("startup", "gateway-draining")  # how that which fails is called before it has started, and at its end


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why there is no answer; `text` is one line for people, without a secret in it.

    With `is_final` nothing was done, and asking again will not help before somebody has changed something.
    """

    text: str
    is_final: bool = False


class Unreachable(Trouble):
    """Nobody answers there, or not as a gateway does. What was asked may have been done all the same."""


class Starting(Trouble):
    """It answers, and is not ready, or wants to be asked later. What was asked may have been done all the same."""


class Refused(Trouble):
    """It does not take the token. Final."""


class NotAllowed(Trouble):
    """The tool is not opened in its configuration, or does not exist. Final."""


class Blocked(Trouble):
    """It takes the token, and not this call: by a hook or a rule of somebody's there, in its words. Final."""


class ToolFailed(Trouble):
    """The tool says so, in its words. Final, but where the gateway does not say why: it may have been done then."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """Where one is, the token it takes ("" where none is known), and how long an answer is waited for."""

    url: str
    token: str = field(default="", repr=False)
    answer_seconds_max: float = GATEWAY_ANSWER_SECONDS_MAX

    def invoke(self, tool: str, args: Mapping[str, object], session_key: str = "") -> Mapping[str, Any] | Trouble:
        """Call one tool, in the name of the session `session_key`; the `details` of its answer, or why there are none.

        Takes `answer_seconds_max`, and `GATEWAY_CONNECT_SECONDS_MAX` more where it is not ready.
        """
        body = {"tool": tool, "args": dict(args), **({"sessionKey": session_key} if session_key else {})}
        # Half a character of a prompt becomes what JSON has for it.
        data = json.dumps(body, ensure_ascii=False).encode(errors="backslashreplace")
        answer = self._ask("POST", "/tools/invoke", data, self.answer_seconds_max)
        if isinstance(answer, Trouble):
            return answer
        status, said = answer
        match status:
            case 200 if isinstance(result := said.get("result"), dict):
                return _details(result)
            case 401:
                return Refused(f"the gateway at {self.url} does not take the token (HTTP 401)", is_final=True)
            case 403:
                why = _message(said) or "HTTP 403"
                return Blocked(f"the gateway at {self.url} blocks the tool {tool}: {why}", is_final=True)
            case 404 if said.get("ok") is False:
                return NotAllowed(f"the gateway at {self.url} does not allow the tool {tool}", is_final=True)
            case 500:
                return self.ready() or ToolFailed(_message(said) or "HTTP 500")
            case 503:
                return Starting(f"the gateway at {self.url} is starting")
            case 408 | 429:
                return Starting(f"the gateway at {self.url} wants to be asked later (HTTP {status})")
            case 400 | 413:
                return ToolFailed(_message(said) or f"HTTP {status}", is_final=True)
            case _:
                return Unreachable(f"what answers at {self.url} is no gateway (HTTP {status})")

    def ready(self) -> Trouble | None:
        """None where it says that it has started.

        Not whether all is well with it: by its docs `/readyz` is 503 as long as any channel of its is broken, and that
        keeps no sub-agent from its work. Releases without `/startupz` tell it there, by what fails.
        """
        answer = self._ask("GET", "/startupz", None, GATEWAY_CONNECT_SECONDS_MAX)
        if not isinstance(answer, Trouble) and answer[0] == 404:
            answer = self._ask("GET", "/readyz", None, GATEWAY_CONNECT_SECONDS_MAX)
        if isinstance(answer, Trouble):
            return answer
        status, said = answer
        names = said.get("failing")
        failing = [str(name) for name in names] if isinstance(names, list) else []
        is_up = status == 200 and (said.get("status") == "started" or said.get("ready") is True)
        if is_up or (failing and not any(name.startswith(NOT_STARTED) for name in failing)):
            return None
        if status == 503:
            return Starting(f"the gateway at {self.url} is starting")
        return Unreachable(f"what answers at {self.url} is no gateway (HTTP {status})")

    def _ask(
        self, method: str, path: str, body: bytes | None, seconds_max: float
    ) -> tuple[int, Mapping[str, Any]] | Trouble:
        """Status and JSON object of one answer; {} where it is anything else. A connection of its own for each: one
        kept open would break in the middle when the gateway is restarted."""
        import httpx  # noqa: PLC0415  slow to import, and most homes have no gateway

        headers = {"Content-Type": "application/json"} if body else {}
        headers |= {"Authorization": f"Bearer {self.token}"} if self.token else {}
        ends_at = time.monotonic() + seconds_max
        data = bytearray()
        try:
            with _client().stream(
                method,
                self.url + path,
                content=body,
                headers=headers,
                timeout=httpx.Timeout(seconds_max, connect=min(GATEWAY_CONNECT_SECONDS_MAX, seconds_max)),
            ) as response:
                for chunk in response.iter_bytes():
                    data += chunk
                    if len(data) > GATEWAY_ANSWER_BYTES_MAX or time.monotonic() > ends_at:
                        return Unreachable(f"the gateway at {self.url} does not come to an end of its answer")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return Unreachable(f"the gateway at {self.url} does not answer ({type(error).__name__})")
        try:
            said = json.loads(data)
        except (ValueError, RecursionError):
            said = None
        return response.status_code, said if isinstance(said, dict) else {}


@lru_cache(maxsize=1)
def _client() -> httpx.Client:
    """Proxies and other settings of the environment are not for it: the token goes to the gateway and nowhere else."""
    import httpx  # noqa: PLC0415  as above

    return httpx.Client(follow_redirects=False, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))


def _details(result: Mapping[str, object]) -> Mapping[str, Any] | Trouble:
    details = result.get("details")
    if not isinstance(details, dict):
        return {}
    if details.get("status") in ("error", "forbidden"):  # no set: it may be a list
        error = details.get("error")
        said = error if isinstance(error, str) else str(details.get("reason") or details["status"])
        return ToolFailed(said[:GATEWAY_TEXT_CHARS_MAX], is_final=True)
    return details


def _message(said: Mapping[str, Any]) -> str:
    error = said.get("error")
    message = error.get("message") if isinstance(error, dict) else None
    return message[:GATEWAY_TEXT_CHARS_MAX] if isinstance(message, str) else ""


def of(config: OpenClawConfig, environ: Mapping[str, str] = os.environ) -> Gateway:
    """The gateway that `[openclaw]` means: what it leaves open stands in the gateway's own file, where that is JSON."""
    own = own_config(environ)
    port, token = own.get("port"), environ.get(config.token.removeprefix("env:"), "").strip()
    if not token:
        auth = own.get("auth")
        found = auth.get("token") if isinstance(auth, dict) else None
        token = found if isinstance(found, str) and "${" not in found else ""
    is_port = isinstance(port, int) and not isinstance(port, bool) and 0 < port < 65536
    url = config.url.rstrip("/") or f"http://127.0.0.1:{port if is_port else PORT}"
    return Gateway(url, token if token.isascii() and token.isprintable() else "")


def environment(config: OpenClawConfig, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What a process of ours must be given to find the same gateway and token by `of`."""
    return {name: environ[name] for name in (config.token.removeprefix("env:"), CONFIG_PATH) if name in environ}


def config_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the gateway's own configuration lies."""
    return Path(environ.get(CONFIG_PATH) or Path("~/.openclaw/openclaw.json")).expanduser()


def own_config(environ: Mapping[str, str]) -> Mapping[str, object]:
    """Its table `gateway`; {} where there is none that can be read: it may be JSON5, which only the gateway reads."""
    try:
        said = json.loads(read_regular(config_path(environ), GATEWAY_CONFIG_BYTES_MAX))
    except (OSError, ValueError, RecursionError, RuntimeError):  # RuntimeError: there is no home directory
        return {}
    found = said.get("gateway") if isinstance(said, dict) else None
    return found if isinstance(found, dict) else {}
