//! The program that draws frames in three dimensions, if it was built in.

/// 3Dmol.js and the licences of what is in it.
///
/// # Source
/// Nicholas Rego and David Koes, "3Dmol.js: molecular visualization with WebGL", Bioinformatics 2015,
/// 1322-1324.
#[cfg(feature = "viewer")]
pub(crate) const PROGRAM: Option<&str> = Some(include_str!(concat!(env!("OUT_DIR"), "/viewer.js")));

/// It was not built in.
#[cfg(not(feature = "viewer"))]
pub(crate) const PROGRAM: Option<&str> = None;
