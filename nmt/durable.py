"""Files and folders that appear whole or not at all: write beside, fsync, rename. Also failpoints.

A published folder holds `manifest.json` with the size and sha256 of every other file in it. Until a folder has its
final name it is called `.tmp-<name>-<pid>`; a folder being removed is called `.gone-<name>-<pid>`. Neither is ever
read as data.
"""

import errno
import hashlib
import io
import json
import os
import re
import shutil
import signal
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

from nmt.errors import EnvironmentFault, ModelError, NmtError, UsageError
from nmt.processes import is_alive

MANIFEST = "manifest.json"
FORMAT = 1

_STEPS = {
    "publish": ("folder", "write", "sync", "manifest", "sync-manifest", "sync-folder", "rename", "sync-parent"),
    "write": ("write", "sync", "rename", "sync-parent"),
    "remove": ("rename", "sync-parent", "unlink", "unlink-manifest", "rmdir"),
}
_TORN = ("publish.write.half", "publish.manifest.half", "write.write.half")

FAILPOINTS: tuple[str, ...] = (
    *(f"{verb}.{step}.{when}" for verb, steps in _STEPS.items() for step in steps for when in ("before", "after")),
    *_TORN,
)
"""Every failpoint of this file: `publish.` in publish_folder, `write.` in write_file, `remove.` in remove_folder.
`half` stands between the two halves of a file's bytes; `write`, `sync` and `unlink` are passed once a file."""

_passed: dict[str, int] = {}  # how often each failpoint was passed since NMT_FAILPOINT got its present value
_passed_under = ""


def failpoint(name: str) -> None:
    """A place where a test may strike: NMT_FAILPOINT="name:kill@3,other:enospc" strikes at the 3rd passing of `name`.

    Actions: `kill` (SIGKILL to this process), `enospc` (OSError: no space left), `hang` (sleeps for ever). Without a
    number it is the first passing; counting starts anew whenever the variable changes. Without the variable nothing
    happens.
    """
    global _passed_under
    wanted = os.environ.get("NMT_FAILPOINT", "")
    if wanted != _passed_under:
        _passed.clear()
        _passed_under = wanted
    if not wanted:
        return
    _passed[name] = _passed.get(name, 0) + 1
    for entry in wanted.split(","):
        found = re.fullmatch(r"\s*([\w.-]+):(kill|enospc|hang)(?:@([1-9][0-9]*))?\s*", entry)
        if found is None:
            raise UsageError(
                f"NMT_FAILPOINT: {entry!r} is not a failpoint", "write name:kill, name:enospc or name:hang@3"
            )
        if found[1] != name or int(found[3] or 1) != _passed[name]:
            continue
        if found[2] == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        while found[2] == "hang":
            time.sleep(60)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextmanager
def _step(name: str) -> Iterator[None]:
    """One step of a protocol between its two failpoints."""
    failpoint(f"{name}.before")
    yield
    failpoint(f"{name}.after")


_HINTS = {
    errno.ENOSPC: "free some space there, then run the same command again",
    errno.EDQUOT: "your quota is used up: free some space there, then run the same command again",
    errno.EACCES: "make that place writable for this user, or work in another folder",
    errno.EPERM: "make that place writable for this user, or work in another folder",
    errno.EEXIST: "move it away first",
    errno.EROFS: "that file system is mounted read-only: work in another folder",
    errno.EFBIG: "the largest file allowed is too small: see ulimit -f",
    errno.EMFILE: "too many files are open: see ulimit -n",
    errno.EIO: "the disk reports an error: see the system's log, and work on another disk",
    errno.ENOLCK: "that file system has no locks: work on another one",
    errno.EOPNOTSUPP: "that file system cannot do this: work on another one",
}


@contextmanager
def refusals(place: Path, verb: str) -> Iterator[None]:
    """Turns an OSError inside into an EnvironmentFault: `PLACE: cannot VERB: REASON`, with what to do about it."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise EnvironmentFault(f"{place}: cannot {verb}: {reason}", _HINTS.get(error.errno or 0, "")) from error


def probe(folder: Path, need: int = 0) -> None:
    """Makes `folder` where it is missing, and tries there what saving will do; EnvironmentFault where that fails.

    `need` is the number of bytes that must be free. Called before long work, so that the work does not end in a
    refusal.
    """
    with refusals(folder, "write there"):
        make_folder(folder)
        trial, renamed = (folder / f".tmp-{name}-{os.getpid()}" for name in ("probe", "probed"))
        try:
            trial.unlink(missing_ok=True)
            _write_bytes(trial, bytes(4096))
            _sync_file(trial)
            os.rename(trial, renamed)
            sync_folder(folder)
        finally:
            for path in (trial, renamed):
                with suppress(OSError):
                    path.unlink()
        free = shutil.disk_usage(folder).free
    if free < need:
        raise EnvironmentFault(
            f"{folder}: {need / 1e6:,.0f} MB are needed there, {free / 1e6:,.0f} MB are free", _HINTS[errno.ENOSPC]
        )


def sync_folder(folder: Path) -> None:
    """Makes the names in `folder` survive a power cut. OSError where the disk fails."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        # Some network and FUSE mounts know no fsync of a folder; there is nothing better to do on them.
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise
    finally:
        os.close(fd)


def make_folder(folder: Path) -> None:
    """Makes `folder` and its missing parents so that they survive a power cut. OSError where that fails."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def _write_bytes(path: Path, data: bytes, half: str = "") -> None:
    with open(path, "xb") as file:
        if half:
            middle = len(data) // 2
            file.write(data[:middle])
            file.flush()
            failpoint(half)
            file.write(data[middle:])
        else:
            file.write(data)


def _sync_file(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def describe(data: bytes) -> dict[str, Any]:
    """What a manifest says of a file with this content: {"sha256", "size"}."""
    return {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}


def _open_plain(path: Path) -> io.BufferedReader:
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a named pipe in the file's place must not hang us
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EIO, "not a plain file")
    return open(fd, "rb")


def _describe_file(path: Path) -> dict[str, Any]:
    with _open_plain(path) as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "size": file.tell()}


def _manifest_bytes(files: Mapping[str, Mapping[str, Any]]) -> bytes:
    return (json.dumps({"files": files, "format": FORMAT}, sort_keys=True, indent=1) + "\n").encode()


def _is_plain_name(name: str) -> bool:
    # Names from a manifest are joined to a path and unlinked: nothing that could leave the folder.
    return re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name) is not None and name != MANIFEST


# Hidden things this process is working on; any other that has our pid is left from a former life.
_busy: set[Path] = set()


def write_file(path: Path, data: bytes) -> None:
    """Puts `data` at `path`, in the place of what was there: whole, or not at all.

    EnvironmentFault where the disk refuses: what was there stays, except when the very last step (fsync of the
    parent) failed.
    """
    hidden = path.parent / f".tmp-{path.name}-{os.getpid()}"
    assert hidden not in _busy, f"{path} is being written already"
    _busy.add(hidden)
    try:
        with refusals(path, "be written"):
            make_folder(path.parent)
            hidden.unlink(missing_ok=True)
            with _step("write.write"):
                _write_bytes(hidden, data, "write.write.half")
            with _step("write.sync"):
                _sync_file(hidden)
            with _step("write.rename"):
                os.replace(hidden, path)
            with _step("write.sync-parent"):
                sync_folder(path.parent)
    finally:
        with suppress(OSError):
            hidden.unlink()
        _busy.discard(hidden)


def publish_folder(final: Path, files: Mapping[str, bytes | Callable[[Path], None]]) -> None:
    """Makes the folder `final` with these files and a manifest: whole, or not at all.

    A value is the file's bytes, or a function that writes the file at the path it is given. Names are plain: letters,
    digits, `_`, `-` and `.`. A folder that exists is never written over. EnvironmentFault where the disk refuses:
    nothing
    is left then, except when the very last step (fsync of the parent) failed: then `final` is there, and whole.
    """
    assert all(_is_plain_name(name) for name in files), f"not plain names: {sorted(files)}"
    hidden = final.parent / f".tmp-{final.name}-{os.getpid()}"
    assert hidden not in _busy, f"{final} is being published already"
    _busy.add(hidden)
    try:
        with refusals(final, "be written"):
            make_folder(final.parent)
            _remove_hidden(hidden)
            if os.path.lexists(final):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
            with _step("publish.folder"):
                hidden.mkdir()
            described: dict[str, dict[str, Any]] = {}
            for name, content in files.items():
                with _step("publish.write"):
                    if isinstance(content, bytes):
                        _write_bytes(hidden / name, content, "publish.write.half")
                    else:
                        content(hidden / name)
                with _step("publish.sync"):
                    _sync_file(hidden / name)
                described[name] = describe(content) if isinstance(content, bytes) else _describe_file(hidden / name)
            with _step("publish.manifest"):
                _write_bytes(hidden / MANIFEST, _manifest_bytes(described), "publish.manifest.half")
            with _step("publish.sync-manifest"):
                _sync_file(hidden / MANIFEST)
            with _step("publish.sync-folder"):
                sync_folder(hidden)
            with _step("publish.rename"):
                os.rename(hidden, final)
            with _step("publish.sync-parent"):
                sync_folder(final.parent)
    finally:
        with suppress(OSError):
            _remove_hidden(hidden)
        _busy.discard(hidden)


def verify_folder(path: Path, fault: type[NmtError] = ModelError, hint: str = "") -> dict[str, Any]:
    """The manifest of a published folder, after reading every file in it: {"files": {name: {"sha256", "size"}}, ...}.

    Raises `fault` with every damage by name: missing, size, sha256. Files that the manifest does not list are no
    damage. EnvironmentFault where we are not allowed to read.
    """
    manifest = _read_manifest(path, fault, hint)
    damages: list[str] = []
    for name, wanted in manifest["files"].items():
        try:
            with refusals(path / name, "be read"):
                found = _describe_file(path / name)
        except EnvironmentFault as refusal:
            damages.append(f"{name} {_as_damage(refusal)}")
            continue
        if found["size"] != wanted["size"]:
            damages.append(f"{name} has {found['size']:,} bytes, not {wanted['size']:,}")
        elif found["sha256"] != wanted["sha256"]:
            damages.append(f"{name} has changed (its sha256 differs)")
    if damages:
        raise fault(f"{path}: damaged: {'; '.join(damages)}", hint)
    return manifest


def _as_damage(refusal: EnvironmentFault) -> str:
    """A refusal that comes from the file itself, in words; others (permission, open files) are raised again."""
    cause = refusal.__cause__
    if isinstance(cause, OSError) and cause.errno in (errno.ENOENT, errno.ENOTDIR, errno.EIO, errno.ELOOP, errno.ENXIO):
        return "is missing" if cause.errno in (errno.ENOENT, errno.ENOTDIR) else f"cannot be read: {cause.strerror}"
    raise refusal


def _read_manifest(path: Path, fault: type[NmtError], hint: str) -> dict[str, Any]:
    try:
        with refusals(path / MANIFEST, "be read"), _open_plain(path / MANIFEST) as file:
            data = file.read()
    except EnvironmentFault as refusal:
        raise fault(f"{path}: damaged: {MANIFEST} {_as_damage(refusal)}", hint) from refusal
    try:
        manifest = json.loads(data)
        files = manifest["files"]
        newer = isinstance(manifest["format"], int) and manifest["format"] > FORMAT
        # Written again it must give the same bytes: no other spelling, no doubled key, nothing cut off or unknown.
        right = all(map(_is_plain_name, files)) and _manifest_bytes(files) == data
        right = right and all(
            entry.keys() == {"sha256", "size"} and type(entry["size"]) is int and type(entry["sha256"]) is str
            for entry in files.values()
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise fault(f"{path}: damaged: {MANIFEST} is not one of ours", hint) from error
    if newer:
        raise fault(f"{path}: {MANIFEST} has format {manifest['format']}, this program knows {FORMAT}", hint)
    if not right:
        raise fault(f"{path}: damaged: {MANIFEST} is not as we write it", hint)
    return manifest


def remove_folder(path: Path) -> str | None:
    """Removes a published folder, damaged or not, if all it holds is in its manifest. Never raises for the disk.

    None when the folder is gone, else one line that says why it is not. A file of somebody else's keeps the whole
    folder. After a kill the folder is whole under its name, or the name is gone and the rest hidden, for
    clean_leftovers.
    """
    hidden = path.parent / f".gone-{path.name}-{os.getpid()}"
    _busy.add(hidden)
    try:
        if not os.path.lexists(path):
            return None
        if path.is_symlink() or not path.is_dir():
            return f"{path}: not removed: it is not a folder"
        listed = _read_manifest(path, ModelError, "")["files"].keys()
        strangers = sorted(set(os.listdir(path)) - listed - {MANIFEST})
        if strangers:
            return f"{path}: not removed: we did not put {', '.join(strangers[:5])} there"
        _remove_hidden(hidden)
        with _step("remove.rename"):
            os.rename(path, hidden)
        with _step("remove.sync-parent"):
            sync_folder(path.parent)
        _remove_hidden(hidden)
    except NmtError as refusal:
        return f"{path}: not removed: {refusal.what.removeprefix(f'{path}: ')}"
    except OSError as error:
        return f"{path}: not removed{'' if path.exists() else ' entirely'}: {error.strerror}"
    finally:
        _busy.discard(hidden)
    return None


def set_aside(path: Path) -> Path:
    """Renames `path` to the first free `<name>.aside-<k>` beside it, and returns that; EnvironmentFault if it fails."""
    taken = (path.with_name(f"{path.name}.aside-{k}") for k in count(1))
    free = next(candidate for candidate in taken if not os.path.lexists(candidate))
    with refusals(path, "be renamed"):
        os.rename(path, free)
        sync_folder(path.parent)
    return free


def _remove_hidden(hidden: Path) -> None:
    """Removes a temporary file or folder of ours with the plain files in it; OSError where that fails."""
    if not os.path.lexists(hidden):
        return
    if hidden.is_symlink() or not hidden.is_dir():
        hidden.unlink()
        return
    names = set(os.listdir(hidden))
    if hidden.name.startswith(".tmp-"):
        for name in names:
            (hidden / name).unlink()
        hidden.rmdir()
        return
    # This one had a public name once, and somebody may still have put a file in: only what the manifest lists is ours.
    if MANIFEST in names:
        for name in sorted(names & _read_manifest(hidden, EnvironmentFault, "")["files"].keys()):
            with _step("remove.unlink"):
                (hidden / name).unlink()
        if os.listdir(hidden) == [MANIFEST]:
            with _step("remove.unlink-manifest"):
                (hidden / MANIFEST).unlink()
    with _step("remove.rmdir"):
        hidden.rmdir()


def clean_leftovers(parent: Path) -> list[str]:
    """Removes what killed processes left in `parent` under our hidden names; one line for each that could not be.

    Where several machines share the folder, call it under a lock: a process of another machine looks dead from here.
    """
    warnings: list[str] = []
    try:
        found = sorted(parent.iterdir()) if parent.is_dir() else []
    except OSError as error:
        return [f"{parent}: not looked through for leftovers: {error.strerror}"]
    for hidden in found:
        name = re.fullmatch(r"\.(?:tmp|gone)-.+-([1-9][0-9]*)", hidden.name)
        # In a container every start may have the same pid: our own pid is not a sign of life.
        if name is None or hidden in _busy or (int(name[1]) != os.getpid() and is_alive(int(name[1]))):
            continue
        try:
            _remove_hidden(hidden)
        except OSError as error:
            warnings.append(f"{hidden}: not removed: {error.strerror}")
        except NmtError as refusal:
            warnings.append(f"{hidden}: not removed: {refusal.what.removeprefix(f'{hidden}: ')}")
    return warnings
