"""Notices through Apprise: Discord, Slack, Telegram, ntfy, e-mail and a hundred more (SPEC 12.2)."""

from __future__ import annotations

import re

from awm_loop.core.model import Notice
from awm_loop.notify.ping import answer_in_time
from awm_loop.ports import Send


def channel(url: str) -> Send:
    """A channel that sends the text of a notice to one Apprise URL, with `env:NAME` resolved before.

    Of the URL only the scheme is ever named in a reason: the rest may be a secret. Redirects are not followed.
    """
    name = url.partition(":")[0]

    def send(notice: Notice) -> str | None:
        import apprise  # noqa: PLC0415  slow to import, and most beats have nothing to send

        # Apprise's own time limit leaves a thread behind that keeps the process from ending.
        service = apprise.Apprise(asset=apprise.AppriseAsset(app_id="AWM", http_redirects=False, service_timeout=0))
        if not service.add(url):
            return f"{name}: not a URL that Apprise understands"

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
