//! Models and blocks of records with their fields apart.

use std::sync::Arc;

use crate::planes::{
    Coder, Decoders, Elements, Learnt, Model, Piece, Reader, Scratch, Span, decode_block, encode_block,
    spans_of_block,
};

const ENCODE: u8 = 0x80;

/// Decodes a block by a model, or encodes records and decodes them again.
///
/// The first byte has the logarithm of the alignment, and 128 if records are to be encoded: see
/// `encoded`. Otherwise, two bytes are the length of the model, two that of the raw block, and model and
/// block follow.
///
/// # Panics
/// When there is something to fix.
pub fn fields_apart(input: &[u8]) {
    let Some((&first, rest)) = input.split_first() else { return };
    let align = 1 << (first % 7);
    if first & ENCODE != 0 {
        encoded(rest, align);
        return;
    }
    let &[_, m0, m1, n0, n1, ref rest @ ..] = input else { return };
    let (n_model, n_raw) = (u16::from_le_bytes([m0, m1]), u16::from_le_bytes([n0, n1]));
    let (model, block) = rest.split_at(rest.len().min(n_model.into()));
    let Ok(reader) = Reader::new(model, &Decoders::default()) else { return };
    assert_eq!(Model::decode(&reader.model.encode()), Ok(reader.model.clone()), "a model written anew");
    assert!(reader.size() <= 256 * model.len() + (1 << 12), "a reader of {} bytes", reader.size());
    decoded(&reader, block, align, n_raw.into());
}

/// Decodes a block in several ways, which must agree.
fn decoded(reader: &Reader, block: &[u8], align: usize, n_raw: usize) -> Option<Vec<u8>> {
    let mut scratch = Scratch::default();
    let (mut one, mut other) = (vec![0xee; n_raw], vec![0x11; n_raw]);
    let all = || (n_raw, 0..n_raw);
    let done = decode_block(reader, block, align, &mut scratch, all(), &mut one);
    // With what the first run left behind.
    assert_eq!(decode_block(reader, block, align, &mut scratch, all(), &mut other), done);
    let spans = spans_of_block(reader, block, align, &mut scratch, n_raw);
    done.ok()?;
    assert!(one == other, "bytes that were not written");
    // A part of it, which is found in the block's own bytes.
    let place = |at: usize| block.get(at).map_or(0, |&byte| usize::from(byte) * n_raw / 255);
    let wanted = place(0).min(place(1))..place(0).max(place(1));
    let part = &mut other[..wanted.len()];
    decode_block(reader, block, align, &mut scratch, (n_raw, wanted.clone()), part)
        .expect("a part of the block");
    assert!(one[wanted] == *part, "another part");
    let mut at = 0;
    for span in spans.expect("the spans of a block that is decoded") {
        assert!(span.start as usize >= at && span.len > 0, "spans in order");
        at = span.start as usize + span.len as usize;
    }
    assert!(at <= n_raw, "spans inside");
    Some(one)
}

/// Encodes records that the input describes, two a block, and decodes them.
///
/// Each record begins with its length (two bytes), a byte for the number of its spans, and for each
/// span two bytes: a gap, with the kind of elements in the upper bits, and a number of elements, with the
/// field in the lowest two bits. Its bytes follow; if there are fewer, they are repeated.
fn encoded(mut input: &[u8], align: usize) {
    let mut take = |n: usize| {
        let (taken, rest) = input.split_at(n.min(input.len()));
        input = rest;
        taken
    };
    let short = |n: usize| u32::try_from(n).expect("a short record");
    let mut records: Vec<(Vec<u8>, Vec<Span>)> = Vec::new();
    while let &[low, high, n_spans] = take(3) {
        let len = usize::from(u16::from_le_bytes([low, high])) % 5000 + 1;
        let (mut spans, mut at) = (Vec::new(), 0_usize);
        for pair in take(2 * usize::from(n_spans % 80)).as_chunks::<2>().0 {
            let elements = Elements::from_code(pair[0] >> 5).unwrap_or(Elements::Float4);
            at += usize::from(pair[0] & 31);
            let n = usize::from(pair[1] >> 2) * elements.size();
            if n > 0 && at + n <= len {
                let (start, len) = (short(at), short(n));
                spans.push(Span { field: pair[1] & 3, elements, start, len });
                at += n;
            }
        }
        let bytes = take(len);
        let bytes = if bytes.is_empty() { &[7] } else { bytes };
        records.push((bytes.iter().copied().cycle().take(len).collect(), spans));
        if records.len() == 40 {
            break;
        }
    }
    let pieces: Vec<_> = records.iter().map(|(bytes, spans)| Piece { bytes, spans }).collect();
    let mut coder = Coder::default();
    // As a writer does, it learns from some records, and stores others by that.
    let (early, late) = pieces.split_at(pieces.len() / 2);
    for some in [early, late] {
        coder.learn(some, 0.05);
    }
    let Some(learnt) = Learnt::new(&pieces, Arc::new(coder)) else { return };
    let model = learnt.model.encode();
    let reader = Reader::new(&model, &Decoders::default()).expect("a model that was written");
    assert_eq!(reader.model.encode(), model);
    let mut scratch = Scratch::default();
    for first in (0..pieces.len()).step_by(2) {
        let numbers = first..pieces.len().min(first + 2);
        let mut raw = Vec::new();
        for piece in &pieces[numbers.clone()] {
            raw.resize(raw.len().next_multiple_of(align), 0);
            raw.extend_from_slice(piece.bytes);
        }
        let mut stored = Vec::new();
        encode_block(&learnt, &pieces, numbers, &mut scratch, &mut stored);
        assert!(decoded(&reader, &stored, align, raw.len()).as_ref() == Some(&raw), "other bytes");
    }
}
