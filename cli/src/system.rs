//! Where the system interferes with a command: a closed standard output, the signal when a file grows too
//! long, and those that end a mount.
//!
//! These are the only calls of C in the command.

use std::io::{self, Write};

/// The command's standard output.
///
/// The standard library hides that it is closed. It opens `/dev/null` in its place before `main`. And it
/// reports success when it writes to a descriptor that cannot be written to.
///
/// # Errors
/// The system's error, if the descriptor cannot be used.
pub(crate) fn stdout() -> io::Result<Box<dyn Write>> {
    #[cfg(unix)]
    {
        use std::os::fd::AsFd;
        if unix::is_stdout_closed() {
            return Ok(Box::new(Closed));
        }
        let output = io::stdout().as_fd().try_clone_to_owned()?;
        Ok(Box::new(std::fs::File::from(output)))
    }
    #[cfg(not(unix))]
    Ok(Box::new(io::stdout().lock()))
}

/// Ignores the signal for writing past the limit on file sizes.
///
/// The write then fails with an error, which can be reported. The signal would end the command.
pub(crate) fn ignore_file_size_signal() {
    #[cfg(unix)]
    unix::ignore_file_size_signal();
}

#[cfg(all(feature = "mount", target_os = "linux"))]
pub(crate) use mount::{detach, hold_ending_signals, wait_for_ending_signal};

/// A standard output that accepts nothing.
#[cfg(unix)]
struct Closed;

#[cfg(unix)]
impl Write for Closed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() { Ok(0) } else { Err(io::Error::from_raw_os_error(libc::EBADF)) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(unix)]
mod unix {
    use std::sync::atomic::{AtomicBool, Ordering};

    static STDOUT_CLOSED: AtomicBool = AtomicBool::new(false);

    extern "C" fn look_at_stdout() {
        // SAFETY: takes integers alone, and only asks.
        let closed = unsafe { libc::fcntl(libc::STDOUT_FILENO, libc::F_GETFD) } == -1;
        STDOUT_CLOSED.store(closed, Ordering::Relaxed);
    }

    // SAFETY: the loader calls each function of this section once, before `main` and with arguments that a C
    // function may ignore; this one uses nothing that the standard library sets up.
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    #[used]
    #[unsafe(link_section = ".init_array")]
    static BEFORE_MAIN: extern "C" fn() = look_at_stdout;

    // SAFETY: as above.
    #[cfg(any(target_os = "macos", target_os = "ios"))]
    #[used]
    #[unsafe(link_section = "__DATA,__mod_init_func")]
    static BEFORE_MAIN: extern "C" fn() = look_at_stdout;

    pub(super) fn is_stdout_closed() -> bool {
        // If nothing looked before `main`, the present state has to do.
        STDOUT_CLOSED.load(Ordering::Relaxed)
    }

    pub(super) fn ignore_file_size_signal() {
        // SAFETY: no handler is installed, the signal is ignored; nothing else here is concerned with
        // signals.
        unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    }
}

#[cfg(all(feature = "mount", target_os = "linux"))]
mod mount {
    use std::ffi::CString;
    use std::io;
    use std::mem::MaybeUninit;
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;

    fn ending_signals() -> libc::sigset_t {
        let mut set = MaybeUninit::uninit();
        // SAFETY: the first call makes a set of the memory, and the others take that set and numbers of
        // signals that there are.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
                libc::sigaddset(set.as_mut_ptr(), signal);
            }
            set.assume_init()
        }
    }

    /// Keeps back the signals that ask a command to end, in this thread and in those that it starts.
    pub(crate) fn hold_ending_signals() {
        // SAFETY: the set is valid, and the old one is not asked for.
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &ending_signals(), std::ptr::null_mut()) };
    }

    /// Waits until one of the signals comes that were kept back, and returns its number.
    pub(crate) fn wait_for_ending_signal() -> i32 {
        let (set, mut signal) = (ending_signals(), 0);
        // SAFETY: both are valid for as long as the call takes.
        while unsafe { libc::sigwait(&raw const set, &raw mut signal) } != 0 {}
        signal
    }

    /// Unmounts a folder, also one that is being read.
    pub(crate) fn detach(folder: &Path) -> io::Result<()> {
        let folder = CString::new(folder.as_os_str().as_bytes())?;
        // SAFETY: the path ends with a NUL byte, and lives as long as the call takes.
        match unsafe { libc::umount2(folder.as_ptr(), libc::MNT_DETACH | libc::UMOUNT_NOFOLLOW) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}
