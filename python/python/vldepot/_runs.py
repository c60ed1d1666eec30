"""What a restarted run asks of the frames it finds: of which system they are, and which must be there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class OtherSystem(ValueError):
    """A depot holds frames of another system than the one that is simulated. Nothing was changed.

    Attributes:
        path: The depot.
        what: What differs: `number of atoms`, or an atom's property, such as `element of atom 3`.
        expected: What the depot has.
        found: What the simulation has.
    """

    def __init__(self, path: str, what: str, expected: object, found: object) -> None:
        super().__init__(path, what, expected, found)
        self.path, self.what, self.expected, self.found = path, what, expected, found

    def __str__(self) -> str:
        return (
            f"{self.path}: another system: {self.what} is {self.found!r}, and {self.expected!r} in the depot"
        )


@dataclass(frozen=True)
class Run:
    """A stretch of a run: frames at the multiples of `interval` that come after the step `start`.

    Without an interval, it is not known which frames there are.
    """

    start: int
    interval: int | None


def newest_step(runs: Sequence[Run], step: int) -> int | None:
    """The step of the newest frame that a depot has when the simulation is at `step`.

    `None` if there is none, or if it is not known.
    """
    end = step
    for run in reversed(runs):
        if run.start >= end:
            continue
        if run.interval is None:
            return None
        newest = end - end % run.interval
        if newest > run.start:
            return newest
        end = run.start
    return None
