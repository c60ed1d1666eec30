"""Fields that are stored apart: the option, what comes back, and which chunks are plain."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vldepot

FIELDS = ("positions", "velocities", "forces")

#: The head of a Blosc2 chunk in the codec 221, which stands for fields that are stored apart.
APART = re.compile(rb"\x05\x01\xd5\x01.{18}\xdd", re.DOTALL)


def has_chunks_apart(path: Path) -> bool:
    return APART.search(path.read_bytes()) is not None


def frame(seed: int, n_atoms: int) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    arrays = {field: random.normal(size=(n_atoms, 3)).astype(np.float32) for field in FIELDS}
    return {**arrays, "types": random.integers(1, 9, n_atoms), "energy": float(seed), "step": seed}


def check(depot: vldepot.Depot[vldepot.Frame], n_frames: int, n_atoms: int) -> None:
    for number in range(n_frames):
        given, read = frame(number, n_atoms), depot[number]
        for field in FIELDS:
            np.testing.assert_array_equal(getattr(read, field), given[field])
        np.testing.assert_array_equal(read.types, given["types"])
        assert (read.energy, read.step) == (float(number), number)


@pytest.mark.parametrize(("n_frames", "n_atoms"), [(1, 1), (300, 20), (40, 500), (6, 5000), (0, 1)])
@pytest.mark.parametrize("preset", ["balanced", "fast", "compact", "uncompressed"])
def test_frames_of_all_sizes_come_back(path: Path, preset: str, n_frames: int, n_atoms: int) -> None:
    for apart in (None, True, False):
        with vldepot.create(path, preset=preset, fields_apart=apart) as depot:
            depot.update({number: frame(number, n_atoms) for number in range(n_frames)})
            check(depot, n_frames, n_atoms)
        expected = preset in ("balanced", "fast") if apart is None else apart
        depot = vldepot.open(path, "atomic_frame")
        layout = depot.info().layout
        assert layout.fields_apart is expected
        assert layout.preset == (preset if expected == (preset in ("balanced", "fast")) else None)
        check(depot, n_frames, n_atoms)
        if n_frames > 1:
            assert has_chunks_apart(path) == (expected and preset != "uncompressed")
            numbers = list(range(n_frames))[::-1]
            flat = depot.get_flat(numbers, ("positions", "forces"))
            forces = np.concatenate([frame(number, n_atoms)["forces"] for number in numbers])
            np.testing.assert_array_equal(flat.forces, forces)
            assert [read.step for read in depot.get_many(numbers)] == numbers
            assert [read.step for read in depot.values()] == numbers[::-1]
            steps = [read.step for batch in depot.loader(batch_size=7, shuffle=True) for read in batch]
            assert sorted(steps) == numbers[::-1]
            for batch in depot.loader(batch_size=16, shuffle=True):
                forces = np.concatenate([frame(int(number), n_atoms)["forces"] for number in batch.indices])
                np.testing.assert_array_equal(batch.flat(["forces"]).forces, forces)
            again = pickle.loads(pickle.dumps(depot))
            assert again[n_frames - 1].step == n_frames - 1
        assert vldepot.verify(path).is_whole
        path.unlink()


def test_arrays_come_back_and_other_codecs_have_no_fields(path: Path) -> None:
    random = np.random.default_rng(1)
    arrays = {
        str(n): random.normal(size=(n % 7, 30)).astype(dtype)
        for n, dtype in enumerate(["f4", "f8", "f2"] * 50)
    }
    with vldepot.create(path, "array") as depot:
        depot.update(arrays)
    assert has_chunks_apart(path)
    read = vldepot.open(path, "array")
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], array)
        assert read[name].dtype == array.dtype
    path.unlink()
    for codec, value in (("bytes", random.bytes(5000)), ("json", [1.5] * 5000), ("msgpack", [1.5] * 5000)):
        with vldepot.create(path, codec) as values:
            values["a"] = value
        assert not has_chunks_apart(path)
        assert vldepot.open(path)["a"] == value
        # The setting is of the layout, and stays.
        layout = vldepot.open(path).info().layout
        assert layout.fields_apart and layout.preset == "balanced"
        path.unlink()


def test_compacting_stores_apart_what_is_set_so(path: Path) -> None:
    for apart in (True, False):
        with vldepot.create(path, fields_apart=apart) as depot:
            depot.update({number: frame(number, 50) for number in range(100)})
            del depot[99]
        vldepot.compact(path)
        assert has_chunks_apart(path) == apart
        check(vldepot.open(path, "atomic_frame"), 99, 50)
        path.unlink()


def test_what_vlstore_reads_is_plain(path: Path) -> None:
    with vldepot.create(path, vlstore_compatible=True) as depot:
        depot.update({number: frame(number, 50) for number in range(100)})
    assert not has_chunks_apart(path)
    check(vldepot.open(path, "atomic_frame"), 100, 50)


def test_the_option_takes_a_bool() -> None:
    with pytest.raises(TypeError, match="fields_apart"):
        vldepot.memory(fields_apart="yes")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="fields_apart"):
        vldepot.open("none.vld", fields_apart=True)  # type: ignore[call-overload]
