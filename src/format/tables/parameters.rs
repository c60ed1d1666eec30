//! The parameters of a depot: how it is laid out.

use flatbuffers::{FlatBufferBuilder, root};

use super::{broken, fbs};
use crate::blosc::{Compression, CompressionCodec, Filter};
use crate::format::FORMAT_VERSION;
use crate::format::growth::{Fault, Features, Newer, unknown_field};
use crate::options::{Layout, Placement, can_store_apart};
use crate::scalar::{MAX_COLUMNS, ScalarField, ScalarKind};

/// How the depot is laid out.
#[allow(clippy::struct_field_names, clippy::struct_excessive_bools, reason = "those of the schema")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parameters {
    pub(crate) format_version: u32,
    pub(crate) depot_id: u64,
    pub(crate) codec_id: String,
    pub(crate) codec_version: u32,
    pub(crate) codec_parameters: Vec<u8>,
    pub(crate) chunk_size: usize,
    /// `None` if each chunk has its own block size.
    pub(crate) block_size: Option<usize>,
    pub(crate) compression: Compression,
    pub(crate) placement: Placement,
    pub(crate) align: usize,
    pub(crate) vlstore: bool,
    /// Seconds since 1970.
    pub(crate) created: i64,
    /// As of the file's creation. Those of a commit win.
    pub(crate) features: Features,
    /// What tells copies of one depot from other depots.
    pub(crate) data_set: u128,
    /// Of a folder of depots, which no version writes yet.
    pub(crate) shard: Shard,
    /// Whether writers give index segments filters, and the order of names.
    pub(crate) filters: bool,
    pub(crate) order: bool,
    /// The scalars of records that are kept in columns.
    pub(crate) columns: Vec<ScalarField>,
    /// Whether writers keep statistics of the fields of records.
    pub(crate) statistics: bool,
    /// Whether writers store the fields of records apart.
    pub(crate) apart: bool,
    /// The first field of the table that this version does not know, if there is one. Not encoded.
    pub(crate) unknown_field: Option<u16>,
}

/// The place of a depot among those that are one together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Shard {
    pub(crate) number: u32,
    /// 0 for a depot that stands alone.
    pub(crate) of: u32,
    pub(crate) first_record: u64,
}

const WITHOUT_FILTERS: u8 = 1;
const WITHOUT_ORDER: u8 = 2;

/// Fields of the table that this version knows.
const KNOWN_FIELDS: u16 = 26;

impl Parameters {
    /// The table as bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut builder = FlatBufferBuilder::new();
        let table = self.build(&mut builder);
        builder.finish_minimal(table);
        builder.finished_data().to_vec()
    }

    pub(super) fn build<'b>(
        &self,
        builder: &mut FlatBufferBuilder<'b>,
    ) -> flatbuffers::WIPOffset<fbs::Parameters<'b>> {
        let codec_id = builder.create_string(&self.codec_id);
        let codec_parameters = builder.create_vector(&self.codec_parameters);
        let columns = (!self.columns.is_empty()).then(|| {
            let build = |ScalarField { name, kind }: &ScalarField| {
                let name = Some(builder.create_string(name));
                let kind = match kind {
                    ScalarKind::Integer => 0,
                    ScalarKind::Float => 1,
                };
                fbs::Column::create(builder, &fbs::ColumnArgs { name, kind })
            };
            let columns: Vec<_> = self.columns.iter().map(build).collect();
            builder.create_vector(&columns)
        });
        let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let half = |n: u128| u64::try_from(n & u128::from(u64::MAX)).unwrap_or(0);
        let data_set = fbs::Id::new(half(self.data_set), half(self.data_set >> 64));
        let args = fbs::ParametersArgs {
            format_version: self.format_version,
            depot_id: self.depot_id,
            codec_id: Some(codec_id),
            codec_version: self.codec_version,
            codec_parameters: Some(codec_parameters),
            chunk_size: small(self.chunk_size),
            block_size: small(self.block_size.unwrap_or(0)),
            compressor: match self.compression.codec {
                CompressionCodec::None => 0,
                CompressionCodec::Lz4 => 1,
                CompressionCodec::Lz4hc => 2,
                CompressionCodec::Zstd => 3,
                CompressionCodec::Blosclz => 4,
                // Only in files of other programs, which have no such table.
                CompressionCodec::Zlib => 5,
            },
            level: self.compression.level,
            filter: match self.compression.filter {
                Filter::None => 0,
                Filter::Shuffle => 1,
                Filter::Bitshuffle => 2,
            },
            typesize: self.compression.typesize(),
            placement: match self.placement {
                Placement::NoCross => 0,
                Placement::Contiguous => 1,
                Placement::StartAligned => 2,
            },
            align: u8::try_from(self.align).unwrap_or(u8::MAX),
            vlstore: self.vlstore,
            created: self.created,
            compatible: self.features.compatible,
            read_only: self.features.read_only,
            incompatible: self.features.incompatible,
            data_set: Some(&data_set),
            shard: self.shard.number,
            n_shards: self.shard.of,
            first_record: self.shard.first_record,
            without: if self.filters { 0 } else { WITHOUT_FILTERS }
                | if self.order { 0 } else { WITHOUT_ORDER },
            columns,
            statistics: self.statistics,
            apart: self.apart,
        };
        fbs::Parameters::create(builder, &args)
    }

    /// Reads the table.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        Self::from_table(root::<fbs::Parameters<'_>>(bytes).map_err(|e| broken(&e))?)
    }

    pub(super) fn from_table(table: fbs::Parameters<'_>) -> Result<Self, Fault> {
        let format_version = table.format_version();
        let parameters = Self {
            format_version,
            depot_id: table.depot_id(),
            codec_id: table.codec_id().unwrap_or("").to_owned(),
            codec_version: table.codec_version(),
            codec_parameters: table.codec_parameters().map(|v| v.bytes().to_vec()).unwrap_or_default(),
            chunk_size: table.chunk_size() as usize,
            block_size: Some(table.block_size() as usize).filter(|&size| size > 0),
            compression: Compression {
                codec: match table.compressor() {
                    0 => CompressionCodec::None,
                    1 => CompressionCodec::Lz4,
                    2 => CompressionCodec::Lz4hc,
                    3 => CompressionCodec::Zstd,
                    4 => CompressionCodec::Blosclz,
                    other => return Err(Fault::newer("compressor", &other)),
                },
                level: table.level(),
                filter: match table.filter() {
                    0 => Filter::None,
                    1 => Filter::Shuffle,
                    2 => Filter::Bitshuffle,
                    other => return Err(Fault::newer("filter", &other)),
                },
                typesize: Some(table.typesize()),
            },
            placement: match table.placement() {
                0 => Placement::NoCross,
                1 => Placement::Contiguous,
                2 => Placement::StartAligned,
                other => return Err(Fault::newer("placement", &other)),
            },
            align: usize::from(table.align()),
            vlstore: table.vlstore(),
            created: table.created(),
            features: Features {
                compatible: table.compatible(),
                read_only: table.read_only(),
                incompatible: table.incompatible(),
            },
            data_set: table.data_set().map_or(0, |id| u128::from(id.low()) | u128::from(id.high()) << 64),
            shard: Shard { number: table.shard(), of: table.n_shards(), first_record: table.first_record() },
            filters: table.without() & WITHOUT_FILTERS == 0,
            order: table.without() & WITHOUT_ORDER == 0,
            columns: table.columns().unwrap_or_default().iter().map(column).collect::<Result<_, _>>()?,
            statistics: table.statistics(),
            apart: table.apart(),
            unknown_field: unknown_field(&table._tab, KNOWN_FIELDS),
        };
        // The fields of a newer format may mean anything. The caller refuses it by its version.
        if format_version <= FORMAT_VERSION {
            parameters.layout().validate().map_err(|e| format!("impossible parameters ({e})"))?;
            if !parameters.align.is_power_of_two() || parameters.align > 64 {
                return Err(format!("records aligned to {} bytes", parameters.align).into());
            }
            if parameters.columns.len() > MAX_COLUMNS {
                return Err(format!("{} columns", parameters.columns.len()).into());
            }
        }
        Ok(parameters)
    }

    /// What a program that writes must know and this version does not, if there is anything.
    pub(crate) fn unknown_to_writers(&self) -> Option<Newer> {
        let field = self.unknown_field.filter(|_| !self.features.has_unknown_compatible());
        field.map(|field| Newer::new("field", &format_args!("{field} of the parameters")))
    }

    /// Whether writers store fields apart: see [`Layout::stores_apart`].
    pub(crate) fn stores_apart(&self) -> bool {
        self.apart && !self.vlstore && can_store_apart(self.compression, self.chunk_size)
    }

    /// How the depot is laid out.
    pub(crate) fn layout(&self) -> Layout {
        Layout {
            compression: self.compression,
            chunk_size: self.chunk_size,
            block_size: self.block_size,
            placement: self.placement,
            vlstore_compatible: self.vlstore,
            name_filters: self.filters,
            name_order: self.order,
            columns: self.columns.iter().map(|column| column.name.clone().into_owned()).collect(),
            statistics: self.statistics,
            fields_apart: self.apart,
        }
    }
}

fn column(table: fbs::Column<'_>) -> Result<ScalarField, Fault> {
    if let Some(field) = unknown_field(&table._tab, 2) {
        return Err(Fault::newer("field", &format_args!("{field} of a column")));
    }
    let kind = match table.kind() {
        0 => ScalarKind::Integer,
        1 => ScalarKind::Float,
        other => return Err(Fault::newer("kind of scalar", &other)),
    };
    Ok(ScalarField { name: table.name().unwrap_or_default().to_owned().into(), kind })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn parameters() -> Parameters {
        Parameters {
            format_version: 1,
            depot_id: 42,
            codec_id: "raw".into(),
            codec_version: 1,
            codec_parameters: vec![1, 2, 3],
            chunk_size: 1 << 22,
            block_size: None,
            compression: Compression { typesize: Some(8), ..Compression::default() },
            placement: Placement::Contiguous,
            align: 16,
            vlstore: true,
            created: 1_700_000_000,
            features: Features { compatible: 1, read_only: 2, incompatible: 0 },
            data_set: 1 << 100 | 7,
            shard: Shard { number: 1, of: 2, first_record: 3 },
            filters: true,
            order: false,
            columns: vec![ScalarField::integer("step"), ScalarField::float("energy")],
            statistics: true,
            apart: true,
            unknown_field: None,
        }
    }

    #[test]
    fn parameters_come_back() {
        assert_eq!(Parameters::decode(&parameters().encode()), Ok(parameters()));
    }

    #[test]
    fn a_kind_of_scalar_of_a_later_version_is_named() {
        for kind in 0..=u8::MAX {
            let mut builder = FlatBufferBuilder::new();
            let name = Some(builder.create_string("spin"));
            let column = fbs::Column::create(&mut builder, &fbs::ColumnArgs { name, kind });
            let columns = Some(builder.create_vector(&[column]));
            let args = fbs::ParametersArgs {
                format_version: 1,
                chunk_size: 4096,
                typesize: 8,
                align: 16,
                columns,
                ..fbs::ParametersArgs::default()
            };
            let table = fbs::Parameters::create(&mut builder, &args);
            builder.finish_minimal(table);
            let columns = Parameters::decode(builder.finished_data()).map(|parameters| parameters.columns);
            match kind {
                0 => assert_eq!(columns, Ok(vec![ScalarField::integer("spin")])),
                1 => assert_eq!(columns, Ok(vec![ScalarField::float("spin")])),
                kind => assert_eq!(columns, Err(Fault::newer("kind of scalar", &kind))),
            }
        }
    }
}
