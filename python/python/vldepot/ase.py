# mypy: disable-error-code="no-untyped-call"
"""`ase.Atoms` in depots, both ways, and an observer that stores the runs of `ase.md` and `ase.optimize`.

A depot made here is in ASE's units and holds float64: values come back to the last bit. Depots in other
units, such as those of OpenMM and GROMACS, are read and written too: the fields of frames are converted.

Example:
    >>> from ase.build import molecule
    >>> import vldepot.ase
    >>> vldepot.ase.write("water.vld", [molecule("H2O")])
    >>> vldepot.ase.read("water.vld").get_chemical_formula()
    'H2O'
"""

from __future__ import annotations

import itertools
import json
import operator
import os
import shutil
import weakref
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from . import errors
from ._ase_frames import Units, atoms_of, frame_of
from ._open import CreateOptions, create, open, open_or_create
from ._open import append as _append
from ._runs import OtherSystem, Run, newest_step
from ._vldepot import Depot, Frame, Topology

__all__ = [
    "DepotWriter",
    "OtherSystem",
    "iread",
    "read",
    "read_vld",
    "restart",
    "to_atoms",
    "to_frame",
    "write",
    "write_vld",
]

_METADATA = "ase"

_Path = str | os.PathLike[str]


def to_frame(
    atoms: Any, *, step: int | None = None, time: float | None = None, units: str | Mapping[str, str] = "ase"
) -> Frame:
    """The frame of `atoms`.

    Numbers, positions, cell, velocities, masses, initial charges, and the energy, forces and stress of the
    calculator are fields of the frame. Every other array of `atoms` is in `arrays`, info and other results
    are in `arrays` or `per_frame`, and `per_frame["ase"]` is JSON that says how they belong together.

    Results are those that the calculator has at hand for these atoms: nothing is computed, and results of
    atoms that changed since are left out.

    Args:
        atoms: An `ase.Atoms`.
        step: The frame's step. By default `atoms.info["step"]`, if that is an integer.
        time: The frame's time in ASE's unit of time. By default `atoms.info["time_fs"]`, in fs.
        units: The units of the frame's fields: `"ase"`, `"gromacs"`, or what `Depot.units` gives.

    Raises:
        TypeError: Something of `atoms` cannot be kept. Named in the message.
        ValueError: A unit is not known.
    """
    return frame_of(atoms, Units(units), step=step, time=time)


def to_atoms(
    frame: Frame, *, units: str | Mapping[str, str] = "ase", topology: Topology | None = None
) -> Any:
    """The `ase.Atoms` of a frame; results are in a `SinglePointCalculator`.

    A frame's step and time are in `info["step"]` and `info["time_fs"]`. Of a frame that another program
    stored, charges become initial charges, `arrays` arrays of the atoms, and `per_frame` info; these two are
    not converted.

    Args:
        frame: A frame with positions.
        units: The units of its fields: `"ase"`, `"gromacs"`, or what `Depot.units` gives.
        topology: What has the atomic numbers, masses, charges and names, where the frame has none.

    Raises:
        ValueError: The frame has no positions, or no types; or a unit is not known.
    """
    return atoms_of(frame, Units(units), topology)


def write(file: _Path | Depot[Frame], images: Any, *, append: bool = False, **options: Any) -> None:
    """Writes one `Atoms` or many to a new depot, or with `append` after the frames of an old one.

    Without `append` a depot at the path is replaced, once all images are written. With it, one is made where
    none is.

    Args:
        file: A path, or an open depot of frames, to which frames are appended.
        images: An `Atoms`, or an iterable of them, such as an `ase.io.Trajectory`. Generators are read as
            they go.
        append: Keep what is there. Images before one that cannot be kept are stored then.
        **options: What `vldepot.create` takes. By default `precision="float64"` and `units="ase"`.

    Raises:
        TypeError: As `to_frame`, or for an option that does not exist.
        vldepot.NotADepot: What would be replaced is no depot.
        vldepot.Locked: Another process writes the depot.
    """
    images = _images_of(images)
    if isinstance(file, Depot):
        if options:
            raise TypeError(f"an open depot has its options: {', '.join(options)}")
        _write_all(file, images)
        return
    path = _path(file)
    if append:
        with _open_or_create(path, options) as depot:
            _write_all(depot, images)
        return
    path = os.path.realpath(path)
    is_there = _is_there(path)
    if is_there:
        # Whoever still writes it is found by this, and so is what is no depot.
        _append(path, "atomic_frame").close()
    new = f"{path}.{os.getpid()}.new"
    try:
        with _create(new, options) as depot:
            _write_all(depot, images)
        if is_there:
            shutil.copymode(path, new)
        os.replace(new, path)
    except BaseException:
        if os.path.exists(new):
            os.remove(new)
        raise


def read(file: _Path | Depot[Frame], index: int | slice | str | None = -1) -> Any:
    """One `Atoms`, or a list of them for a slice.

    Args:
        file: A path, or an open depot of frames.
        index: A number, a slice, or text of either, such as `":"`, `"-5:"` and `"::2"`. By default the last
            frame.

    Raises:
        IndexError: There is no such frame.
        ValueError: A frame has no positions or no types, or the depot is in units that are not known.
        vldepot.Error: The depot cannot be read.
    """
    index = _index(-1 if index is None else index)
    if isinstance(index, slice):
        return list(iread(file, index))
    return next(iread(file, index))


def iread(file: _Path | Depot[Frame], index: int | slice | str | None = None) -> Iterator[Any]:
    """The `Atoms` of a slice one by one: at most one is in memory. By default all.

    The arguments and errors are those of `read`.
    """
    index = _index(slice(None) if index is None else index)
    if isinstance(file, Depot):
        yield from _read_all(_of_frames(file), index)
        return
    with open(_path(file), "atomic_frame") as depot:
        yield from _read_all(depot, index)


def read_vld(filename: str, index: int | slice = -1) -> Iterator[Any]:
    """What `ase.io.read` and `ase.io.iread` call."""
    # `ase.io.read` asks for one frame by an open slice, and takes its first.
    found = False
    for atoms in iread(filename, index):
        found = True
        yield atoms
    if not found and isinstance(index, slice) and index.start is not None and index.stop is None:
        raise IndexError(f"{filename}: there is no frame {index.start}")


def write_vld(filename: str, images: Iterable[Any], append: bool = False, **options: Any) -> None:
    """What `ase.io.write` calls."""
    write(filename, images, append=append, **options)


def __getattr__(name: str) -> Any:
    """`vld` is what ASE loads to learn of the format."""
    if name != "vld":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ase.utils.plugins import ExternalIOFormat  # type: ignore[import-not-found,import-untyped,unused-ignore]

    # The glob is a list, since ASE's newer plugins take no single one.
    return ExternalIOFormat(desc="vldepot depot of frames", code="+S", module=__name__, glob=["*.vld"])


def restart(file: _Path, atoms: Any) -> int:
    """Puts `atoms` where the newest frame of a run is, and returns its step: 0 if there is no frame yet.

    Positions, cell and momenta are set, and nothing else. Call it before the `Dynamics` is made: some copy
    what they need then.

    Args:
        file: The path that a `DepotWriter` writes to. There need not be anything.
        atoms: The atoms of the run, or a filter of them, as at its first start.

    Raises:
        OtherSystem: The frames have other atoms.
        ValueError: The newest frame has no step.
    """
    path, atoms = _path(file), _one_image(atoms)
    if not _is_there(path):
        return 0
    with open(path, "atomic_frame") as depot:
        places = _places(depot)
        if not places:
            return 0
        frame = depot.at(places[-1])
        _compare(path, frame, atoms, Units.of(depot))
        if frame.step is None:
            raise ValueError(
                f"{path}: the newest frame has no step: it is of no run that a DepotWriter stored"
            )
        stored = atoms_of(frame, Units.of(depot), None)
        atoms.set_cell(stored.cell)
        atoms.set_celldisp(stored.get_celldisp())
        atoms.positions[:] = stored.positions
        if stored.has("momenta"):
            atoms.set_array("momenta", stored.arrays["momenta"], float, (3,))
        return frame.step


class DepotWriter:
    """Stores the run of an `ase.md` or `ase.optimize` object in a depot.

    A frame has what `to_frame` says, with `step` the number of steps that `dyn` has made, and `time` that of
    a molecular dynamics. It is called `frame_` and its step in ten digits. Attach it like any other observer.

    With `append`, a run goes on at the step that `dyn` is at when the writer is made: frames after it are
    removed, and a gap or another system is refused. `restart` finds that step.

        atoms.calc = ...
        step = restart("run.vld", atoms)
        if step == 0:
            MaxwellBoltzmannDistribution(atoms, temperature_K=300)
        dyn = VelocityVerlet(atoms, 2 * units.fs)
        dyn.nsteps = step
        with DepotWriter("run.vld", atoms, dyn=dyn, append=True) as frames:
            dyn.attach(frames, interval=10)
            dyn.run(10_000 - step)

    Args:
        file: The depot's path.
        atoms: What is stored: an `Atoms`, or a filter of one. By default that of `dyn`.
        dyn: What counts the steps. It may be set later, as the attribute `dyn`: then nothing is removed.
            Without it, frames have the step that `write` is told, or none.
        append: Go on in a depot that is there. One is made where none is.
        properties: Results to store, such as `["energy", "forces", "stress"]`. They are computed if they are
            not at hand. By default all that the calculator has at hand are stored, and nothing is computed.
        start_over: With `append` and `dyn` at step 0, remove the frames that are there.
        comm: As in ASE's Trajectory: only rank 0 writes. By default `ase.parallel.world`.
        **options: What `vldepot.create` takes. By default `precision="float64"`, `units="ase"` and a commit
            every minute: `commit_every={"seconds": 60}`.

    Raises:
        vldepot.PathExists: The path is taken, without `append`.
        OtherSystem: The depot's newest frame has other atoms, or no DepotWriter stored it.
        vldepot.Gap: Frames before the current step are missing; also from `write`, when the frame before was
            not stored.
        vldepot.RemovesAll: No frame would stay, without `start_over`. Mostly `dyn.nsteps` was not set.
        vldepot.Locked: Another process writes the depot.

    Example:
        >>> from ase.build import bulk
        >>> from ase.calculators.emt import EMT
        >>> from ase.optimize import BFGS
        >>> atoms = bulk("Cu", cubic=True)
        >>> atoms.rattle(0.1)
        >>> atoms.calc = EMT()
        >>> opt = BFGS(atoms, logfile=None)
        >>> with DepotWriter("relax.vld", atoms, dyn=opt) as frames:
        ...     opt.attach(frames, interval=1)
        ...     _ = opt.run(fmax=0.05)
        ...     len(frames) == opt.nsteps + 1
        True
    """

    def __init__(
        self,
        file: _Path,
        atoms: Any = None,
        dyn: Any = None,
        *,
        append: bool = False,
        properties: Iterable[str] | None = None,
        start_over: bool = False,
        comm: Any = None,
        **options: Any,
    ) -> None:
        from ase.parallel import world  # type: ignore[import-not-found,import-untyped,unused-ignore]

        self._path = _path(file)
        if dyn is not None and not hasattr(dyn, "nsteps"):
            raise TypeError(f"dyn is a {type(dyn).__name__}, which counts no steps: it has no nsteps")
        self._atoms = atoms if atoms is not None or dyn is None else dyn.atoms
        self.dyn = dyn
        self._properties = None if properties is None else list(properties)
        self._start_over = start_over
        self._began = False
        self._runs: list[Run] = []
        #: The step from which on frames must not be missing, and that of the newest frame.
        self._first: int | None = None
        self._newest: int | None = None
        self._time_before = 0.0
        self._depot: Depot[Frame] | None = None
        self._writes = (world if comm is None else comm).rank == 0
        if not self._writes:
            return
        options = {"commit_every": {"seconds": 60.0}, **options}
        if append:
            depot = _open_or_create(self._path, options)
        else:
            if _is_there(self._path):
                why = "there is something at this path; append=True goes on with a depot"
                raise errors.PathExists(f"{self._path}: {why}", path=self._path)
            depot = _create(self._path, options)
        self._depot = depot
        self._close = weakref.finalize(self, Depot.close, depot)
        self._units, self._exact, self._names = Units.of(depot), _is_exact(depot), _new_names(depot)
        try:
            if dyn is not None:
                self._begin(depot, dyn.nsteps if dyn.nsteps > 0 else -1)
        except BaseException:
            self.close()
            raise

    @property
    def depot(self) -> Depot[Frame] | None:
        """The open depot. `None` after `close`, and where another process writes."""
        return self._depot

    def write(self, atoms: Any = None, *, step: int | None = None, time: float | None = None) -> None:
        """Stores a frame.

        Args:
            atoms: An `Atoms`, or a filter of one. By default the one that was given first.
            step: The frame's step. By default that of `dyn`.
            time: The frame's time, in ASE's unit. By default that of `dyn`.
        """
        image = _one_image(self._atoms if atoms is None else atoms)
        for name in self._properties or ():
            if image.calc is None:
                raise ValueError(f"there is no calculator to compute {name!r}")
            # On all ranks, since a calculator may need them all.
            image.calc.get_property(name, image)
        if not self._writes:
            return
        depot = self._depot
        if depot is None:
            raise errors.Closed(f"{self._path}: the DepotWriter was closed")
        is_counted = step is None and self.dyn is not None
        if is_counted:
            step = int(self.dyn.nsteps)
        if step is not None and not self._began:
            self._begin(depot, None)
        if is_counted and time is None and hasattr(self.dyn, "get_time"):
            time = self.dyn.get_time() + self._time_before
        wanted = None if self._properties is None else set(self._properties)
        frame = frame_of(image, self._units, step=step, time=time, exact=self._exact, wanted=wanted)
        if step is None:
            if self._runs or _METADATA in depot.metadata:
                raise ValueError(
                    f"{self._path}: the frames before have steps: give step=, or make the writer with dyn="
                )
            depot.put(next(self._names), frame, new=True)
            return
        self._store(depot, step, frame)

    __call__ = write

    def set_description(self, description: Mapping[str, Any]) -> None:
        """What ASE calls, where this is the `trajectory=` of a run. It goes into the depot's metadata."""
        from ase.io.jsonio import encode  # type: ignore[import-not-found,import-untyped,unused-ignore]

        if self._depot is not None:
            told = json.loads(encode(dict(description)))
            if self._depot.metadata.get("ase.description") != told:
                self._depot.metadata["ase.description"] = told

    def commit(self) -> None:
        """Makes all frames so far durable: they survive a killed process and a power loss."""
        if self._depot is not None:
            self._depot.commit()

    def close(self) -> None:
        """Commits and closes the depot."""
        if self._depot is not None:
            self._depot = None
            self._close()

    def __len__(self) -> int:
        return 0 if self._depot is None else len(self._depot)

    # A writer without frames is one too.
    def __bool__(self) -> bool:
        return True

    def __enter__(self) -> DepotWriter:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<vldepot.ase.DepotWriter {self._path}>"

    def _begin(self, depot: Depot[Frame], step: int | None) -> None:
        """Makes the depot ready for a run whose next frame comes after `step`; -1 before the first.

        If that is not known, all frames stay, and the next one has to fit them.
        """
        stored = depot.metadata.get(_METADATA)
        if stored is None and len(depot):
            raise OtherSystem(self._path, "what stored the frames", "no DepotWriter", "a DepotWriter")
        self._runs = [Run(*run) for run in stored["runs"]] if stored else []
        last = depot.at(-1) if len(depot) else None
        if last is not None and self._atoms is not None:
            _compare(self._path, last, _one_image(self._atoms), self._units)
        if step is not None:
            newest = newest_step(self._runs, step)
            if newest is not None:
                depot.restart_at_step(step, newest)
            elif depot.truncate_after_step(step, dry_run=True).removed:
                # Only the frame before the first step, which a run stores again, is no loss.
                only_first = last is not None and last.step == 0
                ran = bool(self._runs) and step > self._runs[0].start
                depot.truncate_after_step(step, all=self._start_over or only_first or ran)
            self._runs = [run for run in self._runs if run.start < step]
            last = depot.at(-1) if len(depot) else None
        if last is not None:
            self._newest = last.step
            self._first = None if step is not None or last.step is None else last.step + 1
            self._time_before = self._earlier(last)
        self._began = True

    def _earlier(self, last: Frame) -> float:
        """What the time of `dyn` lacks: it does not know of another time step before."""
        if last.step is None or last.time is None or not hasattr(self.dyn, "dt"):
            return 0.0
        then = last.time * self._units("time")
        before = then - (self.dyn.get_time() - (self.dyn.nsteps - last.step) * self.dyn.dt)
        # Less is what rounding makes.
        return float(before) if abs(before) > 1e-9 * abs(then) else 0.0

    def _store(self, depot: Depot[Frame], step: int, frame: Frame) -> None:
        newest, interval = self._newest, self._interval()
        if newest is not None and step < newest:
            raise ValueError(
                f"{self._path}: the run is at step {step}, and the newest frame is of step {newest}: "
                "a run that goes back takes a new DepotWriter with dyn= and append=True"
            )
        first = self._first = step if self._first is None else self._first
        due = step - 1 - (step - 1) % interval if interval else -1
        if due >= first and (newest is None or newest < due):
            there = "none" if newest is None else f"that of step {newest}"
            raise errors.Gap(
                f"{self._path}: the frame of step {due} was not stored, and the newest is {there}: "
                "go on from there",
                path=self._path,
                step=step,
                expected=due,
                found=newest,
            )
        is_new_run = not self._runs or self._runs[-1].interval != interval
        if is_new_run:
            self._runs.append(Run(step - 1, interval))
            depot.metadata[_METADATA] = {"runs": [[run.start, run.interval] for run in self._runs]}
        depot.put(f"frame_{step:010}", frame)
        self._newest = step
        if is_new_run:
            depot.commit()

    def _interval(self) -> int | None:
        """Steps from frame to frame, if this is attached once, and so that it is called again and again."""
        dyn = self.dyn
        found = []
        for function, interval, *_ in getattr(dyn, "observers", ()):
            owner = getattr(function, "__self__", function)
            if owner is self or (owner is dyn and getattr(dyn, "trajectory", None) is self):
                found.append(interval)
        return int(found[0]) if len(found) == 1 and found[0] > 0 else None


def _images_of(images: Any) -> Iterable[Any]:
    from ase import Atoms  # type: ignore[import-not-found,import-untyped,unused-ignore]

    if isinstance(images, Atoms):
        return [images]
    if hasattr(images, "iterimages"):
        return list(images.iterimages())
    if isinstance(images, Iterable) or hasattr(images, "__getitem__"):
        return images  # type: ignore[no-any-return]
    raise TypeError(f"ase.Atoms are written, one or many, and not {type(images).__name__}")


def _one_image(atoms: Any) -> Any:
    if atoms is None:
        raise TypeError("there are no atoms: give them to the DepotWriter, or to its write")
    images = list(atoms.iterimages()) if hasattr(atoms, "iterimages") else [atoms]
    if len(images) != 1:
        raise TypeError(
            f"a DepotWriter stores one Atoms a step, and {type(atoms).__name__} has {len(images)}"
        )
    return images[0]


def _write_all(depot: Depot[Frame], images: Iterable[Any]) -> None:
    _of_frames(depot)
    units, exact = Units.of(depot), _is_exact(depot)
    names = _new_names(depot)
    for atoms in images:
        depot.put(next(names), frame_of(atoms, units, step=None, time=None, exact=exact), new=True)
    depot.commit()


def _new_names(depot: Depot[Frame]) -> Iterator[str]:
    for number in itertools.count(len(depot)):
        if (name := f"frame_{number:010}") not in depot:
            yield name


def _index(index: int | slice | str) -> int | slice:
    from ase.utils import string2index  # type: ignore[import-not-found,import-untyped,unused-ignore]

    found = index
    if isinstance(index, str):
        try:
            found = string2index(index)
        except ValueError:
            pass
    if isinstance(found, str):
        raise ValueError(f"{found!r} is no index of frames, such as '-1' or '::2'")
    return found if isinstance(found, slice) else operator.index(found)


def _places(depot: Depot[Frame]) -> range:
    """The positions of frames: topologies before and after them are none."""
    first, last = 0, len(depot)
    while first < last and not _is_image_at(depot, first):
        first += 1
    while first < last and not _is_image_at(depot, last - 1):
        last -= 1
    return range(first, last)


def _is_image_at(depot: Depot[Frame], place: int) -> bool:
    try:
        return _is_image(depot.at(place))
    except errors.Error as error:
        # Whoever asks for this one is told so.
        if error.is_damage:
            return True
        raise


def _is_image(frame: Frame) -> bool:
    return frame.positions is not None or frame.topology is None


def _read_all(depot: Depot[Frame], index: int | slice) -> Iterator[Any]:
    places, units = _places(depot), Units.of(depot)
    if not isinstance(index, slice):
        if not -len(places) <= index < len(places):
            raise IndexError(f"{depot.path}: there is no frame {index}: it has {len(places)} frames")
    topologies: dict[str, Topology | None] = {}
    for place in places[index] if isinstance(index, slice) else [places[index]]:
        frame = depot.at(place)
        if isinstance(index, slice) and not _is_image(frame):
            continue
        name = frame.topology_name
        if name is not None and name not in topologies:
            record = depot.get(name)
            topologies[name] = None if record is None else record.topology
        try:
            yield atoms_of(frame, units, None if name is None else topologies[name])
        except ValueError as error:
            raise ValueError(f"{depot.path}: {depot.names_at(place)!r}: {error}") from error


def _compare(path: str, frame: Frame, atoms: Any, units: Units) -> None:
    """Refuses a frame of other atoms, and names the first difference."""
    types = () if frame.types is None else frame.types
    if len(types) != len(atoms):
        raise OtherSystem(path, "number of atoms", len(types), len(atoms))
    masses = atoms.get_masses()
    stored = masses if frame.masses is None else frame.masses * units("mass")
    for what, there, here, is_same in (
        ("atomic number", types, atoms.numbers, np.equal(types, atoms.numbers)),
        ("mass", stored, masses, np.isclose(stored, masses, rtol=1e-6, equal_nan=True)),
    ):
        if not is_same.all():
            atom = int(np.flatnonzero(~is_same)[0])
            raise OtherSystem(path, f"{what} of atom {atom}", there[atom].item(), here[atom].item())


def _path(file: Any) -> str:
    if not isinstance(file, str | os.PathLike):
        raise TypeError(f"a depot takes a path, or an open vldepot.Depot, and not {type(file).__name__}")
    return os.fspath(file)


def _is_there(path: str) -> bool:
    return os.path.exists(path) and os.path.getsize(path) > 0


def _is_exact(depot: Depot[Frame]) -> bool:
    return depot.precision in ("float64", "as_given")


def _of_frames(depot: Depot[Any]) -> Depot[Frame]:
    if depot.units is None:
        raise ValueError(f"{depot.path}: a depot of {depot.codec!r} holds no frames of atoms")
    return depot


def _defaults(options: Mapping[str, Any]) -> dict[str, Any]:
    for option in options:
        if option not in CreateOptions.__annotations__:
            raise TypeError(f"vldepot.create has no option {option!r}")
    return {"precision": "float64", "units": "ase", **options}


def _create(path: str, options: Mapping[str, Any]) -> Depot[Frame]:
    return create(path, "atomic_frame", **_defaults(options))


def _open_or_create(path: str, options: Mapping[str, Any]) -> Depot[Frame]:
    """A depot that is there keeps its units and precision. To ask for others is an error."""
    if _is_there(path):
        return open_or_create(path, "atomic_frame", **options)
    return open_or_create(path, "atomic_frame", **_defaults(options))
