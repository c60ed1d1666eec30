//! TRR, the full trajectories of GROMACS: positions, velocities and forces in single or double precision.
//!
//! ```text
//! 1993 | 13 12 "GMX_trn_file" | sizes in bytes: ir e box vir pres top sym x v f | atoms step nre | time
//! lambda i32    i32 i32 12 bytes       10 i32                                            3 i32
//! real
//! ```
//!
//! Then come the parts in the order of their sizes. All is big-endian. A real is an f32 or an f64, which the
//! sizes tell.
//!
//! # Source
//! GROMACS reference manual, "File formats", entry `trr`, and GROMACS's `trrio`.

use super::error::Fault;
use super::frames::{Entry, Frames};
use super::source::Source;
use super::vectors::Vectors;
use super::xdr::{rows_f32, rows_f64};
use crate::codecs::{AtomicFrame, Units};

pub(super) const MAGIC: i32 = 1993;
pub(super) const VERSION: &[u8; 12] = b"GMX_trn_file";

/// The sizes of parts, in their order.
const PARTS: [&str; 10] =
    ["ir", "e", "box", "virial", "pressure", "top", "sym", "positions", "velocities", "forces"];

pub(super) struct Trr {
    source: Source,
    bytes: Vec<u8>,
    positions: Vectors,
    velocities: Vectors,
    forces: Vectors,
}

/// The head of a frame.
struct Head {
    sizes: [u64; 10],
    n_atoms: u64,
    step: i32,
    /// Bytes of a real.
    real: u64,
    time: f64,
    lambda: f64,
}

impl Trr {
    pub(super) fn new(source: Source) -> Self {
        let empty = Vectors::default;
        Self { source, bytes: Vec::new(), positions: empty(), velocities: empty(), forces: empty() }
    }

    fn head(&mut self) -> Result<Head, Fault> {
        let source = &mut self.source;
        let at = source.at();
        let magic = source.be_i32("the magic number")?;
        if magic != MAGIC {
            return Err(Fault::damaged(at, format!("a frame begins with {MAGIC}, and here is {magic}")));
        }
        let at = source.at();
        let lengths = [source.be_i32("the version")?, source.be_i32("the version")?];
        let version: [u8; 12] = source.array("the version")?;
        if lengths != [13, 12] || version != *VERSION {
            return Err(Fault::damaged(at, "the version is not GMX_trn_file"));
        }
        let mut sizes = [0; PARTS.len()];
        for (size, part) in sizes.iter_mut().zip(PARTS) {
            let at = source.at();
            let found = source.be_i32("the sizes")?;
            *size =
                u64::try_from(found).map_err(|_| Fault::damaged(at, format!("{part} of {found} bytes")))?;
        }
        let at = source.at();
        let atoms = source.be_i32("the number of atoms")?;
        let n_atoms = u64::try_from(atoms)
            .map_err(|_| Fault::damaged(at, format!("the number of atoms is {atoms}")))?;
        let step = source.be_i32("the step")?;
        source.be_i32("the number of energies")?;
        let [_, _, cell, .., x, v, f] = sizes;
        let real = [(cell, 9), (x, 3 * n_atoms), (v, 3 * n_atoms), (f, 3 * n_atoms)];
        let real = real.iter().find(|(size, _)| *size > 0);
        // A frame without any of these has nothing that tells.
        let real = real.map_or(4, |(size, n)| if *size == n * 8 { 8 } else { 4 });
        for (index, (size, part)) in sizes.iter().zip(PARTS).enumerate() {
            let n = match index {
                2..=4 => 9,
                7.. => 3 * n_atoms,
                _ => continue,
            };
            if *size != 0 && *size != n * real {
                let why = format!("{part} of {size} bytes, where {n} numbers of {real} bytes are expected");
                return Err(Fault::damaged(at, why));
            }
        }
        let (time, lambda) = (self.real(real, "the time")?, self.real(real, "lambda")?);
        Ok(Head { sizes, n_atoms, step, real, time, lambda })
    }

    fn real(&mut self, size: u64, what: &str) -> Result<f64, Fault> {
        if size == 8 { self.source.be_f64(what) } else { self.source.be_f32(what).map(f64::from) }
    }

    fn matrix(&mut self, size: u64, real: u64, what: &str) -> Result<Option<[[f64; 3]; 3]>, Fault> {
        if size == 0 {
            return Ok(None);
        }
        let mut matrix = [[0.0; 3]; 3];
        for number in matrix.as_flattened_mut() {
            *number = self.real(real, what)?;
        }
        Ok(Some(matrix))
    }

    fn read(&mut self) -> Result<AtomicFrame<'_>, Fault> {
        let head = self.head()?;
        let [ir, e, cell, vir, pres, top, sym, x, v, f] = head.sizes;
        self.source.need(head.sizes.iter().sum(), "the frame")?;
        self.source.skip(ir + e, "the parts of old versions")?;
        let cell = self.matrix(cell, head.real, "the box")?;
        let virial = self.matrix(vir, head.real, "the virial")?;
        let pressure = self.matrix(pres, head.real, "the pressure")?;
        self.source.skip(top + sym, "the parts of old versions")?;
        let parts = [
            (x, &mut self.positions, "the positions"),
            (v, &mut self.velocities, "the velocities"),
            (f, &mut self.forces, "the forces"),
        ];
        for (size, vectors, what) in parts {
            self.source.bytes(size, what, &mut self.bytes)?;
            *vectors = std::mem::take(vectors).filled(
                head.real == 8,
                |out| rows_f32(&self.bytes, out),
                |out| rows_f64(&self.bytes, out),
            );
        }
        let mut frame = AtomicFrame::new().step(head.step.into()).time(head.time);
        frame.n_atoms = usize::try_from(head.n_atoms).ok();
        let given = |size, vectors| (size > 0).then_some(vectors).map(Vectors::any);
        frame.positions = given(x, &self.positions);
        frame.velocities = given(v, &self.velocities);
        frame.forces = given(f, &self.forces);
        if let Some(cell) = cell.filter(|cell| cell.as_flattened().iter().any(|number| *number != 0.0)) {
            frame = frame.cell(cell).pbc([true; 3]);
        }
        if head.lambda != 0.0 {
            frame = frame.per_frame("lambda", ndarray::arr0(head.lambda));
        }
        for (name, matrix) in [("virial", virial), ("pressure", pressure)] {
            if let Some(matrix) = matrix {
                frame = frame.per_frame(name, ndarray::arr2(&matrix));
            }
        }
        Ok(frame)
    }
}

impl Frames for Trr {
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
}
