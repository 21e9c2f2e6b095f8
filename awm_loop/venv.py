"""How a script that any system Python starts comes to run with AWM's dependencies (SPEC 3.4).

Standard library only: this is read before it is known that anything else can be.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import PathFinder
from pathlib import Path

from awm_loop.errors import ConfigError

DEPENDENCIES = ("apprise", "click", "croniter", "filelock", "httpx", "markdown_it", "pydantic", "rich", "tzdata")
TRIED = "AWM_VENV_TRIED"  # set only across the exec below, so that a broken .venv is tried once and not for ever


def ensure_dependencies(checkout: Path) -> None:
    """Return where the dependencies can be imported, else run the same command line again with `.venv/bin/python`.

    The process is replaced, so pid, stdin, stdout, locks and working directory stay. Raises ConfigError naming the
    command that makes the `.venv` where the checkout has none, or has one that lacks something.
    """
    tried = os.environ.pop(TRIED, "")
    missing = [name for name in DEPENDENCIES if PathFinder.find_spec(name) is None]
    if not missing:
        return
    python = checkout / ".venv" / "bin" / "python"
    hint = f"run `./scripts/run --help` in {checkout}: it sets up .venv"
    if tried:
        raise ConfigError(f"{tried} lacks {', '.join(missing)}", f"remove {checkout / '.venv'}, then {hint}")
    if not os.access(python, os.X_OK):
        raise ConfigError(f"{sys.executable} lacks {', '.join(missing)}, and {checkout} has no working .venv", hint)
    os.environ[TRIED] = str(python)
    os.execv(python, [str(python), *sys.orig_argv[1:]])  # noqa: S606  our own command line again
