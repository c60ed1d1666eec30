//! Imports a GROMACS trajectory (`.xtc`) into a depot, frame by frame, then compares the two.
//!
//! ```text
//! cargo run --release --example import_trajectory -- run.xtc
//! ```
//!
//! [`import`] keeps one frame in memory, however long the trajectory is. For another format, only the
//! reading of a frame changes. The depot appears when all is imported and compared. Only then is a file
//! that `--force` replaces removed.

use std::error::Error;
use std::fs::File;
use std::io::{BufReader, Seek, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use molly::XTCReader;
use vldepot::codecs::{AtomicFrame, AtomicFrameCodec, AtomicFrameView};
use vldepot::storage::{StagedFile, Storage};
use vldepot::{Depot, ErrorKind, Layout};

const HELP: &str = "\
Imports a GROMACS trajectory into a depot, then compares the two.

Usage: import_trajectory [OPTIONS] INPUT.xtc

  --output PATH   where to write [the input's name, ending in .vld]
  --force         replace PATH
  --preset NAME   balanced, fast, compact or uncompressed [balanced]
  --quiet         no progress bar
  --help          this text";

struct Args {
    input: PathBuf,
    output: PathBuf,
    force: bool,
    options: Layout,
    quiet: bool,
}

/// `None` if only help was wanted.
fn parse_args() -> Result<Option<Args>, Box<dyn Error>> {
    use lexopt::prelude::*;
    let (mut input, mut output, mut force, mut quiet) = (None, None, false, false);
    let mut options = Layout::default();
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Value(path) if input.is_none() => input = Some(PathBuf::from(path)),
            Long("output") => output = Some(PathBuf::from(parser.value()?)),
            Long("force") => force = true,
            Long("preset") => options = parser.value()?.string()?.parse::<Layout>()?,
            Long("quiet") => quiet = true,
            Short('h') | Long("help") => return Ok(None),
            _ => return Err(arg.unexpected().into()),
        }
    }
    let input = input.ok_or("which trajectory? see --help")?;
    let output = output.unwrap_or_else(|| input.with_extension("vld"));
    Ok(Some(Args { input, output, force, options, quiet }))
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("import_trajectory: {}", with_causes(&*error));
            ExitCode::FAILURE
        }
    }
}

fn with_causes(error: &dyn Error) -> String {
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {}", with_causes(cause)))
}

fn run() -> Result<(), Box<dyn Error>> {
    let Some(args) = parse_args()? else {
        println!("{HELP}");
        return Ok(());
    };
    let mut trajectory = Trajectory::open(&args.input, args.quiet)?;
    let new = begin(&args)?;
    let start = Instant::now();
    import(&mut trajectory, new.storage(), &args)?;
    let importing = start.elapsed().as_secs_f64();
    trajectory.bar.finish_and_clear();
    let same = compare(new.storage(), &args)?;
    new.publish()?;

    let info = Depot::open(&args.output, AtomicFrameCodec::default())?.info()?;
    let report = format!(
        "{}
  frames      {}, of {} atoms, imported in {importing:.2} s
  compared    bit for bit with {}: {same} frames the same
  raw         {:>10} bytes
  depot       {:>10} bytes, {:.2} times smaller
  XTC         {:>10} bytes

XTC rounds positions to 1/{} nm and packs what remains; the depot keeps the f32 numbers it is given, every bit,
and velocities, forces and energies if there are any. So the XTC is the smaller one of the two.
",
        args.output.display(),
        info.records,
        trajectory.frame.natoms(),
        args.input.display(),
        info.raw_bytes,
        info.file_bytes,
        info.ratio,
        trajectory.len,
        trajectory.frame.precision,
    );
    // A reader who has seen enough (`| head`) is no error.
    let _ = std::io::stdout().write_all(report.as_bytes());
    Ok(())
}

/// Begins the new file, beside its final place.
fn begin(args: &Args) -> Result<StagedFile, Box<dyn Error>> {
    let output = &args.output;
    if output.exists() && args.input.canonicalize()? == output.canonicalize()? {
        return Err(format!("{} is the trajectory itself: choose another --output", output.display()).into());
    }
    if args.force {
        return Ok(StagedFile::replace(output)?);
    }
    StagedFile::create(output).map_err(|error| match error.kind() {
        ErrorKind::PathExists => format!("{} exists; --force replaces it", output.display()).into(),
        _ => error.into(),
    })
}

/// An XTC file, read frame by frame into one buffer.
struct Trajectory {
    path: PathBuf,
    reader: XTCReader<BufReader<File>>,
    frame: molly::Frame,
    /// Bytes of the file.
    len: u64,
    bar: ProgressBar,
}

impl Trajectory {
    fn open(path: &Path, quiet: bool) -> Result<Self, Box<dyn Error>> {
        let failed = |error| format!("{}: {error}", path.display());
        let file = File::open(path).map_err(failed)?;
        let len = file.metadata().map_err(failed)?.len();
        // Drawn on stderr. Shows nothing if that is not a terminal.
        let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let style = ProgressStyle::with_template("{wide_bar} {bytes}/{total_bytes}, {eta} left")?;
        Ok(Self {
            path: path.to_owned(),
            reader: XTCReader::new(BufReader::new(file)),
            frame: molly::Frame::default(),
            len,
            bar: ProgressBar::with_draw_target(Some(len), target).with_style(style),
        })
    }

    /// The next frame. `None` at the end of the file.
    fn next(&mut self) -> Result<Option<&molly::Frame>, Box<dyn Error>> {
        // The position is checked, because the reader gives the same error for a torn last frame and the
        // end of the file.
        let at = self.reader.file.stream_position()?;
        self.bar.set_position(at);
        if at >= self.len {
            return Ok(None);
        }
        let number = self.reader.step;
        self.reader
            .read_frame(&mut self.frame)
            .map_err(|error| format!("{}: frame {number} at byte {at}: {error}", self.path.display()))?;
        Ok(Some(&self.frame))
    }
}

fn name(number: usize) -> String {
    format!("frame_{number:06}")
}

/// The lattice vectors, one in each row. XTC keeps them as f32, a depot as f64.
fn cell(frame: &molly::Frame) -> [[f64; 3]; 3] {
    frame.boxvec_cols_2d().map(|vector| vector.map(f64::from))
}

/// The step. XTC keeps it as a signed number, but the reader returns its bits as an unsigned one.
fn step(frame: &molly::Frame) -> i64 {
    frame.step.cast_signed().into()
}

fn import(trajectory: &mut Trajectory, storage: Arc<dyn Storage>, args: &Args) -> Result<(), Box<dyn Error>> {
    let depot =
        Depot::builder(AtomicFrameCodec::default()).layout(args.options.clone()).create_in(storage)?;
    depot.set_depot_metadata("imported_from", &args.input.display().to_string())?;
    let mut number = 0;
    while let Some(frame) = trajectory.next()? {
        let (positions, _) = frame.positions.as_chunks::<3>();
        let stored = AtomicFrame::new()
            .positions(positions)
            .cell(cell(frame))
            .step(step(frame))
            .time(frame.time.into());
        depot.put(name(number), &stored)?;
        number += 1;
    }
    Ok(depot.close()?)
}

/// Reads both files again. Returns the number of frames if they are all the same.
fn compare(storage: Arc<dyn Storage>, args: &Args) -> Result<usize, Box<dyn Error>> {
    let mut trajectory = Trajectory::open(&args.input, true)?;
    let depot = Depot::builder(AtomicFrameCodec::default()).open_in(storage)?;
    let mut number = 0;
    while let Some(frame) = trajectory.next()? {
        let name = name(number);
        let record = depot.get(&name)?;
        if !is_same(&record.view(), frame) {
            return Err(format!("{name} in {} is not as in the XTC", args.output.display()).into());
        }
        number += 1;
    }
    if depot.len() != number as u64 {
        return Err(format!("{number} frames in the XTC, {} in the depot", depot.len()).into());
    }
    Ok(number)
}

/// Compares by bits, so that NaN equals itself.
fn is_same(stored: &AtomicFrameView<'_>, frame: &molly::Frame) -> bool {
    let singles = |xs: &[f32]| xs.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    let doubles = |xs: &[f64]| xs.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    let stored_cell = stored.cell().and_then(|stored| stored.as_slice().map(doubles));
    stored.positions().as_slice().map(singles) == Some(singles(&frame.positions))
        && stored_cell == Some(doubles(cell(frame).as_flattened()))
        && stored.step() == Some(step(frame))
        && stored.time().map(f64::to_bits) == Some(f64::from(frame.time).to_bits())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::big_endian_bytes, reason = "XTC is")]

    use super::*;

    /// A frame of an XTC file. It must have so few atoms that XTC stores them uncompressed.
    fn frame(step: i32, time: f32, cell: [f32; 9], positions: &[[f32; 3]]) -> Vec<u8> {
        let n_atoms = i32::try_from(positions.len()).unwrap();
        let mut bytes = [1995, n_atoms, step].map(i32::to_be_bytes).concat();
        let mut singles = |xs: &[f32]| bytes.extend(xs.iter().flat_map(|x| x.to_bits().to_be_bytes()));
        singles(&[time]);
        singles(&cell);
        bytes.extend_from_slice(&n_atoms.to_be_bytes());
        bytes.extend(positions.as_flattened().iter().flat_map(|x| x.to_bits().to_be_bytes()));
        bytes
    }

    #[test]
    fn steps_keep_their_sign_and_nan_is_the_same_as_nan() {
        let folder = tempfile::tempdir().unwrap();
        let input = folder.path().join("run.xtc");
        let steps = [0, -1, i32::MIN, i32::MAX];
        let frames = steps.map(|step| {
            frame(
                step,
                f32::NAN,
                [-0.0, f32::NAN, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0],
                &[[f32::NAN, -0.0, 1.5], [0.1, f32::INFINITY, -2.5]],
            )
        });
        std::fs::write(&input, frames.concat()).unwrap();
        let output = folder.path().join("run.vld");
        let options = Layout::default();
        let args = Args { input, output, force: false, options, quiet: true };
        let new = begin(&args).unwrap();
        import(&mut Trajectory::open(&args.input, true).unwrap(), new.storage(), &args).unwrap();
        assert_eq!(compare(new.storage(), &args).unwrap(), steps.len());
        new.publish().unwrap();
        let depot = Depot::open(&args.output, AtomicFrameCodec::default()).unwrap();
        for (number, step) in steps.into_iter().enumerate() {
            assert_eq!(depot.get(name(number)).unwrap().view().step(), Some(step.into()));
        }
    }
}
