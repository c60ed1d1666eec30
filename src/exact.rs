//! Refuses to serialise a value that would not read back as it was.
//!
//! serde's data model is richer than MessagePack and JSON. Both write `None`, `()` and a `Some` of
//! either as the same nil. JSON has no NaN. Readers of both stop at some depth. [`Exact`] wraps a value,
//! and everything inside it, on its way to a serializer, and refuses these cases. It changes no byte of
//! what it lets through.
//!
//! ```text
//! Exact(value) ──serialize──> Checked(serializer) ──> serializer
//!                                  │ each part, wrapped again ──> Part(part)
//! ```

use std::fmt::Display;

use serde::ser::{
    Error, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

/// A format, with what it cannot tell apart or cannot hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// MessagePack as rmp-serde writes it.
    MessagePack,
    /// JSON as serde_json writes it.
    #[cfg(feature = "json")]
    Json,
}

impl Form {
    const fn name(self) -> &'static str {
        match self {
            Self::MessagePack => "MessagePack",
            #[cfg(feature = "json")]
            Self::Json => "JSON",
        }
    }

    /// How the format writes `None` and `()`. JSON also writes unit structs, NaN and infinities like this.
    const fn nil(self) -> &'static str {
        match self {
            Self::MessagePack => "nil",
            #[cfg(feature = "json")]
            Self::Json => "null",
        }
    }

    /// How many arrays and maps may be nested before the format's reader stops.
    pub(crate) const fn max_depth(self) -> usize {
        match self {
            Self::MessagePack => 1023,
            #[cfg(feature = "json")]
            Self::Json => 127,
        }
    }

    /// Whether the format has bytes, NaN, unit structs as an empty array, and the number of parts before
    /// the parts.
    const fn is_binary(self) -> bool {
        matches!(self, Self::MessagePack)
    }
}

/// Where a part lies in the value.
#[derive(Debug, Clone, Copy)]
struct Place {
    form: Form,
    /// How many arrays and maps are around it.
    depth: usize,
    /// Whether it is the whole content of a `Some`.
    in_some: bool,
    /// The nearest struct field around it.
    field: Option<&'static str>,
}

impl Place {
    fn refuse<E: Error>(self, why: impl Display) -> E {
        match self.field {
            Some(field) => E::custom(format_args!("field `{field}`: {why}")),
            None => E::custom(why),
        }
    }

    /// Checks a part that is written as nil.
    fn check_nil<E: Error>(self) -> Result<(), E> {
        if !self.in_some {
            return Ok(());
        }
        let (name, nil) = (self.form.name(), self.form.nil());
        Err(self.refuse(format_args!(
            "a `Some` whose content {name} writes as {nil}, as it writes `None`: it would read back as `None`"
        )))
    }

    #[inline]
    fn check_finite<E: Error>(self, number: f64) -> Result<(), E> {
        if self.form.is_binary() || number.is_finite() {
            return Ok(());
        }
        Err(self.refuse(format_args!("{number}, which {} cannot hold", self.form.name())))
    }

    /// The place inside `levels` more arrays or maps.
    fn inside<E: Error>(self, levels: usize) -> Result<Self, E> {
        let depth = self.depth + levels;
        let max = self.form.max_depth();
        if depth > max {
            let name = self.form.name();
            return Err(self.refuse(format_args!(
                "arrays and maps more than {max} inside each other, which readers of {name} refuse"
            )));
        }
        Ok(Self { depth, in_some: false, ..self })
    }
}

/// A value that serialises as it would by itself, or is refused.
#[derive(Debug)]
pub(crate) struct Exact<'t, T: ?Sized>(pub(crate) &'t T, pub(crate) Form);

impl<T: Serialize + ?Sized> Serialize for Exact<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let place = Place { form: self.1, depth: 0, in_some: false, field: None };
        Part { value: self.0, place: &place }.serialize(serializer)
    }
}

/// A part of such a value.
struct Part<'t, T: ?Sized> {
    value: &'t T,
    // Borrowed, because a copy for each number of an array would cost as much as writing it.
    place: &'t Place,
}

impl<T: Serialize + ?Sized> Serialize for Part<'_, T> {
    #[inline]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(Checked { inner: serializer, place: self.place })
    }
}

struct Checked<'p, S> {
    inner: S,
    place: &'p Place,
}

/// An array, a map or a struct that is being written.
struct Parts<S> {
    inner: S,
    place: Place,
    /// How many parts it announced, if it did.
    declared: Option<usize>,
    given: usize,
}

impl<S> Checked<'_, S> {
    fn parts<P, E: Error>(
        self,
        levels: usize,
        declared: Option<usize>,
        begin: impl FnOnce(S) -> Result<P, E>,
    ) -> Result<Parts<P>, E> {
        let place = self.place.inside(levels)?;
        Ok(Parts { inner: begin(self.inner)?, place, declared, given: 0 })
    }
}

impl<P> Parts<P> {
    fn finish<E: Error>(self) -> Result<P, E> {
        // With a wrong number, a reader would take what follows for other values.
        let wrong = |declared: &usize| self.place.form.is_binary() && *declared != self.given;
        match self.declared.filter(wrong) {
            Some(declared) => {
                let why = format_args!("{declared} parts announced by its `Serialize`, {} given", self.given);
                Err(self.place.refuse(why))
            }
            None => Ok(self.inner),
        }
    }
}

macro_rules! as_they_are {
    ($($method:ident($type:ty);)*) => {$(
        #[inline]
        fn $method(self, value: $type) -> Result<S::Ok, S::Error> {
            self.inner.$method(value)
        }
    )*};
}

impl<S: Serializer> Serializer for Checked<'_, S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Parts<S::SerializeSeq>;
    type SerializeTuple = Parts<S::SerializeTuple>;
    type SerializeTupleStruct = Parts<S::SerializeTupleStruct>;
    type SerializeTupleVariant = Parts<S::SerializeTupleVariant>;
    type SerializeMap = Parts<S::SerializeMap>;
    type SerializeStruct = Parts<S::SerializeStruct>;
    type SerializeStructVariant = Parts<S::SerializeStructVariant>;

    as_they_are! {
        serialize_bool(bool);
        serialize_i8(i8);
        serialize_i16(i16);
        serialize_i32(i32);
        serialize_i64(i64);
        serialize_i128(i128);
        serialize_u8(u8);
        serialize_u16(u16);
        serialize_u32(u32);
        serialize_u64(u64);
        serialize_u128(u128);
        serialize_char(char);
        serialize_str(&str);
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.inner.collect_str(value)
    }

    #[inline]
    fn serialize_f32(self, value: f32) -> Result<S::Ok, S::Error> {
        self.place.check_finite(value.into())?;
        self.inner.serialize_f32(value)
    }

    #[inline]
    fn serialize_f64(self, value: f64) -> Result<S::Ok, S::Error> {
        self.place.check_finite(value)?;
        self.inner.serialize_f64(value)
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<S::Ok, S::Error> {
        if !self.place.form.is_binary() {
            // An array of numbers.
            self.place.inside(1)?;
        }
        self.inner.serialize_bytes(value)
    }

    #[inline]
    fn serialize_none(self) -> Result<S::Ok, S::Error> {
        self.place.check_nil()?;
        self.inner.serialize_none()
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        let place = Place { in_some: true, ..*self.place };
        self.inner.serialize_some(&Part { value, place: &place })
    }

    #[inline]
    fn serialize_unit(self) -> Result<S::Ok, S::Error> {
        self.place.check_nil()?;
        self.inner.serialize_unit()
    }

    fn serialize_unit_struct(self, name: &'static str) -> Result<S::Ok, S::Error> {
        if self.place.form.is_binary() {
            self.place.inside(1)?;
        } else {
            self.place.check_nil()?;
        }
        self.inner.serialize_unit_struct(name)
    }

    fn serialize_unit_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
    ) -> Result<S::Ok, S::Error> {
        self.inner.serialize_unit_variant(name, index, variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        // Written as what is in it.
        self.inner.serialize_newtype_struct(name, &Part { value, place: self.place })
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let place = self.place.inside(1)?;
        self.inner.serialize_newtype_variant(name, index, variant, &Part { value, place: &place })
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Self::SerializeSeq, S::Error> {
        self.parts(1, len, |inner| inner.serialize_seq(len))
    }

    fn serialize_tuple(self, len: usize) -> Result<Self::SerializeTuple, S::Error> {
        self.parts(1, Some(len), |inner| inner.serialize_tuple(len))
    }

    fn serialize_tuple_struct(
        self,
        name: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleStruct, S::Error> {
        self.parts(1, Some(len), |inner| inner.serialize_tuple_struct(name, len))
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleVariant, S::Error> {
        self.parts(2, Some(len), |inner| inner.serialize_tuple_variant(name, index, variant, len))
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Self::SerializeMap, S::Error> {
        // Keys and values.
        self.parts(1, len.map(|len| 2 * len), |inner| inner.serialize_map(len))
    }

    fn serialize_struct(self, name: &'static str, len: usize) -> Result<Self::SerializeStruct, S::Error> {
        self.parts(1, Some(len), |inner| inner.serialize_struct(name, len))
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStructVariant, S::Error> {
        self.parts(2, Some(len), |inner| inner.serialize_struct_variant(name, index, variant, len))
    }
}

macro_rules! parts {
    ($($trait:ident::$method:ident($($field:ident)?);)*) => {$(
        impl<P: $trait> $trait for Parts<P> {
            type Ok = P::Ok;
            type Error = P::Error;

            #[inline]
            fn $method<T: Serialize + ?Sized>(
                &mut self,
                $($field: &'static str,)?
                value: &T,
            ) -> Result<(), P::Error> {
                self.given += 1;
                parts!(@at self, place $(, $field)?);
                self.inner.$method($($field,)? &Part { value, place })
            }

            fn end(self) -> Result<P::Ok, P::Error> {
                self.finish()?.end()
            }

            parts!(@skip $($field)?);
        }
    )*};
    (@at $self:ident, $place:ident) => { let $place = &$self.place; };
    (@at $self:ident, $place:ident, $field:ident) => {
        let $place = &Place { field: Some($field), ..$self.place };
    };
    (@skip) => {};
    (@skip $field:ident) => {
        fn skip_field(&mut self, $field: &'static str) -> Result<(), P::Error> {
            self.inner.skip_field($field)
        }
    };
}

parts! {
    SerializeSeq::serialize_element();
    SerializeTuple::serialize_element();
    SerializeTupleStruct::serialize_field();
    SerializeTupleVariant::serialize_field();
    SerializeStruct::serialize_field(field);
    SerializeStructVariant::serialize_field(field);
}

impl<P: SerializeMap> SerializeMap for Parts<P> {
    type Ok = P::Ok;
    type Error = P::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), P::Error> {
        self.given += 1;
        self.inner.serialize_key(&Part { value: key, place: &self.place })
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), P::Error> {
        self.given += 1;
        self.inner.serialize_value(&Part { value, place: &self.place })
    }

    fn end(self) -> Result<P::Ok, P::Error> {
        self.finish()?.end()
    }
}
