//! Pages that show what is in a depot: one file with all that it needs, or the same served to a browser on
//! this machine.
//!
//! ```text
//! data      what is read of a depot, and how much of it
//! fields    how records divide into fields
//! scalars   lines over the run
//! scene     one frame as it is drawn        elements  radii, colours, and how elements are told
//! drawing   one frame as SVG                viewer    the program that draws in three dimensions
//! folders   an archive as a tree map        treemap   rectangles with given areas
//! plot      lines and bars as SVG           escape    text and JSON inside a page
//! page      the page                        sections  its parts
//! serve     the page and its frames by HTTP
//! ```

pub(crate) mod data;
mod drawing;
mod elements;
mod escape;
mod fields;
mod folders;
pub(crate) mod page;
mod plot;
mod scalars;
mod scene;
#[allow(clippy::format_collect, reason = "rows of a table are few")]
mod sections;
pub(crate) mod serve;
mod treemap;
mod viewer;
