"""The dead-man's ping: a watchdog service hears that a beat ran, and raises the alarm when none does (SPEC 12.5)."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from urllib.parse import urlsplit

from awm_loop.config import PING_SECONDS_MAX

SCHEMES = {"http", "https"}


def ping(url: str, failed: bool) -> str | None:
    """GET `url`, with `/fail` appended to its path when `failed`, Healthchecks style. None when answered with 2xx.

    Else a short reason without the URL, for whoever knows it can feign beats. Redirects are not followed.
    """
    import httpx  # noqa: PLC0415  slow to import, and most homes have no ping

    reason = problem(url)
    if reason is not None:
        return reason
    parts = urlsplit(url)
    target = parts._replace(path=f"{parts.path.rstrip('/')}/fail").geturl() if failed else url

    def ask() -> str | None:
        try:
            status = httpx.get(target, timeout=PING_SECONDS_MAX, follow_redirects=False).status_code
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return type(error).__name__
        return None if 200 <= status < 300 else f"HTTP {status}"

    return answer_in_time(ask)


def problem(url: str) -> str | None:
    """Why no ping can go to `url`; None where one may."""
    try:
        scheme = urlsplit(url).scheme
    except ValueError:
        return "not a URL"
    return None if scheme in SCHEMES else "not an http or https URL"


def answer_in_time(ask: Callable[[], str | None]) -> str | None:
    """What `ask` returns, or a reason when that takes too long.

    A daemon thread, because nothing else bounds a name lookup or an answer that comes by drops; left behind, it does
    not keep the process.
    """
    answers: list[str | None] = []
    worker = Thread(target=lambda: answers.append(ask()), daemon=True)
    worker.start()
    worker.join(PING_SECONDS_MAX)
    return answers[0] if answers else f"no answer within {PING_SECONDS_MAX:g} seconds"
