"""Downloads that a recipe names, each with its sha256; the only code of this program that uses the network.

A file gets its name only once its checksum is right, and what is already there is never overwritten. What has come so
far waits in a `.part` file, so that a cut connection goes on where it ended. Files taken out of archives have no
checksum in the recipe: `fetched.json` beside them keeps theirs, so that they too can be recognised.
"""

import gzip
import hashlib
import http.client
import json
import os
import re
import shutil
import ssl
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from nmt.corpus import archive
from nmt.durable import make_folder, refusals, sync_folder, write_file
from nmt.errors import EnvironmentFault, UsageError
from nmt.lock import lock
from nmt.recipe import Download

TIMEOUT_S = 30.0
# Pauses before the second, third, ... attempt; after the last one we give up until the user asks again.
PAUSES_S = (1.0, 2.0, 4.0, 8.0)
# A server that sends a byte now and then never times out: slower than this is taken for a cut connection.
SLOW_WINDOW_S = 60.0
SLOW_BYTES = 64 << 10
MAX_BYTES = 64 << 30
RECORD = "fetched.json"
_CHUNK = 256 << 10

Progress = Callable[[str, int, int | None], None]
"""Called with a name, the bytes that are here, and the bytes in all where the server says how many."""


class _TroubleError(Exception):
    """What may be gone at the next attempt. `received` tells whether any byte came in this one."""

    def __init__(self, what: str, received: bool = False) -> None:
        super().__init__(what)
        self.received = received


def fetch(
    downloads: Sequence[Download], folder: Path, say: Callable[[str], None], progress: Progress | None = None
) -> None:
    """Brings into `folder` every file that `downloads` name, unless it is there already with the right content.

    Raises UsageError for names and addresses that cannot be; EnvironmentFault for trouble with the network or the disk,
    for a checksum that differs, and for another file in the way; DataError for an archive that lacks a member or is not
    fit to be read. Running it again goes on with what is missing.
    """
    _check(downloads)
    missing = [download for download in downloads if not _is_here(download, folder, say)]
    if not missing:
        return
    with refusals(folder, "be made"):
        make_folder(folder)
    with lock(folder / ".fetch.lock"):
        for download in missing:
            # Somebody else may have brought it between our look and our lock.
            if not _is_here(download, folder, lambda _: None):
                _bring(download, folder, say, progress or (lambda *_: None))


def _check(downloads: Sequence[Download]) -> None:
    """Everything about the recipe's entries that can be known without a network. A recipe may come from anybody."""
    kept: set[str] = set()
    for download in downloads:
        url = download.url
        try:
            parts = urlsplit(url)
            fits = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:  # a port that is no number, a bracket without its fellow
            fits = False
        if not fits or not url.isascii() or not url.isprintable() or " " in url:
            raise UsageError(
                f"corpus.downloads: {url!r} is not an address", "write http:// or https://, in plain ASCII"
            )
        for name in [download.file] if download.file is not None else download.members.values():
            if not re.fullmatch(r"[^/\\\x00-\x1f.][^/\\\x00-\x1f]*", name) or name == RECORD or name.endswith(".part"):
                raise UsageError(
                    f"corpus.downloads: {name!r} cannot be kept under that name",
                    "give a plain file name: no folders, not hidden, not .part",
                )
            if name in kept:
                raise UsageError(f"corpus.downloads: two files are to be kept as {name}", "give each its own name")
            kept.add(name)
        for member in download.members:
            if member.startswith("/") or ".." in member.split("/"):
                raise UsageError(
                    f"corpus.downloads: {member!r} is not a name of a file inside an archive",
                    "names that begin with / or go up with .. are never taken",
                )


def _is_here(download: Download, folder: Path, say: Callable[[str], None]) -> bool:
    """Whether all of it is in the folder, and right. EnvironmentFault where something else has the name."""
    hint = "move it away and run this again: what is there is never overwritten"
    if download.file is not None:
        path = folder / download.file
        if not os.path.lexists(path):
            return False
        found = _checksum(path, download)
        if found != download.sha256:
            raise EnvironmentFault(
                f"{path} is there, but it is not the file of the recipe: its sha256 is {found}, not {download.sha256}",
                hint,
            )
        say(f"{download.file}: already there")
        return True
    record = _read_record(folder).get(download.sha256, {})
    here = [(member, name) for member, name in download.members.items() if os.path.lexists(folder / name)]
    for member, name in here:
        if record.get(name) != {"member": member, "sha256": _sha256(folder / name)}:
            raise EnvironmentFault(f"{folder / name} is there, but it is not what we took out of {download.url}", hint)
    if len(here) < len(download.members):
        return False
    for name in download.members.values():
        say(f"{name}: already there")
    return True


def _bring(download: Download, folder: Path, say: Callable[[str], None], progress: Progress) -> None:
    label = download.file or urlsplit(download.url).path.rpartition("/")[2] or "archive"
    label = re.sub(r"[^A-Za-z0-9._-]", "_", label)[-80:]
    part = folder / f"{label}-{download.sha256[:12]}.part"
    _download(download, part, say, lambda done, total: progress(label, done, total))
    if download.file is not None:
        with refusals(folder / download.file, "be written"):
            os.replace(part, folder / download.file)
            sync_folder(folder)
        return
    # A verified archive stays when taking members fails: after a correction of the recipe it is not downloaded again.
    left = {member: name for member, name in download.members.items() if not os.path.lexists(folder / name)}
    hidden = {member: folder / f".tmp-{name}-{os.getpid()}" for member, name in left.items()}
    try:
        archive.take(part, hidden, download.url)
        record = _read_record(folder)
        taken = record.setdefault(download.sha256, {})
        for member, name in left.items():
            taken[name] = {"member": member, "sha256": _sha256(hidden[member])}
        # First the record, then the names: killed in between, the files are missing and are brought again.
        write_file(folder / RECORD, (json.dumps(record, indent=1, sort_keys=True) + "\n").encode())
        with refusals(folder, "be written to"):
            for member, name in left.items():
                os.replace(hidden[member], folder / name)
                say(f"{name}: taken out of {label}")
            part.unlink()
            sync_folder(folder)
    finally:
        for path in hidden.values():
            with suppress(OSError):
                path.unlink()


def _download(
    download: Download, part: Path, say: Callable[[str], None], tell: Callable[[int, int | None], None]
) -> None:
    """Brings the bytes with the right checksum to `part`, in a few attempts that go on from each other."""
    name, what = part.name.rpartition("-")[0], ""
    if part.exists() and _checksum(part, download) == download.sha256:
        return
    for attempt, pause in enumerate((0.0, *PAUSES_S), 1):
        time.sleep(pause)
        kept = _size(part)
        say(f"{name}: going on from byte {kept:,} of {download.url}" if kept else f"{name}: downloading {download.url}")
        try:
            _receive(download.url, part, kept, tell)
        except _TroubleError as trouble:
            what = str(trouble)
            # A server may have promised more than there is: the checksum decides, not the length.
            if trouble.received and _checksum(part, download) == download.sha256:
                return
        else:
            found, size = _checksum(part, download), _size(part)
            if found == download.sha256:
                return
            with refusals(part, "be removed"):
                part.unlink()
            if not kept:
                raise EnvironmentFault(
                    f"{download.url}: what came ({size:,} bytes) has sha256 {found}, the recipe says {download.sha256}",
                    "nothing was kept; the file there has changed, or the recipe's sha256 is wrong: ask its author",
                )
            what = "what was kept from an earlier attempt does not fit what came now"
        if attempt <= len(PAUSES_S):
            say(f"{name}: {what}; trying again")
    hint = f"{_size(part):,} bytes are kept; run this again to go on from there" if _size(part) else "try again later"
    raise EnvironmentFault(f"{download.url}: {what}, after {len(PAUSES_S) + 1} attempts", hint)


def _receive(url: str, part: Path, kept: int, tell: Callable[[int, int | None], None]) -> None:
    """One attempt: appends to `part` what follows its `kept` bytes, or starts it anew where the server insists."""
    request = urllib.request.Request(url, headers={"User-Agent": "nmt", "Accept-Encoding": "identity"})
    if kept:
        request.add_header("Range", f"bytes={kept}-")
    response = _open(request, url, bool(kept))
    if response is None:
        return
    with closing(response):
        total = response.length
        if response.status == 206:
            start, total = _range(response.headers.get("Content-Range", ""))
            if start != kept:
                with refusals(part, "be removed"):
                    part.unlink(missing_ok=True)
                raise _TroubleError(f"the server sent from byte {start}, we asked from byte {kept}")
        elif response.status == 200:
            kept = 0
        else:
            raise _TroubleError(f"the server answered {response.status} {response.reason}")
        _check_room(url, part.parent, kept, total)
        with refusals(part, "be written"), part.open("ab" if kept else "wb") as out:
            _copy(url, response, out, kept, total, tell)


def _open(request: urllib.request.Request, url: str, resuming: bool) -> http.client.HTTPResponse | None:
    """The server's answer; None where it says that there is nothing after what we have."""
    try:
        return _make_opener().open(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and resuming:
            return None
        answer = f"the server answered {error.code} {http.client.responses.get(error.code, '')}".rstrip()
        if error.code >= 500 or error.code in (408, 429):
            raise _TroubleError(answer) from error
        if error.code < 400:
            answer = f"redirects without end, or to what is not http ({error.code})"
        raise EnvironmentFault(
            f"{url}: {answer}", "open the address in a browser; if the file has moved, correct corpus.downloads"
        ) from error
    except (http.client.HTTPException, OSError, UnicodeError) as error:  # UnicodeError: the host
        reason = getattr(error, "reason", error)  # a URLError wraps what happened
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise EnvironmentFault(
                f"{url}: the server's certificate is not to be trusted: {reason.verify_message}",
                "is the clock of this machine right, and is a proxy in between?",
            ) from error
        raise _TroubleError(_in_words(reason)) from error


def _copy(
    url: str,
    response: http.client.HTTPResponse,
    out: Any,
    done: int,
    total: int | None,
    tell: Callable[[int, int | None], None],
) -> None:
    """Appends the body to `out`; _TroubleError where it is cut, or as good as cut."""
    first, window, window_done = done, time.monotonic(), done
    tell(done, total)
    while total is None or done < total:
        try:
            # read1 gives what has come; read would sit inside its loop while a server sends a byte a minute.
            chunk = response.read1(_CHUNK if total is None else min(_CHUNK, total - done))
        except (http.client.HTTPException, OSError) as error:
            out.flush()
            raise _TroubleError(f"{_in_words(error)} after {done:,} bytes", done > first) from error
        if not chunk:
            break
        out.write(chunk)
        done += len(chunk)
        tell(done, total)
        if done > MAX_BYTES:
            raise EnvironmentFault(f"{url}: more than {MAX_BYTES >> 30} GB came", "is this the right address?")
        if time.monotonic() - window >= SLOW_WINDOW_S:
            if done - window_done < SLOW_BYTES:
                out.flush()
                raise _TroubleError(f"the server sends almost nothing after {done:,} bytes", True)
            window, window_done = time.monotonic(), done
    out.flush()
    os.fsync(out.fileno())
    if total is None and not response.chunked:
        # The end of the connection is all that tells the end of the file: the checksum must say whether it was one.
        raise _TroubleError(f"the connection ended after {done:,} bytes, which are not all or not the right ones", True)
    if total is not None and done < total:
        raise _TroubleError(f"the connection ended after {done:,} of {total:,} bytes", done > first)


def _check_room(url: str, folder: Path, kept: int, total: int | None) -> None:
    if total is None:
        return
    if total > MAX_BYTES:
        raise EnvironmentFault(
            f"{url}: {total:,} bytes are more than {MAX_BYTES >> 30} GB", "is this the right address?"
        )
    with refusals(folder, "be read"):
        free = shutil.disk_usage(folder).free
    if free < total - kept:
        raise EnvironmentFault(
            f"{folder}: {(total - kept) / 1e6:,.0f} MB are to come from {url}, {free / 1e6:,.0f} MB are free",
            "free some space there, then run this again",
        )


def _range(header: str) -> tuple[int | None, int | None]:
    """First byte and length in all of `Content-Range: bytes 100-199/200`."""
    found = re.fullmatch(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)", header.strip())
    if found is None:
        return None, None
    return int(found[1]), None if found[2] == "*" else int(found[2])


def _in_words(reason: object) -> str:
    if isinstance(reason, TimeoutError):
        return f"the server was silent for {TIMEOUT_S:.0f} seconds"
    if isinstance(reason, http.client.IncompleteRead):
        return "the connection ended"
    words = reason.strerror if isinstance(reason, OSError) and reason.strerror else str(reason)
    return f"the connection failed: {words or type(reason).__name__}"


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects from http(s) to http(s) only; the library's own would go to ftp as well."""

    max_redirections = 5

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if urlsplit(newurl).scheme not in ("http", "https"):
            raise urllib.error.HTTPError(req.full_url, code, msg, headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _make_opener() -> urllib.request.OpenerDirector:
    """Knows http and https, and the proxies of the environment; build_opener would add file, ftp and data."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    return opener


def _read_record(folder: Path) -> dict[str, dict[str, Any]]:
    """What `fetched.json` says was taken from which archive; nothing where it is missing or not ours."""
    try:
        record = json.loads((folder / RECORD).read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(record, dict) or not all(isinstance(taken, dict) for taken in record.values()):
        return {}
    return record


def _checksum(path: Path, download: Download) -> str:
    """What is compared with the recipe's sha256: that of the file, or of what a gzip file holds, however compressed."""
    if download.of == "file":
        return _sha256(path)
    digest, held = hashlib.sha256(), 0
    limit = max(archive.RATIO_FLOOR_BYTES, archive.MAX_RATIO * _size(path))
    try:
        with gzip.open(path) as text:
            while block := text.read(1 << 20):
                held += len(block)
                if held > limit:
                    return f"not taken: it unpacks to more than {archive.MAX_RATIO} times its size"
                digest.update(block)
    except (OSError, EOFError, zlib.error):
        return "not a whole gzip file"
    return digest.hexdigest()


def _sha256(path: Path) -> str:
    with refusals(path, "be read"), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
