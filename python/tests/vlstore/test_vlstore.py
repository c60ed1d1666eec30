"""What the module with vlstore's interface promises: V1 to V14, one or more tests for each, named after it.

Where a package is missing that only some of them need, those skip: vlstore itself, blosc2, flatbuffers, xxhash.
"""

from __future__ import annotations

import doctest
import hashlib
import importlib
import importlib.util
import json
import pickle
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import examples

import vldepot
from vldepot.vlstore import (
    CONTIGUOUS_ALIGNMENT,
    DEFAULT_CHUNK_SIZE,
    NOCROSS_ALIGNMENT,
    START_ALIGNMENT,
    BackedAtomicData,
    BackedAtomicDataCodec,
    BlockShuffleBatch,
    Codec,
    Depot,
    Location,
    LocationIndex,
    SChunkStore,
    flatfloatndarray_codec,
)
from vldepot.vlstore.store import _create_default_schunk

ALIGNMENTS = [NOCROSS_ALIGNMENT, CONTIGUOUS_ALIGNMENT, START_ALIGNMENT]
FIXTURES = Path(__file__).parents[3] / "tests" / "data" / "vlstore"
RAW: Codec[bytes] = Codec(pack=lambda value, *, out=None: value, unpack=bytes)

Make = Callable[..., Depot[Any]]


@pytest.fixture(params=["path", "store in a file", "store in memory", "nothing"])
def make(request: pytest.FixtureRequest, path: Path) -> Make:
    """Makes the depot of a test, in each way that there is (V1)."""

    def make(codec: Codec[Any] = RAW, **options: Any) -> Depot[Any]:
        if request.param == "nothing" and not options:
            return Depot(codec)
        if request.param == "path" and not options:
            return Depot(codec, path)
        location = path if request.param in ("path", "store in a file") else None
        return Depot(codec, SChunkStore(location, **options))

    return make


def content(n: int, length: int) -> bytes:
    return random.Random(n).randbytes(length)


def frame(n: int, n_sites: int = 5) -> BackedAtomicData:
    chance = np.random.default_rng(n)
    return BackedAtomicData.from_values(
        name=f"frame {n}",
        nsites=n_sites,
        masses=chance.random(n_sites, dtype=np.float32),
        atom_types=chance.integers(0, 20, n_sites, dtype=np.int32),
        positions=chance.random((n_sites, 3), dtype=np.float32),
        forces=chance.random((n_sites, 3), dtype=np.float32),
    )


def same(a: BackedAtomicData, b: BackedAtomicData) -> bool:
    arrays = [(getattr(a, name), getattr(b, name)) for name in ("masses", "atom_types", "pos", "forces")]
    return a.name == b.name and a.n_sites == b.n_sites and all(np.array_equal(x, y) for x, y in arrays)


def file_of_vlstore(path: Path, records: dict[Any, bytes]) -> None:
    """A file as vlstore writes it: each record in a chunk of its own."""
    blosc2 = pytest.importorskip("blosc2", reason="python-blosc2 is not installed")
    meta = {SChunkStore.META_MAGIC: SChunkStore.MAGIC}
    file = blosc2.SChunk(chunksize=4096, urlpath=str(path), contiguous=True, meta=meta)
    for record in records.values():
        file.append_data(record.ljust(4096, b"\0"))
    table = [(key, 4096 * n, 4096 * n + len(record)) for n, (key, record) in enumerate(records.items())]
    file.vlmeta[SChunkStore.VLMETA_SAVEDLOOKUP] = table


def test_v1_files_stores_and_memory_behave_the_same(make: Make) -> None:
    """V1: over a file's path, over a store, and over nothing."""
    with make() as depot:
        depot.put("a", b"first")
        assert depot.get("a") == b"first"
    # The end of the block ends nothing: neither in memory, nor in a file.
    with depot:
        assert depot.get("a") == b"first"
        depot.put("b", b"second")
    assert [depot.get(key) for key in depot] == [b"first", b"second"]
    depot.close()
    depot.close()
    assert len(depot) == 2


def test_v1_a_store_serves_many_depots(path: Path) -> None:
    """V1: the same store goes through several depots, in memory and in a file."""
    for store in (SChunkStore(), SChunkStore(path)):
        with Depot(RAW, store) as depot:
            depot.put(1, b"x")
        with Depot(RAW, store) as again:
            assert again.get(1) == b"x"
            assert again.backing is store and again.lookup is store.lookup


def test_v2_keys_of_three_types_live_side_by_side(make: Make) -> None:
    """V2: `put`, `get`; `str`, `int` and `bytes`."""
    depot = make()
    keys: list[Any] = ["1", 1, b"1", "", b"", 0, -1, -(2**63), 2**64 - 1, "é/..", np.int64(7)]
    for n, key in enumerate(keys):
        depot.put(key, content(n, 20 + n))
    for n, key in enumerate(keys):
        assert depot.get(key) == content(n, 20 + n)
    assert list(depot) == keys and all(key in depot and key in depot.lookup for key in keys)
    depot.put(True, b"as in a dict, True is 1")
    assert depot.get(1) == b"as in a dict, True is 1" and len(depot) == len(keys)


def test_v2_a_missing_key_is_named(make: Make) -> None:
    """V2: a typed error that names the key."""
    depot = make()
    depot.put("a", b"x")
    for get in (
        depot.get,
        depot.backing.get,
        depot.lookup.__getitem__,
        lambda key: depot.fused_get(["a", key]),
    ):
        with pytest.raises(KeyError, match="gone") as caught:
            get("gone")
        assert isinstance(caught.value, vldepot.NotFound) and caught.value.record == '"gone"'
    wrong: Any
    for wrong in (1.5, None, ("a",)):
        with pytest.raises(TypeError):
            depot.put(wrong, b"")
        assert wrong not in depot
    with pytest.raises(ValueError, match="2\\^64"):
        depot.put(2**64, b"")
    assert 2**64 not in depot


def test_v3_overwriting(make: Make) -> None:
    """V3: `overwrite=False` fails; the default replaces, and the old bytes are gone."""
    depot = make()
    depot.put("a", b"old")
    depot.put("b", b"other")
    for put in (depot.put, depot.backing.put):
        with pytest.raises(ValueError, match="exists"):
            put("a", b"new", overwrite=False)
    assert depot.get("a") == b"old"
    depot.backing.put("c", b"third", overwrite=False)
    depot["a"] = b"longer than it was"
    assert depot.get("a") == b"longer than it was"
    assert len(depot) == 3 and list(depot) == ["b", "c", "a"]
    assert sum(len(place) for place in depot.backing.locations) == 5 + 5 + 18


def test_v4_a_depot_is_a_mapping(make: Make) -> None:
    """V4: `keys`, `len`, `in`, iteration, `del` on the depot itself, and on the store."""
    depot = make()
    for n in range(5):
        depot[n] = content(n, 10)
    for mapping in (depot, depot.backing):
        assert list(mapping.keys()) == list(mapping) == [0, 1, 2, 3, 4]
        assert len(mapping) == 5 and 3 in mapping and "3" not in mapping
        assert bytes(mapping[3]) == content(3, 10)
    del depot[1]
    del depot.backing[2]
    depot.backing.disown(3, zero=True)
    assert list(depot) == [0, 4] == list(depot.lookup)
    assert set(depot.lookup.keys()) == {0, 4} and len(list(depot.lookup.values())) == 2
    for remove in (depot.__delitem__, depot.backing.disown):
        with pytest.raises(KeyError):
            remove(1)


@pytest.mark.parametrize("alignment", ALIGNMENTS)
def test_v5_locations_prove_the_alignment(make: Make, alignment: Any) -> None:
    """V5: the same data for each strategy, and places that show it."""
    depot = make(alignment=alignment, chunksize=1000)
    lengths = [1, 300, 600, 500, 999, 1000, 1001, 2500, 40, 16, 3000]
    for n, length in enumerate(lengths):
        depot.put(n, content(n, length))
    assert depot.backing.alignment == alignment and depot.backing.chunksize == 1000
    assert [depot.get(n) for n in range(len(lengths))] == [
        content(n, length) for n, length in enumerate(lengths)
    ]
    places = depot.backing.locations
    assert [len(place) for place in places] == lengths
    for before, place in zip(places, places[1:], strict=False):
        gap = place.start - before.end
        assert gap >= 0 and place.block_size == 1000
        if alignment == CONTIGUOUS_ALIGNMENT:
            assert gap < 16
        elif alignment == START_ALIGNMENT:
            assert place.start_offset == 0
        else:
            assert place.n_blocks == 1 or place.start_offset == 0
    with pytest.raises(ValueError, match="alignment"):
        SChunkStore(alignment="middle")  # type: ignore[arg-type]


@pytest.mark.parametrize("alignment", ALIGNMENTS)
@pytest.mark.parametrize("typesize", [1, 2, 3, 4, 8, 16, 32, 64])
def test_v6_lengths_and_typesizes(make: Make, alignment: Any, typesize: int) -> None:
    """V6: larger than a chunk, exactly one, one byte, none; type sizes 1 to 64."""
    depot = make(alignment=alignment, chunksize=960, cparams={"typesize": typesize})
    assert depot.backing.typesize == typesize and depot.backing.chunksize % typesize == 0
    size = depot.backing.chunksize
    lengths = [0, 1, size - 1, size, size + 1, 5 * size, 5 * size + 7, 0, 13]
    for n, length in enumerate(lengths):
        depot.put(n, content(n, length))
    depot.close()
    for n, length in enumerate(lengths):
        assert depot.get(n) == content(n, length)
        assert depot.backing.get(n, method="chunk") == content(n, length)
        assert len(depot.lookup[n]) == length


@pytest.mark.parametrize("chunksize", [1, 100, 200, DEFAULT_CHUNK_SIZE - 10, 10**8])
def test_v6_chunk_sizes(chunksize: int) -> None:
    """V6: chunk sizes that are no power of two, and small ones, are legal."""
    store = SChunkStore(_create_default_schunk(chunksize=chunksize))
    assert store.chunksize == max(chunksize, 64)
    for n in range(5):
        store[n] = content(n, 1000)
    assert all(store[n] == content(n, 1000) for n in range(5))


def test_v6_buffers_are_never_misread(make: Make) -> None:
    """V6: any C-contiguous buffer is stored; others are refused."""
    depot = make()
    array = np.arange(24, dtype=np.float64).reshape(4, 6)
    for good in (array, memoryview(array), bytearray(b"abc"), array[1:3], np.float32(3), np.zeros((3, 0))):
        depot.backing.put("a", good)
        assert depot.backing.get("a") == np.asarray(good).tobytes()
    for wrong in (array[:, ::2], array.T, memoryview(bytes(10))[::2]):
        with pytest.raises(TypeError, match="contiguous"):
            depot.backing.put("b", wrong)  # type: ignore[arg-type]
    assert "b" not in depot
    with pytest.raises(TypeError):
        depot.backing.put("b", "text")  # type: ignore[arg-type]


def test_v7_out_and_locations(make: Make) -> None:
    """V7: `get(out=)` into buffers of any shape, and `get(return_location=True)`."""
    depot = make()
    data = np.arange(30, dtype=np.float64)
    depot.backing.put("a", data)
    out = np.zeros((2, 3, 5))
    assert depot.backing.get("a", out=out) is out and np.array_equal(out.ravel(), data)
    buffer = bytearray(240)
    assert depot.backing.get("a", out=buffer) == data.tobytes() == bytes(buffer)
    longer = bytearray(b"\xff" * 250)
    depot.backing.get("a", out=longer)
    assert longer == data.tobytes() + b"\xff" * 10
    with pytest.raises(ValueError, match="240"):
        depot.backing.get("a", out=bytearray(239))
    with pytest.raises(TypeError):
        depot.backing.get("a", out=np.zeros((30, 2))[:, 0])
    with pytest.raises((TypeError, ValueError)):
        depot.backing.get("a", out=bytes(240))
    place = depot.backing.get("a", return_location=True)
    assert isinstance(place, Location) and len(place) == place.length == 240
    assert place == depot.lookup["a"] == depot.get("a", return_location=True)
    assert depot.get("a", out=bytearray(240)) == data.tobytes()
    with pytest.raises(ValueError, match="method"):
        depot.backing.get("a", method="other")


@pytest.mark.parametrize("alignment", ALIGNMENTS)
def test_v7_fused_reads(make: Make, alignment: Any) -> None:
    """V7: as vlstore: the store's slices are in the order of the request, the depot's values in that of storage.

    Duplicates are allowed, and no keys at all.
    """
    depot = make(alignment=alignment, chunksize=4096)
    keys = [f"k{n}" for n in range(60)]
    data = {key: content(n, 1 + n * 37 % 5000) for n, key in enumerate(keys)}
    for key in keys:
        depot.put(key, data[key])
    request = random.Random(1).sample(keys, 20)
    request += request[:3]
    size = depot.backing.fused_size(request)
    buffer, slices = depot.backing.fused_get(request)
    assert (
        len(buffer) == size == depot.fused_buffer_size(request) == depot.backing.fused_size(sorted(request))
    )
    assert [bytes(buffer[one]) for one in slices] == [data[key] for key in request]
    out = np.zeros(size // 4 + 1, dtype=np.float32)
    given, again = depot.backing.fused_get(request, out=out)
    assert given is out and again == slices
    starts = {key: one.start for key, one in zip(request, slices, strict=True)}
    in_storage = sorted(set(request), key=lambda key: depot.lookup[key].start)
    assert sorted(starts, key=lambda key: starts[key]) == in_storage, "the buffer is in the order of storage"
    assert all(start % 16 == 0 for start in starts.values())
    in_storage = sorted(request, key=lambda key: depot.lookup[key].start)
    assert depot.fused_get(request) == [data[key] for key in in_storage]
    assert depot.fused_get(iter(request)) == [data[key] for key in in_storage]
    assert depot.fused_get(in_storage, presorted=True, buffer=bytearray(size)) == [
        data[key] for key in in_storage
    ]
    assert depot.fused_get([]) == [] and depot.backing.fused_get([]) == (b"", [])
    assert depot.backing.fused_size([]) == 0
    for get in (
        lambda: depot.backing.fused_get(request, out=bytearray(size - 1)),
        lambda: depot.fused_get(request, buffer=bytearray(size - 1)),
    ):
        with pytest.raises(ValueError, match=str(size)):
            get()


def test_v7_what_lies_between_is_not_read(path: Path) -> None:
    """V7: the first and the last record of a damaged file are read together, past the damage."""
    store = SChunkStore(path, chunksize=1 << 12)
    for n in range(40):
        store[n] = content(n, 4000)
    store.close()
    place = vldepot.open(path).location(20).file_offset
    assert place is not None
    damaged = bytearray(path.read_bytes())
    for at in range(place + 200, place + 1200):
        damaged[at] ^= 0xFF
    path.write_bytes(damaged)
    store = SChunkStore(path)
    buffer, slices = store.fused_get([39, 0])
    assert [bytes(buffer[one]) for one in slices] == [content(39, 4000), content(0, 4000)]
    assert len(buffer) < 10_000
    with pytest.raises(vldepot.Error) as caught:
        store.get(20)
    assert caught.value.is_damage


def test_v8_records_are_read_before_any_flush(make: Make) -> None:
    """V8: what is still in the write buffer is read like the rest."""
    depot = make(codec=flatfloatndarray_codec)
    for n in range(50):
        depot.put(n, np.full(n + 1, n, dtype=np.float32))
        assert np.array_equal(depot.get(n), np.full(n + 1, n))
        assert [len(array) for array in depot.fused_get([0, n])] == sorted({1, n + 1}) if n else True


def test_v9_reopen_and_read_and_append(path: Path) -> None:
    """V9: a file that is there is opened for reading; with `read_only=False` it is appended to."""
    with Depot(RAW, SChunkStore(path, alignment=START_ALIGNMENT, chunksize=4096)) as depot:
        depot.put("a", b"first")
    store = SChunkStore(path)
    assert store.read_only and store["a"] == b"first"
    assert (store.alignment, store.chunksize) == (START_ALIGNMENT, 4096), "a file keeps its own"
    for change in (lambda: store.put("b", b"x"), lambda: store.disown("a"), lambda: store.__delitem__("a")):
        with pytest.raises(ValueError, match="read_only=False"):
            change()
    with store:
        pass
    assert store["a"] == b"first"
    with SChunkStore(path, read_only=False) as more:
        assert not more.read_only and more.alignment == START_ALIGNMENT
        more["b"] = b"second"
        del more["a"]
    more["c"] = b"after the end of the block"
    more.close()
    assert {key: SChunkStore(path)[key] for key in SChunkStore(path)} == {
        "b": b"second",
        "c": b"after the end of the block",
    }
    path.write_bytes(b"")
    SChunkStore(path).put("a", b"an empty file becomes a store")
    with pytest.raises(ValueError, match="folder"):
        SChunkStore(path.parent)
    with pytest.raises(ValueError, match="folder"):
        SChunkStore(path.parent / "missing" / "file")


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_v9_a_killed_writer_loses_only_its_tail(path: Path) -> None:
    """V9: what was committed is there."""
    code = (
        "import os, signal, sys; from vldepot.vlstore import SChunkStore\n"
        "store = SChunkStore(sys.argv[1], chunksize=1 << 16)\n"
        "for n in range(300):\n"
        "    store[n] = bytes([n % 251]) * 1000\n"
        "    if n == 199: store.commit()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == -signal.SIGKILL
    store = SChunkStore(path)
    assert 200 <= len(store) <= 300
    assert all(store[n] == bytes([n % 251]) * 1000 for n in store)
    with SChunkStore(path, read_only=False) as more:
        more["go on"] = b"x"
    assert SChunkStore(path)["go on"] == b"x"


def test_v9_a_second_writer_is_refused(path: Path) -> None:
    """V9: readers are not."""
    store = SChunkStore(path)
    store["a"] = b"x"
    store.commit()
    with pytest.raises(vldepot.Locked):
        SChunkStore(path, read_only=False)
    assert SChunkStore(path)["a"] == b"x"


def test_v9_stores_are_pickled(path: Path) -> None:
    """V9: another process opens the file again."""
    depot = Depot(flatfloatndarray_codec, path)
    depot.put("a", np.arange(3, dtype=np.float32))
    other = pickle.loads(pickle.dumps(depot))
    assert other.get("a").tolist() == [0, 1, 2] and other.backing.read_only
    with pytest.raises(TypeError, match="memory"):
        pickle.dumps(SChunkStore())


def test_v10_parameters_are_kept(path: Path) -> None:
    """V10: compressor, level, typesize, chunk size and the user's notes, at creation and after."""
    cparams = {
        "codec": 2,
        "clevel": 7,
        "typesize": 8,
        "filters": [0, 0, 0, 0, 0, 2],
        "nthreads": 1,
        "blocksize": 4096,
    }
    meta = {"author": "me", b"numbers": [1, 2]}
    store = SChunkStore(
        path, chunksize=1 << 16, cparams=cparams, meta=meta, contiguous=True, dparams={"nthreads": 1}
    )
    store["a"] = bytes(1000)
    store.backing.vlmeta["later"] = {"x": 1}
    store.close()
    layout = vldepot.open(path).info().layout
    assert (layout.compression, layout.level, layout.typesize, layout.filter) == ("lz4hc", 7, 8, "bitshuffle")
    assert (layout.chunk_size, layout.block_size) == (1 << 16, 4096)
    store = SChunkStore(path, chunksize=17, alignment=START_ALIGNMENT)
    assert (store.chunksize, store.typesize, store.alignment) == (1 << 16, 8, NOCROSS_ALIGNMENT)
    assert store.backing.meta["author"] == "me" and store.backing.meta["numbers"] == [1, 2]
    assert store.backing.meta[store.META_MAGIC] == store.MAGIC
    assert store.backing.vlmeta["later"] == {"x": 1} and store.backing.nchunks == 1
    assert store.backing.urlpath == str(path)
    wrong: list[dict[str, Any]] = [
        {"cparams": {"codec": 4}},
        {"cparams": {"codec": 99}},
        {"cparams": {"filters": [3]}},
        {"cparams": {"filters": [1, 2]}},
        {"location": _create_default_schunk(), "chunksize": 100},
    ]
    for options in wrong:
        with pytest.raises(ValueError):
            SChunkStore(**options)


def test_v10_python_blosc2s_parameters_are_taken() -> None:
    """V10: dictionaries and objects of python-blosc2."""
    blosc2 = pytest.importorskip("blosc2", reason="python-blosc2 is not installed")
    for cparams in (
        {**blosc2.cparams_dflts, "typesize": 4, "codec": blosc2.Codec.LZ4HC},
        blosc2.CParams(typesize=4, codec=blosc2.Codec.LZ4HC, filters=[blosc2.Filter.SHUFFLE]),
    ):
        store = SChunkStore(cparams=cparams)
        layout = store.backing.reading().info().layout
        assert (layout.compression, layout.typesize, layout.filter) == ("lz4hc", 4, "shuffle")
    with pytest.raises(TypeError, match="_create_default_schunk"):
        SChunkStore(blosc2.SChunk())


def test_v10_foreign_files_are_refused(path: Path) -> None:
    """V10: a file of Blosc2 without the magic, and one of something else."""
    path.write_bytes(b"something else " * 100)
    with pytest.raises(vldepot.NotADepot):
        SChunkStore(path)
    assert path.read_bytes() == b"something else " * 100
    blosc2 = pytest.importorskip("blosc2", reason="python-blosc2 is not installed")
    foreign = path.with_name("foreign.b2frame")
    blosc2.SChunk(data=bytes(10_000), urlpath=str(foreign), contiguous=True)
    with pytest.raises(vldepot.NotADepot):
        SChunkStore(foreign)


def test_v11_the_codec_of_arrays(make: Make) -> None:
    """V11: flat float32 arrays: shapes, dtypes, strides, `out`."""
    depot = make(codec=flatfloatndarray_codec)
    for array in (np.ones(1), np.arange(6).reshape(2, 3), np.zeros(0), np.array(2.5)):
        array = array.astype(np.float32)
        depot.put("a", array)
        back = depot.get("a")
        assert back.dtype == np.float32 and back.ndim == 1 and np.array_equal(back, array.ravel())
    for wrong in (np.zeros(3), np.zeros(3, dtype=np.int32), np.zeros((4, 4), dtype=np.float32)[:, ::2]):
        with pytest.raises(ValueError):
            depot.put("b", wrong)
    assert "b" not in depot
    array, out = np.arange(4, dtype=np.float32), bytearray(20)
    packed = flatfloatndarray_codec.pack(array, out=out)
    assert bytes(packed[:16]) == array.tobytes() == bytes(out[:16])
    view = np.frombuffer(flatfloatndarray_codec.pack(array), dtype=np.float32)
    assert np.shares_memory(view, array), "packed without a copy"


def test_v11_codecs_of_ones_own(make: Make) -> None:
    """V11: a codec is two functions; `get` hands `bytes` to the second one."""
    codec = Codec(pack=lambda value, *, out=None: json.dumps(value).encode(), unpack=json.loads)
    depot = make(codec=codec)
    depot.put("a", {"x": [1, 2]})
    assert depot.get("a") == {"x": [1, 2]}
    with pytest.raises(AttributeError):
        codec.pack = json.dumps  # type: ignore[misc]


def test_v12_atomic_frames(make: Make) -> None:
    """V12: frames of different numbers of sites in one depot, and views that share memory with their record."""
    depot = make(codec=BackedAtomicDataCodec)
    frames = {n: frame(n, n_sites) for n, n_sites in enumerate((1, 5, 1200, 0, 7))}
    for n, one in frames.items():
        depot.put(n, one)
    depot.close()
    for n, one in frames.items():
        back = depot.get(n)
        assert same(one, back) and bytes(back.raw) == bytes(one.raw)
        assert (back.masses.dtype, back.atom_types.dtype) == (np.float32, np.int32)
        assert back.pos.shape == back.forces.shape == (one.n_sites, 3)
    assert all(same(pickle.loads(pickle.dumps(one)), one) for one in frames.values())
    back = depot.get(2)
    raw = np.frombuffer(back.raw, dtype=np.uint8)
    assert all(
        np.shares_memory(raw, array) for array in (back.pos, back.forces, back.masses, back.atom_types)
    )
    assert not np.shares_memory(raw, np.frombuffer(frames[2].raw, dtype=np.uint8))
    assert all(same(frames[n], one) for n, one in zip(range(5), depot.fused_get(range(5)), strict=True))


def test_v12_shapes_are_checked() -> None:
    """V12: two dimensions, rows, and positions as forces; not with `check=False`."""
    good: dict[str, Any] = {
        "name": "é", "nsites": 4, "masses": [1.0] * 4, "atom_types": range(4),
        "positions": np.ones((4, 3)), "forces": np.ones((4, 3)),
    }  # fmt: skip
    assert BackedAtomicData.from_values(**good).name == "é"
    wrong: list[dict[str, Any]] = [
        {"positions": np.ones(12)},
        {"forces": np.ones((1, 4, 3))},
        {"positions": np.ones((5, 3)), "forces": np.ones((5, 3))},
        {"forces": np.ones((3, 3))},
        {"positions": np.ones((4, 2))},
        {"nsites": 3},
    ]
    for change in wrong:
        with pytest.raises(ValueError):
            BackedAtomicData.from_values(**{**good, **change})
    unchecked = BackedAtomicData.from_values(**{**good, "nsites": 99, "positions": np.ones(12)}, check=False)
    assert unchecked.n_sites == 4 and unchecked.pos.shape == (4, 3)
    flat = BackedAtomicData.from_values(**{**good, "positions": np.ones((4, 2)), "forces": np.ones((4, 2))})
    assert flat.fb.Ncodim() == 2 and flat.pos.shape == (4, 2)
    assert BackedAtomicData.from_values(**good).fb.Ncodim() == 3
    for types in ([2**40] * 4, [1.5] * 4):
        with pytest.raises((ValueError, OverflowError)):
            BackedAtomicData.from_values(**{**good, "atom_types": types})


def test_v12_the_library_reads_and_writes_such_frames(path: Path) -> None:
    """V12: this module reads frames of the codec `atomic_frame`, and that codec reads frames of this module."""
    one = frame(3)
    with vldepot.memory("atomic_frame") as written:
        written.put(
            "a", name=one.name, positions=one.pos, forces=one.forces, types=one.atom_types, masses=one.masses
        )
        assert same(BackedAtomicDataCodec.unpack(bytes(written.raw("a"))), one)
    # A file as vlstore writes it does not say its codec, so it may be named.
    file_of_vlstore(path, {"a": bytes(one.raw)})
    with vldepot.open(path, "atomic_frame") as depot:
        back = depot["a"]
        assert (back.name, back.n_atoms) == (one.name, one.n_sites)
        for found, expected in (
            (back.positions, one.pos),
            (back.forces, one.forces),
            (back.types, one.atom_types),
            (back.masses, one.masses),
        ):
            assert found is not None and np.array_equal(found, expected)


def test_v12_damaged_frames_are_errors() -> None:
    """V12: bytes that are no frame are a `ValueError`, never a crash."""
    raw = bytes(frame(1).raw)
    chance = random.Random(5)
    for n in range(2000):
        damaged = bytearray(raw if n % 2 else raw[: chance.randrange(len(raw))])
        for _ in range(3):
            if damaged:
                damaged[chance.randrange(min(len(damaged), 60))] = chance.randrange(256)
        try:
            one = BackedAtomicDataCodec.unpack(bytes(damaged))
            _ = (one.n_sites, one.name, one.masses, one.atom_types, one.pos, one.forces)
        except ValueError:
            pass


def test_v12_flatbuffers_reads_them() -> None:
    """V12: the fields are where the library of Flatbuffers looks for them."""
    pytest.importorskip("flatbuffers", reason="flatbuffers is not installed")
    import flatbuffers
    from flatbuffers import number_types as types

    one = frame(2, 9)
    raw = bytearray(one.raw)
    start = flatbuffers.encode.Get(flatbuffers.packer.uoffset, raw, 0)
    table = flatbuffers.table.Table(raw, start)
    assert table.String(table.Offset(4) + start) == b"frame 2"
    assert table.Get(types.Int32Flags, table.Offset(6) + start) == 9
    for slot, expected, flags in (
        (10, one.atom_types, types.Int32Flags),
        (12, one.masses, types.Float32Flags),
        (14, one.pos.ravel(), types.Float32Flags),
        (16, one.forces.ravel(), types.Float32Flags),
    ):
        assert np.array_equal(table.GetVectorAsNumpy(flags, table.Offset(slot)), expected)


def test_v12_hashes_of_views(make: Make) -> None:
    """V12: the hash of a view is that of its source."""
    pytest.importorskip("xxhash", reason="xxhash is not installed")
    from vldepot.vlstore.hash import byte_hash

    depot = make(codec=flatfloatndarray_codec)
    array = np.random.default_rng(0).random(1000, dtype=np.float32)
    depot.put("a", array)
    assert byte_hash(depot.get("a")) == byte_hash(array.tobytes()) == byte_hash(memoryview(array))
    assert byte_hash(array, seed=1) != byte_hash(array)
    assert len(byte_hash(b"")) == 32


def test_v13_writing_leaves_packing_and_compressing_to_the_library(make: Make) -> None:
    """V13: no time is asserted. A frame is packed without a step of Python for each number, and a record is handed
    over as it is."""
    n_sites = 20_000
    one = frame(1, n_sites)
    calls = 0

    def trace(*_: Any) -> None:
        nonlocal calls
        calls += 1

    sys.setprofile(trace)
    try:
        copy = BackedAtomicData.from_values(
            name=one.name, nsites=n_sites, masses=one.masses, atom_types=one.atom_types, positions=one.pos,
            forces=one.forces,
        )  # fmt: skip
        depot = make(codec=BackedAtomicDataCodec)
        depot.put("a", copy)
    finally:
        sys.setprofile(None)
    assert calls < 2000, "the number of calls does not grow with the number of sites"
    assert same(depot.get("a"), one)


@pytest.fixture(params=ALIGNMENTS)
def filled(request: pytest.FixtureRequest) -> Depot[BackedAtomicData]:
    """200 frames of which some are larger than a chunk."""
    depot = Depot(BackedAtomicDataCodec, SChunkStore(alignment=request.param, chunksize=1 << 14))
    for n in range(200):
        depot.put(n, frame(n, 1000 if n % 50 == 7 else n % 90))
    return depot


@pytest.mark.parametrize(
    "read_size, batch_size, merge, n_buffers", [(1, 1, True, 2), (3, 7, False, 1), (99, 500, True, 3)]
)
@pytest.mark.parametrize("shuffle", [True, False])
def test_v14_every_record_once(
    filled: Depot[BackedAtomicData],
    read_size: int,
    batch_size: int,
    merge: bool,
    n_buffers: int,
    shuffle: bool,
) -> None:
    """V14: by `stream` and in batches, also of records across chunks; and what was served stays as it was."""
    loader = BlockShuffleBatch(
        read_size, batch_size, filled, shuffle=shuffle, end_block_merge=merge, n_buffers=n_buffers
    )
    batches = list(loader)
    assert [len(batch) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
    for served in ([one for batch in batches for one in batch], list(loader.stream())):
        names = [int(one.name.split()[1]) for one in served]
        assert sorted(names) == list(range(200))
        assert (names == list(range(200))) is not shuffle
        assert all(
            same(one, frame(n, 1000 if n % 50 == 7 else n % 90)) for n, one in zip(names, served, strict=True)
        )


def test_v14_one_chunk_and_no_record() -> None:
    """V14: depots of one chunk, of one record and of none."""
    for count in (0, 1, 5):
        depot = Depot(flatfloatndarray_codec)
        for n in range(count):
            depot.put(n, np.full(3, n, dtype=np.float32))
        for merge in (True, False):
            loader = BlockShuffleBatch(2, 2, depot, end_block_merge=merge)
            assert sorted(one[0] for batch in loader for one in batch) == list(range(count))


def test_v14_the_last_chunk_is_merged_or_not() -> None:
    """V14: what is read together."""
    store = SChunkStore(chunksize=4096, alignment=START_ALIGNMENT)
    for n in range(4):
        store[n] = content(n, 100)
    depot = Depot(RAW, store)
    groups = BlockShuffleBatch(1, 1, depot, shuffle=False).key_groups()
    assert groups == [[0], [1], [2, 3]]
    assert BlockShuffleBatch(1, 1, depot, end_block_merge=False).key_groups() == [[0], [1], [2], [3]]


def test_v14_iterations_may_overlap(filled: Depot[BackedAtomicData]) -> None:
    """V14: re-entrant, and an iteration that was left does not matter."""
    loader = BlockShuffleBatch(2, 10, filled)
    next(iter(loader))
    first, second = loader.stream(), loader.stream()
    names: list[set[str]] = [set(), set()]
    for a, b in zip(first, second, strict=True):
        names[0].add(a.name)
        names[1].add(b.name)
    assert len(names[0]) == len(names[1]) == 200


def test_v14_seeds_repeat_an_order(filled: Depot[BackedAtomicData]) -> None:
    """V14: the same seed, the same order; epochs differ; without a seed, Python's own counts."""

    def order(stream: Iterator[BackedAtomicData]) -> list[str]:
        return [one.name for one in stream]

    one, two, other = (BlockShuffleBatch(3, 5, filled, seed=seed) for seed in (7, 7, 8))
    first = order(one.stream())
    assert first == order(two.stream()) != order(other.stream())
    assert first != order(one.stream())
    loader = BlockShuffleBatch(3, 5, filled)
    random.seed(3)
    unseeded = order(loader.stream())
    random.seed(3)
    assert order(loader.stream()) == unseeded != order(loader.stream())
    for sizes in ((0, 1), (1, 0)):
        with pytest.raises(ValueError, match="1 or more"):
            BlockShuffleBatch(*sizes, filled)
    with pytest.raises(ValueError, match="n_buffers"):
        BlockShuffleBatch(1, 1, filled, n_buffers=0)


def test_locations_and_their_index() -> None:
    """Places are split by block, checked, and planned by each strategy."""
    place = Location.from_start_end(50, 350, 100)
    assert (place.start, place.end, place.length, len(place), place.n_blocks) == (50, 350, 300, 300, 4)
    assert (place.start_block, place.end_block, place.start_offset, place.end_offset) == (0, 4, 50, -50)
    parts = [(part.start, part.end) for part in place.block_split()]
    assert parts == [(50, 100), (100, 200), (200, 300), (300, 350)]
    for start, end in ((0, 100), (0, 0), (100, 200), (130, 131), (7, 7)):
        one = Location.from_start_end(start, end, 100)
        assert (one.start, one.end) == (start, end)
        assert sum(part.length for part in one.block_split()) == end - start
    for wrong in ((0, 1, 100, 0, 1), (0, 1, 100, -1, 0), (0, 1, 100, 0, -100)):
        with pytest.raises(ValueError, match="offset"):
            Location(*wrong)
    index: LocationIndex[str] = LocationIndex()
    with pytest.raises(ValueError):
        index.plan(10)
    assert index.plan(10, block_size=100).start == 0
    index["a"] = place
    plans = [index.plan(size, alignment).start for alignment in ALIGNMENTS for size in (40, 50, 60)]
    assert plans == [350, 400, 400, 350, 350, 350, 400, 400, 400]
    assert index.first == index.last == place and "a" in index and len(index) == 1 and list(index) == ["a"]
    again = LocationIndex.from_ordered_pairs(index.to_ordered_pairs(), 100)
    assert again["a"] == place
    del index["a"]
    assert len(index) == 0
    with pytest.raises(ValueError, match="alignment"):
        index.plan(1, "middle", 100)  # type: ignore[arg-type]


def fixtures() -> list[str]:
    if not FIXTURES.exists():
        return []
    described = json.loads((FIXTURES / "expected.json").read_text())
    return [name for name, one in described.items() if "unread" not in one]


@pytest.mark.parametrize("name", fixtures())
def test_files_as_vlstore_writes_them_are_read(name: str) -> None:
    described = json.loads((FIXTURES / "expected.json").read_text())[name]
    store = SChunkStore(FIXTURES / name)
    assert store.read_only and store.chunksize == described["chunksize"]
    assert len(store) == len(described["records"])
    for n, record in enumerate(described["records"]):
        key = record["key"]["value"]
        if record["key"]["type"] == "bytes":
            key = bytes.fromhex(key)
        elif record["key"]["type"] == "int":
            key = int(key)
        length = record["len"]
        expected = bytes(length) if record["zeros"] else bytes((i * 7 + n * 31) % 251 for i in range(length))
        assert store[key] == expected
        assert store.lookup[key].start == record["start"] and len(store.lookup[key]) == record["len"]
    with pytest.raises(vldepot.Error):
        SChunkStore(FIXTURES / name, read_only=False)


SHARED = Path(__file__).parents[4] / "shared" / "data" / "vlstore"


@pytest.mark.skipif(not SHARED.exists(), reason="the shared files that vlstore itself wrote are not here")
def test_files_of_vlstore_itself_are_read() -> None:
    for name, described in json.loads((SHARED / "expected.json").read_text()).items():
        store = SChunkStore(SHARED / name)
        frames = Depot(BackedAtomicDataCodec, store)
        for record in described["records"]:
            key = record["key"]["value"]
            key = bytes.fromhex(key) if record["key"]["type"] == "bytes" else key
            if "sha256" in record:
                assert hashlib.sha256(store[key]).hexdigest() == record["sha256"]
            else:
                one = frames.get(key)
                assert one.pos.shape == one.forces.shape == (one.n_sites, 3)


@pytest.mark.skipif(importlib.util.find_spec("vlstore") is None, reason="vlstore is not installed")
@pytest.mark.parametrize("alignment", ALIGNMENTS)
def test_vlstore_and_this_module_read_each_others_files(path: Path, alignment: Any) -> None:
    real = pytest.importorskip("vlstore.store", reason="vlstore is not installed")
    data: dict[Any, bytes] = {
        key: content(n, 1 + 700 * n) for n, key in enumerate(("a", 1, b"c", "", 2**63, "f"))
    }
    theirs = path.with_name("theirs.b2frame")
    with real.SChunkStore(theirs, alignment=alignment, chunksize=1024) as store:
        for key, value in data.items():
            store.put(key, value)
    ours = SChunkStore(theirs)
    assert {key: ours[key] for key in ours} == data
    assert ours.lookup.to_ordered_pairs() == store.lookup.to_ordered_pairs()
    with SChunkStore(path, alignment=alignment, chunksize=1024) as store_:
        for key, value in data.items():
            store_.put(key, value)
    back = real.SChunkStore(path)
    assert {key: bytes(back.get(key)) for key in back} == data


def test_the_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/how-to/move-from-vlstore.md"""
    monkeypatch.chdir(tmp_path)
    page = Path(__file__).parents[3] / "docs" / "how-to" / "move-from-vlstore.md"
    names: dict[str, Any] = {}
    blocks = page.read_text().split("```python\n")[1:]
    assert len(blocks) == 3
    for number, block in enumerate(blocks):
        if number == 2:
            file_of_vlstore(Path("old.b2frame"), {"a": bytes(frame(3).raw)})
            names["old"] = "old.b2frame"
        exec(compile(block.split("```")[0], page.name, "exec"), names)
    with vldepot.open("as_frames.vld", "atomic_frame") as frames:
        assert np.array_equal(frames["a"].positions, frame(3).pos)
    with vldepot.open("frames_new.vld", "bytes") as depot:
        assert len(depot) == 10


@pytest.mark.parametrize("module", ["vlstore", "vlstore.store", "vlstore.serialize", "vlstore.loader"])
def test_the_examples_of_a_module_run(module: str) -> None:
    found = examples(importlib.import_module(f"vldepot.{module}"))
    assert found
    for test in found:
        assert doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test).failed == 0, (
            test.name
        )


def test_the_readme_of_vlstore_runs(path: Path) -> None:
    """Its example, in our words: with an option that vlstore itself no longer takes, and one store for two blocks."""
    positions, forces = np.random.default_rng(0).random((2, 30, 120, 3), dtype=np.float32)
    store = SChunkStore(chunksize=int(2**16), location=str(path), start_aligned=False)
    with Depot(codec=BackedAtomicDataCodec, backing=store) as d:
        for n in range(30):
            new = BackedAtomicData.from_values(
                name="name", masses=np.ones(120, dtype=np.float32), atom_types=np.arange(120, dtype=np.int32),
                nsites=120, positions=positions[n], forces=forces[n],
            )  # fmt: skip
            d.put(f"frame_{n}", new)
    del store
    store = SChunkStore(location=str(path))
    with Depot(codec=BackedAtomicDataCodec, backing=store) as d:
        assert np.array_equal(d.get("frame_0").pos, positions[0])
    with Depot(codec=BackedAtomicDataCodec, backing=store) as d:
        loader = BlockShuffleBatch(read_size=5, batch_size=1, backing=d, shuffle=True)
        assert sorted(float(one.pos[0, 0]) for (one,) in loader) == sorted(positions[:, 0, 0].tolist())
