"""Depots in MDAnalysis: what other programs wrote, read and written with the real MDAnalysis."""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

mda = pytest.importorskip("MDAnalysis", reason="needs the package MDAnalysis")
from MDAnalysis.analysis import align, rms  # noqa: E402
from MDAnalysis.lib.distances import distance_array  # noqa: E402

import vldepot  # noqa: E402
import vldepot.mdanalysis as vm  # noqa: E402

pytestmark = [
    # Of MDAnalysis itself, which guesses masses and times.
    pytest.mark.filterwarnings("ignore:.*(guess|dt information|independent timesteps|Element information).*"),
    pytest.mark.filterwarnings(
        "ignore:.*(Found no information for attr|Unit cell dimensions|Unknown element).*"
    ),
]


def waters(n: int = 4, n_frames: int = 6, seed: int = 0) -> Any:
    """Molecules of water in two chains, with velocities, forces, a triclinic cell and times."""
    random = np.random.default_rng(seed)
    u = mda.Universe.empty(
        3 * n,
        n_residues=n,
        n_segments=2,
        atom_resindex=np.repeat(np.arange(n), 3),
        residue_segindex=np.arange(n) // ((n + 1) // 2),
        trajectory=True,
    )
    u.add_TopologyAttr("names", ["OW", "HW1", "HW2"] * n)
    u.add_TopologyAttr("elements", ["O", "H", "H"] * n)
    u.add_TopologyAttr("types", ["opls_111", "opls_112", "opls_112"] * n)
    u.add_TopologyAttr("masses", [15.9994, 1.008, 1.008] * n)
    u.add_TopologyAttr("charges", [-0.834, 0.417, 0.417] * n)
    u.add_TopologyAttr("resnames", ["SOL"] * n)
    u.add_TopologyAttr("resids", np.arange(n) + 9997)
    u.add_TopologyAttr("segids", ["WAT", "ÄTZ"])
    u.add_TopologyAttr("chainIDs", ["A"] * 6 + ["B"] * (3 * n - 6))
    u.add_TopologyAttr("tempfactors", random.normal(size=3 * n))
    u.add_TopologyAttr("bonds", [(3 * i, 3 * i + j) for i in range(n) for j in (1, 2)])
    u.add_TopologyAttr("angles", [(3 * i + 1, 3 * i, 3 * i + 2) for i in range(n)])
    shape = (n_frames, 3 * n, 3)
    cells = [[20 + k, 21, 22, 80, 85, 95 + k] for k in range(n_frames)]
    u.load_new(
        random.normal(0, 10, shape).astype(np.float32),
        velocities=random.normal(size=shape).astype(np.float32),
        forces=random.normal(0, 100, shape).astype(np.float32),
        dimensions=np.array(cells, np.float32),
        dt=2.5,
    )
    return u


def same_trajectory(found: Any, expected: Any, exact: bool = True) -> None:
    assert len(found) == len(expected)
    for n in range(len(expected)):
        a, b = found[n], expected[n]
        assert (a.has_positions, a.has_velocities, a.has_forces) == (
            b.has_positions,
            b.has_velocities,
            b.has_forces,
        )
        for field in ("positions", "velocities", "forces"):
            if getattr(a, f"has_{field}"):
                there, given = getattr(a, field), getattr(b, field)
                assert np.array_equal(there, given) if exact else np.allclose(there, given, rtol=3e-7), field
        assert (a.dimensions is None) == (b.dimensions is None)
        if a.dimensions is not None:
            assert (
                np.array_equal(a.dimensions, b.dimensions)
                if exact
                else np.allclose(a.dimensions, b.dimensions)
            )
        assert a.time == pytest.approx(b.time, rel=0 if exact else 1e-12)


def same_topology(found: Any, expected: Any) -> None:
    for attribute in expected._topology.attrs:
        name, there = attribute.attrname, getattr(found._topology, attribute.attrname)
        if name in ("bonds", "angles", "dihedrals"):
            assert sorted(there.values) == sorted(attribute.values), name
        elif name not in ("indices", "resindices", "segindices"):
            assert np.array_equal(there.values, attribute.values), name
            assert there.values.dtype == attribute.values.dtype, name
            assert there.is_guessed == attribute.is_guessed, name
    assert len(found._topology.attrs) == len({attribute.attrname for attribute in expected._topology.attrs})
    assert np.array_equal(found.atoms.resindices, expected.atoms.resindices)
    assert np.array_equal(found.residues.segindices, expected.residues.segindices)


def test_a_universe_comes_back_to_the_last_bit(path):
    u = waters()
    u.atoms.write(path, frames="all")
    found = mda.Universe(path)
    same_topology(found, u)
    same_trajectory(found.trajectory, u.trajectory)
    assert found.trajectory.dt == 2.5 and found.trajectory.totaltime == 12.5
    assert list(found.select_atoms("segid ÄTZ and element O").resids) == [9999, 10000]


@pytest.mark.parametrize("units", ["gromacs", "ase", {"length": "bohr", "time": "fs", "energy": "kcal/mol"}])
def test_numbers_are_converted_to_the_depots_units_and_back(path, units):
    u = waters()
    u.trajectory.ts.data["energy"] = -100.0
    u.atoms.write(path, units=units, precision="float64")
    with vldepot.open(path, "atomic_frame") as depot:
        frame = depot["frame_0000000000"]
        length, time, energy = {
            "nm": (10, 1, 1),
            "Å": (1, 0.010180505, 96.4853321),
            "bohr": (0.529177211, 1e-3, 4.184),
        }[depot.units["length"]]
    ts = u.trajectory.ts
    assert np.allclose(frame.positions * length, ts.positions, rtol=1e-6)
    assert np.allclose(frame.velocities * length / time, ts.velocities, rtol=1e-6)
    assert np.allclose(frame.forces * energy / length, ts.forces, rtol=1e-6)
    assert np.allclose(frame.cell * length, ts.triclinic_dimensions, rtol=1e-6)
    assert frame.energy * energy == pytest.approx(-100)
    found = mda.Universe(path)
    same_trajectory(found.trajectory, u.trajectory[:1].trajectory[:1], exact=False)
    assert found.trajectory.ts.data["energy"] == pytest.approx(-100)


def test_an_unknown_unit_is_named(path):
    with vldepot.create(path, units={"length": "furlong"}) as depot:
        depot["a"] = {"positions": np.ones((2, 3))}
    with pytest.raises(vm.UnknownUnit, match="length is 'furlong'") as caught:
        mda.Universe(path)
    assert (caught.value.quantity, caught.value.unit) == ("length", "furlong")
    assert mda.Universe(path, convert_units=False).atoms.positions.tolist() == [[1, 1, 1]] * 2
    with pytest.raises(vm.UnknownUnit):
        mda.Writer(path.with_name("b.vld"), n_atoms=2, units={"energy": "BTU"})
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("precision", ["float16", "bfloat16", "float64"])
def test_numbers_of_any_precision_are_read(path, precision):
    if precision == "bfloat16":
        pytest.importorskip("ml_dtypes", reason="needs the package ml_dtypes")
    with vldepot.create(path, precision=precision) as depot:
        depot["a"] = {"positions": np.array([[1.5, -2, 1024]])}
    assert mda.Universe(path).atoms.positions.tolist() == [[15, -20, 10240]]


def test_a_reader_follows_a_run_that_goes_back(path):
    def put(depot, *numbers):
        for n in numbers:
            depot[f"f{n}"] = {"positions": np.full((1, 3), float(n)), "step": n, "time": float(n)}
        depot.commit()

    with vldepot.create(path) as depot:
        put(depot, 1, 2, 3, 4)
        u = mda.Universe(path)
        u.trajectory[3]
        depot.truncate_after("f2")
        assert u.trajectory.refresh() == -2 and len(u.trajectory) == 2
        with pytest.raises(StopIteration):
            u.trajectory.next()
        put(depot, 5, 6, 7)
        assert u.trajectory.refresh() == 3 and u.trajectory.refresh() == 0
        assert [ts.data["step"] for ts in u.trajectory] == [1, 2, 5, 6, 7]
        # A copy in another process has the frames that this reader has, not more.
        copy = pickle.dumps(u)
        put(depot, 8)
        assert len(pickle.loads(copy).trajectory) == 5


@pytest.mark.parametrize("extension", ["xtc", "trr", "dcd"])
def test_trajectories_that_mdanalysis_wrote_come_back(tmp_path, extension):
    u = waters(n_frames=4)
    top, other, depot = (str(tmp_path / f"a.{each}") for each in ("pdb", extension, "vld"))
    u.atoms.write(top)
    u.atoms.write(other, frames="all")
    source = mda.Universe(top, other)
    source.atoms.write(depot, frames="all")
    same_topology(mda.Universe(depot), source)
    for found in (mda.Universe(depot), mda.Universe(top, depot)):
        same_trajectory(found.trajectory, source.trajectory)


def test_a_structure_is_one_frame(tmp_path):
    u = waters()
    for extension in ("gro", "pdb"):
        source, depot = str(tmp_path / f"a.{extension}"), str(tmp_path / f"{extension}.vld")
        u.atoms.write(source)
        source = mda.Universe(source)
        source.atoms.write(depot)
        found = mda.Universe(depot)
        assert len(found.trajectory) == 1 and found.trajectory[-1].frame == 0
        same_topology(found, source)
        assert np.array_equal(found.atoms.positions, source.atoms.positions)
        # No time is stored where a format has none.
        with vldepot.open(depot, "atomic_frame") as records:
            assert (records["frame_0000000000"].time is None) == ("time" not in source.trajectory.ts.data)


def test_frames_are_reached_in_any_order(path):
    u = waters(n_frames=6)
    u.atoms.write(path, frames="all")
    t = mda.Universe(path).trajectory
    assert (t.n_frames, len(t), t.n_atoms) == (6, 6, 12)
    assert [ts.frame for ts in t] == list(range(6))
    assert [ts.frame for ts in t[::-2]] == [5, 3, 1] and [ts.frame for ts in t[[4, 4, 0]]] == [4, 4, 0]
    assert [ts.time for ts in t[1:3]] == [2.5, 5.0] and t[-1].frame == 5 and t.frame == 5
    expected = u.trajectory.timeseries(order="fac")
    assert np.array_equal(t.timeseries(order="fac"), expected)
    for bad in (6, -7, 10**30):
        with pytest.raises(IndexError):
            t[bad]
    t[5]
    with pytest.raises(StopIteration):
        t.next()
    assert t.frame == 0
    again = mda.Universe(path, in_memory=True, in_memory_step=2).trajectory
    assert np.array_equal(again.timeseries(order="fac"), expected[::2])


def test_data_of_a_timestep_come_back(path):
    u = waters(n_frames=1)
    ts = u.trajectory.ts
    stress = np.arange(9.0).reshape(3, 3)
    given = {
        "step": 10**12,
        "energy": -1.5,
        "stress": stress,
        "lambda": 0.25,
        "box_vectors": np.arange(4, dtype=np.int16),
        "charges": np.linspace(-1, 1, 12, dtype=np.float32),
        "arrays": {"spin": np.arange(12)},
        "note": "text",
    }
    ts.data.update(given)
    chosen = u.atoms[[3, 1]]
    with pytest.warns(UserWarning, match="'note'"):
        chosen.write(path, units="gromacs")
    data = mda.Universe(path).trajectory.ts.data
    assert (data["step"], data["energy"], data["lambda"]) == (10**12, -1.5, 0.25)
    assert np.array_equal(data["stress"], stress) and "note" not in data
    assert data["box_vectors"].dtype == np.int16 and data["box_vectors"].tolist() == [0, 1, 2, 3]
    assert np.array_equal(data["charges"], given["charges"][[3, 1]]) and data["arrays"]["spin"].tolist() == [
        3,
        1,
    ]


def test_a_name_that_a_field_has_does_not_hide_it(path):
    with vldepot.create(path) as depot:
        depot.put("a", positions=np.ones((1, 3)), energy=1.0, per_frame={"energy": np.arange(2), "time": 5.0})
    u = mda.Universe(path)
    data = u.trajectory.ts.data
    assert data["energy"] == 1.0 and data["per_frame.energy"].tolist() == [0, 1] and "time" not in data
    u.atoms.write(path.with_name("b.vld"))
    with vldepot.open(path.with_name("b.vld")) as depot:
        frame = depot["frame_0000000000"]
        assert frame.energy == 1.0 and frame.time is None
        assert frame.per_frame["energy"].tolist() == [0, 1] and frame.per_frame["time"] == 5.0


def test_what_is_absent_is_absent(path):
    with vldepot.create(path) as depot:
        depot["a"] = {"velocities": np.ones((2, 3)), "types": [1, 7]}
        depot["b"] = {"positions": np.ones((2, 3))}
    u = mda.Universe(path, to_guess=())
    names = {attribute.attrname for attribute in u._topology.attrs}
    # They may be ids of types.
    assert names == {"types", "indices", "resindices", "segindices"} and u.atoms.types.tolist() == ["1", "7"]
    assert mda.Universe(path, to_guess=(), atomic_numbers=True).atoms.elements.tolist() == ["H", "N"]
    ts = u.trajectory.ts
    assert not ts.has_positions and ts.has_velocities and ts.dimensions is None and not ts.data
    ts = u.trajectory[1]
    assert ts.has_positions and not ts.has_velocities
    with vldepot.append(path) as depot:
        depot["a"] = {"positions": np.ones((2, 3)), "types": [1, 700]}
    with pytest.raises(ValueError, match="type 700 of atom 1 is no atomic number"):
        mda.Universe(path, records=["a"], atomic_numbers=True)


def test_guesses_come_back_as_guesses(path):
    with vldepot.create(path) as depot:
        depot.put("t", topology=vldepot.Topology(names=["C", "H"]))
        depot["a"] = {"positions": np.ones((2, 3))}
    u = mda.Universe(path)
    assert u._topology.masses.is_guessed
    copy = path.with_name("b.vld")
    u.atoms.write(copy)
    same_topology(mda.Universe(copy, to_guess=()), u)
    with vldepot.open(copy) as depot:
        topology = depot["topology"].topology
        assert topology.masses is None and topology.types is None and topology.names == ["C", "H"]


def test_residues_without_names(path):
    u = mda.Universe.empty(4, n_residues=2, atom_resindex=[0, 1, 0, 1], trajectory=True)
    u.atoms.write(path)
    same_topology(mda.Universe(path, to_guess=()), u)
    u.add_TopologyAttr("resids", [7, 5])
    u.atoms.write(path)
    same_topology(mda.Universe(path, to_guess=()), u)


def test_residues_are_told_apart(path):
    # A number comes again in another chain, and after 9999.
    numbers, chains = np.array([1, 1, 2, 1, 1], np.int32), np.array([0, 0, 0, 0, 1], np.int32)
    with vldepot.create(path) as depot:
        depot.put(
            "t",
            topology=vldepot.Topology(names=list("abcde")),
            arrays={"residue_number": numbers, "chain": chains},
        )
        depot["a"] = {"positions": np.ones((5, 3)), "topology_name": "t"}
    u = mda.Universe(path)
    assert u.residues.resids.tolist() == [1, 2, 1, 1] and u.atoms.resindices.tolist() == [0, 0, 1, 2, 3]
    assert u.segments.segids.tolist() == ["0", "1"] and u.residues.segindices.tolist() == [0, 0, 0, 1]


class TestOtherPrograms:
    def test_a_run_of_openmm(self, tmp_path):
        pytest.importorskip("openmm.app", reason="needs the package openmm")
        from openmm import app

        import vldepot.openmm

        systems = _systems()
        simulation = systems.waters()
        depot, dcd = str(tmp_path / "run.vld"), str(tmp_path / "run.dcd")
        with vldepot.openmm.DepotReporter(depot, 5) as frames:
            simulation.reporters += [frames, app.DCDReporter(dcd, 5)]
            simulation.step(20)
            frames.commit()
            u = mda.Universe(depot)
            assert len(u.trajectory) == 4
            simulation.step(10)
            frames.commit()
            # A reader moves forward when it is told.
            assert len(u.trajectory) == 4
            assert u.trajectory.refresh() == 2
            assert len(u.trajectory) == 6 and u.trajectory[5].data["step"] == 30
        assert u.atoms.names[:4].tolist() == ["O", "H1", "H2", "M"]
        assert u.atoms.elements[:4].tolist() == ["O", "H", "H", ""] and u.atoms.masses[3] == 0
        assert u.residues.resnames.tolist() == ["HOH"] * 4 and u.residues.resids.tolist() == [1, 2, 3, 4]
        assert len(u.segments) == 4 and len(u.bonds) == 8 and u.trajectory.dt == pytest.approx(0.01)
        del simulation
        other = mda.Universe(depot, dcd)
        for a, b in zip(u.trajectory, other.trajectory, strict=True):
            assert np.allclose(a.positions, b.positions, atol=1e-5)
        last = u.trajectory[-1]
        with vldepot.open(depot, "atomic_frame") as records:
            frame = records["frame_0000000030"]
        assert np.allclose(last.velocities, 10 * frame.velocities, rtol=1e-6)
        assert np.allclose(last.forces, frame.forces / 10, rtol=1e-6)
        assert last.time == frame.time and last.data["energy"] == frame.energy
        assert last.data["kinetic_energy"] == frame.per_frame["kinetic_energy"]

    def test_a_periodic_run_of_openmm(self, tmp_path):
        pytest.importorskip("openmm.app", reason="needs the package openmm")
        import vldepot.openmm

        simulation = _systems().argon()
        depot = str(tmp_path / "run.vld")
        with vldepot.openmm.DepotReporter(depot, 5) as frames:
            simulation.reporters.append(frames)
            simulation.step(10)
        u = mda.Universe(depot)
        assert (
            np.allclose(u.dimensions, [13.5, 13.5, 13.5, 90, 90, 90])
            and "rotation" not in u.trajectory.ts.data
        )
        assert u.residues.resids[:2].tolist() == [10, 11] and u.atoms.elements[0] == "Ar"

    @pytest.mark.parametrize("hand", ["right", "left"])
    def test_cells_of_ase_are_turned(self, path, hand):
        pytest.importorskip("ase.build", reason="needs the package ase")
        from ase import units
        from ase.build import bulk

        import vldepot.ase

        atoms = bulk("Cu").repeat((2, 3, 4))
        atoms.rattle(0.1, seed=1)
        atoms.set_velocities(np.random.default_rng(0).normal(size=(24, 3)))
        if hand == "left":
            atoms.set_cell(atoms.cell.array[[1, 0, 2]])
        assert (np.linalg.det(atoms.cell.array) < 0) == (hand == "left")
        vldepot.ase.write(path, [atoms])
        u = mda.Universe(path)
        assert set(u.atoms.elements) == {"Cu"}
        # All distances are those of ASE, over the boundaries too.
        found = distance_array(u.atoms.positions, u.atoms.positions, box=u.dimensions)
        assert np.allclose(found, atoms.get_all_distances(mic=True), atol=1e-4)
        rotation = u.trajectory.ts.data["rotation"]
        assert np.linalg.det(rotation) == pytest.approx(1) and np.allclose(rotation @ rotation.T, np.eye(3))
        assert np.allclose(u.atoms.positions, atoms.positions @ rotation, atol=1e-5)
        speed = atoms.get_velocities() @ rotation * (1000 * units.fs)
        assert np.allclose(u.atoms.velocities, speed, rtol=1e-5, atol=1e-5)
        u.atoms.write(path.with_name("b.vld"), units="ase")
        with vldepot.open(path.with_name("b.vld"), "atomic_frame", units="ase") as depot:
            frame = depot["frame_0000000000"]
            assert np.allclose(frame.velocities, atoms.get_velocities() @ rotation, rtol=1e-5, atol=1e-5)
            # What only `vldepot.ase` understands would not be true of turned vectors.
            assert "ase" not in frame.per_frame
        same_trajectory(mda.Universe(path.with_name("b.vld")).trajectory, u.trajectory, exact=False)

    def test_a_slab_has_no_dimensions(self, path):
        pytest.importorskip("ase.build", reason="needs the package ase")
        from ase.build import fcc111, molecule

        import vldepot.ase

        slab = fcc111("Al", (2, 2, 3), vacuum=5)
        vldepot.ase.write(path, [slab, molecule("H2O")])
        with pytest.warns(UserWarning, match="some lattice vectors only"):
            u = mda.Universe(path)
        data = u.trajectory.ts.data
        assert (
            u.dimensions is None
            and data["pbc"] == (True, True, False)
            and np.array_equal(data["cell"], slab.cell.array)
        )
        copy = path.with_name("b.vld")
        u.atoms.write(copy, precision="float64")
        with vldepot.open(copy) as depot:
            frame = depot["frame_0000000000"]
            assert frame.pbc == (True, True, False) and np.array_equal(frame.cell, slab.cell.array)
        with pytest.raises(vm.OtherAtoms, match="number of atoms is 3 in record 'frame_0000000001', and 12"):
            u.trajectory[1]
        # Molecules are no trajectory, but each is one.
        water = mda.Universe(path, records=["frame_0000000001"])
        assert water.atoms.elements.tolist() == ["O", "H", "H"] and water.dimensions is None


def _systems() -> Any:
    at = Path(__file__).parent.parent / "openmm" / "systems.py"
    spec = importlib.util.spec_from_file_location("systems_of_openmm", at)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class TestWhatIsNoTrajectory:
    def test_other_elements(self, path):
        with vldepot.create(path) as depot:
            depot["a"] = {"positions": np.ones((2, 3)), "types": [6, 8]}
            depot["b"] = {"positions": np.ones((2, 3)), "types": [7, 8]}
        with pytest.raises(vm.OtherAtoms, match="type of atom 0 is 7 in record 'b', and 6"):
            list(mda.Universe(path).trajectory)

    def test_another_topology(self, path):
        with vldepot.create(path) as depot:
            for name in ("s", "t"):
                depot.put(name, topology=vldepot.Topology(names=[name]))
            for name, topology in (("a", "s"), ("b", "t")):
                depot[name] = {"positions": np.ones((1, 3)), "topology_name": topology}
        u = mda.Universe(path)
        assert u.atoms.names.tolist() == ["s"]
        with pytest.raises(vm.OtherAtoms, match="topology is 't'"):
            u.trajectory[1]
        assert mda.Universe(path, records="b").atoms.names.tolist() == ["t"]

    def test_a_topology_between_frames(self, path):
        topology = vldepot.Topology(names=["A", "B"])
        with vldepot.create(path) as depot:
            depot["a"] = {"positions": np.ones((2, 3))}
            depot.put("t", topology=topology)
            depot["b"] = {"positions": np.full((2, 3), np.nan)}
        u = mda.Universe(path)
        with pytest.raises(vm.NoFrame, match="record 't'"):
            list(u.trajectory)
        u = mda.Universe(path, records=["a", "b"])
        assert [np.isnan(ts.positions).all() for ts in u.trajectory] == [False, True]
        # At the end, where a record goes that is put again, it is no frame.
        with vldepot.append(path) as depot:
            depot.put("t", topology=topology)
        u = mda.Universe(path)
        assert len(u.trajectory) == 2 and u.atoms.names.tolist() == ["A", "B"]

    @pytest.mark.parametrize(
        "text", ["", "[]", "{", '{"texts": 5}', '{"texts": {"names": []}}', '{"version": 2}']
    )
    def test_attributes_that_are_not_ours(self, path, text):
        with vldepot.create(path) as depot:
            own = {"mdanalysis.attributes": np.frombuffer(text.encode(), np.uint8)}
            names = {"mdanalysis.names": np.array([0, 7], np.uint32)}
            depot.put("t", topology=vldepot.Topology(names=["A", "B"]), arrays=names, per_frame=own)
            depot["a"] = {"positions": np.ones((2, 3)), "topology_name": "t"}
        with pytest.raises(ValueError, match="not what a DepotWriter stores|later version"):
            mda.Universe(path)

    def test_no_atoms(self, path):
        with vldepot.create(path) as depot:
            depot["a"] = {"positions": np.ones((0, 3))}
        with pytest.raises(ValueError, match="no atoms"):
            mda.Universe(path)

    def test_an_iterator_of_names(self, path):
        with vldepot.create(path) as depot:
            depot["a"] = {"positions": np.ones((1, 3))}
        with vldepot.open(path) as depot, pytest.raises(TypeError, match="only once"):
            mda.Universe(path, records=depot.keys_with_prefix("a"))

    def test_a_topology_of_other_atoms(self, path):
        with vldepot.create(path) as depot:
            depot.put("t", topology=vldepot.Topology(names=["A", "B", "C"]))
            depot["a"] = {"positions": np.ones((2, 3)), "topology_name": "t"}
        # As MDAnalysis passes it on.
        with pytest.raises(ValueError, match="number of atoms is 3 in record 't', and 2"):
            mda.Universe(path)

    def test_no_frames(self, path):
        vldepot.create(path).close()
        with pytest.raises(ValueError, match="no frame is there"):
            mda.Universe(path)
        other = path.with_name("values.vld")
        vldepot.create(other, "json").close()
        with pytest.raises(ValueError, match="not of `atomic_frame`"):
            mda.Universe(other)
        with pytest.raises(vldepot.errors.FileNotFound):
            mda.Universe(path.with_name("missing.vld"))

    def test_a_damaged_frame_does_not_end_the_trajectory(self, path, monkeypatch):
        u = waters(n=100, n_frames=4)
        u.atoms.write(path, frames="all", preset="uncompressed")
        with vldepot.open(path) as depot:
            at = depot.location("frame_0000000002")
            wanted = bytes(depot.raw("frame_0000000002"))[-2000:-1000]
        content = bytearray(path.read_bytes())
        content[content.index(wanted) + 500] ^= 1
        assert at.length > 3600
        damaged = path.with_name("damaged.vld")
        damaged.write_bytes(content)
        with pytest.raises(vldepot.Error):
            list(mda.Universe(damaged).trajectory)

        def fails(*_arguments: Any) -> Any:
            raise vldepot.errors.IoError(f"{path}: input/output error", path=str(path))

        t = mda.Universe(path).trajectory
        monkeypatch.setattr(vm.Frames, "at", fails)
        # MDAnalysis would take an OSError for the end.
        with pytest.raises(vm.Unreadable, match="input/output"):
            list(t)
        with pytest.raises(vm.Unreadable):
            list(t[1:3])
        monkeypatch.undo()
        t.close()
        path.unlink()
        with pytest.raises(vm.Unreadable, match="cannot open"):
            t.next()


def _radii(pickled: bytes) -> list[float]:
    u = pickle.loads(pickled)
    return [u.trajectory.frame, *(u.atoms.radius_of_gyration() for _ in u.trajectory)]


class TestProcesses:
    def test_readers_and_universes_are_pickled(self, path):
        waters().atoms.write(path, frames="all")
        u = mda.Universe(path)
        u.trajectory[3]
        expected = u.trajectory.ts.positions.copy()
        reader = pickle.loads(pickle.dumps(u.trajectory))
        assert reader.frame == 3 and np.array_equal(reader.ts.positions, expected)
        assert reader.next().frame == 4
        copy = pickle.loads(pickle.dumps(u))
        assert copy.trajectory.frame == 3 and np.array_equal(copy.atoms.positions, expected)
        assert u.copy().trajectory.frame == 3
        # A process that knows nothing of this module yet.
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            assert pool.apply(_radii, (pickle.dumps(u),)) == _radii(pickle.dumps(u))

    def test_an_analysis_in_parallel_gives_the_same(self, path):
        waters(n=20, n_frames=30).atoms.write(path, frames="all")
        results = []
        for options in ({}, {"backend": "multiprocessing", "n_workers": 2, "n_parts": 3}):
            analysis = rms.RMSD(mda.Universe(path)).run(**options)
            results.append(analysis.results.rmsd)
        assert np.array_equal(*results) and results[0].shape == (30, 3)

    def test_a_chain_of_files(self, tmp_path):
        u = waters()
        first, second = str(tmp_path / "a.vld"), str(tmp_path / "b.vld")
        u.atoms.write(first, frames=u.trajectory[:4])
        u.atoms.write(second, frames=u.trajectory[4:])
        chain = mda.Universe(first, [first, second]).trajectory
        assert np.array_equal(chain.timeseries(order="fac"), u.trajectory.timeseries(order="fac"))

    def test_a_copy_that_an_analysis_writes(self, path):
        u = waters(n=20)
        u.atoms.write(path, frames="all")
        out = path.with_name("aligned.vld")
        align.AlignTraj(mda.Universe(path), u, filename=str(out), in_memory=False).run()
        assert len(mda.Universe(out).trajectory) == 6


class TestWriting:
    def test_a_depot_of_ones_own_is_replaced_when_it_is_whole(self, path):
        u = waters()
        u.atoms.write(path, frames="all")
        before = path.read_bytes()
        with pytest.raises(RuntimeError, match="stop"), mda.Writer(path, n_atoms=12) as writer:
            writer.write(u.atoms)
            raise RuntimeError("stop")
        assert path.read_bytes() == before and os.listdir(path.parent) == [path.name]
        with mda.Writer(path, n_atoms=12) as writer:
            writer.write(u)
            writer.commit()
            assert path.read_bytes() == before
        assert len(mda.Universe(path).trajectory) == 1 and os.listdir(path.parent) == [path.name]
        mda.Writer(path, n_atoms=12).close()  # nothing was written
        assert len(mda.Universe(path).trajectory) == 1 and os.listdir(path.parent) == [path.name]

    def test_a_link_and_the_mode_of_a_file_stay(self, path):
        u = waters()
        u.atoms.write(path)
        path.chmod(0o640)
        link = path.with_name("link.vld")
        link.symlink_to(path.name)
        u.atoms.write(link, frames="all")
        assert link.is_symlink() and len(mda.Universe(path).trajectory) == 6
        assert path.stat().st_mode & 0o777 == 0o640

    def test_a_trajectory_may_be_written_over_itself(self, path):
        waters().atoms.write(path, frames="all")
        u = mda.Universe(path)
        expected = u.trajectory.timeseries(order="fac")[::-1]
        u.atoms.write(path, frames=u.trajectory[::-1])
        assert np.array_equal(mda.Universe(path).trajectory.timeseries(order="fac"), expected)

    def test_all_else_is_refused(self, path):
        u = waters()
        with vldepot.create(path) as depot:
            depot["a"] = {"positions": np.ones((12, 3))}
        others = [path, path.with_name("values.vld"), path.with_name("junk.vld")]
        vldepot.create(others[1], "json").close()
        others[2].write_bytes(b"not a depot")
        for other in others:
            before = other.read_bytes()
            with pytest.raises(vldepot.PathExists, match="replace=True"):
                u.atoms.write(other)
            assert other.read_bytes() == before
        assert len(os.listdir(path.parent)) == 3
        with pytest.raises(vldepot.PathExists, match="append goes on with its own"):
            mda.Writer(path, n_atoms=12, append=True)
        for other in others:
            u.atoms.write(other, replace=True)
            assert len(mda.Universe(other).trajectory) == 1
        empty = path.with_name("empty.vld")
        empty.touch()
        u.atoms.write(empty)
        assert len(mda.Universe(empty).trajectory) == 1

    def test_what_another_process_writes_is_refused(self, path):
        u = waters()
        u.atoms.write(path)
        # Locks are between descriptors, so this process stands for another.
        with vldepot.append(path), pytest.raises(vldepot.Locked):
            u.atoms.write(path)
        with mda.Writer(path, n_atoms=12) as first:
            first.write(u)
            with pytest.raises(vldepot.Locked):
                mda.Writer(path, n_atoms=12)
        assert len(mda.Universe(path).trajectory) == 1

    def test_append_goes_on(self, path):
        u = waters()
        for start in (0, 3):
            with mda.Writer(path, n_atoms=12, append=True, units="gromacs") as writer:
                for _ in u.trajectory[start : start + 3]:
                    writer.write(u.atoms)
        found = mda.Universe(path)
        same_topology(found, u)
        same_trajectory(found.trajectory, u.trajectory, exact=False)
        with pytest.raises(vldepot.CodecParameters):
            mda.Writer(path, n_atoms=11, append=True)
        other = waters()
        other.atoms.names = "X"
        with (
            pytest.raises(ValueError, match="attributes differ"),
            mda.Writer(path, n_atoms=12, append=True) as writer,
        ):
            writer.write(other)
        assert len(mda.Universe(path).trajectory) == 6

    def test_a_killed_writer_leaves_what_it_committed(self, path):
        u = waters()
        u.atoms.write(path, frames=u.trajectory[:2])
        script = """
import os, signal, sys
import MDAnalysis as mda, vldepot.mdanalysis
source, path = sys.argv[1:]
u = mda.Universe(source)
writer = mda.Writer(path, n_atoms=12, commit_every=1)
for ts in u.trajectory:
    writer.write(u.atoms)
os.kill(os.getpid(), signal.SIGKILL)
"""
        new = path.with_name("new.vld")
        for target in (new, new, path):
            done = subprocess.run([sys.executable, "-W", "ignore", "-c", script, path, target], check=False)
            assert done.returncode == -9
        # A new file has what was committed, as what should have replaced it; what was there stays as it was.
        for left in (new, new.with_name("new.vld.new"), path, path.with_name("test.vld.new")):
            found = mda.Universe(left, format="VLD", topology_format="VLD")
            assert len(found.trajectory) == 2
        u.atoms.write(path, frames="all")
        assert len(mda.Universe(path).trajectory) == 6 and not path.with_name("test.vld.new").exists()

    def test_a_writer_that_is_not_closed_is_closed_at_the_end(self, path):
        script = """
import sys
import MDAnalysis as mda, vldepot.mdanalysis
u = mda.Universe.empty(2, trajectory=True)
writer = mda.Writer(sys.argv[1], n_atoms=2)
writer.write(u)
"""
        for _ in range(2):
            subprocess.run([sys.executable, "-W", "ignore", "-c", script, path], check=True)
        assert len(mda.Universe(path).trajectory) == 1 and os.listdir(path.parent) == [path.name]

    def test_a_selection_has_its_topology(self, path):
        u = waters()
        chosen = u.select_atoms("resid 9998 9999 and name HW2 OW")[::-1]
        chosen.write(path, frames="all")
        found = mda.Universe(path)
        assert found.atoms.names.tolist() == ["HW2", "OW"] * 2 and found.atoms.bonds.indices.tolist() == [
            [0, 1],
            [2, 3],
        ]
        assert found.residues.resids.tolist() == [9998, 9999] and found.segments.segids.tolist() == [
            "WAT",
            "ÄTZ",
        ]
        assert found.atoms.resids.tolist() == [9999, 9999, 9998, 9998] and len(found.angles) == 0
        for n, _ in enumerate(u.trajectory):
            assert np.array_equal(found.trajectory[n].positions, chosen.positions)

    def test_other_atoms_are_refused(self, path):
        u = waters()
        with mda.Writer(path, n_atoms=3) as writer:
            writer.write(u.atoms[:3])
            with pytest.raises(ValueError, match="2 atoms, and the writer was made for 3"):
                writer.write(u.atoms[:2])
            with pytest.raises(ValueError, match="others than those of the first frame"):
                writer.write(u.atoms[3:6])
            for bad in (None, u.trajectory.ts, "text"):
                with pytest.raises(TypeError):
                    writer.write(bad)
        with pytest.raises(vldepot.errors.Closed):
            writer.write(u.atoms[:3])
        with mda.Writer(path, n_atoms=2) as writer, pytest.raises(ValueError, match="twice"):
            writer.write(u.atoms[[0, 0]])
        with mda.Writer(path, n_atoms=3, topology=False) as writer:
            writer.write(u.atoms[:3])
            writer.write(u.atoms[3:6])
        found = mda.Universe(path, to_guess=())
        assert len(found.trajectory) == 2 and not hasattr(found.atoms, "names")

    def test_options(self, path):
        u = waters()
        with pytest.raises(TypeError, match="no option 'colour'"):
            mda.Writer(path, n_atoms=12, colour="red")
        with pytest.raises(TypeError, match="n_atoms"):
            mda.Writer(path)
        with pytest.raises(ValueError, match="n_atoms is 0"):
            mda.Writer(path, n_atoms=0)
        assert not path.exists()
        u.atoms.write(path, velocities=False, forces=False, preset="compact")
        ts = mda.Universe(path).trajectory.ts
        assert ts.has_positions and not ts.has_velocities and not ts.has_forces
        with pytest.raises(ValueError, match="make no cell"):
            u.dimensions = [10, 10, 0, 90, 90, 90]
            u.atoms.write(path)
        with vldepot.open(path) as depot:
            assert depot.info().layout.preset == "compact"

    def test_attributes_that_cannot_be_kept_are_named(self, path):
        u = waters()
        order = [1.5, "ar", object(), *[None] * 5]
        u.del_TopologyAttr("bonds")
        u.add_TopologyAttr(
            mda.core.topologyattrs.Bonds([(3 * i, 3 * i + j) for i in range(4) for j in (1, 2)], order=order)
        )
        with pytest.warns(UserWarning, match="orders of bonds"):
            u.atoms.write(path)
        u.del_TopologyAttr("bonds")
        order[2] = 1
        u.add_TopologyAttr(
            mda.core.topologyattrs.Bonds([(3 * i, 3 * i + j) for i in range(4) for j in (1, 2)], order=order)
        )
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            u.atoms.write(path)
        assert mda.Universe(path)._topology.bonds.order == order
