"""Claude Code, headless. What it does was observed of 2.1.329 (and 2.1.197), against a model server of our own."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from awm_loop.agents import verdict
from awm_loop.agents.reading import Ask, Call, Kind, Reading
from awm_loop.agents.verdict import pick, words
from awm_loop.config import SLEEP_SECONDS_MAX
from awm_loop.core.model import Outcome
from awm_loop.core.observation import Limit

SYNTHETIC = "<synthetic>"  # the model of a message that the CLI itself wrote
INTERRUPTED = "Execution error"  # all that text mode prints of an interrupted run, with exit code 0
WAIVED = {"AskUserQuestion", "ExitPlanMode"}  # of nobody headless: the work can be done without an answer
STATUSES = {
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "rate_limit_error": 429,
    "overloaded_error": 529,
}


def call(ask: Ask) -> Call:
    """How to run it. It asks for nothing: without that flag it ends well and has done nothing.

    As root it refuses the flag unless IS_SANDBOX is set. A session id must be a UUID, and new where it is not resumed.
    """
    argv = [ask.executable, "-p", "--output-format", "stream-json", "--verbose", "--dangerously-skip-permissions"]
    if ask.session:
        argv += ["--resume" if ask.is_resumed else "--session-id", ask.session]
    if ask.model:
        argv += ["--model", ask.model]
    environment = {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1"}
    if os.geteuid() == 0:
        environment["IS_SANDBOX"] = "1"
    return Call(argv=(*argv, *ask.extra), environment=environment)


class Reader:
    """Reads `stream-json`, and what `--output-format json` and text print, for those who bring such output.

    `tokens` are of this run alone, as told: what came out of a cache, or went into one, is not counted. `cost_usd` is
    that of the whole session over all its resumes (observed): the caller takes the difference. `context_share` is that
    of the last message of the model, subagents left out.
    """

    def __init__(self) -> None:
        self.session_id = ""
        self._result: tuple[Mapping[str, object], datetime] | None = None
        self._error: tuple[Mapping[str, object], datetime] | None = None  # a message that the CLI wrote
        self._rejected: Mapping[str, object] | None = None  # the last `rate_limit_info`, where it is a rejection
        self._spoke: Mapping[str, object] | None = None  # the model's last message
        self._asleep: Reading | None = None
        self._is_text = True
        self._block = verdict.Block()
        self._printed = verdict.tail()
        self._last = verdict.tail()

    def out(self, line: str, at: datetime) -> None:
        """One line of stdout. A line of JSON that is cut or broken is passed over."""
        self._is_text &= not line.lstrip().startswith(("{", "[{"))
        whole = self._block.put(line)
        if whole is None and not self._block.is_open:
            verdict.keep(self._printed, line, at)
            verdict.keep(self._last, line, at)
        for event in [whole] if whole else verdict.events(line):
            self.session_id = verdict.session(event.get("session_id")) or self.session_id
            self._asleep = None
            self._see(event, at)

    def err(self, line: str, at: datetime) -> None:
        """One line of stderr: only a bad set-up is told there."""
        verdict.keep(self._last, line, at)

    def stuck(self) -> Reading | None:
        """A retry that it announced for later than `SLEEP_SECONDS_MAX`."""
        return self._asleep

    def end(self, exit_code: int, at: datetime) -> Reading:
        """What the run came to. Exit code 0 alone means nothing: an interrupted run has it too (observed)."""
        if self._result is not None:
            return self._ended(*self._result, exit_code)
        if self._asleep is not None:
            return self._asleep
        known = Reading(outcome=Outcome.FAILED, session_id=self.session_id)
        if self._error is not None or self._rejected is not None:
            return self._failed(*(self._error or ({}, at)), known)
        printed = verdict.printed(self._printed)
        if exit_code == 0 and self._is_text and printed not in {"", INTERRUPTED}:
            return replace(known, outcome=Outcome.SUCCEEDED, summary=printed)
        return verdict.broken_off(exit_code, self._last, known)

    def _see(self, event: Mapping[str, object], at: datetime) -> None:
        match event.get("type"), event.get("subtype"):
            case "result", _:
                self._result = (event, at)
            case "rate_limit_event", _:
                self._rejected = _rejection(event.get("rate_limit_info"))
            case "system", "api_retry":
                seconds = (verdict.amount(event.get("retry_delay_ms")) or 0.0) / 1000
                if seconds > SLEEP_SECONDS_MAX:
                    self._asleep = self._sleeping(event, at, seconds)
            case "assistant", _:
                self._hear(event, at)
            case _:
                pass

    def _hear(self, event: Mapping[str, object], at: datetime) -> None:
        if pick(event, "message", "model") == SYNTHETIC:
            self._error = (event, at)
            self._rejected = _rejection(pick(event, "api_error_params", "rate_limit_info")) or self._rejected
        elif event.get("parent_tool_use_id") is None:
            self._error = None
            self._rejected = None  # it goes on, so that was no end: extra usage is paid for
            self._spoke = event

    def _ended(self, result: Mapping[str, object], at: datetime, exit_code: int) -> Reading:
        known = Reading(
            outcome=Outcome.SUCCEEDED,
            session_id=self.session_id,
            tokens=verdict.tokens(result.get("usage")),
            cost_usd=verdict.amount(result.get("total_cost_usd")),
            context_share=self._context_share(result),
        )
        if not self._is_good(result, at):
            return self._failed(result, at, known)
        summary = verdict.final(result.get("result"))
        if exit_code != 0:
            return replace(
                known, outcome=Outcome.FAILED, summary=summary, error=f"{verdict.ended(exit_code)}, after its result"
            )
        denied = _denied(result.get("permission_denials"))
        if denied:
            return replace(known, outcome=Outcome.HOLLOW, summary=summary, error=f"it was not allowed to use {denied}")
        return replace(known, summary=summary)

    def _is_good(self, result: Mapping[str, object], at: datetime) -> bool:
        """A failure of the API has the subtype "success" too (observed), so every field has to agree.

        Older versions told a limit as a good result with the text of the limit, in a message of their own.
        """
        if self._error:
            from awm_loop.agents import limits  # noqa: PLC0415  as in `verdict`

            if limits.read(words(result.get("result")), at):
                return False
        return (
            result.get("is_error") in (False, None)
            and result.get("subtype") == "success"
            and result.get("terminal_reason") in (None, "completed")
            and not any(result.get(name) for name in ("api_error", "api_error_status", "api_error_type"))
        )

    def _failed(self, event: Mapping[str, object], at: datetime, known: Reading) -> Reading:
        """Why it failed, by its result, else by a message of the CLI's own, else by the rejection it was told last."""
        status = verdict.count(event.get("api_error_status")) or STATUSES.get(words(event.get("api_error_type")))
        is_rejected = self._rejected is not None and status in {None, 429}
        reading = verdict.failed(_said(event), at, known, 429 if is_rejected else status)
        resets_at = verdict.instant(pick(self._rejected, "resetsAt"))
        if is_rejected and resets_at is not None:
            return replace(
                reading, outcome=Outcome.LIMITED, limit=Limit(resets_at=resets_at, source="rate_limit_event")
            )
        how = words(event.get("subtype"))
        if reading.outcome is Outcome.FAILED and how not in {"", "success"}:
            return replace(reading, error=": ".join(part for part in (how, reading.error) if part))
        return reading

    def _sleeping(self, event: Mapping[str, object], at: datetime, seconds: float) -> Reading:
        why = words(event.get("error")) or "it does not say why"
        return Reading(
            outcome=Outcome.LIMITED,
            session_id=self.session_id,
            error=f"it waits {seconds:.0f} s before it tries again: {why}",
            limit=Limit(resets_at=verdict.after(at, seconds), source="announced retry"),
        )

    def _context_share(self, result: Mapping[str, object]) -> float | None:
        model = words(pick(self._spoke, "message", "model"))
        used = [
            verdict.count(pick(self._spoke, "message", "usage", name)) or 0
            for name in ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")
        ]
        models = result.get("modelUsage")
        for name, usage in models.items() if model and isinstance(models, Mapping) else ():
            window = verdict.count(pick(usage, "contextWindow"))
            if window and str(name).startswith(model):  # "claude-opus-5-5[1m]"
                return min(sum(used) / window, 1.0)
        return None


def _said(event: Mapping[str, object]) -> str:
    """What a result says, or a message of the CLI's own."""
    if text := words(event.get("result")):
        return text
    errors = event.get("errors")
    content = pick(event, "message", "content")
    parts = [words(one) for one in errors] if isinstance(errors, list) else []
    parts += [words(pick(one, "text")) for one in content] if isinstance(content, list) else []
    return "\n".join(part for part in parts if part)


def _rejection(info: object) -> Mapping[str, object] | None:
    """What a `rate_limit_info` tells, where it says that the request was rejected and nobody pays for extra usage."""
    if isinstance(info, Mapping) and info.get("status") == "rejected" and info.get("isUsingOverage") is not True:
        return info
    return None


def _denied(denials: object) -> str:
    names = [words(pick(one, "tool_name")) or "a tool" for one in denials] if isinstance(denials, list) else []
    return ", ".join(name for name in dict.fromkeys(names) if name not in WAIVED)


KIND = Kind(
    executable="claude",
    install="npm install -g @anthropic-ai/claude-code",
    call=call,
    reader=Reader,
    gone=re.compile(r"No conversation found with session ID"),
    tells_totals=frozenset({"cost_usd"}),
    logins=(
        "ANTHROPIC_API_KEY",
        "ANTHROPIC_AUTH_TOKEN",
        "ANTHROPIC_BASE_URL",
        "CLAUDE_CODE_OAUTH_TOKEN",
        "CLAUDE_CONFIG_DIR",
    ),
)
