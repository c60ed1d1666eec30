"""A second reader of depots, written from docs/reference/format.md alone.

It reads a closed or a killed depot, and checks all that can be checked: every checksum, the index against
the directories of the chunks, filters, hashes, and the order of names. It shares no code with the Rust crate,
so the two can only agree by what the document says. It is slow, and keeps the whole file in memory.

    depot = Depot(path)      # or Shards(folder)
    depot.records()          # [(name, bytes, metadata as MessagePack or None, scalars), ..]
    depot.parameters.columns # [(name, kind), ..] of the scalars
    depot.statistics()       # (Statistics, records in them that are gone, records that are not in them)

Needs the packages blosc2, google-crc32c and xxhash.
"""

from __future__ import annotations

import json
import math
import pathlib
import struct
from dataclasses import dataclass

import apart
import blosc2
import google_crc32c
import xxhash

FIRST_ENTRY = 4160
SLOTS = (3072, 3584)
PAGE = 4096
# The layout of a payload with the fields apart.
APART = 1
CHUNK, INDEX, COMMIT, FRAME, LOG, METADATA, LOSSES = range(1, 8)
SALTS = (0x47B6137B, 0x44974D91, 0x8824AD5B, 0xA2B7289D, 0x705495C7, 0x2DF1424B, 0x9EFC4947, 0x5C6BFB31)


class Damaged(Exception):
    """Bytes that are not what was written."""


class Unsupported(Exception):
    """Bytes that a later version wrote."""


def crc(data: bytes) -> int:
    return google_crc32c.value(bytes(data))


def check(condition: bool, what: str) -> None:
    if not condition:
        raise Damaged(what)


def known(condition: bool, what: str) -> None:
    if not condition:
        raise Unsupported(what)


def u32(data: bytes, at: int) -> int:
    return struct.unpack_from("<I", data, at)[0]


def u64(data: bytes, at: int) -> int:
    return struct.unpack_from("<Q", data, at)[0]


def words(data: bytes, size: int) -> list[int]:
    return [int.from_bytes(data[at : at + size], "little") for at in range(0, len(data), size)]


def varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value, at, shift = value | (byte & 0x7F) << shift, at + 1, shift + 7
        if byte < 0x80:
            return value, at


def signed(bits: int) -> int:
    return (bits + (1 << 63)) % (1 << 64) - (1 << 63)


def zigzag(number: int) -> int:
    return number >> 1 ^ -(number & 1)


Scalars = tuple[int | float | None, ...]


@dataclass
class Summary:
    """Statistics of numbers."""

    count: int = 0
    non_finite: int = 0
    least: float = math.inf
    most: float = -math.inf
    mean: float = 0.0
    squares: float = 0.0

    @classmethod
    def of(cls, numbers: list[int | float]) -> Summary:
        finite = [number for number in numbers if math.isfinite(number)]
        n = len(finite)
        if not n:
            return cls(non_finite=len(numbers))
        mean = math.fsum(finite) / n
        squares = sum((number - mean) * (number - mean) for number in finite)
        return cls(n, len(numbers) - n, min(finite), max(finite), mean, squares)

    @classmethod
    def read(cls, data: bytes, at: int, integers: bool = False) -> tuple[Summary, int]:
        count, at = varint(data, at)
        non_finite, at = varint(data, at)
        if not count:
            return cls(non_finite=non_finite), at
        if integers:
            least, at = varint(data, at)
            most, at = varint(data, at)
            least, most = zigzag(least), zigzag(most)
        else:
            least, most = struct.unpack_from("<dd", data, at)
            at += 16
        mean, squares = struct.unpack_from("<dd", data, at)
        return cls(count, non_finite, least, most, mean, squares), at + 16

    def merge(self, other: Summary) -> None:
        n = self.count + other.count
        self.non_finite += other.non_finite
        if other.count:
            difference = other.mean - self.mean
            self.mean += difference * other.count / n
            self.squares += other.squares + difference * difference * self.count * other.count / n
        self.count, self.least, self.most = n, min(self.least, other.least), max(self.most, other.most)

    def is_like(self, other: Summary) -> bool:
        """Whether counts and bounds are equal, and sums nearly so."""
        exact = ("count", "non_finite", "least", "most")
        if any(getattr(self, name) != getattr(other, name) for name in exact):
            return False
        size = max(abs(self.least), abs(self.most), 1e-300) if self.count else 1.0
        if not (math.isfinite(self.squares) or math.isfinite(other.squares)):
            return True
        far = max(self.count, 1) * 1e-9 * size * size
        return abs(self.mean - other.mean) <= 1e-9 * size and abs(self.squares - other.squares) <= far


class Statistics:
    """Statistics of the fields of records."""

    def __init__(self, data: bytes | None = None):
        self.counted = self.moved = self.dropped = 0
        self.fields: dict[str, Summary] = {}
        self.kinds: dict[str, dict[int, tuple[int, int]]] = {}
        if data is None:
            return
        (self.counted, at), at_end = varint(data, 0), len(data)
        self.moved, at = varint(data, at)
        self.dropped, at = varint(data, at)
        _, at = varint(data, at)
        n_fields, at = varint(data, at)
        for _ in range(n_fields):
            name, at = self.name(data, at)
            self.fields[name], at = Summary.read(data, at)
        n_fields, at = varint(data, at)
        for _ in range(n_fields):
            name, at = self.name(data, at)
            _, at = varint(data, at)
            n_kinds, at = varint(data, at)
            counts: dict[int, tuple[int, int]] = {}
            for _ in range(n_kinds):
                kind, at = varint(data, at)
                values, at = varint(data, at)
                records, at = varint(data, at)
                counts[zigzag(kind)] = values, records
            check(list(counts) == sorted(counts) and n_kinds <= 512, "the kinds of statistics")
            self.kinds[name] = counts
        check(at == at_end, "the length of statistics")

    @staticmethod
    def name(data: bytes, at: int) -> tuple[str, int]:
        length, at = varint(data, at)
        return data[at : at + length].decode(), at + length

    def merge(self, other: Statistics) -> None:
        self.counted += other.counted
        self.moved += other.moved
        self.dropped += other.dropped
        for name, summary in other.fields.items():
            self.fields.setdefault(name, Summary()).merge(summary)
        for name, counts in other.kinds.items():
            mine = self.kinds.setdefault(name, {})
            for kind, (values, records) in counts.items():
                before = mine.get(kind, (0, 0))
                mine[kind] = before[0] + values, before[1] + records


class Table:
    """A Flatbuffers table: https://flatbuffers.dev/internals."""

    def __init__(self, data: bytes, at: int | None = None):
        self.data, self.at = data, u32(data, 0) if at is None else at
        self.vtable = self.at - struct.unpack_from("<i", data, self.at)[0]
        self.n_fields = struct.unpack_from("<H", data, self.vtable)[0] // 2 - 2

    def place(self, field: int) -> int:
        if field >= self.n_fields:
            return 0
        offset = struct.unpack_from("<H", self.data, self.vtable + 4 + 2 * field)[0]
        return self.at + offset if offset else 0

    def number(self, field: int, size: int, signed: bool = False) -> int:
        at = self.place(field)
        return int.from_bytes(self.data[at : at + size], "little", signed=signed) if at else 0

    def vector(self, field: int, size: int = 1) -> bytes | None:
        at = self.place(field)
        if not at:
            return None
        at += u32(self.data, at)
        return self.data[at + 4 : at + 4 + size * u32(self.data, at)]

    def numbers(self, field: int, size: int) -> list[int]:
        return words(self.vector(field, size) or b"", size)

    def table(self, field: int) -> Table | None:
        at = self.place(field)
        return Table(self.data, at + u32(self.data, at)) if at else None

    def tables(self, field: int) -> list[Table]:
        at = self.place(field)
        if not at:
            return []
        at += u32(self.data, at)
        places = range(at + 4, at + 4 + 4 * u32(self.data, at), 4)
        return [Table(self.data, place + u32(self.data, place)) for place in places]

    def unknown(self, n_known: int) -> bool:
        return any(self.place(field) for field in range(n_known, self.n_fields))


class Parameters:
    def __init__(self, table: Table):
        self.format_version, self.depot_id = table.number(0, 4), table.number(1, 8)
        self.codec_id = (table.vector(2) or b"").decode()
        self.codec_parameters = table.vector(4) or b""
        self.chunk_size, self.align = table.number(5, 4), table.number(12, 1)
        self.incompatible = table.number(17, 8)
        self.columns = [
            ((column.vector(0) or b"").decode(), column.number(1, 1)) for column in table.tables(23)
        ]
        self.statistics = table.number(24, 1) == 1
        known(all(kind <= 1 for _, kind in self.columns), "a kind of scalar")
        known(self.format_version <= 1, f"format version {self.format_version}")
        known(table.number(7, 1) <= 4 and table.number(9, 1) <= 2 and table.number(11, 1) <= 2, "a parameter")


@dataclass
class Head:
    kind: int
    body_crc: int
    sequence: int
    ordinal: int
    offset: int
    length: int
    depot_id: int
    previous: int
    crc: int


@dataclass(frozen=True)
class Location:
    address: int
    length: int
    crc: int


def place(word: int, low: int, crc: int) -> Location:
    """A location: bits 48 to 55 of its first word are flags, and those above the highest of the length."""
    known(word >> 48 & 0xFF == 0, f"record flags {word >> 48 & 0xFF:#x}")
    return Location(word & (1 << 48) - 1, word >> 56 << 32 | low, crc)


class Segment:
    """An INDEX entry."""

    def __init__(
        self, depot: Depot, offset: int, length: int, prefix_length: int, counts: tuple[int, int, int]
    ):
        head = depot.head(offset)
        is_index = head is not None and head.kind == INDEX and head.length == length
        check(is_index, "the INDEX entry of a commit")
        prefix = depot.data[offset + 64 : offset + 64 + prefix_length]
        check(crc(prefix) == head.body_crc, "the prefix of a segment")
        head_length, n_parts = u32(prefix, 0), u32(prefix, 4)
        check(len(prefix) == -(-(8 + head_length + 4 * n_parts) // 8) * 8, "the length of a prefix")
        table = Table(prefix[8 : 8 + head_length])
        self.first_ordinal, self.n_records = table.number(0, 8), table.number(1, 4)
        self.first_chunk, n_chunks, n_kills = table.number(2, 8), table.number(3, 8), table.number(4, 8)
        check((self.n_records, n_chunks, n_kills) == counts, "counts of a segment and of its commit")
        self.bucket_bits, self.order = table.number(6, 1), table.number(8, 1)
        known(self.order <= 2, f"order {self.order}")
        kinds, lengths, packed, at = [], [], table.vector(7) or b"", 0
        while at < len(packed):
            kinds.append(packed[at])
            length, at = varint(packed, at + 1)
            lengths.append(length)
        paged = sum(-(-length // 8) * 8 for length in lengths)
        n_pages = -(-paged // PAGE)
        at = offset + 64 + prefix_length
        page_table = depot.data[at : at + 4 * n_pages]
        # Several pages start at a multiple of 64.
        align = 64 if n_pages > 1 else 8
        at = -(-(at + 4 * n_pages) // align) * align
        check(n_parts == -(-4 * n_pages // PAGE), "the number of parts of a page table")
        for part, expected in enumerate(words(prefix[8 + head_length :][: 4 * n_parts], 4)):
            check(crc(page_table[part * PAGE : (part + 1) * PAGE]) == expected, "a part of a page table")
        pages = depot.data[at : at + paged]
        for page, expected in enumerate(words(page_table, 4)):
            check(crc(pages[page * PAGE : (page + 1) * PAGE]) == expected, f"page {page} of a segment")
        self.sections: dict[int, bytes] = {}
        at = 0
        for kind, length in zip(kinds, lengths):
            known(1 <= kind <= 16 or kind >= 128, f"section {kind}")
            self.sections[kind] = pages[at : at + length]
            at += -(-length // 8) * 8
        self.names = self.read_names()
        self.kills = words(self.section(8), 8)
        self.metadata = self.read_metadata()
        self.scalars = self.read_columns(
            table.vector(9) or b"", [kind for _, kind in depot.parameters.columns]
        )
        self.check_zones(table.vector(10), [kind for _, kind in depot.parameters.columns])
        self.statistics = Statistics(table.vector(11))
        self.check_look_up()
        self.check_order()

    def section(self, kind: int) -> bytes:
        return self.sections.get(kind, b"")

    def read_names(self) -> list[bytes]:
        names: list[bytes] = []
        data = self.section(6)
        # One block has no starts.
        starts = words(self.section(5), 4) or [0, len(data)]
        for start, end in zip(starts, starts[1:]):
            at, name = start, b""
            while at < end:
                shared, at = varint(data, at)
                rest, at = varint(data, at)
                name = name[:shared] + data[at : at + rest]
                at += rest
                names.append(name)
        check(len(names) == self.n_records, "the number of names")
        return names

    def read_metadata(self) -> dict[int, bytes]:
        ends = words(self.section(10), 4)
        data = self.section(11)
        return {n: data[a:b] for n, a, b in zip(words(self.section(9), 4), ends, ends[1:])}

    def read_columns(self, packed: bytes, kinds: list[int]) -> list[Scalars]:
        """The scalars of each record."""
        n, data, at, start = self.n_records, self.section(16), 0, 0
        columns: list[list[int | float | None]] = []
        while at < len(packed):
            form, at = packed[at], at + 1
            width, floats, absent = form & 15, form >> 4 & 1, form >> 5
            known(
                absent <= 2 and width in ((0, 4, 8) if floats else (0, 1, 2, 4, 8)),
                f"form {form:#x} of a column",
            )
            base, at = varint(packed, at)
            step = 0
            if not floats:
                step, at = varint(packed, at)
                base, step = zigzag(base), zigzag(step)
            elements = data[start : start + n * width]
            start += -(-n * width // 8) * 8
            if width and floats:
                values = list(struct.unpack(f"<{n}{'f' if width == 4 else 'd'}", elements))
            elif floats:
                values = [struct.unpack("<d", struct.pack("<Q", base))[0]] * n
            else:
                parts = words(elements, width) if width else [0] * n
                values = [signed(base + step * number + part) for number, part in enumerate(parts)]
            if absent == 1:
                bits = int.from_bytes(data[start : start + -(-n // 64) * 8], "little")
                start += -(-n // 64) * 8
                values = [None if bits >> number & 1 else value for number, value in enumerate(values)]
            columns.append([None] * n if absent == 2 else values)
            check(floats == kinds[len(columns) - 1], "the kind of a column")
        check(start == len(data), "the length of the columns")
        check(len(columns) == (len(kinds) if n else 0), "the number of columns")
        return list(zip(*columns)) if columns else [()] * n

    def check_zones(self, packed: bytes | None, kinds: list[int]) -> None:
        """Compares the summaries of the columns with the values."""
        if packed is None:
            return
        at = 0
        for column, kind in enumerate(kinds):
            found, at = Summary.read(packed, at, integers=kind == 0)
            values = [row[column] for row in self.scalars if row[column] is not None]
            check(found.is_like(Summary.of(values)), f"the zone of column {column}")
        check(at == len(packed), "the length of the zones")

    def location(self, number: int) -> Location:
        word, length, checksum = struct.unpack_from("<QII", self.section(2), 16 * number)
        return place(word, length, checksum)

    def chunk(self, number: int) -> tuple[int, int, int, int, int, int, int]:
        fields = struct.unpack_from("<QIIIIII", self.section(7), 32 * number)
        known(fields[6] & ~3 == 0 or fields[6] == APART << 8, f"chunk flags {fields[6]:#x}")
        return fields

    def check_look_up(self) -> None:
        """Every name is found by its hash, and passes the filter."""
        hashes, blocks = self.section(4), self.section(1)
        # One bucket has no starts.
        buckets = words(self.section(3), 4) or [0, self.n_records]
        for number, name in enumerate(self.names):
            digest = xxhash.xxh3_64_intdigest(name)
            bucket = digest >> 64 - self.bucket_bits if self.bucket_bits else 0
            tag = (digest << self.bucket_bits & (1 << 64) - 1) >> 32
            entries = hashes[8 * buckets[bucket] : 8 * buckets[bucket + 1]]
            listed = [entries[at : at + 8] for at in range(0, len(entries), 8)]
            check(struct.pack("<II", tag, number) in listed, "a hash")
            if blocks:
                block = 32 * ((digest >> 32) * (len(blocks) // 32) >> 32)
                for word, salt in enumerate(SALTS):
                    bit = (digest & 0xFFFFFFFF) * salt % (1 << 32) >> 27
                    check(u32(blocks, block + 4 * word) >> bit & 1 == 1, "a bit of the filter")

    def check_order(self) -> None:
        if self.order == 0:
            return
        order = words(self.section(12), 4) if self.order == 2 else list(range(self.n_records))
        names = [self.names[number] for number in order]
        check(names == sorted(self.names), "the order of names")
        sums, total = [], 0
        for rank, number in enumerate(order, 1):
            total += struct.unpack_from("<I", self.section(2), 16 * number + 8)[0]
            if rank % 16 == 0:
                sums.append(total)
        check(words(self.section(13), 8) == sums, "the sums of the order")


class Depot:
    """The newest state of a depot, as docs/reference/format.md, section 4, finds it."""

    def __init__(self, path: str):
        with open(path, "rb") as file:
            self.data = file.read()
        self.parameters = self.header()
        self.commit: Table | None = None
        self.segments: list[Segment] = []
        # Of CHUNK and LOG entries that no commit covers.
        self.adopted: list[Head] = []
        # How many chunks with the fields apart were read.
        self.n_apart = 0
        self.find()

    # 1. The header page.

    def header(self) -> Parameters:
        data = self.data
        check(data[:10] == b"\x9e\xa8b2frame\0", "the magic of a Blosc2 frame")
        at = 87
        check(data[at] == 0x93 and data[at + 1] == 0xCD and data[at + 4] == 0xDE, "metalayers")
        count, at = int.from_bytes(data[at + 5 : at + 7], "big"), at + 7
        for _ in range(count):
            length = data[at] & 0x1F
            name, at = data[at + 1 : at + 1 + length], at + 1 + length
            offset, at = int.from_bytes(data[at + 1 : at + 5], "big"), at + 5
            if name == b"vldepot":
                content = data[offset + 5 : PAGE]
                inner = int.from_bytes(content[1:5], "big")
                check(content[0] == 0xC6 and inner == len(content) - 5, "a MessagePack byte string")
                check(content[5:13] == b"VLDEPOT1", "the magic VLDEPOT1")
                table = content[21 : 21 + u32(content, 13)]
                check(crc(table) == u32(content, 17), "the parameters")
                return Parameters(Table(table))
        raise Damaged("no metalayer vldepot")

    # 2. Entries.

    def head(self, offset: int) -> Head | None:
        raw = self.data[offset : offset + 64]
        if len(raw) < 64 or raw[:8] != b"\x8bVLD\r\n\x1a\0" or crc(raw[:60]) != u32(raw, 60):
            return None
        head = Head(raw[8], *struct.unpack_from("<IQQQQQI", raw, 12), u32(raw, 60))
        if head.offset != offset or head.depot_id != self.parameters.depot_id:
            return None
        if offset + head.length > len(self.data):
            return None
        known(1 <= head.kind <= 7 or head.kind >= 128, f"entry kind {head.kind}")
        known(raw[9:12] == b"\0\0\0", "flags of an entry")
        return head

    def body(self, head: Head) -> bytes:
        """The body of a COMMIT, METADATA or LOSSES entry."""
        at = head.offset + 64
        whole = self.data[at : at + 8 + u64(self.data, at)]
        check(crc(whole) == head.body_crc, "the body of an entry")
        return whole[8:]

    def read_commit(self, head: Head) -> tuple[Table, list[Segment]]:
        commit = Table(self.body(head))
        known(commit.number(15, 8) == 0, "an incompatible feature")
        Parameters(commit.table(8))
        segments, end, ordinal, chunk = [], 0, 0, 0
        packed = commit.table(2).vector(0) or b"" if commit.table(2) else b""
        at = 0
        while at < len(packed):
            numbers = []
            for _ in range(6):
                number, at = varint(packed, at)
                numbers.append(number)
            gap, length, prefix, records, chunks, kills = numbers
            offset = end + 64 * gap
            end = offset + 64 * length
            segment = Segment(self, offset, 64 * length, prefix, (records, chunks, kills))
            follows = (segment.first_ordinal, segment.first_chunk) == (ordinal, chunk)
            check(follows, "segments that follow each other")
            ordinal, chunk = ordinal + records, chunk + chunks
            segments.append(segment)
        return commit, segments

    def directory(self, head: Head) -> tuple[bytes, Table]:
        """The prelude and the directory of a CHUNK or LOG entry."""
        prelude = self.data[head.offset + 64 : head.offset + 128]
        check(crc(prelude) == head.body_crc, "a prelude")
        known(prelude[44:] == bytes(20), "fields of a prelude")
        known(u32(prelude, 12) in (0, APART), f"payload layout {u32(prelude, 12)}")
        stored = self.data[head.offset + 128 : head.offset + 128 + u32(prelude, 0)]
        check(crc(stored) == u32(prelude, 8), "a directory")
        # A directory that would not shrink is stored as it is.
        raw = stored if u32(prelude, 0) == u32(prelude, 4) else blosc2.decompress2(stored)
        table = Table(bytes(raw))
        known(not table.unknown(12), "a column of a directory")
        return prelude, table

    def scalars(self, table: Table, n: int) -> list[Scalars]:
        """The scalars of the records that the `n` operations of a directory leave."""
        data, absent = table.vector(10) or b"", table.vector(11)
        kinds = [kind for _, kind in self.parameters.columns]
        if n == 0 or not kinds:
            check(not data, "scalars of no columns")
            return [()] * n
        check(len(data) == 8 * n * len(kinds), "the number of scalars")
        absent = absent or bytes(n * len(kinds))
        columns = []
        for number, kind in enumerate(kinds):
            planes = data[8 * n * number : 8 * n * (number + 1)]
            value, values = 0, []
            for record in range(n):
                value = (value + int.from_bytes(planes[record::n], "little")) % (1 << 64)
                shown = struct.unpack("<d", struct.pack("<Q", value))[0] if kind else signed(value)
                values.append(None if absent[n * number + record] else shown)
            columns.append(values)
        return list(zip(*columns))

    def operations(self, head: Head) -> list[tuple[int, bytes, Location | None, tuple]]:
        """Kind, name, place, and metadata with scalars, of each operation of a CHUNK or LOG entry."""
        _, table = self.directory(head)
        names, lengths, crcs = table.vector(3) or b"", iter(table.numbers(4, 4)), iter(table.numbers(5, 4))
        name_lengths = table.numbers(2, 4)
        kinds = table.vector(1) or bytes(len(name_lengths))
        noted = dict(zip(table.numbers(6, 4), table.numbers(7, 4)))
        metadata, moved = table.vector(8) or b"", iter(table.numbers(9, 8))
        start = head.ordinal * self.parameters.chunk_size
        next_place, at, noted_at = table.number(0, 4), 0, 0
        scalars = iter(self.scalars(table, sum(kind not in (1, 3) for kind in kinds)))
        operations = []
        for number, (kind, length) in enumerate(zip(kinds, name_lengths)):
            known(kind <= 4, f"operation {kind}")
            name, at = names[at : at + length], at + length
            value = None
            if number in noted:
                value, noted_at = metadata[noted_at : noted_at + noted[number]], noted_at + noted[number]
            location = None
            if kind == 0:
                next_place = -(-next_place // self.parameters.align) * self.parameters.align
                location = Location(start + next_place, next(lengths), next(crcs))
                next_place += location.length
            elif kind == 3:
                check(name == b"", "the name of bytes that begin")
                operations.append((kind, name, Location(start + next_place, 0, 0), (None, ())))
                continue
            elif kind in (2, 4):
                word, low = next(moved), next(moved)
                location = place(word, low & 0xFFFFFFFF, low >> 32)
            operations.append((kind, name, location, (value, () if kind == 1 else next(scalars))))
        return operations

    def chunk_of(self, head: Head) -> tuple[int, int, int, int, int, int, int]:
        """What the index would have of the chunk of a CHUNK entry."""
        prelude, _ = self.directory(head)
        chunk_at = u32(prelude, 16)
        header = self.data[head.offset + chunk_at :][:32]
        flags = (header[31] >> 4 & 7 == 1) | (header[2] >> 1 & 1) << 1 | u32(prelude, 12) << 8
        length, n, table_crc = u64(prelude, 24), u32(prelude, 20), u32(prelude, 40)
        return head.offset, chunk_at, length, n, table_crc, u32(header, 8), flags

    # 4. Opening.

    def find(self) -> None:
        slots = []
        for at in SLOTS:
            slot = self.data[at : at + 64]
            if slot[:8] == b"VLSLOT\r\n" and crc(slot[:60]) == u32(slot, 60):
                known(slot[44:60] == bytes(16), "fields of a slot")
                if u64(slot, 32) == self.parameters.depot_id:
                    slots.append((u64(slot, 8), u64(slot, 16), u32(slot, 40)))
        offset, sequence, previous = FIRST_ENTRY, 1, 0
        for number, at, head_crc in sorted(slots, reverse=True):
            head = self.head(at)
            if head is not None and head.kind == COMMIT and head.crc == head_crc and head.ordinal == number:
                self.commit, self.segments = self.read_commit(head)
                offset, sequence, previous = head.offset + head.length, head.sequence + 1, head.crc
                break
        while (head := self.head(offset)) is not None:
            if (head.sequence, head.previous) != (sequence, previous):
                break
            if head.kind == COMMIT:
                self.commit, self.segments = self.read_commit(head)
                self.adopted = []
            elif head.kind in (CHUNK, LOG):
                self.adopted.append(head)
            elif head.kind >= 128 and crc(self.data[offset + 64 : offset + head.length]) != head.body_crc:
                break
            offset, sequence, previous = offset + head.length, sequence + 1, head.crc
        if self.commit is None:
            known(self.parameters.incompatible == 0, "an incompatible feature")

    def entries(self) -> list[Head]:
        """All entries, from the first on."""
        heads, offset = [], FIRST_ENTRY
        while (head := self.head(offset)) is not None:
            heads.append(head)
            offset += head.length
        return heads

    # Records.

    def raw_chunk(self, reference: tuple[int, int, int, int, int, int, int]) -> bytes:
        offset, chunk_at, length, n, table_crc, block_size, flags = reference
        at = offset + chunk_at
        table = self.data[at - 4 * n : at]
        check(crc(table) == table_crc, "the checksums of blocks")
        crcs, chunk = words(table, 4), self.data[at : at + length]
        size = self.parameters.chunk_size
        if flags == APART << 8:
            self.n_apart += 1
            try:
                return apart.raw_chunk(chunk, crcs, size, self.parameters.align, crc)
            except apart.Broken as error:
                raise Damaged(str(error)) from error
        if flags & 2:
            check(crc(chunk[:32]) == crcs[0], "the header of a chunk")
            raw = chunk[32:]
            for block, expected in enumerate(crcs[1:]):
                check(crc(raw[block * block_size : (block + 1) * block_size]) == expected, "a block")
            return raw
        n_blocks = 0 if flags & 1 else -(-size // block_size)
        starts = words(chunk[32 : 32 + 4 * n_blocks], 4) + [length]
        check(crc(chunk[: 32 + 4 * n_blocks]) == crcs[0], "the header of a chunk")
        for block in range(n_blocks):
            stored = chunk[starts[block] : starts[block + 1]]
            # Blocks of zeros at the end have no checksum.
            good = crc(stored) == crcs[block + 1] if block + 1 < n else not any(stored)
            check(good, f"block {block}")
        return bytes(size) if flags & 1 else bytes(blosc2.decompress2(chunk))

    def live(self) -> tuple[dict[bytes, tuple[Location, tuple]], dict[int, tuple]]:
        """Live records in their order by the index and what was adopted, and where their chunks are."""
        dead = {ordinal for segment in self.segments for ordinal in segment.kills}
        records, chunks = {}, {}
        for segment in self.segments:
            for number in range(len(segment.section(7)) // 32):
                chunks[segment.first_chunk + number] = segment.chunk(number)
            for number, name in enumerate(segment.names):
                if segment.first_ordinal + number not in dead:
                    check(name not in records, "a name that is live once")
                    kept = (segment.metadata.get(number), segment.scalars[number])
                    records[name] = (segment.location(number), kept)
        if self.commit is not None:
            check(len(records) == self.commit.number(3, 8), "the number of live records")
        self.replay(self.adopted, records, chunks)
        return records, chunks

    def statistics(self) -> tuple[Statistics, int, int]:
        """Of all committed records: statistics, how many are of records that are gone, and how many are missing."""
        whole = Statistics()
        for segment in self.segments:
            whole.merge(segment.statistics)
        n_kills = sum(len(segment.kills) for segment in self.segments)
        n_live = sum(segment.n_records for segment in self.segments) - n_kills
        gone = whole.dropped + n_kills - whole.moved
        return whole, gone, n_live + gone - whole.counted

    def by_directories(self) -> tuple[dict[bytes, tuple[Location, tuple]], dict[int, tuple]]:
        """The same by the directories alone."""
        records: dict[bytes, tuple[Location, tuple]] = {}
        chunks: dict[int, tuple] = {}
        self.replay([head for head in self.entries() if head.kind in (CHUNK, LOG)], records, chunks)
        return records, chunks

    def replay(self, heads: list[Head], records: dict, chunks: dict) -> None:
        size, firsts, replayed = self.parameters.chunk_size, {}, []
        for head in heads:
            if head.kind == CHUNK:
                chunks[head.ordinal] = self.chunk_of(head)
            operations = self.operations(head)
            replayed += [operation for operation in operations if operation[0] != 3]
            puts = [location.address for kind, _, location, _ in operations if kind in (0, 3) and location]
            if puts:
                firsts.setdefault(head.ordinal, puts[0])
        for _, name, location, kept in replayed:
            if location is not None and location.length:
                end = location.address + location.length
                later = range(location.address // size + 1, (end - 1) // size + 1)
                # It was cut short.
                if any(chunk not in chunks or firsts.get(chunk, end) < end for chunk in later):
                    continue
            records.pop(name, None)
            if location is not None:
                records[name] = (location, kept)

    def records(self) -> list[tuple[bytes, bytes, bytes | None, Scalars]]:
        """Tagged name, bytes, metadata and scalars of all live records, in their order."""
        records, chunks = self.live()
        again, chunks_again = self.by_directories()
        # NaN is the same as NaN here.
        check(repr(list(records.items())) == repr(list(again.items())), "index and directories that agree")
        check(chunks == chunks_again, "chunks of the index and of the entries")
        raw = {number: self.raw_chunk(reference) for number, reference in chunks.items()}
        out = []
        for name, (location, (metadata, scalars)) in records.items():
            data, at, left = b"", location.address, location.length
            while left:
                number, start = divmod(at, self.parameters.chunk_size)
                part = raw[number][start : start + left]
                data, at, left = data + part, at + len(part), left - len(part)
            check(crc(data) == location.crc, f"record {name!r}")
            out.append((name, data, metadata, scalars))
        return out

    def ordinals(self) -> dict[bytes, int]:
        """The ordinals of all live records, if every entry is covered by the commit."""
        dead = {ordinal for segment in self.segments for ordinal in segment.kills}
        named = ((s.first_ordinal + n, name) for s in self.segments for n, name in enumerate(s.names))
        return {name: ordinal for ordinal, name in named if ordinal not in dead}


class Shards:
    """A folder of shards, as docs/reference/format.md, section 10, defines it."""

    def __init__(self, folder: str):
        manifest = json.loads((pathlib.Path(folder) / "shards.json").read_text(encoding="utf-8"))
        check(manifest["format"] == "vldepot shards", "the format of a manifest")
        stored = manifest.pop("crc32c")
        text = json.dumps(manifest, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
        check(int(stored, 16) == crc(text.encode()), "the checksum of the manifest")
        known(manifest["version"] == 1, "a later version of the manifest")
        self.shards = [(shard, Depot(f"{folder}/{shard['path']}")) for shard in manifest["shards"]]
        self.parameters = self.shards[0][1].parameters

    @staticmethod
    def is_as_noted(shard: dict, depot: Depot) -> bool:
        """Whether a shard is in the state that the manifest names."""
        sequence = 0 if depot.commit is None else depot.commit.number(0, 8)
        same = int(shard["depot"], 16) == depot.parameters.depot_id and sequence == shard["commit"]
        return same and not depot.adopted

    def records(self) -> list[tuple[bytes, bytes, bytes | None, Scalars]]:
        """Tagged name, bytes, metadata and scalars of all records, in their order."""
        all_records = [depot.records() for _, depot in self.shards]
        newest = {record[0]: number for number, records in enumerate(all_records) for record in records}
        if all(self.is_as_noted(shard, depot) for shard, depot in self.shards):
            for number, (shard, depot) in enumerate(self.shards):
                check(shard["records"] == len(all_records[number]), "the number of a shard's records")
                ordinals = depot.ordinals()
                ours = sorted(
                    ordinals[record[0]] for record in all_records[number] if newest[record[0]] > number
                )
                noted = [n for first, last in shard.get("superseded", []) for n in range(first, last + 1)]
                check(ours == noted, "the ordinals of superseded records")
        return [r for number, records in enumerate(all_records) for r in records if newest[r[0]] == number]
