//! Any serde type as a record: MessagePack ([`Serde`]) or JSON ([`Json`]).
//!
//! Both parse the whole record on every `view` and allocate whatever `T` allocates: they buy freedom of
//! type, not speed. Arrays that should be lent without copies belong in [`NdArray`](super::NdArray) or
//! [`AtomicFrameCodec`](super::AtomicFrameCodec).
//!
//! What `put` takes comes back equal, every bit of a float included. Some values have no form of their own, and are refused:
//!
//! | value | as | refused by |
//! | --- | --- | --- |
//! | `Some(None)`, `Some(())` | nil, which is `None` | both |
//! | `Some` of a unit struct | `null`, which is `None` | `Json` |
//! | NaN and infinities | `null`, which is no number | `Json` |
//! | map keys that are no strings, numbers or `bool` | | `Json` |
//! | more than 1023 (`Json`: 127) arrays, maps and variants inside each other | | both |
//!
//! That is of the types of `std` and of what `derive` makes for yours. It ends where `T` itself says otherwise: by a
//! `Serialize` and a `Deserialize` of its own that do not fit together, or by the attributes that leave a part out, give it
//! a default or merge it with others (`skip`, `default`, `other`, `flatten`, `untagged`, `tag`). The feature `testing` has
//! `testing::comes_back_or_is_refused` to ask that of values of your type.

use std::fmt;
use std::marker::PhantomData;

use ::serde::Serialize;
use ::serde::de::DeserializeOwned;

use crate::codec::{Codec, CodecError};
use crate::exact::{Exact, Form};

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

    fn element_size(&self) -> usize {
        1
    }

    fn encode(&self, item: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
        rmp_serde::encode::write_named(out, &Exact::new(item, Form::MessagePack))
            .map_err(|error| CodecError::invalid(format!("cannot write as MessagePack: {error}")))
    }

    fn view(&self, bytes: &[u8]) -> Result<T, CodecError> {
        if is_deeper(bytes, Form::MessagePack.max_depth()) {
            return Err(CodecError::invalid(format!(
                "MessagePack of more than {} arrays and maps inside each other",
                Form::MessagePack.max_depth()
            )));
        }
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
/// `view` gives an owned `T`, parsed anew each time. JSON has no NaN and no infinity: `put` refuses them.
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

    fn element_size(&self) -> usize {
        1
    }

    fn encode(&self, item: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
        serde_json::to_writer(out, &Exact::new(item, Form::Json))
            .map_err(|error| CodecError::invalid(format!("cannot write as JSON: {error}")))
    }

    fn view(&self, bytes: &[u8]) -> Result<T, CodecError> {
        serde_json::from_slice(bytes)
            .map_err(|error| not_readable("JSON", std::any::type_name::<T>(), &error))
    }
}

/// Whether arrays and maps of the MessagePack value that `bytes` start with are more than `limit` inside each other.
///
/// rmp-serde does not count enums, whose variants are maps: a forged record of a type that holds itself would take all of the
/// stack. False as well for what is no MessagePack, or cut off.
fn is_deeper(bytes: &[u8], limit: usize) -> bool {
    if bytes.len() <= limit {
        return false;
    }
    let mut rest = bytes;
    // Values that are left to come in each array or map that is open.
    let mut open: Vec<u64> = Vec::new();
    loop {
        match skip(&mut rest) {
            None => return false,
            Some(Skipped::Value) => {}
            Some(Skipped::Start(_)) if open.len() == limit => return true,
            Some(Skipped::Start(parts)) => open.push(parts),
        }
        // One value ends here, and with it whatever it was the last of.
        while let Some(left) = open.last_mut() {
            if *left > 0 {
                *left -= 1;
                break;
            }
            open.pop();
        }
        if open.is_empty() {
            return false;
        }
    }
}

/// What [`skip`] went past.
enum Skipped {
    Value,
    /// An array or a map, whose parts follow.
    Start(u64),
}

/// Goes past a MessagePack value, or into an array or map. `None` at the end of the bytes.
fn skip(rest: &mut &[u8]) -> Option<Skipped> {
    let take = |rest: &mut &[u8], n: u64| -> Option<u64> {
        let (taken, left) = rest.split_at_checked(usize::try_from(n).ok()?)?;
        *rest = left;
        // Of the few bytes of a length; longer ones are skipped.
        Some(taken.iter().take(4).fold(0, |number, &byte| number << 8 | u64::from(byte)))
    };
    let kind = u8::try_from(take(rest, 1)?).ok()?;
    let width = |first: u8| 1_u64 << (kind - first);
    let (bytes, parts) = match kind {
        0x80..=0x8f => (0, Some(2 * u64::from(kind & 0x0f))),
        0x90..=0x9f => (0, Some(u64::from(kind & 0x0f))),
        0xa0..=0xbf => (u64::from(kind & 0x1f), None),
        0xc4..=0xc6 => (take(rest, width(0xc4))?, None),
        0xc7..=0xc9 => (take(rest, width(0xc7))? + 1, None),
        0xca | 0xce | 0xd2 => (4, None),
        0xcb | 0xcf | 0xd3 => (8, None),
        0xcc | 0xd0 => (1, None),
        0xcd | 0xd1 => (2, None),
        0xd4..=0xd8 => (width(0xd4) + 1, None),
        0xd9..=0xdb => (take(rest, width(0xd9))?, None),
        0xdc | 0xdd => (0, Some(take(rest, 2 * width(0xdc))?)),
        0xde | 0xdf => (0, Some(2 * take(rest, 2 * width(0xde))?)),
        0x00..=0x7f | 0xe0..=0xff | 0xc0..=0xc3 => (0, None),
    };
    take(rest, bytes)?;
    Some(parts.map_or(Skipped::Value, Skipped::Start))
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
mod tests;
