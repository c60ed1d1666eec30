//! Why a chunk is refused.

use super::feature::Feature;

/// Why c-blosc2, or the shape of a chunk, was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct BloscError {
    why: String,
    unread: Option<Feature>,
}

impl BloscError {
    pub(super) fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), unread: None }
    }

    /// The code that was to make the chunk panicked.
    pub(crate) fn panicked(message: &str) -> Self {
        Self::new(format!("the compressor panicked: {message}"))
    }

    /// What the chunk uses and this program does not read, if that is why.
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
