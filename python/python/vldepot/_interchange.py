"""What the modules for other programs share: units, cells, and which records of a depot are its frames."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._open import open as open_depot
from ._vldepot import Depot, Frame, Topology

#: MDAnalysis's and chemfiles' units, in which factors are given.
ANGSTROM: dict[str, str] = {
    "length": "Å",
    "time": "ps",
    "energy": "kJ/mol",
    "mass": "u",
    "charge": "e",
    "pressure": "bar",
}

_KJ_PER_MOL = 96.48533212331  # in an eV; as all constants here from CODATA 2018
_FACTORS: dict[str, dict[str, float]] = {
    "length": {
        **dict.fromkeys(("Å", "Angstrom", "angstrom", "A"), 1.0),
        **dict.fromkeys(("nm", "nanometer"), 10.0),
        **dict.fromkeys(("bohr", "Bohr", "a0"), 0.529177210903),
        "pm": 0.01,
        "m": 1e10,
    },
    "time": {
        **dict.fromkeys(("ps", "picosecond"), 1.0),
        "fs": 1e-3,
        "ns": 1e3,
        "us": 1e6,
        "s": 1e12,
        "Å√(u/eV)": 1 / math.sqrt(100 * _KJ_PER_MOL),
    },
    "energy": {
        **dict.fromkeys(("kJ/mol", "kj/mol"), 1.0),
        "kcal/mol": 4.184,
        "eV": _KJ_PER_MOL,
        "meV": _KJ_PER_MOL / 1000,
        **dict.fromkeys(("hartree", "Hartree", "Ha"), 2625.4996394799),
    },
    "mass": dict.fromkeys(("u", "amu", "Da", "dalton", "g/mol"), 1.0),
    "charge": dict.fromkeys(("e", "elementary_charge"), 1.0),
    "pressure": {
        "bar": 1.0,
        "Pa": 1e-5,
        "MPa": 10.0,
        "GPa": 1e4,
        "atm": 1.01325,
        "eV/Å^3": 1602176.634,
    },
}


class UnknownUnit(ValueError):
    """A depot states a unit that is not known here, so its numbers cannot be converted.

    Attributes:
        path: The depot.
        quantity: What is measured in it: `length`, `time`, `energy`, `mass`, `charge` or `pressure`.
        unit: The name of the unit.
    """

    def __init__(self, path: str, quantity: str, unit: str) -> None:
        super().__init__(path, quantity, unit)
        self.path, self.quantity, self.unit = path, quantity, unit

    def __str__(self) -> str:
        known = ", ".join(_FACTORS[self.quantity])
        return f"{self.path}: the unit of {self.quantity} is {self.unit!r}, which is none of {known}"


class OtherAtoms(ValueError):
    """A frame has other atoms than the first one, where a trajectory has the same atoms in all frames.

    Attributes:
        path: The depot.
        record: The name of the frame, or of the topology.
        what: What differs: `number of atoms`, `topology`, or `type of atom 3`, for example.
        expected: What the first frame has.
        found: What this frame has.
    """

    def __init__(self, path: str, record: object, what: str, expected: object, found: object) -> None:
        super().__init__(path, record, what, expected, found)
        self.path, self.record, self.what, self.expected, self.found = path, record, what, expected, found

    def __str__(self) -> str:
        return (
            f"{self.path}: {self.what} is {self.found!r} in record {self.record!r}, and {self.expected!r} in "
            "the first frame; a trajectory has the same atoms in all frames: choose some with records="
        )


class NoFrame(ValueError):
    """A record has neither positions nor velocities nor forces, or there is no frame at all."""


@dataclass(frozen=True)
class Units:
    """Factors from the units of a depot to Å, ps, kJ/mol, u, e and bar."""

    path: str
    names: dict[str, str]

    def factor(self, quantity: str) -> float:
        """Raises `UnknownUnit`."""
        unit = self.names[quantity]
        try:
            return _FACTORS[quantity][unit]
        except KeyError:
            raise UnknownUnit(self.path, quantity, unit) from None

    @property
    def length(self) -> float:
        return self.factor("length")

    @property
    def time(self) -> float:
        return self.factor("time")

    @property
    def velocity(self) -> float:
        return self.factor("length") / self.factor("time")

    @property
    def energy(self) -> float:
        return self.factor("energy")

    @property
    def force(self) -> float:
        return self.factor("energy") / self.factor("length")


def scaled(
    values: NDArray[Any],
    factor: float,
    out: NDArray[Any] | None = None,
    rotation: NDArray[np.float64] | None = None,
) -> NDArray[Any]:
    """`values @ rotation * factor`, rounded once, to float32 unless `out` says otherwise."""
    if out is None:
        out = np.empty(values.shape, np.float32)
    if rotation is not None:
        values = values.astype(np.float64) @ rotation
    elif values.dtype.kind != "f":  # bfloat16
        values = values.astype(np.float32)
    if factor == 1.0:
        np.copyto(out, values, casting="same_kind")
    elif values.dtype == out.dtype == np.float32 and np.float32(factor) == factor:
        np.multiply(values, np.float32(factor), out=out)
    else:
        np.multiply(values, factor, out=out, dtype=np.float64, casting="same_kind")
    return out


@dataclass(frozen=True)
class Box:
    """A periodic cell by lengths and angles (degrees), as programs have it that keep no orientation."""

    lengths: NDArray[np.float64]
    angles: NDArray[np.float64]
    #: What turns vectors of the frame (as rows, from the right) to where such a cell lies: the first vector
    #: along x, the second in the plane of x and y. `None` where they lie so.
    rotation: NDArray[np.float64] | None


def box_of(cell: NDArray[np.float64]) -> Box | None:
    """The box of three lattice vectors, `None` if they span no volume.

    Where they are left-handed the third one is turned around, which leaves the lattice as it is.
    """
    if not np.isfinite(cell).all():
        return None
    lengths = np.linalg.norm(cell, axis=1)
    if not (lengths > 0).all() or abs(np.linalg.det(cell / lengths[:, None])) < 1e-9:
        return None
    if np.linalg.det(cell) < 0:
        cell = cell * [[1], [1], [-1]]
    a, b, c = cell / lengths[:, None]
    angles = np.rad2deg(np.arccos(np.clip([b @ c, a @ c, a @ b], -1, 1)))
    rotation = None
    # Less than float32 can show.
    if abs(cell[[0, 0, 1], [1, 2, 2]]).max() > 1e-7 * lengths.max() or (np.diag(cell) <= 0).any():
        turned, triangle = np.linalg.qr(cell.T)
        rotation = turned * np.sign(np.diag(triangle))
    return Box(lengths, angles, rotation)


def cell_of(lengths: Any, angles: Any) -> NDArray[np.float64]:
    """Three lattice vectors, as rows, of lengths and angles (degrees): first along x, second in x and y.

    Raises:
        ValueError: There is no such cell.
    """
    (a, b, c), angles = np.asarray(lengths, np.float64), np.asarray(angles, np.float64)
    # Exact for right angles.
    cosines = np.where(angles == 90, 0.0, np.cos(np.deg2rad(angles)))
    with np.errstate(invalid="ignore", divide="ignore"):
        sine = math.sqrt(max(0.0, 1 - cosines[2] ** 2))
        y = (cosines[0] - cosines[1] * cosines[2]) / np.float64(sine)
        z = np.sqrt(1 - cosines[1] ** 2 - y**2)
    cell = np.array([[a, 0, 0], [b * cosines[2], b * sine, 0], [c * cosines[1], c * y, c * z]])
    if not (np.isfinite(cell).all() and (np.diag(cell) > 0).all() and ((angles > 0) & (angles < 180)).all()):
        raise ValueError(f"lengths {lengths} and angles {angles} make no cell")
    return cell


def same(a: Any, b: Any) -> bool:
    """Whether two dicts of arrays are the same, NaN included."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if hasattr(a, "to_dict"):
        return hasattr(b, "to_dict") and same(a.to_dict(), b.to_dict())
    a, b = np.asarray(a), np.asarray(b)
    return bool(a.dtype.kind == b.dtype.kind and np.array_equal(a, b, equal_nan=a.dtype.kind == "f"))


class Frames:
    """The frames of a depot, in its order, by number.

    Records without positions, velocities and forces are no frames: those at the start and at the end of a
    depot, where records of topologies lie, are left out.

    Args:
        path: The depot.
        records: The names of the frames, or a glob pattern of them. By default all records.
        options: What `vldepot.open` takes.
    """

    def __init__(self, path: Any, records: str | Iterable[Any] | None = None, **options: Any) -> None:
        self.depot: Depot[Frame] = open_depot(path, "atomic_frame", **options)
        self.path = self.depot.path
        if isinstance(records, Iterator):
            raise TypeError("records= is an iterator, which gives its names only once: make a list of it")
        self._records = records if records is None or isinstance(records, str) else list(records)
        self._names: list[Any] | None = None
        self._start = self._n = 0
        self._count()

    @property
    def units(self) -> Units:
        return Units(self.path, self.depot.units or {})

    def __len__(self) -> int:
        return self._n

    def _count(self) -> None:
        if self._records is not None:
            records = self._records
            self._names = list(self.depot.keys_matching(records)) if isinstance(records, str) else records
            self._n = len(self._names)
            return
        start, stop = 0, len(self.depot)
        while start < stop and not _is_frame(self.depot.at(start)):
            start += 1
        while start < stop and not _is_frame(self.depot.at(stop - 1)):
            stop -= 1
        self._start, self._n = start, stop - start

    def refresh(self) -> int:
        """Moves forward to what a writer has committed. Gives how many frames are new: fewer if negative."""
        before = self._n
        if self.depot.refresh().changed:
            self._count()
        return self._n - before

    def name(self, number: int) -> Any:
        return self.depot.names_at(self._start + number) if self._names is None else self._names[number]

    def named(self, name: Any) -> Frame:
        found: Frame = self.depot[name]
        return found

    def at(self, number: int) -> Frame:
        """Raises `NoFrame`, and what a depot raises."""
        at = self._start + number
        found: Frame = self.depot.at(at) if self._names is None else self.named(self._names[number])
        if not _is_frame(found):
            what = (
                "neither positions nor velocities nor forces, so it is no frame: choose others with records="
            )
            raise NoFrame(f"{self.path}: record {self.name(number)!r} has {what}")
        return found

    def first(self) -> Frame:
        """Raises `NoFrame`."""
        if not self._n:
            raise NoFrame(f"{self.path}: no frame is there")
        first = self.at(0)
        if not first.n_atoms:
            raise NoFrame(f"{self.path}: frame {self.name(0)!r} has no atoms")
        return first

    def topology(self, first: Frame) -> Frame:
        """The record that has the topology of a frame: the one it names, itself, or the only one there is."""
        if first.topology_name is not None:
            return self.named(first.topology_name)
        if first.topology is None and self._names is None:
            others = [*range(self._start), *range(self._start + self._n, len(self.depot))]
            if len(others) == 1:
                only: Frame = self.depot.at(others[0])
                if only.topology is not None and only.n_atoms == first.n_atoms:
                    return only
        return first


def _is_frame(frame: Frame) -> bool:
    return any(values is not None for values in (frame.positions, frame.velocities, frame.forces))


class SameAtoms:
    """Compares the atoms of frames with those of the first one."""

    def __init__(self, frames: Frames, first: Frame) -> None:
        self.n_atoms = int(first.n_atoms or 0)
        self._path = frames.path
        self._types = None if first.types is None else np.array(first.types)
        self._topology = first.topology_name

    def check(self, frames: Frames, number: int, frame: Frame) -> None:
        """Raises `OtherAtoms`."""
        found: list[tuple[str, Any, Any]] = [("number of atoms", self.n_atoms, frame.n_atoms)]
        if self._topology is not None and frame.topology_name is not None:
            found.append(("topology", self._topology, frame.topology_name))
        for what, expected, there in found:
            if expected != there:
                raise OtherAtoms(self._path, frames.name(number), what, expected, there)
        types = frame.types
        if self._types is not None and types is not None:
            other = np.flatnonzero(types != self._types)
            if len(other):
                atom = int(other[0])
                expected, there = int(self._types[atom]), int(types[atom])
                raise OtherAtoms(self._path, frames.name(number), f"type of atom {atom}", expected, there)


@dataclass
class Atoms:
    """What a depot says of its atoms. `None` is what it does not say."""

    n_atoms: int
    names: list[str] | None
    #: `[n_atoms]`, and whether they are atomic numbers (0 for what is no element), not type ids.
    types: NDArray[np.int32] | None
    are_elements: bool
    masses: NDArray[Any] | None
    charges: NDArray[Any] | None
    #: `[n_bonds, 2]`
    bonds: NDArray[np.uint32] | None
    #: `[n_atoms]`: the residue of each atom, from 0, and then of each residue the name, number and chain.
    residue_of_atom: NDArray[np.int64]
    n_residues: int
    residue_names: list[str] | None
    residue_numbers: NDArray[np.int64] | None
    #: From 0, and of each chain what it is called.
    chain_of_residue: NDArray[np.int64]
    chains: list[str] | None
    #: Of each residue.
    molecules: NDArray[np.int64] | None
    #: The record, with the writer's own arrays.
    record: Frame

    @classmethod
    def of(cls, frames: Frames, first: Frame, atomic_numbers: bool | None = None) -> Atoms:
        """Raises `OtherAtoms` where the topology has another number of atoms than the frame."""
        record = frames.topology(first)
        n_atoms = int(first.n_atoms or 0)
        if record.n_atoms != n_atoms:
            raise OtherAtoms(frames.path, first.topology_name, "number of atoms", n_atoms, record.n_atoms)
        units = frames.units
        topology = record.topology or Topology()
        types = _either(topology.types, first.types)
        if atomic_numbers is None:
            made_by = {"openmm", "mdanalysis", "mdtraj", "chemfiles"} & set(frames.depot.metadata)
            imported = frames.depot.metadata.get("imported")
            has_elements = isinstance(imported, dict) and imported.get("atomic_numbers") is True
            atomic_numbers = bool(made_by) or has_elements or units.names["time"] == "Å√(u/eV)"
        if atomic_numbers and types is not None:
            wrong = np.flatnonzero((types < 0) | (types >= len(SYMBOLS)))
            if len(wrong):
                what = f"type {types[wrong[0]]} of atom {wrong[0]} is no atomic number"
                raise ValueError(f"{frames.path}: {what}; say atomic_numbers=False")
        masses, charges = _either(topology.masses, first.masses), _either(topology.charges, first.charges)
        own = record.arrays
        chain = own.get("chain")
        # Without names, `residues` are numbers.
        index, number_of_atom = own.get("residue"), own.get("residue_number")
        if topology.residue_names is not None:
            index = _either(index, topology.residues)
        else:
            number_of_atom = _either(number_of_atom, topology.residues)
        if index is not None:
            key = np.asarray(index, np.int64)
            if chain is not None:
                _, of = np.unique(chain, return_inverse=True)
                key = key * (of.max() + 1) + of
            _, at, residue_of_atom = np.unique(key, return_index=True, return_inverse=True)
        elif number_of_atom is not None:
            # Numbers may come again in another chain, or after 9999: a residue ends where they change.
            keys = [np.asarray(each) for each in (number_of_atom, chain) if each is not None]
            begins = np.any([np.diff(each) != 0 for each in keys], axis=0)
            at = np.flatnonzero(np.concatenate([[True], begins]))
            residue_of_atom = np.concatenate([[0], np.cumsum(begins)])
        else:
            of = np.zeros(n_atoms, np.int64) if chain is None else np.asarray(chain, np.int64)
            _, at, residue_of_atom = np.unique(of, return_index=True, return_inverse=True)
        residue_of_atom = residue_of_atom.ravel().astype(np.int64)
        names = topology.residue_names
        if names is not None and topology.residues is not None:
            names = [names[n] for n in topology.residues[at]]
        chain_of_residue, chains = np.zeros(len(at), np.int64), None
        if chain is not None:
            values, chain_of_residue = np.unique(np.asarray(chain)[at], return_inverse=True)
            chains = [str(value) for value in values]
        molecules = topology.molecules
        if molecules is not None:
            of_residue = molecules[at]
            # A residue that is of several molecules has no number.
            molecules = of_residue if np.array_equal(of_residue[residue_of_atom], molecules) else None
        return cls(
            n_atoms=n_atoms,
            names=topology.names,
            types=types,
            are_elements=bool(atomic_numbers) and types is not None,
            masses=None if masses is None else scaled(masses, units.factor("mass"), np.empty(n_atoms)),
            charges=None if charges is None else scaled(charges, units.factor("charge"), np.empty(n_atoms)),
            bonds=topology.bonds,
            residue_of_atom=residue_of_atom,
            n_residues=len(at),
            residue_names=names,
            residue_numbers=None if number_of_atom is None else np.asarray(number_of_atom, np.int64)[at],
            chain_of_residue=chain_of_residue.ravel().astype(np.int64),
            chains=chains,
            molecules=None if molecules is None else molecules.astype(np.int64),
            record=record,
        )


def _either(first: Any, second: Any) -> Any:
    return second if first is None else first


SYMBOLS = (
    "",
    *"H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br".split(),
    *"Kr Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho".split(),
    *"Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es".split(),
    *"Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og".split(),
)
NUMBERS = {symbol: number for number, symbol in enumerate(SYMBOLS)}
