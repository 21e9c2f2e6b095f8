"""Gemini CLI, headless. What it does was observed of 0.61.0, against a model server of our own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from awm_loop.agents import verdict
from awm_loop.agents.reading import Ask, Call, Kind, Reading
from awm_loop.agents.verdict import pick, words
from awm_loop.config import COUNT_MAX, SLEEP_SECONDS_MAX, TEXT_LINES_MAX, WORDS_CHARS_MAX
from awm_loop.core.model import Outcome
from awm_loop.core.observation import Limit
from awm_loop.terminal import plain

RETRY = re.compile(r"(?:\.\s*)?\bRetrying after (\d{1,12})ms\b[. ]*")
ATTEMPT = "Attempt "  # a retry's message begins so, and goes on over several lines
API_ERROR = re.compile(r"\[API Error: (.*?)\](?:\n|$)", re.S)
BAD_LOGIN = 41  # exit code: no way to log in is set up, or a wrong one
STATUS_EXIT_MIN = 144  # exit codes are the low byte of an HTTP status: 400 is 144, 429 is 173, 503 is 247
STATUS_OVERLOADED = {17: 529}


def call(ask: Ask) -> Call:
    """How to run it. Without `--approval-mode yolo` it is offered no shell and ends well with nothing done; without
    `--skip-trust` it refuses to run. A session id must be a UUID, and new where it is not resumed.

    Its settings stay the person's own: GEMINI_CLI_SYSTEM_SETTINGS_PATH is passed over unless the file and all
    directories above it belong to root (observed), and would put an administrator's own file out of force.
    Headless it does not look for updates.
    """
    argv = [ask.executable, *(("-m", ask.model) if ask.model else ())]
    argv += ["--approval-mode", "yolo", "--skip-trust", "-o", "stream-json"]
    if ask.session:
        argv += ["--resume" if ask.is_resumed else "--session-id", ask.session]
    return Call(argv=(*argv, *ask.extra), environment={"NO_COLOR": "1", "GEMINI_TELEMETRY_ENABLED": "false"})


class Reader:
    """Reads `stream-json`, and what `-o json` and text print, for those who bring such output.

    `tokens` are of this run alone, as told: those of the input include what came out of a cache.
    """

    def __init__(self) -> None:
        self.session_id = ""
        self._message = ""  # the agent's, since its last tool
        self._tool_count = 0
        self._is_unanswered = False  # it keeps no session whose model never answered (observed): none to be resumed
        self._result: tuple[Mapping[str, object], datetime] | None = None
        self._error = ""  # the last `error` event that is no mere warning
        self._attempt: list[str] = []  # the message of the retry that is being told
        self._asleep: Reading | None = None
        self._is_text = True
        self._printed = verdict.tail()
        self._last = verdict.tail()
        self._out_block = verdict.Block()
        self._err_block = verdict.Block()

    def out(self, line: str, at: datetime) -> None:
        """One line of stdout. A line of JSON that is cut or broken is passed over."""
        if not self._printed and line.startswith("{"):
            self._is_text = False
        verdict.keep(self._printed, line, at)
        event = self._out_block.put(line) or verdict.fields(line)
        if event is not None:
            self._see(event, at)
        if line.strip():  # it goes on: what it told of retries is over
            self._asleep = None
            self._last.clear()

    def err(self, line: str, at: datetime) -> None:
        """One line of stderr: retries, a bad set-up, and in the end the error object of `-o json`."""
        said = self._err_block.put(line) or verdict.fields(line)
        if said is not None and "error" in said:
            self._see(said, at)
        elif not self._err_block.is_open and not line.startswith((" ", "\t", "}")):  # those are of stacks and dumps
            self._hear(plain(line), at)

    def stuck(self) -> Reading | None:
        """A retry that it announced for later than `SLEEP_SECONDS_MAX`."""
        return self._asleep

    def end(self, exit_code: int, at: datetime) -> Reading:
        """What the run came to. Exit code 0 alone means nothing: a run that was stopped has it too (observed)."""
        if self._result is not None:
            return self._ended(*self._result, exit_code)
        if self._asleep is not None:
            return self._asleep
        known = Reading(outcome=Outcome.FAILED, session_id=self.session_id)
        printed = verdict.printed(self._printed)
        if exit_code == 0 and self._is_text and printed:
            return replace(known, outcome=Outcome.SUCCEEDED, summary=printed)
        reading = verdict.broken_off(exit_code, self._last, known)
        if reading.outcome is not Outcome.FAILED:
            return reading
        status = 401 if exit_code == BAD_LOGIN else _status(exit_code)
        return replace(verdict.failed("", at, known, status), error=reading.error)

    def _see(self, event: Mapping[str, object], at: datetime) -> None:
        self.session_id = verdict.session(event.get("session_id")) or self.session_id
        match event.get("type"):
            case "init":
                self._is_unanswered = True
            case "message":
                self._is_unanswered &= event.get("role") == "user"
                content = event.get("content")
                if event.get("role") != "user" and isinstance(content, str):
                    self._message = (self._message + content)[-WORDS_CHARS_MAX:]
            case "tool_use":
                self._tool_count += 1
                self._is_unanswered = False
            case "tool_result":
                self._message = ""
            case "error":
                if event.get("severity") != "warning":
                    self._error = words(event.get("message"))
            case "result":
                self._result = (event, at)
            case None if {"response", "stats", "error"} & event.keys():  # `-o json`
                self._message = verdict.final(event.get("response"))
                self._result = (event, at)
            case _:
                return
        self._is_text = False

    def _hear(self, line: str, at: datetime) -> None:
        verdict.keep(self._last, line, at)
        if line.startswith(ATTEMPT):
            self._attempt.clear()
            self._asleep = None
        self._attempt = [*self._attempt[-TEXT_LINES_MAX:], line[-WORDS_CHARS_MAX:]]
        found = RETRY.search(line)
        if found and int(found[1]) / 1000 > SLEEP_SECONDS_MAX:
            self._asleep = self._sleeping("\n".join(self._attempt), at, int(found[1]) / 1000)

    def _sleeping(self, text: str, at: datetime, seconds: float) -> Reading:
        """What it waits for: until the time it was told, else for as long as it says; that has some chance in it."""
        known = Reading(outcome=Outcome.LIMITED, session_id=self._kept())
        reading = verdict.failed(RETRY.sub("", text), at, known, 429)
        if reading.outcome is Outcome.LIMITED and reading.limit and reading.limit.resets_at:
            return reading
        limit = Limit(resets_at=verdict.after(at, seconds), source="announced retry")
        return replace(known, error=verdict.one_line(text), limit=limit)

    def _ended(self, result: Mapping[str, object], at: datetime, exit_code: int) -> Reading:
        stats = result.get("stats")
        known = Reading(outcome=Outcome.SUCCEEDED, session_id=self.session_id, tokens=_tokens(stats))
        error = result.get("error")
        if error is not None or result.get("status") not in (None, "success"):  # of any type
            text = words(pick(error, "message")) or words(error) or self._error
            status = verdict.count(pick(error, "code")) or _status(exit_code)
            reading = verdict.failed(text, at, replace(known, session_id=self._kept()), status)
            return replace(reading, error=_bare(text) or reading.error)
        known = replace(known, summary=words(self._message))
        if exit_code != 0:
            return replace(known, outcome=Outcome.FAILED, error=f"{verdict.ended(exit_code)}, after its result")
        if doubt := self._error or self._doubt(stats, known.tokens):
            return replace(known, outcome=Outcome.HOLLOW, error=doubt)
        return known

    def _kept(self) -> str:
        return "" if self._is_unanswered else self.session_id

    def _doubt(self, stats: object, tokens: Mapping[str, int] | None) -> str:
        """Why a good end cannot be one; "" where it may be."""
        if tokens is not None and tokens["output"] == 0:
            return "its answer broke off: it has no output"
        told = (verdict.count(pick(stats, "tool_calls")), verdict.count(pick(stats, "tools", "totalCalls")))
        return "" if self._tool_count or any(told) else "it used no tool"


def _status(exit_code: int) -> int | None:
    return exit_code + 256 if exit_code >= STATUS_EXIT_MIN else STATUS_OVERLOADED.get(exit_code)


def _tokens(stats: object) -> dict[str, int] | None:
    """`stream-json` tells sums, `-o json` each model's counts."""
    models = pick(stats, "models")
    if (told := verdict.tokens(stats)) or not isinstance(models, Mapping):
        return told
    counts = [pick(model, "tokens") for model in models.values()]
    read = [verdict.count(pick(one, "prompt")) for one in counts]
    made = [verdict.count(pick(one, "candidates")) for one in counts]
    if not any(read):
        return None
    return {name: min(sum(one or 0 for one in each), COUNT_MAX) for name, each in (("input", read), ("output", made))}


def _bare(text: str) -> str:
    """An error without the CLI's brackets and advice, and without the JSON it may lie in."""
    found = API_ERROR.search(text)
    inner = found[1] if found else text
    return verdict.one_line(words(pick(verdict.fields(inner), "error", "message")) or inner)


KIND = Kind(
    executable="gemini",
    install="npm install -g @google/gemini-cli",
    call=call,
    reader=Reader,
    gone=re.compile(r"^exit code 42: |Error resuming session"),
    logins=(
        "GEMINI_API_KEY",
        "GOOGLE_API_KEY",
        "GOOGLE_GEMINI_BASE_URL",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "GOOGLE_CLOUD_PROJECT",
        "GOOGLE_CLOUD_LOCATION",
        "GOOGLE_GENAI_USE_GCA",
        "GOOGLE_GENAI_USE_VERTEXAI",
    ),
)
