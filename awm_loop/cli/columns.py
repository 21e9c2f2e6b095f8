"""Rows of text as aligned columns, for the listings (SPEC 14)."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence

from awm_loop import terminal


def columns(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A line for the heads and one for each row. What a cell holds is one line, and drives no terminal (SPEC 17).

    On a terminal no line is wider than that: it would go on under the wrong heads.
    """
    cells = [heads, *([" ".join(terminal.plain(cell).split()) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    most = width_max()
    return [line if most is None or len(line) <= most else f"{line[: most - 1]}…" for line in lines]


def width_max() -> int | None:
    """How wide the terminal is, None where the output goes elsewhere: there nothing is cut."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
