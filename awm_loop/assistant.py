"""The assistant's own session in a gateway: how full its context is, and its reset (SPEC 11.1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from awm_loop.config import COUNT_MAX
from awm_loop.gateway import Gateway, ToolFailed, Trouble

CALLER = "agent:main:awm"  # in whose name it is asked: no session is reset by itself, and the default is the main one
LISTED_MAX = 200  # as many as one list has; the key it is searched by is part of few others


def context_share(gateway: Gateway, session: str) -> float | None:
    """How much of the session's context is used, 0 to 1; None where the gateway does not say."""
    row = _row(gateway, session)
    if row is None or isinstance(row, Trouble):
        return None
    used, window = row.get("totalTokens"), row.get("contextTokens")
    if not isinstance(used, int | float) or not isinstance(window, int | float):
        return None
    return min(used / window, 1.0) if 0 <= used <= COUNT_MAX and 0 < window <= COUNT_MAX else None


def reset(gateway: Gateway, session: str) -> Trouble | None:
    """Reset the session, where there is one: to reset what is not there would make it. May be repeated.

    None: it is done. One that the assistant works in at this moment is left to it.
    """
    row = _row(gateway, session)
    if row is None or isinstance(row, Trouble):
        return row
    if row.get("status") == "running":
        return Trouble(f"the assistant is at work in {session}")
    said = gateway.invoke("sessions", {"action": "reset", "sessionKey": session}, CALLER)
    if isinstance(said, Trouble):
        return said
    return None if said.get("ok") is True else ToolFailed(f"the gateway did not say that {session} is reset")


def _row(gateway: Gateway, session: str) -> Mapping[str, Any] | Trouble | None:
    """The session as the gateway lists it; None where it does not."""
    said = gateway.invoke("sessions_list", {"search": session, "limit": LISTED_MAX}, CALLER)
    if isinstance(said, Trouble):
        return said
    rows = said.get("sessions")
    if not isinstance(rows, list):
        return ToolFailed("the gateway did not list its sessions")
    return next((row for row in rows if isinstance(row, dict) and row.get("key") == session), None)
