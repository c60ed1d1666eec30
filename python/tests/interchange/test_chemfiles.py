"""Frames of chemfiles in depots, with the real chemfiles and files that it wrote."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("chemfiles.frame", reason="needs the package chemfiles")
import chemfiles  # noqa: E402

import vldepot.chemfiles  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::chemfiles.misc.ChemfilesWarning")


def frame(n: int, seed: int = 0, velocities: bool = True) -> Any:
    """Molecules of water, the last of which is in no residue and the one before without an id."""
    random = np.random.default_rng(seed)
    made = chemfiles.Frame()
    if velocities:
        made.add_velocities()
    for i in range(n):
        for name, symbol in (("OW", "O"), ("HW1", "H"), ("MW", "dummy")):
            atom = chemfiles.Atom(name, symbol)
            atom.charge, atom.mass = random.normal(), random.random()
            made.add_atom(atom, random.normal(size=3).tolist(), random.normal(size=3).tolist())
        made.add_bond(3 * i, 3 * i + 1)
    for i in range(n - 1):
        residue = chemfiles.Residue("SOL", 7 - i if i < n - 2 else None)
        for j in range(3):
            residue.atoms.append(3 * i + j)
        made.add_residue(residue)
    made.cell = chemfiles.UnitCell(np.array([[0, 5.5, 1], [5, 2, 5], [7, 5, 0]]))
    made.step = 10 + seed
    made["time"] = 0.1
    return made


def described(topology: Any) -> Any:
    residues = []
    for residue in topology.residues:
        try:
            number = residue.id
        except chemfiles.ChemfilesError:
            number = None
        residues.append((residue.name, number, [int(atom) for atom in residue.atoms]))
    atoms = [(each.name, each.type, each.mass, each.charge, each.atomic_number) for each in topology.atoms]
    return atoms, residues, np.asarray(topology.bonds).tolist()


def same(found: Any, expected: Any) -> None:
    assert np.array_equal(found.positions, expected.positions)
    assert found.has_velocities() == expected.has_velocities()
    if expected.has_velocities():
        assert np.array_equal(found.velocities, expected.velocities)
    assert np.array_equal(found.cell.matrix, expected.cell.matrix) and found.step == expected.step
    assert described(found.topology) == described(expected.topology)
    assert ("time" in found.list_properties()) == ("time" in expected.list_properties())


@pytest.mark.parametrize("same_atoms", [False, True])
def test_frames_come_back_to_the_last_bit(path, same_atoms):
    frames = [frame(4), frame(4, velocities=False)]
    vldepot.chemfiles.write(path, frames, same_atoms=same_atoms)
    for found, expected in zip(vldepot.chemfiles.read(path), frames, strict=True):
        same(found, expected)
        assert found["time"] == 0.1
    assert [each.has_velocities() for each in vldepot.chemfiles.read(path, slice(None, None, -1))] == [
        False,
        True,
    ]
    with pytest.raises(vldepot.PathExists):
        vldepot.chemfiles.write(path, frames)
    with vldepot.open(path) as depot:
        assert list(depot) == ["topology_0000000000", "frame_0000000000", "frame_0000000001"]


def test_frames_of_other_atoms_have_their_own_topology(path):
    frames = [frame(4), frame(2), frame(4, seed=1)]
    vldepot.chemfiles.write(path, frames)
    # Topologies lie between the frames, so the frames are named.
    for found, expected in zip(vldepot.chemfiles.read(path, records="frame_*"), frames, strict=True):
        same(found, expected)
    with pytest.raises(
        vldepot.chemfiles.OtherAtoms, match="number of atoms is 6 in record 'frame_0000000001', and 12"
    ):
        vldepot.chemfiles.write(path.with_name("b.vld"), frames, same_atoms=True)


def test_a_frame_may_be_empty(path):
    vldepot.chemfiles.write(path, [chemfiles.Frame(), frame(2)])
    assert [len(each.atoms) for each in vldepot.chemfiles.read(path, records="frame_*")] == [0, 6]


def test_files_that_chemfiles_wrote_come_back(tmp_path):
    frames = [frame(4, seed=n) for n in range(3)]
    for extension in ("xyz", "gro", "trr"):
        file, depot = str(tmp_path / f"a.{extension}"), tmp_path / f"{extension}.vld"
        with chemfiles.Trajectory(file, "w") as trajectory:
            for each in frames:
                each.cell = chemfiles.UnitCell([20, 21, 22], [80, 85, 95])
                trajectory.write(each)
        with chemfiles.Trajectory(file) as trajectory:
            vldepot.chemfiles.write(depot, trajectory)
        with chemfiles.Trajectory(file) as trajectory:
            for found, expected in zip(vldepot.chemfiles.read(depot), trajectory, strict=True):
                same(found, expected)


def test_other_depots_are_read(path):
    with vldepot.create(path) as depot:
        depot["a"] = {"positions": np.ones((2, 3)), "types": [8, 1], "cell": np.eye(3), "pbc": False}
        depot["b"] = {"velocities": np.ones((2, 3))}
    read = vldepot.chemfiles.read(path, atomic_numbers=True)
    first = next(read)
    assert first.positions.tolist() == [[10, 10, 10]] * 2 and [atom.name for atom in first.atoms] == [
        "O",
        "H",
    ]
    assert first.atoms[0].mass == pytest.approx(15.999) and not first.cell.matrix.any()
    with pytest.raises(vldepot.chemfiles.NoFrame, match="'b' has no positions"):
        next(read)


def test_mdanalysis_reads_what_chemfiles_stored(path):
    mda = pytest.importorskip("MDAnalysis", reason="needs the package MDAnalysis")
    import vldepot.mdanalysis  # noqa: F401

    vldepot.chemfiles.write(path, [frame(4)])
    u = mda.Universe(path)
    assert u.atoms.names[:3].tolist() == ["OW", "HW1", "MW"] and u.atoms.elements[:3].tolist() == [
        "O",
        "H",
        "",
    ]
    assert u.residues.resnames.tolist() == ["SOL"] * 3 + [""] and len(u.bonds) == 4
    assert np.allclose(u.atoms.charges, [atom.charge for atom in frame(4).atoms])
