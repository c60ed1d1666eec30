//! The `vldepot` command.
//!
//! ```text
//! cmd       one file per verb, and the list of them
//! print     one file per codec whose records can be shown, and the list of them
//! name      names as arguments
//! archive   paths as arguments, and what the verbs on archives share
//! records   which records are meant, and how they are copied
//! report    pages that show what is in a depot
//! progress  a bar for long work
//! failure   exit codes, and how errors are reported
//! system    standard output, signals and mounts
//! filesystem an archive as the kernel reads it (feature `mount`)
//! text      numbers, dates and names for people
//! ```

mod archive;
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of a verb")]
mod cmd;
mod failure;
#[cfg(all(feature = "mount", target_os = "linux"))]
mod filesystem;
mod name;
mod print;
mod progress;
mod records;
mod report;
mod system;
mod text;

use std::io::{BufWriter, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use failure::Failure;

/// Inspect, verify, repair and compact vldepot files: compressed depots of named records.
#[derive(Parser)]
#[command(name = "vldepot", version, max_term_width = 100, after_help = failure::EXIT_CODES)]
struct Cli {
    /// Show no progress and no summary. Errors are shown.
    #[arg(long, short, global = true, display_order = 900)]
    quiet: bool,
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
    if cli.quiet {
        progress::be_quiet();
    }
    let result = output().and_then(|mut out| {
        let done = if cli.verb.prints_json() {
            cli.verb.run(&mut text::JsonWriter(&mut out))
        } else {
            cli.verb.run(&mut out)
        };
        // Flush after a failure too: what the verb printed before it is still useful.
        let flushed = out.flush().map_err(Failure::from);
        match (done, flushed) {
            // A difference that was found, and could not be told of.
            (Err(found), Err(failed)) if found.is_quiet() && !failed.is_quiet() => Err(failed),
            (done, flushed) => done.and(flushed),
        }
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(cli.verb.json()),
    }
}

/// The command line, from which help, man pages and completions are made.
fn command() -> clap::Command {
    Cli::command()
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
    if std::env::args_os().any(|argument| argument == "--json" || argument == "--jsonl") {
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use clap::{Arg, Command};

    /// The reference, in sections by their titles.
    struct Reference(Vec<(String, String)>);

    impl Reference {
        fn read() -> Self {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/command.md");
            let text = std::fs::read_to_string(path).unwrap();
            let mut sections = vec![(String::new(), String::new())];
            for line in text.lines() {
                match line.strip_prefix("## ") {
                    Some(title) => sections.push((title.to_owned(), String::new())),
                    None => sections.last_mut().unwrap().1.extend([line, "\n"]),
                }
            }
            Self(sections)
        }

        fn section(&self, title: &str) -> Option<&str> {
            self.0.iter().find(|(found, _)| found == title).map(|(_, text)| text.as_str())
        }

        /// The section of a verb, and those of the verbs whose options it says to have.
        fn of_verb(&self, verb: &str) -> String {
            let own = self.section(verb).unwrap_or_else(|| panic!("command.md has no section `## {verb}`"));
            let others = own.split("the options of [`").skip(1).filter_map(|rest| rest.split('`').next());
            let others = others.map(|other| self.section(other).unwrap_or_default());
            std::iter::once(own).chain(others).collect::<Vec<_>>().join("\n")
        }
    }

    /// Options as they stand in a text, such as `--json` and `-n`.
    fn options_in(text: &str) -> BTreeSet<String> {
        let is_of_option = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let words = text.split(|c: char| !is_of_option(c));
        words.filter(|word| word.len() > 1 && word.starts_with('-')).map(str::to_owned).collect()
    }

    fn names(arg: &Arg) -> Vec<String> {
        let long = arg.get_long().map(|name| format!("--{name}"));
        let short = arg.get_short().map(|name| format!("-{name}"));
        let aliases = arg.get_visible_aliases().unwrap_or_default();
        let aliases = aliases.into_iter().map(|name| format!("--{name}"));
        long.into_iter().chain(short).chain(aliases).collect()
    }

    fn is_told_for_all(arg: &Arg) -> bool {
        arg.is_global_set() || arg.get_id() == "help"
    }

    fn command() -> Command {
        let mut command = super::command();
        command.build();
        command
    }

    #[test]
    fn the_reference_has_every_verb_and_every_option() {
        let reference = Reference::read();
        let introduction = reference.section("").unwrap();
        let command = command();
        let mut missing = Vec::new();
        let for_all = options_in(reference.section("Every verb").unwrap());
        for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
            let verb_name = verb.get_name();
            assert!(
                introduction.contains(&format!("[`{verb_name}`](#{verb_name})")),
                "no row for {verb_name}"
            );
            let told = options_in(&reference.of_verb(verb_name));
            for arg in verb.get_arguments().filter(|arg| !arg.is_hide_set()) {
                let told = if is_told_for_all(arg) { &for_all } else { &told };
                for name in names(arg) {
                    let is_told = told.contains(&name) || name == "--jsonl" && for_all.contains(&name);
                    if !is_told {
                        missing.push(format!("{name} of {verb_name}"));
                    }
                }
            }
        }
        assert!(missing.is_empty(), "command.md does not tell of {}", missing.join(", "));
    }

    #[test]
    fn the_reference_has_no_option_that_is_gone() {
        let reference = Reference::read();
        let command = command();
        for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
            let all: BTreeSet<String> = verb.get_arguments().flat_map(names).collect();
            let own = reference.section(verb.get_name()).unwrap();
            let rows = own.lines().filter(|line| line.starts_with("| `-"));
            for row in rows {
                let cell = row.split(" | ").next().unwrap();
                for name in options_in(cell) {
                    assert!(all.contains(&name), "command.md tells of {name} of {}", verb.get_name());
                }
            }
        }
    }

    #[test]
    fn the_command_line_is_sound() {
        super::command().debug_assert();
    }
}
