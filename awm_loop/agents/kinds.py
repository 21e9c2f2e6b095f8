"""The CLIs that AWM knows, by the `kind` of an agent (SPEC 16). Only the one that is asked for is imported."""

from __future__ import annotations

from importlib import import_module

from awm_loop.agents.reading import Kind
from awm_loop.config import CLIS


def kind(name: str) -> Kind:
    """The CLI of that name, one of `config.CLIS`. A new one is a module of its name beside this one."""
    if name not in CLIS:
        raise AssertionError(f"{name} is no CLI")
    found: Kind = import_module(f"awm_loop.agents.{name}").KIND
    return found
