#!/usr/bin/env python3
"""All five CLIs, by the name this is called by: it commits for real, and prints what the real one was heard to print.

$HOME/play/NAME has a line for each run: what it shall do, and one argument. Without a line it is "ok".

    ok [FILE]     its work and its success; with FILE only once that is there
    cap SECONDS   its usage is used up, for so long
    auth          its login is refused
    billing       its credit is used up (claude)
    sleep         it waits out a limit of hours within itself (gemini, opencode)
    hang          it goes silent, with a tool in a session of its own that ignores TERM
    cut           it commits, and its output breaks off within a line
    noperm        it may use no tool, and ends well (claude)
    gone          it knows nothing of the session that it is to resume
    ask           it asks a question in its result file, where its sandbox lets it, and ends well

$HOME/runs.jsonl has a line for each run: what it was given.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

TRANSCRIPTS = Path(__file__).resolve().parent.parent / "agents" / "transcripts"
RECORDED = {
    "claude": {"ok": "ok", "cap": "cap-oauth", "auth": "auth-oauth", "billing": "credit", "noperm": "noperm"},
    "codex": {"ok": "ok", "cap": "cap", "auth": "auth2"},
    "gemini": {"ok": "ok", "cap": "long-sj", "auth": "auth-sj", "sleep": "capacity"},
    "opencode": {"ok": "ok", "cap": "rl-ra2", "auth": "auth"},
    "aider": {"ok": "ok", "auth": "auth"},
}
EXIT_CODES = {
    "claude": {"cap": 1, "auth": 1, "billing": 1, "gone": 1},
    "codex": {"cap": 1, "auth": 1, "gone": 1},
    "gemini": {"cap": 173, "auth": 144, "gone": 42},
    "opencode": {"cap": 1, "auth": 1, "gone": 1},
    "aider": {},  # 0 whatever happened
}
AIDER_CAP = """\
litellm.RateLimitError: RateLimitError: OpenAIException - Rate limit reached for
gpt-4o in organization org-1 on requests per day (RPD): Limit 3, Used 3,
Requested 1. Please try again in {seconds}s.
The API provider has rate limited you. Try again later or check your quotas.

"""
SESSION = re.compile(r'"(?:session_id|sessionID|thread_id)":"([\w-]+)"')
# How a session is named in the arguments, and what it is where nothing is: aider has none.
NAMED = {
    "claude": re.compile(r"--(?:session-id|resume) (\S+)"),
    "codex": re.compile(r" resume (\S+)"),
    "gemini": re.compile(r"--(?:session-id|resume) (\S+)"),
    "opencode": re.compile(r" -s (\S+)"),
    "aider": re.compile("$^"),
}


def main() -> int:
    name, home = Path(sys.argv[0]).name, Path(os.environ["HOME"])
    said = sys.stdin.read()
    given = re.search(r"--message-file (\S+)", " ".join(sys.argv))
    told = {
        "name": name,
        "argv": sys.argv[1:],
        "env": dict(os.environ),
        "cwd": str(Path.cwd()),
        "stdin": said,
        "prompt": Path(given[1]).read_text() if given else said,
        "terminals": [fd for fd in (0, 1, 2) if os.isatty(fd)] + ["/dev/tty"] * has_terminal(),
        "at": time.time(),
        "company": company(),
    }
    with (home / "runs.jsonl").open("a") as file:
        file.write(json.dumps(told) + "\n")
    what, _, argument = next_part(home / "play" / name).partition(" ")
    return play(name, what, argument)


def company() -> list[int]:
    """Who else of this attempt is alive: none, or its agent runs twice."""
    found, mark = [], f"AWM_RESULT_FILE={os.environ['AWM_RESULT_FILE']}".encode()
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if mark in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return [pid for pid in found if pid != os.getpid()]


def has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR))
    except OSError:
        return False
    return True


def next_part(path: Path) -> str:
    """The first line of the play, which is taken from it; "ok" where there is none."""
    with suppress(FileNotFoundError):
        first, *rest = path.read_text().splitlines() or ["ok"]
        path.write_text("".join(f"{line}\n" for line in rest))
        return first
    return "ok"


def play(name: str, what: str, argument: str) -> int:
    if what == "hang":
        script = "trap '' TERM; while :; do sleep 1; done"
        subprocess.Popen(["sh", "-c", script], start_new_session=True)  # as each of them starts its tools
        say(name, recorded(name, "ok", "stdout").partition("\n")[0] + "\n")
        while True:
            time.sleep(1)
    if what == "sleep":
        sleep_out(name)
    if what == "gone":
        subprocess.Popen(["sleep", "600"], start_new_session=True)
    until = time.monotonic() + 60
    while what == "ok" and argument and not Path(argument).exists() and time.monotonic() < until:
        time.sleep(0.02)
    if what in {"ok", "cut"}:
        commit()
    if name == "aider":  # its map of the repository, below git's top directory (observed); no option moves it
        Path(".aider.tags.cache.v4").mkdir(exist_ok=True)
        Path(".aider.tags.cache.v4", "cache.db").write_text("SQLite")
    if what == "ask":
        ask(name)
    if what == "cap":
        say(name, capped(name, int(argument)))
    elif what == "cut":
        whole = recorded(name, "ok", "stdout")
        say(name, whole[: len(whole) // 2])
    else:
        say(name, recorded(name, "ok" if what == "ask" else what, "stdout"))
        print(recorded(name, what, "stderr"), end="", file=sys.stderr, flush=True)
    return EXIT_CODES[name].get(what, 0)


def commit() -> None:
    with Path("work.txt").open("a") as file:
        print("work", file=file)
    subprocess.run(["git", "add", "work.txt"], check=True)
    subprocess.run(["git", "commit", "--quiet", "--message", os.environ["AWM_TASK"]], check=True)


def ask(name: str) -> None:
    """Codex's sandbox lets its tools write below the working directory, and below what `--add-dir` names (observed)."""
    path = Path(os.environ["AWM_RESULT_FILE"])
    roots = [Path(root) for option, root in pairwise(sys.argv) if option == "--add-dir"]
    if name != "codex" or any(path.is_relative_to(root) for root in roots):
        path.write_text('{"status": "blocked", "question": "Which colour?"}')


def recorded(name: str, what: str, stream: str) -> str:
    path = TRANSCRIPTS / name / f"{RECORDED[name].get(what, what)}.{stream}"
    return path.read_text() if path.exists() else ""


def session(name: str) -> str:
    """The session of this run: the one it was told, else one of its own."""
    found = NAMED[name].search(" ".join(sys.argv))
    return found[1] if found else f"ses-{os.getpid()}-{name}"


def say(name: str, text: str) -> None:
    """Recorded lines, with this run's session in place of the recorded one."""
    for old in set(SESSION.findall(text)):
        text = text.replace(old, session(name))
    print(text, end="", flush=True)


def capped(name: str, seconds: int) -> str:
    """What it says of a cap, with a reset so far from now."""
    text, resets_at = recorded(name, "cap", "stdout"), int(time.time()) + seconds
    match name:
        case "claude":
            return re.sub(r'"resetsAt":\d+', f'"resetsAt":{resets_at}', text)
        case "codex":
            rollout(resets_at)
            return text
        case "gemini":
            return begun() + text.splitlines()[-1].replace("7980.5s", f"{seconds}s") + "\n"
        case "opencode":
            return text.replace('"retry-after":"2"', f'"retry-after":"{seconds}"')
        case _:
            return AIDER_CAP.format(seconds=seconds)


def begun() -> str:
    """The first half of gemini's work: it keeps no session whose model never answered."""
    return "".join(recorded("gemini", "ok", "stdout").splitlines(keepends=True)[:-2])


def rollout(resets_at: int) -> None:
    """The record of codex: only there the reset stands to the second."""
    folder = Path(os.environ["HOME"], ".codex/sessions/2026/11/21")
    folder.mkdir(parents=True, exist_ok=True)
    limits = {"primary": {"used_percent": 100.0, "window_minutes": 300, "resets_at": resets_at}}
    payloads = [
        {"type": "task_started"},
        {"type": "token_count", "info": None, "rate_limits": limits},
        {"type": "task_complete", "error": {"codex_error_info": "usage_limit_exceeded"}},
    ]
    lines = [json.dumps({"type": "event_msg", "payload": payload}) for payload in payloads]
    (folder / f"rollout-2026-11-21T07-00-00-{session('codex')}.jsonl").write_text("\n".join(lines) + "\n")


def sleep_out(name: str) -> None:
    """Two hours and a half, as gemini tells it on stderr, and opencode its plugins alone."""
    if name == "gemini":
        say(name, begun())
        print(recorded(name, what="sleep", stream="stderr"), end="", file=sys.stderr, flush=True)
    else:
        config = json.loads(os.environ["OPENCODE_CONFIG_CONTENT"])
        [plugin] = config["plugin"]
        assert "awm_waiting" in Path(plugin.removeprefix("file://")).read_text()
        until = int((time.time() + 8838) * 1000)
        told = {"type": "awm_waiting", "sessionID": session(name), "message": "Rate limited", "until": until}
        print(json.dumps(told), file=sys.stderr, flush=True)
    time.sleep(8838)


if __name__ == "__main__":
    sys.exit(main())
