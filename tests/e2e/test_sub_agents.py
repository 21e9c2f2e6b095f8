"""Sub-agents of a gateway as workers, through whole beats (SPEC 7.3, 8.8, 9.3; docs/decisions/0008)."""

from __future__ import annotations

from claw import CAP, Claw, claw
from home import QUICK, Home

__all__ = ["claw"]


def queue(home: Home, claw: Claw, *tasks: str, loop: str = "") -> None:
    """A home whose only agent is a sub-agent, with `tasks` queued; the specs are there."""
    home.config(f'{QUICK}registration_grace_seconds = 1\ndefault_agent = "claw"\n{loop}{claw.config()}')
    home.queue(*tasks)


def test_a_queue_is_worked_off_by_sub_agents(home: Home, claw: Claw) -> None:
    """Each in the workspace, with commit and gate, one sub-agent for one task; what it said last is the summary (SPEC 8.8)."""
    home.spec("S1", header="**Verify:** `git log --oneline | grep S1`")
    home.spec("S2", home.work() + "\n# PLAY\n", header="PLAY: say All of it\n")
    queue(home, claw, "S1", "S2")

    state = home.finish()

    assert state["completed"] == ["S1", "S2"]
