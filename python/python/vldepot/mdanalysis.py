"""Depots of frames in MDAnalysis: a reader, a writer and a topology parser for files that end in `.vld`.

Importing this module tells MDAnalysis of them; it knows no other way.

    import MDAnalysis as mda
    import vldepot.mdanalysis

    u = mda.Universe("run.vld")               # the topology and the trajectory of one file
    u = mda.Universe("top.pdb", "run.vld")    # the trajectory alone
    u.atoms.write("copy.vld", frames="all")

Numbers are converted to MDAnalysis's units: Å, ps, Å/ps, kJ/(mol Å), kJ/mol.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np
from MDAnalysis import _TOPOLOGY_ATTRS  # type: ignore[import-not-found,import-untyped,unused-ignore]
from MDAnalysis.coordinates.base import (  # type: ignore[import-not-found,import-untyped,unused-ignore]
    ReaderBase,
    WriterBase,
)
from MDAnalysis.core.topology import (  # type: ignore[import-not-found,import-untyped,unused-ignore]
    Topology as Attributes,
)
from MDAnalysis.core.topologyattrs import (  # type: ignore[import-not-found,import-untyped,unused-ignore]
    AtomAttr,
    ResidueAttr,
    SegmentAttr,
    _Connection,
)
from MDAnalysis.lib.util import (  # type: ignore[import-not-found,import-untyped,unused-ignore]
    store_init_arguments,
)
from MDAnalysis.topology.base import (  # type: ignore[import-not-found,import-untyped,unused-ignore]
    TopologyReaderBase,
)
from numpy.typing import NDArray

from . import errors
from ._interchange import (
    ANGSTROM,
    NUMBERS,
    SYMBOLS,
    Atoms,
    Frames,
    NoFrame,
    OtherAtoms,
    SameAtoms,
    Units,
    UnknownUnit,
    box_of,
    cell_of,
    same,
    scaled,
)
from ._open import CreateOptions, create
from ._open import append as append_to
from ._open import open as open_depot
from ._vldepot import Depot, Frame, Topology

__all__ = ["DepotParser", "DepotReader", "DepotWriter", "NoFrame", "OtherAtoms", "UnknownUnit", "Unreadable"]

_MARK = "mdanalysis"
_VERSION = 1
_TOPOLOGY = "topology"
_ATTRIBUTES = "mdanalysis.attributes"
_OPEN = ("accept_loss", "cache_bytes", "mapping", "verify")
#: Of `ts.data`: what is a field of a frame, or what MDAnalysis keeps there.
_FIELDS = ("step", "energy", "stress", "charges", "arrays", "pbc", "cell", "rotation")
_KEPT = ("dt", "time_offset")
_OTHER = "per_frame."


class Unreadable(RuntimeError):
    """A frame could not be read. Its cause says why.

    MDAnalysis takes an `OSError` for the end of the trajectory, so it must be another error.
    """


class DepotReader(ReaderBase):  # type: ignore[misc,unused-ignore]
    """Reads the trajectory of a depot of frames.

    Frames are what a depot holds, in its order, but for records of topologies. A frame of `ts` has
    `positions` (Å), `velocities` (Å/ps), `forces` (kJ/(mol Å)), `dimensions` and `time` (ps) where the
    depot's frame has them, and in `ts.data`: `step`, `energy` (kJ/mol), `stress` (bar), `charges` (e), the
    arrays of `per_frame` under their names, and those of `arrays` as a dict `ts.data["arrays"]`. The last two
    are as they are stored. What `vldepot.ase` keeps for ASE alone (info, constraints, results) is left out.

    A cell that does not lie as MDAnalysis's do (first vector along x, second in the plane of x and y) is
    turned there, and positions, velocities and forces with it: `ts.data["rotation"]` is the `[3, 3]` matrix
    `R` of `given = stored @ R`. `dimensions` are `None` where `pbc` is not true for all three vectors, or the
    cell spans no volume; `ts.data` has `pbc` and the `cell` (Å) then.

    Args:
        filename: The depot's path.
        convert_units: Convert numbers to MDAnalysis's units. Otherwise they are as the depot has them.
        records: The names of the frames to read, or a glob pattern of them. By default all.
        dt: Time from frame to frame (ps), instead of what the frames say.
        time_offset: What is added to each time (ps).
        kwargs: Also `accept_loss`, `cache_bytes`, `mapping` and `verify` of `vldepot.open`.

    Raises:
        UnknownUnit: The depot states a unit that is not known.
        NoFrame: There is no frame.
        vldepot.WrongCodec: The depot holds no frames. And what else `vldepot.open` raises.

    And when a frame is read:
        OtherAtoms: It has another number of atoms than the first one, or other types, or names another
            topology.
        Unreadable: It could not be read.
    """

    format = "VLD"
    units: dict[str, str | None]

    _frames: Frames | None = None

    @store_init_arguments  # type: ignore[untyped-decorator,unused-ignore]
    def __init__(
        self,
        filename: str | os.PathLike[str],
        convert_units: bool = True,
        records: str | Iterable[Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(filename, convert_units=convert_units, **kwargs)
        self._records = records
        self._options = {option: kwargs[option] for option in _OPEN if option in kwargs}
        self._dt: float | None = kwargs.get("dt")
        self._frame = -1
        frames = self._open()
        first = frames.first()
        self._same = SameAtoms(frames, first)
        self.n_atoms: int = self._same.n_atoms
        names = frames.units.names
        velocity, force = f"{names['length']}/{names['time']}", f"{names['energy']}/{names['length']}"
        self.units = {"length": names["length"], "time": names["time"], "velocity": velocity, "force": force}
        if convert_units:
            units = frames.units
            self._length, self._time, self._energy = units.length, units.time, units.energy
            self._velocity, self._force = units.velocity, units.force
        else:
            self._length = self._time = self._energy = self._velocity = self._force = 1.0
        self._warned = False
        self.ts = self._Timestep(self.n_atoms, positions=False, **self._ts_kwargs)
        if self._dt is None and len(frames) > 1 and first.time is not None:
            second = frames.at(1).time
            if second is not None:
                self.ts.dt = (second - first.time) * self._time
        self._read_frame(0)

    def _open(self) -> Frames:
        if self._frames is None:
            self._frames = Frames(self.filename, self._records, **self._options)
        return self._frames

    @property
    def n_frames(self) -> int:
        """How many frames there are. More may come: see `refresh`."""
        return len(self._open())

    @classmethod
    def parse_n_atoms(cls, filename: Any, records: Any = None, **kwargs: Any) -> int:
        """The number of atoms of the first frame."""
        return int(Frames(filename, records).first().n_atoms or 0)

    def refresh(self) -> int:
        """Moves forward to what the depot's writer has committed, and gives how many frames are new.

        The number is negative where a run went back. The current frame stays as it is.

        Raises:
            vldepot.Replaced: Another file is at the path by now.
        """
        return self._open().refresh()

    def close(self) -> None:
        """Closes the depot. It is opened again when the next frame is read."""
        frames, self._frames = self._frames, None
        if frames is not None:
            frames.depot.close()

    def _reopen(self) -> None:
        self._frame = -1

    def _read_next_timestep(self, ts: Any = None) -> Any:
        try:
            n_frames = self.n_frames
        except OSError as error:
            raise Unreadable(str(error)) from error
        if self._frame + 1 >= n_frames:
            raise EOFError
        return self._read_frame(self._frame + 1)

    def _read_frame(self, frame: int) -> Any:
        frames = self._open()
        try:
            found = frames.at(frame)
        except (OSError, TypeError) as error:
            raise Unreadable(f"frame {frame}: {error}") from error
        self._same.check(frames, frame, found)
        self._fill(found)
        self._frame = self.ts.frame = frame
        return self.ts

    def _fill(self, found: Frame) -> None:
        ts, data = self.ts, self.ts.data
        kept = {key: data[key] for key in _KEPT if key in data}
        data.clear()
        data.update(kept)
        rotation = self._fill_cell(found)
        for field, factor in (
            ("positions", self._length),
            ("velocities", self._velocity),
            ("forces", self._force),
        ):
            values = getattr(found, field)
            setattr(ts, f"has_{field}", values is not None)
            if values is not None:
                if values.shape != (self.n_atoms, 3):
                    shape = f"{field} of shape {values.shape}, and MDAnalysis takes {(self.n_atoms, 3)}"
                    raise ValueError(f"{self.filename}: a frame has {shape}")
                scaled(values, factor, getattr(ts, field), rotation)
        if self._dt is None and found.time is not None:
            ts.time = found.time * self._time
        for name, values in found.per_frame.items():
            # The manifest of `vldepot.ase`.
            if name == "ase":
                continue
            data[_OTHER + name if name in (*_FIELDS, *_KEPT, "time") else name] = values[()]
        if found.arrays:
            data["arrays"] = dict(found.arrays)
        if found.step is not None:
            data["step"] = found.step
        if found.energy is not None:
            data["energy"] = found.energy * self._energy
        if found.stress is not None:
            data["stress"] = found.stress * self._factor("pressure")
        if found.charges is not None:
            data["charges"] = scaled(found.charges, self._factor("charge"))

    def _factor(self, quantity: str) -> float:
        return self._open().units.factor(quantity) if self.convert_units else 1.0

    def _fill_cell(self, found: Frame) -> NDArray[np.float64] | None:
        """Sets the dimensions. Gives what all vectors must be turned by."""
        ts, cell, pbc = self.ts, found.cell, found.pbc
        ts.dimensions = None
        box = None if cell is None or not all(pbc or (True,)) else box_of(cell)
        if box is not None:
            ts.dimensions = np.concatenate([box.lengths * self._length, box.angles])
            if box.rotation is not None:
                ts.data["rotation"] = box.rotation
            return box.rotation
        if pbc is not None and (cell is not None or any(pbc)):
            ts.data["pbc"] = pbc
        if cell is not None and cell.any():
            ts.data["cell"] = cell * self._length
            if any(pbc or (True,)) and not self._warned:
                self._warned = True
                why = "frames repeat along some lattice vectors only, or their cell spans no volume"
                warnings.warn(f"{self.filename}: {why}: they have no dimensions", stacklevel=2)
        return None

    def Writer(
        self, filename: str | os.PathLike[str], n_atoms: int | None = None, **kwargs: Any
    ) -> DepotWriter:
        """A writer for as many atoms as this trajectory has."""
        return DepotWriter(filename, self.n_atoms if n_atoms is None else n_atoms, **kwargs)


class DepotParser(TopologyReaderBase):  # type: ignore[misc,unused-ignore]
    """Reads the topology of a depot: that of the record that the first frame names, or of the frame itself.

    What is not stored is absent: nothing is guessed here. (`Universe` guesses types and masses that are
    absent, unless it is told `to_guess=()`.)

    | attribute | from |
    | --- | --- |
    | `names`, `masses` (u), `charges` (e), `bonds` | fields of these names |
    | `elements` | `types`, if they are atomic numbers |
    | `types` | `types`, if they are ids, as text |
    | `resnames` | `residue_names` |
    | `resids` | `arrays["residue_number"]`, or `residues` where there are no names |
    | `segids` | `arrays["chain"]`, as text |
    | `molnums` | `molecules`, where each residue is of one molecule |

    A `DepotWriter` stores all other attributes too, and they come back.
    """

    format = "VLD"

    def parse(
        self,
        records: str | Iterable[Any] | None = None,
        atomic_numbers: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """The topology.

        Args:
            records: As for `DepotReader`.
            atomic_numbers: Whether the depot's `types` are atomic numbers. By default they are if they should
                be by who wrote it: vldepot's modules for OpenMM, ASE, MDAnalysis, mdtraj and chemfiles.
            kwargs: As for `DepotReader`.

        Raises:
            ValueError: `types` are not atomic numbers, though they should be.
            OtherAtoms: The topology is of another number of atoms than the first frame.
            UnknownUnit: The depot states a unit of mass or charge that is not known.
        """
        options = {option: kwargs[option] for option in _OPEN if option in kwargs}
        frames = Frames(self.filename, records, **options)
        try:
            return _attributes(Atoms.of(frames, frames.first(), atomic_numbers), frames.path)
        finally:
            frames.depot.close()


class DepotWriter(WriterBase):  # type: ignore[misc,unused-ignore]
    """Writes a trajectory, and the topology of its atoms, to a depot of frames.

    Frames are called `frame_000000000` and so on, and have what `ts` has: positions, velocities, forces, the
    cell, the time if the trajectory has times, and of `ts.data` the fields that a `DepotReader` puts there;
    other numbers and arrays of it go into `per_frame`. What cannot be kept is named in a warning. The record
    `topology` has the attributes of the atoms of the first frame.

    By default numbers are stored in MDAnalysis's units, and come back to the last bit.

    A new depot appears at once. One that is already there is replaced when the writer is closed, if it was
    made by a `DepotWriter` (or holds nothing): until then, and if a `with` block ends by an exception, the
    file stays as it is, and what is written goes to `FILENAME.new`. All else that may be at the path is
    refused, unless `replace` is true.

    Frames are durable when the writer is closed, or as `commit_every` says: a writer that is killed loses
    those after the last commit.

    Args:
        filename: The depot's path.
        n_atoms: The number of atoms of all frames.
        convert_units: Convert to the depot's units. Otherwise numbers are stored as they are.
        append: Go on with a depot that a `DepotWriter` made of the same atoms, in its units. One is made
            where there is none.
        replace: Replace whatever is at the path.
        positions: Store positions.
        velocities: Store velocities where a trajectory has them.
        forces: Store forces where a trajectory has them.
        topology: Store the topology.
        kwargs: What `vldepot.create` takes: `units`, `precision`, `preset`, `commit_every` and so on.
            `start`, `step`, `dt`, `bonds` and `remarks`, which MDAnalysis has for other formats, are ignored.

    Raises:
        vldepot.PathExists: There is something else at the path.
        vldepot.Locked: Another process writes the depot.
        UnknownUnit: The depot's unit is not known.
        TypeError: For an option that does not exist.

    And from `write`:
        TypeError: It was given no atoms.
        ValueError: The atoms are others than those of the first frame, or another number, or one of them
            comes twice; or `dimensions` make no cell.

    Example:
        with mda.Writer("out.vld", n_atoms=u.atoms.n_atoms, commit_every=100) as writer:
            for ts in u.trajectory:
                writer.write(u.atoms)
    """

    format = "VLD"
    multiframe = True
    singleframe = True
    units: ClassVar[dict[str, str | None]] = {
        "length": "Angstrom",
        "time": "ps",
        "velocity": "Angstrom/ps",
        "force": "kJ/(mol*Angstrom)",
    }

    _IGNORED = ("start", "step", "dt", "bonds", "remarks")
    _depot: Depot[Frame] | None = None
    _staged: str | None = None

    def __init__(
        self,
        filename: str | os.PathLike[str],
        n_atoms: int | None = None,
        convert_units: bool = True,
        append: bool = False,
        replace: bool = False,
        positions: bool = True,
        velocities: bool = True,
        forces: bool = True,
        topology: bool = True,
        **kwargs: Any,
    ) -> None:
        if n_atoms is None:
            raise TypeError("a DepotWriter needs n_atoms")
        if n_atoms < 1:
            raise ValueError(f"n_atoms is {n_atoms}, and must be 1 or more")
        options = {option: value for option, value in kwargs.items() if option not in self._IGNORED}
        for option in options:
            if option == "n_atoms" or option not in CreateOptions.__annotations__:
                raise TypeError(f"a DepotWriter has no option {option!r}")
        self.filename = os.fspath(filename)
        self.n_atoms = int(n_atoms)
        self.convert_units = convert_units
        self._include = [
            name
            for name, wanted in (("positions", positions), ("velocities", velocities), ("forces", forces))
            if wanted
        ]
        self._topology = topology
        self._path = os.path.realpath(filename)
        self._staged = None
        self._ix: NDArray[np.int64] | None = None
        self._warned: set[str] = set()
        self._written = 0
        there = os.path.exists(self._path) and os.path.getsize(self._path) > 0
        if append and there:
            _refuse_others(self._path, "and append goes on with its own depots only")
            depot = append_to(self._path, "atomic_frame", **{**options, "n_atoms": self.n_atoms})
        else:
            path = self._path
            if there:
                if not replace:
                    _refuse_others(path, "replace=True replaces it")
                    # Raises where another process writes it.
                    append_to(path, "atomic_frame").close()
                path = self._staged = f"{path}.new"
                _remove_stale(path)
            depot = create(path, "atomic_frame", **{"units": ANGSTROM, **options, "n_atoms": self.n_atoms})
        self._depot = depot
        try:
            if _MARK not in depot.metadata:
                depot.metadata[_MARK] = {"version": _VERSION}
            self._stored = Units(self.filename, depot.units or {})
            self._number = len(depot) - (_TOPOLOGY in depot)
            if convert_units:
                units = self._stored
                self._factors = {
                    "positions": 1 / units.length,
                    "velocities": 1 / units.velocity,
                    "forces": 1 / units.force,
                    "time": 1 / units.time,
                    "energy": 1 / units.energy,
                }
            else:
                self._factors = dict.fromkeys(("positions", "velocities", "forces", "time", "energy"), 1.0)
        except BaseException:
            self._give_up()
            if not there:
                os.remove(self._path)
            raise

    def _write_next_frame(self, obj: Any) -> None:
        depot = self._depot
        if depot is None:
            raise errors.Closed(f"{self.filename}: the writer is closed")
        try:
            atoms, universe = obj.atoms, obj.universe
        except AttributeError:
            raise TypeError(f"a {type(obj).__name__} is neither an AtomGroup or Universe") from None
        ix = np.asarray(atoms.ix, np.int64)
        if len(ix) != self.n_atoms:
            raise ValueError(f"{self.filename}: {len(ix)} atoms, and the writer was made for {self.n_atoms}")
        if self._ix is None:
            if len(np.unique(ix)) != len(ix):
                raise ValueError(f"{self.filename}: an atom is twice in the group")
            if self._topology:
                self._put_topology(depot, atoms, universe)
        elif self._topology and not np.array_equal(ix, self._ix):
            others = "the atoms are others than those of the first frame, whose topology the depot has"
            raise ValueError(f"{self.filename}: {others}; topology=False stores none")
        self._ix = ix
        ts = universe.trajectory.ts
        fields: dict[str, Any] = {"topology_name": _TOPOLOGY} if self._topology else {}
        for field in self._include:
            if getattr(ts, f"has_{field}"):
                fields[field] = scaled(getattr(ts, field)[ix], self._factors[field])
        if not any(field in fields for field in self._include):
            raise ValueError(f"{self.filename}: frame {ts.frame} has none of {', '.join(self._include)}")
        if ts.dimensions is not None:
            cell = cell_of(ts.dimensions[:3], ts.dimensions[3:])
            fields["cell"], fields["pbc"] = cell * self._factors["positions"], True
        if "time" in ts.data or "dt" in ts.data:
            fields["time"] = float(ts.time) * self._factors["time"]
        self._add_data(fields, ts, ix)
        depot.put(f"frame_{self._number:010}", new=True, **fields)
        self._number += 1
        self._written += 1

    def _add_data(self, fields: dict[str, Any], ts: Any, ix: NDArray[np.int64]) -> None:
        """What a timestep has besides coordinates."""
        own: dict[str, Any] = {}
        for key, value in ts.data.items():
            try:
                array = np.asarray(value)
            except ValueError:  # lists of unequal lengths
                array = np.asarray(None)
            number = array.dtype.kind in "biuf" and array.dtype.itemsize <= 8
            if key in (*_KEPT, "time", "rotation"):
                continue
            if key == "step" and number and array.dtype.kind in "iu" and array.ndim == 0:
                fields["step"] = int(array)
            elif key == "energy" and number and array.ndim == 0:
                fields["energy"] = float(array) * self._factors["energy"]
            elif key == "stress" and number and array.shape == (3, 3):
                fields["stress"] = array / self._factor("pressure")
            elif key == "charges" and number and array.shape == (ts.n_atoms,):
                fields["charges"] = scaled(array[ix].astype(np.float64), 1 / self._factor("charge"))
            elif key == "pbc" and array.shape == (3,):
                fields.setdefault("pbc", tuple(bool(each) for each in array))
            elif key == "cell" and number and array.shape == (3, 3):
                fields.setdefault("cell", array * self._factors["positions"])
            elif key == "arrays" and isinstance(value, dict):
                turned = "rotation" in ts.data
                fields["arrays"] = {}
                for name, each in value.items():
                    if turned and np.shape(each)[1:] == (3,):
                        self._warn(
                            f"arrays[{name!r}] may be vectors, which were not turned as positions were,"
                        )
                    else:
                        fields["arrays"][name] = np.asarray(each)[ix]
            elif number and isinstance(key, str):
                own[key.removeprefix(_OTHER)] = array
            else:
                self._warn(f"ts.data[{key!r}] is no array of numbers")
        if own:
            fields["per_frame"] = own

    def _warn(self, what: str) -> None:
        if what not in self._warned:
            self._warned.add(what)
            warnings.warn(f"{self.filename}: {what} and is not kept", stacklevel=5)

    def _factor(self, quantity: str) -> float:
        return self._stored.factor(quantity) if self.convert_units else 1.0

    def _put_topology(self, depot: Depot[Frame], atoms: Any, universe: Any) -> None:
        fields = _record(atoms, universe, self.filename)
        if self.convert_units:
            for quantity in ("mass", "charge"):
                self._stored.factor(quantity)
        if _TOPOLOGY not in depot:
            depot.put(_TOPOLOGY, **fields)
            depot.commit()
        elif not same(Frame(**fields).to_dict(), depot[_TOPOLOGY].to_dict()):
            raise ValueError(f"{self.filename}: the depot is of other atoms, or their attributes differ")

    def _give_up(self) -> None:
        """Closes the depot, and leaves a file that should have been replaced as it was."""
        depot, self._depot = self._depot, None
        if depot is not None:
            try:
                depot.close()
            finally:
                if self._staged is not None:
                    os.remove(self._staged)

    def commit(self) -> None:
        """Makes all frames so far durable."""
        if self._depot is not None:
            self._depot.commit()

    def close(self) -> None:
        """Commits and closes the depot, and puts it where it belongs."""
        if self._staged is not None and not self._written:
            self._give_up()
        depot, self._depot = self._depot, None
        if depot is not None:
            depot.close()
            if self._staged is not None:
                _replace(self._staged, self._path)

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is not None and self._staged is not None:
            self._give_up()
        self.close()


def _refuse_others(path: str, remedy: str) -> None:
    """Raises unless a depot is one that a writer made."""
    try:
        with open_depot(path, "atomic_frame") as depot:
            ours = len(depot) == 0 or _MARK in depot.metadata
    except (errors.WrongCodec, errors.NotADepot):
        ours = False
    if not ours:
        why = "there is something at this path that no DepotWriter made"
        raise errors.PathExists(f"{path}: {why}; {remedy}", path=path)


def _remove_stale(path: str) -> None:
    """Removes what a killed writer left, unless one that lives writes it."""
    if os.path.exists(path):
        if os.path.getsize(path) > 0:
            append_to(path, "atomic_frame").close()
        os.remove(path)


def _replace(new: str, path: str) -> None:
    shutil.copymode(path, new)
    os.replace(new, path)
    if os.name == "posix":
        folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


# What a `DepotWriter` stores of a topology. The fields of `Topology`, and the arrays `residue_number`,
# `residue` and `chain` (both from 0), are for all readers. What these cannot say stands beside them, under
# `mdanalysis.` and the attribute's name: numbers as they are, text as numbers of texts that the JSON of
# `mdanalysis.attributes` lists.


def _record(atoms: Any, universe: Any, path: str) -> dict[str, Any]:
    """The fields of the record with the topology of some atoms."""
    n_atoms = len(atoms)
    ix = np.asarray(atoms.ix)
    residues, residue_of_atom = np.unique(atoms.resindices, return_inverse=True)
    segment_of_residue = universe.residues.segindices[residues]
    segments, chain_of_residue = np.unique(segment_of_residue, return_inverse=True)
    known: dict[str, Any] = {}
    arrays: dict[str, Any] = {
        "residue": residue_of_atom.astype(np.int32),
        "chain": chain_of_residue[residue_of_atom].astype(np.int32),
    }
    own: dict[str, Any] = {}
    listed: dict[str, Any] = {"version": _VERSION, "texts": {}, "orders": {}, "guessed": []}
    of_level = ((AtomAttr, ix), (ResidueAttr, residues), (SegmentAttr, segments))
    for attribute in universe._topology.attrs:
        name = attribute.attrname
        if isinstance(attribute, _Connection):
            bonds, orders = _inside(attribute, ix, len(universe.atoms))
            if name == "bonds":
                known["bonds"] = bonds if len(bonds) else None
            own[f"mdanalysis.{name}"] = bonds
            if any(order is not None for order in orders):
                listed["orders"][name] = orders
            continue
        level = next((index for kind, index in of_level if isinstance(attribute, kind)), None)
        if level is None:  # indices
            continue
        guessed = bool(attribute.is_guessed)
        stored = _stored(attribute, level, listed["texts"])
        if stored is None:
            warnings.warn(
                f"{path}: the attribute {name!r} is neither text nor numbers, and is not kept", stacklevel=6
            )
            continue
        if guessed:
            listed["guessed"].append(name)
        per_atom = isinstance(attribute, AtomAttr)
        (arrays if per_atom else own)[f"mdanalysis.{name}"] = stored
        if guessed:
            continue
        values = _values(attribute, level)
        if name == "names":
            known["names"] = list(values)
        elif name == "elements":
            known["types"] = np.array([NUMBERS.get(text.capitalize(), 0) for text in values], np.int32)
        elif name in ("masses", "charges"):
            known[name] = values.astype(np.float32)
        elif name == "resnames":
            known["residues"], known["residue_names"] = residue_of_atom.astype(np.uint32), list(values)
        elif name == "resids" and np.array_equal(values, values.astype(np.int32)):
            arrays["residue_number"] = values.astype(np.int32)[residue_of_atom]
        elif name == "molnums" and values.min() >= 0:
            known["molecules"] = values.astype(np.uint32)[residue_of_atom]
    try:
        text = json.dumps(listed)
    except TypeError:
        warnings.warn(f"{path}: orders of bonds are neither text nor numbers, and are not kept", stacklevel=6)
        text = json.dumps({**listed, "orders": {}})
    own[_ATTRIBUTES] = np.frombuffer(text.encode(), np.uint8)
    return {"n_atoms": n_atoms, "topology": Topology(**known), "arrays": arrays, "per_frame": own}


def _values(attribute: Any, index: NDArray[Any]) -> NDArray[Any]:
    """The values of an attribute, also of text, of which MDAnalysis has numbers of names."""
    names = getattr(attribute, "name_lookup", None)
    values: NDArray[Any] = (
        np.asarray(attribute.values)[index]
        if names is None
        else np.asarray(names, object)[attribute.nmidx[index]]
    )
    return values


def _stored(attribute: Any, index: NDArray[Any], texts: dict[str, list[str]]) -> NDArray[Any] | None:
    values = _values(attribute, index)
    if values.dtype.kind in "biuf" and values.dtype.itemsize <= 8:
        return values
    if not all(isinstance(value, str) for value in values):
        return None
    numbers: dict[str, int] = {}
    stored = [numbers.setdefault(str(value), len(numbers)) for value in values]
    texts[attribute.attrname] = list(numbers)
    return np.array(stored, np.uint32)


def _loaded(name: str, stored: NDArray[Any], texts: dict[str, list[str]]) -> NDArray[Any]:
    return np.array(texts[name], object)[stored] if name in texts else np.array(stored)


def _inside(attribute: Any, ix: NDArray[Any], n_atoms: int) -> tuple[NDArray[np.uint32], list[Any]]:
    """Bonds, angles and so on between the chosen atoms that are no guesses, and their orders."""
    place = np.full(n_atoms, -1, np.int64)
    place[ix] = np.arange(len(ix))
    width = len(attribute.values[0]) if len(attribute.values) else 2
    bonds = place[np.asarray(attribute.values, np.int64).reshape(-1, width)]
    kept = (bonds >= 0).all(axis=1) & ~np.asarray(attribute._guessed, bool)
    orders = [order for order, keep in zip(attribute.order, kept, strict=True) if keep]
    return bonds[kept].astype(np.uint32), orders


def _attributes(atoms: Atoms, path: str) -> Any:
    """The topology as MDAnalysis has it."""
    values: dict[str, Any] = {"names": atoms.names, "masses": atoms.masses, "charges": atoms.charges}
    if atoms.types is not None:
        if atoms.are_elements:
            values["elements"] = np.array(SYMBOLS, object)[atoms.types]
        else:
            values["types"] = [str(each) for each in atoms.types]
    values["resnames"], values["resids"] = atoms.residue_names, atoms.residue_numbers
    values["segids"], values["molnums"] = atoms.chains, atoms.molecules
    values["bonds"] = atoms.bonds
    residue_of_atom, chain_of_residue = atoms.residue_of_atom, atoms.chain_of_residue
    own = {**atoms.record.arrays, **atoms.record.per_frame}
    listed: dict[str, Any] = {"guessed": [], "orders": {}, "texts": {}}
    if _ATTRIBUTES in own:
        try:
            listed |= json.loads(own.pop(_ATTRIBUTES).tobytes())
            values = {
                key.removeprefix("mdanalysis."): _loaded(
                    key.removeprefix("mdanalysis."), stored, listed["texts"]
                )
                for key, stored in own.items()
                if key.startswith("mdanalysis.")
            }
        except (TypeError, ValueError, AttributeError, IndexError) as error:
            raise ValueError(f"{path}: {_ATTRIBUTES!r} is not what a DepotWriter stores: {error}") from error
        if listed.get("version") != _VERSION:
            raise ValueError(f"{path}: the topology was written by a later version of vldepot.mdanalysis")
    made = []
    for name, each in values.items():
        if each is None:
            continue
        kind = _TOPOLOGY_ATTRS.get(name)
        if kind is None:
            warnings.warn(
                f"{path}: MDAnalysis knows no attribute {name!r} here, so it is left out", stacklevel=6
            )
        elif issubclass(kind, _Connection):
            made.append(kind([tuple(map(int, row)) for row in each], order=listed["orders"].get(name)))
        else:
            made.append(kind(np.asarray(each, kind.dtype), guessed=name in listed["guessed"]))
    return Attributes(
        atoms.n_atoms,
        atoms.n_residues,
        int(chain_of_residue.max()) + 1,
        attrs=made,
        atom_resindex=residue_of_atom,
        residue_segindex=chain_of_residue,
    )
