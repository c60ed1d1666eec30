//! How values become record bytes and record bytes become borrowed views.
//!
//! [`Codec`] is the seam between the engine, which knows only names and bytes, and the code that knows
//! what the bytes mean. The built-in codecs live in [`crate::codecs`]. [`Raw`] is the codec that adds
//! nothing.

use std::fmt;

use crate::planes::FieldSpans;
use crate::scalar::{Scalar, ScalarField};
use crate::statistics::Tally;

/// Turns values into record bytes, and record bytes into borrowed views.
///
/// # The law
///
/// For every `x` that [`encode`](Self::encode) accepts, [`view`](Self::view) of the appended bytes shows
/// `x`. So `encode` must refuse a value that could not be told from another one later.
///
/// `view` gets bytes whose checksum matched, but must check them all the same: another version or
/// another program may have written them. It must never panic, whatever the bytes are.
///
/// # Example
///
/// ```
/// use vldepot::{Codec, CodecError, Depot};
///
/// /// Temperatures in kelvin.
/// struct Kelvin;
/// impl Codec for Kelvin {
///     type Item = f64;
///     type View<'a> = f64;
///     const ID: &'static str = "example.kelvin";
///     const ALIGN: usize = 8;
///     fn encode(&self, item: &f64, out: &mut Vec<u8>) -> Result<(), CodecError> {
///         out.extend_from_slice(&item.to_le_bytes());
///         Ok(())
///     }
///     fn view<'a>(&self, bytes: &'a [u8]) -> Result<f64, CodecError> {
///         let raw = bytes.try_into().map_err(|_| CodecError::length("a temperature", 8, bytes.len()))?;
///         Ok(f64::from_le_bytes(raw))
///     }
/// }
///
/// let depot = Depot::memory(Kelvin)?;
/// depot.put("boiling", &373.15)?;
/// assert_eq!(depot.get("boiling")?.view(), 373.15);
/// # Ok::<(), vldepot::Error>(())
/// ```
pub trait Codec: Send + Sync + 'static {
    /// What a writer hands in.
    type Item: ?Sized;
    /// What a reader gets. It borrows the decompressed record and copies nothing.
    type View<'a>;
    /// Stored in the depot's header. Opening a depot with another id is an error. At most 64 bytes.
    const ID: &'static str;
    /// Version of the record layout. Readers refuse a depot whose codec version is newer than theirs.
    const VERSION: u32 = 1;
    /// Records start at multiples of this many bytes: a power of two, at most 64.
    const ALIGN: usize;

    /// Bytes of one number, for the type that makes up most of a record: 8 for `f64`, 1 for text.
    ///
    /// The default is 4. New depots compress by it, unless their options say otherwise
    /// ([`Compression::typesize`](crate::Compression)). A depot with any value reads back the records of
    /// every codec. With the default, text takes nearly twice the room, and `f64` takes 4 % more than
    /// with 8. `f32` takes hardly more with 8 than with 4.
    fn element_size(&self) -> usize {
        4
    }

    /// The scalars that records have, such as a frame's energy. A depot keeps those that its options name in
    /// columns: see [`Layout::columns`](crate::Layout::columns). The default is none.
    ///
    /// A name must be the same scalar, of the same kind, for ever.
    fn scalars(&self) -> &[ScalarField] {
        &[]
    }

    /// The scalar `name` of a record, one of [`scalars`](Self::scalars). `None` if this record does not have
    /// it.
    ///
    /// It is asked for when a record is put in a depot with such a column.
    ///
    /// ```
    /// use vldepot::{Codec, CodecError, Depot, Layout, Scalar, ScalarField};
    ///
    /// struct Kelvin;
    /// impl Codec for Kelvin {
    ///     // .. as in the example of `Codec`
    /// #   type Item = f64;
    /// #   type View<'a> = f64;
    /// #   const ID: &'static str = "example.kelvin";
    /// #   const ALIGN: usize = 8;
    /// #   fn encode(&self, item: &f64, out: &mut Vec<u8>) -> Result<(), CodecError> {
    /// #       out.extend_from_slice(&item.to_le_bytes());
    /// #       Ok(())
    /// #   }
    /// #   fn view<'a>(&self, bytes: &'a [u8]) -> Result<f64, CodecError> {
    /// #       let raw = bytes.try_into().map_err(|_| CodecError::length("a temperature", 8, bytes.len()))?;
    /// #       Ok(f64::from_le_bytes(raw))
    /// #   }
    ///     fn scalars(&self) -> &[ScalarField] {
    ///         const { &[ScalarField::float("temperature")] }
    ///     }
    ///     fn scalar(&self, view: &f64, name: &str) -> Option<Scalar> {
    ///         (name == "temperature").then_some(Scalar::Float(*view))
    ///     }
    /// }
    ///
    /// let layout = Layout::default().with_columns(["temperature"]);
    /// let depot = Depot::builder(Kelvin).layout(layout).memory()?;
    /// depot.put("boiling", &373.15)?;
    /// depot.put("freezing", &273.15)?;
    /// assert_eq!(depot.column("temperature", ..)?.as_f64(), Some(&[373.15, 273.15][..]));
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    fn scalar(&self, view: &Self::View<'_>, name: &str) -> Option<Scalar> {
        let _ = (view, name);
        None
    }

    /// Whether [`fields`](Self::fields) names any arrays. The default is false: then records are put without
    /// looking at them again.
    fn has_fields(&self) -> bool {
        false
    }

    /// Where the arrays of a record lie, so that a depot can store each field by itself: see
    /// [`Layout::fields_apart`](crate::Layout::fields_apart). The default names none, which is right for text
    /// and for records without arrays of numbers.
    ///
    /// `view` is that of a record, which `fields` knows.
    ///
    /// ```
    /// use vldepot::{Codec, CodecError, Elements, FieldSpans};
    ///
    /// /// Places of particles: x, y and z of each, one after the other.
    /// struct Places;
    /// impl Codec for Places {
    ///     type Item = [[f32; 3]];
    ///     type View<'a> = &'a [[u8; 12]];
    ///     // ..
    /// #   const ID: &'static str = "example.places";
    /// #   const ALIGN: usize = 4;
    /// #   fn encode(&self, item: &[[f32; 3]], out: &mut Vec<u8>) -> Result<(), CodecError> {
    /// #       out.extend(item.iter().flatten().flat_map(|x| x.to_le_bytes()));
    /// #       Ok(())
    /// #   }
    /// #   fn view<'a>(&self, bytes: &'a [u8]) -> Result<&'a [[u8; 12]], CodecError> {
    /// #       let (places, rest) = bytes.as_chunks();
    /// #       if rest.is_empty() { Ok(places) } else { Err(CodecError::invalid("a part of a place")) }
    /// #   }
    ///     fn has_fields(&self) -> bool {
    ///         true
    ///     }
    ///     fn fields(&self, view: &Self::View<'_>, fields: &mut FieldSpans<'_>) {
    ///         fields.add(0, Elements::Float4, view.as_flattened());
    ///     }
    /// }
    ///
    /// vldepot::testing::codec_conformance(Places, [&[[1.0, 2.0, 3.0]][..]], |item, view| {
    ///     item.len() == view.len()
    /// });
    /// ```
    fn fields(&self, view: &Self::View<'_>, fields: &mut FieldSpans<'_>) {
        let _ = (view, fields);
    }

    /// Whether [`describe`](Self::describe) says anything of records. The default is false: then records are
    /// put as fast as without statistics.
    fn describes(&self) -> bool {
        false
    }

    /// Adds what this record holds to statistics: the numbers of its arrays, its scalars, the kinds of things
    /// that it is of.
    ///
    /// It is asked for when a record is put in a depot that [keeps statistics](crate::Layout::statistics).
    /// `tally` is empty before. A field must have the same name in all records, and the same meaning.
    ///
    /// ```
    /// use vldepot::statistics::Tally;
    /// use vldepot::{Codec, CodecError, Depot, Layout};
    ///
    /// struct Kelvin;
    /// impl Codec for Kelvin {
    ///     // .. as in the example of `Codec`
    /// #   type Item = f64;
    /// #   type View<'a> = f64;
    /// #   const ID: &'static str = "example.kelvin";
    /// #   const ALIGN: usize = 8;
    /// #   fn encode(&self, item: &f64, out: &mut Vec<u8>) -> Result<(), CodecError> {
    /// #       out.extend_from_slice(&item.to_le_bytes());
    /// #       Ok(())
    /// #   }
    /// #   fn view<'a>(&self, bytes: &'a [u8]) -> Result<f64, CodecError> {
    /// #       let raw = bytes.try_into().map_err(|_| CodecError::length("a temperature", 8, bytes.len()))?;
    /// #       Ok(f64::from_le_bytes(raw))
    /// #   }
    ///     fn describes(&self) -> bool {
    ///         true
    ///     }
    ///     fn describe(&self, view: &f64, tally: &mut Tally) {
    ///         tally.number("temperature", *view);
    ///     }
    /// }
    ///
    /// let layout = Layout::default().with_statistics(true);
    /// let depot = Depot::builder(Kelvin).layout(layout).memory()?;
    /// depot.put("boiling", &373.15)?;
    /// depot.put("freezing", &273.15)?;
    /// let statistics = depot.statistics()?;
    /// assert_eq!(statistics.field("temperature").unwrap().mean(), Some(323.15));
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    fn describe(&self, view: &Self::View<'_>, tally: &mut Tally) {
        let _ = (view, tally);
    }

    /// What a reader must know besides the id. Stored in the depot's header. At most 1024 bytes.
    fn parameters(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Prepares this codec for a depot that was written with the parameters `stored`.
    ///
    /// Returns the codec with what it learnt from them, which is then the depot's
    /// [`codec`](crate::Depot::codec). The default accepts anything, which is right for a codec with
    /// self-describing records. This method is not called for a new depot, nor for a file of the Python
    /// package vlstore, which has no parameters.
    ///
    /// # Errors
    /// When this codec cannot read records written with these parameters, or cannot append to them. The
    /// error names both values: see [`CodecError::Parameter`].
    fn open(self, stored: &[u8]) -> Result<Self, CodecError>
    where
        Self: Sized,
    {
        let _ = stored;
        Ok(self)
    }

    /// Appends one record to `out`. Leaves what is already in `out` untouched.
    ///
    /// # Errors
    /// When `item` breaks a rule of the record's layout. Bytes that were appended to `out` by then are
    /// ignored.
    fn encode(&self, item: &Self::Item, out: &mut Vec<u8>) -> Result<(), CodecError>;

    /// Calls `job` with the bytes that [`encode`](Self::encode) would append, and returns its result.
    ///
    /// `room` is empty scratch memory. The default encodes into it. If the value or the codec already
    /// holds the record's bytes, it can lend them instead, which saves `put` a copy.
    ///
    /// # Errors
    /// The errors of [`encode`](Self::encode). `job` was not called then.
    fn with_encoded<T>(
        &self,
        item: &Self::Item,
        room: &mut Vec<u8>,
        job: impl FnOnce(&[u8]) -> T,
    ) -> Result<T, CodecError> {
        self.encode(item, room)?;
        Ok(job(room))
    }

    /// Checks `bytes` once, then borrows from them.
    ///
    /// `bytes` start at a multiple of [`ALIGN`](Self::ALIGN).
    ///
    /// # Errors
    /// When [`encode`](Self::encode) did not write `bytes`.
    fn view<'a>(&self, bytes: &'a [u8]) -> Result<Self::View<'a>, CodecError>;

    /// Like [`view`](Self::view), but may skip the checks, because these bytes already passed them.
    ///
    /// # Safety
    /// `self.view(bytes)` returned `Ok` for these same bytes at this same address, which have not changed
    /// since.
    unsafe fn view_unchecked<'a>(&self, bytes: &'a [u8]) -> Self::View<'a> {
        match self.view(bytes) {
            Ok(view) => view,
            Err(error) => unreachable!("the caller promised that these bytes passed `view`: {error}"),
        }
    }
}

/// Why a codec refuses a value or a record's bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// A field has the wrong shape.
    #[error("field `{field}`: expected shape {expected}, found {found}")]
    Shape {
        /// The field's name in the schema.
        field: String,
        /// The shape that the other fields ask for.
        expected: Shape,
        /// The shape that was given.
        found: Shape,
    },
    /// A field has the wrong element type.
    #[error("field `{field}`: expected dtype {expected}, found {found}")]
    Dtype {
        /// The field's name in the schema.
        field: String,
        /// What the field holds.
        expected: String,
        /// What was given.
        found: String,
    },
    /// A record or a field has the wrong number of bytes.
    #[error("{what}: expected {expected} bytes, found {found}")]
    Length {
        /// What was being read.
        what: String,
        /// How many bytes it should have.
        expected: usize,
        /// How many it has.
        found: usize,
    },
    /// A record has no such field, and it was asked for.
    #[error("it has no {field}")]
    Absent {
        /// The field's name in the schema.
        field: String,
    },
    /// An integer that its field cannot hold, or that refers to something that is not there.
    #[error("field `{field}` at {index}: found {found}, {}", allowed(*least, *most))]
    Range {
        /// The field's name in the schema.
        field: String,
        /// The index in the field's array.
        index: Shape,
        /// What was given.
        found: i128,
        /// The least value that is allowed.
        least: i128,
        /// The largest value that is allowed. It is below `least` if no value is allowed.
        most: i128,
    },
    /// The codec's parameters differ from those that the depot was written with.
    #[error("codec parameter `{parameter}`: the depot was written with {stored}, this codec has {given}")]
    Parameter {
        /// The parameter's name.
        parameter: String,
        /// The value in the depot's header.
        stored: String,
        /// The value of the codec that opens the depot.
        given: String,
    },
    /// The bytes are not what this codec writes, or it cannot write the value.
    #[error("{0}")]
    Invalid(String),
}

fn allowed(least: i128, most: i128) -> String {
    if most < least {
        "and there is nothing to refer to".into()
    } else {
        format!("allowed are {least} to {most}")
    }
}

impl CodecError {
    /// A [`CodecError::Length`].
    pub fn length(what: impl Into<String>, expected: usize, found: usize) -> Self {
        Self::Length { what: what.into(), expected, found }
    }

    /// A [`CodecError::Shape`].
    pub fn shape(field: impl Into<String>, expected: &[usize], found: &[usize]) -> Self {
        Self::Shape { field: field.into(), expected: Shape(expected.to_vec()), found: Shape(found.to_vec()) }
    }

    /// A [`CodecError::Invalid`].
    pub fn invalid(why: impl Into<String>) -> Self {
        Self::Invalid(why.into())
    }
}

/// An array's shape, or the index of one of its elements, printed as `[3, 3]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape(pub Vec<usize>);

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// Bytes in, the same bytes out. Opens every depot, whichever codec wrote it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Raw;

impl Codec for Raw {
    type Item = [u8];
    type View<'a> = &'a [u8];
    const ID: &'static str = "raw";
    const ALIGN: usize = 16;

    fn encode(&self, item: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
        out.extend_from_slice(item);
        Ok(())
    }

    fn with_encoded<T>(
        &self,
        item: &[u8],
        _room: &mut Vec<u8>,
        job: impl FnOnce(&[u8]) -> T,
    ) -> Result<T, CodecError> {
        Ok(job(item))
    }

    fn view<'a>(&self, bytes: &'a [u8]) -> Result<&'a [u8], CodecError> {
        Ok(bytes)
    }

    unsafe fn view_unchecked<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes
    }
}
