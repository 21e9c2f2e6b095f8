"""The fixture of the end-to-end tests."""

from __future__ import annotations

from home import home

__all__ = ["home"]
