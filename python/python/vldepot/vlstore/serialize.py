"""Codecs: objects as bytes, and back."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._bytes import byte_view, fill

__all__ = ["BackedAtomicData", "BackedAtomicDataCodec", "Codec", "flatfloatndarray_codec"]

_T = TypeVar("_T")
_T_contra = TypeVar("_T_contra", contravariant=True)


class Packer(Protocol[_T_contra]):
    """Turns a value into bytes."""

    def __call__(self, target: _T_contra, /, *, out: Any = ...) -> Any:
        """The bytes of `target`; with `out`, that buffer, which then starts with them."""


@dataclass(frozen=True)
class Codec(Generic[_T]):
    """A pair of functions.

    Attributes:
        pack: The bytes of a value, as any C-contiguous buffer.
        unpack: The value of such bytes: `bytes` from `get`, a writable `memoryview` from `fused_get`.

    Example:
        >>> text = Codec(pack=lambda value, *, out=None: value.encode(), unpack=lambda data: bytes(data).decode())
        >>> text.unpack(text.pack("a"))
        'a'
    """

    pack: Packer[_T]
    unpack: Callable[[Any], _T]


def _pack_floats(array: NDArray[np.float32], /, *, out: Any = None) -> Any:
    if not array.flags.c_contiguous:
        raise ValueError("the array must be C-contiguous; numpy.ascontiguousarray makes it so")
    if array.dtype != np.float32:
        raise ValueError(f"the array must be of float32, and is of {array.dtype}")
    if out is None:
        return byte_view(array)
    fill(out, 0, array)
    return byte_view(out)


def _unpack_floats(data: Any, /) -> NDArray[np.float32]:
    return np.frombuffer(byte_view(data), dtype=np.float32)


flatfloatndarray_codec: Codec[NDArray[np.float32]] = Codec(pack=_pack_floats, unpack=_unpack_floats)
"""Arrays `[n]` of float32. Arrays of more dimensions come back flat. Other dtypes, and arrays that are not
C-contiguous, are a `ValueError`."""


# An atomic frame is a table of Flatbuffers, of which these are the fields. It is written in this order:
#
#     0    4              22     24                    56
#     +----+--------------+------+---------------------+------+-------+--------+-----------+--------+
#     | 24 | vtable: 18,  | 0, 0 | table: 20, then one | name | types | masses | positions | forces |
#     |    | 32, 4, 8, .. |      | word for each field |      |       |        |           |        |
#     +----+--------------+------+---------------------+------+-------+--------+-----------+--------+
#
# Offsets are relative to where they stand. A vector has its length in front, and starts at a multiple of 16.
_NAME, _NSITES, _NCODIM, _TYPES, _MASSES, _POSITIONS, _FORCES = range(7)
_VTABLE = struct.Struct("<2H7H")
_TABLE = struct.Struct("<i7i")
_VTABLE_AT, _TABLE_AT = 4, 24
_VECTORS_AT = _TABLE_AT + _TABLE.size
_VECTOR_ALIGN = 16
_NCODIM_DEFAULT = 3


class FBFrame:
    """The fields of an atomic frame in a buffer. Arrays are views of it."""

    def __init__(self, buffer: Any, offset: int = 0) -> None:
        self._view = byte_view(buffer)
        self._table = offset + self._read("<I", offset)
        self._vtable = self._table - self._read("<i", self._table)
        self._vtable_len = self._read("<H", self._vtable)

    @classmethod
    def GetRootAs(cls, buffer: Any, offset: int = 0) -> FBFrame:
        """The frame that starts at `offset`."""
        return cls(buffer, offset)

    def Name(self) -> bytes:
        """The name, UTF-8."""
        at, length = self._vector(_NAME, 1)
        return bytes(self._view[at : at + length])

    def Nsites(self) -> int:
        """Number of sites."""
        return self._number(_NSITES, 0)

    def Ncodim(self) -> int:
        """Coordinates of a site."""
        return self._number(_NCODIM, _NCODIM_DEFAULT)

    def TypesAsNumpy(self) -> NDArray[np.int32]:
        """`[n_sites]`"""
        return self._array(_TYPES, np.int32)

    def MassesAsNumpy(self) -> NDArray[np.float32]:
        """`[n_sites]`"""
        return self._array(_MASSES, np.float32)

    def PositionsAsNumpy(self) -> NDArray[np.float32]:
        """`[n_sites * n_codim]`"""
        return self._array(_POSITIONS, np.float32)

    def ForcesAsNumpy(self) -> NDArray[np.float32]:
        """`[n_sites * n_codim]`"""
        return self._array(_FORCES, np.float32)

    def _read(self, form: str, at: int) -> int:
        if at < 0 or at + struct.calcsize(form) > len(self._view):
            raise ValueError(f"these {len(self._view)} bytes are no atomic frame: one of its offsets is {at}")
        return int(struct.unpack_from(form, self._view, at)[0])

    def _field(self, field: int) -> int:
        """Where a field is. 0 if it is absent."""
        slot = 4 + 2 * field
        if slot + 2 > self._vtable_len:
            return 0
        relative = self._read("<H", self._vtable + slot)
        return self._table + relative if relative else 0

    def _number(self, field: int, default: int) -> int:
        at = self._field(field)
        return self._read("<i", at) if at else default

    def _vector(self, field: int, size: int) -> tuple[int, int]:
        """Where the elements of a vector start, and how many there are."""
        at = self._field(field)
        if not at:
            return 0, 0
        at += self._read("<I", at)
        length = self._read("<I", at)
        if at + 4 + length * size > len(self._view):
            raise ValueError(
                f"these {len(self._view)} bytes are no atomic frame: one of its arrays ends after them"
            )
        return at + 4, length

    def _array(self, field: int, dtype: Any) -> NDArray[Any]:
        at, length = self._vector(field, 4)
        return np.frombuffer(self._view, dtype, length, at) if length else np.zeros(0, dtype)


@dataclass(frozen=True)
class BackedAtomicData:
    """A frame of particles, backed by bytes. Its arrays are views of them.

    Attributes:
        raw: The bytes.
        fb: Their fields.

    Example:
        >>> frame = BackedAtomicData.from_values(
        ...     name="water", nsites=3, masses=[16, 1, 1], atom_types=[8, 1, 1],
        ...     positions=np.zeros((3, 3)), forces=np.ones((3, 3)),
        ... )
        >>> frame.name, frame.n_sites, frame.forces.shape, frame.atom_types
        ('water', 3, (3, 3), array([8, 1, 1], dtype=int32))
    """

    raw: memoryview
    fb: FBFrame

    @property
    def name(self) -> str:
        """The frame's name."""
        return self.fb.Name().decode()

    @property
    def n_sites(self) -> int:
        """Number of sites."""
        return self.fb.Nsites()

    @property
    def masses(self) -> NDArray[np.float32]:
        """`[n_sites]`"""
        return self.fb.MassesAsNumpy()

    @property
    def atom_types(self) -> NDArray[np.int32]:
        """`[n_sites]`"""
        return self.fb.TypesAsNumpy()

    @property
    def pos(self) -> NDArray[np.float32]:
        """`[n_sites, n_codim]`"""
        return self.fb.PositionsAsNumpy().reshape(self.n_sites, self.fb.Ncodim())

    @property
    def forces(self) -> NDArray[np.float32]:
        """`[n_sites, n_codim]`"""
        return self.fb.ForcesAsNumpy().reshape(self.n_sites, self.fb.Ncodim())

    @classmethod
    def from_values(
        cls,
        *,
        name: str,
        nsites: int,
        masses: ArrayLike,
        atom_types: ArrayLike,
        positions: ArrayLike,
        forces: ArrayLike,
        builder: Any = None,
        check: bool = True,
    ) -> BackedAtomicData:
        """Makes a frame.

        Args:
            name: What it is.
            nsites: Number of sites.
            masses: `[nsites]`, stored as float32.
            atom_types: `[nsites]`, stored as int32.
            positions: `[nsites, n_codim]`, stored as float32. `n_codim` is 3 mostly.
            forces: As `positions`.
            builder: Not used; vlstore takes a builder of Flatbuffers here.
            check: Whether the shapes of positions and forces are checked. If not, the number of sites is that of the
                rows of `forces`.

        Raises:
            ValueError: When a shape is wrong, or a type is no int32.
        """
        places, pushes = (np.asarray(values, dtype=np.float32) for values in (positions, forces))
        if check:
            for what, array in (("positions", places), ("forces", pushes)):
                if array.ndim != 2:
                    raise ValueError(
                        f"{what} must be of 2 dimensions, [nsites, n_codim], and are of {array.ndim}"
                    )
                if array.shape[0] != nsites:
                    raise ValueError(f"{what} must be of {nsites} sites, and are of {array.shape[0]}")
            if places.shape != pushes.shape:
                raise ValueError(f"positions of {places.shape} and forces of {pushes.shape} differ in shape")
        types = np.asarray(atom_types)
        numbers = types.astype(np.int32)
        if not np.array_equal(numbers, types):
            raise ValueError("atom_types must be of int32")
        ncodim = pushes.shape[1] if pushes.ndim == 2 else _NCODIM_DEFAULT
        vectors = [numbers, np.asarray(masses, dtype=np.float32), places, pushes]
        raw = byte_view(_frame(name.encode(), pushes.shape[0], ncodim, vectors))
        return cls(raw, FBFrame(raw))

    def __reduce__(self) -> tuple[Any, ...]:
        return (_unpack_frame, (bytes(self.raw),))


def _frame(name: bytes, nsites: int, ncodim: int, vectors: list[NDArray[Any]]) -> bytearray:
    """The bytes of a frame: see the drawing above."""
    at = _VECTORS_AT
    places = [at]
    at += 4 + len(name) + 1
    for vector in vectors:
        at += -(at + 4) % _VECTOR_ALIGN
        places.append(at)
        at += 4 + vector.nbytes
    raw = bytearray(at)
    struct.pack_into("<I", raw, 0, _TABLE_AT)
    _VTABLE.pack_into(raw, _VTABLE_AT, _VTABLE.size, _TABLE.size, *range(4, _TABLE.size, 4))
    words: list[int] = [0] * 7
    words[_NSITES], words[_NCODIM] = nsites, ncodim
    for field, place in zip((_NAME, _TYPES, _MASSES, _POSITIONS, _FORCES), places, strict=True):
        words[field] = place - (_TABLE_AT + 4 + 4 * field)
    _TABLE.pack_into(raw, _TABLE_AT, _TABLE_AT - _VTABLE_AT, *words)
    struct.pack_into("<I", raw, places[0], len(name))
    raw[places[0] + 4 : places[0] + 4 + len(name)] = name
    for place, vector in zip(places[1:], vectors, strict=True):
        struct.pack_into("<I", raw, place, vector.size)
        raw[place + 4 : place + 4 + vector.nbytes] = vector.astype(vector.dtype.newbyteorder("<")).tobytes()
    return raw


def _pack_frame(frame: BackedAtomicData, /, *, out: Any = None) -> Any:
    if out is None:
        return frame.raw.toreadonly()
    fill(out, 0, frame.raw)
    return out


def _unpack_frame(data: Any, /) -> BackedAtomicData:
    view = byte_view(data)
    return BackedAtomicData(view, FBFrame(view))


BackedAtomicDataCodec: Codec[BackedAtomicData] = Codec(pack=_pack_frame, unpack=_unpack_frame)
"""Frames of particles. Numbers of sites may differ from frame to frame."""
