//! Follows a simulation that another program writes into a depot.
//!
//! It prints the step, time and energy of each frame as it comes, and says when the run went back to an
//! earlier step.
//!
//! ```text
//! cargo run --release --example lennard_jones -- --frames 2000 --force --output run.vld &
//! cargo run --release --example follow_run -- run.vld
//! ```
//!
//! [`Follower::look`] does all of the following. It only reads, so Ctrl-C may end it at any time.

use std::error::Error as StdError;
use std::io::{self, BufWriter, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use vldepot::codecs::AtomicFrameCodec;
use vldepot::{Depot, Error, ErrorKind};

const HELP: &str = "\
Follows a simulation that another program writes into a depot.

Usage: follow_run [OPTIONS] FILE

  --interval S     seconds between two looks [1]
  --until-step N   end when a frame of step N, or after it, is there
  --once           print what is there, and end
  --quiet          print only where the run went back, and how it ended
  --help           this text

Without --until-step and --once it goes on until Ctrl-C.";

struct Args {
    file: PathBuf,
    interval: Duration,
    until_step: Option<i64>,
    once: bool,
    quiet: bool,
}

/// `None` if only help was wanted.
fn parse_args() -> Result<Option<Args>, lexopt::Error> {
    use lexopt::prelude::*;
    let (mut file, mut interval) = (None, Duration::from_secs(1));
    let (mut until_step, mut once, mut quiet) = (None, false, false);
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Value(path) if file.is_none() => file = Some(PathBuf::from(path)),
            Long("interval") => interval = parser.value()?.parse_with(seconds)?,
            Long("until-step") => until_step = Some(parser.value()?.parse()?),
            Long("once") => once = true,
            Long("quiet") => quiet = true,
            Short('h') | Long("help") => return Ok(None),
            _ => return Err(arg.unexpected()),
        }
    }
    let file = file.ok_or("which depot? see --help")?;
    Ok(Some(Args { file, interval, until_step, once, quiet }))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().map_err(|_| "a number of seconds, such as 0.5")?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        // The reader of the output has seen enough: `follow_run run.vld | head`.
        Err(error) if is_closed_pipe(&*error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("follow_run: {}", with_causes(&*error));
            ExitCode::FAILURE
        }
    }
}

fn is_closed_pipe(error: &(dyn StdError + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn with_causes(error: &dyn StdError) -> String {
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {}", with_causes(cause)))
}

fn run() -> Result<(), Box<dyn StdError>> {
    // The message of this error already includes its cause.
    let Some(args) = parse_args().map_err(|error| error.to_string())? else {
        println!("{HELP}");
        return Ok(());
    };
    let mut out = BufWriter::new(io::stdout().lock());
    let mut follower = Follower::open(&args)?;
    loop {
        follower.look(&mut out)?;
        out.flush()?;
        if args.once || follower.is_done() {
            writeln!(out, "{} frames, up to step {}", follower.n_frames(), follower.last_step())?;
            return Ok(out.flush()?);
        }
        std::thread::sleep(args.interval);
    }
}

/// A depot, and what was read of it so far.
struct Follower<'a> {
    args: &'a Args,
    depot: Depot<AtomicFrameCodec>,
    /// The step of each record, by position. `None` for a record that is no frame, such as a topology.
    steps: Vec<Option<i64>>,
}

impl<'a> Follower<'a> {
    fn open(args: &'a Args) -> Result<Self, Error> {
        let depot = Depot::open(&args.file, AtomicFrameCodec::any())?;
        Ok(Self { args, depot, steps: Vec::new() })
    }

    /// Prints what is new.
    fn look(&mut self, out: &mut impl io::Write) -> Result<(), Box<dyn StdError>> {
        let refreshed = match self.depot.refresh() {
            Ok(refreshed) => refreshed,
            Err(error) if matches!(error.kind(), ErrorKind::Replaced) => {
                writeln!(out, "another file is in place of the one that was read: all again")?;
                *self = Self::open(self.args)?;
                return self.read_on(out);
            }
            Err(error) => return Err(error.into()),
        };
        if let Some(kept) = refreshed.went_back() {
            let kept = usize::try_from(kept)?;
            self.go_back(kept, out)?;
        }
        self.read_on(out)
    }

    /// Drops the records that the run went back over.
    fn go_back(&mut self, kept: usize, out: &mut impl io::Write) -> io::Result<()> {
        // Nothing was read before the first look.
        let void = self.steps.split_off(kept.min(self.steps.len()));
        let mut void = void.iter().flatten();
        if let Some(first) = void.next() {
            let last = void.next_back().unwrap_or(first);
            writeln!(out, "the run went back: frames of steps {first} to {last} are void")?;
        }
        Ok(())
    }

    /// Reads the records after those that were read already.
    fn read_on(&mut self, out: &mut impl io::Write) -> Result<(), Box<dyn StdError>> {
        for position in self.steps.len() as u64..self.depot.len() {
            let record = self.depot.get_at(position)?;
            let frame = record.view();
            self.steps.push(frame.step());
            let Some(step) = frame.step().filter(|_| !self.args.quiet) else { continue };
            let or_none = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.3}"));
            let (time, energy) = (or_none(frame.time()), or_none(frame.energy()));
            writeln!(out, "step {step:>8}   time {time:>10} ps   energy {energy:>12} kJ/mol")?;
        }
        Ok(())
    }

    fn n_frames(&self) -> usize {
        self.steps.iter().flatten().count()
    }

    fn last_step(&self) -> String {
        self.steps.iter().flatten().next_back().map_or("-".into(), i64::to_string)
    }

    /// Whether the requested step is there.
    fn is_done(&self) -> bool {
        self.args.until_step.is_some_and(|until| self.steps.iter().flatten().any(|&step| step >= until))
    }
}
