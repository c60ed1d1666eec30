"""Converters, on files that the other programs wrote."""

from __future__ import annotations

import importlib.util
import json
import pickle
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vldepot

EXAMPLES = Path(__file__).parents[2] / "examples" / "move"


def converter(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def random(*shape: int, dtype: Any = np.float32) -> Any:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(dtype)


# Atompack


@pytest.mark.parametrize("compression", ["none", "lz4", "zstd"])
def test_atompack_is_kept(tmp_path: Path, compression: str) -> None:
    import atompack

    database = atompack.Database(str(tmp_path / "a.atp"), compression=compression)
    molecules = []
    for n in range(1, 20):
        molecule = atompack.Molecule.from_arrays(random(n, 3), np.full(n, 6, np.uint8), energy=-1.5 * n)
        molecule.forces = random(n, 3, dtype=np.float64)
        molecule.charges = random(n, dtype=np.float64)
        molecule.cell = np.eye(3) * n
        molecule.set_property("gap", 0.5 * n)
        molecule.set_property("smiles", "C" * n)
        molecule.set_property("multiplicity", n)
        molecule.set_property("dipole", random(3))
        molecule.set_property("spin", np.arange(n), scope="atom")
        molecules.append(molecule)
    plain = atompack.Molecule(
        random(2, 3), np.array([1, 8], np.uint8), pbc=(True, False, True), stress=np.eye(3)
    )
    database.add_molecules([*molecules, plain])
    database.flush()

    assert converter("from_atompack").convert(str(tmp_path / "a.atp"), str(tmp_path / "a.vld")) == 20
    depot = vldepot.open(tmp_path / "a.vld", "atomic_frame")
    assert depot.units is not None and depot.units["length"] == "Å"
    for n in range(1, 20):
        frame = depot[f"molecule_{n - 1:09}"]
        assert frame.positions is not None and frame.forces is not None and frame.charges is not None
        assert frame.positions.dtype == np.float32 and frame.forces.dtype == np.float64
        np.testing.assert_array_equal(frame.positions, random(n, 3))
        np.testing.assert_array_equal(frame.forces, random(n, 3, dtype=np.float64))
        np.testing.assert_array_equal(frame.charges, random(n, dtype=np.float64))
        np.testing.assert_array_equal(frame.types, np.full(n, 6))
        np.testing.assert_array_equal(frame.cell, np.eye(3) * n)
        np.testing.assert_array_equal(frame.per_frame["dipole"], random(3))
        np.testing.assert_array_equal(frame.arrays["spin"], np.arange(n))
        metadata = {"gap": 0.5 * n, "smiles": "C" * n, "multiplicity": n}
        assert depot.metadata_of(f"molecule_{n - 1:09}") == metadata
    last = depot.at(-1)
    assert last.pbc == (True, False, True) and last.energy is None and last.cell is None
    np.testing.assert_array_equal(last.stress, np.eye(3))
    assert depot.metadata_of("molecule_000000019") is None
    np.testing.assert_array_equal(depot.column("energy")[:19], -1.5 * np.arange(1, 20))
    flat = depot.get_flat_at(slice(0, 19), ["positions", "energy"])
    assert flat.positions is not None and flat.positions.shape == (190, 3)


def test_atompack_stays_as_precise_as_it_is(tmp_path: Path) -> None:
    import atompack

    database = atompack.Database(str(tmp_path / "a.atp"))
    database.add_molecule(
        atompack.Molecule(random(2, 3, dtype=np.float64), np.array([1, 8], np.uint8), name="OH")
    )
    database.flush()
    converter("from_atompack").convert(str(tmp_path / "a.atp"), str(tmp_path / "a.vld"))
    frame = vldepot.open(tmp_path / "a.vld", "atomic_frame").at(0)
    positions = frame.positions
    assert frame.name == "OH"
    assert positions is not None and positions.dtype == np.float64
    np.testing.assert_array_equal(positions, random(2, 3, dtype=np.float64))


def test_an_empty_atompack_is_an_empty_depot(tmp_path: Path) -> None:
    import atompack

    atompack.Database(str(tmp_path / "a.atp")).flush()
    assert converter("from_atompack").convert(str(tmp_path / "a.atp"), str(tmp_path / "a.vld")) == 0
    assert len(vldepot.open(tmp_path / "a.vld")) == 0


# LMDB


@pytest.mark.parametrize("subdir", [True, False])
def test_lmdb_is_kept(tmp_path: Path, subdir: bool) -> None:
    import lmdb

    values = {f"key{n:04}".encode(): bytes([n % 256]) * n for n in range(300)}
    values |= {b"\xff\xfe": b"a name that is no text", "Å".encode(): b""}
    with lmdb.open(str(tmp_path / "a.lmdb"), subdir=subdir) as file, file.begin(write=True) as transaction:
        for key, value in values.items():
            transaction.put(key, value)
    convert = converter("from_lmdb").convert
    assert convert(str(tmp_path / "a.lmdb"), str(tmp_path / "a.vld")) == 302
    depot = vldepot.open(tmp_path / "a.vld", "bytes")
    assert depot[b"\xff\xfe"] == b"a name that is no text" and depot["Å"] == b""
    found = {name.encode() if isinstance(name, str) else name: value for name, value in depot.items()}
    assert found == values
    # The order is that of LMDB.
    assert list(found) == sorted(values)


def test_values_of_lmdb_become_what_they_mean(tmp_path: Path) -> None:
    import lmdb
    import msgpack

    with (
        lmdb.open(str(tmp_path / "a.lmdb"), max_dbs=4, map_size=1 << 24) as file,
        file.begin(write=True) as transaction,
    ):
        packed, pickled, messages = (
            file.open_db(name, txn=transaction) for name in (b"packed", b"pickled", b"messages")
        )
        for n in range(1, 20):
            key = struct.pack(">I", n)
            head = struct.pack("<Id", n, -1.5 * n)
            transaction.put(key, head + random(n, 3).tobytes(), db=packed)
            transaction.put(key, pickle.dumps({"pos": random(n, 3), "y": -1.5 * n}), db=pickled)
            transaction.put(key, msgpack.packb({"n": n, "tags": ["a"] * n, "raw": b"\0"}), db=messages)
    convert = converter("from_lmdb").convert

    def frame_of_bytes(value: bytes) -> vldepot.Frame:
        n, energy = struct.unpack_from("<Id", value)
        positions = np.frombuffer(value, np.float32, 3 * n, struct.calcsize("<Id"))
        return vldepot.Frame(positions=positions.reshape(n, 3), energy=energy)

    def frame_of_pickle(value: bytes) -> vldepot.Frame:
        fields = pickle.loads(value)
        return vldepot.Frame(positions=fields["pos"], energy=fields["y"])

    def number(key: bytes) -> int:
        return int.from_bytes(key, "big")

    for database, value in ((b"packed", frame_of_bytes), (b"pickled", frame_of_pickle)):
        target = tmp_path / f"{database.decode()}.vld"
        assert (
            convert(
                str(tmp_path / "a.lmdb"),
                str(target),
                "atomic_frame",
                value=value,
                name=number,
                database=database,
            )
            == 19
        )
        depot = vldepot.open(target, "atomic_frame")
        assert list(depot) == list(range(1, 20))
        for n, frame in depot.items():
            assert isinstance(n, int) and frame.energy == -1.5 * n
            np.testing.assert_array_equal(frame.positions, random(n, 3))
    target = tmp_path / "messages.vld"
    convert(
        str(tmp_path / "a.lmdb"),
        str(target),
        "msgpack",
        value=msgpack.unpackb,
        name=number,
        database=b"messages",
    )
    assert vldepot.open(target)[3] == {"n": 3, "tags": ["a"] * 3, "raw": b"\0"}


def test_keys_that_become_one_name_are_refused(tmp_path: Path) -> None:
    import lmdb

    with lmdb.open(str(tmp_path / "a.lmdb")) as file, file.begin(write=True) as transaction:
        transaction.put(b"a", b"1")
        transaction.put(b"A", b"2")
    with pytest.raises(vldepot.Exists):
        converter("from_lmdb").convert(
            str(tmp_path / "a.lmdb"), str(tmp_path / "a.vld"), name=lambda key: key.decode().lower()
        )


def test_databases_inside_a_file_are_not_taken_for_values(tmp_path: Path) -> None:
    import lmdb

    convert = converter("from_lmdb").convert
    with lmdb.open(str(tmp_path / "a.lmdb"), max_dbs=4) as file, file.begin(write=True) as transaction:
        transaction.put(b"1", bytes(48))
        transaction.put(b"a", b"first", db=file.open_db(b"inner", txn=transaction))
        several = file.open_db(b"several", txn=transaction, dupsort=True)
        transaction.put(b"a", b"first", db=several)
        transaction.put(b"a", b"second", db=several)
    with pytest.raises(ValueError, match="has databases inside, b'inner' for one"):
        convert(str(tmp_path / "a.lmdb"), str(tmp_path / "all.vld"))
    assert convert(str(tmp_path / "a.lmdb"), str(tmp_path / "inner.vld"), database=b"inner") == 1
    with pytest.raises(vldepot.Exists):
        convert(str(tmp_path / "a.lmdb"), str(tmp_path / "several.vld"), database=b"several")
    with lmdb.open(str(tmp_path / "b.lmdb")) as file, file.begin(write=True) as transaction:
        transaction.put(b"1", bytes(48))
    assert convert(str(tmp_path / "b.lmdb"), str(tmp_path / "b.vld")) == 1


# Databases of ASE


@pytest.mark.parametrize("kind", ["aselmdb", "db", "json"])
def test_databases_of_ase_are_kept(tmp_path: Path, kind: str) -> None:
    import ase.db
    from ase.build import bulk, molecule
    from ase.calculators.emt import EMT
    from ase.constraints import FixAtoms

    import vldepot.ase

    source = str(tmp_path / f"a.{kind}")
    written = []
    with ase.db.connect(source) as database:
        for n, name in enumerate(["H2O", "CH4", "CO2"]):
            atoms = molecule(name)
            atoms.set_constraint(FixAtoms([0]))
            atoms.set_initial_charges([0.5 * n] * len(atoms))
            database.write(
                atoms, key_value_pairs={"split": "train", "number": n}, data={"matrix": random(2, 2)}
            )
            written.append(atoms)
        copper = bulk("Cu", cubic=True)
        copper.rattle(0.1, seed=1)
        copper.calc = EMT()
        energy, forces = copper.get_potential_energy(), copper.get_forces()
        database.write(copper, source="emt")
        written.append(copper)
        database.metadata = {"title": "molecules"}

    assert converter("from_aselmdb").convert(source, str(tmp_path / "a.vld")) == 4
    depot = vldepot.open(tmp_path / "a.vld", "atomic_frame")
    assert list(depot) == [f"row_{n:09}" for n in (1, 2, 3, 4)]
    assert depot.metadata["ase.db"]["title"] == "molecules"
    for atoms, frame in zip(written, depot.values(), strict=True):
        back = vldepot.ase.to_atoms(frame)
        np.testing.assert_array_equal(back.positions, atoms.positions)
        np.testing.assert_array_equal(back.numbers, atoms.numbers)
        np.testing.assert_array_equal(back.cell.array, atoms.cell.array)
        np.testing.assert_array_equal(back.get_initial_charges(), atoms.get_initial_charges())
        assert len(back.constraints) == len(atoms.constraints)
    last = vldepot.ase.to_atoms(depot.at(-1))
    assert last.get_potential_energy() == energy
    np.testing.assert_array_equal(last.get_forces(), forces)
    first = vldepot.ase.to_atoms(depot.at(0))
    np.testing.assert_array_equal(first.info["data"]["matrix"], random(2, 2))
    facts = depot.metadata_of("row_000000001")
    assert facts["key_value_pairs"] == {"split": "train", "number": 0} and len(facts["unique_id"]) == 32
    assert depot.metadata_of("row_000000004")["calculator"] == "emt"
    np.testing.assert_array_equal(depot.column("energy")[3:], [energy])


# XTC


def test_xtc_is_kept(tmp_path: Path) -> None:
    from MDAnalysis.lib.formats.libmdaxdr import XTCFile

    source = str(tmp_path / "a.xtc")
    box = np.array([[3, 0, 0], [0.5, 3, 0], [0, 0.25, 2]], np.float32)
    with XTCFile(source, "w") as file:
        for n in range(20):
            file.write(random(50, 3), box if n else np.zeros((3, 3), np.float32), 500 * n, 0.5 * n, 1000)
    with XTCFile(source) as file:
        read = [(frame.x.copy(), frame.step, frame.time) for frame in file]
    assert converter("from_xtc").convert(source, str(tmp_path / "a.vld")) == 20
    depot = vldepot.open(tmp_path / "a.vld", "atomic_frame")
    for frame, (positions, step, time) in zip(depot.values(), read, strict=True):
        np.testing.assert_array_equal(frame.positions, positions)
        assert (frame.step, frame.time) == (step, time)
    assert depot.at(0).cell is None and depot.at(0).pbc is None
    np.testing.assert_array_equal(depot.at(1).cell, box)
    assert depot.metadata["xtc"] == {"steps_per_nm": 1000.0}
    assert depot.column("step").tolist() == [500 * n for n in range(20)]


def test_a_damaged_xtc_is_an_error(tmp_path: Path) -> None:
    from MDAnalysis.lib.formats.libmdaxdr import XTCFile

    source = tmp_path / "a.xtc"
    with XTCFile(str(source), "w") as file:
        for n in range(3):
            file.write(random(50, 3), np.eye(3, dtype=np.float32), n, n, 1000)
    source.write_bytes(source.read_bytes()[:-100])
    with pytest.raises(OSError):
        converter("from_xtc").convert(str(source), str(tmp_path / "a.vld"))


# H5MD


def test_h5md_of_mdanalysis_is_kept(tmp_path: Path) -> None:
    import MDAnalysis

    universe = MDAnalysis.Universe.empty(7, trajectory=True, velocities=True, forces=True)
    units = {"lengthunit": "nm", "timeunit": "ps", "velocityunit": "nm/ps", "forceunit": "kJ/(mol*nm)"}
    source = str(tmp_path / "a.h5md")
    with MDAnalysis.Writer(source, 7, positions=True, velocities=True, forces=True, **units) as writer:
        for n in range(5):
            universe.atoms.positions = random(7, 3 + n)[:, :3]
            universe.atoms.velocities = random(7, 4 + n)[:, :3]
            universe.atoms.forces = random(7, 5 + n)[:, :3]
            universe.dimensions = [10, 11, 12, 90, 90, 90]
            universe.trajectory.ts.data.update(step=500 * n, time=0.5 * n)
            writer.write(universe)
    count, left = converter("from_h5md").convert(source, str(tmp_path / "a.vld"))
    assert (count, left) == (5, [])
    depot = vldepot.open(tmp_path / "a.vld", "atomic_frame", units="gromacs")
    assert depot.column("step").tolist() == [0, 500, 1000, 1500, 2000]
    read = MDAnalysis.Universe.empty(7).load_new(source, format="H5MD", convert_units=False).trajectory
    for frame, moment in zip(depot.values(), read, strict=True):
        np.testing.assert_array_equal(frame.positions, moment.positions)
        np.testing.assert_array_equal(frame.velocities, moment.velocities)
        np.testing.assert_array_equal(frame.forces, moment.forces)
        np.testing.assert_allclose(np.diag(frame.cell), [1.0, 1.1, 1.2])
        assert frame.pbc == (True, True, True) and frame.time == moment.time


def h5md(path: Path) -> Any:
    """A file as the specification has it: fixed steps, elements at some steps only, fixed elements, observables."""
    import h5py

    file = h5py.File(path, "w")
    atoms = file.create_group("particles/all")
    box = atoms.create_group("box")
    box.attrs["dimension"], box.attrs["boundary"] = 3, [b"periodic", b"none", b"periodic"]
    box["edges"] = np.array([1.0, 2.0, 3.0])
    position = atoms.create_group("position")
    position["value"] = random(4, 5, 3, dtype=np.float64)
    position["value"].attrs["unit"] = "Angstrom"
    position["step"], position["time"] = 10, 0.5
    position["step"].attrs["offset"] = 100
    position["time"].attrs["unit"] = "fs"
    velocity = atoms.create_group("velocity")
    velocity["value"], velocity["step"] = random(2, 5, 3), [110, 130]
    velocity["value"].attrs["unit"] = "Angstrom fs-1"
    atoms["species"], atoms["mass"], atoms["tag"] = np.arange(5), np.full(5, 16.0), np.arange(5)
    spin = atoms.create_group("spin")
    spin["value"], spin["step"] = random(4, 5), position["step"]
    energy = file.create_group("observables/potential_energy")
    energy["value"], energy["step"] = np.arange(4.0), [100, 110, 120, 130]
    energy["value"].attrs["unit"] = "eV"
    pressure = file.create_group("observables/all/pressure")
    pressure["value"], pressure["step"] = random(1, 3, 3), [120]
    file["connectivity/bonds"] = [[0, 1]]
    file["parameters/cutoff"] = 1.2
    return file


def test_all_of_h5md_is_kept_or_named(tmp_path: Path) -> None:
    h5md(tmp_path / "a.h5md").close()
    count, left = converter("from_h5md").convert(str(tmp_path / "a.h5md"), str(tmp_path / "a.vld"))
    assert (count, left) == (4, ["/connectivity/bonds", "/parameters/cutoff"])
    depot = vldepot.open(tmp_path / "a.vld", "atomic_frame")
    assert depot.units is not None
    assert [depot.units[name] for name in ("length", "time", "energy")] == ["Å", "fs", "eV"]
    assert list(depot) == ["topology", *(f"frame_{step:010}" for step in (100, 110, 120, 130))]
    topology = depot["topology"]
    assert topology.topology is not None and topology.per_frame["tag"].tolist() == list(range(5))
    assert topology.topology.types is not None and topology.topology.types.tolist() == list(range(5))
    for n, step in enumerate((100, 110, 120, 130)):
        frame = depot[f"frame_{step:010}"]
        assert frame.positions is not None and frame.positions.dtype == np.float64
        np.testing.assert_array_equal(frame.positions, random(4, 5, 3, dtype=np.float64)[n])
        np.testing.assert_array_equal(frame.arrays["spin"], random(4, 5)[n])
        assert (frame.step, frame.time, frame.energy) == (step, 0.5 * n, n)
        assert frame.pbc == (True, False, True) and frame.topology_name == "topology"
        np.testing.assert_array_equal(frame.cell, np.diag([1.0, 2.0, 3.0]))
        assert (frame.velocities is None) == (step not in (110, 130))
        assert list(frame.per_frame) == (["observables/all/pressure"] if step == 120 else [])
    np.testing.assert_array_equal(depot["frame_0000000130"].velocities, random(2, 5, 3)[1])


def test_what_is_unclear_in_h5md_is_refused(tmp_path: Path) -> None:
    convert = converter("from_h5md").convert
    with h5md(tmp_path / "units.h5md") as file:
        file["particles/all/velocity/value"].attrs["unit"] = "nm ps-1"
    with pytest.raises(ValueError, match="'nm ps-1', does not go with"):
        convert(str(tmp_path / "units.h5md"), str(tmp_path / "units.vld"))
    with h5md(tmp_path / "groups.h5md") as file:
        file.create_group("particles/solvent")
    with pytest.raises(ValueError, match=r"has the groups \['all', 'solvent'\]: name one"):
        convert(str(tmp_path / "groups.h5md"), str(tmp_path / "groups.vld"))
    assert convert(str(tmp_path / "groups.h5md"), str(tmp_path / "groups.vld"), "all")[0] == 4
    with h5md(tmp_path / "steps.h5md") as file:
        file["particles/all/velocity/step"][:] = 110
    with pytest.raises(ValueError, match="has step 110 twice"):
        convert(str(tmp_path / "steps.h5md"), str(tmp_path / "steps.vld"))
    (tmp_path / "no.h5md").write_bytes(json.dumps({}).encode())
    with pytest.raises(OSError):
        convert(str(tmp_path / "no.h5md"), str(tmp_path / "no.vld"))
