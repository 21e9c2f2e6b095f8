"""One archive of a home or of a project: a gzipped tar file with a manifest (SPEC 13.5, 17).

An archive may come from anywhere. It is read within limits, into memory, and nothing of it is a path: the names are
those that AWM itself gives, each once, each in the manifest with its size and hash. Only plain files are read; the
formats' extensions, which can stand for anything, are refused with links, devices and directories.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import stat
import tarfile
import unicodedata
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from awm_loop.config import (
    ARCHIVE_BYTES_MAX,
    ARCHIVE_CONFIG_BYTES_MAX,
    ARCHIVE_JSON_BYTES_MAX,
    ARCHIVE_MEMBERS_MAX,
    ID_PATTERN,
    SHOWN_CHARS_MAX,
    SPEC_BYTES_MAX,
)
from awm_loop.errors import BadFileError
from awm_loop.store import jsontext

FORMAT = 1
MANIFEST = "manifest.json"
CONFIG = "awm.toml"
STATE, PROJECTS, TRIGGERS, METRICS = "current_work.json", "projects.json", "triggers.json", "work_metrics.json"
_ID = ID_PATTERN.strip("^$")
_NAME = re.compile(
    rf"(?:awm\.toml|(?:current_work|projects|triggers|work_metrics)\.json"
    rf"|specs/(?:tasks|triggers)/{_ID}\.md|templates/{_ID}\.(?:md|toml))"
)
_MADE_BY = "only what `awm export` wrote can be imported"


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Member(_Table):
    """A file of the archive, as the manifest has it."""

    bytes: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Manifest(_Table):
    """What an archive says of itself. `project` is the one project it holds; None for a whole home."""

    format: Literal[1] = 1  # FORMAT
    awm: str
    made: str
    what: Literal["home", "project"]
    project: Annotated[str, Field(pattern=ID_PATTERN)] | None
    members: dict[str, Member]


def pack(members: Mapping[str, bytes], *, awm: str, made: str, project: str | None) -> bytes:
    """The archive of `members`, by name. The same arguments give the same bytes. Raises BadFileError beyond a limit."""
    manifest = Manifest(
        awm=awm,
        made=made,
        what="home" if project is None else "project",
        project=project,
        members={
            name: Member(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
            for name, data in sorted(members.items())
        },
    )
    _check(manifest, "the archive")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in ((MANIFEST, jsontext.layout(manifest.model_dump())), *sorted(members.items())):
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o600
            tar.addfile(info, io.BytesIO(data))
    if packed.tell() > ARCHIVE_BYTES_MAX:
        raise _refused("the archive", f"it would have {packed.tell():,} bytes, more than {ARCHIVE_BYTES_MAX:,}")
    return gzip.compress(packed.getvalue(), mtime=0)


def unpack(path: Path) -> tuple[Manifest, dict[str, bytes]]:
    """The manifest and the members, by name. Raises BadFileError, and nothing else, whatever the bytes are."""
    files = _files(_unpacked(path), str(path))
    name, data = next(files, ("", b""))
    if name != MANIFEST:
        raise _refused(str(path), f"its first file is not {MANIFEST}")
    manifest = _manifest(data, Path(f"{path}!{MANIFEST}"))
    _check(manifest, str(path))
    members: dict[str, bytes] = {}
    for name, data in files:
        told = manifest.members.get(name)
        if told is None or name in members:
            why = "stands in it twice" if name in members else _why_no_name(name) or "is not in its manifest"
            raise _refused(str(path), f"{_shown(name)} {why}")
        if len(data) != told.bytes or hashlib.sha256(data).hexdigest() != told.sha256:
            raise _refused(str(path), f"{name} is not the file that its manifest names (size and sha256)")
        members[name] = data
    missing = sorted(manifest.members.keys() - members.keys())
    if missing:
        raise _refused(str(path), f"{missing[0]} is in its manifest, and not in it")
    return manifest, members


def _unpacked(path: Path) -> bytes:
    try:
        # O_NONBLOCK: opening a FIFO must not wait for a writer.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC), "rb") as file:
            is_file = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            packed = file.read(ARCHIVE_BYTES_MAX + 1) if is_file else b""
    except (OSError, ValueError) as error:  # a NUL in the name
        why = error.strerror if isinstance(error, OSError) else "no file has such a name"
        raise BadFileError(f"{path}: cannot be read: {why}", "awm import FILE") from error
    if not is_file:
        raise _refused(str(path), "it is not a regular file")
    stream = zlib.decompressobj(wbits=31)  # one gzip stream, of which no more is unpacked than asked for
    try:
        data = stream.decompress(packed, ARCHIVE_BYTES_MAX + 1)
    except zlib.error as error:
        raise _refused(str(path), "it is not a gzip file, or is damaged") from error
    if len(packed) > ARCHIVE_BYTES_MAX or len(data) > ARCHIVE_BYTES_MAX:
        raise _refused(str(path), f"it holds more than {ARCHIVE_BYTES_MAX:,} bytes")
    if not stream.eof:
        raise _refused(str(path), "it is cut off")
    if stream.unused_data:
        raise _refused(str(path), "more follows where it ends")
    return data


def _files(data: bytes, label: str) -> Iterator[tuple[str, bytes]]:
    """The plain files of a tar file, header by header; `tarfile` reads one, and follows none of its extensions."""
    at = 0
    while data[at : at + tarfile.BLOCKSIZE].strip(b"\0"):
        try:
            info = tarfile.TarInfo.frombuf(data[at : at + tarfile.BLOCKSIZE], "utf-8", "strict")
        except (tarfile.HeaderError, UnicodeDecodeError) as error:
            what = "a name that is not UTF-8" if isinstance(error, UnicodeDecodeError) else "a damaged header"
            raise _refused(label, f"it has {what} at byte {at:,}") from error
        if info.type != tarfile.REGTYPE:
            raise _refused(label, f"{_shown(info.name)} is {_kind(info)}, not a plain file")
        at += tarfile.BLOCKSIZE
        if not 0 <= info.size <= len(data) - at:
            raise _refused(label, f"{_shown(info.name)} is cut off")
        yield info.name, data[at : at + info.size]
        at += -(-info.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    if len(data) < at + 2 * tarfile.BLOCKSIZE or data[at:].strip(b"\0"):
        raise _refused(label, "it is cut off, or more follows where it ends")


def _kind(info: tarfile.TarInfo) -> str:
    kinds = {tarfile.SYMTYPE: "a symbolic link", tarfile.LNKTYPE: "a hard link", tarfile.DIRTYPE: "a directory"}
    kinds |= {tarfile.FIFOTYPE: "a FIFO", tarfile.CHRTYPE: "a device", tarfile.BLKTYPE: "a device"}
    return kinds.get(info.type, f"an entry of type {info.type!r}")


def _manifest(data: bytes, label: Path) -> Manifest:
    _check_size(MANIFEST, len(data), str(label))
    text, raw = jsontext.parse(data, label)
    version = raw.get("format") if isinstance(raw, dict) else None
    if isinstance(version, int) and version > FORMAT:  # looked at first: its other fields may have other shapes
        wanted = f"expected format {FORMAT} or older: a newer AWM made this archive"
        raise jsontext.complaint(label, text, ("format",), wanted, "upgrade AWM: git pull")
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        pointer = [part for part in problem["loc"] if part != "[key]"]
        raise jsontext.complaint(label, text, pointer, problem["msg"].lower(), _MADE_BY) from error


def _check(manifest: Manifest, label: str) -> None:
    """Names and sizes, before anything is read or written by them."""
    if len(manifest.members) > ARCHIVE_MEMBERS_MAX:
        raise _refused(label, f"it has {len(manifest.members):,} files, more than {ARCHIVE_MEMBERS_MAX:,}")
    seen: dict[str, str] = {}
    for name, member in manifest.members.items():
        why = _why_no_name(name)
        if why:
            raise _refused(label, f"{_shown(name)} {why}")
        other = seen.setdefault(name.casefold(), name)
        if other != name:
            raise _refused(label, f"{other} and {name} differ in case only: not every disk can hold both")
        _check_size(name, member.bytes, label)
    if manifest.what == "project" and {CONFIG, METRICS} & manifest.members.keys():
        raise _refused(label, f"the archive of a project has no {CONFIG} and no {METRICS}")
    missing = {STATE, PROJECTS, TRIGGERS} - manifest.members.keys()
    if missing or (manifest.what == "project") != (manifest.project is not None):
        raise _refused(label, f"{min(missing, default='the name of its project')} is missing, or too much")


def _check_size(name: str, size: int, label: str) -> None:
    most = ARCHIVE_JSON_BYTES_MAX if name.endswith(".json") else SPEC_BYTES_MAX
    most = ARCHIVE_CONFIG_BYTES_MAX if name.endswith(".toml") else most
    if size > most:
        raise _refused(label, f"{name} has {size:,} bytes, more than {most:,}")


def _why_no_name(name: str) -> str:
    """What is wrong with a member's name; "" for those that AWM gives. The last line alone decides."""
    if name.startswith("/"):
        return "is an absolute path"
    if ".." in name.split("/"):
        return "leads out of the archive"
    if any(unicodedata.category(char).startswith("C") for char in name):
        return "holds control characters"
    return "" if _NAME.fullmatch(name) else "is no name that AWM gives to a file of an archive"


def _shown(name: str) -> str:
    return ascii(name if len(name) <= SHOWN_CHARS_MAX else name[:SHOWN_CHARS_MAX] + "…")


def _refused(label: str, why: str) -> BadFileError:
    return BadFileError(f"{''.join(c if c.isprintable() else ascii(c)[1:-1] for c in label)}: {why}", _MADE_BY)
