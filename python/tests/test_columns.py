"""Scalars in columns."""

from pathlib import Path

import numpy as np
import pytest

import vldepot
from vldepot import Frame


def frames(depot: vldepot.Depot[Frame], n: int = 50) -> None:
    for step in range(n):
        energy = None if step % 5 == 0 else -step / 3
        depot[f"frame_{step}"] = Frame(positions=np.zeros((step % 7 + 1, 3)), step=500 * step, energy=energy)


def test_columns_are_those_of_the_frames(tmp_path: Path) -> None:
    path = tmp_path / "run.vld"
    with vldepot.create(path, columns=["step", "energy", "n_atoms", "time"]) as depot:
        frames(depot)
        assert depot.column("step").tolist() == [500 * step for step in range(50)]
    with vldepot.open(path) as depot:
        assert depot.columns["step"] == np.int64 and depot.columns["energy"] == np.float64
        assert depot.info().layout.columns == ("step", "energy", "n_atoms", "time")
        assert depot.info().layout.preset == "balanced"
        steps, energies = depot.column("step"), depot.column("energy")
        assert steps.dtype == np.int64 and energies.dtype == np.float64
        expected = [np.nan if step % 5 == 0 else -step / 3 for step in range(50)]
        np.testing.assert_array_equal(energies, expected)
        assert depot.column("n_atoms", -3).tolist() == [step % 7 + 1 for step in (47, 48, 49)]
        assert depot.column("step", 3, 5).tolist() == [1500, 2000]
        assert depot.column("step", 5, 3).size == depot.column("step", 1000).size == 0
        assert np.isnan(depot.column("time")).all()
        masked = depot.column("energy", masked=True)
        assert masked.mask.sum() == 10 and masked.sum() == pytest.approx(np.nansum(expected))
        assert depot.scalar("frame_3", "step") == 1500 and isinstance(depot.scalar("frame_3", "step"), int)
        assert depot.scalar("frame_3", "energy") == -1.0
        assert depot.scalar("frame_5", "energy") is None


def test_whole_numbers_that_are_absent_are_not_zero() -> None:
    depot = vldepot.memory(columns=["step"])
    depot["a"] = Frame(positions=[[0.0, 0.0, 0.0]], step=7)
    depot["b"] = Frame(positions=[[0.0, 0.0, 0.0]])
    np.testing.assert_array_equal(depot.column("step"), [7.0, np.nan])
    masked = depot.column("step", masked=True)
    assert masked.dtype == np.int64 and masked.tolist() == [7, None]


def test_columns_that_are_not_there_are_named() -> None:
    with pytest.raises(vldepot.InvalidOptions, match="the scalars are step, time, energy, n_atoms"):
        vldepot.memory(columns=["spin"])
    with pytest.raises(vldepot.InvalidOptions, match="the scalars are none"):
        vldepot.memory("bytes", columns=["energy"])
    depot = vldepot.memory()
    assert depot.columns == {}
    with pytest.raises(vldepot.InvalidOptions, match="no column `energy`; the depot has none"):
        depot.column("energy")
    depot = vldepot.memory(columns=["energy"])
    with pytest.raises(vldepot.NotFound):
        depot.scalar("none", "energy")


def test_a_table_has_names_and_columns() -> None:
    depot = vldepot.memory(columns=["step", "energy"])
    assert list(depot.table()) == ["name", "step", "energy"]
    frames(depot, 20)
    table = depot.table()
    assert table["name"] == [f"frame_{step}" for step in range(20)]
    assert table["step"].tolist() == [500 * step for step in range(20)]
    assert list(depot.table(["energy"], names=False)) == ["energy"]
    with pytest.raises(vldepot.InvalidOptions):
        depot.table(["spin"])
    assert dict(vldepot.memory("bytes").table()) == {"name": []}
