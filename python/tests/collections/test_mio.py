"""`vldepot.mio`. The labels M1 to M8 are those of `docs/reference/mio.md`."""

from __future__ import annotations

import pickle
import random
import re
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import vldepot
from vldepot import mio
from vldepot.mio import MIO, MioDataset, MioReader, MioWriter, Split

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "move-from-mio.md"


@pytest.fixture
def films(path: Path) -> Path:
    with MioWriter(path) as m:
        for label in range(10):
            with m.create_collection() as c:
                c.set_meta(struct.pack("<I", label))
                for n in range(label % 4):
                    c.add_object(f"picture {n} of {label}".encode())
    return path


def test_m1_m2_collections_are_written_and_read(films: Path) -> None:
    m = MIO(films)
    assert m.size == len(m) == 10
    assert (
        [m.get_collection_size(n) for n in range(10)] == m.get_collection_sizes() == [0, 1, 2, 3] * 2 + [0, 1]
    )
    assert m.get_collection_metadata(7) == struct.pack("<I", 7)
    assert m.fetchone(7) == b"picture 0 of 7"
    assert m.fetchmany(7, [2, 0, 2]) == [b"picture 2 of 7", b"picture 0 of 7", b"picture 2 of 7"]
    assert m.fetchall(7) == [f"picture {n} of 7".encode() for n in range(3)]
    assert m.fetchall(0) == m.fetchmany(3, []) == []
    # From the end, as in MIO.
    assert m.fetchone(-3, -1) == b"picture 2 of 7"
    for fetch in (
        lambda: m.fetchone(0),
        lambda: m.fetchone(7, 3),
        lambda: m.fetchone(7, -4),
        lambda: m.fetchall(10),
    ):
        with pytest.raises(IndexError):
            fetch()
    m.close()
    with pytest.raises(vldepot.Closed):
        m.fetchone(7)


def test_m1_objects_are_any_bytes_and_metadata_may_be_missing(path: Path) -> None:
    with MioWriter(path, preset="fast") as m, m.create_collection() as c:
        c.add_object(b"")
        c.add_object(bytearray(b"a"))
        c.add_object(memoryview(b"bc"))
        with pytest.raises(TypeError):
            c.add_object("text")  # type: ignore[arg-type]
    with MioReader(path) as m:
        assert (m.get_collection_metadata(0), m.fetchall(0)) == (b"", [b"", b"a", b"bc"])


def test_m3_metadata_and_sizes_are_read_although_objects_are_damaged(path: Path) -> None:
    noise = random.Random(0).randbytes(10_000)
    with MioWriter(path, preset="uncompressed") as m, m.create_collection() as c:
        c.set_meta(b"label")
        c.add_object(noise)
    content = bytearray(path.read_bytes())
    content[content.index(noise[:100]) + 5000] ^= 1
    path.write_bytes(content)
    with MioReader(path) as m:
        assert (m.get_collection_size(0), m.get_collection_metadata(0)) == (1, b"label")
        with pytest.raises(vldepot.Error) as caught:
            m.fetchone(0)
        assert caught.value.is_damage


def test_m5_what_is_there_is_not_written_to(films: Path) -> None:
    with pytest.raises(FileExistsError):
        MioWriter(films)
    with MioWriter(films, append=True) as m, m.create_collection() as c:
        c.add_object(b"more")
    with MIO(films) as m:
        assert (m.size, m.fetchone(10)) == (11, b"more")


def test_m5_an_exception_keeps_what_was_finished(path: Path) -> None:
    with pytest.raises(RuntimeError), MioWriter(path) as m:
        with m.create_collection() as c:
            c.add_object(b"finished")
        with m.create_collection() as c:
            c.add_object(b"not finished")
            raise RuntimeError
    with MIO(path) as reader:
        assert (reader.size, reader.fetchall(0)) == (1, [b"finished"])


def test_m5_a_killed_writer_leaves_the_finished_collections(path: Path) -> None:
    code = (
        "import os, sys\nfrom vldepot.mio import MioWriter\nm = MioWriter(sys.argv[1])\n"
        "for n in range(3):\n    with m.create_collection() as c:\n        c.set_meta(bytes([n]))\n"
        "        c.add_object(b'x' * n)\n"
        "c = m.create_collection()\nc.add_object(b'open')\nos.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == -9
    with MIO(path) as m:
        assert [(m.get_collection_metadata(n), m.fetchall(n)) for n in range(m.size)] == [
            (bytes([n]), [b"x" * n]) for n in range(3)
        ]


def test_m6_datasets_sample_and_split(films: Path) -> None:
    asked = []

    def sampler(id_: int, size: int) -> Any:
        asked.append((id_, size))
        return size - 1 if id_ == 3 else list(range(size))

    dataset = MioDataset(films, sampler, target_transform=lambda meta: struct.unpack("<I", meta)[0])
    assert len(dataset) == 10
    assert dataset[3] == (b"picture 2 of 3", 3)
    assert dataset[2] == ([b"picture 0 of 2", b"picture 1 of 2"], 2)
    assert asked == [(3, 3), (2, 2)]
    subset = dataset.to_split(Split([6, 3]), transform=len)
    assert (len(subset), subset[0], subset[1]) == (2, (14, 3), (2, 6))
    assert dataset[3] == (b"picture 2 of 3", 3), "the dataset keeps its own transforms"
    with pytest.raises(KeyError):
        dataset.to_split("train")


def test_m7_splits(films: Path, tmp_path: Path) -> None:
    split = Split([5, 2, 7])
    assert split.items == [2, 5, 7]
    with pytest.raises(ValueError, match="2 comes twice"):
        Split([2, 1, 2])
    split.tofile(tmp_path / "split")
    assert (tmp_path / "split").read_bytes() == struct.pack("<III", 2, 5, 7)
    assert Split.fromfile(tmp_path / "split") == split
    with pytest.raises(FileExistsError):
        split.tofile(tmp_path / "split")
    mio.set_split(films, "train", split)
    mio.set_split(films, "test", Split([0, 1]))
    assert mio.split_names(films) == ["test", "train"]
    assert mio.split(films, "train") == split
    assert mio.split(films, "other") is None
    dataset = MioDataset(films, lambda _, size: list(range(size)))
    assert len(dataset.to_split("train")) == 3
    with MIO(films) as m:
        assert m.size == 10
        batches = list(m.depot.loader(names=split.items, batch_size=2, shuffle=True))
        assert sorted(objects[0] for batch in batches for objects in batch) == sorted(
            m.fetchone(n) for n in (2, 5, 7)
        )
    assert mio.remove_split(films, "test")
    assert not mio.remove_split(films, "test")


def test_a_reader_is_pickled_and_read_by_the_depot(films: Path) -> None:
    again = pickle.loads(pickle.dumps(MIO(films)))
    assert again.fetchone(7, 2) == b"picture 2 of 7"
    with vldepot.open(films) as depot:
        assert depot[7] == again.fetchall(7)
        assert list(depot.column("objects")) == again.get_collection_sizes()
    with vldepot.memory("collection") as memory:
        memory["a"] = [b"1", b"22"]
        assert memory["a"] == [b"1", b"22"]
        with pytest.raises(TypeError, match="as \\[object\\]"):
            memory["b"] = b"bytes"  # type: ignore[assignment]


def test_m4_datasets_of_mio_come_in_and_go_out(films: Path, tmp_path: Path) -> None:
    folder, path = tmp_path / "dataset", tmp_path / "again.vld"
    assert mio.export_dataset(films, folder) == (10, 13, 13 * 14, 0)
    assert mio.import_dataset(folder, path) == (10, 13, 13 * 14)
    with MIO(films) as one, MIO(path) as other:
        for n in range(10):
            assert one.fetchall(n) == other.fetchall(n)
            assert one.get_collection_metadata(n) == other.get_collection_metadata(n)
    with pytest.raises(ValueError, match="import_dataset"):
        MIO(folder)
    collections = folder / "collections"
    good = collections.read_bytes()
    collections.write_bytes(good[:10] + b"\x07\0" + good[12:])
    with pytest.warns(UserWarning, match=r"version 0\.7 of MIO"):
        mio.import_dataset(folder, tmp_path / "newer.vld")
    collections.write_bytes(good[:8] + b"\x01\0" + good[10:])
    with pytest.raises(vldepot.NewerFormat):
        mio.import_dataset(folder, tmp_path / "never.vld")
    collections.write_bytes(b"x" + good[1:])
    with pytest.raises(vldepot.NotADepot):
        mio.import_dataset(folder, tmp_path / "never.vld")
    assert not (tmp_path / "never.vld").exists()


def test_m4_a_dataset_written_by_hand_is_read(tmp_path: Path) -> None:
    samples: list[tuple[bytes, list[bytes]]] = [
        (b"", [b"a"]),
        (b"label", []),
        (b"x" * 300, [b"", b"bc", b"d" * 5000]),
    ]
    table, body, objects = b"", b"", b""
    for metadata, contents in samples:
        table += struct.pack("<QII", 16 + 16 * len(samples) + len(body), len(metadata), 12 * len(contents))
        body += metadata
        for content in contents:
            body += struct.pack("<QI", len(objects), len(content))
            objects += content
    head = b"\x89tl.mio\x1a" + struct.pack("<HHI", 0, 1, len(samples))
    (tmp_path / "collections").write_bytes(head + table + body)
    (tmp_path / "objects").write_bytes(objects)
    assert mio.import_dataset(tmp_path, tmp_path / "new.vld") == (3, 4, 5003)
    with MIO(tmp_path / "new.vld") as m:
        assert [(m.get_collection_metadata(n), m.fetchall(n)) for n in range(3)] == samples
    mio.export_dataset(tmp_path / "new.vld", tmp_path / "again")
    for name in ("collections", "objects"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / name).read_bytes()


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """move-from-mio"""
    monkeypatch.chdir(tmp_path)
    video = tmp_path / "video_dataset" / "category" / "video"
    video.mkdir(parents=True)
    for n in range(3):
        (video / f"{n}.jpg").write_bytes(b"picture %d" % n)
    names: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), flags=re.DOTALL | re.MULTILINE):
        exec(compile(block, PAGE.name, "exec"), names)
