"""Views of a depot: its names, its values, its metadata."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, MutableMapping, ValuesView
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from ._reports import Name
    from ._vldepot import Depot

_V = TypeVar("_V")

#: Names that are looked up together by `reversed`.
_AT_ONCE = 4096


def _same(one: Any, other: Any) -> bool:
    """Whether two values are equal. Arrays are if all their elements are."""
    if one is other:
        return True
    if hasattr(one, "shape") or hasattr(other, "shape"):
        import numpy as np

        return bool(np.array_equal(one, other))
    return bool(one == other)


def names_reversed(depot: Depot[Any]) -> Iterator[Name]:
    """What `reversed(depot)` gives."""
    for stop in range(len(depot), 0, -_AT_ONCE):
        yield from reversed(depot.names_at(slice(max(0, stop - _AT_ONCE), stop)))


class Names(KeysView["Name"]):
    """The names of a depot, in the order of insertion."""

    _mapping: Depot[Any]

    def __init__(self, depot: Depot[Any]) -> None:
        super().__init__(depot)

    def __iter__(self) -> Iterator[Name]:
        return iter(self._mapping)

    def __reversed__(self) -> Iterator[Name]:
        return names_reversed(self._mapping)

    def __repr__(self) -> str:
        return f"<names of {self._mapping!r}>"


class Values(ValuesView[_V]):
    """The values of a depot, in the order of insertion."""

    _mapping: Depot[_V]

    def __init__(self, depot: Depot[_V], threads: int = 1) -> None:
        super().__init__(depot)
        self._threads = threads

    def __iter__(self) -> Iterator[_V]:
        return self._mapping._iter_values(self._threads)

    def __contains__(self, value: object) -> bool:
        return any(_same(found, value) for found in self)

    def __repr__(self) -> str:
        return f"<values of {self._mapping!r}>"


class Items(ItemsView["Name", _V]):
    """Names and values of a depot, in the order of insertion."""

    _mapping: Depot[_V]

    def __init__(self, depot: Depot[_V], threads: int = 1) -> None:
        super().__init__(depot)
        self._threads = threads

    def __iter__(self) -> Iterator[tuple[Name, _V]]:
        return self._mapping._iter_items(self._threads)

    def __contains__(self, item: object) -> bool:
        if not isinstance(item, tuple) or len(item) != 2:
            return False
        name, value = item
        return name in self._mapping and _same(self._mapping[name], value)

    def __repr__(self) -> str:
        return f"<items of {self._mapping!r}>"


class Metadata(MutableMapping[str, Any]):
    """A depot's own metadata. What is set is durable after the next commit."""

    def __init__(self, depot: Depot[Any]) -> None:
        self._depot = depot

    def __getitem__(self, name: str) -> Any:
        return self._depot._get_metadata(name)

    def __setitem__(self, name: str, value: Any) -> None:
        self._depot._set_metadata(name, value)

    def __delitem__(self, name: str) -> None:
        if not self._depot._remove_metadata(name):
            raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._depot._metadata_names())

    def __len__(self) -> int:
        return len(self._depot._metadata_names())

    def __repr__(self) -> str:
        return repr(self._depot._all_metadata())
