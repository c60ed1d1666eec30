"""What the library reports."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import Error

Name = str | bytes | int


@dataclass(frozen=True, slots=True)
class Layout:
    """How a depot lays out its bytes."""

    preset: str | None
    """The preset that this layout is, if it is one: `balanced fast compact uncompressed`."""
    compression: str
    """The compressor: `zstd lz4 lz4hc blosclz zlib none`."""
    level: int
    """How hard the compressor tries: 0 to 9."""
    filter: str
    """How bytes are rearranged before compression: `shuffle bitshuffle none`."""
    typesize: int | None
    """Bytes of the elements that the filter works on."""
    chunk_size: int
    """Raw bytes of a chunk."""
    block_size: int | None
    """Raw bytes of a block. `None` where it depends on the records."""
    placement: str
    """Where records may start and end: `no_cross contiguous start_aligned`."""
    vlstore_compatible: bool
    """Whether the file also has what the package vlstore needs to read it."""
    name_filters: bool
    """Whether there are filters of the names, which tell fast that a name is not there."""
    name_order: bool
    """Whether the order of the names is kept, for `Depot.sorted_keys`."""
    columns: tuple[str, ...] = ()
    """The scalars of records that are kept in columns."""
    statistics: bool = False
    """Whether statistics of the fields of records are kept."""
    fields_apart: bool = False
    """Whether the fields of frames and arrays are stored apart. Other codecs have none, whatever this is."""


@dataclass(frozen=True, slots=True)
class CodecInfo:
    """The codec that a depot was written with."""

    id: str
    """Its name, such as `atomic_frame`."""
    version: int
    """The version of what it writes."""
    parameters: bytes
    """What a reader must know besides the id."""


@dataclass(frozen=True, slots=True)
class Summary:
    """Statistics of numbers. Those that are not finite are counted apart, and are in nothing else."""

    count: int
    """How many finite values there are."""
    absent: int
    """Records without a value. Of a column; 0 for a field."""
    non_finite: int
    """How many values are NaN or infinite."""
    min: float | None
    """The least value. `None`, as all below, if there is none."""
    max: float | None
    """The largest value."""
    mean: float | None
    """The mean."""
    variance: float | None
    """The mean of the squared differences to the mean, as `numpy.var` gives it. `None` if it is too large."""
    std: float | None
    """The square root of the variance."""


@dataclass(frozen=True, slots=True)
class Kind:
    """How often one kind occurs, such as the atoms of an element."""

    values: int
    """How many values are of this kind."""
    records: int
    """How many records have one."""


@dataclass(frozen=True, slots=True)
class FieldStatistics:
    """Statistics of the fields of records."""

    exact: bool
    """Whether these are of the records that are there, no more and no less. `vldepot.compact` makes them so."""
    counted: int
    """How many records they are of."""
    removed: int
    """Records among these that are gone. Counts, min and max are then bounds, and mean and variance are off."""
    missing: int
    """Records that are there and not among these."""
    fields: dict[str, Summary]
    """Of each field: of frames, all numbers of `forces`, for example."""
    kinds: dict[str, dict[int, Kind]]
    """Of each field that has kinds, each kind: of frames, the `types` of the atoms."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """Statistics of the records of a depot."""

    records: int
    """How many records there are."""
    columns: dict[str, Summary]
    """Of each column. Always of the records that are there."""
    fields: FieldStatistics | None
    """Of the fields of records. `None` if the depot keeps none."""


@dataclass(frozen=True, slots=True)
class DepotInfo:
    """What a depot is, and how much is in it."""

    path: str
    """The file, or `<memory>`."""
    format: str
    """`depot`, `shards` for a folder of them, or `vlstore` for a file of that package."""
    shards: int | None
    """How many shards are read as one. `None` if it is one file."""
    format_version: int
    """The version of the file format."""
    data_set_id: str
    """The id of the depot's records. A depot made by compacting or repairing this one has the same."""
    codec: CodecInfo
    """The codec that the depot was written with."""
    layout: Layout
    """How the depot lays out its bytes."""
    align: int
    """Records start at multiples of this many bytes."""
    records: int
    """Number of live records."""
    raw_bytes: int
    """Raw bytes of live records."""
    file_bytes: int
    """Length of the file in bytes."""
    ratio: float
    """`raw_bytes / file_bytes`"""
    chunks: int
    """Number of chunks."""
    index_segments: int
    """Number of segments of the index."""
    index_bytes: int
    """Bytes of the index in the file."""
    dead_records: int
    """Records that were replaced or removed since the index was last merged."""
    commits: int
    """Number of commits."""
    uncommitted_records: int
    """Records after the last commit."""
    torn_bytes: int
    """Bytes after the last whole entry, which readers ignore."""
    lost_commits: int
    """Commits that the header names but that cannot be read."""
    complete: bool
    """Whether nothing is missing."""
    losses: list[str]
    """What the depot lost before, as its file records it."""
    created: int
    """When it was created, in seconds since 1970. 0 if unknown."""
    statistics: Statistics | None
    """What `Depot.statistics` gives. `None` if the index is too damaged to tell."""


@dataclass(frozen=True, slots=True)
class RecordLocation:
    """Where a record lies."""

    shard: int | None
    """The number, in the manifest's order, of the shard that has it. `None` if the depot is one file."""
    chunk: int
    """Number of the chunk in which the record starts."""
    offset: int
    """Raw bytes from the start of that chunk to the record."""
    length: int
    """Raw bytes of the record."""
    checksum: int | None
    """CRC32C of the raw bytes. `None` in files of other programs."""
    file_offset: int | None
    """Where the chunk's entry starts in the file. `None` for a chunk that is not written yet."""


@dataclass(frozen=True, slots=True)
class Removal:
    """What a truncation or a compaction removed, or would remove."""

    removed: int
    """Number of records that are gone, or would be."""
    kept: int
    """Number of records that stay."""
    first: Name | None
    """The first removed record, in the order of insertion."""
    last: Name | None
    """The last removed record."""
    everything: bool
    """Whether no record stays, or no frame with a step."""


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What a reader found when it moved forward."""

    before: int
    """Number of records before."""
    now: int
    """Number of records now."""
    kept: int
    """How many of the first records are the same as before."""
    changed: bool
    """Whether the writer did anything."""

    @property
    def new_records(self) -> range:
        """Positions of records that are new, or that were elsewhere before."""
        return range(self.kept, max(self.now, self.kept))

    @property
    def went_back(self) -> int | None:
        """The first position at which a record changed or went away. `None` if all are where they were."""
        return self.kept if self.kept < self.before else None


@dataclass(frozen=True, slots=True)
class Merged:
    """What is in a folder of shards."""

    shards: int
    """Shards of the folder."""
    added: int
    """Shards that are new in it."""
    records: int
    """Its records."""
    raw_bytes: int
    """Their raw bytes, those of superseded records included."""
    superseded: int
    """Records that one with the same name in a newer shard supersedes."""
    examples: list[Name]
    """The names of some superseded records."""


@dataclass(frozen=True, slots=True)
class Totals:
    """How much is in a range of names."""

    records: int
    """Number of records."""
    raw_bytes: int
    """Raw bytes of these records."""


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What was checked, and what is damaged."""

    path: str
    """The file."""
    quick: bool
    """Whether the data were left out."""
    format: str
    """`depot`, `shards` for a folder of them, or `vlstore` for a file of that package, which has no checksums."""
    file_bytes: int
    """Length of the file in bytes."""
    entries: int
    """Entries whose checksums were compared; `chunks`, `index_segments` and `commits` are among them."""
    chunks: int
    """Number of chunks among the entries."""
    index_segments: int
    """Number of segments of the index among the entries."""
    commits: int
    """Number of commits among the entries."""
    unknown_entries: int
    """Entries that a later version wrote, and that this version may skip."""
    records: int
    """Live records that were looked up by name."""
    records_read: int
    """Records that were read and compared with their checksum."""
    bytes_read: int
    """Raw bytes of the records that were read."""
    uncommitted_records: int
    """Records after the last commit."""
    torn_bytes: int
    """Bytes after the last whole entry, which readers ignore."""
    standard_frame: bool
    """Whether the file is a standard Blosc2 frame of all its chunks."""
    losses: list[str]
    """What the depot lost earlier, as it notes itself."""
    damaged_records: list[tuple[Name, Error]]
    """Names of records that cannot be read or found, and why."""
    problems: list[Error]
    """All other damage."""

    @property
    def is_whole(self) -> bool:
        """Whether nothing that was checked is damaged."""
        return not self.damaged_records and not self.problems


@dataclass(frozen=True, slots=True)
class RepairReport:
    """What was kept, and what was not."""

    records: int
    """Records in the new depot."""
    lost: list[tuple[Name, Error]]
    """Names of records that are named somewhere and cannot be read, and why."""
    problems: list[Error]
    """All other damage."""


@dataclass(frozen=True, slots=True)
class CompactReport:
    """What compacting gained."""

    records: int
    """Number of records in the new file."""
    bytes_before: int
    """Length of the old file."""
    bytes_after: int
    """Length of the new file."""
    other_names: int
    """Other names (hard links) of the old file, which still lead to it."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """What was added or extracted."""

    files: int
    """Files."""
    folders: int
    """Folders."""
    links: int
    """Links."""
    bytes: int
    """Bytes of the files."""
    failures: list[tuple[str, str]]
    """Paths of the disk that could not be added or extracted, and why: at most 1,000 of them."""
    failed: int
    """How many could not be."""
