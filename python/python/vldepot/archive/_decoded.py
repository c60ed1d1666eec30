"""Values by the ends of names: the view of an archive, and its codecs."""

from __future__ import annotations

import bz2
import gzip
import importlib
import io
import json
import lzma
import os
from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, MutableMapping, ValuesView
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import errors

if TYPE_CHECKING:
    from ._archive import Archive, ArchivePath


class _Codec(NamedTuple):
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]
    nonfinal: bool


def _package(module: str, package: str, ends: str) -> Any:
    """A module of a package that need not be there."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"values of {ends} need the package {package}, which is not installed: pip install {package}",
            name=package,
        ) from error


def _encode_json(value: Any) -> bytes:
    # Without NaN, which is no JSON.
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()


def _encode_npy(value: Any) -> bytes:
    import numpy as np

    out = io.BytesIO()
    np.save(out, np.asarray(value), allow_pickle=False)
    return out.getvalue()


def _decode_npy(data: bytes) -> Any:
    import numpy as np

    return np.load(io.BytesIO(data), allow_pickle=False)


def _encode_npz(value: Any) -> bytes:
    import numpy as np

    out = io.BytesIO()
    arrays = {name: np.asarray(array) for name, array in value.items()}
    if any(array.dtype.hasobject for array in arrays.values()):
        raise ValueError("arrays of objects would be pickled, and are not stored")
    np.savez(out, **arrays)  # type: ignore[arg-type]
    return out.getvalue()


def _decode_npz(data: bytes) -> dict[str, Any]:
    import numpy as np

    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return dict(arrays)


def _msgpack() -> Any:
    return _package("msgpack", "msgpack", ".msgpack")


def _encode_msgpack(value: Any) -> bytes:
    """Arrays and scalars of numpy as the package msgpack-numpy has them."""
    import numpy as np

    def default(found: Any) -> Any:
        if isinstance(found, np.ndarray | np.generic):
            if found.dtype.hasobject:
                raise ValueError("arrays of objects would be pickled, and are not stored")
            if found.dtype.kind in "mM":
                raise ValueError(f"an array of {found.dtype} has no form in MessagePack")
            if isinstance(found, np.generic):
                return {b"nd": False, b"type": found.dtype.str, b"data": found.tobytes()}
            is_struct = found.dtype.kind == "V"
            return {
                b"nd": True,
                b"type": found.dtype.descr if is_struct else found.dtype.str,
                b"kind": b"V" if is_struct else b"",
                b"shape": found.shape,
                b"data": found.tobytes(),
            }
        if isinstance(found, complex):
            return {b"complex": True, b"data": repr(found)}
        raise TypeError(f"MessagePack has no {type(found).__name__}")

    packed: bytes = _msgpack().packb(value, default=default, use_bin_type=True)
    return packed


def _decode_msgpack(data: bytes) -> Any:
    import numpy as np

    def dtype(described: Any) -> Any:
        if isinstance(described, str):
            return np.dtype(described)
        fields = [(field[0], dtype(field[1]), *(tuple(shape) for shape in field[2:])) for field in described]
        return np.dtype(fields)

    def hook(found: dict[Any, Any]) -> Any:
        if b"nd" in found:
            if found.get(b"kind") == b"O":
                raise ValueError("it has a pickled array, which may run any program and is not read")
            made = np.frombuffer(found[b"data"], dtype(found[b"type"]))
            return made.reshape(found[b"shape"]).copy() if found[b"nd"] else made[0]
        if b"complex" in found:
            return complex(found[b"data"])
        return found

    return _msgpack().unpackb(data, object_hook=hook, raw=False, strict_map_key=False)


def _pillow() -> Any:
    return _package("PIL.Image", "Pillow", "images")


#: What images are stored as, and with which settings.
_IMAGES: dict[str, tuple[str, dict[str, Any]]] = {
    ".png": ("PNG", {}),
    ".jpg": ("JPEG", {"quality": 95}),
    ".jpeg": ("JPEG", {"quality": 95}),
    ".gif": ("GIF", {}),
    ".bmp": ("BMP", {}),
    ".webp": ("WEBP", {"lossless": True, "exact": True}),
    ".tif": ("TIFF", {}),
    ".tiff": ("TIFF", {}),
}


def _image_codec(kind: str, settings: dict[str, Any]) -> _Codec:
    def encode(value: Any) -> bytes:
        import numpy as np

        pixels = np.asarray(value)
        image = _pillow().fromarray(pixels)
        out = io.BytesIO()
        image.save(out, kind, **settings)
        data = out.getvalue()
        if kind != "JPEG":
            stored = decode(data)
            if not np.array_equal(_as_stored(pixels, stored), stored):
                raise ValueError(
                    f"{kind} does not hold this array of shape {pixels.shape} and dtype {pixels.dtype} as it is"
                )
        return data

    def decode(data: bytes) -> Any:
        import numpy as np

        with _pillow().open(io.BytesIO(data), formats=[kind]) as image:
            frames = []
            for nth in range(getattr(image, "n_frames", 1)):
                image.seek(nth)
                frame = image
                if image.mode in ("P", "PA"):
                    # Numbers of colours are no colours.
                    frame = image.convert("RGBA" if "transparency" in image.info else "RGB")
                frames.append(np.array(frame))
        return frames[0] if len(frames) == 1 else np.stack(frames)

    return _Codec(encode, decode, False)


def _as_stored(pixels: Any, stored: Any) -> Any:
    """Grey pixels where a format has only colours: three times the same."""
    if pixels.ndim == 2 and stored.ndim == 3:
        return pixels[..., None].repeat(stored.shape[-1], axis=-1)
    return pixels


def _zstd(name: str, data: bytes) -> bytes:
    """Calls `compress` or `decompress`."""
    try:
        standard: Any = importlib.import_module("compression.zstd")
    except ImportError:
        standard = None
    done: bytes = getattr(standard, name)(data) if standard else _zstandard(name, data)
    return done


def _zstandard(name: str, data: bytes) -> bytes:
    package = _package("zstandard", "zstandard", ".zst")
    if name == "compress":
        packed: bytes = package.ZstdCompressor().compress(data)
        return packed
    # Frame by frame, since a call that takes them all does not tell that the last one was cut short.
    parts: list[bytes] = []
    while data or not parts:
        frame = package.ZstdDecompressor().decompressobj()
        parts.append(frame.decompress(data))
        if not frame.eof:
            raise ValueError("it is cut short")
        data = frame.unused_data
    return b"".join(parts)


def _refuse_pickle(_: Any) -> Any:
    raise ValueError(
        "reading a pickle can run any program that whoever wrote the file chose. If you trust the archive, say so: "
        "register_codec(['.pkl', '.pickle'], pickle.dumps, pickle.loads)"
    )


def _codecs() -> dict[str, _Codec]:
    """Those that a new view has."""
    codecs = {
        ".json": _Codec(_encode_json, json.loads, False),
        ".npy": _Codec(_encode_npy, _decode_npy, False),
        ".npz": _Codec(_encode_npz, _decode_npz, False),
        ".msgpack": _Codec(_encode_msgpack, _decode_msgpack, False),
        ".pkl": _Codec(_refuse_pickle, _refuse_pickle, False),
        ".pickle": _Codec(_refuse_pickle, _refuse_pickle, False),
        ".bz2": _Codec(bz2.compress, bz2.decompress, True),
        ".zst": _Codec(partial(_zstd, "compress"), partial(_zstd, "decompress"), True),
    }
    for end in (".gz", ".gzip"):
        codecs[end] = _Codec(lambda data: gzip.compress(data, mtime=0), gzip.decompress, True)
    codecs[".xz"] = _Codec(lzma.compress, lzma.decompress, True)
    alone = lzma.FORMAT_ALONE
    # Archives of Barecat have xz under this name too, so both forms are read.
    codecs[".lzma"] = _Codec(lambda data: lzma.compress(data, format=alone), lzma.decompress, True)
    for end, (kind, settings) in _IMAGES.items():
        codecs[end] = _image_codec(kind, settings)
    return codecs


_BUILT_IN = _codecs()


def _again(archive: Archive, own: dict[str, _Codec], gone: list[str]) -> DecodedView:
    """A view that was pickled: the codecs of its own are pickled with it, and the built-in ones are not."""
    view = DecodedView(archive)
    for end in gone:
        view._by_end.pop(end, None)
    view._by_end.update(own)
    return view


class _Values(ValuesView[Any]):
    _mapping: DecodedView

    def __iter__(self) -> Iterator[Any]:
        return (value for _, value in self._mapping._decoded())


class _Items(ItemsView[str, Any]):
    _mapping: DecodedView

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return self._mapping._decoded()


class DecodedView(MutableMapping[str, Any]):
    """An archive whose values are decoded by the ends of their names, from `Archive.decoded`.

    | end | value |
    | --- | --- |
    | `.json` | what `json` has. NaN is refused |
    | `.npy` | numpy array. Arrays of objects are refused, since they would be pickled |
    | `.npz` | dict of numpy arrays |
    | `.msgpack` | what MessagePack has, and numpy arrays as msgpack-numpy has them. Needs msgpack |
    | `.png .jpg .jpeg .gif .bmp .webp .tif .tiff` | numpy array. Needs Pillow |
    | `.gz .gzip .xz .lzma .bz2 .zst` | what comes before it, as in `.json.gz` |

    `.zst` needs Python 3.14, or the package zstandard. An image has the shape (height, width) or (height, width,
    channels), and with several frames their number in front.

    JPEG has a quality of 95 and changes pixels; WebP is lossless. What an image format cannot hold as it is,
    such as many colours in a GIF, is refused. Large and small letters are the same in ends of names.

    Pickles (`.pkl`, `.pickle`) are refused: reading one can run any program that whoever wrote it chose.
    Where you trust the archive, register them: `view.register_codec([".pkl"], pickle.dumps, pickle.loads)`.
    OpenEXR images, and all else, can be registered too.

    A name whose end has no codec is a `CodecError`, and so are a value that its codec refuses and bytes that
    it cannot read; the error's cause says why. A package that is missing is an `ImportError` that names it.

    Example:
        >>> from vldepot import archive
        >>> import numpy as np
        >>> values = archive.memory().decoded()
        >>> values["a/b.npy"] = np.eye(2, dtype="int8")
        >>> values["a/c.json.gz"] = [1, 2]
        >>> values["a/b.npy"].tolist(), values["a/c.json.gz"], list(values)
        ([[1, 0], [0, 1]], [1, 2], ['a/b.npy', 'a/c.json.gz'])
    """

    def __init__(self, archive: Archive) -> None:
        """A view of an archive."""
        self._archive = archive
        self._by_end = dict(_BUILT_IN)

    def __reduce__(self) -> tuple[Any, ...]:
        own = {end: codec for end, codec in self._by_end.items() if _BUILT_IN.get(end) is not codec}
        return _again, (self._archive, own, [end for end in _BUILT_IN if end not in self._by_end])

    @property
    def archive(self) -> Archive:
        """The archive."""
        return self._archive

    def register_codec(
        self,
        exts: str | Iterable[str],
        encoder: Callable[[Any], bytes],
        decoder: Callable[[bytes], Any],
        nonfinal: bool = False,
    ) -> None:
        """Sets how values are encoded whose names have an end, in this view.

        Args:
            exts: Ends of names, such as `".txt"` or `[".yaml", ".yml"]`.
            encoder: Makes bytes of a value.
            decoder: Makes a value of `bytes`.
            nonfinal: Whether the end before it says what the bytes are, as for compressed files.

        Raises:
            ValueError: For an end that does not start with a dot, or has another one.

        Example:
            >>> from vldepot import archive
            >>> values = archive.memory().decoded()
            >>> values.register_codec(".txt", str.encode, bytes.decode)
            >>> values["notes.txt.gz"] = "text"
            >>> values["notes.txt.gz"]
            'text'
        """
        exts = [exts] if isinstance(exts, str) else list(exts)
        for end in exts:
            if not end.startswith(".") or len(end) < 2 or "." in end[1:] or "/" in end:
                raise ValueError(
                    f"the end of a name is a dot and what follows it, such as '.txt', not {end!r}"
                )
        for end in exts:
            self._by_end[end.lower()] = _Codec(encoder, decoder, nonfinal)

    def clear_codecs(self) -> None:
        """Forgets all codecs of this view."""
        self._by_end.clear()

    def _chain(self, path: ArchivePath) -> list[tuple[str, _Codec]]:
        """The codecs of a path, from the last end on."""
        shown = os.fspath(path)
        name = shown if isinstance(shown, str) else shown.decode("utf-8", "surrogateescape")
        chain: list[tuple[str, _Codec]] = []
        while True:
            name, end = os.path.splitext(name)
            codec = self._by_end.get(end.lower())
            if codec is None:
                why = (
                    f"no codec is registered for {end!r}"
                    if end
                    else "its name has no end that says what it is"
                )
                after = f" before {chain[-1][0]!r}" if chain else ""
                raise self._refused(
                    path, end, f"{why}{after}: use the archive itself for bytes, or register_codec"
                )
            chain.append((end, codec))
            if not codec.nonfinal:
                return chain

    def _refused(self, path: ArchivePath, end: str, why: str) -> errors.CodecError:
        archive, record = self._archive.path, repr(os.fspath(path))
        return errors.CodecError(f"{archive}: {record}: {why}", path=archive, record=record, codec=end)

    def _decode(self, path: ArchivePath, data: bytes) -> Any:
        value: Any = data
        for end, codec in self._chain(path):
            try:
                value = codec.decode(value)
            except (ImportError, MemoryError, errors.Error):
                raise
            except Exception as error:
                raise self._refused(path, end, f"these bytes are no {end} file: {error}") from error
        return value

    def _encode(self, path: ArchivePath, value: Any) -> bytes:
        for end, codec in reversed(self._chain(path)):
            try:
                value = codec.encode(value)
            except (ImportError, MemoryError, errors.Error):
                raise
            except Exception as error:
                raise self._refused(path, end, f"a {end} file does not hold this value: {error}") from error
        encoded: bytes = value
        return encoded

    def _decoded(self) -> Iterator[tuple[str, Any]]:
        for path, data in self._archive.items():
            yield path, self._decode(path, data)

    def __getitem__(self, path: ArchivePath, /) -> Any:
        return self._decode(path, self._archive[path])

    def __setitem__(self, path: ArchivePath, value: Any, /) -> None:
        self._archive[path] = self._encode(path, value)

    def write(self, path: ArchivePath, value: Any, **options: Any) -> None:
        """Encodes a value and writes it. The options are those of `Archive.write`, such as `replace=True`."""
        self._archive.write(path, self._encode(path, value), **options)

    def __delitem__(self, path: ArchivePath, /) -> None:
        del self._archive[path]

    def __contains__(self, path: object, /) -> bool:
        return path in self._archive

    def __len__(self) -> int:
        return len(self._archive)

    def __iter__(self) -> Iterator[str]:
        return iter(self._archive)

    def keys(self) -> KeysView[str]:
        """The paths of all files, in the order in which they are stored."""
        return self._archive.keys()

    def values(self) -> ValuesView[Any]:
        """The values of all files, in the order in which they are stored. Every name must have a codec."""
        return _Values(self)

    def items(self) -> ItemsView[str, Any]:
        """The paths of all files and their values. Otherwise like `values`."""
        return _Items(self)

    def get_many(self, paths: Iterable[ArchivePath], /, *, threads: int = 1) -> list[Any]:
        """The values of many files, in the order of the paths. See `Archive.get_many`."""
        paths = list(paths)
        return [
            self._decode(path, data)
            for path, data in zip(paths, self._archive.get_many(paths, threads=threads), strict=True)
        ]

    def __repr__(self) -> str:
        return f"<decoded {self._archive!r}>"
