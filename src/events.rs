//! Events through the `log` crate, with the feature `log`. Without the feature there are none.
//!
//! `warn` is for what a user should hear of although the call succeeds, such as a torn end that was cut
//! off. `info` is for changes to a file as a whole, `debug` for commits.
//!
//! Some events are logged while a depot is locked, so a logger must not use the depot that an event is
//! about.

/// Logs an event under the target `vldepot`.
macro_rules! event {
    ($level:ident, $($part:tt)+) => {{
        #[cfg(feature = "log")]
        ::log::$level!(target: "vldepot", $($part)+);
        // The arguments count as used, but are not computed.
        #[cfg(not(feature = "log"))]
        let _ = || format!($($part)+);
    }};
}
pub(crate) use event;
