# mypy: disable-error-code="no-untyped-call"
"""`ase.Atoms` in depots, both ways, and an observer that stores the runs of `ase.md` and `ase.optimize`.

A depot made here is in ASE's units and holds float64: values come back to the last bit. Depots in other units, such as
those of OpenMM and GROMACS, are read and written too: the fields of frames are converted.

Example:
    >>> from ase.build import molecule
    >>> import vldepot.ase
    >>> vldepot.ase.write("water.vld", [molecule("H2O")])
    >>> vldepot.ase.read("water.vld").get_chemical_formula()
    'H2O'
"""

from __future__ import annotations

import json
import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import errors
from ._ase_values import Unkept, pack, restored, stored, unpack
from ._open import AppendOptions, CreateOptions, append, create, open, open_or_create
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

_MANIFEST = "ase"
_METADATA = "ase"
_VERSION = 1
_ULPS = "momenta.ulps"
_VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
_GROMACS = {"length": "nm", "time": "ps", "energy": "kJ/mol", "mass": "u", "charge": "e", "pressure": "bar"}
_ASE = {
    "length": "Å",
    "time": "Å√(u/eV)",
    "energy": "eV",
    "mass": "u",
    "charge": "e",
    "pressure": "eV/Å^3",
}

_Path = str | os.PathLike[str]


def to_frame(
    atoms: Any, *, step: int | None = None, time: float | None = None, units: str | Mapping[str, str] = "ase"
) -> Frame:
    """The frame of `atoms`.

    Numbers, positions, cell, velocities, masses, initial charges, and the energy, forces and stress of the calculator
    are fields of the frame. Every other array of `atoms` is in `arrays`, info and other results are in `arrays` or
    `per_frame`, and `per_frame["ase"]` is JSON that says how they belong together.

    Results are those that the calculator has at hand for these atoms: nothing is computed, and results of atoms that
    changed since are left out.

    Args:
        atoms: An `ase.Atoms`.
        step: The frame's step. By default `atoms.info["step"]`, if that is an integer.
        time: The frame's time in ASE's unit of time. By default `atoms.info["time_fs"]`, in fs.
        units: The units of the frame's fields: `"ase"`, `"gromacs"`, or what `Depot.units` gives.

    Raises:
        TypeError: Something of `atoms` cannot be kept. Named in the message.
        ValueError: A unit is not known.
    """
    return _frame(atoms, _Units(units), step=step, time=time)


def to_atoms(frame: Frame, *, units: str | Mapping[str, str] = "ase", topology: Topology | None = None) -> Any:
    """The `ase.Atoms` of a frame; results are in a `SinglePointCalculator`.

    A frame's step and time are in `info["step"]` and `info["time_fs"]`. Of a frame that another program stored, charges
    become initial charges, `arrays` arrays of the atoms, and `per_frame` info; these two are not converted.

    Args:
        frame: A frame with positions.
        units: The units of its fields: `"ase"`, `"gromacs"`, or what `Depot.units` gives.
        topology: What has the atomic numbers, masses, charges and names, where the frame has none.

    Raises:
        ValueError: The frame has no positions, or no types; or a unit is not known.
    """
    return _atoms(frame, _Units(units), topology)


def write(file: _Path | Depot[Frame], images: Any, *, append: bool = False, **options: Any) -> None:
    """Writes one `Atoms` or many to a new depot, or with `append` after the frames of an old one.

    Without `append` a depot at the path is replaced, once all images are written. With it, one is made where none is.

    Args:
        file: A path, or an open depot of frames, to which frames are appended.
        images: An `Atoms`, or an iterable of them, such as an `ase.io.Trajectory`. Generators are read as they go.
        append: Keep what is there.
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
    if _is_there(path):
        # Whoever still writes it is found by this, and so is what is no depot.
        _append(path, {}).close()
    new = f"{path}.{os.getpid()}.new"
    try:
        with _create(new, options) as depot:
            _write_all(depot, images)
        os.replace(new, path)
    except BaseException:
        if os.path.exists(new):
            os.remove(new)
        raise


def read(file: _Path | Depot[Frame], index: int | slice | str | None = -1) -> Any:
    """One `Atoms`, or a list of them for a slice.

    Args:
        file: A path, or an open depot of frames.
        index: A number, a slice, or text of either, such as `":"`, `"-5:"` and `"::2"`. By default the last frame.

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


def restart(file: _Path, atoms: Any) -> int:
    """Puts `atoms` where the newest frame of a run is, and returns its step: 0 if there is no frame yet.

    Positions, cell and momenta are set, and nothing else. Call it before the `Dynamics` is made: some copy what they
    need then.

    Args:
        file: The path that a `DepotWriter` writes to. There need not be anything.
        atoms: The atoms of the run, as at its first start.

    Raises:
        OtherSystem: The frames have other atoms.
        ValueError: The newest frame has no step.
    """
    path = _path(file)
    if not _is_there(path):
        return 0
    with open(path, "atomic_frame") as depot:
        places = _places(depot)
        if not places:
            return 0
        frame = depot.at(places[-1])
        _compare(path, frame, atoms)
        if frame.step is None:
            raise ValueError(f"{path}: the newest frame has no step: it is of no run that a DepotWriter stored")
        stored = _atoms(frame, _Units.of(depot), None)
        atoms.set_cell(stored.cell)
        atoms.set_celldisp(stored.get_celldisp())
        atoms.positions[:] = stored.positions
        if stored.has("momenta"):
            atoms.set_array("momenta", stored.arrays["momenta"], float, (3,))
        return frame.step


class DepotWriter:
    """Stores the run of an `ase.md` or `ase.optimize` object in a depot.

    A frame has what `to_frame` says, with `step` the number of steps that `dyn` has made, and `time` that of a
    molecular dynamics. It is called `frame_` and its step in ten digits. Attach it like any other observer.

    With `append`, a run goes on at the step that `dyn` is at when the writer is made: frames after it are removed, and
    a gap or another system is refused. `restart` finds that step.

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
        dyn: What counts the steps. Without it, frames have the step that `write` is told, or none.
        append: Go on in a depot that is there. One is made where none is.
        properties: Results to store, such as `["energy", "forces", "stress"]`. They are computed if they are not at
            hand. By default all that the calculator has at hand are stored, and nothing is computed.
        start_over: With `append` and `dyn` at step 0, remove the frames that are there.
        comm: As in ASE's Trajectory: only rank 0 writes. By default `ase.parallel.world`.
        **options: What `vldepot.create` takes. By default `precision="float64"`, `units="ase"` and a commit every
            minute: `commit_every={"seconds": 60}`.

    Raises:
        vldepot.PathExists: The path is taken, without `append`.
        OtherSystem: The depot's newest frame has other atoms, or no DepotWriter stored it.
        vldepot.Gap: Frames before the current step are missing; also from `write`, when the frame before was not stored.
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
        self._dyn = dyn
        self._properties = None if properties is None else list(properties)
        self._start_over = start_over
        #: Where the depot's frames of steps came from; `None` until the first one is stored here.
        self._runs: list[Run] = []
        self._ready = False
        #: The steps of the first frame that this writer was asked for, and of the newest that is stored.
        self._first: int | None = None
        self._newest: int | None = None
        #: What is to be added to the time of `dyn`, which knows nothing of a time step that was another one before.
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
        self._units, self._exact = _Units.of(depot), _is_exact(depot)
        try:
            if dyn is not None:
                self._go_on_after(depot, dyn.nsteps if dyn.nsteps > 0 else -1)
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
            # On all ranks, since a calculator may need them all.
            image.calc.get_property(name, image)
        if not self._writes:
            return
        depot = self._depot
        if depot is None:
            raise errors.Closed(f"{self._path}: the DepotWriter was closed")
        if step is None and self._dyn is not None:
            step = int(self._dyn.nsteps)
            if time is None and hasattr(self._dyn, "get_time"):
                time = self._dyn.get_time() + self._time_before
        wanted = None if self._properties is None else set(self._properties)
        frame = _frame(image, self._units, step=step, time=time, exact=self._exact, wanted=wanted)
        if step is None:
            if self._runs or _METADATA in depot.metadata:
                raise ValueError(f"{self._path}: the frames before have steps: give step=, or make the writer with dyn=")
            depot.put(_next_name(depot), frame, new=True)
            return
        self._store(depot, step, frame)

    __call__ = write

    def set_description(self, description: Mapping[str, Any]) -> None:
        """Keeps what ASE says of the run, in the metadata of the depot, where this is the `trajectory=` of one."""
        from ase.io.jsonio import encode

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

    def _go_on_after(self, depot: Depot[Frame], step: int) -> None:
        """Makes the depot ready for a run whose next frame comes after `step`; -1 before the first."""
        stored = depot.metadata.get(_METADATA)
        if stored is None and len(depot):
            raise OtherSystem(self._path, "what stored the frames", "no DepotWriter", "a DepotWriter")
        runs = [Run(*run) for run in stored["runs"]] if stored else []
        last = depot.at(-1) if len(depot) else None
        if last is not None and self._atoms is not None:
            _compare(self._path, last, _one_image(self._atoms))
        newest = newest_step(runs, step)
        if newest is not None:
            depot.restart_at_step(step, newest)
        elif depot.truncate_after_step(step, dry_run=True).removed:
            # Only the frame before the first step, which a run stores again, is no loss.
            only_first = last is not None and last.step == 0
            ran = bool(runs) and step > runs[0].start
            depot.truncate_after_step(step, all=self._start_over or only_first or ran)
        self._runs = [run for run in runs if run.start < step]
        last = depot.at(-1) if len(depot) else None
        self._newest = None if last is None else last.step
        dyn = self._dyn
        if last is not None and last.step is not None and last.time is not None and hasattr(dyn, "dt"):
            then = last.time * self._units("time")
            before = then - (dyn.get_time() - (dyn.nsteps - last.step) * dyn.dt)
            # Less is what rounding makes.
            self._time_before = before if abs(before) > 1e-9 * abs(then) else 0.0
        self._ready = True

    def _store(self, depot: Depot[Frame], step: int, frame: Frame) -> None:
        if not self._ready:
            self._go_on_after(depot, step - 1)
        newest, interval = self._newest, self._interval()
        if newest is not None and step < newest:
            raise ValueError(
                f"{self._path}: the run is at step {step}, and the newest frame is of step {newest}: "
                "a run that goes back takes a new DepotWriter with append=True"
            )
        first = self._first = step if self._first is None else self._first
        due = step - 1 - (step - 1) % interval if interval else -1
        if due >= first and (newest is None or newest < due):
            there = "none" if newest is None else f"that of step {newest}"
            raise errors.Gap(
                f"{self._path}: the frame of step {due} was not stored, and the newest is {there}: go on from there",
                path=self._path,
                step=step,
                expected=due,
                found=newest,
            )
        depot.put(f"frame_{step:010}", frame)
        self._newest = step
        if not self._runs or self._runs[-1].interval != interval:
            self._runs.append(Run(step - 1, interval))
            depot.metadata[_METADATA] = {"runs": [[run.start, run.interval] for run in self._runs]}
            depot.commit()

    def _interval(self) -> int | None:
        """Steps from frame to frame, if this is attached once, and so that it is called again and again."""
        dyn = self._dyn
        found = []
        for function, interval, *_ in getattr(dyn, "observers", ()):
            owner = getattr(function, "__self__", function)
            if owner is self or (owner is dyn and getattr(dyn, "trajectory", None) is self):
                found.append(interval)
        return int(found[0]) if len(found) == 1 and found[0] > 0 else None


class _Units:
    """How many of ASE's units a unit of a depot is."""

    def __init__(self, units: str | Mapping[str, str]) -> None:
        named = {"ase": _ASE, "gromacs": _GROMACS}
        if isinstance(units, str) and units not in named:
            raise ValueError(f"no units are called {units!r}; there are {', '.join(named)}")
        self._names = named[units] if isinstance(units, str) else {**_GROMACS, **units}
        self._known: dict[str, float] = {}

    @classmethod
    def of(cls, depot: Depot[Frame]) -> _Units:
        return cls(depot.units or _GROMACS)

    def __call__(self, quantity: str) -> float:
        if self._names[quantity] == _ASE[quantity]:
            return 1.0
        if quantity not in self._known:
            name, known = self._names[quantity], _known_units()[quantity]
            if name not in known:
                raise ValueError(
                    f"the unit of {quantity} is {name!r}, which is not known here; known are {', '.join(known)}"
                )
            self._known[quantity] = known[name]
        return self._known[quantity]

    @property
    def velocity(self) -> float:
        return self("length") / self("time")

    @property
    def force(self) -> float:
        return self("energy") / self("length")


def _known_units() -> dict[str, dict[str, float]]:
    from ase import units  # type: ignore[import-not-found,import-untyped,unused-ignore]

    fs, pascal = units.fs, units.Pascal
    energy = {
        "eV": 1.0,
        "meV": 1e-3,
        "kJ/mol": units.kJ / units.mol,
        "kcal/mol": units.kcal / units.mol,
        "Ha": units.Hartree,
        "Hartree": units.Hartree,
        "Ry": units.Rydberg,
        "J": units.J,
    }
    return {
        "length": {
            "Å": 1.0, "A": 1.0, "Angstrom": 1.0, "angstrom": 1.0, "nm": 10.0, "pm": 0.01, "m": 1e10,
            "Bohr": units.Bohr, "bohr": units.Bohr,
        },  # fmt: skip
        "time": {"Å√(u/eV)": 1.0, "fs": fs, "ps": 1e3 * fs, "ns": 1e6 * fs, "s": units.second},
        "energy": energy,
        "mass": {"u": 1.0, "amu": 1.0, "Da": 1.0, "g/mol": 1.0, "kg": units.kg},
        "charge": {"e": 1.0, "C": units.C},
        "pressure": {
            "eV/Å^3": 1.0, "Pa": pascal, "kPa": 1e3 * pascal, "MPa": 1e6 * pascal, "GPa": units.GPa,
            "bar": units.bar, "kbar": 1e3 * units.bar, "atm": 101325.0 * pascal,
            "kJ/mol/nm^3": energy["kJ/mol"] / 1e3, "kcal/mol/Å^3": energy["kcal/mol"],
        },  # fmt: skip
    }  # fmt: skip


def _frame(
    atoms: Any,
    units: _Units,
    *,
    step: int | None,
    time: float | None,
    exact: bool = True,
    wanted: set[str] | None = None,
) -> Frame:
    """The frame of `atoms`. If not `exact`, what would only save the last digits is left out."""
    from ase import Atoms  # type: ignore[import-not-found,import-untyped,unused-ignore]

    if not isinstance(atoms, Atoms):
        raise TypeError(f"a frame is made of ase.Atoms, not of {type(atoms).__module__}.{type(atoms).__qualname__}")
    exact = exact and units("length") == units("time") == units("energy") == units("mass") == 1.0
    fields: dict[str, Any] = {"pbc": [bool(p) for p in atoms.pbc]}
    info = dict(atoms.info)
    if step is None:
        step, time = _step(info.get("step")), _time(info.get("time_fs")) if time is None else time
    else:
        info.pop("step", None)
        info.pop("time_fs", None)
    if step is not None:
        fields["step"] = step
    if time is not None:
        fields["time"] = time / units("time")
    if atoms.cell.array.any():
        fields["cell"] = atoms.cell.array / units("length")

    own, per_frame, in_fields, renamed = _arrays(atoms, units, fields, exact)

    def store(name: str, array: NDArray[Any], into: dict[str, NDArray[Any]] = per_frame) -> str:
        while name in own or name in per_frame or name == _MANIFEST:
            name += "_"
        into[name] = array
        return name

    for name, array in renamed.items():
        renamed[name] = [store(name, array[0], own), array[1]]
    calculator, results = _results(atoms, wanted)
    manifest: dict[str, Any] = {"version": _VERSION, "fields": in_fields}
    if renamed:
        manifest["arrays"] = renamed
    if info:
        manifest["info"] = [[pack(key, ("info", key), store), pack(info[key], ("info", key), store)] for key in info]
    if results:
        manifest["results"] = [
            [pack(key, ("results", key), store), _result(key, value, atoms, units, fields, own, store)]
            for key, value in results.items()
        ]
    if results and calculator:
        manifest["calculator"] = calculator
    if atoms.constraints:
        manifest["constraints"] = [
            pack(_constraint(constraint), ("constraints", at), store) for at, constraint in enumerate(atoms.constraints)
        ]
    if np.any(atoms.get_celldisp()):
        manifest["celldisp"] = pack(np.asarray(atoms.get_celldisp()), ("celldisp",), store)
    text = json.dumps(manifest, separators=(",", ":"), allow_nan=False)
    return Frame(arrays=own, per_frame={**per_frame, _MANIFEST: np.frombuffer(text.encode(), np.uint8)}, **fields)


def _arrays(
    atoms: Any, units: _Units, fields: dict[str, Any], exact: bool
) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]], dict[str, str], dict[str, Any]]:
    """The arrays of `atoms`: puts some into `fields`, and returns the others.

    Returns:
        Arrays of the frame per atom, and per frame; the dtypes of those that are fields; and those that are stored under
        another name or dtype, with it.
    """
    own: dict[str, NDArray[Any]] = {}
    in_fields: dict[str, str] = {}
    renamed: dict[str, Any] = {}
    n_atoms = len(atoms)

    def real(key: str, *shape: int) -> NDArray[np.float64] | None:
        return _real(atoms.arrays[key], (n_atoms, *shape)) if key in atoms.arrays else None

    def in_field(key: str) -> None:
        in_fields[key] = atoms.arrays[key].dtype.str

    if atoms.numbers.dtype.kind not in "iu":
        raise Unkept(f"arrays['numbers'] cannot be kept: an array of {atoms.numbers.dtype}")
    positions = real("positions", 3)
    if positions is None:
        raise Unkept(f"arrays['positions'] cannot be kept: {atoms.positions.shape} of {atoms.positions.dtype}")
    fields["types"], fields["positions"] = atoms.numbers, positions / units("length")
    in_field("numbers")
    in_field("positions")

    masses, momenta, charges = real("masses"), real("momenta", 3), real("initial_charges")
    if masses is None and momenta is not None and "masses" not in atoms.arrays:
        masses = atoms.get_masses()
    if masses is not None:
        with np.errstate(over="ignore"):
            singles = fields["masses"] = (masses / units("mass")).astype(np.float32)
        if "masses" in atoms.arrays and (not exact or np.array_equal(singles, masses, equal_nan=True)):
            in_field("masses")
    if momenta is not None and masses is not None:
        with np.errstate(all="ignore"):
            velocities = momenta / masses[:, None]
            back = velocities * masses[:, None]
        fields["velocities"] = velocities / units.velocity
        ulps = (momenta.view(np.int64) - back.view(np.int64)).astype(np.int8)
        if not exact:
            in_field("momenta")
        elif np.array_equal(back.view(np.int64) + ulps, momenta.view(np.int64)):
            in_field("momenta")
            if ulps.any():
                own[_ULPS] = ulps
    if charges is not None:
        fields["charges"] = charges / units("charge")
        in_field("initial_charges")

    for key, array in atoms.arrays.items():
        if type(key) is not str:
            raise Unkept(f"arrays[{key!r}] cannot be kept: its name is no text")
        if key not in in_fields:
            kept, dtype = stored(array, ("arrays", key)) if array.dtype != object else (None, None)
            if kept is None:
                raise Unkept(f"arrays[{key!r}] cannot be kept: it holds Python objects")
            if dtype is not None or key in (_MANIFEST, _ULPS):
                renamed[key] = (kept, dtype)
            else:
                own[key] = kept
    return own, {}, in_fields, renamed


def _results(atoms: Any, wanted: set[str] | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the calculator is, and what it has at hand for the atoms as they are."""
    from ase.calculators.calculator import all_properties  # type: ignore[import-not-found,import-untyped,unused-ignore]

    calc = atoms.calc
    if calc is None:
        return {}, {}
    if hasattr(calc, "results"):
        of = getattr(calc, "atoms", None)
        changed = calc.check_state(atoms) if hasattr(calc, "check_state") else []
        # ASE takes a NaN for a change.
        if any(of is None or not _is_same(of, atoms, what) for what in changed):
            return {}, {}
        results = dict(calc.results)
    else:
        results = {}
        for name in all_properties:
            value = calc.get_property(name, atoms, allow_calculation=False) if hasattr(calc, "get_property") else None
            if value is not None:
                results[name] = value
    if wanted is not None:
        results = {name: value for name, value in results.items() if name in wanted}
    calculator: dict[str, Any] = {}
    if isinstance(getattr(calc, "name", None), str):
        calculator["name"] = calc.name
    parameters = {}
    for name, value in dict(getattr(calc, "parameters", None) or {}).items():
        try:
            parameters[name] = pack(value, ("parameters", name), _refuse)
        except Unkept:
            continue
    if parameters:
        calculator["parameters"] = parameters
    return calculator, results


def _refuse(name: str, _array: Any) -> str:
    raise Unkept(name)


def _is_same(before: Any, now: Any, what: str) -> bool:
    if what in ("cell", "pbc"):
        return np.array_equal(np.asarray(getattr(before, what)), np.asarray(getattr(now, what)), equal_nan=True)
    both = before.arrays.get(what), now.arrays.get(what)
    return both[0] is not None and both[1] is not None and np.array_equal(*both, equal_nan=True)


def _result(
    key: Any,
    value: Any,
    atoms: Any,
    units: _Units,
    fields: dict[str, Any],
    own: dict[str, NDArray[Any]],
    store: Callable[..., str],
) -> Any:
    """What JSON holds of a result; energy, forces and stress go to `fields`."""
    from ase.outputs import all_outputs  # type: ignore[import-not-found,import-untyped,unused-ignore]

    form: str | None = None
    if key == "energy" and (energy := _real(value, ())) is not None:
        fields["energy"] = float(energy) / units("energy")
        form = "float" if type(value) is float else "scalar" if isinstance(value, np.generic) else "array"
    elif key == "forces" and (forces := _real(value, (len(atoms), 3))) is not None:
        fields["forces"], form = forces / units.force, "array"
    elif key == "stress" and (stress := _real(value, (3, 3))) is not None:
        fields["stress"], form = stress / units("pressure"), "array"
    elif key == "stress" and (stress := _real(value, (6,))) is not None:
        matrix = np.empty((3, 3))
        for (i, j), component in zip(_VOIGT, stress, strict=True):
            matrix[i, j] = matrix[j, i] = component
        fields["stress"], form = matrix / units("pressure"), "voigt"
    if form == "float":
        return {"$field": form}
    if form is not None and isinstance(value, np.ndarray | np.generic) and value.dtype.kind == "f":
        return {"$field": f"{form} {value.dtype.str}"}
    spec = getattr(all_outputs.get(key) if isinstance(key, str) else None, "shapespec", ())
    if spec[:1] == ("natoms",) and isinstance(value, np.ndarray) and value.shape[:1] == (len(atoms),):
        return pack(value, ("results", key), lambda name, array: store(name, array, own))
    return pack(value, ("results", key), store)


def _constraint(constraint: Any) -> Any:
    from ase.constraints import dict2constraint  # type: ignore[import-not-found,import-untyped,unused-ignore]

    why = "ASE does not make it again from its todict()"
    try:
        described = constraint.todict()
        if type(dict2constraint(described)) is type(constraint):
            return described
    except AttributeError:
        why = "it has no todict()"
    except Exception as error:
        why = f"{type(error).__name__} {error}".strip()
    raise Unkept(f"the constraint {type(constraint).__name__} cannot be kept: {why}")


def _atoms(frame: Frame, units: _Units, topology: Topology | None) -> Any:
    from ase import Atoms
    from ase.constraints import dict2constraint

    if frame.positions is None:
        raise ValueError("Atoms need positions, and this record has none")
    types = frame.types if frame.types is not None else None if topology is None else topology.types
    if types is None:
        raise ValueError("Atoms need types, and neither this frame nor a topology that it names has any")
    if frame.positions.shape[1:] != (3,):
        raise ValueError(f"Atoms have three coordinates, and this frame has {frame.positions.shape[1]}")
    own, per_frame = frame.arrays, frame.per_frame
    manifest = _manifest(per_frame.pop(_MANIFEST, None))
    in_fields: dict[str, str] = manifest.get("fields", {})
    cell = None if frame.cell is None else frame.cell * units("length")
    # Who stores a cell and does not say more has a periodic system.
    pbc = frame.pbc if frame.pbc is not None else frame.cell is not None
    atoms = Atoms(numbers=types, positions=frame.positions * units("length"), cell=cell, pbc=pbc)
    for key, dtype in in_fields.items():
        if key in ("numbers", "positions"):
            atoms.arrays[key] = restored(atoms.arrays[key], dtype)

    # Each array that belongs to something is taken out; the others are arrays of the atoms, and info.
    used: set[str] = {_ULPS}
    arrays = _Noted({**own, **per_frame}, used)
    try:
        for key, (name, dtype) in manifest.get("arrays", {}).items():
            atoms.arrays[key] = restored(arrays[name], dtype)
        info = {unpack(key, arrays): unpack(value, arrays) for key, value in manifest.get("info", ())}
        results = {
            unpack(key, arrays): _in_field(frame, unpack(key, arrays), value["$field"], units)
            if isinstance(value, dict) and "$field" in value
            else unpack(value, arrays)
            for key, value in manifest.get("results", ())
        }
        constraints = [dict2constraint(unpack(value, arrays)) for value in manifest.get("constraints", ())]
        celldisp = unpack(manifest.get("celldisp"), arrays)
        calculator = unpack(manifest.get("calculator", {}), {})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"per_frame[{_MANIFEST!r}] is not what vldepot.ase writes: {error}") from error
    for key, array in own.items():
        if key in used:
            continue
        if key in ("numbers", "positions"):
            raise ValueError(f"the frame has an array of its own called {key!r}, as Atoms have")
        atoms.arrays[key] = np.array(array)
    for key, array in per_frame.items():
        if key not in used:
            info.setdefault(key, np.array(array) if array.ndim else array[()])

    _set_masses_and_momenta(atoms, frame, units, topology, in_fields, own.get(_ULPS), bool(manifest))
    charges = frame.charges
    if charges is None and topology is not None:
        charges = topology.charges
    if charges is not None and "initial_charges" not in atoms.arrays:
        dtype = in_fields.get("initial_charges", "<f8")
        atoms.arrays["initial_charges"] = (np.asarray(charges, np.float64) * units("charge")).astype(dtype)
    if topology is not None:
        _set_names(atoms, topology)
    if frame.step is not None:
        info.setdefault("step", frame.step)
    if frame.time is not None:
        info.setdefault("time_fs", frame.time * units("time") / _fs())
    if frame.name is not None:
        info.setdefault("name", frame.name)
    atoms.info.update(info)
    atoms.set_constraint(constraints)
    if celldisp is not None:
        atoms.set_celldisp(celldisp)
    for key, there in (("energy", frame.energy), ("forces", frame.forces), ("stress", frame.stress)):
        if there is not None and key not in results:
            results[key] = _in_field(frame, key, "float" if key == "energy" else "voigt <f8" if key == "stress" else "array <f8", units)
    if results:
        _set_calculator(atoms, results, calculator)
    return atoms


class _Noted(dict[str, NDArray[Any]]):
    """Arrays by name, that notes which were asked for."""

    def __init__(self, arrays: dict[str, NDArray[Any]], used: set[str]) -> None:
        super().__init__(arrays)
        self._used = used

    def __getitem__(self, name: str) -> NDArray[Any]:
        array = super().__getitem__(name)
        self._used.add(name)
        return array


def _manifest(raw: NDArray[Any] | None) -> dict[str, Any]:
    if raw is None:
        return {}
    try:
        manifest = json.loads(raw.tobytes())
        version = manifest["version"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"per_frame[{_MANIFEST!r}] is not what vldepot.ase writes: {error}") from error
    if version != _VERSION:
        raise ValueError(f"per_frame[{_MANIFEST!r}] is of version {version}: this version of vldepot reads {_VERSION}")
    return dict(manifest)


def _set_masses_and_momenta(
    atoms: Any,
    frame: Frame,
    units: _Units,
    topology: Topology | None,
    in_fields: dict[str, str],
    ulps: NDArray[Any] | None,
    ours: bool,
) -> None:
    masses = frame.masses
    if masses is None and topology is not None:
        masses = topology.masses
    if masses is not None and "masses" not in atoms.arrays:
        # ASE's own masses are not set; unless the ASE that wrote the frame had others.
        are_default = ours and "masses" not in in_fields
        if not are_default or not np.array_equal(masses, atoms.get_masses().astype(np.float32)):
            atoms.arrays["masses"] = (np.asarray(masses, np.float64) * units("mass")).astype(
                in_fields.get("masses", "<f8")
            )
    if frame.velocities is not None and "momenta" not in atoms.arrays:
        velocities = np.asarray(frame.velocities, np.float64) * units.velocity
        with np.errstate(all="ignore"):
            momenta = velocities * np.asarray(atoms.get_masses(), np.float64)[:, None]
        if ulps is not None:
            momenta = (momenta.view(np.int64) + ulps).view(np.float64)
        atoms.arrays["momenta"] = momenta.astype(in_fields.get("momenta", "<f8"))


def _set_names(atoms: Any, topology: Topology) -> None:
    """The names of atoms and residues, as ASE's reader of PDB files calls them."""
    if topology.names is not None:
        atoms.arrays.setdefault("atomtypes", np.array(topology.names, dtype=str))
    if topology.residues is not None and topology.residue_names:
        names = np.array(topology.residue_names, dtype=str)
        atoms.arrays.setdefault("residuenames", names[topology.residues])
    elif topology.residues is not None:
        atoms.arrays.setdefault("residuenumbers", np.array(topology.residues, np.int64))


def _in_field(frame: Frame, key: str, form: str, units: _Units) -> Any:
    """A result that is a field of the frame, in the form that it had."""
    value = getattr(frame, key) if key in ("energy", "forces", "stress") else None
    if value is None:
        raise ValueError(f"the frame has no {key}")
    unit = {"energy": "energy", "stress": "pressure"}.get(key)
    array = np.asarray(value, np.float64) * (units.force if unit is None else units(unit))
    kind, _, dtype = form.partition(" ")
    if kind == "float":
        return float(array)
    if kind == "scalar":
        return np.dtype(dtype).type(array)
    if kind == "voigt":
        array = np.array([array[place] for place in _VOIGT])
    return array.astype(dtype)


def _set_calculator(atoms: Any, results: dict[str, Any], calculator: dict[str, Any]) -> None:
    from ase.calculators.singlepoint import SinglePointCalculator  # type: ignore[import-not-found,import-untyped,unused-ignore]

    calc = SinglePointCalculator(atoms)
    calc.results.update(results)
    calc.name = calculator.get("name", calc.name)
    calc.parameters.update(calculator.get("parameters", {}))
    atoms.calc = calc


def _real(value: Any, shape: tuple[int, ...]) -> NDArray[np.float64] | None:
    """A number or an array of that shape as float64, if that holds it."""
    if not isinstance(value, int | float | np.ndarray | np.generic) or isinstance(value, bool):
        return None
    array = np.asarray(value)
    if array.shape != shape or array.dtype.kind not in "fiu" or array.dtype.itemsize > 8:
        return None
    return np.ascontiguousarray(array, np.float64).reshape(shape)


def _step(value: Any) -> int | None:
    is_integer = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return int(value) if is_integer and -(1 << 63) <= value < 1 << 63 else None


def _time(value: Any) -> float | None:
    """The time in ASE's unit of one in fs."""
    time = _real(value, ()) if value is not None else None
    return None if time is None else float(time) * _fs()


def _fs() -> float:
    from ase.units import fs  # type: ignore[import-not-found,import-untyped,unused-ignore]

    return float(fs)


def _images_of(images: Any) -> Iterable[Any]:
    from ase import Atoms

    if isinstance(images, Atoms):
        return [images]
    if hasattr(images, "iterimages"):
        return list(images.iterimages())
    if isinstance(images, Iterable) or hasattr(images, "__getitem__"):
        return images  # type: ignore[no-any-return]
    raise TypeError(f"ase.Atoms are written, one or many, and not {type(images).__name__}")


def _one_image(atoms: Any) -> Any:
    images = list(atoms.iterimages()) if hasattr(atoms, "iterimages") else [atoms]
    if len(images) != 1:
        raise TypeError(f"a DepotWriter stores one Atoms a step, and {type(atoms).__name__} has {len(images)}")
    return images[0]


def _write_all(depot: Depot[Frame], images: Iterable[Any]) -> None:
    _of_frames(depot)
    units, exact = _Units.of(depot), _is_exact(depot)
    for atoms in images:
        depot.put(_next_name(depot), _frame(atoms, units, step=None, time=None, exact=exact), new=True)
    depot.commit()


def _next_name(depot: Depot[Frame]) -> str:
    number = len(depot)
    while (name := f"frame_{number:010}") in depot:
        number += 1
    return name


def _index(index: int | slice | str) -> int | slice:
    from ase.utils import string2index  # type: ignore[import-not-found,import-untyped,unused-ignore]

    if isinstance(index, str):
        found: int | slice | str = string2index(index)
        if isinstance(found, str):
            raise ValueError(f"{index!r} is no index of frames")
        return found
    return index


def _places(depot: Depot[Frame]) -> range:
    """The positions of frames: topologies before and after them are none."""
    first, last = 0, len(depot)
    while first < last and not _is_image(depot.at(first)):
        first += 1
    while first < last and not _is_image(depot.at(last - 1)):
        last -= 1
    return range(first, last)


def _is_image(frame: Frame) -> bool:
    return frame.positions is not None or frame.topology is None


def _read_all(depot: Depot[Frame], index: int | slice) -> Iterator[Any]:
    places, units = _places(depot), _Units.of(depot)
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
            yield _atoms(frame, units, None if name is None else topologies[name])
        except ValueError as error:
            raise ValueError(f"{depot.path}: {depot.names_at(place)!r}: {error}") from error


def _compare(path: str, frame: Frame, atoms: Any) -> None:
    """Refuses a frame of other atoms, and names the first difference."""
    types = () if frame.types is None else frame.types
    if len(types) != len(atoms):
        raise OtherSystem(path, "number of atoms", len(types), len(atoms))
    expected: list[tuple[str, Any, Any]] = [("atomic number", types, atoms.numbers)]
    if frame.masses is not None:
        expected.append(("mass", frame.masses, atoms.get_masses().astype(np.float32)))
    for what, there, here in expected:
        different = np.flatnonzero(np.asarray(there) != here)
        if len(different):
            atom = int(different[0])
            raise OtherSystem(path, f"{what} of atom {atom}", there[atom].item(), here[atom].item())


def _path(file: Any) -> str:
    if not isinstance(file, str | os.PathLike):
        raise TypeError(f"a depot takes a path, or an open vldepot.Depot, and not {type(file).__name__}")
    return os.fspath(file)


def _is_there(path: str) -> bool:
    return os.path.exists(path) and os.path.getsize(path) > 0


def _is_exact(depot: Depot[Frame]) -> bool:
    return depot.precision in ("float64", "as given", "as_given")


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
    return create(path, "atomic_frame", **_defaults(options))  # type: ignore[typeddict-item]


def _append(path: str, options: Mapping[str, Any]) -> Depot[Frame]:
    _defaults(options)
    kept = {name: value for name, value in options.items() if name in AppendOptions.__annotations__}
    return append(path, "atomic_frame", **kept)  # type: ignore[typeddict-item]


def _open_or_create(path: str, options: Mapping[str, Any]) -> Depot[Frame]:
    """A depot that is there keeps its own units and precision, unless others are asked for, which is an error."""
    if _is_there(path):
        return open_or_create(path, "atomic_frame", **options)
    return open_or_create(path, "atomic_frame", **_defaults(options))  # type: ignore[typeddict-item]
