"""What the library reports."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import Error

Name = str | bytes | int


@dataclass(frozen=True, slots=True)
class Layout:
    """How a depot lays out its bytes."""

    #: The preset that this layout is, if it is one: `balanced fast compact uncompressed`.
    preset: str | None
    #: The compressor: `zstd lz4 lz4hc blosclz zlib none`.
    compression: str
    level: int
    #: How bytes are rearranged before compression: `shuffle bitshuffle none`.
    filter: str
    #: Bytes of the elements that the filter works on.
    typesize: int | None
    #: Raw bytes of a chunk.
    chunk_size: int
    #: Raw bytes of a block. `None` where it depends on the records.
    block_size: int | None
    #: Where records may start and end: `no_cross contiguous start_aligned`.
    placement: str
    vlstore_compatible: bool
    name_filters: bool
    name_order: bool
    #: The scalars of records that are kept in columns.
    columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CodecInfo:
    """The codec that a depot was written with."""

    id: str
    version: int
    #: What a reader must know besides the id.
    parameters: bytes


@dataclass(frozen=True, slots=True)
class DepotInfo:
    """What a depot is, and how much is in it."""

    path: str
    #: `depot`, or `vlstore` for a file of that package.
    format: str
    format_version: int
    #: The id of the depot's records. A depot made by compacting or repairing this one has the same.
    data_set_id: str
    codec: CodecInfo
    layout: Layout
    #: Records start at multiples of this many bytes.
    align: int
    #: Number of live records.
    records: int
    #: Raw bytes of live records.
    raw_bytes: int
    #: Length of the file in bytes.
    file_bytes: int
    #: `raw_bytes / file_bytes`
    ratio: float
    chunks: int
    index_segments: int
    index_bytes: int
    #: Records that were replaced or removed since the index was last merged.
    dead_records: int
    commits: int
    #: Records after the last commit.
    uncommitted_records: int
    #: Bytes after the last whole entry, which readers ignore.
    torn_bytes: int
    #: Commits that the header names but that cannot be read.
    lost_commits: int
    #: Whether nothing is missing.
    complete: bool
    #: What the depot lost before, as its file records it.
    losses: list[str]
    #: When it was created, in seconds since 1970. 0 if unknown.
    created: int


@dataclass(frozen=True, slots=True)
class RecordLocation:
    """Where a record lies."""

    #: Number of the chunk in which the record starts.
    chunk: int
    #: Raw bytes from the start of that chunk to the record.
    offset: int
    #: Raw bytes of the record.
    length: int
    #: CRC32C of the raw bytes. `None` in files of other programs.
    checksum: int | None
    #: Where the chunk's entry starts in the file. `None` for a chunk that is not written yet.
    file_offset: int | None


@dataclass(frozen=True, slots=True)
class Removal:
    """What a truncation or a compaction removed, or would remove."""

    removed: int
    kept: int
    #: The first removed record, in the order of insertion.
    first: Name | None
    #: The last removed record.
    last: Name | None
    #: Whether no record stays, or no frame with a step.
    everything: bool


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What a reader found when it moved forward."""

    #: Number of records before.
    before: int
    #: Number of records now.
    now: int
    #: How many of the first records are the same as before.
    kept: int
    #: Whether the writer did anything.
    changed: bool

    @property
    def new_records(self) -> range:
        """Positions of records that are new, or that were elsewhere before."""
        return range(self.kept, max(self.now, self.kept))

    @property
    def went_back(self) -> int | None:
        """The first position at which a record changed or went away. `None` if all are where they were."""
        return self.kept if self.kept < self.before else None


@dataclass(frozen=True, slots=True)
class Totals:
    """How much is in a range of names."""

    records: int
    raw_bytes: int


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What was checked, and what is damaged."""

    path: str
    #: Whether the data were left out.
    quick: bool
    #: `depot`, or `vlstore` for a file of that package, which has no checksums.
    format: str
    file_bytes: int
    #: Entries whose checksums were compared; `chunks`, `index_segments` and `commits` are among them.
    entries: int
    chunks: int
    index_segments: int
    commits: int
    #: Entries that a later version wrote, and that this version may skip.
    unknown_entries: int
    #: Live records that were looked up by name.
    records: int
    #: Records that were read and compared with their checksum.
    records_read: int
    bytes_read: int
    uncommitted_records: int
    torn_bytes: int
    #: Whether the file is a standard Blosc2 frame of all its chunks.
    standard_frame: bool
    #: What the depot lost earlier, as it notes itself.
    losses: list[str]
    #: Names of records that cannot be read or found, and why.
    damaged_records: list[tuple[Name, Error]]
    #: All other damage.
    problems: list[Error]

    @property
    def is_whole(self) -> bool:
        """Whether nothing that was checked is damaged."""
        return not self.damaged_records and not self.problems


@dataclass(frozen=True, slots=True)
class RepairReport:
    """What was kept, and what was not."""

    #: Records in the new depot.
    records: int
    #: Names of records that are named somewhere and cannot be read, and why.
    lost: list[tuple[Name, Error]]
    #: All other damage.
    problems: list[Error]


@dataclass(frozen=True, slots=True)
class CompactReport:
    """What compacting gained."""

    records: int
    bytes_before: int
    bytes_after: int
    #: Other names (hard links) of the old file, which still lead to it.
    other_names: int
