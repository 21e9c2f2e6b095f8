"""Notices through Apprise: Discord, Slack, Telegram, ntfy, e-mail and a hundred more (SPEC 12.2)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from awm_loop.core.model import Notice
from awm_loop.notify.ping import answer_in_time
from awm_loop.ports import Send

if TYPE_CHECKING:
    import apprise


def channel(url: str) -> Send:
    """A channel that sends the text of a notice to one Apprise URL, with `env:NAME` resolved before.

    Of the URL only the scheme is ever named in a reason: the rest may be a secret. Redirects are not followed.
    """
    name = _scheme(url)

    def send(notice: Notice) -> str | None:
        service = _service(url)
        if service is None:
            return problem(url)

        def ask() -> str | None:
            result = service.notify(body=notice.text, title=f"AWM {notice.id}")
            if result:
                return None
            said = "\n".join(entry.message for delivery in result.results for entry in delivery.logs())
            refused = re.search(r"\berror=(\d{3})\b", said)  # how Apprise's plugins log an HTTP status
            return f"refused with HTTP {refused[1]}" if refused else "not delivered"

        reason = answer_in_time(ask)
        return reason and f"{name}: {reason}"

    return send


def problem(url: str) -> str | None:
    """Why Apprise can send nothing to `url`; None where it may."""
    return None if _service(url) else f"{_scheme(url)}: not a URL that Apprise understands"


def _scheme(url: str) -> str:
    scheme, separator, _ = url.partition("://")
    return scheme if separator else "a value without a scheme"  # it may be a secret, in the wrong place


def _service(url: str) -> apprise.Apprise | None:
    import apprise  # noqa: PLC0415  slow to import, and most beats have nothing to send

    # Apprise's own time limit leaves a thread behind that keeps the process from ending.
    service = apprise.Apprise(asset=apprise.AppriseAsset(app_id="AWM", http_redirects=False, service_timeout=0))
    return service if service.add(url) else None
