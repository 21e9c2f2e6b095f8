"""`awm answer TASK`: a person's answer to a blocked task, up to the next prompt (SPEC 5.2, 7.2)."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest
from home import REPOSITORY, Done, Home
from test_verbs import awm

ASK = """\
if grep -q '[U]se the' "$AWM_PROMPT_FILE"; then git commit -q --allow-empty -m "$AWM_TASK"; exit 0; fi
printf '{"status": "blocked", "question": "Blue or green?"}' > "$AWM_RESULT_FILE"; exit 1"""
SENT = "S1 asks: Blue or green?\nS1 goes on now, and its prompt holds the answer\n"
TOLD = "An earlier attempt asked: Blue or green?\nThe answer of the person in charge: "


@pytest.fixture
def asking(home: Home) -> Home:
    """A home whose S1 is blocked by a question of its agent; it works once its prompt says `Use the …`."""
    home.spec("S1", ASK)
    home.queue("S1")
    home.finish(0.2)
    return home


def command(home: Home, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "awm_loop.cli.main", "--home", str(home.path), "answer", *arguments]


def piped(home: Home, data: bytes) -> Done:
    """The answer given on a pipe."""
    environment = home.environ() | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command(home, "S1"), env=environment, input=data, capture_output=True, check=False)
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


def test_an_answer_reaches_the_next_prompt_and_the_task_goes_on_at_once(asking: Home) -> None:
    """SPEC 7.2, 6.5: back to the queue, a beat is kicked, the answer stands in the prompt, it is journalled."""
    done = awm(asking, "answer", "S1", "Use", "the", "blue", "one")
    asking.wait_for(lambda: asking.state()["completed"] == ["S1"])

    assert done == Done(0, SENT, "")
    assert f"{TOLD}Use the blue one" in asking.prompt(2)
    assert (asking.state()["blocked"], len(asking.attempts())) == ([], 2)
    assert {"what": "answered", "note": "Use the blue one"}.items() <= next(
        line for line in asking.journal() if line["what"] == "answered"
    ).items()


def test_an_answer_puts_the_task_before_all_others_and_keeps_its_counts(home: Home) -> None:
    """SPEC 7.2, 15.5: the head of the queue; tries and strikes are those it had. A pause stays a pause."""
    home.queue("S2", "S3", active=False, blocked=["S1"], tasks={"S1": {"reason": "Blue?", "tries": 1, "strikes": 2}})

    done = awm(home, "answer", "S1", "Yes")

    state = home.state()
    assert done.out == (
        "S1 asks: Blue?\nS1 is back at the head of the queue, and its next prompt holds the answer;"
        " the loop is paused, `awm resume` goes on\n"
    )
    assert (state["queue"], state["blocked"], state["active"]) == (["S1", "S2", "S3"], [], False)
    assert state["tasks"]["S1"] == {
        "tries": 1,
        "strikes": 2,
        "guidance": ["An earlier attempt asked: Blue?\nThe answer of the person in charge: Yes"],
    }


def test_an_answer_whose_task_has_to_wait_says_so(asking: Home) -> None:
    """SPEC 7.5, 14: another one runs; nothing is promised that does not happen."""
    spec = asking.spec("S2", asking.work("sleep 300"))
    awm(asking, "add", str(spec))
    asking.beat()
    asking.wait_for(lambda: asking.begun() == ["S2"])

    done = awm(asking, "answer", "S1", "Use the blue one")

    assert done.out.endswith(
        "S1 is back at the head of the queue, and its next prompt holds the answer;"
        " `awm why S1` says what it waits for\n"
    )


def test_an_answer_may_come_through_a_pipe(asking: Home) -> None:
    """SPEC 14: several lines, as they are."""
    done = piped(asking, "Use the blue one:\n\tÄ #0000ff\n".encode())
    asking.wait_for(lambda: asking.state()["completed"] == ["S1"])

    assert done == Done(0, SENT, "")
    assert f"{TOLD}Use the blue one:\n\tÄ #0000ff" in asking.prompt(2)


def test_an_answer_may_be_written_in_the_editor(asking: Home) -> None:
    """SPEC 14: on a terminal $EDITOR opens with the question; what stands above the cut is the answer."""
    editor = asking.agent(
        f'cp "$1" {asking.root}/seen; (echo "# Use the editor"; cat {asking.root}/seen) > "$1"', "editor"
    )
    leader, follower = pty.openpty()
    environment = asking.environ() | {"PYTHONPATH": str(REPOSITORY), "EDITOR": editor}
    done = subprocess.run(
        command(asking, "S1"), env=environment, stdin=follower, capture_output=True, text=True, check=False
    )
    os.close(leader)
    os.close(follower)
    asking.wait_for(lambda: asking.state()["completed"] == ["S1"])

    assert Done(done.returncode, done.stdout, done.stderr) == Done(0, SENT, "")
    assert (asking.root / "seen").read_text().endswith("# S1 asks:\n#\n#   Blue or green?\n")
    assert f"{TOLD}# Use the editor" in asking.prompt(2)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", 'no answer was given to S1\nhint: awm answer S1 "…"\n'),
        (b" \n ", 'no answer was given to S1\nhint: awm answer S1 "…"\n'),
        (
            b"x" * 4001,
            "the answer has more than 4,000 characters\nhint: put what is long into the spec, then: awm retry S1\n",
        ),
        (
            b"x" * 10**6,
            "the answer has more than 4,000 characters\nhint: put what is long into the spec, then: awm retry S1\n",
        ),
        (b"a\x1b[2Jb", "the answer holds the control character '\\x1b'\nhint: plain text, with line ends and tabs\n"),
        (b"a\xffb", "the answer holds the control character '\\udcff'\nhint: plain text, with line ends and tabs\n"),
    ],
)
def test_what_is_no_answer_is_refused_and_changes_nothing(asking: Home, data: bytes, said: str) -> None:
    """SPEC 17: bounded, printable text; the question is shown, exit 78, the state stays byte for byte."""
    before = asking.state_path.read_bytes()

    done = piped(asking, data)

    assert done == Done(78, "S1 asks: Blue or green?\n", f"awm: {said}")
    assert asking.state_path.read_bytes() == before


def test_an_answer_of_four_thousand_characters_is_taken(asking: Home) -> None:
    """The bound itself is allowed."""
    done = piped(asking, ("Use the " + "ü" * 3992 + "\n").encode())

    assert done.code == 0, done
    asking.wait_for(lambda: asking.state()["completed"] == ["S1"])


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"queue": ["S1"]}, "S1 is not blocked, it is in the queue\nhint: awm why S1\n"),
        ({"completed": ["S1"]}, "S1 is not blocked, it is completed\nhint: awm why S1\n"),
        ({"failed": ["S1"]}, "S1 is not blocked, it is failed\nhint: awm why S1\n"),
        ({"blocked": ["S12"]}, "there is no task S1\nhint: did you mean S12?\n"),
    ],
)
def test_only_a_blocked_task_can_be_answered(home: Home, fields: dict[str, list[str]], said: str) -> None:
    """SPEC 14: the error says where the task is, and what to type next."""
    home.queue(**{"active": False, **fields})
    before = home.state_path.read_bytes()

    done = awm(home, "answer", "S1", "Use the blue one")

    assert done == Done(78, "", f"awm: {said}")
    assert home.state_path.read_bytes() == before
