# mypy: disable-error-code="no-untyped-call"
"""`ase.Atoms` in depots, both ways: positions in angstrom, energies in eV, as ASE has them.

A depot made here records ASE's units and holds float64: values come back to the last bit.

Example:
    >>> from ase.build import molecule
    >>> import vldepot.ase
    >>> vldepot.ase.write("water.vld", [molecule("H2O")])
    >>> vldepot.ase.read("water.vld").get_chemical_formula()
    'H2O'
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

import vldepot
from vldepot import Frame

__all__ = ["read", "read_vld", "to_atoms", "to_frame", "write", "write_vld"]

_EXTRA = "ase.extra"
_CORE = ("numbers", "positions")


def to_frame(atoms: Any, *, step: int | None = None, time: float | None = None) -> Frame:
    """The frame of `atoms`, in ASE's units.

    Info, constraints and all results of the calculator are kept as JSON (`per_frame["ase.extra"]`), every other array
    of `atoms` (tags, momenta, masses, ..) as it is, `[n, ..]`. Results are those that the calculator has at hand for these
    atoms: nothing is computed, and results of atoms that moved since are left out.

    Raises:
        TypeError: Info, a constraint or a result is not what ASE's JSON can hold. Named in the message.
    """
    from ase.io.jsonio import decode, encode  # type: ignore[import-not-found,import-untyped,unused-ignore]

    calc = atoms.calc
    stale = calc is None or (hasattr(calc, "check_state") and len(calc.check_state(atoms)) > 0)
    results = {} if stale else dict(getattr(calc, "results", {}))
    extra: dict[str, Any] = {
        "info": list(atoms.info.items()),
        "results": list(results.items()),
        "constraints": [c.todict() for c in atoms.constraints],
        "celldisp": np.asarray(atoms.get_celldisp()).ravel().tolist(),
    }
    for part in ("info", "results"):
        for key, value in extra[part]:
            try:
                decode(encode(value))
            except Exception as error:
                raise TypeError(f"{part}[{key!r}] of type {type(value).__name__} cannot be kept: {error}") from error
    forces = results.get("forces")
    energy = results.get("energy")
    return Frame(
        positions=np.asarray(atoms.positions, np.float64),
        types=np.asarray(atoms.numbers, np.int32),
        cell=np.asarray(atoms.cell.array, np.float64),
        pbc=[bool(p) for p in atoms.pbc],
        velocities=np.asarray(atoms.get_velocities(), np.float64) if atoms.has("momenta") else None,
        forces=None if forces is None else np.asarray(forces, np.float64),
        energy=None if energy is None else float(energy),
        step=step,
        time=time,
        arrays={k: v for k, v in atoms.arrays.items() if k not in _CORE},
        per_frame={_EXTRA: np.frombuffer(encode(extra).encode(), np.uint8)},
    )


def to_atoms(frame: Frame) -> Any:
    """The `ase.Atoms` of a frame in ASE's units; results are in a `SinglePointCalculator`.

    Raises:
        ValueError: The frame has no positions, or no types.
    """
    from ase import Atoms  # type: ignore[import-not-found,import-untyped,unused-ignore]
    from ase.calculators.singlepoint import SinglePointCalculator  # type: ignore[import-not-found,import-untyped,unused-ignore]
    from ase.constraints import dict2constraint  # type: ignore[import-not-found,import-untyped,unused-ignore]
    from ase.io.jsonio import decode  # type: ignore[import-not-found,import-untyped,unused-ignore]

    if frame.positions is None or frame.types is None:
        raise ValueError("Atoms need positions and types; a topology record has none")
    atoms = Atoms(numbers=frame.types, positions=frame.positions, cell=frame.cell, pbc=frame.pbc)
    for key, value in frame.arrays.items():
        atoms.set_array(key, np.array(value))
    if frame.velocities is not None and not atoms.has("momenta"):
        atoms.set_velocities(np.array(frame.velocities))
    results: dict[str, Any] = {}
    raw = frame.per_frame.get(_EXTRA)
    if raw is not None:
        extra = decode(raw.tobytes().decode())
        atoms.info.update((k, v) for k, v in extra["info"])
        atoms.set_constraint([dict2constraint(c) for c in extra["constraints"]])
        atoms.set_celldisp(extra["celldisp"])
        results = dict(extra["results"])
    if frame.energy is not None:
        results.setdefault("energy", frame.energy)
    if frame.forces is not None:
        results.setdefault("forces", np.array(frame.forces))
    if results:
        calc = SinglePointCalculator(atoms)
        calc.results.update(results)
        atoms.calc = calc
    return atoms


def write(path: Any, images: Any, *, append: bool = False) -> None:
    """Writes one `Atoms` or many to a new depot, or with `append` after the frames of an old one."""
    images = [images] if hasattr(images, "positions") else images
    if append:
        depot = vldepot.append(path, "atomic_frame", units="ase")
    else:
        depot = vldepot.create(path, "atomic_frame", units="ase", precision="float64")
    with depot:
        start = len(depot)
        for number, atoms in enumerate(images, start):
            depot[f"frame_{number:09}"] = to_frame(atoms)
        depot.commit()


def read(path: Any, index: int | slice = -1) -> Any:
    """One `Atoms`, or a list of them for a slice, of a depot in ASE's units.

    Raises:
        vldepot.Error: The depot is in other units, which are not converted.
    """
    with vldepot.open(path, "atomic_frame", units="ase") as depot:
        if isinstance(index, slice):
            # Records of topologies have no positions, and are no images.
            return [to_atoms(frame) for frame in depot.at(index) if frame.positions is not None]
        return to_atoms(depot.at(index))


def read_vld(filename: str, index: int | slice = -1) -> Iterator[Any]:
    """What `ase.io.read` calls."""
    found = read(filename, index)
    yield from found if isinstance(found, list) else [found]


def write_vld(filename: str, images: Iterable[Any], append: bool = False) -> None:
    """What `ase.io.write` calls."""
    write(filename, images, append=append)
