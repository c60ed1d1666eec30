"""What is refused, with which error; and what is taken although it looks odd."""

from __future__ import annotations

import decimal
import errno
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vldepot

Z = np.zeros((2, 3))


class Numbers:
    """A codec of whole numbers whose `unpack` may be given."""

    id = "example.numbers"

    def __init__(self, unpack: Any = None) -> None:
        self._unpack = unpack or (lambda record: int(bytes(record)))

    def pack(self, value: int) -> bytes:
        return str(value).encode()

    def unpack(self, record: memoryview) -> Any:
        return self._unpack(record)


@pytest.mark.parametrize("codec", ["msgpack", "json"])
def test_no_value_is_not_none(codec: Any) -> None:
    depot: Any = vldepot.memory(codec)
    with pytest.raises(TypeError, match="a value"):
        depot.put("a")
    assert "a" not in depot
    depot.put("a", None)
    assert depot["a"] is None and len(depot) == 1


def test_put_says_what_it_takes() -> None:
    frames: Any = vldepot.memory()
    for wrong, why in (
        (lambda: frames.put("a"), "fields by keyword, such as positions"),
        (lambda: frames.put("a", None), "not NoneType"),
        (lambda: frames.put("a", {}, energy=1.0), "not both"),
        (lambda: vldepot.memory("bytes").put("a", energy=1.0), "for depots of frames"),  # type: ignore[call-overload]
    ):
        with pytest.raises(TypeError, match=why):
            wrong()


def test_own_arrays_of_a_frame_cannot_be_changed_in_vain() -> None:
    depot = vldepot.memory()
    given = vldepot.Frame(positions=Z, arrays={"spin": np.ones(2)}, per_frame={"virial": np.eye(3)})
    depot["a"] = given
    for frame in (given, depot["a"]):
        for own in (frame.arrays, frame.per_frame):
            with pytest.raises(TypeError):
                own["new"] = np.ones(2)  # type: ignore[index]
        assert frame.arrays.keys() == {"spin"} and frame.per_frame.keys() == {"virial"}
        more = frame.replace(arrays={**frame.arrays, "mark": np.zeros(2)})
        assert sorted(more.arrays) == ["mark", "spin"]
        again = pickle.loads(pickle.dumps(frame))
        assert again.arrays["spin"].tolist() == [1.0, 1.0] and again.per_frame["virial"].shape == (3, 3)
    assert type(depot["a"].to_dict()["arrays"]) is dict


@pytest.mark.parametrize(
    ("pbc", "found"),
    [
        (True, (True,) * 3),
        (np.False_, (False,) * 3),
        (1, (True,) * 3),
        ([1, 0, True], (True, False, True)),
        (np.array([True, False, True]), (True, False, True)),
        (np.array([0, 1, 0], np.uint8), (False, True, False)),
        ((np.True_, np.int64(0), 1), (True, False, True)),
    ],
)
def test_periodic_directions_are_bools(pbc: Any, found: tuple[bool, ...]) -> None:
    assert vldepot.Frame(positions=Z, pbc=pbc).pbc == found


@pytest.mark.parametrize(
    "pbc",
    [
        "TFF",
        "xyz",
        ["False", "True", "0"],
        [float("nan"), None, []],
        {"x": 0, "y": 0, "z": 0},
        b"\0\1\0",
        [0, 1, 2],
        [1.0, 0.0, 0.0],
        {0, 1},
        2,
        1.0,
        np.array([1.0, 0.0, 1.0]),
        [[True], [True], [True]],
    ],
)
def test_what_is_not_a_bool_is_no_periodic_direction(pbc: Any) -> None:
    with pytest.raises(vldepot.CodecError, match="field `pbc`") as caught:
        vldepot.Frame(positions=Z, pbc=pbc)
    assert caught.value.field == "pbc"


def test_a_codec_cannot_end_a_loop() -> None:
    def empty(record: memoryview) -> Any:
        return next(iter([]))

    depot = vldepot.memory(Numbers(empty))
    depot.update({"a": 1, "b": 2})
    for read in (
        lambda: list(depot.values()),
        lambda: list(depot.items()),
        lambda: depot.get_many(["a"]),
        lambda: depot["a"],
    ):
        with pytest.raises(RuntimeError, match="StopIteration") as caught:
            read()
        assert isinstance(caught.value.__cause__, StopIteration)


def test_a_codec_is_an_object() -> None:
    with pytest.raises(TypeError, match=r"Numbers\(\)"):
        vldepot.memory(Numbers)  # type: ignore[call-overload]
    wrong: Any = Numbers()
    wrong.id = 5
    with pytest.raises(TypeError, match="`id` is a str"):
        vldepot.memory(wrong)


@pytest.mark.parametrize("options", [{"units": "ase"}, {"precision": "float64"}, {"n_atoms": 3}])
@pytest.mark.parametrize("codec", ["bytes", Numbers()])
def test_a_refused_creation_leaves_no_file(path: Path, options: dict[str, Any], codec: Any) -> None:
    for make in (vldepot.create, vldepot.open_or_create):
        with pytest.raises(vldepot.InvalidOptions, match="for frames"):
            make(path, codec, **options)
        assert not path.exists()


def test_errors_of_the_system_show_their_message(path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        vldepot.open(path)
    assert caught.value.errno == errno.ENOENT and caught.value.filename == str(path)
    assert (
        caught.value.args == (str(caught.value),)
        and repr(caught.value) == f"FileNotFound({str(caught.value)!r})"
    )
    again = pickle.loads(pickle.dumps(caught.value))
    assert repr(again) == repr(caught.value) and again.errno == errno.ENOENT


def test_a_position_is_told_as_it_was_given() -> None:
    depot = vldepot.memory("bytes")
    depot.update(dict.fromkeys(range(10), b""))
    for position, asked in (
        (-100, -100),
        (2**70, 2**70),
        (-(2**200), -(2**200)),
        (np.int64(-11), -11),
        ([0, 10], 10),
        (np.array([0, -11]), -11),
    ):
        for look in (depot.at, depot.names_at):
            with pytest.raises(vldepot.OutOfRange) as caught:
                look(position)
            assert (caught.value.position, caught.value.len) == (asked, 10)
            assert "has 10" in str(caught.value) and len(str(caught.value)) < 200
    with pytest.raises(vldepot.OutOfRange, match="no record at position -100: the depot has 10"):
        depot.at(-100)
    for one in (lambda: vldepot.memory().get_flat_at(1), lambda: depot.loader(positions=3)):  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="a slice, or a list"):
            one()


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (np.array(["abcde"]), "<U5"),
        (np.zeros(2, complex), "complex128"),
        (np.zeros(2, "M8[s]"), "datetime64[s]"),
        (np.zeros(2, np.longdouble), "float128"),
    ],
)
def test_a_refused_array_is_named_as_numpy_does(value: Any, dtype: str) -> None:
    depot = vldepot.memory("array")
    with pytest.raises(vldepot.CodecError) as caught:
        depot["a"] = value
    error = caught.value
    assert (error.found, error.codec, error.record, error.path, error.field) == (
        dtype,
        "array",
        '"a"',
        "<memory>",
        "array",
    )
    assert dtype in str(error) and isinstance(error.__cause__, ValueError)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.found) == (str(error), dtype)


def test_a_refused_field_names_the_record() -> None:
    depot = vldepot.memory()
    for put in (
        lambda: depot.put("a", positions=Z, cell=[1.0]),
        lambda: depot.put("a", {"step": 1.5}),
        lambda: depot.__setitem__("a", {"positions": np.zeros((2, 2))}),
    ):
        with pytest.raises(vldepot.CodecError) as caught:
            put()
        assert (caught.value.record, caught.value.path, caught.value.codec) == (
            '"a"',
            "<memory>",
            "atomic_frame",
        )
        assert '<memory>: record "a"' in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("step", 3.0),
        ("step", 2**63),
        ("step", True),
        ("step", "3"),
        ("n_atoms", -1),
        ("n_atoms", 1.5),
        ("energy", np.array([1.0])),
        ("energy", "1.0"),
        ("energy", 1j),
        ("energy", np.complex128(1)),
        ("energy", 2**60 + 1),
        ("energy", 10**400),
        ("time", [1.0]),
        ("name", 3),
        ("name", "\ud800"),
        ("topology_name", b"a"),
        ("cell", "abc"),
        ("cell", np.eye(3) * 1j),
        ("stress", [[1.0], [1.0, 2.0]]),
        ("positions", [[0.0, 0.0, 0.0], [1.0, 2.0]]),
        ("positions", np.full((1, 3), 2**53 + 1)),
        ("topology", {"names": [1]}),
    ],
)
def test_a_refused_scalar_names_its_field(field: str, value: Any) -> None:
    depot = vldepot.memory()
    with pytest.raises(vldepot.CodecError) as caught:
        depot.put("a", **{field: value})
    assert caught.value.field is not None and caught.value.field.startswith(field)
    assert f"field `{caught.value.field}`" in str(caught.value) and len(str(caught.value)) < 300
    assert len(depot) == 0


def test_wrong_types_of_fields_are_type_errors_with_their_name() -> None:
    wrong: list[dict[str, Any]] = [
        {"arrays": 5},
        {"arrays": {1: np.ones(2)}},
        {"topology": 5},
        {"topology": {"names": "HOH"}},
        {"positions": np.ma.masked_array(Z, mask=True)},
    ]
    with pytest.raises(TypeError, match="names of fields are str, not 1"):
        vldepot.memory()["a"] = {1: Z}  # type: ignore[dict-item]
    for fields in wrong:
        with pytest.raises(TypeError, match=f"field `{next(iter(fields))}"):
            vldepot.Frame(**fields)


def test_whole_numbers_are_positions() -> None:
    depot = vldepot.memory(precision="float64")
    for integers in (
        [[0, 1, -2]],
        np.array([[0, 1, -2]]),
        np.array([[0, 1, -2]], np.int8),
        np.array([[0, 1, 2**53]], np.uint64),
        np.array([[2**60, 0, 0]]),
    ):
        depot.put("a", positions=integers, forces=integers)
        assert (
            depot["a"].positions.dtype == np.float64 and (depot["a"].positions == np.asarray(integers)).all()
        )
        assert (depot["a"].forces == np.asarray(integers)).all()
    with pytest.raises(vldepot.CodecError):
        depot.put("a", positions=np.ones((1, 3), bool))


def test_large_numbers_are_told_shortly_and_small_ones_are_rounded() -> None:
    depot = vldepot.memory()
    with pytest.raises(
        vldepot.CodecError, match="1e300 does not fit float32; choose a wider precision"
    ) as caught:
        depot.put("a", positions=[[1e300, 0.0, 0.0]])
    assert len(str(caught.value)) < 200
    depot.put("a", positions=[[1e-300, 0.1, 0.0]])
    assert depot["a"].positions.tolist() == [[0.0, float(np.float32(0.1)), 0.0]]
    with pytest.raises(vldepot.CodecError, match="does not fit float16"):
        vldepot.memory(precision="float16").put("a", positions=[[1e6, 0.0, 0.0]])


def test_a_field_that_frames_do_not_have_is_no_damage() -> None:
    depot = vldepot.memory()
    depot.put("f0", positions=Z)
    for field in ("velocities", "forces", "charges", "types", "masses", "energy", "time", "cell", "stress"):
        with pytest.raises(vldepot.CodecError) as caught:
            depot.get_flat(["f0"], [field])
        assert str(caught.value) == f'<memory>: record "f0" has no {field}'
        assert (caught.value.field, caught.value.record, caught.value.is_damage) == (field, '"f0"', False)
        with pytest.raises(vldepot.CodecError) as caught:
            next(depot.loader()).flat(field)
        assert caught.value.field == field and str(caught.value) == f"a frame has no {field}"
    doubles = vldepot.memory(precision="float64")
    doubles.put("f0", positions=Z, charges=[0.0, 1.0])
    for field in ("positions", "charges"):
        with pytest.raises(vldepot.CodecError) as caught:
            doubles.get_flat(["f0"], [field])
        assert (caught.value.field, caught.value.expected, caught.value.found) == (
            field,
            "float32",
            "float64",
        )
        assert (
            str(caught.value)
            == f'<memory>: record "f0" has its {field} in float64, and flat batches are float32'
        )


def test_messages_name_codecs_as_users_do() -> None:
    with pytest.raises(vldepot.CodecError, match="codec `json` holds") as caught:
        vldepot.memory("json")["a"] = float("nan")
    assert caught.value.codec == "json"
    one, other = vldepot.memory("bytes"), vldepot.memory("array")
    with pytest.raises(vldepot.WrongCodec) as wrong:
        one.copy_from(other)
    assert {wrong.value.stored, wrong.value.given} == {"array", "bytes"}

    class Careless(Numbers):
        def pack(self, value: int) -> Any:
            return str(value)

    with pytest.raises(TypeError, match="`pack` must give bytes, or what exports a buffer, not str"):
        vldepot.memory(Careless())["a"] = 1
    with pytest.raises(TypeError, match="names of metadata are str of Unicode text, not 5"):
        one.metadata[5] = 1  # type: ignore[index]
    with pytest.raises(ValueError, match=r"at \['a'\]: text with a lone surrogate"):
        one.metadata["a"] = {"a": "\ud800"}


def test_out_is_a_dict() -> None:
    depot = vldepot.memory()
    depot.put("a", positions=Z)
    wrong: Any = [np.empty((2, 3), np.float32)]
    with pytest.raises(TypeError, match="a dict of arrays by name, or a FlatBatch, not list"):
        depot.get_flat(["a"], out=wrong)


def test_one_column_may_be_named_alone() -> None:
    depot = vldepot.memory(columns="energy")
    depot.put("a", positions=Z, energy=-1.5)
    assert list(depot.columns) == ["energy"]
    assert depot.table("energy", names=False)["energy"].tolist() == [-1.5]


def test_codecs_are_named_as_users_name_them(path: Path) -> None:
    for codec, alias in (
        ("bytes", "raw"),
        ("array", "ndarray"),
        ("msgpack", "serde.msgpack"),
        ("json", "serde.json"),
        ("atomic_frame", "atomic_frame"),
    ):
        vldepot.create(path, alias).close()  # type: ignore[call-overload]
        assert vldepot.open(path).codec == codec and vldepot.open(path, alias).codec == codec  # type: ignore[call-overload]
        other: Any = "array" if codec != "array" else "json"
        if codec != "bytes":
            with pytest.raises(vldepot.WrongCodec) as caught:
                vldepot.open(path, other)
            assert (caught.value.stored, caught.value.given) == (codec, other)
            assert f"`{codec}`" in str(caught.value) and caught.value.path == str(path)
        path.unlink()


@pytest.mark.parametrize(
    "options",
    [
        {"threads": -1},
        {"chunk_size": -1},
        {"n_atoms": -1},
        {"level": 300},
        {"commit_every": -1},
        {"cache_bytes": 2**70},
    ],
)
def test_options_out_of_range_are_named(options: dict[str, Any]) -> None:
    with pytest.raises(vldepot.InvalidOptions, match=next(iter(options))):
        vldepot.memory(**options)


def test_arguments_out_of_range_are_named() -> None:
    depot = vldepot.memory()
    for use in (
        lambda: depot.values(threads=-1),
        lambda: depot.items(threads=-1),
        lambda: depot.at([], threads=-1),
        lambda: depot.get_many([], threads=-1),
        lambda: depot.atom_counts(threads=-1),
        lambda: depot.loader(threads=-1),
        lambda: depot.loader(seed=-1),
    ):
        with pytest.raises(vldepot.InvalidOptions, match="(threads|seed)=-1"):
            use()
    with pytest.raises(TypeError, match="chunk_size='4MiB'"):
        vldepot.memory(chunk_size="4MiB")  # type: ignore[call-overload]
    for state in ({"a": 1}, 3):
        with pytest.raises(vldepot.InvalidOptions, match="state=.*what `Loader.state` gave"):
            depot.loader(state=state)  # type: ignore[arg-type]
    with pytest.raises(vldepot.InvalidOptions, match="True, False"):
        depot.loader(shuffle="yes")  # type: ignore[arg-type]


def test_a_refused_value_says_where_it_is() -> None:
    for depot in (vldepot.memory("msgpack"), vldepot.memory("json")):
        with pytest.raises(TypeError, match=r"at \['a'\]\[1\]\['b'\]: set cannot be stored"):
            depot["x"] = {"a": [0, {"b": {1}}]}
        with pytest.raises(ValueError, match=r"at \[0\]: 36893488147419103232: integers go from"):
            depot["x"] = [2**65]
        assert len(depot) == 0
    for wrong, name in (
        (np.longdouble(1), "longdouble"),
        (np.datetime64("2020-01-01T00", "ns"), "datetime64"),
        (np.complex128(1), "complex128"),
        (decimal.Decimal(1), "Decimal"),
    ):
        with pytest.raises(TypeError, match=f"{name} cannot be stored"):
            vldepot.memory("msgpack")["x"] = wrong
    depot = vldepot.memory("msgpack")
    depot["x"] = [np.float32(0.5), np.int8(3), np.bool_(True), np.str_("a"), np.bytes_(b"b"), np.float64(2)]
    assert depot["x"] == [0.5, 3, True, "a", b"b", 2.0]


def test_a_new_record_may_have_metadata() -> None:
    depot = vldepot.memory("bytes")
    depot.put("a", b"1", new=True, metadata={"t": 300})
    assert depot.metadata_of("a") == {"t": 300}
    with pytest.raises(vldepot.Exists):
        depot.put("a", b"2", new=True, metadata=1)
    assert depot["a"] == b"1" and depot.metadata_of("a") == {"t": 300}


def test_views_answer_for_anything() -> None:
    depot = vldepot.memory("bytes")
    depot["a"] = b"1"
    items: Any = depot.items()
    assert 3 not in items and (1, 2, 3) not in items and ("a", b"2") not in items and ("b", b"1") not in items
    assert ("a", b"1") in items and b"1" in depot.values() and b"2" not in depot.values()
    arrays = vldepot.memory("array")
    arrays["a"] = np.arange(3)
    assert ("a", np.arange(3)) in arrays.items() and ("a", np.arange(4)) not in arrays.items()
    assert any(np.array_equal(np.arange(3), value) for value in arrays.values())
    contained: Any = arrays.values()
    assert np.arange(3) in contained and np.arange(4) not in contained and "a" not in contained


def test_a_depot_is_a_mapping_in_its_calls_too() -> None:
    depot = vldepot.memory("bytes")
    depot.update()
    depot.update([["a", b"1"], ("b", b"2")], c=b"3")
    depot.update(d=b"4")
    assert list(depot) == ["a", "b", "c", "d"]
    assert list(reversed(depot)) == ["d", "c", "b", "a"] == list(reversed(depot.keys()))  # type: ignore[call-overload]
    assert depot.get("x", default=b"0") == b"0" and depot.pop("x", default=None) is None
    assert depot.setdefault("e", default=b"5") == b"5" and depot.pop("e") == b"5"
    for wrong in ([1, 2], 3, ["ab"], [("a",)], [("a", b"1", 2)], None):
        with pytest.raises(TypeError, match="update takes"):
            depot.update(wrong)  # type: ignore[arg-type]
    values = vldepot.memory("msgpack")
    assert values.setdefault("a") is None and "a" in values
    many = vldepot.memory("bytes")
    many.update(dict.fromkeys(range(10000), b""))
    assert list(reversed(many)) == list(range(9_999, -1, -1))
    for buffer in (bytearray, memoryview):
        assert len(vldepot.from_bytes(buffer(depot.to_bytes()))) == 4
    with pytest.raises(TypeError, match="not int"):
        vldepot.from_bytes(5)  # type: ignore[call-overload]


def test_a_name_that_may_be_lost_is_told_by_every_call(path: Path) -> None:
    random = np.random.default_rng(0)
    with vldepot.create(path, "bytes", preset="uncompressed") as depot:
        for n in range(5):
            depot[f"r{n}"] = random.bytes(20_000)
            depot.commit()
    content = bytearray(path.read_bytes())
    location = vldepot.open(path).location("r2")
    assert location.file_offset is not None
    content[location.file_offset + 500] ^= 0xFF
    path.write_bytes(content)
    repaired = path.with_name("repaired.vld")
    lost = [name for name, _ in vldepot.repair(path, repaired).lost]
    assert lost == ["r2"]
    depot = vldepot.append(repaired)
    calls: list[Any] = [
        lambda: depot["r2"],
        lambda: "r2" in depot,
        lambda: depot.get("r2", b""),
        lambda: depot.pop("r2", None),
        lambda: depot.setdefault("r2", b""),
        lambda: depot.remove("r2"),
        lambda: depot.__delitem__("r2"),
    ]
    for call in calls:
        with pytest.raises(vldepot.LostEarlier):
            call()
    assert not depot.remove("never there")
    depot["r2"] = b"again"
    assert depot.remove("r2")
    depot.close()


def test_metadata_are_those_of_now(path: Path) -> None:
    writer = vldepot.create(path, "bytes")
    writer.update({"metadata": b""})
    for n in range(100):
        writer.metadata[f"n{n:03}"] = {"n": [n]}
    assert dict(writer.metadata) == {f"n{n:03}": {"n": [n]} for n in range(100)}
    # What is given is not what is kept.
    writer.metadata["n000"]["n"].append(1)
    assert writer.metadata["n000"] == {"n": [0]}
    writer.metadata["n000"] = "changed"
    del writer.metadata["n001"]
    assert (
        writer.metadata["n000"] == "changed" and "n001" not in writer.metadata and len(writer.metadata) == 99
    )
    writer.commit()
    reader = vldepot.open(path)
    assert dict(reader.metadata) == dict(writer.metadata)
    writer.metadata["late"] = 1
    writer.commit()
    assert "late" not in reader.metadata
    reader.refresh()
    assert reader.metadata["late"] == 1 and 5 not in reader.metadata
    writer["a"] = b"1"
    writer.metadata["later"] = 2
    writer.truncate_after("metadata")
    assert dict(writer.metadata) == dict(vldepot.open(path).metadata)
    metadata = writer.metadata
    writer.close()
    for use in (lambda: metadata["late"], lambda: len(metadata), lambda: list(metadata)):
        with pytest.raises(vldepot.Closed):
            use()


def test_a_star_import_leaves_the_builtins() -> None:
    import builtins

    assert vldepot.open is not builtins.open and "open" not in vldepot.__all__
    assert not set(dir(builtins)) & set(vldepot.__all__)
    for name in vldepot.errors.__all__:
        assert name in vldepot.__all__
