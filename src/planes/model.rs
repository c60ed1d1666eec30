//! What the blocks of a chunk have in common.
//!
//! The bytes of a model are
//!
//! 1. the number of streams, and for each: the field, a byte; its [`Elements`], a byte; and for each of their
//!    planes a byte for the kind: 0 stored as it is; 1 all bytes are the one that follows; 2 codes, whose
//!    lengths follow in 128 bytes; 3 a frame of zstd;
//! 2. the number of templates, and for each: the number of spans, and of each the stream, a byte, and its
//!    bytes for each `n`; the bytes of each gap, with a byte for its place modulo 4; a byte for each
//!    cell; what the cells need.
//!
//! The byte of a cell is 0 for a constant, 1 to 15 for the bytes that blocks store, a bit for each, 16 if it
//! follows `n`, and 17 if it is the same as another one. What follows is the number of that other one, or the
//! base in 4 bytes, and for 16 the slope in 4 more. All other numbers are [varints](super::varint).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::Broken;
use super::coder::{Coded, Coder, MAX_STREAMS, Plane};
use super::heads::{Frame, MAX_TEMPLATES, Piece, Template};
use super::huffman::{self, Decoder, Encoder, LENGTHS_LEN, Lengths};
use super::split::Elements;
use super::varint::{Input, push};

/// The spans of one field, with one kind of elements.
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
    coder: Arc<Coder>,
    /// The template and the `n` of each piece.
    pub(crate) shapes: Vec<Option<(u8, u32)>>,
}

impl Learnt {
    /// A model for `pieces`, which stores planes as `coder` does. What that does not know is stored as it is.
    ///
    /// `None` if they have more kinds of fields than a model has streams.
    pub(crate) fn new(pieces: &[Piece<'_>], coder: Arc<Coder>) -> Option<Self> {
        let known = coder.fields.iter().map(|field| (field.field, field.elements));
        let mut counts: Vec<((u8, Elements), usize)> = known.map(|kind| (kind, 0)).collect();
        for span in pieces.iter().flat_map(|piece| piece.spans) {
            let kind = (span.field, span.elements);
            let n = span.len as usize / span.elements.size();
            match counts.iter_mut().find(|(known, _)| *known == kind) {
                Some((_, count)) => *count += n,
                None => counts.push((kind, n)),
            }
        }
        if counts.len() > MAX_STREAMS {
            return None;
        }
        let mut model = Model::default();
        for (number, ((field, elements), n)) in counts.into_iter().enumerate() {
            let plane =
                |coded: &Coded| if n > 0 && coded.pays(n) { coded.plane.clone() } else { Plane::Stored };
            let planes = match coder.fields.get(number) {
                Some(known) => known.planes.iter().map(plane).collect(),
                None => vec![Plane::Stored; elements.size()],
            };
            model.streams.push(Stream { field, elements, planes });
        }
        let mut this = Self { model, coder, shapes: Vec::new() };
        this.learn_templates(pieces);
        Some(this)
    }

    pub(crate) fn stream(&self, field: u8, elements: Elements) -> u8 {
        let streams = &self.model.streams;
        let known = streams.iter().position(|stream| stream.field == field && stream.elements == elements);
        // There are at most 255 streams.
        known.map_or(u8::MAX, |known| known as u8)
    }

    pub(crate) fn encoder(&self, stream: usize, plane: usize) -> Option<&Encoder> {
        self.coder.fields.get(stream)?.planes.get(plane)?.encoder.as_deref()
    }

    fn learn_templates(&mut self, pieces: &[Piece<'_>]) {
        let mut frames: HashMap<Frame, usize> = HashMap::new();
        let mut members: Vec<(Frame, Vec<(usize, u32)>)> = Vec::new();
        for (number, piece) in pieces.iter().enumerate() {
            let streams = piece.spans.iter().map(|span| self.stream(span.field, span.elements));
            let Some((frame, n)) = Frame::of(piece.bytes.len(), piece.spans, streams) else { continue };
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
                    Plane::Zstd => out.push(3),
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
                3 => Ok(Plane::Zstd),
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

/// The tables of codes that were built, which models share.
#[derive(Debug, Default)]
pub(crate) struct Decoders {
    built: Mutex<HashMap<Box<Lengths>, Arc<Decoder>>>,
}

/// The most tables that are kept to be shared. All of them take 9 MiB.
const MAX_DECODERS: usize = 1024;

impl Decoders {
    /// The table of a code. Adds 1 to `built` if there was none.
    fn of(&self, lengths: &Lengths, n_built: &mut usize) -> Arc<Decoder> {
        let mut built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = built.get(lengths) {
            return Arc::clone(known);
        }
        if built.len() >= MAX_DECODERS {
            built.clear();
        }
        let decoder = Arc::new(Decoder::new(lengths));
        *n_built += 1;
        built.insert(Box::new(*lengths), Arc::clone(&decoder));
        decoder
    }
}

/// A model to decode blocks with.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) model: Model,
    /// For each plane of each stream.
    pub(crate) decoders: Vec<Vec<Option<Arc<Decoder>>>>,
    /// How many of the tables were built for it.
    n_built: usize,
}

impl Reader {
    /// Reads a model, and builds the tables that `decoders` does not have.
    pub(crate) fn new(bytes: &[u8], decoders: &Decoders) -> Result<Self, Broken> {
        let model = Model::decode(bytes)?;
        let mut n_built = 0;
        let mut decoder = |plane: &Plane| match plane {
            Plane::Huffman(lengths) => Some(decoders.of(lengths, &mut n_built)),
            Plane::Stored | Plane::Constant(_) | Plane::Zstd => None,
        };
        let decoders =
            model.streams.iter().map(|stream| stream.planes.iter().map(&mut decoder).collect()).collect();
        Ok(Self { model, decoders, n_built })
    }

    /// About how many bytes it takes in memory, with the tables that were built for it.
    pub(crate) fn size(&self) -> usize {
        let templates: usize = self.model.templates.iter().map(Template::size).sum();
        let planes: usize = self.model.streams.iter().map(|stream| 64 + 24 * stream.planes.len()).sum();
        let codes = self.decoders.iter().flatten().flatten().count();
        let tables = self.n_built * (size_of::<Decoder>() + huffman::TABLE_BYTES);
        size_of::<Self>() + templates + planes + codes * size_of::<Lengths>() + tables
    }
}
