"""`vldepot.dirdb`. The labels D1 to D8 are those of `docs/reference/dirdb.md`."""

from __future__ import annotations

import json
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vldepot
from vldepot.dirdb import Serializer, dirdb, export_folder, import_folder, jsdict

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "move-from-dirdb.md"


@pytest.fixture
def db(path: Path) -> dirdb:
    return dirdb(path)


def test_d1_a_path_is_made_or_not(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        dirdb(tmp_path / "db", create_ok=False)
    dirdb(tmp_path / "below" / "db")["a"] = 1
    assert dirdb(tmp_path / "below" / "db", create_ok=False).get_data("a") == 1
    with pytest.raises(ValueError, match="import_folder"):
        dirdb(tmp_path)
    (tmp_path / "text").write_text("something else\n" * 1000)
    with pytest.raises(vldepot.NotADepot):
        dirdb(tmp_path / "text")


def test_d2_entries_are_there_before_their_objects(db: dirdb) -> None:
    entry = db["foo.bar"]
    assert not entry and "foo.bar" not in db and not entry.has_data()
    entry.put_data([1, 2.5, "x", None, b"y", {"a": True}])
    assert entry and "foo.bar" in db and entry.name == "foo.bar"
    assert str(entry) == "dbentry(foo.bar)" and repr(entry).endswith("/test.vld/foo.bar")
    assert db["a"] < db["b"] and db["a"] == db["a"] and db["a"] != db["b"] and len({db["a"], db["a"]}) == 1
    assert sorted([db["c"], db["a"]]) == [db["a"], db["c"]]
    for name in ("a/b", "", ".", ".."):
        with pytest.raises(vldepot.InvalidPath):
            db[name]
    assert 7 not in db


def test_d3_objects_are_stored_and_read(db: dirdb) -> None:
    db["a"].put_data(np.arange(6).reshape(2, 3), meta={"shape": (2, 3)})
    assert np.array_equal(db["a"].get_data(), [[0, 1, 2], [3, 4, 5]])
    db.save_data("b", b"bytes", {"n": 1})
    assert (db.get_data("b"), db["b"].meta) == (b"bytes", {"n": 1})
    db.update_meta("b", {"n": 2})
    assert db["b"].meta == {"n": 2}
    db["b"] = "replaced"
    assert (db.get_data("b"), db["b"].meta.n) == ("replaced", 2)
    with pytest.raises(KeyError):
        db.get_data("none")


def test_d4_metadata(db: dirdb) -> None:
    entry = db["a"]
    assert entry.meta == {} and isinstance(entry.meta, jsdict)
    entry.meta = {"n": 1, "deep": {"x": [1]}}
    assert db["a"].meta.n == 1 and "a" not in db and list(db) == []
    assert [entry.name for entry in db.meta_only()] == ["a"]
    entry.meta.n = 2
    assert db["a"].meta.n == 1, "not stored yet"
    entry.update_meta()
    assert db["a"].meta.n == 2
    with entry:
        entry.meta.deep["x"].append(2)
        assert db["a"].meta.deep == {"x": [1]}
    assert db["a"].meta.deep == {"x": [1, 2]}
    entry.meta.more = "put"
    entry.put_data(b"object")
    assert db["a"].meta.more == "put" and "a" in db
    entry.put_data(b"other", meta={})
    assert db["a"].meta == {}
    entry.meta = {"gone": 1}
    entry.meta = None
    assert db["a"].meta == {} and entry.meta == {} and db["a"].get_data() == b"other"
    stat = entry.stat()
    assert stat is not None and not stat.has_meta
    with pytest.raises(TypeError):
        entry.meta = {"what": object()}
    with pytest.raises(ValueError, match="key"), entry:
        raise ValueError("key")


def test_d4_changes_are_kept_when_the_scope_ends_with_an_exception(db: dirdb) -> None:
    entry = db["a"]
    with pytest.raises(RuntimeError), entry:
        entry.meta.n = 1
        raise RuntimeError
    assert db["a"].meta == {"n": 1}


COUNT = """
import sys
from vldepot.dirdb import dirdb
db = dirdb(sys.argv[1])
for _ in range(1000):
    with db["count"] as entry:
        entry.meta.n = entry.meta.get("n", 0) + 1
"""

HOLD = """
import sys, time
from vldepot.dirdb import dirdb
entry = dirdb(sys.argv[1])["count"]
with entry:
    print("holds", flush=True)
    time.sleep(1000)
"""


def test_d5_two_processes_count_to_2000_although_a_holder_is_killed(db: dirdb, path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdout.readline() == b"holds\n"
    counting = [subprocess.Popen([sys.executable, "-c", COUNT, str(path)]) for _ in range(2)]
    holder.kill()
    holder.wait()
    holder.stdout.close()
    assert [process.wait() for process in counting] == [0, 0]
    assert db["count"].meta.n == 2000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_d5_forks_of_a_process_count_and_read_what_the_others_store(db: dirdb) -> None:
    db["count"].meta = {"n": 0}
    children = []
    for _ in range(3):
        child = os.fork()
        if child == 0:
            try:
                for _n in range(50):
                    with db["count"] as entry:
                        entry.meta.n += 1
                os._exit(0)
            except BaseException:
                os._exit(1)
        children.append(child)
    for child in children:
        assert os.waitpid(child, 0)[1] == 0
    assert db["count"].meta.n == 150


def test_d5_objects_are_counted_too(db: dirdb) -> None:
    db["n"] = 0

    def count() -> None:
        for _ in range(50):
            with db["n"] as entry:
                entry.put_data(entry.get_data() + 1)

    threads = [threading.Thread(target=count) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert db.get_data("n") == 150


def test_d5_a_lock_is_taken_again_by_its_holder(db: dirdb) -> None:
    entry = db["a"]
    with entry:
        entry.meta.n = 1
        with entry:
            db.save_data("a", b"inner")
            assert db.get_data("a") == b"inner"
        found: list[Any] = []
        other = threading.Thread(target=lambda: found.append(db._core.try_lock("a")))
        other.start()
        other.join()
        assert found == [None], "the outer scope still holds it"
    assert db["a"].meta.n == 1


WAIT = """
import os, sys
from vldepot.dirdb import dirdb
entry = dirdb(sys.argv[1])["count"]
try:
    print("waits", flush=True)
    with entry:
        os._exit(1)
except KeyboardInterrupt:
    os._exit(7)
"""


def test_d5_a_wait_is_interrupted(db: dirdb, path: Path) -> None:
    with db["count"]:
        waiting = subprocess.Popen([sys.executable, "-c", WAIT, str(path)], stdout=subprocess.PIPE)
        assert waiting.stdout is not None and waiting.stdout.readline() == b"waits\n"
        # Wherever it is by now, it ends.
        waiting.send_signal(signal.SIGINT)
        waiting.communicate()
    assert waiting.returncode == 7


def test_d6_iteration_sub_databases_and_serializers(path: Path) -> None:
    class Celsius:
        def __init__(self, degrees: float) -> None:
            self.degrees = degrees

    own = Serializer("celsius", Celsius, lambda c: str(c.degrees).encode(), lambda b: Celsius(float(b)))
    db = dirdb(path, serializers=[own])
    for name in "cab":
        db[name] = Celsius(ord(name))
    assert [entry.name for entry in db] == db.keys() == ["a", "b", "c"] and len(db) == 3
    assert db["b"].get_data().degrees == 98
    below = db.subdb("below")
    assert [sub.name for sub in db.subdirs()] == ["below"] and len(below) == 0
    below["a"] = Celsius(1)
    below.subdb("deeper")["x"] = 1
    assert below["a"].get_data().degrees == 1 and db["a"].get_data().degrees == 97
    assert below["a"] != db["a"] and [sub.name for sub in below.subdirs()] == ["deeper"]
    assert db.delete_subdb("below") == 2 and list(db.subdirs()) == [] and len(db) == 3
    with pytest.raises(vldepot.InvalidOptions, match="'celsius'"):
        dirdb(path).get_data("a")


def test_pickles_are_made_and_read_only_when_asked(path: Path) -> None:
    db = dirdb(path)
    for odd in ((1, 2), {1, 2}, [(1,)], {(1,): 2}, 2**70, np.float32(1), np.array([object()]), "\ud800"):
        with pytest.raises(TypeError, match="pickler=pickle"):
            db["odd"] = odd
    assert "odd" not in db
    asked = dirdb(path, pickler=pickle)
    asked["odd"] = (1, {2})
    assert asked.get_data("odd") == (1, {2})
    stat = asked["odd"].stat()
    assert stat is not None and stat.serializer == "pickle"
    with pytest.raises(vldepot.InvalidOptions, match="can run any program"):
        db.get_data("odd")
    assert db["odd"].get_data(custom_pickle=pickle) == (1, {2})
    with pytest.raises(TypeError, match="`dump` and `load`"):
        dirdb(path, pickler=object())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        -(2**63),
        2**64 - 1,
        1.5,
        float("inf"),
        "",
        "é",
        b"",
        [],
        {},
        [[]],
        {"a": [1, {"b": b"c"}], 3: None},
    ],
)
def test_plain_values_come_back_as_they_were(db: dirdb, value: Any) -> None:
    db["a"] = value
    found = db.get_data("a")
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize("dtype", ["f4", "i8", "?", "c16", "U3", "S2", "M8[s]", ">f8"])
def test_arrays_come_back_as_they_were(db: dirdb, dtype: str) -> None:
    array = np.array([1, 0, 1]).astype(dtype).reshape(3, 1)
    db["a"] = array
    found = db.get_data("a")
    assert found.dtype == array.dtype and found.shape == array.shape and np.array_equal(found, array)


def test_d7_deletion_stat_and_sorting(db: dirdb) -> None:
    assert db["a"].stat() is None
    db["a"] = b"123456789"
    stat = db["a"].stat()
    assert stat is not None and (stat.size, stat.checksum, stat.serializer) == (9, 0xE3069283, "bytes")
    assert stat.created == stat.modified and stat.meta_modified is None and not stat.has_meta
    db["a"].meta = {"n": 1}
    assert db["a"].delete() and not db["a"].delete()
    assert db["a"].stat() is None and db["a"].meta == {}
    db["a"] = 1
    del db["a"]
    with pytest.raises(KeyError):
        del db["a"]


def test_d8_a_killed_writer_leaves_the_old_object(db: dirdb, path: Path) -> None:
    code = (
        "import sys\nfrom vldepot.dirdb import dirdb\ndb = dirdb(sys.argv[1])\n"
        "for n in range(10**9):\n    db.save_data('a', [n] * 1000, {'n': n})\n    print(n, flush=True)\n"
    )
    for _ in range(3):
        writer = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        for _line in range(20):
            writer.stdout.readline()
        writer.kill()
        said = writer.communicate()[0].split()
        acknowledged = int(said[-1]) if said else 19
        n = db["a"].meta.n
        assert n in (acknowledged, acknowledged + 1)
        assert db.get_data("a") == [n] * 1000


def folder_of_dirdb(folder: Path) -> None:
    """What dirdb writes. It is written by dirdb itself, where it is installed."""
    original = pytest.importorskip("dirdb", reason="dirdb is not installed")
    old = original.dirdb(folder)
    old["array"].put_data(np.eye(3), meta={"shape": [3, 3], "nan": float("nan")})
    old["with.dots"].put_data({"a": (1, 2)})
    old["bare"].meta = {"n": 1}
    with old["array"]:
        pass
    old.subdb("below")["x"].put_data([1, 2, 3])


def test_folders_of_dirdb_come_in_and_go_out(tmp_path: Path) -> None:
    original = pytest.importorskip("dirdb", reason="dirdb is not installed")
    folder, path = tmp_path / "old", tmp_path / "new.vld"
    folder_of_dirdb(folder)
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(vldepot.InvalidOptions, match="pickles=True"):
        import_folder(folder, path)
    assert not path.exists()
    with pytest.warns(UserWarning, match="3 objects are pickles"):
        done = import_folder(folder, path, pickles=True)
    assert done == (3, 2, 1, ["notes.txt"])
    with pytest.raises(vldepot.InvalidOptions):
        dirdb(path).get_data("array")
    db = dirdb(path, pickler=pickle)
    assert np.array_equal(db.get_data("array"), np.eye(3)) and db["array"].meta["shape"] == [3, 3]
    assert db.get_data("with.dots") == {"a": (1, 2)} and db.subdb("below").get_data("x") == [1, 2, 3]
    assert db["bare"].meta == {"n": 1} and "bare" not in db
    db["plain"] = {"of": "msgpack"}
    assert export_folder(db, tmp_path / "again") == (4, 2, 1)
    again = original.dirdb(tmp_path / "again", create_ok=False)
    assert sorted(entry.name for entry in again) == ["array", "plain", "with.dots"]
    assert again.get_data("plain") == {"of": "msgpack"} and again.get_data("with.dots") == {"a": (1, 2)}
    assert np.isnan(again["array"].meta.nan) and again["bare"].meta.n == 1
    assert again.subdb("below").get_data("x") == [1, 2, 3]
    assert (tmp_path / "again" / "array.pickle").read_bytes() == (folder / "array.pickle").read_bytes()
    with pytest.raises(FileExistsError):
        export_folder(db, tmp_path / "again")
    with pytest.raises(FileExistsError):
        import_folder(folder, path, pickles=True)
    assert sorted(os.listdir(tmp_path)) == ["again", "new.vld", "new.vld.locks", "old"]


def test_metadata_that_json_does_not_have_are_named(db: dirdb, tmp_path: Path) -> None:
    for meta in ({"a": [b"bytes"]}, {"a": {1: 2}}):
        db["a"].meta = meta
        with pytest.raises(TypeError, match="the metadata of 'a'"):
            export_folder(db, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["[1]", "{", "", '{"a": 1' + "0" * 30 + "}", "\xff"])
def test_odd_files_are_named_and_leave_nothing(tmp_path: Path, text: str) -> None:
    folder = tmp_path / "old"
    folder.mkdir()
    (folder / "odd.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError) as caught:
        import_folder(folder, tmp_path / "new.vld")
    assert "odd" in str(caught.value) + "".join(getattr(caught.value, "__notes__", []))
    assert os.listdir(tmp_path) == ["old"]
    (folder / "odd.json").write_text(json.dumps({"a": 1}))
    assert import_folder(folder, tmp_path / "new.vld") == (0, 1, 0, [])
    with pytest.raises(NotADirectoryError):
        import_folder(folder / "odd.json", tmp_path / "other.vld")


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """move-from-dirdb"""
    monkeypatch.chdir(tmp_path)
    folder_of_dirdb(tmp_path / "testdb")
    names: dict[str, Any] = {}
    with pytest.warns(UserWarning, match="pickles"):
        for block in re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), flags=re.DOTALL | re.MULTILINE):
            exec(compile(block, PAGE.name, "exec"), names)
