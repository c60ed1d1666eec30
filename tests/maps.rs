//! Maps of integers: their answers beside those of a plain map, reads counted, and every bit flipped.

#![cfg(feature = "maps")]

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Write;
use std::ops::Range;

use proptest::prelude::*;
use vldepot::ErrorKind;
use vldepot::maps::{ByteMap, IntMap, MapFormat, MapOptions, Packing, Slices, Window};

/// The packings that this build has.
fn packings() -> Vec<Packing> {
    let mut all = vec![Packing::None, Packing::Gzip, Packing::Zstd, Packing::Lzma];
    if cfg!(feature = "brotli") {
        all.push(Packing::Brotli);
    }
    all
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as the library takes them")]
fn bytes_of(pairs: &[(u64, &str)], options: &MapOptions) -> Vec<u8> {
    ByteMap::build(pairs.iter().copied(), options).unwrap()
}

/// Counts what is asked of it, and is not in memory.
struct Counting {
    bytes: Vec<u8>,
    asked: RefCell<Vec<Range<u64>>>,
}

impl Counting {
    fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, asked: RefCell::default() }
    }
}

impl Slices for Counting {
    fn slice(&self, range: Range<u64>) -> std::io::Result<Cow<'_, [u8]>> {
        self.asked.borrow_mut().push(range.clone());
        self.bytes.as_slice().slice(range)
    }
}

// P1: header once, index once, one slice a value.
#[test]
fn a_source_of_slices_is_asked_once_for_each_thing() {
    let pairs: Vec<_> = (0..1000u64).map(|key| (key * 7, key.to_string())).collect();
    for format in [MapFormat::Vldepot, MapFormat::Mapbuffer] {
        let bytes = ByteMap::build(pairs.clone(), &MapOptions::new().with_format(format)).unwrap();
        let map = ByteMap::open(Counting::new(bytes)).unwrap();
        assert_eq!(map.source().asked.borrow().len(), 2);
        for (at, (key, value)) in pairs.iter().enumerate() {
            assert_eq!(&*map.get(*key).unwrap(), value.as_bytes());
            assert_eq!(map.source().asked.borrow().len(), 3 + at);
            assert!(!map.contains(key + 1).unwrap());
        }
        assert_eq!(map.source().asked.borrow()[0], 0..32);
    }
    let map = IntMap::open(Counting::new(IntMap::build((0..1000).map(|key| (key, key))))).unwrap();
    assert!((0..1000).all(|key| map.get(key).unwrap() == key));
    map.validate().unwrap();
    assert_eq!(
        map.source().asked.borrow().len(),
        4,
        "validating reads the header again, and looks beyond the end"
    );
}

// P2, P3: each compression, the empty map, the smallest and the largest key.
#[test]
fn each_packing_gives_back_what_it_took() {
    let long = "abcdefgh".repeat(5000);
    let pairs = [(0, ""), (u64::MAX, "most"), (1 << 63, &long), (5, "five")];
    for packing in packings() {
        for format in [MapFormat::Vldepot, MapFormat::Mapbuffer] {
            for checksums in [true, false] {
                let options =
                    MapOptions::new().with_packing(packing).with_format(format).with_checksums(checksums);
                let bytes = bytes_of(&pairs, &options);
                let map = ByteMap::open(&bytes).unwrap();
                assert_eq!((map.len(), map.packing(), map.format()), (4, packing, format));
                assert_eq!(map.has_checksums(), checksums);
                map.validate().unwrap();
                for (key, value) in pairs {
                    assert_eq!(&*map.get(key).unwrap(), value.as_bytes(), "{packing} {format:?} {key}");
                }
                assert_eq!(map.keys().collect::<Result<Vec<_>, _>>().unwrap(), [0, 5, 1 << 63, u64::MAX]);
                assert!(matches!(map.get(6).unwrap_err().kind(), ErrorKind::NotFound));
                let empty = bytes_of(&[], &options);
                let map = ByteMap::open(&empty).unwrap();
                map.validate().unwrap();
                assert_eq!((map.len(), map.find(0).unwrap(), map.packing()), (0, None, packing));
            }
        }
    }
}

#[test]
fn tiny_values_stay_readable_in_the_bytes() {
    for packing in packings().into_iter().filter(|packing| *packing != Packing::Lzma) {
        let bytes = bytes_of(&[(1, "hello"), (2, "world")], &MapOptions::new().with_packing(packing));
        assert!(bytes.windows(5).any(|part| part == b"hello"), "{packing}");
    }
}

// mapbuffer decompresses a frame of zstd only if it says how long its content is.
#[test]
fn frames_of_zstd_say_how_long_they_are() {
    for len in [0, 5, 300, 1_000_000] {
        let value = "a".repeat(len);
        let bytes = bytes_of(&[(1, &value)], &MapOptions::new().with_packing(Packing::Zstd));
        let at = bytes.windows(4).position(|part| part == [0x28, 0xb5, 0x2f, 0xfd]).unwrap();
        // The field is there if it has a size, or if the frame is one segment: RFC 8878, 3.1.1.1.1.
        assert!(bytes[at + 4] & 0b1110_0000 != 0, "{len}");
        assert_eq!(&*ByteMap::open(&bytes).unwrap().get(1).unwrap(), value.as_bytes());
    }
}

#[cfg(not(feature = "brotli"))]
#[test]
fn brotli_is_refused_by_name() {
    let options = MapOptions::new().with_packing(Packing::Brotli);
    let error = ByteMap::build([(17, "a")], &options).unwrap_err();
    assert!(error.is_unsupported() && !error.is_damage(), "{error}");
    assert!(error.to_string().contains("record 17") && error.to_string().contains("brotli"), "{error}");
}

// P4: equal to a plain map, for hits and misses.
proptest! {
    #[test]
    fn answers_are_those_of_a_plain_map(
        pairs in prop::collection::vec((prop_oneof![0u64..3000, any::<u64>(), Just(0), Just(u64::MAX)], any::<u64>()), 0..1500),
        misses in prop::collection::vec(prop_oneof![0u64..3000, any::<u64>()], 0..100),
    ) {
        let plain: BTreeMap<_, _> = pairs.iter().copied().collect();
        for bytes in [IntMap::build(pairs.clone()), IntMap::build_mapbuffer(pairs.clone()).unwrap()] {
            let map = IntMap::open(&bytes).unwrap();
            prop_assert_eq!(map.len(), plain.len());
            for key in plain.keys().chain(&misses) {
                prop_assert_eq!(map.find(*key).unwrap(), plain.get(key).copied());
            }
            let all: BTreeMap<_, _> = map.iter().collect::<Result<_, _>>().unwrap();
            prop_assert!(map.iter().map(|pair| pair.unwrap().0).is_sorted());
            prop_assert_eq!(&all, &plain);
            map.validate().unwrap();
        }
    }

    #[test]
    fn values_are_those_of_a_plain_map(
        pairs in prop::collection::vec((prop_oneof![0u64..400, any::<u64>()], prop::collection::vec(any::<u8>(), 0..40)), 0..300),
        which in 0..5usize, is_own in any::<bool>(),
    ) {
        let plain: BTreeMap<_, _> = pairs.iter().cloned().collect();
        let packing = packings()[which % packings().len()];
        let format = if is_own { MapFormat::Vldepot } else { MapFormat::Mapbuffer };
        let options = MapOptions::new().with_packing(packing).with_format(format);
        let bytes = ByteMap::build(pairs, &options).unwrap();
        let map = ByteMap::open(&bytes).unwrap();
        for key in plain.keys().copied().chain(0..400) {
            let found = map.find(key).unwrap();
            prop_assert_eq!(found.as_deref(), plain.get(&key).map(Vec::as_slice));
        }
        let all: BTreeMap<_, _> = map.iter().map(|pair| pair.map(|(key, value)| (key, value.into_owned()))).collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(all, plain);
        map.validate().unwrap();
    }

    #[test]
    fn strange_bytes_are_errors(start in 0..6usize, rest in prop::collection::vec(any::<u8>(), 0..300)) {
        let starts: [&[u8]; 6] = [b"", b"vldbmap\x01", b"vldimap\x01", b"mapbufr\x01none", b"mapbufr\x00gzip", b"intm\x00\x03"];
        let bytes = [starts[start], &rest].concat();
        if let Ok(map) = ByteMap::open(&bytes) {
            let _ = map.validate();
            let _ = map.iter().count();
            let _ = map.transcode(&MapOptions::new());
        }
        if let Ok(map) = IntMap::open(Counting::new(bytes)) {
            let _ = map.validate();
            let _ = map.iter().count();
        }
    }
}

#[test]
fn many_random_hits_and_misses() {
    let pairs: Vec<_> = (0..100_000u64).map(|at| (at.wrapping_mul(0x9E37_79B9_7F4A_7C15), at)).collect();
    let plain: BTreeMap<_, _> = pairs.iter().copied().collect();
    let bytes = IntMap::build(pairs);
    let map = IntMap::open(&bytes).unwrap();
    for at in 0..100_000u64 {
        for key in [at.wrapping_mul(0x9E37_79B9_7F4A_7C15), at.wrapping_mul(0xD1B5_4A32_D192_ED03)] {
            assert_eq!(map.find(key).unwrap(), plain.get(&key).copied());
        }
    }
}

// P6: every flip of every bit, and every truncation.
#[test]
fn every_flipped_bit_is_found() {
    let pairs = [(0, "zero"), (1, ""), (2, "two"), (300, "three hundred"), (u64::MAX, "most")];
    let ints = IntMap::build((0..300).map(|key| (key, key * 3)));
    let found = |bytes: &[u8]| IntMap::open(bytes).and_then(|map| map.validate());
    flip_and_cut(&ints, found);
    let counted = |bytes: &[u8]| IntMap::open(Counting::new(bytes.to_vec())).and_then(|map| map.validate());
    flip_and_cut(&IntMap::build([(1, 2), (3, 4)]), counted);
    for packing in packings() {
        let bytes = bytes_of(&pairs, &MapOptions::new().with_packing(packing));
        flip_and_cut(&bytes, |bytes| ByteMap::open(bytes).and_then(|map| map.validate()));
        flip_and_cut(&bytes, |bytes| {
            ByteMap::open(Counting::new(bytes.to_vec())).and_then(|map| map.validate())
        });
    }
}

fn flip_and_cut(bytes: &[u8], check: impl Fn(&[u8]) -> vldepot::Result<()>) {
    check(bytes).unwrap();
    let mut changed = bytes.to_vec();
    for bit in 0..bytes.len() * 8 {
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(check(&changed).is_err(), "bit {bit}");
        changed[bit / 8] ^= 1 << (bit % 8);
    }
    for len in 0..bytes.len() {
        assert!(check(&bytes[..len]).is_err(), "cut to {len}");
    }
    let longer = [bytes, &[0]].concat();
    assert!(check(&longer).is_err(), "a byte too many");
}

#[test]
fn a_cut_map_of_mapbuffer_is_an_error() {
    let pairs = [(1, "one"), (2, "two"), (3, "three")];
    let bytes = bytes_of(&pairs, &MapOptions::new().with_format(MapFormat::Mapbuffer));
    for len in 0..bytes.len() {
        assert!(ByteMap::open(&bytes[..len]).and_then(|map| map.validate()).is_err(), "cut to {len}");
    }
    for at in [0, 7, 8, 12, 24, 32, bytes.len() - 1] {
        let mut changed = bytes.clone();
        changed[at] ^= 0x40;
        assert!(ByteMap::open(&changed).and_then(|map| map.validate()).is_err(), "byte {at}");
    }
}

// P5: the error names the key; checks can be left out on both sides.
#[test]
fn a_damaged_value_is_named_by_its_key() {
    for format in [MapFormat::Vldepot, MapFormat::Mapbuffer] {
        let mut bytes = bytes_of(&[(1, "hello"), (77, "world")], &MapOptions::new().with_format(format));
        let at = bytes.windows(5).position(|part| part == b"world").unwrap();
        bytes[at] = b'W';
        let map = ByteMap::open(&bytes).unwrap();
        assert_eq!(&*map.get(1).unwrap(), b"hello");
        let error = map.get(77).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Checksum { .. }) && error.is_damage());
        assert!(error.to_string().starts_with("record 77: "), "{error}");
        assert_eq!(&*map.with_checks(false).get(77).unwrap(), b"World");
    }
}

#[test]
fn a_flipped_key_is_an_error_and_no_miss() {
    let mut bytes = IntMap::build((0..1000).map(|key| (key, key)));
    let map = IntMap::open(&bytes).unwrap();
    assert_eq!(map.get(500).unwrap(), 500);
    bytes[32 + 16 * 300] ^= 1;
    let map = IntMap::open(&bytes).unwrap();
    assert!((0..1000).any(|key| map.get(key).is_err_and(|error| error.is_damage())));
    assert!(
        (0..1000)
            .all(|key| map.get(key).is_ok_and(|value| value == key) || map.get(key).unwrap_err().is_damage())
    );
}

// P7, P8: set in place, with the checksum.
#[test]
fn values_are_set_in_place() {
    let mut bytes = IntMap::build((0..1000).map(|key| (key, 0)));
    let len = bytes.len();
    assert_eq!(len, 32 + 16 * 1000 + 4 * 4);
    let mut map = IntMap::open(&mut bytes).unwrap();
    for key in (0..1000).rev() {
        map.set(key, key * key).unwrap();
    }
    map.validate().unwrap();
    assert!(matches!(map.set(1000, 1).unwrap_err().kind(), ErrorKind::NotFound));
    let map = IntMap::open(&bytes).unwrap();
    map.validate().unwrap();
    assert!((0..1000).all(|key| map.get(key).unwrap() == key * key));

    for format in [MapFormat::Vldepot, MapFormat::Mapbuffer] {
        let mut bytes = bytes_of(&[(1, "hello"), (2, "world")], &MapOptions::new().with_format(format));
        let mut map = ByteMap::open(&mut bytes).unwrap();
        map.set(1, b"abcde").unwrap();
        let error = map.set(2, b"abcdef").unwrap_err();
        assert!(error.to_string().contains("expected 5, found 6"), "{error}");
        assert!(matches!(map.set(9, b"12345").unwrap_err().kind(), ErrorKind::NotFound));
        map.validate().unwrap();
        assert_eq!((&*map.get(1).unwrap(), &*map.get(2).unwrap()), (&b"abcde"[..], &b"world"[..]));
    }
}

#[test]
fn a_source_of_slices_is_set_through_a_call() {
    let mut bytes = IntMap::build((0..600).map(|key| (key, 0)));
    let mut map = IntMap::open(Counting::new(bytes.clone())).unwrap();
    let write = |at: u64, new: &[u8]| {
        let at = usize::try_from(at).unwrap();
        bytes[at..at + new.len()].copy_from_slice(new);
        Ok(())
    };
    map.set_by(599, 7, write).unwrap();
    assert_eq!(map.get(599).unwrap(), 7);
    let map = IntMap::open(&bytes).unwrap();
    map.validate().unwrap();
    assert_eq!((map.get(599).unwrap(), map.get(598).unwrap()), (7, 0));
}

#[test]
fn a_damaged_page_is_not_blessed_by_setting() {
    let mut bytes = IntMap::build((0..100).map(|key| (key, key)));
    bytes[32 + 16 * 50 + 8] ^= 1;
    let mut map = IntMap::open(&mut bytes).unwrap().with_checks(false);
    assert!(map.set(3, 4).unwrap_err().is_damage());
    assert!(map.validate().is_err());
}

// P9: inside another file, and in a file.
#[test]
fn a_map_lies_inside_another_file() {
    let map = bytes_of(&[(1, "one"), (2, "two")], &MapOptions::new());
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&[b"before", &map[..], b"after"].concat()).unwrap();
    let range = 6..6 + map.len() as u64;
    let inside = ByteMap::open(Window::new(&file, range.clone())).unwrap();
    inside.validate().unwrap();
    assert_eq!(&*inside.get(2).unwrap(), b"two");
    assert!(ByteMap::open(&file).is_err());
    let error = ByteMap::open(Window::new(&file, 6..range.end + 1)).and_then(|map| map.validate());
    assert!(error.is_err(), "a byte too many");
    let ends = ByteMap::open(Window::new(&file, u64::MAX - 1..u64::MAX));
    assert!(ends.is_err());
}

// P10: values that match are taken over as they are.
#[test]
fn transcoding_keeps_values() {
    let pairs: Vec<_> = (0..50_usize).map(|key| ((key as u64) << 58, "value".repeat(key))).collect();
    let plain = ByteMap::build(pairs.clone(), &MapOptions::new()).unwrap();
    for from in packings() {
        let options = MapOptions::new().with_packing(from);
        let source = ByteMap::open(&plain).unwrap().transcode(&options).unwrap();
        assert_eq!(source, ByteMap::build(pairs.clone(), &options).unwrap());
        let map = ByteMap::open(&source).unwrap();
        assert_eq!(map.transcode(&options).unwrap(), source, "{from}: nothing to do");
        for to in packings() {
            let options = MapOptions::new().with_packing(to).with_format(MapFormat::Mapbuffer);
            let other = map.transcode(&options).unwrap();
            let other = ByteMap::open(&other).unwrap();
            other.validate().unwrap();
            assert!(pairs.iter().all(|(key, value)| &*other.get(*key).unwrap() == value.as_bytes()));
        }
    }
    // A value that no decoder would read is taken over too, because nothing has to read it.
    let options = MapOptions::new().with_format(MapFormat::Mapbuffer).with_checksums(false);
    let mut odd = ByteMap::build([(1, "not gzip")], &options).unwrap();
    odd[8..12].copy_from_slice(b"gzip");
    let map = ByteMap::open(&odd).unwrap();
    let gzip = MapOptions::new().with_packing(Packing::Gzip);
    assert!(map.transcode(&gzip).unwrap().windows(8).any(|part| part == b"not gzip"));
    let error = map.transcode(&MapOptions::new()).unwrap_err();
    assert!(error.is_damage() && error.to_string().starts_with("record 1: "), "{error}");
}

#[test]
fn a_value_that_grows_beyond_the_limit_is_refused() {
    for packing in packings().into_iter().filter(|packing| *packing != Packing::None) {
        let bytes = bytes_of(&[(4, &"a".repeat(100_000))], &MapOptions::new().with_packing(packing));
        let map = ByteMap::open(&bytes).unwrap().with_max_value(99_999);
        let error = map.get(4).unwrap_err();
        assert!(!error.is_damage() && error.to_string().contains("99999"), "{error}");
        assert_eq!(map.with_max_value(100_000).get(4).unwrap().len(), 100_000);
    }
}

#[test]
fn other_files_are_named_and_hostile_counts_take_no_memory() {
    let error = ByteMap::open(&b"PK\x03\x04 and so on"[..]).unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::NotADepot { .. }) && error.to_string().contains("PK"),
        "{error}"
    );
    let ints = IntMap::build([(1, 1)]);
    assert!(ByteMap::open(&ints).unwrap_err().to_string().contains("a map to integers"));
    assert!(ByteMap::open(&b""[..]).is_err() && IntMap::open(&b"intm"[..]).is_err());
    for count in [u64::MAX, 1 << 60, 1 << 40, 1 << 30] {
        let mut bytes = ints.clone();
        bytes[8..16].copy_from_slice(&count.to_le_bytes());
        let total =
            32u64.wrapping_add(count.wrapping_mul(16)).wrapping_add(count.div_ceil(256).wrapping_mul(4));
        bytes[16..24].copy_from_slice(&total.to_le_bytes());
        let sum = crc32c(&bytes[..28]);
        bytes[28..32].copy_from_slice(&sum.to_le_bytes());
        assert!(IntMap::open(&bytes).is_err() && IntMap::open(Counting::new(bytes)).is_err());
    }
    let hostile = [&b"mapbufr\x01none"[..], &u32::MAX.to_le_bytes(), &[0; 100]].concat();
    assert!(ByteMap::open(Counting::new(hostile)).is_err());
    let later = [&b"mapbufr\x02none"[..], &[0; 4]].concat();
    assert!(ByteMap::open(&later).unwrap_err().is_unsupported());
    let other = [&b"mapbufr\x01lz4x"[..], &[0; 4]].concat();
    assert!(ByteMap::open(&other).unwrap_err().is_unsupported());
}

/// The checksum bit by bit, so that the tests do not share the library's.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| sum >> 1 ^ if sum & 1 == 1 { 0x82F6_3B78 } else { 0 })
    })
}

// The bytes themselves, written down once.
#[test]
fn the_format_is_as_it_was() {
    let ints = IntMap::build([(1, 10), (2, 20), (3, 30)]);
    let mut expected = b"vldimap\x01".to_vec();
    expected.extend([3u64, 84].iter().flat_map(|n| n.to_le_bytes()));
    expected.extend([0; 4]);
    expected.extend(crc32c(&expected).to_le_bytes());
    expected.extend([2u64, 20, 1, 10, 3, 30].iter().flat_map(|n| n.to_le_bytes()));
    expected.extend(crc32c(&expected[32..]).to_le_bytes());
    assert_eq!(ints, expected);

    let mapbuffer = bytes_of(&[(1, "a"), (2, "bc")], &MapOptions::new().with_format(MapFormat::Mapbuffer));
    let mut expected = b"mapbufr\x01none\x02\0\0\0".to_vec();
    expected.extend([2u64, 48, 1, 54].iter().flat_map(|n| n.to_le_bytes()));
    for value in [&b"bc"[..], b"a"] {
        expected.extend(value);
        expected.extend(crc32c(value).to_le_bytes());
    }
    assert_eq!(mapbuffer, expected);
}
