"""`heartbeat.py` and `awm beat`: one beat, said in one line for each thing that happened (SPEC 6)."""

from __future__ import annotations

import argparse
import errno
import json
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import NoReturn

from awm_loop import clock, durable, terminal
from awm_loop.beat import Beat, run
from awm_loop.cli import delivery, pruning, resting
from awm_loop.cli.pulse import pulse
from awm_loop.config import BEAT_WATCHDOG_SECONDS, SETTLE_BEATS_MAX
from awm_loop.core import choice
from awm_loop.core.consequence import Step
from awm_loop.core.machine import Tell
from awm_loop.core.model import Effect, Launch, Notice, Reset, Stop
from awm_loop.errors import EXIT_BUG, EXIT_OK, AwmError, BadFileError, DiskError
from awm_loop.ports import Settings
from awm_loop.store.document import iso
from awm_loop.wiring import Home

EXAMPLE = """\
examples:
  python heartbeat.py                      one beat; prints nothing when nothing happened
  python heartbeat.py --dry-run            what the next beat would do
  python heartbeat.py --settle             beats until one has no effect
  python heartbeat.py --quiet-token NO_REPLY    as an OpenClaw cron command
"""


def main(arguments: Sequence[str], checkout: Path | None = None) -> int:
    """Run the beat and return its exit code (SPEC 6.3). `checkout` is the home unless --home or $AWM_HOME names one."""
    options = parser().parse_args(arguments)
    sys.excepthook = crash
    terminal.escape_what_cannot_be_encoded()
    signal.alarm(BEAT_WATCHDOG_SECONDS)
    try:
        home = Home.open(Path(os.path.realpath(options.home or os.environ.get("AWM_HOME") or checkout or ".")))
    except AwmError as error:
        return error.show()
    exit_code = EXIT_BUG
    try:
        exit_code = _beats(home, options)
    finally:
        if not options.dry_run:
            delivery.send_ping(home, exit_code)
    return exit_code


def leave(exit_code: int) -> NoReturn:
    """Say what is still to be said and be gone: taking the interpreter down in order is a tenth of a beat's time."""
    try:
        print(end="", flush=True)
    except OSError as error:  # nobody reads any more, or there is no room for it
        if error.errno == errno.ENOSPC and exit_code == EXIT_OK:
            exit_code = DiskError(f"stdout: {error.strerror}").show()
    os._exit(exit_code)


def _beats(home: Home, options: argparse.Namespace) -> int:
    said = _Said(is_json=options.json, is_dry_run=options.dry_run)
    exit_code = EXIT_OK
    try:
        if options.dry_run:
            said.add([_foreseen(home)])
        else:
            home.store.prepare()
            before = resting.look(home)
            for _ in range(SETTLE_BEATS_MAX if options.settle else 1):
                beats = said.add(pulse(home.store, home.ports()))
                if not any(beat.effect or beat.redone for beat in beats):
                    break
            if not beats or delivery.has_news(beats[-1]):  # else to look for it is to read the state once more
                delivery.deliver_and_look(home, said.hear, lambda: said.add(pulse(home.store, home.ports())))
            if beats and beats[-1].work is not None:
                pruning.prune(home, beats[-1].work)
            resting.keep(home, before, said.beats)
        for path, trouble in home.bad.items():
            exit_code = trouble.show()
            if not options.dry_run:
                delivery.tell_bad_file(home, path, trouble)
    except AwmError as error:
        exit_code = error.show()
        if isinstance(error, BadFileError) and not options.dry_run:
            delivery.tell_bad_file(home, home.store.path, error)
    said.end(home, options.quiet_token if exit_code == EXIT_OK else "")  # it would hide the error from an assistant
    return exit_code


def _foreseen(home: Home) -> Beat:
    """What the next beat would do. The specs that it would make for triggers are made, and are gone after it."""
    import tempfile  # noqa: PLC0415  only a dry run pays

    with durable.disk_trouble(Path(os.environ.get("TMPDIR") or home.path), "make a folder in"):
        folder = tempfile.TemporaryDirectory(prefix="awm-", ignore_cleanup_errors=True)
    with folder as scratch:
        return run(home.ports(scratch=Path(scratch)), dry_run=True)


class _Said:
    """What the beats of this process did and told: said as it comes, or as one object at the end."""

    def __init__(self, *, is_json: bool, is_dry_run: bool) -> None:
        self._is_json = is_json
        self._is_dry_run = is_dry_run
        self.beats: list[Beat] = []
        self._notices: list[Notice] = []
        self._is_silent = True

    def add(self, beats: Sequence[Beat]) -> Sequence[Beat]:
        """Say what these beats did; returns them."""
        self.beats += beats
        for line in [text for beat in beats for text in _lines(beat, is_dry_run=self._is_dry_run)]:
            self._print(line)
        return beats

    def hear(self, notice: Notice) -> str | None:
        """The console channel: a notice is delivered once it is out."""
        self._notices.append(notice)
        return self._print(delivery.console_text(notice, clock.now().wall))

    def end(self, home: Home, quiet_token: str) -> None:
        if self._is_json:
            print(json.dumps(self._object(home), ensure_ascii=False))
        elif self._is_silent and quiet_token:
            print(quiet_token)

    def _print(self, text: str) -> str | None:
        self._is_silent = False
        if self._is_json:
            return None
        try:
            print(text, flush=True)
        except OSError as error:
            return f"stdout: {error.strerror}"
        return None

    def _object(self, home: Home) -> dict[str, object]:
        last = self.beats[-1] if self.beats else None
        effect = next((beat.effect for beat in reversed(self.beats) if beat.effect), None)
        due = None
        if last is not None and last.work is not None:
            now = clock.now()
            due = choice.next_due(last.work, now, home.policy(Settings(), now))
        return {
            "beat": {"at": iso(clock.now().wall), "home": str(home.path), "count": len(self.beats)},
            "rows": [_row(step) for beat in self.beats for step in beat.steps],
            "effect": _effect(effect),
            "notices": [
                {"id": one.id, "kind": one.kind, "task": one.task, "at": iso(one.at), "text": one.text}
                for one in self._notices
            ],
            "nextDue": iso(due),
        }


def _lines(beat: Beat, *, is_dry_run: bool) -> list[str]:
    """One for each thing that happened and has no notice to say it; in a dry run for each that would."""
    redone = [f"{'would redo' if is_dry_run else 'redone'}: {_effect_text(beat.redone)}"] if beat.redone else []
    steps = [step_text(step) for step in beat.steps if is_dry_run or step.row.tell is Tell.NOTHING]
    return [*redone, *steps, *beat.lines]


def step_text(step: Step) -> str:
    who = step.task + (f" attempt {step.attempt}" if step.attempt is not None else "")
    return f"{who + ': ' if who else ''}{step.row}" + (f" ({step.reason})" if step.reason else "")


def _effect_text(effect: Effect) -> str:
    match effect:
        case Launch(key=key):
            return f"launch {key}"
        case Stop(key=key, why=why):
            return f"stop {key} ({why})"
        case Reset(key=key):
            return f"session {key}"


def _row(step: Step) -> dict[str, object]:
    return {
        "phase": step.row.phase,
        "signal": step.row.signal,
        "then": step.row.then,
        "effect": step.row.do,
        "task": step.task or None,
        "attempt": step.attempt,
        "reason": step.reason or None,
    }


def _effect(effect: Effect | None) -> dict[str, object] | None:
    match effect:
        case None:
            return None
        case Launch(key=key):
            return {"effect": "launch", "attempt": key}
        case Stop(key=key, why=why):
            return {"effect": "stop", "attempt": key, "why": why}
        case Reset(key=key):
            return {"effect": "reset", "key": key}


def crash(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Our bug: a traceback and exit 70, which the interpreter by itself would make 1."""
    traceback.print_exception(kind, error, trace)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(130 if issubclass(kind, KeyboardInterrupt) else EXIT_BUG)


def parser() -> argparse.ArgumentParser:
    """The options of `heartbeat.py` and `awm beat`."""
    found = argparse.ArgumentParser(
        prog="heartbeat.py",
        description="One beat of the work loop: look at the agents, take the next step, save, exit.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    found.add_argument("--home", metavar="DIR", help="the home; else $AWM_HOME, else this checkout")
    found.add_argument("--settle", action="store_true", help="repeat until a beat has no effect")
    found.add_argument("--dry-run", action="store_true", help="print the decision, write nothing")
    found.add_argument("--json", action="store_true", help="print one object")
    found.add_argument("--quiet-token", metavar="WORD", default="", help="print WORD when nothing happened")
    return found
