# mypy: disable-error-code="no-untyped-call"
"""`ase.Atoms` as frames, and frames as `ase.Atoms`. What is kept where stands in docs/how-to/use-ase.md."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._ase_values import Unkept, is_stored, pack, unpack
from ._vldepot import Depot, Frame, Topology

ASE = {
    "length": "Å",
    "time": "Å√(u/eV)",
    "energy": "eV",
    "mass": "u",
    "charge": "e",
    "pressure": "eV/Å^3",
}
GROMACS = {"length": "nm", "time": "ps", "energy": "kJ/mol", "mass": "u", "charge": "e", "pressure": "bar"}

#: The entry of `per_frame` that says how the arrays of a frame belong together.
MANIFEST = "ase"
_VERSION = 1
_NOT_OURS = f"per_frame[{MANIFEST!r}] is not what vldepot.ase writes"
#: What the last bits of momenta are more than those of velocities times masses.
_ULPS = "momenta.ulps"
_VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


class Units:
    """How many of ASE's units a unit of a depot is."""

    def __init__(self, units: str | Mapping[str, str]) -> None:
        named = {"ase": ASE, "gromacs": GROMACS}
        if isinstance(units, str) and units not in named:
            raise ValueError(f"no units are called {units!r}; there are {', '.join(named)}")
        self._names = named[units] if isinstance(units, str) else {**GROMACS, **units}
        self._known: dict[str, float] = {}

    @classmethod
    def of(cls, depot: Depot[Frame]) -> Units:
        return cls(depot.units or GROMACS)

    def __call__(self, quantity: str) -> float:
        if self._names[quantity] == ASE[quantity]:
            return 1.0
        if quantity not in self._known:
            name, known = self._names[quantity], known_units()[quantity]
            if name not in known:
                raise ValueError(
                    f"the unit of {quantity} is {name!r}, which is not known; there are {', '.join(known)}"
                )
            self._known[quantity] = known[name]
        return self._known[quantity]

    @property
    def velocity(self) -> float:
        return self("length") / self("time")

    @property
    def force(self) -> float:
        return self("energy") / self("length")


def known_units() -> dict[str, dict[str, float]]:
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
            "Å": 1.0,
            "A": 1.0,
            "Angstrom": 1.0,
            "angstrom": 1.0,
            "nm": 10.0,
            "pm": 0.01,
            "m": 1e10,
            "Bohr": units.Bohr,
            "bohr": units.Bohr,
        },
        "time": {"Å√(u/eV)": 1.0, "fs": fs, "ps": 1e3 * fs, "ns": 1e6 * fs, "s": units.second},
        "energy": energy,
        "mass": {"u": 1.0, "amu": 1.0, "Da": 1.0, "g/mol": 1.0, "kg": units.kg},
        "charge": {"e": 1.0, "C": units.C},
        "pressure": {
            "eV/Å^3": 1.0,
            "Pa": pascal,
            "kPa": 1e3 * pascal,
            "MPa": 1e6 * pascal,
            "GPa": units.GPa,
            "bar": units.bar,
            "kbar": 1e3 * units.bar,
            "atm": 101325.0 * pascal,
            "kJ/mol/nm^3": energy["kJ/mol"] / 1e3,
            "kcal/mol/Å^3": energy["kcal/mol"],
        },
    }


def frame_of(
    atoms: Any,
    units: Units,
    *,
    step: int | None,
    time: float | None,
    exact: bool = True,
    wanted: set[str] | None = None,
) -> Frame:
    """The frame of `atoms`. If not `exact`, what would only save the last digits is left out."""
    from ase import Atoms  # type: ignore[import-not-found,import-untyped,unused-ignore]

    if not isinstance(atoms, Atoms):
        raise TypeError(
            f"a frame is made of ase.Atoms, not of {type(atoms).__module__}.{type(atoms).__qualname__}"
        )
    fields: dict[str, Any] = {"pbc": [bool(p) for p in atoms.pbc]}
    info = dict(atoms.info)
    step_before, time_before = _step(info.get("step")), _time(info.get("time_fs"))
    if step is None:
        step = step_before
        time = time_before if time is None else time
    else:
        # What a reader of an earlier frame put there.
        if step_before is not None:
            del info["step"]
        if time_before is not None:
            del info["time_fs"]
    if step is not None:
        fields["step"] = step
    if time is not None:
        fields["time"] = time / units("time")
    if atoms.cell.array.any():
        fields["cell"] = atoms.cell.array / units("length")

    own: dict[str, NDArray[Any]] = {}
    per_frame: dict[str, NDArray[Any]] = {}

    def store(name: str, array: NDArray[Any], into: dict[str, NDArray[Any]] = per_frame) -> str:
        name = name.encode(errors="backslashreplace").decode()
        while name in own or name in per_frame or name in (MANIFEST, _ULPS):
            name += "_"
        into[name] = array
        return name

    in_fields, packed = _arrays(atoms, units, fields, own, store, exact)
    calculator, results = _results(atoms, wanted)
    manifest: dict[str, Any] = {"version": _VERSION, "order": list(atoms.arrays), "fields": in_fields}
    if packed:
        manifest["arrays"] = packed
    if info:
        manifest["info"] = [
            [pack(key, ("info", key), store), pack(info[key], ("info", key), store)] for key in info
        ]
    if results:
        manifest["results"] = [
            [pack(key, ("results", key), store), _result(key, value, atoms, units, fields, own, store)]
            for key, value in results.items()
        ]
    if results and calculator:
        manifest["calculator"] = calculator
    if atoms.constraints:
        manifest["constraints"] = [
            pack(_constraint(constraint), ("constraints", at), store)
            for at, constraint in enumerate(atoms.constraints)
        ]
    if np.any(atoms.get_celldisp()):
        manifest["celldisp"] = pack(np.asarray(atoms.get_celldisp()), ("celldisp",), store)
    text = json.dumps(manifest, separators=(",", ":"), allow_nan=False)
    return Frame(
        arrays=own, per_frame={**per_frame, MANIFEST: np.frombuffer(text.encode(), np.uint8)}, **fields
    )


def _arrays(
    atoms: Any,
    units: Units,
    fields: dict[str, Any],
    own: dict[str, NDArray[Any]],
    store: Callable[..., str],
    exact: bool,
) -> tuple[dict[str, str], dict[str, Any]]:
    """Puts the arrays of `atoms` into `fields` and `own`.

    Returns:
        The dtypes of those that are in `fields`, and what JSON holds of those that are stored in another way.
    """
    in_fields: dict[str, str] = {}
    packed: dict[str, Any] = {}
    n_atoms = len(atoms)

    def real(key: str, *shape: int) -> NDArray[np.float64] | None:
        return _real(atoms.arrays[key], (n_atoms, *shape)) if key in atoms.arrays else None

    def in_field(key: str) -> None:
        in_fields[key] = atoms.arrays[key].dtype.str

    if atoms.numbers.dtype.kind not in "iu":
        raise Unkept(f"arrays['numbers'] cannot be kept: an array of {atoms.numbers.dtype}")
    positions = real("positions", 3)
    if positions is None:
        raise Unkept(
            f"arrays['positions'] cannot be kept: {atoms.positions.shape} of {atoms.positions.dtype}"
        )
    fields["types"], fields["positions"] = atoms.numbers, positions / units("length")
    in_field("numbers")
    in_field("positions")

    is_ours = units("length") == units("time") == units("mass") == 1.0
    masses, momenta, charges = real("masses"), real("momenta", 3), real("initial_charges")
    if masses is None and momenta is not None and "masses" not in atoms.arrays:
        masses = _default_masses(atoms)
    if masses is not None:
        with np.errstate(over="ignore"):
            singles = fields["masses"] = (masses / units("mass")).astype(np.float32)
            back = singles * np.float64(units("mass"))
        if "masses" in atoms.arrays and (not exact or np.array_equal(back, masses, equal_nan=True)):
            in_field("masses")
    if momenta is not None and masses is not None:
        with np.errstate(all="ignore"):
            velocities = momenta / masses[:, None]
            back = velocities * masses[:, None]
        fields["velocities"] = velocities / units.velocity
        ulps = (momenta.view(np.int64) - back.view(np.int64)).astype(np.int8)
        if not (exact and is_ours):
            in_field("momenta")
        elif np.array_equal(back.view(np.int64) + ulps, momenta.view(np.int64)):
            in_field("momenta")
            if ulps.any():
                own[_ULPS] = ulps
    if charges is not None:
        fields["charges"] = charges / units("charge")
        in_field("initial_charges")

    others = {key: array for key, array in atoms.arrays.items() if key not in in_fields}
    for key in others:
        if type(key) is not str:
            raise Unkept(f"arrays[{key!r}] cannot be kept: its name is no text")
    plain = [key for key, array in others.items() if is_stored(array) and _is_name(key)]
    own.update((key, others.pop(key)) for key in plain)
    for key, array in others.items():
        packed[key] = pack(array, ("arrays", key), functools.partial(_store_as, key, own, store))
    return in_fields, packed


def _is_name(key: str) -> bool:
    """Whether an array of the atoms may have this name in a frame."""
    return key not in (MANIFEST, _ULPS) and key.encode(errors="replace").decode() == key


def _store_as(
    key: str, own: dict[str, NDArray[Any]], store: Callable[..., str], _name: str, array: NDArray[Any]
) -> str:
    return store(key, array, own)


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
        for name in all_properties if hasattr(calc, "get_property") else ():
            value = calc.get_property(name, atoms, allow_calculation=False)
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
            if type(name) is str and not name.startswith("$"):
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
        return np.array_equal(
            np.asarray(getattr(before, what)), np.asarray(getattr(now, what)), equal_nan=True
        )
    both = before.arrays.get(what), now.arrays.get(what)
    return both[0] is not None and both[1] is not None and np.array_equal(*both, equal_nan=True)


def _result(
    key: Any,
    value: Any,
    atoms: Any,
    units: Units,
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
        described = constraint.todict() if hasattr(constraint, "todict") else None
        if described is None:
            why = "it has no todict()"
        elif type(dict2constraint(described)) is type(constraint):
            return described
    except Exception as error:
        why = f"{type(error).__name__} {error}".strip()
    raise Unkept(f"the constraint {type(constraint).__name__} cannot be kept: {why}")


def atoms_of(frame: Frame, units: Units, topology: Topology | None) -> Any:
    """The `ase.Atoms` of a frame."""
    from ase import Atoms

    if frame.positions is None:
        raise ValueError("Atoms need positions, and this record has none")
    if frame.positions.shape[1:] != (3,):
        raise ValueError(f"Atoms have three coordinates, and this frame has {frame.positions.shape[1]}")
    found = frame if topology is None else _Both(frame, topology)
    if found.types is None:
        raise ValueError("Atoms need types, and neither this frame nor a topology that it names has any")
    per_frame = dict(frame.per_frame)
    manifest = _manifest(per_frame.pop(MANIFEST, None))
    in_fields = manifest["fields"]
    # Who stores a cell and does not say more has a periodic system.
    pbc = frame.pbc if frame.pbc is not None else frame.cell is not None
    atoms = Atoms(
        numbers=found.types,
        positions=np.asarray(frame.positions, np.float64) * units("length"),
        cell=None if frame.cell is None else frame.cell * units("length"),
        pbc=pbc,
    )
    for key in ("numbers", "positions"):
        atoms.arrays[key] = atoms.arrays[key].astype(in_fields.get(key, atoms.arrays[key].dtype))

    # Each array that belongs to something is taken out; the others are arrays of the atoms, and info.
    arrays = _Noted({**frame.arrays, **per_frame})
    ulps = arrays[_ULPS] if _ULPS in arrays and "momenta" in in_fields else None
    results = _fill(atoms, frame, units, manifest, arrays)
    for key, array in frame.arrays.items():
        if key in ("numbers", "positions"):
            raise ValueError(f"the frame has an array of its own called {key!r}, as Atoms have")
        if key not in arrays.used:
            atoms.arrays[key] = np.array(array)
    for key, array in per_frame.items():
        if key not in arrays.used:
            atoms.info.setdefault(key, np.array(array) if array.ndim else array[()])

    _set_masses(atoms, found.masses, units, in_fields, ours="version" in manifest)
    if frame.velocities is not None and "momenta" not in atoms.arrays:
        _set_momenta(atoms, frame.velocities, units, in_fields, ulps)
    if found.charges is not None and "initial_charges" not in atoms.arrays:
        charges = np.asarray(found.charges, np.float64) * units("charge")
        atoms.arrays["initial_charges"] = charges.astype(in_fields.get("initial_charges", "<f8"))
    if topology is not None:
        _set_names(atoms, topology)
    order = dict.fromkeys([*manifest["order"], *atoms.arrays])
    atoms.arrays = {key: atoms.arrays[key] for key in order if key in atoms.arrays}
    if frame.step is not None:
        atoms.info.setdefault("step", frame.step)
    if frame.time is not None:
        atoms.info.setdefault("time_fs", frame.time * units("time") / _fs())
    if frame.name is not None:
        atoms.info.setdefault("name", frame.name)
    for key, form in (("energy", "float"), ("forces", "array <f8"), ("stress", "voigt <f8")):
        if getattr(frame, key) is not None and key not in results:
            results[key] = _in_field(frame, key, form, units)
    if results:
        _set_calculator(atoms, results, manifest["calculator"])
    return atoms


class _Both:
    """What a frame has, or else its topology."""

    def __init__(self, frame: Frame, topology: Topology) -> None:
        n_atoms = frame.n_atoms
        self.types, self.masses, self.charges = (
            there if there is not None else of_topology
            for there, of_topology in (
                (frame.types, topology.types),
                (frame.masses, topology.masses),
                (frame.charges, topology.charges),
            )
        )
        for array in (self.types, self.masses, self.charges, topology.names, topology.residues):
            if array is not None and len(array) != n_atoms:
                raise ValueError(f"the topology is of {len(array)} atoms, and the frame of {n_atoms}")


def _fill(
    atoms: Any, frame: Frame, units: Units, manifest: dict[str, Any], arrays: Mapping[str, NDArray[Any]]
) -> dict[str, Any]:
    """Gives the atoms what the manifest says, and returns the results."""
    from ase.constraints import dict2constraint

    try:
        for key, value in manifest["arrays"].items():
            atoms.arrays[key] = unpack(value, arrays)
        for key, value in manifest["info"]:
            atoms.info[unpack(key, arrays)] = unpack(value, arrays)
        atoms.set_constraint([dict2constraint(unpack(value, arrays)) for value in manifest["constraints"]])
        if "celldisp" in manifest:
            atoms.set_celldisp(unpack(manifest["celldisp"], arrays))
        results: dict[Any, Any] = {}
        for key, value in manifest["results"]:
            key = unpack(key, arrays)
            is_field = isinstance(value, dict) and "$field" in value
            results[key] = (
                _in_field(frame, key, value["$field"], units) if is_field else unpack(value, arrays)
            )
        manifest["calculator"] = unpack(manifest["calculator"], {})
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ValueError(f"{_NOT_OURS}: {error}") from error
    return results


class _Noted(dict[str, NDArray[Any]]):
    """Arrays by name, that notes which were asked for."""

    def __init__(self, arrays: dict[str, NDArray[Any]]) -> None:
        super().__init__(arrays)
        self.used: set[str] = set()

    def __getitem__(self, name: str) -> NDArray[Any]:
        array = super().__getitem__(name)
        self.used.add(name)
        return array


def _manifest(raw: NDArray[Any] | None) -> dict[str, Any]:
    """The manifest, with all of its parts but the displacement of the cell."""
    parts: dict[str, type] = {
        "order": list,
        "fields": dict,
        "arrays": dict,
        "info": list,
        "results": list,
        "calculator": dict,
        "constraints": list,
    }
    found: dict[str, Any] = {part: kind() for part, kind in parts.items()}
    if raw is None:
        return found
    try:
        found.update(json.loads(raw.tobytes()))
        version = found["version"]
        fit = all(isinstance(found[part], kind) for part, kind in parts.items())
        fit = fit and all(isinstance(key, str) for key in found["order"])
        fit = fit and all(np.dtype(dtype).kind in "fiu" for dtype in found["fields"].values())
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{_NOT_OURS}: {error}") from error
    if version != _VERSION:
        raise ValueError(
            f"per_frame[{MANIFEST!r}] is of version {version}: this version of vldepot reads {_VERSION}"
        )
    if not fit:
        raise ValueError(f"{_NOT_OURS}: a part has the wrong type")
    return found


def _set_masses(
    atoms: Any, masses: NDArray[Any] | None, units: Units, in_fields: dict[str, str], *, ours: bool
) -> None:
    if masses is None or "masses" in atoms.arrays:
        return
    # ASE's own masses are not set; unless the ASE that wrote the frame had others.
    own = _default_masses(atoms) if ours and "masses" not in in_fields else None
    if own is None or not np.array_equal(masses, (own / units("mass")).astype(np.float32)):
        converted = np.asarray(masses, np.float64) * units("mass")
        atoms.arrays["masses"] = converted.astype(in_fields.get("masses", "<f8"))


def _set_momenta(
    atoms: Any, velocities: NDArray[Any], units: Units, in_fields: dict[str, str], ulps: NDArray[Any] | None
) -> None:
    masses = atoms.arrays["masses"] if "masses" in atoms.arrays else _default_masses(atoms)
    if masses is None:
        raise ValueError("momenta need masses: the frame has none, and its types are no atomic numbers")
    with np.errstate(all="ignore"):
        momenta = np.asarray(velocities, np.float64) * units.velocity
        momenta *= np.asarray(masses, np.float64)[:, None]
    if ulps is not None:
        momenta = (momenta.view(np.int64) + ulps).view(np.float64)
    atoms.arrays["momenta"] = momenta.astype(in_fields.get("momenta", "<f8"))


def _default_masses(atoms: Any) -> NDArray[np.float64] | None:
    """The masses that ASE gives atoms of these numbers, if all are of elements."""
    from ase.data import atomic_masses  # type: ignore[import-not-found,import-untyped,unused-ignore]

    numbers = atoms.numbers
    are_elements = ((numbers >= 0) & (numbers < len(atomic_masses))).all()
    return np.asarray(atomic_masses[numbers], np.float64) if are_elements else None


def _set_names(atoms: Any, topology: Topology) -> None:
    """The names of atoms and residues, as ASE's reader of PDB files calls them."""
    if topology.names is not None:
        atoms.arrays.setdefault("atomtypes", np.array(topology.names, dtype=str))
    if topology.residues is not None and topology.residue_names:
        names = np.array(topology.residue_names, dtype=str)
        atoms.arrays.setdefault("residuenames", names[topology.residues])
    elif topology.residues is not None:
        atoms.arrays.setdefault("residuenumbers", np.array(topology.residues, np.int64))


def _in_field(frame: Frame, key: str, form: str, units: Units) -> Any:
    """A result that is a field of the frame, in the form that it had."""
    value = getattr(frame, key) if key in ("energy", "forces", "stress") else None
    if value is None:
        raise ValueError(f"the frame has no {key}")
    unit = {"energy": "energy", "stress": "pressure"}.get(key)
    array = np.asarray(np.asarray(value, np.float64) * (units.force if unit is None else units(unit)))
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
    real = np.ascontiguousarray(array, np.float64).reshape(shape)
    # Not all integers of 64 bits are float64.
    return real if array.dtype.kind == "f" or (abs(real) <= 1 << 53).all() else None


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
