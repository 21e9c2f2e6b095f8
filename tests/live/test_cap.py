"""A usage cap through each real CLI: the account waits, the fallback goes on, the first one returns (issue 5)."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta

import pytest
from clis import SOON_SECONDS, Cli
from rig import LONG_SECONDS, Live

pytestmark = pytest.mark.timeout(600)
LAUNCH = "queued ready -> launching, launch"
NEAR = timedelta(seconds=5)  # a wait that is told in whole seconds, by a server that was asked some seconds later


def test_a_cap_closes_the_account_and_the_fallback_goes_on(cli: Cli, live: Live) -> None:
    """In the same beat, without a try or a strike spent (there are none to spend here), until the time the server told; then the first agent works again (SPEC 9.1,
    9.4). Where the CLI tells of a cap only when it is hours long, a person opens the account (SPEC 4.2).
    """
    live.begin(cli, loop="max_retries = 0\nstrikes_max = 1")
    live.order("S1")
    live.order("S2")
    live.plan({0: ("cap", cli.cap_seconds)})
    live.queue("S1")

    state = live.run_out()

    assert [one["outcome"] for one in live.results()] == ["limited", "succeeded"], live.story()
    assert (state["completed"], live.words()) == (["S1"], ["wombat-S1"])
    [limited, again] = [one for one in live.journal() if one["what"] in ("ended limited -> queued", LAUNCH)][1:]
    assert (again["note"], again["at"]) == ("second", limited["at"])  # one beat
    [told] = live.texts("limit")
    assert re.fullmatch(r"⚡ First rate limited\. Resets in ~.*\. Falling back to Second\.", told)
    first = live.results()[0]
    ends_at = datetime.fromtimestamp(next(one["until"] for one in live.requests() if one["mode"] == "cap"), UTC)
    assert abs(datetime.fromisoformat(first["limit"]["resetsAt"]) - ends_at) < NEAR, first
    assert live.state()["report"][0]["attempts"] == 2

    if cli.cap_seconds > SOON_SECONDS:
        live.plan({})
        live.open_account()
    live.wait_for(lambda: "opened" in {one["kind"] for one in live.told}, beat_every=2.0, seconds=LONG_SECONDS)
    opened_at = time.time()
    live.add("S2")
    state = live.run_out()

    assert (state["completed"], live.words()) == (["S1", "S2"], ["wombat-S1", "wombat-S2"])
    assert cli.served[0] in {one["model"] for one in live.requests() if one["at"] > opened_at and one["mode"] == "ok"}
    assert live.texts("opened") == ["⚡ First is available again."]
