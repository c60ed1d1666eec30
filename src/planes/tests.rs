//! Blocks as a whole: what comes back, and what damage does.

use std::sync::Arc;

use proptest::prelude::*;

use super::block::{Scratch, decode_block, encode_block};
use super::coder::{Coder, Plane};
use super::heads::{Piece, Span};
use super::model::{Decoders, Learnt, Model, Reader, Stream};
use super::split::Elements;

const ALIGN: usize = 16;

#[derive(Debug, Clone)]
struct Record {
    bytes: Vec<u8>,
    spans: Vec<Span>,
}

/// The stored and the raw bytes of a block.
type Block = (Vec<u8>, Vec<u8>);

/// Encodes records, so many a block. Returns the model, and the blocks.
fn encode(records: &[Record], per_block: usize) -> (Vec<u8>, Vec<Block>) {
    let pieces: Vec<_> =
        records.iter().map(|record| Piece { bytes: &record.bytes, spans: &record.spans }).collect();
    let mut coder = Coder::default();
    coder.learn(&pieces, 0.02);
    let learnt = Learnt::new(&pieces, Arc::new(coder)).unwrap();
    let mut scratch = Scratch::default();
    let block = |first: usize| {
        let numbers = first..pieces.len().min(first + per_block);
        let mut raw = Vec::new();
        for piece in &pieces[numbers.clone()] {
            raw.resize(raw.len().next_multiple_of(ALIGN), 0);
            raw.extend_from_slice(piece.bytes);
        }
        // What is in `out` already stays.
        let mut stored = vec![7; 3];
        encode_block(&learnt, &pieces, numbers, &mut scratch, &mut stored);
        assert_eq!(stored[..3], [7; 3]);
        (stored.split_off(3), raw)
    };
    let blocks = (0..pieces.len()).step_by(per_block).map(block).collect();
    (learnt.model.encode(), blocks)
}

fn decode(reader: &Reader, stored: &[u8], len: usize) -> Option<Vec<u8>> {
    let mut out = vec![0xee; len];
    decode_block(reader, stored, ALIGN, &mut Scratch::default(), (len, 0..len), &mut out).ok()?;
    Some(out)
}

/// A record as a codec of molecules makes them: an offset that follows the number of atoms, a constant, a
/// tensor with two equal elements, and three arrays.
fn molecule(n_atoms: usize, seed: u64) -> Record {
    let mut state = seed | 1;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut bytes = Vec::new();
    bytes.extend((40 + 24 * n_atoms as u32).to_le_bytes());
    bytes.extend(b"made by a test  ");
    let element = random().to_le_bytes();
    bytes.extend([element, element].concat());
    bytes.extend((random() as u32).to_le_bytes());
    let mut spans = Vec::new();
    let mut add = |bytes: &mut Vec<u8>, field, elements, array: Vec<u8>| {
        let (start, len) = (bytes.len() as u32, array.len() as u32);
        bytes.extend(array);
        if len > 0 {
            spans.push(Span { field, elements, start, len });
        }
    };
    for field in [1, 3] {
        let floats = (0..3 * n_atoms).flat_map(|_| {
            let uniform = (random() >> 40) as f32 / 2_f32.powi(24) - 0.5;
            (10.0 * uniform * uniform * uniform).to_le_bytes()
        });
        let floats = floats.collect();
        add(&mut bytes, field, Elements::Float4, floats);
    }
    let numbers = (0..n_atoms).map(|_| [1, 1, 1, 6, 6, 8][(random() % 6) as usize]).collect();
    add(&mut bytes, 9, Elements::Bytes1, numbers);
    bytes.extend([1, 2, 3][..(random() % 2) as usize * 3].iter());
    Record { bytes, spans }
}

/// Any bytes with any spans.
fn anything() -> impl Strategy<Value = Record> {
    let part = (0..30_usize, 0..4_u8, 0..6_u8, 0..40_u32);
    let parts = prop::collection::vec(part, 0..6);
    (parts, prop::collection::vec(any::<u8>(), 1..3000), any::<bool>()).prop_map(
        |(parts, mut bytes, even)| {
            let mut spans = Vec::new();
            let mut at = 0_u32;
            for (gap, field, code, n) in parts {
                let elements = Elements::from_code(code).unwrap();
                let (start, len) = (at + gap as u32, n * elements.size() as u32);
                if len > 0 && (start + len) as usize <= bytes.len() {
                    spans.push(Span { field, elements, start, len });
                    at = start + len;
                }
            }
            if even {
                bytes.fill(0x11);
            }
            Record { bytes, spans }
        },
    )
}

fn records() -> impl Strategy<Value = Vec<Record>> {
    let molecule = (0..60_usize, any::<u64>()).prop_map(|(n_atoms, seed)| molecule(n_atoms, seed));
    prop_oneof![
        3 => prop::collection::vec(molecule.clone(), 1..60),
        1 => prop::collection::vec(prop_oneof![anything(), molecule], 1..20),
    ]
}

proptest! {
    #[test]
    fn records_come_back(
        records in records(),
        per_block in 1..5_usize,
        ends in any::<(prop::sample::Index, prop::sample::Index)>(),
    ) {
        let (model, blocks) = encode(&records, per_block);
        let reader = Reader::new(&model, &Decoders::default()).unwrap();
        prop_assert_eq!(reader.model.encode(), model);
        for (stored, raw) in blocks {
            let found = decode(&reader, &stored, raw.len());
            prop_assert_eq!(found.as_deref(), Some(&raw[..]));
            let (one, other) = (ends.0.index(raw.len() + 1), ends.1.index(raw.len() + 1));
            let wanted = one.min(other)..one.max(other);
            let mut part = vec![0xee; wanted.len()];
            let what = (raw.len(), wanted.clone());
            decode_block(&reader, &stored, ALIGN, &mut Scratch::default(), what, &mut part).unwrap();
            prop_assert_eq!(&part[..], &raw[wanted]);
        }
    }

    #[test]
    fn damage_is_an_error_or_other_bytes(
        records in records(),
        per_block in 1..3_usize,
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
        noise in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let (model, blocks) = encode(&records, per_block);
        let reader = Reader::new(&model, &Decoders::default()).unwrap();
        for (stored, raw) in blocks.iter().take(3) {
            for end in 0..stored.len() {
                prop_assert!(decode(&reader, &stored[..end], raw.len()).is_none());
            }
            for len in [0, 1, raw.len() - 1, raw.len() + 1, 2 * raw.len()] {
                let padded = (raw.len()..=raw.len().next_multiple_of(ALIGN)).contains(&len);
                prop_assert!(padded == decode(&reader, stored, len).is_some(), "{len}");
            }
            prop_assert!(decode(&reader, &[&stored[..], &[0]].concat(), raw.len()).is_none());
            for (place, byte) in &flips {
                let mut bad = stored.clone();
                let place = place.index(bad.len());
                bad[place] = *byte;
                drop(decode(&reader, &bad, raw.len()));
            }
            drop(decode(&reader, &noise, raw.len()));
        }
        let (stored, raw) = &blocks[0];
        for end in 0..model.len() {
            prop_assert!(Reader::new(&model[..end], &Decoders::default()).is_err());
        }
        for (place, byte) in flips {
            let mut bad = model.clone();
            let place = place.index(bad.len());
            bad[place] = byte;
            if let Ok(reader) = Reader::new(&bad, &Decoders::default()) {
                drop(decode(&reader, stored, raw.len()));
                drop(decode(&reader, &noise, raw.len()));
            }
        }
        drop(Model::decode(&noise));
    }
}

#[test]
fn heads_that_follow_the_number_of_atoms_take_no_room() {
    let records: Vec<_> = (1..200).map(|n_atoms| molecule(n_atoms, 99 + n_atoms as u64)).collect();
    let (_, blocks) = encode(&records, 1);
    for ((stored, _), record) in blocks.iter().zip(&records) {
        let arrays: u32 = record.spans.iter().map(|span| span.len).sum();
        // One element of the tensor and the number before the arrays, then the shape and the lengths of
        // streams.
        let most = arrays as usize + 8 + 4 + 3 + 3 * 4;
        assert!(stored.len() <= most, "{} bytes for {arrays} of arrays", stored.len());
    }
}

#[test]
fn a_byte_that_the_sample_did_not_have_comes_back() {
    // So many elements that only some records are looked at; one that is not has other bytes.
    let mut records: Vec<_> = (0..100).map(|seed| molecule(2000, seed)).collect();
    let last = records[97].spans[2];
    records[97].bytes[last.start as usize + 5] = 200;
    let (model, blocks) = encode(&records, 1);
    let reader = Reader::new(&model, &Decoders::default()).unwrap();
    for (stored, raw) in blocks {
        assert!(decode(&reader, &stored, raw.len()).is_some_and(|found| found == raw));
    }
}

#[test]
fn planes_of_one_byte_and_of_noise_come_back() {
    let array = |bytes: Vec<u8>| {
        let len = bytes.len() as u32;
        let spans = vec![Span { field: 0, elements: Elements::Bytes4, start: 0, len }];
        Record { bytes, spans }
    };
    let constant = array(vec![5; 4000]);
    let noise = array((0..4000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect());
    for (records, most) in
        [(vec![constant.clone(); 9], 20), (vec![noise.clone(); 9], 4020), (vec![constant, noise], 4020)]
    {
        let (model, blocks) = encode(&records, 1);
        let reader = Reader::new(&model, &Decoders::default()).unwrap();
        for (stored, raw) in blocks {
            assert_eq!(decode(&reader, &stored, raw.len()), Some(raw));
            assert!(stored.len() <= most, "{}", stored.len());
        }
    }
}

#[test]
fn arrays_that_repeat_themselves_take_little_room() {
    // Masses of many atoms of a few kinds, beside noise.
    let masses = (0..4000_usize).flat_map(|atom| [1.008_f32, 12.011, 15.999][atom % 7 % 3].to_le_bytes());
    let mut bytes: Vec<u8> = masses.collect();
    let len = bytes.len() as u32;
    bytes.extend((0..4000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8));
    let span = |field, elements, start, len| Span { field, elements, start, len };
    let spans = vec![span(6, Elements::Float4, 0, len), span(7, Elements::Bytes1, len, 4000)];
    let record = Record { bytes, spans };
    let (model, blocks) = encode(&vec![record; 3], 1);
    let reader = Reader::new(&model, &Decoders::default()).unwrap();
    for (stored, raw) in blocks {
        assert!(stored.len() < 4000 + 200, "{}", stored.len());
        assert!(decode(&reader, &stored, raw.len()).is_some_and(|found| found == raw));
    }
}

#[test]
fn the_tables_of_a_model_are_counted_where_they_are_built() {
    let mut model = Model::default();
    for field in 0..255_u8 {
        let plane = |place: u8| {
            // Two bytes with codes of one bit each.
            let mut lengths = Box::new([0; 256]);
            lengths[usize::from(field)] = 1;
            lengths[usize::from(field.wrapping_add(place + 1))] = 1;
            Plane::Huffman(lengths)
        };
        let planes = (0..8).map(plane).collect();
        model.streams.push(Stream { field, elements: Elements::Bytes8, planes });
    }
    let bytes = model.encode();
    let decoders = Decoders::default();
    let reader = Reader::new(&bytes, &decoders).unwrap();
    assert_eq!(reader.model, model);
    assert!((16 << 20..20 << 20).contains(&reader.size()), "{}", reader.size());
    // The tables of another model are shared, as far as they are kept.
    let small = Model { streams: model.streams.split_off(250), ..Model::default() };
    let reader = Reader::new(&small.encode(), &decoders).unwrap();
    assert!(reader.size() < 32 << 10, "{}", reader.size());
}

#[test]
fn a_template_cannot_ask_for_pieces_without_end() {
    let records: Vec<_> = (1..20).map(|n| molecule(n, 5)).collect();
    let (model, blocks) = encode(&records, 1);
    let reader = Reader::new(&model, &Decoders::default()).unwrap();
    // A piece of a template with n = 0, and with an n that leaves the block.
    for n in [&[0][..], &[0xff, 0xff, 0xff, 0xff, 0x0f], &[0xff; 6]] {
        let stored = [&[0], n, &blocks[0].0[2..]].concat();
        assert_eq!(decode(&reader, &stored, 1 << 16), None);
    }
}
