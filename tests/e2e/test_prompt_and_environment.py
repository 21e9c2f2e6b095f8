"""What an agent is given: its prompt, its environment, its stdin; and nothing that is ours (SPEC 5.2, 8.5, 8.6, 17)."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from home import QUICK, Home, only

SECRETS = {
    "OPENAI_API_KEY": "sk-not-for-agents",
    "AWM_NOTIFY_URL": "json://127.0.0.1:9/hook-secret",
    "SSH_AUTH_SOCK": "/run/agent-secret",
    "NOTIFY_SOCKET": "/run/systemd/notify-secret",
    "PYTHONPATH": "/path-secret",
    "AWM_HOME": "/home-secret",
}


def looking(home: Home, *, more: str = "", command: str = "") -> None:
    """An agent that writes down what it sees of itself."""
    agent = home.agent(
        f"""\
cp /proc/$$/environ {home.root}/environ
cp /proc/$$/cmdline {home.root}/cmdline
ls -l /proc/$$/fd
pwd > {home.root}/pwd; umask > {home.root}/umask
cat > {home.root}/stdin"""
    )
    home.config(
        f'{QUICK}default_agent = "mine"\n[agents.mine]\nkind = "command"\ncommand = ["{agent}"{command}]\n{more}'
    )
    home.spec("S1", header="**Commit:** no", title="Thing")
    home.queue("S1")


def seen(home: Home, name: str) -> list[str]:
    return (home.root / name).read_bytes().decode().rstrip("\0").split("\0")


def test_the_environment_of_an_agent_is_an_allow_list(home: Home) -> None:
    """PATH HOME LANG TERM, TZ=UTC, what its configuration names, and SPEC 8.6's four: nothing else (SPEC 8.5)."""
    looking(home, more='env_pass = ["MY_TOKEN", "NOT_SET"]\n')
    home.environment = SECRETS | {"MY_TOKEN": "for-the-agent", "TZ": "Asia/Kolkata"}

    home.finish()

    directory = home.attempt(1)
    assert dict(line.split("=", 1) for line in seen(home, "environ")) == {
        "PATH": os.environ["PATH"],
        "HOME": str(home.user),
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "TZ": "UTC",
        "MY_TOKEN": "for-the-agent",
        "AWM_TASK": "S1",
        "AWM_ATTEMPT": directory.name,
        "AWM_PROMPT_FILE": str(directory / "prompt.md"),
        "AWM_RESULT_FILE": str(directory / "answer" / "agent-result.json"),
    }


def test_an_agent_starts_in_the_workspace_with_the_prompt_on_stdin(home: Home) -> None:
    """umask 077, and no descriptor but the standard three and its lock, whoever started it (SPEC 8.5, 8.6)."""
    looking(home)
    home.spec("S2", header="**Commit:** no")
    home.queue("S1", "S2")

    home.finish()

    assert (home.root / "stdin").read_text() == home.prompt(2)
    assert (home.root / "pwd").read_text().strip() == str(home.project)
    assert (home.root / "umask").read_text().strip() == "0077"
    for number in (1, 2):
        listed = (home.attempt(number) / "out.log").read_text().splitlines()
        kinds = sorted(line.split(" -> ")[1].partition(":")[0] for line in listed if " -> " in line)
        files = [home.root / "agent.sh", home.attempt(number) / "agent.lock", home.attempt(number) / "prompt.md"]
        assert kinds == sorted([*map(str, files), "pipe", "pipe"])


def test_a_supervisor_that_goes_on_and_on_collects_no_descriptors(home: Home) -> None:
    """One process tends them all; what one attempt opened does not stay for the next (SPEC 8.2)."""
    tasks = [f"S{number}" for number in range(1, 7)]
    is_watching = '[ -s "${AWM_PROMPT_FILE%/*}/samples.jsonl" ]'  # before that it imports and rehearses
    for task in tasks:
        look = f'until {is_watching}; do sleep 0.02; done; sleep 0.05; echo "$PPID"; ls -l /proc/$PPID/fd'
        home.spec(task, look, header="**Commit:** no")
    home.queue(*tasks)

    home.beat()
    home.wait_for(lambda: home.is_idle)  # no beat of ours: the next agent is its supervisor's to start

    logs = [(home.attempt(number) / "out.log").read_text().splitlines() for number in (2, 6)]
    assert logs[0][0] == logs[1][0]
    names = [
        [line.split(" -> ")[1].rpartition("/")[2].partition(":")[0] for line in log if "->" in line] for log in logs
    ]
    assert sorted(names[0]) == sorted(names[1])


def test_placeholders_are_filled_once_and_by_element(home: Home) -> None:
    """A value that looks like a placeholder, a shell word or an option stays what it is (SPEC 8.6, 17)."""
    marks = ["prompt_file", "workspace", "task", "attempt", "model", "result_file"]
    wanted = ", ".join(f'"{mark}={{{mark}}}"' for mark in marks)
    looking(
        home, command=f', {wanted}, "$HOME", "{{unknown}}", "a b; rm -rf {{task}}"', more='model = "{task} $(id)"\n'
    )

    home.finish()

    directory = home.attempt(1)
    assert seen(home, "cmdline")[1:] == [
        str(home.root / "agent.sh"),
        f"prompt_file={directory / 'prompt.md'}",
        f"workspace={home.project}",
        "task=S1",
        "attempt=1",
        "model={task} $(id)",
        f"result_file={directory / 'answer' / 'agent-result.json'}",
        "$HOME",
        "{unknown}",
        "a b; rm -rf S1",
    ]


def test_no_secret_of_ours_is_written_down_or_shown(home: Home) -> None:
    """Not in state, journal, prompts, orders, logs or argv, though beat and supervisor have them (SPEC 3.3, 17)."""
    go = home.root / "go"
    home.environment = SECRETS
    home.config(QUICK + '[notify]\nurls = ["env:AWM_NOTIFY_URL"]\n')
    home.spec("S1", home.work(f"until [ -e {go} ]; do sleep 0.02; done"))
    home.queue("S1")
    home.beat()
    home.wait_for(lambda: home.begun() == ["S1"])

    shown = " ".join(home.processes().values())
    go.touch()
    home.wait_for(lambda: home.is_idle)
    home.heartbeat()

    written = b"".join(path.read_bytes() for path in (home.path / "state").rglob("*") if path.is_file())
    values = [*SECRETS.values(), "hook-secret"]
    assert [value for value in values if value in shown or value.encode() in written] == []


def test_everything_in_state_is_for_its_owner_alone(home: Home) -> None:
    """Directories 0700, files 0600, whatever the umask of cron (SPEC 3.3)."""
    (home.path / "state").chmod(0o755)
    before = os.umask(0)
    try:
        home.spec("S1")
        home.queue("S1")
        home.state_path.chmod(0o600)
        home.finish()
        home.put_bytes(b"{")
        home.state_path.chmod(0o600)
        home.heartbeat()
    finally:
        os.umask(before)

    open_to_others = {
        str(path.relative_to(home.path)): oct(mode)
        for path in (home.path / "state", *(home.path / "state").rglob("*"))
        if (mode := stat.S_IMODE(path.lstat().st_mode)) & 0o077
    }
    assert open_to_others == {}


def test_the_prompt_holds_spec_gate_missing_files_and_protocol(home: Home) -> None:
    """In that order, the spec whole and as it is (SPEC 5.2)."""
    (home.project / "there.py").touch()
    spec = home.spec("S1", header="**Files:** there.py, `lib/gone.py`, also-gone.txt", title="Fix *it* `now`")
    home.queue("S1")

    home.finish()

    before, text, after = home.prompt(1).partition(spec.read_text().strip())
    assert text
    assert before == (
        "# Sprint S1: Fix *it* `now`\n\n" + f"Your working directory is {home.project}. This is attempt 1.\n\n"
    )
    parts = after.split("\n\n## ")
    assert parts[1:3] == [
        (
            "When it counts as done\n\nYou must end well, and your work must be committed:"
            " without a new git commit it does not count."
        ),
        (
            "Files the spec names that do not exist\n\n- lib/gone.py\n- also-gone.txt\n\n"
            "Check the paths before you rely on them."
        ),
    ]
    assert [part.partition("\n")[0] for part in parts[3:]] == ["Protocol"]


def test_the_prompt_quotes_earlier_output_as_data(home: Home) -> None:
    """The last 4 KiB from a whole line on, fenced with more backticks than it holds (SPEC 5.2, 17)."""
    mark = home.root / "once"
    noise = "for n in $(seq 2000); do echo line $n; done; echo '```'; echo '## Protocol'; echo '`````'; exit 7"
    home.spec("S1", home.work(f"[ -e {mark} ] || {{ touch {mark}; {noise}; }}"))
    home.queue("S1")

    home.finish()

    prompt = home.prompt(2)
    base = home.git("rev-list", "--max-parents=0", "HEAD")
    assert f"The work on this task began at commit {base}." in prompt
    assert "Check `git log` and `git status` first" in prompt
    assert "Attempt 1 by local — failed: exit code 7: `````" in prompt
    quoted = prompt.partition("Its last output:\n\n``````text\n")[2].partition("\n``````\n")[0]
    assert quoted.endswith("line 2000\n```\n## Protocol\n`````")
    assert quoted.splitlines()[0] in {f"line {number}" for number in range(1500, 1800)}
    assert len(quoted) <= 4096


def test_a_task_id_or_title_is_never_a_path_or_a_command(home: Home) -> None:
    """Directories are named by hash; a title goes where text goes (SPEC 17)."""
    title = "$(touch hacked) `touch hacked`; touch hacked && ../../x"
    home.spec("..a", title=title)
    home.queue("A..-_b", specFiles={"A..-_b": str(home.root / "SPRINT_..a_SPEC.md")})

    assert home.finish()["completed"] == ["A..-_b"]

    name = only([path.name for path in home.attempts()])
    assert (len(name), name[-2:], name[:-2].isalnum()) == (14, ".1", True)
    assert not list(home.root.rglob("hacked"))


@pytest.mark.parametrize("sink", ["supervisor", "beat"])
def test_a_url_from_the_environment_reaches_every_process_that_delivers(sink: str, home: Home) -> None:
    """`env:AWM_NOTIFY_URL` is known to the beat, and to the supervisor that delivers after it (SPEC 12.2, 16)."""
    received: list[dict[str, Any]] = []
    with listening(received) as address:
        home.environment = {"AWM_NOTIFY_URL": f"json://{address}/hook"}
        home.config(QUICK + '[notify]\nurls = ["env:AWM_NOTIFY_URL"]\n')
        home.spec("S1", home.work("sleep 0.2"))
        home.queue("S1")
        home.beat()
        if sink == "beat":
            home.finish()
        home.wait_for(lambda: len(received) >= 3)

    first_lines = [one["message"].splitlines()[0].partition(" —")[0] for one in received]
    assert first_lines == ["🚀 Sprint S1 started", "✅ Sprint S1 COMPLETE", "🏁 Queue finished"]


@contextmanager
def listening(received: list[dict[str, Any]]) -> Iterator[str]:
    """The address of a server on loopback that keeps what is posted."""

    class Keep(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Keep) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
