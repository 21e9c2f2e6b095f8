"""Everything a beat may ask of the world, once, after it is promised on disk (SPEC 6.2). Plain values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """Start the attempt `key`; harmless when it has already begun."""

    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """End the attempt `key` with its whole process tree; harmless when it has already ended."""

    key: str
    why: str


Effect = Launch | Stop
