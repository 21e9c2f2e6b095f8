"""Who is next, as the notice of a start says it (SPEC 7.5, 12.1)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from build import NOW, POLICY, attempt, project, spent, working
from loop import Loop

from awm_loop.core import choice
from awm_loop.core.model import Deadline, Policy, Task, Work
from awm_loop.core.project import Bounds, ProjectStatus

CLOSED = Bounds(opens_at=NOW.wall + timedelta(hours=1))
SHUT = replace(project("web"), bounds=CLOSED)


def known(*found: Any) -> Policy:
    return replace(POLICY, projects={one.id: one for one in found})


def mixed(web: str, *queue: str, **changes: Any) -> Work:
    return working(*queue, project_of=dict.fromkeys(web.split(), "web"), **changes)


@pytest.mark.parametrize(
    ("work", "policy", "after"),
    [
        (working("S1"), POLICY, None),
        (working("S1", "S2"), POLICY, "S2"),
        (mixed("S2", "S1", "S2", "S3"), known(project("web", status=ProjectStatus.PAUSED)), "S3"),
        (mixed("S2", "S1", "S2", "S3"), known(SHUT), "S3"),
        (mixed("S2", "S1", "S2"), known(SHUT), None),
        (mixed("S3", "S1", "S2", "S3"), known(project("web")), "S3"),
        (mixed("S3", "S1", "S2", "S3", spent=spent("web", 9), next_attempt=10), known(project("web")), "S3"),
        (mixed("S1 S2", "S1", "S2", attempts=(attempt(project_id="web"),)), known(project("web", max_parallel=1)), "S2"),
        (working("S1", "S2", tasks={"S2": Task(id="S2", depends=("S1",))}), POLICY, "S2"),
        (working("S1", "S2", "S3", tasks={"S2": Task(id="S2", depends=("S3",))}), POLICY, "S3"),
        (working("S1", "S2", attempts=(attempt(task="S9"),), tasks={"S2": Task(id="S2", depends=("S9",))}), POLICY, "S2"),
        (working("S1", "S2", tasks={"S2": Task(id="S2", not_before=Deadline.after(30, NOW))}), POLICY, "S2"),
    ],
    ids=[
        "nobody", "the one behind it", "not of a paused project", "not of a closed window", "nobody that can", "in turn",
        "in turn, though it started last", "its project has room then", "what waits for it", "what another waits for",
        "what waits for a live one", "one that tries again",
    ],
)  # fmt: skip
def test_next_up_is_the_one_that_will_really_be_next(work: Work, policy: Policy, after: str | None) -> None:
    """Once this one is done, as far as can be told now."""
    assert choice.following(work, "S1", NOW, policy) == after


@pytest.mark.parametrize(
    ("queue", "words"),
    [(("S1",), "nothing, this is the last"), (("S1", "S2"), "nothing that can start yet"), (("S1", "S3"), "S3 — S3")],
)
def test_the_notice_of_a_start_says_so(queue: tuple[str, ...], words: str) -> None:
    """What is queued and shut is not the last (SPEC 12.1)."""
    loop = Loop(mixed("S2", *queue), known(SHUT))

    loop.beat()

    assert f"📋 Next up: {words}\n" in loop.told[0]
