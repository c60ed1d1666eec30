"""Reads files with python-blosc2, as a program that knows nothing of depots would: they must be standard Blosc2 frames.

    python check_frames.py FILE...

Every file is opened twice, plainly and through a memory map, and every chunk is read both times. Chunks with the
fields of records apart are in a codec that only depots have: each must be refused with an error, in every way of reading
it, and the others must be read. A file whose name begins with `apart` must have such chunks. Where the metalayer
`magic` says that vlstore can read the file too, its table of names is read and so is every record in it. Prints a line
per file; exits with 1 if any file fails, with the reason.
"""

import pathlib
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


def is_apart(schunk, number):
    """Whether a chunk is in the codec 221, of those that Blosc2 leaves to users."""
    header = schunk.get_chunk(number)[:32]
    return header[2] >> 5 == 6 and header[22] == 221


def refuse(what, read):
    """Reads what cannot be read: the only right answer is an error that says so."""
    try:
        found = read()
    except (RuntimeError, ValueError):
        return
    raise Failure(f"{what} gives {type(found).__name__} where python-blosc2 cannot know the bytes")


def refuse_chunk(schunk, number):
    """Reads a chunk with the fields apart in every way."""
    items = schunk.chunksize // schunk.typesize
    first, last = number * items, min((number + 1) * items, schunk.nbytes // schunk.typesize)
    room = bytearray(schunk.chunksize)
    refuse(f"chunk {number}", lambda: schunk.decompress_chunk(number))
    refuse(f"chunk {number}, into a buffer,", lambda: schunk.decompress_chunk(number, dst=room))
    require(not any(room), f"chunk {number} is refused, and the buffer has bytes of it")
    refuse(f"chunk {number}, by itself,", lambda: blosc2.decompress2(schunk.get_chunk(number)))
    refuse(f"all of chunk {number}", lambda: schunk[first:last])
    refuse(f"the first item of chunk {number}", lambda: schunk[first])
    refuse(f"the last item of chunk {number}", lambda: schunk.get_slice(last - 1, last))
    refuse(f"a part of chunk {number}", lambda: schunk.get_slice((first + last) // 2, last))


def read_chunks(schunk):
    """The whole content, chunk by chunk, with zeros for chunks that are refused, and how many these are."""
    require(
        schunk.nchunks * schunk.chunksize == schunk.nbytes,
        f"{schunk.nchunks} chunks of {schunk.chunksize} bytes where the frame has {schunk.nbytes} bytes",
    )
    content, n_apart = bytearray(), 0
    for number in range(schunk.nchunks):
        if is_apart(schunk, number):
            refuse_chunk(schunk, number)
            content += bytes(schunk.chunksize)
            n_apart += 1
            continue
        chunk = schunk.decompress_chunk(number)
        require(
            len(chunk) == schunk.chunksize,
            f"chunk {number} has {len(chunk)} bytes, not {schunk.chunksize}",
        )
        items = schunk.chunksize // schunk.typesize
        require(
            schunk.get_slice(number * items, (number + 1) * items) == chunk,
            f"a slice of chunk {number} has other bytes than the chunk",
        )
        content += chunk
    if n_apart:
        refuse("a frame with fields apart as a whole", lambda: schunk[:])
        refuse("iterating over a frame with fields apart", lambda: list(schunk.iterchunks("u1")))
    require(len(list(schunk.iterchunks_info())) == schunk.nchunks, "not all chunks are listed")
    require("cratio" in str(schunk.info), "the frame has no description")
    return content, n_apart


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
    content, n_apart = contents[0]
    line = f"{path}: {schunk.nchunks} chunks, {len(content) - n_apart * schunk.chunksize} bytes read"
    if n_apart:
        line += f", {n_apart} chunks refused"
    require(n_apart or not pathlib.Path(path).name.startswith("apart"), "no chunk has the fields apart")
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
