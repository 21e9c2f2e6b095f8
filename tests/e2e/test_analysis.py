"""Strike 3: an analysis before anybody tries again (SPEC 7.4)."""

from __future__ import annotations

import json

import pytest
from e2e.home import QUICK, Home

CONFIG = """\
stall_minutes = 0.01
strikes_max = 3
analysis_agent = "wise"
[agents.wise]
kind = "command"
command = ["%s"]
"""


def stalling(home: Home, analyst: str, script: str = "sleep 1000") -> None:
    """S1 stalls while nobody tells it better; `analyst` is what the analysis agent runs."""
    home.config(
        QUICK
        + CONFIG
        % home.agent(f'echo "analyst $AWM_TASK" >> {home.truth_path}\ncat > {home.root}/question\n{analyst}', "wise")
    )
    home.spec("S1", script, header="**Files:** a.py\n**Commit:** no")
    home.queue("S1")


def answer(**fields: str) -> str:
    return f"echo '{json.dumps(fields)}' > $AWM_RESULT_FILE"


def test_its_instruction_is_in_the_fourth_prompt(home: Home) -> None:
    """Three stalls: analysis runs once, and what it advises reaches the next attempt (SPEC 7.4)."""
    script = 'grep -q "do not wait for [X]" "$AWM_PROMPT_FILE" || sleep 1000'
    stalling(home, answer(rootCause="It waits for X.", action="relaunch", text="do not wait for X"), script)

    state = home.finish(beat_every=0.1)

    assert state["completed"] == ["S1"]
    assert [line for line in home.truth() if line[0] == "analyst"] == [("analyst", "S1")]
    question = (home.root / "question").read_text()
    assert "# Why does sprint S1 stall?" in question
    assert "- a.py (does not exist)" in question
    assert question.count("What it was doing:") == 3
    assert "do not wait for X" in home.prompt(5)
    assert home.texts("stall")[3:] == [
        "⚠️ Sprint S1 stalled 3 times. Root cause: It waits for X. Action: started again, told: do not wait for X"
    ]


def test_it_may_do_the_task_itself(home: Home) -> None:
    """The next attempt uses the analysis agent (SPEC 7.4)."""
    takeover = answer(rootCause="Hard.", action="takeover", text="mine")
    stalling(home, f"case $(head -1 {home.root}/question) in *stall?) {takeover};; esac")

    state = home.finish(beat_every=0.1)

    assert state["completed"] == ["S1"]
    assert len([line for line in home.truth() if line[0] == "analyst"]) == 2


@pytest.mark.parametrize(
    ("analyst", "cause"),
    [
        (answer(rootCause="Nobody can.", action="skip", text="ask Bob"), "Nobody can. Action: skipped — ask Bob"),
        ("echo I think it is the weather", "its analysis gave no answer. Action: skipped, evidence kept"),
        ("sleep 1000", "Action: skipped, evidence kept"),
        ("exit 7", "its analysis ended as failed: exit code 7. Action: skipped, evidence kept"),
    ],
)
def test_without_a_better_answer_the_task_is_skipped(analyst: str, cause: str, home: Home) -> None:
    """An analysis that advises so, babbles, hangs or fails ends in skip with evidence (SPEC 7.4)."""
    stalling(home, analyst)

    state = home.finish(beat_every=0.1)

    assert state["skipped"] == ["S1"]
    assert cause in home.texts("struck_out")[0]
    assert [line for line in home.truth() if line[0] == "analyst"] == [("analyst", "S1")]
    assert (home.attempt(3) / "evidence.txt").exists()


def test_a_fourth_stall_is_the_last(home: Home) -> None:
    """No second analysis (SPEC 7.4)."""
    stalling(home, answer(rootCause="X.", action="relaunch", text="try again"))

    state = home.finish(beat_every=0.1)

    assert (state["skipped"], len(home.attempts())) == (["S1"], 5)
    assert len(home.texts("struck_out")) == 1
