//! Why a chunk is refused.

use super::feature::Feature;

/// The reason why c-blosc2 failed, or why a chunk was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct BloscError {
    why: String,
    unread: Option<Feature>,
}

impl BloscError {
    pub(crate) fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), unread: None }
    }

    /// The error for a panic of the code that compresses.
    pub(crate) fn panicked(message: &str) -> Self {
        Self::new(format!("the compressor panicked: {message}"))
    }

    /// The feature of the chunk that this program does not read, if that is the reason.
    pub(crate) fn into_unread(self) -> Option<Feature> {
        self.unread
    }
}

impl From<Feature> for BloscError {
    fn from(feature: Feature) -> Self {
        let why = format!("{} {}, which this program does not read", feature.what, feature.name);
        Self { why, unread: Some(feature) }
    }
}

pub(super) fn refuse<T>(why: impl Into<String>) -> Result<T, BloscError> {
    Err(BloscError::new(why))
}
