"""`vldepot.mapbuffer`: a plain dict's answers, counted slices, and the package mapbuffer itself."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from vldepot.mapbuffer import (
    HEADER_LENGTH,
    DecompressionError,
    IntMap,
    MapBuffer,
    UnsupportedCompressionType,
    ValidationError,
)

COMPRESSIONS = [None, "gzip", "br", "zstd", "lzma"]
EDGES = {0: b"zero", 5: b"", 2**63: b"half", 2**64 - 1: b"most"}


class Reader:
    """Gives slices, and nothing else, and counts them."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.asked: list[slice] = []

    def __getitem__(self, part: slice) -> bytes:
        self.asked.append(part)
        return self.data[part]


@pytest.mark.parametrize("format", ["vldepot", "mapbuffer"])
@pytest.mark.parametrize("compress", COMPRESSIONS)
def test_it_answers_as_a_dict(compress: Any, format: Any) -> None:  # P2, P3
    chance = random.Random(1)
    data = {chance.randrange(2**64): chance.randbytes(chance.randrange(50)) for _ in range(300)} | EDGES
    mb = MapBuffer(data, compress=compress, format=format)
    assert (len(mb), mb.compress, mb.format) == (len(data), compress, format)
    assert mb.todict() == data
    assert list(mb) == list(mb.keys()) == sorted(data)
    assert list(mb.values()) == [data[key] for key in sorted(data)]
    assert mb.get(7) is None
    assert mb.get(7, b"no") == b"no"
    assert -1 not in mb
    assert 2**64 not in mb
    for missing in (7, -1, 2**64):
        with pytest.raises(KeyError):
            mb[missing]
    assert mb.validate()
    assert len(mb.buffer) > HEADER_LENGTH
    empty = MapBuffer({}, compress=compress, format=format)
    assert (len(empty), list(empty), empty.validate(), empty.compress) == (0, [], True, compress)


def test_functions_turn_values_into_bytes_and_back() -> None:  # P2
    mb = MapBuffer({1: "one"}, tobytesfn=str.encode, frombytesfn=bytes.decode)
    assert mb[1] == "one"
    assert list(mb.items()) == [(1, "one")]


def test_slices_are_counted() -> None:  # P1
    reader = Reader(MapBuffer({key: str(key).encode() for key in range(100)}).tobytes())
    mb = MapBuffer(reader)
    assert [mb[key] for key in range(100)] == [str(key).encode() for key in range(100)]
    assert len(reader.asked) == 102


READER = """
import mmap, sys
from vldepot.mapbuffer import MapBuffer
with open(sys.argv[1], "rb") as file:
    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    found = MapBuffer(mapped)
    print("ready", flush=True)
    sys.stdin.readline()
    print(sum(len(found[key]) for key in range(1000)), flush=True)
"""


def test_several_processes_map_a_file_at_once(tmp_path: Path) -> None:  # P9
    path = tmp_path / "map.mb"
    path.write_bytes(MapBuffer({key: b"x" * key for key in range(1000)}).tobytes())
    readers = [
        subprocess.Popen(
            [sys.executable, "-c", READER, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for reader in readers:
        assert reader.stdout is not None and reader.stdout.readline() == "ready\n"
    # All of them have it mapped now.
    for reader in readers:
        assert reader.communicate("go\n")[0] == "499500\n"


def test_files_and_buffers(tmp_path: Path) -> None:  # P1, P9
    data = MapBuffer(EDGES).tobytes()
    path = tmp_path / "map.mb"
    path.write_bytes(data)
    with path.open("rb") as file:
        mb = MapBuffer(file)
    assert mb.todict() == EDGES
    assert MapBuffer(bytearray(data)).todict() == EDGES
    inside = memoryview(b"before" + data + b"after")[6:-5]
    assert MapBuffer(inside).todict() == EDGES
    path.write_bytes(b"")
    with path.open("rb") as file, pytest.raises(ValidationError):
        MapBuffer(file).validate()
    for strange in (None, 5):
        with pytest.raises(TypeError):
            MapBuffer(strange)


def test_what_a_reader_raises_comes_through() -> None:
    class Broken:
        def __getitem__(self, part: slice) -> bytes:
            raise ConnectionError("gone")

    with pytest.raises(ConnectionError, match="gone"):
        len(MapBuffer(Broken()))
    with pytest.raises(ConnectionError, match="gone"):
        len(IntMap(Broken()))


@pytest.mark.parametrize("compress", COMPRESSIONS[:-1])
def test_a_flipped_byte_names_its_key(compress: Any) -> None:  # P5
    mb = MapBuffer({77: b"hello", 2: b"world"}, compress=compress)
    changed = bytearray(mb.buffer)
    changed[mb.buffer.index(b"hello")] = ord("H")
    mb.buffer = bytes(changed)
    assert mb[2] == b"world"
    with pytest.raises(ValidationError, match="record 77"):
        mb[77]
    if compress is None:
        assert MapBuffer(bytes(changed), check_crc=False)[77] == b"Hello"
    without = MapBuffer({1: b"a"}, compute_crc=False)
    assert len(without.tobytes()) == len(MapBuffer({1: b"a"}).tobytes()) - 4


@pytest.mark.parametrize("make", [lambda: MapBuffer({1: b"one", 2: b"two"}), lambda: IntMap({1: 5, 2: 6})])
def test_every_flip_and_cut_is_found(make: Any) -> None:  # P6
    whole = make()
    assert whole.validate()
    data = whole.tobytes()
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << (bit % 8)
        with pytest.raises(ValidationError):
            type(whole)(bytes(changed)).validate()
    for length in range(len(data)):
        with pytest.raises(ValidationError):
            type(whole)(Reader(data[:length])).validate()


def test_values_are_set_in_place() -> None:  # P7, P8
    mb = MapBuffer(bytearray(MapBuffer({1: b"hello", 2: b"world"}).tobytes()))
    mb[1] = b"abcde"
    assert mb[1] == b"abcde"
    assert mb.validate()
    with pytest.raises(ValueError, match="expected 5, found 6"):
        mb[2] = b"abcdef"
    with pytest.raises(KeyError):
        mb[9] = b"12345"
    with pytest.raises(TypeError):
        MapBuffer({1: b"a"})[1] = b"b"

    im = IntMap(dict.fromkeys(range(1000), 0))
    assert len(im.tobytes()) == 32 + 16 * 1000 + 4 * 4
    im.buffer = bytearray(im.buffer)
    for key in range(1000):
        im[key] = key * key
    assert im[999] == 999 * 999
    assert im.validate()
    assert IntMap(bytes(im.buffer)).todict() == {key: key * key for key in range(1000)}
    with pytest.raises(KeyError):
        im[1000] = b"123"  # type: ignore[assignment]
    with pytest.raises(OverflowError):
        im[1] = -1


def test_transcoding() -> None:  # P10
    mb = MapBuffer(EDGES, compress="gzip")
    assert mb.transcode("gzip").tobytes() == mb.tobytes()
    for compress in COMPRESSIONS:
        other = mb.transcode(compress)  # type: ignore[arg-type]
        assert (other.compress, other.todict(), other.validate()) == (compress, EDGES, True)


def test_what_is_not_known_is_refused() -> None:
    with pytest.raises(UnsupportedCompressionType):
        MapBuffer({}, compress="lz4")  # type: ignore[arg-type]
    with pytest.raises(OverflowError):
        MapBuffer({-1: b""})
    with pytest.raises(ValidationError):
        MapBuffer(b"PK\x03\x04").validate()
    bad = (
        MapBuffer({1: b"not gzip"}, compute_crc=False, format="mapbuffer").tobytes().replace(b"none", b"gzip")
    )
    with pytest.raises(DecompressionError, match="record 1"):
        MapBuffer(bad)[1]


@pytest.mark.parametrize("crc", [True, False])
@pytest.mark.parametrize("compress", COMPRESSIONS)
def test_mapbuffer_itself_reads_and_writes_the_same(compress: Any, crc: bool) -> None:
    theirs = pytest.importorskip("mapbuffer", reason="the package mapbuffer is not installed")
    chance = random.Random(2)
    data = {chance.randrange(2**62): chance.randbytes(9) * chance.randrange(1, 99) for _ in range(500)}
    written = theirs.MapBuffer(data, compress=compress, compute_crc=crc).tobytes()
    mb = MapBuffer(written)
    assert (mb.format, mb.compress, mb.todict(), mb.validate()) == ("mapbuffer", compress, data, True)
    ours = mb.transcode(None).transcode(compress, compute_crc=crc, format="mapbuffer").tobytes()
    again = theirs.MapBuffer(ours)
    assert {int(key): value for key, value in again.items()} == data
    assert again.validate()
    assert all(again[key] == data[key] for key in data)
    if compress is None:
        assert ours == written


def test_mapbuffer_itself_and_its_integers() -> None:
    theirs = pytest.importorskip("mapbuffer", reason="the package mapbuffer is not installed")
    chance = random.Random(3)
    data = {chance.randrange(2**62): chance.randrange(2**62) for _ in range(500)}
    written = theirs.IntMap(data).tobytes()
    im = IntMap(written)
    assert (im.format, im.todict(), im.validate()) == ("mapbuffer", data, True)
    assert IntMap(data, format="mapbuffer").tobytes() == written


def test_the_page_on_moving_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Path(__file__).parents[3] / "docs" / "how-to" / "move-from-mapbuffer.md"
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in page.read_text(encoding="utf-8").split("```python\n")[1:]:
        exec(block.split("```")[0], names)
