# mypy: disable-error-code="no-untyped-call"
"""Values of Python as JSON and arrays, so that they come back equal, with their types, dtypes and shapes.

What JSON has stands as it is. All else is an object with one key:

    {"$float": "nan"}                 a float that JSON has no number for
    {"$complex": [real, imag]}
    {"$bytes": "6869"}                in hexadecimal digits
    {"$tuple": [..]}
    {"$dict": [[key, value], ..]}     a dict with keys that are no text, or begin with "$"
    {"$scalar": [dtype, value]}       a scalar of numpy
    {"$array": [name, dtype]}         an array beside the JSON; dtype is null if it is stored with its own
    {"$objects": [shape, [..]]}       an array of Python objects
    {"$datetime": "2026-11-28T.."}
    {"$spacegroup": [number, setting]}
    {"$ase": ".."}                    another object of ASE, in ASE's own JSON

Arrays of complex numbers are stored with a last axis of real and imaginary part, text with one of code points
(uint32), bytes with one of bytes, and times as int64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: What a depot stores as it is: kinds of dtypes, and bytes of an element.
_STORED = {"b": (1,), "i": (1, 2, 4, 8), "u": (1, 2, 4, 8), "f": (2, 4, 8)}
#: The most values in each other. Reading takes some calls of a function for each.
_DEPTH = 100
_PARTS: dict[str, type] = {"U": np.uint32, "S": np.uint8, "M": np.int64, "m": np.int64}

Store = Callable[[str, NDArray[Any]], str]
"""Stores an array under a name like the one given, and returns that name."""


class Unkept(TypeError):
    """A value that cannot be kept."""


def pack(value: Any, where: tuple[Any, ...], store: Store) -> Any:
    """What JSON holds of `value`; its arrays go to `store`.

    Args:
        value: Any value.
        where: What the value is, for errors and names: `("info", "forces", 0)` is `info['forces'][0]`.
        store: Takes the arrays.

    Raises:
        Unkept: Names the part of the value that cannot be kept.
    """
    return _pack(value, where, store)


def unpack(packed: Any, arrays: Mapping[str, NDArray[Any]]) -> Any:
    """The value that `pack` took.

    Raises:
        ValueError: It is nothing that `pack` makes.
    """
    if isinstance(packed, list):
        return [unpack(item, arrays) for item in packed]
    if not isinstance(packed, dict):
        return packed
    tag = next(iter(packed), "")
    if not tag.startswith("$"):
        return {key: unpack(item, arrays) for key, item in packed.items()}
    if len(packed) > 1 or tag not in _UNPACK:
        raise ValueError(f"{tag!r} is no kind of value that this version knows")
    return _UNPACK[tag](packed[tag], arrays)


def is_stored(array: NDArray[Any]) -> bool:
    """Whether a depot gives an array back as it is."""
    dtype = array.dtype
    return type(array) is np.ndarray and dtype.isnative and dtype.itemsize in _STORED.get(dtype.kind, ())


def _stored(array: NDArray[Any], where: tuple[Any, ...]) -> tuple[NDArray[Any], str | None]:
    """An array as a depot can store it, and its dtype if that is another one."""
    if type(array) is not np.ndarray:
        raise Unkept(
            f"{_named(where)} cannot be kept: it is a {type(array).__module__}.{type(array).__qualname__}"
        )
    dtype = array.dtype
    native = dtype.newbyteorder("=")
    if dtype.itemsize in _STORED.get(dtype.kind, ()):
        return array, None if dtype.isnative else dtype.str
    flat = np.ascontiguousarray(array, native).reshape(-1)
    if dtype.kind == "c" and dtype.itemsize in (8, 16):
        parts: Any = np.float32 if dtype.itemsize == 8 else np.float64
    elif dtype.kind in _PARTS and dtype.itemsize > 0:
        parts = _PARTS[dtype.kind]
    else:
        raise Unkept(f"{_named(where)} cannot be kept: an array of {dtype}")
    n_parts = dtype.itemsize // np.dtype(parts).itemsize
    shape = array.shape if dtype.kind in "Mm" else (*array.shape, n_parts)
    return flat.view(parts).reshape(shape), dtype.str


def _restored(array: NDArray[Any], dtype_str: str | None) -> NDArray[Any]:
    """A copy of a stored array, as it was."""
    if dtype_str is None:
        return np.array(array)
    dtype = np.dtype(dtype_str)
    native = dtype.newbyteorder("=")
    if dtype.kind in "USMmc":
        shape = array.shape if dtype.kind in "Mm" else array.shape[:-1]
        if array.nbytes != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"an array {array.shape} of {array.dtype} is no {dtype}")
        array = np.ndarray(shape, native, buffer=np.ascontiguousarray(array).tobytes())
    elif dtype.kind not in _STORED:
        raise ValueError(f"there is no array of {dtype}")
    return array.astype(dtype)


def _named(where: tuple[Any, ...]) -> str:
    return str(where[0]) + "".join(f"[{part!r}]" for part in where[1:])


def _pack(value: Any, where: tuple[Any, ...], store: Store) -> Any:
    if len(where) > _DEPTH:
        raise Unkept(f"{_named(where[:2])} cannot be kept: it is nested too deep, or holds itself")
    kind = type(value)
    if value is None or kind in (bool, int, str):
        return value
    if kind is float:
        return value if math.isfinite(value) else {"$float": repr(value)}
    if kind is complex:
        return {"$complex": [_pack(part, where, store) for part in (value.real, value.imag)]}
    if kind is bytes:
        return {"$bytes": value.hex()}
    if kind in (list, tuple):
        items = [_pack(item, (*where, at), store) for at, item in enumerate(value)]
        return items if kind is list else {"$tuple": items}
    if kind is dict:
        if all(type(key) is str and not key.startswith("$") for key in value):
            return {key: _pack(item, (*where, key), store) for key, item in value.items()}
        return {
            "$dict": [
                [_pack(key, (*where, key), store), _pack(item, (*where, key), store)]
                for key, item in value.items()
            ]
        }
    if isinstance(value, np.generic):
        if value.dtype.kind in "Mm":
            return {"$scalar": [value.dtype.str, int(value.view(np.int64))]}
        item = value.item()
        if value.dtype.kind in "biufcUS" and type(item) in (bool, int, float, complex, str, bytes):
            return {"$scalar": [value.dtype.str, _pack(item, where, store)]}
    elif isinstance(value, np.ndarray):
        if value.dtype == object and kind is np.ndarray:
            return {"$objects": [list(value.shape), _pack(value.ravel().tolist(), where, store)]}
        array, dtype = _stored(value, where)
        return {"$array": [store(".".join(map(str, where)), array), dtype]}
    elif kind is datetime:
        return {"$datetime": value.isoformat()}
    elif hasattr(value, "todict"):
        return _pack_ase(value, where)
    raise Unkept(f"{_named(where)} cannot be kept: it is a {kind.__module__}.{kind.__qualname__}")


def _pack_ase(value: Any, where: tuple[Any, ...]) -> Any:
    from ase.io.jsonio import decode, encode  # type: ignore[import-not-found,import-untyped,unused-ignore]
    from ase.spacegroup import Spacegroup  # type: ignore[import-not-found,import-untyped,unused-ignore]

    if type(value) is Spacegroup:
        return {"$spacegroup": [int(value.no), int(value.setting)]}
    why = "ASE's JSON does not give it back"
    try:
        text = encode(value)
        back = decode(text)
        if type(back) is type(value) and encode(back) == text and getattr(value, "calc", None) is None:
            return {"$ase": text}
    except Exception as error:
        why = str(error)
    raise Unkept(f"{_named(where)} cannot be kept: it is a {type(value).__qualname__}, and {why}")


def _scalar(packed: Any, arrays: Mapping[str, NDArray[Any]]) -> Any:
    dtype, value = np.dtype(packed[0]), unpack(packed[1], arrays)
    return np.int64(value).view(dtype) if dtype.kind in "Mm" else dtype.type(value)


def _array(packed: Any, arrays: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    name, dtype = packed
    if name not in arrays:
        raise ValueError(f"the array {name!r} is not there")
    return _restored(arrays[name], dtype)


def _objects(packed: Any, arrays: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    shape, items = packed
    array = np.empty(len(items), object)
    for at, item in enumerate(items):
        array[at] = unpack(item, arrays)
    return array.reshape(shape)


def _spacegroup(packed: Any, _arrays: Any) -> Any:
    from ase.spacegroup import Spacegroup

    return Spacegroup(*packed)


def _ase(packed: Any, _arrays: Any) -> Any:
    from ase.io.jsonio import decode

    return decode(packed)


_UNPACK: dict[str, Callable[[Any, Mapping[str, NDArray[Any]]], Any]] = {
    "$float": lambda packed, _: float(packed),
    "$complex": lambda packed, arrays: complex(*unpack(packed, arrays)),
    "$bytes": lambda packed, _: bytes.fromhex(packed),
    "$tuple": lambda packed, arrays: tuple(unpack(packed, arrays)),
    "$dict": lambda packed, arrays: {unpack(key, arrays): unpack(value, arrays) for key, value in packed},
    "$scalar": _scalar,
    "$array": _array,
    "$objects": _objects,
    "$datetime": lambda packed, _: datetime.fromisoformat(packed),
    "$spacegroup": _spacegroup,
    "$ase": _ase,
}
