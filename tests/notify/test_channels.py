"""Channels that leave the process: Apprise, a command, the ping (SPEC 12.2, 12.5, 17). Real servers, real processes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import awm_loop
from awm_loop.config import NOTIFY_COMMAND_SECONDS_MAX
from awm_loop.core.model import Notice
from awm_loop.notify import apprise_urls, command, ping
from awm_loop.ports import Send

REPOSITORY = Path(awm_loop.__file__).parents[1]
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")  # Apprise imports it
TEXT = "🚀 Sprint S3 started — Search bar\n🤖 Model: Codex (gpt-5.2)"
SECRET = "s3cret-t0ken"


def notice(text: str = TEXT) -> Notice:
    at = datetime(2026, 1, 1, 13, 0, tzinfo=timezone(timedelta(hours=1)))
    return Notice(id="n7", kind="started", task="S3", at=at, text=text, channels=("command",))


class Server:
    """What an HTTP server on loopback was asked, and how it answers."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, bytes]] = []
        self.status = 200
        self.location = ""
        self.is_slow = False  # answers drop by drop, without end
        self.is_over = threading.Event()
        self.address = ""


@pytest.fixture
def server() -> Iterator[Server]:
    seen = Server()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            seen.asked.append((self.command, self.path, body))
            self.send_response(seen.status)
            if seen.location:
                self.send_header("Location", seen.location)
            self.send_header("Content-Length", "1000000" if seen.is_slow else "0")
            self.end_headers()
            while seen.is_slow and not seen.is_over.wait(0.05):
                self.wfile.write(b".")

        do_GET = do_POST = answer

        def log_message(self, *args: Any) -> None:
            """Not on the terminal."""

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, *args: Any) -> None:
            """A client that is gone is no news."""

    with Quiet(("127.0.0.1", 0), Handler) as http:
        seen.address = f"127.0.0.1:{http.server_address[1]}"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield seen
        seen.is_over.set()
        http.shutdown()
        thread.join()


@pytest.fixture
def nobody() -> str:
    """An address where nobody listens: taken and given back."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time limits, shortened so that a test need not wait."""
    monkeypatch.setattr(ping, "PING_SECONDS_MAX", 0.4)
    monkeypatch.setattr(command, "NOTIFY_COMMAND_SECONDS_MAX", 0.4)


def shell(script: str, *arguments: object) -> Send:
    return command.channel(["sh", "-c", script, "sh", *map(str, arguments)])


def python(script: str, *arguments: object) -> Send:
    return command.channel([sys.executable, "-c", script, *map(str, arguments)])


def is_running(pid: int) -> bool:
    """Alive and no zombie: who inherits an orphan may be slow to reap it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_command_gets_one_json_object_on_stdin(tmp_path: Path) -> None:
    """`id kind task project at text`, the time in UTC with Z, ended by a line break (SPEC 12.2)."""
    file = tmp_path / "stdin"

    assert shell('cat > "$1"', file)(notice()) is None

    assert file.read_bytes().count(b"\n") == 1
    assert file.read_bytes().endswith(b"\n")
    assert json.loads(file.read_bytes()) == {
        "id": "n7",
        "kind": "started",
        "task": "S3",
        "project": "default",
        "at": "2026-01-01T12:00:00Z",
        "text": TEXT,
    }


def test_a_command_sees_a_clean_environment_and_has_its_own_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only PATH HOME LANG TERM get through, and only where they are set (SPEC 17)."""
    monkeypatch.setenv("AWM_NOTIFY_URL", f"tgram://{SECRET}")
    monkeypatch.setenv("LANG", "C.UTF-8")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("TERM", raising=False)
    file = tmp_path / "seen"
    script = "import json, os, sys; json.dump([dict(os.environ), os.getsid(0) == os.getpid()], open(sys.argv[1], 'w'))"

    assert python(script, file)(notice()) is None

    assert json.loads(file.read_text()) == [
        {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "HOME": str(tmp_path)},
        True,
    ]


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("exit 0", None),
        ("echo fine; echo 'only a warning' >&2", None),
        ("exit 3", "sh: exit 3"),
        ("echo no >&2; printf 'the bus is\\033[31m down\\n\\n' >&2; exit 1", "sh: exit 1: the bus is[31m down"),
        ("kill -9 $$", "sh: killed by signal 9"),
        ("printf 'caf\\351' >&2; exit 1", "sh: exit 1: caf\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_a_command_delivered_when_it_exits_with_0(script: str, reason: str | None) -> None:
    """Any other exit is a failure that quotes the last line of stderr, without terminal escapes (SPEC 12.2)."""
    assert shell(script)(notice()) == reason


def test_a_long_last_line_is_cut() -> None:
    """A reason stays short, however much the command says (SPEC 12.2)."""
    script = "import sys; sys.stderr.write('x' * 1000); sys.exit(1)"

    assert python(script)(notice()) == f"{Path(sys.executable).name}: exit 1: {'x' * 200}"


def test_a_flood_on_stdout_and_stderr_neither_blocks_nor_counts() -> None:
    """Megabytes of output are drained; the last line is still the reason (SPEC 12.2)."""
    script = """
import sys
for _ in range(100):
    print('y' * 50_000); print('z' * 50_000, file=sys.stderr)
sys.exit('the last word')
"""
    assert python(script)(notice()) == f"{Path(sys.executable).name}: exit 1: the last word"


def test_a_command_that_is_not_there_is_a_failure(tmp_path: Path) -> None:
    """No traceback for a path that cannot be run (SPEC 12.2)."""
    (tmp_path / "plain").write_text("not a program")

    assert command.channel([str(tmp_path / "absent"), SECRET])(notice()) == "absent: No such file or directory"
    assert command.channel([str(tmp_path / "plain")])(notice()) == "plain: Permission denied"


def test_a_command_may_close_stdin_without_reading(capfd: pytest.CaptureFixture[str]) -> None:
    """A text bigger than any pipe and nobody who reads it: delivered, and nothing on stderr (SPEC 12.2)."""
    assert shell("exec <&-")(notice("long " * 100_000)) is None

    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("impatient")
def test_a_command_that_hangs_is_killed_with_its_group(tmp_path: Path) -> None:
    """After the time limit the children are gone too (SPEC 12.2)."""
    file = tmp_path / "pid"

    assert shell('sleep 1000 & echo $! > "$1"; wait', file)(notice()) == "sh: killed after 0.4 seconds"

    deadline = time.monotonic() + 10
    while is_running(int(file.read_text())) and time.monotonic() < deadline:
        os.sched_yield()
    assert not is_running(int(file.read_text()))


@pytest.mark.parametrize("work", ["sleep 1000", "while :; do echo busy; done >&2"])
def test_a_child_that_keeps_stderr_delays_nothing(work: str, tmp_path: Path) -> None:
    """The command's own end counts, not the end of what it left behind (SPEC 12.2)."""
    file = tmp_path / "pid"
    started = time.monotonic()

    reason = shell(f'trap "" PIPE; ({work}) & echo $! > "$1"', file)(notice())

    if is_running(pid := int(file.read_text())):
        os.killpg(os.getpgid(pid), signal.SIGKILL)
    assert reason is None
    assert time.monotonic() - started < NOTIFY_COMMAND_SECONDS_MAX / 2


def test_waiting_for_a_command_that_closed_stderr_costs_nothing() -> None:
    """An ended stderr is not asked again and again (SPEC 12.2)."""
    before_seconds = time.thread_time()

    assert shell("exec 2>&-; sleep 0.3")(notice()) is None

    assert time.thread_time() - before_seconds < 0.1


def test_apprise_posts_the_text_as_it_is(server: Server) -> None:
    """The text of a notice arrives whole, line breaks and emoji too (SPEC 12.1, 12.2)."""
    assert apprise_urls.channel(f"json://{server.address}/hook")(notice()) is None

    [(method, path, body)] = server.asked
    assert (method, path) == ("POST", "/hook")
    assert json.loads(body)["message"] == TEXT


def test_apprise_says_how_it_was_refused(server: Server) -> None:
    """The HTTP status is in the reason; of the URL only the scheme is (SPEC 12.2, 17)."""
    server.status = 404

    assert apprise_urls.channel(f"json://me:{SECRET}@{server.address}/{SECRET}")(notice()) == (
        "json: refused with HTTP 404"
    )


def test_apprise_reaches_nobody(nobody: str, capfd: pytest.CaptureFixture[str]) -> None:
    """A dead server is a short reason and not a word on stderr (SPEC 12.2)."""
    assert apprise_urls.channel(f"json://{nobody}/{SECRET}")(notice()) == "json: not delivered"

    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("url", [f"nosuch://{SECRET}", f"discord://{SECRET}", "json://"])
def test_a_url_that_apprise_does_not_understand_is_a_reason(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Wrong scheme or missing parts: said without the URL, which may hold a secret (SPEC 17)."""
    scheme = url.partition(":")[0]

    assert apprise_urls.channel(url)(notice()) == f"{scheme}: not a URL that Apprise understands"

    assert capfd.readouterr() == ("", "")


def test_apprise_follows_no_redirect(server: Server) -> None:
    """Secrets do not travel to where a server points (SPEC 17)."""
    server.status, server.location = 307, f"http://{server.address}/elsewhere"

    assert apprise_urls.channel(f"json://{server.address}/hook")(notice()) == "json: refused with HTTP 307"

    assert [path for _, path, _ in server.asked] == ["/hook"]


def test_an_endless_answer_holds_neither_apprise_nor_the_process(server: Server) -> None:
    """A server that drips is given up after the time limit, and the process can end (SPEC 12.2)."""
    server.is_slow = True
    script = f"""
from datetime import UTC, datetime
from awm_loop.core.model import Notice
from awm_loop.notify import apprise_urls, ping
ping.PING_SECONDS_MAX = 0.4
at = datetime(2026, 1, 1, tzinfo=UTC)
notice = Notice(id="n1", kind="started", task="S1", at=at, text="text", channels=())
print(apprise_urls.channel("json://{server.address}/hook")(notice))
"""

    done = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, timeout=30, check=False
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "json: no answer within 0.4 seconds\n", "")


def test_the_ping_tells_success_and_failure(server: Server) -> None:
    """`/fail` is appended to the path, before a query (SPEC 12.5)."""
    url = f"http://{server.address}/uuid"

    assert [
        ping.ping(url, failed=False),
        ping.ping(url, failed=True),
        ping.ping(f"{url}/?create=1", failed=True),
    ] == [None, None, None]

    assert server.asked == [("GET", "/uuid", b""), ("GET", "/uuid/fail", b""), ("GET", "/uuid/fail?create=1", b"")]


@pytest.mark.parametrize("status", [302, 404, 500])
def test_a_ping_that_is_not_taken_is_a_reason(status: int, server: Server) -> None:
    """Everything but 2xx, a redirect too, which is not followed (SPEC 12.5, 17)."""
    server.status, server.location = status, f"http://{server.address}/elsewhere"

    assert ping.ping(f"http://{server.address}/{SECRET}", failed=False) == f"HTTP {status}"

    assert [path for _, path, _ in server.asked] == [f"/{SECRET}"]


def test_a_ping_into_the_void_is_a_reason(nobody: str) -> None:
    """A dead server or a bad URL, named by kind and never by URL (SPEC 17)."""
    assert ping.ping(f"http://{nobody}/{SECRET}", failed=True) == "ConnectError"
    assert ping.ping(f"gopher://{nobody}/{SECRET}", failed=True) == "not an http or https URL"
    assert ping.ping(f"http://[{SECRET}", failed=False) == "not a URL"
    assert ping.ping(f"http://{SECRET}:port", failed=True) == "InvalidURL"


@pytest.mark.usefixtures("impatient")
def test_an_endless_answer_does_not_hold_the_ping(server: Server) -> None:
    """The time limit is for the whole call, not for each byte (SPEC 12.5)."""
    server.is_slow = True

    assert ping.ping(f"http://{server.address}/uuid", failed=False) == "no answer within 0.4 seconds"
