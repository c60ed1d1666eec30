"""Checks `vldepot import` and `vldepot export` against the programs whose formats they are, bit by bit.

python check.py path/to/vldepot
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import ase.io
import gsd.hoomd
import MDAnalysis as mda
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from MDAnalysis.lib.formats.libdcd import DCDFile
from MDAnalysis.lib.formats.libmdaxdr import TRRFile, XTCFile

import vldepot

warnings.simplefilter("ignore")
COMMAND = sys.argv[1]
RANDOM = np.random.default_rng(7)
BOX = np.array([[3, 0, 0], [0.5, 2.5, 0], [0.25, 0.75, 2]], np.float32)
N = 200


def run(*args: object) -> None:
    subprocess.run([COMMAND, "--quiet", *map(str, args)], check=True)


def depot_of(path: Path, *options: object) -> Any:
    run("import", "--force", *options, path, path.with_suffix(".vld"))
    return vldepot.open(path.with_suffix(".vld"))


def same(found: Any, expected: Any, dtype: Any = None) -> None:
    expected = np.asarray(expected, dtype)
    found = np.asarray(found)
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype), (found.dtype, expected.dtype)
    assert found.tobytes() == expected.tobytes(), np.abs(found - expected).max()


def frame(depot: Any, number: int) -> Any:
    return depot[f"frame_{number:010}"]


def rows(scale: float = 1.0) -> Any:
    return (RANDOM.normal(size=(N, 3)) * scale).astype(np.float32)


def xtc(folder: Path) -> None:
    path = folder / "run.xtc"
    with XTCFile(str(path), "w") as file:
        for step in range(5):
            file.write(rows(2.0), BOX, step * 1000, step * 0.5, 500.0)
    depot = depot_of(path)
    assert depot.metadata["xtc"]["steps_per_nm"] == 500
    with XTCFile(str(path)) as file:
        for number, each in enumerate(file):
            found = frame(depot, number)
            same(found.positions, each.x)
            same(found.cell, each.box, np.float64)
            assert (found.step, found.time) == (each.step, each.time)
    run("export", path.with_suffix(".vld"), folder / "again.xtc")
    with XTCFile(str(path)) as file, XTCFile(str(folder / "again.xtc")) as again:
        for each, other in zip(file, again, strict=True):
            same(other.x, each.x)
            same(other.box, each.box)
            assert (other.step, other.time, other.prec) == (each.step, each.time, each.prec)


def trr(folder: Path) -> None:
    path = folder / "run.trr"
    with TRRFile(str(path), "w") as file:
        for step in range(4):
            parts = rows(), rows() if step % 2 else None, rows(100.0)
            file.write(*parts, BOX, step - 2, step * 0.002, 0.5 * step, N)
    depot = depot_of(path)
    run("export", path.with_suffix(".vld"), folder / "again.trr")
    with TRRFile(str(path)) as file, TRRFile(str(folder / "again.trr")) as again:
        for number, (each, other) in enumerate(zip(file, again, strict=True)):
            found = frame(depot, number)
            same(found.positions, each.x)
            same(found.forces, each.f)
            same(other.x, each.x)
            same(other.f, each.f)
            if each.hasv:
                same(found.velocities, each.v)
                same(other.v, each.v)
            assert each.hasv == other.hasv == (found.velocities is not None)
            same(found.cell, each.box, np.float64)
            assert (found.step, found.time) == (each.step, each.time) == (other.step, other.time)
            assert other.lmbda == each.lmbda == found.per_frame.get("lambda", 0.0)


def dcd(folder: Path) -> None:
    path = folder / "run.dcd"
    with DCDFile(str(path), "w") as file:
        file.write_header("made for a test", N, 100, 10, 0.5, 1)
        for _ in range(3):
            file.write(rows(10.0), np.array([30, 80, 40, 85, 95, 50.0]))
    depot = depot_of(path)
    reader = mda.coordinates.DCD.DCDReader(str(path))
    for number, ts in enumerate(reader):
        found = frame(depot, number)
        same(found.positions, ts.positions)
        np.testing.assert_allclose(mda.lib.mdamath.triclinic_box(*found.cell), ts.dimensions, rtol=1e-6)
        np.testing.assert_allclose(found.time, ts.time, rtol=1e-6)
        assert found.step == 100 + 10 * number


def extended_xyz(folder: Path) -> None:
    path = folder / "structures.extxyz"
    all_atoms = []
    for n in (1, 5, 30):
        atoms = Atoms(
            "OH" * n, RANDOM.normal(size=(2 * n, 3)), cell=RANDOM.normal(size=(3, 3)), pbc=[1, 0, 1]
        )
        atoms.info["config_type"] = "a b"
        atoms.info["vector_of_mine"] = RANDOM.normal(size=3)
        atoms.set_array("tag_of_mine", RANDOM.integers(-9, 9, 2 * n))
        stress = RANDOM.normal(size=6)
        forces = RANDOM.normal(size=(2 * n, 3))
        atoms.calc = SinglePointCalculator(atoms, energy=RANDOM.normal(), forces=forces, stress=stress)
        all_atoms.append(atoms)
    ase.io.write(path, all_atoms, format="extxyz")
    depot = depot_of(path)
    run("export", path.with_suffix(".vld"), folder / "again.extxyz")
    written = ase.io.read(path, ":")
    again = ase.io.read(folder / "again.extxyz", ":")
    for number, (atoms, other) in enumerate(zip(written, again, strict=True)):
        found = frame(depot, number)
        same(found.positions, atoms.positions)
        same(found.forces, atoms.get_forces())
        same(found.types, atoms.numbers, np.int32)
        same(found.cell, atoms.cell.array)
        same(found.pbc, atoms.pbc)
        same(found.stress, atoms.get_stress(voigt=False))
        same(found.arrays["tag_of_mine"], atoms.arrays["tag_of_mine"], np.int64)
        same(found.per_frame["vector_of_mine"], atoms.info["vector_of_mine"])
        assert found.energy == atoms.get_potential_energy()
        assert depot.metadata_of(f"frame_{number:010}")["config_type"] == "a b"
        same(other.positions, atoms.positions)
        same(other.get_forces(), atoms.get_forces())
        same(other.get_stress(), atoms.get_stress())
        same(other.cell.array, atoms.cell.array)
        same(other.numbers, atoms.numbers)
        same(other.arrays["tag_of_mine"], atoms.arrays["tag_of_mine"])
        assert other.get_potential_energy() == atoms.get_potential_energy()


def hoomd(folder: Path) -> None:
    path = folder / "run.gsd"
    with gsd.hoomd.open(path, "w") as file:
        for number in range(3):
            snapshot = gsd.hoomd.Frame()
            snapshot.configuration.step = 2**40 + number
            snapshot.configuration.box = [4, 5, 6, 0.5, 0.25, 0.125]
            snapshot.particles.N = N
            snapshot.particles.position = rows()
            if number != 1:
                snapshot.particles.velocity = rows()
            snapshot.particles.types = ["A", "Bb"]
            snapshot.particles.typeid = np.arange(N) % 2
            snapshot.particles.mass = np.linspace(1, 2, N)
            snapshot.particles.image = RANDOM.integers(-3, 3, (N, 3))
            snapshot.bonds.N = 2
            snapshot.bonds.group = [[0, 1], [5, 3]]
            snapshot.log["energy"] = np.array([number * 0.1])
            file.append(snapshot)
    depot = depot_of(path)
    topology = depot["topology"].topology
    with gsd.hoomd.open(path) as file:
        for number, snapshot in enumerate(file):
            found, particles = frame(depot, number), snapshot.particles
            same(found.positions, particles.position)
            same(found.velocities, particles.velocity)
            same(found.arrays["image"], particles.image)
            same(topology.types, particles.typeid, np.int32)
            same(topology.masses, particles.mass)
            same(topology.bonds, snapshot.bonds.group)
            assert topology.names == [particles.types[n] for n in particles.typeid]
            assert found.step == snapshot.configuration.step
            same(found.per_frame["log/energy"], snapshot.log["energy"])


def pdb(folder: Path) -> None:
    path = folder / "system.pdb"
    universe = mda.Universe.empty(N, n_residues=N // 2, atom_resindex=np.arange(N) // 2, trajectory=True)
    universe.add_TopologyAttr("names", ["CA", "OW"] * (N // 2))
    universe.add_TopologyAttr("elements", ["C", "O"] * (N // 2))
    universe.add_TopologyAttr("resnames", ["ALA"] * (N // 2))
    universe.add_TopologyAttr("resids", np.arange(N // 2) + 1)
    universe.add_TopologyAttr("chainIDs", ["A"] * (N // 2) + ["B"] * (N // 2))
    universe.add_TopologyAttr("bonds", [(0, 1), (2, 3)])
    universe.atoms.positions = rows(20.0)
    universe.dimensions = [40, 50, 60, 90, 80, 70]
    with mda.Writer(str(path), N, multiframe=True) as writer:
        for _ in range(2):
            universe.atoms.positions = rows(20.0)
            writer.write(universe.atoms)
    depot = depot_of(path)
    read = mda.Universe(str(path))
    record = depot["topology"]
    assert record.topology.names == list(read.atoms.names)
    assert [record.topology.residue_names[n] for n in record.topology.residues] == list(read.atoms.resnames)
    same(record.arrays["residue_number"], read.atoms.resids, np.int32)
    same(record.topology.bonds, read.bonds.indices, np.uint32)
    assert list(record.topology.types) == [6, 8] * (N // 2)
    assert depot.metadata_of("topology")["chains"] == ["A", "B"]
    for number, ts in enumerate(read.trajectory):
        found = frame(depot, number)
        same(found.positions, ts.positions)
        # CRYST1 stands once and holds for all models, of which MDAnalysis gives the first one a cell.
        box = mda.lib.mdamath.triclinic_box(*found.cell)
        np.testing.assert_allclose(box, [40, 50, 60, 90, 80, 70], rtol=1e-5)


def numpy(folder: Path) -> None:
    for dtype in ("f2", "f4", ">f8", "i1", "u8", ">i4", "?"):
        array = (RANDOM.normal(size=(4, 3, 2)) * 50).astype(dtype)
        for order in (array, np.asfortranarray(array)):
            np.save(folder / "array.npy", order)
            depot = depot_of(folder / "array.npy")
            for row, expected in enumerate(array):
                same(depot[row], expected.astype(expected.dtype.newbyteorder("=")))
    for save in (np.savez, np.savez_compressed):
        arrays = {"R": RANDOM.normal(size=(9, 3)), "z": np.arange(3), "E": np.float64(1.5)}
        save(folder / "arrays.npz", **arrays)
        depot = depot_of(folder / "arrays.npz")
        for name, array in arrays.items():
            same(depot[name], array)


def units(folder: Path) -> None:
    depot = depot_of(folder / "run.trr", "--units", "ase", "--precision", "f64")
    with TRRFile(str(folder / "run.trr")) as file:
        each = next(iter(file))
    found = frame(depot, 0)
    # The product in double precision, rounded to what the number was.
    same(found.positions, (each.x.astype(np.float64) * 10).astype(np.float32), np.float64)
    np.testing.assert_allclose(found.forces, each.f / 96.48533212331 / 10, rtol=1e-6)


with tempfile.TemporaryDirectory() as place:
    for check in (xtc, trr, dcd, extended_xyz, hoomd, pdb, numpy, units):
        check(Path(place))
        print(check.__name__, "is the same")
