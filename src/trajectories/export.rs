//! Frames of a depot, written in the format of another program.

use std::collections::BTreeSet;
use std::io::Write;

use serde::Serialize;

use super::error::{ImportError, Result};
use super::format::Format;
use super::units::Conversion;
use super::write::{Atoms, FrameWriter, Refused};
use super::{write_extxyz, write_trr, write_xtc};
use crate::codecs::{AtomicFrameCodec, Units};
use crate::maintain::Progress;
use crate::{CodecError, Depot};

/// What to export, and how. See [`export`].
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ExportOptions {
    /// Steps per nm to which XTC rounds positions. By default those of the XTC file that was imported, else
    /// 1000.
    pub steps_per_nm: Option<f32>,
}

impl ExportOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`steps_per_nm`](Self#structfield.steps_per_nm).
    #[must_use]
    pub fn with_steps_per_nm(mut self, steps: f32) -> Self {
        self.steps_per_nm = Some(steps);
        self
    }
}

/// What was exported.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct Exported {
    /// How many frames were written.
    pub frames: u64,
    /// Records that are no frames, such as topologies.
    pub others: u64,
    /// What frames have, and the format has no place for: `velocities`, `energy` and so on.
    pub left_out: BTreeSet<String>,
    /// Whether numbers were converted to other units.
    pub converted: bool,
    /// How many frames have no time, and got their number.
    pub without_time: u64,
}

/// Writes the frames of a depot, in their order.
///
/// XTC, TRR and extended XYZ are written, in their units. Records without positions, velocities and forces
/// are passed over.
///
/// ```
/// use vldepot::Depot;
/// use vldepot::codecs::{AtomicFrame, AtomicFrameCodec};
/// use vldepot::trajectories::{ExportOptions, Format, Trajectory, export};
///
/// let depot = Depot::memory(AtomicFrameCodec::default())?;
/// depot.put(0, &AtomicFrame::new().positions(&vec![[0.0_f32, 0.1, 0.2]; 3]).step(7).time(1.5))?;
/// let mut file = Vec::new();
/// let done = export(&depot, &mut file, Format::Trr, &ExportOptions::new(), |_| ())?;
/// assert_eq!(done.frames, 1);
/// let mut again = Trajectory::from_bytes("run.trr", file)?;
/// assert_eq!(again.next_frame()?.unwrap().frame.step, Some(7));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// - [`ImportError::Frame`] when a frame has something that the format cannot hold: a step beyond 32 bits, or
///   for XTC
///   no positions, or such that are not finite or too far out.
/// - [`ImportError::Options`] for a format that is not written, and for a unit that is not known.
/// - [`ImportError::Write`], [`ImportError::Depot`].
pub fn export(
    depot: &Depot<AtomicFrameCodec>,
    target: impl Write,
    format: Format,
    options: &ExportOptions,
    mut progress: impl FnMut(Progress),
) -> Result<Exported> {
    let stored = depot.stored_codec();
    let units = if stored.id == "atomic_frame" {
        AtomicFrameCodec::from_parameters(&stored.parameters).map(|codec| codec.units()).unwrap_or_default()
    } else {
        Units::gromacs()
    };
    let mut writer: Box<dyn FrameWriter> = match format {
        Format::Xtc => {
            let steps = options.steps_per_nm.or_else(|| imported_precision(depot)).unwrap_or(1000.0);
            if !(steps.is_finite() && steps > 0.0) {
                return Err(ImportError::options(format!("{steps} steps per nm: more than 0 are expected")));
            }
            Box::new(write_xtc::Writer::new(target, steps))
        }
        Format::Trr => Box::new(write_trr::Writer::new(target)),
        Format::ExtXyz => Box::new(write_extxyz::Writer::new(target)),
        _ => {
            return Err(ImportError::options(format!(
                "{format} is not written: XTC, TRR and extended XYZ are"
            )));
        }
    };
    let conversion = Conversion::new(&units, &writer.units())?;
    let mut done = Exported { converted: conversion.is_some(), ..Exported::default() };
    let total = depot.len();
    let are_numbers = are_atomic_numbers(depot, &units)?;
    let mut atoms = Atoms::default();
    for (nth, found) in depot.iter().enumerate() {
        let (key, record) = found?;
        let refused = |why: String| ImportError::Frame { name: key.to_string(), why };
        let wrong = |error: CodecError| refused(error.to_string());
        let mut frame = record.view().to_frame().map_err(wrong)?;
        if frame.positions.is_none() && frame.velocities.is_none() && frame.forces.is_none() {
            done.others += 1;
            continue;
        }
        if let Some(conversion) = &conversion {
            conversion.apply(&mut frame);
        }
        if frame.time.is_none() {
            done.without_time += 1;
        }
        if format == Format::ExtXyz {
            atoms.follow(&frame, depot, are_numbers)?;
        }
        writer.write(&frame, &atoms, done.frames, &mut done.left_out).map_err(|error| match error {
            Refused::Frame(why) => refused(why),
            Refused::Write(error) => ImportError::Write(error),
        })?;
        done.frames += 1;
        progress(Progress { done: nth as u64 + 1, total });
    }
    writer.finish().map_err(ImportError::Write)?;
    Ok(done)
}

/// Programs whose depots have atomic numbers as types.
const WITH_NUMBERS: [&str; 4] = ["openmm", "mdanalysis", "mdtraj", "chemfiles"];

/// Whether a depot says that types are atomic numbers, as the Python package takes it.
fn are_atomic_numbers(depot: &Depot<AtomicFrameCodec>, units: &Units) -> Result<bool> {
    let mut are_numbers = units.time == Units::ase().time;
    for name in WITH_NUMBERS {
        are_numbers |= depot.depot_metadata::<serde_json::Value>(name)?.is_some();
    }
    let imported: Option<serde_json::Value> = depot.depot_metadata("imported")?;
    Ok(are_numbers || imported.is_some_and(|imported| imported["atomic_numbers"] == true))
}

/// The precision of the XTC file that the depot was made of.
fn imported_precision(depot: &Depot<AtomicFrameCodec>) -> Option<f32> {
    let about: serde_json::Value = depot.depot_metadata("xtc").ok()??;
    #[expect(clippy::cast_possible_truncation, reason = "it was an f32")]
    about.get("steps_per_nm")?.as_f64().map(|steps| steps as f32)
}
