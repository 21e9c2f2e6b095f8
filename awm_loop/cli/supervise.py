"""The supervisor's process (SPEC 8.2): `supervision` says what it does.

    python -m awm_loop.cli.supervise HOME KEY LOCK_FD                          a fresh one, started by a beat
    python -m awm_loop.cli.supervise HOME KEY LOCK_FD OUTPUT_FD ERRORS_FD …    the same, after exec, with its child

Whoever called that beat may have handed down what is none of ours, such as the lock of cron's `flock`: it would be held
as long as the work goes on. The nursery is forked first, before there is much to copy: what it forks becomes the agent
four times as fast, and shares with us only what was there before the imports.
"""

from __future__ import annotations

import gc
import os
import sys
from contextlib import suppress

from awm_loop.attempt.spawn import Nursery, close_all_but
from awm_loop.cli.inherited import set_right
from awm_loop.errors import AwmError

FRESH = 3  # arguments: HOME KEY LOCK_FD


def main(arguments: list[str]) -> int:
    set_right()
    close_all_but({int(fd) for fd in arguments[2:5]})
    if len(arguments) == FRESH:
        _wait_to_be_moved()
    nursery = None
    with suppress(AwmError):  # an agent may run already; who needs a spare is told why there is none
        nursery = Nursery.fork()
    gc.disable()  # until all is imported and rehearsed, as nothing of that is garbage
    from awm_loop.cli import supervision  # noqa: PLC0415  not before the fork

    return supervision.main(arguments, nursery)


def _wait_to_be_moved() -> None:
    """Until the beat that started us has seen to our scope, or is gone. A child forked before would stay behind."""
    os.read(0, 1)
    null_fd = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null_fd, 0)
    os.close(null_fd)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
