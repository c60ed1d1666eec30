//! Blocks: whole records, or a part of a long one.
//!
//! A block's stored bytes are
//!
//! 1. for each piece: the number of its template, and its `n`; or 255, and its spans and gaps;
//! 2. for each plane that the model does not store as it is, of each stream that the block has: 0 if the block
//!    stores it as it is, otherwise 1 + the bytes of its codes;
//! 3. the codes of planes, stream by stream;
//! 4. what the templates store of each head, or all of it;
//! 5. the planes that are stored as they are, stream by stream.
//!
//! Numbers are [varints](super::varint).

use super::Broken;
use super::heads::Span;
use super::model::{Learnt, Plane, Reader};
use super::split::{join, split};
use super::varint::{Input, push};

/// A record, or a part of one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Piece<'b> {
    pub(crate) bytes: &'b [u8],
    /// In order, without overlap, inside, and none of them empty.
    pub(crate) spans: &'b [Span],
}

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
    numbers: std::ops::Range<usize>,
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) {
    let Scratch { counts, cells, planes, coded, heads, plain, .. } = scratch;
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

/// Fills `out` with the raw bytes of a block. Pieces start at multiples of `align` from its start. After the last
/// one, there may be zeros up to such a multiple.
pub(crate) fn decode_block(
    reader: &Reader,
    stored: &[u8],
    align: usize,
    scratch: &mut Scratch,
    out: &mut [u8],
) -> Result<(), Broken> {
    let mut input = Input(stored);
    read_shapes(reader, &mut input, align, scratch, out.len())?;
    let Scratch { counts, cells, planes: buffer, pieces, spans, gaps, lengths, .. } = scratch;
    let streams = &reader.model.streams;
    lengths.clear();
    let mut at = 0;
    for piece in &*pieces {
        out[at..piece.start].fill(0);
        at = piece.start + piece.len;
    }
    out[at..].fill(0);
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
    for piece in &*pieces {
        if let Some(template) = reader.model.templates.get(usize::from(piece.template)) {
            let bytes = &mut out[piece.start..piece.start + piece.len];
            template.decode(bytes, piece.n, cells, &mut input)?;
        } else {
            for &(start, len) in &gaps[piece.gaps.0..piece.gaps.1] {
                out[start..start + len].copy_from_slice(input.take(len)?);
            }
        }
    }
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
            match (plane, decoder) {
                (Plane::Huffman(_), Some(decoder)) => decoder.decode(codes, codes_at, len, bytes)?,
                (Plane::Constant(byte), _) => {
                    if len > 0 {
                        return Err(Broken("a plane of one byte has codes"));
                    }
                    bytes.fill(*byte);
                }
                _ => return Err(Broken("a plane has no codes")),
            }
            *to = bytes;
            codes_at += len;
        }
        let is_of_stream = |span: &&(u8, usize, usize)| usize::from(span.0) == number;
        let (of_stream, others) = if sorted {
            spans.split_at(spans.partition_point(|span| is_of_stream(&span)))
        } else {
            (spans, spans)
        };
        spans = others;
        for &(_, start, len) in of_stream.iter().filter(is_of_stream) {
            join(&planes, stream.elements, &mut out[start..start + len])?;
            for plane in &mut planes[..size] {
                *plane = &plane[len / size..];
            }
        }
    }
    if input.0.is_empty() { Ok(()) } else { Err(Broken("a block ends before its stored bytes do")) }
}
