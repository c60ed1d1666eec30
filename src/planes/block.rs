//! Blocks: whole records, or a part of a long one.
//!
//! A block's stored bytes are
//!
//! 1. for each piece: the number of its template, and its `n`; or 255, and its spans and gaps;
//! 2. for each plane that the model does not store as it is, of each stream that the block has: 0 if the
//!    block stores it as it is, otherwise 1 + the bytes of its codes;
//! 3. the codes of planes, stream by stream;
//! 4. what the templates store of each head, or all of it;
//! 5. the planes that are stored as they are, stream by stream.
//!
//! Numbers are [varints](super::varint).

use std::ops::Range;

use super::Broken;
use super::coder::{LEVEL, Plane};
use super::heads::{Piece, Span};
use super::huffman::Decoder;
use super::model::{Learnt, Reader};
use super::split::{join, split};
use super::varint::{Input, push};
use crate::zstd::Whole;

/// The mark of a piece without a template.
const ALONE: u8 = 255;
/// The most spans of a piece without a template.
pub(crate) const MAX_SPANS: usize = 4096;
/// The most pieces of a block, and the most spans of all of them.
pub(crate) const MAX_IN_BLOCK: usize = 1 << 16;
/// With more spans than this, they are sorted by their streams before they are joined.
const MANY_SPANS: usize = 256;

/// Appends a block with the pieces of these numbers, which the model was made from.
pub(crate) fn encode_block(
    learnt: &Learnt,
    pieces: &[Piece<'_>],
    numbers: Range<usize>,
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) {
    let Scratch { counts, cells, planes, coded, heads, plain, zstd, .. } = scratch;
    let pieces = &pieces[numbers.clone()];
    let shapes = &learnt.shapes[numbers];
    counts.clear();
    counts.resize(learnt.model.streams.len(), 0);
    heads.clear();
    for (piece, shape) in pieces.iter().zip(shapes) {
        for span in piece.spans {
            let stream = learnt.stream(span.field, span.elements);
            counts[usize::from(stream)] += span.len as usize / span.elements.size();
        }
        if let Some((template, n)) = *shape {
            out.push(template);
            push(n, out);
            learnt.model.templates[usize::from(template)].encode(piece.bytes, n, cells, heads);
            continue;
        }
        out.push(ALONE);
        push(piece.spans.len() as u32, out);
        let mut at = 0;
        for span in piece.spans {
            out.push(learnt.stream(span.field, span.elements));
            push(span.start - at, out);
            push(span.len, out);
            heads.extend_from_slice(&piece.bytes[at as usize..span.start as usize]);
            at = span.start + span.len;
        }
        push(piece.bytes.len() as u32 - at, out);
        heads.extend_from_slice(&piece.bytes[at as usize..]);
    }
    coded.clear();
    plain.clear();
    for (number, stream) in learnt.model.streams.iter().enumerate() {
        let (n, size) = (counts[number], stream.elements.size());
        if n == 0 {
            continue;
        }
        planes.resize(n * size, 0);
        let mut at = 0;
        for span in pieces.iter().flat_map(|piece| piece.spans.iter().map(move |s| (piece, s))) {
            let (piece, span) = span;
            if usize::from(learnt.stream(span.field, span.elements)) == number {
                split(span.of(piece.bytes), stream.elements, planes, n, at);
                at += span.len as usize / size;
            }
        }
        for (place, (bytes, plane)) in planes.chunks_exact(n).zip(&stream.planes).enumerate() {
            let start = coded.len();
            let good = match (plane, learnt.encoder(number, place)) {
                (Plane::Stored, _) => {
                    plain.extend_from_slice(bytes);
                    continue;
                }
                (Plane::Constant(byte), _) => bytes.iter().all(|other| other == byte),
                (Plane::Huffman(_), Some(encoder)) => encoder.encode(bytes, coded),
                (Plane::Huffman(_), None) => false,
                (Plane::Zstd, _) => zstd.compress(bytes, LEVEL, coded),
            };
            if good && coded.len() - start < n {
                push((coded.len() - start) as u32 + 1, out);
            } else {
                coded.truncate(start);
                plain.extend_from_slice(bytes);
                push(0, out);
            }
        }
    }
    out.extend_from_slice(coded);
    out.extend_from_slice(heads);
    out.extend_from_slice(plain);
}

/// Memory that encoders and decoders use again.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    counts: Vec<usize>,
    cells: Vec<u32>,
    planes: Vec<u8>,
    coded: Vec<u8>,
    plain: Vec<u8>,
    heads: Vec<u8>,
    pieces: Vec<Found>,
    spans: Vec<(u8, usize, usize)>,
    gaps: Vec<(usize, usize)>,
    lengths: Vec<usize>,
    zstd: Whole,
    /// A part of a piece.
    piece: Vec<u8>,
}

/// A piece of a block that is being decoded.
#[derive(Debug, Clone, Copy)]
struct Found {
    template: u8,
    n: u32,
    start: usize,
    len: usize,
    /// The first of its gaps, and how many it has, if it has no template.
    gaps: (usize, usize),
}

const LONG: Broken = Broken("a block has more bytes than its place");

/// Reads what the pieces of a block of `len` raw bytes are: see [`decode_block`].
fn read_shapes(
    reader: &Reader,
    input: &mut Input<'_>,
    align: usize,
    scratch: &mut Scratch,
    len: usize,
) -> Result<(), Broken> {
    let Scratch { counts, pieces, spans, gaps, .. } = scratch;
    let streams = &reader.model.streams;
    pieces.clear();
    spans.clear();
    gaps.clear();
    counts.clear();
    counts.resize(streams.len(), 0);
    let mut at = 0_usize;
    loop {
        let start = at.next_multiple_of(align);
        if start >= len {
            return Ok(());
        }
        if pieces.len() >= MAX_IN_BLOCK {
            return Err(Broken("a block has too many pieces"));
        }
        let template = input.byte()?;
        let room = len - start;
        let first_gap = gaps.len();
        let first_span = spans.len();
        let mut n = 0;
        let piece_len = if template == ALONE {
            let n_spans = input.length()?;
            if n_spans > MAX_SPANS {
                return Err(Broken("a piece has too many spans"));
            }
            let mut end = 0_usize;
            for _ in 0..n_spans {
                let (stream, gap, len) = (input.byte()?, input.length()?, input.length()?);
                if gap > room - end || len > room - end - gap || len == 0 {
                    return Err(LONG);
                }
                gaps.push((start + end, gap));
                spans.push((stream, start + end + gap, len));
                end += gap + len;
            }
            let gap = input.length()?;
            if gap > room - end {
                return Err(LONG);
            }
            gaps.push((start + end, gap));
            end + gap
        } else {
            n = input.number()?;
            let template = reader.model.templates.get(usize::from(template));
            let template = template.ok_or(Broken("a piece has a template that is not there"))?;
            template.frame.walk(n, |_, _| (), |stream, at, len| spans.push((stream, start + at, len)))?
        };
        if piece_len == 0 || piece_len > room {
            return Err(LONG);
        }
        if spans.len() > MAX_IN_BLOCK {
            return Err(Broken("a block has too many spans"));
        }
        for &(stream, _, len) in &spans[first_span..] {
            let size = streams.get(usize::from(stream)).map(|stream| stream.elements.size());
            let size = size.ok_or(Broken("a piece has a stream that is not there"))?;
            if len % size != 0 {
                return Err(Broken("a span does not have whole elements"));
            }
            counts[usize::from(stream)] += len / size;
        }
        pieces.push(Found { template, n, start, len: piece_len, gaps: (first_gap, gaps.len()) });
        at = start + piece_len;
    }
}

/// The spans of all pieces of a block of `len` raw bytes: bytes from its start.
pub(crate) fn spans_of_block(
    reader: &Reader,
    stored: &[u8],
    align: usize,
    scratch: &mut Scratch,
    len: usize,
) -> Result<Vec<Span>, Broken> {
    read_shapes(reader, &mut Input(stored), align, scratch, len)?;
    let span = |&(stream, start, len): &(u8, usize, usize)| {
        let stream = reader.model.streams.get(usize::from(stream))?;
        let (start, len) = (u32::try_from(start).ok()?, u32::try_from(len).ok()?);
        Some(Span { field: stream.field, elements: stream.elements, start, len })
    };
    Ok(scratch.spans.iter().filter_map(span).collect())
}

/// Fills `out` with the raw bytes `wanted` of a block of `len` raw bytes. Fields without any of them are not
/// decoded.
///
/// Pieces start at multiples of `align` from the block's start. After the last one, there may be zeros up to
/// such a multiple.
pub(crate) fn decode_block(
    reader: &Reader,
    stored: &[u8],
    align: usize,
    scratch: &mut Scratch,
    (len, wanted): (usize, Range<usize>),
    out: &mut [u8],
) -> Result<(), Broken> {
    let mut input = Input(stored);
    read_shapes(reader, &mut input, align, scratch, len)?;
    let Scratch { counts, pieces, lengths, .. } = scratch;
    let streams = &reader.model.streams;
    let whole = wanted == (0..len);
    lengths.clear();
    let mut at = 0;
    for piece in &*pieces {
        fill_zeros(at..piece.start, &wanted, out);
        at = piece.start + piece.len;
    }
    fill_zeros(at..len, &wanted, out);
    for (stream, _) in streams.iter().zip(&*counts).filter(|(_, n)| **n > 0) {
        for plane in &stream.planes {
            if !matches!(plane, Plane::Stored) {
                lengths.push(input.length()?);
            }
        }
    }
    let coded: usize =
        lengths.iter().map(|length| length.saturating_sub(1)).try_fold(0, usize::checked_add).ok_or(LONG)?;
    let codes = input.0;
    let mut codes_at = 0;
    input.take(coded)?;
    decode_heads(reader, scratch, &mut input, &wanted, whole, out)?;
    let Scratch { counts, planes: buffer, spans, lengths, zstd, piece: edge, .. } = scratch;
    let sorted = spans.len() > MANY_SPANS;
    if sorted {
        spans.sort_by_key(|span| span.0);
    }
    let mut lengths = lengths.iter();
    let mut spans = &spans[..];
    for (number, stream) in streams.iter().enumerate() {
        let n = counts[number];
        if n == 0 {
            continue;
        }
        let size = stream.elements.size();
        let is_of_stream = |span: &&(u8, usize, usize)| usize::from(span.0) == number;
        let (of_stream, others) = if sorted {
            spans.split_at(spans.partition_point(|span| is_of_stream(&span)))
        } else {
            (spans, spans)
        };
        spans = others;
        let skipped = !whole
            && of_stream
                .iter()
                .filter(is_of_stream)
                .all(|&(_, start, len)| overlap(&(start..start + len), &wanted).is_empty());
        if buffer.len() < n * size {
            buffer.resize(n * size, 0);
        }
        let mut planes = [&[][..]; 8];
        let mut rooms = buffer.chunks_exact_mut(n);
        for ((to, plane), decoder) in planes.iter_mut().zip(&stream.planes).zip(&reader.decoders[number]) {
            let code = match plane {
                Plane::Stored => 0,
                _ => lengths.next().copied().unwrap_or_default(),
            };
            let Some(len) = code.checked_sub(1) else {
                *to = input.take(n)?;
                continue;
            };
            let Some(bytes) = rooms.next() else { continue };
            if !skipped {
                decode_plane((plane, decoder.as_deref()), codes, (codes_at, len), zstd, bytes)?;
            }
            *to = bytes;
            codes_at += len;
        }
        if skipped {
            continue;
        }
        for &(_, start, len) in of_stream.iter().filter(is_of_stream) {
            let span = start..start + len;
            let part = overlap(&span, &wanted);
            if part == span {
                let place = start - wanted.start..start - wanted.start + len;
                join(&planes, stream.elements, &mut out[place])?;
            } else if !part.is_empty() {
                // Elements that begin or end outside are made by themselves.
                let first = (part.start - start) / size;
                let last = (part.end - start).div_ceil(size);
                let some = planes.map(|plane| plane.get(first..last).unwrap_or_default());
                edge.resize((last - first) * size, 0);
                join(&some, stream.elements, edge)?;
                copy_part(
                    start + first * size,
                    edge,
                    &part,
                    &mut out[part.start - wanted.start..][..part.len()],
                );
            }
            for plane in &mut planes[..size] {
                *plane = &plane[len / size..];
            }
        }
    }
    if input.0.is_empty() { Ok(()) } else { Err(Broken("a block ends before its stored bytes do")) }
}

/// Fills in what lies between spans.
fn decode_heads(
    reader: &Reader,
    scratch: &mut Scratch,
    input: &mut Input<'_>,
    wanted: &Range<usize>,
    whole: bool,
    out: &mut [u8],
) -> Result<(), Broken> {
    let Scratch { cells, pieces, gaps, piece: head, .. } = scratch;
    for piece in &*pieces {
        if let Some(template) = reader.model.templates.get(usize::from(piece.template)) {
            let all = piece.start..piece.start + piece.len;
            if whole {
                template.decode(&mut out[all], piece.n, cells, input)?;
            } else if !overlap(&all, wanted).is_empty() {
                head.resize(piece.len, 0);
                template.decode(head, piece.n, cells, input)?;
                let copy =
                    |start, len| copy_part(piece.start + start, &head[start..start + len], wanted, out);
                template.frame.walk(piece.n, copy, |_, _, _| ())?;
            } else {
                template.skip(input)?;
            }
        } else {
            for &(start, len) in &gaps[piece.gaps.0..piece.gaps.1] {
                copy_part(start, input.take(len)?, wanted, out);
            }
        }
    }
    Ok(())
}

/// Fills `out` from the `len` bytes of `codes` from `at` on.
fn decode_plane(
    (plane, decoder): (&Plane, Option<&Decoder>),
    codes: &[u8],
    (at, len): (usize, usize),
    zstd: &mut Whole,
    out: &mut [u8],
) -> Result<(), Broken> {
    match (plane, decoder) {
        (Plane::Huffman(_), Some(decoder)) => decoder.decode(codes, at, len, out),
        (Plane::Constant(_), _) if len > 0 => Err(Broken("a plane of one byte has codes")),
        (Plane::Constant(byte), _) => {
            out.fill(*byte);
            Ok(())
        }
        (Plane::Zstd, _) if zstd.decompress(&codes[at..at + len], out) => Ok(()),
        (Plane::Zstd, _) => Err(Broken("a plane is not what zstd makes of as many bytes")),
        _ => Err(Broken("a plane has no codes")),
    }
}

/// What two ranges have in common.
fn overlap(one: &Range<usize>, other: &Range<usize>) -> Range<usize> {
    let start = one.start.max(other.start);
    start..one.end.min(other.end).max(start)
}

/// Copies `bytes`, which start at `start` in a block, to `out`, which is the part `wanted` of it.
fn copy_part(start: usize, bytes: &[u8], wanted: &Range<usize>, out: &mut [u8]) {
    let part = overlap(&(start..start + bytes.len()), wanted);
    if !part.is_empty() {
        let to = part.start - wanted.start..part.end - wanted.start;
        out[to].copy_from_slice(&bytes[part.start - start..part.end - start]);
    }
}

fn fill_zeros(range: Range<usize>, wanted: &Range<usize>, out: &mut [u8]) {
    let part = overlap(&range, wanted);
    if !part.is_empty() {
        out[part.start - wanted.start..part.end - wanted.start].fill(0);
    }
}
