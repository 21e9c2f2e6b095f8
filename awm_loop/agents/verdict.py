"""What the readers of all CLIs share: values out of JSON lines, and what the last words of a failed run mean.

Whatever a program prints is data from outside: nothing here raises on it. Only texts that a CLI says itself are handed
in, terminal ones: never an agent's own words (SPEC 9.3).
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from awm_loop.agents.reading import Reading
from awm_loop.config import (
    COUNT_MAX,
    EVENT_CHARS_MAX,
    TEXT_LINE_CHARS_MAX,
    TEXT_LINES_MAX,
    WORDS_CHARS_MAX,
    WRAPPED_LINES_MAX,
)
from awm_loop.core.model import Outcome
from awm_loop.core.observation import Limit
from awm_loop.terminal import plain

CRASHES = {101, 134, 137, 139}  # exit codes: Rust's panic; SIGABRT, SIGKILL and SIGSEGV, as a shell tells them

# What an MCP server or a library logs through Codex. What Codex logs of itself are its own words: the login may fail.
_LOGGED = re.compile(
    r"\d{4}-\d\d-\d\dT[\d:.]+Z?\s+(?:ERROR|WARN)\s+(?!codex_(?:core|exec|api|login|client)\b(?!\S*mcp))\w+(?:::\w+)*:"
)
_SESSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,127}")

# What a status of HTTP tells where the text beside it has no wording that is known.
_STATUSES = {
    401: Outcome.AUTH,
    402: Outcome.BILLING,
    403: Outcome.AUTH,
    429: Outcome.LIMITED,
    503: Outcome.LIMITED,
    529: Outcome.LIMITED,
}


def events(line: str) -> list[Mapping[str, object]]:
    """The JSON objects of one line: one, or those of an array. Empty where the line is anything else."""
    text = line.strip().removeprefix("\ufeff")
    if not text.startswith(("{", "[")) or len(text) > EVENT_CHARS_MAX:
        return []
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return []
    return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, dict)]


def fields(line: str) -> Mapping[str, object] | None:
    """The JSON object that a line is; None where it is anything else."""
    found = events(line)
    return found[0] if len(found) == 1 else None


def pick(value: object, *path: str) -> object:
    """What lies at a path of keys in nested objects; None where it does not go on."""
    for key in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value


def words(value: object) -> str:
    """A text for people: without terminal escapes and lone surrogates, stripped, bounded. "" where it is no text."""
    if not isinstance(value, str):
        return ""
    return plain(value[:WORDS_CHARS_MAX].encode("utf-8", "replace").decode()).strip()


def final(value: object) -> str:
    """An agent's last word on its work: as `words`, but of a long one the end, where an analysis answers."""
    return words(value[-WORDS_CHARS_MAX:]) if isinstance(value, str) else ""


def session(value: object) -> str:
    """The id of a session; "" where it is none that could be an argument of a program or a part of a file's name."""
    return value if isinstance(value, str) and _SESSION.fullmatch(value) else ""


def count(value: object) -> int | None:
    """A count of tokens or the like; None where it is none, or absurd."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= COUNT_MAX else None


def amount(value: object) -> float | None:
    """A cost in dollars, or seconds, or a share; None where it is none, negative, or absurd."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value <= COUNT_MAX else None  # false for NaN too


def tokens(usage: object) -> dict[str, int] | None:
    """The counts of an object with `input_tokens` and `output_tokens`; None where one of them is missing."""
    told, made = count(pick(usage, "input_tokens")), count(pick(usage, "output_tokens"))
    return None if told is None or made is None else {"input": told, "output": made}


def instant(value: object) -> datetime | None:
    """The instant of an epoch in seconds or milliseconds; None where it is none."""
    seconds = amount(value)
    if not seconds:
        return None
    try:
        return datetime.fromtimestamp(seconds / 1000 if seconds >= 1e11 else seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return None


def after(at: datetime, seconds: float) -> datetime | None:
    """The instant that is `seconds` after `at`; None where no calendar has it."""
    try:
        return at + timedelta(seconds=seconds)
    except OverflowError:
        return None


def failed(text: str, at: datetime, known: Reading, status: int | None = None) -> Reading:
    """`known` as a failure with `text`, which the CLI said last, seen at `at`: LIMITED, AUTH, BILLING or FAILED.

    The wording decides; where it is none that is known, `status`, of HTTP, does.
    """
    from awm_loop.agents import limits  # noqa: PLC0415  a fifth of a supervisor's imports, which only a failure pays

    error = one_line(text)
    told = limits.read(text, at)
    if told is None:
        outcome = _STATUSES.get(status or 0, Outcome.FAILED)
        error = error or (f"HTTP status {status}" if status else "it does not say why")
        source = f"HTTP status {status}, no time stated"
        limit = Limit(resets_at=None, source=source) if outcome in {Outcome.LIMITED, Outcome.BILLING} else None
        return replace(known, outcome=outcome, error=error, limit=limit)
    if told.cause == "auth":
        return replace(known, outcome=Outcome.AUTH, error=error, limit=None)
    if told.cause == "billing":
        return replace(known, outcome=Outcome.BILLING, error=error, limit=Limit(resets_at=None, source=told.source))
    limit = Limit(resets_at=told.resets_at, source=told.source)
    return replace(known, outcome=Outcome.LIMITED, error=error, limit=limit)


def one_line(text: str) -> str:
    """A text as one line for people."""
    return " ".join(words(text).split())


class Block:
    """A JSON object over several lines, as people like to read it: from a line that is "{" to one that is "}"."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._length = 0

    @property
    def is_open(self) -> bool:
        """Whether the last line belongs to one that has not ended."""
        return bool(self._lines)

    def put(self, line: str) -> Mapping[str, object] | None:
        """The object that this line ends."""
        if line.rstrip() == "{":
            self._lines, self._length = [], 0
        elif not self._lines:
            return None
        self._lines.append(line)
        self._length += len(line)
        if line.rstrip() != "}" and self._length <= EVENT_CHARS_MAX:
            return None
        text, self._lines = "\n".join(self._lines), []
        return fields(text)


Tail = deque[tuple[str, datetime]]


def tail() -> Tail:
    """Where a reader keeps the last lines that are text, each with when it was seen: for `broken_off`."""
    return Tail(maxlen=TEXT_LINES_MAX)


def keep(last: Tail, line: str, at: datetime) -> None:
    """Puts a line into `last`, unless it is blank, of others' log, or of a JSON stream, whole or cut: that holds an
    agent's words."""
    text = line.strip()
    if text and not text.startswith(("{", "[{")) and not _LOGGED.match(text):
        last.append((text[:WORDS_CHARS_MAX], at))


def printed(last: Tail) -> str:
    """The lines of `last` as an agent's last word: all that a CLI prints in text mode."""
    return final("\n".join(text for text, _ in last))


def broken_off(exit_code: int, last: Tail, known: Reading) -> Reading:
    """`known` as a run that ended without saying how: its last lines, short ones only, are searched for a limit.

    Where they tell of none it has failed, with the exit code and the last line as its error. What crashed, or was
    killed, did not end for its login.
    """
    doubtful = {Outcome.AUTH} if exit_code < 0 or exit_code in CRASHES else set()
    lines = [(text, at) for text, at in last if len(text) <= TEXT_LINE_CHARS_MAX]
    for start in reversed(range(len(lines))):
        message = "\n".join(text for text, _ in lines[start : start + WRAPPED_LINES_MAX])
        reading = failed(message, lines[start][1], known)
        if reading.outcome not in {Outcome.FAILED, *doubtful}:
            return reading
    said = one_line(last[-1][0]) if last else ""
    return replace(known, outcome=Outcome.FAILED, error=": ".join(part for part in (ended(exit_code), said) if part))


def ended(exit_code: int) -> str:
    """How a process ended, in words."""
    return f"exit code {exit_code}" if exit_code >= 0 else f"killed by signal {-exit_code}"
