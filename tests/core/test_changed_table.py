"""The table is no decoration: change one column of any row, and a test of its consequences fails (SPEC 7.1).

That no row can be missed altogether is seen by the stories.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
import test_consequences
import test_places
import test_project_rows
import test_recalls
import test_resets
import test_strike_three

from awm_loop.core import machine
from awm_loop.core.machine import TABLE, Count, Do, Row, Tell

FILES = (test_consequences, test_strike_three, test_recalls, test_places, test_resets, test_project_rows)


def every_test() -> Iterator[Callable[[], None]]:
    """The tests of what rows leave behind, each with every set of its parameters."""
    for name, test in (item for file in FILES for item in vars(file).items()):
        if name.startswith("test_"):
            yield from with_parameters(test, list(getattr(test, "pytestmark", ())))


def with_parameters(test: Callable[..., None], marks: list[pytest.Mark]) -> Iterator[Callable[[], None]]:
    if not marks:
        yield test
        return
    names, values = marks[0].args
    for value in values:
        chosen = {names: value} if isinstance(names, str) else dict(zip(names, value, strict=True))

        def chosen_test(chosen: Mapping[str, Any] = chosen, **others: Any) -> None:
            test(**chosen, **others)

        yield from with_parameters(chosen_test, marks[1:])


def fails(test: Callable[[], None]) -> bool:
    try:
        test()
    except (AssertionError, AttributeError, KeyError, ValueError):
        return True
    return False


def changes() -> Iterator[tuple[Row, Row]]:
    """Each row with another answer: staying where it is, or with one of its columns emptied."""
    for row in TABLE:
        if not row.is_quiet:
            yield row, Row(row.phase, row.signal, row.phase)
        for column, nothing in (("do", Do.NOTHING), ("count", Count.NOTHING), ("tell", Tell.NOTHING)):
            if getattr(row, column) is not nothing:
                yield row, replace(row, **{column: nothing})


@pytest.mark.parametrize(("row", "other"), list(changes()), ids=lambda row: repr(row)[4:-1])
def test_a_changed_table_is_noticed(row: Row, other: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each move, effect, count and notice is held by a test (SPEC 7.1)."""
    monkeypatch.setitem(machine.ROWS, (row.phase, row.signal), other)

    assert any(fails(test) for test in every_test())


def test_with_the_true_table_nothing_fails() -> None:
    """So that the tests above mean what they say (SPEC 7.1)."""
    assert [test for test in every_test() if fails(test)] == []
