//! Parts of Blosc2 that this program does not read, and their names.
//!
//! A chunk that uses one may be whole, but takes another program to read. To load a plugin, c-blosc2
//! would run the Python on the `PATH`. Dictionaries and the delta filter are not read because `vet` does
//! not look through them.

use super::limits::HEADER_LEN;

const FLAGS_AT: usize = 2;
const FILTERS_AT: usize = 16;
const PLUGIN_CODEC_AT: usize = 22;
const FILTER_PARAMETERS_AT: usize = 24;
const N_FILTERS: usize = 6;
const BLOSC2_FLAGS_AT: usize = 31;
/// The bits with the special kind of a chunk.
const KIND_FLAGS: u8 = 0x70;
const CODEC_SHIFT: u8 = 5;
/// The chunk is not compressed, so codec and filters do not matter.
const MEMCPYED: u8 = 0x02;

/// The codecs that are read, as chunk headers number them: BloscLZ, LZ4 (and LZ4HC), zlib and zstd.
const CODECS: [u8; 4] = [0, 1, ZLIB, 4];
/// The number of zlib. Here, c-blosc2 is built without it.
pub(super) const ZLIB: u8 = 3;
/// The filters that are read: none, shuffle, bit shuffle, and the truncation of precision, which is not
/// undone.
const FILTERS: [u8; 4] = [0, 1, 2, TRUNCATE_PRECISION];
const TRUNCATE_PRECISION: u8 = 4;
/// The special kinds that are read: 0 for an ordinary chunk, zeros, NaN, and a value after the header.
const KINDS: [u8; 4] = [0, 1, 2, 3];

/// A part of Blosc2 that this program does not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Feature {
    /// The kind of feature.
    pub(crate) what: &'static str,
    /// The name that Blosc2 gives it.
    pub(crate) name: String,
}

impl Feature {
    fn new(what: &'static str, name: impl Into<String>) -> Self {
        Self { what, name: name.into() }
    }

    /// A codec, by its number in frames and among plugins.
    pub(crate) fn codec(number: u8) -> Self {
        Self::new("Blosc2 codec", name_of(number, &CODEC_NAMES))
    }

    /// The first feature in a chunk's header that is not read here; `None` for a header that is cut off.
    pub(crate) fn unread_of(header: &[u8]) -> Option<Self> {
        let header = header.first_chunk::<HEADER_LEN>()?;
        let flags = header[BLOSC2_FLAGS_AT];
        let kind = (flags & KIND_FLAGS) >> 4;
        if !KINDS.contains(&kind) {
            return Some(Self::special(kind.into()));
        }
        if kind != 0 || header[FLAGS_AT] & MEMCPYED != 0 {
            return None;
        }
        let codec = header[FLAGS_AT] >> CODEC_SHIFT;
        if !CODECS.contains(&codec) {
            return Some(match codec {
                6 => Self::codec(header[PLUGIN_CODEC_AT]),
                _ => Self::new("Blosc2 codec", format!("of chunk format {codec}")),
            });
        }
        let flag_names = [
            (0x01, "a dictionary"),
            (0x02, "a longer header"),
            (0x04, "a codec of its own"),
            (0x08, "a lazy chunk"),
            (0x80, "an instrumented codec"),
        ];
        if let Some((_, name)) = flag_names.iter().find(|(flag, _)| flags & flag != 0) {
            return Some(Self::new("Blosc2 feature", *name));
        }
        let parameters = &header[FILTER_PARAMETERS_AT..];
        header[FILTERS_AT..FILTERS_AT + N_FILTERS].iter().zip(parameters).find_map(|(&filter, &parameter)| {
            let name = name_of(filter, &FILTER_NAMES);
            if !FILTERS.contains(&filter) {
                return Some(Self::new("Blosc2 filter", name));
            }
            let has_parameter = parameter != 0 && filter != TRUNCATE_PRECISION;
            has_parameter.then(|| Self::new("Blosc2 filter", format!("{name} with parameter {parameter}")))
        })
    }

    /// The feature of a special chunk, which stores only the value that fills it.
    pub(crate) fn special(kind: u64) -> Self {
        let name = match kind {
            2 => "of NaN, without a header",
            4 => "of values that were never set",
            _ => return Self::new("Blosc2 special chunk", format!("number {kind}")),
        };
        Self::new("Blosc2 special chunk", name)
    }
}

/// Whether a chunk is compressed by zlib.
pub(super) fn is_zlib(header: &[u8]) -> bool {
    header.get(FLAGS_AT).is_some_and(|flags| flags >> CODEC_SHIFT == ZLIB)
}

/// The flags of a chunk with its codec changed to LZ4.
pub(super) fn with_lz4(flags: u8) -> u8 {
    const LZ4: u8 = 1;
    flags & !(0xff << CODEC_SHIFT) | LZ4 << CODEC_SHIFT
}

/// Names of codecs, by number.
///
/// # Source
/// `codecs-registry.h` and `blosc2.h` of c-blosc2.
const CODEC_NAMES: [(u8, &str); 14] = [
    (0, "BLOSCLZ"),
    (1, "LZ4"),
    (2, "LZ4HC"),
    (4, "ZLIB"),
    (5, "ZSTD"),
    (32, "NDLZ"),
    (33, "ZFP_ACC"),
    (34, "ZFP_PREC"),
    (35, "ZFP_RATE"),
    (36, "OPENHTJ2K"),
    (37, "GROK"),
    (38, "OPENZL"),
    (39, "J2K"),
    (40, "HTJ2K"),
];

/// Names of filters, by number.
///
/// # Source
/// `filters-registry.h` and `blosc2.h` of c-blosc2.
const FILTER_NAMES: [(u8, &str); 9] = [
    (1, "SHUFFLE"),
    (2, "BITSHUFFLE"),
    (3, "DELTA"),
    (4, "TRUNC_PREC"),
    (32, "NDCELL"),
    (33, "NDMEAN"),
    (34, "BYTEDELTA (the first one)"),
    (35, "BYTEDELTA"),
    (36, "INT_TRUNC"),
];

fn name_of(number: u8, names: &[(u8, &str)]) -> String {
    match names.iter().find(|(known, _)| *known == number) {
        Some((_, name)) => (*name).to_owned(),
        None if number >= 160 => format!("{number}, defined by a user"),
        None => format!("number {number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(changes: &[(usize, u8)]) -> Option<String> {
        let mut header = [0; HEADER_LEN];
        header[..4].copy_from_slice(&[5, 1, 0x95, 4]);
        for &(at, byte) in changes {
            header[at] = byte;
        }
        Feature::unread_of(&header).map(|Feature { what, name }| format!("{what} {name}"))
    }

    #[test]
    fn what_is_not_read_has_a_name() {
        for flags in [0x15, 0x35, 0x75, 0x95] {
            assert_eq!(of(&[(FLAGS_AT, flags), (FILTERS_AT, 4), (FILTERS_AT + 5, 2)]), None);
        }
        assert_eq!(of(&[(FILTERS_AT, 4), (FILTER_PARAMETERS_AT, 12)]), None);
        assert_eq!(of(&[(FILTERS_AT + 1, 3)]).unwrap(), "Blosc2 filter DELTA");
        assert_eq!(of(&[(FILTERS_AT + 1, 35)]).unwrap(), "Blosc2 filter BYTEDELTA");
        assert_eq!(of(&[(FILTERS_AT + 5, 36)]).unwrap(), "Blosc2 filter INT_TRUNC");
        assert_eq!(of(&[(FILTERS_AT, 200)]).unwrap(), "Blosc2 filter 200, defined by a user");
        assert_eq!(of(&[(FILTERS_AT, 99)]).unwrap(), "Blosc2 filter number 99");
        let shuffle = of(&[(FILTERS_AT, 1), (FILTER_PARAMETERS_AT, 4)]).unwrap();
        assert_eq!(shuffle, "Blosc2 filter SHUFFLE with parameter 4");
        assert_eq!(of(&[(FLAGS_AT, 0xd5), (PLUGIN_CODEC_AT, 33)]).unwrap(), "Blosc2 codec ZFP_ACC");
        assert_eq!(of(&[(FLAGS_AT, 0xd5), (PLUGIN_CODEC_AT, 32)]).unwrap(), "Blosc2 codec NDLZ");
        let own = of(&[(FLAGS_AT, 0xd5), (PLUGIN_CODEC_AT, 160)]).unwrap();
        assert_eq!(own, "Blosc2 codec 160, defined by a user");
        assert_eq!(of(&[(FLAGS_AT, 0xf5)]).unwrap(), "Blosc2 codec of chunk format 7");
        assert_eq!(of(&[(BLOSC2_FLAGS_AT, 0x01)]).unwrap(), "Blosc2 feature a dictionary");
        assert_eq!(of(&[(BLOSC2_FLAGS_AT, 0x08)]).unwrap(), "Blosc2 feature a lazy chunk");
        let unset = of(&[(BLOSC2_FLAGS_AT, 0x40)]).unwrap();
        assert_eq!(unset, "Blosc2 special chunk of values that were never set");
        assert_eq!(of(&[(BLOSC2_FLAGS_AT, 0x70)]).unwrap(), "Blosc2 special chunk number 7");
    }

    #[test]
    fn what_is_stored_as_it_is_needs_no_codec() {
        assert_eq!(of(&[(FLAGS_AT, 0xd7), (FILTERS_AT, 3)]), None);
        assert_eq!(of(&[(FLAGS_AT, 0xd5), (FILTERS_AT, 3), (BLOSC2_FLAGS_AT, 0x30)]), None);
        assert_eq!(Feature::unread_of(&[5, 1, 0xd5]), None);
    }
}
