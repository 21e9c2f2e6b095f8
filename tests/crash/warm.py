"""Beats without the start of an interpreter: forked off a process that has imported all a beat needs.

Each is a process of its own and does what `heartbeat.py` does from its first line on, a fifth of a second earlier: so a
night has ten times the beats, and two that are begun at once meet more closely.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent.parent


@dataclass
class Warm:
    """The process that forks beats; started with the first of them, and gone with this one."""

    _process: subprocess.Popen[str] | None = field(default=None)

    def begin(self, arguments: Sequence[str], environment: Mapping[str, str], err_path: Path) -> int:
        """Begin a beat, its stderr appended to `err_path`; returns its pid."""
        return self._asked({"arguments": arguments, "environment": environment, "err": str(err_path)})

    def wait(self, pid: int) -> int:
        """Wait for the end of a beat; its exit code, negative for a signal."""
        return self._asked({"wait": pid})

    def _asked(self, request: Mapping[str, object]) -> int:
        if self._process is None:
            command = [sys.executable, str(Path(__file__).resolve())]
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
            )
        asked, answers = self._process.stdin, self._process.stdout
        assert asked is not None
        assert answers is not None
        asked.write(json.dumps(request) + "\n")
        asked.flush()
        return int(answers.readline())


def _serve() -> None:
    sys.path.insert(0, str(CHECKOUT))
    gc.disable()
    import markdown_it  # noqa: F401, PLC0415  a beat that reads a spec imports it

    from awm_loop import fault  # noqa: PLC0415  where it forks, not where it is asked
    from awm_loop.cli import heartbeat  # noqa: PLC0415

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            print(os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1]), flush=True)
            continue
        pid = os.fork()
        if pid == 0:
            for fd, path in enumerate((os.devnull, os.devnull, request["err"])):
                opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
                os.dup2(opened, fd)
                os.close(opened)
            os.chdir("/")
            os.environ.clear()
            os.environ.update(request["environment"])
            fault._SETTING = os.environ.get("AWM_FAULT", "")  # as if it were imported now
            heartbeat.leave(heartbeat.main(request["arguments"], CHECKOUT))
        print(pid, flush=True)


if __name__ == "__main__":
    _serve()
