//! The `vldepot` command.
//!
//! ```text
//! cmd       one file per verb, and the list of them
//! print     one file per codec whose records can be shown, and the list of them
//! name      names as arguments
//! archive   paths as arguments, and what the verbs on archives share
//! progress  a bar for long work
//! failure   exit codes, and how errors are reported
//! system    standard output and signals
//! text      numbers, dates and names for people
//! ```

mod archive;
mod cmd;
mod failure;
mod name;
mod print;
mod progress;
mod system;
mod text;

use std::io::{BufWriter, Write};
use std::process::ExitCode;

use clap::Parser;

use failure::Failure;

/// Inspect, verify, repair and compact vldepot files: compressed depots of named records.
#[derive(Parser)]
#[command(name = "vldepot", version, max_term_width = 100, after_help = failure::EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    verb: cmd::Verb,
}

/// Large enough to print a record of a few KiB in few writes. The buffer of stdout would write after
/// each line.
const OUT_BUFFER: usize = 64 << 10;

fn main() -> ExitCode {
    system::ignore_file_size_signal();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refused(&error),
    };
    let result = output().and_then(|mut out| {
        let done = if cli.verb.prints_json() {
            cli.verb.run(&mut text::JsonWriter(&mut out))
        } else {
            cli.verb.run(&mut out)
        };
        // Flush after a failure too: what the verb printed before it is still useful.
        let flushed = out.flush().map_err(Failure::from);
        done.and(flushed)
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(cli.verb.json()),
    }
}

fn output() -> Result<BufWriter<Box<dyn Write>>, Failure> {
    Ok(BufWriter::with_capacity(OUT_BUFFER, system::stdout()?))
}

/// Prints what clap returns instead of a command: help, the version, or an error in the arguments.
fn refused(error: &clap::Error) -> ExitCode {
    let message = error.render().to_string();
    if !error.use_stderr() {
        let told = output().and_then(|mut out| {
            out.write_all(message.as_bytes())?;
            Ok(out.flush()?)
        });
        return told.map_or_else(|failure| failure.report(false), |()| ExitCode::SUCCESS);
    }
    // The arguments did not parse, so only the raw ones say whether JSON was asked for.
    if std::env::args_os().any(|argument| argument == "--json") {
        let sentence = message.split("\n\nUsage").next().unwrap_or_default().trim_start_matches("error: ");
        return Failure::usage(sentence.split_whitespace().collect::<Vec<_>>().join(" ")).report(true);
    }
    if let Some(message) = message.strip_prefix("error: ") {
        return Failure::arguments(message.trim_end()).report(false);
    }
    // No verb was given, so this is the help.
    let _ = error.print();
    ExitCode::from(failure::USAGE)
}
