"""The supervisor's process (SPEC 8.2): `supervision` says what it does.

    python -m awm_loop.cli.supervise HOME KEY LOCK_FD         a fresh one, started by a beat
    python -m awm_loop.cli.supervise HOME KEY --adopt …       this process again, after exec, with child and lock

Its spare for the next agent is forked first, before there is much to copy: it becomes the agent four times as fast.
"""

from __future__ import annotations

import sys

from awm_loop.attempt.spawn import Spare


def main(arguments: list[str]) -> int:
    spare = Spare.fork()
    from awm_loop.cli import supervision  # noqa: PLC0415  not before the fork

    return supervision.main(arguments, spare)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
