//! Rounds: every engine runs in turn, again and again, so that a slow machine slows all of them.
//!
//! Each operation runs once before it is timed. This fills caches, and shows how often it must be
//! repeated within a round. Then each round runs all reading operations, once for each engine. Medians
//! are over rounds. A ratio is the median of the ratios within each round. What each pass visits is
//! compared with what it should visit, outside the timed part.

use std::path::{Path, PathBuf};

use crate::child::{self, Task};
use crate::data::{Load, Name, Workload, numbers, shuffled, touch, windowed};
use crate::engines::{self, BATCH, Engine, Epochs, Keys, Operation, Store, with_threads};
use crate::report::{self, Row};
use crate::system::{self, Clock};
use crate::{Config, Result};

/// Within a round, an operation is repeated until it takes this many seconds.
const PASS_SECONDS: f64 = 0.03;

/// How many records a store has before single records are committed.
const BEFORE_COMMITS: usize = 10_000;
/// How many single records are committed in a round.
const COMMITS: usize = 200;
/// The most bytes of a record that is committed alone.
const COMMITTED: usize = 1200;

/// How many records the operations read. Those that `get` and `get_many` read are too many for the last
/// cache: each is read again only after all others.
struct Sizes {
    gets: usize,
    lookups: usize,
    epoch: usize,
    epoch_full: usize,
    cold: usize,
}

impl Sizes {
    fn new(workload: Workload, quick: bool) -> Self {
        const ALL: usize = usize::MAX;
        let (gets, lookups, epoch, epoch_full, cold) = match (workload, quick) {
            (Workload::Frames, true) => (ALL, 1000, ALL, ALL, 20),
            (Workload::Frames, false) => (ALL, 1000, ALL, ALL, 50),
            (Workload::Small, true) => (1 << 17, 100_000, 1 << 20, 1 << 16, 100),
            (Workload::Small, false) => (1 << 17, 1_000_000, 1 << 20, 1 << 17, 1000),
            (_, true) => (ALL, 20_000, ALL, ALL, 100),
            (_, false) => (ALL, 100_000, ALL, ALL, 1000),
        };
        Self { gets, lookups, epoch, epoch_full, cold }
    }
}

/// An engine, and its results so far.
struct Contender<'l> {
    engine: Box<dyn Engine + 'l>,
    /// Whether it was asked for, and is not only needed for ratios.
    wanted: bool,
    path: PathBuf,
    /// Seconds for each record, one number for each round.
    times: Vec<(Operation, Vec<f64>)>,
    stored_ratio: Option<f64>,
    /// Bytes that a commit of one record takes, over those of the record.
    commit_ratio: Option<f64>,
    peaks: Vec<(Operation, f64)>,
}

impl Contender<'_> {
    fn note(&mut self, operation: Operation, seconds: f64) {
        match self.times.iter_mut().find(|(noted, _)| *noted == operation) {
            Some((_, times)) => times.push(seconds),
            None => self.times.push((operation, vec![seconds])),
        }
    }

    fn times(&self, operation: Operation) -> Option<&[f64]> {
        self.times.iter().find(|(noted, _)| *noted == operation).map(|(_, times)| times.as_slice())
    }
}

/// The median of `values`.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// How many times as fast `ours` is as `theirs`, in each round. Each has one time for each round.
pub(crate) fn speeds_over(ours: &[f64], theirs: &[f64]) -> Vec<f64> {
    ours.iter().zip(theirs).map(|(ours, theirs)| theirs / ours).collect()
}

/// Runs a workload. Returns its figures.
pub(crate) fn workload(config: &Config, workload: Workload) -> Result<Vec<Row>> {
    let load = Load::open(workload, config.quick, &config.data)?;
    let mut contenders = contenders(config, &load)?;
    let (time, cpu) = (Clock::new(false), Clock::new(true));
    let start = (time.now(), cpu.now());
    let step = |what: &str| {
        let (time, cpu) = (time.now() - start.0, cpu.now() - start.1);
        eprintln!("{time:>6.1} s, {cpu:>6.1} s of CPU  {}: {what}", workload.letter());
    };
    step("writing");
    write(config, &load, &mut contenders)?;
    put(config, &load, &mut contenders)?;
    step("committing single records");
    commit(config, &load, &mut contenders)?;
    step("comparing every record");
    verify(&load, &contenders)?;
    step("opening");
    open(config, &load, &mut contenders)?;
    step("reading");
    read(config, &load, &mut contenders)?;
    step("reading from disk");
    read_cold(config, &load, &mut contenders)?;
    step("looking at memory");
    measure_memory(config, workload, &mut contenders)?;
    let mut rows = rows(config, &load, &contenders);
    rows.extend(write_big(config, workload, &contenders)?);
    for contender in &contenders {
        system::remove(&contender.path)?;
    }
    step("done");
    report::print_load(&load);
    Ok(rows)
}

/// The engines that were asked for, and the limits that they are compared with.
fn contenders<'l>(config: &Config, load: &'l Load) -> Result<Vec<Contender<'l>>> {
    let engines = engines::all(load, config.threads);
    let wanted = |engine: &dyn Engine| {
        config.wants(engine.name()) && config.operations.iter().any(|&operation| engine.supports(operation))
    };
    let mut needed: Vec<String> = Vec::new();
    for engine in engines.iter().filter(|engine| wanted(engine.as_ref())) {
        needed.extend(engine.limit().into_iter().chain(engine.store_of()).map(str::to_owned));
        let writing = [Operation::Write, Operation::Put];
        for operation in writing.into_iter().filter(|one| config.operations.contains(one)) {
            needed.extend(engine.limit().map(|limit| with_threads(limit, engine.threads(operation))));
        }
    }
    let mut contenders = Vec::new();
    for mut engine in engines {
        let wanted = wanted(engine.as_ref());
        if wanted || needed.iter().any(|needed| needed == engine.name()) {
            engine.prepare()?;
            let store = engine.store_of().unwrap_or(engine.name());
            let path = config.data.join(format!("{}-{store}.store", load.workload.letter()));
            system::remove(&path)?;
            contenders.push(Contender {
                engine,
                wanted,
                path,
                times: Vec::new(),
                stored_ratio: None,
                commit_ratio: None,
                peaks: Vec::new(),
            });
        }
    }
    if contenders.is_empty() {
        return Err(format!("no engine is called {}; see --list", config.engines.join(", ")).into());
    }
    Ok(contenders)
}

/// How many rounds to run of operations that handle all records. There are fewer if these take long.
fn whole_rounds(config: &Config, load: &Load) -> usize {
    match (load.workload, config.quick) {
        (Workload::Small, true) => 1,
        (Workload::Small, false) => config.rounds.min(2),
        (_, true) => config.rounds.min(3),
        (_, false) => config.rounds,
    }
}

fn write(config: &Config, load: &Load, contenders: &mut [Contender<'_>]) -> Result<()> {
    let timed = config.operations.contains(&Operation::Write);
    let rounds = if timed { whole_rounds(config, load) } else { 1 };
    for _ in 0..rounds {
        for contender in contenders.iter_mut().filter(|one| one.engine.store_of().is_none()) {
            if !timed && contender.engine.is_limit() && !config.operations.contains(&Operation::Size) {
                continue;
            }
            system::remove(&contender.path)?;
            let seconds = config.clock().time(|| contender.engine.write(&contender.path))?;
            if timed {
                contender.note(Operation::Write, seconds / load.len() as f64);
            }
            let size = system::size(&contender.path)? as f64;
            contender.stored_ratio = Some(size / (load.mean_payload * load.len() as f64));
        }
    }
    Ok(())
}

fn put(config: &Config, load: &Load, contenders: &mut [Contender<'_>]) -> Result<()> {
    if !config.operations.contains(&Operation::Put) {
        return Ok(());
    }
    for _ in 0..whole_rounds(config, load) {
        for contender in contenders.iter_mut().filter(|one| one.engine.supports(Operation::Put)) {
            let seconds = config.clock().time(|| contender.engine.put())?;
            contender.note(Operation::Put, seconds / load.len() as f64);
        }
    }
    Ok(())
}

/// Commits records one by one to stores that have [`BEFORE_COMMITS`] records already.
fn commit(config: &Config, load: &Load, contenders: &mut [Contender<'_>]) -> Result<()> {
    // Frames have their own operations: a commit of one takes what writing it takes.
    if !config.operations.contains(&Operation::Commit) || load.workload == Workload::Frames {
        return Ok(());
    }
    let short = |number: usize| {
        let record = load.record(number % load.len());
        (Name::new(number), &record[..record.len().min(COMMITTED)])
    };
    let first: Vec<_> = (0..BEFORE_COMMITS).map(short).collect();
    let mut next = first.len();
    let (mut noted, mut grown) = (Vec::new(), Vec::new());
    let mut all = Vec::new();
    for (nth, contender) in contenders.iter().enumerate() {
        if contender.wanted && contender.engine.supports(Operation::Commit) {
            let path = contender.path.with_extension("commits");
            system::remove(&path)?;
            let commit = contender.engine.committing(&path, &first)?;
            let before = system::reach(&path)?;
            all.push((nth, path, before, commit));
        }
    }
    let mut bytes = 0;
    for round in 0..=config.rounds {
        let records: Vec<_> = (next..next + COMMITS).map(short).collect();
        next += COMMITS;
        bytes += records.iter().map(|(_, record)| record.len()).sum::<usize>();
        for (nth, _, _, commit) in &mut all {
            let job = || records.iter().try_for_each(|(name, record)| commit(name.as_str(), record));
            let seconds = config.clock().time(job)?;
            // The first round warms up.
            if round > 0 {
                noted.push((*nth, seconds / COMMITS as f64));
            }
        }
    }
    for (nth, path, before, commit) in all {
        grown.push((nth, (system::reach(&path)? - before) as f64 / bytes as f64));
        drop(commit);
        system::remove(&path)?;
    }
    for (nth, seconds) in noted {
        contenders[nth].note(Operation::Commit, seconds);
    }
    for (nth, ratio) in grown {
        contenders[nth].commit_ratio = Some(ratio);
    }
    Ok(())
}

/// Compares what every engine returns with what it was given: all records, some of them by name, some in
/// batches.
fn verify(load: &Load, contenders: &[Contender<'_>]) -> Result<()> {
    let some = numbers(4 * BATCH, load.len(), 6);
    for contender in contenders.iter().filter(|one| reads(one)) {
        let mut store = contender.engine.open(&contender.path)?;
        let check = |store: &mut dyn Store| -> Result<()> {
            store.verify(load)?;
            for batch in some.chunks(BATCH) {
                let names: Vec<Name> = batch.iter().map(|&number| Name::new(number)).collect();
                let names: Vec<&str> = names.iter().map(Name::as_str).collect();
                let expected: Vec<u64> = batch.iter().map(|&number| store.touched(load, number)).collect();
                let mut total = 0_u64;
                store.get_many(Keys { numbers: batch, names: &names }, &mut |bytes| {
                    total = total.wrapping_add(touch(bytes));
                })?;
                if total != expected.iter().fold(0, |sum: u64, &one| sum.wrapping_add(one)) {
                    return Err("get_many gave other records".into());
                }
                for ((&number, name), expected) in batch.iter().zip(&names).zip(expected) {
                    let mut sum = 0_u64;
                    store.get(number, name, &mut |bytes| sum = sum.wrapping_add(touch(bytes)))?;
                    if sum != expected {
                        return Err(format!("get gave another record than {name}").into());
                    }
                }
            }
            Ok(())
        };
        check(store.as_mut()).map_err(|error| format!("{}: {error}", contender.engine.name()))?;
    }
    Ok(())
}

fn open(config: &Config, load: &Load, contenders: &mut [Contender<'_>]) -> Result<()> {
    let wanted = |operation| config.operations.contains(&operation);
    if !wanted(Operation::Open) && !wanted(Operation::FirstGet) {
        return Ok(());
    }
    for round in 0..5 * config.rounds {
        for contender in contenders.iter_mut().filter(|one| one.engine.supports(Operation::Open)) {
            let slow = contender.times(Operation::Open).is_some_and(|times| times[0] > 0.1);
            if slow && round >= config.rounds.min(3) {
                continue;
            }
            let number = numbers(round + 1, load.len(), 7)[round];
            let name = Name::new(number);
            let clock = config.clock();
            let start = clock.now();
            let mut store = contender.engine.open(&contender.path)?;
            let opened = clock.now() - start;
            let mut sum = 0_u64;
            store.get(number, name.as_str(), &mut |bytes| sum = sum.wrapping_add(touch(bytes)))?;
            let read = clock.now() - start;
            if sum != store.touched(load, number) {
                return Err(format!("{}: the first get is wrong", contender.engine.name()).into());
            }
            contender.note(Operation::Open, opened);
            contender.note(Operation::FirstGet, read - opened);
        }
    }
    Ok(())
}

/// The records that reading operations ask for.
struct Questions {
    numbers: Vec<usize>,
    names: Vec<Name>,
    order: Vec<u32>,
    batch: usize,
    n_records: usize,
}

impl Questions {
    fn new(operation: Operation, load: &Load, sizes: &Sizes) -> Self {
        let (len, mean) = (load.len(), load.mean_bytes());
        let numbers: Vec<usize> = match operation {
            Operation::Lookup => numbers(sizes.lookups, len, 8),
            Operation::GetCold => numbers(sizes.cold, len, 8),
            // No record twice: what was read is out of the caches when it comes again.
            Operation::Get | Operation::GetMany => {
                shuffled(sizes.gets, len, 8).into_iter().map(|number| number as usize).collect()
            }
            _ => Vec::new(),
        };
        let names = numbers.iter().map(|&number| Name::new(number)).collect();
        let order = match operation {
            Operation::EpochWindowed | Operation::EpochCold => windowed(sizes.epoch, len, mean, 9),
            Operation::EpochFull => shuffled(sizes.epoch_full, len, 9),
            _ => Vec::new(),
        };
        Self { numbers, names, order, batch: load.workload.batch(), n_records: len }
    }

    fn names(&self) -> Vec<&str> {
        self.names.iter().map(Name::as_str).collect()
    }
}

/// What a pass visited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Visited {
    records: usize,
    sum: u64,
}

/// `n` passes of a reading operation.
fn passes(
    operation: Operation,
    store: &mut dyn Store,
    questions: &Questions,
    names: &[&str],
    n: usize,
) -> Result<Visited> {
    let mut visited = Visited::default();
    let keys = || questions.numbers.iter().copied().zip(names.iter().copied());
    if operation == Operation::Lookup {
        for (number, name) in (0..n).flat_map(|_| keys()) {
            visited.records += usize::from(store.lookup(number, name)?);
        }
        return Ok(visited);
    }
    let visit: engines::Visit = &mut |bytes| {
        visited.records += 1;
        visited.sum = visited.sum.wrapping_add(touch(bytes));
    };
    if matches!(operation, Operation::EpochWindowed | Operation::EpochFull) {
        let full = operation == Operation::EpochFull;
        store.epochs(&Epochs { order: &questions.order, batch: questions.batch, n, full }, visit)?;
        return Ok(visited);
    }
    for _ in 0..n {
        match operation {
            Operation::GetMany => {
                let n = BATCH.min(questions.n_records);
                for (numbers, names) in questions.numbers.chunks(n).zip(names.chunks(n)) {
                    store.get_many(Keys { numbers, names }, visit)?;
                }
            }
            Operation::Scan => store.scan(visit)?,
            _ => keys().try_for_each(|(number, name)| store.get(number, name, visit))?,
        }
    }
    Ok(visited)
}

/// How many records a pass reads, and the sum that touching them gives. There is no sum if the engine
/// may choose.
fn expected(
    operation: Operation,
    load: &Load,
    store: &dyn Store,
    questions: &Questions,
) -> (usize, Option<u64>) {
    let sum = |numbers: &mut dyn Iterator<Item = usize>| {
        numbers.fold(0_u64, |sum, number| sum.wrapping_add(store.touched(load, number)))
    };
    match operation {
        Operation::Lookup => (questions.numbers.len(), Some(0)),
        Operation::EpochWindowed | Operation::EpochFull if questions.order.len() < load.len() => {
            (questions.order.len(), None)
        }
        Operation::Scan | Operation::EpochWindowed | Operation::EpochFull => {
            (load.len(), Some(sum(&mut (0..load.len()))))
        }
        _ => (questions.numbers.len(), Some(sum(&mut questions.numbers.iter().copied()))),
    }
}

/// A reading operation of an engine: what it should visit, and how often it runs in a round.
struct Reading {
    operation: Operation,
    contender: usize,
    records: usize,
    sum: Option<u64>,
    passes: usize,
}

/// How often a pass that takes `seconds` is repeated in a round.
fn n_passes(operation: Operation, workload: Workload, seconds: f64) -> usize {
    // Epochs follow each other, as in training. With four of them, the start and the end of a loader
    // matter little.
    let several = operation == Operation::EpochWindowed && workload != Workload::Small && seconds < 1.0;
    let least = if several { 4 } else { 1 };
    ((PASS_SECONDS / seconds).ceil() as usize).clamp(least, 1000)
}

fn read(config: &Config, load: &Load, contenders: &mut [Contender<'_>]) -> Result<()> {
    let sizes = Sizes::new(load.workload, config.quick);
    let wanted = Operation::READING.into_iter().filter(|one| config.operations.contains(one));
    let questions: Vec<_> =
        wanted.map(|operation| (operation, Questions::new(operation, load, &sizes))).collect();
    let mut stores: Vec<Box<dyn Store>> = Vec::new();
    // A limit that only writes comes last of its kind, and has nothing to read.
    contenders.sort_by_key(|one| !reads(one));
    for contender in contenders.iter().filter(|one| reads(one)) {
        stores.push(contender.engine.open(&contender.path)?);
    }
    let mut readings = Vec::new();
    for (operation, questions) in &questions {
        for (contender, store) in stores.iter_mut().enumerate() {
            if contenders[contender].engine.supports(*operation) {
                let (records, sum) = expected(*operation, load, store.as_ref(), questions);
                let names = questions.names();
                let pass = || passes(*operation, store.as_mut(), questions, &names, 1).map(|_| ());
                let passes = n_passes(*operation, load.workload, config.clock().time(pass)?);
                let sum = sum.map(|sum| sum.wrapping_mul(passes as u64));
                readings.push(Reading { operation: *operation, contender, records, sum, passes });
            }
        }
    }
    let few = config.quick && load.workload == Workload::Small;
    for _ in 0..if few { config.rounds.min(3) } else { config.rounds } {
        for &Reading { operation, contender, records, sum, passes: n } in &readings {
            let (engine, store) = (&contenders[contender].engine, stores[contender].as_mut());
            let asked = questions.iter().find(|(of, _)| *of == operation).map(|(_, questions)| questions);
            let questions = asked.ok_or("nothing to ask")?;
            let names = questions.names();
            let mut visited = Visited::default();
            let seconds = config.clock().time(|| {
                visited = passes(operation, store, questions, &names, n)?;
                Ok(())
            })?;
            if sum.is_some_and(|sum| sum != visited.sum) || visited.records < records * n {
                let (name, operation) = (engine.name(), operation.name());
                return Err(format!("{name}, {operation}: other records were read").into());
            }
            contenders[contender].note(operation, seconds / (records * n) as f64);
        }
    }
    Ok(())
}

/// Whether a contender reads at all.
fn reads(contender: &Contender<'_>) -> bool {
    contender.engine.supports(Operation::Get) || contender.engine.supports(Operation::GetMany)
}

fn read_cold(config: &Config, load: &Load, contenders: &mut [Contender<'_>]) -> Result<()> {
    for operation in Operation::COLD.into_iter().filter(|one| config.operations.contains(one)) {
        read_cold_by(config, load, contenders, operation)?;
    }
    Ok(())
}

fn read_cold_by(
    config: &Config,
    load: &Load,
    contenders: &mut [Contender<'_>],
    operation: Operation,
) -> Result<()> {
    let questions = Questions::new(operation, load, &Sizes::new(load.workload, config.quick));
    let names = questions.names();
    for _ in 0..config.rounds.min(3) {
        for contender in contenders.iter_mut().filter(|one| one.engine.supports(operation)) {
            let before = system::read_from_disk()?;
            system::drop_cache(&contender.path)?;
            let mut store = contender.engine.open(&contender.path)?;
            let mut visited = Visited::default();
            let seconds = config.clock().time(|| {
                visited = passes(operation.warm(), store.as_mut(), &questions, &names, 1)?;
                Ok(())
            })?;
            let (records, sum) = expected(operation.warm(), load, store.as_ref(), &questions);
            if sum.is_some_and(|sum| sum != visited.sum) {
                return Err(format!("{}: other records were read", contender.engine.name()).into());
            }
            // If the file system keeps its pages in spite of the advice, there is nothing to report.
            if system::read_from_disk()? > before {
                contender.note(operation, seconds / records as f64);
            }
        }
    }
    Ok(())
}

fn measure_memory(config: &Config, workload: Workload, contenders: &mut [Contender<'_>]) -> Result<()> {
    // A quick run leaves out children that only repeat what others show.
    let quick = [Operation::Write, Operation::Get];
    for contender in contenders.iter_mut().filter(|one| one.wanted && !one.engine.is_limit()) {
        for operation in Task::MEASURED {
            let wanted =
                config.operations.contains(&operation) && (!config.quick || quick.contains(&operation));
            if !wanted || !contender.engine.supports(operation) {
                continue;
            }
            let written = contender.path.with_extension("child");
            system::remove(&written)?;
            let path = if operation == Operation::Write { &written } else { &contender.path };
            let task = Task::Measure(operation);
            let peak = child::peak(config, workload, contender.engine.name(), task, path)?;
            contender.peaks.push((operation, peak));
            system::remove(&written)?;
        }
    }
    Ok(())
}

/// Measures the memory of a large write, in a full run.
fn write_big(config: &Config, workload: Workload, contenders: &[Contender<'_>]) -> Result<Option<Row>> {
    const ENGINE: &str = "vldepot-balanced";
    let there = contenders.iter().find(|one| one.wanted && one.engine.name() == ENGINE);
    let wanted =
        workload == Workload::Frames && !config.quick && config.operations.contains(&Operation::Write);
    let Some(contender) = there.filter(|_| wanted) else { return Ok(None) };
    let path = config.data.join("big.store");
    system::remove(&path)?;
    let peak = child::peak(config, workload, ENGINE, Task::WriteBig, &path);
    remove_after(&path, peak).map(|peak| {
        let threads = contender.engine.threads(Operation::Write);
        Some(Row { peak_mb: Some(peak), ..Row::new(workload, Task::WriteBig.name(), ENGINE, threads) })
    })
}

fn remove_after<T>(path: &Path, result: Result<T>) -> Result<T> {
    system::remove(path)?;
    result
}

fn rows(config: &Config, load: &Load, contenders: &[Contender<'_>]) -> Vec<Row> {
    let mut rows = Vec::new();
    for contender in contenders.iter().filter(|one| one.wanted) {
        let engine = &contender.engine;
        for &operation in &config.operations {
            let mut row = Row::new(load.workload, operation.name(), engine.name(), engine.threads(operation));
            // A limit has the threads of what it is compared with, or there is no ratio.
            let limit = engine.limit().and_then(|limit| {
                let name = with_threads(limit, engine.threads(operation));
                contenders.iter().find(|one| one.engine.name() == name)
            });
            if operation == Operation::Size && (reads(contender) || !engine.is_limit()) {
                row.stored_ratio = contender.stored_ratio;
            }
            if operation == Operation::Commit {
                row.stored_ratio = contender.commit_ratio;
            }
            row.peak_mb = contender.peaks.iter().find(|(noted, _)| *noted == operation).map(|&(_, mb)| mb);
            if let Some(times) = contender.times(operation) {
                let rate = 1.0 / median(times.to_vec());
                row.records_per_s = Some(rate);
                row.records_per_s_min = times.iter().map(|time| 1.0 / time).reduce(f64::min);
                row.records_per_s_max = times.iter().map(|time| 1.0 / time).reduce(f64::max);
                let without_records =
                    [Operation::Open, Operation::FirstGet, Operation::Lookup, Operation::Commit];
                if !without_records.contains(&operation) {
                    row.mb_per_s = Some(rate * load.mean_payload / 1e6);
                }
                let of_limit = limit.and_then(|limit| limit.times(operation)).unwrap_or_default();
                row.limit_rounds = speeds_over(times, of_limit);
                row.ratio_to_limit = (!of_limit.is_empty()).then(|| median(row.limit_rounds.clone()));
                row.rounds = times.to_vec();
            }
            if !row.is_empty() {
                rows.push(row);
            }
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_engine_gives_back_what_it_was_given() {
        for (letter, records) in [
            (Workload::Molecules, 700),
            (Workload::MoleculesPacked, 700),
            (Workload::Organic, 700),
            (Workload::Small, 3000),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let load = Load::of(letter, records, folder.path()).unwrap();
            let config = Config {
                quick: true,
                workloads: vec![letter],
                engines: Vec::new(),
                operations: Operation::ALL.to_vec(),
                data: folder.path().to_owned(),
                rounds: 1,
                threads: 2,
                cpu_time: false,
            };
            let mut contenders = contenders(&config, &load).unwrap();
            write(&config, &load, &mut contenders).unwrap();
            verify(&load, &contenders).unwrap();
            put(&config, &load, &mut contenders).unwrap();
            read(&config, &load, &mut contenders).unwrap();
            let rows = rows(&config, &load, &contenders);
            let ratio = |engine: &str, operation: &str| {
                let row = rows.iter().find(|row| row.engine == engine && row.operation == operation);
                row.unwrap().ratio_to_limit
            };
            assert!(ratio("vldepot-balanced", "put").is_some(), "two threads beside two");
            assert!(ratio("vldepot-balanced-1", "put").is_some());
            assert!(ratio("vldepot-balanced", "scan").is_none(), "no limit has two threads there");
            for contender in &contenders {
                let all = Operation::READING.into_iter();
                let read = all.filter(|&one| contender.engine.supports(one));
                for operation in read {
                    assert!(contender.times(operation).is_some(), "{}", contender.engine.name());
                }
            }
        }
    }

    #[test]
    fn a_store_that_gives_other_records_is_found_out() {
        let folder = tempfile::tempdir().unwrap();
        let load = Load::of(Workload::Small, 3000, folder.path()).unwrap();
        let mut engines = engines::all(&load, 2);
        let engine = engines.iter_mut().find(|engine| engine.name() == "lmdb").unwrap();
        let path = folder.path().join("store");
        engine.write(&path).unwrap();
        let another = Load::of(Workload::Small, 2999, folder.path()).unwrap();
        let contender = |engine| Contender {
            engine,
            wanted: true,
            path: path.clone(),
            times: Vec::new(),
            stored_ratio: None,
            commit_ratio: None,
            peaks: Vec::new(),
        };
        let contenders: Vec<_> =
            engines::all(&another, 2).into_iter().filter(|one| one.name() == "lmdb").map(contender).collect();
        assert!(verify(&another, &contenders).unwrap_err().to_string().starts_with("lmdb: "));
    }
}
