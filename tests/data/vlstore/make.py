"""Writes the fixtures of tests/vlstore.rs: files as the Python package vlstore writes them, made with python-blosc2
from the description of the format alone (docs/reference/format.md).

    python make.py        # needs blosc2 and msgpack; writes *.b2frame and expected.json next to itself

Byte i of record number k is (i * 7 + k * 31) % 251, or 0 where expected.json says "zeros". Numbers follow the order of
the records in expected.json, which is that of the table of names.

    no_cross.b2frame    zstd, chunks of 2048; a record that does not fit what is left of a chunk starts the next
    contiguous.b2frame  not compressed, chunks of 1024; records follow each other
    start.b2frame       lz4 and shuffle at typesize 4, chunks of 1024; every record starts a chunk; chunks out of order
    zlib.b2frame        zlib and shuffle at typesize 4, chunks of 2048 in blocks of 768, the last one shorter
    zlib_split.b2frame  zlib and bit shuffle at typesize 8, chunks of 2048 in blocks of 512, split into streams
    precision.b2frame   zstd, a truncation of precision that keeps all bits, and shuffle

And files that vldepot names the reason not to read of, in expected.json as "unread":

    delta.b2frame, bytedelta.b2frame, shuffle.b2frame (of groups of bytes), dictionary.b2frame, plugin.b2frame
    (a codec that a user defined)
"""

import json
import pathlib
import zlib

import blosc2
import numpy as np

HERE = pathlib.Path(__file__).parent
MAGIC = b"\xa4\x9a3g\xcf}D\xd1\xb0\x97\xe0Q\x05\x836\xeb"

# Key, length in chunks and bytes, whether it is all zeros.
RECORDS = [
    ("", (0, 5), False),
    ("frame/1", (0, 700), False),
    (0, (0, 1), False),
    (-1, (0, 300), False),
    (-(2**63), (0, 17), False),
    ("longer than a chunk", (2, 100), False),
    (2**64 - 1, (0, 64), False),
    ("zeros", (3, 0), True),
    (b"", (0, 33), False),
    (b"\x00\xff", (0, 400), False),
    ("\u00e9t\u00e9 \U0001f600", (1, 0), False),
    (b"frame/1", (0, 2), False),
    (200, (0, 250), False),
]


def content(number, length, zeros):
    return bytes(length) if zeros else bytes((i * 7 + number * 31) % 251 for i in range(length))


def place(mode, end, length, chunk):
    """Where a record goes behind the one that ends at `end`."""
    left = -end % chunk
    if mode == "contiguous" or left == 0:
        return end
    if mode == "no_cross" and left > length:
        return end
    return end + left


def key_json(key):
    if isinstance(key, bytes):
        return {"type": "bytes", "value": key.hex()}
    return {"type": "int" if isinstance(key, int) else "str", "value": key}


def write(mode, chunk, cparams, name=None, unread=None):
    name = f"{name or mode}.b2frame"
    path = HERE / name
    path.unlink(missing_ok=True)
    stream, lookup, lines, end = bytearray(), [], [], 0
    for number, (key, (chunks, more), zeros) in enumerate(RECORDS):
        data = content(number, chunks * chunk + more, zeros)
        start = place(mode, end, len(data), chunk)
        end = start + len(data)
        stream += bytes(start - len(stream)) + data
        lookup.append((key, start, end))
        line = {"key": key_json(key), "len": len(data), "start": start, "zeros": zeros}
        if len(data) <= 33:
            line["hex"] = data.hex()
        lines.append(line)
    stream += bytes(-len(stream) % chunk)
    schunk = blosc2.SChunk(
        chunksize=chunk,
        urlpath=str(path),
        contiguous=True,
        mode="w",
        meta={"magic": MAGIC},
        cparams={"nthreads": 1, **cparams},
        dparams={"nthreads": 1},
    )
    pieces = [bytes(stream[at : at + chunk]) for at in range(0, len(stream), chunk)]
    # The chunk inserted late lies behind the others in the file.
    late = 1 if mode == "start" else None
    for number, piece in enumerate(pieces):
        if number != late:
            schunk.append_data(piece)
    if late is not None:
        schunk.insert_data(late, pieces[late], copy=True)
    schunk.vlmeta["saved_lookup"] = lookup
    del schunk
    print(name, path.stat().st_size, "bytes,", len(pieces), "chunks")
    if unread:
        return {name: {"unread": unread}}
    return {name: {"alignment": mode, "chunksize": chunk, "records": lines}}


def filtered(codec, typesize, filters, **more):
    """Parameters with filters, each alone or with its parameter."""
    filters = [each if isinstance(each, tuple) else (each, 0) for each in filters]
    return {
        "codec": codec,
        "typesize": typesize,
        "clevel": 5,
        "filters": [each for each, _ in filters],
        "filters_meta": [meta for _, meta in filters],
        **more,
    }


def compress_own(given, out, meta, schunk):
    packed = zlib.compress(given.tobytes())
    out[: len(packed)] = np.frombuffer(packed, np.uint8)
    return len(packed)


def decompress_own(given, out, meta, schunk):
    raw = zlib.decompress(given.tobytes())
    out[: len(raw)] = np.frombuffer(raw, np.uint8)
    return len(raw)


F, C = blosc2.Filter, blosc2.Codec
blosc2.register_codec("own", 200, compress_own, decompress_own)


expected = {
    **write("no_cross", 2048, {"typesize": 1, "codec": blosc2.Codec.ZSTD, "clevel": 1}),
    **write("contiguous", 1024, {"typesize": 1, "codec": blosc2.Codec.ZSTD, "clevel": 0}),
    **write("start", 1024, {"typesize": 4, "codec": blosc2.Codec.LZ4, "clevel": 5}),
    **write("no_cross", 2048, filtered(C.ZLIB, 4, [F.SHUFFLE], blocksize=768), "zlib"),
    **write(
        "contiguous",
        2048,
        filtered(
            C.ZLIB,
            8,
            [F.BITSHUFFLE],
            blocksize=512,
            splitmode=blosc2.SplitMode.ALWAYS_SPLIT,
        ),
        "zlib_split",
    ),
    **write("contiguous", 2048, filtered(C.ZSTD, 4, [(F.TRUNC_PREC, 23), F.SHUFFLE]), "precision"),
    **write("contiguous", 4096, filtered(C.ZSTD, 4, [F.DELTA, F.SHUFFLE]), "delta", "filter DELTA"),
    **write(
        "contiguous",
        4096,
        filtered(C.ZLIB, 4, [F.SHUFFLE, (F.BYTEDELTA, 4)]),
        "bytedelta",
        "filter BYTEDELTA",
    ),
    **write(
        "contiguous",
        4096,
        filtered(C.ZSTD, 8, [(F.SHUFFLE, 4)]),
        "shuffle",
        "filter SHUFFLE with parameter 4",
    ),
    **write(
        "contiguous", 65536, filtered(C.ZSTD, 1, [F.NOFILTER], use_dict=True), "dictionary", "a dictionary"
    ),
    **write("contiguous", 4096, filtered(200, 1, [F.NOFILTER]), "plugin", "codec 200, defined by a user"),
}
with open(HERE / "expected.json", "w", encoding="utf-8") as out:
    json.dump(expected, out, indent=1)
    out.write("\n")
