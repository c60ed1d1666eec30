"""Checks of options: each refuses what can never work, by its name."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidOptions

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: More threads than this would only be in each other's way.
_MOST_THREADS = 1024
_MOST = 2**63 - 1


def _whole(name: str, value: Any, least: int, most: int) -> None:
    """Refuses an option that is not `None` or a whole number in a range."""
    if value is None:
        return
    if isinstance(value, (bool, np.bool_)) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} is a whole number, not {value!r}")
    if not least <= operator.index(value) <= most:
        raise InvalidOptions(
            f"{name}={value}: it is {f'at most {most}' if value > most else f'{least} or more'}"
        )


def _callable(**given: Any) -> None:
    for name, value in given.items():
        if value is not None and not callable(value):
            raise TypeError(f"{name} is a function, not {value!r}")


def _costs(costs: Any) -> NDArray[np.uint32]:
    array = np.asarray(costs)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise TypeError(f"costs are a row of whole numbers, not {array.dtype} {list(array.shape)}")
    if array.size and not 0 <= int(array.min()) <= int(array.max()) < 2**32:
        raise InvalidOptions(f"costs are 0 to 2^32 - 1; here are {array.min()} to {array.max()}")
    return array.astype(np.uint32)
