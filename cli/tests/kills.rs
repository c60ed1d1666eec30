//! Every verb that writes, killed at random moments.
//!
//! The file that was there is whole afterwards, with its old content, its new one, or, where a verb commits
//! on the way, something between. A new file is whole or not there. The next run finishes the work, whatever
//! was left.
//!
//! Each verb is killed 5 times, by an interrupt, a request to end and a kill in turn. `VLDEPOT_KILLS=200`
//! says another number.

#![cfg(unix)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use vldepot::maintain::{VerifyOptions, verify};
use vldepot::{Depot, Layout, Raw};

/// Names, each with a checksum of its bytes.
type Content = BTreeMap<String, u64>;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 24
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next().to_le_bytes()[0]).collect()
    }

    /// A part of `whole`, from none to all of it.
    fn part(&mut self, whole: Duration) -> Duration {
        let part = u32::try_from(self.next() % 1000).unwrap();
        whole * part / 1000
    }
}

fn checksum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The content of a depot, which must be whole.
fn content(path: &Path, what: &str) -> Content {
    let report =
        verify(path, &VerifyOptions::default(), |_| {}).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(report.is_whole(), "{what}: {report:?}");
    let depot = Depot::open(path, Raw).unwrap_or_else(|error| panic!("{what}: {error}"));
    depot
        .iter()
        .map(|entry| {
            let (name, record) = entry.unwrap_or_else(|error| panic!("{what}: {error}"));
            (name.to_string(), checksum(record.as_bytes()))
        })
        .collect()
}

/// The files below a folder, without those that are being written.
fn files(folder: &Path) -> Content {
    fn walk(root: &Path, folder: &Path, all: &mut Content) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                walk(root, &path, all);
            } else if !path.file_name().unwrap().to_str().unwrap().starts_with(".vldepot-") {
                all.insert(name, checksum(&fs::read(&path).unwrap()));
            }
        }
    }
    let mut all = Content::new();
    walk(folder, folder, &mut all);
    all
}

/// What holds after a verb was killed.
enum Promise {
    /// The target is as it was, or all of the work is done.
    OldOrNew,
    /// Each record is as it was or as it is to be.
    Between,
    /// The target of a folder: each file is as it was or as it is to be.
    Files,
}

/// A verb on a target in a folder of its own.
struct Job {
    verb: &'static str,
    folder: tempfile::TempDir,
    target: PathBuf,
    /// The bytes of the target before. `None`: it is not there.
    before: Option<Vec<u8>>,
    arguments: Vec<String>,
    /// Added when the verb runs again after it was killed.
    again: &'static [&'static str],
    /// Whether the next run may find that there is nothing to do, which is an error.
    may_be_done: bool,
    code: i32,
    promise: Promise,
    old: Content,
    new: Content,
}

const FILES: u32 = 300;

fn write_files(folder: &Path, seed: u64) {
    let mut random = Random(seed);
    for n in 0..FILES {
        let path = folder.join(format!("{}/{n}", n % 7));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let len = usize::try_from(random.next() % 20_000).unwrap();
        fs::write(path, random.bytes(len)).unwrap();
    }
}

fn write_depot(path: &Path, names: std::ops::Range<u32>, seed: u64) {
    let mut random = Random(seed);
    let layout = Layout::default().with_chunk_size(16 << 10).with_block_size(4 << 10);
    let depot = Depot::builder(Raw).layout(layout).create(path).unwrap();
    for n in names.clone() {
        let len = usize::try_from(100 + random.next() % 1000).unwrap();
        depot.put(format!("frame_{n:05}"), &random.bytes(len)).unwrap();
    }
    for n in names.step_by(7) {
        depot.remove(format!("frame_{n:05}")).unwrap();
    }
    depot.close().unwrap();
}

impl Job {
    #[allow(clippy::too_many_lines, reason = "a list of verbs")]
    fn new(verb: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let text = |name: &str| path(name).to_str().unwrap().to_owned();
        let word = |word: &str| word.to_owned();
        let (run, out) = (text("run.vld"), text("out.vld"));
        let mut again: &'static [&'static str] = &[];
        let (mut code, mut may_be_done) = (0, false);
        let within = folder.path().to_str().unwrap().to_owned();
        let pack = |archive: &str, seed: u64| {
            write_files(&path("files"), seed);
            let status = Command::new(env!("CARGO_BIN_EXE_vldepot"))
                .args(["create", archive, "-C", &text("files"), ".", "-q"])
                .status();
            assert!(status.unwrap().success());
        };
        let (target, arguments, promise) = match verb {
            "create" => {
                write_files(&path("files"), 1);
                (out.clone(), vec![out, word("-C"), within, word("files")], Promise::OldOrNew)
            }
            "add" => {
                pack(&run, 1);
                write_files(&path("files"), 2);
                (run.clone(), vec![run, word("-C"), text("files"), word(".")], Promise::Between)
            }
            "rm" => {
                pack(&run, 1);
                may_be_done = true;
                (run.clone(), vec![run, word("-r"), word("1"), word("2")], Promise::Between)
            }
            "mv" => {
                pack(&run, 1);
                may_be_done = true;
                (run.clone(), vec![run, word("1"), word("moved")], Promise::Between)
            }
            "compact" => {
                write_depot(&path("run.vld"), 0..3000, 1);
                (run.clone(), vec![run, word("--preset"), word("fast")], Promise::OldOrNew)
            }
            "truncate" => {
                write_depot(&path("run.vld"), 0..3000, 1);
                (run.clone(), vec![run, word("--after"), word("frame_01000")], Promise::OldOrNew)
            }
            "repair" => {
                write_depot(&path("run.vld"), 0..3000, 1);
                let mut bytes = fs::read(path("run.vld")).unwrap();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                fs::write(path("run.vld"), bytes).unwrap();
                code = 1;
                (out.clone(), vec![run, out], Promise::OldOrNew)
            }
            "merge" => {
                write_depot(&path("run.vld"), 0..2000, 1);
                write_depot(&path("more.vld"), 2000..4000, 2);
                (out.clone(), vec![word("-o"), out, run, text("more.vld")], Promise::OldOrNew)
            }
            "merge --append" => {
                write_depot(&path("run.vld"), 0..2000, 1);
                write_depot(&path("more.vld"), 2000..4000, 2);
                again = &["--ignore-duplicates"];
                (run.clone(), vec![word("--append"), word("-o"), run, text("more.vld")], Promise::Between)
            }
            "subset" => {
                write_depot(&path("run.vld"), 0..4000, 1);
                (out.clone(), vec![run, out, word("-i"), word("*[02468]")], Promise::OldOrNew)
            }
            "sync folder new" => {
                write_files(&path("files"), 1);
                (out.clone(), vec![text("files"), out], Promise::OldOrNew)
            }
            "sync folder" => {
                pack(&run, 1);
                write_files(&path("files"), 2);
                fs::remove_file(path("files/3/3")).unwrap();
                (run.clone(), vec![text("files"), run, word("--delete"), word("-c")], Promise::Between)
            }
            "sync archive" => {
                pack(&run, 2);
                write_files(&path("target"), 1);
                fs::write(path("target/more"), b"more").unwrap();
                (text("target"), vec![run, text("target"), word("--delete")], Promise::Files)
            }
            "sync depots" => {
                write_depot(&path("run.vld"), 0..3000, 1);
                write_depot(&path("other.vld"), 1000..4000, 2);
                (run.clone(), vec![text("other.vld"), run, word("--delete")], Promise::Between)
            }
            _ => unreachable!("no job for {verb}"),
        };
        let target = PathBuf::from(target);
        let mut job = Self {
            verb,
            before: fs::read(&target).ok(),
            arguments: std::iter::once(word(verb.split(' ').next().unwrap())).chain(arguments).collect(),
            target,
            folder,
            again,
            may_be_done,
            code,
            promise,
            old: Content::new(),
            new: Content::new(),
        };
        if matches!(job.promise, Promise::Files) {
            copy(&job.target, &job.folder.path().join("kept"));
        }
        job.old = job.found("before");
        job.finish(&[]);
        job.new = job.found("after");
        assert!(job.old != job.new || verb == "compact", "{verb} does nothing");
        job
    }

    fn found(&self, what: &str) -> Content {
        match self.promise {
            Promise::Files => files(&self.target),
            _ if !self.target.exists() => Content::new(),
            _ => content(&self.target, &format!("{}, {what}", self.verb)),
        }
    }

    fn reset(&self) {
        if matches!(self.promise, Promise::Files) {
            fs::remove_dir_all(&self.target).unwrap();
            copy(&self.folder.path().join("kept"), &self.target);
            return;
        }
        match &self.before {
            Some(bytes) => fs::write(&self.target, bytes).unwrap(),
            None => _ = fs::remove_file(&self.target),
        }
    }

    fn start(&self, more: &[&str]) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vldepot"));
        command.args(&self.arguments).args(more).stdout(Stdio::null()).stderr(Stdio::null());
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
    fn finish(&self, more: &[&str]) {
        let status = self.start(more).wait().unwrap();
        assert_eq!(status.code(), Some(self.code), "{} {more:?}", self.verb);
    }

    /// Kills a run after `moment`, and checks what it left. Returns whether it was killed.
    fn kill(&self, signal: i32, moment: Duration) -> bool {
        let what = format!("{} killed by signal {signal} after {moment:?}", self.verb);
        self.reset();
        let mut child = self.start(&[]);
        thread::sleep(moment);
        // SAFETY: the number is that of a child that was not waited for yet.
        assert_eq!(unsafe { libc::kill(child.id().cast_signed(), signal) }, 0);
        let status = child.wait().unwrap();
        let found = self.found(&what);
        match self.promise {
            Promise::OldOrNew => assert!(found == self.old || found == self.new, "{what}"),
            Promise::Between => {
                for (name, sum) in &found {
                    let (old, new) = (self.old.get(name), self.new.get(name));
                    assert!(old == Some(sum) || new == Some(sum), "{what}: {name}");
                }
                for (name, sum) in &self.old {
                    // What stays as it is was there all the time.
                    assert!(
                        self.new.get(name) != Some(sum) || found.get(name) == Some(sum),
                        "{what}: {name}"
                    );
                }
            }
            Promise::Files => {
                for (name, sum) in &self.old {
                    let kept = self.new.contains_key(name);
                    assert!(
                        !kept || [Some(sum), self.new.get(name)].contains(&found.get(name)),
                        "{what}: {name}"
                    );
                }
                for (name, sum) in &found {
                    let known = [self.old.get(name), self.new.get(name)].contains(&Some(sum));
                    assert!(known, "{what}: {name}");
                }
            }
        }
        status.signal().is_some()
    }

    /// The next run finishes the work, and leaves nothing of the one that was killed.
    fn go_on(&self) {
        if self.before.is_none() && self.target.exists() && !matches!(self.promise, Promise::Files) {
            return;
        }
        let status = self.start(self.again).wait().unwrap();
        assert!(status.code() == Some(self.code) || self.may_be_done, "{}: the next run", self.verb);
        assert!(self.found("the next run") == self.new, "{}: the next run", self.verb);
        let beside = fs::read_dir(self.target.parent().unwrap()).unwrap();
        for entry in beside.chain(fs::read_dir(self.folder.path()).unwrap()) {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(!name.starts_with('.'), "{}: {name} is left", self.verb);
        }
        if matches!(self.promise, Promise::Files) {
            assert_eq!(unfinished(&self.target), 0, "{}", self.verb);
        }
    }
}

/// How many files below a folder are being written.
fn unfinished(folder: &Path) -> usize {
    let below = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry.unwrap().path();
        let is_one = path.file_name().unwrap().to_str().unwrap().starts_with(".vldepot-");
        usize::from(is_one) + if path.is_dir() { unfinished(&path) } else { 0 }
    };
    fs::read_dir(folder).unwrap().map(below).sum()
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(status.unwrap().success());
}

fn kills(verb: &'static str) {
    let kills = std::env::var("VLDEPOT_KILLS").map_or(5, |number| number.parse().unwrap());
    let job = Job::new(verb);
    let mut times: Vec<_> = (0..3)
        .map(|_| {
            job.reset();
            let start = Instant::now();
            job.finish(&[]);
            start.elapsed()
        })
        .collect();
    times.sort();
    let mut random = Random(checksum(verb.as_bytes()));
    let mut killed = 0;
    for n in 0..kills {
        let signal = [libc::SIGINT, libc::SIGTERM, libc::SIGKILL][n % 3];
        killed += usize::from(job.kill(signal, random.part(times[1])));
        if n % 2 == 1 {
            job.go_on();
        }
    }
    println!("{verb}: {killed} of {kills} runs of {:?} were killed before their end", times[1]);
    job.reset();
}

macro_rules! verbs {
    ($($name:ident: $verb:literal),* $(,)?) => {
        $(#[test]
        fn $name() {
            kills($verb);
        })*
    };
}

verbs! {
    create: "create",
    add: "add",
    rm: "rm",
    mv: "mv",
    compact: "compact",
    truncate: "truncate",
    repair: "repair",
    merge: "merge",
    merge_append: "merge --append",
    subset: "subset",
    sync_of_a_folder_to_a_new_archive: "sync folder new",
    sync_of_a_folder: "sync folder",
    sync_of_an_archive: "sync archive",
    sync_of_depots: "sync depots",
}
