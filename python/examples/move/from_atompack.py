"""Makes a depot of an Atompack database.

    python from_atompack.py molecules.atp molecules.vld

Molecule 17 becomes the record `molecule_000000017`.
"""

from __future__ import annotations

import sys
from typing import Any

import atompack  # type: ignore[import-not-found,unused-ignore]
import numpy as np

import vldepot

FIELDS = ("positions", "velocities", "forces", "charges", "cell", "stress", "pbc", "energy")


def frame_of(molecule: Any, name: str | None = None) -> tuple[vldepot.Frame, dict[str, Any]]:
    """The frame of a molecule, and what is metadata of its record: properties that are numbers or text."""
    per_atom = set(molecule.property_keys(scope="atom"))
    properties = {key: molecule.get_property(key) for key in molecule.property_keys()}
    arrays = {key: value for key, value in properties.items() if isinstance(value, np.ndarray)}
    frame = vldepot.Frame(
        name=name,
        **{field: getattr(molecule, field) for field in FIELDS},
        types=molecule.atomic_numbers.astype(np.int32),
        arrays={key: value for key, value in arrays.items() if key in per_atom},
        per_frame={key: value for key, value in arrays.items() if key not in per_atom},
    )
    return frame, {key: value for key, value in properties.items() if key not in arrays}


def convert(source: str, target: str, **options: Any) -> int:
    """Copies all molecules, and returns how many. The options are those of `vldepot.create`."""
    database = atompack.Database.open(source)
    # Each array stays as precise as it is. Units are not stored there: these are those of its bridge to ASE.
    options = {"units": "ase", "precision": "as_given", "columns": ["energy", "n_atoms"], **options}
    with vldepot.create(target, **options) as depot:
        for number in range(len(database)):
            # Molecules themselves do not tell their names.
            (name,) = database.get_molecules_flat([number]).get("name", [None])
            frame, metadata = frame_of(database.get_molecule(number), name)
            depot.put(f"molecule_{number:09}", frame, metadata=metadata or None)
    return len(database)


if __name__ == "__main__":
    print(convert(*sys.argv[1:3]), "molecules")
