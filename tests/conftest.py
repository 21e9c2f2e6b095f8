"""Options of the whole suite."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# The same examples each time, so that a red run tells of the change and not of the draw; a night draws its own.
settings.register_profile("same", derandomize=True, deadline=None)
if os.environ.get("AWM_ALL_ROUNDS") != "1":
    settings.load_profile("same")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--cron", action="store_true", help="also run under the machine's real cron (minutes)")
