"""Views of a depot: its names, its values, its metadata."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, MutableMapping, ValuesView
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from ._reports import Name
    from ._vldepot import Depot

_V = TypeVar("_V")


class Names(KeysView["Name"]):
    """The names of a depot, in the order of insertion."""

    _mapping: Depot[Any]

    def __init__(self, depot: Depot[Any]) -> None:
        super().__init__(depot)

    def __iter__(self) -> Iterator[Name]:
        return iter(self._mapping)

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

    def __repr__(self) -> str:
        return f"<items of {self._mapping!r}>"


class Metadata(MutableMapping[str, Any]):
    """A depot's own metadata. What is set is durable after the next commit."""

    def __init__(self, depot: Depot[Any]) -> None:
        self._depot = depot

    def __getitem__(self, name: str) -> Any:
        return self._depot._all_metadata()[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self._depot._set_metadata(name, value)

    def __delitem__(self, name: str) -> None:
        if not self._depot._remove_metadata(name):
            raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._depot._all_metadata())

    def __len__(self) -> int:
        return len(self._depot._all_metadata())

    def __repr__(self) -> str:
        return repr(self._depot._all_metadata())
