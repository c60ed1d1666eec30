//! Any serde type as a record: MessagePack ([`Serde`]) or JSON ([`Json`]).
//!
//! Both parse the whole record on every `view` and allocate whatever `T` allocates: they buy freedom of
//! type, not speed. Arrays that should be lent without copies belong in [`NdArray`](super::NdArray) or
//! [`AtomicFrameCodec`](super::AtomicFrameCodec).

use std::fmt;
use std::marker::PhantomData;

use ::serde::Serialize;
use ::serde::de::DeserializeOwned;

use crate::codec::{Codec, CodecError};

/// MessagePack, with field names, so that fields may be added (`#[serde(default)]`) and reordered.
///
/// `view` gives an owned `T`: it parses the record each time, and once more for the check on `get`.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use vldepot::{Codec, codecs::Serde};
///
/// #[derive(Serialize, Deserialize, PartialEq, Debug)]
/// struct Run { temperature: f64, steps: u64 }
///
/// let codec = Serde::<Run>::new();
/// let mut bytes = Vec::new();
/// codec.encode(&Run { temperature: 300.0, steps: 10 }, &mut bytes)?;
/// assert_eq!(codec.view(&bytes)?, Run { temperature: 300.0, steps: 10 });
/// # Ok::<(), vldepot::CodecError>(())
/// ```
pub struct Serde<T>(PhantomData<fn() -> T>);

impl<T> Serde<T> {
    /// The codec; it holds nothing.
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T: Serialize + DeserializeOwned + 'static> Codec for Serde<T> {
    type Item = T;
    type View<'a> = T;
    const ID: &'static str = "serde.msgpack";
    const ALIGN: usize = 1;

    fn encode(&self, item: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
        rmp_serde::encode::write_named(out, item)
            .map_err(|error| CodecError::invalid(format!("cannot write as MessagePack: {error}")))
    }

    fn view(&self, bytes: &[u8]) -> Result<T, CodecError> {
        // From a slice cursor, so that bytes left over are seen.
        let mut rest = bytes;
        let value = T::deserialize(&mut rmp_serde::Deserializer::new(&mut rest))
            .map_err(|error| not_readable("MessagePack", std::any::type_name::<T>(), &error))?;
        if rest.is_empty() {
            Ok(value)
        } else {
            Err(CodecError::length("a MessagePack value", bytes.len() - rest.len(), bytes.len()))
        }
    }
}

/// JSON: readable anywhere, larger and slower than [`Serde`].
///
/// `view` gives an owned `T`, parsed anew each time. JSON has no NaN and no infinity: serde_json writes them
/// as `null`, which does not read back as a number.
///
/// ```
/// use vldepot::{Codec, codecs::Json};
///
/// let codec = Json::<Vec<u32>>::new();
/// let mut bytes = Vec::new();
/// codec.encode(&vec![1, 2, 3], &mut bytes)?;
/// assert_eq!(bytes, b"[1,2,3]");
/// assert_eq!(codec.view(&bytes)?, [1, 2, 3]);
/// # Ok::<(), vldepot::CodecError>(())
/// ```
#[cfg(feature = "json")]
pub struct Json<T>(PhantomData<fn() -> T>);

#[cfg(feature = "json")]
impl<T> Json<T> {
    /// The codec; it holds nothing.
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

#[cfg(feature = "json")]
impl<T: Serialize + DeserializeOwned + 'static> Codec for Json<T> {
    type Item = T;
    type View<'a> = T;
    const ID: &'static str = "serde.json";
    const ALIGN: usize = 1;

    fn encode(&self, item: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
        serde_json::to_writer(out, item)
            .map_err(|error| CodecError::invalid(format!("cannot write as JSON: {error}")))
    }

    fn view(&self, bytes: &[u8]) -> Result<T, CodecError> {
        serde_json::from_slice(bytes)
            .map_err(|error| not_readable("JSON", std::any::type_name::<T>(), &error))
    }
}

fn not_readable(form: &str, of: &str, error: &dyn fmt::Display) -> CodecError {
    CodecError::invalid(format!("not {form} of `{of}`: {error}"))
}

// By hand, since a derive would ask the same of `T`.
macro_rules! plain_traits {
    ($($name:ident),*) => {$(
        impl<T> Default for $name<T> {
            fn default() -> Self {
                Self::new()
            }
        }
        impl<T> Clone for $name<T> {
            fn clone(&self) -> Self {
                *self
            }
        }
        impl<T> Copy for $name<T> {}
        impl<T> fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}<{}>", stringify!($name), std::any::type_name::<T>())
            }
        }
    )*};
}

plain_traits!(Serde);
#[cfg(feature = "json")]
plain_traits!(Json);

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, ::serde::Serialize, ::serde::Deserialize)]
    struct Sample {
        name: String,
        values: Vec<f64>,
        note: Option<String>,
    }

    fn sample() -> Sample {
        Sample { name: "α".into(), values: vec![1.5, -0.0, f64::MIN_POSITIVE], note: None }
    }

    fn encoded<C: Codec>(codec: &C, item: &C::Item) -> Vec<u8> {
        let mut out = Vec::new();
        codec.encode(item, &mut out).unwrap();
        out
    }

    #[test]
    fn what_is_written_as_messagepack_reads_back() {
        let codec = Serde::<Sample>::new();
        assert_eq!(codec.view(&encoded(&codec, &sample())).unwrap(), sample());
    }

    #[test]
    fn every_cut_and_every_surplus_is_an_error() {
        let codec = Serde::<Sample>::new();
        let mut bytes = encoded(&codec, &sample());
        for len in 0..bytes.len() {
            assert!(codec.view(&bytes[..len]).is_err(), "{len} bytes were accepted");
        }
        bytes.push(0);
        assert!(matches!(codec.view(&bytes), Err(CodecError::Length { .. })));
    }

    #[test]
    fn a_hostile_length_allocates_nothing_large() {
        // An array of 2^32 - 1 numbers, without the numbers.
        assert!(Serde::<Vec<f64>>::new().view(&[0xdd, 0xff, 0xff, 0xff, 0xff]).is_err());
    }

    #[cfg(feature = "json")]
    #[test]
    fn what_is_written_as_json_reads_back() {
        let codec = Json::<Sample>::new();
        let bytes = encoded(&codec, &sample());
        assert_eq!(codec.view(&bytes).unwrap(), sample());
        assert!(codec.view(&bytes[..bytes.len() - 1]).is_err());
    }
}
