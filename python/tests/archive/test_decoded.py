"""B7: values by the ends of names."""

from __future__ import annotations

import bz2
import gzip
import importlib
import io
import json
import lzma
import pickle
from typing import Any

import numpy as np
import pytest

import vldepot
from vldepot import archive

VALUES: dict[str, Any] = {
    "a.json": {"a": [1, 2.5, None, "ä"], "b": {}},
    "b.npy": np.arange(6, dtype=">i2").reshape(2, 3),
    "c.npz": {"x": np.eye(2), "y": np.zeros(0, bool)},
    "d.msgpack": {"list": [1, b"bytes", 1.5], "array": np.arange(4.0), "scalar": np.float32(2.5), 7: 1 + 2j},
}
GREY = np.arange(20, dtype=np.uint8).reshape(4, 5) * 12
COLOUR = np.random.default_rng(0).integers(0, 256, (6, 7, 3), np.uint8)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    return bool(one == other)


def needs(*packages: str) -> None:
    for package in packages:
        pytest.importorskip(package)


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("packed", ["", ".gz", ".xz", ".bz2", ".zst", ".lzma", ".gzip", ".gz.xz"])
def test_b7_values_come_back(name: str, packed: str) -> None:
    """B7: json, npy, npz, msgpack, and gz, xz, bz2 and zst around them."""
    needs("msgpack", "zstandard")
    values = archive.memory().decoded()
    path = f"folder.d/{name}{packed}"
    values[path] = VALUES[name]
    assert same(values[path], VALUES[name]) and path in values and list(values) == [path] and len(values) == 1
    assert same(values.get_many([path, path])[1], VALUES[name]) and same(values.get(path), VALUES[name])
    values.archive.rename(path, path.upper())
    assert same(values[path.upper()], VALUES[name])


def test_b7_bytes_are_those_that_others_write() -> None:
    """B7: the files are ordinary ones."""
    needs("msgpack", "zstandard", "msgpack_numpy")
    import msgpack
    import msgpack_numpy
    import zstandard

    a = archive.memory()
    values = a.decoded()
    for name, value in VALUES.items():
        values[name] = value
        values[f"{name}.zst"] = value
    assert json.loads(a["a.json"]) == VALUES["a.json"] and same(
        np.load(io.BytesIO(a["b.npy"])), VALUES["b.npy"]
    )
    assert same(dict(np.load(io.BytesIO(a["c.npz"]))), VALUES["c.npz"])
    read = msgpack.unpackb(a["d.msgpack"], object_hook=msgpack_numpy.decode, strict_map_key=False)
    assert same(read, VALUES["d.msgpack"])
    assert zstandard.ZstdDecompressor().decompress(a["a.json.zst"]) == a["a.json"]
    # And the other way round.
    a["m.msgpack"] = msgpack.packb(VALUES["d.msgpack"], default=msgpack_numpy.encode)
    assert same(values["m.msgpack"], VALUES["d.msgpack"])
    structured = np.zeros(3, [("a", "<i4"), ("b", "<f8", (2,)), ("c", [("d", "S3")])])
    values["s.msgpack"] = structured
    assert same(msgpack.unpackb(a["s.msgpack"], object_hook=msgpack_numpy.decode), structured)
    assert same(values["s.msgpack"], structured)
    for end, module in (("gz", gzip), ("xz", lzma), ("bz2", bz2)):
        pack: Any = module.compress
        a[f"x.json.{end}"] = pack(b"[1]") + pack(b"")
        assert values[f"x.json.{end}"] == [1] and module.decompress(a[f"x.json.{end}"]) == b"[1]"
    frames = zstandard.ZstdCompressor(write_content_size=False).compress(b"[1,") + zstandard.compress(b"2]")
    a["y.json.zst"] = frames
    assert values["y.json.zst"] == [1, 2]
    # The same value gives the same bytes.
    values["1.json.gz"] = values["2.json.gz"] = [1]
    assert a["1.json.gz"] == a["2.json.gz"]


@pytest.mark.parametrize("end", ["png", "bmp", "webp", "tif", "tiff", "gif", "jpg", "jpeg"])
def test_b7_images(end: str) -> None:
    """B7: images of all kinds, as arrays of their pixels."""
    needs("PIL")
    values = archive.memory().decoded()
    grey = np.repeat(GREY[..., None], 3, -1) if end in ("webp", "gif") else GREY
    values[f"grey.{end}"] = GREY
    found = values[f"grey.{end}"]
    if end in ("jpg", "jpeg"):
        assert found.shape == GREY.shape and np.abs(found.astype(int) - GREY).max() < 20
    else:
        assert found.dtype == np.uint8 and np.array_equal(found, grey)
    if end == "gif":
        two = np.where(COLOUR[..., :1] > 100, np.uint8([255, 0, 0]), np.uint8([0, 9, 0]))
        values["two.gif"] = two
        assert np.array_equal(values["two.gif"], two)
        return
    values[f"colour.{end}"] = COLOUR
    assert values[f"colour.{end}"].shape == COLOUR.shape
    if end not in ("jpg", "jpeg"):
        assert np.array_equal(values[f"colour.{end}"], COLOUR)


def test_b7_what_an_image_cannot_hold_is_refused() -> None:
    """B7: nothing is changed without a word."""
    needs("PIL")
    from PIL import Image

    a = archive.memory()
    values = a.decoded()
    many = np.random.default_rng(1).integers(0, 256, (40, 40, 3), np.uint8)
    refused: dict[str, Any] = {
        "many.gif": many,
        "float.png": GREY / 7,
        "alpha.jpg": np.zeros((4, 4, 4), np.uint8),
        "wide.bmp": GREY.astype(np.uint16) + 300,
        "text.png": "text",
        "flat.png": np.zeros(5, np.uint8),
        "none.png": None,
    }
    for name, value in refused.items():
        with pytest.raises(vldepot.CodecError) as error:
            values[name] = value
        assert name not in a and error.value.record == repr(name) and error.value.__cause__ is not None
    # Colours of a palette are colours, and all frames are there.
    out = io.BytesIO()
    frames = [Image.fromarray(np.full((3, 4, 3), n, np.uint8)) for n in (0, 100, 200)]
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:])
    a["moving.gif"] = out.getvalue()
    moving = values["moving.gif"]
    assert moving.shape == (3, 3, 4, 3) and [int(frame[0, 0, 0]) for frame in moving] == [0, 100, 200]
    out = io.BytesIO()
    Image.fromarray(COLOUR).convert("P").save(out, "PNG")
    a["palette.png"] = out.getvalue()
    assert values["palette.png"].shape == COLOUR.shape
    values["deep.png"] = GREY.astype(np.uint16) * 200
    assert values["deep.png"].dtype == np.uint16 and values["deep.png"].max() == 45_600
    # One format under the name of another is not taken.
    a["fake.png"] = out.getvalue()[:20]
    a["named.jpg"] = out.getvalue()
    for name in ("fake.png", "named.jpg"):
        with pytest.raises(vldepot.CodecError):
            values[name]


def test_b7_an_unknown_end_is_an_error() -> None:
    """B7: an unknown extension is an error, in both directions."""
    a = archive.memory()
    values = a.decoded()
    for name in ("a.xyz", "none", "a.gz", "a.xyz.gz", ".json", "folder.json/a", "a.json.", "image.exr"):
        with pytest.raises(vldepot.CodecError, match="register_codec") as error:
            values[name] = 1
        assert isinstance(error.value, ValueError) and name not in a
        a[name] = b"1"
        with pytest.raises(vldepot.CodecError):
            values[name]
        a.clear()
    with pytest.raises(KeyError):
        values["missing.json"]
    assert values.get("missing.json", 5) == 5


def test_b7_own_codecs() -> None:
    """B7: register_codec, nonfinal ones too, and clear_codecs."""
    a = archive.memory()
    values = a.decoded()
    values.register_codec([".TXT", ".md"], str.encode, bytes.decode)
    values.register_codec(".rev", lambda data: data[::-1], lambda data: data[::-1], nonfinal=True)
    values["a.txt"] = "text"
    values["b.Md.rev.gz"] = "abc"
    assert (
        a["a.txt"] == b"text"
        and gzip.decompress(a["b.Md.rev.gz"]) == b"cba"
        and values["b.Md.rev.gz"] == "abc"
    )
    assert dict(values.items()) == {"a.txt": "text", "b.Md.rev.gz": "abc"} and list(values.values()) == [
        "text",
        "abc",
    ]
    assert "no codec" in str(pytest.raises(vldepot.CodecError, a.decoded().__getitem__, "a.txt").value)
    values.register_codec([".json"], lambda value: b"mine", lambda data: data)
    values["a.json"] = 5
    assert values["a.json"] == b"mine"
    for wrong in ("txt", ".", "", ".tar.gz", "./x"):
        with pytest.raises(ValueError):
            values.register_codec([wrong], str.encode, bytes.decode)
    values.register_codec(".bad", lambda value: "no bytes", lambda data: 1 / 0)  # type: ignore[arg-type, return-value]
    with pytest.raises(TypeError):
        values["a.bad"] = 1
    a["a.bad"] = b""
    with pytest.raises(vldepot.CodecError) as error:
        values["a.bad"]
    assert isinstance(error.value.__cause__, ZeroDivisionError)
    values.clear_codecs()
    with pytest.raises(vldepot.CodecError):
        values["a.txt"]
    del values["a.txt"]
    assert "a.txt" not in a


def test_b7_nothing_is_pickled_unless_it_is_registered() -> None:
    """B7: pickle never by default, also not inside of other formats."""
    a = archive.memory()
    values = a.decoded()

    class Bomb:
        def __reduce__(self) -> Any:
            return pytest.fail, ("it ran",)

    for name in ("a.pkl", "a.pickle", "a.pkl.gz"):
        with pytest.raises(vldepot.CodecError, match="run any program"):
            values[name] = 1
    a["a.pkl"] = pickle.dumps(Bomb())
    objects = np.empty(1, object)
    objects[0] = Bomb()
    out = io.BytesIO()
    np.save(out, objects, allow_pickle=True)
    a["b.npy"] = out.getvalue()
    out = io.BytesIO()
    np.savez(out, a=objects)
    a["c.npz"] = out.getvalue()
    for name in ("a.pkl", "b.npy", "c.npz"):
        with pytest.raises(vldepot.CodecError):
            values[name]
    for name in ("d.npy", "d.npz", "d.msgpack"):
        with pytest.raises((vldepot.CodecError, ImportError)):
            values[name] = {"a": objects} if name != "d.npy" else objects
    try:
        import msgpack
    except ImportError:
        pass
    else:
        a["e.msgpack"] = msgpack.packb(
            {b"nd": True, b"kind": b"O", b"type": "O", b"shape": [1], b"data": pickle.dumps(objects)}
        )
        with pytest.raises(vldepot.CodecError):
            values["e.msgpack"]
    values.register_codec([".pkl", ".pickle"], pickle.dumps, pickle.loads)
    values["f.pkl.gz"] = {1, 2}
    assert values["f.pkl.gz"] == {1, 2}


def test_b7_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """B7: a clear error that names the package."""
    real = importlib.import_module

    def without(name: str, package: str | None = None) -> Any:
        if name in ("PIL.Image", "msgpack", "zstandard", "compression.zstd"):
            raise ImportError(f"No module named {name!r}")
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", without)
    values = archive.memory().decoded()
    for name, package in (("a.png", "Pillow"), ("a.msgpack", "msgpack"), ("a.json.zst", "zstandard")):
        with pytest.raises(ImportError, match=f"pip install {package}"):
            values[name] = [1]
        values.archive[name] = b".."
        with pytest.raises(ImportError, match=f"pip install {package}"):
            values[name]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.json", b"{"),
        ("a.json", b"\xff"),
        ("a.npy", b"\x93NUMPY"),
        ("a.npy", b""),
        ("a.npz", b"PK\3\4"),
        ("a.npz", b"x"),
        ("a.json.gz", b"no"),
        ("a.json.gz", gzip.compress(b"[1]")[:-3]),
        ("a.json.xz", b"no"),
        ("a.json.bz2", bz2.compress(b"[1]")[:-3]),
        ("a.json.zst", b"no"),
        ("a.json.zst", b""),
        ("a.json.zst", bytes.fromhex("28b52ffd200319000031")),
        ("a.json.xz", lzma.compress(b"[1]")[:-9]),
        ("a.msgpack", b"\xc1"),
        ("a.msgpack", b""),
        ("a.png", b""),
        ("a.jpg", b"\xff\xd8\xff"),
    ],
)
def test_b7_what_cannot_be_read_names_its_file(name: str, data: bytes) -> None:
    """B7: bytes that are not what their name says."""
    needs("msgpack", "zstandard", "PIL")
    a = archive.memory()
    a[name] = data
    with pytest.raises(vldepot.CodecError) as error:
        a.decoded()[name]
    assert name in str(error.value) and error.value.record == repr(name) and error.value.__cause__ is not None


def test_b7_nothing_is_replaced_unless_asked() -> None:
    a = archive.memory()
    values = a.decoded()
    values["a.json"] = 1
    with pytest.raises(FileExistsError):
        values["a.json"] = 2
    values.write("a.json", 3, replace=True, mode=0o600)
    assert values["a.json"] == 3 and a.stat("a.json").mode == 0o600
    with pytest.raises(vldepot.CodecError):
        values["nan.json"] = float("nan")
    with pytest.raises(vldepot.CodecError):
        values["set.json"] = {1}
    assert "decoded" in repr(values)
