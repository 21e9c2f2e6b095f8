"""What the limit texts of all CLIs mean, and which texts mean none."""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from awm_loop.agents.limits import NO_TIME, Told, read

SEEN = datetime(2026, 11, 21, 7, 30, tzinfo=UTC)  # a Saturday
LINES = [json.loads(line) for line in (Path(__file__).parent / "limit_messages.jsonl").read_text().splitlines()]
IDS = [f"{number}-{line['cli']}-{line['cls']}" for number, line in enumerate(LINES, start=1)]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def next_clock(clock: str, zone: str) -> datetime:
    """The next such time of day after SEEN, by looking at each minute."""
    hour, minute = map(int, clock.split(":"))
    for minutes in range(24 * 60):
        instant = SEEN + timedelta(minutes=minutes)
        here = instant.astimezone(ZoneInfo(zone))
        if (here.hour, here.minute) == (hour, minute):
            return instant
    raise AssertionError(clock)


def stated(kind: str, expected: object) -> datetime | None:
    """The instant that the facts' columns `reset_kind` and `expected` mean, seen at SEEN by a process with TZ=UTC."""
    if kind == "epoch":
        return datetime.fromtimestamp(float(str(expected)), UTC)
    if kind == "relative":
        return SEEN + timedelta(seconds=float(str(expected)))
    text = str(expected)
    if kind == "none":
        found = re.search(r"next (\d\d:\d\d) ([\w/]+)", text)
        return next_clock(found[1], found[2]) if found else None
    if kind == "date_clock":
        if found := re.match(r"(\w{3} \d+) \(no time: treat as 00:00 next day local", text):
            return datetime.strptime(f"2026 {found[1]}", "%Y %b %d").replace(tzinfo=UTC) + timedelta(days=1)
        if found := re.match(r"(\d{4}-\d\d-\d\d \d\d:\d\d) local$", text):
            return at(found[1])
        day, _, zone = text.rpartition(" ")
        local = datetime.strptime(f"2026 {day}", "%Y %b %d %H:%M").replace(tzinfo=ZoneInfo(zone))
        half_a_year = timedelta(days=183)
        return (local if SEEN - local < half_a_year else local.replace(year=2027)).astimezone(UTC)
    clock, _, zone = text.partition(" (")[0].partition(" ")
    return next_clock(clock, zone if "/" in zone else "UTC")


@pytest.mark.parametrize("line", LINES, ids=IDS)
def test_every_line_of_the_facts_is_read_as_it_was_meant(line: dict[str, object]) -> None:
    """Each recorded text is a limit or none as the facts say, with its cause and the very instant it states."""
    told = read(str(line["text"]), SEEN)

    if not line["is_limit"]:
        assert (told and told.cause) == ("auth" if line["cls"] == "auth" else None)
        return
    assert told
    assert (told.cause, told.resets_at) == (line["cls"], stated(str(line["reset_kind"]), line["expected"]))


# (text, cause, instant as seconds after SEEN or as ISO text in UTC, None where none is stated), by who says so.
POSITIVES: tuple[tuple[str, str, float | str | None], ...] = (
    # Claude Code and Anthropic
    ("Claude AI usage limit reached|1749924000000", "usage_cap", "2025-06-14T18:00:00"),
    ("Claude Pro usage limit reached. Your limit will reset at 1pm (Etc/GMT+5).", "usage_cap", "2026-11-21T18:00:00"),
    ("5-hour limit reached · resets Oct 31, 9am", "usage_cap", "2026-10-31T09:00:00"),
    ("You've hit your weekly limit · resets Sep 15 at 7pm", "usage_cap", "2026-09-15T19:00:00"),
    ("You've hit your weekly limit · resets Jul 27 at 4:30am (Asia/Calcutta)", "usage_cap", "2026-07-26T23:00:00"),
    ("Weekly limit reached · resets 10am (Asia/Seoul) · /upgrade to Max or turn on /extra-usage", "usage_cap", 63000),
    ("  ⎿  You've hit your session limit · resets 8:30pm (Asia/Tokyo)", "usage_cap", 14400),
    ("You\u2019ve hit your session limit \u2219 resets 3:40 pm", "usage_cap", "2026-11-21T15:40:00"),
    ("You've hit your Fable limit · resets Mon 12:00am (UTC)", "usage_cap", "2026-11-23T00:00:00"),
    ("You've reached your weekly usage limit. It resets tomorrow at 3pm.", "usage_cap", "2026-11-22T15:00:00"),
    ("You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC.", "usage_cap", "2026-12-01T00:00:00"),
    ('API Error: 429 {"type":"error","error":{"type":"rate_limit_error","message":"This request would exceed your account\'s rate limit. Please try again later."},"request_id":"req_011CVf"}', "rate", None),
    ("Error: 429 Number of request tokens has exceeded your per-minute rate limit (https://docs.anthropic.com/claude/reference/rate-limits); see the response headers for current usage.", "rate", None),
    ("API Error: 529 Overloaded. This is a server-side issue, usually temporary — try again in a moment.", "overloaded", None),
    ('API Error: 529 {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}', "overloaded", None),
    ("API Error: Repeated 529 Overloaded errors", "overloaded", None),
    ("Opus is experiencing high load, please use /model to switch to Sonnet", "overloaded", None),
    ("API Error: 400 Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing.", "billing", None),
    # Codex, OpenAI, Azure
    ("You've hit your usage limit. Upgrade to Pro or try again in 1 day 1 minute.", "usage_cap", 86460),
    ("ERROR: You've hit your usage limit. Upgrade to Plus, or try again at Dec 1st, 2026 12:05 AM.", "usage_cap", "2026-12-01T00:05:00"),
    ("2026-11-21T07:30:00.123456Z ERROR codex_core::codex: stream error: exceeded retry limit, last status: 429 Too Many Requests", "rate", None),
    ('{"type":"turn.failed","error":{"message":"You\u2019ve hit your usage limit. Visit https://chatgpt.com/codex or try again at 7:29 AM."}}', "usage_cap", "2026-11-21T07:29:00"),
    ("Rate limit reached for gpt-4o in organization org-x on requests per min (RPM): Limit 3, Used 3, Requested 1. Please try again in 20ms. Visit https://platform.openai.com/account/rate-limits", "rate", 0.02),
    ("Rate limit reached for o4-mini on requests per day (RPD): Limit 200, Used 200. Please try again in 7m12s.", "usage_cap", 432),
    ("Error code: 429 - {'error': {'message': 'You exceeded your current quota, please check your plan and billing details.', 'type': 'insufficient_quota', 'param': None}}", "billing", None),
    ('{"error":{"message":"You exceeded your current quota, please check your plan and billing details.","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}', "billing", None),
    ('{"statusCode": 429, "message": "Rate limit is exceeded. Try again in 17 seconds."}', "rate", 17),
    ("Requests to the ChatCompletions_Create Operation under Azure OpenAI API version 2024-02-01 have exceeded token rate limit of your current OpenAI S0 pricing tier. Please retry after 46 seconds.", "rate", 46),
    ("That model is currently overloaded with other requests. You can retry your request.", "overloaded", None),
    ("unexpected status 503 Service Unavailable: upstream connect error", "overloaded", None),
    # Gemini CLI and Google
    ("You have exhausted your capacity on this model. Your quota will reset after 2h13m0s.", "usage_cap", 7980),
    ("[API Error: You have exhausted your daily quota on this model.]", "quota_day", 1800),
    ("[API Error: Quota exceeded for quota metric 'Gemini 2.5 Pro Requests' and limit 'Gemini 2.5 Pro Requests per day per user per tier' of service 'cloudcode-pa.googleapis.com' for consumer 'project_number:1']", "quota_day", 1800),
    ('[API Error: {"error":{"message":"{\\n  \\"error\\": {\\n    \\"code\\": 429,\\n    \\"message\\": \\"You exceeded your current quota, please check your plan and billing details.\\",\\n \\"quotaId\\": \\"GenerateRequestsPerDayPerProjectPerModel-FreeTier\\", \\"x\\": \\"generativelanguage.googleapis.com\\"}}"}}]', "quota_day", 1800),
    ('[{"error":{"code":429,"message":"Resource has been exhausted (e.g. check quota).","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"17s"}]}}]', "rate", 17),
    ("[API Error: The model is overloaded. Please try again later.]", "overloaded", None),
    ('{"error":{"code":503,"message":"This model is currently experiencing high demand. Spikes in demand are usually temporary. Please try again later.","status":"UNAVAILABLE"}}', "overloaded", None),
    ("google.api_core.exceptions.ResourceExhausted: 429 You exceeded your current quota. [retry_delay { seconds: 8 }] https://ai.google.dev/gemini-api/docs/rate-limits", "rate", None),
    # opencode and the AI SDK
    ("Free usage exceeded, subscribe to Go\nretrying in 6h16m - attempt #1", "usage_cap", 22560),
    ("5-hour usage limit reached. Resets in 59 minutes 12 seconds.", "usage_cap", 3552),
    ("Rate Limited [retrying in 59 minutes 12 seconds attempt #3]", "usage_cap", 3552),
    ("Error: AI_RetryError: Failed after 3 attempts. Last error: This request would exceed your organization's rate limit of 50 requests per minute.", "rate", None),
    ('{"type":"error","error":{"name":"APIError","data":{"message":"Too Many Requests","statusCode":429,"isRetryable":true,"responseHeaders":{"retry-after":"7980","server":"x"}}}}', "usage_cap", 7980),
    ('{"name":"APIError","message":"slow down","statusCode":429,"responseHeaders":{"retry-after-ms":"1500"}}', "rate", 1.5),
    ('{"error":{"statusCode":429,"responseHeaders":{"Retry-After":"Sat, 21 Nov 2026 07:31:00 GMT"}}}', "rate", 60),
    ("Insufficient balance. Manage your billing here: https://opencode.ai/workspace/x/billing", "billing", None),
    # aider and litellm, OpenRouter, Groq, Mistral, Bedrock, others
    ("litellm.RateLimitError: RateLimitError: OpenrouterException - Rate limit exceeded: free-models-per-day. Add 10 credits", "usage_cap", None),
    ("litellm.RateLimitError: AnthropicException - words that nobody knows", "rate", None),
    ("litellm.APIError: APIError: OpenrouterException - {\"error\":{\"message\":\"This request requires more credits, or fewer max_tokens.\",\"code\":402}}", "billing", None),
    ("Rate limit reached for model `llama-3.3-70b-versatile` in organization `o` on tokens per day (TPD): Limit 100000, Used 97050, Requested 3619. Please try again in 9m38.016s.", "usage_cap", 578.016),
    ("google/gemini-2.0-flash-exp:free is temporarily rate-limited upstream. Please retry shortly", "rate", None),
    ("An error occurred (ThrottlingException) when calling the ConverseStream operation (reached max retries: 4): Too many tokens, please wait before trying again.", "rate", None),
    ("Service tier capacity exceeded for this model.", "rate", None),
    ("Usage limit reached for 5 hour. Your limit will reset at 2026-11-21 15:21:33", "usage_cap", "2026-11-21T15:21:33"),
    ("You have hit your usage limit. Your limit resets in 4 hours.; Retry-After: 14400 seconds", "usage_cap", 14400),
    ("You have hit your ChatGPT usage limit (plus plan). Try again in ~92 min.", "usage_cap", 5520),
    ("HTTP 429: Too Many Requests\nRetry-After: 30", "rate", 30),
    ("HTTP 402 Payment Required", "billing", None),
    ("Usage limit reached for all Pro models. Access resets at 11:00 PM PST. /stats for usage details", "usage_cap", "2026-11-22T07:00:00"),
    ('unexpected status 429 Too Many Requests: {"error":{"type":"usage_limit_reached","message":"The usage limit has been reached","plan_type":"pro","resets_in_seconds":12345}}', "usage_cap", 12345),
    ("Subscription quota exceeded. Retry in 3 hours.", "usage_cap", 10800),
    ("Provider is overloaded", "overloaded", None),
    ("Overloaded [retrying in 5s attempt #2]", "overloaded", 5),
    ("The API provider's servers are down or overloaded.", "overloaded", None),
    ("[API Error: got status: 429 Too Many Requests. {\"error\":{\"code\":429,\"message\":\"x\",\"details\":[{\"retryDelay\":\"9s\"}]}}]", "rate", 9),
    ("API Error: 503 upstream connect error or disconnect/reset before headers", "overloaded", None),
    ("API Error: 429", "rate", None),
    ("Sorry, you've exhausted this model's rate limit. Please wait a moment before trying again.", "rate", None),
    ("Weekly/Monthly Limit Exhausted. Your limit will reset at 2026-12-10 10:00:00", "usage_cap", "2026-12-10T10:00:00"),
    ("stream error: Rate limit exceeded. Try again in 17 seconds.; retrying 3/5 in 800ms", "rate", 17),
    ("Too many tokens per day, please wait before trying again.", "rate", None),
    ("Requests per minute limit exceeded - too many requests sent.", "rate", None),
    ("Your organization has reached its monthly usage limit. Contact your admin.", "usage_cap", None),
    ("Your prepayment credits are depleted. Please go to AI Studio at https://ai.google.dev/ to manage your billing.", "billing", None),
    ("Claude Code usage limit reached. Your limit will reset at 7pm (Europe/London).", "usage_cap", "2026-11-21T19:00:00"),
    ("Limit reached · resets 3pm · /upgrade", "usage_cap", "2026-11-21T15:00:00"),
    ("Try again in 17 seconds.", "rate", 17),
    ("AxiosError: Request failed with status code 429", "rate", None),
    ("litellm.InternalServerError: AnthropicException - Overloaded", "overloaded", None),
    ('API Error (429 {"type":"error","error":{"type":"rate_limit_error","message":"x"}}) · Retrying in 5 seconds… (attempt 4/10)', "rate", None),
    ("You are out of credits. Purchase more to continue.", "billing", None),
    ("Budget has been exceeded! Current cost: 5.1, Max budget: 5.0", "billing", None),
    ("You have reached your monthly spending limit of $20. Manage your limits here: https://x", "billing", None),
    ("Your workspace has reached its monthly spending limit of $20. Manage your limits here: https://x", "billing", None),
    ("Your project has exceeded its monthly spending cap. Please go to AI Studio at https://ai.studio/spend", "billing", None),
    ("RetryableQuotaError: You exceeded your current quota", "rate", None),
    ('litellm.InternalServerError: AnthropicException - {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}. Handle with `litellm.InternalServerError`.', "overloaded", None),
    ("litellm.InternalServerError: AnthropicException - Overloaded. Handle with\n`litellm.InternalServerError`.", "overloaded", None),
    ("exceeded retry limit, last status: 503 Service Unavailable, request id: r", "overloaded", None),
    ("last status: 529", "overloaded", None),
    # of public issues, and variants of them
    ("You've hit your usage limit. Upgrade your plan to continue, or try again at 10 de jul. de 2026, 11:52.", "usage_cap", "2026-07-10T11:52:00"),
    ('Error: Codex error: {"type":"error","error":{"type":"usage_limit_reached","message":"The usage limit has been reached","plan_type":"plus","resets_at":1777936568,"eligible_promo":null,"resets_in_seconds":13872},"status_code":429,"headers":{"X-Codex-Active-Limit":"premium"}}', "usage_cap", "2026-05-04T23:16:08"),
    ("Stream disconnected before completion: Rate limit reached for organization org-x on input-images per min: Limit 10, Used 10, Requested 2. Please try again\n    in 12s. Visit https://platform.openai.com/account/rate-limits to learn more.", "rate", 12),
    ("Your workspace has run out of credits. Ask your workspace owner to add more.", "billing", None),
    ("Your organization has no credits remaining. Add credits to continue.", "billing", None),
    ("Current session limit reached · resets 4:59pm (Europe/Paris)", "usage_cap", "2026-11-21T15:59:00"),
    ('API Error: 529 {"type":"error","error":{"type":"overloaded_error","message":"Overloaded.\nhttps://docs.claude.com/en/api/errors"},"request_id":"req_011"}', "overloaded", None),
    ('API Error: 400 {"type":"error","error":{"type":"invalid_request_error","message":"Third-party apps now draw from your extra usage, not your plan limits."}}', "billing", None),
    ("✕ [API Error: [{\n    \"error\": {\n      \"code\": 429,\n      \"message\": \"Resource exhausted. Please try again later. Please refer to\n  https://cloud.google.com/vertex-ai/generative-ai/docs/error-code-429 for more details.\",\n      \"status\": \"RESOURCE_EXHAUSTED\"\n    }\n  }\n  ]]", "rate", None),
    ("We are currently experiencing high demand. We apologize and appreciate your patience.", "overloaded", None),
    ("[API Error: This API method requires billing to be enabled. Please enable billing on project #1 by visiting x.]", "billing", None),
    ("Free usage exceeded, add credits https://opencode.ai/zen [retrying in 32m 50s attempt #1]", "usage_cap", 1970),
    ("Error: Upstream error from Moonshot: rate limit exceeded", "rate", None),
    ('litellm.APIError: APIError: OpenrouterException - {"error":{"message":"Prompt tokens limit exceeded: 23229 > 14796. To increase, visit https://openrouter.ai/settings/credits","code":402}}', "billing", None),
    ("You've hit your usage limit. Try again in 1 day, 3 hours, and 12 minutes.", "usage_cap", 97920),
    ("You've hit your usage limit. You can use it again at 3:00 PM.", "usage_cap", "2026-11-21T15:00:00"),
    ("Limite de uso atingido. Redefine em 31 de dez., 9:00", "usage_cap", "2026-12-31T09:00:00"),
)  # fmt: skip


@pytest.mark.parametrize(("text", "cause", "resets"), POSITIVES)
def test_a_limit_is_told_in_many_wordings(text: str, cause: str, resets: float | str | None) -> None:
    """Texts of the CLIs, their libraries and of proxies are read for their cause and their instant (SPEC 9.1)."""
    resets_at = at(resets) if isinstance(resets, str) else None if resets is None else SEEN + timedelta(seconds=resets)
    told = read(text, SEEN)

    assert told
    assert (told.cause, told.resets_at) == (cause, resets_at)


AUTH = (
    "Invalid API key · Please run /login",
    "OAuth token has expired. Please obtain a new token or refresh your existing token.",
    'API Error: 401 {"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}',
    "Failed to authenticate. API Error: 403 forbidden",
    "The API provider is not able to authenticate you. Check your API key.",
    "litellm.AuthenticationError: AuthenticationError: OpenAIException - Incorrect API key provided: dummy.",
    '[API Error: {"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT"}}]',
    '{"type":"error","error":{"name":"APIError","data":{"message":"words","statusCode":401}}}',
    "Your access token could not be refreshed because your refresh token was revoked. Please log out and sign in again.",
    "Missing environment variable: `OPENAI_API_KEY`.",
    "unexpected status 403 Forbidden: unsupported_country_region_territory",
    "ExpiredTokenException: The security token included in the request is expired",
    "Invalid auth method selected.",
    "Your account does not have access to Claude Code. Please run /login.",
    "exceeded retry limit, last status: 401 Unauthorized, request id: r",
    "last status: 403",
    "Token refresh failed: 401",
    'Failed to refresh token: 400 Bad Request: {"error":{"code":"refresh_token_reused"}}',
    "2026-11-21T07:30:00.1Z ERROR codex_core::auth: Failed to refresh token: 401 Unauthorized",
    "Could not load the default credentials. Browse to https://cloud.google.com/docs/authentication/getting-started",
    "Failed to login. Message: This account requires setting the GOOGLE_CLOUD_PROJECT env var.",
    "Login expired · Please run /login",
    "Your organization does not have access to Claude. Please login again or contact your administrator.",
    "[API Error: Request had invalid authentication credentials. Expected OAuth 2 access token or other valid authentication credential.]",
    '[API Error: {"error":{"code":403,"message":"Gemini for Google Cloud API has not been used in project 1 before or it is disabled.","status":"PERMISSION_DENIED"}}]',
    "[API Error: Permission denied on resource project mine.]",
    "Error authenticating: FatalAuthenticationError: Manual authorization is required but the session is non-interactive.",
    "ProviderAuthError: Anthropic API key is missing. Pass it using the 'apiKey' parameter or the ANTHROPIC_API_KEY variable.",
    "This credential is only authorized for use with Claude Code and cannot be used for other API requests.",
)


@pytest.mark.parametrize("text", AUTH)
def test_a_failed_login_is_told_apart_from_a_limit(text: str) -> None:
    """Waiting does not help where the login fails: the cause says so, and no time is told."""
    assert read(text, SEEN) == Told("auth", None, NO_TIME)


NEGATIVES = (
    "exceeded retry limit, last status: 500 Internal Server Error, request id: r",
    "Token refresh failed: 503",
    "Overloaded. Handle the case in the client.",
    # agents about limits
    "You've hit your limit is the text we look for in the parser.",
    "You've hit your usage limit banner now links to the pricing page.",
    "Rate limit reached handling is done: the client sleeps until the header says so.",
    "Rate limit exceeded errors are retried three times with backoff.",
    '"Rate limit exceeded" is returned with status 429 when the bucket is empty.',
    "Rate limiting works: 50 requests per minute, then 429.",
    "429 responses are now retried with exponential backoff.",
    "429 is mapped to RateLimitError, 529 to OverloadedError.",
    "401 and 403 are mapped to AuthError in client.py.",
    "Usage limit reached state is stored in the account row.",
    "Usage limits are enforced per tenant; the window resets at 00:00 UTC.",
    "Overloaded functions were split into two modules.",
    "Overloaded operators in vector.hpp now take const references.",
    "Quota exceeded dialog has a new icon.",
    "Credit balance is too low-contrast in dark mode, so the colour was changed.",
    "Credit balance widget shows the amount in EUR.",
    "Invalid API key errors are logged without the key.",
    "Unauthorized users are redirected to the login page.",
    "Too many requests per page: the N+1 query was removed.",
    "Weekly limit resets on Monday at 9am (Europe/Berlin), as the document says.",
    "The limit resets at 3pm. The cron line runs at 3:05pm.",
    "Payment required fields are validated on the server.",
    "Session expired handling moved to the middleware.",
    "You've hit your usage limit — that string is matched in `limits.py`, line 12.",
    "The model is overloaded with responsibilities; extracted a service.",
    "Our servers are currently overloaded with legacy code, so I split them.",
    "Prompt tokens limit exceeded: 230799 > 91442 is logged by the tokenizer's test.",
    "API key is missing from .env.example; a placeholder is there now.",
    "Login expired sessions are cleaned hourly.",
    "No credits remaining state is rendered by CreditsBadge.",
    "Upstream error from the proxy is shown to the user as a toast.",
    "Error authenticating users is handled in middleware.ts.",
    "Permission denied on resource files is answered with 403.",
    "402 Insufficient Balance is the response of the mock for an empty wallet.",
    "I've hit your usage limit check in limits.py and made it stricter.",
    "Summary:\n- 429 Too Many Requests is retried\n- 401 logs out\nDone.",
    "Added a test: `Claude AI usage limit reached|1749924000` is parsed as an epoch.",
    "def test_usage_limit_reached():\n    assert read('You have hit your usage limit') is not None",
    "E   app.errors.RateLimitError: Rate limit exceeded\ntests/test_api.py:12: RateLimitError",
    "  raise RateLimitError('Rate limit reached, try again in 20s')",
    "const LIMIT = /usage limit reached|rate limit exceeded/i;",
    "curl: (22) The requested URL returned error: 429",
    "fatal: unable to access 'https://git.example.org/x.git/': The requested URL returned error: 403",
    "docker: Error response from daemon: toomanyrequests: You have reached your pull rate limit.",
    "ImportError: cannot import name 'RateLimitError' from 'openai'",
    "PermissionError: [Errno 13] Permission denied: '.git/index.lock'",
    "Error: expected 429 to equal 200",
    "Error: listen EADDRINUSE: address already in use 127.0.0.1:4290",
    "RecursionError: maximum recursion depth exceeded",
    "OSError: [Errno 122] Disk quota exceeded",
    "Error: Reached max turns (30)",
    "gh: API rate limit exceeded for user ID 1. (HTTP 403)",
    "warning: remote: This repository is over its data quota. Account responsible for LFS bandwidth should purchase more.",
    "assistant: Credit balance is too low means that the account has no money left.",
    # information and noise on the way
    '{"type":"system","subtype":"api_retry","attempt":1,"max_retries":10,"retry_delay_ms":1181,"error_status":429,"error":"rate_limit"}',
    '{"type":"error","message":"Reconnecting... 1/5 (exceeded retry limit, last status: 429 Too Many Requests)"}',
    '{"type":"event_msg","payload":{"type":"token_count","rate_limits":{"primary":{"used_percent":99.0,"resets_at":1795254168}}}}',
    "Heads up, you have less than 25% of your weekly limit left. Run /status for a breakdown.",
    "You're now using extra usage · resets 4pm (UTC)",
    "Claude Opus 4 limit reached, now using Sonnet 4",
    "You're close to your weekly limit · resets Nov 23, 3pm (UTC)",
    # an agent's words in JSON
    '{"type":"result","subtype":"success","is_error":false,"result":"You\'ve hit your limit · resets 3pm (UTC)"}',
    '{"type":"assistant","message":{"content":[{"type":"text","text":"Rate limit reached."}]}}',
    '{"type":"item.completed","item":{"type":"agent_message","text":"You\'ve hit your usage limit."}}',
    '{"type":"text","part":{"type":"text","text":"API Error: Rate limit reached"}}',
    '{"rate_limit": 429, "resets_at": 1795254168, "status": "ok"}',
    # other failures
    "We\u2019re currently experiencing high demand, which may cause temporary errors.",
    "API Error: 500 Internal server error. This is a server-side issue, usually temporary.",
    '{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 210000 tokens > 200000 maximum"}}',
    "Codex ran out of room in the model's context window. Start a new thread or clear earlier history before retrying.",
    "litellm.ContextWindowExceededError: This model's maximum context length is 128000 tokens.",
    "Request too large for gpt-5 in organization org-x on tokens per min (TPM): Limit 30000, Requested 36055.",
    "Request timed out. Check your internet connection and proxy settings",
    "stream disconnected before completion: idle timeout waiting for SSE",
    "No conversation found with session ID: 3963e245-a8e8-4072-b28a-faaa2bea23f3",
    "Error: Session ID 3963e245-a8e8-4072-b28a-faaa2bea23f3 is already in use.",
    "Not inside a trusted directory and --skip-git-repo-check was not specified.",
    "TypeError: fetch failed",
    "API Error: Claude's response exceeded the 32000 output token maximum.",
    "The API provider timed out without returning a response. They may be down or overloaded.",
    "Rate limiting detected. Automatically switching from gemini-2.5-pro to gemini-2.5-flash for faster responses",
    '"You have hit your limit \u00b7 resets 3pm" -> Told("usage_cap", ...)',
    '{"type":"assistant","message":{"content":[{"type":"text","text":"x","message":"Rate limit reached."',
    '    return {"status": "limited", "error": "usage limit reached"}',
    "    429: Outcome.LIMITED,",
    "",
    "   \n\n",
)  # fmt: skip


@pytest.mark.parametrize("text", NEGATIVES)
def test_a_text_that_only_sounds_like_a_limit_is_none(text: str) -> None:
    """Agents write about limits, and programs warn of them or fail otherwise: none of it is a limit (SPEC 9.3)."""
    assert read(text, SEEN) is None


@pytest.mark.parametrize(
    ("told", "resets_at"),
    [
        ("7:31am", "2026-11-21T07:31:00"),
        ("7:30am", "2026-11-21T07:30:00"),
        ("7:20am", "2026-11-21T07:20:00"),  # ten minutes ago: just past
        ("7:19am", "2026-11-22T07:19:00"),
        ("07:25", "2026-11-21T07:25:00"),
        ("12am", "2026-11-22T00:00:00"),
        ("12pm", "2026-11-21T12:00:00"),
        ("midnight", "2026-11-22T00:00:00"),
        ("noon UTC", "2026-11-21T12:00:00"),
        ("9 p.m. (Nowhere/Land)", "2026-11-21T21:00:00"),  # as without a zone
        ("9pm (../../etc)", "2026-11-21T21:00:00"),
        ("9pm (America)", "2026-11-21T21:00:00"),
        ("9pm (Etc/GMT+5)", "2026-11-22T02:00:00"),
        ("9pm PST", "2026-11-22T05:00:00"),
        ("9pm GMT+2", "2026-11-21T19:00:00"),
        ("9pm Asia/Tokyo", "2026-11-21T12:00:00"),
        ("Saturday 7:25am", "2026-11-21T07:25:00"),
        ("Sat 6am", "2026-11-28T06:00:00"),
        ("Friday at 5 PM (UTC)", "2026-11-27T17:00:00"),
        ("Thu", "2026-11-27T00:00:00"),
        ("today at 5pm", "2026-11-21T17:00:00"),
        ("tomorrow, 7am (Europe/Berlin)", "2026-11-22T06:00:00"),
        ("Jan 2, 9am", "2027-01-02T09:00:00"),
        ("Jun 1, 9am", "2026-06-01T09:00:00"),
        ("24 Nov 2026, 18:49", "2026-11-24T18:49:00"),
        ("2026-11-24T18:49:30Z", "2026-11-24T18:49:30"),
        ("2026-11-24T18:49:30.123+01:00", "2026-11-24T17:49:30"),
        ("2026-11-24T18:49-0530", "2026-11-25T00:19:00"),
        ("2026-11-24", "2026-11-25T00:00:00"),
        ("Wed, 25 Nov 2026 07:28:00 GMT", "2026-11-25T07:28:00"),
        ("in 2 weeks", "2026-12-05T07:30:00"),
        ("in an hour", "2026-11-21T08:30:00"),
        ("in 1 hr, 5 mins and 3 secs", "2026-11-21T08:35:03"),
        ("in 6d", "2026-11-27T07:30:00"),
        ("1795254063", "2026-11-21T09:41:03"),
        ("1795254063000", "2026-11-21T09:41:03"),
        ("Feb 30, 9am", None),
        ("25:00", None),
        ("2026-13-01", None),
        ("in 999999999 weeks", None),
        ("soon", None),
        ("5 times", None),
        ("tomorrowland", None),
        ("monthly", None),
    ],
)
def test_a_time_is_told_in_many_ways(told: str, resets_at: str | None) -> None:
    """A clock is the next one unless it is at most ten minutes past, a date the nearest, a day without a clock its end."""
    text = f"You've hit your limit · resets {told}"
    result = read(text, SEEN)

    assert result
    assert result.resets_at == (at(resets_at) if resets_at else None)
    assert (result.source == NO_TIME) == (resets_at is None)


@pytest.mark.parametrize(
    ("told", "source"),
    [
        ("1795254063", "epoch in the text"),
        ("9pm (UTC)", "clock with zone"),
        ("9pm", "clock without a zone"),
        ("9pm (Nowhere/Land)", "clock without a zone"),
        ("Dec 2, 7pm (Europe/Moscow)", "date and clock with zone"),
        ("Dec 2, 7pm", "date and clock without a zone"),
        ("Dec 2", "date"),
        ("in 2 hours", "relative time"),
    ],
)
def test_the_source_says_how_the_time_was_told(told: str, source: str) -> None:
    """Whoever reads of a limit learns what its time was taken from (SPEC 9.1)."""
    result = read(f"Session limit reached \u2219 resets {told}", SEEN)

    assert result
    assert result.source == source


def test_a_clock_without_a_zone_is_that_of_the_process() -> None:
    """Codex prints the clock of its own zone and does not name it."""
    told = read("You\u2019ve hit your usage limit. Try again at 9:42\u202fAM.", SEEN, ZoneInfo("America/New_York"))

    assert told == Told("usage_cap", at("2026-11-21T14:42:00"), "clock without a zone")


@pytest.mark.parametrize(
    ("seen_at", "clock", "resets_at"),
    [
        ("2026-03-29T00:30:00", "2:30am", "2026-03-29T01:30:00"),  # there is none that night
        ("2026-10-24T23:30:00", "2:30am", "2026-10-25T00:30:00"),  # there are two, the first counts
        ("2026-10-25T00:45:00", "2:30am", "2026-10-26T01:30:00"),
    ],
)
def test_a_clock_in_the_night_of_a_change_is_still_told(seen_at: str, clock: str, resets_at: str) -> None:
    """Gaps and folds of local time neither crash nor lead astray."""
    told = read(f"You've hit your limit · resets {clock} (Europe/Berlin)", at(seen_at))

    assert told
    assert told.resets_at == at(resets_at)


@pytest.mark.parametrize(
    ("seen_at", "told", "resets_at"),
    [
        ("2026-11-22T00:05:00", "11:58pm", "2026-11-21T23:58:00"),
        ("2027-01-01T00:05:00", "Dec 30, 9am", "2026-12-30T09:00:00"),
        ("2027-12-01T00:05:00", "Feb 29, 9am", "2028-02-29T09:00:00"),
    ],
)
def test_what_has_just_passed_may_lie_in_another_day_or_year(seen_at: str, told: str, resets_at: str) -> None:
    """A clock just before midnight and a date of December are not put a day or a year off."""
    result = read(f"You've hit your limit · resets {told}", at(seen_at))

    assert result
    assert result.resets_at == at(resets_at)


def test_a_days_quota_ends_at_midnight_in_california_in_summer_too() -> None:
    """Gemini's daily quota names no time: it is counted by the day of Los Angeles."""
    told = read("[API Error: You have exhausted your daily quota on this model.]", at("2026-07-01T07:30:00"))

    assert told == Told("quota_day", at("2026-07-02T07:00:00"), "daily quota: midnight in California")


def test_a_day_that_no_datetime_holds_is_no_time() -> None:
    """A clock of the computer that is at the end of time breaks nothing."""
    told = read("[API Error: You have exhausted your daily quota on this model.]", datetime.max.replace(tzinfo=UTC))

    assert told
    assert told.resets_at is None


def test_all_used_up_windows_of_codex_must_end() -> None:
    """Where two windows are used up the later end counts, and one that is not full counts for nothing."""
    windows = {
        "primary": {"used_percent": 100.0, "resets_at": 1795254168},
        "secondary": {"used_percent": 100, "resets_at": 1795340568},
        "other": {"used_percent": 99.9, "resets_at": 1795999999},
    }
    told = read(json.dumps({"type": "event_msg", "payload": {"type": "token_count", "rate_limits": windows}}), SEEN)

    assert told == Told("usage_cap", datetime.fromtimestamp(1795340568, UTC), "epoch in the text")


PIECES = (
    *(
        "resets ",
        "try again ",
        "retry-after",
        "retrying in ",
        "limit reached",
        "You've hit your ",
        "usage limit ",
        "rate ",
    ),
    *("error: ", "Error", "RateLimit", "attempt 1 failed: ", "429 ", "[", "x@", "·", "is ", '"message":"', '{"error":'),
    *("1h", "1 ", "9", "a.", "\n", "9pm ", "(UTC)", "Feb 29", "in 1h ", "5 h ", "99999999999", "9" * 400, "in", "at "),
    *(
        "the model ",
        "api key ",
        "session ",
        "requests to ",
        "weekly ",
        "the number of ",
        "'",
        "\\\\\\",
        "\ud800",
        "\x1b[31m",
    ),
)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(), st.lists(st.sampled_from(PIECES), max_size=60).map("".join)), st.datetimes())
def test_no_text_whatsoever_breaks_the_reader(text: str, seen_at: datetime) -> None:
    """Whatever a CLI prints, and whenever it is seen, the answer is a limit with an aware time, or none."""
    told = read(text, seen_at.replace(tzinfo=UTC))

    assert told is None or told.resets_at is None or told.resets_at.utcoffset() == timedelta()


@settings(max_examples=50, deadline=None)
@given(st.recursive(st.one_of(st.none(), st.booleans(), st.floats(), st.integers(), st.text()),
                    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(
                        ["type", "error", "message", "payload", "rate_limits", "rate_limit_info", "status", "code",
                         "used_percent", "resets_at", "retry-after"]), inner)))  # fmt: skip
def test_no_json_whatsoever_breaks_the_reader(value: object) -> None:
    """JSON of any shape is an error's, or nobody's."""
    for text in (json.dumps(value), json.dumps({"error": value}), json.dumps({"rate_limits": {"x": value}})):
        read(text, SEEN)


@pytest.mark.parametrize("piece", PIECES, ids=range(len(PIECES)))
def test_a_long_text_is_read_in_no_time(piece: str) -> None:
    """No wording backtracks without an end: what is looked at is bounded, and each pattern is tame on repeats."""
    began = time.process_time()
    for text in (
        piece * 100_000,
        f"Rate limit reached {piece * 2000}",
        f"Error: {piece * 2000} limit reached",
        piece * 2000 + "!",
    ):
        read(text, SEEN)

    assert time.process_time() - began < 2.0


def test_an_error_of_many_messages_is_read_in_no_time() -> None:
    """Of an error in JSON only its first messages are read."""
    text = json.dumps({"error": {"message": ["[\n" * 2000] * 400}})
    began = time.process_time()

    assert read(text, SEEN) is None
    assert time.process_time() - began < 2.0


def test_json_nested_without_end_is_no_limit() -> None:
    """Nesting that no parser follows is passed over."""
    assert read('{"error":' * 100_000, SEEN) is None
