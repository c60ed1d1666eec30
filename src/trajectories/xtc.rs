//! XTC, the compressed trajectories of GROMACS.
//!
//! ```text
//! 1995 | atoms | step | time | box 3x3 | atoms | precision | min 3 | max 3 | small | bytes | packed
//! i32    i32     i32    f32    f32       i32     f32         i32     i32     i32     u32     padded to 4
//! ```
//!
//! All is big-endian. Files of more than 2^31 bytes a frame begin with 2023, and their `bytes` are u64. Up to
//! 9 atoms are stored as f32, right after the second number of atoms.
//!
//! # Source
//! GROMACS reference manual, "File formats", entry `xtc`, and `xdr3dfcoord` of GROMACS's libxdrf, whose
//! packing [`unpack`] undoes.

use super::error::Fault;
use super::frames::{Entry, Frames};
use super::source::Source;
use super::xdr::rows_f32;
use crate::codecs::{AtomicFrame, Units};

pub(super) const MAGIC: i32 = 1995;
pub(super) const MAGIC_LARGE: i32 = 2023;

/// Frames of so many atoms are not packed.
const UNPACKED: usize = 9;

/// Sizes that small differences of coordinates may have.
const SIZES: [u32; 73] = [
    0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 10, 12, 16, 20, 25, 32, 40, 50, 64, 80, 101, 128, 161, 203, 256, 322, 406,
    512, 645, 812, 1024, 1290, 1625, 2048, 2580, 3250, 4096, 5060, 6501, 8192, 10321, 13003, 16384, 20642,
    26007, 32768, 41285, 52015, 65536, 82570, 104_031, 131_072, 165_140, 208_063, 262_144, 330_280, 416_127,
    524_287, 660_561, 832_255, 1_048_576, 1_321_122, 1_664_510, 2_097_152, 2_642_245, 3_329_021, 4_194_304,
    5_284_491, 6_658_042, 8_388_607, 10_568_983, 13_316_085, 16_777_216,
];

/// Sizes above this are stored one by one, and not multiplied.
const LARGE: u32 = 0x00ff_ffff;

pub(super) struct Xtc {
    source: Source,
    positions: Vec<[f32; 3]>,
    packed: Vec<u8>,
    /// That of the first frame that has one.
    steps_per_nm: Option<f32>,
}

impl Xtc {
    pub(super) fn new(source: Source) -> Self {
        Self { source, positions: Vec::new(), packed: Vec::new(), steps_per_nm: None }
    }

    fn read(&mut self) -> Result<AtomicFrame<'_>, Fault> {
        let source = &mut self.source;
        let at = source.at();
        let magic = source.be_i32("the magic number")?;
        if magic != MAGIC && magic != MAGIC_LARGE {
            let why = format!("a frame begins with {MAGIC} or {MAGIC_LARGE}, and here is {magic}");
            return Err(Fault::damaged(at, why));
        }
        let at = source.at();
        let atoms = source.be_i32("the number of atoms")?;
        let n_atoms = usize::try_from(atoms)
            .map_err(|_| Fault::damaged(at, format!("the number of atoms is {atoms}")))?;
        let step = source.be_i32("the step")?;
        let time = source.be_f32("the time")?;
        let mut cell = [[0.0; 3]; 3];
        for number in cell.as_flattened_mut() {
            *number = f64::from(source.be_f32("the box")?);
        }
        let at = source.at();
        let again = source.be_i32("the number of atoms")?;
        if again != atoms {
            let why = format!("the number of atoms is {again} here and {atoms} at the start of the frame");
            return Err(Fault::damaged(at, why));
        }
        let mut precision = None;
        if n_atoms <= UNPACKED {
            source.bytes(n_atoms as u64 * 12, "the positions", &mut self.packed)?;
            rows_f32(&self.packed, &mut self.positions);
        } else {
            precision = Some(self.packed_positions(n_atoms, magic == MAGIC_LARGE)?);
        }
        let mut frame = AtomicFrame::new().positions(&self.positions).step(step.into()).time(time.into());
        if cell.as_flattened().iter().any(|number| *number != 0.0) {
            frame = frame.cell(cell).pbc([true; 3]);
        }
        if let Some(precision) = precision {
            let first = *self.steps_per_nm.get_or_insert(precision);
            if first.to_bits() != precision.to_bits() {
                frame = frame.per_frame("steps_per_nm", ndarray::arr0(precision));
            }
        }
        Ok(frame)
    }

    fn packed_positions(&mut self, n_atoms: usize, large: bool) -> Result<f32, Fault> {
        let source = &mut self.source;
        let at = source.at();
        let precision = source.be_f32("the precision")?;
        if !(precision.is_finite() && precision > 0.0) {
            return Err(Fault::damaged(at, format!("the precision is {precision}")));
        }
        let head = source.at();
        let mut numbers = [0; 6];
        for number in &mut numbers {
            *number = source.be_i32("the bounds of the positions")?;
        }
        let [x, y, z, max @ ..] = numbers;
        let min = [x, y, z];
        let small = source.be_i32("the size of small differences")?;
        let at = source.at();
        let bytes = if large {
            source.be_u64("the number of bytes")?
        } else {
            u64::from(source.be_i32("the number of bytes")?.cast_unsigned())
        };
        // An atom takes two bits at least.
        if n_atoms as u64 > bytes.saturating_mul(4) {
            let why = format!("{n_atoms} atoms in {bytes} bytes, which is too few");
            return Err(Fault::damaged(at, why));
        }
        let data = source.at();
        source.bytes(bytes, "the positions", &mut self.packed)?;
        let padding = bytes.next_multiple_of(4) - bytes;
        source.skip(padding, "the padding after the positions")?;
        let small = usize::try_from(small).unwrap_or(usize::MAX);
        self.positions.clear();
        self.positions.reserve(n_atoms);
        unpack(&self.packed, n_atoms, (min, max, small), precision.recip(), &mut self.positions).map_err(
            |wrong| match wrong {
                Wrong::Head(why) => Fault::damaged(head, why),
                Wrong::Packed { byte, why } => Fault::damaged(data + byte as u64, why),
            },
        )?;
        Ok(precision)
    }
}

impl Frames for Xtc {
    fn next(&mut self) -> Result<Option<Entry<'_>>, Fault> {
        if self.source.is_end() {
            return Ok(None);
        }
        self.read().map(|frame| Some(frame.into()))
    }

    fn at(&self) -> u64 {
        self.source.at()
    }

    fn units(&self) -> Units {
        Units::gromacs()
    }

    fn about(&self) -> Option<(&'static str, serde_json::Value)> {
        self.steps_per_nm.map(|steps| ("xtc", serde_json::json!({ "steps_per_nm": steps })))
    }
}

/// What is wrong with a packed frame.
enum Wrong {
    Head(String),
    Packed { byte: usize, why: &'static str },
}

/// Bits, the highest of a byte first.
struct Bits<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl Bits<'_> {
    fn wrong(&self, why: &'static str) -> Wrong {
        Wrong::Packed { byte: self.at / 8, why }
    }

    /// The next bits, up to 32 of them.
    fn take(&mut self, n: u32) -> Result<u32, Wrong> {
        let (mut value, mut left) = (0_u64, n as usize);
        while left > 0 {
            let Some(&byte) = self.bytes.get(self.at / 8) else {
                return Err(self.wrong("the packed positions end before the last atom"));
            };
            let free = 8 - self.at % 8;
            let taken = free.min(left);
            let bits = (u64::from(byte) >> (free - taken)) & ((1 << taken) - 1);
            value = value << taken | bits;
            self.at += taken;
            left -= taken;
        }
        // At most 32 bits were taken.
        Ok(u32::try_from(value).unwrap_or(u32::MAX))
    }

    /// Three numbers below `sizes` that were multiplied into one of `n` bits, at most 72, bytes in
    /// little-endian order.
    fn three(&mut self, n: u32, sizes: [u32; 3]) -> Result<[i32; 3], Wrong> {
        let (mut value, mut shift) = (0_u128, 0);
        while shift < n {
            let taken = (n - shift).min(8);
            value |= u128::from(self.take(taken)?) << shift;
            shift += taken;
        }
        let wrong = self.wrong("a packed position that is out of its bounds");
        let rest = if let Ok(value) = u64::try_from(value) {
            let (z, y) = (u64::from(sizes[2]), u64::from(sizes[1]));
            (value / z / y, value / z % y, value % z)
        } else {
            let (z, y) = (u128::from(sizes[2]), u128::from(sizes[1]));
            let Ok(x) = u64::try_from(value / z / y) else { return Err(wrong) };
            // Remainders of u32 fit.
            (x, u64::try_from(value / z % y).unwrap_or(0), u64::try_from(value % z).unwrap_or(0))
        };
        let (Ok(x), Ok(y), Ok(z)) = (i32::try_from(rest.0), i32::try_from(rest.1), i32::try_from(rest.2))
        else {
            return Err(wrong);
        };
        Ok([x, y, z])
    }
}

/// How many bits a number up to `size` takes.
fn bits_of(size: u32) -> u32 {
    u32::BITS - size.leading_zeros()
}

/// How many bits the product of three sizes takes.
fn bits_of_product(sizes: [u32; 3]) -> u32 {
    let product = sizes.iter().map(|size| u128::from(*size)).product::<u128>();
    u128::BITS - product.leading_zeros()
}

fn add(a: [i32; 3], b: [i32; 3]) -> [i32; 3] {
    [0, 1, 2].map(|axis| a[axis].wrapping_add(b[axis]))
}

/// A size, and the bits of three numbers below it, which are as many as the size's number.
fn sized(small: usize) -> (u32, u32) {
    (SIZES.get(small).copied().unwrap_or(0), u32::try_from(small).unwrap_or(0))
}

/// Appends the positions of `n_atoms` atoms.
fn unpack(
    bytes: &[u8],
    n_atoms: usize,
    (min, max, mut small): ([i32; 3], [i32; 3], usize),
    step: f32,
    out: &mut Vec<[f32; 3]>,
) -> Result<(), Wrong> {
    if (0..3).any(|axis| max[axis] < min[axis]) {
        return Err(Wrong::Head(format!("positions from {min:?} to {max:?}, which is less")));
    }
    let size_of = |small: usize| SIZES.get(small).copied().filter(|size| *size > 0);
    if size_of(small).is_none() {
        return Err(Wrong::Head(format!(
            "the size of small differences is number {small}, and there is none"
        )));
    }
    let sizes = [0, 1, 2].map(|axis| max[axis].wrapping_sub(min[axis]).cast_unsigned().wrapping_add(1));
    let one_by_one = (sizes[0] | sizes[1] | sizes[2]) > LARGE;
    let bits = bits_of_product(sizes);
    let mut bits_left = Bits { bytes, at: 0 };
    let mut run = 0;
    #[expect(clippy::cast_precision_loss, reason = "GROMACS makes a float of it in this way")]
    let mut push = |coordinates: [i32; 3], bits: &Bits<'_>| {
        if out.len() == n_atoms {
            return Err(bits.wrong("the packed positions have more atoms than the frame"));
        }
        out.push(coordinates.map(|coordinate| coordinate as f32 * step));
        Ok(out.len())
    };
    let mut n = 0;
    while n < n_atoms {
        let read = if one_by_one {
            let mut read = [0; 3];
            for (coordinate, size) in read.iter_mut().zip(sizes) {
                *coordinate = bits_left.take(bits_of(size))?.cast_signed();
            }
            read
        } else {
            bits_left.three(bits, sizes)?
        };
        let mut previous = add(read, min);
        let mut change = 0_isize;
        if bits_left.take(1)? == 1 {
            let coded = bits_left.take(5)?;
            change = [-1, 0, 1][coded as usize % 3];
            run = coded / 3;
        }
        if run == 0 {
            n = push(previous, &bits_left)?;
        }
        let (size, bits) = sized(small);
        // What fits in 24 bits fits in an i32.
        let half = (size / 2).cast_signed();
        for nth in 0..run {
            let near = bits_left.three(bits, [size; 3])?;
            let mut this = add(near, previous.map(|coordinate| coordinate.wrapping_sub(half)));
            if nth == 0 {
                // The first two are swapped, which packs water better.
                std::mem::swap(&mut this, &mut previous);
                push(previous, &bits_left)?;
            } else {
                previous = this;
            }
            n = push(this, &bits_left)?;
        }
        small = small.wrapping_add_signed(change);
        if size_of(small).is_none() {
            return Err(bits_left.wrong("a size of small differences that there is none of"));
        }
    }
    Ok(())
}
