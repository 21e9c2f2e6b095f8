"""What people, agents, crashes and disks may leave in a file: any bytes, any JSON, and good files gone wrong.

Beside the strategies, `Scene`: a home in a temporary directory for beats in this process, which start none.
"""

from __future__ import annotations

import copy
import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import example
from home import QUICK, rounds
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from awm_loop import beat, clock
from awm_loop.attempt.directory import AttemptDirectory
from awm_loop.beat import Beat
from awm_loop.core.model import Stop
from awm_loop.store import jsontext
from awm_loop.wiring import Home as Opened

CONTEXTS = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]
ODD_TEXTS = [
    "",
    "S1",
    "S2",
    "../x",
    "-rf",
    "a\0b",
    "\ud800",
    "\x1b[2J\x07",
    "x" * 5000,
    "💥\u2028\x85",
    "env:HOME",
    "{key}",
    "2026-01-01T00:00:00Z",
    "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59-23:59",
    "2026-01-01",
]
ODD_NUMBERS = [0, -1, 1, 2, 1e-9, 1e12, 10**15 + 1, 2**63, 2**64, 10**20, 10**400, 1e308, -0.0]
MUTATIONS = ["kin"] * 6 + ["other", "gone", "doubled", "wrapped", "text", "stranger", "stranger"]
PIECES = [b"\0", b"\xef\xbb\xbf", b",", b'"', b"[", b"{", b"}", b"\xff", b"\r\n", b"<<<<<<<", b"NaN", b"1e999", b"#"]

texts = st.sampled_from(ODD_TEXTS) | st.text(max_size=12) | st.text(st.characters(), max_size=6)
numbers = st.sampled_from(ODD_NUMBERS) | st.integers() | st.floats()
scalars = st.none() | st.booleans() | numbers | texts
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=6
)


def fuzzed(few: int, many: int) -> settings:
    """How hard to try: `few` examples where time is short, `many` with AWM_ALL_ROUNDS."""
    return settings(print_blob=False, max_examples=rounds(few, many), deadline=None, suppress_health_check=CONTEXTS)


def dumped(value: object) -> bytes:
    """JSON as a careless program writes it: NaN, infinity, half characters, numbers without an end."""
    return json.dumps(value).encode()


@st.composite
def spoilt(draw: st.DrawFn, data: bytes) -> bytes:
    """Good bytes as an editor, a full disk or a merge leaves them."""
    at, to = sorted((draw(st.integers(0, len(data))), draw(st.integers(0, len(data)))))
    piece = draw(st.sampled_from(PIECES) | st.binary(max_size=4))
    return draw(
        st.sampled_from(
            [
                data,
                data[:at],
                data[:at] + data[to:],
                data[:at] + piece + data[at:],
                data[:to] + data[at:],
                data[:at] + bytes(to - at) + data[to:],
                data[:at] + b"[" * 10_000 + data[at:],
                b"\xef\xbb\xbf" + data,
                data.replace(b"\n", b"\r\n"),
                data.decode(errors="replace").encode("utf-16"),
            ]
        )
    )


@st.composite
def mutated(draw: st.DrawFn, document: Any) -> Any:
    """A good document in which up to three values are another, gone, doubled, wrapped, or joined by a stranger."""
    found = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        places = [pointer for pointer in _pointers(found) if pointer]
        if not places:
            break
        *way, key = draw(st.sampled_from(places))
        holder = found
        for part in way:
            holder = holder[part]
        match draw(st.sampled_from(MUTATIONS)):
            case "kin":
                holder[key] = draw(_kin(holder[key]))
            case "gone":
                del holder[key]
            case "doubled" if isinstance(holder, list):
                holder.insert(0, copy.deepcopy(holder[key]))
            case "wrapped":
                holder[key] = [holder[key]]
            case "text":
                holder[key] = str(holder[key])
            case "stranger" if isinstance(holder, dict):
                holder[draw(texts)] = draw(values)
            case _:
                holder[key] = draw(values)
    return found


def _kin(value: Any) -> st.SearchStrategy[Any]:
    """Values of the same type, such as most slips are."""
    match value:
        case bool():
            return st.booleans()
        case int():
            # Not the largest count itself: one more is a number that no file may have.
            return st.integers(-1, 9) | st.sampled_from([10**15 - 10**6, 10**15 + 1, 10**20 - 1])
        case float():
            return st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([1e12, 1e300, 5e-324])
        case str() if re.match(r"\d{4}-", value):
            return st.sampled_from(ODD_TEXTS) | st.datetimes(timezones=st.just(UTC)).map(datetime.isoformat)
        case str():
            return st.sampled_from(["", "S1", "S2", "S9", "local", "running", "done"]) | texts
        case list():
            return st.permutations(value) | st.lists(st.sampled_from(value or ["S8"]), max_size=4)
        case None:
            return st.sampled_from([0, "", "S1", "2026-01-01T00:00:00Z", [], {}])
        case _:
            return st.dictionaries(st.sampled_from([*value, "S1", "S9", "x"]), values, max_size=2)


def _pointers(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield way
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from _pointers(inner, (*way, key))


def files_like(document: Any) -> st.SearchStrategy[bytes]:
    """Files that should be like `document`: most are nearly so."""
    good = jsontext.layout(document)
    near = mutated(document).map(dumped)
    return (
        near
        | near
        | near
        | near
        | near
        | near
        | spoilt(good)
        | near.flatmap(spoilt)
        | values.map(dumped)
        | st.binary(max_size=40)
    )


@dataclass(frozen=True)
class Scene:
    """A home with a project outside of git, and a spec for each task of `state`."""

    root: Path

    @property
    def path(self) -> Path:
        return self.root / "home"

    @property
    def state_path(self) -> Path:
        return self.path / "state" / "current_work.json"

    def put(self, data: bytes) -> None:
        """A state file that was written long ago: a young one that is bad gets a second to be finished."""
        self.state_path.write_bytes(data)
        os.utime(self.state_path, (1e9, 1e9))

    def opened(self) -> Opened:
        return Opened.open(self.path)

    def state(self) -> dict[str, Any]:
        """A state with something under every key of ours, whose queued tasks can be started."""
        specs = {task: str(self.root / f"{task}.md") for task in ("S1", "S2", "S3")}
        return example.full() | {"project": str(self.root / "project"), "specFiles": specs, "pending": None}

    def states(self) -> st.SearchStrategy[dict[str, Any]]:
        """The state with its attempt running (its directory is there, once with a result), to be launched, or none."""
        self.attempt.path.mkdir(parents=True, exist_ok=True)
        state = self.state()
        [live] = state["attempts"]
        others = [{"attempts": [live | {"phase": "launching"}]}, {"attempts": [], "inProgress": None}]
        return st.sampled_from([state, *(state | other for other in others)])

    @property
    def attempt(self) -> AttemptDirectory:
        """The directory of the one attempt of `state`."""
        return AttemptDirectory(self.path / "state" / "attempts" / example.ATTEMPT.key)

    def beat(self) -> Beat:
        """A beat of this process: decided first, and done where that starts no process."""
        home = self.opened()
        ports = home.ports(begin=lambda _: None)
        decided = beat.run(ports, dry_run=True)
        loaded = home.store.load(clock.now())
        if isinstance(decided.effect, Stop) or (loaded and isinstance(loaded.work.pending, Stop)):
            return decided  # whom nobody tends, a process of its own sweeps
        return beat.run(ports)


@contextmanager
def scene() -> Iterator[Scene]:
    """A new one, gone afterwards."""
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # nothing here is about the disk
    with tempfile.TemporaryDirectory(dir=memory) as root:
        found = Scene(Path(root))
        (found.path / "state").mkdir(parents=True, mode=0o700)
        (found.root / "project").mkdir()
        (found.path / "awm.toml").write_text(f'{QUICK}[agents.codex]\nkind = "command"\ncommand = ["true"]\n')
        for task in ("S1", "S2", "S3"):
            (found.root / f"{task}.md").write_text(f"# Sprint {task}: Thing\n\n```sh run\ntrue\n```\n")
        yield found
