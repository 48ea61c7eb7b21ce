"""Power cuts: nothing is renamed before it is on the disk, because what was not fsynced may be lost."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from nmt import durable
from nmt.durable import MANIFEST, probe, publish_folder, remove_folder, set_aside, write_file

FILES = {"a.bin": b"new a" * 50, "b.json": b"new b"}


class Recorder:
    """Writes down every fsync, rename and new folder, and what was on the disk then."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.events: list[tuple[str, Path, Path | None, object]] = []
        self.on_disk: dict[Path, object] = {}
        fsync, rename, replace, mkdir = os.fsync, os.rename, os.replace, os.mkdir

        def recorded_mkdir(path: Path, mode: int = 0o777) -> None:
            mkdir(path, mode)
            self.events.append(("mkdir", Path(path), None, None))

        def recorded_fsync(fd: int) -> None:
            path = Path(os.readlink(f"/proc/self/fd/{fd}"))
            fsync(fd)
            self.events.append(("sync", path, None, contents(path)))

        def recorded(kind: Callable[..., None]) -> Callable[..., None]:
            def move(src: Path, dst: Path) -> None:
                self.events.append(("rename", Path(src), Path(dst), tree(Path(src))))
                kind(src, dst)

            return move

        monkeypatch.setattr(os, "fsync", recorded_fsync)
        monkeypatch.setattr(os, "mkdir", recorded_mkdir)
        monkeypatch.setattr(os, "rename", recorded(rename))
        monkeypatch.setattr(os, "replace", recorded(replace))

    def violations(self) -> list[str]:
        """Renames of what was not on the disk as it is, and names that were not made lasting, since the last call."""
        found: list[str] = []
        unsynced: list[Path] = []
        events, self.events = self.events, []
        for kind, path, target, now in events:
            if kind == "mkdir":
                unsynced.append(path.parent)
                continue
            if kind == "sync":
                self.on_disk[path] = now
                unsynced = [parent for parent in unsynced if parent != path]
                continue
            assert target is not None
            assert isinstance(now, dict)
            found += [
                f"{target}: {inner.name} not synced" for inner, held in now.items() if self.on_disk.get(inner) != held
            ]
            self.on_disk |= {target / inner.relative_to(path): held for inner, held in now.items()}
            unsynced.append(target.parent)
        return found + [f"{parent} not synced at the end" for parent in unsynced]


def contents(path: Path) -> object:
    return frozenset(os.listdir(path)) if path.is_dir() else path.read_bytes()


def tree(path: Path) -> dict[Path, object]:
    return {inner: contents(inner) for inner in ([path, *path.rglob("*")] if path.is_dir() else [path])}


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("needs /proc to name what is fsynced")
    return Recorder(monkeypatch)


def test_nothing_is_renamed_before_it_is_on_the_disk(tmp_path: Path, recorder: Recorder) -> None:
    here = tmp_path / "deep" / "er"
    works: list[Callable[[], object]] = [
        lambda: publish_folder(here / "new", FILES),
        lambda: write_file(here / "file", b"old"),
        lambda: write_file(here / "file", b"new"),
        lambda: set_aside(here / "new"),
        lambda: remove_folder(here / "new.aside-1"),
        lambda: probe(tmp_path / "another"),
    ]
    for work in works:
        work()
        assert [kind for kind, *_ in recorder.events].count("rename") == 1
        assert recorder.violations() == []
    assert sorted(path.name for path in here.iterdir()) == ["file"]


def skip_fsync_of(wanted: Callable[[Path], bool], monkeypatch: pytest.MonkeyPatch) -> None:
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: None if wanted(Path(os.readlink(f"/proc/self/fd/{fd}"))) else fsync(fd))


@pytest.mark.parametrize("forgotten", ["a.bin", MANIFEST, ".tmp-new", "parent", "file"])
def test_the_order_checker_finds_a_forgotten_fsync(
    forgotten: str, tmp_path: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    skip_fsync_of(
        lambda path: (
            path == here
            if forgotten == "parent"
            else path.name.removeprefix(".tmp-").startswith(forgotten.removeprefix(".tmp-"))
        ),
        monkeypatch,
    )
    publish_folder(here / "new", FILES)
    write_file(here / "file", b"x")
    assert recorder.violations() != []


def test_the_order_checker_finds_a_write_after_the_fsync(tmp_path: Path, recorder: Recorder) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"one")
    durable._sync_file(source)
    source.write_bytes(b"two")
    os.rename(source, tmp_path / "target")
    durable.sync_folder(tmp_path)
    assert recorder.violations() == [f"{tmp_path / 'target'}: source not synced"]
