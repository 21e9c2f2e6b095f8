"""Rate limits: the account waits, a fallback goes on, a person's word wins (SPEC 7.2, 9, 12.1)."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from home import Home, only

TWO_AGENTS = """\
[loop]
default_agent = "codex"
retry_backoff_seconds = [0]
limit_margin_seconds = {margin}
[agents.codex]
kind = "command"
command = ["{agent}", "codex"]
model = "gpt-5.2"
fallback = {fallback}
[agents.opus]
kind = "command"
command = ["{agent}", "opus"]
"""


def with_agents(home: Home, *, margin: float = 0, fallback: bool = True) -> None:
    """Codex and Opus. Each answers with the next line of the file `codex` or `opus`, and works where there is none."""
    agent = home.agent(
        f"""\
echo "$1 $AWM_TASK $(date +%s.%N)" >> {home.truth_path}
answer=$(sed -n 1p {home.root}/$1 2>/dev/null) && sed -i 1d {home.root}/$1 2>/dev/null || :
[ -z "$answer" ] || echo "$answer" > "$AWM_RESULT_FILE" """
    )
    home.config(TWO_AGENTS.format(agent=agent, margin=margin, fallback='["opus"]' if fallback else "[]"))
    home.spec("S1", header="**Commit:** no", title="Thing")


def will_say(home: Home, agent: str, *answers: object) -> None:
    (home.root / agent).write_text("".join(json.dumps(answer) + "\n" for answer in answers))


def limited(resets_at: object = None) -> dict[str, object]:
    return {"status": "limited", "error": "usage limit reached"} | (
        {} if resets_at is None else {"resetsAt": resets_at}
    )


def who(home: Home) -> list[str]:
    """Which agents began, in order."""
    return [line[0] for line in home.truth()]


def in_time(**length: float) -> datetime:
    return datetime.now(UTC).replace(microsecond=0) + timedelta(**length)


def stamp(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def until(home: Home) -> datetime | None:
    text = home.state()["rateLimitedUntil"]
    return text and datetime.fromisoformat(text)


@pytest.mark.parametrize("form", ["ISO", "offset", "epoch", "epoch milliseconds"])
def test_a_fallback_takes_over_in_the_same_beat(form: str, home: Home) -> None:
    """The account is closed until the stated reset and the margin; no try, no strike; the notice says it (SPEC 9.1, 9.4)."""
    with_agents(home, margin=60)
    resets = in_time(hours=2)
    forms = {
        "ISO": stamp(resets),
        "offset": (resets + timedelta(hours=1)).replace(tzinfo=None).isoformat() + "+01:00",
        "epoch": resets.timestamp(),
        "epoch milliseconds": int(resets.timestamp() * 1000),
    }
    will_say(home, "codex", limited(forms[form]))
    home.queue("S1")

    state = home.finish()

    assert (who(home), state["completed"]) == (["codex", "opus"], ["S1"])
    assert home.texts("limit") == ["⚡ Codex rate limited. Resets in ~2 hours. Falling back to Opus."]
    taken = {line["what"]: line["at"] for line in home.journal()}
    assert taken["ended limited -> queued"] == taken["queued ready -> launching, launch"]
    assert [result["outcome"] for result in home.results()] == ["limited", "succeeded"]
    assert abs(until(home) - resets - timedelta(seconds=60)) < timedelta(seconds=1)
    assert home.texts("started")[1].splitlines()[1] == "🤖 Model: Opus"
    [report] = home.state()["report"]
    assert (report["attempts"], report["agent"]) == (2, "opus")


def test_the_next_task_goes_to_the_fallback_at_once(home: Home) -> None:
    """No agent of a closed account is asked (SPEC 7.6, 9.1, 15.6)."""
    with_agents(home)
    home.spec("S2", header="**Commit:** no")
    will_say(home, "codex", limited(stamp(in_time(hours=2))))
    home.queue("S1", "S2")

    assert home.finish()["completed"] == ["S1", "S2"]

    assert who(home) == ["codex", "opus", "opus"]


def test_where_both_are_limited_the_first_to_open_goes_on(home: Home) -> None:
    """Nothing starts before; the task keeps its place and the loop its mode (SPEC 4.3, 9.1, 15.6)."""
    with_agents(home)
    first = in_time(seconds=6)
    will_say(home, "codex", limited(stamp(in_time(hours=2))))
    will_say(home, "opus", limited(stamp(first)))
    home.queue("S1")
    home.beat()
    home.wait_for(lambda: len(home.results()) == 2 and not home.supervisors())

    said = home.beat()
    waiting = home.state()
    assert (waiting["queue"], waiting["active"], waiting["inProgress"]) == (["S1"], True, None)
    for named in (said["nextDue"], waiting["rateLimitedUntil"]):
        assert abs(datetime.fromisoformat(named) - first) < timedelta(seconds=1)
    state = home.finish(beat_every=0.3)

    assert (who(home), state["completed"]) == (["codex", "opus", "opus"], ["S1"])
    assert datetime.fromisoformat(home.results()[2]["startedAt"]) >= first
    assert [text.rpartition(". ")[2] for text in home.texts("limit")] == ["Falling back to Opus.", "Waiting."]
    assert home.texts("opened") == ["⚡ Opus is available again."]


def test_a_limit_without_a_time_waits_and_doubles(home: Home) -> None:
    """`rateLimitRetryMinutes`, then twice that; a success forgets it (SPEC 9.1)."""
    with_agents(home, fallback=False)
    will_say(home, "codex", limited(), limited(), {"status": "succeeded"})
    home.queue("S1", rateLimitRetryMinutes=0.02)

    state = home.finish(beat_every=0.3)

    assert (who(home), state["completed"], state["accounts"]) == (["codex"] * 3, ["S1"], {})
    times = [float(line[2]) for line in home.truth()]
    assert times[1] - times[0] >= 1.2
    assert times[2] - times[1] >= 2.4
    assert home.texts("limit") == [
        "⚡ Codex rate limited. Retry in ~1 second. Waiting.",
        "⚡ Codex rate limited. Retry in ~2 seconds. Waiting.",
    ]
    task = home.state()["report"][0]
    assert (task["outcome"], task["attempts"]) == ("completed", 3)


def test_a_reset_that_has_passed_or_is_absurd_is_bounded(home: Home) -> None:
    """The past means the margin alone, the far future eight days (SPEC 9.1)."""
    with_agents(home, margin=1)
    will_say(home, "codex", limited("2020-01-01T00:00:00Z"), limited(1e18))
    will_say(home, "opus", limited("2999-01-01T00:00:00Z"))
    home.queue("S1", rateLimitRetryMinutes=30)
    home.beat()
    home.wait_for(lambda: len(home.results()) == 3, beat_every=0.3)
    home.wait_for(lambda: not home.state()["attempts"], beat_every=0.3)

    accounts = home.state()["accounts"]
    left = {name: datetime.fromisoformat(one["deadline"]) - datetime.now(UTC) for name, one in accounts.items()}
    assert who(home) == ["codex", "opus", "codex"]
    assert left["opus"] == pytest.approx(timedelta(days=8), abs=timedelta(minutes=2))
    assert left["codex"] == pytest.approx(timedelta(minutes=30), abs=timedelta(minutes=2))


def test_without_retry_and_fallback_a_limit_is_the_end(home: Home) -> None:
    """`retryOnRateLimit: false` (SPEC 7.2)."""
    with_agents(home, fallback=False)
    will_say(home, "codex", limited())
    home.queue("S1", retryOnRateLimit=False)

    state = home.finish()

    assert (who(home), state["failed"]) == (["codex"], ["S1"])
    assert home.texts("failed") == ["❌ Sprint S1 failed — usage limit reached"]


def test_without_retry_a_fallback_still_goes_on(home: Home) -> None:
    """`retryOnRateLimit: false` forbids waiting, not working (SPEC 7.2)."""
    with_agents(home)
    will_say(home, "codex", limited())
    home.queue("S1", retryOnRateLimit=False)

    assert home.finish()["completed"] == ["S1"]

    assert who(home) == ["codex", "opus"]


def test_a_deadline_set_by_hand_is_honoured_and_taken_back_by_hand(home: Home) -> None:
    """`rateLimitedUntil` closes the default agent's account until it is removed (SPEC 4.2, 9.1)."""
    with_agents(home, fallback=False)
    mine = stamp(in_time(hours=3))
    home.queue("S1", rateLimitedUntil=mine)

    for _ in range(2):
        home.beat()
    waiting = home.state_path.read_bytes()
    home.beat()

    assert (who(home), home.state()["rateLimitedUntil"], home.state()["queue"]) == ([], mine, ["S1"])
    assert home.state_path.read_bytes() == waiting
    home.edit(lambda state: state.pop("rateLimitedUntil"))
    assert home.finish()["completed"] == ["S1"]


def test_a_deadline_moved_by_hand_wins_over_the_reported_one(home: Home) -> None:
    """Moved into the past it opens the account (SPEC 9.1)."""
    with_agents(home, fallback=False)
    will_say(home, "codex", limited(stamp(in_time(hours=5))))
    home.queue("S1")
    home.beat()
    home.wait_for(lambda: home.state()["rateLimitedUntil"], beat_every=0.5)
    home.wait_for(lambda: not home.supervisors())
    home.edit(lambda state: state.update(rateLimitedUntil=stamp(in_time(seconds=-5))))

    assert home.finish()["completed"] == ["S1"]

    assert (who(home), home.texts("opened")) == (["codex", "codex"], ["⚡ Codex is available again."])


def test_agents_of_one_account_share_its_limit(home: Home) -> None:
    """A fallback on the same account is no fallback (SPEC 9.1)."""
    with_agents(home)
    config = (home.path / "awm.toml").read_text()
    home.config(config.replace('model = "gpt-5.2"', 'account = "one"') + 'account = "one"\n')
    will_say(home, "codex", limited(stamp(in_time(hours=2))))
    home.queue("S1")
    home.beat()
    home.wait_for(lambda: home.results() and not home.supervisors())
    home.beat()

    assert (who(home), home.state()["queue"], list(home.state()["accounts"])) == (["codex"], ["S1"], ["one"])
    assert only(home.texts("limit")) == "⚡ Codex rate limited. Resets in ~2 hours. Waiting."
