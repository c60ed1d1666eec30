"""`Atoms` through a depot, with the real ASE: what is kept, how, and what is refused."""

from __future__ import annotations

import os
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("ase.build", reason="needs the package ase")

import ase
from ase import units
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator, all_properties
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import (
    FixAtoms,
    FixBondLengths,
    FixCartesian,
    FixCom,
    FixedLine,
    FixedPlane,
    FixInternals,
    Hookean,
)
from ase.outputs import all_outputs
from ase.spacegroup import Spacegroup, crystal
from ase_checks import assert_same, assert_same_atoms

import vldepot
import vldepot.ase
from vldepot._ase_frames import ASE, GROMACS, known_units


def copper(seed: int = 1) -> ase.Atoms:
    """Atoms with something of everything."""
    random = np.random.default_rng(seed)
    atoms = bulk("Cu").repeat(2)  # triclinic
    atoms.rattle(0.1, seed=seed)
    atoms.set_momenta(random.normal(size=(8, 3)))
    atoms.set_masses(random.uniform(60, 70, 8))
    atoms.set_tags(np.arange(8))
    atoms.set_initial_charges(random.normal(size=8))
    atoms.set_initial_magnetic_moments(random.normal(size=(8, 3)))
    atoms.set_constraint(FixAtoms([0, 3]))
    atoms.set_celldisp([0.1, 0.2, 0.3])
    atoms.pbc = [True, False, True]
    atoms.calc = EMT()
    atoms.get_potential_energy()
    return atoms


def through(images: Any, path: Path, **options: Any) -> list[ase.Atoms]:
    vldepot.ase.write(path, images, **options)
    return vldepot.ase.read(path, ":")


def test_atoms_come_back_to_the_last_bit(path: Path) -> None:
    images = [
        copper(),
        ase.Atoms("H"),
        molecule("H2O"),
        ase.Atoms(),
        ase.Atoms(cell=[1, 2, 3], pbc=[0, 1, 0]),
    ]
    for old, new in zip(images, through(images, path), strict=True):
        assert_same_atoms(old, new)
    assert_same_atoms(images[0], vldepot.ase.read(path, 0))
    found = vldepot.ase.read(path, 0)
    assert found.get_potential_energy() == images[0].get_potential_energy()
    assert np.array_equal(found.get_forces(), images[0].get_forces())
    assert np.array_equal(found.get_stress(), images[0].get_stress())
    assert np.array_equal(found.get_velocities(), images[0].get_velocities())
    assert found.calc.name == "emt"


def test_what_a_frame_has_a_field_for_is_in_it(path: Path) -> None:
    atoms = copper()
    atoms.info.update(step=300, time_fs=12.5)
    vldepot.ase.write(path, atoms)
    with vldepot.open(path, "atomic_frame") as depot:
        assert depot.units == ASE and depot.precision == "float64"
        frame = depot.at(0)
        assert (frame.step, frame.time) == (300, 12.5 * units.fs)
        assert frame.types.tolist() == [29] * 8
        assert frame.energy == atoms.get_potential_energy()
        assert np.array_equal(frame.positions, atoms.positions)
        assert np.array_equal(frame.velocities, atoms.get_velocities())
        assert np.array_equal(frame.forces, atoms.calc.results["forces"])
        assert np.array_equal(frame.charges, atoms.get_initial_charges())
        assert np.array_equal(frame.masses, atoms.get_masses().astype(np.float32))
        assert np.array_equal(frame.cell, atoms.cell.array) and frame.pbc == (True, False, True)
        xx, yy, zz, yz, xz, xy = atoms.get_stress()
        assert frame.stress.tolist() == [[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]
        assert set(frame.arrays) == {"tags", "initial_magmoms", "masses", "momenta.ulps", "results.energies"}
        assert frame.arrays["momenta.ulps"].dtype == np.int8 and abs(frame.arrays["momenta.ulps"]).max() < 3
        assert (
            frame.per_frame["results.free_energy" if "results.free_energy" in frame.per_frame else "ase"].size
            > 0
        )


def test_momenta_cost_no_second_array_unless_velocities_do_not_give_them(path: Path) -> None:
    atoms = molecule("H2O")
    images = []
    for momenta in (1e300, 1e-320, np.inf, np.nan, -0.0, 0.1):
        atoms.set_momenta(np.full((3, 3), momenta))
        images.append(atoms.copy())
    weightless = atoms.copy()
    weightless.set_masses([0.0, 1.0, 0.1])
    images.append(weightless)
    single = atoms.copy()
    single.arrays["momenta"] = single.arrays["momenta"].astype(np.float32)
    images.append(single)
    whole = atoms.copy()
    whole.arrays["momenta"] = np.full((3, 3), (1 << 60) + 1)
    images.append(whole)
    for old, new in zip(images, through(images, path), strict=True):
        assert_same_atoms(old, new)
    with vldepot.open(path, "atomic_frame") as depot:
        assert "momenta" in depot.at(6).arrays
        assert "momenta" not in depot.at(5).arrays and "momenta" not in depot.at(7).arrays


@pytest.mark.parametrize(
    "value",
    [
        None, True, 3, -(10**30), 0.1, float("nan"), float("inf"), -0.0, "größe\n\ud800", b"\x00\xff", 1 + 2j,
        complex(float("nan"), -0.0), [], (), {}, [1, (2, [3.0, None])], {"a": {"b": (1,)}}, {1: "a", (2, 3): 4.5, None: 0},
        {"$array": 1}, {"": 0}, np.float64(0.1), np.float32(0.1), np.float16(np.inf), np.int8(-3), np.uint64(2**64 - 1),
        np.bool_(True), np.complex64(1 + 2j), np.str_("a"), np.bytes_(b"a"), np.arange(3), np.arange(6.0).reshape(2, 3),
        np.array(3.5), np.zeros((0, 3)), np.zeros((2, 0), np.int16), np.array([True, False]), np.array(["a", "bcd"]),
        np.array([b"a", b"bcd"]), np.array([1 + 2j, 3]), np.zeros((2, 2), np.complex64), np.array([np.nan, -0.0, np.inf]),
        np.arange(3, dtype=">f8"), np.array(["a", "b"], dtype=">U3"), np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array(["2026-01-01", "NaT"], dtype="M8[s]"), np.array([None, "a", {"b": np.arange(2)}], dtype=object),
        np.array([], dtype=str), [np.arange(2), np.float64(1)], {"deep": [{"er": np.eye(2)}]},
        datetime(2026, 1, 2, 3, 4, 5, 6, UTC), datetime(2026, 1, 2), Spacegroup(14, 2),
        np.datetime64("2026-01-01T00:00:01.5"), np.datetime64("NaT"), np.timedelta64(3, "D"),
        bulk("Cu").cell, bulk("Cu").cell.bandpath("GX", npoints=3), molecule("H2O"),
    ],
)  # fmt: skip
def test_values_of_info_come_back_as_they_were(path: Path, value: Any) -> None:
    atoms = ase.Atoms("H")
    atoms.info["key"] = value
    atoms.info["nested"] = [{"key": value}]
    atoms.calc = SinglePointCalculator(atoms, energy=1.0)
    atoms.calc.results["key"] = value
    (found,) = through(atoms, path)
    assert_same_atoms(atoms, found)
    assert_same(atoms.info["key"], found.info["key"])
    if isinstance(value, Spacegroup):
        assert found.info["key"] == value


@pytest.mark.parametrize(
    "key", ["", "\ud800", "$x", "ase", "info.key", 1, (1, 2), None, 1.5, b"a", np.int64(3), "größe"]
)
def test_any_key_is_kept(path: Path, key: Any) -> None:
    atoms = ase.Atoms("H2", positions=[[0, 0, 0], [0, 0, 1]])
    atoms.info = {key: np.arange(2), "info.key_": np.eye(2), "last": 1}
    atoms.calc = SinglePointCalculator(atoms)
    atoms.calc.results[key] = np.arange(3)
    if isinstance(key, str):
        atoms.set_array(key, np.arange(2))
        atoms.set_array("info.key", np.arange(2.0))
        atoms.set_array("momenta.ulps", np.arange(2))
    (found,) = through(atoms, path)
    assert_same_atoms(atoms, found)
    assert [type(k) for k in found.info] == [type(k) for k in atoms.info]


class Thing:
    pass


class Mine(FixAtoms):
    pass


class Odd:
    def adjust_positions(self, atoms: Any, new: Any) -> None: ...
    def adjust_forces(self, atoms: Any, forces: Any) -> None: ...


@pytest.mark.parametrize(
    "value, what",
    [
        (object(), "object"), (Thing(), "Thing"), ({1, 2}, "set"), (lambda: 0, "function"), (ase.Atoms, "type"),
        (np.ma.masked_array([1, 2], [0, 1]), "MaskedArray"), (np.longdouble(1), "longdouble"),
        (np.zeros(2, np.longdouble), "float128"), (np.zeros(2, "i4,f8"), "array of"),
        (np.array([object()], dtype=object), "object"),
        ([1, [2, Thing()]], r"\[1\]\[1\]"), ({"a": {2: Thing()}}, r"\['a'\]\[2\]"), (np.clongdouble(1), "clongdouble"),
    ],
)  # fmt: skip
def test_what_cannot_be_kept_is_named(path: Path, value: Any, what: str) -> None:
    atoms = ase.Atoms("H")
    atoms.info["thing"] = value
    with pytest.raises(TypeError, match=rf"info\['thing'\].*{what}"):
        vldepot.ase.write(path, atoms)
    assert not path.exists() and not list(path.parent.iterdir())
    atoms.info.clear()
    atoms.calc = SinglePointCalculator(atoms)
    atoms.calc.results["thing"] = value
    with pytest.raises(TypeError, match=rf"results\['thing'\].*{what}"):
        vldepot.ase.to_frame(atoms)


def test_what_holds_itself_is_refused() -> None:
    atoms = ase.Atoms("H")
    atoms.info["thing"] = [atoms.info]
    with pytest.raises(TypeError, match=r"info\['thing'\].* nested too deep"):
        vldepot.ase.to_frame(atoms)
    deep: Any = ()
    for _ in range(98):
        deep = (deep,)
    atoms.info["thing"] = deep
    assert_same(vldepot.ase.to_atoms(vldepot.ase.to_frame(atoms)).info, atoms.info)
    atoms.info["thing"] = (deep, {"a": (deep,)})
    with pytest.raises(TypeError, match="nested too deep"):
        vldepot.ase.to_frame(atoms)
    with_calculator = molecule("H2O")
    with_calculator.calc = EMT()
    atoms.info["thing"] = with_calculator
    with pytest.raises(TypeError, match=r"info\['thing'\] cannot be kept: it is a Atoms"):
        vldepot.ase.to_frame(atoms)


@pytest.mark.parametrize(
    "array",
    [
        np.array(["a", "bcd", ""]), np.array([b"a", b"bc", b""]), np.array([True, False, True]), np.arange(3, dtype=np.uint8),
        np.array([1 + 2j, np.nan, 0]), np.arange(3, dtype=">i4"), np.zeros((3, 2, 4), np.float16), np.zeros((3, 0)),
        np.array(["2026-01-01"] * 3, dtype="M8[D]"), np.array(["a", None, (1, 2.5)], object),
    ],
)  # fmt: skip
def test_arrays_per_atom_of_any_dtype(path: Path, array: np.ndarray[Any, Any]) -> None:
    atoms = molecule("H2O")
    atoms.set_array("mine", array)
    for name in ("tags", "initial_charges", "initial_magmoms", "masses", "ase"):
        atoms.arrays[name] = array
    (found,) = through(atoms, path)
    assert_same_atoms(atoms, found)


def test_arrays_that_cannot_be_kept_are_named() -> None:
    for array, what in (
        (np.array([None, "a", Thing()], object), "Thing"),
        (np.zeros(3, np.longdouble), "longdouble|float128"),
        (np.zeros(3, "i4,f8"), "i4"),
    ):
        atoms = molecule("H2O")
        atoms.set_array("mine", array)
        with pytest.raises(TypeError, match=rf"arrays\['mine'\].*({what})"):
            vldepot.ase.to_frame(atoms)
    atoms = molecule("H2O")
    atoms.arrays[1] = np.zeros(3)
    with pytest.raises(TypeError, match=r"arrays\[1\]"):
        vldepot.ase.to_frame(atoms)
    atoms = molecule("H2O")
    atoms.arrays["positions"] = atoms.positions.astype(np.complex128)
    with pytest.raises(TypeError, match=r"arrays\['positions'\].*complex128"):
        vldepot.ase.to_frame(atoms)


def test_dtypes_of_the_arrays_that_are_fields(path: Path) -> None:
    atoms = molecule("H2O")
    atoms.set_momenta(np.ones((3, 3)))
    atoms.set_initial_charges([0.1, 0.2, 0.3])
    atoms.set_masses([16.5, 1, 1])
    atoms.calc = SinglePointCalculator(atoms, forces=np.zeros((3, 3)))
    for key in ("positions", "momenta", "initial_charges", "masses"):
        atoms.arrays[key] = atoms.arrays[key].astype(np.float32)
    atoms.arrays["numbers"] = atoms.arrays["numbers"].astype(np.uint8)
    atoms.calc = SinglePointCalculator(atoms)
    atoms.calc.results.update(
        energy=np.float32(0.1), forces=np.full((3, 3), 0.1, np.float32), stress=np.full(6, 0.1, np.float32)
    )
    (found,) = through(atoms, path)
    assert_same_atoms(atoms, found)
    with vldepot.open(path, "atomic_frame") as depot:
        assert "masses" not in depot.at(0).arrays, "float32 is what the field has"


@pytest.mark.parametrize(
    "energy", [0.1, 1, np.float64(0.1), np.float32(0.1), np.array(0.1), np.array([0.1]), np.nan, None]
)
def test_an_energy_of_any_type(path: Path, energy: Any) -> None:
    atoms = molecule("H2O")
    atoms.calc = SinglePointCalculator(atoms)
    atoms.calc.results["energy"] = energy
    (found,) = through(atoms, path)
    assert_same_atoms(atoms, found)
    with vldepot.open(path, "atomic_frame") as depot:
        stored = depot.at(0).energy
        if energy is None or np.shape(energy) == (1,):
            assert stored is None
        else:
            assert stored == float(energy) or energy != energy


def test_all_results_are_kept(path: Path) -> None:
    random = np.random.default_rng(0)
    atoms = molecule("H2O")  # three atoms, like the axes of a dipole
    atoms.calc = SinglePointCalculator(atoms)
    sizes = {"natoms": 3, "nbands": 2, "nkpts": 4, "nspins": 1}
    for name, prop in all_outputs.items():
        shape = tuple(sizes.get(axis, axis) for axis in prop.shapespec)
        atoms.calc.results[name] = random.normal(size=shape) if shape else float(random.normal())
    assert set(all_properties) <= set(atoms.calc.results)
    atoms.calc.results["of a model"] = random.normal(size=(5, 5)).astype(np.float32)
    atoms.calc.results["node_energy"] = random.normal(size=3)
    (found,) = through(atoms, path)
    assert_same_atoms(atoms, found)
    with vldepot.open(path, "atomic_frame") as depot:
        frame = depot.at(0)
        for name in ("magmoms", "charges", "energies", "stresses", "born_effective_charges"):
            assert np.array_equal(frame.arrays[f"results.{name}"], atoms.calc.results[name])
        for name in ("dipole", "polarization", "dielectric_tensor", "node_energy", "of a model"):
            assert np.array_equal(frame.per_frame[f"results.{name}"], atoms.calc.results[name])
    for shape in ((3, 3), (6,)):
        atoms.calc.results["stress"] = random.normal(size=shape)
        (found,) = through(atoms, path)
        assert_same_atoms(atoms, found)
    atoms.calc.results.update(forces=np.zeros((2, 3)), stress=np.zeros((2, 2)), magmoms=np.zeros((7, 3)))
    (found,) = through(atoms, path)
    assert_same_atoms(atoms, found)


def test_results_of_atoms_that_changed_are_left_out(path: Path) -> None:
    atoms = copper()
    atoms.positions += 0.1
    (found,) = through(atoms, path)
    assert found.calc is None
    with vldepot.open(path, "atomic_frame") as depot:
        assert depot.at(0).energy is None and depot.at(0).forces is None


def test_atoms_with_nan_keep_their_results(path: Path) -> None:
    atoms = molecule("H2O")
    atoms.positions[1, 1] = np.nan
    atoms.set_initial_charges([np.nan, 0, 0])
    atoms.calc = SinglePointCalculator(atoms, energy=np.nan, forces=np.full((3, 3), np.nan))
    (found,) = through(atoms, path)
    assert_same(dict(atoms.calc.results), dict(found.calc.results))
    assert_same_atoms(atoms, found, results=False)


def test_a_calculator_leaves_its_name_and_parameters(path: Path) -> None:
    class Model(Calculator):
        implemented_properties = ["energy"]
        name = "model"
        default_parameters = {"cutoff": 5.0, "net": Thing(), "kpts": (1, 2, 3)}

        def calculate(self, *args: Any, **kwargs: Any) -> None:
            super().calculate(*args, **kwargs)
            self.results["energy"] = 1.0

    atoms = molecule("H2O")
    atoms.calc = Model()
    atoms.get_potential_energy()
    (found,) = through(atoms, path)
    assert found.calc.name == "model"
    assert dict(found.calc.parameters) == {"cutoff": 5.0, "kpts": (1, 2, 3)}
    again = through(found, path)[0]
    assert again.calc.name == "model" and dict(again.calc.parameters) == dict(found.calc.parameters)


def test_constraints_come_back(path: Path) -> None:
    atoms = molecule("CH3CH2OH")
    atoms.set_constraint(
        [
            FixAtoms([0, 1]),
            FixCartesian(2, [True, False, True]),
            FixedLine(3, [0, 0, 1]),
            FixedPlane([4], [1, 0, 0]),
            FixBondLengths([[0, 1]]),
            FixCom(),
            Hookean(0, 1, k=5.0, rt=1.5),
            FixInternals(bonds=[[1.2, [0, 1]]], dihedrals_deg=[[60.0, [0, 1, 2, 3]]]),
        ]
    )
    (found,) = through(atoms, path)
    assert [type(c) for c in found.constraints] == [type(c) for c in atoms.constraints]
    assert_same_atoms(atoms, found)


@pytest.mark.parametrize("constraint, what", [(Odd(), "no todict"), (Mine([0]), "does not make it again")])
def test_constraints_that_cannot_be_kept_are_named(constraint: Any, what: str) -> None:
    atoms = molecule("H2O")
    atoms.set_constraint(constraint)
    with pytest.raises(TypeError, match=rf"constraint {type(constraint).__name__} cannot be kept.*{what}"):
        vldepot.ase.to_frame(atoms)


def test_a_crystal_keeps_its_space_group(path: Path) -> None:
    atoms = crystal("C", [(0, 0, 0)], spacegroup=227, cellpar=[3.57, 3.57, 3.57, 90, 90, 90])
    (found,) = through(atoms, path)
    assert type(found.info["spacegroup"]) is Spacegroup and found.info["spacegroup"].no == 227
    assert_same_atoms(atoms, found)


def test_step_and_time_are_those_of_the_frame(path: Path) -> None:
    atoms = molecule("H2O")
    atoms.info = {"step": 5, "time_fs": 7.5, "mine": 1}
    frame = vldepot.ase.to_frame(atoms)
    assert (frame.step, frame.time) == (5, 7.5 * units.fs)
    frame = vldepot.ase.to_frame(atoms, step=6, time=2.0)
    assert (frame.step, frame.time) == (6, 2.0)
    assert vldepot.ase.to_atoms(frame).info == {"mine": 1, "step": 6, "time_fs": 2.0 / units.fs}
    frame = vldepot.ase.to_frame(atoms, step=6)
    assert (frame.step, frame.time) == (6, None), "the time was that of another step"
    for wrong in (True, 1.5, "1", 2**63, None, np.arange(2)):
        atoms.info = {"step": wrong, "time_fs": "no time"}
        frame = vldepot.ase.to_frame(atoms)
        assert frame.step is None and frame.time is None
        assert_same(vldepot.ase.to_atoms(frame).info, atoms.info)


def test_a_depot_in_gromacs_units_is_converted(path: Path) -> None:
    kj, nm, ps = units.kJ / units.mol, 10.0, 1000 * units.fs
    depot_atoms = vldepot.Frame(
        positions=[[0.1, 0.2, 0.3]], velocities=[[1.0, 2.0, 3.0]], forces=[[10.0, 0, 0]], types=[18], masses=[39.948],
        charges=[0.5], cell=np.eye(3), energy=100.0, stress=np.eye(3), step=7, time=2.0, name="argon",
        arrays={"mine": np.array([3])}, per_frame={"kinetic_energy": np.float64(2.5), "v": np.arange(3)},
    )  # fmt: skip
    with vldepot.create(path, precision="float64") as depot:
        depot["a"] = depot_atoms
    atoms = vldepot.ase.read(path)
    assert np.allclose(atoms.positions, [[1, 2, 3]], rtol=1e-15)
    assert np.allclose(atoms.get_velocities(), np.array([[1, 2, 3]]) * nm / ps, rtol=1e-14)
    assert np.allclose(atoms.get_forces(), [[10 * kj / nm, 0, 0]], rtol=1e-15)
    assert atoms.get_potential_energy() == pytest.approx(100 * kj, rel=1e-15)
    assert atoms.get_stress() == pytest.approx(np.array([1, 1, 1, 0, 0, 0]) * units.bar)
    assert np.allclose(atoms.cell.array, 10 * np.eye(3)) and atoms.pbc.all()
    assert atoms.get_initial_charges().tolist() == [0.5] and atoms.get_masses() == pytest.approx([39.948])
    assert (
        atoms.info["step"] == 7
        and atoms.info["time_fs"] == pytest.approx(2000)
        and atoms.info["name"] == "argon"
    )
    assert atoms.info["kinetic_energy"] == 2.5 and atoms.info["v"].tolist() == [0, 1, 2]
    assert atoms.arrays["mine"].tolist() == [3]
    # And back.
    vldepot.ase.write(path, atoms, append=True)
    with vldepot.open(path, "atomic_frame") as depot:
        old, new = depot.at(0), depot.at(1)
        for field in (
            "positions",
            "velocities",
            "forces",
            "charges",
            "masses",
            "cell",
            "energy",
            "stress",
            "time",
        ):
            assert np.allclose(getattr(old, field), getattr(new, field), rtol=1e-14), field
        assert new.step == 7 and depot.units["length"] == "nm"
    again = vldepot.ase.read(path)
    assert_same(again.info, atoms.info)
    assert np.allclose(again.get_momenta(), atoms.get_momenta(), rtol=1e-14)


def test_all_known_units_are_right() -> None:
    known = known_units()
    assert set(known) == set(ASE)
    for name, here in ASE.items():
        assert known[name][here] == 1.0
        assert GROMACS[name] in known[name]
    assert known["energy"]["kcal/mol"] == pytest.approx(0.0433641, rel=1e-5)
    assert known["energy"]["kJ/mol"] == pytest.approx(0.01036427, rel=1e-6)
    assert known["energy"]["Ha"] == pytest.approx(27.2113860) and known["energy"]["Ry"] == pytest.approx(
        13.605693
    )
    assert known["length"]["bohr"] == pytest.approx(0.529177211)
    assert known["time"]["ps"] == pytest.approx(98.22694788)
    assert known["pressure"]["GPa"] == pytest.approx(1 / 160.21766208)
    assert known["pressure"]["kbar"] == pytest.approx(0.1 / 160.21766208)
    assert known["pressure"]["kJ/mol/nm^3"] == pytest.approx(16.6053904 * known["pressure"]["bar"])
    assert known["mass"]["kg"] == pytest.approx(1 / 1.66053904e-27)
    assert known["charge"]["C"] == pytest.approx(1 / 1.6021766208e-19)


@pytest.mark.parametrize(
    "units_of", [{"length": "Bohr", "energy": "Ha", "time": "fs"}, {"length": "pm", "pressure": "GPa"}]
)
def test_units_there_and_back(path: Path, units_of: dict[str, str]) -> None:
    atoms = copper()
    (found,) = through(atoms, path, units=units_of, preset="compact")
    with vldepot.open(path, "atomic_frame") as depot:
        assert depot.units == {**GROMACS, **units_of} and depot.info().layout.preset == "compact"
        assert not np.allclose(depot.at(0).positions, atoms.positions)
        assert "momenta.ulps" not in depot.at(0).arrays
    for key, array in atoms.arrays.items():
        assert found.arrays[key].dtype == array.dtype
        assert np.allclose(found.arrays[key], array, rtol=1e-13), key
    for key, value in atoms.calc.results.items():
        assert np.allclose(found.calc.results[key], value, rtol=1e-13), key
    assert np.allclose(found.cell.array, atoms.cell.array, rtol=1e-14)


def test_unknown_units_are_named(path: Path) -> None:
    for name, unit in (("length", "furlong"), ("energy", "erg per mole")):
        with vldepot.create(path, units={name: unit}) as depot:
            depot["a"] = vldepot.Frame(positions=np.zeros((1, 3)), types=[1], energy=1.0)
        with pytest.raises(ValueError, match=f"unit of {name} is '{unit}'"):
            vldepot.ase.read(path)
        with pytest.raises(ValueError, match=f"unit of {name} is '{unit}'"):
            vldepot.ase.write(path, copper(), append=True)
        path.unlink()
    # A unit that no number has is not asked for.
    with vldepot.create(path, units={"pressure": "atü"}) as depot:
        depot["a"] = vldepot.Frame(positions=np.zeros((1, 3)), types=[1], energy=1.0)
    assert len(vldepot.ase.read(path)) == 1
    with pytest.raises(ValueError, match="there are ase, gromacs"):
        vldepot.ase.to_frame(molecule("H2O"), units="si")


def test_single_precision_is_kept_as_such(path: Path) -> None:
    atoms = copper()
    (found,) = through(atoms, path, precision="float32")
    with vldepot.open(path, "atomic_frame") as depot:
        frame = depot.at(0)
        assert frame.positions.dtype == np.float32
        assert not {"momenta", "momenta.ulps", "masses"} & set(frame.arrays), (
            "no digits that the rest has not"
        )
    assert np.allclose(found.get_momenta(), atoms.get_momenta(), rtol=1e-6)
    assert (
        found.get_momenta().dtype == np.float64
        and found.get_potential_energy() == atoms.get_potential_energy()
    )


def test_topologies_are_no_images(path: Path) -> None:
    topology = vldepot.Topology(
        types=[8, 1, 1], masses=[16, 1, 1.5], charges=[-1, 0.5, 0.5], names=["O", "H1", "H2"], residues=[0, 0, 0],
        residue_names=["HOH"],
    )  # fmt: skip
    with vldepot.create(path) as depot:
        depot.put("topology", topology=topology)
        depot.put("between", topology=topology)
        for step in range(3):
            depot.put(f"f{step}", positions=np.full((3, 3), step / 10), step=step, topology_name="topology")
            if step == 1:
                depot.put("in the middle", topology=topology)
        depot.put("last", topology=topology)
    images = vldepot.ase.read(path, ":")
    assert [atoms.info["step"] for atoms in images] == [0, 1, 2]
    atoms = vldepot.ase.read(path, 0)
    assert atoms.info["step"] == 0 and vldepot.ase.read(path).info["step"] == 2
    assert atoms.get_chemical_symbols() == ["O", "H", "H"] and atoms.get_masses().tolist() == [16, 1, 1.5]
    assert atoms.get_initial_charges().tolist() == [-1, 0.5, 0.5]
    assert atoms.arrays["atomtypes"].tolist() == ["O", "H1", "H2"]
    assert atoms.arrays["residuenames"].tolist() == ["HOH"] * 3
    with pytest.raises(ValueError, match="'in the middle'.*positions"):
        vldepot.ase.read(path, 2)


def test_frames_that_are_no_atoms_are_named(path: Path) -> None:
    with vldepot.create(path) as depot:
        depot["no types"] = vldepot.Frame(positions=np.zeros((1, 3)))
    with pytest.raises(ValueError, match="'no types'.*types"):
        vldepot.ase.read(path)
    with vldepot.append(path, "atomic_frame") as depot:
        depot["twice"] = vldepot.Frame(positions=np.zeros((1, 3)), types=[1], arrays={"numbers": np.zeros(1)})
    with pytest.raises(ValueError, match="'twice'.*'numbers'"):
        vldepot.ase.read(path)
    other = path.with_name("other.vld")
    with vldepot.create(other, "json") as depot:
        depot["a"] = 1
    for call in (vldepot.ase.read, lambda file: vldepot.ase.write(file, copper(), append=True)):
        with pytest.raises(vldepot.WrongCodec):
            call(other)
        with vldepot.append(other) as depot, pytest.raises(ValueError, match="'json' holds no frames"):
            call(depot)


@pytest.mark.parametrize(
    "manifest, what",
    [
        (b"", "not what"), (b"[]", "not what"), (b'{"version": 2}', "version 2"), (b"\xff", "not what"),
        (b'{"version": 1, "info": [[1]]}', "not what"), (b'{"version": 1, "info": {"a": 1}}', "not what"),
        (b'{"version": 1, "info": [["a", {"$array": ["gone", null]}]]}', "not what.*gone"),
        (b'{"version": 1, "info": [["a", {"$array": ["x", "O"]}]]}', "not what.*object"),
        (b'{"version": 1, "info": [["a", {"$array": ["x", "<U7"]}]]}', "not what"),
        (b'{"version": 1, "info": [["a", {"$what": 1}]]}', r"\$what"),
        (b'{"version": 1, "results": [["energy", {"$field": "float"}]]}', "no energy"),
        (b'{"version": 1, "results": [["arrays", {"$field": "float"}]]}', "no arrays"),
        (b'{"version": 1, "constraints": [{"name": "os"}]}', "not what"),
        (b'{"version": 1, "order": [[]]}', "not what"),
        (b'{"version": 1, "order": {}}', "not what"),
        (b'{"version": 1, "fields": {"positions": "O"}}', "not what"),
        (b'{"version": 1, "fields": {"positions": "what"}}', "not what"),
        (b'{"version": 1, "fields": []}', "not what"),
        (b'{"version": 1, "celldisp": "a"}', "not what"),
        (b'{"version": 1, "info": [["a", ' + b"[" * 100_000 + b"]" * 100_000 + b"]]}", "not what"),
        (b"[" * 100_000, "not what"),
    ],
)  # fmt: skip
def test_what_no_version_of_this_wrote_is_refused(path: Path, manifest: bytes, what: str) -> None:
    with vldepot.create(path) as depot:
        depot["a"] = vldepot.Frame(
            positions=np.zeros((1, 3)),
            types=[1],
            per_frame={"ase": np.frombuffer(manifest, np.uint8), "x": np.zeros(3)},
        )
    with pytest.raises(ValueError, match=what):
        vldepot.ase.read(path)


def test_names_do_not_collide_after_removals(path: Path) -> None:
    vldepot.ase.write(path, [molecule("H2O")] * 4)
    with vldepot.append(path, "atomic_frame") as depot:
        del depot["frame_0000000000"]
        depot["frame_0000000004"] = depot["frame_0000000003"]
        depot["frame_x"] = depot["frame_0000000003"]
    vldepot.ase.write(path, [molecule("CH4")] * 2, append=True)
    assert [len(a) for a in vldepot.ase.read(path, ":")] == [3, 3, 3, 3, 3, 5, 5]
    with vldepot.open(path) as depot:
        assert list(depot)[-2:] == ["frame_0000000005", "frame_0000000006"]
    with vldepot.append(path, "atomic_frame") as depot:
        for name in list(depot)[:4]:
            del depot[name]
    with vldepot.ase.DepotWriter(path, molecule("NH3"), append=True) as frames:
        frames.write()
        frames.write()
    with vldepot.open(path) as depot:
        assert list(depot)[-2:] == ["frame_0000000003", "frame_0000000004"]


def test_an_open_depot_is_read_and_written(path: Path) -> None:
    with vldepot.memory("atomic_frame", units="ase", precision="float64") as depot:
        vldepot.ase.write(depot, [copper(1), copper(2)])
        vldepot.ase.write(depot, copper(3))
        assert_same_atoms(vldepot.ase.read(depot, 2), copper(3))
        assert len(list(vldepot.ase.iread(depot))) == 3
        with pytest.raises(TypeError, match="precision"):
            vldepot.ase.write(depot, copper(3), precision="float32")
    vldepot.ase.write(path, copper())
    with vldepot.open(path, "atomic_frame") as depot:
        assert len(vldepot.ase.read(depot)) == 8
        with pytest.raises(vldepot.ReadOnly):
            vldepot.ase.write(depot, copper())


def test_what_is_no_path_is_refused(path: Path) -> None:
    vldepot.ase.write(path, copper())
    with open(path, "rb") as file:
        for call in (vldepot.ase.read, lambda f: vldepot.ase.write(f, copper()), vldepot.ase.DepotWriter):
            for wrong in (file, 3, None, b"a"):
                with pytest.raises(TypeError, match="takes a path, or an open vldepot.Depot"):
                    call(wrong)
    assert len(vldepot.ase.read(str(path))) == 8
    for wrong in (None, 3, object()):
        with pytest.raises(TypeError, match="ase.Atoms are written"):
            vldepot.ase.write(path, wrong)
    for wrong in ([None], ["a.xyz"], iter([copper(), 3])):
        with pytest.raises(TypeError, match="made of ase.Atoms"):
            vldepot.ase.write(path, wrong)
    with pytest.raises(TypeError, match="no option 'color'"):
        vldepot.ase.write(path, copper(), color="red")
    assert len(vldepot.ase.read(path, ":")) == 1, "the depot that was there is there"
    assert [file.name for file in path.parent.iterdir()] == [path.name]


INDICES: list[Any] = [
    ":", "-5:", "::2", "1::2", "3", "-1", "0", "::-1", "5:2", "100:", ":-3", slice(2, 4), slice(None, None, -2), 3, -7, np.int64(2),
]  # fmt: skip


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_indices_are_those_of_a_list(path: Path, index: Any) -> None:
    from ase.utils import string2index

    images = [ase.Atoms("H", positions=[[n, 0, 0]]) for n in range(7)]
    vldepot.ase.write(path, images)
    place = string2index(index) if isinstance(index, str) else index
    expected, found = images[place], vldepot.ase.read(path, index)
    assert type(expected) is type(found) and len(expected) == len(found)
    for old, new in zip(*([a] if isinstance(a, ase.Atoms) else a for a in (expected, found)), strict=True):
        assert_same_atoms(old, new)
    if isinstance(expected, list):
        assert [a.positions[0, 0] for a in vldepot.ase.iread(path, index)] == [
            a.positions[0, 0] for a in expected
        ]


def test_what_is_no_index_is_refused(path: Path) -> None:
    vldepot.ase.write(path, [ase.Atoms("H")] * 3)
    for wrong in (3, -4, "3", 2**70):
        with pytest.raises(IndexError, match="there is no frame"):
            vldepot.ase.read(path, wrong)
    for text in ("a", "1.5", "", "a:b"):
        with pytest.raises(ValueError, match="no index"):
            vldepot.ase.read(path, text)
    for wrong in (1.5, [0, 1]):
        with pytest.raises(TypeError, match="integer"):
            vldepot.ase.read(path, wrong)
    empty = path.with_name("empty.vld")
    vldepot.ase.write(empty, [])
    assert vldepot.ase.read(empty, ":") == [] and vldepot.ase.read(empty, "-5:") == []
    with pytest.raises(IndexError, match="it has 0 frames"):
        vldepot.ase.read(empty)
    with pytest.raises(FileNotFoundError):
        vldepot.ase.read(path.with_name("none.vld"))


def test_reading_streams(path: Path) -> None:
    """Frames after the ones that were asked for are not even looked at."""
    vldepot.ase.write(path, [ase.Atoms("H")] * 20)
    with vldepot.append(path, "atomic_frame") as depot:
        depot["bad"] = vldepot.Frame(positions=np.zeros((1, 3)), energy=1.0)
        depot["good"] = vldepot.ase.to_frame(ase.Atoms("H"))
    found = 0
    with pytest.raises(ValueError, match="'bad'"):
        for _ in vldepot.ase.iread(path):
            found += 1
    assert found == 20 and len(vldepot.ase.read(path, ":20")) == 20


def test_a_damaged_record_is_named(path: Path) -> None:
    random = np.random.default_rng(0)
    images = [ase.Atoms("H50", positions=random.normal(size=(50, 3))) for _ in range(3)]
    vldepot.ase.write(path, images, preset="uncompressed", chunk_size=4096)
    with vldepot.open(path) as depot:
        places = [depot.location(name) for name in depot]
    assert [place.chunk for place in places] == [0, 0, 1], "the last one is alone"
    whole = path.read_bytes()
    data = bytearray(whole)
    data[places[2].file_offset + 500] ^= 0xFF
    path.write_bytes(data)
    for index in (":", -1, "::2"):
        with pytest.raises(vldepot.ChecksumError, match="frame_0000000002"):
            vldepot.ase.read(path, index)
    assert [a.positions[0, 0] for a in vldepot.ase.read(path, ":2")] == [
        a.positions[0, 0] for a in images[:2]
    ]
    assert_same_atoms(vldepot.ase.read(path, 0), images[0])
    data = bytearray(whole)
    path.write_bytes(bytes(data[: len(data) // 2]))
    with pytest.raises(vldepot.Error):
        vldepot.ase.read(path, ":")


def test_a_depot_is_replaced_at_once_or_not_at_all(path: Path) -> None:
    vldepot.ase.write(path, [copper()] * 3)
    vldepot.ase.write(path, copper())
    assert len(vldepot.ase.read(path, ":")) == 1
    bad = copper()
    bad.info["thing"] = object()
    with pytest.raises(TypeError):
        vldepot.ase.write(path, [copper(), bad])
    assert len(vldepot.ase.read(path, ":")) == 1
    with vldepot.append(path, "atomic_frame"), pytest.raises(vldepot.Locked):
        vldepot.ase.write(path, copper())
    notes = path.with_name("notes.txt")
    notes.write_text("not a depot")
    with pytest.raises(vldepot.NotADepot):
        vldepot.ase.write(notes, copper())
    assert notes.read_text() == "not a depot"
    json = path.with_name("values.vld")
    vldepot.create(json, "json").close()
    with pytest.raises(vldepot.WrongCodec):
        vldepot.ase.write(json, copper())
    json.unlink()
    path.chmod(0o640)
    link = path.with_name("link.vld")
    link.symlink_to(path)
    vldepot.ase.write(link, [copper()] * 2)
    assert (
        link.is_symlink() and len(vldepot.ase.read(path, ":")) == 2 and path.stat().st_mode & 0o777 == 0o640
    )
    link.unlink()
    # An empty file is nothing.
    notes.write_text("")
    vldepot.ase.write(notes, copper())
    assert sorted(file.name for file in path.parent.iterdir()) == ["notes.txt", path.name]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write all files")
def test_a_file_that_may_not_be_written_is_read(path: Path) -> None:
    vldepot.ase.write(path, copper())
    path.chmod(0o444)
    assert_same_atoms(vldepot.ase.read(path), copper())
    with pytest.raises(PermissionError):
        vldepot.ase.write(path, copper(), append=True)


def test_appending_makes_a_depot_where_none_is(path: Path) -> None:
    vldepot.ase.write(path, (copper(n) for n in range(2)), append=True)
    vldepot.ase.write(path, copper(2), append=True)
    for n, atoms in enumerate(vldepot.ase.read(path, ":")):
        assert_same_atoms(copper(n), atoms)
    with pytest.raises(vldepot.CodecParameters):
        vldepot.ase.write(path, copper(2), append=True, units="gromacs")


def test_examples_run(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import doctest

    monkeypatch.chdir(path.parent)
    assert doctest.testmod(vldepot.ase).failed == 0


def test_numbers_that_are_no_elements(path: Path) -> None:
    atoms = ase.Atoms(numbers=[200, 300], positions=[[0, 0, 0], [0, 0, 1]])
    atoms.arrays["momenta"] = np.ones((2, 3))
    (found,) = through(atoms, path)
    assert_same_atoms(atoms, found)
    atoms.set_masses([1.0, 2.5])
    (found,) = through(atoms, path)
    assert_same_atoms(atoms, found)
    with vldepot.create(path.with_name("b.vld")) as depot:
        depot["a"] = vldepot.Frame(positions=np.zeros((1, 3)), velocities=np.zeros((1, 3)), types=[200])
    with pytest.raises(ValueError, match="momenta need masses"):
        vldepot.ase.read(path.with_name("b.vld"))
    with pytest.raises(vldepot.CodecError, match="types"):
        vldepot.ase.write(path, ase.Atoms(numbers=[2**40]))


def test_a_topology_of_other_atoms_is_refused(path: Path) -> None:
    with vldepot.create(path) as depot:
        depot.put("topology", topology=vldepot.Topology(types=[1, 2, 3], masses=[1, 2, 3]))
        depot.put("a", positions=np.zeros((2, 3)), types=[1, 2], topology_name="topology")
        depot.put("b", positions=np.zeros((2, 3)), types=[1, 2], topology_name="gone")
    assert len(vldepot.ase.read(path)) == 2
    with pytest.raises(ValueError, match="'a': the topology is of 3 atoms, and the frame of 2"):
        vldepot.ase.read(path, 0)


def test_single_precision_is_converted_without_another_rounding(path: Path) -> None:
    positions = np.array([[0.1, 0.2, 0.3]], np.float32)
    with vldepot.create(path) as depot:
        depot["a"] = vldepot.Frame(positions=positions, types=[1])
    assert np.array_equal(vldepot.ase.read(path).positions, positions.astype(np.float64) * 10)


def anything(chance: random.Random, depth: int = 0) -> Any:
    """A value of some type."""
    simple: list[Any] = [
        None, True, 10**40, 0.1, float("nan"), -0.0, "größe", "$x", b"\x00", 1j, np.float32(0.1), np.bool_(False),
        np.str_("a"), np.complex64(1j), np.float16(2),
    ]  # fmt: skip
    which = chance.randrange(9 if depth < 4 else 5)
    if which < 5:
        return chance.choice(simple)
    if which == 5:
        return [anything(chance, depth + 1) for _ in range(chance.randrange(4))]
    if which == 6:
        return tuple(anything(chance, depth + 1) for _ in range(chance.randrange(4)))
    if which == 7:
        return {key(chance): anything(chance, depth + 1) for _ in range(chance.randrange(4))}
    return array(chance, tuple(chance.randrange(4) for _ in range(chance.randrange(3))))


def key(chance: random.Random) -> Any:
    return chance.choice(
        ["a", "$a", "ase", "momenta.ulps", "info.a", "a_", "", 1, 2.5, (1, "b"), None, b"x", "tags"]
    )


def array(chance: random.Random, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    numbers = np.asarray(np.random.default_rng(chance.randrange(1 << 30)).normal(size=shape) * 100)
    dtypes = ["f8", "f4", "f2", ">f8", "i1", "i8", ">u2", "?", "c16", "c8", ">c16", "U5", ">U3", "S3"]
    dtype = chance.choice([*dtypes, "M8[s]", "m8[D]", "O"])
    numbers = abs(numbers) if "u" in dtype else numbers
    return numbers.astype("i8" if dtype[0] in "Mm" else dtype).astype(dtype)


@pytest.mark.parametrize("seed", range(60))
def test_whatever_atoms_hold_comes_back(path: Path, seed: int) -> None:
    chance, numbers = random.Random(seed), np.random.default_rng(seed)
    images = []
    for n_atoms in (0, 1, 2, 3, 8):
        atoms = ase.Atoms(
            numbers=numbers.integers(0, 100, n_atoms), positions=numbers.normal(size=(n_atoms, 3))
        )
        atoms.pbc = numbers.integers(0, 2, 3)
        if chance.random() < 0.7:
            atoms.set_cell(numbers.normal(size=(3, 3)))
        if chance.random() < 0.5:
            atoms.set_momenta(numbers.normal(size=(n_atoms, 3)) * 10.0 ** chance.randrange(-5, 5))
        for name in ("masses", "initial_charges", "initial_magmoms", "mine", "ase", "info.a", "forces"):
            if chance.random() < 0.3:
                shape = (n_atoms, *(chance.randrange(1, 3) for _ in range(chance.randrange(2))))
                usual = numbers.uniform(1, 100, n_atoms)
                # ASE compares these two with those of the calculator, which takes numbers.
                is_usual = name.startswith("initial") or chance.random() < 0.5
                atoms.arrays[name] = usual if is_usual else array(chance, shape)
        atoms.info = {key(chance): anything(chance) for _ in range(chance.randrange(5))}
        atoms.calc = SinglePointCalculator(atoms)
        for name in ("energy", "forces", "stress", "dipole", "magmoms", "charges", "energies", key(chance)):
            if chance.random() < 0.4:
                shapes = [(n_atoms, 3), (n_atoms,), (6,), (3, 3), ()]
                usual = numbers.normal(size=chance.choice(shapes))
                atoms.calc.results[name] = chance.choice(
                    [np.asarray(usual), array(chance, chance.choice(shapes)), anything(chance)]
                )
        images.append(atoms)
    for old, new in zip(images, through(images, path), strict=True):
        if not old.calc.results:
            old.calc = None
        assert_same_atoms(old, new)
