"""Makes a depot of a database of ASE: `aselmdb`, as OMat24 and OMol25 come in, or `db`, `json`.

    python from_aselmdb.py structures.aselmdb structures.vld

Row 17 becomes the record `row_000000017`. `vldepot.ase.to_atoms` gives the atoms back.
"""

from __future__ import annotations

import sys
from typing import Any

import ase.db  # type: ignore[import-not-found,import-untyped,unused-ignore]

import vldepot
import vldepot.ase

FACTS = ("unique_id", "ctime", "mtime", "user", "calculator", "calculator_parameters", "key_value_pairs")


def convert(source: str, target: str, **options: Any) -> int:
    """Copies all rows, and returns how many. The options are those of `vldepot.create`."""
    database: Any = ase.db.connect(source)  # type: ignore[no-untyped-call,unused-ignore]
    options = {"units": "ase", "precision": "float64", "columns": ["energy", "n_atoms"], **options}
    with vldepot.create(target, **options) as depot:
        for row in database.select():
            atoms = row.toatoms()
            # What the row has besides the atoms.
            atoms.info.update({"key_value_pairs": dict(row.key_value_pairs), "data": dict(row.data)})
            facts = {fact: row.get(fact) for fact in FACTS if row.get(fact)}
            depot.put(f"row_{row.id:09}", vldepot.ase.to_frame(atoms), metadata=facts)
        depot.metadata["ase.db"] = database.metadata
        return len(depot)


if __name__ == "__main__":
    print(convert(*sys.argv[1:3]), "rows")
