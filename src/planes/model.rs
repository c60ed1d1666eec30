//! What the blocks of a chunk have in common.
//!
//! The bytes of a model are
//!
//! 1. the number of streams, and for each: the field, a byte; its [`Elements`], a byte; and for each of their
//!    planes a byte for the kind: 0 stored as it is; 1 all bytes are the one that follows; 2 codes, whose
//!    lengths follow in 128 bytes;
//! 2. the number of templates, and for each: the number of segments, and of each the stream, a byte, and its
//!    bytes for each `n`; the bytes of each gap, with a byte for its place modulo 4; a byte for each
//!    cell; what the cells need.
//!
//! The byte of a cell is 0 for a constant, 1 to 15 for the bytes that blocks store, a bit for each, 16 if it
//! follows `n`, and 17 if it is the same as another one. What follows is the number of that other one, or the base
//! in 4 bytes, and for 16 the slope in 4 more. All other numbers are [varints](super::varint).

use std::collections::HashMap;

use super::Broken;
use super::block::Piece;
use super::heads::{Frame, MAX_TEMPLATES, Segment, Template};
use super::huffman::{self, Decoder, Encoder, LENGTHS_LEN, Lengths};
use super::split::{Elements, split};
use super::varint::{Input, push};

/// About how many elements of a field are looked at to choose how its planes are stored. A byte that they do
/// not have has no code, and a block that has it stores that plane as it is.
const SAMPLE: usize = 1 << 17;
/// The most streams of a model: templates and shapes have a byte for each.
pub(crate) const MAX_STREAMS: usize = 255;

/// How a plane is stored, unless a block says that it has it as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Plane {
    Stored,
    /// All bytes are this one.
    Constant(u8),
    Huffman(Box<Lengths>),
}

/// The segments of one field, with one kind of elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stream {
    pub(crate) field: u8,
    pub(crate) elements: Elements,
    /// As many as an element has bytes.
    pub(crate) planes: Vec<Plane>,
}

/// What the blocks of a chunk have in common.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Model {
    pub(crate) streams: Vec<Stream>,
    pub(crate) templates: Vec<Template>,
}

/// A model to encode the pieces with that it was made from.
pub(crate) struct Learnt {
    pub(crate) model: Model,
    /// For each plane of each stream.
    pub(crate) encoders: Vec<Vec<Option<Encoder>>>,
    by_kind: HashMap<(u8, Elements), u8>,
    /// The template and the `n` of each piece.
    pub(crate) shapes: Vec<Option<(u8, u32)>>,
}

impl Learnt {
    /// A model for `pieces`. A plane that would lose less than the part `least_gain` of its bytes is stored as it
    /// is.
    ///
    /// `None` if they have more kinds of fields than a model has streams.
    pub(crate) fn new(pieces: &[Piece<'_>], least_gain: f64) -> Option<Self> {
        let mut by_kind = HashMap::new();
        let mut kinds = Vec::new();
        for segment in pieces.iter().flat_map(|piece| piece.segments) {
            by_kind.entry((segment.field, segment.elements)).or_insert_with(|| {
                kinds.push((segment.field, segment.elements));
                (kinds.len() - 1).min(MAX_STREAMS) as u8
            });
        }
        if kinds.len() > MAX_STREAMS {
            return None;
        }
        let mut this = Self { model: Model::default(), encoders: Vec::new(), by_kind, shapes: Vec::new() };
        this.learn_templates(pieces);
        this.learn_planes(pieces, &kinds, least_gain);
        Some(this)
    }

    pub(crate) fn stream(&self, field: u8, elements: Elements) -> u8 {
        self.by_kind.get(&(field, elements)).copied().unwrap_or(u8::MAX)
    }

    fn learn_templates(&mut self, pieces: &[Piece<'_>]) {
        let mut frames: HashMap<Frame, usize> = HashMap::new();
        let mut members: Vec<(Frame, Vec<(usize, u32)>)> = Vec::new();
        for (number, piece) in pieces.iter().enumerate() {
            let streams = piece.segments.iter().map(|segment| self.stream(segment.field, segment.elements));
            let Some((frame, n)) = Frame::of(piece.bytes.len(), piece.segments, streams) else { continue };
            let place = *frames.entry(frame).or_insert_with_key(|frame| {
                members.push((frame.clone(), Vec::new()));
                members.len() - 1
            });
            members[place].1.push((number, n));
        }
        self.shapes = vec![None; pieces.len()];
        members.retain(|(_, members)| members.len() > 1);
        members.sort_by_key(|(_, members)| std::cmp::Reverse(members.len()));
        for (frame, members) in members.into_iter().take(MAX_TEMPLATES) {
            let template = self.model.templates.len() as u8;
            let heads: Vec<_> = members.iter().map(|&(number, n)| (pieces[number].bytes, n)).collect();
            for (number, n) in members {
                self.shapes[number] = Some((template, n));
            }
            self.model.templates.push(Template::learn(frame, &heads));
        }
    }

    fn learn_planes(&mut self, pieces: &[Piece<'_>], kinds: &[(u8, Elements)], least_gain: f64) {
        let mut buffer = Vec::new();
        for (stream, &(field, elements)) in kinds.iter().enumerate() {
            let size = elements.size();
            let (this, mut sampled) = (&*self, Vec::new());
            for piece in pieces {
                let own =
                    |segment: &&Segment| usize::from(this.stream(segment.field, segment.elements)) == stream;
                sampled.extend(piece.segments.iter().filter(own).map(|segment| segment.of(piece.bytes)));
            }
            let all: usize = sampled.iter().map(|bytes| bytes.len()).sum();
            let step = (all / size).div_ceil(SAMPLE).max(1);
            let mut counts = vec![[0_u32; 256]; size];
            let mut total = 0;
            for bytes in sampled.into_iter().step_by(step) {
                let n = bytes.len() / size;
                buffer.resize(n * size, 0);
                split(bytes, elements, &mut buffer, n, 0);
                for (counts, plane) in counts.iter_mut().zip(buffer.chunks_exact(n)) {
                    plane.iter().for_each(|&byte| counts[usize::from(byte)] += 1);
                }
                total += n;
            }
            let planes: Vec<Plane> = counts.iter().map(|counts| choose(counts, total, least_gain)).collect();
            let encoder = |plane: &Plane| match plane {
                Plane::Huffman(lengths) => Some(Encoder::new(lengths)),
                Plane::Stored | Plane::Constant(_) => None,
            };
            self.encoders.push(planes.iter().map(encoder).collect());
            self.model.streams.push(Stream { field, elements, planes });
        }
    }
}

/// How to store a plane of `total` bytes that occur `counts` times.
fn choose(counts: &[u32; 256], total: usize, least_gain: f64) -> Plane {
    if let Some(byte) = counts.iter().position(|&count| count as usize == total) {
        return Plane::Constant(byte as u8);
    }
    let Some(lengths) = huffman::lengths(counts) else { return Plane::Stored };
    let bits: u64 = counts.iter().zip(&lengths).map(|(&n, &bits)| u64::from(n) * u64::from(bits)).sum();
    if bits as f64 / 8.0 + LENGTHS_LEN as f64 > (1.0 - least_gain) * total as f64 {
        return Plane::Stored;
    }
    Plane::Huffman(Box::new(lengths))
}

impl Model {
    /// The bytes that stand for it.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        push(self.streams.len() as u32, &mut out);
        for stream in &self.streams {
            out.extend([stream.field, stream.elements.code()]);
            for plane in &stream.planes {
                match plane {
                    Plane::Stored => out.push(0),
                    Plane::Constant(byte) => out.extend([1, *byte]),
                    Plane::Huffman(lengths) => {
                        out.push(2);
                        out.extend(huffman::pack_lengths(lengths));
                    }
                }
            }
        }
        push(self.templates.len() as u32, &mut out);
        self.templates.iter().for_each(|template| template.write(&mut out));
        out
    }

    /// Reads a model.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Broken> {
        let mut input = Input(bytes);
        let mut model = Self::default();
        let n_streams = input.length()?;
        if n_streams > MAX_STREAMS {
            return Err(Broken("a model has too many streams"));
        }
        for _ in 0..n_streams {
            let field = input.byte()?;
            let elements =
                Elements::from_code(input.byte()?).ok_or(Broken("a stream has unknown elements"))?;
            let planes = (0..elements.size()).map(|_| match input.byte()? {
                0 => Ok(Plane::Stored),
                1 => Ok(Plane::Constant(input.byte()?)),
                2 => {
                    let packed =
                        input.take(LENGTHS_LEN)?.first_chunk().ok_or(Broken("the bytes end too early"))?;
                    Ok(Plane::Huffman(Box::new(huffman::unpack_lengths(packed)?)))
                }
                _ => Err(Broken("a plane has an unknown kind")),
            });
            let planes = planes.collect::<Result<_, Broken>>()?;
            model.streams.push(Stream { field, elements, planes });
        }
        let n_templates = input.length()?;
        if n_templates > MAX_TEMPLATES {
            return Err(Broken("a model has too many templates"));
        }
        for _ in 0..n_templates {
            model.templates.push(Template::read(&mut input, n_streams)?);
        }
        if input.0.is_empty() { Ok(model) } else { Err(Broken("a model ends before its bytes do")) }
    }
}

/// A model to decode blocks with.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) model: Model,
    /// For each plane of each stream.
    pub(crate) decoders: Vec<Vec<Option<Decoder>>>,
}

impl Reader {
    /// Reads a model, and builds its tables.
    pub(crate) fn new(bytes: &[u8]) -> Result<Self, Broken> {
        let model = Model::decode(bytes)?;
        let decoder = |plane: &Plane| match plane {
            Plane::Huffman(lengths) => Some(Decoder::new(lengths)),
            Plane::Stored | Plane::Constant(_) => None,
        };
        let decoders =
            model.streams.iter().map(|stream| stream.planes.iter().map(decoder).collect()).collect();
        Ok(Self { model, decoders })
    }
}
