//! The command, interrupted at random moments while others read beside it.
//!
//! The file it worked on is whole afterwards, and the next run removes what it left.
//!
//! `VLDEPOT_LONG_TESTS=1` interrupts many more.

#![cfg(unix)]
#![allow(clippy::cast_possible_truncation, reason = "test data are made of the low bytes of counters")]

use std::fs;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use vldepot::maintain::{VerifyOptions, verify};
use vldepot::{Depot, ErrorKind, Key, Layout, Raw};

const RECORDS: u32 = 5000;

/// Names and bytes, in the order of insertion.
type Content = Vec<(Key, Vec<u8>)>;

fn name(n: u32) -> String {
    format!("frame_{n:06}")
}

/// Bytes that do not compress, and differ for each version.
fn payload(n: u32, version: u32) -> Vec<u8> {
    let mut state = (2 * n + version).wrapping_mul(2_654_435_761) | 1;
    let mut byte = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..300 + n as usize * 97 % 700).map(|_| byte()).collect()
}

/// A depot with some records removed and others replaced.
fn depot(path: &Path) -> Content {
    let options = Layout::default().with_chunk_size(16 << 10).with_block_size(4 << 10);
    let depot = Depot::builder(Raw).layout(options).create(path).unwrap();
    let mut content = Content::new();
    for n in 0..RECORDS {
        depot.put(name(n), &payload(n, 0)).unwrap();
        if n % 5 > 1 {
            content.push((Key::Str(name(n)), payload(n, 0)));
        }
    }
    for n in (0..RECORDS).step_by(5) {
        depot.remove(name(n)).unwrap();
        depot.put(name(n + 1), &payload(n + 1, 1)).unwrap();
        content.push((Key::Str(name(n + 1)), payload(n + 1, 1)));
    }
    depot.close().unwrap();
    content
}

/// Panics unless the depot holds the first records of `content`, at least `least` of them. Returns how
/// many.
fn check(path: &Path, content: &Content, least: usize, what: &str) -> usize {
    let depot = Depot::open(path, Raw).unwrap_or_else(|error| panic!("{what}: {error}"));
    let len = usize::try_from(depot.len()).unwrap();
    assert!((least..=content.len()).contains(&len), "{what}: {len} records");
    let mut found = 0;
    for (entry, (key, bytes)) in depot.iter().zip(content) {
        let (name, record) = entry.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(name == *key && record.view() == bytes, "{what}: {name} at position {found}");
        found += 1;
    }
    assert_eq!(found, len, "{what}");
    len
}

fn check_whole(path: &Path, content: &Content, least: usize, what: &str) -> usize {
    let report = verify(path, &VerifyOptions::default(), |_| {}).unwrap();
    assert!(report.is_whole(), "{what}: {report:?}");
    check(path, content, least, what)
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A verb, and the files it works on.
struct Job {
    verb: &'static str,
    folder: tempfile::TempDir,
    /// The bytes of `path` before the verb runs.
    before: Vec<u8>,
    path: PathBuf,
    arguments: Vec<String>,
    code: i32,
    /// The content of `path` before the verb runs.
    content: Content,
    /// How many of these records are left after the verb has run.
    kept: usize,
    /// The content of the new file of a repair.
    repaired: Content,
}

/// Stops a reader, even if the work beside it panics.
struct StopOnDrop<'s>(&'s AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Counts how interruptions went.
#[derive(Default)]
struct Tally {
    interrupted: usize,
    leftovers: usize,
    done: usize,
    reads: usize,
}

impl Job {
    fn new(verb: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.vld");
        let content = depot(&path);
        let mut job = Self {
            verb,
            before: fs::read(&path).unwrap(),
            arguments: vec![verb.to_owned(), path.to_str().unwrap().to_owned()],
            path,
            folder,
            code: 0,
            kept: content.len(),
            repaired: Content::new(),
            content,
        };
        match verb {
            "repair" => job.damage(),
            "truncate" => {
                job.kept = 1000;
                job.arguments.extend(["--after".to_owned(), job.content[job.kept - 1].0.to_string()]);
            }
            _ => {}
        }
        job
    }

    fn new_file(&self) -> PathBuf {
        self.folder.path().join("new.vld")
    }

    /// Damages a chunk. The new file lacks its records, and the verb says so.
    fn damage(&mut self) {
        let middle = self.before.len() / 2;
        self.before[middle] ^= 1;
        self.arguments.push(self.new_file().to_str().unwrap().to_owned());
        self.code = 1;
        self.reset();
        self.finish();
        let repaired = Depot::open(self.new_file(), Raw).unwrap();
        let kept = |(key, _): &&(Key, Vec<u8>)| match repaired.get(key) {
            Ok(_) => true,
            Err(error) if matches!(error.kind(), ErrorKind::LostEarlier { .. }) => false,
            Err(error) => panic!("{error}"),
        };
        self.repaired = self.content.iter().filter(kept).cloned().collect();
        let lost = self.content.len() - self.repaired.len();
        assert!((1..100).contains(&lost), "{lost} records are lost");
        check_whole(&self.new_file(), &self.repaired, self.repaired.len(), "repaired");
    }

    fn reset(&self) {
        fs::write(&self.path, &self.before).unwrap();
        if self.new_file().exists() {
            fs::remove_file(self.new_file()).unwrap();
        }
    }

    fn start(&self) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vldepot"));
        command.args(&self.arguments).stdout(Stdio::null()).stderr(Stdio::null());
        // A job in the background of a shell ignores interrupts, and the command would inherit that.
        let default = || {
            for signal in [libc::SIGINT, libc::SIGTERM] {
                // SAFETY: the call takes numbers, and may be made between fork and exec.
                if unsafe { libc::signal(signal, libc::SIG_DFL) } == libc::SIG_ERR {
                    return Err(std::io::Error::last_os_error());
                }
            }
            Ok(())
        };
        // SAFETY: the closure calls nothing else, allocates nothing and takes no lock.
        unsafe { command.pre_exec(default) };
        command.spawn().unwrap()
    }

    /// Runs the verb to its end.
    fn finish(&self) {
        assert_eq!(self.start().wait().unwrap().code(), Some(self.code), "{}", self.verb);
    }

    /// Reads the depot again and again while `work` runs. Returns how often.
    fn beside<T>(&self, work: impl FnOnce() -> T) -> (T, usize) {
        let stop = AtomicBool::new(false);
        let (tell, begun) = mpsc::channel();
        thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut reads = 0;
                while !stop.load(Ordering::Relaxed) {
                    // The damaged file of a repair is read by name, up to the damage.
                    if self.verb == "repair" {
                        let depot = Depot::open(&self.path, Raw).unwrap();
                        for (key, bytes) in &self.repaired {
                            assert!(depot.get(key).unwrap().view() == bytes, "{key}");
                        }
                    } else {
                        check(&self.path, &self.content, self.kept, "beside");
                    }
                    reads += 1;
                    let _ = tell.send(());
                }
                reads
            });
            let stopping = StopOnDrop(&stop);
            begun.recv().expect("the reader reads");
            let done = work();
            drop(stopping);
            (done, reader.join().unwrap())
        })
    }

    /// How long the verb takes uninterrupted.
    fn measure(&self) -> Duration {
        let mut times: Vec<_> = (0..3)
            .map(|_| {
                self.reset();
                let run = || {
                    let start = Instant::now();
                    self.finish();
                    start.elapsed()
                };
                self.beside(run).0
            })
            .collect();
        times.sort();
        times[1]
    }

    /// Runs the verb, and ends it with `signal` after `moment`.
    fn interrupt(&self, signal: i32, moment: Duration, tally: &mut Tally) {
        let what = format!("{} ended by signal {signal} after {moment:?}", self.verb);
        self.reset();
        let run = || {
            let mut child = self.start();
            thread::sleep(moment);
            // SAFETY: the number is that of a child that was not waited for yet.
            assert_eq!(unsafe { libc::kill(child.id().cast_signed(), signal) }, 0);
            child.wait().unwrap()
        };
        let (status, reads) = self.beside(run);
        tally.reads += reads;
        match status.signal() {
            Some(by) => assert_eq!(by, signal, "{what}"),
            None => assert_eq!(status.code(), Some(self.code), "{what}"),
        }
        tally.interrupted += usize::from(status.signal().is_some());
        tally.leftovers += usize::from(names(self.folder.path()).iter().any(|name| name.starts_with('.')));
        self.check_after(tally, &what);
    }

    fn check_after(&self, tally: &mut Tally, what: &str) {
        match self.verb {
            "repair" => {
                assert!(fs::read(&self.path).unwrap() == self.before, "{what}: the damaged file was changed");
                if self.new_file().exists() {
                    check_whole(&self.new_file(), &self.repaired, self.repaired.len(), what);
                    tally.done += 1;
                }
            }
            "compact" => {
                check_whole(&self.path, &self.content, self.kept, what);
                tally.done += usize::from(fs::read(&self.path).unwrap() != self.before);
            }
            _ => {
                let left = check_whole(&self.path, &self.content, self.kept, what);
                tally.done += usize::from(left < self.content.len());
            }
        }
    }

    /// Checks that the next run finishes, and leaves nothing of the earlier ones.
    fn next_run_finishes(&self) {
        if self.new_file().exists() {
            fs::remove_file(self.new_file()).unwrap();
        }
        self.finish();
        let expected: &[&str] = if self.verb == "repair" { &["new.vld", "run.vld"] } else { &["run.vld"] };
        assert_eq!(names(self.folder.path()), expected, "{}", self.verb);
        if self.verb == "repair" {
            check_whole(&self.new_file(), &self.repaired, self.repaired.len(), "the next repair");
        } else {
            let left = check_whole(&self.path, &self.content, self.kept, "the next run");
            assert_eq!(left, self.kept);
        }
    }
}

fn interrupt_at_random_moments(verb: &'static str, seed: u64) -> Tally {
    let kills = if std::env::var_os("VLDEPOT_LONG_TESTS").is_some() { 200 } else { 8 };
    let job = Job::new(verb);
    let whole_run = job.measure();
    let mut random = seed;
    let mut all = Tally::default();
    for (signal, called) in [(libc::SIGINT, "SIGINT"), (libc::SIGTERM, "SIGTERM"), (libc::SIGKILL, "SIGKILL")]
    {
        let mut tally = Tally::default();
        for kill in 0..kills {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let moment = whole_run.mul_f64(f64::from((random >> 40) as u32) / f64::from(1_u32 << 24));
            job.interrupt(signal, moment, &mut tally);
            // Half of the leftovers stay for the next interrupted run.
            if kill % 2 == 1 {
                job.next_run_finishes();
            }
        }
        let Tally { interrupted, leftovers, done, reads } = tally;
        println!(
            "{verb} of {whole_run:?}: {kills} times {called}, {interrupted} before its end, {leftovers} \
             leftovers, {done} had done their work or some of it, {reads} readings beside: nothing torn"
        );
        all.interrupted += interrupted;
        all.leftovers += leftovers;
        all.done += done;
        all.reads += reads;
    }
    assert!(all.interrupted > 0 && all.reads > 0, "no {verb} was interrupted");
    all
}

#[test]
fn an_interrupted_compaction_leaves_the_old_depot_or_the_new_one() {
    assert!(interrupt_at_random_moments("compact", 11).leftovers > 0, "none was in its midst");
}

#[test]
fn an_interrupted_repair_leaves_no_new_file_or_a_whole_one() {
    assert!(interrupt_at_random_moments("repair", 22).leftovers > 0, "none was in its midst");
}

#[test]
fn an_interrupted_truncation_costs_no_record_that_was_to_stay() {
    interrupt_at_random_moments("truncate", 33);
}
