"""Reads files with python-blosc2, as a program that knows nothing of depots would: they must be standard Blosc2 frames.

    python check_frames.py FILE...

Every file is opened twice, plainly and through a memory map, and every chunk is read both times. Where the metalayer
`magic` says that vlstore can read the file too, its table of names is read and so is every record in it. Prints a line
per file; exits with 1 if any file fails, with the reason.
"""

import sys

import blosc2
import msgpack

MAGIC = b"\xa4\x9a3g\xcf}D\xd1\xb0\x97\xe0Q\x05\x836\xeb"
TUPLE = "__tuple__"


class Failure(Exception):
    """What is wrong with a file."""


def require(condition, reason):
    if not condition:
        raise Failure(reason)


def read_chunks(schunk):
    """The whole content, chunk by chunk."""
    require(
        schunk.nchunks * schunk.chunksize == schunk.nbytes,
        f"{schunk.nchunks} chunks of {schunk.chunksize} bytes where the frame has {schunk.nbytes} bytes",
    )
    content = bytearray()
    for number in range(schunk.nchunks):
        chunk = schunk.decompress_chunk(number)
        require(
            len(chunk) == schunk.chunksize,
            f"chunk {number} has {len(chunk)} bytes, not {schunk.chunksize}",
        )
        content += chunk
    return content


def lookup(schunk):
    """vlstore's table of names as (key, start, end), or None if the file is none of vlstore's."""
    if "magic" not in schunk.meta:
        return None
    require(schunk.meta["magic"] == MAGIC, f"metalayer magic is {schunk.meta['magic']!r}")
    require("saved_lookup" in schunk.vlmeta, "metalayer magic, but no table of names in saved_lookup")
    table = schunk.vlmeta["saved_lookup"]
    if isinstance(table, bytes):
        table = msgpack.unpackb(table, strict_map_key=False)
    rows = []
    for row in table:
        row = tuple(row)
        if len(row) == 4 and row[0] == TUPLE:
            row = row[1:]
        require(len(row) == 3, f"a line of the table of names is {row!r}")
        rows.append(row)
    keys = {(type(key), key) for key, _, _ in rows}
    require(len(keys) == len(rows), f"{len(rows)} records with {len(keys)} names")
    return rows


def check(path):
    """What to print of a good file."""
    contents = []
    for mmap_mode in (None, "r"):
        schunk = blosc2.open(path, mode="r", mmap_mode=mmap_mode)
        require(isinstance(schunk, blosc2.SChunk), f"opens as {type(schunk).__name__}")
        contents.append(read_chunks(schunk))
    require(contents[0] == contents[1], "the memory map shows other bytes")
    # Python unpacks every metalayer as MessagePack.
    parameters = schunk.meta["vldepot"]
    require(parameters.startswith(b"VLDEPOT1"), f"metalayer vldepot begins with {parameters[:8]!r}")
    require("vldepot" in schunk.meta.getall(), "not all metalayers are listed")
    content = contents[0]
    line = f"{path}: {schunk.nchunks} chunks, {len(content)} bytes read"
    rows = lookup(schunk)
    if rows is None:
        return line
    typesize = schunk.typesize
    for key, start, end in rows:
        integers = type(start) is int and type(end) is int
        require(integers and 0 <= start < end <= schunk.nbytes, f"record {key!r} lies at {start}..{end}")
        # As vlstore reads it: in items, cut to bytes.
        first = start // typesize
        items = schunk.get_slice(first, -(-end // typesize))
        data = bytes(items)[start - first * typesize :][: end - start]
        require(data == content[start:end], f"record {key!r} reads otherwise than its chunks")
    return f"{line}, {len(rows)} records"


def main(paths):
    if not paths:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    failed = 0
    for path in paths:
        try:
            print(check(path), flush=True)
        except Exception as error:  # any exception of python-blosc2 means that it cannot read the file
            failed += 1
            print(f"{path}: FAILED: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
