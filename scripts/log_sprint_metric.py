#!/usr/bin/env python3
"""Log how a sprint went to state/work_metrics.json, or show what the log teaches (SPEC 12.3)."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT))

from awm_loop.errors import AwmError, ConfigError  # noqa: E402  found through the line above
from awm_loop.venv import ensure_dependencies  # noqa: E402

EXAMPLES = """examples:
  %(prog)s --sprint S1 --agent codex --status success --duration 5 --notes "Search bar"
  %(prog)s --sprint S2 --agent codex --status stalled --duration 31.5 --error build_hangs
  %(prog)s --summary
  %(prog)s --summary --json
"""


def main() -> int:
    """Run the command line; returns the exit code."""
    arguments = _arguments()
    try:
        ensure_dependencies(CHECKOUT)
        return _run(arguments)
    except AwmError as error:
        return error.show()


def _run(arguments: argparse.Namespace) -> int:
    from awm_loop import clock  # noqa: PLC0415  these need the dependencies
    from awm_loop.store import metrics  # noqa: PLC0415

    home = Path(arguments.home or os.environ.get("AWM_HOME") or CHECKOUT)
    if not home.is_dir():
        raise ConfigError(f"{home} is not a directory", "name an existing home with --home DIR or AWM_HOME")
    path = home / "state" / "work_metrics.json"
    if arguments.sprint:
        now = clock.now()
        entry = {
            "sprint": arguments.sprint,
            "agent": arguments.agent,
            "status": arguments.status,
            "durationMinutes": arguments.duration,
            "timestamp": metrics.utc_text(now.wall),
            "errorType": arguments.error or None,
            "notes": arguments.notes or None,
        }
        set_aside = metrics.append(path, [entry], now)
        if set_aside:
            print(f"awm: {set_aside}", file=sys.stderr)
    if arguments.json:
        print(json.dumps(metrics.summary_json(path), indent=2))
    elif arguments.summary:
        print(metrics.summary_text(path))
    else:
        print(f"Logged: {arguments.sprint} | {arguments.agent} | {arguments.status} | {arguments.duration:g} min")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sprint", metavar="ID", type=text, help="the sprint, like S1")
    parser.add_argument("--agent", metavar="NAME", type=text, help="who did it: codex, opus, gemini …")
    parser.add_argument("--status", choices=("success", "failed", "stalled"))
    parser.add_argument("--duration", metavar="MINUTES", type=minutes, help="0 where it is not known")
    parser.add_argument("--error", metavar="TYPE", type=text, help="what kind of failure, like timeout")
    parser.add_argument("--notes", metavar="TEXT", type=text)
    parser.add_argument("--summary", action="store_true", help="totals, agents, types, ETA quality, failure patterns")
    parser.add_argument("--json", action="store_true", help="the summary as one JSON object")
    parser.add_argument("--home", metavar="DIR", help="default: $AWM_HOME, else this checkout")
    arguments = parser.parse_args()
    needed = ("sprint", "agent", "status", "duration")
    missing = [f"--{name}" for name in needed if getattr(arguments, name) in {None, ""}]
    is_logging = len(missing) < len(needed) or arguments.error or arguments.notes
    if missing and is_logging:
        parser.error(f"to log a sprint give also {', '.join(missing)}")
    if not (is_logging or arguments.summary or arguments.json):
        parser.error("give a sprint to log, or --summary")
    return arguments


def text(value: str) -> str:
    """A text on the command line: what can be written as UTF-8."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise argparse.ArgumentTypeError(f"{value!a} is not UTF-8") from error
    return value


def minutes(value: str) -> float:
    """A length on the command line: finite, not negative."""
    number = float(value)
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"{value} is not a number of minutes")
    return number


if __name__ == "__main__":
    sys.exit(main())
