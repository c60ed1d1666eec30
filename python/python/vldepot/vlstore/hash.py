"""Hashes of content."""

from __future__ import annotations

from typing import Any, Final

HASH_SEED: Final = 617491234
"""The seed of `byte_hash`, which is vlstore's."""


def byte_hash(content: Any, /, seed: int = HASH_SEED) -> str:
    """The 128-bit XXH3 hash of a buffer's bytes, in hexadecimal. It needs the package xxhash.

    Args:
        content: Anything with a C-contiguous buffer. Shape and dtype do not count.
        seed: Another seed gives another hash.

    Raises:
        ImportError: Without xxhash.
    """
    try:
        import xxhash  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        raise ImportError("byte_hash needs the package xxhash: pip install xxhash") from error
    return str(xxhash.xxh3_128(content, seed=seed).hexdigest())
