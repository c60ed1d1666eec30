"""Makes a depot of a file of LMDB.

    python from_lmdb.py values.lmdb values.vld            keys become names, and values records of bytes

Give `convert` a codec and a function that unpacks values, to store what they mean instead of their bytes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lmdb  # type: ignore[import-not-found,import-untyped,unused-ignore]

import vldepot

# Bytes of the head of a database that is inside another.
HEAD_BYTES = 48


def text_or_bytes(key: bytes) -> str | bytes:
    """A key as a name: text if it is UTF-8, and bytes if not."""
    try:
        return key.decode()
    except UnicodeDecodeError:
        return key


def is_database(file: Any, transaction: Any, key: bytes) -> bool:
    """Whether a value is no value, but the head of a database inside the file."""
    try:
        file.open_db(key, txn=transaction, create=False)
    except lmdb.Error:
        return False
    return True


def convert(
    source: str,
    target: str,
    codec: Any = "bytes",
    *,
    value: Callable[[bytes], Any] = bytes,
    name: Callable[[bytes], Any] = text_or_bytes,
    database: bytes | None = None,
    **options: Any,
) -> int:
    """Copies all values in the order of their keys, and returns how many.

    `value` and `name` make records and names of bytes. `database` is the name of a database inside the file, if the
    file has several. The options are those of `vldepot.create`.
    """
    place: dict[str, Any] = {"subdir": Path(source).is_dir(), "readonly": True, "lock": False, "max_dbs": 1}
    with lmdb.open(source, **place) as file:
        inner = file.open_db(database, create=False) if database else None
        with file.begin(db=inner) as transaction, vldepot.create(target, codec, **options) as depot:
            for key, packed in transaction.cursor():
                if database is None and len(packed) == HEAD_BYTES and is_database(file, transaction, key):
                    raise ValueError(
                        f"{source} has databases inside, {key!r} for one: name the one to convert"
                    )
                # Keys that would get the same name are not merged.
                depot.put(name(key), value(packed), new=True)
            return len(depot)


if __name__ == "__main__":
    print(convert(*sys.argv[1:3]), "records")
