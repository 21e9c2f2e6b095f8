"""`awm doctor`: each thing a night needs, found where it is missing, with what to type (SPEC 14, issue 4).

The machine's schedulers are stood in for by programs on PATH that say what the real ones say (recorded from systemd 252
and Debian's cron): a test must not depend on what beats the machine it runs on.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from home import QUICK, REPOSITORY, Done, Home, only
from test_disk_trouble import Disk, fill, fill_inodes, on_disk
from test_verbs import awm

__all__ = ["on_disk"]

NOTICES = 'command = ["/bin/true"]\n'
HEARTBEAT = REPOSITORY / "heartbeat.py"
Told = tuple[str, str, str]


def program(home: Home, name: str, script: str) -> Path:
    """A program that stands before the machine's own on the PATH of `examined`."""
    folder = home.root / "bin"
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def ready(home: Home) -> Home:
    """A home that lacks nothing: told, beaten by cron, its project clean."""
    program(home, "systemctl", "exit 1")
    crontab(home, f"* * * * * AWM_HOME={home.path} {sys.executable} {HEARTBEAT}")
    program(home, "pgrep", "echo 1")
    home.environment["PATH"] = f"{home.root}/bin:{os.environ['PATH']}"
    home.config(f"{QUICK}[notify]\n{NOTICES}")
    home.spec("S1", header="**Verify:** test -d .")
    home.queue("S1")
    return home


def crontab(home: Home, text: str) -> None:
    (home.root / "crontab.txt").write_text(f"{text}\n")
    program(home, "crontab", f"cat {home.root}/crontab.txt")


def examined(home: Home, *options: str, **environment: str) -> tuple[int, list[Told]]:
    """The exit code, and what was found; but for the warning that this is root, which depends on who tests."""
    done = awm(home, "doctor", "--json", *options, **environment)
    assert done.err == "", done
    said = json.loads(done.out)
    found = [(one["mark"], one["what"], one["remedy"]) for one in said["findings"]]
    assert said["ok"] == (done.code == 0) == all(mark != "problem" for mark, _, _ in found)
    assert all((mark == "ok") == (remedy == "") for mark, _, remedy in found), found
    return done.code, [told for told in found if not told[1].startswith("this is root")]


def ill(home: Home, *options: str, **environment: str) -> list[Told]:
    return [told for told in examined(home, *options, **environment)[1] if told[0] != "ok"]


def test_a_home_that_lacks_nothing_is_told_so_line_by_line(ready: Home) -> None:
    """Issue 4: everything a night needs; exit 0."""
    code, found = examined(ready)

    assert (code, {mark for mark, _, _ in found}) == (0, {"ok"})
    free = only([what for _, what, _ in found if what.endswith("MiB free")])
    changed = only([what for _, what, _ in found if what.startswith("no beat is missing")])
    assert [what for _, what, _ in found] == [
        f"Python {sys.version.split()[0]} ({sys.executable})",
        ready.git("--version"),
        f"{ready.path} is yours alone to change",
        free,
        f"{ready.path}/awm.toml can be read",
        f"agent local: {shutil.which('sh', path=ready.environment['PATH'])}",
        "1 channel besides the console; `awm doctor --notify` sends each a test",
        f"{ready.state_path}: 1 task queued, 0 running",
        "gate `test -d .`: its programs are there",
        f"{ready.project} is ready to be worked in",
        "a line of the crontab beats this home",
        changed,
    ]


def test_the_lines_say_what_the_object_says_and_nothing_is_written(ready: Home) -> None:
    """SPEC 14: a line each, mark, finding and remedy; a doctor only looks."""
    ready.edit(lambda state: state.update(active=False))
    before = ready.tree()

    lines = awm(ready, "doctor")

    _, found = examined(ready)
    told = [line for line in lines.out.splitlines() if not re.search("this is root|MiB free|state changed", line)]
    expected = [f"{mark:<9}{what}" + (f" → {remedy}" if remedy else "") for mark, what, remedy in found]
    assert (lines.code, lines.err) == (0, "")
    assert told == [line for line in expected if not re.search("MiB free|state changed", line)]
    assert "warning  the loop is paused: nothing new starts → awm resume" in told
    assert ready.tree() == before


def test_a_directory_that_is_no_home_is_the_operators_trouble(ready: Home) -> None:
    """SPEC 3.1, 6.3: nothing can be examined; exit 78 with what to type."""
    (ready.root / "empty").mkdir()

    done = awm(ready, "--home", str(ready.root / "empty"), "doctor", named=False)

    hint = f"hint: `awm init {ready.root}/empty` makes it one\n"
    assert done == Done(78, "", f"awm: {ready.root}/empty is not a home\n{hint}")


@pytest.mark.parametrize("what", ["awm.toml", "state/current_work.json"])
def test_a_file_that_cannot_be_read_is_one_problem_among_the_others(ready: Home, what: str) -> None:
    """SPEC 4.7, 16: its message and hint are those of a beat; the rest of the night is examined all the same."""
    (ready.path / what).write_text("{")
    crontab(ready, "")

    code, found = examined(ready)

    bad, beats = [told for told in found if told[0] != "ok"]
    assert (code, bad[0], bad[1].startswith(f"{ready.path}/{what}"), beats[1]) == (
        1,
        "problem",
        True,
        "nothing beats this home by itself",
    )


def test_modes_that_let_others_in_are_told(ready: Home) -> None:
    """SPEC 3.3, facts on security: `state/` is 0700; who may write awm.toml says what runs here."""
    (ready.path / "state").chmod(0o755)
    readable = ill(ready)
    ready.path.chmod(0o777)
    writable = ill(ready)

    assert readable == [("warning", f"{ready.path}/state can be read by others", f"chmod 700 {ready.path}/state")]
    assert writable[0] == ("problem", f"{ready.path}: anyone on this machine may change it", f"chmod o-w {ready.path}")


@pytest.mark.parametrize(("kind", "is_far"), [("nfs", True), ("v9fs", True), ("ext2/ext3", False), ("tmpfs", False)])
def test_a_network_file_system_is_a_problem(ready: Home, kind: str, is_far: bool) -> None:
    """SPEC 8.1: the start protocol rests on locks that two hosts, or two mounts, may not share."""
    program(ready, "stat", f"echo {kind}")

    told = ("problem", f"{ready.path} is on {kind}, where locks may not hold", "move the home to a local disk")
    assert ill(ready) == ([told] if is_far else [])


def test_a_disk_without_room_is_a_problem(ready: Home, on_disk: Disk) -> None:
    """SPEC 4.8: with too few MiB or inodes the night ends with exit 74."""
    home = on_disk("size=300m,nr_inodes=1500")
    make_room = fill(home, 10)
    full = only(told for told in prefixed(home) if "MiB free" in told)
    make_room()
    fill_inodes(home, 10)
    crowded = only(told for told in prefixed(home) if "inodes" in told)

    assert full.startswith(f"problem  only 0 MiB free on the disk of {home.path}; 200 MiB are wanted → ")
    assert crowded.startswith("problem  only 10 inodes free on the disk")


def prefixed(home: Home) -> list[str]:
    """The lines of a doctor in the namespace of `on_disk`."""
    command = [*home.prefix, sys.executable, "-m", "awm_loop.cli.main", "--home", str(home.path), "doctor"]
    environment = home.environ() | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr, done
    return done.stdout.splitlines()


def test_an_agents_program_and_a_gates_that_are_not_there_are_problems(ready: Home) -> None:
    """SPEC 8.6, 10.1: each attempt would fail, each gate be red; of a gate each command is looked for."""
    ready.config(f'{QUICK}[project]\nverify = "A=1 pytset -q"\n[agents.mine]\nkind = "command"\ncommand = ["cladue"]\n')
    ready.spec("S1", header="**Verify:** cd . && true | missing-too; ./made-later.sh")
    ready.spec("S2", header="**Verify:** if true; then")
    ready.queue("S1", "S2")

    code, found = examined(ready)

    problems = [told[1:] for told in found if told[0] == "problem"]
    assert (code, problems[:3]) == (
        1,
        [
            (
                "agents.mine.command: `cladue` is not on this PATH",
                "install it, or write its whole path in awm.toml",
            ),
            ("gate `A=1 pytset -q`: `pytset` is not on this PATH", "install it, or write its whole path in the gate"),
            (
                "gate `cd . && true | missing-too; ./made-later.sh`: `missing-too` is not on this PATH",
                "install it, or write its whole path in the gate",
            ),
        ],
    )
    [(unparsed, remedy)] = problems[3:]
    assert unparsed.startswith("gate `if true; then`: sh cannot parse it: ")
    assert remedy == "correct `Verify:` in the spec, or [project]"


def test_a_spec_that_would_be_blocked_is_a_problem(ready: Home) -> None:
    """SPEC 5.1: the verdict of `awm check`."""
    (ready.root / "SPRINT_S1_SPEC.md").unlink()

    said = f"S1: spec file {ready.root}/SPRINT_S1_SPEC.md does not exist"
    assert ill(ready) == [("problem", said, "mend that; `awm skip S1` gives it up")]


def test_a_slip_in_a_spec_is_no_reason_to_give_the_task_up(ready: Home) -> None:
    """SPEC 5.1: the remedy of a warning names the file it stands in."""
    path = ready.spec("S1", header="**Est:** soon")

    said = "S1: `Est: soon` is not a length such as `45 min`; it counts as not given"
    assert ill(ready) == [("warning", said, f"where it is not meant so: correct {path}")]


def test_a_task_without_a_spec_is_told_how_it_gets_one(ready: Home) -> None:
    """SPEC 4.1, 5.1: `awm add` refuses an id that is there, so the state is what to edit."""
    ready.edit(lambda state: state.update(specFiles={}))

    said = "S1: `specFiles` has no entry for S1: name its file there with `awm edit`"
    assert ill(ready) == [("problem", said, "mend that; `awm skip S1` gives it up")]


def test_metrics_that_cannot_be_read_are_told(ready: Home) -> None:
    """SPEC 4.7, 12.4: the loop goes on without them, and without what was learnt."""
    path = ready.path / "state" / "work_metrics.json"
    path.write_text("garbage")
    path.chmod(0o600)

    [(mark, what, remedy)] = ill(ready)

    assert what.startswith(f"{path}:1:1: ")
    assert (mark, what.endswith(": no estimate is learnt from it")) == ("warning", True)
    assert remedy == "mend it; else the next entry sets it aside"


def test_a_channel_that_cannot_work_is_told(ready: Home) -> None:
    """SPEC 12.2: a URL nobody understands is a problem, a name that is not set here a warning, silence one too."""
    remedy = "correct [notify] in awm.toml; `env:` names are set in the unit"
    ready.config(f'{QUICK}[notify]\nurls = ["discord://x", "env:NOPE"]\n')
    wrong = ill(ready)
    ready.config(QUICK)
    silent = ill(ready)

    assert wrong == [
        ("problem", "notify.urls, number 1: discord: not a URL that Apprise understands", remedy),
        ("warning", "awm.toml names env:NOPE, and the environment has no NOPE", remedy),
    ]
    assert silent == [
        (
            "warning",
            "nobody is told of the night: notices go to the console alone",
            "set [notify] in awm.toml",
        )
    ]


def test_an_agent_that_is_turned_off_is_told(ready: Home) -> None:
    """SPEC 9.4: its login may be mended long since, and nothing starts until a person says so."""
    ready.edit(lambda state: state.update(agentsOff={"local": "Not logged in"}))

    said = "agent local is turned off: Not logged in"
    assert ill(ready) == [("warning", said, "when that is mended: awm agents on local")]


def test_a_test_notice_reaches_each_channel_when_asked_for(ready: Home) -> None:
    """SPEC 12.2: one for each channel, and only with --notify; what refuses it is a problem."""
    taker = program(ready, "taker", f"cat >> {ready.root}/notices; exit $(cat {ready.root}/code)")
    (ready.root / "code").write_text("0")
    ready.config(f'{QUICK}[notify]\ncommand = ["{taker}"]\n')
    examined(ready)
    unasked = (ready.root / "notices").exists()
    code, found = examined(ready, "--notify")
    (ready.root / "code").write_text("3")
    refused = ill(ready, "--notify")

    notices = [json.loads(line) for line in (ready.root / "notices").read_text().splitlines()]
    assert (unasked, code, found[-1]) == (False, 0, ("ok", "channel command: took a test notice", ""))
    assert [(notice["kind"], notice["text"]) for notice in notices] == [
        ("test", f"AWM doctor: a test notice from {ready.path}")
    ] * 2
    assert refused == [("problem", only([told[1] for told in refused]), "correct [notify] in awm.toml")]


def test_a_project_that_agents_would_trip_over_is_told(ready: Home) -> None:
    """SPEC 10: uncommitted work, nobody to commit as, a git lock left behind, no repository, no directory."""
    (ready.project / "draft.txt").write_text("mine")
    lock = ready.project / ".git" / "index.lock"
    lock.touch()
    os.utime(lock, (time.time() - 100, time.time() - 100))
    (ready.user / ".gitconfig").write_text("[user]\nname = Agent\nuseConfigOnly = true\n")
    untidy = ill(ready)
    shutil.rmtree(ready.project / ".git")
    bare = ill(ready)
    shutil.rmtree(ready.project)
    gone = ill(ready)

    assert untidy == [
        ("problem", f"{lock} was left by a git that is gone: no agent can commit", f"rm {lock}"),
        (
            "warning",
            "git does not know whose a commit would be: agents cannot commit",
            "git config --global user.name …, and user.email",
        ),
        (
            "warning",
            f"{ready.project} has 1 change not committed: agents will find, and may commit, that",
            f"git -C {ready.project} stash --include-untracked, or commit, or .gitignore",
        ),
    ]
    said = f"{ready.project} is no git repository: what agents change there cannot be told apart or taken back"
    assert bare == [("warning", said, f"git -C {ready.project} init")]
    assert [told for told in gone if told[1].endswith("does not exist")] == [
        (
            "problem",
            f"{ready.state_path}: project directory {ready.project} does not exist",
            "correct `project`, or make the directory (is it on a disk that is not mounted?)",
        )
    ]


def test_git_that_can_commit_without_being_told_a_name_is_well(ready: Home) -> None:
    """SPEC 10.1: what counts is git's own answer to who commits, which it may take from the machine."""
    script = (
        f'case "$*" in *"var GIT_COMMITTER_IDENT"*) echo "you <you@host>";; *) exec {shutil.which("git")} "$@";; esac'
    )
    program(ready, "git", script)
    (ready.user / ".gitconfig").write_text("[user]\nuseConfigOnly = true\n")

    assert ill(ready) == []


def test_a_changed_file_is_told_with_the_stash_that_takes_it(ready: Home) -> None:
    """SPEC 10.3: in the project an agent finds it; from a worktree what touches it too cannot be integrated."""
    (ready.project / "kept.txt").write_text("old")
    ready.git("add", "kept.txt")
    ready.git("commit", "-q", "-m", "kept")
    (ready.project / "kept.txt").write_text("mine")
    in_place = ill(ready)
    ready.config(f"{QUICK}max_parallel = 2\n[notify]\n{NOTICES}")
    apart = ill(ready)

    has, remedy = f"{ready.project} has 1 change not committed: ", f"git -C {ready.project} stash, or commit"
    assert in_place == [("warning", f"{has}agents will find, and may commit, that", remedy)]
    assert apart == [("warning", f"{has}work on the same files cannot be integrated", remedy)]


def test_uncommitted_work_is_nobodys_trouble_where_tasks_have_worktrees(ready: Home) -> None:
    """SPEC 10.3: an agent in a worktree does not see it; a git lock of this moment is a git at work."""
    (ready.project / "draft.txt").write_text("mine")
    (ready.project / ".git" / "index.lock").touch()
    ready.config(f"{QUICK}max_parallel = 2\n[notify]\n{NOTICES}")

    assert ill(ready) == []


def test_what_crashes_and_ended_tasks_left_is_told(ready: Home) -> None:
    """SPEC 4.8, 10.3: temporary files of killed writes, worktrees of tasks that are over."""
    torn = ready.path / "state" / ".0123456789abcdef.tmp"
    torn.touch()
    os.utime(torn, (1, 1))
    (ready.path / "worktrees" / "abc").mkdir(parents=True)

    assert ill(ready) == [
        (
            "warning",
            "1 temporary file of writes that were killed",
            f"a beat takes back what counts in them; after one: rm {ready.path}/state/.*.tmp",
        ),
        (
            "warning",
            "1 worktree of tasks that are over",
            f"look into them, then: git -C {ready.project} worktree remove {ready.path}/worktrees/abc",
        ),
    ]


def test_a_task_that_is_due_and_not_begun_says_that_beats_are_missing(ready: Home) -> None:
    """SPEC 1.1: by the age of the state, as a beat with nothing new leaves no trace (SPEC 6.4); and by a clock behind."""
    hour_ago, later = time.time() - 3600, time.time() + 3600
    os.utime(ready.state_path, (hour_ago, hour_ago))
    late = ill(ready)
    os.utime(ready.state_path, (later, later))
    behind = ill(ready)
    ready.queue()
    os.utime(ready.state_path, (hour_ago, hour_ago))

    assert late == [
        ("problem", "S1 is due, and no beat has come for 1 h 00 min", "awm beat; is there a timer? awm install")
    ]
    assert [(mark, remedy) for mark, _, remedy in behind] == [("warning", "timedatectl")]
    assert ill(ready) == []


def test_a_stopped_process_that_holds_the_lock_is_told(ready: Home) -> None:
    """SPEC 6.2: no beat gets on, and its watchdog sleeps too; a lock held by a process at work is no news."""
    ready.lock_path.touch()
    script = "import fcntl, sys; file = open(sys.argv[1]); fcntl.flock(file, 2); print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", script, str(ready.lock_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        try:
            holder.stdout.readline()
            at_work = ill(ready)
            holder.send_signal(signal.SIGSTOP)
            told = ready.wait_for(lambda: ill(ready), seconds=10)
        finally:
            holder.kill()

    what = f"pid {holder.pid} holds the state's lock and is stopped by a signal: no beat gets on"
    assert (at_work, told) == ([], [("problem", what, f"kill -CONT {holder.pid}")])


def test_a_blocked_task_and_a_channel_that_fails_are_told(ready: Home) -> None:
    """SPEC 7.2, 12.2: what waits for a person in the morning may be mended now."""
    ready.config(f'{QUICK}[notify]\ncommand = ["/bin/false"]\n')
    (ready.root / "SPRINT_S1_SPEC.md").write_text("")
    ready.beat()

    blocked, channel, *_ = ill(ready)

    assert blocked == ("warning", "blocked until you decide: S1", "awm why S1")
    assert channel[1].startswith("command did not take ")
    assert channel[2] == "correct [notify] in awm.toml; a beat tries again"


SYSTEMCTL = """\
case "$*" in
    *--{manager}*'*.timer'*) printf 'Unit=awm.service\\nId=awm.timer\\nActiveState={state}\\n\\nUnit=other.service\\n\
Id=other.timer\\nActiveState=active\\n' ;;
    *--{manager}*awm.service*)
        printf 'ExecStart={{ path={python} ; argv[]={python} {heartbeat} ; ignore_errors=no ; pid=0 }}\\n'
        printf 'Environment="AWM_HOME={home}" PATH={path}\\nEnvironmentFiles={file} (ignore_errors=yes)\\n'
        printf 'Id=awm.service\\n\\nId=other.service\\nEnvironment=\\n' ;;
    *) exit 1 ;;
esac"""


def systemd(home: Home, manager: str = "user", state: str = "active", python: str = sys.executable) -> None:
    path, file = f"{home.root}/bin:/usr/bin:/bin", home.root / "environment"
    filled = {"python": python, "heartbeat": HEARTBEAT, "home": home.path, "path": path, "file": file}
    program(home, "systemctl", SYSTEMCTL.format(manager=manager, state=state, **filled))
    crontab(home, "")


def test_a_systemd_timer_beats_a_home_where_it_is_active_and_lingers(ready: Home) -> None:
    """Facts on schedulers: a user's timer ends with the last logout unless the user lingers."""
    program(ready, "loginctl", "echo Linger=no; exit 0")
    systemd(ready)
    leaves = ill(ready)
    program(ready, "loginctl", "echo Linger=yes; exit 0")
    stays = examined(ready)[1]
    systemd(ready, state="inactive")
    sleeps = ill(ready)
    systemd(ready, "system", python="/gone/python")
    gone = ill(ready)

    assert leaves == [("warning", "systemd user timer awm.timer ends when you log out", "loginctl enable-linger")]
    assert ("ok", "systemd user timer awm.timer beats this home", "") in stays
    what = "systemd user timer awm.timer is there, but not active: nothing beats this home"
    assert sleeps == [("warning", what, "systemctl --user enable --now awm.timer")]
    assert gone == [("problem", "systemd timer awm.timer runs /gone/python, which is not there", "awm install")]


@pytest.mark.parametrize(
    ("line", "is_ours"),
    [
        ("* * * * * {python} {heartbeat} --home {home}", True),
        ("*/5 * * * * cd / && {python} {heartbeat} --home={home} >/dev/null 2>&1", True),
        ("AWM_HOME={home}\n@hourly {python} {heartbeat} # awm", True),
        ("* * * * * AWM_HOME={home}/ awm beat", True),
        ("* * * * * PATH=$HOME/bin AWM_HOME=$HOME/../home {heartbeat} % text", True),
        ("# * * * * * {python} {heartbeat} --home {home}", False),
        ("* * * * * {python} {heartbeat} --home {home}-other", False),
        ("@reboot {python} {heartbeat} --home {home}", False),
        ("* * * * * AWM_HOME={home} awm metrics", False),
        ("* * * * * {python} {heartbeat} --home '{home}", False),
        ("nonsense", False),
    ],
)
def test_a_crontab_line_beats_the_home_it_names(ready: Home, line: str, is_ours: bool) -> None:
    """SPEC 3.1: --home, else AWM_HOME; a comment, another home, another verb and a boot are no timer."""
    crontab(ready, line.format(python=sys.executable, heartbeat=HEARTBEAT, home=ready.path))

    told = ("warning", "nothing beats this home by itself", "awm install; until then: awm run")
    assert ill(ready) == ([] if is_ours else [told])


def test_a_crontab_line_without_a_cron_is_told(ready: Home) -> None:
    """Facts on schedulers: in many a container nobody reads the crontab."""
    program(ready, "pgrep", "exit 1")

    said = ("warning", "a line of the crontab beats this home, but no cron runs", "systemctl enable --now cron")
    assert ill(ready) == [said]


def test_as_the_scheduler_a_program_that_only_the_login_path_has_is_missing(ready: Home) -> None:
    """Facts on schedulers: cron's PATH is /usr/bin:/bin; the remedy names where the login shell finds it."""
    only_here = program(ready, "my-agent", "exit 0")
    ready.config(f'{QUICK}[notify]\n{NOTICES}[agents.mine]\nkind = "command"\ncommand = ["my-agent"]\n')
    ready.spec("S1", header="**Verify:** my-agent --check")
    ready.queue("S1")
    crontab(ready, "")
    here = [told for told in ill(ready) if told[0] == "problem"]

    code, found = examined(ready, "--as-scheduler")

    problems = [told for told in found if told[0] == "problem"]
    here_is = f"your shell finds {only_here}:"
    bare = "as cron, as no timer is found (`awm install` gives its own a longer PATH): PATH=/usr/bin:/bin"
    assert (here, code, found[0]) == ([], 1, ("ok", bare, ""))
    assert problems == [
        (
            "problem",
            "agents.mine.command: `my-agent` is not on this PATH",
            f"{here_is} `awm install` takes that along, or write that path in awm.toml",
        ),
        (
            "problem",
            "gate `my-agent --check`: `my-agent` is not on this PATH",
            f"{here_is} write that path in the gate",
        ),
    ]


def test_as_the_scheduler_the_environment_is_the_timers(ready: Home) -> None:
    """Facts on schedulers: what the unit sets and nothing of the shell's; `/`, no stdin, no terminal, umask 022."""
    seen = ready.root / "seen"
    script = f'{{ pwd; umask; env; readlink /proc/$PPID/fd/0; tty; }} >> {seen} 2>&1\nexec {shutil.which("git")} "$@"'
    program(ready, "git", script)
    program(ready, "loginctl", "echo Linger=yes")
    systemd(ready)
    (ready.root / "environment").write_text("# keys\nTOKEN='a b'\n; none\nnonsense\n")
    ready.config(f'{QUICK}[notify]\nurls = ["env:TOKEN"]\n')

    _, found = examined(ready, "--as-scheduler", OF_THE_SHELL="yes", TOKEN="not this one")

    lines = seen.read_text().splitlines()
    told = lines[: lines.index("not a tty") + 1]
    assert (told[0], told[1], told[-2]) == ("/", "0022", "/dev/null")
    assert {"TOKEN=a b", f"AWM_HOME={ready.path}", f"PATH={ready.root}/bin:/usr/bin:/bin"} <= set(told)
    assert not any(line.startswith(("OF_THE_SHELL", "LANG", "TERM")) for line in told)
    assert found[0][1].startswith("as systemd user timer awm.timer: PATH=")
    assert [what for mark, what, _ in found if mark == "problem"] == [
        "notify.urls, number 1: a value without a scheme: not a URL that Apprise understands"
    ]


def test_as_the_scheduler_a_doctor_that_cannot_run_is_a_problem(ready: Home) -> None:
    """SPEC 3.1: a unit that breaks Python breaks every beat; the command that shows it is named."""
    crontab(ready, f"PYTHONHOME=/nowhere\n* * * * * {sys.executable} {HEARTBEAT} --home {ready.path}")

    done = awm(ready, "doctor", "--as-scheduler", "--json")

    found = json.loads(done.out)["findings"]
    assert (done.code, [one["mark"] for one in found]) == (1, ["ok", "problem"])


@pytest.mark.parametrize(
    "gate", [". .venv/bin/activate && mytest", "test $((1+2)) -eq 3", "case $(uname) in L*|D*) mytest;; esac"]
)
def test_what_only_running_a_gate_can_tell_is_no_problem(ready: Home, gate: str) -> None:
    """A gate is a shell line: what it makes of its words, and where it looks for them, is its own affair (SPEC 10.1)."""
    ready.spec("S1", header=f"**Verify:** {gate}")

    assert ill(ready) == []


def test_a_history_that_cannot_be_written_is_a_problem(ready: Home) -> None:
    """Every beat that has something to save would end with 74 (SPEC 4.8)."""
    (ready.path / "state" / "history").symlink_to("nowhere")

    shut = f"{ready.path}/state/history"
    assert ill(ready)[0] == ("problem", f"{shut} cannot be written", f"ls -ld {shut}; chmod u+rwx {shut}")
