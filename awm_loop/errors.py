"""Errors for the person at the keyboard, and the exit codes of every command (SPEC 6.3).

    AwmError            the operator's trouble: message, hint, exit code; shown without a traceback
    ├── ConfigError     awm.toml or the command line is wrong                              exit 78
    ├── BadFileError    a file of the home does not validate (SPEC 4.7); nothing was lost  exit 78
    ├── DiskError       the disk refused a write (SPEC 4.8); the old state stands          exit 74
    └── BusyError       the lock could be neither had nor marked                           exit 75

Trouble in the world (an agent that died, a limit) is data, never an exception. Our own bug is any other exception:
it crashes with a traceback, exit 70, and leaves the state untouched.
"""

from __future__ import annotations

import sys

EXIT_OK = 0
EXIT_BUG = 70
EXIT_DISK = 74
EXIT_BUSY = 75
EXIT_CONFIG = 78


class AwmError(Exception):
    """The operator's trouble: `message` says what is wrong and where, `hint` what to type next (may be empty)."""

    exit_code = EXIT_CONFIG

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def show(self) -> int:
        """Say it on stderr, a line and a hint, and return the exit code."""
        hint = f"hint: {self.hint}\n" if self.hint else ""
        sys.stderr.write(f"awm: {self.message}\n{hint}")
        return self.exit_code


class ConfigError(AwmError):
    """`awm.toml` or the command line asks for something that is not there."""


class BadFileError(AwmError):
    """A file of the home does not validate. The bytes stay where they are; nothing is started."""


class DiskError(AwmError):
    """The disk refused a write: full, read-only, not ours, or out of inodes. The old state stands."""

    exit_code = EXIT_DISK


class BusyError(AwmError):
    """Another process holds the state lock, and no mark could be left for it."""

    exit_code = EXIT_BUSY
