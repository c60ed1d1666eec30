"""Chunks with the fields of their records apart: docs/reference/format.md, "Fields apart".

Written from that section alone, like the rest of this reader. Every rule that it names is checked.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field

import zstandard

HEADER = 32
TABLE = 40
# The bytes and the way of the bits of each kind of elements.
KINDS = ((1, None), (2, None), (4, None), (8, None), (4, "float"), (8, "float"))
ALONE = 255


class Broken(Exception):
    """Bytes that are not those of a chunk."""


def check(condition: bool, what: str) -> None:
    if not condition:
        raise Broken(what)


class Input:
    """Bytes that are taken from the front."""

    def __init__(self, data: bytes):
        self.data, self.at = data, 0

    def take(self, n: int) -> bytes:
        check(self.at + n <= len(self.data), "bytes that end too early")
        self.at += n
        return self.data[self.at - n : self.at]

    def byte(self) -> int:
        return self.take(1)[0]

    def u32(self) -> int:
        return struct.unpack("<I", self.take(4))[0]

    def number(self) -> int:
        value = shift = 0
        while True:
            byte = self.byte()
            value, shift = value | (byte & 0x7F) << shift, shift + 7
            if byte < 0x80:
                break
            check(shift < 35, "a number of more than 5 bytes")
        check(value < 1 << 32, "a number of more than 32 bits")
        return value

    def end(self, what: str) -> None:
        check(self.at == len(self.data), f"bytes that are left over in {what}")


class Code:
    """A Huffman code."""

    def __init__(self, packed: bytes):
        lengths = [half for byte in packed for half in (byte & 15, byte >> 4)]
        check(max(lengths) <= 11, "a code of more than 11 bits")
        check(sum(2048 >> n for n in lengths if n) == 2048, "a code that is not complete")
        # As RFC 1951 does it.
        self.bytes: dict[tuple[int, int], int] = {}
        code = 0
        for n in range(1, 12):
            code <<= 1
            for byte, length in enumerate(lengths):
                if length == n:
                    self.bytes[n, code] = byte
                    code += 1

    def part(self, data: bytes, n: int) -> tuple[bytes, int]:
        """The first `n` bytes whose codes are in `data`, and how many bytes of it they take."""
        out, bit = bytearray(), 0
        for _ in range(n):
            length = code = 0
            while (length, code) not in self.bytes:
                check(bit < 8 * len(data), "codes that end too early")
                code = code << 1 | data[bit >> 3] >> (bit & 7) & 1
                length, bit = length + 1, bit + 1
            out.append(self.bytes[length, code])
        used = -(-bit // 8)
        check(bit % 8 == 0 or data[used - 1] >> bit % 8 == 0, "bits after the last code")
        return bytes(out), used

    def decode(self, data: bytes, n: int) -> bytes:
        first, used = self.part(data, -(-n // 2))
        second, used_behind = self.part(data[::-1], n // 2)
        check(used + used_behind == len(data), "codes with bytes between them")
        return first + second


@dataclass
class Stream:
    field: int
    size: int
    is_float: bool
    # "stored", "zstd", a byte, or a code.
    planes: list[str | int | Code]


def cut(length: int, phase: int) -> list[int]:
    """The bytes of each cell of a gap."""
    lead = min((4 - phase) % 4, length)
    rest = length - lead
    return [n for n in [lead, *[4] * (rest // 4), rest % 4] if n]


@dataclass
class Template:
    spans: list[tuple[int, int]] = field(default_factory=list)
    gaps: list[int] = field(default_factory=list)
    # The bytes of the cells of each gap.
    cells: list[list[int]] = field(default_factory=list)
    kinds: bytes = b""
    base: list[int] = field(default_factory=list)
    slope: list[int] = field(default_factory=list)

    @classmethod
    def read(cls, data: Input, n_streams: int) -> Template:
        self = cls()
        n_spans = data.number()
        check(n_spans <= 64, "a template of more than 64 spans")
        for _ in range(n_spans):
            stream, per = data.byte(), data.number()
            check(stream < n_streams and per >= 1, "a span of a template")
            self.spans.append((stream, per))
        for _ in range(n_spans + 1):
            length, phase = data.number(), data.byte()
            check(phase <= 3, "a phase")
            self.gaps.append(length)
            check(sum(self.gaps) <= 16384, "a head of a template")
            self.cells.append(cut(length, phase))
        n_cells = sum(len(cells) for cells in self.cells)
        self.kinds = data.take(n_cells)
        for cell, kind in enumerate(self.kinds):
            check(kind <= 17, "the kind of a cell")
            if kind == 17:
                other = data.number()
                check(other < cell and self.kinds[other] != 17, "the same as another cell")
                self.base.append(other)
            else:
                self.base.append(data.u32())
            self.slope.append(data.u32() if kind == 16 else 0)
        return self

    def head(self, m: int, data: Input) -> list[bytes]:
        """The gaps of a piece."""
        words: list[int] = []
        for kind, base, slope in zip(self.kinds, self.base, self.slope):
            if kind == 17:
                words.append(words[base])
                continue
            word = bytearray(struct.pack("<I", (base + slope * m) % (1 << 32)))
            for place in range(4):
                if kind < 16 and kind >> place & 1:
                    word[place] = data.byte()
            words.append(int.from_bytes(word, "little"))
        at, gaps = iter(words), []
        for cells in self.cells:
            gaps.append(b"".join(struct.pack("<I", next(at))[:n] for n in cells))
        return gaps


@dataclass
class Piece:
    start: int
    template: Template | None
    m: int
    # The stream and the bytes of each span.
    spans: list[tuple[int, int]]
    gaps: list[int]

    def __len__(self) -> int:
        return sum(self.gaps) + sum(length for _, length in self.spans)


def join(stream: Stream, planes: list[bytes]) -> bytes:
    """The elements that have these planes."""
    out = bytearray()
    for parts in zip(*planes):
        x = int.from_bytes(bytes(parts), "little")
        if stream.is_float:
            # The exponent's 8 bits, the sign, all others.
            low = 8 * stream.size - 9
            sign = x >> low & 1
            x = sign << low + 8 | x >> low + 1 << low | x & (1 << low) - 1
        out += x.to_bytes(stream.size, "little")
    return bytes(out)


class Model:
    def __init__(self, data: bytes):
        source = Input(data)
        n_streams = source.number()
        check(n_streams <= 255, "more than 255 streams")
        self.streams = [self.stream(source) for _ in range(n_streams)]
        n_templates = source.number()
        check(n_templates <= 255, "more than 255 templates")
        self.templates = [Template.read(source, n_streams) for _ in range(n_templates)]
        source.end("a model")

    @staticmethod
    def stream(data: Input) -> Stream:
        number, kind = data.byte(), data.byte()
        check(kind < len(KINDS), "a kind of elements")
        size, way = KINDS[kind]
        planes: list[str | int | Code] = []
        for _ in range(size):
            how = data.byte()
            check(how <= 3, "the kind of a plane")
            makes = {0: lambda: "stored", 1: data.byte, 2: lambda: Code(data.take(128)), 3: lambda: "zstd"}
            planes.append(makes[how]())
        return Stream(number, size, way == "float", planes)

    def pieces(self, data: Input, align: int, length: int) -> list[Piece]:
        """What the pieces of a block of `length` raw bytes are like."""
        pieces, at, n_spans = [], 0, 0
        while (start := -(-at // align) * align) < length:
            number = data.byte()
            if number == ALONE:
                n_spans, spans, gaps = data.number(), [], []
                check(n_spans <= 4096, "more than 4096 spans")
                for _ in range(n_spans):
                    stream = data.byte()
                    gaps.append(data.number())
                    spans.append((stream, data.number()))
                gaps.append(data.number())
                piece = Piece(start, None, 0, spans, gaps)
            else:
                check(number < len(self.templates), "a template that is not there")
                template, m = self.templates[number], data.number()
                piece = Piece(start, template, m, [(s, b * m) for s, b in template.spans], template.gaps)
            for stream, bytes_ in piece.spans:
                check(stream < len(self.streams), "a stream that is not there")
                check(bytes_ > 0 and bytes_ % self.streams[stream].size == 0, "the length of a span")
            check(0 < len(piece) <= length - start, "the length of a piece")
            pieces.append(piece)
            n_spans += len(piece.spans)
            check(len(pieces) <= 65536 and n_spans <= 65536, "the number of pieces, or of spans")
            at = start + len(piece)
        return pieces

    def block(self, stored: bytes, align: int, length: int) -> bytes:
        """The raw bytes of a block."""
        data = Input(stored)
        pieces = self.pieces(data, align, length)
        counts = [0] * len(self.streams)
        for piece in pieces:
            for stream, bytes_ in piece.spans:
                counts[stream] += bytes_ // self.streams[stream].size
        used = [(number, self.streams[number], n) for number, n in enumerate(counts) if n]
        lengths = [
            [data.number() if how != "stored" else 0 for how in stream.planes] for _, stream, _ in used
        ]
        planes: list[list[bytes | None]] = []
        for (_, stream, n), cs in zip(used, lengths):
            planes.append([])
            for how, c in zip(stream.planes, cs):
                plane = None
                if c and isinstance(how, Code):
                    plane = how.decode(data.take(c - 1), n)
                elif c and how == "zstd":
                    plane = zstandard.ZstdDecompressor().decompress(data.take(c - 1), max_output_size=n)
                    check(len(plane) == n, "the bytes of a zstd frame")
                elif c:
                    check(c == 1, "codes of a constant plane")
                    plane = bytes([how]) * n
                planes[-1].append(plane)
        heads = [
            piece.template.head(piece.m, data) if piece.template else [data.take(n) for n in piece.gaps]
            for piece in pieces
        ]
        elements: dict[int, Input] = {}
        for (number, stream, n), some in zip(used, planes):
            whole = [data.take(n) if plane is None else plane for plane in some]
            elements[number] = Input(join(stream, whole))
        data.end("a block")
        out = bytearray()
        for piece, gaps in zip(pieces, heads):
            out += bytes(piece.start - len(out)) + gaps[0]
            for (stream, bytes_), gap in zip(piece.spans, gaps[1:]):
                out += elements[stream].take(bytes_) + gap
        return bytes(out) + bytes(length - len(out))


def raw_chunk(chunk: bytes, crcs: list[int], size: int, align: int, crc: Callable[[bytes], int]) -> bytes:
    """The raw bytes of a chunk of layout 1, whose checksums are `crcs`."""
    n = len(crcs) - 2
    model_at = TABLE + 8 * (n + 1)
    check(n >= 0 and model_at <= len(chunk), "the number of checksums")
    check(crc(chunk[:model_at]) == crcs[0], "the checksum of the table of blocks")
    expected = struct.pack("<4BIII6x2B8x", 5, 1, 0xD5, 1, size, size, len(chunk), 221, align.bit_length() - 1)
    check(chunk[:HEADER] == expected, "the header of a chunk")
    check(struct.unpack_from("<II", chunk, HEADER) == (36, len(chunk) - 40), "the stream of a chunk")
    pairs = list(struct.iter_unpack("<II", chunk[TABLE:model_at]))
    check(
        pairs == sorted(pairs) and all(a[1] <= b[1] for a, b in zip(pairs, pairs[1:])), "the order of blocks"
    )
    check(all(raw % align == 0 for raw, _ in pairs[:-1]), "the alignment of blocks")
    check(pairs[0][1] >= model_at and pairs[-1][0] <= size, "the place of blocks")
    check(pairs[-1][1] == len(chunk), "the end of the last block")
    model = chunk[model_at : pairs[0][1]]
    check(crc(model) == crcs[1], "the checksum of a model")
    decoder = Model(model)
    out = bytes(pairs[0][0])
    for number, ((raw, at), (raw_end, end)) in enumerate(zip(pairs, pairs[1:])):
        stored = chunk[at:end]
        check(crc(stored) == crcs[2 + number], f"the checksum of block {number}")
        out += decoder.block(stored, align, raw_end - raw)
    return out + bytes(size - len(out))
