"""After a beat: its notices, the bad-state notice, and the dead-man's ping (SPEC 6.2, 4.7, 12.2, 12.5).

python -m awm_loop.cli.delivery HOME      for a supervisor, which must not wait while an agent works
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from awm_loop import clock, config, durable, fault
from awm_loop.attempt.spawn import become_subreaper
from awm_loop.beat import Beat
from awm_loop.cli.pulse import LOOKS_MAX
from awm_loop.config import BAD_FILE_BYTES_MAX
from awm_loop.core.model import Notice, Reset
from awm_loop.errors import EXIT_BUG, AwmError, BadFileError, ConfigError, DiskError
from awm_loop.notify import outbox
from awm_loop.notify.channels import names, senders
from awm_loop.notify.ping import ping
from awm_loop.ports import Send
from awm_loop.regular import read_regular
from awm_loop.wiring import Home

LATE_SECONDS = 60.0  # an older notice on the console says of when it is


def deliver(home: Home, console: Send | None, wait_seconds: float = 0.0) -> None:
    """Send what the outbox holds. Where another process is at it, for so long, it sees to ours too."""
    channels: Mapping[str, Send] = senders(home.config) | ({outbox.CONSOLE: console} if console else {})
    with home.store.delivering(wait_seconds) as is_ours:
        if is_ours:
            fault.point("delivery.outbox:locked")
            outbox.deliver(home.store, channels, names(home.config), clock.now)
            fault.point("delivery.outbox:after")


def console_text(notice: Notice, now: datetime) -> str:
    """A notice as a screen shows it: one that comes late begins with its local time, or it would pass for news."""
    is_late = (now - notice.at).total_seconds() > LATE_SECONDS
    return f"[{notice.at.astimezone():%H:%M}] {notice.text}" if is_late else notice.text


def deliver_and_look(home: Home, console: Send | None, beat: Callable[[], Sequence[Beat]]) -> None:
    """Deliver, then beat again while there is a mark: a kick that met the lock of a delivery left it (SPEC 6.2). Also
    where a reset waits for its notice to be delivered.

    Where `beat` finds another process at it, that one looks again.
    """
    for _ in range(LOOKS_MAX):
        is_resetting = _is_resetting(home)
        deliver(home, console, config.DELIVERY_BUDGET_SECONDS if is_resetting else 0.0)
        if not (is_resetting or home.store.mark_path.exists()) or not beat():
            return


def _is_resetting(home: Home) -> bool:
    """Whether a reset of the assistant's session is promised, and was never tried."""
    loaded = home.store.load(clock.now()) if home.config.openclaw.session else None
    pending = loaded.work.pending if loaded and not loaded.work.paused else None
    return isinstance(pending, Reset) and pending.refused is None


def has_news(beat: Beat) -> bool:
    """Whether this beat left notices, channels that may be gone from the configuration, or a reset still to be told."""
    work = beat.work
    return work is not None and bool(work.outbox or work.channels or isinstance(work.pending, Reset))


def has_channels(home: Home) -> bool:
    """Whether a supervisor's beat has anyone to tell: most homes have only the console, which it lacks."""
    return bool(senders(home.config) or home.config.notify.ping_url)


def tell_bad_file(home: Home, path: Path, error: BadFileError) -> None:
    """Keep the bytes once in quarantine and send one notice for each distinct content, remembered beside the copy.

    A file that is gone counts as a content of its own, one for each revision it was lost at. Where the disk refuses to
    remember, that is said and no notice is sent, or each beat would send it again.
    """
    try:
        told = _told_path(home, path)
        if told.exists():
            return
        head = "The state file does not validate; nothing is started until it is mended."
        if path != home.store.path:
            head = f"{path.name} does not validate; the loop goes on without it until it is mended."
        text = f"🛑 {head}\n{error.message}"
        text += f"\nhint: {error.hint}" if error.hint else ""
        told_id = f"bad-{told.stem.rpartition('-')[2]}"
        notice = Notice(id=told_id, kind="bad_state", task="", at=clock.now().wall, text=text, channels=())
        problems = [send(notice) for send in senders(home.config).values()]
        if all(problem is None for problem in problems):
            with durable.disk_trouble(told):
                told.touch(mode=0o600)
    except DiskError as trouble:
        trouble.show()


def _told_path(home: Home, path: Path) -> Path:
    """The file that remembers that a bad file as it is now was told; its bytes are in quarantine after this."""
    directory = home.store.directory / "quarantine"
    try:
        data = read_regular(path, BAD_FILE_BYTES_MAX)
    except OSError:
        revs = (path.stem for path in home.store.history_path.glob("*.json"))
        lost_at = max((int(rev) for rev in revs if rev.isdecimal()), default=0)
        with durable.disk_trouble(directory):
            directory.mkdir(mode=0o700, exist_ok=True)
        return directory / f"gone-{lost_at}.told"
    copy, _ = durable.quarantine(directory, data, clock.now().wall)
    return copy.with_suffix(".told")


def send_ping(home: Home, exit_code: int) -> None:
    """SPEC 12.5: every beat that ran to its end; `/fail` from exit 70 up. Its own trouble is one line on stderr."""
    entry = home.config.notify.ping_url
    if not entry:
        return
    try:
        problem = ping(config.environment_value(entry), exit_code >= EXIT_BUG)
    except ConfigError as error:
        problem = error.message
    if problem is not None:
        print(f"ping: {problem}", file=sys.stderr)


def main(arguments: list[str]) -> int:
    """Deliver, and stay until all that the owner's command left running has ended.

    Without a parent of its own that would count as the agent's, and be swept with it.
    """
    os.chdir("/")
    become_subreaper()
    exit_code = 0
    try:
        home = Home.open(Path(arguments[0]))
        deliver(home, None)
        send_ping(home, 0)
    except AwmError as error:
        exit_code = error.show()
    with suppress(ChildProcessError):
        while True:
            os.wait()
    return exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
