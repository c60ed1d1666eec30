"""Archives go to Barecat and back, and each program accepts what the other wrote.

python tests/barecat/check.py target/release/vldepot
"""

import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import barecat

VLDEPOT = Path(sys.argv[1]).resolve()
BARECAT = Path(sys.executable).with_name("barecat")


def run(*args: object, code: int = 0) -> str:
    done = subprocess.run([str(arg) for arg in args], capture_output=True, text=True, check=False)
    assert done.returncode == code, (args, done.returncode, done.stdout, done.stderr)
    return done.stdout + done.stderr


def seen(folder: Path) -> list[tuple[str, int, int, bytes]]:
    """Path, mode, time in nanoseconds and bytes of all below a folder."""
    found = []
    for path in sorted(folder.rglob("*")):
        stat = path.stat()
        content = path.read_bytes() if path.is_file() else b""
        found.append((str(path.relative_to(folder)), stat.st_mode, stat.st_mtime_ns, content))
    return found


def make(folder: Path) -> None:
    rng = random.Random(0)
    for i in range(300):
        path = folder / f"a{i % 7}" / f"b {i % 3}" / f"é{i}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.randbytes(rng.choice([0, 1, 100, 5000, 100_000])))
        path.chmod(0o600 + i % 8)
    (folder / "large").write_bytes(rng.randbytes(9_000_000))
    (folder / "empty").mkdir()
    (folder / "a-b").write_text("beside a folder whose name starts alike")
    for n, path in enumerate(sorted(folder.rglob("*"), reverse=True)):
        os.utime(path, ns=(0, 1_600_000_000_123_456_789 + n))


def check(place: Path) -> None:
    data = place / "data"
    data.mkdir()
    make(data)
    expected = seen(data)

    # Out of ours: Barecat finds it whole, and reads the same.
    run(VLDEPOT, "create", place / "ours.vld", "-C", data, *sorted(os.listdir(data)))
    run(VLDEPOT, "convert", place / "ours.vld", place / "out.barecat")
    run(BARECAT, "verify", place / "out.barecat")
    run(BARECAT, "extract", place / "out.barecat", "-C", place / "extracted")
    files = [(path, content) for path, mode, _, content in expected if mode & 0o100_000]
    assert [
        (path, content) for path, mode, _, content in seen(place / "extracted") if mode & 0o100_000
    ] == files
    with barecat.Barecat(place / "out.barecat", readonly=True) as archive:
        assert archive.num_files == len(files)
        for path, mode, mtime, content in expected:
            info = archive.index.lookup_dir(path) if mode & 0o040_000 else archive.index.lookup_file(path)
            assert (info.mode, info.mtime_ns) == (mode, mtime), (path, info.mode, info.mtime_ns)
            if mode & 0o040_000:
                below = [other for other in files if other[0].startswith(f"{path}/")]
                assert info.num_files_tree == len(below)
                assert info.size_tree == sum(len(other) for _, other in below)
            else:
                assert archive[path] == content

    # Barecat goes on writing it, and its counts stay right.
    with barecat.Barecat(place / "out.barecat", readonly=False) as archive:
        archive["new/deep/file"] = b"12345"
        del archive["large"]
        archive.rename("a0", "moved")
        assert archive.index.lookup_dir("new").num_files_tree == 1
        assert archive.index.lookup_dir("new").size_tree == 5
        assert archive.num_files == len(files)
        archive.index.verify_integrity()
        archive.verify_integrity()
    run(VLDEPOT, "convert", place / "out.barecat", place / "again.vld")
    assert run(VLDEPOT, "cat", place / "again.vld", "new/deep/file") == "12345"
    run(VLDEPOT, "stat", place / "again.vld", "large", code=3)

    # Into ours, from what Barecat made, in several shards.
    run(BARECAT, "create", "-C", data, "-s", "10M", place / "theirs.barecat", *sorted(os.listdir(data)))
    shards = sorted(place.glob("theirs.barecat-shard-*"))
    assert len(shards) > 1
    run(VLDEPOT, "convert", place / "theirs.barecat", place / "theirs.vld")
    run(VLDEPOT, "extract", place / "theirs.vld", "-C", place / "back")
    assert [row for row in seen(place / "back") if row[1] & 0o100_000] == [
        row for row in expected if row[1] & 0o100_000
    ]

    # A byte that is not what it was, a shard that ends early, and one that is missing: named, and no target.
    def refused(what: str) -> None:
        said = run(VLDEPOT, "convert", place / "theirs.barecat", place / "bad.vld", code=1)
        assert what in said and "entry" in said, said
        assert not (place / "bad.vld").exists()

    whole = shards[0].read_bytes()
    shards[0].write_bytes(whole[:1000] + bytes([whole[1000] ^ 1]) + whole[1001:])
    refused("damaged: CRC32C")
    shards[0].write_bytes(whole[: len(whole) // 2])
    refused("it has")
    shards[0].unlink()
    said = run(VLDEPOT, "convert", place / "theirs.barecat", place / "bad.vld", code=4)
    assert "No such file" in said and "shard-00000" in said, said
    shards[0].write_bytes(whole)

    # Nothing that is there is replaced, and nothing is left.
    before = sorted(os.listdir(place))
    run(VLDEPOT, "convert", place / "ours.vld", place / "theirs.barecat", code=4)
    run(VLDEPOT, "convert", place / "ours.vld", place / "theirs.barecat", "--force", code=2)
    assert sorted(os.listdir(place)) == before
    # Links have no place there.
    (data / "link").symlink_to("large")
    run(VLDEPOT, "create", place / "links.vld", "-C", data, "link", "a-b")
    said = run(VLDEPOT, "convert", place / "links.vld", place / "links.barecat", code=4)
    assert "archives of Barecat have none" in said, said
    run(BARECAT, "verify", place / "links.barecat")
    # A SQLite database of another kind.
    shutil.copy(place / "theirs.barecat", place / "other.sqlite")
    subprocess.run(
        [
            sys.executable,
            "-c",
            "import sqlite3,sys; c=sqlite3.connect(sys.argv[1]); c.execute('DROP TABLE config')",
        ]
        + [str(place / "other.sqlite")],
        check=True,
    )
    said = run(VLDEPOT, "convert", place / "other.sqlite", place / "bad.vld", code=1)
    assert "not an index of Barecat" in said, said


with tempfile.TemporaryDirectory() as folder:
    check(Path(folder))
print("archives of Barecat go in and come out")
