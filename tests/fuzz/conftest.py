"""These tests build their homes as the end-to-end tests do, and their states as those of the store."""

from __future__ import annotations

import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS / "e2e"), str(TESTS / "store")]

from home import home  # noqa: E402  found by the line above

__all__ = ["home"]
