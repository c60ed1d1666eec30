//! What the library reports, as the classes of `vldepot._reports`.

use pyo3::prelude::*;
use pyo3::types::PyDict;
use vldepot::statistics::{Kinds, Summary};
use vldepot::{
    DepotInfo, FieldStatistics, Key, Layout, RecordLocation, Refreshed, Removal, Statistics, Totals,
};

use crate::key;

/// Makes a report of a class, from its fields by name.
macro_rules! report {
    ($py:expr, $class:literal, { $($field:ident: $value:expr),* $(,)? }) => {{
        let fields = PyDict::new($py);
        $(fields.set_item(stringify!($field), $value)?;)*
        $py.import("vldepot._reports")?.getattr($class)?.call((), Some(&fields))
    }};
}
pub(crate) use report;

pub(crate) fn layout<'py>(py: Python<'py>, layout: &Layout) -> PyResult<Bound<'py, PyAny>> {
    let compression = &layout.compression;
    report!(py, "Layout", {
        preset: preset(layout),
        compression: compression.codec.to_string(),
        level: compression.level,
        filter: compression.filter.to_string(),
        typesize: compression.typesize,
        chunk_size: layout.chunk_size,
        block_size: layout.block_size,
        placement: layout.placement.to_string(),
        vlstore_compatible: layout.vlstore_compatible,
        name_filters: layout.name_filters,
        name_order: layout.name_order,
        columns: pyo3::types::PyTuple::new(py, &layout.columns)?,
        statistics: layout.statistics,
        fields_apart: layout.fields_apart,
    })
}

/// The preset that the layout is, but for the typesize, which is the codec's, the columns and the statistics.
fn preset(layout: &Layout) -> Option<&'static str> {
    Layout::PRESETS.into_iter().find(|name| {
        name.parse::<Layout>().is_ok_and(|mut preset| {
            preset.compression.typesize = layout.compression.typesize;
            preset.columns.clone_from(&layout.columns);
            preset.statistics = layout.statistics;
            preset == *layout
        })
    })
}

pub(crate) fn info<'py>(py: Python<'py>, info: &DepotInfo) -> PyResult<Bound<'py, PyAny>> {
    let codec = report!(py, "CodecInfo", {
        id: &info.codec.id,
        version: info.codec.version,
        parameters: pyo3::types::PyBytes::new(py, &info.codec.parameters),
    })?;
    report!(py, "DepotInfo", {
        path: info.path.as_os_str(),
        format: info.format,
        shards: info.shards,
        format_version: info.format_version,
        data_set_id: &info.data_set_id,
        codec: codec,
        layout: layout(py, &info.layout)?,
        align: info.align,
        records: info.records,
        raw_bytes: info.raw_bytes,
        file_bytes: info.file_bytes,
        ratio: info.ratio,
        chunks: info.chunks,
        index_segments: info.index_segments,
        index_bytes: info.index_bytes,
        dead_records: info.dead_records,
        commits: info.commits,
        uncommitted_records: info.uncommitted_records,
        torn_bytes: info.torn_bytes,
        lost_commits: info.lost_commits,
        complete: info.complete,
        losses: info.losses.clone(),
        created: info.created,
        statistics: info.statistics.as_ref().map(|all| statistics(py, all)).transpose()?,
    })
}

pub(crate) fn statistics<'py>(py: Python<'py>, all: &Statistics) -> PyResult<Bound<'py, PyAny>> {
    let columns = PyDict::new(py);
    for column in &all.columns {
        columns.set_item(&column.name, summary(py, &column.summary, column.absent)?)?;
    }
    let fields = all.fields.as_ref().map(|fields| field_statistics(py, fields)).transpose()?;
    report!(py, "Statistics", { records: all.records, columns: columns, fields: fields })
}

fn field_statistics<'py>(py: Python<'py>, of: &FieldStatistics) -> PyResult<Bound<'py, PyAny>> {
    let (fields, kinds) = (PyDict::new(py), PyDict::new(py));
    for (name, field) in of.tally.fields() {
        fields.set_item(name, summary(py, field, 0)?)?;
    }
    for (name, of_field) in of.tally.all_kinds() {
        kinds.set_item(name, counts(py, of_field)?)?;
    }
    report!(py, "FieldStatistics", {
        exact: of.exact,
        counted: of.counted,
        removed: of.removed,
        missing: of.missing,
        fields: fields,
        kinds: kinds,
    })
}

fn counts<'py>(py: Python<'py>, kinds: &Kinds) -> PyResult<Bound<'py, PyDict>> {
    let counts = PyDict::new(py);
    for (kind, of) in kinds.iter() {
        counts.set_item(kind, report!(py, "Kind", { values: of.values, records: of.records })?)?;
    }
    Ok(counts)
}

fn summary<'py>(py: Python<'py>, summary: &Summary, absent: u64) -> PyResult<Bound<'py, PyAny>> {
    report!(py, "Summary", {
        count: summary.count(),
        absent: absent,
        non_finite: summary.non_finite(),
        min: summary.min(),
        max: summary.max(),
        mean: summary.mean(),
        variance: summary.variance(),
        std: summary.std(),
    })
}

pub(crate) fn location<'py>(py: Python<'py>, location: &RecordLocation) -> PyResult<Bound<'py, PyAny>> {
    report!(py, "RecordLocation", {
        shard: location.shard,
        chunk: location.chunk,
        offset: location.offset,
        length: location.length,
        checksum: location.checksum,
        file_offset: location.file_offset,
    })
}

pub(crate) fn removal<'py>(py: Python<'py>, removal: &Removal) -> PyResult<Bound<'py, PyAny>> {
    let name = |key: &Option<Key>| key.as_ref().map(|key| key::to_python(py, key)).transpose();
    report!(py, "Removal", {
        removed: removal.removed,
        kept: removal.kept,
        first: name(&removal.first)?,
        last: name(&removal.last)?,
        everything: removal.everything,
    })
}

pub(crate) fn refreshed<'py>(py: Python<'py>, refreshed: &Refreshed) -> PyResult<Bound<'py, PyAny>> {
    report!(py, "Refreshed", {
        before: refreshed.before,
        now: refreshed.now,
        kept: refreshed.kept,
        changed: refreshed.changed(),
    })
}

pub(crate) fn totals<'py>(py: Python<'py>, totals: &Totals) -> PyResult<Bound<'py, PyAny>> {
    report!(py, "Totals", { records: totals.records, raw_bytes: totals.raw_bytes })
}
