//! How a map is written.

use super::head::MapFormat;
use super::packing::Packing;

/// How a map to bytes is written.
///
/// ```
/// use vldepot::maps::{MapOptions, Packing};
/// let options = MapOptions::new().with_packing(Packing::Zstd);
/// assert!(options.checksums);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MapOptions {
    /// How values are compressed. By default they are not.
    pub packing: Packing,
    /// Whether each value has a checksum of 4 bytes. By default it has. Without it, a changed value is not
    /// noticed.
    pub checksums: bool,
    /// Whose format the map is in. By default it is that of this crate.
    pub format: MapFormat,
}

impl Default for MapOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl MapOptions {
    /// Not compressed, with checksums, in the format of this crate.
    pub const fn new() -> Self {
        Self { packing: Packing::None, checksums: true, format: MapFormat::Vldepot }
    }

    /// The same, with values that are compressed so.
    #[must_use]
    pub const fn with_packing(mut self, packing: Packing) -> Self {
        self.packing = packing;
        self
    }

    /// The same, with or without a checksum for each value.
    #[must_use]
    pub const fn with_checksums(mut self, checksums: bool) -> Self {
        self.checksums = checksums;
        self
    }

    /// The same, in this format.
    #[must_use]
    pub const fn with_format(mut self, format: MapFormat) -> Self {
        self.format = format;
        self
    }
}
