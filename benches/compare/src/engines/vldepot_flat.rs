//! `vldepot-balanced-flat`: frames as a few long arrays, which are reused. Reads what
//! `vldepot-balanced-codec` wrote.
//!
//! It reads all fields that the flat form has. This leaves out the atomic numbers of the molecules,
//! which are an array of the writer's own with one byte for each atom. For each array, the part of each
//! frame is visited by itself.

use std::path::Path;

use vldepot::codecs::{AtomicFrameCodec, AtomicFrameView, Fields, FlatFrames};
use vldepot::{Codec, Depot};

use super::limits::name_of;
use super::{Engine, Keys, Operation, Store, Visit};
use crate::Result;
use crate::data::{Load, Name, Workload, touch};

/// The flat form of `get_many`, on one thread.
pub(crate) struct Flat<'l> {
    load: &'l Load,
    written_by: &'static str,
}

impl<'l> Flat<'l> {
    pub(crate) fn new(load: &'l Load, written_by: &'static str) -> Self {
        Self { load, written_by }
    }
}

impl Engine for Flat<'_> {
    fn name(&self) -> &'static str {
        "vldepot-balanced-flat"
    }

    fn limit(&self) -> Option<&'static str> {
        Some(name_of("balanced"))
    }

    fn supports(&self, operation: Operation) -> bool {
        self.load.workload.is_atomic() && operation == Operation::GetMany
    }

    fn store_of(&self) -> Option<&str> {
        Some(self.written_by)
    }

    fn write(&mut self, _path: &Path) -> Result<()> {
        Err("reads what another wrote".into())
    }

    fn open(&self, path: &Path) -> Result<Box<dyn Store>> {
        let depot = Depot::open(path, AtomicFrameCodec::default())?;
        let all = Fields::POSITIONS | Fields::FORCES | Fields::ENERGY;
        let fields = match self.load.workload {
            Workload::Frames => all | Fields::CELL | Fields::VELOCITIES | Fields::TIME,
            Workload::Organic => all | Fields::TYPES,
            _ => all | Fields::CELL | Fields::STRESS,
        };
        Ok(Box::new(Opened { depot, fields, frames: FlatFrames::new() }))
    }
}

/// An open depot, and the arrays.
struct Opened {
    depot: Depot<AtomicFrameCodec>,
    fields: Fields,
    frames: FlatFrames,
}

/// Visits frame `nth`'s part of each array. Arrays that were not asked for are empty.
fn visit_frame(frames: &FlatFrames, nth: usize, visit: Visit) {
    let atoms = frames.offsets[nth]..frames.offsets[nth + 1];
    for vectors in [&frames.positions, &frames.velocities, &frames.forces] {
        if let Some(vectors) = vectors.get(atoms.clone()) {
            visit(bytemuck::cast_slice(vectors));
        }
    }
    for numbers in [&frames.energy, &frames.time] {
        numbers.get(nth).into_iter().for_each(|number| visit(bytemuck::bytes_of(number)));
    }
    for matrices in [&frames.cell, &frames.stress] {
        matrices.get(nth).into_iter().for_each(|matrix| visit(bytemuck::bytes_of(matrix)));
    }
}

/// Visits the same parts of a single frame.
fn visit_view(frame: &AtomicFrameView<'_>, visit: Visit) {
    for vectors in [Some(frame.positions()), frame.velocities(), frame.forces()].iter().flatten() {
        vectors.as_slice().into_iter().for_each(|numbers| visit(bytemuck::cast_slice(numbers)));
    }
    for number in [frame.energy(), frame.time()].iter().flatten() {
        visit(bytemuck::bytes_of(number));
    }
    for matrix in [frame.cell(), frame.stress()].iter().flatten() {
        matrix.as_slice().into_iter().for_each(|numbers| visit(bytemuck::cast_slice(numbers)));
    }
}

impl Opened {
    /// Reads the frames of `names`, in that order.
    fn load(&mut self, names: &[&str]) -> Result<&FlatFrames> {
        self.depot.get_many_flat_into(names, self.fields, &mut self.frames)?;
        Ok(&self.frames)
    }
}

impl Store for Opened {
    fn lookup(&mut self, _number: usize, name: &str) -> Result<bool> {
        Ok(self.depot.contains(name)?)
    }

    fn get(&mut self, _number: usize, name: &str, visit: Visit) -> Result<()> {
        visit_frame(self.load(&[name])?, 0, visit);
        Ok(())
    }

    fn get_many(&mut self, keys: Keys, visit: Visit) -> Result<()> {
        let frames = self.load(keys.names)?;
        (0..frames.len()).for_each(|nth| visit_frame(frames, nth, visit));
        Ok(())
    }

    fn scan(&mut self, visit: Visit) -> Result<()> {
        for entry in &self.depot {
            visit_view(&entry?.1.view(), visit);
        }
        Ok(())
    }

    fn touched(&self, load: &Load, number: usize) -> u64 {
        let codec = AtomicFrameCodec::default();
        let frame = codec.view(load.record(number)).expect("the records are frames");
        let mut sum = 0_u64;
        visit_view(&frame, &mut |bytes| sum = sum.wrapping_add(touch(bytes)));
        sum
    }

    fn verify(&mut self, load: &Load) -> Result<()> {
        const FRAMES: usize = 512;
        let codec = AtomicFrameCodec::default();
        for first in (0..load.len()).step_by(FRAMES) {
            let numbers: Vec<usize> = (first..load.len().min(first + FRAMES)).rev().collect();
            let names: Vec<Name> = numbers.iter().map(|&number| Name::new(number)).collect();
            let names: Vec<&str> = names.iter().map(Name::as_str).collect();
            let frames = self.load(&names)?;
            for (nth, &number) in numbers.iter().enumerate() {
                let (mut read, mut written): (Vec<Vec<u8>>, Vec<Vec<u8>>) = (Vec::new(), Vec::new());
                visit_frame(frames, nth, &mut |bytes| read.push(bytes.to_vec()));
                visit_view(&codec.view(load.record(number))?, &mut |bytes| written.push(bytes.to_vec()));
                if read != written {
                    return Err(format!("record {number} is not what was written").into());
                }
            }
        }
        if self.depot.len() != load.len() as u64 {
            return Err(format!("{} of {} records", self.depot.len(), load.len()).into());
        }
        Ok(())
    }
}
