"""A home whose agents are a real CLI, in a network of its own that has nothing but a model server (issue 5)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from clis import ALONE, GATEWAY_PORT, KEY, PORT, Cli
from home import Home, is_running, kill

from awm_loop.launchers.gateway import prefix_of

QUIET = {"DO_NOT_TRACK": "1", "OPENCLAW_NO_AUTO_UPDATE": "1", "OPENCLAW_DISABLE_BONJOUR": "1"}
SERVERS = Path(__file__).with_name("servers")
LONG_SECONDS = 240.0  # for what a CLI does: some need half a minute to start where the machine is busy
ASK = """\
import json, sys, urllib.request
try:
    headers = {"authorization": "Bearer " + sys.argv[2], "content-type": "application/json"}
    asked = urllib.request.Request(sys.argv[1], sys.argv[3].encode() or None, headers)
    print(urllib.request.urlopen(asked, timeout=30).read().decode())
except OSError as error:
    sys.exit(str(error))
"""
SETTINGS = """\
[loop]
default_agent = "first"
retry_backoff_seconds = [5]
stop_grace_seconds = 2
limit_margin_seconds = 0
{loop}

[project]
verify = 'test -n "$(tail -n 1 work.txt)" && test -z "$(git status --porcelain)"'

[agents.first]
{first}
fallback = {fallback}

[agents.second]
{second}
"""


def why_not(cli: Cli) -> str:
    """Why this CLI cannot be run here, "" where it can. AWM_LIVE_UNTIL, in Unix time, is when the last test may begin."""
    if time.time() > float(os.environ.get("AWM_LIVE_UNTIL") or "inf"):
        return "the time for it is over"
    if not cli.path.exists():
        return f"{cli.path} is not installed (`scripts/live install`)"
    try:
        tried = subprocess.run([*ALONE, "true"], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        return f"there is no {error.filename}"
    return f"no network of its own can be made: {tried.stderr.strip()}" if tried.returncode else ""


@dataclass
class Live(Home):
    """`begin` it. What a model does is told by `plan`; a model that is not named there does its work."""

    server: subprocess.Popen[bytes] | None = None
    gateway: subprocess.Popen[bytes] | None = None

    def begin(self, cli: Cli, *, loop: str = "", fallback: str = '["second"]') -> None:
        self.cli = cli
        self.environment = dict(cli.environment)
        for name, text in cli.files.items():
            path = self.user / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        first, second = self._agent(0), self._agent(1)
        self.config(SETTINGS.format(loop=loop, fallback=fallback, first=first, second=second))
        self.served.mkdir()
        self.plan({})
        with (self.root / "server").open("wb") as output:
            self.server = subprocess.Popen(
                [*ALONE, sys.executable, str(SERVERS / f"{cli.speech}.py"), str(PORT), str(self.served)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self.prefix = ("nsenter", f"--net=/proc/{self.server.pid}/ns/net", "--")
        self.wait_for((self.served / "ready").exists)
        self.start_gateway()

    def start_gateway(self) -> None:
        """Where the CLI is one; again after it was killed."""
        if not self.cli.is_gateway:
            return
        if self.gateway is not None:
            self.gateway.wait()
        with (self.root / "gateway").open("ab") as output:
            self.gateway = subprocess.Popen(
                [*self.prefix, str(self.cli.path), "gateway", "run"],
                env=self.environ() | QUIET,
                cwd=self.user,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.wait_for(lambda: '"ready":true' in self.ask("/readyz"), seconds=LONG_SECONDS)

    def kill_gateway(self) -> None:
        """By SIGKILL; what its tools run ends with it."""
        if self.gateway is not None:
            for pid, what in self.processes().items():
                if is_of_gateway(what) and "worker" not in what:
                    kill(pid, signal.SIGKILL, str(self.root))
            self.gateway.wait()

    def ask(self, path: str, body: object = None) -> str:
        """What the gateway answers; "" where it does not."""
        words = [f"http://127.0.0.1:{GATEWAY_PORT}{path}", KEY, "" if body is None else json.dumps(body)]
        command = [*self.prefix, sys.executable, "-c", ASK, *words]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout

    def sub_agents(self) -> list[dict[str, Any]]:
        """What the gateway lists of this home's, by its own word: of each the label, status, start and end."""
        parent = f"agent:main:{prefix_of(self.path)}"
        args = {"action": "list", "recentMinutes": 1440}
        said = json.loads(self.ask("/tools/invoke", {"tool": "subagents", "args": args, "sessionKey": parent}))
        details = said["result"]["details"]
        found: list[dict[str, Any]] = details["active"] + details["recent"]
        return sorted(found, key=lambda one: one["startedAt"])

    def end_all(self) -> None:
        super().end_all()
        for process in (self.server, self.gateway):
            if process is not None:
                process.wait()

    def _agent(self, number: int) -> str:
        if self.cli.is_gateway:
            return f"""\
kind = "{self.cli.name}"
model = "{self.cli.models[number]}"
account = "account-{number}\""""
        return f"""\
kind = "{self.cli.name}"
executable = "{self.cli.path}"
model = "{self.cli.models[number]}"
account = "account-{number}"
env_pass = {json.dumps([*self.cli.environment])}
extra_args = {json.dumps(self.cli.extra_args)}"""

    @property
    def served(self) -> Path:
        return self.root / "served"

    def plan(self, modes: dict[int, tuple[str, float]]) -> None:
        """What becomes of requests for the models 0 and 1: a mode of the server, and its seconds from the first one."""
        text = {
            self.cli.served[number]: {"mode": mode, "seconds": seconds} for number, (mode, seconds) in modes.items()
        }
        new = self.served / "plan~"
        new.write_text(json.dumps(text))
        new.rename(self.served / "plan.json")

    @property
    def server_pid(self) -> int:
        return self.server.pid if self.server else 0

    def running(self) -> dict[int, str]:
        """The CLI's processes and its tools', which is all that has to do with this home but AWM and the server.

        One that ends at this moment has no command line any more.
        """
        return {
            pid: what
            for pid, what in self.processes().items()
            if what and "awm_loop.cli." not in what and pid != self.server_pid and not is_of_gateway(what)
        }

    def prove_the_end_of(self, ran: dict[int, str], number: int = 1) -> None:
        """Wait for the attempt's result, which proves its end (SPEC 8.3): none of what `ran` runs any more."""
        assert ran or self.cli.is_gateway  # which runs nothing while its model thinks
        self.wait_for(lambda: len(self.results()) >= number, beat_every=2.0, seconds=LONG_SECONDS)
        alive = {pid: what for pid, what in ran.items() if is_running(pid)}
        assert not alive, alive

    def requests(self) -> list[dict[str, Any]]:
        """What the server was asked for, as it logged it."""
        path = self.served / "requests.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def asked_in(self, mode: str) -> bool:
        return any(request["mode"] == mode for request in self.requests())

    def order(self, task: str) -> None:
        """A task whose agent is to write a word and commit it."""
        path = self.root / f"SPRINT_{task}_SPEC.md"
        path.write_text(
            f"# Sprint {task}: Words\n\nIn this repository, write the word wombat-{task} to work.txt; commit it.\n"
        )

    def add(self, task: str) -> None:
        """Put a task into the queue of a loop that may rest."""
        spec = str(self.root / f"SPRINT_{task}_SPEC.md")
        self.edit(lambda state: state.update(queue=[task], active=True, specFiles={**state["specFiles"], task: spec}))
        self.wait_for(lambda: not self.is_idle, beat_every=2.0)

    def open_account(self) -> None:
        """A person's word that the first agent's account is open (SPEC 4.2)."""
        past = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=1)
        self.edit(lambda state: state.update(rateLimitedUntil=past.isoformat()))

    def run_out(self) -> dict[str, Any]:
        """Beat as a timer does until the loop rests and has said so; returns the state. Nothing of the CLI is left then."""
        self.wait_for(lambda: self.is_idle and not self.state()["outbox"], beat_every=2.0, seconds=LONG_SECONDS)
        assert not self.running(), self.running()
        return self.state()

    def awm(self, *arguments: str) -> str:
        """What a verb prints, as a person types it."""
        return self.program(sys.executable, "-m", "awm_loop.cli.main", "--home", str(self.path), *arguments)

    def program(self, *command: str) -> str:
        """What a person's command prints that ends well."""
        done = subprocess.run(
            [*self.prefix, *command], env=self.environ() | QUIET, check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, done
        return done.stdout

    def words(self) -> list[str]:
        """What the agents committed, by git's word."""
        return self.git("show", "HEAD:work.txt").splitlines()

    def story(self) -> str:
        printed = [
            f"--- {path.parent.name}/{path.name}\n{path.read_text(errors='replace')[-3000:]}"
            for path in sorted(self.path.glob("state/attempts/*/out*.log"))
        ]
        served = [json.dumps(one) for one in self.requests()]
        paths = [path for name in ("server", "gateway") if (path := self.root / name).exists()]
        trouble = [path.read_text(errors="replace")[-3000:] for path in paths]
        return "\n".join([super().story(), *printed, *served, *trouble])


def is_of_gateway(command: str) -> bool:
    """Whether it is a gateway or a worker of one, and nothing that a sub-agent runs."""
    return command.startswith("openclaw") or "/openclaw/dist/" in command or command.rstrip().endswith("gateway run")
