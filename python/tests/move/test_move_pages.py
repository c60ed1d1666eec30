"""The code of the pages on moving from other formats runs, on files that the other programs wrote."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples" / "move"
PAGES = Path(__file__).parents[3] / "docs" / "how-to"
SIZES = range(1, 41)
random = np.random.default_rng(0)


def positions(n: int) -> Any:
    return random.normal(size=(n, 3)).astype(np.float32)


def atompack_files() -> None:
    import atompack
    from from_atompack import convert

    database = atompack.Database("molecules.atp")
    for n in SIZES:
        molecule = atompack.Molecule.from_arrays(positions(n), np.full(n, 6, np.uint8), energy=-1.5 * n)
        molecule.set_property("gap", 0.5 * n)
        database.add_molecule(molecule)
    database.flush()
    convert("molecules.atp", "molecules.vld")


def lmdb_files() -> None:
    import lmdb

    with lmdb.open("molecules.lmdb") as file, file.begin(write=True) as transaction:
        for n in SIZES:
            value = struct.pack("<Id", n, -1.5 * n) + positions(n).tobytes()
            transaction.put(f"molecule_{n:03}".encode(), value)


def hdf5_files() -> None:
    import h5py

    atoms = sum(SIZES)
    with h5py.File("molecules.h5", "w") as file:
        file["positions"], file["forces"] = positions(atoms), positions(atoms)
        file["numbers"] = np.full(atoms, 6, np.int32)
        file["energy"], file["ends"] = np.arange(float(len(SIZES))), np.cumsum(SIZES)
    with h5py.File("groups.h5", "w") as file:
        for n in SIZES:
            group = file.create_group(f"molecule_{n:03}")
            group["coordinates"], group["species"] = positions(n), np.full(n, 6, np.int32)
            group.attrs["smiles"] = "C" * n


def xtc_files() -> None:
    from from_xtc import convert
    from MDAnalysis.lib.formats.libmdaxdr import XTCFile

    with XTCFile("run.xtc", "w") as file:
        for n in range(20):
            file.write(positions(50), np.eye(3, dtype=np.float32), 500 * n, 0.5 * n, 1000)
    convert("run.xtc", "run.vld")


MAKE = {"atompack": atompack_files, "lmdb": lmdb_files, "hdf5": hdf5_files, "xtc": xtc_files}


@pytest.mark.parametrize("name", MAKE)
def test_the_code_of_a_page_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(EXAMPLES)
    MAKE[name]()
    text = (PAGES / f"move-from-{name}.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```\n", text, flags=re.DOTALL | re.MULTILINE)
    assert blocks
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, f"move-from-{name}.md", "exec"), names)
    printed = capsys.readouterr().out
    if name == "hdf5":
        import vldepot

        depot = vldepot.open("molecules.vld", "atomic_frame")
        assert len(depot) == len(SIZES) and depot.at(-1).n_atoms == SIZES[-1] and depot.at(-1).energy == 39.0
        groups = vldepot.open("groups.vld", "atomic_frame")
        assert groups.metadata_of("molecule_003") == {"smiles": "CCC"} and groups["molecule_003"].n_atoms == 3
    else:
        expected = {"atompack": "(10, 3) [-9. -6.]\n{'gap': 3.0}\n", "lmdb": "-1.5", "xtc": "20 9.5\n"}
        assert expected[name] in printed
