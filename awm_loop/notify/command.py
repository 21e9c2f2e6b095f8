"""Notices through a command of the owner's: one JSON object on its stdin (SPEC 12.2)."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC
from pathlib import Path

from awm_loop.config import NOTIFY_COMMAND_SECONDS_MAX
from awm_loop.core.model import Notice
from awm_loop.ports import Send

ENVIRONMENT = ("PATH", "HOME", "LANG", "TERM")  # SPEC 17: an allow-list, so that no secret of ours reaches it
PROJECT = "default"  # the one project of this version
REASON_CHARS_MAX = 200
TAIL_BYTES = 4096
PIPE_BYTES = 65_536  # what a pipe holds, so one read after the end sees all that was written


def channel(argv: Sequence[str]) -> Send:
    """A channel that runs `argv` (no shell, session of its own) once for each notice; exit 0 is "delivered".

    stdin is `{"id", "kind", "task", "project", "at", "text"}` and a line break, `at` in ISO 8601 UTC. After 30 seconds
    the command is killed with its group. A reason quotes the last line of stderr, for that is where the owner's program
    says why; stdout is thrown away.
    """
    name = Path(argv[0]).name

    def send(notice: Notice) -> str | None:
        environment = {key: os.environ[key] for key in ENVIRONMENT if key in os.environ}
        try:
            # A file in memory: no pipe to fill or to break when the command does not read, and no disk to be full.
            with os.fdopen(os.memfd_create("notice"), "w+b") as message:
                message.write(_message(notice))
                message.seek(0)
                process = subprocess.Popen(
                    argv,
                    stdin=message,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    env=environment,
                    start_new_session=True,
                )
        except OSError as error:
            return f"{name}: {error.strerror}"
        with process:
            reason = _ending(process)
        return reason and f"{name}: {reason}"

    return send


def _message(notice: Notice) -> bytes:
    fields = {
        "id": notice.id,
        "kind": notice.kind,
        "task": notice.task,
        "project": PROJECT,
        "at": notice.at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "text": notice.text,
    }
    return json.dumps(fields).encode() + b"\n"


def _ending(process: subprocess.Popen[bytes]) -> str | None:
    """Wait for the end, keeping the tail of stderr. A child left behind that still holds stderr delays nothing."""
    if process.stderr is None:
        raise AssertionError("stderr is a pipe")
    stderr, ended = process.stderr.fileno(), os.pidfd_open(process.pid)
    os.set_blocking(stderr, False)
    deadline = time.monotonic() + NOTIFY_COMMAND_SECONDS_MAX
    watched, tail = [stderr, ended], b""
    try:
        while (left_seconds := deadline - time.monotonic()) > 0:
            ready, _, _ = select.select(watched, [], [], left_seconds)
            with suppress(BlockingIOError):
                piece = os.read(stderr, PIPE_BYTES)
                tail = (tail + piece)[-TAIL_BYTES:]
                if not piece:
                    watched = [ended]
            if ended in ready:
                return _verdict(process.wait(), tail)
    finally:
        os.close(ended)
    os.killpg(process.pid, signal.SIGKILL)
    return f"killed after {NOTIFY_COMMAND_SECONDS_MAX:g} seconds"


def _verdict(exit_code: int, tail: bytes) -> str | None:
    if exit_code == 0:
        return None
    how = f"exit {exit_code}" if exit_code > 0 else f"killed by signal {-exit_code}"
    said = tail.decode(errors="replace").strip()
    last = "".join(character for character in said.splitlines()[-1] if character.isprintable()) if said else ""
    return f"{how}: {last[:REASON_CHARS_MAX]}" if last else how
