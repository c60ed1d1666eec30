//! Opens the depot that was written, checks what is in it, times reading, and prints a table.

use std::error::Error;
use std::fmt::{Display, Write as _};
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use vldepot::codecs::{AtomicFrameCodec, AtomicFrameView};
use vldepot::{Depot, Record};

use crate::simulation::{self, Random, Vectors};
use crate::{STEPS_BETWEEN_FRAMES, TIME_STEP, TOPOLOGY, Written};

/// The largest drift of the total energy that passes, as a fraction of the mean kinetic energy.
const MOST_DRIFT: f64 = 1e-3;
/// The largest relative difference that passes between a stored potential energy and that of the stored
/// f32 positions.
const MOST_ROUNDING: f64 = 1e-5;
const FRAMES_TO_RECOMPUTE: usize = 12;
const SINGLE_READS: usize = 1000;
const BATCHES: usize = 50;
const BATCH: usize = 32;

type Frames = Depot<AtomicFrameCodec>;
type Result<T> = std::result::Result<T, Box<dyn Error>>;

pub(crate) fn checksum(arrays: [&[f32]; 3]) -> u32 {
    arrays.iter().fold(0, |sum, array| crc32c::crc32c_append(sum, bytemuck::cast_slice(array)))
}

/// Whether a frame's arrays are as they were stored, by the checksum taken while writing.
fn is_as_written(frame: &AtomicFrameView<'_>, sum: u32) -> bool {
    let (Some(velocities), Some(forces)) = (frame.velocities(), frame.forces()) else { return false };
    match (frame.positions().as_slice(), velocities.as_slice(), forces.as_slice()) {
        (Some(positions), Some(velocities), Some(forces)) => checksum([positions, velocities, forces]) == sum,
        _ => false,
    }
}

/// Time spent in the depot, and the results.
#[derive(Default)]
struct Tally {
    frames: usize,
    bytes: usize,
    spent: Duration,
    wrong: usize,
}

impl Tally {
    /// Times `read`. Then compares the result with what was written, which is not timed.
    fn take(
        &mut self,
        written: &Written,
        numbers: &[usize],
        read: impl FnOnce() -> Result<Vec<Record<AtomicFrameCodec>>>,
    ) -> Result<()> {
        let start = Instant::now();
        let records = read()?;
        self.spent += start.elapsed();
        for (record, &number) in records.iter().zip(numbers) {
            self.frames += 1;
            self.bytes += record.len();
            self.wrong += usize::from(!is_as_written(&record.view(), written.frames[number].sum));
        }
        self.wrong += numbers.len() - records.len();
        Ok(())
    }
}

/// Reads the depot at `path` in every way and prints what was found.
///
/// True if all is as it was written, and the energy was conserved.
pub(crate) fn check(path: &Path, written: &Written) -> Result<bool> {
    let depot = Frames::open(path, AtomicFrameCodec::default())?;
    let info = depot.info()?;
    let n_frames = written.frames.len();

    let mut random = Random(7);
    let mut single = Tally::default();
    for _ in 0..SINGLE_READS {
        let number = random.below(n_frames);
        single.take(written, &[number], || Ok(vec![depot.get(&written.frames[number].name)?]))?;
    }
    let mut batched = Tally::default();
    for _ in 0..BATCHES {
        let numbers = [0; BATCH].map(|_| random.below(n_frames));
        let names = numbers.map(|number| &written.frames[number].name);
        batched.take(written, &numbers, || Ok(depot.get_many(&names)?))?;
    }
    let mut sequential = Tally::default();
    // The first record may cost as much as those that follow it in its chunk.
    let start = Instant::now();
    let mut iter = depot.iter();
    let first = iter.next().transpose()?;
    sequential.spent += start.elapsed();
    let topology_comes_first = first.is_some_and(|(key, _)| key.as_str() == Some(TOPOLOGY));
    for number in 0..n_frames {
        sequential.take(written, &[number], || {
            Ok(iter.next().transpose()?.map(|(_, r)| r).into_iter().collect())
        })?;
    }
    let complete = topology_comes_first && iter.next().is_none();

    let energy = Energies::of(&depot, written)?;
    let topology = depot.get(TOPOLOGY)?;
    let topology = topology.view().topology();
    let masses = topology.and_then(|topology| topology.masses()).map_or(0, |masses| masses.len());

    let raw_bytes = info.raw_bytes as f64;
    let io = written.putting + written.closing;
    let share = 100.0 * io.as_secs_f64() / written.elapsed.as_secs_f64();
    let simulated = ((n_frames - 1) as u64 * STEPS_BETWEEN_FRAMES) as f64 * TIME_STEP;
    let mut table = Table { text: format!("{}\n", path.display()), good: true };
    table.row("frames", format!("{n_frames}, of {} atoms; {simulated:.2} ps of argon", written.n_atoms));
    table.row("raw", format!("{:.1} MB", raw_bytes / 1e6));
    table.row("stored", format!("{:.1} MB, {:.2} times smaller", info.file_bytes as f64 / 1e6, info.ratio));
    table.row("temperature", format!("{:.1} K at the end", energy.last_temperature));
    table
        .row("whole run", format!("{:.2} s, {share:.1} % of it in the depot", written.elapsed.as_secs_f64()));
    table.row("written", rates(n_frames, raw_bytes, io));
    table.row("read by name", rates(single.frames, single.bytes as f64, single.spent));
    table.row(&format!("read {BATCH} at once"), rates(batched.frames, batched.bytes as f64, batched.spent));
    table.row("read in order", rates(sequential.frames, sequential.bytes as f64, sequential.spent));

    let wrong = single.wrong + batched.wrong + sequential.wrong;
    let read = single.frames + batched.frames + sequential.frames;
    table.check(
        "round trip",
        wrong == 0 && complete,
        format!("{} of {read} frames as written", read - wrong),
    );
    table.check("topology", masses == written.n_atoms, format!("of {masses} atoms"));
    table.check(
        "energy drift",
        energy.drift <= MOST_DRIFT,
        format!("{:.1e} of the kinetic energy, at most {MOST_DRIFT:.0e}", energy.drift),
    );
    table.check(
        "energy rounding",
        energy.rounding <= MOST_ROUNDING,
        format!("{:.1e} by f32 positions, at most {MOST_ROUNDING:.0e}", energy.rounding),
    );
    // A reader who has seen enough (`| head`) is no error.
    let _ = std::io::stdout().write_all(table.text.as_bytes());
    Ok(table.good)
}

/// Lines of the report, and whether all checks passed.
struct Table {
    text: String,
    good: bool,
}

impl Table {
    fn row(&mut self, what: &str, value: impl Display) {
        // Writing to a `String` cannot fail.
        let _ = writeln!(self.text, "  {what:<18}{value}");
    }

    fn check(&mut self, what: &str, good: bool, value: impl Display) {
        self.row(what, format_args!("{value}: {}", if good { "good" } else { "WRONG" }));
        self.good &= good;
    }
}

fn rates(frames: usize, bytes: f64, spent: Duration) -> String {
    let seconds = spent.as_secs_f64();
    format!("{:>7.0} frames/s {:>7.0} MB/s", frames as f64 / seconds, bytes / 1e6 / seconds)
}

/// What the stored frames say about energy.
struct Energies {
    drift: f64,
    rounding: f64,
    last_temperature: f64,
}

impl Energies {
    fn of(depot: &Frames, written: &Written) -> Result<Self> {
        let last = written.frames.len() - 1;
        let count = FRAMES_TO_RECOMPUTE.min(last + 1);
        let mut totals = Vec::new();
        let mut mean_kinetic = 0.0;
        let (mut rounding, mut kinetic) = (0.0_f64, 0.0);
        for nth in 0..count {
            let number = if count > 1 { nth * last / (count - 1) } else { 0 };
            let record = depot.get(&written.frames[number].name)?;
            let frame = record.view();
            let edge = frame.cell().map_or(f64::NAN, |cell| cell[[0, 0]]);
            let potential = simulation::potential_energy(&doubles(&frame.positions()), edge);
            kinetic = frame.velocities().map_or(f64::NAN, |v| simulation::kinetic_energy(&doubles(&v)));
            let stored = frame.energy().unwrap_or(f64::NAN);
            // A NaN must not pass, and `max` would drop it.
            let differs = ((potential - stored) / stored).abs();
            rounding = if differs.is_nan() { f64::INFINITY } else { rounding.max(differs) };
            totals.push(potential + kinetic);
            mean_kinetic += kinetic / count as f64;
        }
        let deviation = |total: &f64| ((total - totals[0]) / mean_kinetic).abs();
        let drift = totals
            .iter()
            .map(deviation)
            .fold(0.0, |most: f64, d| if d.is_nan() { f64::INFINITY } else { most.max(d) });
        let last_temperature = simulation::temperature(kinetic, written.n_atoms);
        Ok(Self { drift, rounding, last_temperature })
    }
}

fn doubles(array: &ndarray::ArrayView2<'_, f32>) -> Vectors {
    array.rows().into_iter().map(|row| [row[0], row[1], row[2]].map(f64::from)).collect()
}
