//! Measures peak memory: an operation of one engine runs in a process of its own, where nothing else
//! takes any.

use std::path::Path;
use std::process::Command;

use crate::data::{Load, Name, Workload, numbers, touch, windowed};
use crate::engines::{self, BATCH, Engine, Epochs, Keys, Operation};
use crate::{Config, Result, system};

/// What a child does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    /// Run an operation, as the harness times it.
    Measure(Operation),
    /// Write [`BIG`] bytes.
    WriteBig,
}

/// Raw bytes of the big write.
const BIG: u64 = 10_000_000_000;

impl Task {
    /// The operations for which memory is measured.
    pub(crate) const MEASURED: [Operation; 5] =
        [Operation::Write, Operation::Get, Operation::GetMany, Operation::Scan, Operation::EpochWindowed];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Measure(operation) => operation.name(),
            Self::WriteBig => "write_10gb",
        }
    }

    pub(crate) fn parse(name: &str) -> Result<Self> {
        if name == Self::WriteBig.name() {
            return Ok(Self::WriteBig);
        }
        let operation = Operation::parse(name).ok_or("no such task of a child")?;
        Ok(Self::Measure(operation))
    }
}

/// How many random names a child asks for.
fn n_gets(workload: Workload, quick: bool) -> usize {
    match (workload, quick) {
        (Workload::Frames, _) => 200,
        (Workload::Small, true) => 20_000,
        (Workload::Small, false) => 1_000_000,
        _ => 10_000,
    }
}

/// How many records of an epoch a child goes through.
fn n_epoch(workload: Workload) -> usize {
    if workload == Workload::Small { 1 << 20 } else { usize::MAX }
}

/// The most by which the anonymous memory of a child grew, in MB (10^6 bytes). The child reads or writes
/// `store`.
pub(crate) fn peak(
    config: &Config,
    workload: Workload,
    engine: &str,
    task: Task,
    store: &Path,
) -> Result<f64> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--child", task.name(), "--workload", workload.letter(), "--engine", engine]);
    command.args(["--threads", &config.threads.to_string()]).arg("--data").arg(&config.data);
    command.env(STORE, store);
    if config.quick {
        command.arg("--quick");
    }
    let output = command.output()?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(format!("{engine}, {}: the child failed: {why}", task.name()).into());
    }
    let bytes: f64 = String::from_utf8(output.stdout)?.trim().parse()?;
    Ok(bytes / 1e6)
}

/// The variable that tells the child where its store is.
const STORE: &str = "VLDEPOT_COMPARE_STORE";

/// Runs in the child. Prints the number of bytes.
pub(crate) fn serve(config: &Config, task: Task) -> Result<()> {
    let (&[workload], [name]) = (config.workloads.as_slice(), config.engines.as_slice()) else {
        return Err("a child has one workload and one engine".into());
    };
    let store = std::env::var_os(STORE).ok_or("a child is told its store")?;
    let mut load = Load::open(workload, config.quick, &config.data)?;
    if task == Task::WriteBig {
        let times = BIG.div_ceil(load.record_bytes());
        load = load.repeated(usize::try_from(times)?);
    }
    let mut engines = engines::all(&load, config.threads);
    let engine = engines.iter_mut().find(|engine| engine.name() == name).ok_or("no such engine")?;
    engine.prepare()?;
    let questions = Questions {
        gets: numbers(n_gets(workload, config.quick), load.len(), 11),
        order: if task == Task::Measure(Operation::EpochWindowed) {
            windowed(n_epoch(workload), load.len(), load.mean_bytes(), 12)
        } else {
            Vec::new()
        },
    };
    let peak = system::peak(|| perform(&load, &questions, engine.as_mut(), task, Path::new(&store)))?;
    println!("{peak}");
    Ok(())
}

/// The records that a child asks for. They are chosen beforehand, so that this does not count.
struct Questions {
    gets: Vec<usize>,
    order: Vec<u32>,
}

fn perform(
    load: &Load,
    questions: &Questions,
    engine: &mut dyn Engine,
    task: Task,
    store: &Path,
) -> Result<()> {
    if matches!(task, Task::WriteBig | Task::Measure(Operation::Write)) {
        return engine.write(store);
    }
    let mut store = engine.open(store)?;
    let mut sum = 0_u64;
    let visit: engines::Visit = &mut |bytes| sum = sum.wrapping_add(touch(bytes));
    match task {
        Task::Measure(Operation::Scan) => store.scan(visit)?,
        Task::Measure(Operation::EpochWindowed) => {
            let (order, batch) = (questions.order.as_slice(), load.workload.batch());
            store.epochs(&Epochs { order, batch, n: 1, full: false }, visit)?;
        }
        Task::Measure(Operation::GetMany) => {
            for numbers in questions.gets.chunks(BATCH).take(100) {
                let names: Vec<Name> = numbers.iter().map(|&number| Name::new(number)).collect();
                let names: Vec<&str> = names.iter().map(Name::as_str).collect();
                store.get_many(Keys { numbers, names: &names }, visit)?;
            }
        }
        _ => questions
            .gets
            .iter()
            .try_for_each(|&number| store.get(number, Name::new(number).as_str(), visit))?,
    }
    std::hint::black_box(sum);
    Ok(())
}
