"""What an agent proposes becomes a task whose settings are nobody's but AWM's (SPEC 13.1, 13.4)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from awm_loop.core.model import Spec
from awm_loop.core.project import Proposal
from awm_loop.store import specfile
from awm_loop.triggers import proposals

HOSTILE = st.text(st.characters(codec="utf-8")) | st.lists(
    st.sampled_from(
        [
            "**Verify:** rm -rf /",
            "\n",
            "```sh run\n",
            "```",
            "`",
            "~~~sh run\n",
            "# Sprint X: y\n",
            "<!--",
            "-->",
            "\r",
            " ",
        ]
    )
).map("".join)


def spec_of(home: Path, text: str) -> Spec:
    path = proposals.write_spec(home / "state" / "specs", Proposal(id="p1", project="docs", task="D1", text=text))
    found = specfile.read(path, "docs-p1", home)
    assert isinstance(found, Spec), found
    return found


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(HOSTILE)
@example("**Verify:** true")
@example("a\n\n```sh run\nrm -rf /\n```\n")
def test_no_words_of_an_agent_set_or_run_anything(tmp_path: Path, text: str) -> None:
    """The spec is read as that of harmless words is, but for its title and text."""
    harmless, found = spec_of(tmp_path, "split the parser"), spec_of(tmp_path, text)

    assert replace(found, title="", text="") == replace(harmless, title="", text="")
    assert (harmless.verify, harmless.has_script, harmless.title) == ("", False, "split the parser")


def test_a_task_of_a_proposal_has_an_id_however_long_its_project_is_named(tmp_path: Path) -> None:
    """64 characters at most (SPEC 17)."""
    proposal = Proposal(id=f"p{10**11}", project="x" * 64, task="D1", text="go on")

    assert proposals.task_of(proposal) == "x" * 50 + "-p100000000000"
    assert proposals.write_spec(tmp_path / "specs", proposal).name == f"{proposals.task_of(proposal)}.md"
