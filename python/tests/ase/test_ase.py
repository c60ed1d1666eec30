"""`Atoms` through a depot, with the real ASE."""

import numpy as np
import pytest

pytest.importorskip("ase.build", reason="needs the package ase")
import ase  # noqa: E402
from ase.build import bulk, molecule  # noqa: E402
from ase.calculators.emt import EMT  # noqa: E402
from ase.constraints import FixAtoms  # noqa: E402

import vldepot.ase  # noqa: E402


def test_atoms_come_back_to_the_last_bit(tmp_path):
    random = np.random.default_rng(0)
    first = bulk("Cu").repeat(2)  # triclinic
    first.rattle(0.1, seed=1)
    first.set_velocities(random.normal(size=(8, 3)))
    first.set_masses(random.uniform(60, 70, 8))
    first.set_constraint(FixAtoms([0, 3]))
    first.info.update({"größe": np.float64(0.1), "n": 3, "v": np.arange(3.0)})
    first.calc = EMT()
    first.get_potential_energy()
    images = [first, ase.Atoms("H"), molecule("H2O")]
    path = tmp_path / "a.vld"
    vldepot.ase.write(path, images)
    found = vldepot.ase.read(path, slice(None))
    assert [len(a) for a in found] == [8, 1, 3]
    for old, new in zip(images, found, strict=True):
        assert old.arrays.keys() == new.arrays.keys()
        for key in old.arrays:
            assert np.array_equal(old.arrays[key], new.arrays[key]), key
        assert np.array_equal(old.cell.array, new.cell.array) and (old.pbc == new.pbc).all()
    assert found[0].info["größe"] == 0.1 and found[0].info["v"].tolist() == [0, 1, 2]
    assert found[0].constraints[0].index.tolist() == [0, 3]
    assert found[0].get_potential_energy() == first.get_potential_energy()
    assert np.array_equal(found[0].get_forces(), first.get_forces())


def test_what_cannot_be_kept_is_named():
    atoms = ase.Atoms("H")
    atoms.info["thing"] = object()
    with pytest.raises(TypeError, match="thing"):
        vldepot.ase.to_frame(atoms)


def test_ase_knows_the_extension(tmp_path):
    import ase.io

    path = str(tmp_path / "b.vld")
    ase.io.write(path, [molecule("H2O"), molecule("CH4")])
    ase.io.write(path, molecule("NH3"), append=True)
    assert [len(a) for a in ase.io.read(path, ":")] == [3, 5, 4]
    assert [len(a) for a in ase.io.iread(path, "1:")] == [5, 4]
    assert len(ase.io.read(path)) == 4 and len(ase.io.read(path, -2)) == 5
