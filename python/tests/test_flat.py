"""Many frames as a few long arrays."""

from __future__ import annotations

import gc
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vldepot

FIELDS = [
    "positions",
    "velocities",
    "forces",
    "charges",
    "types",
    "masses",
    "energy",
    "time",
    "cell",
    "stress",
]


@pytest.fixture
def depot() -> vldepot.Depot[vldepot.Frame]:
    random = np.random.default_rng(1)
    depot = vldepot.memory()
    for n in range(40):
        atoms = n % 7
        vectors = {name: random.normal(size=(atoms, 3)) for name in FIELDS[:3]}
        numbers = {
            "charges": random.normal(size=atoms),
            "types": random.integers(0, 9, atoms),
            "masses": random.normal(size=atoms),
        }
        depot[f"f{n}"] = {
            **vectors,
            **numbers,
            "energy": float(n),
            "time": n / 2,
            "cell": random.normal(size=(3, 3)),
            "stress": random.normal(size=(3, 3)),
        }
    return depot


def expected(depot: Any, names: list[str], field: str) -> Any:
    parts = [getattr(depot[name], field) for name in names]
    return np.array(parts) if field in FIELDS[6:] else np.concatenate(parts)


def test_flat_arrays_are_the_frames_one_after_the_other(depot: vldepot.Depot[vldepot.Frame]) -> None:
    names = [f"f{n}" for n in np.random.default_rng(0).permutation(40)] + ["f3", "f3", "f0"]
    for fields in (FIELDS, tuple(reversed(FIELDS)), *[[field] for field in FIELDS], *FIELDS):
        batch = depot.get_flat(names, fields)
        asked = [fields] if isinstance(fields, str) else fields
        assert list(batch.to_dict()) == ["offsets", *[field for field in FIELDS if field in asked]]
        for field in asked:
            wanted = expected(depot, names, field)
            found = getattr(batch, field)
            assert found.dtype == wanted.dtype and found.shape == wanted.shape and (found == wanted).all()
        assert batch.offsets.dtype == np.int64
        assert np.diff(batch.offsets).tolist() == [depot[name].n_atoms for name in names]
        assert len(batch) == len(names)
    assert (batch.frame_of_atom() == np.repeat(np.arange(len(names)), np.diff(batch.offsets))).all()
    assert depot.get_flat(names).positions is not None and depot.get_flat(names).energy is None
    at = depot.get_flat_at([-1, 5, 5], ["energy"])
    assert at.energy.tolist() == [39.0, 5.0, 5.0] and depot.get_flat_at(
        slice(0, 3), "time"
    ).time.tolist() == [0.0, 0.5, 1.0]
    again = pickle.loads(pickle.dumps(batch))
    assert (again.offsets == batch.offsets).all()


def test_flat_arrays_own_their_memory_and_are_shared_through_dlpack(
    depot: vldepot.Depot[vldepot.Frame],
) -> None:
    batch = depot.get_flat(["f3", "f5"], ["positions", "energy"])
    positions = batch.positions
    shared = np.from_dlpack(positions)
    address = positions.__array_interface__["data"][0]
    assert shared.__array_interface__["data"][0] == address and positions.flags.writeable
    kept = positions.copy()
    depot.close()
    del batch, depot, positions
    gc.collect()
    assert (shared == kept).all()
    shared = np.array(shared)
    shared[:] = 0  # nobody else sees that


def test_out_is_filled_and_used_again(depot: vldepot.Depot[vldepot.Frame]) -> None:
    names = ["f5", "f2", "f6"]
    out = {
        "positions": np.empty((50, 3), np.float32),
        "energy": np.empty(3),
        "cell": np.empty((9, 3, 3)),
        "offsets": np.empty(4, np.int64),
    }
    for _ in range(3):
        batch = depot.get_flat(names, ["positions", "energy", "cell", "forces"], out=out)
        for field in ("positions", "energy", "cell", "forces"):
            assert (getattr(batch, field) == expected(depot, names, field)).all()
        assert batch.positions.base is out["positions"] and batch.positions.shape == (13, 3)
        assert np.shares_memory(batch.offsets, out["offsets"]) and not np.shares_memory(
            batch.forces, out["positions"]
        )
    again = depot.get_flat(
        ["f6"],
        ["positions", "energy", "cell"],
        out={name: array for name, array in out.items() if name != "offsets"},
    )
    assert (again.positions == depot["f6"].positions).all()
    same = depot.get_flat(names, ["positions"])
    reused = depot.get_flat(names, ["positions"], out=same)
    assert np.shares_memory(reused.positions, same.positions)


def bad_outs() -> dict[str, Any]:
    room = np.empty((60, 3), np.float32)
    read_only = np.empty((60, 3), np.float32)
    read_only.flags.writeable = False
    return {
        "too short": {"positions": np.empty((2, 3), np.float32)},
        "flat": {"positions": np.empty(90, np.float32)},
        "wide": {"positions": np.empty((60, 4), np.float32)},
        "double": {"positions": np.empty((60, 3))},
        "big-endian": {"positions": np.empty((60, 3), ">f4")},
        "fortran": {"positions": np.empty((60, 3), np.float32, order="F")},
        "every other": {"positions": np.empty((120, 3), np.float32)[::2]},
        "read-only": {"positions": read_only},
        "not asked for": {"energy": np.empty(9)},
        "unknown": {"spin": np.empty(9)},
        "overlapping": {"positions": room[:40], "forces": room[20:]},
        "the same": {"positions": room, "forces": room},
        "a list": {"positions": [[0.0, 0.0, 0.0]]},
        "no dict": 5,
        "axes": {"positions": np.float32(5)},
    }


@pytest.mark.parametrize("what", bad_outs())
def test_out_that_cannot_take_the_fields_is_refused(depot: vldepot.Depot[vldepot.Frame], what: str) -> None:
    with pytest.raises((ValueError, TypeError, AttributeError)):
        depot.get_flat(["f5", "f2", "f6"], ["positions", "forces"], out=bad_outs()[what])
    assert len(depot.get_flat(["f5"])) == 1


def test_flat_errors_name_the_record_and_the_field(depot: vldepot.Depot[vldepot.Frame]) -> None:
    depot["no energy"] = {"positions": np.zeros((1, 3))}
    with pytest.raises(vldepot.CodecError) as caught:
        depot.get_flat(["f1", "no energy"], ["energy"])
    assert caught.value.record == '"no energy"' and "energy" in str(caught.value)
    with pytest.raises(vldepot.NotFound):
        depot.get_flat(["f1", "none"])
    with pytest.raises(IndexError):
        depot.get_flat_at([40, 41])
    for fields in ([], "colour", ["positions", "colour"]):
        with pytest.raises(ValueError):
            depot.get_flat(["f1"], fields)
    with pytest.raises(TypeError):
        vldepot.memory("array").get_flat([])
    with pytest.raises(vldepot.CodecError):
        doubles = vldepot.memory(precision="float64")
        doubles["a"] = {"positions": np.zeros((1, 3))}
        doubles.get_flat(["a"])


def test_large_frames_give_the_wanted_fields(path: Path) -> None:
    random = np.random.default_rng(2)
    with vldepot.create(path) as depot:
        for n in range(4):
            depot[n] = {
                name: random.normal(size=(20_000, 3)).astype(np.float32)
                for name in ("positions", "velocities", "forces")
            }
    depot = vldepot.open(path)
    batch = depot.get_flat([3, 0], "forces")
    assert (batch.forces == np.concatenate([depot[3].forces, depot[0].forces])).all()
