import json
import mmap
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from nmt.corpus.shards import Prepared, Shard, ShardWriter
from nmt.corpus.tokenizer import Words
from nmt.durable import publish_folder
from nmt.errors import DataError

SENTENCE = st.tuples(
    st.lists(st.integers(0, 65535), max_size=5), st.text(st.characters(codec="utf-8"), max_size=5)
)  # its ids, its text


def made(folder: Path, src: list[tuple[list[int], str]], tgt: list[tuple[list[int], str]], n_ids: int = 65536) -> Path:
    """A shard of these sentences, added one half after the other."""
    writer = ShardWriter(folder, "work", (n_ids, n_ids))
    half = len(src) // 2
    for part in (slice(0, half), slice(half, None)):
        for side, sentences in enumerate((src[part], tgt[part])):
            ids = np.array([i for row, _ in sentences for i in row], np.int32)
            lengths = np.array([len(row) for row, _ in sentences], np.int64)
            writer.add(side, ids, lengths, [text for _, text in sentences])
    writer.close()
    writer.write(folder / "a.safetensors")
    return folder / "a.safetensors"


A_SHARD = ([([5, 6, 7], "a b"), ([], ""), ([4], "é")], [([9], "x"), ([8, 9], "y z"), ([4, 5], "ß")])


class TestShard:
    @settings(deadline=None, max_examples=60)
    @given(st.lists(st.tuples(SENTENCE, SENTENCE), max_size=7))
    def test_what_was_added_is_there(
        self, tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[tuple[list[int], str], tuple[list[int], str]]]
    ) -> None:
        src, tgt = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        shard = Shard(made(tmp_path_factory.mktemp("shard"), src, tgt))
        assert len(shard) == len(pairs)
        assert [shard.src_ids(i).tolist() for i in range(len(shard))] == [ids for ids, _ in src]
        assert [shard.tgt_ids(i).tolist() for i in range(len(shard))] == [ids for ids, _ in tgt]
        assert shard.src_lines() == [text for _, text in src]
        assert shard.tgt_lines() == [text for _, text in tgt]
        assert shard.src_lengths.tolist() == [len(ids) for ids, _ in src]
        assert shard.tgt_lengths.tolist() == [len(ids) for ids, _ in tgt]
        assert shard.src_lengths.dtype == shard.tgt_lengths.dtype == np.int64

    def test_it_is_a_safetensors_file_like_any_other(self, tmp_path: Path) -> None:
        path = made(tmp_path, *A_SHARD)
        tensors = safetensors.numpy.load_file(path)
        assert {name: (str(data.dtype), data.tolist()) for name, data in tensors.items()} == {
            "src_tokens": ("uint16", [5, 6, 7, 4]),
            "src_offsets": ("int64", [0, 3, 3, 4]),
            "src_text": ("uint8", list("a bé".encode())),
            "src_text_offsets": ("int64", [0, 3, 3, 5]),
            "tgt_tokens": ("uint16", [9, 8, 9, 4, 5]),
            "tgt_offsets": ("int64", [0, 1, 3, 5]),
            "tgt_text": ("uint8", list("xy zß".encode())),
            "tgt_text_offsets": ("int64", [0, 1, 4, 6]),
        }
        assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]

    @pytest.mark.parametrize(("n_ids", "dtype"), [(65536, np.uint16), (65537, np.int32)])
    def test_ids_are_as_narrow_as_the_vocabulary_allows(self, tmp_path: Path, n_ids: int, dtype: type) -> None:
        shard = Shard(made(tmp_path, [([n_ids - 1], "a")], [([4], "b")], n_ids))
        assert shard.src_ids(0).dtype == dtype
        assert shard.src_ids(0).tolist() == [n_ids - 1]

    def test_arrays_are_views_of_the_file_and_cannot_be_written_to(self, tmp_path: Path) -> None:
        shard = Shard(made(tmp_path, *A_SHARD))
        for array in (*shard.src, *shard.tgt, *shard.src_text, *shard.tgt_text):
            base: object = array
            while isinstance(base, np.ndarray):
                assert base.flags.aligned
                base = base.base
            assert isinstance(base, mmap.mmap)
            assert not array.flags.writeable

    @settings(deadline=None, max_examples=300)
    @given(place=st.integers(0, 10_000), value=st.integers(0, 255), cut=st.booleans())
    def test_a_damaged_file_is_refused_or_readable(
        self, tmp_path_factory: pytest.TempPathFactory, place: int, value: int, cut: bool
    ) -> None:
        folder = tmp_path_factory.mktemp("shard")
        path = made(folder, *A_SHARD)
        data = bytearray(path.read_bytes())
        if cut:
            del data[place % len(data) :]
        else:
            data[place % len(data)] = value
        path.write_bytes(data)
        with suppress(DataError):
            shard = Shard(path)
            for i in range(len(shard)):
                shard.src_ids(i), shard.tgt_ids(i)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda header: header.pop("src_offsets"), "the place of|longer than its tensors"),
            (lambda header: header["src_text"].update(dtype="F32"), "its header makes no sense"),
            (lambda header: header["src_offsets"].update(data_offsets=[0, 1 << 60]), "the place of"),
            (lambda header: header["src_offsets"].update(shape=[2, 2]), "the place of"),
            (lambda header: header["src_offsets"].update(data_offsets=[-32, 0]), "the place of"),
            (lambda header: header.update(more={"dtype": "U8", "shape": [9], "data_offsets": [0, 9]}), "the place of"),
        ],
    )
    def test_a_header_that_lies_is_refused(self, tmp_path: Path, change: object, message: str) -> None:
        path = made(tmp_path, *A_SHARD)
        data = path.read_bytes()
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + size])
        assert callable(change)
        change(header)
        head = json.dumps(header).encode()
        head += b" " * (-len(head) % 8)
        path.write_bytes(len(head).to_bytes(8, "little") + head + data[8 + size :])
        with pytest.raises(DataError, match=message):
            Shard(path)

    def test_offsets_that_lie_are_refused(self, tmp_path: Path) -> None:
        path = made(tmp_path, *A_SHARD)
        tensors = safetensors.numpy.load_file(path)
        for name, offsets in (
            ("src_offsets", [0, 3, 2, 4]),
            ("src_text_offsets", [0, 3, 3, 9]),
            ("tgt_offsets", [0, 5]),
        ):
            safetensors.numpy.save_file({**tensors, name: np.array(offsets, np.int64)}, path)
            with pytest.raises(DataError, match="its offsets make no sense"):
                Shard(path)
        safetensors.numpy.save_file({name: data for name, data in tensors.items() if name != "tgt_text"}, path)
        with pytest.raises(DataError, match="it has no tgt_text"):
            Shard(path)


def folder_of(tmp_path: Path) -> Path:
    folder = tmp_path / "prepared" / "0123"
    tokenizer = Words(["a", "b"], None).to_bytes()
    shard = made(tmp_path, *A_SHARD).read_bytes()
    publish_folder(
        folder,
        {
            "train-0.safetensors": shard,
            "train-1.safetensors": shard,
            "valid.safetensors": shard,
            "src.tokenizer": tokenizer,
            "tgt.tokenizer": tokenizer,
            "prepared.json": b'{"settings": {"format": 1}, "counts": {}}',
        },
    )
    return folder


class TestPrepared:
    def test_it_opens_what_is_there(self, tmp_path: Path) -> None:
        prepared = Prepared(folder_of(tmp_path), [1.0, 0.5])
        assert [shard.weight for shard in prepared.train] == [1.0, 0.5]
        assert prepared.valid.tgt_lines() == ["x", "y z", "ß"]
        assert prepared.test is None
        assert prepared.tokenizers[0] is prepared.tokenizers[1]
        assert prepared.manifest["settings"] == {"format": 1}
        assert set(prepared.manifest["files"]) > {"prepared.json", "train-0.safetensors"}
        assert [shard.weight for shard in Prepared(prepared.folder).train] == [1.0, 1.0]

    @pytest.mark.parametrize("name", ["train-1.safetensors", "src.tokenizer", "prepared.json", "manifest.json"])
    def test_any_damage_is_told_with_the_remedy(self, tmp_path: Path, name: str) -> None:
        folder = folder_of(tmp_path)
        data = bytearray((folder / name).read_bytes())
        data[-3] ^= 1
        (folder / name).write_bytes(data)
        with pytest.raises(
            DataError, match=rf"(?s)0123: damaged: {name}.*remove that folder; it is then prepared again"
        ):
            Prepared(folder)
        (folder / name).unlink()
        with pytest.raises(DataError, match=rf"(?s)0123: damaged: {name} is missing"):
            Prepared(folder)
