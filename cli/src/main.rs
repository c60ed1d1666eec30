//! The `vldepot` command.
//!
//! ```text
//! cmd       one file per verb, and the list of them
//! print     one file per codec whose records can be shown, and the list of them
//! name      names as arguments
//! progress  a bar for long work
//! failure   exit codes, and how errors are told
//! text      numbers, dates and names for people
//! ```

mod cmd;
mod failure;
mod name;
mod print;
mod progress;
mod text;

use std::io::{BufWriter, Write};
use std::process::ExitCode;

use clap::Parser;

use failure::Failure;

/// Look into vldepot files, compressed depots of named records, and look after them.
#[derive(Parser)]
#[command(name = "vldepot", version, max_term_width = 100, after_help = failure::EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    verb: cmd::Verb,
}

/// Large enough that a record of a few KiB goes out in few writes; stdout's own buffer ends at each line.
const OUT_BUFFER: usize = 64 << 10;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refused(&error),
    };
    let mut out = BufWriter::with_capacity(OUT_BUFFER, std::io::stdout().lock());
    let result = cli.verb.run(&mut out).and(out.flush().map_err(Failure::from));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(cli.verb.json()),
    }
}

/// What clap has to say instead of a command: help, the version, or what is wrong with the arguments.
fn refused(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // Help into a closed pipe is no failure.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let message = error.render().to_string();
    // The arguments did not parse, so that nothing else tells whether JSON was asked for.
    if std::env::args_os().any(|argument| argument == "--json") {
        let sentence = message.split("\n\nUsage").next().unwrap_or_default().trim_start_matches("error: ");
        return Failure::usage(sentence.split_whitespace().collect::<Vec<_>>().join(" ")).report(true);
    }
    if let Some(message) = message.strip_prefix("error: ") {
        return Failure::usage(message.trim_end()).report(false);
    }
    // The help, for want of a verb.
    let _ = error.print();
    ExitCode::from(failure::USAGE)
}
