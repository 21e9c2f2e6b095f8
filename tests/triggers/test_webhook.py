"""Signatures, windows and payloads of deliveries, where time and secrets are arguments (SPEC 13.4)."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from awm_loop.config import HOOK_SEEN_SECONDS, HOOK_VALUES_MAX, HOOK_WINDOW_SECONDS
from awm_loop.triggers import seen, webhook
from awm_loop.triggers.seen import Seen
from awm_loop.triggers.webhook import Form, MalformedError, Message

SECRET = b"x" * 32
NOW = 1_800_000_000.0
OLDEST_SECONDS = HOOK_SEEN_SECONDS - HOOK_WINDOW_SECONDS


def sign(signed: bytes, secret: bytes = SECRET) -> bytes:
    return b"sha256=" + hmac.new(secret, signed, hashlib.sha256).hexdigest().encode()


def ours(body: bytes, at: bytes = b"1800000000", **more: bytes) -> Message:
    headers = [(b"x-awm-timestamp", at), (b"x-awm-signature", sign(at + b"." + body)), (b"x-awm-delivery", b"d")]
    return Message([*headers, *((name.replace("_", "-").encode(), value) for name, value in more.items())], body)


def github(body: bytes, event: bytes = b"workflow_run") -> Message:
    headers = [(b"x-hub-signature-256", sign(body)), (b"x-github-delivery", b"d"), (b"x-github-event", event)]
    return Message(headers, body)


@pytest.mark.parametrize(
    ("seconds", "form"),
    [
        (-HOOK_WINDOW_SECONDS - 0.001, None),
        (-HOOK_WINDOW_SECONDS, Form.AWM),
        (1 - HOOK_WINDOW_SECONDS, Form.AWM),
        (0, Form.AWM),
        (HOOK_WINDOW_SECONDS - 1, Form.AWM),
        (HOOK_WINDOW_SECONDS, Form.AWM),
        (HOOK_WINDOW_SECONDS + 0.001, None),
    ],
)
def test_a_timestamp_counts_for_five_minutes(seconds: float, form: Form | None) -> None:
    """Before and after, to the second (SPEC 13.4)."""
    assert webhook.form_of(ours(b"{}"), [SECRET], NOW + seconds) is form


@pytest.mark.parametrize(
    "at", [b"", b"1.8e9", b"-1", b"+1800000000", b" 1800000000", b"1_800_000_000", b"9" * 13, b"\xb2"]
)
def test_a_timestamp_is_plain_digits(at: bytes) -> None:
    """What Python reads as a number besides is none, though it is rightly signed."""
    assert webhook.form_of(ours(b"{}", at), [SECRET], NOW) is None


def test_every_secret_of_the_list_is_believed() -> None:
    """Two while one is changed for the other (SPEC 13.4); none without any."""
    message = github(b"{}")

    assert [webhook.form_of(message, secrets, NOW) for secrets in ([SECRET, b"y"], [b"y", SECRET], [b"y"], [])] == [
        Form.GITHUB,
        Form.GITHUB,
        None,
        None,
    ]


@given(body=st.binary(max_size=50), other=st.binary(max_size=50), at=st.integers(0, 10**11))
def test_a_signature_is_for_one_body_at_one_time(body: bytes, other: bytes, at: int) -> None:
    """Moved to another body, another time or the other form, it is wrong."""
    message, stamp = ours(body, str(at).encode()), str(at + 1).encode()
    moved = [
        Message([(b"x-awm-timestamp", stamp), *message.headers[1:]], body),
        Message([(b"x-hub-signature-256", message.headers[1][1]), (b"x-github-delivery", b"d")], body),
        *([Message(message.headers, other)] if other != body else []),
    ]

    assert webhook.form_of(message, [SECRET], at) is Form.AWM
    assert [webhook.form_of(one, [SECRET], at) for one in moved] == [None] * len(moved)


HEADER = st.tuples(
    st.sampled_from(
        [b"x-awm-signature", b"x-awm-timestamp", b"x-awm-delivery", b"x-hub-signature-256", b"x-github-event"]
    ),
    st.sampled_from([b"", b"d", b"1800000000", b"workflow_run", sign(b"{}"), sign(b"1800000000.{}")])
    | st.binary(max_size=20),
)


@given(headers=st.lists(HEADER, max_size=8), body=st.just(b"{}") | st.binary(max_size=40))
@settings(max_examples=500)
def test_any_headers_and_any_body_are_answered(headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    """Never a traceback, and believed only with exactly one signature, which is right."""
    form = webhook.form_of(Message(headers, body), [SECRET], NOW)
    signatures = [value for name, value in headers if name in {b"x-awm-signature", b"x-hub-signature-256"}]

    if form is not None:
        assert signatures in ([sign(body)], [sign(b"1800000000." + body)])
        with suppress(MalformedError):
            webhook.delivery(Message(headers, body), form, NOW)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("failure")
KEYS = st.sampled_from(["action", "workflow_run", "repository", "conclusion", "name", "id", "full_name", "head_branch"])
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner), max_leaves=6)


@given(payload=st.dictionaries(KEYS, JSON), is_failure=st.booleans())
@settings(max_examples=200, deadline=None)
def test_any_payload_is_texts_under_names(payload: dict[str, object], is_failure: bool) -> None:
    """However absurd its values are (SPEC 13.4): texts that UTF-8 can write, or a refusal in words."""
    if is_failure:
        run = payload.get("workflow_run")
        failed = {**(run if isinstance(run, dict) else {}), "conclusion": "failure"}
        payload |= {"action": "completed", "workflow_run": failed}
    body = json.dumps(payload).encode()
    for message, form in ((ours(body), Form.AWM), (github(body), Form.GITHUB)):
        values: Mapping[str, str] | None = {}
        with suppress(MalformedError):
            values = webhook.delivery(message, form, NOW).values
        assert {type(value) for value in (values or {}).values()} <= {str}
        assert "".join((values or {}).values()).encode().decode() is not None
        assert form is Form.AWM or (values is not None) >= is_failure


def failed_run(updated_at: object) -> bytes:
    run = {"conclusion": "failure", "updated_at": updated_at}
    return json.dumps({"action": "completed", "workflow_run": run}).encode()


@pytest.mark.parametrize(
    ("age_seconds", "is_taken"),
    [(-3600, True), (0, True), (OLDEST_SECONDS, True), (OLDEST_SECONDS + 1, False), (10**9, False)],
)
def test_a_run_of_github_counts_no_longer_than_its_delivery_is_known(age_seconds: int, is_taken: bool) -> None:
    """So one that is replayed under another id is either known or too old (SPEC 13.4)."""
    message = github(failed_run(datetime.fromtimestamp(NOW - age_seconds, UTC).isoformat()))
    found = None
    with suppress(MalformedError):
        found = webhook.delivery(message, Form.GITHUB, NOW).values

    assert (found is not None) is is_taken


@pytest.mark.parametrize(
    "updated_at", [None, 5, "", "yesterday", "2027-01-15", "2027-01-15T08:00:00", "0001-01-01T00:00:00+23:59", {}]
)
def test_a_run_of_github_that_does_not_say_when_it_ended_is_refused(updated_at: object) -> None:
    """Nobody could say then whether it is a replay (SPEC 13.4)."""
    with pytest.raises(MalformedError):
        webhook.delivery(github(failed_run(updated_at)), Form.GITHUB, NOW)


def test_a_number_of_thousands_of_digits_is_refused() -> None:
    """Python would not print it."""
    with pytest.raises(MalformedError):
        webhook.delivery(ours(b'{"a": ' + b"9" * 5000 + b"}"), Form.AWM, NOW)


def test_names_are_those_a_placeholder_can_have() -> None:
    """Others are passed over, and there is an end to their number."""
    good = {f"n{n}": "x" for n in range(HOOK_VALUES_MAX + 1)}
    body = json.dumps({"a-b": "", "": "", "ä": "", "1a": "", "_": "y", "x" * 64: "", "x" * 65: ""}).encode()

    assert webhook.delivery(ours(body), Form.AWM, NOW).values == {"_": "y", "x" * 64: ""}
    assert len(webhook.delivery(ours(json.dumps(good).encode()), Form.AWM, NOW).values or ()) == HOOK_VALUES_MAX


def test_what_was_seen_is_known_for_three_days(tmp_path: Path) -> None:
    """To the second, over restarts; a clock that was ahead makes nobody forget (SPEC 13.4)."""
    path = tmp_path / "seen"
    Seen(path, NOW).add(["a" * 32, "b" * 32], NOW)
    again = Seen(path, NOW + HOOK_SEEN_SECONDS - 1)

    assert [again.has("a" * 32, NOW + late) for late in (-(10**6), HOOK_SEEN_SECONDS - 1, HOOK_SEEN_SECONDS)] == [
        True,
        True,
        False,
    ]
    assert (again.has("c" * 32, NOW), path.stat().st_mode & 0o777) == (False, 0o600)
    assert [Seen(path, NOW + HOOK_SEEN_SECONDS).has("b" * 32, NOW), path.read_bytes()] == [False, b""]


def test_a_torn_line_is_passed_over(tmp_path: Path) -> None:
    """What a crash or a stranger left there is no trouble, and does not spoil the lines after it."""
    path = tmp_path / "seen"
    path.write_bytes(f"{int(NOW)} {'a' * 32}\n\xff\n{'9' * 99} {'b' * 32}\n{int(NOW)} {'c' * 30}".encode("latin-1"))
    known = Seen(path, NOW)
    known.add(["d" * 32], NOW)

    assert [Seen(path, NOW).has(one * 32, NOW) for one in "abcd"] == [True, False, False, True]


def test_the_file_does_not_grow_without_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is that old is left out from time to time, while the receiver runs."""
    path = tmp_path / "seen"
    monkeypatch.setattr(seen, "HOOK_SEEN_LINES_MAX", 10)
    known = Seen(path, NOW)
    for n in range(12):
        known.add([f"{n:032x}"], NOW + n * HOOK_SEEN_SECONDS / 6)

    assert path.read_bytes().count(b"\n") <= 8
