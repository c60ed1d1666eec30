//! Events through the `log` crate, with the feature `log`; without it, nothing.
//!
//! `warn` is for what a user should hear of although the call succeeds, such as a torn end that was cut off.
//! `info` is for what changes a file as a whole, `debug` for commits.
//!
//! Some are told while a depot is locked: a logger must not use the depot that it hears of.

/// Logs an event under the target `vldepot`.
macro_rules! event {
    ($level:ident, $($part:tt)+) => {{
        #[cfg(feature = "log")]
        ::log::$level!(target: "vldepot", $($part)+);
        // What an event shows counts as used, and is not computed.
        #[cfg(not(feature = "log"))]
        let _ = || format!($($part)+);
    }};
}
pub(crate) use event;
