"""Open files that an agent may have replaced by something that waits, leads away or never ends (SPEC 17)."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


class NotRegularError(OSError):
    """There is something under that name, but neither a regular file nor a directory."""


def open_regular(path: Path, flags: int = os.O_RDONLY) -> int:
    """The descriptor of a regular file, not inheritable; one that `flags` make gets mode 0600.

    Never waits, as for a FIFO, and never follows a link in the last part of `path`. Raises OSError; NotRegularError and
    IsADirectoryError where there is something else.
    """
    try:
        fd = os.open(path, flags | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENXIO}:
            raise NotRegularError(error.errno, "not a regular file", str(path)) from error
        raise
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode):
        return fd
    os.close(fd)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise NotRegularError(errno.EINVAL, "not a regular file", str(path))


def read_regular(path: Path, bytes_max: int) -> bytes:
    """The contents, cut at `bytes_max`: a size that no honest file of its kind has. Raises as `open_regular` does."""
    with os.fdopen(open_regular(path), "rb") as file:
        return file.read(bytes_max)
