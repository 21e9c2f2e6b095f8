"""Attend one sub-agent of an OpenClaw gateway from its start to its end (docs/decisions/0008).

    python -m awm_loop.cli.attend DIRECTORY < PROMPT

This is the agent's process of an attempt: where it lives, the sub-agent does, or is about to. It starts the sub-agent,
tells of it in JSON lines, and ends when that has ended. At TERM it ends the sub-agent first, within the grace of the
attempt. Where it is killed, its supervisor does that, or who sweeps (`call_off`), and in any case the next attempt.

The supervisor takes a new line of output for a sign of life, and digits for none: so who waits with good reason says
something new from time to time, in letters.
"""

from __future__ import annotations

import hashlib
import json
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from awm_loop import config, gateway
from awm_loop.attempt.directory import AttemptDirectory, Order
from awm_loop.config import (
    ATTEND_CALL_OFF_SECONDS_MAX,
    ATTEND_GRACE_SHARE,
    ATTEND_LAST_WORDS_TRIES,
    ATTEND_POLL_SECONDS_MAX,
    ATTEND_POLL_SECONDS_MIN,
    ATTEND_POLL_SHARE,
    ATTEND_TOLD_PER_STALL,
    ATTEND_TOLD_SECONDS,
)
from awm_loop.errors import AwmError
from awm_loop.gateway import NotAllowed, Refused, Trouble
from awm_loop.launchers.gateway import GatewayLauncher, SubAgent, Wanted, forget

WENT_WELL = frozenset({"completed", "blocked"})
ASKED = 128 + signal.SIGTERM
LETTERS = str.maketrans("0123456789", "abcdefghij")

PROTOCOL = """
You are a sub-agent, and $AWM_RESULT_FILE is not set for you: the file that it names is {path}
Work in {workspace} alone. You end well by ending your turn: your last message is the summary of your work.
"""
TO_OPEN = 'openclaw.json needs "gateway": {"tools": {"allow": ["sessions_spawn", "exec", "apply_patch"]}}'
TO_SET = "set OPENCLAW_GATEWAY_TOKEN to gateway.auth.token of openclaw.json"


class Asked(Exception):  # noqa: N818  not an error: somebody wants this attempt to end
    """TERM has come."""


@dataclass(slots=True)
class Pace:
    """When to look again, and when to say again what is waited for."""

    told_seconds: float
    begun_at: float = field(default_factory=time.monotonic)
    told_at: float = 0.0
    told: str = ""

    def wait(self, why: str = "") -> None:
        """Until the next look; before it, `why` is said where that is due. Raises Asked."""
        now = time.monotonic()
        if why and (why != self.told or now >= self.told_at + self.told_seconds):
            say("waits", why=why, mark=_letters(time.monotonic_ns() // 1_000_000))
            self.told, self.told_at = why, now
        seconds = min(max((now - self.begun_at) * ATTEND_POLL_SHARE, ATTEND_POLL_SECONDS_MIN), ATTEND_POLL_SECONDS_MAX)
        if signal.sigtimedwait({signal.SIGTERM}, seconds) is not None:
            raise Asked


def main(arguments: list[str]) -> int:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # taken where it can be answered: in `Pace.wait`
    try:
        return _attend(AttemptDirectory(Path(arguments[0])))
    except AwmError as error:
        return error.show()


def call_off(directory: AttemptDirectory) -> None:
    """End the sub-agent of an attempt whose attending program is gone, as far as that can be done now.

    Bounded, and best effort: the next attempt of the task does it again before it starts anything.
    """
    order = directory.order()
    if order is not None and order.kind == config.GATEWAY_KIND:
        with suppress(AwmError):
            launcher = _launcher(order, config.load(Path(order.home) / "awm.toml"), Pace(0.0))
            hasty = replace(launcher.gateway, answer_seconds_max=ATTEND_CALL_OFF_SECONDS_MAX / 2)
            replace(launcher, gateway=hasty).call_off(directory, ATTEND_CALL_OFF_SECONDS_MAX / 2)


def _launcher(order: Order, settings: config.Config, pace: Pace) -> GatewayLauncher:
    return GatewayLauncher(
        home=Path(order.home),
        gateway=gateway.of(settings.openclaw),
        grace_seconds=settings.loop.registration_grace_seconds,
        wait=pace.wait,
    )


def _attend(directory: AttemptDirectory) -> int:
    order = directory.order()
    if order is None:
        raise AwmError(f"{directory.path} has no order", "supervisors run this, and nobody else")
    settings = config.load(Path(order.home) / "awm.toml")
    stall_seconds = settings.loop.stall_minutes * 60
    pace = Pace(min(ATTEND_TOLD_SECONDS, stall_seconds / ATTEND_TOLD_PER_STALL))
    launcher = _launcher(order, settings, pace)
    protocol = PROTOCOL.format(path=directory / "answer" / "agent-result.json", workspace=order.workspace)
    wanted = Wanted(
        directory=directory,
        told=sys.stdin.buffer.read().decode("utf-8", "replace") + protocol,
        workspace=order.workspace,
        model=order.model,
    )
    try:
        started = launcher.start(wanted)
        if isinstance(started, Trouble):
            return _closed(started)
        say("started", label=launcher.label(order.key), parent=launcher.parent)
        over = _watched(launcher, order.key, pace, (config.BUSY_FACTOR - 1) * stall_seconds)
        if isinstance(over, Trouble):
            return _closed(over)
        forget(directory)
        return _told(launcher, over, pace)
    except Asked:
        launcher.call_off(directory, order.stop_grace_seconds * ATTEND_GRACE_SHARE)
        return ASKED


def _watched(launcher: GatewayLauncher, key: str, pace: Pace, tool_seconds_max: float) -> SubAgent | Trouble:
    """Until it is over. A tool of its at work is no stall for so long: a build says nothing either."""
    label, moved = launcher.label(key), ""
    moved_at, unseen_since = time.monotonic(), 0.0
    while True:
        now = time.monotonic()
        seen = launcher.probe([label])
        one = None if isinstance(seen, Trouble) else seen[label]
        if one is not None and one.is_over:
            return one
        if isinstance(seen, Refused | NotAllowed):
            return seen
        if isinstance(seen, Trouble):
            unseen_since = 0.0
            pace.wait(seen.text)
        elif one is None:
            unseen_since = unseen_since or now
            if now >= unseen_since + launcher.grace_seconds:
                error = "interrupted by a Gateway restart: the gateway does not know it any more"
                return SubAgent(label=label, task_id="", status="lost", is_over=True, error=error)
            pace.wait("the gateway does not list it")
        else:
            unseen_since = 0.0
            if one.moved != moved:
                mark = int.from_bytes(hashlib.sha256(one.moved.encode(errors="replace")).digest()[:8])
                say("lives", status=one.status, tool=one.tool, says=one.text, mark=_letters(mark))
                moved, moved_at = one.moved, now
            is_queued = one.status == "queued"
            is_busy = bool(one.tool) and now < moved_at + tool_seconds_max
            pace.wait("it is queued in the gateway" if is_queued else f"its tool {one.tool} is at work" * is_busy)


def _told(launcher: GatewayLauncher, one: SubAgent, pace: Pace) -> int:
    """Its last words and how it went, as the last line."""
    text: str | Trouble = one.text
    for _ in range(ATTEND_LAST_WORDS_TRIES if one.session_key and one.status in WENT_WELL else 0):
        text = launcher.last_words(one)
        if not isinstance(text, Trouble) or text.is_final:
            break
        pace.wait(text.text)
    said = one.text if isinstance(text, Trouble) else text
    say("ended", status=one.status, error=one.error, text=said, totalTokens=one.tokens, sessionKey=one.session_key)
    return 0 if one.status in WENT_WELL else 1


def _closed(trouble: Trouble) -> int:
    """It cannot be started, or not be seen any more: what to do comes first, as notices are cut."""
    match trouble:
        case Refused():
            say("ended", status="closed", error=f"{TO_SET}: {trouble.text}")
        case NotAllowed():
            say("ended", status="closed", error=f"{TO_OPEN}: {trouble.text}")
        case _:
            say("ended", status="failed", error=trouble.text)
    return 1


def say(what: str, **told: object) -> None:
    """One line of JSON, as `agents/openclaw.py` reads it."""
    print(json.dumps({"type": what, **told}), flush=True)


def _letters(number: int) -> str:
    return str(number).translate(LETTERS)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
