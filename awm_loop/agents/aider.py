"""aider, headless. What it does was observed of 0.86.2, against a model server of our own."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import replace
from datetime import datetime

from awm_loop.agents import verdict
from awm_loop.agents.reading import Ask, Call, Kind, Reading
from awm_loop.config import COUNT_MAX, WORDS_CHARS_MAX
from awm_loop.core.model import Outcome
from awm_loop.terminal import plain

WORK = re.compile(r"Commit [0-9a-f]{7,40}\b|Applied edit to \S")
TROUBLE = re.compile(r"litellm\.(?:exceptions\.)?\w{1,60}: |Model \S+ has hit a token limit!")
RETRY = re.compile(r"Retrying in [\d.]+ seconds\.\.\.")
TOKENS = re.compile(r"(?:^|\n)Tokens: ([\d.]{1,20}[kM]?)\s+sent,[^\n]{0,200}?\s([\d.]{1,20}[kM]?)\s+received\.")
COST = re.compile(r"\bCost: \$[\d.]{1,20}\s+message,\s+\$([\d.]{1,20})\s+session\.")
TROUBLE_LINES_MAX = 20  # an error's own, wrapped
BANNER = "Aider v"  # begins the paragraph before the model's first
EDIT_BEGINS, EDIT_ENDS = "<<<<<<< SEARCH", ">>>>>>> REPLACE"
UNITS = {"k": 1000, "M": 1000000}


def call(ask: Ask) -> Call:
    """How to run it. It takes its prompt from a file, and has no sessions and no sandbox. Its histories would lie
    in the workspace else.
    """
    argv = [ask.executable, *(("--model", ask.model) if ask.model else ()), "--yes-always", "--no-check-update"]
    argv += ["--analytics-disable", "--no-pretty", "--no-show-release-notes", "--no-show-model-warnings"]
    argv += ["--no-gitignore", "--chat-history-file", str(ask.scratch / "chat.md")]
    argv += ["--input-history-file", str(ask.scratch / "input"), "--message-file", str(ask.prompt_path)]
    return Call(argv=(*argv, *ask.extra))


class Reader:
    """Reads what it prints, paragraph by paragraph: it has no other output, wraps its lines at 80 columns, and ends
    with 0 whatever happened (observed).

    Of its errors only those count that no answer followed. `tokens` are sums over the answers, rounded to hundreds or
    thousands as told; `cost_usd` is that of this run.
    """

    session_id = ""

    def __init__(self) -> None:
        self._paragraph: deque[str] = deque(maxlen=60)  # a retried error grows by some lines with each try
        self._words = ""  # the last paragraph before this one that is no edit
        self._is_edit = False  # the next line belongs to an edit
        self._message = ""  # the last paragraph of the model's last answer
        self._is_done = False
        self._trouble: tuple[str, datetime] | None = None
        self._tokens: dict[str, int] | None = None
        self._cost_usd: float | None = None
        self._last = verdict.tail()

    def out(self, line: str, at: datetime) -> None:
        """One line of stdout."""
        text = plain(line[:WORDS_CHARS_MAX]).strip()
        if text:
            self._paragraph.append(text)
        else:
            self._read_paragraph(at)

    def err(self, line: str, at: datetime) -> None:
        """One line of stderr: wrong arguments, or a crash."""
        verdict.keep(self._last, plain(line), at)

    def stuck(self) -> Reading | None:
        """None: it waits for a minute at most (observed)."""
        return None

    def end(self, exit_code: int, at: datetime) -> Reading:
        """What the run came to: it has ended well only where it edited or committed something, and nothing failed
        after that."""
        self._read_paragraph(at)
        known = Reading(outcome=Outcome.FAILED, tokens=self._tokens, cost_usd=self._cost_usd)
        if self._trouble is not None:
            return verdict.failed(*self._trouble, known)
        if exit_code != 0:
            return verdict.broken_off(exit_code, self._last, known)
        if self._is_done:
            return replace(known, outcome=Outcome.SUCCEEDED, summary=self._message)
        return replace(known, outcome=Outcome.HOLLOW, summary=self._message, error="it edited nothing")

    def _read_paragraph(self, at: datetime) -> None:
        text = "\n".join(self._paragraph)
        self._paragraph.clear()
        if not text:
            return
        rest = text
        used = TOKENS.search(text)
        self._hear(text[: used.start()] if used else text)
        if used:  # an answer is complete: what was before it is over, or was the model's
            rest = text[used.end() :]
            self._trouble = None
            self._is_edit = False
            self._message = verdict.final(self._words)
            before = self._tokens or {"input": 0, "output": 0}
            told = {"input": before["input"] + _count(used[1]), "output": before["output"] + _count(used[2])}
            self._tokens = {name: min(count, COUNT_MAX) for name, count in told.items()}
        if cost := COST.search(text):
            self._cost_usd = _number(cost[1])
        lines = rest.splitlines()
        for number, line in enumerate(lines):
            if WORK.match(line):
                self._is_done = True
                self._trouble = None
            elif TROUBLE.match(line):
                said = [one for one in lines[number : number + TROUBLE_LINES_MAX] if not RETRY.fullmatch(one)]
                self._trouble = ("\n".join(said), at)

    def _hear(self, text: str) -> None:
        """An edit is a block in the answer, often its end, and may have blank lines: it is none of the words."""
        is_marked = EDIT_BEGINS in text or EDIT_ENDS in text
        if text and not is_marked and not self._is_edit:
            self._words = "" if text.startswith(BANNER) else text
        if is_marked:
            self._is_edit = text.rfind(EDIT_BEGINS) > text.rfind(EDIT_ENDS)


def _number(text: str) -> float | None:
    """A number of few digits, with points as they may come; None where it is none."""
    return float(text) if re.fullmatch(r"\d{1,9}(?:\.\d{1,9})?", text) else None


def _count(text: str) -> int:
    """ "2.4k" is 2400."""
    unit = UNITS.get(text[-1:], 1)
    return min(round((_number(text.rstrip("kM")) or 0.0) * unit), COUNT_MAX)


KIND = Kind(
    executable="aider",
    install="pipx install aider-chat",
    call=call,
    reader=Reader,
    leaves=(".aider.tags.cache.v*/",),
    logins=(
        "ANTHROPIC_API_BASE",
        "ANTHROPIC_API_KEY",
        "DEEPSEEK_API_KEY",
        "GEMINI_API_KEY",
        "OPENAI_API_BASE",
        "OPENAI_API_KEY",
        "OPENROUTER_API_KEY",
    ),
)
