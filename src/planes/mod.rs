//! Records with their fields apart: of the records in a block, all bytes of a field's plane follow each
//! other.
//!
//! A record is **spans**, which are arrays of elements, and what lies between them, its **head**. Spans
//! that mean the same in all records have the same field number. Blocks cover whole records or parts of a
//! long one. What the blocks of a chunk have in common stands once, in its [`Model`]: which fields there are,
//! how each of their byte planes is stored, and the shapes and heads that many records share.
//!
//! ```text
//! huffman   codes of bytes               split   byte planes, apart and together again
//! heads     what heads have in common    model   what blocks have in common
//! block     blocks                       varint  numbers in few bytes
//! coder     how planes are stored        spans    what codecs say of records
//! wide      many elements at once
//! ```
//!
//! This room is pure: bytes in, bytes out. Nothing that it reads makes it panic, or take memory for more than
//! what its caller asks for.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "lengths are those of parts of a chunk, of less than 2^31 bytes; codes are made of low bits"
)]

mod block;
mod coder;
mod heads;
mod huffman;
mod model;
mod spans;
mod split;
#[cfg(test)]
mod tests;
mod varint;
mod wide;

pub(crate) use block::{MAX_IN_BLOCK, MAX_SPANS, Scratch, decode_block, encode_block, spans_of_block};
pub(crate) use coder::Coder;
pub(crate) use heads::{Piece, Span};
#[cfg(all(feature = "testing", feature = "atomic", feature = "json"))]
pub(crate) use model::Model;
pub(crate) use model::{Decoders, Learnt, Reader};
pub use spans::FieldSpans;
pub(crate) use spans::cut;
pub use split::Elements;

/// Why stored bytes are not those of a model or a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Broken(pub(crate) &'static str);
