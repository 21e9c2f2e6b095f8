"""Attend one sub-agent of an OpenClaw gateway from its start to its end (docs/decisions/0008).

    python -m awm_loop.cli.attend DIRECTORY < PROMPT

This is the agent's process of an attempt: where it lives, the sub-agent does, or is about to. It starts the sub-agent,
tells of it in JSON lines, and ends when that has ended. At TERM it ends the sub-agent first, within the grace of the
attempt. Where it is killed, its supervisor does that, or who sweeps (`call_off`), and in any case the next attempt.

The supervisor takes a new line of output for a sign of life, and digits for none: so who waits with good reason says
something new from time to time, in letters. Where it is the gateway that keeps it waiting until its time limit is near,
it ends by itself and says so: that is no fault of the agent's.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from awm_loop import clock, config, gateway
from awm_loop.attempt.directory import AttemptDirectory, Order
from awm_loop.config import (
    ATTEND_CALL_OFF_SECONDS_MAX,
    ATTEND_GRACE_SHARE,
    ATTEND_LAST_WORDS_TRIES,
    ATTEND_LEFT_SECONDS_MAX,
    ATTEND_LEFT_SHARE,
    ATTEND_POLL_SECONDS_MAX,
    ATTEND_POLL_SECONDS_MIN,
    ATTEND_POLL_SHARE,
    ATTEND_TOLD_PER_STALL,
    ATTEND_TOLD_SECONDS,
)
from awm_loop.errors import AwmError
from awm_loop.gateway import Blocked, NotAllowed, Refused, Trouble
from awm_loop.launchers.gateway import DRAWN, INTENT, GatewayLauncher, SubAgent, Wanted, forget, prefix_of

WENT_WELL = frozenset({"completed", "blocked"})
ASKED = 128 + signal.SIGTERM
LETTERS = str.maketrans("0123456789", "abcdefghij")

PROTOCOL = """
You are a sub-agent, and $AWM_RESULT_FILE is not set for you: the file that it names is {path}
Work in {workspace} alone. You end well by ending your turn: your last message is the summary of your work.
"""
TO_OPEN = 'openclaw.json needs "gateway": {"tools": {"allow": ["sessions_spawn", "exec", "apply_patch"]}}'
TO_SET = "set OPENCLAW_GATEWAY_TOKEN to gateway.auth.token of openclaw.json"
TO_ALLOW = "its sub-agent waits for you in OpenClaw ({}); say there what it may do without asking (openclaw approvals)"
OUT_OF_SIGHT = "its sub-agent may be at work, and AWM cannot see it any more; {}"
PEOPLE = frozenset({"approval", "user_input"})  # what a sub-agent waits for of a person
CLOSED = Refused | NotAllowed | Blocked  # until a person has changed something


class Asked(Exception):  # noqa: N818  not an error: somebody wants this attempt to end
    """TERM has come."""


class Away(Exception):  # noqa: N818  as above
    """The attempt's time is all but over, and it is the gateway that it waits for."""


@dataclass(slots=True)
class Pace:
    """When to look again, and when to say again what is waited for."""

    told_seconds: float
    ends_at: float = math.inf  # when no gateway is waited for any more
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

    def wait_for_gateway(self, why: str) -> None:
        """The same, where the agent can do nothing about it. Raises Asked, Away."""
        if time.monotonic() >= self.ends_at:
            raise Away(why)
        self.wait(why)


@dataclass(slots=True)
class Since:
    """How long something has been so without a break."""

    at: float | None = None

    def seconds(self, is_so: bool) -> float:
        now = time.monotonic()
        self.at = (now if self.at is None else self.at) if is_so else None
        return 0.0 if self.at is None else now - self.at


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


def left_to(order: Order) -> list[AttemptDirectory]:
    """The earlier attempts of a task that may have left a sub-agent, where who works at it next is none: then nobody
    else ends it first."""
    attempts = Path(order.home) / "state" / "attempts"
    if order.kind == config.GATEWAY_KIND or not os.path.lexists(attempts.parent / DRAWN):
        return []
    found = attempts.glob(f"{AttemptDirectory(attempts / order.key).of_task}.*/{INTENT}")
    return [AttemptDirectory(path.parent) for path in found]


def _launcher(order: Order, settings: config.Config, pace: Pace) -> GatewayLauncher:
    return GatewayLauncher(
        prefix=prefix_of(Path(order.home)),
        gateway=gateway.of(settings.openclaw),
        grace_seconds=settings.loop.registration_grace_seconds,
        wait=pace.wait_for_gateway,
    )


def _attend(directory: AttemptDirectory) -> int:
    order = directory.order()
    if order is None:
        raise AwmError(f"{directory.path} has no order", "supervisors run this, and nobody else")
    settings = config.load(Path(order.home) / "awm.toml")
    stall_seconds = settings.loop.stall_minutes * 60
    told_seconds = min(ATTEND_TOLD_SECONDS, stall_seconds / ATTEND_TOLD_PER_STALL)
    pace = Pace(told_seconds, _ends_at(directory, order.limit_seconds))
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
        over = _watched(launcher, order, pace, stall_seconds)
        if isinstance(over, str):
            say("ended", status="asks", error=over)
            return 1
        forget(directory)
        return _told(_launcher(order, settings, pace), over, pace)
    except Asked:
        launcher.call_off(directory, order.stop_grace_seconds * ATTEND_GRACE_SHARE)
        return ASKED
    except Away as away:
        say("ended", status="away", error=str(away))
        return 1


def _ends_at(directory: AttemptDirectory, limit_seconds: float) -> float:
    """When no gateway is waited for any more, on the monotonic clock."""
    marker = directory.marker()
    gone_seconds = max(clock.now().boottime - marker.boottime, 0.0) if marker else 0.0
    left_seconds = min(limit_seconds * ATTEND_LEFT_SHARE, ATTEND_LEFT_SECONDS_MAX)
    return time.monotonic() - gone_seconds + limit_seconds - left_seconds


def _watched(launcher: GatewayLauncher, order: Order, pace: Pace, stall_seconds: float) -> SubAgent | str:
    """Until it is over; or what a person has to do, where it is out of sight or goes on only then."""
    label, moved, moved_at = launcher.label(order.key), "", time.monotonic()
    closed, unseen, asking = Since(), Since(), Since()
    while True:
        seen = launcher.probe([label])
        one = None if isinstance(seen, Trouble) else seen[label]
        if one is not None and one.is_over:
            return one
        closed_seconds = closed.seconds(isinstance(seen, CLOSED))
        unseen_seconds = unseen.seconds(one is None and not isinstance(seen, Trouble))
        if isinstance(seen, Trouble):
            if closed_seconds >= launcher.grace_seconds:
                return OUT_OF_SIGHT.format(_remedy(seen))
            if isinstance(seen, CLOSED):  # perhaps it has another token by now
                with suppress(AwmError):
                    launcher = _launcher(order, config.load(Path(order.home) / "awm.toml"), pace)
            pace.wait_for_gateway(seen.text)
        elif one is None:
            if unseen_seconds >= launcher.grace_seconds:
                error = "interrupted by a Gateway restart: the gateway does not know it any more"
                return SubAgent(label=label, task_id="", status="lost", is_over=True, error=error)
            pace.wait("the gateway does not list it")
        elif asking.seconds(one.waits_for in PEOPLE) >= stall_seconds:
            return TO_ALLOW.format(one.waits_for)
        else:
            if one.moved != moved:
                mark = int.from_bytes(hashlib.sha256(one.moved.encode(errors="replace")).digest()[:8])
                say("lives", status=one.status, tool=one.tool, says=one.text, mark=_letters(mark))
                moved, moved_at = one.moved, time.monotonic()
            _wait(one, pace, time.monotonic() < moved_at + (config.BUSY_FACTOR - 1) * stall_seconds)


def _wait(one: SubAgent, pace: Pace, is_patient: bool) -> None:
    """For one that lives. A tool of its at work is no stall for so long: a build says nothing either."""
    if one.status == "queued":
        pace.wait_for_gateway("it is queued in the gateway")
    elif one.waits_for in PEOPLE:
        pace.wait("it waits for a person in OpenClaw")
    elif is_patient and (one.tool or one.waits_for):
        pace.wait(f"its tool {one.tool} is at work" if one.tool else f"it waits for its {one.waits_for}")
    else:
        pace.wait()


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
    """It cannot be started."""
    say("ended", status="closed" if isinstance(trouble, CLOSED) else "failed", error=_remedy(trouble))
    return 1


def _remedy(trouble: Trouble) -> str:
    """What to do comes first, as notices are cut."""
    what = TO_SET if isinstance(trouble, Refused) else TO_OPEN if isinstance(trouble, NotAllowed) else ""
    return f"{what}: {trouble.text}" if what else trouble.text


def say(what: str, **told: object) -> None:
    """One line of JSON, as `agents/openclaw.py` reads it."""
    print(json.dumps({"type": what, **told}), flush=True)


def _letters(number: int) -> str:
    return str(number).translate(LETTERS)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
