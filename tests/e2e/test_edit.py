"""`awm edit`: the state file in a person's editor, which is a real program here (SPEC 4.6, 14)."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from home import REPOSITORY, Done, Home
from test_hand_edits_live import waiting

State = dict[str, Any]


def editor(home: Home, script: str, name: str = "editor") -> str:
    """A program that runs `script` on the parsed file as `state`, and saves it; `path` is the file."""
    program = home.root / f"{name}.py"
    program.write_text(
        "import json, pathlib, subprocess, sys\npath = pathlib.Path(sys.argv[1])\nstate = json.loads(path.read_text())\n"
        f"{script}\npath.write_text(json.dumps(state))\n"
    )
    return f"{sys.executable} {program}"


def awm_edit(home: Home, visual: str, *options: str, **environment: str) -> Done:
    command = [sys.executable, "-m", "awm_loop.cli.main", "--home", str(home.path), "edit", *options]
    done = subprocess.run(
        command,
        env=home.environ() | {"PYTHONPATH": str(REPOSITORY), "VISUAL": visual, "TMPDIR": str(home.root)} | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def copies(home: Home) -> list[Path]:
    """The copies that editors were given and that are still there."""
    return list(home.root.glob("awm-edit-*"))


def kept(home: Home, copy: Path) -> str:
    """What is said of a copy that was not taken."""
    command = f"mv {copy} {home.state_path}"
    return f"your edit is kept in {copy}; when it is right, `{command}`, and the next beat merges it"


def test_what_the_editor_saved_is_merged_with_what_awm_wrote_meanwhile(home: Home) -> None:
    """The lock is not held while it is open: S1 ends under it, and its end stands (SPEC 4.6)."""
    waiting(home, "S2", "S3")
    beat = f"subprocess.run([sys.executable, '{REPOSITORY}/heartbeat.py', '--home', '{home.path}'], check=True, stdout=subprocess.DEVNULL)"
    script = f"""
state["queue"] = ["S3", "S2"]
state["maxRetries"] = 7
pathlib.Path("{home.root}/go").touch()
while "S1" not in json.loads(pathlib.Path("{home.state_path}").read_text())["completed"]:
    {beat}
"""
    home.spec("S2", home.work(f"until [ -e {home.root}/go2 ]; do sleep 0.02; done"))

    done = awm_edit(home, editor(home, script))
    (home.root / "go2").touch()
    state = home.finish(0.2)

    assert (done.code, done.err) == (0, "")
    assert done.out == "maxRetries set to 7\n"
    assert (state["completed"], state["maxRetries"]) == (["S1", "S2", "S3"], 7)
    assert [line["note"] for line in home.journal() if line["what"] == "edited by hand"] == ["maxRetries set to 7"]
    assert copies(home) == []


def test_a_running_task_taken_out_is_asked_to_end_at_once(home: Home) -> None:
    """No timer is waited for (SPEC 6.5)."""
    waiting(home, "S2")

    done = awm_edit(home, editor(home, 'state["inProgress"] = None'))
    home.wait_for(lambda: home.begun() == ["S1", "S2"])
    state = home.finish()

    assert (done.code, done.out) == (0, "S1 removed while it runs: asked to end\n")
    assert (state["completed"], home.rows("S1")[-1]) == (["S2"], "ended withdrawn -> removed")


def test_a_dry_run_says_what_would_change_and_writes_nothing(home: Home) -> None:
    """SPEC 14."""
    waiting(home, "S2")
    before = home.tree()

    done = awm_edit(home, editor(home, 'state["queue"] = []'), "--dry-run")

    assert done == Done(0, "S2 removed from queue\nnothing was written\n", "")
    assert {path: entry for path, entry in home.tree().items() if "attempts/" not in path} == {
        path: entry for path, entry in before.items() if "attempts/" not in path
    }


@pytest.mark.parametrize("visual", ["true", "false"])
def test_an_editor_that_changes_nothing_changes_nothing(home: Home, visual: str) -> None:
    """And that is said (SPEC 6.4)."""
    home.queue("S1")
    before = home.state_path.read_bytes()

    assert awm_edit(home, visual) == Done(0, "nothing changed\n", "")
    assert (home.state_path.read_bytes(), copies(home)) == (before, [])


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"VISUAL": "", "EDITOR": ""}, "awm: neither $VISUAL nor $EDITOR names an editor\n"),
        ({"VISUAL": "", "EDITOR": "/no/such"}, "awm: cannot run /no/such: No such file or directory\n"),
        ({"VISUAL": "a 'b"}, "awm: $VISUAL or $EDITOR cannot be read: No closing quotation\n"),
    ],
)
def test_without_an_editor_it_is_said_how_to_name_one(home: Home, variables: dict[str, str], said: str) -> None:
    """SPEC 14: errors say what to type next."""
    home.queue("S1")

    done = awm_edit(home, "", **variables)

    assert done == Done(78, "", f"{said}hint: for example: EDITOR=nano awm edit\n")
    assert copies(home) == []


def test_an_edit_with_a_mistake_is_told_as_check_tells_it_and_kept(home: Home) -> None:
    """File, line, column, hint; nothing of it reaches the state (SPEC 4.7)."""
    home.queue("S1")
    before = home.state_path.read_bytes()
    bad = home.agent("""printf '{"queue": ["S1",]}' > "$1" """, "vi")

    done = awm_edit(home, bad)
    [copy] = copies(home)

    assert (done.code, done.out, home.state_path.read_bytes()) == (78, "", before)
    assert done.err.startswith(f"awm: {copy}:1:16: ")
    assert "hint: remove the trailing comma\n" in done.err
    assert done.err.endswith(f"awm: nothing was changed in {home.state_path}\nhint: mend it: {kept(home, copy)}\n")
    assert copy.read_text() == '{"queue": ["S1",]}'
    assert copy.stat().st_mode & 0o777 == 0o600


def test_an_edit_that_is_cut_off_is_not_answered_by_restoring_the_state(home: Home) -> None:
    """SPEC 4.7: nothing is wrong with the state itself. The kept copy, mended, goes on as it is told (SPEC 4.6)."""
    home.queue("S1", active=False)
    awm_edit(home, editor(home, 'state["maxRetries"] = 7'))  # from now on the file carries a rev

    done = awm_edit(home, home.agent("""sed -i '$d; s/"maxRetries": 7/"maxRetries": 8/' "$1" """, "vi"))
    [copy] = copies(home)
    with copy.open("a") as file:
        file.write("}\n")
    subprocess.run(done.err.partition("it is right, `")[2].partition("`")[0], shell=True, check=True)
    home.beat()

    assert done.err.startswith(f"awm: {copy}:")
    assert "restore" not in done.err
    assert (home.state()["maxRetries"], copies(home)) == (8, [])


def test_on_a_terminal_a_mistake_can_be_mended_in_the_editor(home: Home) -> None:
    """As `visudo` does (SPEC 4.6)."""
    home.queue("S1")
    script = f"""if [ -e {home.root}/once ]; then sed -i 's/"S1",/"S1", "S2"/' "$1"
    else touch {home.root}/once; sed -i 's/"S1"/"S1",/' "$1"; fi"""
    home.put_bytes(b'{"queue": ["S1"]}')
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "awm_loop.cli.main", "--home", str(home.path), "edit"]
    environment = home.environ() | {"PYTHONPATH": str(REPOSITORY), "VISUAL": home.agent(script, "vi")}
    with subprocess.Popen(command, env=environment, stdin=theirs, stdout=subprocess.PIPE, text=True) as process:
        os.write(ours, b"\n")
        said = process.communicate(timeout=60)[0]
    os.close(ours)
    os.close(theirs)

    assert (process.returncode, said) == (0, "S2 added to queue\n")
    assert home.state()["queue"] == ["S1", "S2"]


def test_a_bad_file_is_mended_in_the_editor(home: Home) -> None:
    """What stood there is kept in quarantine, and nothing that AWM knew is undone (SPEC 4.6, 4.7)."""
    waiting(home, "S2")
    good: State = home.state()
    home.put_bytes(b'{"queue": [')
    mended = home.root / "mended"
    mended.write_text(json.dumps(good | {"queue": ["S2", "S3"], "attempts": []}))

    done = awm_edit(home, home.agent(f'cp {mended} "$1"', "vi"))
    home.beat()

    assert (done.code, done.out) == (0, "the file was bad and is mended\n")
    assert [path.read_bytes() for path in (home.path / "state" / "quarantine").glob("*.json")] == [b'{"queue": [']
    assert (home.state()["queue"], home.state()["inProgress"]) == (["S2", "S3"], "S1")


def test_an_editor_that_fails_after_a_save_changes_nothing(home: Home) -> None:
    """A person quits with an error to get out (`:cq`), and nothing is lost either."""
    home.queue("S1")
    before = home.state_path.read_bytes()

    done = awm_edit(home, home.agent('echo >> "$1"; exit 3', "vi"))
    [copy] = copies(home)

    said = f"nothing was changed; {kept(home, copy)}"
    message = f"awm: {home.root}/vi.sh ended with exit code 3\nhint: {said}\n"
    assert (done, home.state_path.read_bytes()) == (Done(78, "", message), before)


def test_a_home_without_a_state_says_how_to_begin(home: Home) -> None:
    """SPEC 14."""
    done = awm_edit(home, "true")

    hint = "hint: `awm init` makes one, `awm add SPEC.md` fills it\n"
    assert done == Done(78, "", f"awm: {home.state_path} does not exist yet\n{hint}")
