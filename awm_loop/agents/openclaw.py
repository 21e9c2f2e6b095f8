"""A sub-agent of an OpenClaw gateway, as told by the program of ours that attends it (docs/decisions/0008).

What the gateway says of ends was observed of 2026.9.6, against a model server of our own.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from awm_loop import config, gateway
from awm_loop.agents import verdict
from awm_loop.agents.reading import Ask, Call, Kind, Reading
from awm_loop.agents.verdict import words
from awm_loop.core.model import Outcome
from awm_loop.core.observation import Limit

INTERRUPTED = re.compile(r"interrupted by a Gateway restart|subagent run (?:lost active execution context|orphaned)")
LOCKED_OUT = re.compile(r"temporarily disabled after a provider auth/billing failure. Retry after about (\d+)")
BILLING_MINUTES_MIN = 2  # it locks a key out for 10 minutes where a bill was refused, for one where a login was
# What it says in words of its own where a provider answered so; all else are the provider's words.
STATUSES = (
    (402, re.compile(r"returned a billing error")),
    (429, re.compile(r"(?:temporarily|request was|models were|LLM request) (?:overloaded|rate[- ]limited)")),
    (429, re.compile(r"API rate limit reached|\(rate limited, HTTP 429\)")),
)
WENT_WELL = frozenset({"completed", "blocked"})  # "blocked": it had nothing to say; git and the gate tell more


def call(ask: Ask) -> Call:
    """How to run the attending program: with what it needs to find the gateway, and its token never among arguments.

    It is told the attempt's directory, which is in the home, and reads the rest there. Raises ConfigError.
    """
    openclaw = config.load(ask.scratch.parent.parent.parent / "awm.toml").openclaw
    return Call(
        argv=(ask.executable, "-P", "-m", "awm_loop.cli.attend", str(ask.scratch)),
        environment={"PYTHONPATH": str(Path(__file__).parent.parent.parent)}
        | gateway.environment(openclaw, os.environ),
    )


class Reader:
    """Reads the lines of `cli/attend.py`: of these, the last one counts.

    `tokens` are those in its context when it ended, as the gateway tells no others: all count as input.
    """

    session_id = ""  # none that could be resumed

    def __init__(self) -> None:
        self._end: tuple[dict[str, object], datetime] | None = None
        self._last = verdict.tail()

    def out(self, line: str, at: datetime) -> None:
        """One line of stdout."""
        event = verdict.fields(line)
        if event is not None and event.get("type") == "ended":
            self._end = (dict(event), at)

    def err(self, line: str, at: datetime) -> None:
        """One line of stderr: what keeps the attending program from its work."""
        verdict.keep(self._last, line, at)

    def stuck(self) -> Reading | None:
        """None: the gateway does not tell what it waits for."""
        return None

    def end(self, exit_code: int, at: datetime) -> Reading:
        """What the sub-agent came to."""
        if self._end is None:
            return verdict.broken_off(exit_code, self._last, Reading(outcome=Outcome.FAILED))
        event, at = self._end
        status, error = words(event.get("status")), words(event.get("error"))
        line = verdict.one_line(error)
        used = verdict.count(event.get("totalTokens"))
        known = Reading(
            outcome=Outcome.FAILED,
            summary=verdict.final(event.get("text")),
            tokens=None if used is None else {"input": used, "output": 0},
        )
        if status in WENT_WELL:
            return replace(known, outcome=Outcome.SUCCEEDED)
        if status == "away":
            return replace(known, outcome=Outcome.LIMITED, error=line, limit=Limit(resets_at=None, source=line))
        if status == "asks":
            return replace(known, outcome=Outcome.BLOCKED, error=line, question=line)
        if status == "interrupted" or INTERRUPTED.search(error):
            return replace(known, outcome=Outcome.REBOOTED, error=line)
        if status == "closed":
            return replace(known, outcome=Outcome.AUTH, error=line)
        if locked := LOCKED_OUT.search(error):
            is_bill = int(locked[1][:4]) >= BILLING_MINUTES_MIN
            return replace(known, outcome=Outcome.BILLING if is_bill else Outcome.AUTH, error=line)
        if status == "failed":
            told = next((number for number, said in STATUSES if said.search(error)), None)
            return verdict.failed(error, at, known, told)
        how = status.replace("_", " ") or "it does not say how it ended"
        return replace(known, error=verdict.one_line(": ".join(part for part in (how, error) if part)))


KIND = Kind(executable=sys.executable, install="", call=call, reader=Reader)
