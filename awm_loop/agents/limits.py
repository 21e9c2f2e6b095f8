"""What a CLI's last words say of a limit: whether it is one, of which cause, and when it ends (SPEC 9.1, 9.3).

Only terminal error text is handed in, but agents write about limits as well, and their words may look alike. So a
wording counts only where a line or an error's message begins with it, after the wrappers that programs put before one
another's errors, and where what follows does not make it part of a longer sentence. A new wording is one row of
`_WORDINGS`; a new way to tell a time is one row of `instants.KINDS`.

The wordings were observed (Claude Code 2.1.329, Codex 0.169.0, Gemini CLI 0.61.0, opencode 1.18.33, aider 0.86.2), or
are those of older versions, of the providers' libraries and of proxies, from their sources and public issues.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import islice
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

from awm_loop.agents import instants
from awm_loop.terminal import plain

Cause = Literal["usage_cap", "rate", "overloaded", "quota_day", "billing", "auth"]

TEXT_MAX = 4000  # characters: an error's last ones
JSON_MAX = 1024 * 1024  # characters: a result line of Claude Code holds its final text and its usage
MESSAGES_MAX = 20  # of an error in JSON that are read
VALUES_MAX = 500  # of an error in JSON that are looked at
STARTS_MAX = 60  # lines and messages of one text that are looked at
WRAPPERS_MAX = 12  # errors within errors
CALIFORNIA = ZoneInfo("America/Los_Angeles")  # where the day of Gemini's quotas ends
RATE_WAIT_MAX = timedelta(minutes=5)  # a longer wait is a used up quota: so Gemini CLI 0.61.0 tells the two apart


class Told(NamedTuple):
    """A limit, as told. `auth` is none: the login fails, and waiting does not help; nor does it with `billing`.

    `resets_at` is the stated instant (UTC), even if past, without SPEC 9.1's margin and clamp; None where none was
    stated. `source` says in a few words how it was told.
    """

    cause: Cause
    resets_at: datetime | None
    source: str


NO_TIME = "no time stated"

# Words that may stand before "limit" where a plan's allowance is meant: not "context", "output", "retry", "recursion".
_PLAN = (
    r"(?:(?:all|of|claude|code|codex|chatgpt|gemini|copilot|ai|opus|sonnet|haiku|fable|models?|max|pro|plus|free|go|team"
    r"|business|enterprise|plan|tier|session|hourly|daily|weekly|monthly|\d{1,3}[- ]?h(?:ou)?rs?|five-hour|\d\.\d|\d"
    r"|current|weekly/monthly|allocated|usage|messages?|api|premium|requests?|tokens?|included|extra|subscription|specified"
    r"|(?:account|workspace|organi[sz]ation|org|team)(?:'s)?) )"
)
_ALLOWANCE = r"(?:limits?|usage|allowance|quota)"
_WHOSE = r"(?:(?:your|the|our|its) )?"
_YOU_HIT = r"(?:sorry, )?you(?:'ve| have)? (?:already |now )?(?:hit|reached|exceeded|exhausted|used up) "
_SPENDING = r"(?:[\w']+ ){0,4}spend(?:ing)? (?:limit|cap)(?: (?:set|of) .*)?"
_ENDED = r"(?: has been| have been| is| was)?[ _](?:reached|exceeded|exhausted|hit)"
_MODEL = (
    r"(?:(?:the|this|that|our|selected|requested|[\w./:-]*(?:model|engine|servers?|service|provider|api|claude|gpt|gemini"
    r"|opus|sonnet|haiku|fable|openai|anthropic|codex)[\w.:-]*(?:'s)?) ){1,4}(?:is|are) "
    r"(?:currently |temporarily |down or )?"
)
_BY_WHAT = r"(?: with (?:\w+ )?requests| due .*)?"

_BAD = r"(?:the |your )?(?:invalid|incorrect|missing|expired|no)(?: or \w+)? "
_GIVEN = r"(?: (?:token|header|credentials?|method))?(?: (?:provided|found|selected|supplied|in .*|or .*))?"
_EXPIRED = r"(?:not valid|invalid|expired|revoked|disabled|invalidated|not be refreshed)(?: (?:because|or|and) .*)?"

# What a wording must end before, or it is a part of somebody's sentence; ".*" at a row's end allows everything.
_END = r"(?=[\"'`)\]}]*\s*(?:$|[.,:;!|·({\[…]|\s[-\u2013\u2014]))"

# (cause, wording). The first that fits counts, so the particular come before the general ones.
_WORDINGS: tuple[tuple[Cause | Literal["no_limit"], str], ...] = (
    ("no_limit", r"(?:approaching|near(?:ing)?|close to|heads up|reconnecting)\b.*"),
    ("no_limit", r"you(?:'re| are) (?:close|near|almost|approaching)\b.*"),
    ("no_limit", r"you(?:'ve| have) used (?:up |over |about |more than |less than )*\d+(?:\.\d+)?%.*"),
    ("no_limit", r"usage limit reached again.*|.*(?:continuing automatically|now using).*"),
    ("no_limit", r".*(?:prompt is too long|context window|context length|context_length_exceeded|maximum context).*"),
    ("no_limit", r"(?:your )?(?:request|input|prompt|message|payload)(?: \w+)?(?: is| was)? too (?:large|long).*"),
    ("no_limit", r"we're currently experiencing high demand, which may cause.*"),  # of any status 500: Codex 0.169.0
    ("quota_day", r"(?:you(?:'ve| have)? )?(?:exhausted|reached|hit|exceeded) your daily (?:[\w./-]+ )?quota.*"),
    ("quota_day", r"daily (?:[\w./-]+ )?quota" + _ENDED),
    ("billing", r"(?:your )?(?:credit |account )?balance (?:is )?(?:too low|insufficient|exhausted)(?: to .*)?"),
    ("billing", r"(?:you have |your account has )?insufficient[_ ](?:account )?(?:credits?|balance|funds|quota)"),
    ("billing", _YOU_HIT + _SPENDING),
    ("billing", r"(?:your|this) (?:[\w-]+ ){1,3}has (?:reached|exceeded|hit) " + _SPENDING),
    ("billing", r"(?:[\w']+ ){0,6}(?:spend(?:ing)?|billing|budget|credit) (?:hard )?(?:limit|cap)" + _ENDED),
    ("usage_cap", r"(?:you're|you are|your \w+ is) out of (?:extra usage|usage credits|usage)(?=.*\breset).*"),
    ("usage_cap", r"(?:you're|you are) out of (?:codex )?messages"),
    ("billing", r"(?:you're|you are|your (?:\w+ )?\w+ is) out of (?:extra usage|(?:\w+ )?credits|usage)"),
    ("billing", r"(?:you have|your (?:\w+ )?\w+ has) (?:run out of|no) (?:\w+ )?credits(?: left| remaining)?"),
    ("billing", r"third-party apps now draw from your extra usage.*|this api method requires billing to be enabled.*"),
    ("billing", r"prompt tokens limit exceeded: \d+ > \d+\. to increase.*"),
    ("billing", r"quota exceeded\. check your plan.*|you exceeded your current quota.*"),
    ("billing", r"to use codex with your chatgpt plan, upgrade.*|payment required|no payment method"),
    ("billing", r"this request requires more credits.*|your prepay\w* credits (?:are|have been) depleted"),
    ("billing", r"key limit exceeded|exceeded ?budget|budget has been exceeded|extra usage is required for .*"),
    ("billing", r"your account is not active.*|(?:please )?check your (?:plan and )?billing(?: details)?"),
    ("usage_cap", r"rate limit exceeded: free-models-per-day.*|free usage limit reach|limit reached(?=.*\breset)"),
    ("usage_cap", _WHOSE + _PLAN + "{1,6}" + _ALLOWANCE + _ENDED + r"(?:,? (?:for|on|subscribe|add|upgrade) .*)?"),
    ("usage_cap", _YOU_HIT + _WHOSE + _PLAN + "{0,6}" + _ALLOWANCE + r"(?: (?:for|on|set|of|until|this) .*)?"),
    ("usage_cap", r"your (?:\w+ )?\w+ has (?:reached|exceeded|hit) " + _WHOSE + _PLAN + "{0,6}" + _ALLOWANCE),
    ("usage_cap", r"voc[êe] (?:atingiu|excedeu|alcançou) (?:o (?:seu )?|seu )?limite.*"),
    ("usage_cap", r"(?:seu )?limite (?:de )?(?:[^\W\d_]+ ){0,4}(?:atingido|alcançado|excedido)"),
    ("rate", r"(?:your )?(?:requests? )?rate[ _-]?limits?" + _ENDED + r"(?: (?:for|on|in) .*)?"),
    ("rate", r"rate[ _-]limit(?:ed(?: by .*)?|[ _]error)"),
    ("rate", r"(?:sorry, )?you(?:'re| are| have been|'ve been)(?: being| temporarily| currently)* rate[- ]limited.*"),
    ("rate", r"[\w./:-]+ is temporarily rate-limited upstream.*"),
    ("rate", _YOU_HIT + r"(?:[\w'-]+ ){0,5}rate limits?(?: (?:for|on|in|of) .*)?"),
    ("rate", r"(?:this|your) requests? (?:would exceed|has exceeded|have exceeded|exceeds?) .{0,200}\brate limits?.*"),
    ("rate", r"requests to .{1,200} have exceeded .{0,80}rate limit.*"),
    ("rate", r"(?:the )?number of .{1,60} has exceeded .{0,60}rate limit.*"),
    ("rate", r"request rejected \(429\)|server is temporarily limiting requests|request was throttled"),
    ("rate", r"(?:exceeded retry limit, )?last status:? 429\b.*|(?:the api provider|upstream) has rate limited you"),
    ("rate", r"too many (?:tokens|(?:concurrent )?requests|connections)(?: per day)?(?:,? (?:please|for) .*)?"),
    ("rate", r"(?:requests?|tokens?) per (?:second|minute|hour|day) limit exceeded|quota" + _ENDED),
    ("rate", r"(?:you(?:'ve| have) )?exhausted your capacity.*|service tier capacity exceeded for .*"),
    ("rate", r"resource (?:has been )?exhausted|\*? ?quota exceeded for (?:quota )?metric.*"),
    ("rate", r"(?:please )?(?:retry|try again|wait)(?: in| for)? \d[\w. ]{0,30}?(?:s|seconds?|minutes?|hours?)"),
    ("rate", r"\"?retryDelay\W{1,5}\d.*|request failed with status(?: code)? 429"),
    ("rate", r"\"?@type\W{1,5}type\.googleapis\.com/google\.rpc\.(?:RetryInfo|QuotaFailure).*"),
    ("overloaded", r"(?:repeated 529 )?overloaded(?:_error| errors?)?(?=[\"'}]|\s*(?:$|[.!·(\[]))"),
    ("overloaded", _MODEL + r"(?:overloaded|at capacity|unavailable|busy|experiencing high \w+)" + _BY_WHAT),
    ("overloaded", r"we(?:'re| are) (?:currently )?experiencing high demand"),
    ("overloaded", r"(?:exceeded retry limit, )?last status:? 5(?:03|29)\b.*"),
    ("overloaded", r"no capacity available for .*|bedrock is unable to process .*|service unavailable"),
    ("auth", r"(?:you are |you're )?not (?:logged|signed) in|login required|(?:[\w'.,·-]+ ){0,16}please run /login"),
    ("auth", _BAD + r"(?:x-)?(?:api[- ]key|bearer|oauth|auth\w*|credentials?|access token)" + _GIVEN),
    ("auth", _WHOSE + r"(?:\w+ ){0,3}(?:api key|token|session|credentials?) (?:(?!not expired)\w+ ){0,6}" + _EXPIRED),
    ("auth", r"your organi[sz]ation does not have access to claude.*|error authenticating"),
    ("auth", r"[\w ]{1,60} api has not been used in project .*|permission denied on resource project .*"),
    ("auth", r"request (?:had invalid|is missing required) authentication credentials?.*"),
    ("auth", r"(?:\w+ ){1,4}api key is missing\. pass it using .*"),
    ("auth", r"failed to (?:authenticate|log ?in)|could not resolve authentication.*"),
    ("auth", r"authentication (?:failed|required|error)"),
    ("auth", r"the api provider is not able to authenticate you|unable to locate credentials"),
    ("auth", r"(?:exceeded retry limit, )?last status:? 40[13]\b.*|could not load the default credentials.*"),
    ("auth", r"(?:token refresh failed|failed to refresh (?:\w+ ){0,2}token): .{0,40}\b40[013]\b.*"),
    ("auth", r"this credential is only authorized for use with .*"),
    ("auth", r"missing environment variable: \W?\w*(?:KEY|TOKEN)"),
    ("auth", r"(?:when using .{1,40}, )?you must specify the \w+_API_KEY.*"),
    ("auth", r"please (?:log ?in|sign in|(?:re-?)?authenticate)(?: (?:again|to continue|first|using .*))?"),
    ("auth", r"please set an auth method.*|(?:this|your) organization has been disabled|unauthorized|forbidden"),
)  # fmt: skip

# What the names and numbers of errors mean where no wording beside them is known: of exceptions, of HTTP, of JSON.
_NAMES: tuple[tuple[Cause, str], ...] = (
    ("usage_cap", r"usage_?limit"),
    ("billing", r"insufficient_?quota|billing|credits?_?error|usage_not_incl|budget_?exceeded|payment_?req|\b402\b"),
    ("auth", r"authentication|unauthenticated|unauthorized|permission_?denied|permission_error|api_?key|\b40[13]\b"),
    ("rate", r"rate_?limit|throttl|resource_?exhausted|too_?many_?requests|quota_?(?:error|exceed|exhaust)|\b429\b"),
    ("overloaded", r"overloaded|unavailable|slow_down|model_?not_?ready|\b5(?:03|29)\b"),
)

_WHO_FAILS = (
    r"(?:an?|fatal|unexpected|api|stream|provider|backend|server|upstream|http|openai|anthropic|gemini|codex|claude"
    r"|opencode|turn|request|run|ai)"
)
_OF_WHAT = r"(?: code| from provider(?: \([\w ]{1,40}\))?| \(\d{3}\))?"
_STATUS = r"(?:http |(?:got )?status(?: code)?:? |unexpected status )"
_REASON = r"(?:too many requests|unauthorized|forbidden|payment required|service unavailable|overloaded|status code)\b"
_KNOWN_ERROR = (
    r"(?=\w{0,60}(?:RateLimit|Auth|PermissionDenied|Unavailable|InternalServer|BadRequest|API|Quota|Throttl|Retry"
    r"|Exhausted|Overloaded|Budget|UsageLimit|Credits|Forbidden|ClientError|Token|Axios))"
)

# What programs put before an error they pass on. A number that stands `alone` counts something, unless in an error.
_WRAPPERS = (
    r"[\s│■●⎿⚠✕✖✗\u00d7❌⚡⛔🚫❗\ufe0f\[]+",
    r"\d{4}-\d\d-\d\dT[\d:.]+Z? +(?:ERROR|WARN) [\w:]+:|(?:timestamp=\S+ )?level=ERROR\b|ERROR \S+ \+\d+ms\b",
    r"(?:" + _WHO_FAILS + r" ){0,4}(?:error|failed)" + _OF_WHAT + r"\s?(?::(?:\s*[45]\d\d$)?|\]|\(?(?=[45]\d\d\b))",
    r"stream disconnected before completion:|failed after \d+ attempts?(?: with [^.:]{1,80})?\. last error:",
    r"upstream error from [\w .-]{1,40}:",
    r"attempt \d+ failed:|attempt \d+ failed with status \d+\. retrying with backoff\.\.\.",
    r"error when talking to gemini api(?: full report available at: \S+)?",
    r"an error occurred \(\w{1,80}\) when calling the \w{1,80} operation(?: \([^)]{1,40}\))?:",
    r"(?:\w{1,40}\.){0,4}_?" + _KNOWN_ERROR + r"\w{0,80}(?:Error|Exception|Exhausted|Unavailable|Forbidden)\s?:",
    r"\[[a-z]+_[a-z_]+\]|\w{1,40}exception -",
    _STATUS + r"[45]\d\d\b(?=\s*(?:$|[:{\[·;,-]))[\s:-]*",
    _STATUS + r"?[45]\d\d(?: " + _REASON + r"|(?=:? ?[{\[]| - ))[\s:-]*",
    r"(?P<alone>[45]\d\d )",
)  # fmt: skip

# How people, tests and an agent's cut JSON speak of limits, and error messages do not.
_PROSE = re.compile(
    r"(?<![\w'])I(?:'\w+)? [a-z]+"
    r"|(?:^|\n|\. )[-*]? ?(?:Added|Fixed|Implemented|Refactored|Tests?|Updated|Wrote|Removed|Committed|Now"
    r"|Handled?(?! with\s+`litellm)) "
    r"|`[^`\n]{1,80}\.(?:py|tsx?|jsx?|go|rs|md)`"
    r"|\b(?:test_\w+|pytest|AssertionError|(?<!ttempt )\d+ (?:tests? )?(?:passed|failed))\b"
    r"|\b[Cc]ommit(?:ted as)? [0-9a-f]{7}|\"type\"\s?:\s?\"(?:assistant|user|text|agent_message|tool_\w+)\""
)
_STARTS = re.compile(r"(?:^|\n)[ \t]*|(?P<field>\b(?:message|detail|error(?:\.\w+)?|raw)[\"']?\s?[:=]\s?[\"'])")
_ESCAPED = re.compile(r"(?<!\\)\\+([\"'n])")
_ALIKE = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u02bc", "'"),
        **dict.fromkeys("\u201c\u201d", '"'),
        **dict.fromkeys("\u2219\u2022\u2027\u22c5", "·"),
        **dict.fromkeys("\u00a0\u202f\u2009", " "),  # Node writes U+202F before "AM"
    }
)
_WRAPPER = re.compile("|".join(_WRAPPERS), re.I)
_CASES = tuple((cause, re.compile(rf"(?:{wording}){_END}", re.I)) for cause, wording in _WORDINGS)
_NAMED = tuple((cause, re.compile(names, re.I)) for cause, names in _NAMES)
_GOOGLE = re.compile(r"googleapis|(?:Retryable|Terminal)QuotaError|ai\.google\.dev|RESOURCE_EXHAUSTED", re.I)
_A_DAY = re.compile(r"per[ _-]?day", re.I)


def read(text: str, seen_at: datetime, zone: tzinfo = UTC) -> Told | None:
    """The limit that an error's text tells of; None where it tells of none, or where it is no error's text.

    `text` is what a CLI said last, one or a few lines, or one of its JSON lines. `seen_at` is when, aware: a clock text
    counts from there. `zone` is that of the process that printed it.
    """
    said = _json(text)
    if said is not None:
        return _event(said, seen_at, zone)
    normal = _normal(text)
    cause = _cause(normal)
    return None if cause is None or cause == "no_limit" else _told(cause, normal, seen_at, zone)


def _normal(text: str) -> str:
    return _ESCAPED.sub(lambda found: "\n" if found[1] == "n" else found[1], plain(text[-TEXT_MAX:]).translate(_ALIKE))


def _cause(text: str) -> Cause | Literal["no_limit"] | None:
    """Of the first line or message in it that begins as a limit does."""
    if _PROSE.search(text):
        return None
    passed_on = ""
    is_error = False
    for start in islice(_STARTS.finditer(text), STARTS_MAX):
        if start["field"] and not is_error:  # of a line of code, or of a quotation
            continue
        said = " ".join(text[start.end() :].split())
        statement, names = _unwrapped(said)
        is_error = is_error or any(map(str.isalpha, names)) or said.startswith(("{", "[{", '"@'))
        for cause, case in _CASES:
            if case.match(statement):
                return cause
        passed_on += names
    return _named(passed_on)


def _unwrapped(statement: str) -> tuple[str, str]:
    """What an error says, and the names and numbers of those that pass it on."""
    names = ""
    for _ in range(WRAPPERS_MAX):
        found = _WRAPPER.match(statement)
        if not found:
            break
        if found.lastgroup != "alone" or any(map(str.isalpha, names)):
            names += found[0] + " "
        statement = statement[found.end() :].lstrip(" -")
    return statement, names


def _named(names: str) -> Cause | None:
    return next((cause for cause, known in _NAMED if known.search(names)), None)


def _told(cause: Cause, text: str, seen_at: datetime, zone: tzinfo) -> Told:
    """A cause with its time; what only the whole text tells of the cause: a day's quota, a short wait or a long one."""
    if _GOOGLE.search(text) and (cause == "rate" or "current quota" in text):
        cause = "quota_day" if _A_DAY.search(text) else "rate"
    if cause in {"billing", "auth"}:
        return Told(cause, None, NO_TIME)
    if cause == "quota_day":
        return Told(cause, instants.midnight(seen_at, CALIFORNIA), "daily quota: midnight in California")
    resets_at, source = instants.stated(" ".join(text.split()), seen_at, zone) or (None, NO_TIME)
    if cause == "rate" and resets_at and resets_at - seen_at > RATE_WAIT_MAX:
        cause = "usage_cap"
    return Told(cause, resets_at, source)


# Events in JSON that are an agent's words, or noise on the way: Claude Code 2.1.329's `api_retry` is a "system" one.
_NOT_ERRORS = {"system", "user", "text", "tool_use", "tool_result", "tool_progress", "stream_event", "message"}
_SAYING = {"message", "error", "result", "detail", "error_description", "responseBody", "raw", "text"}
_NAMING = {"type", "code", "status", "statusCode", "status_code", "name", "error", "reason", "api_error"}
_NAMING |= {"api_error_type", "api_error_status", "codex_error_info", "errorCode", "__type"}


def _json(text: str) -> Mapping[str, object] | None:
    text = text.strip()
    if not text.startswith(("{", "[")) or len(text) > JSON_MAX:
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(value, list) and len(value) == 1:  # Google wraps an error in an array
        value = value[0]
    return value if isinstance(value, dict) else None


def _event(said: Mapping[str, object], seen_at: datetime, zone: tzinfo) -> Told | None:
    """One JSON line of a CLI, or one error's body: of an agent's own words nothing is read."""
    payload = said.get("payload")
    if isinstance(payload, Mapping):  # an event of Codex's rollout file
        said = payload
    info, windows = said.get("rate_limit_info"), said.get("rate_limits")
    if isinstance(info, Mapping):
        is_rejected = info.get("status") == "rejected"
        return _told("usage_cap", f"resetsAt: {info.get('resetsAt')}", seen_at, zone) if is_rejected else None
    if isinstance(windows, Mapping) and (told := _windows(windows, seen_at)):
        return told
    kind = str(said.get("type"))
    is_failed = bool(said.get("error")) or said.get("is_error") is True or kind == "error"
    is_bare = isinstance(said.get("message"), str) and bool(_NAMING & {str(key) for key in said})
    if kind in _NOT_ERRORS or not (is_failed or is_bare):
        return None
    values = [(key, value) for key, value in _values(said) if isinstance(value, str | int | float)]
    words = [_normal(value) for key, value in values if key in _SAYING and isinstance(value, str)][:MESSAGES_MAX]
    names = " ".join(str(value)[:100] for key, value in values if key in _NAMING)
    causes = [cause for cause in map(_cause, words) if cause]
    cause = causes[0] if causes else _named(names)
    if cause is None or cause == "no_limit":
        return None
    text = "\n".join([*(f"{key}: {str(value)[:300]};" for key, value in values), *words])
    return _told(cause, text[: 4 * TEXT_MAX], seen_at, zone)


def _values(said: object) -> Iterator[tuple[str, object]]:
    """What lies in nested JSON, by key, the outermost first."""
    left = deque([("", said)])
    for _ in range(VALUES_MAX):
        if not left:
            return
        key, value = left.popleft()
        yield key, value
        if isinstance(value, Mapping):
            left.extend((str(name), one) for name, one in value.items())
        elif isinstance(value, list):
            left.extend((key, one) for one in value)


def _windows(windows: Mapping[str, object], seen_at: datetime) -> Told | None:
    """Codex's rollout file: the account opens when all windows that are used up have ended."""
    told = [
        _told("usage_cap", json.dumps(window), seen_at, UTC)
        for window in windows.values()
        if isinstance(window, Mapping) and _is_full(window.get("used_percent"))
    ]
    return max(told, key=lambda one: one.resets_at or datetime.min.replace(tzinfo=UTC), default=None)


def _is_full(used_percent: object) -> bool:
    return isinstance(used_percent, int | float) and used_percent >= 100
