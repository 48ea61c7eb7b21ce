"""Named files out of tar and zip archives, streamed to names of our own; an archive is never unpacked.

Nothing an archive says becomes a path: not its names, its links, its owners or its modes. Only regular files are taken,
and only those asked for, so what else it holds is never written. Sizes and ratios have caps: a few kilobytes can claim
to be petabytes.
"""

import bz2
import difflib
import gzip
import io
import lzma
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, cast

from nmt.durable import refusals
from nmt.errors import DataError

MAX_MEMBER_BYTES = 64 << 30
# Text compresses 3 to 20 times, zeros 1,000 times and more. Below the floor a ratio says nothing and harms nobody.
MAX_RATIO = 200
RATIO_FLOOR_BYTES = 16 << 20
# tarfile reads the extended names and attributes of a header at once, however long the archive says they are.
MAX_READ_BYTES = 16 << 20
# xz -9 needs 65 MB to decompress; a header can ask for 4 GB.
XZ_MEMORY_BYTES = 256 << 20
_CHUNK = 1 << 20

# What the standard library raises for archives that are cut or garbled; bz2 and gzip use an OSError without a number
# for that, and zipfile has NotImplementedError and RuntimeError for methods it does not know and for passwords.
_DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    lzma.LZMAError,
    zlib.error,
    struct.error,
    EOFError,
    ValueError,
    ArithmeticError,
    LookupError,
    NotImplementedError,
    RuntimeError,
)


def take(archive: Path, members: Mapping[str, Path], what: str) -> None:
    """Writes the named members of a tar (plain, gz, bz2 or xz) or zip archive to these paths, and fsyncs them.

    `members` maps names inside the archive to paths; names match with or without a leading `./`, and of two members
    with one name the first counts. `what` names the archive in messages. The paths are written in place: give temporary
    ones. Raises DataError for an archive that is damaged, or lacks a member, or holds it as anything but a regular file
    of reasonable size; EnvironmentFault where a path cannot be written.
    """
    wanted = {_plain(name): path for name, path in members.items()}
    with refusals(archive, "have files taken out of it"):
        try:
            with archive.open("rb") as file:
                is_zip = file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")
            names = _take_from_zip(archive, wanted, what) if is_zip else _take_from_tar(archive, wanted, what)
        except OSError as error:
            if error.errno is not None:
                raise
            raise _damaged(what, error) from error
        except _DAMAGE as error:
            raise _damaged(what, error) from error
    for name in wanted:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=3, cutoff=0.4) or sorted(names)[:3]
            hint = f"it holds, among {len(names):,}: {', '.join(_shown(n) for n in near)}" if near else "it is empty"
            raise DataError(f"{what}: the archive has no member {_shown(name)}", hint)


def _take_from_tar(archive: Path, wanted: Mapping[str, Path], what: str) -> set[str]:
    """Takes what it finds and gives the names it has seen; stops reading once it has everything."""
    left = dict(wanted)
    names: set[str] = set()
    with archive.open("rb") as file:
        source, compressed = _inflated(file)
        size = archive.stat().st_size
        limit = max(RATIO_FLOOR_BYTES, MAX_RATIO * size) if compressed else size
        # tarfile asks for no more of a file object than read, seek and tell.
        with tarfile.open(fileobj=cast(IO[bytes], _Forward(source, limit, what)), mode="r:") as tar:
            for member in tar:
                name = _plain(member.name)
                names.add(name)
                if name not in left:
                    continue
                if not member.isreg() or member.issparse():
                    raise _refused(what, name, _kind(member))
                data = tar.extractfile(member)
                assert data is not None  # only for what is not a regular file
                with data:
                    _copy(cast(IO[bytes], data), left.pop(name), member.size, what, name)
                if not left:
                    break
    return names


def _take_from_zip(archive: Path, wanted: Mapping[str, Path], what: str) -> set[str]:
    left = dict(wanted)
    names: set[str] = set()
    with zipfile.ZipFile(archive) as zipped:
        for member in zipped.infolist():
            name = _plain(member.filename)
            names.add(name)
            if name not in left:
                continue
            kind = stat.S_IFMT(member.external_attr >> 16)
            if member.is_dir() or kind not in (0, stat.S_IFREG):
                raise _refused(what, name, "a folder" if member.is_dir() else "a link or a device")
            if member.flag_bits & 1:
                raise _refused(what, name, "encrypted")
            if member.compress_type == zipfile.ZIP_LZMA:
                raise _refused(what, name, "compressed with LZMA")  # no way to bound its memory in zipfile
            if member.file_size > max(RATIO_FLOOR_BYTES, MAX_RATIO * member.compress_size):
                raise _too_large(what)
            with zipped.open(member) as data:
                _copy(data, left.pop(name), member.file_size, what, name)
    return names


def _copy(data: IO[bytes], path: Path, size: int, what: str, name: str) -> None:
    if size > MAX_MEMBER_BYTES:
        raise _refused(what, name, f"larger than {MAX_MEMBER_BYTES >> 30} GB")
    copied = 0
    with path.open("wb") as out:
        while chunk := data.read(_CHUNK):
            copied += len(chunk)
            out.write(chunk)
        out.flush()
        os.fsync(out.fileno())
    if copied != size:
        raise EOFError(f"{_shown(name)} ends after {copied:,} of {size:,} bytes")


class _Forward:
    """A stream for tarfile that only goes forward and counts: a bomb ends at `limit`, before disk or memory is full."""

    def __init__(self, source: IO[bytes], limit: int, what: str) -> None:
        self._source = source
        self._limit = limit
        self._what = what
        self._position = 0

    def tell(self) -> int:
        return self._position

    def read(self, size: int) -> bytes:
        if size > MAX_READ_BYTES:
            raise _too_large(self._what)
        chunk = self._source.read(size)
        self._position += len(chunk)
        if self._position > self._limit:
            raise _too_large(self._what)
        return chunk

    def seek(self, position: int) -> int:
        if position < self._position:
            raise tarfile.ReadError("members overlap")
        while self._position < position and self.read(min(_CHUNK, position - self._position)):
            pass
        return self._position


class _Xz(io.RawIOBase):
    """xz decompressed with bounded memory, which lzma.LZMAFile cannot promise; streams may follow one another."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY_BYTES)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        while True:
            data = b""
            if self._decompressor.eof:
                data = self._decompressor.unused_data.lstrip(b"\0") or self._file.read(_CHUNK).lstrip(b"\0")
                if not data:
                    return 0
                self._decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY_BYTES)
            elif self._decompressor.needs_input:
                data = self._file.read(_CHUNK)
                if not data:
                    raise EOFError("the xz stream is cut")
            chunk = self._decompressor.decompress(data, max_length=len(buffer))
            if chunk:
                buffer[: len(chunk)] = chunk
                return len(chunk)


def _inflated(file: IO[bytes]) -> tuple[IO[bytes], bool]:
    """The file's content without its compression, told by its first bytes, and whether there was one."""
    magic = file.read(6)
    file.seek(0)
    if magic.startswith(b"\x1f\x8b"):
        return cast(IO[bytes], gzip.GzipFile(fileobj=file, mode="rb")), True
    if magic.startswith(b"BZh"):
        return cast(IO[bytes], bz2.BZ2File(file, "rb")), True
    if magic == b"\xfd7zXZ\0":
        return cast(IO[bytes], io.BufferedReader(_Xz(file), _CHUNK)), True
    return file, False


def _plain(name: str) -> str:
    while name.startswith("./"):
        name = name[2:]
    return name


def _kind(member: tarfile.TarInfo) -> str:
    if member.issym():
        return "a symbolic link"
    if member.islnk():
        return "a hard link"
    if member.isdir():
        return "a folder"
    if member.issparse():
        return "a sparse file"
    return "a device or a pipe"


def _shown(name: str) -> str:
    """A name from an archive, safe to print on a terminal and short."""
    safe = "".join(char if char.isprintable() else "?" for char in name)
    return safe if len(safe) <= 100 else f"{safe[:97]}..."


def _refused(what: str, name: str, kind: str) -> DataError:
    return DataError(f"{what}: {_shown(name)} is {kind}", "only regular files are taken out of archives")


def _too_large(what: str) -> DataError:
    return DataError(
        f"{what}: the archive claims to hold more than {MAX_RATIO} times its own size",
        "this is no archive of text; unpack it yourself if you trust it",
    )


def _damaged(what: str, error: BaseException) -> DataError:
    return DataError(f"{what}: the archive cannot be read: {error}", "tar, tar.gz, tar.bz2, tar.xz and zip can be")
