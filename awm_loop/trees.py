"""Directories, however deep: an agent may have made ten thousand, each in the one before (SPEC 17).

`shutil.rmtree`, `os.walk` and `glob` call themselves for each of them, and the first holds a descriptor too: either
would run out.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def files(path: Path) -> Iterator[Path]:
    """All below `path` that is no directory; of each directory its own first, by name. No symlink is followed.

    What cannot be read, or lies deeper than a path can name, is left out.
    """
    ahead = [path]
    while ahead:
        folders: list[Path] = []
        with suppress(OSError), os.scandir(ahead.pop()) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.is_dir(follow_symlinks=False):
                    folders.append(Path(entry.path))
                else:
                    yield Path(entry.path)
        ahead += reversed(folders)


def remove(path: Path) -> None:
    """With all that is in it. No symlink is followed, and what vanishes meanwhile is no trouble.

    Raises OSError, and may be called again.
    """
    top = os.open(path, _FLAGS)
    try:
        ahead = os.listdir(top)  # noqa: PTH208  a path may be too long
        while ahead:
            ahead += _taken_out(top, ahead.pop())
    finally:
        os.close(top)
    path.rmdir()


def _taken_out(top: int, name: str) -> list[str]:
    """Remove one name in `top`; returns the new names of what directories there were in it, which lie in `top` now."""
    if _is_removed(top, name):
        return []
    moved = []
    folder = os.open(name, _FLAGS, dir_fd=top)
    try:
        for inner in os.listdir(folder):  # noqa: PTH208
            if not _is_removed(folder, inner):
                moved.append(f"awm-{secrets.token_hex(8)}")
                os.rename(inner, moved[-1], src_dir_fd=folder, dst_dir_fd=top)
    finally:
        os.close(folder)
    os.rmdir(name, dir_fd=top)
    return moved


def _is_removed(folder: int, name: str) -> bool:
    """False where it is a directory with something in it."""
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return True
    except IsADirectoryError:
        try:
            os.rmdir(name, dir_fd=folder)
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise
            return False
    return True
