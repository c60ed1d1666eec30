//! Runs a simulation of liquid argon into a depot, then reads the depot back and checks it.
//!
//! ```text
//! cargo run --release --example lennard_jones
//! ```
//!
//! See [`simulate`] for how a program writes frames while it runs, and [`report::check`] for how another
//! program reads them.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::needless_range_loop,
    reason = "numerical code"
)]

mod report;
mod simulation;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use vldepot::codecs::{AtomicFrame, AtomicFrameCodec, Topology};
use vldepot::storage::StagedFile;
use vldepot::{CommitEvery, Depot, Layout, WriteOptions};

use simulation::{MASS, Simulation};

const DEFAULT_OUTPUT: &str = "lennard_jones.vld";
/// Stored in the depot's metadata. It tells this example's files from others.
const PROGRAM: &str = "vldepot example lennard_jones";
const TOPOLOGY: &str = "topology";

const STEPS_BETWEEN_FRAMES: u64 = 10;
/// The time step, in ps.
const TIME_STEP: f64 = 0.004;
/// The temperature of the lattice, in kelvin. The liquid has about half of it.
const START_TEMPERATURE: f64 = 180.0;
const SEED: u64 = 1964;

const HELP: &str = "\
Simulates liquid argon, stores every tenth step in a depot, reads the depot back and checks it.

Usage: lennard_jones [OPTIONS]

  --output PATH   where to write [lennard_jones.vld, which a later run replaces]
  --force         replace the file given by --output
  --atoms N       rounded to 4 n^3, which an fcc lattice takes; at least 256 [4000]
  --frames N      frames to store [300]
  --preset NAME   balanced, fast, compact or uncompressed [balanced]
  --quiet         no progress bar
  --help          this text";

struct Args {
    output: Option<PathBuf>,
    force: bool,
    atoms: usize,
    frames: usize,
    preset: String,
    quiet: bool,
}

/// `None` if only help was wanted.
fn parse_args() -> Result<Option<Args>, lexopt::Error> {
    use lexopt::prelude::*;
    let mut args = Args {
        output: None,
        force: false,
        atoms: 4000,
        frames: 300,
        preset: Layout::PRESETS[0].to_owned(),
        quiet: false,
    };
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("output") => args.output = Some(parser.value()?.into()),
            Long("force") => args.force = true,
            Long("atoms") => args.atoms = parser.value()?.parse()?,
            Long("frames") => args.frames = parser.value()?.parse()?,
            Long("preset") => args.preset = parser.value()?.string()?,
            Long("quiet") => args.quiet = true,
            Short('h') | Long("help") => return Ok(None),
            _ => return Err(arg.unexpected()),
        }
    }
    if args.frames == 0 {
        return Err("--frames 0: there must be at least one".into());
    }
    Ok(Some(args))
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("lennard_jones: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns whether everything that was read back is right.
fn run() -> Result<bool, Box<dyn Error>> {
    let Some(args) = parse_args()? else {
        println!("{HELP}");
        return Ok(true);
    };
    let options = args.preset.parse::<Layout>()?;
    let output = args.output.clone().unwrap_or_else(|| DEFAULT_OUTPUT.into());
    let new = begin(&output, &args)?;
    let atoms = simulation::lattice_atoms(args.atoms);
    if atoms != args.atoms {
        eprintln!("{} atoms do not fill an fcc lattice; taking {atoms}", args.atoms);
    }

    let written = simulate(new, &output, &args, &options)?;
    report::check(&output, &written)
}

/// Begins a new file, which may replace only the file of an earlier run.
fn begin(output: &Path, args: &Args) -> Result<StagedFile, Box<dyn Error>> {
    if output.exists() && !args.force {
        let path = output.display();
        if args.output.is_some() {
            return Err(format!("{path} exists; --force replaces it").into());
        }
        let ours = Depot::open(output, AtomicFrameCodec::any())
            .and_then(|depot| depot.depot_metadata::<String>("program"))
            .map_err(|error| format!("{error}; --force replaces {path}"))?;
        if ours.as_deref() != Some(PROGRAM) {
            return Err(format!("{path} is not of this example; --force replaces it").into());
        }
    }
    // This takes the writer's lock of the old file, so it fails while a run is still under way.
    Ok(StagedFile::replace(output)?)
}

/// What was written, for [`report::check`] to compare with the file.
struct Written {
    frames: Vec<FrameSum>,
    n_atoms: usize,
    /// Time of the whole run.
    elapsed: Duration,
    /// Time inside `put`, including automatic commits.
    putting: Duration,
    /// Time inside `close`.
    closing: Duration,
}

/// The name of a frame, and a checksum of its arrays.
struct FrameSum {
    name: String,
    sum: u32,
}

fn simulate(new: StagedFile, output: &Path, args: &Args, preset: &Layout) -> Result<Written, Box<dyn Error>> {
    let begin = Instant::now();
    let mut fluid = Simulation::new(args.atoms, START_TEMPERATURE, TIME_STEP, SEED);
    let n_atoms = fluid.velocities.len();

    // A killed run loses what came after the last commit: at most 50 frames, or 5 seconds.
    let often = CommitEvery::records(50).with_interval(Duration::from_secs(5));
    let options = preset.clone();
    let codec = AtomicFrameCodec::default().with_n_atoms(n_atoms);
    // The depot starts with what never changes in it. Only then does it replace the file of an earlier
    // run. It grows from then on, and readers find the frames committed so far.
    let depot = Depot::builder(codec.clone()).layout(options).create_in(new.storage())?;
    depot.set_depot_metadata("program", PROGRAM)?;
    depot.set_depot_metadata("time_step_ps", &TIME_STEP)?;
    let topology = Topology::new()
        .types(vec![18_i32; n_atoms])
        .masses(vec![MASS as f32; n_atoms])
        .names((0..n_atoms).map(|_| "Ar"));
    depot.put(TOPOLOGY, &AtomicFrame::new().n_atoms(n_atoms).topology(topology))?;
    depot.close()?;
    new.publish()?;
    let depot = Depot::builder(codec)
        .write_options(WriteOptions::default().with_commit_every(often))
        .append(output)?;

    let edge = fluid.edge;
    let cell = [[edge, 0.0, 0.0], [0.0, edge, 0.0], [0.0, 0.0, edge]];
    let bar = progress_bar(args, "simulating");
    let mut putting = Duration::ZERO;
    let mut frames = Vec::with_capacity(args.frames);
    for number in 0..args.frames {
        if number > 0 {
            fluid.advance(STEPS_BETWEEN_FRAMES);
        }
        let name = format!("frame_{number:06}");
        let (positions, velocities, forces) =
            (singles(&fluid.wrapped()), singles(&fluid.velocities), singles(&fluid.forces));

        let start = Instant::now();
        let frame = AtomicFrame::new()
            .topology_name(TOPOLOGY)
            .step(fluid.step.cast_signed())
            .time(fluid.time())
            .positions(&positions)
            .velocities(&velocities)
            .forces(&forces)
            .cell(cell)
            .pbc([true; 3])
            .energy(fluid.potential)
            .per_frame("kinetic_energy", fluid.kinetic());
        depot.put(&name, &frame)?;
        putting += start.elapsed();

        let sum = report::checksum([&positions, &velocities, &forces].map(|array| array.as_flattened()));
        frames.push(FrameSum { name, sum });
        bar.inc(1);
    }
    let start = Instant::now();
    depot.close()?;
    let closing = start.elapsed();
    bar.finish_and_clear();
    Ok(Written { frames, n_atoms, elapsed: begin.elapsed(), putting, closing })
}

fn singles(vectors: &[[f64; 3]]) -> Vec<[f32; 3]> {
    vectors.iter().map(|vector| vector.map(|x| x as f32)).collect()
}

/// A bar on stderr. Shows nothing if that is not a terminal.
fn progress_bar(args: &Args, what: &'static str) -> ProgressBar {
    let target = if args.quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} frames, {eta} left")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(Some(args.frames as u64), target).with_style(style).with_message(what)
}
