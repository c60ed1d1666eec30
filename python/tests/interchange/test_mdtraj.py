"""Trajectories of mdtraj in depots, with the real mdtraj and files that it wrote."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("mdtraj.core", reason="needs the package mdtraj")
import mdtraj  # noqa: E402

import vldepot.mdtraj  # noqa: E402


def waters(n: int = 4, n_frames: int = 5) -> mdtraj.Trajectory:
    random, topology = np.random.default_rng(0), mdtraj.Topology()
    chains = [topology.add_chain() for _ in range(2)]
    for i in range(n):
        residue = topology.add_residue("HOH", chains[2 * i // n], resSeq=9998 + i)
        made = [
            topology.add_atom(name, mdtraj.element.get_by_symbol(symbol), residue)
            for name, symbol in (("O", "O"), ("H1", "H"), ("H2", "H"), ("M", "VS"))
        ]
        for hydrogen in made[1:3]:
            topology.add_bond(made[0], hydrogen)
    lengths = np.array([[3, 4, 5 + k] for k in range(n_frames)], np.float32)
    angles = np.full((n_frames, 3), [80, 85, 95], np.float32)
    xyz = random.normal(size=(n_frames, 4 * n, 3)).astype(np.float32)
    return mdtraj.Trajectory(xyz, topology, np.arange(n_frames) * 2.5, lengths, angles)


def same(found: Any, expected: Any) -> None:
    assert found.topology == expected.topology
    for a, b in zip(found.topology.atoms, expected.topology.atoms, strict=True):
        assert a.residue.resSeq == b.residue.resSeq and a.element is b.element
    for field in ("xyz", "time", "unitcell_lengths", "unitcell_angles"):
        assert np.array_equal(getattr(found, field), getattr(expected, field)), field


def test_a_trajectory_comes_back_to_the_last_bit(path):
    trajectory = waters()
    vldepot.mdtraj.save(trajectory, path)
    same(vldepot.mdtraj.load(path), trajectory)
    same(vldepot.mdtraj.load(path, slice(None, 1, -2)), trajectory[[4, 2]])
    assert vldepot.mdtraj.load(path, records="frame_*1").time.tolist() == [2.5]
    with pytest.raises(vldepot.PathExists):
        vldepot.mdtraj.save(trajectory, path)


def test_files_that_mdtraj_wrote_come_back(tmp_path):
    top, xtc, depot = (str(tmp_path / f"a.{each}") for each in ("pdb", "xtc", "vld"))
    waters()[0].save_pdb(top)
    waters().save_xtc(xtc)
    trajectory = mdtraj.load(xtc, top=top)
    vldepot.mdtraj.save(trajectory, depot, preset="compact")
    same(vldepot.mdtraj.load(depot), trajectory)
    bare = mdtraj.Trajectory(trajectory.xyz, None)
    vldepot.mdtraj.save(bare, tmp_path / "bare.vld")
    found = vldepot.mdtraj.load(tmp_path / "bare.vld")
    assert np.array_equal(found.xyz, bare.xyz) and found.unitcell_lengths is None and found.n_residues == 1


def test_mdanalysis_reads_what_mdtraj_stored(path):
    mda = pytest.importorskip("MDAnalysis", reason="needs the package MDAnalysis")
    import vldepot.mdanalysis  # noqa: F401

    trajectory = waters()
    vldepot.mdtraj.save(trajectory, path)
    u = mda.Universe(path)
    assert u.atoms.elements[:4].tolist() == ["O", "H", "H", ""] and u.residues.resids.tolist() == [
        9998,
        9999,
        10000,
        10001,
    ]
    assert len(u.segments) == 2 and len(u.bonds) == 8
    for n, ts in enumerate(u.trajectory):
        assert np.allclose(ts.positions, 10 * trajectory.xyz[n], rtol=1e-6) and ts.time == 2.5 * n
        assert np.allclose(ts.triclinic_dimensions, 10 * trajectory.unitcell_vectors[n], atol=1e-4)
    copy = path.with_name("b.vld")
    u.atoms.write(copy, frames="all")
    found = vldepot.mdtraj.load(copy)
    assert found.topology == trajectory.topology and np.allclose(found.xyz, trajectory.xyz, atol=1e-6)


def test_a_cell_is_turned_to_where_mdtraj_has_it(path):
    cell = 10 * np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    positions = np.random.default_rng(1).random((6, 3)) @ cell
    with vldepot.create(path, units={"length": "Å"}, precision="float64") as depot:
        depot["a"] = {"positions": positions, "cell": cell, "types": [18] * 6}
    found = vldepot.mdtraj.load(path, atomic_numbers=True)
    assert [atom.name for atom in found.topology.atoms] == ["Ar"] * 6
    fractions = found.xyz[0] @ np.linalg.inv(found.unitcell_vectors[0])
    assert np.allclose(fractions, positions @ np.linalg.inv(cell), atol=1e-5)


def test_what_mdtraj_has_no_place_for_is_an_error(path):
    with vldepot.create(path) as depot:
        depot["a"] = {"positions": np.ones((2, 3)), "time": 1.0}
        depot["b"] = {"positions": np.ones((2, 3))}
        depot["c"] = {"velocities": np.ones((2, 3))}
        depot["d"] = {"positions": np.ones((3, 3))}
        chains = {"chain": np.array([1, 0], np.int32)}
        depot.put("t", topology=vldepot.Topology(names=["A", "B"]), arrays=chains)
        depot["e"] = {"positions": np.ones((2, 3)), "topology_name": "t"}
    with pytest.raises(ValueError, match="1 of 2 frames have a time"):
        vldepot.mdtraj.load(path, slice(2))
    with pytest.raises(vldepot.mdtraj.NoFrame, match="'c' has no positions"):
        vldepot.mdtraj.load(path, records=["a", "c"])
    with pytest.raises(vldepot.mdtraj.OtherAtoms, match="number of atoms is 3"):
        vldepot.mdtraj.load(path, records=["a", "d"])
    assert vldepot.mdtraj.load(path, records=["b"]).n_frames == 1
    with pytest.raises(ValueError, match="one after another"):
        vldepot.mdtraj.load(path, records=["e"])
