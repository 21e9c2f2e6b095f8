"""The text that teaches an assistant AWM: what it says to type can be typed, and it is no task (SPEC 14)."""

from __future__ import annotations

import re
import shlex

import pytest
from home import Home
from test_verbs import awm

from awm_loop.store.shape import Document
from awm_loop.triggers import templates

TEXT = templates.SKILL_PATH.read_text()
COMMANDS = re.findall(r"^    (awm .+)$", TEXT, re.M)


def test_it_has_the_front_matter_that_assistants_read() -> None:
    """A name and a description of one line each: OpenClaw reads no more before it is used."""
    head = re.fullmatch(r"---\nname: awm\ndescription: (.+)\n---\n\n# .*", TEXT, re.S)

    assert head is not None
    assert len(head[1].splitlines()[0]) < 500


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_it_shows_exists_with_its_options(home: Home, command: str) -> None:
    """SPEC 14: the verb has a help that names every option shown; a group's second word is a verb of its own."""
    words = shlex.split(command)[1:]
    verbs = words[:2] if words[0] in {"queue", "sessions"} and len(words) > 1 else words[:1]
    done = awm(home, *verbs, "--help")

    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"Usage: python -m awm_loop.cli.main {' '.join(verbs)} ")
    assert [word for word in words if word.startswith("-") and word not in done.out] == []


def test_it_shows_the_verbs_that_an_assistant_needs() -> None:
    """Those of issue 7, and the safe ways to edit the state file (SPEC 4.6, 4.7)."""
    assert {"add", "status", "answer", "why", "edit", "check"} <= {shlex.split(command)[1] for command in COMMANDS}


def test_the_spec_it_shows_is_read_as_meant(home: Home) -> None:
    """SPEC 5.1: its header lines are ones that AWM knows, so no warning is told but that S6 is missing."""
    home.queue()
    (home.project / "SPRINT_S7_SPEC.md").write_text(re.findall(r"```markdown\n(.+?)```", TEXT, re.S)[0])
    done = awm(home, "add", str(home.project / "SPRINT_S7_SPEC.md"))

    assert (done.code, "warning" in done.out, home.state()["tasks"]["S7"]["depends"]) == (0, False, ["S6"])


def test_the_fields_it_names_are_those_of_the_state_file() -> None:
    """SPEC 4.1, 4.2."""
    keys = {field.alias or name for name, field in Document.model_fields.items()}

    assert set(re.findall(r"`(rev|specFiles|queue|inProgress)`", TEXT)) <= keys


def test_it_is_no_template_of_a_task(home: Home) -> None:
    """SPEC 13.5: it lies beside them, and is none."""
    done = awm(home, "add", "--template", "openclaw-skill")

    assert "openclaw-skill" not in templates.names(home.path)
    assert (done.code, done.err.splitlines()[0]) == (78, "awm: there is no template 'openclaw-skill'")
