"""These tests build their homes as the end-to-end tests do."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "e2e"))

from home import home

__all__ = ["home"]
