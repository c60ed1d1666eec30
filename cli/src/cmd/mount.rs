//! `vldepot mount`: shows an archive as a folder.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use clap::Args;
use fuser::{Config, MountOption, Session, SessionACL, SessionUnmounter};
use vldepot::archive::{Archive, ArchivePath};

use super::Run;
use crate::failure::Failure;
use crate::filesystem::Mounted;
use crate::{archive, progress, system, text};

/// More threads than this would wait for each other.
const MAX_THREADS: usize = 8;

const DEVICE: &str = "/dev/fuse";

/// Show an archive as a folder that can be read.
///
/// The command runs until it is interrupted, or until the folder is unmounted. Files are read by parts, and
/// nothing is unpacked. Nothing can be written.
#[derive(Args)]
pub(crate) struct Mount {
    /// The archive, or a folder of shards.
    file: PathBuf,
    /// An empty folder.
    folder: PathBuf,
    /// Let other users read it too, each as the modes of the files allow.
    #[arg(long)]
    allow_other: bool,
}

/// Why the command ends.
enum End {
    Unmounted(io::Result<()>),
    Signal,
}

impl Run for Mount {
    fn json(&self) -> bool {
        false
    }

    fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        // Before any thread is started: threads inherit it.
        system::hold_ending_signals();
        let (ends, end) = mpsc::channel();
        let ended = ends.clone();
        let is_mounting = Arc::new(AtomicBool::new(false));
        let mounting = Arc::clone(&is_mounting);
        thread::spawn(move || {
            let signal = system::wait_for_ending_signal();
            if !mounting.load(Ordering::SeqCst) {
                std::process::exit(128 + signal);
            }
            ends.send(End::Signal)
        });
        let folder = empty_folder(&self.folder)?;
        // The file system has it until the process ends.
        let archive: &'static Archive = Box::leak(Box::new(archive::open(&self.file)?));
        tell_of_loss(archive)?;
        let mounted = Mounted::new(archive, &folder).map_err(|error| self.failure(&error))?;
        is_mounting.store(true, Ordering::SeqCst);
        let mut session =
            Session::new(mounted, &folder, &self.config()).map_err(|error| self.failure(&error))?;
        let mut unmounter = session.unmount_callable();
        thread::spawn(move || ended.send(End::Unmounted(session.run())));
        let told = self.tell(out);
        if told.is_err() {
            unmount(&folder, &mut unmounter);
            return told;
        }
        match end.recv() {
            Ok(End::Unmounted(Err(error))) => {
                unmount(&folder, &mut unmounter);
                return Err(Failure::from_io(&self.folder, "the mount ended", &error));
            }
            Ok(End::Signal) => unmount(&folder, &mut unmounter),
            Ok(End::Unmounted(Ok(()))) | Err(_) => {}
        }
        archive::complete(archive)
    }
}

impl Mount {
    fn config(&self) -> Config {
        let mut config = Config::default();
        let name = text::path(&self.file);
        // A comma ends an option, and a backslash takes the meaning of what follows.
        let name = name.replace([',', '\\'], "_");
        config.mount_options = vec![
            MountOption::RO,
            MountOption::NoSuid,
            MountOption::NoDev,
            MountOption::NoAtime,
            MountOption::FSName(name),
            MountOption::Subtype("vldepot".to_owned()),
        ];
        if self.allow_other {
            config.acl = SessionACL::All;
            config.mount_options.push(MountOption::DefaultPermissions);
        }
        config.n_threads = Some(thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS));
        config.clone_fd = true;
        config
    }

    /// Says that the folder can be read: whoever waits for it must not wait for the end.
    fn tell(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let (file, folder) = (text::path(&self.file), text::path(&self.folder));
        progress::tell(
            out,
            format_args!("{file}: mounted at {folder}, until it is unmounted or interrupted"),
        )?;
        Ok(out.flush()?)
    }

    fn failure(&self, error: &io::Error) -> Failure {
        let failure = Failure::from_io(&self.folder, "cannot mount there", error);
        let folder = text::path(&self.folder);
        match error.kind() {
            io::ErrorKind::NotFound if !Path::new(DEVICE).exists() => {
                Failure::other(format!("{folder}: cannot mount there: this system has no {DEVICE}"))
            }
            // The helper that mounts for those who may not.
            io::ErrorKind::NotFound => Failure::other(format!(
                "{folder}: cannot mount there: not permitted to this user, and there is no `fusermount3`, which does it \
                 for all users"
            )),
            _ => failure,
        }
    }
}

fn empty_folder(folder: &Path) -> Result<PathBuf, Failure> {
    let cannot_read = |error: &io::Error| Failure::from_io(folder, "cannot read the folder", error);
    let absolute = folder.canonicalize().map_err(|error| cannot_read(&error))?;
    if !absolute.is_dir() {
        return Err(Failure::usage(format!("{}: not a folder", text::path(folder))));
    }
    if fs::read_dir(&absolute).map_err(|error| cannot_read(&error))?.next().is_some() {
        let why = "not empty: what is in it could not be seen while it is mounted on";
        return Err(Failure::usage(format!("{}: {why}", text::path(folder))));
    }
    Ok(absolute)
}

/// Says on stderr what the folder will not show.
fn tell_of_loss(archive: &Archive) -> Result<(), Failure> {
    if let Err(lost) = archive::complete(archive) {
        lost.warn();
    }
    let names = archive.totals(ArchivePath::ROOT)?.records;
    let others = archive.depot().len().saturating_sub(names);
    if others > 0 {
        eprintln!("vldepot: {} left out: named by numbers, not by paths", text::count(others, "record"));
    }
    Ok(())
}

/// Takes the folder away from all, also from those who are reading it: they get an error when the command has
/// ended.
fn unmount(folder: &Path, unmounter: &mut SessionUnmounter) {
    if system::detach(folder).is_err()
        && let Err(error) = unmounter.unmount()
    {
        eprintln!("vldepot: {}: cannot unmount it: {error}", text::path(folder));
    }
}
