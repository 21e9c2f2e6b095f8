"""What the model servers of the live tests share: a plan by model, a log of requests, and the work they ask for.

A server speaks one protocol on 127.0.0.1. `python anthropic.py PORT DIRECTORY` reads `plan.json` of the directory at each
request, `{"<model>": {"mode": "<one of MODES>", "seconds": <how long from its first request>}}`, and appends to `requests.jsonl`. A
model that is not in the plan, or whose trouble is over, answers well: it has the work done by a shell command, and ends.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar, Protocol

HANG_SECONDS = 3600.0
MODES = ("ok", "busy", "slow", "cap", "rate", "overloaded", "auth", "hang", "cut")
ORDER = re.compile(r"write the word ([a-z]+-\w+)")
BUSY = "tail -f /dev/null"  # a tool that never ends
COMMIT = (
    "echo {word} >> work.txt && git add work.txt && "
    "git -c user.name=Agent -c user.email=agent@example.org commit -q -m {word}"
)


@dataclass(frozen=True)
class Answer:
    """One HTTP answer; `chunks` are sent one after another."""

    chunks: Sequence[bytes]
    status: int = 200
    headers: Mapping[str, str] | None = None
    content_type: str = "application/json"


@dataclass(frozen=True)
class Asked:
    """One request of a CLI, and what the plan has for its model: `until` is when its trouble ends."""

    path: str
    body: Mapping[str, Any]
    mode: str
    until: float

    @property
    def wait_seconds(self) -> int:
        return max(int(self.until - time.time()) + 1, 1)

    @property
    def word(self) -> str:
        """The word that the task wants written, by the prompt that came through the CLI; "" where it has none."""
        return (ORDER.findall(json.dumps(self.body)) or [""])[-1]

    @property
    def command(self) -> str:
        """The shell command that does the work, or never ends."""
        return BUSY if self.mode == "busy" else "sleep 3; " * (self.mode == "slow") + COMMIT.format(word=self.word)

    @property
    def last_words(self) -> str:
        return f"The word {self.word} is written."


class Speech(Protocol):
    """One protocol. `model` names the model that a request is for, "" where it is for none."""

    def model(self, path: str, body: Mapping[str, Any]) -> str: ...

    def answer(self, asked: Asked) -> Answer: ...

    def refusal(self, asked: Asked) -> Answer: ...


def document(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer([json.dumps(value).encode()], status, headers)


def events(values: Iterable[Mapping[str, Any]], *, named: bool, end: bytes = b"") -> Answer:
    """Server-sent events; `named` ones bear the name of their `type`."""
    chunks = [
        (f"event: {value['type']}\n" if named else "").encode() + b"data: " + json.dumps(value).encode() + b"\n\n"
        for value in values
    ]
    return Answer([*chunks, *([end] if end else [])], content_type="text/event-stream")


def _half(whole: Answer) -> Answer:
    """What comes of an answer over a line that breaks: half of its events, or of its only chunk."""
    chunks = whole.chunks[: len(whole.chunks) // 2] or [whole.chunks[0][: len(whole.chunks[0]) // 2]]
    return Answer(chunks, content_type=whole.content_type)


def serve(speech: Speech) -> None:
    """Serve until the process is ended; the port and the directory are the arguments."""
    port, directory = int(sys.argv[1]), Path(sys.argv[2])

    class Handler(_Handler):
        pass

    Handler.speech, Handler.directory = speech, directory
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    (directory / "ready").touch()
    server.serve_forever()


class _Handler(BaseHTTPRequestHandler):
    speech: ClassVar[Speech]
    directory: ClassVar[Path]
    ends: ClassVar[dict[tuple[str, str], float]] = {}  # of each trouble, by model and plan

    def do_GET(self) -> None:
        self._send(document({"data": [], "models": []}))

    def do_HEAD(self) -> None:
        self._send(Answer([]))

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers.get("content-length") or 0))
        body = json.loads(data or b"{}")
        model = self.speech.model(self.path, body)
        planned = json.loads((self.directory / "plan.json").read_bytes()).get(model, {})
        until = self.ends.setdefault((model, json.dumps(planned)), time.time() + planned.get("seconds", HANG_SECONDS))
        mode = planned.get("mode", "ok") if time.time() < until else "ok"
        asked = Asked(self.path, body, mode, until)
        with (self.directory / "requests.jsonl").open("a") as log:
            at = {"at": time.time(), "path": self.path}
            log.write(json.dumps({**at, "model": model, "mode": mode, "until": until, "word": asked.word}) + "\n")
        (self.directory / "last.json").write_bytes(data)
        if mode in ("ok", "busy", "slow"):
            self._send(self.speech.answer(asked))
        elif mode == "hang":
            time.sleep(HANG_SECONDS)
        elif mode == "cut":
            self._send(_half(self.speech.answer(asked)))
        else:
            self._send(self.speech.refusal(asked))

    def _send(self, answer: Answer) -> None:
        """The end of the connection is the end of the answer, so a cut one looks as it does on a broken line."""
        self.close_connection = True
        try:
            self.send_response(answer.status)
            self.send_header("content-type", answer.content_type)
            self.send_header("connection", "close")
            for name, value in (answer.headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            for chunk in answer.chunks:
                self.wfile.write(chunk)
                self.wfile.flush()
        except ConnectionError:
            pass  # the CLI was ended meanwhile

    def log_message(self, *arguments: object) -> None:
        """Nothing: the log has every request."""
