"""Notices through an OpenClaw gateway, to the channel where its owner reads (SPEC 12.2). No model has a turn for it."""

from __future__ import annotations

from awm_loop import terminal
from awm_loop.core.model import Notice
from awm_loop.gateway import Gateway, Trouble
from awm_loop.ports import Send

QUEUED = "OUTBOUND_DELIVERY_QUEUED"  # the gateway sends it by itself later: to send it again would double it


def channel(gateway: Gateway, name: str, target: str) -> Send:
    """A channel that sends each notice by the gateway's tool `message`.

    What the gateway has queued counts as delivered. An answer that is lost, or says nothing of what was done, does not:
    at least once.
    """

    def send(notice: Notice) -> str | None:
        text = terminal.plain(notice.text).encode(errors="backslashreplace").decode()
        said = gateway.invoke("message", {"action": "send", "channel": name, "target": target, "message": text})
        return said.text if isinstance(said, Trouble) and QUEUED not in said.text else None

    return send
