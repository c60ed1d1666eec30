"""Maps of integers in one byte string: `MapBuffer` to bytes, and `IntMap` to integers.

The names are those of the package [mapbuffer](https://github.com/seung-lab/mapbuffer), and its files are read as they
are. What is new is written in the format of vldepot, in which every byte has a checksum, unless `format="mapbuffer"`
is asked for.

    >>> from vldepot.mapbuffer import IntMap, MapBuffer
    >>> data = MapBuffer({2848: b"abc", 2**64 - 1: b"123"}, compress="zstd").tobytes()
    >>> mb = MapBuffer(data)
    >>> mb[2848], mb.compress, len(mb)
    (b'abc', 'zstd', 2)
    >>> IntMap({1: 10, 0: 5}).todict()
    {0: 5, 1: 10}

A map is built once. It is opened from bytes, from a file object (mapped into memory), or from any object whose slices
are bytes: of such an object the header is read once, the index once, and then one slice for each value.
"""

from __future__ import annotations

import io
import mmap
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, SupportsIndex

from ._vldepot import ByteMapCore, IntMapCore, build_byte_map, build_int_map
from .errors import Error

if TYPE_CHECKING:
    _Compression = Literal["gzip", "br", "zstd", "lzma"]
    _Format = Literal["vldepot", "mapbuffer"]

__all__ = [
    "FORMAT_VERSION",
    "HEADER_LENGTH",
    "MAGIC_NUMBERS",
    "CompressionError",
    "DecompressionError",
    "IntMap",
    "MapBuffer",
    "UnsupportedCompressionType",
    "ValidationError",
]

MAGIC_NUMBERS = b"vldbmap"
"""How the bytes of a `MapBuffer` begin."""
FORMAT_VERSION = 1
"""The version of the format, which is the byte after the magic numbers."""
HEADER_LENGTH = 32
"""Bytes before the index."""

_COMPRESSIONS = ("gzip", "br", "zstd", "lzma")
_LIMIT = 2**64


class ValidationError(ValueError):
    """Bytes that are not what was written. The message names the key, if there is one, and the place.

    `__cause__` is the error of the library.
    """


class DecompressionError(ValidationError):
    """A value that does not decompress."""


class CompressionError(ValueError):
    """A value that cannot be compressed."""


class UnsupportedCompressionType(ValueError):
    """A compression that is none of `gzip`, `br`, `zstd` and `lzma`."""


def _key(key: SupportsIndex) -> int | None:
    """The key as an integer, or None for one that no map can hold."""
    number = operator.index(key)
    return number if 0 <= number < _LIMIT else None


def _stored_key(key: SupportsIndex) -> int:
    number = _key(key)
    if number is None:
        raise OverflowError(f"key {key!r}: expected an integer from 0 to 2**64 - 1")
    return number


def _compression(compress: str | bool | None) -> str:
    if compress is True:
        return "gzip"
    name = (compress or "none").lower()
    if name != "none" and name not in _COMPRESSIONS:
        raise UnsupportedCompressionType(f"compress={compress!r}: expected None, gzip, br, zstd or lzma")
    return name


def _is_mapbuffer(format: str) -> bool:
    if format not in ("vldepot", "mapbuffer"):
        raise ValueError(f"format={format!r}: expected vldepot or mapbuffer")
    return format == "mapbuffer"


def _source(data: Any) -> Any:
    """An object with slices for what a map can be opened from."""
    if isinstance(data, io.IOBase):
        try:
            return mmap.mmap(data.fileno(), 0, access=mmap.ACCESS_READ)
        except io.UnsupportedOperation:
            return data.read()
        except ValueError:  # an empty file cannot be mapped
            return b""
    if not hasattr(data, "__getitem__"):
        raise TypeError(
            f"data: expected a dict, bytes, a file or an object that gives slices, found {type(data)}"
        )
    return data


class _Checked:
    """Damage that is raised as a `ValidationError`."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, Error) and type(error).__name__ not in (
            "IoError",
            "InvalidRecord",
            "InvalidOptions",
        ):
            wrong = DecompressionError if " data, found " in str(error) else ValidationError
            raise wrong(str(error)) from error


_checked = _Checked()


class MapBuffer:
    """A map of integers from 0 to 2**64 - 1 to bytes, in one byte string.

    - `data`: a dict to be stored, or what holds a map: bytes, a buffer, a file object, or any object that gives slices.
    - `compress`: how values of a dict are compressed: None, `gzip`, `br`, `zstd` or `lzma`.
    - `tobytesfn`, `frombytesfn`: called for each value that is stored or read.
    - `check_crc`: whether what is read is compared with its checksum.
    - `compute_crc`: whether values of a dict get checksums.
    - `format`: `vldepot`, or `mapbuffer` for a file that mapbuffer reads.

    Keys come in their order. Values are bytes.

    Raises `ValidationError` for bytes that are no map, or not what was written, and `KeyError` for missing keys.

        >>> mb = MapBuffer({1: "one", 0: "zero"}, tobytesfn=str.encode, frombytesfn=bytes.decode)
        >>> mb[1], list(mb), 2 in mb, mb.get(2, "none")
        ('one', [0, 1], False, 'none')
    """

    def __init__(
        self,
        data: Mapping[int, Any] | Any = None,
        compress: _Compression | bool | None = None,
        tobytesfn: Callable[[Any], bytes] | None = None,
        frombytesfn: Callable[[bytes], Any] | None = None,
        check_crc: bool = True,
        compute_crc: bool = True,
        *,
        format: _Format = "vldepot",
    ) -> None:
        self.tobytesfn = tobytesfn
        self.frombytesfn = frombytesfn
        self._check_crc = check_crc
        self._core: ByteMapCore | None = None
        self._compress = compress
        if isinstance(data, dict):
            encode = tobytesfn or (lambda value: value)
            pairs = [(_stored_key(key), bytes(memoryview(encode(value)))) for key, value in data.items()]
            self._buffer: Any = build_byte_map(
                pairs, _compression(compress), compute_crc, _is_mapbuffer(format)
            )
        else:
            self._buffer = _source(data)

    @property
    def buffer(self) -> Any:
        """What holds the map. A new one may be assigned, and is opened when it is next used."""
        return self._buffer

    @buffer.setter
    def buffer(self, buffer: Any) -> None:
        self._buffer = _source(buffer)
        self._core = None

    @property
    def check_crc(self) -> bool:
        """Whether what is read is compared with its checksum."""
        return self._check_crc

    @check_crc.setter
    def check_crc(self, check: bool) -> None:
        self._check_crc = check
        self._core = None

    @property
    def _map(self) -> ByteMapCore:
        if self._core is None:
            with _checked:
                self._core = ByteMapCore(self._buffer, self._check_crc)
        return self._core

    @property
    def compress(self) -> str | None:
        """How values are compressed: None, `gzip`, `br`, `zstd` or `lzma`."""
        return self._map.compress

    @property
    def format(self) -> str:
        """Whose format the map is in: `vldepot` or `mapbuffer`."""
        return "mapbuffer" if self._map.is_mapbuffer else "vldepot"

    def __len__(self) -> int:
        return len(self._map)

    def __iter__(self) -> Iterator[int]:
        return self.keys()

    def __contains__(self, label: SupportsIndex) -> bool:
        key = _key(label)
        with _checked:
            return key is not None and self._map.contains(key)

    def _find(self, label: SupportsIndex) -> bytes | None:
        key = _key(label)
        with _checked:
            return None if key is None else self._map.find(key)

    def _decoded(self, value: bytes) -> Any:
        return value if self.frombytesfn is None else self.frombytesfn(value)

    def __getitem__(self, label: SupportsIndex) -> Any:
        value = self._find(label)
        if value is None:
            raise KeyError(f"{label} was not found.")
        return self._decoded(value)

    def get(self, label: SupportsIndex, default: Any = None) -> Any:
        """The value of a key, or `default`."""
        value = self._find(label)
        return default if value is None else self._decoded(value)

    def __setitem__(self, label: SupportsIndex, value: Any) -> None:
        key = _key(label)
        if key is None or label not in self:
            raise KeyError(f"{label} was not found.")
        data = value if self.tobytesfn is None else self.tobytesfn(value)
        with _checked:
            start, stored = self._map.change(key, bytes(memoryview(data)))
        self._buffer[start : start + len(stored)] = stored

    def keys(self) -> Iterator[int]:
        """The keys in their order."""
        with _checked:
            return iter(self._map.keys())

    def values(self) -> Iterator[Any]:
        """The values, in the order of their keys."""
        return (self[key] for key in self.keys())

    def items(self) -> Iterator[tuple[int, Any]]:
        """Each key with its value, in the order of the keys."""
        return ((key, self[key]) for key in self.keys())

    def todict(self) -> dict[int, Any]:
        """All of it as a dict."""
        return dict(self.items())

    def tobytes(self) -> Any:
        """What holds the map: the bytes, if it was built from a dict."""
        return self._buffer

    def size(self, label: SupportsIndex) -> int:
        """Bytes that the value of a key takes in the map, without its checksum."""
        key = _key(label)
        with _checked:
            size = None if key is None else self._map.stored_len(key)
        if size is None:
            raise KeyError(f"{label} was not found.")
        return size

    def transcode(
        self, compress: _Compression | None, *, compute_crc: bool = True, format: _Format = "vldepot"
    ) -> MapBuffer:
        """A map with the same values, compressed another way. What is compressed so already is copied as it is."""
        with _checked:
            data = self._map.transcode(_compression(compress), compute_crc, _is_mapbuffer(format))
        return MapBuffer(data, None, self.tobytesfn, self.frombytesfn, self._check_crc)

    def validate(self) -> bool:
        """Looks at every byte. Returns True, or raises `ValidationError` that says what is wrong and where."""
        self._core = None
        with _checked:
            self._map.validate()
        return True

    @staticmethod
    def validate_buffer(buf: Any) -> bool:
        """The same for anything that a map can be opened from."""
        return MapBuffer(buf).validate()


class IntMap:
    """A map of integers from 0 to 2**64 - 1 to such integers, in one byte string: 16 bytes an entry.

    `data` is a dict to be stored, or what holds a map: bytes, a buffer, a file object, or any object that gives slices.
    The index is read once, so what another process sets is seen after `buffer` is assigned again.

    `im[key] = value` sets the value of a key that is there, in place, if `buffer` can be written, and the checksum of
    its page. This is for memory, and not crash-safe: value and checksum are two writes.

        >>> im = IntMap({1: 5, 2: 7})
        >>> im.buffer = bytearray(im.tobytes())
        >>> im[1] = 8
        >>> im[1], im.validate()
        (8, True)
    """

    def __init__(self, data: Mapping[int, int] | Any, *, format: _Format = "vldepot") -> None:
        self._core: IntMapCore | None = None
        if isinstance(data, dict):
            pairs = [(_stored_key(key), _stored_key(value)) for key, value in data.items()]
            self._buffer: Any = build_int_map(pairs, _is_mapbuffer(format))
        else:
            self._buffer = _source(data)

    @property
    def buffer(self) -> Any:
        """What holds the map. A new one may be assigned, and is opened when it is next used."""
        return self._buffer

    @buffer.setter
    def buffer(self, buffer: Any) -> None:
        self._buffer = _source(buffer)
        self._core = None

    @property
    def _map(self) -> IntMapCore:
        if self._core is None:
            with _checked:
                self._core = IntMapCore(self._buffer)
        return self._core

    @property
    def format(self) -> str:
        """Whose format the map is in: `vldepot` or `mapbuffer`."""
        return "mapbuffer" if self._map.is_mapbuffer else "vldepot"

    def __len__(self) -> int:
        return len(self._map)

    def __iter__(self) -> Iterator[int]:
        return self.keys()

    def _find(self, label: SupportsIndex) -> int | None:
        key = _key(label)
        with _checked:
            return None if key is None else self._map.find(key)

    def __contains__(self, label: SupportsIndex) -> bool:
        return self._find(label) is not None

    def __getitem__(self, label: SupportsIndex) -> int:
        value = self._find(label)
        if value is None:
            raise KeyError(f"{label} was not found.")
        return value

    def get(self, label: SupportsIndex, default: Any = None) -> Any:
        """The value of a key, or `default`."""
        value = self._find(label)
        return default if value is None else value

    def __setitem__(self, label: SupportsIndex, value: SupportsIndex) -> None:
        key = _key(label)
        if key is None or label not in self:
            raise KeyError(f"{label} was not found.")
        with _checked:
            self._map.set(key, _stored_key(value))

    def _items(self) -> Iterable[tuple[int, int]]:
        with _checked:
            return self._map.items()

    def keys(self) -> Iterator[int]:
        """The keys in their order."""
        return (key for key, _ in self._items())

    def values(self) -> Iterator[int]:
        """The values, in the order of their keys."""
        return (value for _, value in self._items())

    def items(self) -> Iterator[tuple[int, int]]:
        """Each key with its value, in the order of the keys."""
        return iter(self._items())

    def todict(self) -> dict[int, int]:
        """All of it as a dict."""
        return dict(self._items())

    def tobytes(self) -> Any:
        """What holds the map: the bytes, if it was built from a dict."""
        return self._buffer

    def validate(self) -> bool:
        """Looks at every byte. Returns True, or raises `ValidationError` that says what is wrong and where."""
        self._core = None
        with _checked:
            self._map.validate()
        return True
