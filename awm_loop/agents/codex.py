"""Codex, headless. What it does was observed of codex-cli 0.169.0, against a model server of our own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from awm_loop.agents import verdict
from awm_loop.agents.reading import Ask, Call, Kind, Reading
from awm_loop.agents.verdict import pick, words
from awm_loop.core.model import Outcome
from awm_loop.core.observation import Limit

STATUSES = {"usage_limit_exceeded": 429, "server_overloaded": 503, "unauthorized": 401}  # codex_error_info
STATUS = re.compile(r"\b(?:unexpected|last) status:? (\d{3})\b")
FULL = re.compile(r"context_(?:length|window)_exceeded|(?:ran out of room in|exceeds) the (?:model's )?context window")
FRESH = "its context is full: only a fresh session can go on"
RECONNECTING = "Reconnecting..."  # a retry: the run may still end well
COMMITS = re.compile(r"\bgit\s+(?:-[^;&|]*\s)?commit\b")
READ_ONLY = ("Read-only file system", "Operation not permitted", "Permission denied")
NOISE = ("Reading additional input from stdin", "Reading prompt from stdin", "WARNING: proceeding")
COMMAND_MAX = 200  # characters of a command in an error
SESSION_LINE = "session id: "  # in the banner of text mode


def call(ask: Ask) -> Call:
    """How to run it. Its sandbox keeps `.git` read-only, so every directory that its work writes to is added.

    The options stand before `resume`: that takes neither a directory nor a sandbox. Its session cannot be chosen.
    """
    argv = [ask.executable, "exec", "--json", "--skip-git-repo-check", "-C", str(ask.workspace)]
    if ask.is_sandboxed:
        argv += ["-s", "workspace-write", *(part for path in ask.written_paths for part in ("--add-dir", str(path)))]
        argv += ["-c", "approval_policy=never"]
    else:
        argv += ["--dangerously-bypass-approvals-and-sandbox"]
    argv += ["-c", "analytics.enabled=false", "-c", "check_for_update_on_startup=false"]
    if ask.model:
        argv += ["-m", ask.model]
    argv += ask.extra
    if ask.is_resumed:
        argv += ["resume", ask.session]
    return Call(argv=(*argv, "-"))


def beside(session: str, environ: Mapping[str, str]) -> Path | None:
    """The rollout file of a thread: the only place where it tells when a limit ends, to the second."""
    home = environ.get("CODEX_HOME") or (environ.get("HOME") and f"{environ['HOME']}/.codex")
    if not home or not verdict.session(session):
        return None
    return max(Path(home, "sessions").glob(f"*/*/*/rollout-*-{session}.jsonl"), default=None)


class Reader:
    """Reads `--json`, the lines of a rollout file, and what it prints as text, for those who bring such output.

    `tokens` are those of the whole thread over all its resumes (observed): the caller takes the difference.
    `context_share` is that of the last answer, where the rollout file tells it.
    """

    def __init__(self) -> None:
        self.session_id = ""
        self._message = ""  # the agent's last
        self._tokens: Mapping[str, int] | None = None
        self._is_completed = False
        self._error: tuple[str, datetime] | None = None
        self._status: int | None = None
        self._has_committed = False
        self._open: dict[str, str] = {}  # commands that were started and have not ended, by item
        self._read_only = ""  # what a command said that could not write to .git
        self._resets_at: datetime | None = None
        self._context_share: float | None = None
        self._is_text = True
        self._printed = verdict.tail()
        self._last = verdict.tail()

    def out(self, line: str, at: datetime) -> None:
        """One line of stdout, or of the rollout file. A line of JSON that is cut or broken is passed over."""
        self._is_text &= not line.lstrip().startswith("{")
        verdict.keep(self._printed, line, at)
        verdict.keep(self._last, line, at)
        event = verdict.fields(line)
        if event is not None:
            self._see(event, at)

    def err(self, line: str, at: datetime) -> None:
        """One line of stderr: a bad set-up, and in text mode the whole course of the run."""
        if not line.startswith(NOISE):
            verdict.keep(self._last, line, at)
        if line.startswith(SESSION_LINE):
            self.session_id = self.session_id or verdict.session(line.removeprefix(SESSION_LINE).strip())

    def stuck(self) -> Reading | None:
        """None: it tells of no wait before it is over."""
        return None

    def end(self, exit_code: int, at: datetime) -> Reading:  # noqa: ARG002 (a failure's time is when it was told)
        """What the run came to. A completed turn with exit code 0 is not enough: the record of it must agree."""
        known = Reading(
            outcome=Outcome.FAILED,
            summary=self._message,
            session_id=self.session_id,
            tokens=self._tokens,
            context_share=self._context_share,
        )
        if self._error is not None:
            return self._failed(*self._error, replace(known, summary=""))
        if self._is_completed:
            return self._completed(exit_code, known)
        printed = verdict.printed(self._printed)
        if exit_code == 0 and self._is_text and printed:
            return replace(known, outcome=Outcome.SUCCEEDED, summary=printed)
        return verdict.broken_off(exit_code, self._last, replace(known, summary=""))

    def _completed(self, exit_code: int, known: Reading) -> Reading:
        if exit_code != 0:
            return replace(known, error=f"{verdict.ended(exit_code)}, after its turn was completed")
        if self._open and not self._has_committed:
            commands = "; ".join(self._open.values())
            return replace(known, outcome=Outcome.HOLLOW, error=f"it ended before its command did: {commands}")
        if self._read_only:
            return replace(known, outcome=Outcome.HOLLOW, error=f"it could not commit: {self._read_only}")
        return replace(known, outcome=Outcome.SUCCEEDED)

    def _failed(self, text: str, at: datetime, known: Reading) -> Reading:
        if FULL.search(text):
            return replace(known, error=f"{verdict.one_line(text)} ({FRESH})")
        found = STATUS.search(text)
        reading = verdict.failed(text, at, known, int(found[1]) if found else self._status)
        if reading.outcome is Outcome.LIMITED and self._resets_at is not None:
            return replace(reading, limit=Limit(resets_at=self._resets_at, source="rollout file"))
        return reading

    def _see(self, event: Mapping[str, object], at: datetime) -> None:
        match event.get("type"):
            case "thread.started":
                self.session_id = verdict.session(event.get("thread_id")) or self.session_id
            case "item.started" | "item.completed":
                self._see_item(event)
            case "error":
                message = words(event.get("message"))
                if not self._is_completed and not message.startswith(RECONNECTING):
                    self._error = (message, at)
            case "turn.failed":
                self._error = (words(pick(event, "error", "message")) or (self._error or ("",))[0], at)
            case "turn.completed":
                self._is_completed, self._error = True, None
                self._tokens = verdict.tokens(event.get("usage")) or self._tokens
            case "event_msg":
                self._see_rollout(event, at)
            case _:
                pass

    def _see_item(self, event: Mapping[str, object]) -> None:
        item = event.get("item")
        if pick(item, "type") == "agent_message":
            self._message = verdict.final(pick(item, "text")) or self._message
        if pick(item, "type") != "command_execution":
            return
        command, identity = words(pick(item, "command")), words(pick(item, "id"))
        if event.get("type") == "item.started":
            self._open[identity] = command[:COMMAND_MAX]
            return
        self._open.pop(identity, None)
        refusal = _refusal(pick(item, "aggregated_output")) if "commit" in command else ""
        if refusal:
            self._read_only = refusal
        elif pick(item, "exit_code") == 0 and COMMITS.search(command):
            self._has_committed, self._read_only = True, ""

    def _see_rollout(self, event: Mapping[str, object], at: datetime) -> None:
        payload = event.get("payload")
        match pick(payload, "type"):
            case "task_started":  # a resumed thread's file holds its earlier turns too
                self._status = self._resets_at = None
            case "token_count":
                self._resets_at = _resets_at(payload, _written_at(event, at)) or self._resets_at
                self._see_usage(pick(payload, "info"))
            case "task_complete" | "error":
                info = pick(payload, "error", "codex_error_info") or pick(payload, "codex_error_info")
                self._status = _status(info) or self._status
            case _:
                pass

    def _see_usage(self, info: object) -> None:
        self._tokens = self._tokens or verdict.tokens(pick(info, "total_token_usage"))
        window = verdict.count(pick(info, "model_context_window"))
        used = verdict.count(pick(info, "last_token_usage", "total_tokens"))
        if window and used is not None:
            self._context_share = min(used / window, 1.0)


def _refusal(output: object) -> str:
    """The line in which git says that it may not write to its directory; "" where there is none."""
    for line in output.splitlines() if isinstance(output, str) else ():
        if line.startswith(("fatal: ", "error: ")) and ".git/" in line and any(reason in line for reason in READ_ONLY):
            return verdict.one_line(line)
    return ""


def _status(info: object) -> int | None:
    """The status of HTTP that a `codex_error_info` stands for: a word, or an object that holds one."""
    if isinstance(info, str):
        return STATUSES.get(info)
    inner = next(iter(info.values()), None) if isinstance(info, Mapping) else None
    return verdict.count(pick(inner, "http_status_code"))


def _resets_at(payload: object, written_at: datetime) -> datetime | None:
    """When the used-up windows are open again: the last of them. The message may name another (codex#41689)."""
    windows = pick(payload, "rate_limits")
    instants: list[datetime | None] = []
    for window in windows.values() if isinstance(windows, Mapping) else ():
        if (verdict.amount(pick(window, "used_percent")) or 0.0) < 100:
            continue
        instants.append(verdict.instant(pick(window, "resets_at")))
        if seconds := verdict.amount(pick(window, "resets_in_seconds")):  # versions of 2025
            instants.append(verdict.after(written_at, seconds))
    return max((instant for instant in instants if instant is not None), default=None)


def _written_at(event: Mapping[str, object], at: datetime) -> datetime:
    """When a line of a rollout file was written; it is read later."""
    try:
        written = datetime.fromisoformat(words(event.get("timestamp")))
    except ValueError:
        return at
    return written if written.tzinfo else at


KIND = Kind(
    executable="codex",
    install="npm install -g @openai/codex",
    call=call,
    reader=Reader,
    gone=re.compile(r"no rollout found for thread id"),
    logins=("CODEX_API_KEY", "CODEX_HOME", "OPENAI_API_KEY", "OPENAI_BASE_URL"),
    beside=beside,
    tells_totals=frozenset({"tokens"}),
)
