"""Writes the fixtures of tests/vlstore.rs: files as the Python package vlstore writes them, made with python-blosc2
from the description of the format alone (docs/FORMAT.md).

    python make.py        # needs blosc2 and msgpack; writes *.b2frame and expected.json next to itself

Byte i of record number k is (i * 7 + k * 31) % 251, or 0 where expected.json says "zeros". Numbers follow the order of
the records in expected.json, which is that of the table of names.

    no_cross.b2frame    zstd, chunks of 2048; a record that does not fit what is left of a chunk starts the next
    contiguous.b2frame  not compressed, chunks of 1024; records follow each other
    start.b2frame       lz4 and shuffle at typesize 4, chunks of 1024; every record starts a chunk; chunks out of order
"""

import json
import pathlib

import blosc2

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


def write(mode, chunk, cparams):
    name = f"{mode}.b2frame"
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
        chunksize=chunk, urlpath=str(path), contiguous=True, mode="w", meta={"magic": MAGIC},
        cparams={"nthreads": 1, **cparams}, dparams={"nthreads": 1},
    )
    pieces = [bytes(stream[at:at + chunk]) for at in range(0, len(stream), chunk)]
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
    return {name: {"alignment": mode, "chunksize": chunk, "records": lines}}


expected = {
    **write("no_cross", 2048, {"typesize": 1, "codec": blosc2.Codec.ZSTD, "clevel": 1}),
    **write("contiguous", 1024, {"typesize": 1, "codec": blosc2.Codec.ZSTD, "clevel": 0}),
    **write("start", 1024, {"typesize": 4, "codec": blosc2.Codec.LZ4, "clevel": 5}),
}
with open(HERE / "expected.json", "w", encoding="utf-8") as out:
    json.dump(expected, out, indent=1)
    out.write("\n")
