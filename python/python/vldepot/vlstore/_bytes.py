"""Objects as their bytes."""

from __future__ import annotations

from typing import Any, TypeAlias

from numpy.typing import NDArray

ReadBuffer: TypeAlias = bytes | bytearray | memoryview | NDArray[Any]
WriteBuffer: TypeAlias = bytearray | memoryview | NDArray[Any]


def byte_view(source: Any) -> memoryview:
    """The bytes of a C-contiguous buffer, without a copy. Others are a `TypeError`."""
    view = memoryview(source)
    if view.nbytes == 0:
        return memoryview(b"")
    if not view.c_contiguous:
        raise TypeError("a buffer must be C-contiguous; numpy.ascontiguousarray makes an array so")
    return view.cast("B")


def fill(target: Any, offset: int, source: Any) -> None:
    """Copies bytes into a buffer, from `offset` on. One that is too small is a `ValueError`."""
    to, data = byte_view(target), byte_view(source)
    end = offset + len(data)
    if len(to) < end:
        raise ValueError(f"the buffer has {len(to)} bytes, and needs {end}")
    if len(data):
        to[offset:end] = data
