"""What a process remembers of the state from one look to the next is what a fresh look finds: judged each time."""

from __future__ import annotations

from pathlib import Path

from awm_loop.store import document, jsontext

PARSE, LAYOUT = document.parse, jsontext.layout


def parsed(data: bytes, path: Path) -> document.Parsed:
    """Nobody has changed in place what was read before."""
    hits_count = PARSE.cache_info().hits
    found = PARSE(data, path)
    assert PARSE.cache_info().hits == hits_count or found == PARSE.__wrapped__(data, path)
    return found


def laid_out(value: object, texts: jsontext.Texts | None = None) -> bytes:
    """Nobody has changed in place an entry that was written before."""
    data = LAYOUT(value, texts)
    assert texts is None or data == LAYOUT(value)
    return data
