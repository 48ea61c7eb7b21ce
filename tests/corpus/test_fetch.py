import gzip
import hashlib
import io
import json
import os
import random
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import nmt.corpus.fetch as fetch_file
from nmt.corpus.fetch import fetch
from nmt.errors import DataError, EnvironmentFault, UsageError
from nmt.lock import lock
from nmt.recipe import Download
from tests.corpus.bad_server import Site, serve

DATA = random.Random(1).randbytes(50_000)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(fetch_file, "PAUSES_S", (0.0, 0.0, 0.0))
    monkeypatch.setattr(fetch_file, "TIMEOUT_S", 0.3)
    with serve() as site:
        site.files["/train.en"] = DATA
        yield site


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def plain(site: Site, sha256: str = sha(DATA), path: str = "/train.en") -> Download:
    return Download(url=site.url + path, sha256=sha256, file="train.en")


def get(download: Download, folder: Path) -> list[str]:
    said: list[str] = []
    fetch([download], folder, said.append)
    return said


def visible(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if not name.startswith(".fetch"))


def refused(download: Download, folder: Path, kind: type[Exception] = EnvironmentFault) -> str:
    with pytest.raises(kind) as caught:
        fetch([download], folder, lambda _: None)
    return str(caught.value)


# --- plain files ---


def test_a_file_arrives_whole_with_its_progress(site: Site, tmp_path: Path) -> None:
    calls: list[tuple[str, int, int | None]] = []
    said: list[str] = []
    fetch([plain(site)], tmp_path / "a" / "b", said.append, lambda *call: calls.append(call))
    assert (tmp_path / "a" / "b" / "train.en").read_bytes() == DATA
    assert visible(tmp_path / "a" / "b") == ["train.en"]
    assert said == [f"train.en: downloading {site.url}/train.en"]
    assert calls[0] == ("train.en", 0, len(DATA))
    assert calls[-1] == ("train.en", len(DATA), len(DATA))
    assert [done for _, done, _ in calls] == sorted(done for _, done, _ in calls)
    assert site.seen_headers[0]["Accept-Encoding"] == "identity"


def test_what_is_there_is_not_asked_for_again(site: Site, tmp_path: Path) -> None:
    get(plain(site), tmp_path)
    assert get(plain(site), tmp_path) == ["train.en: already there"]
    assert len(site.ranges) == 1


def test_what_is_there_needs_no_writable_folder_and_no_lock(site: Site, tmp_path: Path) -> None:
    (tmp_path / "train.en").write_bytes(DATA)
    assert get(plain(site), tmp_path) == ["train.en: already there"]
    assert os.listdir(tmp_path) == ["train.en"]
    assert site.ranges == []


def test_the_checksum_of_the_text_holds_however_it_was_packed(site: Site, tmp_path: Path) -> None:
    for level in (1, 9):
        site.files["/train.en.gz"] = gzip.compress(DATA, level)
        folder = tmp_path / str(level)
        wanted = Download(url=f"{site.url}/train.en.gz", sha256=sha(DATA), file="train.en.gz", of="text")
        get(wanted, folder)
        assert gzip.decompress((folder / "train.en.gz").read_bytes()) == DATA
        assert get(wanted, folder) == ["train.en.gz: already there"]


@pytest.mark.parametrize("body", [gzip.compress(DATA + b"!"), gzip.compress(DATA)[:-9], b"not gzip", b""])
def test_another_text_or_no_whole_gzip_file_is_refused(site: Site, tmp_path: Path, body: bytes) -> None:
    site.files["/train.en.gz"] = body
    wanted = Download(url=f"{site.url}/train.en.gz", sha256=sha(DATA), file="train.en.gz", of="text")
    assert "the recipe says" in refused(wanted, tmp_path)
    assert visible(tmp_path) == []


def test_a_text_that_unpacks_without_end_is_refused(site: Site, tmp_path: Path) -> None:
    site.files["/bomb.gz"] = gzip.compress(bytes(64 << 20))
    wanted = Download(url=f"{site.url}/bomb.gz", sha256=sha(bytes(64 << 20)), file="bomb.gz", of="text")
    assert "it unpacks to more than 200 times its size" in refused(wanted, tmp_path)


def test_another_file_in_the_way_is_never_overwritten(site: Site, tmp_path: Path) -> None:
    (tmp_path / "train.en").write_bytes(b"mine")
    assert refused(plain(site), tmp_path) == (
        f"error: {tmp_path}/train.en is there, but it is not the file of the recipe: its sha256 is {sha(b'mine')}, "
        f"not {sha(DATA)}\n  move it away and run this again: what is there is never overwritten"
    )
    assert (tmp_path / "train.en").read_bytes() == b"mine"
    assert site.ranges == []


@pytest.mark.parametrize("cut", [0, 1, 1000, len(DATA) - 1])
def test_a_cut_download_goes_on_where_it_ended(site: Site, tmp_path: Path, cut: int) -> None:
    site.tricks = [f"cut={cut}"]
    said = get(plain(site), tmp_path)
    assert (tmp_path / "train.en").read_bytes() == DATA
    assert site.ranges == [None, f"bytes={cut}-" if cut else None]
    assert said[1] == f"train.en: the connection ended after {cut:,} of 50,000 bytes; trying again"
    if cut:
        assert said[2] == f"train.en: going on from byte {cut:,} of {site.url}/train.en"


def test_the_next_call_goes_on_where_the_last_one_gave_up(site: Site, tmp_path: Path) -> None:
    site.tricks = ["cut=10000", "cut=10000", "cut=10000", "cut=10000"]
    assert refused(plain(site), tmp_path) == (
        f"error: {site.url}/train.en: the connection ended after 40,000 of 50,000 bytes, after 4 attempts\n"
        "  40,000 bytes are kept; run this again to go on from there"
    )
    assert visible(tmp_path) == [f"train.en-{sha(DATA)[:12]}.part"]
    site.ranges.clear()
    get(plain(site), tmp_path)
    assert site.ranges == ["bytes=40000-"]
    assert (tmp_path / "train.en").read_bytes() == DATA
    assert visible(tmp_path) == ["train.en"]


def test_a_server_that_ignores_ranges_is_read_from_the_start(site: Site, tmp_path: Path) -> None:
    site.tricks = ["cut=20000", "ignore-range"]
    get(plain(site), tmp_path)
    assert (tmp_path / "train.en").read_bytes() == DATA
    assert site.ranges == [None, "bytes=20000-"]


def test_a_server_that_sends_another_range_is_not_believed(site: Site, tmp_path: Path) -> None:
    site.tricks = ["cut=20000", "wrong-start"]
    said = get(plain(site), tmp_path)
    assert "train.en: the server sent from byte 20007, we asked from byte 20000; trying again" in said
    assert (tmp_path / "train.en").read_bytes() == DATA


def test_more_promised_than_there_is_does_not_matter_when_the_checksum_is_right(site: Site, tmp_path: Path) -> None:
    site.tricks = ["too-long"]
    get(plain(site), tmp_path)
    assert (tmp_path / "train.en").read_bytes() == DATA
    assert len(site.ranges) == 1


def test_less_promised_than_there_is_ends_in_a_wrong_checksum(site: Site, tmp_path: Path) -> None:
    site.tricks = ["too-short"]
    assert "what came (49,900 bytes) has sha256" in refused(plain(site), tmp_path)
    assert visible(tmp_path) == []


def test_a_flipped_byte_is_found_and_nothing_is_kept(site: Site, tmp_path: Path) -> None:
    wrong = DATA[:-1] + bytes([DATA[-1] ^ 1])
    site.tricks = ["flip", "flip"]
    for _ in range(2):  # the second run must not take the first one's file for granted
        assert refused(plain(site), tmp_path) == (
            f"error: {site.url}/train.en: what came (50,000 bytes) has sha256 {sha(wrong)}, "
            f"the recipe says {sha(DATA)}\n"
            "  nothing was kept; the file there has changed, or the recipe's sha256 is wrong: ask its author"
        )
        assert visible(tmp_path) == []
    get(plain(site), tmp_path)
    assert (tmp_path / "train.en").read_bytes() == DATA


def test_a_file_that_changed_between_two_attempts_is_read_from_the_start(site: Site, tmp_path: Path) -> None:
    part = tmp_path / f"train.en-{sha(DATA)[:12]}.part"
    part.write_bytes(b"from another file" * 100)
    said = get(plain(site), tmp_path)
    assert "train.en: what was kept from an earlier attempt does not fit what came now; trying again" in said
    assert site.ranges == ["bytes=1700-", None]
    assert (tmp_path / "train.en").read_bytes() == DATA


def test_a_part_longer_than_the_file_is_thrown_away(site: Site, tmp_path: Path) -> None:
    (tmp_path / f"train.en-{sha(DATA)[:12]}.part").write_bytes(DATA + b"more")
    get(plain(site), tmp_path)
    assert (tmp_path / "train.en").read_bytes() == DATA


def test_a_part_that_is_whole_needs_no_network(site: Site, tmp_path: Path) -> None:
    (tmp_path / f"train.en-{sha(DATA)[:12]}.part").write_bytes(DATA)
    get(plain(site), tmp_path)
    assert (tmp_path / "train.en").read_bytes() == DATA
    assert site.ranges == []


@pytest.mark.parametrize("trick", ["no-length", "chunked"])
def test_a_server_that_does_not_say_how_much_there_is(site: Site, tmp_path: Path, trick: str) -> None:
    site.tricks = [trick]
    totals: list[int | None] = []
    fetch([plain(site)], tmp_path, lambda _: None, lambda _name, _done, total: totals.append(total))
    assert (tmp_path / "train.en").read_bytes() == DATA
    assert set(totals) == {None}


@pytest.mark.parametrize("trick", ["no-length-cut=20000", "chunked-cut=20000"])
def test_a_cut_without_a_length_goes_on_as_well(site: Site, tmp_path: Path, trick: str) -> None:
    site.tricks = [trick]
    get(plain(site), tmp_path)
    assert (tmp_path / "train.en").read_bytes() == DATA
    assert site.ranges == [None, "bytes=20000-"]


def test_404_is_told_at_once(site: Site, tmp_path: Path) -> None:
    assert refused(plain(site, path="/moved"), tmp_path) == (
        f"error: {site.url}/moved: the server answered 404 Not Found\n"
        "  open the address in a browser; if the file has moved, correct corpus.downloads"
    )
    assert len(site.ranges) == 1
    assert visible(tmp_path) == []


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_server_in_trouble_is_asked_again(site: Site, tmp_path: Path, status: int) -> None:
    site.tricks = [f"status={status}"]
    said = get(plain(site), tmp_path)
    assert said[1].startswith(f"train.en: the server answered {status} ")
    assert (tmp_path / "train.en").read_bytes() == DATA


def test_attempts_end(site: Site, tmp_path: Path) -> None:
    site.tricks = ["status=500"] * 50
    assert refused(plain(site), tmp_path) == (
        f"error: {site.url}/train.en: the server answered 500 Internal Server Error, after 4 attempts\n"
        "  try again later"
    )
    assert len(site.ranges) == 4


def test_a_silent_server_is_left_and_asked_again(site: Site, tmp_path: Path) -> None:
    site.tricks = ["stall=30000"]
    said = get(plain(site), tmp_path)
    assert said[1] == "train.en: the server was silent for 0 seconds after 30,000 bytes; trying again"
    assert site.ranges == [None, "bytes=30000-"]
    assert (tmp_path / "train.en").read_bytes() == DATA


def test_a_server_that_drips_is_taken_for_silent(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_file, "SLOW_WINDOW_S", 0.2)
    site.tricks = ["drip"]
    said = get(plain(site), tmp_path)
    assert said[1].startswith("train.en: the server sends almost nothing after ")
    assert (tmp_path / "train.en").read_bytes() == DATA


def test_nobody_listens(site: Site, tmp_path: Path) -> None:
    download = Download(url="http://127.0.0.1:9/train.en", sha256=sha(DATA), file="train.en")
    assert refused(download, tmp_path) == (
        "error: http://127.0.0.1:9/train.en: the connection failed: Connection refused, after 4 attempts\n"
        "  try again later"
    )


def test_redirects_are_followed(site: Site, tmp_path: Path) -> None:
    site.tricks = ["redirect=SITE/b", "redirect=/train.en"]
    get(plain(site, path="/a"), tmp_path)
    assert (tmp_path / "train.en").read_bytes() == DATA


@pytest.mark.parametrize("target", ["SITE/a", "file:///etc/passwd", "ftp://127.0.0.1/train.en", "data:,x"])
def test_redirects_without_end_or_to_other_schemes_are_not(site: Site, tmp_path: Path, target: str) -> None:
    site.tricks = [f"redirect={target}"] * 50
    assert refused(plain(site, path="/a"), tmp_path).startswith(
        f"error: {site.url}/a: redirects without end, or to what is not http (302)\n"
    )
    assert len(site.ranges) <= 7
    assert visible(tmp_path) == []


def test_a_proxy_for_ftp_opens_no_way_to_ftp(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ftp_proxy", site.url)
    site.tricks = ["redirect=ftp://corpus.invalid/train.en"]
    site.files["ftp://corpus.invalid/train.en"] = DATA
    assert "to what is not http (302)" in refused(plain(site, path="/a"), tmp_path)
    assert len(site.ranges) == 1


def test_more_than_the_disk_holds_is_refused_before_it_comes(site: Site, tmp_path: Path) -> None:
    site.tricks = [f"length={60 << 30}"]
    if os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize > 60 << 30:
        site.tricks = [f"length={65 << 30}"]
    assert " MB are free" in (text := refused(plain(site), tmp_path)) or "more than 64 GB" in text


def test_an_endless_body_ends(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_file, "MAX_BYTES", 20_000)
    site.tricks = ["chunked"]
    assert "GB came" in refused(plain(site), tmp_path)


def test_a_full_disk_keeps_what_came(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fetch_file.os, "fsync", full)
    text = refused(plain(site), tmp_path)
    assert "cannot be written: No space left on device" in text
    assert "free some space" in text
    monkeypatch.undo()
    assert visible(tmp_path) == [f"train.en-{sha(DATA)[:12]}.part"]


def test_two_at_once_do_not_write_over_each_other(site: Site, tmp_path: Path) -> None:
    with lock(tmp_path / ".fetch.lock"):
        assert "in use by" in refused(plain(site), tmp_path)
    assert site.ranges == []


def test_the_proxy_of_the_environment_is_used(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", site.url)
    monkeypatch.delenv("no_proxy", raising=False)
    site.files["http://corpus.invalid/train.en"] = DATA  # what a proxy is asked for
    fetch([Download(url="http://corpus.invalid/train.en", sha256=sha(DATA), file="x")], tmp_path, lambda _: None)
    assert (tmp_path / "x").read_bytes() == DATA


@pytest.mark.parametrize(
    "name", ["../x", "/etc/x", "a/b", ".hidden", "x.part", "fetched.json", "", "..", "a\\b", "a\nb"]
)
def test_names_that_leave_the_folder_are_refused(site: Site, tmp_path: Path, name: str) -> None:
    for download in (
        Download(url=f"{site.url}/train.en", sha256=sha(DATA), file=name),
        Download(url=f"{site.url}/train.en", sha256=sha(DATA), members={"a": name}),
    ):
        assert refused(download, tmp_path / "new", UsageError) == (
            f"error: corpus.downloads: {name!r} cannot be kept under that name\n"
            "  give a plain file name: no folders, not hidden, not .part"
        )
    assert site.ranges == []
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "url", ["http://", "http:///x", "http://h:port/x", "http://h/a b", "http://h/\u00e9", "http://[h/x"]
)
def test_addresses_that_cannot_be_are_refused(tmp_path: Path, url: str) -> None:
    assert refused(Download(url=url, sha256=sha(DATA), file="x"), tmp_path, UsageError) == (
        f"error: corpus.downloads: {url!r} is not an address\n  write http:// or https://, in plain ASCII"
    )


def test_a_host_that_is_no_host_name(site: Site, tmp_path: Path) -> None:
    assert "the connection failed" in refused(Download(url="http://a..b/x", sha256=sha(DATA), file="x"), tmp_path)


def test_two_files_under_one_name_are_refused(site: Site, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"two files are to be kept as train\.en") as caught:
        fetch([plain(site), plain(site, sha(b""))], tmp_path, lambda _: None)
    assert caught.value.hint == "give each its own name"


# --- archives ---


def tarball(files: dict[str, bytes], mode: str = "w:gz") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


def packed(site: Site, files: dict[str, bytes], members: dict[str, str]) -> Download:
    data = tarball(files)
    site.files["/a.tgz"] = data
    return Download(url=f"{site.url}/a.tgz", sha256=sha(data), members=members)


def test_members_are_taken_and_recognised_later(site: Site, tmp_path: Path) -> None:
    files = {"x/train.en": b"one\n", "x/train.fr": b"un\n", "x/readme": b"no\n"}
    download = packed(site, files, {"x/train.en": "train.en", "x/train.fr": "train.fr"})
    said = get(download, tmp_path)
    assert said[-2:] == ["train.en: taken out of a.tgz", "train.fr: taken out of a.tgz"]
    assert (tmp_path / "train.en").read_bytes() == b"one\n"
    assert (tmp_path / "train.fr").read_bytes() == b"un\n"
    assert visible(tmp_path) == ["fetched.json", "train.en", "train.fr"]
    assert get(download, tmp_path) == ["train.en: already there", "train.fr: already there"]
    assert len(site.ranges) == 1


def test_only_the_missing_member_is_brought_again(site: Site, tmp_path: Path) -> None:
    download = packed(site, {"a": b"1", "b": b"2"}, {"a": "a.txt", "b": "b.txt"})
    get(download, tmp_path)
    (tmp_path / "a.txt").unlink()
    before = (tmp_path / "b.txt").stat()
    get(download, tmp_path)
    assert (tmp_path / "a.txt").read_bytes() == b"1"
    assert (tmp_path / "b.txt").stat().st_ino == before.st_ino


@pytest.mark.parametrize("record", [None, "{", "[]", '{"x": 1}'])
def test_a_file_we_cannot_vouch_for_is_not_overwritten(site: Site, tmp_path: Path, record: str | None) -> None:
    download = packed(site, {"a": b"1"}, {"a": "a.txt"})
    (tmp_path / "a.txt").write_bytes(b"mine")
    if record is not None:
        (tmp_path / "fetched.json").write_text(record)
    assert refused(download, tmp_path) == (
        f"error: {tmp_path}/a.txt is there, but it is not what we took out of {site.url}/a.tgz\n"
        "  move it away and run this again: what is there is never overwritten"
    )
    assert (tmp_path / "a.txt").read_bytes() == b"mine"


def test_a_taken_file_that_was_changed_is_noticed(site: Site, tmp_path: Path) -> None:
    download = packed(site, {"a": b"1"}, {"a": "a.txt"})
    get(download, tmp_path)
    (tmp_path / "a.txt").write_bytes(b"2")
    assert "is not what we took out of" in refused(download, tmp_path)


def test_the_record_holds_several_archives(site: Site, tmp_path: Path) -> None:
    first = packed(site, {"a": b"1"}, {"a": "a.txt"})
    get(first, tmp_path)
    second = packed(site, {"a": b"2"}, {"a": "b.txt"})
    get(second, tmp_path)
    site.files.clear()
    fetch([first, second], tmp_path, lambda _: None)
    assert len(json.loads((tmp_path / "fetched.json").read_text())) == 2


def test_a_wrong_member_name_costs_no_second_download(site: Site, tmp_path: Path) -> None:
    download = packed(site, {"data/train.en": b"1"}, {"train.en": "train.en"})
    assert refused(download, tmp_path, DataError) == (
        f"error: {site.url}/a.tgz: the archive has no member train.en\n  it holds, among 1: data/train.en"
    )
    assert visible(tmp_path) == [f"a.tgz-{download.sha256[:12]}.part"]
    right = Download(url=download.url, sha256=download.sha256, members={"data/train.en": "train.en"})
    get(right, tmp_path)
    assert len(site.ranges) == 1
    assert visible(tmp_path) == ["fetched.json", "train.en"]


@pytest.mark.parametrize("member", ["../x", "/etc/passwd", "a/../../x", ".."])
def test_members_with_names_that_climb_are_refused(site: Site, tmp_path: Path, member: str) -> None:
    assert refused(packed(site, {member: b"1"}, {member: "x"}), tmp_path, UsageError) == (
        f"error: corpus.downloads: {member!r} is not a name of a file inside an archive\n"
        "  names that begin with / or go up with .. are never taken"
    )


def test_killed_before_the_names_means_brought_again(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    download = packed(site, {"a": b"1", "b": b"2"}, {"a": "a.txt", "b": "b.txt"})
    real = os.replace

    def fails_for_b(source: Path, target: Path) -> None:
        if target.name == "b.txt":
            raise OSError(5, "Input/output error")
        real(source, target)

    monkeypatch.setattr(fetch_file.os, "replace", fails_for_b)
    assert "Input/output error" in refused(download, tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr(fetch_file, "PAUSES_S", ())
    assert not (tmp_path / "b.txt").exists()
    get(download, tmp_path)
    assert (tmp_path / "b.txt").read_bytes() == b"2"
    assert visible(tmp_path) == ["a.txt", "b.txt", "fetched.json"]
