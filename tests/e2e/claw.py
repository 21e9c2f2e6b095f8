"""The fake gateway from a test's side: it is started, told its moods, killed, started again, and asked for its truth."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fake_gateway import RESTARTED
from home import POLL_SECONDS, Home

FAKE = Path(__file__).resolve().parent / "fake_gateway.py"
__all__ = ["CAP", "RESTARTED", "TOKEN", "Claw", "claw"]
TOKEN = "T"  # as the fake's moods have it
CAP = "⚠️ ⚠️ You have hit your usage limit. Your limit resets in 4 hours.; Retry-After: 14400 seconds"  # recorded


@dataclass
class Claw:
    """One gateway: its directory and port stay, its process comes and goes."""

    directory: Path
    environment: dict[str, str]
    port: int = 0
    process: subprocess.Popen[bytes] | None = None
    moods: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def config(self, agent: str = "claw") -> str:
        """The lines of awm.toml that lead to it, and an agent that works there."""
        return f'[openclaw]\nurl = "{self.url}"\n[agents.{agent}]\nkind = "openclaw"\n'

    def be(self, **moods: Any) -> None:
        """Change what it does from now on."""
        self.moods |= moods
        temporary = self.directory / "moods~"
        temporary.write_text(json.dumps(self.moods))
        temporary.rename(self.directory / "moods.json")

    def start(self, *, is_awaited: bool = True) -> None:
        command = [sys.executable, str(FAKE), str(self.directory), str(self.port)]
        self.process = subprocess.Popen(command, env=self.environment, start_new_session=True)
        while is_awaited and not self.answers():
            assert self.process.poll() is None
            select.select((), (), (), POLL_SECONDS)

    def answers(self) -> bool:
        with suppress(OSError), urllib.request.urlopen(f"{self.url}/readyz", timeout=5):
            return True
        return False

    def kill(self) -> None:
        """SIGKILL; what it had running dies with it."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    # What can be read

    def truth(self) -> list[tuple[str, ...]]:
        with suppress(FileNotFoundError):
            return [tuple(line.split()) for line in (self.directory / "truth").read_text().splitlines()]
        return []

    def labels(self, what: str = "spawn") -> list[str]:
        """Of which something was told, in order."""
        return [line[1] for line in self.truth() if line[0] == what]

    def requests(self, tool: str = "") -> list[dict[str, Any]]:
        with suppress(FileNotFoundError):
            found = [json.loads(line) for line in (self.directory / "requests").read_text().splitlines()]
            return [one for one in found if not tool or one["tool"] == tool]
        return []

    def tasks(self) -> list[dict[str, Any]]:
        """What it keeps, the newest first."""
        with suppress(FileNotFoundError):
            found: list[dict[str, Any]] = json.loads((self.directory / "tasks.json").read_text())
            return found
        return []

    def living(self) -> list[str]:
        return [task["label"] for task in self.tasks() if task["status"] == "running"]


@pytest.fixture
def claw(home: Home) -> Iterator[Claw]:
    """A running gateway beside the home, whose beats know its token."""
    home.environment["OPENCLAW_GATEWAY_TOKEN"] = TOKEN
    found = Claw(home.root / "gateway", home.environ())
    found.start()
    try:
        yield found
    finally:
        found.kill()
