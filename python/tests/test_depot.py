"""The mapping: names, values, order, batches, metadata."""

from __future__ import annotations

import collections.abc
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vldepot


def test_a_depot_is_a_mutable_mapping() -> None:
    depot = vldepot.memory("bytes")
    assert isinstance(depot, collections.abc.MutableMapping)
    depot["a"] = b"1"
    depot[b"a"] = b"2"
    depot[7] = b"3"
    depot[-(2**63)] = b"4"
    depot[2**64 - 1] = b"5"
    assert list(depot) == ["a", b"a", 7, -(2**63), 2**64 - 1]
    assert list(depot.keys()) == list(depot) and len(depot) == 5
    assert list(depot.values()) == [b"1", b"2", b"3", b"4", b"5"]
    assert dict(depot.items()) == {"a": b"1", b"a": b"2", 7: b"3", -(2**63): b"4", 2**64 - 1: b"5"}
    assert "a" in depot and "b" not in depot and 7 in depot and 8 not in depot
    assert "a" in depot.keys() and ("a", b"1") in depot.items() and b"5" in depot.values()
    del depot["a"]
    assert "a" not in depot
    assert depot.get("a") is None and depot.get("a", 5) == 5 and depot.get(7) == b"3"
    assert depot.pop(7) == b"3" and depot.pop(7, None) is None
    assert depot.popitem() == (2**64 - 1, b"5")
    assert depot.setdefault("new", b"x") == b"x" and depot.setdefault("new", b"y") == b"x"
    depot.update([("u", b"1")])
    depot.update({"v": b"2"})
    depot.clear()
    assert len(depot) == 0 and not depot and list(depot) == []
    with pytest.raises(KeyError):
        depot.popitem()


def test_a_missing_name_is_a_key_error_with_facts() -> None:
    depot = vldepot.memory("bytes")
    for lose in (
        lambda: depot["a"],
        lambda: depot.pop("a"),
        lambda: depot.__delitem__("a"),
        lambda: depot.get_many(["a"]),
    ):
        with pytest.raises(KeyError) as caught:
            lose()
        assert type(caught.value) is vldepot.NotFound
        assert caught.value.record == '"a"' and caught.value.path == "<memory>" and caught.value.is_not_found
        assert str(caught.value) == '<memory>: no record is called "a"'


@pytest.mark.parametrize(
    "name", [None, 1.5, True, ("a",), [1], np.float64(1), np.bool_(True), bytearray(b"a"), slice(1)]
)
def test_what_is_no_name_is_a_type_error(name: Any) -> None:
    depot = vldepot.memory("bytes")
    for use in (
        lambda: depot[name],
        lambda: depot.__setitem__(name, b""),
        lambda: name in depot,
        lambda: depot.get(name),
    ):
        with pytest.raises(TypeError):
            use()


@pytest.mark.parametrize("name", ["\ud800", 2**64, -(2**63) - 1, 10**50, -(10**50), "x" * ((1 << 24) + 1)])
def test_names_that_no_depot_can_have_are_refused(name: Any) -> None:
    depot = vldepot.memory("bytes")
    with pytest.raises(vldepot.InvalidRecord) as caught:
        depot[name] = b""
    assert isinstance(caught.value, ValueError) and len(str(caught.value)) < 1000
    assert len(depot) == 0


def test_names_of_numpy_are_the_same_names() -> None:
    depot = vldepot.memory("bytes")
    for number in (np.int8(-3), np.uint64(2**64 - 1), np.int64(5), np.array(9)):
        depot[number] = b""
    assert list(depot) == [-3, 2**64 - 1, 5, 9]
    depot[np.str_("a")] = b"s"
    depot[np.bytes_(b"a")] = b"b"
    assert depot["a"] == b"s" and depot[b"a"] == b"b"


def test_names_may_be_empty_or_hold_anything() -> None:
    depot = vldepot.memory("bytes")
    names: list[Any] = ["", b"", "\0", b"\0\xff", "å/ü", "x" * 70, b"\x80" * 300]
    depot.update({name: repr(name).encode() for name in names})
    assert list(depot) == names
    assert depot.get_many(reversed(names)) == [repr(name).encode() for name in reversed(names)]


def test_positions_are_those_of_python() -> None:
    depot = vldepot.memory("bytes")
    values = [bytes([n]) for n in range(20)]
    depot.update(enumerate(values))
    for position in (0, 19, -1, -20, np.int64(3), np.array(4), np.uint8(7)):
        assert depot.at(position) == values[position] and depot.names_at(position) == range(20)[position]
    for cut in (
        slice(None),
        slice(2, 9),
        slice(None, None, -1),
        slice(15, 2, -4),
        slice(-3, None),
        slice(30, 40),
        slice(5, 5),
    ):
        assert depot.at(cut) == values[cut] and depot.names_at(cut) == list(range(20))[cut]
    for many in (
        [3, -1, 3],
        np.array([5, -20, 0]),
        np.array([1, 2], np.uint8),
        (n for n in (4, 4)),
        range(3),
        [],
    ):
        wanted = list(many) if not isinstance(many, collections.abc.Generator) else [4, 4]
        assert depot.at(many) == [values[n] for n in wanted]
    for outside in (20, -21, 10**30, -(10**30), [0, 20], np.array([-21]), 2**63):
        with pytest.raises(IndexError) as caught:
            depot.at(outside)
        assert isinstance(caught.value, vldepot.OutOfRange) and caught.value.len == 20
    for wrong in ("a", 1.5, None, True, [1.5], ["a"], np.array([1.5]), np.array([[1]])):
        with pytest.raises(TypeError):
            depot.at(wrong)


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_many_records_come_in_the_order_of_the_request(molecules: Path, threads: int) -> None:
    depot = vldepot.open(molecules, "atomic_frame")
    names = ["m100", "m003", "m100", "m199"]
    for records in (depot.get_many(names, threads=threads), depot.get_many(iter(names), threads=threads)):
        assert [frame.energy for frame in records] == [100.0, 3.0, 100.0, 199.0]
    assert depot.get_many([]) == []
    with pytest.raises(TypeError):
        depot.get_many("m100")
    positions = np.random.default_rng(0).permutation(200)
    assert [frame.energy for frame in depot.at(positions, threads=threads)] == positions.tolist()
    assert [value.energy for value in depot.values(threads=threads)] == list(range(200))
    assert [(name, value.step) for name, value in depot.items(threads=threads)] == [
        (f"m{n:03}", 10 * n) for n in range(200)
    ]


def test_names_are_found_in_order_by_prefix_and_by_glob() -> None:
    depot = vldepot.memory("bytes")
    depot.update(dict.fromkeys(["run_2/b", "run_1/c", "run_2/a", "x"], b".."))
    depot.update(dict.fromkeys((5, -2, 3), b"."))
    assert list(depot.sorted_keys()) == ["run_1/c", "run_2/a", "run_2/b", "x", -2, 3, 5]
    assert list(depot.sorted_keys(reverse=True)) == [5, 3, -2, "x", "run_2/b", "run_2/a", "run_1/c"]
    assert list(depot.sorted_keys("run_2/", "run_3")) == ["run_2/a", "run_2/b"]
    assert list(depot.sorted_keys(-2, 4)) == [-2, 3] and list(depot.sorted_keys(stop=None)) == list(
        depot.sorted_keys()
    )
    assert list(depot.keys_with_prefix("run_2/", reverse=True)) == ["run_2/b", "run_2/a"]
    assert list(depot.keys_matching("run_?/[ab]")) == ["run_2/b", "run_2/a"]
    assert depot.totals("run_2/", "run_3") == vldepot.Totals(records=2, raw_bytes=4)
    assert depot.totals_with_prefix("run_").records == 3 and depot.totals().records == 7
    with pytest.raises(vldepot.InvalidOptions):
        depot.keys_matching("[")


def test_metadata_are_values_of_python() -> None:
    depot = vldepot.memory("bytes")
    value = {
        "t": 300,
        "list": [1, 2.5, None, True, "å", b"\0"],
        "nested": {"n": -(2**63), "m": 2**64 - 1},
        5: "int key",
    }
    depot.put("a", b"x", metadata=value)
    assert depot.metadata_of("a") == value
    depot["b"] = b"y"
    assert depot.metadata_of("b") is None
    depot.set_metadata_of("b", [np.float32(0.5), np.int64(3), (1, 2)])
    assert depot.metadata_of("b") == [0.5, 3, [1, 2]]
    depot.metadata["program"] = "md 1.2"
    depot.metadata["tmp"] = 1
    del depot.metadata["tmp"]
    assert dict(depot.metadata) == {"program": "md 1.2"} and len(depot.metadata) == 1
    assert repr(depot.metadata) == "{'program': 'md 1.2'}"
    with pytest.raises(KeyError):
        del depot.metadata["tmp"]
    with pytest.raises(KeyError):
        depot.metadata["tmp"]
    for name in ("z", 5):
        with pytest.raises(vldepot.NotFound):
            depot.metadata_of(name)
        with pytest.raises(vldepot.NotFound):
            depot.set_metadata_of(name, 1)


@pytest.mark.parametrize("codec", ["msgpack", "json"])
def test_values_come_back_or_are_refused(codec: str) -> None:
    depot = vldepot.memory(codec)  # type: ignore[call-overload]
    values: list[Any] = [
        None,
        True,
        0,
        -1,
        2**64 - 1,
        -(2**63),
        0.1,
        -0.0,
        "",
        "å",
        [],
        [[1], {}],
        {"a": {"b": [None]}},
    ]
    depot.update(dict(enumerate(values)))
    assert list(depot.values()) == values and [type(value) for value in depot.values()] == [
        type(value) for value in values
    ]
    endless: list[Any] = []
    endless.append(endless)
    for wrong in (2**64, {1, 2}, object(), endless, 1j, np.zeros(3), {(1,): 2}, "\ud800"):
        with pytest.raises((TypeError, ValueError)):
            depot["w"] = wrong
    assert "w" not in depot
    if codec == "json":
        for wrong in (float("nan"), float("inf"), b"bytes", {1: 2}):
            with pytest.raises((TypeError, ValueError)):
                depot["w"] = wrong
    else:
        depot["n"] = float("inf")
        assert depot["n"] == float("inf")


def test_bytes_take_what_exports_a_buffer() -> None:
    depot = vldepot.memory("bytes")
    for value in (
        b"abc",
        bytearray(b"abc"),
        memoryview(b"xabc")[1:],
        np.frombuffer(b"abc", np.uint8),
        memoryview(b"axbxcx")[::2],
    ):
        depot["a"] = value
        assert depot["a"] == b"abc"
    for wrong in ("abc", 5, None, [1, 2]):
        with pytest.raises(TypeError):
            depot["a"] = wrong  # type: ignore[assignment]


class Kelvin:
    """Temperatures."""

    id = "example.kelvin"

    def pack(self, value: float) -> bytes:
        return np.float64(value).tobytes()

    def unpack(self, record: memoryview) -> float:
        assert record.readonly
        return float(np.frombuffer(record, np.float64)[0])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Kelvin)


def test_an_object_with_pack_and_unpack_is_a_codec(path: Path) -> None:
    with vldepot.create(path, Kelvin()) as depot:
        depot["boiling"] = 373.15
        depot.put("warm", 300.0, metadata="guessed")
        assert depot["boiling"] == 373.15 and list(depot.values()) == [373.15, 300.0]
    with vldepot.open(path, Kelvin()) as depot:
        assert depot.info().codec.id == "example.kelvin" and depot.codec == Kelvin()
        assert depot.get_many(["warm", "boiling"]) == [300.0, 373.15]
        assert pickle.loads(pickle.dumps(depot))["warm"] == 300.0
        assert [batch[0] for batch in depot.loader(batch_size=1)] == [373.15, 300.0]
    with pytest.raises(vldepot.WrongCodec) as caught:
        vldepot.open(path)
    assert caught.value.stored == "example.kelvin" and isinstance(caught.value, ValueError)
    assert len(vldepot.open(path, "bytes")["warm"]) == 8

    class Other(Kelvin):
        id = "example.other"

    class Newer(Kelvin):
        version = 2

    with pytest.raises(vldepot.WrongCodec):
        vldepot.append(path, Other())
    newer = path.with_name("newer.vld")
    vldepot.create(newer, Newer()).close()
    with pytest.raises(vldepot.CodecParameters) as refused:
        vldepot.open(newer, Kelvin())
    assert (refused.value.field, refused.value.expected, refused.value.found) == ("version", "2", "1")

    class Taken(Kelvin):
        id = "ndarray"

    class NoId:
        pack = unpack = Kelvin.pack

    with pytest.raises(vldepot.InvalidOptions):
        vldepot.memory(Taken())
    for no_codec in (NoId(), object(), 5):
        with pytest.raises(TypeError):
            vldepot.memory(no_codec)  # type: ignore[call-overload]
    with pytest.raises(vldepot.InvalidOptions, match="atomic_frame, array"):
        vldepot.memory("pickle")  # type: ignore[call-overload]


def test_a_codec_that_raises_stores_nothing() -> None:
    class Picky(Kelvin):
        def pack(self, value: Any) -> bytes:
            if value is None:
                raise ZeroDivisionError
            return "text"  # type: ignore[return-value]

    depot = vldepot.memory(Picky())
    with pytest.raises(ZeroDivisionError):
        depot["a"] = None
    with pytest.raises(TypeError):
        depot["a"] = 1.0
    assert len(depot) == 0


def test_put_has_its_modes() -> None:
    depot = vldepot.memory()
    depot.put("a", positions=[[0.0, 1.0, 2.0]], energy=1.0)
    with pytest.raises(vldepot.Exists) as caught:
        depot.put("a", vldepot.Frame(energy=2.0), new=True)
    assert caught.value.record == '"a"' and depot["a"].energy == 1.0
    depot.put("b", {"energy": 2.0}, new=True)
    for wrong in (
        lambda: depot.put("c"),
        lambda: depot.put("c", {}, energy=1.0),
        lambda: depot.put("c", 5),
        lambda: depot.put("c", foo=1),
    ):
        with pytest.raises(TypeError):
            wrong()
    depot.rename("a", "z")
    assert list(depot) == ["b", "z"]
    with pytest.raises(vldepot.Exists):
        depot.rename("z", "b")


def test_depots_are_copied() -> None:
    one, two = vldepot.memory("bytes"), vldepot.memory("bytes")
    one.put("a", b"1", metadata=5)
    one["b"] = b"2"
    assert two.copy_from(one, ["a"]) == 1 and two.metadata_of("a") == 5
    assert two.copy_from(one) == 2 and dict(two.items()) == {"a": b"1", "b": b"2"}
    with pytest.raises(ValueError):
        two.copy_from(two)
    with pytest.raises(vldepot.WrongCodec):
        vldepot.memory("json").copy_from(one)
    assert vldepot.from_bytes(one.to_bytes())["b"] == b"2"


def test_options_reach_the_library(path: Path) -> None:
    depot = vldepot.create(
        path,
        "array",
        preset="fast",
        chunk_size=1 << 16,
        block_size=1 << 12,
        compression=("zstd", 5),
        filter="bitshuffle",
        typesize=8,
        placement="contiguous",
        commit_every={"records": 5, "bytes": None, "seconds": 60},
        threads=1,
        mapping="never",
        verify="once",
        cache_bytes=1 << 20,
        name_filters=False,
        name_order=False,
        fields_apart=False,
        vlstore_compatible=True,
    )
    layout = depot.info().layout
    assert layout == vldepot.Layout(
        None, "zstd", 5, "bitshuffle", 8, 1 << 16, 1 << 12, "contiguous", True, False, False
    )
    for n in range(11):
        depot[n] = np.arange(n)
    assert depot.info().commits >= 2
    depot.close()
    for preset in ("balanced", "fast", "compact", "uncompressed"):
        assert vldepot.memory(preset=preset).info().layout.preset == preset
    wrong: list[dict[str, Any]] = [
        {"preset": "tiny"},
        {"compression": "gzip"},
        {"level": 10},
        {"chunk_size": 63},
        {"mapping": "sometimes"},
        {"precision": "float8"},
        {"units": "imperial"},
        {"commit_every": 0},
        {"commit_every": "always"},
        {"commit_every": {"seconds": -1}},
        {"commit_every": {"weeks": 1}},
    ]
    for options in wrong:
        with pytest.raises(vldepot.InvalidOptions):
            vldepot.memory(**options)
    with pytest.raises(TypeError, match="colour"):
        vldepot.memory(colour="red")
    with pytest.raises(vldepot.InvalidOptions, match="chunk_size=-1"):
        vldepot.memory(chunk_size=-1)
    with pytest.raises(vldepot.InvalidOptions, match="precision"):
        vldepot.memory("bytes", precision="float64")


def test_frames_know_their_precision_units_and_number_of_atoms(path: Path) -> None:
    with vldepot.create(path, precision=np.float64, units="ase", n_atoms=2) as depot:
        assert depot.precision == "float64" and depot.n_atoms == 2
        assert depot.units is not None and depot.units["energy"] == "eV"
        depot["a"] = {"positions": np.full((2, 3), 0.1)}
        assert depot["a"].positions.dtype == np.float64
        with pytest.raises(vldepot.CodecError):
            depot["b"] = {"positions": np.zeros((3, 3))}
    # Whoever appends goes on in the same precision.
    with vldepot.append(path) as depot:
        assert depot.precision == "float64" and depot.n_atoms == 2
        depot["c"] = {"positions": np.zeros((2, 3), np.float32)}
        assert depot["c"].positions.dtype == np.float64
    with pytest.raises(vldepot.CodecParameters) as caught:
        vldepot.open(path, precision="float32")
    assert (caught.value.field, caught.value.expected, caught.value.found) == (
        "precision",
        "float64",
        "float32",
    )
    with pytest.raises(vldepot.CodecParameters):
        vldepot.append(path, n_atoms=3)
    assert vldepot.memory("bytes").units is None and vldepot.memory("bytes").precision is None


def test_a_depot_shows_what_is_inside(molecules: Path) -> None:
    depot = vldepot.open(molecules)
    assert repr(depot).endswith(f"test.vld: 200 records of atomic_frame, {molecules.stat().st_size} bytes>")
    page = depot._repr_html_()
    for part in (
        "200 records".split()[0],
        "atomic_frame",
        "none 0",
        "positions",
        "float32 [1, 3]",
        "<svg",
        "m000",
    ):
        assert part in page
    depot.close()
    assert "closed" in repr(depot) and "closed" in depot._repr_html_()
    for codec in ("array", "bytes", "msgpack", "json"):
        other = vldepot.memory(codec)  # type: ignore[call-overload]
        assert "<table" in other._repr_html_()
        other["<b>"] = {"array": np.zeros(3), "bytes": b"<i>"}.get(codec, "<i>")
        assert (
            "<b>" not in other._repr_html_()
            and "<i>" not in other._repr_html_()
            and "&lt;b&gt;" in other._repr_html_()
        )


def test_an_empty_depot_is_no_special_case(path: Path) -> None:
    vldepot.create(path).close()
    depot = vldepot.open(path, "atomic_frame")
    assert (
        len(depot) == 0 and list(depot) == [] and list(depot.values()) == [] and depot.at(slice(None)) == []
    )
    assert depot.get_flat([]).positions.shape == (0, 3) and depot.get_flat([]).offsets.tolist() == [0]
    assert list(depot.loader()) == [] and depot.atom_counts().tolist() == []
    assert list(depot.sorted_keys()) == [] and depot.totals().records == 0
    assert "0 records" in repr(depot) and "<table" in depot._repr_html_()
    with pytest.raises(IndexError):
        depot.at(0)


def test_the_location_of_a_record_is_told(molecules: Path) -> None:
    location = vldepot.open(molecules).location("m001")
    assert location.length > 0 and location.file_offset is not None and location.checksum is not None
