"""opencode, headless. What it does was observed of 1.18.33, against a model server of our own."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

from awm_loop.agents import verdict
from awm_loop.agents.reading import Ask, Call, Kind, Reading
from awm_loop.agents.verdict import pick, words
from awm_loop.config import COUNT_MAX, SLEEP_SECONDS_MAX
from awm_loop.core.model import Outcome
from awm_loop.core.observation import Limit
from awm_loop.terminal import plain

CUT_STEPS_MAX = 5  # answers in a row that broke off: it asks again at once, without an end (observed: 63 in 37 s)
PLUGIN = "waiting.js"
# It keeps a wait to itself: no line of its output or of its log tells how long it is. Its plugins are told.
PLUGIN_TEXT = """\
export const AwmWaiting = async () => ({
  event: async ({ event }) => {
    const { sessionID, status } = event.type === "session.status" ? event.properties : {}
    if (status?.type !== "retry") return
    const said = { type: "awm_waiting", sessionID, message: status.message, until: status.next }
    process.stderr.write(JSON.stringify(said) + "\\n")
  },
})
"""
# With a plugin it first fetches a package of its own, and goes on where that fails: without a network after 75 s by
# npm's defaults, after 5 s by these (observed). The agent's own calls of npm still try thrice.
NPM = {
    "npm_config_fetch_retry_mintimeout": "1000",
    "npm_config_fetch_retry_factor": "2",
    "npm_config_fetch_timeout": "30000",
}
# Of its log: the agent's own request, not that for a title; that it failed, and how; that it asks.
OWN, ASKS = " small=false", " message=stream "
WHY = re.compile(r' error\.error="((?:[^"\\]|\\.)*)"')
NO_MODEL = re.compile(r' error="ProviderModelNotFoundError: ([^"]{1,300})"')  # so is one whose provider has no key
LOG_LINE_MAX = 10000  # characters
LOG_LINE = re.compile(r"(?:timestamp=\S+ level=|(?:DEBUG|INFO|WARN|ERROR)\s+\S)")
REJECTED = re.compile(r"permission requested: (.{1,200}?); auto-rejecting")
GO_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
STATUSES = {"ProviderAuthError": 401}  # errors that carry no status of HTTP
FULL = "ContextOverflowError"


def call(ask: Ask) -> Call:
    """How to run it. Its session cannot be chosen.

    The config here adds to the person's own, that of an OPENCODE_CONFIG in `env_pass` among them, and permits nothing:
    `--auto` allows what no config of theirs denies.

    With `--print-logs` it tells on stderr of requests that fail; PLUGIN tells there how long it waits then.
    """
    argv = [ask.executable, "run", "--format", "json", "--auto", "--print-logs"]
    argv += [*(("-m", ask.model) if ask.model else ()), *(("-s", ask.session) if ask.is_resumed else ())]
    config = {
        "autoupdate": False,
        "share": "disabled",
        "plugin": [(ask.scratch.absolute() / PLUGIN).as_uri()],
    }
    environment = {
        "OPENCODE_CONFIG_CONTENT": json.dumps(config),
        "OPENCODE_DISABLE_AUTOUPDATE": "1",
        "OPENCODE_DISABLE_MODELS_FETCH": "1",
        **NPM,
    }
    return Call(
        argv=(*argv, *ask.extra),
        environment=environment,
        files={PLUGIN: PLUGIN_TEXT},
    )


class Reader:
    """Reads `--format json`, its log, and what it prints as text, for those who bring such output.

    `tokens` and `cost_usd` are sums over the steps of this run; what came out of a cache, or went into one, is not
    counted. It has no last event: a run ended well where its last step stopped of itself and the exit code is 0.
    """

    def __init__(self) -> None:
        self.session_id = ""
        self._message = ""
        self._reason = ""  # why the last step ended
        self._cut_count = 0
        self._error: tuple[Mapping[str, object], datetime] | None = None
        self._trouble: tuple[str, datetime] | None = None  # the last request failed so, and no other was made
        self._asleep: Reading | None = None
        self._rejected = ""
        self._no_model = ""
        self._tokens: dict[str, int] | None = None
        self._cost_usd: float | None = None
        self._is_text = True
        self._printed = verdict.tail()
        self._last = verdict.tail()

    def out(self, line: str, at: datetime) -> None:
        """One line of stdout. A line of JSON that is cut or broken is passed over."""
        if not line.strip():
            return
        if not self._printed and line.startswith("{"):
            self._is_text = False
        verdict.keep(self._printed, plain(line), at)
        self._asleep = self._trouble = None
        self._last.clear()
        event = verdict.fields(line)
        if event is not None and isinstance(event.get("type"), str):
            self._is_text = False
            self.session_id = verdict.session(event.get("sessionID")) or self.session_id
            self._see(event, at)

    def err(self, line: str, at: datetime) -> None:
        """One line of stderr: of its log, of PLUGIN, or what it says in text."""
        said = verdict.fields(line)
        if said is not None and said.get("type") == "awm_waiting":
            self._wait(said, at)
        elif LOG_LINE.match(line):
            self._see_log(line[:LOG_LINE_MAX], at)
        else:
            verdict.keep(self._last, plain(line), at)
            if found := REJECTED.search(plain(line)):
                self._rejected = words(found[1])

    def stuck(self) -> Reading | None:
        """A wait for later than `SLEEP_SECONDS_MAX`, or answers that break off again and again."""
        if self._cut_count >= CUT_STEPS_MAX:
            return replace(self._known(), error=f"its answers break off: {self._cut_count} in a row")
        return self._asleep

    def end(self, exit_code: int, at: datetime) -> Reading:  # noqa: ARG002 (a failure's time is when it was told)
        """What the run came to. One that was stopped while it waited for its next try came to why it waited."""
        known = self._known()
        if exit_code == 0 and self._error is None and self._reason == "stop":
            return self._ended(replace(known, summary=self._message))
        if self._error is not None:
            return self._failed(*self._error, known)
        if waiting := self.stuck():
            return waiting
        if self._trouble is not None:
            return verdict.failed(*self._trouble, known)
        printed = verdict.printed(self._printed)
        if exit_code == 0 and self._is_text and printed:
            return self._ended(replace(known, summary=printed))
        if exit_code == 0 and self._reason:
            return replace(known, error=f'its last step did not stop of itself: "{self._reason}"')
        return verdict.broken_off(exit_code, self._last, known)

    def _known(self) -> Reading:
        return Reading(outcome=Outcome.FAILED, session_id=self.session_id, tokens=self._tokens, cost_usd=self._cost_usd)

    def _ended(self, known: Reading) -> Reading:
        if self._rejected:
            return replace(known, outcome=Outcome.HOLLOW, error=f"it was not allowed: {self._rejected}")
        return replace(known, outcome=Outcome.SUCCEEDED)

    def _see(self, event: Mapping[str, object], at: datetime) -> None:
        part = event.get("part")
        match event.get("type"):
            case "text":
                self._message = verdict.final(pick(part, "text")) or self._message
            case "step_finish":
                self._reason = words(pick(part, "reason"))
                self._add(part)
                is_cut = self._reason == "unknown" and not verdict.count(pick(part, "tokens", "output"))
                self._cut_count = self._cut_count + 1 if is_cut else 0
            case "error":
                error = event.get("error")
                self._error = (error if isinstance(error, Mapping) else {"message": error}, at)
            case _:
                pass

    def _add(self, part: object) -> None:
        read = verdict.count(pick(part, "tokens", "input"))
        made = verdict.count(pick(part, "tokens", "output"))
        if read is not None and made is not None:
            before = self._tokens or {"input": 0, "output": 0}
            told = {"input": before["input"] + read, "output": before["output"] + made}
            self._tokens = {name: min(count, COUNT_MAX) for name, count in told.items()}
        cost = verdict.amount(pick(part, "cost"))
        if cost is not None:
            self._cost_usd = min(round((self._cost_usd or 0.0) + cost, 9), float(COUNT_MAX))

    def _see_log(self, line: str, at: datetime) -> None:
        if found := NO_MODEL.search(line):
            self._no_model = words(found[1])
        if OWN not in line:
            return
        if found := WHY.search(line):
            self._trouble = (re.sub(r"\\(.)", r"\1", found[1]), at)
        elif ASKS in line:
            self._trouble = self._asleep = None

    def _wait(self, said: Mapping[str, object], at: datetime) -> None:
        self.session_id = self.session_id or verdict.session(said.get("sessionID"))
        until = verdict.instant(said.get("until"))
        self._asleep = None
        if until is not None and until - at > timedelta(seconds=SLEEP_SECONDS_MAX):
            reading = verdict.failed(words(said.get("message")), at, self._known(), 429)
            limit = Limit(resets_at=until, source="announced retry")
            self._asleep = replace(reading, outcome=Outcome.LIMITED, limit=limit)

    def _failed(self, error: Mapping[str, object], at: datetime, known: Reading) -> Reading:
        """Why: by the answer's body, else by what it says of it; when it ends, by the answer's headers first."""
        name, data = words(error.get("name")), error.get("data")
        if self._no_model and name == "UnknownError":  # which itself says nothing
            why = f"{self._no_model} (it has no key for that provider, or there is no such model)"
            return replace(known, outcome=Outcome.AUTH, error=why)
        text = words(pick(data, "message")) or words(error.get("message")) or name
        if name == FULL:
            return replace(
                known, error=f"{verdict.one_line(text)} (its context is full: only a fresh session can go on)"
            )
        status = verdict.count(pick(data, "statusCode")) or STATUSES.get(name)
        body = pick(data, "responseBody")
        reading = verdict.failed(body, at, known) if isinstance(body, str) else known
        if reading.outcome is Outcome.FAILED or (reading.limit and not reading.limit.resets_at):
            said = verdict.failed(text, at, known, status)
            is_better = reading.outcome is Outcome.FAILED or (said.limit and said.limit.resets_at)
            reading = said if is_better else reading
        reading = replace(reading, error=verdict.one_line(text) or reading.error)
        if reading.outcome is Outcome.LIMITED and (limit := _reset(pick(data, "responseHeaders"), at)):
            return replace(reading, limit=limit)
        return reading


def _reset(headers: object, at: datetime) -> Limit | None:
    """When an answer's headers say that the limit ends: what is to be waited for, else what is used up."""
    if not isinstance(headers, Mapping):
        return None
    told = {str(name).lower(): str(value).strip()[:100] for name, value in headers.items()}
    names = ["retry-after-ms", "retry-after", "anthropic-ratelimit-unified-reset"]
    names += [name for name in told if "reset" in name and _is_used_up(name, told)]
    for name in names:
        value = told.get(name, "")
        when = _when(value + "ms" if name.endswith("-ms") else value, at)
        if when is not None:
            return Limit(resets_at=when, source=f"header {words(name)[:60]}")
    return None


def _is_used_up(name: str, told: Mapping[str, str]) -> bool:
    """Whether a window's reset counts: nothing of it is left, or nothing is said of that."""
    if name.startswith("x-codex-"):  # x-codex-primary-reset-at, x-codex-primary-used-percent
        return told.get(f"{name.partition('-reset')[0]}-used-percent", "").startswith("100")
    return "ratelimit" in name and told.get(name.replace("reset", "remaining"), "0") in {"0", "0.0"}


def _when(value: str, at: datetime) -> datetime | None:
    """The instant of a header: seconds from now, an epoch in seconds or milliseconds, a date, or "1h6m0s"."""
    if re.fullmatch(r"\d{1,13}(?:\.\d{1,9})?", value):
        number = float(value)
        return verdict.instant(number) if number >= 1e9 else verdict.after(at, number)
    found = GO_DURATION.fullmatch(value) if value else None
    if found:
        days, hours, minutes, seconds, milliseconds = (min(float(one or 0), 1e6) for one in found.groups())
        wait = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds, milliseconds=milliseconds)
        return verdict.after(at, wait.total_seconds())
    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            when = parse(value)
        except (ValueError, OverflowError):
            continue
        if when.tzinfo is not None:
            return when
    return None


KIND = Kind(
    executable="opencode",
    install="npm install -g opencode-ai",
    call=call,
    reader=Reader,
    gone=re.compile(r"Session not found"),
    logins=(
        "ANTHROPIC_API_KEY",
        "GEMINI_API_KEY",
        "GROQ_API_KEY",
        "OPENAI_API_KEY",
        "OPENCODE_API_KEY",
        "OPENROUTER_API_KEY",
        "XDG_CONFIG_HOME",
        "XDG_DATA_HOME",
    ),
)
