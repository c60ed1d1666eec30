//! How the planes of arrays are stored: what a writer learns from some records, and keeps for those that
//! follow.
//!
//! Codes are made from a sample. They stay as long as a sample of later records would gain little by codes of
//! its own, so the chunks of a file share a few sets of codes, and readers build few tables.

use super::heads::Piece;
use super::huffman::{self, Encoder, LENGTHS_LEN, Lengths};
use super::split::{Elements, split};
use crate::zstd::Whole;

/// About how many elements of a field are looked at to make codes.
const SAMPLE: usize = 1 << 15;
/// About how many elements of a field are looked at to see whether codes still fit.
const GLANCE: usize = 1 << 11;
/// The most elements that are looked at in a row. Those at the start of an array may be unlike the others.
const STRETCH: usize = 256;
/// The bits that a byte without a code is taken to cost. Its whole plane is stored as it is in that block.
const NO_CODE: f64 = 64.0;
/// Codes are made anew if they take so many bits a byte more than those of a sample would, besides what they
/// took more than its entropy when they were made.
const TOLERANCE: f64 = 0.1;
/// A field is learnt anew if a chunk has so many times as many of its elements as were seen of it.
const MORE: usize = 4;
/// Codes may be made anew once a sample of this many elements was seen.
const LEAST: usize = 64;

/// The most streams of a model: templates and shapes have a byte for each.
pub(crate) const MAX_STREAMS: usize = 255;

/// How a plane is stored, unless a block says that it has it as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Plane {
    Stored,
    /// All bytes are this one.
    Constant(u8),
    /// A frame of zstd: the bytes repeat themselves.
    Zstd,
    Huffman(Box<Lengths>),
}

/// Arrays with at least so many elements may have planes that repeat themselves.
const LONG: usize = 512;
/// The most elements of an array that are looked at for that, and of how many arrays.
const LOOK: (usize, usize) = (1 << 14, 3);
/// A plane is compressed by zstd if it then takes less than this part of what it takes otherwise. Its codes
/// are read faster.
const MUCH_LESS: f64 = 0.5;
/// The level of zstd: higher ones gain little on a single plane.
pub(super) const LEVEL: i32 = 1;
/// A plane that was compressed by zstd is looked at again once its entropy is so many bits off.
const DRIFT: f64 = 0.5;

/// How often each byte occurs in a plane.
type Counts = [u32; 256];

/// How the planes of some fields are stored.
#[derive(Debug, Clone, Default)]
pub(crate) struct Coder {
    pub(super) fields: Vec<Known>,
}

/// One field, with one kind of elements.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) field: u8,
    pub(super) elements: Elements,
    pub(super) planes: Vec<Coded>,
    /// How many elements were seen.
    seen: usize,
}

#[derive(Debug, Clone)]
pub(super) struct Coded {
    pub(super) plane: Plane,
    pub(super) encoder: Option<Box<Encoder>>,
    /// Bits a byte that its codes take more than its entropy. Of a plane for zstd, the entropy itself.
    excess: f64,
    /// The part of its bytes that it saves.
    pub(super) gain: f64,
}

impl Coder {
    /// Learns how to store `pieces`, as far as it does not know yet. Returns whether anything changed.
    ///
    /// A plane that would lose less than the part `least_gain` of its bytes is stored as it is.
    pub(crate) fn learn(&mut self, pieces: &[Piece<'_>], least_gain: f64) -> bool {
        let mut arrays: Vec<Vec<&[u8]>> = Vec::new();
        let mut kinds: Vec<(u8, Elements)> =
            self.fields.iter().map(|field| (field.field, field.elements)).collect();
        for piece in pieces {
            for span in piece.spans {
                let kind = (span.field, span.elements);
                let stream = kinds.iter().position(|known| *known == kind).unwrap_or_else(|| {
                    kinds.push(kind);
                    kinds.len() - 1
                });
                if arrays.len() <= stream {
                    arrays.resize(stream + 1, Vec::new());
                }
                arrays[stream].push(span.of(piece.bytes));
            }
        }
        let mut changed = false;
        for (stream, (arrays, &(field, elements))) in arrays.iter().zip(&kinds).enumerate().take(MAX_STREAMS)
        {
            let n = arrays.iter().map(|array| array.len()).sum::<usize>() / elements.size();
            let fits = self.fields.get(stream).is_some_and(|known| {
                let grown = known.seen < SAMPLE / 2 && n >= MORE * known.seen;
                !grown && (n < LEAST || known.fits(&sample(arrays, elements, GLANCE), least_gain))
            });
            if fits || (n == 0 && stream < self.fields.len()) {
                continue;
            }
            let counts = sample(arrays, elements, SAMPLE);
            let mut planes: Vec<_> = counts.iter().map(|counts| Coded::of(counts, least_gain)).collect();
            find_repeats(arrays, elements, &counts, &mut planes);
            let learnt = Known { field, elements, planes, seen: n.min(SAMPLE) };
            match self.fields.get_mut(stream) {
                Some(known) => *known = learnt,
                None => self.fields.push(learnt),
            }
            changed = true;
        }
        changed
    }
}

impl Known {
    /// Whether codes of their own would hardly be better for planes with these counts.
    fn fits(&self, counts: &[Counts], least_gain: f64) -> bool {
        self.planes.iter().zip(counts).all(|(coded, counts)| {
            let (entropy, bias) = entropy(counts);
            match &coded.plane {
                Plane::Stored => entropy + bias + TOLERANCE > 8.0 * (1.0 - least_gain),
                Plane::Constant(byte) => counts.iter().sum::<u32>() == counts[usize::from(*byte)],
                Plane::Zstd => (entropy - coded.excess).abs() < DRIFT,
                Plane::Huffman(lengths) => {
                    let bits = bits(counts, lengths);
                    bits - entropy - bias <= coded.excess + TOLERANCE && bits < 8.0
                }
            }
        })
    }
}

impl Coded {
    fn of(counts: &Counts, least_gain: f64) -> Self {
        let stored = Self { plane: Plane::Stored, encoder: None, excess: 0.0, gain: 0.0 };
        let total: u32 = counts.iter().sum();
        if let Some(byte) = counts.iter().position(|&count| count == total) {
            let plane = Plane::Constant(byte.to_le_bytes()[0]);
            return Self { plane, gain: 1.0, ..stored };
        }
        let Some(lengths) = huffman::lengths(&with_neighbours(counts)) else { return stored };
        let taken = bits(counts, &lengths);
        let gain = 1.0 - taken / 8.0;
        if gain < least_gain {
            return stored;
        }
        let encoder = Some(Box::new(Encoder::new(&lengths)));
        Self { excess: taken - entropy(counts).0, plane: Plane::Huffman(Box::new(lengths)), encoder, gain }
    }

    /// Whether it saves more of a plane of `n` bytes than its code takes in a model.
    pub(super) fn pays(&self, n: usize) -> bool {
        self.encoder.is_none() || self.gain * n as f64 > 2.0 * LENGTHS_LEN as f64
    }
}

/// Lets zstd compress the planes that repeat themselves, as far as some arrays tell.
fn find_repeats(arrays: &[&[u8]], elements: Elements, counts: &[Counts], planes: &mut [Coded]) {
    let size = elements.size();
    let long: Vec<&[u8]> = arrays.iter().copied().filter(|array| array.len() >= LONG * size).collect();
    let (mut zstd, mut made, mut split_up) = (Whole::default(), Vec::new(), Vec::new());
    let mut sizes = vec![(0.0, 0.0); size];
    for array in long.iter().step_by((long.len() / LOOK.1).max(1)).take(LOOK.1) {
        let array = &array[..array.len().min(LOOK.0 * size)];
        let n = array.len() / size;
        split_up.resize(n * size, 0);
        split(array, elements, &mut split_up, n, 0);
        for ((sizes, bytes), coded) in sizes.iter_mut().zip(split_up.chunks_exact(n)).zip(&*planes) {
            made.clear();
            let by_zstd = if zstd.compress(bytes, LEVEL, &mut made) { made.len() } else { n };
            let otherwise = match &coded.plane {
                Plane::Huffman(lengths) => {
                    bytes.iter().map(|&byte| f64::from(lengths[usize::from(byte)])).sum::<f64>() / 8.0
                }
                Plane::Constant(_) => 0.0,
                _ => n as f64,
            };
            sizes.0 += by_zstd as f64;
            sizes.1 += otherwise;
        }
    }
    for ((coded, (by_zstd, otherwise)), counts) in planes.iter_mut().zip(sizes).zip(counts) {
        if by_zstd < MUCH_LESS * otherwise {
            let excess = entropy(counts).0;
            *coded = Coded { plane: Plane::Zstd, encoder: None, excess, gain: 1.0 };
        }
    }
}

/// Counts that also have the bytes next to those that occur: later records may have them.
fn with_neighbours(counts: &Counts) -> Counts {
    std::array::from_fn(|byte| {
        let near = &counts[byte.saturating_sub(2)..(byte + 3).min(counts.len())];
        counts[byte].max(u32::from(near.iter().any(|&count| count > 0)))
    })
}

/// The mean bits of the codes of bytes.
fn bits(counts: &Counts, lengths: &Lengths) -> f64 {
    let cost = |bits: u8| if bits == 0 { NO_CODE } else { f64::from(bits) };
    let sum: f64 = counts
        .iter()
        .zip(lengths)
        .map(|(&n, &bits)| f64::from(n) * if n == 0 { 0.0 } else { cost(bits) })
        .sum();
    sum / f64::from(counts.iter().sum::<u32>().max(1))
}

/// The entropy of bytes, in bits, and by how much that of a sample is too small on average.
///
/// # Source
/// G. A. Miller, "Note on the bias of information estimates", in Information Theory in Psychology, 1955.
fn entropy(counts: &Counts) -> (f64, f64) {
    let total = f64::from(counts.iter().sum::<u32>().max(1));
    let mut entropy = 0.0;
    let mut n_bytes = 0_u32;
    for &count in counts.iter().filter(|count| **count > 0) {
        let part = f64::from(count) / total;
        entropy -= part * part.log2();
        n_bytes += 1;
    }
    (entropy, f64::from(n_bytes.saturating_sub(1)) / (2.0 * total * std::f64::consts::LN_2))
}

/// Counts the bytes of each plane of about `wanted` elements, spread over all `arrays`.
fn sample(arrays: &[&[u8]], elements: Elements, wanted: usize) -> Vec<Counts> {
    let size = elements.size();
    let mut counts = vec![[0; 256]; size];
    let n: usize = arrays.iter().map(|array| array.len() / size).sum();
    // Every so many stretches is looked at.
    let step = n.div_ceil(wanted).max(1);
    let mut planes = [0; 8 * STRETCH];
    let mut number = 0_usize;
    for array in arrays {
        for stretch in array.chunks(STRETCH * size) {
            if number.is_multiple_of(step) {
                let n = stretch.len() / size;
                let planes = &mut planes[..n * size];
                split(stretch, elements, planes, n, 0);
                for (counts, plane) in counts.iter_mut().zip(planes.chunks_exact(n.max(1))) {
                    for &byte in plane {
                        counts[usize::from(byte)] += 1;
                    }
                }
            }
            number += 1;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::super::heads::Span;
    use super::*;

    /// Records of one array of floats, which vary as much as `width` says.
    fn floats(n: usize, width: f32, seed: u32) -> Vec<u8> {
        let mut state = seed | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as f32 / u32::MAX as f32
        };
        (0..n).flat_map(|_| (width * (next() + next() + next() - 1.5)).to_le_bytes()).collect()
    }

    fn pieces<'b>(records: &'b [Vec<u8>], spans: &'b [Span]) -> Vec<Piece<'b>> {
        records
            .iter()
            .zip(spans)
            .map(|(bytes, one)| Piece { bytes, spans: std::slice::from_ref(one) })
            .collect()
    }

    fn of(records: &[Vec<u8>]) -> Vec<Span> {
        let span = |record: &Vec<u8>| Span {
            field: 1,
            elements: Elements::Float4,
            start: 0,
            len: record.len() as u32,
        };
        records.iter().map(span).collect()
    }

    #[test]
    fn codes_stay_while_they_fit() {
        let of_width = |width: f32, seed: u32| {
            let records: Vec<_> = (0..300).map(|n| floats(60, width, seed + n)).collect();
            let spans = of(&records);
            (records, spans)
        };
        let mut coder = Coder::default();
        let (records, spans) = of_width(1.0, 1);
        assert!(coder.learn(&pieces(&records, &spans), 0.2));
        let planes = &coder.fields[0].planes;
        assert!(matches!(planes[3].plane, Plane::Huffman(_)), "exponents");
        assert!(matches!(planes[0].plane, Plane::Stored), "the lowest bits");
        let (records, spans) = of_width(1.0, 1000);
        assert!(!coder.learn(&pieces(&records, &spans), 0.2), "the same distribution");
        let (records, spans) = of_width(100.0, 2000);
        assert!(coder.learn(&pieces(&records, &spans), 0.2), "other exponents");
        let constant = vec![vec![0_u8; 240]; 300];
        let spans = of(&constant);
        assert!(coder.learn(&pieces(&constant, &spans), 0.2), "zeros");
        assert!(coder.fields[0].planes.iter().all(|coded| coded.plane == Plane::Constant(0)));
    }

    #[test]
    fn a_few_elements_teach_little_and_more_teach_anew() {
        let mut coder = Coder::default();
        let records = vec![floats(20, 1.0, 1)];
        let spans = of(&records);
        assert!(coder.learn(&pieces(&records, &spans), 0.2));
        assert!(coder.fields[0].planes.iter().all(|coded| !coded.pays(20) || coded.encoder.is_none()));
        let records: Vec<_> = (0..100).map(|n| floats(20, 1.0, n)).collect();
        let spans = of(&records);
        assert!(coder.learn(&pieces(&records, &spans), 0.2));
        assert!(coder.fields[0].planes[3].pays(2000));
    }

    #[test]
    fn a_sample_is_spread_over_long_arrays() {
        let mut long = vec![0_u8; 100_000];
        long[60_000..].fill(7);
        let counts = sample(&[&long], Elements::Bytes1, 2048);
        let n: u32 = counts[0].iter().sum();
        assert!((1500..4096).contains(&n), "{n}");
        assert!(counts[0][0] > n / 2 && counts[0][7] > n / 4);
        assert_eq!(sample(&[&long[..3], &[]], Elements::Bytes1, 2048)[0][0], 3);
    }
}
