"""Depots through `ase.io` and the command `ase`, to and from files of other formats."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ase.build", reason="needs the package ase")

import ase.io
from ase import units
from ase.build import bulk, fcc111, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms, FixCartesian
from ase.db import connect
from ase.md.verlet import VelocityVerlet
from ase_checks import assert_same_atoms

import vldepot
import vldepot.ase


def run(*arguments: object, cwd: Path) -> str:
    """The command `ase`, in a process of its own."""
    command = [sys.executable, "-m", "ase", *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def trajectory(path: Path, n: int = 5) -> Path:
    """A run as ASE itself stores it."""
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.05, seed=1)
    atoms.set_tags([1, 2, 3, 4])
    atoms.set_constraint(FixAtoms([0]))
    atoms.info["größe"] = [1, 2.5, "x"]
    atoms.calc = EMT()
    dyn = VelocityVerlet(atoms, 2 * units.fs, trajectory=str(path))
    dyn.run(n - 1)
    return path


def assorted(seed: int = 0) -> list[ase.Atoms]:
    """Structures that extended XYZ can hold: of mixed sizes, with and without a cell."""
    random = np.random.default_rng(seed)
    images = []
    for atoms in (
        molecule("CH3CH2OH"),
        fcc111("Cu", (2, 2, 2), vacuum=5.0),
        ase.Atoms("He"),
        bulk("NaCl", "rocksalt", 5.6),
    ):
        atoms.info.update(
            label="a label", count=int(random.integers(100)), weight=float(random.normal()), flag=True
        )
        atoms.info["vector"] = random.normal(size=3)
        atoms.info["virial"] = random.normal(size=(3, 3))
        atoms.set_array("spin", random.normal(size=(len(atoms), 3)))
        atoms.set_array("group", random.integers(0, 5, len(atoms)))
        atoms.set_array("kind", np.array([f"k{n}" for n in range(len(atoms))]))
        atoms.set_array("chosen", random.integers(0, 2, len(atoms)).astype(bool))
        calc = SinglePointCalculator(
            atoms, energy=float(random.normal()), forces=random.normal(size=(len(atoms), 3))
        )
        if atoms.pbc.any():
            calc.results.update(stress=random.normal(size=6), dipole=random.normal(size=3))
        calc.results["magmoms"] = random.normal(size=len(atoms))
        atoms.calc = calc
        images.append(atoms)
    images[1].set_constraint(FixCartesian([0, 3], [True, False, True]))
    return images


def same(old: list[ase.Atoms], new: list[ase.Atoms]) -> None:
    assert len(old) == len(new)
    for a, b in zip(old, new, strict=True):
        assert_same_atoms(a, b)


def test_the_package_says_that_it_has_the_format(path: Path) -> None:
    (found,) = [entry for entry in entry_points(group="ase.ioformats") if entry.name == "vld"]
    assert found.value == "vldepot.ase:vld"
    fmt = ase.io.formats.ioformats["vld"]
    assert fmt.can_read and fmt.can_write and fmt.can_append and not fmt.single
    assert "vld [rw/multi, glob=*.vld]" in run("info", "--formats", cwd=path.parent)
    vldepot.ase.write(path, molecule("H2O"))
    assert "vldepot" in run("info", "--files", path.name, cwd=path.parent)


def test_ase_reads_and_writes_by_extension(path: Path) -> None:
    images = [molecule("H2O"), molecule("CH4")]
    ase.io.write(path, images)
    ase.io.write(str(path), molecule("NH3"), append=True)
    assert [len(a) for a in ase.io.read(str(path), ":")] == [3, 5, 4]
    assert [len(a) for a in ase.io.iread(path, "1:")] == [5, 4]
    assert len(ase.io.read(path)) == 4 and len(ase.io.read(path, -2)) == 5 and len(ase.io.read(path, 0)) == 3
    assert [len(a) for a in ase.io.read(f"{path}@::2")] == [3, 4]
    assert [len(a) for a in ase.io.read(path, slice(None, None, -1))] == [4, 5, 3]
    assert len(ase.io.read(f"{path}@1")) == 5
    ase.io.write(path, images, precision="float32", preset="compact")
    assert len(ase.io.read(path, ":")) == 2, "the depot was replaced"
    with vldepot.open(path) as depot:
        assert depot.precision == "float32" and depot.info().layout.preset == "compact"


def test_ase_is_told_of_frames_that_are_not_there(path: Path) -> None:
    ase.io.write(path, [])
    assert ase.io.read(path, ":") == [] and list(ase.io.iread(path)) == []
    with pytest.raises(IndexError, match="no frame -1"):
        ase.io.read(path)
    ase.io.write(path, [molecule("H2O")] * 2)
    with pytest.raises(IndexError, match="no frame 2"):
        ase.io.read(path, 2)
    assert ase.io.read(path, "1:1") == [] and len(ase.io.read(path, "-5:")) == 2


def test_ase_streams(path: Path) -> None:
    """One frame at a time: the one that cannot be read is met after those before it were given."""
    ase.io.write(path, [molecule("H2O")] * 3)
    with vldepot.append(path, "atomic_frame") as depot:
        depot["bad"] = vldepot.Frame(positions=np.zeros((1, 3)))
    frames = ase.io.iread(path, ":")
    assert [len(next(frames)) for _ in range(3)] == [3, 3, 3]
    with pytest.raises(ValueError, match="'bad'"):
        next(frames)
    assert len(ase.io.read(path, 0)) == 3


def test_ase_knows_no_file_objects_of_depots(path: Path) -> None:
    ase.io.write(path, molecule("H2O"))
    with open(path, "rb") as file, pytest.raises(AssertionError):
        ase.io.read(file, format="vld")
    with open(path.with_name("b"), "wb") as file, pytest.raises(ValueError, match="file-descriptor"):
        ase.io.write(file, molecule("H2O"), format="vld")


@pytest.mark.parametrize("suffix", ["traj", "xyz", "db", "json"])
def test_files_that_ase_wrote_come_back_equal(path: Path, suffix: str) -> None:
    """Read by ASE, through a depot, and written again: the file says the same."""
    file, again = path.with_suffix(f".{suffix}"), path.with_name(f"again.{suffix}")
    if suffix == "traj":
        trajectory(file)
    elif suffix == "xyz":
        ase.io.write(file, assorted())
    else:
        with connect(file) as db:
            for n, atoms in enumerate(assorted()):
                atoms.constraints = [FixAtoms([0])]
                db.write(atoms, label=f"n{n}", number=n, data={"a": np.eye(2), "b": {"c": [1, 2]}})
    images = ase.io.read(file, ":")
    assert len(images) > 3
    ase.io.write(path, images)
    found = ase.io.read(path, ":")
    same(images, found)
    if suffix in ("db", "json"):
        # Info of rows has ids that are made anew.
        for atoms in (*images, *found):
            atoms.info = {}
    ase.io.write(again, found)
    same(images if suffix in ("traj", "xyz") else ase.io.read(again, ":"), ase.io.read(again, ":"))
    if suffix == "xyz":
        assert again.read_text() == file.read_text()
    if suffix == "traj":
        a, b = ase.io.read(file, 0).calc, ase.io.read(again, 0).calc
        assert a.name == b.name == "emt" and a.parameters == b.parameters


def test_the_command_converts_there_and_back(path: Path) -> None:
    folder = path.parent
    trajectory(folder / "a.traj")
    ase.io.write(folder / "b.xyz", assorted())
    run("convert", "a.traj", "a.vld", cwd=folder)
    run("convert", "a.vld", "again.traj", cwd=folder)
    same(ase.io.read(folder / "a.traj", ":"), ase.io.read(folder / "again.traj", ":"))
    run("convert", "b.xyz", "b.vld", cwd=folder)
    run("convert", "b.vld", "again.xyz", cwd=folder)
    assert (folder / "again.xyz").read_text() == (folder / "b.xyz").read_text()
    run("convert", "-f", "-n", "::2", "a.vld", "b.vld", cwd=folder)
    assert len(ase.io.read(folder / "b.vld", ":")) == 3
    run("convert", "a.vld", "b.vld", "c.vld", "--write-args", "units='gromacs'", cwd=folder)
    with vldepot.open(folder / "c.vld") as depot:
        assert len(depot) == 8 and depot.units["length"] == "nm"
    run("convert", "a.vld", "a.db", cwd=folder)
    assert len(ase.io.read(folder / "a.db", ":")) == 5


def test_the_viewer_reads_depots(path: Path) -> None:
    """`ase gui run.vld`, without its window."""
    from ase.gui.images import Images

    trajectory(path.with_suffix(".traj"))
    run("convert", "test.traj", "test.vld", cwd=path.parent)
    images = Images()
    images.read([str(path)])
    assert len(images) == 5 and images.get_energy(images[2]) == ase.io.read(path, 2).get_potential_energy()
    assert images.get_forces(images[1]).shape == (4, 3)
    images.read([f"{path}@-2:"])
    assert len(images) == 2
    shown = run("gui", "-t", "-g", "i,epot", "test.vld", cwd=path.parent)
    energies = [float(line.split()[1]) for line in shown.splitlines() if line.strip()]
    assert energies == pytest.approx([a.get_potential_energy() for a in ase.io.read(path, ":")])


def test_a_depot_of_openmm_is_read(path: Path) -> None:
    """As `vldepot.openmm.DepotReporter` writes them: types and masses in a topology, GROMACS's units."""
    with vldepot.create(path) as depot:
        topology = vldepot.Topology(types=[18, 18], masses=[39.948] * 2, names=["AR"] * 2)
        depot.put("topology", topology=topology, arrays={"chain": np.zeros(2, np.int32)})
        for step in (10, 20):
            depot.put(
                f"frame_{step:010}", positions=np.full((2, 3), step / 100), velocities=np.zeros((2, 3)), step=step,
                time=step / 500, energy=-1.0, cell=np.eye(3), pbc=True, topology_name="topology",
                per_frame={"kinetic_energy": np.float64(3)},
            )  # fmt: skip
    atoms = ase.io.read(path)
    assert atoms.get_chemical_formula() == "Ar2" and np.allclose(atoms.positions, 2.0)
    assert atoms.get_masses() == pytest.approx([39.948] * 2) and atoms.info["time_fs"] == pytest.approx(40)
    run("convert", path.name, "a.xyz", cwd=path.parent)
    assert [a.info["step"] for a in ase.io.read(path.with_name("a.xyz"), ":")] == [10, 20]
