"""Makes a depot of a trajectory in H5MD.

    python from_h5md.py run.h5md run.vld [GROUP]      GROUP of `/particles`; the only one by default

Frames are named by their step: `frame_0000000500`. What does not change is in the record `topology`. Datasets that a
depot has no place for are printed.
"""

from __future__ import annotations

import sys
from typing import Any

import h5py  # type: ignore[import-not-found,import-untyped,unused-ignore]
import numpy as np

import vldepot

ARRAYS = {
    "position": "positions",
    "velocity": "velocities",
    "force": "forces",
    "charge": "charges",
    "mass": "masses",
}


# As depots name these by default.
NAMES = {"kJ mol-1": "kJ/mol", "Angstrom": "Å"}


def text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def unit_of(element: Any) -> str | None:
    """The unit of a dataset, or of the values of an element that changes."""
    data = element.get("value") if isinstance(element, h5py.Group) else element
    return text(data.attrs["unit"]) if data is not None and "unit" in data.attrs else None


def steps_of(element: Any) -> list[int]:
    """The step of each value. A single number is what lies between them."""
    step, count = element["step"], len(element["value"])
    if step.shape == ():
        first = int(step.attrs.get("offset", 0))
        return [first + int(step[()]) * n for n in range(count)]
    return [int(number) for number in step[:count]]


def times_of(element: Any) -> list[float] | None:
    """The time of each value."""
    time, count = element.get("time"), len(element["value"])
    if time is None:
        return None
    if time.shape == ():
        first = float(time.attrs.get("offset", 0))
        return [first + float(time[()]) * n for n in range(count)]
    return [float(number) for number in time[:count]]


def units_of(group: Any, energy: Any) -> dict[str, str]:
    """The units of the numbers, which are copied as they are."""
    length = unit_of(group["position"]) if "position" in group else None
    velocity = unit_of(group["velocity"]) if "velocity" in group else None
    force = unit_of(group["force"]) if "force" in group else None
    clock = group["position"].get("time") if "position" in group else None
    units = {
        "length": length or "unspecified",
        "time": (clock is not None and unit_of(clock)) or "unspecified",
        "energy": (energy is not None and unit_of(energy)) or "unspecified",
    }
    for unit, over, what in ((velocity, "length", "velocity"), (force, "energy", "force")):
        per = units["time"] if what == "velocity" else units["length"]
        if (
            unit
            and unit.endswith(f" {per}-1")
            and units[over] in ("unspecified", unit.removesuffix(f" {per}-1"))
        ):
            units[over] = unit.removesuffix(f" {per}-1")
        elif unit:
            raise ValueError(f"the unit of {what}, {unit!r}, does not go with those of {units}")
    return {quantity: NAMES.get(unit, unit) for quantity, unit in units.items()}


def convert(source: str, target: str, group: str | None = None, **options: Any) -> tuple[int, list[str]]:
    """Copies all frames; returns how many there are, and the datasets that were left out.

    The options are those of `vldepot.create`.
    """
    with h5py.File(source) as file:
        groups = sorted(file["particles"])
        if group is None and len(groups) != 1:
            raise ValueError(f"{source} has the groups {groups}: name one")
        particles = file["particles"][group or groups[0]]
        used: set[str] = set()
        observables = {}

        def look(name: str, item: Any) -> None:
            if isinstance(item, h5py.Group) and "value" in item and "step" in item:
                observables[name] = item

        if "observables" in file:
            file["observables"].visititems(look)
        energy = observables.get("potential_energy")

        # By step: what each frame has.
        frames: dict[int, dict[str, Any]] = {}
        times: dict[int, float] = {}
        fixed: dict[str, Any] = {}
        elements = {name: particles[name] for name in particles if name != "box"}
        box = particles.get("box", {})
        if "edges" in box:
            elements["box/edges"] = box["edges"]
        for name, item in [
            *elements.items(),
            *((f"observables/{name}", item) for name, item in observables.items()),
        ]:
            used.add(item.name)
            if not isinstance(item, h5py.Group):
                fixed[name] = item
                continue
            for number, step in enumerate(steps_of(item)):
                if name in frames.setdefault(step, {}):
                    raise ValueError(
                        f"{item.name} has step {step} twice, so that frames cannot be told apart"
                    )
                frames[step][name] = (item["value"], number)
            for step, time in zip(steps_of(item), times_of(item) or [], strict=False):
                times.setdefault(step, time)

        periodic = box.attrs.get("boundary") if box else None
        pbc = None if periodic is None else [text(side) == "periodic" for side in periodic]
        options = {
            "precision": "as_given",
            "units": units_of(particles, energy),
            "columns": ["step", "energy"],
            **options,
        }
        with vldepot.create(target, **options) as depot:
            topology = {
                key: np.asarray(fixed[name])
                for name, key in (("mass", "masses"), ("charge", "charges"))
                if name in fixed
            }
            if "species" in fixed:
                topology["types"] = np.asarray(fixed["species"]).astype(np.int32)
            rest = {
                name: np.asarray(item)
                for name, item in fixed.items()
                if name not in ("mass", "charge", "species", "box/edges")
            }
            if topology or rest:
                depot.put("topology", topology=topology or None, per_frame=rest or None)
            for step in sorted(frames):
                found = {name: np.asarray(values[number]) for name, (values, number) in frames[step].items()}
                fields: dict[str, Any] = {
                    key: found.pop(name) for name, key in ARRAYS.items() if name in found
                }
                if "species" in found:
                    fields["types"] = found.pop("species").astype(np.int32)
                edges = found.pop(
                    "box/edges", np.asarray(fixed["box/edges"]) if "box/edges" in fixed else None
                )
                if edges is not None:
                    fields["cell"] = (
                        np.diag(edges.astype(np.float64)) if edges.ndim == 1 else edges.astype(np.float64)
                    )
                potential = found.pop("observables/potential_energy", None)
                depot[f"frame_{step:010}"] = vldepot.Frame(
                    **fields,
                    pbc=pbc,
                    step=step,
                    time=times.get(step),
                    energy=None if potential is None else float(potential),
                    arrays={
                        name: array for name, array in found.items() if not name.startswith("observables/")
                    },
                    per_frame={
                        name: array for name, array in found.items() if name.startswith("observables/")
                    },
                    topology_name="topology" if topology else None,
                )
            count = len(frames)
        left: list[str] = []

        def note(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset) and not any(
                item.name == a or item.name.startswith(a + "/") for a in used
            ):
                left.append(item.name)

        file.visititems(note)
    return count, left


if __name__ == "__main__":
    frames, left = convert(*sys.argv[1:4])
    print(frames, "frames")
    for name in left:
        print("not converted:", name)
