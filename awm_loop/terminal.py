"""What may be written to a terminal: any text, whatever it can show, and nothing that drives it (SPEC 17)."""

from __future__ import annotations

import io
import re
import sys

# CSI, OSC, DCS and other escapes, then every other control character: an agent's output must not drive the terminal.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]P_^X].*?(?:\x07|\x1b\\|$)|[ -/]*[0-~])", re.S)
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def plain(text: str) -> str:
    """Text without terminal escapes and control characters (SPEC 17): tabs and line ends stay."""
    return _CONTROLS.sub("", _ESCAPES.sub("", text))


def escape_what_cannot_be_encoded() -> None:
    """From now on stdout writes a character that its encoding lacks as `\\u2714`; stderr does by itself."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # None where it is closed
        sys.stdout.reconfigure(errors="backslashreplace")
