"""Whether a beat has anything to do, or another one does it, told before anything heavy is imported (SPEC 6.4).

A beat that found nothing leaves `state/cache/idle`: what tells one content of each file it looked at from the next, the
names in the folders it looked into, and until when nothing falls due by itself. While all of that is as it was, under
the state lock, the next beat would find nothing either. Any doubt is a whole beat: a file of another time stamp, inode
or size, a name more or less, another boot, a clock put back, the lock held by somebody. So the note may be stale, torn
or gone at any time.

Of many beats begun at once, as when many agents end, one is let on: it holds the turnstile until it has the state lock
and is about to read the state. Whoever finds it held knows that its own news, on disk by then, will be read.

What was written within the last seconds is not noted: an edit in the same tick of the file system's clock would leave
every stamp as it was. Only builtin modules are imported here, for most beats end here, and `json` alone would make
them twice as long.
"""
# ruff: noqa: PTH116, PTH208  nor pathlib

import fcntl
import os
import time

from awm_loop import __version__

FORM = f"awm-idle-1 {__version__}"
BYTES_MAX = 1024 * 1024
SETTLED_SECONDS = 2.0  # the coarsest time stamps there are are of two seconds
BOOT_ID = "/proc/sys/kernel/random/boot_id"
MARK, LOCK, CACHE = "state/look-again", "state/current_work.json.lock", "cache"
FILE, FOLDER, MODE = "file", "folder", "mode"  # what of a path is looked at
HELD, AWAKE, SAMPLE = "held", "awake", "sample"  # of an attempt: its lock, its supervisor, how long it has been quiet
SAMPLE_BYTES_MAX = 65_536
NOTHING, END = "-", "end"
TURNSTILE = "state/turnstile.lock"
TURNSTILE_SECONDS = 20.0  # for the imports of the one who holds it; a longer one is stopped, or hangs
TURNSTILE_POLL_SECONDS = 0.05
UNLIKE_IDLE = ("AWM_ATTEMPT", "AWM_FAULT", "AWM_VENV_TRIED")  # in the environment


class Rest:
    """What one look saw, and until when it holds: seconds since 1970, and since boot with suspend counted."""

    def __init__(self, looks: list[tuple[str, str, str]], until_at: float, until_boottime: float) -> None:
        self.looks = looks
        self.until_at = until_at
        self.until_boottime = until_boottime


def leave_if_idle(arguments: list[str], checkout: str) -> None:
    """End this process where its beat has nothing to do, or another one does it: exit 0, as SPEC 6.3 has it.

    `arguments` are those of heartbeat.py. Options that want a whole beat, or are wrong, are left to it.
    """
    home, word = os.environ.get("AWM_HOME") or checkout, ""
    values = iter(arguments)
    for name in values:
        value = next(values, "")
        if name not in {"--home", "--quiet-token"} or not value or value.startswith("-"):
            return
        home, word = (value, word) if name == "--home" else (home, value)
    home = os.path.realpath(home)
    if not word.isascii() or not (is_idle(home) or _is_done_by_another(home)):
        return
    try:
        if word:
            os.write(1, f"{word}\n".encode())
        os._exit(0)
    except OSError:
        return  # nobody reads any more, or there is no room for it: the whole beat tells


def is_idle(home: str) -> bool:
    """Whether the next beat of `home`, an absolute path, has nothing to do, say or write."""
    if wants_whole_beats():
        return False
    try:
        lock = os.open(f"{home}/{LOCK}", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            if not _holds(f"{home}/state/cache/idle"):
                return False
        finally:
            os.close(lock)
        return not os.path.lexists(f"{home}/{MARK}")  # who found the lock held by us may have left it to us
    except (OSError, ValueError, IndexError):
        return False


def wants_whole_beats() -> bool:
    """Whether the environment is that of an agent, a test of faults, or a second try."""
    return any(name in os.environ for name in UNLIKE_IDLE)


_turnstile: list[int] = []  # its descriptor, while this process holds it


def let_others_on() -> None:
    """From now on who comes has news that this process may not see: it is about to read the state."""
    while _turnstile:
        os.close(_turnstile.pop())


def _is_done_by_another(home: str) -> bool:
    """Take the turnstile; where it is held, wait until its holder went through, and return True.

    Who waits must not hold for a moment what another one who comes tries to take: so it looks by a lock of another
    kind, which the holder has as well. Where that one was not to be had, who waits goes too early, which is no harm.
    """
    if "AWM_ATTEMPT" in os.environ:  # it would only leave a mark
        return False
    try:
        fd = os.open(f"{home}/{TURNSTILE}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return _goes_through(fd)
    except OSError:
        return False
    _turnstile.append(fd)
    _is_free(fd, fcntl.LOCK_EX)
    return False


def _goes_through(fd: int) -> bool:
    """False where the holder is stopped, or hangs: then a beat of our own must do."""
    for _ in range(int(TURNSTILE_SECONDS / TURNSTILE_POLL_SECONDS)):
        time.sleep(TURNSTILE_POLL_SECONDS)
        if _is_free(fd, fcntl.LOCK_SH):
            return True
    return False


def _is_free(fd: int, how: int) -> bool:
    """Take the lock of the other kind, to be let go with the process."""
    try:
        fcntl.lockf(fd, how | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def look(paths: list[tuple[str, str]]) -> list[tuple[str, str, str]]:
    """What is seen of each path: how it is looked at, the path, and what there was. Raises OSError."""
    return [(how, path, _seen(how, path)) for how, path in paths]


def is_settled(looks: list[tuple[str, str, str]], now_at: float) -> bool:
    """Whether no file was written so lately that another write could go unseen, nor after `now_at`."""
    stamps = [int(stamp) for how, _, seen in looks if how == FILE and seen != NOTHING for stamp in seen.split()[-2:]]
    return all(stamp / 1e9 < now_at - SETTLED_SECONDS for stamp in stamps)


def text_of(rest: Rest, made_at: float) -> bytes:
    """The note. No path and no name has a NUL in it."""
    fields = [FORM, _zone(), _boot_id(), repr(made_at), repr(rest.until_at), repr(rest.until_boottime)]
    return "\0".join([*fields, *(field for one in rest.looks for field in one), END]).encode(errors="surrogateescape")


def _holds(path: str) -> bool:
    """Raises OSError, and ValueError where it is torn."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        data = os.read(fd, BYTES_MAX)
    finally:
        os.close(fd)
    form, zone, boot_id, made_at, until_at, until_boottime, *looks, end = data.decode(errors="surrogateescape").split(
        "\0"
    )
    return (
        (form, zone, boot_id) == (FORM, _zone(), _boot_id())
        and float(made_at) <= time.time() < float(until_at)
        and time.clock_gettime(time.CLOCK_BOOTTIME) < float(until_boottime)
        and end == END
        and all(_seen(looks[at], looks[at + 1]) == looks[at + 2] for at in range(0, len(looks), 3))
    )


def _seen(how: str, path: str) -> str:
    """Raises OSError where it cannot be seen, ValueError where `how` is none."""
    if how == HELD:
        return _held(path)
    if how == AWAKE:
        return str(_read(path).rpartition(b")")[2].split()[0] not in {b"T", b"t"})
    if how.startswith(SAMPLE):
        return str(_is_lively(path, *map(float, how.split()[1:])))
    try:
        if how == FOLDER:
            return "/".join(
                sorted(name for name in os.listdir(path) if name != CACHE)
            )  # its files have looks of their own
        found = os.stat(path)
    except FileNotFoundError:
        return NOTHING
    if how == MODE:
        return f"{found.st_mode} {found.st_uid}"
    if how != FILE:
        raise ValueError(how)
    identity = f"{found.st_dev} {found.st_ino} {found.st_mode} {found.st_uid} {found.st_size}"
    return f"{identity} {found.st_mtime_ns} {found.st_ctime_ns}"


def _held(path: str) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return HELD
    finally:
        os.close(fd)
    return NOTHING


def _is_lively(path: str, stall_seconds: float, busy_factor: float) -> bool:
    """Whether the newest sample of an attempt is far from a stall, as `machine` has it. Raises ValueError."""
    try:
        lines = _read(path).split(b"\n")
    except FileNotFoundError:
        return True
    if len(lines) < 2:
        return True
    idle, busy = (
        float(lines[-2].split(b'"%s":' % name)[1].split(b",")[0]) for name in (b"idleSeconds", b"busySeconds")
    )
    return min(idle, busy) >= 0 and idle + busy / busy_factor < stall_seconds


def _read(path: str) -> bytes:
    """The end of a file."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        size = os.fstat(fd).st_size
        return os.pread(fd, SAMPLE_BYTES_MAX, max(size - SAMPLE_BYTES_MAX, 0))
    finally:
        os.close(fd)


def _zone() -> str:
    return os.environ.get("TZ", "")


def _boot_id() -> str:
    fd = os.open(BOOT_ID, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 100).decode().strip()
    finally:
        os.close(fd)
