import bz2
import gzip
import io
import lzma
import resource
import struct
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from nmt.corpus import archive
from nmt.errors import DataError, EnvironmentFault
from tests.corpus.test_fetch import tarball

FILES = {"d/train.en": b"one\ntwo\n" * 10_000, "./train.fr": b"un\n", "empty": b"", "../evil": b"x", "/abs": b"y"}


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as zip_file:
        for name, data in files.items():
            zip_file.writestr(name, data)
    return out.getvalue()


PACKED = {
    "tar": tarball(FILES, "w:"),
    "gz": tarball(FILES, "w:gz"),
    "bz2": tarball(FILES, "w:bz2"),
    "xz": tarball(FILES, "w:xz"),
    "zip": zipped(FILES),
    "zip stored": zipped(FILES, zipfile.ZIP_STORED),
    "gz in two members": gzip.compress(tarball(FILES, "w:")[:5000]) + gzip.compress(tarball(FILES, "w:")[5000:]),
    "xz in two streams": lzma.compress(tarball(FILES, "w:")[:5000]) + lzma.compress(tarball(FILES, "w:")[5000:]),
}


def write(folder: Path, data: bytes) -> Path:
    (folder / "in").mkdir()
    path = folder / "in" / "packed"
    path.write_bytes(data)
    return path


def refused(folder: Path, data: bytes, member: str = "m") -> str:
    path = write(folder, data)
    with pytest.raises(DataError) as caught:
        archive.take(path, {member: folder / "out"}, "a.tar")
    return str(caught.value)


@pytest.mark.parametrize("kind", PACKED)
def test_named_members_are_taken_and_nothing_else(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path, PACKED[kind])
    wanted = {"d/train.en": tmp_path / "1", "train.fr": tmp_path / "2", "empty": tmp_path / "3"}
    archive.take(path, wanted, "a.tar")
    assert (tmp_path / "1").read_bytes() == FILES["d/train.en"]
    assert (tmp_path / "2").read_bytes() == b"un\n"
    assert (tmp_path / "3").read_bytes() == b""
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1", "2", "3", "in"]
    assert not (tmp_path.parent / "evil").exists()


@pytest.mark.parametrize("kind", PACKED)
def test_a_missing_member_is_told_with_its_neighbours(tmp_path: Path, kind: str) -> None:
    assert refused(tmp_path, PACKED[kind], "train.en") == (
        "error: a.tar: the archive has no member train.en\n  it holds, among 5: d/train.en, train.fr"
    )


@pytest.mark.parametrize("kind", PACKED)
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.7])
def test_a_cut_archive_is_refused(tmp_path: Path, kind: str, share: float) -> None:
    data = PACKED[kind]
    text = refused(tmp_path, data[: int(share * len(data))], "/abs")
    assert text.startswith(
        ("error: a.tar: the archive cannot be read: ", "error: a.tar: the archive has no member /abs")
    )


@pytest.mark.parametrize("kind", ["tar", "gz", "bz2", "xz", "zip"])
def test_garbled_archives_raise_nothing_but_our_errors(tmp_path: Path, kind: str) -> None:
    good = PACKED[kind]
    path = write(tmp_path, good)
    refusals = 0
    for i in range(150):
        at = (i * 7919) % len(good) if i % 2 else i
        path.write_bytes(good[:at] + bytes([good[at] ^ (1 << (i % 8))]) + good[at + 1 :])
        try:
            archive.take(path, {"d/train.en": tmp_path / "1"}, "a.tar")
        except (DataError, EnvironmentFault):
            refusals += 1
    assert refusals > 10


def special(type_: bytes, link: str = "/etc/passwd") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        member = tarfile.TarInfo("m")
        member.type = type_
        member.linkname = link
        tar.addfile(member)
    return out.getvalue()


@pytest.mark.parametrize(
    ("type_", "words"),
    [
        (tarfile.SYMTYPE, "a symbolic link"),
        (tarfile.LNKTYPE, "a hard link"),
        (tarfile.CHRTYPE, "a device or a pipe"),
        (tarfile.BLKTYPE, "a device or a pipe"),
        (tarfile.FIFOTYPE, "a device or a pipe"),
        (tarfile.DIRTYPE, "a folder"),
    ],
)
def test_what_is_no_regular_file_is_refused(tmp_path: Path, type_: bytes, words: str) -> None:
    assert refused(tmp_path, special(type_)) == (
        f"error: a.tar: m is {words}\n  only regular files are taken out of archives"
    )
    assert not (tmp_path / "out").exists()


def test_a_hard_link_to_a_member_is_not_followed(tmp_path: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        data = tarfile.TarInfo("data")
        data.size = 1
        tar.addfile(data, io.BytesIO(b"x"))
        link = tarfile.TarInfo("m")
        link.type, link.linkname = tarfile.LNKTYPE, "data"
        tar.addfile(link)
    assert "m is a hard link" in refused(tmp_path, out.getvalue())


def test_a_symbolic_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as zip_file:
        info = zipfile.ZipInfo("m")
        info.external_attr = 0o120777 << 16
        zip_file.writestr(info, "/etc/passwd")
    assert "m is a link or a device" in refused(tmp_path, out.getvalue())


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    data = bytearray(zipped({"m": b"secret"}, zipfile.ZIP_STORED))
    data[data.index(b"PK\x01\x02") + 8] |= 1
    assert "m is encrypted" in refused(tmp_path, bytes(data))


def test_a_sparse_file_is_refused(tmp_path: Path) -> None:
    """256 bytes that claim a terabyte: no ratio of the packed stream would show it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo("m")
        member.pax_headers = {"GNU.sparse.map": "0,0", "GNU.sparse.size": str(1 << 40), "GNU.sparse.name": "m"}
        tar.addfile(member)
    assert "m is a sparse file" in refused(tmp_path, out.getvalue())


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_a_bomb_ends_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack: object) -> None:
    monkeypatch.setattr(archive, "RATIO_FLOOR_BYTES", 1 << 20)
    assert callable(pack)
    bomb = pack(tarball({"m": bytes(32 << 20)}, "w:"))
    assert len(bomb) < 100_000
    assert refused(tmp_path, bomb) == (
        "error: a.tar: the archive claims to hold more than 200 times its own size\n"
        "  this is no archive of text; unpack it yourself if you trust it"
    )
    assert (tmp_path / "out").stat().st_size < 21 << 20


def test_a_bomb_before_the_member_ends_as_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "RATIO_FLOOR_BYTES", 1 << 20)
    bomb = gzip.compress(tarball({"zeros": bytes(32 << 20), "m": b"x"}, "w:"))
    assert "more than 200 times its own size" in refused(tmp_path, bomb)


def test_a_zip_bomb_is_refused_before_a_byte_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "RATIO_FLOOR_BYTES", 1 << 20)
    assert "more than 200 times its own size" in refused(tmp_path, zipped({"m": bytes(32 << 20)}))
    assert not (tmp_path / "out").exists()


def test_a_zip_member_shorter_than_it_claims_is_refused(tmp_path: Path) -> None:
    data = bytearray(zipped({"m": b"hello"}))
    at = data.index(b"PK\x01\x02") + 24
    data[at : at + 4] = struct.pack("<I", 7)
    assert "m ends after 5 of 7 bytes" in refused(tmp_path, bytes(data))


def test_a_member_larger_than_any_corpus_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_MEMBER_BYTES", 1000)
    assert "m is larger than 0 GB" in refused(tmp_path, tarball({"m": bytes(1001)}))


def test_a_header_that_claims_gigabytes_takes_no_memory(tmp_path: Path) -> None:
    """tarfile reads a pax header at once; the stream under it refuses to give that much."""
    header = tarfile.TarInfo("pax")
    header.type, header.size = tarfile.XHDTYPE, 4 << 30
    path = write(tmp_path, gzip.compress(header.tobuf(tarfile.USTAR_FORMAT) + bytes(64 << 20)))
    program = (
        "import sys; from pathlib import Path; from nmt.corpus import archive\n"
        "from nmt.errors import DataError\n"
        "try: archive.take(Path(sys.argv[1]), {'m': Path(sys.argv[1] + '.out')}, 'a.tar')\n"
        "except DataError as error: print(error)"
    )
    limit = 512 << 20
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )
    assert done.returncode == 0, done.stderr
    assert "more than 200 times its own size" in done.stdout


def test_an_xz_header_that_asks_for_gigabytes_gets_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "XZ_MEMORY_BYTES", 1 << 20)
    assert "Memory usage limit" in refused(tmp_path, tarball({"m": b"x"}, "w:xz"))


@pytest.mark.parametrize("data", [b"", b"<html>not found</html>", b"\x1f\x8bnot gzip", struct.pack("<Q", 1) * 1000])
def test_what_is_no_archive_is_told_so(tmp_path: Path, data: bytes) -> None:
    text = refused(tmp_path, data)
    assert text.startswith("error: a.tar: the archive cannot be read: ")
    assert text.endswith("\n  tar, tar.gz, tar.bz2, tar.xz and zip can be")


def test_names_are_safe_to_print(tmp_path: Path) -> None:
    text = refused(tmp_path, tarball({"\x1b[2Jm" + "x" * 200: b""}))
    assert "\x1b" not in text
    assert "?[2Jmxxx" in text
    assert "xx..." in text


def test_of_two_members_with_one_name_the_first_counts(tmp_path: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for data in (b"1", b"2"):
            member = tarfile.TarInfo("m")
            member.size = 1
            tar.addfile(member, io.BytesIO(data))
    archive.take(write(tmp_path, out.getvalue()), {"m": tmp_path / "out"}, "a.tar")
    assert (tmp_path / "out").read_bytes() == b"1"


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    path = write(tmp_path, PACKED["gz"])
    with pytest.raises(EnvironmentFault, match="No such file or directory"):
        archive.take(path, {"d/train.en": tmp_path / "missing" / "out"}, "a.tar")
