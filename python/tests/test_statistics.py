"""Statistics in the index, and queries on it."""

from pathlib import Path

import numpy as np
import pytest

import vldepot
from vldepot import Frame


def put(depot: vldepot.Depot[Frame], n: int) -> None:
    rng = np.random.default_rng(n)
    depot.put(
        f"run_{n % 3}/frame_{n}",
        positions=rng.normal(size=(n % 5 + 1, 3)),
        forces=rng.normal(size=(n % 5 + 1, 3)),
        types=[1, 6, 8, 1, 1][: n % 5 + 1],
        energy=float(n) / 7,
    )


def test_statistics_are_those_of_numpy(tmp_path: Path) -> None:
    path = tmp_path / "train.vld"
    with vldepot.create(path, columns=["energy"], statistics=True) as depot:
        for n in range(40):
            put(depot, n)
    depot = vldepot.open(path)
    forces = np.concatenate([frame.forces for frame in depot.values()])
    statistics = depot.statistics()
    assert statistics.records == 40 and depot.info().statistics == statistics
    fields = statistics.fields
    assert fields is not None and fields.exact and fields.counted == 40
    found = fields.fields["forces"]
    assert (found.count, found.min, found.max) == (forces.size, forces.min(), forces.max())
    assert found.mean == pytest.approx(forces.mean(dtype=float))
    assert found.variance == pytest.approx(forces.var(dtype=float))
    assert found.std == pytest.approx(forces.std(dtype=float))
    types = np.concatenate([frame.types for frame in depot.values() if frame.types is not None])
    assert {kind: of.values for kind, of in fields.kinds["types"].items()} == {
        int(kind): int(n) for kind, n in zip(*np.unique(types, return_counts=True), strict=True)
    }
    energy = statistics.columns["energy"]
    assert (energy.count, energy.absent, energy.min, energy.max) == (40, 0, 0.0, 39 / 7)


def test_statistics_are_bounds_until_the_depot_is_compacted(tmp_path: Path) -> None:
    path = tmp_path / "train.vld"
    with vldepot.create(path, columns=["energy"], statistics=True) as depot:
        for n in range(10):
            put(depot, n)
        depot.commit()
        del depot["run_0/frame_9"]
    statistics = vldepot.open(path).statistics()
    assert statistics.fields is not None and not statistics.fields.exact
    assert (statistics.fields.removed, statistics.fields.missing) == (1, 0)
    assert statistics.fields.fields["energy"].max == 9 / 7
    assert statistics.columns["energy"].max == 8 / 7
    assert not vldepot.verify(path).problems
    vldepot.compact(path)
    statistics = vldepot.open(path).statistics()
    assert statistics.fields is not None and statistics.fields.exact
    assert statistics.fields.fields["energy"].max == 8 / 7


def test_depots_without_statistics_say_so() -> None:
    assert vldepot.memory("bytes", statistics=True).statistics().fields is None
    depot = vldepot.memory()
    put(depot, 1)
    assert depot.statistics().fields is None and not depot.info().layout.statistics
    assert depot.info().layout.preset == "balanced"


def test_a_query_finds_positions_and_names() -> None:
    depot = vldepot.memory(columns=["energy", "n_atoms"])
    for n in range(40):
        put(depot, n)
    energies, atoms = depot.column("energy"), depot.column("n_atoms")
    found = depot.select("energy > 2 and n_atoms in (1, 3)")
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, np.flatnonzero((energies > 2) & np.isin(atoms, [1, 3])))
    names = depot.select("name glob 'run_1/*' and energy < 1", names=True)
    assert names == ["run_1/frame_1", "run_1/frame_4"]
    seen = [name for batch in depot.loader(positions=found, batch_size=3) for name in batch.names]
    assert len(seen) == len(found)
    depot.set_metadata_of("run_1/frame_1", {"source": "md"})
    assert depot.select("meta.source == 'md'", names=True) == ["run_1/frame_1"]


def test_what_is_no_query_points_at_its_column() -> None:
    depot = vldepot.memory(columns=["energy"])
    with pytest.raises(vldepot.InvalidQuery, match="column 10: expected a value") as refused:
        depot.select("energy < ")
    assert (refused.value.query, refused.value.column) == ("energy < ", 10)
    with pytest.raises(vldepot.InvalidQuery, match="no column `spin`; the depot has energy"):
        depot.select("spin < 3")
