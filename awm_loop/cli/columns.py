"""Rows of text as aligned columns, for the listings (SPEC 14)."""

from __future__ import annotations

from collections.abc import Sequence

from awm_loop import terminal


def columns(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A line for the heads and one for each row. What a cell holds is one line, and drives no terminal (SPEC 17)."""
    cells = [heads, *([" ".join(terminal.plain(cell).split()) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
