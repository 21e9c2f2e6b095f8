"""Every setting, default and limit of AWM, once (SPEC 16). Others import them from here or get them in a `Policy`.

`awm.toml` is read here into pydantic models that refuse unknown keys with the nearest known name.
"""

from __future__ import annotations

import difflib
import os
import stat
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from awm_loop import windows
from awm_loop.errors import ConfigError
from awm_loop.references import cross_check, line_of

SHOWN_CHARS_MAX = 80  # of a wrong value in a message
ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"  # SPEC 17; `$` is checked with fullmatch, so no trailing newline

SPEC_BYTES_MAX = 1024 * 1024  # SPEC 5.1
ARCHIVE_BYTES_MAX = 64 * 1024 * 1024  # of an archive, packed or unpacked: what an import reads, and keeps in memory
ARCHIVE_JSON_BYTES_MAX = 16 * 1024 * 1024  # of one JSON file in it
ARCHIVE_CONFIG_BYTES_MAX = 128 * 1024  # of awm.toml in it
ARCHIVE_MEMBERS_MAX = 50_000  # each takes 1 KiB of those bytes at least: a home of 10,000 tasks has room, with its past
SPEC_LINE_CHARS_MAX = 4096  # of a title or header that are looked at
SPEC_VALUE_CHARS_MAX = 200  # of a title or header value: it goes into state and notices
MINUTES_MAX = 10 * 366 * 24 * 60.0  # no length is ten years: it must stay a number that can be written and counted
LOG_HEAD_BYTES = 1024 * 1024  # SPEC 8.2: out.log keeps its first 1 MiB ...
LOG_TAIL_BYTES = 20 * 1024 * 1024  # ... and its last 20 MiB
RESULT_FILE_BYTES_MAX = 256 * 1024
NEXT_STEPS_MAX = 10  # proposals of one attempt
COUNT_MAX = 10**15  # of a counter in a file: far from the 20 digits that are read back
OUTPUT_LINE_BYTES_MAX = 8 * 1024 * 1024  # of a line for a reader: a CLI prints what its tools said in one
EVENT_CHARS_MAX = 4 * 1024 * 1024  # of a CLI's JSON: no event that tells the end of a run is longer
WORDS_CHARS_MAX = 4000  # of an agent's summary or error that are kept
TEXT_LINE_CHARS_MAX = 400  # a CLI's own last words are short; longer lines are an agent's prose or a dump
TEXT_LINES_MAX = 20  # of a failed run, searched for a limit where no structured field told of one
WRAPPED_LINES_MAX = 3  # lines that one message may be wrapped over
BESIDE_BYTES_MAX = 1024 * 1024  # of the end of a record that a CLI keeps beside its output
STATE_LOG_MAX = 200  # SPEC 4.3: the newest entries kept in the state file
PROMPT_TAIL_BYTES = 4096  # of an earlier attempt's log, quoted in the next prompt

REBOOTS_MAX = 5  # SPEC 7.2
INTEGRATIONS_MAX = 5  # times the base branch may move between a rebase and the end of the gate after it
PROBE_MINUTES_MAX = 2.0  # of `awm agents probe`
SLEEP_SECONDS_MAX = 600.0  # a program that announces a longer wait is ended, and its account waits instead
LAUNCHES_MAX = 5  # tries to bring one attempt number past its start before it counts as lost
BUSY_FACTOR = 4.0  # SPEC 8.4: busy without progress gets four times stall_minutes
LATE_FACTOR = 2.0  # SPEC 8.4: one notice at twice the ETA
SAMPLES_PER_STALL_MIN = 4  # a stall window never rests on fewer samples, however short stall_minutes is
LIMIT_RETRY_MAX_SECONDS = 6 * 3600.0  # SPEC 9.1: the doubling ends at 6 h
LIMIT_MAX_SECONDS = 8 * 86_400.0  # SPEC 9.1: no deadline is further away

LOCK_WAIT_SECONDS = 2.0  # a beat waits this long for the state lock, then leaves a mark
COMMAND_LOCK_WAIT_SECONDS = 20.0  # a person's command waits longer: it has no mark to leave
LINGER_SECONDS = 1.0  # an agent that ends as soon is followed by the same image: a fresh one would not be ready
IMAGE_SECONDS_MAX = 60.0  # after which it is replaced all the same, so that the code is as it stands
BARELY_SECONDS = 0.02  # an agent that ends as soon leaves no time to read the state ahead
ATTEMPT_LOCK_WAIT_SECONDS = 10.0  # docs/MEASURED.md 2: a heartbeat may be probing
PARALLEL_MAX = 64  # attempts live at once: more is a mistake in the file
SECONDS_MAX = 1e9  # of a setting; as minutes too it stays a number that can be written and added to a time
BEAT_STEPS_MAX = 200  # rows in one beat; more are left to the next, which is kicked
SETTLE_BEATS_MAX = 1000  # `--settle` gives up after that many beats with an effect
EDITS_MAX = 20  # times a write begins again because somebody edits the file under it
BEAT_WATCHDOG_SECONDS = 110  # a beat that hangs longer ends itself; the protocol makes that harmless
NOTICE_KEEP_SECONDS = 24 * 3600.0  # SPEC 12.2
NOTICE_BACKOFF_SECONDS = (10.0, 60.0, 300.0, 900.0)
NOTIFY_COMMAND_SECONDS_MAX = 30.0  # of `[notify] command` with one notice
PING_SECONDS_MAX = 10.0  # SPEC 17: a ping must not hold a beat up
BAD_FILE_BYTES_MAX = 64 * 1024 * 1024  # kept of a bad file
RECORDING_BYTES_MAX = 16 * 1024 * 1024  # of the file, and of the older one: some thousand beats of a small queue
UNREAD_BYTES_MAX = 16 * 1024 * 1024  # of the ids of tasks whose specs could not be read
GATE_FILES_MAX = 500  # SPEC 10.2: they are copied for each gate
GATE_FILE_BYTES_MAX = 8 * 1024 * 1024
GATE_FILE_DEPTH_MAX = 100  # names in one name: an agent may have made thousands of folders
SETTLING_SECONDS = 1.0  # no editor takes longer to write a file of some KiB; then a bad one is told as bad
SETTLING_POLL_SECONDS = 0.02
WATCHED_FILES_MAX = 20_000  # that one trigger's globs may match: a baseline of some MiB
WATCHED_NAMES_MAX = 200_000  # looked at to find them
WATCHED_BYTES_MAX = 1024**3  # of all of them together: read once, in a second or two
BASELINE_BYTES_MAX = 64 * 1024 * 1024  # of what a trigger saw last
PLAN_HELD_SECONDS = 86_400.0  # when triggers are due is made anew each day: zones' rules change with their package
PLAN_BYTES_MAX = 16 * 1024 * 1024  # of a line for each trigger
CHANGES_LISTED_MAX = 200  # files that changed, in one spec: a prompt is to stay readable
TEMPLATE_VALUE_CHARS_MAX = 1000  # of a value in a spec; what is longer is cut
INBOX_BYTES_MAX = 1024 * 1024  # of one request in `state/inbox/` ...
INBOX_REQUESTS_MAX = 1000  # ... of which one beat takes so many
REJECTED_KEPT = 500  # in `state/inbox/rejected/`, each with its reason
HOOK_PORT = 8787
HOOK_SECRET_BYTES_MIN = 32  # docs/SPEC.md 13.4, and so the next two
HOOK_BODY_BYTES_MAX = 256 * 1024
HOOK_WINDOW_SECONDS = 300  # a timestamp is that far off at most
HOOK_SEEN_SECONDS = 3 * 24 * 3600  # a delivery is known that long; GitHub sends one again for three days
HOOK_PER_MINUTE_MAX = 60  # deliveries that are queued
HOOK_BODY_SECONDS = 5.0  # a body has come by then
HOOK_CONNECTION_SECONDS = 10.0  # and its connection is over by then
HOOK_CONNECTIONS_MAX = 256  # at once
HOOK_DRAIN_BYTES_MAX = 4 * HOOK_BODY_BYTES_MAX  # read of what is too big, so that its sender comes to hear the answer
HOOK_STOP_SECONDS = 5  # for requests that are under way
HOOK_VALUES_MAX = 100  # of one delivery that a template is given
HOOK_SEEN_BYTES_MAX = 64 * 1024 * 1024  # three days of HOOK_PER_MINUTE_MAX are 12 MiB
HOOK_SEEN_LINES_MAX = 10_000  # appended before it is written anew, so it stays within a few of the lines that count
GATEWAY_CONNECT_SECONDS_MAX = 5.0  # docs/OPENCLAW.md, and so what follows: of a gateway on this machine, or near
GATEWAY_ANSWER_SECONDS_MAX = 30.0  # a spawn was seen to take 2 s on a quiet machine
GATEWAY_ANSWER_BYTES_MAX = 16 * 1024 * 1024  # a list holds the prompts of all that ended in the last half hour, twice
GATEWAY_CONFIG_BYTES_MAX = 1024 * 1024  # of its own file of settings
GATEWAY_TEXT_CHARS_MAX = 1000  # of what a tool says of its failure
GATEWAY_LISTED_MINUTES = 24 * 60  # those that ended so long ago are listed too; without it, half an hour
GATEWAY_SPAWNS_MAX = 3  # requests with an answer that says nothing, each followed by a grace
GATEWAY_UNSEEN_SECONDS = 3.0  # one that was asked for a moment ago may be seen so late; then `call_off` leaves
ATTEND_POLL_SECONDS_MIN = 0.25  # between two looks at a sub-agent ...
ATTEND_POLL_SECONDS_MAX = 5.0
ATTEND_POLL_SHARE = 0.05  # ... of the time it has waited: after an hour, five seconds more are nothing
ATTEND_TOLD_SECONDS = 60.0  # between two lines on one wait ...
ATTEND_TOLD_PER_STALL = 4  # ... or more often, where a stall is told sooner
ATTEND_GRACE_SHARE = 0.8  # of the attempt's grace: the rest is for this process to end
ATTEND_LEFT_SHARE = 0.3  # of the attempt's time, and at most ...
ATTEND_LEFT_SECONDS_MAX = 60.0  # ... so much of it, when a wait for the gateway ends
ATTEND_CALL_OFF_SECONDS_MAX = 10.0  # of a supervisor
ATTEND_LAST_WORDS_TRIES = 5  # to read what a sub-agent said: the work is done, so its words are worth no more
RESET_TOLD_SECONDS_MAX = 60.0  # that the reset of a session waits for its own first notice
RESET_REFUSED_SECONDS_MAX = 15 * 60.0  # SPEC 11.1: then the work goes on without the reset of a session
ATTEMPTS_KEPT = 2000  # in `state/attempts/`, beside those of tasks that are not over ...
ATTEMPTS_REMOVED_MAX = 200  # ... and removed by one beat
DELIVERY_BUDGET_SECONDS = 10.0  # how long the end of one beat may deliver

Positive = Annotated[float, Field(gt=0, le=SECONDS_MAX, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, le=SECONDS_MAX, allow_inf_nan=False)]
# Blanks would be a gate that is always green. NUL can be in no argument and no path, nor in a state that is read back.
ShellLine = Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"^[^\x00]*$")]
PathText = Annotated[str, StringConstraints(pattern=r"^[^\x00]+$")]


def _in_form(window: str) -> str:
    """Its form is the file's; whether this machine knows its zone is seen when it is used."""
    with suppress(windows.UnknownZoneError):
        windows.parse(window)
    return window


def _opening(window: str) -> str:
    windows.parse(window)
    return window


def _private(url: str) -> str:
    """A token goes there: over plain HTTP only to this machine."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    with suppress(ValueError):
        host = "localhost" if ip_address(host).is_loopback else host
    if parts.scheme not in {"http", "https"} or not host or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError("it must be http://HOST:PORT or https://HOST:PORT")
    if parts.scheme == "http" and host != "localhost":
        raise ValueError("its token would go over the network as plain text: https://, or a tunnel to this machine")
    return url


GatewayUrl = Annotated[str, StringConstraints(pattern=r"^[!-~]*$"), AfterValidator(lambda url: url and _private(url))]
KnownWindow = Annotated[str, Field(max_length=1000), AfterValidator(lambda text: text and _opening(text))]
WindowText = Annotated[str, Field(max_length=1000), AfterValidator(lambda text: text and _in_form(text))]
Limit = Annotated[int, Field(ge=0, le=COUNT_MAX)]
Amount = Annotated[float, Field(ge=0, le=COUNT_MAX, allow_inf_nan=False)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)  # Config builds all in one


class LoopConfig(_Table):
    """`[loop]`. Minutes and seconds may be fractions."""

    default_agent: str = "local"
    max_retries: Annotated[int, Field(ge=0)] = 3  # the state's maxRetries wins
    stall_minutes: Positive = 15.0
    strikes_max: Annotated[int, Field(ge=1)] = 3
    attempt_max_minutes: Positive = 120.0
    retry_backoff_seconds: Annotated[list[NotNegative], Field(min_length=1)] = [30.0, 60.0, 120.0, 300.0, 900.0]
    stop_grace_seconds: NotNegative = 10.0
    sample_seconds: Positive = 20.0
    registration_grace_seconds: NotNegative = 60.0  # SPEC 7.3: of gateways
    require_commit: bool = True
    allow_overtake: bool = False
    limit_margin_seconds: NotNegative = 60.0
    max_parallel: Annotated[int, Field(ge=1, le=PARALLEL_MAX)] = 1
    isolation: Literal["auto", "in-place", "worktree"] = "auto"  # worktree when max_parallel > 1
    gate_must_fail_first: bool = False
    gate_max_minutes: Positive = 15.0
    analysis_agent: str = ""
    resume_sessions: bool = False
    context_reset_fraction: Annotated[float, Field(gt=0, le=1)] = 0.85
    memory: PathText = "memory"  # the assistant's folder of notes, relative to the home
    window: KnownWindow = ""  # when anything may start, as `22:00-07:00 Europe/Berlin`


class AgentConfig(_Table):
    """`[agents.NAME]`. `command` belongs to kind "command" alone, the other programs' options to the CLIs."""

    kind: Literal["shell", "command", "claude", "codex", "gemini", "opencode", "aider", "openclaw"]
    command: list[str] = []
    executable: Annotated[PathText, AfterValidator(os.path.expanduser)] = ""  # "": its usual name, found on PATH
    extra_args: list[str] = []
    sandbox: bool = True
    roles: list[str] = []
    model: str = ""
    account: str = ""
    fallback: list[str] = []
    env_pass: list[str] = []


KINDS: tuple[str, ...] = get_args(AgentConfig.model_fields["kind"].annotation)
CLIS = KINDS[2:]  # programs that AWM knows how to call and to read; "openclaw" is one of its own, `cli/attend.py`
GATEWAY_KIND = "openclaw"
PROGRAMS = tuple(kind for kind in CLIS if kind != GATEWAY_KIND)  # of others, which people install


class BudgetConfig(_Table):
    """`[budget]` of all projects together, `[project.budget]` of the default one: what is left out is no limit."""

    attempts_per_day: Limit | None = None
    minutes_per_day: Amount | None = None
    tokens_per_day: Limit | None = None
    cost_usd_per_day: Amount | None = None
    attempts: Limit | None = None
    minutes: Amount | None = None
    tokens: Limit | None = None
    cost_usd: Amount | None = None
    hard: bool = False  # what runs is stopped too


class ProjectConfig(_Table):
    """`[project]`: the project of the state file. `prepare` are shell lines that make a new worktree ready."""

    verify: ShellLine = ""
    prepare: list[ShellLine] = []
    window: KnownWindow = ""
    budget: BudgetConfig = BudgetConfig()


class NotifyConfig(_Table):
    """`[notify]`. A value `env:NAME` is read from the environment, so that no secret stands in the file."""

    urls: list[str] = []
    command: list[str] = []
    ping_url: str = ""


EnvironmentName = Annotated[str, StringConstraints(pattern=r"^env:[A-Za-z_][A-Za-z0-9_]*$")]


class HookConfig(_Table):
    """`[hook]`: secrets that deliveries are signed with, never in the file; names of hosts that lead to `awm hook`.

    `[hook.triggers]`: the secrets of triggers that have their own; the others do not count for these.
    """

    secrets: list[EnvironmentName] = ["env:AWM_HOOK_SECRET"]
    hosts: list[str] = []
    triggers: dict[str, list[EnvironmentName]] = {}


class OpenClawConfig(_Table):
    """`[openclaw]`: a gateway (`gateway.of`), the assistant's session in it, and where it sends messages."""

    url: GatewayUrl = ""
    token: EnvironmentName = "env:OPENCLAW_GATEWAY_TOKEN"  # noqa: S105  its name
    session: Annotated[str, StringConstraints(pattern=r"^[!-~]{0,200}$")] = ""  # "": none is reset
    channel: str = ""
    target: str = ""


class Config(_Table):
    """The whole of `awm.toml`."""

    loop: LoopConfig = LoopConfig()
    project: ProjectConfig = ProjectConfig()
    agents: dict[str, AgentConfig] = {}
    routes: dict[str, str] = {}
    notify: NotifyConfig = NotifyConfig()
    hook: HookConfig = HookConfig()
    openclaw: OpenClawConfig = OpenClawConfig()
    budget: BudgetConfig = BudgetConfig()


TABLES: Mapping[str, type[BaseModel]] = {
    "loop": LoopConfig,
    "project": ProjectConfig,
    "agents": AgentConfig,
    "notify": NotifyConfig,
    "hook": HookConfig,
    "openclaw": OpenClawConfig,
    "budget": BudgetConfig,
}


def load(path: Path) -> Config:
    """Read `awm.toml`; a missing file means the defaults. Raises ConfigError naming file, line and key."""
    return read(_text(path), path)


@lru_cache(maxsize=1)  # who opens a home again and again has mostly the same text to read
def read(text: str, path: Path) -> Config:
    """The configuration in `text`; `path` is for messages. Raises ConfigError as `load` does."""
    try:
        raw = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # not TOML; a number of thousands of digits; nested without an end
        raise ConfigError(f"{path}: {error}", "TOML wants one `key = value` a line and quotes around text") from error
    agents = raw.setdefault("agents", {})
    if isinstance(agents, dict):
        agents.setdefault("local", {"kind": "shell"})  # SPEC 8.7: always there, unless [agents.local] says otherwise
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        raise _complaint(path, text, error) from error
    cross_check(config, path, text)
    return config


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            mode, data = os.fstat(file.fileno()).st_mode, file.read()
        folder_mode = path.parent.stat().st_mode
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}", f"ls -l {path}") from error
    # Who may write it says what runs here. A group is often its user's alone (umask 002), so that is let pass.
    if mode & stat.S_IWOTH or (folder_mode & (stat.S_IWOTH | stat.S_ISVTX)) == stat.S_IWOTH:
        raise ConfigError(f"{path}: anyone on this machine may change it", f"chmod o-w {path} {path.parent}")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 (byte {error.start})", "save as UTF-8") from error


def environment_value(value: str, environ: Mapping[str, str] = os.environ) -> str:
    """Resolve `env:NAME`. Raises ConfigError when the variable is not set; other values are returned as they are."""
    if not value.startswith("env:"):
        return value
    name = value.removeprefix("env:")
    if not environ.get(name):
        raise ConfigError(f"awm.toml names {value}, and the environment has no {name}", f"export {name}=…")
    return environ[name]


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python does not print an integer of thousands of digits
        return "a number of thousands of digits"
    return text if len(text) <= SHOWN_CHARS_MAX else text[:SHOWN_CHARS_MAX] + "…"


def _complaint(path: Path, text: str, error: ValidationError) -> ConfigError:
    problem = error.errors(include_url=False)[0]
    location = [part for part in problem["loc"] if isinstance(part, str)]  # without the places in lists
    table = ".".join(location[:-1]) if len(location) > 1 else location[0]
    key = location[-1] if len(location) > 1 else None
    where = f"{path}:{line_of(text, table, key)}: {'.'.join(location)}"
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(location[-1], _known(location[:-1]), n=1, cutoff=0.5)
        homes = [name for name in TABLES if name != "agents" and location[-1] in TABLES[name].model_fields]
        elsewhere = f"it belongs to [{homes[0]}]" if homes else "remove the line"
        return ConfigError(f"{where}: unknown key", f"did you mean `{near[0]}`?" if near else elsewhere)
    if problem["type"] == "missing":
        return ConfigError(f"{where}: missing", f"add `{location[-1]} = …` to [{table}]")
    if location[-1] == "kind":
        what = _shown(problem["input"])
        return ConfigError(f"{where}: {what} is not an agent kind that works today", f"{', '.join(KINDS)}")
    # What stands there may be a secret.
    found = "" if location[0] in {"notify", "hook", "openclaw"} else f", but it is {_shown(problem['input'])}"
    return ConfigError(f"{where}: {problem['msg']}{found}", "see the comments `awm init` writes")


def _known(parents: list[str]) -> list[str]:
    return [*(TABLES.get(parents[0], _Table) if parents else Config).model_fields]
