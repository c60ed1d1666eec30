//! vldepot compared with its rivals and with the physical limits: same data, same checks, one run.
//!
//! The crate's `README.md` says how to run it and how to read its output.

mod child;
mod data;
mod engines;
mod goals;
mod organic;
mod report;
mod run;
mod system;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use data::Workload;
use engines::Operation;

/// Any error ends the run.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const HELP: &str = "\
vldepot beside its rivals and beside the physical limits

usage: compare [options]

  --quick               fewer records, still twice the last cache, and fewer rounds
  --workload a|ap|b|c|d|dp
                        only this one; may be given again
  --engine NAME[,NAME]  only these and the limits they are measured against; `vldepot` is all of vldepot's but
                        `compact`, which takes minutes and runs only when named
  --operation OP[,OP]   only these; `epoch` is both kinds of shuffle
  --data DIR            where records and stores are kept (default: a temporary folder); records are used again
  --rounds N            rounds of each operation (default: 5)
  --threads N           threads of the engines that take as many as there are (default: those of the machine)
  --cpu-time            count this process's CPU time instead of time: for ratios on a machine that others use,
                        where waiting for disks and what threads gain do not matter
  --json FILE           write the figures there too, one JSON object a line
  --markdown            print the tables of docs/explanation/performance.md, too
  --list                explain workloads, engines and operations
";

/// What to run.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) quick: bool,
    pub(crate) workloads: Vec<Workload>,
    /// Names, or beginnings of names. Empty for all.
    pub(crate) engines: Vec<String>,
    pub(crate) operations: Vec<Operation>,
    pub(crate) data: PathBuf,
    pub(crate) rounds: usize,
    pub(crate) threads: usize,
    /// Whether the process's CPU time is measured instead of elapsed time.
    pub(crate) cpu_time: bool,
}

impl Config {
    /// The clock that measures.
    pub(crate) fn clock(&self) -> system::Clock {
        system::Clock::new(self.cpu_time)
    }

    /// Whether an engine is asked for.
    pub(crate) fn wants(&self, engine: &str) -> bool {
        let matches = |given: &String| {
            engine == given || engine.strip_prefix(given.as_str()).is_some_and(|rest| rest.starts_with('-'))
        };
        if self.engines.is_empty() {
            return !engines::is_optional(engine);
        }
        // `vldepot` is not enough for an engine that takes minutes; its own name is.
        let enough = |given: &&String| engines::is_optional(given) || !engines::is_optional(engine);
        self.engines.iter().filter(enough).any(matches)
    }
}

/// The command line.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "one for each flag")]
struct Arguments {
    quick: bool,
    list: bool,
    markdown: bool,
    cpu_time: bool,
    workloads: Vec<Workload>,
    engines: Vec<String>,
    operations: Vec<Operation>,
    data: Option<PathBuf>,
    rounds: Option<usize>,
    threads: Option<usize>,
    json: Option<PathBuf>,
    child: Option<child::Task>,
}

fn parse() -> Result<Arguments> {
    use lexopt::prelude::*;
    let mut arguments = Arguments::default();
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("quick") => arguments.quick = true,
            Long("cpu-time") => arguments.cpu_time = true,
            Long("markdown") => arguments.markdown = true,
            Long("list") => arguments.list = true,
            Long("workload") => {
                let letter = parser.value()?.string()?;
                let unknown = || format!("no workload is called {letter:?}; there are a, ap, b, c, d, dp");
                arguments.workloads.push(Workload::parse(&letter).ok_or_else(unknown)?);
            }
            Long("engine") => {
                arguments.engines.extend(parser.value()?.string()?.split(',').map(str::to_owned));
            }
            Long("operation") => {
                for name in parser.value()?.string()?.split(',') {
                    if name == "epoch" {
                        arguments.operations.extend([Operation::EpochWindowed, Operation::EpochFull]);
                        continue;
                    }
                    let unknown = || format!("no operation is called {name:?}; see --list");
                    arguments.operations.push(Operation::parse(name).ok_or_else(unknown)?);
                }
            }
            Long("data") => arguments.data = Some(parser.value()?.into()),
            Long("rounds") => arguments.rounds = Some(parser.value()?.parse()?),
            Long("threads") => arguments.threads = Some(parser.value()?.parse()?),
            Long("json") => arguments.json = Some(parser.value()?.into()),
            Long("child") => arguments.child = Some(child::Task::parse(&parser.value()?.string()?)?),
            Long("help") | Short('h') => {
                print!("{HELP}");
                std::process::exit(0);
            }
            _ => return Err(argument.unexpected().into()),
        }
    }
    Ok(arguments)
}

fn list() -> Result<()> {
    let folder = tempfile::tempdir()?;
    println!("workloads");
    for workload in Workload::ALL {
        println!("  {:<23} {}", workload.letter(), workload.describe());
    }
    println!("operations");
    for operation in Operation::ALL {
        println!("  {:<23} {}", operation.name(), operation.describe());
    }
    println!("engines");
    let load = data::Load::of(Workload::Molecules, 1, folder.path())?;
    for engine in engines::all(&load, 2) {
        println!("  {:<28} {}", engine.name(), engines::describe(engine.name()));
    }
    Ok(())
}

fn or_all<T: Copy>(chosen: Vec<T>, all: &[T]) -> Vec<T> {
    if chosen.is_empty() { all.to_vec() } else { chosen }
}

fn start() -> Result<()> {
    let arguments = parse()?;
    if arguments.list {
        return list();
    }
    let temporary = if arguments.data.is_none() { Some(tempfile::tempdir()?) } else { None };
    let given = arguments.data.or_else(|| temporary.as_ref().map(|folder| folder.path().to_owned()));
    let data = given.ok_or("no folder for the data")?;
    std::fs::create_dir_all(&data)?;
    let cores = std::thread::available_parallelism()?.get();
    let config = Config {
        quick: arguments.quick,
        workloads: or_all(arguments.workloads, &Workload::ALL),
        engines: arguments.engines,
        operations: or_all(arguments.operations, &Operation::ALL),
        data,
        rounds: arguments.rounds.unwrap_or(5).max(1),
        threads: arguments.threads.unwrap_or(cores).max(1),
        cpu_time: arguments.cpu_time,
    };
    if let Some(task) = arguments.child {
        return child::serve(&config, task);
    }
    let mut rows = Vec::new();
    for &workload in &config.workloads {
        let of_workload = run::workload(&config, workload)?;
        report::print(&of_workload);
        rows.extend(of_workload);
    }
    if let Some(path) = arguments.json {
        let mut out = BufWriter::new(File::create(path)?);
        for row in &rows {
            serde_json::to_writer(&mut out, row)?;
            writeln!(out)?;
        }
        out.flush()?;
    }
    goals::print(&config, &rows);
    if arguments.markdown {
        report::markdown(&rows);
    }
    Ok(())
}

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compare: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compact_runs_only_when_it_is_named() {
        let wants = |given: &[&str], engine: &str| {
            let config = Config {
                quick: true,
                workloads: Vec::new(),
                engines: given.iter().map(|&name| name.to_owned()).collect(),
                operations: Vec::new(),
                data: PathBuf::new(),
                rounds: 1,
                threads: 2,
                cpu_time: false,
            };
            config.wants(engine)
        };
        assert!(!wants(&[], "vldepot-compact"));
        assert!(!wants(&["vldepot", "lmdb"], "vldepot-compact"));
        assert!(!wants(&["blosc2"], "blosc2-compact"));
        assert!(wants(&["vldepot", "vldepot-compact"], "vldepot-compact"));
        assert!(wants(&["vldepot-compact"], "vldepot-compact-frames"));
        assert!(wants(&["vldepot", "lmdb"], "vldepot-balanced-1"));
        assert!(!wants(&["vldepot", "lmdb-zstd"], "lmdb"));
    }
}
