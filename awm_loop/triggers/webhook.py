"""What a webhook delivery is: rightly signed or not, and what it hands to its trigger (SPEC 13.4).

Nothing here reads a clock, a socket or a secret's source. A payload becomes values, texts under names, no more.

    AWM's form       X-AWM-Signature: sha256=HEX of `timestamp.body`
                     X-AWM-Timestamp: seconds since 1970    X-AWM-Delivery: id
    GitHub's form    X-Hub-Signature-256: sha256=HEX of the body
                     X-GitHub-Event: name                   X-GitHub-Delivery: id
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from awm_loop.config import HOOK_SEEN_SECONDS, HOOK_VALUES_MAX, HOOK_WINDOW_SECONDS

Form = StrEnum("Form", "AWM GITHUB")

_SIGNATURE = {Form.AWM: b"x-awm-signature", Form.GITHUB: b"x-hub-signature-256"}
_DELIVERY = {Form.AWM: b"x-awm-delivery", Form.GITHUB: b"x-github-delivery"}
_TIMESTAMP = re.compile(rb"[0-9]{1,12}")
_DELIVERY_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


class MalformedError(Exception):
    """A rightly signed delivery that is none; the text is for whoever set it up."""


@dataclass(frozen=True, slots=True)
class Message:
    """A request as it came: headers as pairs with lower-case names, and the raw body."""

    headers: Sequence[tuple[bytes, bytes]]
    body: bytes

    def one(self, name: bytes) -> bytes | None:
        """The header; None also where it comes twice, of which a proxy may have seen the other."""
        found = [value for key, value in self.headers if key == name]
        return found[0] if len(found) == 1 else None


@dataclass(frozen=True, slots=True)
class Delivery:
    """`values` is None for an event that asks for nothing. The id is not signed; `signature` is of what was."""

    id: str
    signature: str
    values: Mapping[str, str] | None


def form_of(message: Message, secrets: Sequence[bytes], now: float) -> Form | None:
    """The form in which a message is rightly signed by one of `secrets`; None where in none.

    Every secret is tried, in constant time. `now` is in seconds since 1970.
    """
    present = [form for form in Form if any(key == _SIGNATURE[form] for key, _ in message.headers)]
    if len(present) != 1:
        return None
    [form] = present
    signed, given = _signed(message, form), message.one(_SIGNATURE[form]) or b""
    expected = [b"sha256=" + hmac.new(secret, signed, hashlib.sha256).hexdigest().encode() for secret in secrets]
    matches = sum(hmac.compare_digest(one, given) for one in expected)
    return form if matches and (form is Form.GITHUB or _is_fresh(message, now)) else None


def delivery(message: Message, form: Form, now: float) -> Delivery:
    """What a rightly signed message asks for. `now` is in seconds since 1970. Raises MalformedError."""
    found = _DELIVERY_ID.fullmatch(message.one(_DELIVERY[form]) or b"")
    if found is None:
        raise MalformedError(f"{_DELIVERY[form].decode()} is missing or no id")
    values = _own_values(message) if form is Form.AWM else _github_values(message, now)
    return Delivery(found[0].decode(), (message.one(_SIGNATURE[form]) or b"").decode(), values)


def _signed(message: Message, form: Form) -> bytes:
    return message.body if form is Form.GITHUB else (message.one(b"x-awm-timestamp") or b"") + b"." + message.body


def _is_fresh(message: Message, now: float) -> bool:
    found = _TIMESTAMP.fullmatch(message.one(b"x-awm-timestamp") or b"")
    return found is not None and abs(now - int(found[0])) <= HOOK_WINDOW_SECONDS


def _object(body: bytes) -> dict[str, object]:
    from pydantic_core import from_json  # noqa: PLC0415  bounded in depth and digits, strict about characters

    try:
        found = from_json(body or b"{}", allow_inf_nan=False)
    except ValueError as error:
        raise MalformedError(f"the body is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise MalformedError("the body is no JSON object")
    return found


def _own_values(message: Message) -> dict[str, str]:
    """The members of the body by name; what is no text comes as JSON. A name that no placeholder has is passed over."""
    members = [(name, value) for name, value in _object(message.body).items() if _NAME.fullmatch(name)]
    return {name: _text(value) for name, value in members[:HOOK_VALUES_MAX]}


def _github_values(message: Message, now: float) -> dict[str, str] | None:
    """A run of GitHub Actions that failed; None for everything else that GitHub tells.

    GitHub signs no time beside the body, but the body says when the run ended: one that ended longer ago than its
    delivery would be known is refused, so that nothing can be replayed.
    """
    if message.one(b"x-github-event") != b"workflow_run":
        return None
    if (message.one(b"content-type") or b"").startswith(b"application/x-www-form-urlencoded"):
        raise MalformedError("the body is a form: choose the content type application/json in the webhook's settings")
    payload = _object(message.body)
    run, repository = _member(payload, "workflow_run"), _member(payload, "repository")
    if (payload.get("action"), run.get("conclusion")) != ("completed", "failure"):
        return None
    if now - _seconds(run.get("updated_at")) > HOOK_SEEN_SECONDS - HOOK_WINDOW_SECONDS:
        raise MalformedError("the run ended days ago, or does not say when: `awm triggers fire` fires by hand")
    return {
        "repository": _text(repository.get("full_name")),
        "workflow": _text(run.get("name")),
        "branch": _text(run.get("head_branch")),
        "commit": _text(run.get("head_sha")),
        "url": _text(run.get("html_url")),
        "run": _text(run.get("id")),
    }


def _member(value: Mapping[str, object], name: str) -> Mapping[str, object]:
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def _seconds(value: object) -> float:
    """A time with its zone, in seconds since 1970; for what is none, long ago."""
    with suppress(ValueError):
        at = datetime.fromisoformat(value) if isinstance(value, str) else None
        return at.timestamp() if at is not None and at.tzinfo is not None else -math.inf
    return -math.inf


def _text(value: object) -> str:
    if isinstance(value, str) or value is None:
        return value or ""
    return json.dumps(value, ensure_ascii=False)
