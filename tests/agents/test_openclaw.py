"""How AWM calls a gateway's sub-agent and reads what became of it (SPEC 8.2, 9.1, 9.3). The gateway's words were recorded of 2026.9.6."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from awm_loop.agents import openclaw
from awm_loop.agents.reading import Ask, Reading
from awm_loop.core.model import Outcome
from awm_loop.core.observation import Limit

RECORDED = Path(__file__).parent / "transcripts" / "openclaw"
AT = datetime(2026, 11, 21, 7, 30, tzinfo=UTC)
UNTOLD = Limit(resets_at=None, source="HTTP status 429, no time stated")


def read(out: str, err: str = "", exit_code: int = 1) -> Reading:
    reader = openclaw.KIND.reader()
    for line in out.splitlines():
        reader.out(line, AT)
    for line in err.splitlines():
        reader.err(line, AT)
    assert reader.stuck() is None
    return reader.end(exit_code, AT)


def failed(outcome: Outcome, error: str, limit: Limit | None = None) -> Reading:
    return Reading(outcome=outcome, error=error, limit=limit)


LOCKED = 'Inline API key for provider "{}" is temporarily disabled after a provider auth/billing failure. Retry after about {}…'
TABLE = {
    "ok": Reading(outcome=Outcome.SUCCEEDED, summary="The word wombat-S1 is written.", tokens={"input": 2000, "output": 0}),
    "silent": Reading(outcome=Outcome.SUCCEEDED, tokens={"input": 2000, "output": 0}),
    "cap": failed(
        Outcome.LIMITED,
        "⚠️ ⚠️ You have hit your usage limit. Your limit resets in 4 hours.; Retry-After: 14400 seconds",
        Limit(resets_at=AT + timedelta(hours=4), source="relative time"),
    ),
    "restart": failed(
        Outcome.REBOOTED,
        "Subagent execution was interrupted by a Gateway restart. Inspect retained session history and uncertain tool outcomes,…",
    ),
    "unbegun": failed(Outcome.REBOOTED, "subagent run lost active execution context"),
    "forgotten": failed(Outcome.REBOOTED, "interrupted by a Gateway restart: the gateway does not know it any more"),
    "auth": failed(
        Outcome.AUTH,
        "Authentication failed (provider returned HTTP 401). Your provider token may have expired — try the request again in a m…",
    ),
    "auth-locked": failed(Outcome.AUTH, LOCKED.format("local", 1)),
    "billing": failed(
        Outcome.BILLING,
        "⚠️ API provider returned a billing error — your API key has run out of credits or has an insufficient balance. Check yo…",
        Limit(resets_at=None, source="HTTP status 402, no time stated"),
    ),
    "billing-locked": failed(Outcome.BILLING, LOCKED.format("mock", 10)),
    "overloaded": failed(Outcome.LIMITED, "The AI service is temporarily overloaded. Please try again in a moment.", UNTOLD),
    "rate": failed(
        Outcome.LIMITED,
        "⚠️ LLM request failed (rate limited, HTTP 429). This is usually temporary — try again shortly.",
        UNTOLD,
    ),
    "timeout": failed(Outcome.FAILED, "timed out"),
    "cancelled": failed(Outcome.FAILED, "cancelled: Cancelled by operator."),
    "model": failed(Outcome.FAILED, 'sessions_spawn model "nosuch/model" is not usable: Unknown model: nosuch/model'),
    "token": failed(
        Outcome.AUTH,
        "set OPENCLAW_GATEWAY_TOKEN to gateway.auth.token of openclaw.json: the gateway at http://127.0.0.1:18789 does not"
        " take the token (HTTP 401)",
    ),
    "cut": failed(Outcome.FAILED, "exit code 1"),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_each_end_is_read_for_what_it_is(name: str) -> None:
    """As the gateway tells it, in what the attending program says last (SPEC 9.3)."""
    assert read((RECORDED / f"{name}.stdout").read_text()) == TABLE[name]


def test_what_keeps_the_attending_program_from_its_work_is_told() -> None:
    """A configuration that does not load (SPEC 6.3)."""
    assert (
        read("", "awm: awm.toml:3: loop.max: unknown key\n", 78).error
        == "exit code 78: awm: awm.toml:3: loop.max: unknown key"
    )


def test_it_is_called_with_what_it_needs_to_find_the_gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The token by the environment alone, under the name that awm.toml gives it (SPEC 8.5, 17)."""
    scratch = tmp_path / "state" / "attempts" / "abc.1"
    (tmp_path / "awm.toml").write_text('[openclaw]\ntoken = "env:MINE"\n')
    monkeypatch.setenv("MINE", "secret")
    monkeypatch.setenv("OPENCLAW_CONFIG_PATH", "claw.json")
    monkeypatch.setenv("OPENCLAW_GATEWAY_TOKEN", "other")
    ask = Ask(
        executable=openclaw.KIND.executable, workspace=tmp_path, prompt_path=scratch / "prompt.md", scratch=scratch
    )

    call = openclaw.KIND.call(ask)

    assert call.argv == (sys.executable, "-P", "-m", "awm_loop.cli.attend", str(scratch))
    checkout = Path(__file__).resolve().parent.parent.parent
    assert call.environment == {"PYTHONPATH": str(checkout), "MINE": "secret", "OPENCLAW_CONFIG_PATH": "claw.json"}
