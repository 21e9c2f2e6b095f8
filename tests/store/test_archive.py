"""The archive of a home: what is read of it, whatever its bytes are (SPEC 13.5, 17)."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import tomllib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from example import NOW
from hypothesis import given, settings
from hypothesis import strategies as st

from awm_loop import config
from awm_loop.errors import AwmError, BadFileError
from awm_loop.store import archive, disarming, portable, specfile, tomltext
from awm_loop.store.portable import Portable

SCRIPT = "# Sprint S2: B\n\n```sh run\ntrue\n```\n"
PACKED = Portable(
    settings={"loop": {"stall_minutes": 2.5}, "project": {"verify": "make"}},
    rules={"active": True, "project": "/project", "maxRetries": 3},
    places={"queue": ("S1", "S2"), "completed": ("S0",), "failed": (), "skipped": (), "blocked": ("S3",)},
    options={"S1": {"priority": "high"}, "S3": {"reason": "asks"}},
    project_of={"S1": "app"},
    projects=({"id": "app", "status": "active", "path": "/app", "verify": "make"},),
    triggers=({"id": "nightly", "type": "time", "projectId": "app", "trigger": "0 2 * * *", "spec": "s.md"},),
    sprints=({"sprint": "S0", "agent": "codex", "status": "success"},),
    specs={"S1": "# Sprint S1: A\n\n**Verify:** pytest\n", "S2": SCRIPT},
    trigger_specs={"nightly": "# Review\n"},
    templates={"docs.md": "# $what\n"},
)
Files = list[tuple[tarfile.TarInfo, bytes]]


def packed(found: Portable = PACKED) -> bytes:
    return portable.pack(found, awm="0.1.0", made="2026-11-21T12:00:00Z")


def files(data: bytes) -> Files:
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(data))) as tar:
        return [(info, file.read()) for info in tar if (file := tar.extractfile(info)) is not None]


def tarred(entries: Files, form: int = tarfile.USTAR_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for info, data in entries:
            info.size = len(data) if info.isreg() else 0
            tar.addfile(info, io.BytesIO(data))
    return gzip.compress(out.getvalue())


def with_manifest(change: Callable[[dict[str, Any]], object], extra: dict[str, bytes] | None = None) -> bytes:
    """The good archive with files more or other, all as its manifest has them, and then the manifest changed."""
    members = {info.name: data for info, data in files(packed())}
    manifest = json.loads(members.pop("manifest.json"))
    members |= extra or {}
    manifest["members"] = {
        name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in members.items()
    }
    change(manifest)
    members = {"manifest.json": json.dumps(manifest).encode(), **members}
    return tarred([(tarfile.TarInfo(name), data) for name, data in members.items()])


def refusal(tmp_path: Path, data: bytes) -> str:
    """Why the archive is refused."""
    path = tmp_path / "a.tar.gz"
    path.write_bytes(data)
    with pytest.raises(BadFileError) as caught:
        portable.unpack(path, NOW)
    return caught.value.message.removeprefix(str(path))


def test_what_is_packed_is_unpacked_again(tmp_path: Path) -> None:
    """All that travels, with the specs under the names of the archive; the manifest says what it is."""
    path = tmp_path / "a.tar.gz"
    path.write_bytes(packed())

    manifest, found = portable.unpack(path, NOW)

    spec = {**PACKED.triggers[0], "spec": "specs/triggers/nightly.md"}
    assert (manifest.what, manifest.awm, manifest.made, len(manifest.members)) == (
        "home",
        "0.1.0",
        "2026-11-21T12:00:00Z",
        9,
    )
    assert {name: getattr(found, name) for name in Portable.__slots__} == {
        name: getattr(PACKED, name) for name in Portable.__slots__
    } | {"triggers": (spec,)}


def test_the_same_home_gives_the_same_bytes() -> None:
    """No clock, no user and no order of a dictionary is in an archive but the date of its manifest."""
    other = Portable(**{name: getattr(PACKED, name) for name in reversed(Portable.__slots__)})

    assert packed(other) == packed()
    assert {(info.mode, info.mtime, info.uid, info.uname) for info, _ in files(packed())} == {(0o600, 0, 0, "")}


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("/etc/passwd", "'/etc/passwd' is an absolute path"),
        ("specs/tasks/../../x.md", "'specs/tasks/../../x.md' leads out of the archive"),
        ("a\x1b[2Jb", "'a\\x1b[2Jb' holds control characters"),
        ("specs/tasks/\u202ex.md", "'specs/tasks/\\u202ex.md' holds control characters"),
        ("specs/tasks/a b.md", "'specs/tasks/a b.md' is no name that AWM gives to a file of an archive"),
        ("specs/tasks/e\u0301.md", "'specs/tasks/e\\u0301.md' is no name that AWM gives to a file of an archive"),
        ("state/current_work.json", "'state/current_work.json' is no name that AWM gives to a file of an archive"),
        ("awm.toml\n", "'awm.toml\\n' holds control characters"),
        (
            "specs/tasks/s1.md",
            "specs/tasks/S1.md and specs/tasks/s1.md differ in case only: not every disk can hold both",
        ),
        ("templates/bad.sh", "'templates/bad.sh' is no name that AWM gives to a file of an archive"),
    ],
)
def test_a_name_that_awm_does_not_give_is_refused(tmp_path: Path, name: str, why: str) -> None:
    """SPEC 17: also where the manifest has it, and before anything is read by it."""
    assert refusal(tmp_path, with_manifest(lambda _: None, {name: b"x"})) == f": {why}"


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        (tarfile.SYMTYPE, "a symbolic link"),
        (tarfile.LNKTYPE, "a hard link"),
        (tarfile.DIRTYPE, "a directory"),
        (tarfile.FIFOTYPE, "a FIFO"),
        (tarfile.CHRTYPE, "a device"),
        (tarfile.BLKTYPE, "a device"),
        (b"V", "an entry of type b'V'"),
    ],
)
def test_only_plain_files_are_read(tmp_path: Path, kind: bytes, what: str) -> None:
    """SPEC 17: no link, no device, no directory, and none of the formats' extensions."""
    entries = files(packed())
    info = tarfile.TarInfo("specs/tasks/S1.md")
    info.type, info.linkname = kind, "/etc/passwd"
    entries.insert(1, (info, b""))

    assert refusal(tmp_path, tarred(entries)) == f": 'specs/tasks/S1.md' is {what}, not a plain file"


def test_a_long_name_in_an_extension_is_not_followed(tmp_path: Path) -> None:
    """PAX and GNU headers stand for anything, of any size."""
    for form, kind in ((tarfile.PAX_FORMAT, b"x"), (tarfile.GNU_FORMAT, b"L")):
        entries = [*files(packed()), (tarfile.TarInfo("x" * 150), b"")]
        assert f"an entry of type {kind!r}, not a plain file" in refusal(tmp_path, tarred(entries, form))


def test_a_file_twice_or_missing_or_other_is_refused(tmp_path: Path) -> None:
    """Each file of the manifest is there once, with the size and hash that it says; no other is."""
    good = files(packed())
    spec = next(entry for entry in good if entry[0].name == "specs/tasks/S1.md")
    stranger = (tarfile.TarInfo("templates/x.md"), b"x")
    other = [(info, data.replace(b"pytest", b"rm -rf")) if info is spec[0] else (info, data) for info, data in good]

    assert refusal(tmp_path, tarred([*good, spec])) == ": 'specs/tasks/S1.md' stands in it twice"
    assert refusal(tmp_path, tarred([*good, stranger])) == ": 'templates/x.md' is not in its manifest"
    assert refusal(tmp_path, tarred(good[1:])) == ": its first file is not manifest.json"
    assert refusal(tmp_path, tarred(good[:-1])) == ": work_metrics.json is in its manifest, and not in it"
    assert refusal(tmp_path, tarred(other)) == (
        ": specs/tasks/S1.md is not the file that its manifest names (size and sha256)"
    )


def test_no_more_is_unpacked_than_allowed(tmp_path: Path) -> None:
    """A bomb of a few KiB is refused when its limit is reached; at the limit itself only what is wrong with it counts."""
    at, over = (gzip.compress(bytes(config.ARCHIVE_BYTES_MAX + more)) for more in (0, 1))

    assert refusal(tmp_path, over) == ": it holds more than 67,108,864 bytes"
    assert refusal(tmp_path, at) == ": its first file is not manifest.json"


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("specs/tasks/S1.md", config.SPEC_BYTES_MAX),
        ("templates/x.md", config.SPEC_BYTES_MAX),
        ("awm.toml", config.ARCHIVE_CONFIG_BYTES_MAX),
        ("projects.json", config.ARCHIVE_JSON_BYTES_MAX),
    ],
)
def test_each_file_has_its_limit(tmp_path: Path, name: str, most: int) -> None:
    """At n it is not the size that is told, at n + 1 it is."""
    path = tmp_path / "a.tar.gz"
    for size in (most, most + 1):
        path.write_bytes(with_manifest(lambda _: None, {name: b" " * size}))
        said = ""
        try:
            archive.unpack(path)
        except BadFileError as error:
            said = error.message
        assert said == (f"{path}: {name} has {size:,} bytes, more than {most:,}" if size > most else "")


def test_an_archive_has_a_limit_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same number for the one that is written and the one that is read; the message says what to type instead."""
    path = tmp_path / "a.tar.gz"
    path.write_bytes(packed())
    monkeypatch.setattr(archive, "ARCHIVE_MEMBERS_MAX", 9)
    archive.unpack(path)
    monkeypatch.setattr(archive, "ARCHIVE_MEMBERS_MAX", 8)

    assert refusal(tmp_path, packed_before := path.read_bytes()) == ": it has 9 files, more than 8"
    with pytest.raises(AwmError) as caught:
        packed()
    assert packed_before
    assert (caught.value.message, caught.value.hint) == (
        "the archive: it has 9 files, more than 8",
        "`awm export --project ID` exports one project",
    )


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"format": 2}, "/format: expected format 1 or older: a newer AWM made this archive"),
        ({"format": 0}, "/format: input should be 1"),
        ({"what": "all"}, "/what: input should be 'home' or 'project'"),
        ({"stranger": 1}, "/stranger: extra inputs are not permitted"),
        ({"members": []}, "/members: input should be an object"),
        ({"project": "../x"}, "/project: string should match pattern"),
        ({"project": "app"}, "the name of its project is missing, or too much"),
        ({"what": "project", "project": "app"}, "the archive of a project has no awm.toml and no work_metrics.json"),
    ],
)
def test_a_manifest_of_another_kind_is_refused(tmp_path: Path, change: dict[str, Any], why: str) -> None:
    """A newer format is told as such: its other fields may mean anything."""
    assert why in refusal(tmp_path, with_manifest(lambda manifest: manifest.update(change)))


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("projects.json", b"[" * 100_000, "nested too deep"),
        (
            "projects.json",
            b'{"version": 1, "projects": [{"id": "../x", "path": "/a"}]}',
            "/projects/0/id: expected an id",
        ),
        (
            "projects.json",
            b'{"version": 1, "projects": [{"id": "default", "path": "/a"}]}',
            "default is the project of",
        ),
        ("projects.json", b'{"version": 1, "projects": [{"id": "app"}]}', "`path` is missing"),
        ("projects.json", b'{"version": 1, "projects": [{"id":"app","path":"/a","status":[]}]}', "/projects/0/status"),
        ("projects.json", b'{"version": 1, "projects": [{"id":"app","path":"/a","depends":["app"]}]}', "app -> app"),
        ("projects.json", b'{"version": 1, "projects": [7]}', "/projects/0: should be an object"),
        ("projects.json", b'{"version": 1, "projects": []}', "trigger nightly is of a project"),
        ("projects.json", b'{"version": 2, "projects": []}', "expected an object with version 1"),
        ("triggers.json", b'{"version": 1, "triggers": []}', "it lacks the spec of a trigger, or holds one of none"),
        ("triggers.json", b'{"version": 1, "triggers": [{"id": "a", "type": "x", "spec": "a"}]}', "/triggers/0/type"),
        (
            "triggers.json",
            b'{"version":1,"triggers":[{"id":"nightly","type":"manual","spec":"/etc/passwd"}]}',
            "the spec of trigger nightly is to be specs/triggers/nightly.md",
        ),
        ("current_work.json", b'{"queue": ["S1", "S2", "S1"]}', "task S1 is also in /queue/0"),
        ("current_work.json", b'{"queue": ["$(x)"]}', "expected a task id"),
        ("current_work.json", b'{"queue": ["S1", "S2"]}', "expected the specs of the archive"),
        (
            "current_work.json",
            b'{"queue": ["S1", "S2"], "specFiles": {"S1": "/etc/passwd", "S2": "specs/tasks/S2.md"}}',
            "expected the specs of the archive",
        ),
        ("current_work.json", b'{"queue": [], "version": 99}', "a newer AWM wrote this"),
        ("work_metrics.json", b'{"sprints": 1}', "expected a list of sprints"),
        ("specs/tasks/S1.md", b"\xff", "not UTF-8 (byte 0)"),
        ("awm.toml", b"a." * 60_000 + b"a = 1", "a form of TOML that AWM does not write"),
        ("awm.toml", b"a = " + b"[" * 60_000, "nested too deep"),
        ("awm.toml", b"a = 1 # b", "a form of TOML that AWM does not write"),
    ],
)
def test_what_a_file_holds_is_checked_as_a_homes_own(tmp_path: Path, name: str, data: bytes, why: str) -> None:
    """SPEC 4.7, 17: ids, lists, references; paths are only those that the archive's own files have."""
    assert why in refusal(tmp_path, with_manifest(lambda _: None, {name: data}))


def test_unknown_settings_are_refused_with_their_place(tmp_path: Path) -> None:
    """SPEC 16: as in a home's own awm.toml."""
    path = tmp_path / "a.tar.gz"
    path.write_bytes(with_manifest(lambda _: None, {"awm.toml": b"[loop]\nstall_minuts = 2\n"}))

    with pytest.raises(AwmError) as caught:
        portable.unpack(path, NOW)

    assert caught.value.message == f"{path}!awm.toml:2: loop.stall_minuts: unknown key"


def test_what_is_no_archive_is_said_so(tmp_path: Path) -> None:
    """Text, nothing, half of one, two of them, and things that are no files."""
    good = packed()

    assert refusal(tmp_path, b"hello") == ": it is not a gzip file, or is damaged"
    assert refusal(tmp_path, b"") == ": it is cut off"
    assert refusal(tmp_path, good[: len(good) // 2]) == ": it is cut off"
    assert refusal(tmp_path, good + good) == ": more follows where it ends"
    assert (
        refusal(tmp_path, gzip.compress(gzip.decompress(good) + b"x"))
        == ": it is cut off, or more follows where it ends"
    )
    assert refusal(tmp_path, gzip.compress(b"\1" * 512)) == ": it has a damaged header at byte 0"
    for path in (tmp_path, Path("/dev/null"), tmp_path / "none"):
        with pytest.raises(BadFileError, match=r"it is not a regular file|No such file|Is a directory"):
            archive.unpack(path)


@settings(deadline=None)
@given(st.data())
def test_an_archive_of_any_bytes_is_refused_or_read(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Bytes flipped, before or after packing, and headers forged with right checksums: never another error."""
    path = tmp_path_factory.mktemp("archive") / "a.tar.gz"
    raw = bytearray(gzip.decompress(packed()))
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(raw) - 1) | st.integers(0, 24).map(lambda block: block * 512))
        piece = data.draw(
            st.binary(max_size=20) | st.sampled_from([b"\x80" + b"\xff" * 11, b"\xff" * 12, b"../", b"\xc3"])
        )
        raw[at : at + len(piece)] = piece
    if data.draw(st.booleans()):
        for at in range(0, len(raw) - 511, 512):
            if raw[at + 257 : at + 262] == b"ustar":
                raw[at + 148 : at + 156] = b" " * 8
                raw[at + 148 : at + 156] = b"%06o\0 " % sum(raw[at : at + 512])
    out = bytearray(gzip.compress(bytes(raw), mtime=0))
    if data.draw(st.booleans()):
        out[data.draw(st.integers(0, len(out) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(out)

    with suppress(AwmError):
        portable.unpack(path, NOW)


ARMED = {
    "loop": {"default_agent": "mine", "memory": "/etc"},
    "project": {"verify": "make", "prepare": ["pip install x"]},
    "agents": {
        "mine": {"kind": "command", "command": ["sh", "x"]},
        "codex": {
            "kind": "codex",
            "executable": "/x",
            "extra_args": ["-y"],
            "env_pass": ["KEY"],
            "sandbox": False,
            "fallback": ["mine", "local"],
        },
        "local": {"kind": "shell"},
    },
    "routes": {"coding": "mine", "default": "codex"},
    "notify": {"urls": ["env:URL"], "command": ["say"], "ping_url": "env:PING"},
    "openclaw": {"url": "https://x", "token": "env:KEY", "session": "s", "channel": "c", "target": "t"},
}


def test_commands_addresses_and_permissions_are_left_out() -> None:
    """SPEC 13.5: each is told, with where it stood; what named an agent that is gone names it no more."""
    found = Portable(
        settings=ARMED,
        places=PACKED.places,
        projects=({"id": "app", "path": "/a", "verify": "make", "prepare": ["x"], "mayEnqueue": True, "name": "App"},),
        specs=PACKED.specs,
        templates={
            "a.md": "# A\n**Verify:** x\n",
            "b.md": SCRIPT,
            "c.md": "# C\n```$kind run\nx\n```\n",
            "d.md": "# D\n**$head:** x\n",
            "e.md": "# E $name\n",
            "f.toml": 'verify = "x"\n',
            "g.toml": 'name = "G"\n',
        },
    )

    harmless, said = disarming.disarmed(found)

    assert harmless.settings == {
        "loop": {},
        "project": {},
        "agents": {"codex": {"kind": "codex", "fallback": ["local"]}, "local": {"kind": "shell"}},
        "routes": {"default": "codex"},
        "notify": {},
        "openclaw": {},
    }
    assert harmless.projects == ({"id": "app", "path": "/a", "name": "App"},)
    assert harmless.specs == {"S1": "# Sprint S1: A\n\n", "S2": SCRIPT}
    assert list(harmless.templates) == ["e.md", "g.toml"]
    assert (harmless.places["queue"], harmless.places["blocked"]) == (("S1",), ("S3", "S2"))
    assert harmless.options["S2"] == {"reason": "came by import with a script: read it, then awm retry"}
    assert [line.partition(":")[0] for line in said] == [
        "awm.toml [project] verify",
        "awm.toml [project] prepare",
        "awm.toml [notify] urls",
        "awm.toml [notify] command",
        "awm.toml [notify] ping_url",
        *(f"awm.toml [openclaw] {key}" for key in ("url", "token", "session", "channel", "target")),
        "awm.toml [agents.mine] command",
        "awm.toml [agents.codex] executable",
        "awm.toml [agents.codex] extra_args",
        "awm.toml [agents.codex] env_pass",
        "awm.toml [agents.codex] sandbox",
        "awm.toml [agents.mine]",
        "awm.toml [loop] default_agent",
        "awm.toml [routes] coding",
        "awm.toml [loop] memory",
        "project app, verify",
        "project app, prepare",
        "project app, mayEnqueue",
        "task S1, Verify",
        *(f"template {name}.{kind}" for name, kind in zip("abcdf", ("md", "md", "md", "md", "toml"), strict=True)),
    ]


HEADS = st.sampled_from(
    ["**Verify:** x", "- **verify** : y", "**Ver<!-- a -->ify:** z", "<!--", "-->", "<!<!-- -->--", "**Verify:** none"]
)
LINES = HEADS | st.sampled_from(["# T", "text", "## More", "```", "", "**Est:** 1 h", " **VERIFY:**  `q`  "])


@given(st.lists(LINES, max_size=8), st.sampled_from(["\n", "\r\n", "\r"]))
def test_no_gate_is_left_however_it_is_hidden(lines: list[str], end: str) -> None:
    """What is parsed is what stands between comments, so a header can hide in them; the rest stays where it can."""
    text = end.join(lines)
    harmless = specfile.without_gate(text)

    assert specfile.gate(harmless) == ""
    assert harmless == text or specfile.gate(text)
    assert {line for line in lines if line.startswith(("# T", "text", "**Est"))} <= {
        *harmless.split(end)
    } or "<!" in text


def test_secrets_are_told_by_their_place_alone() -> None:
    """SPEC 3.3: an address is a secret unless it is env:NAME; so may a word of a command be."""
    table = {"urls": ["ntfy://token", "env:URL"], "command": ["post", "token"], "ping_url": "https://hc/token"}

    kept, said = disarming.without_secrets({"notify": table, "loop": {"strikes_max": 2}})

    assert kept == {"notify": {"urls": ["env:URL"]}, "loop": {"strikes_max": 2}}
    assert said == [
        f"awm.toml [notify] {key}: a value that is no env:NAME may be a secret"
        for key in ("urls", "command", "ping_url")
    ]
    assert table["urls"] == ["ntfy://token", "env:URL"]


VALUES = st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text()
LEAVES = VALUES | st.lists(VALUES, max_size=3)
INNER = st.dictionaries(
    st.text(max_size=3), LEAVES | st.dictionaries(st.text(max_size=3), LEAVES, max_size=3), max_size=3
)
TABLES = st.dictionaries(st.text(max_size=5), LEAVES | INNER, max_size=4)


@given(TABLES)
def test_settings_are_written_so_that_they_read_the_same(table: dict[str, Any]) -> None:
    """Any TOML table but with times, with any characters in keys and values."""
    text = tomltext.layout(table)

    assert tomllib.loads(text) == table
    assert tomltext.read(text) == table
