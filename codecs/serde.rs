//! Any serde type as a record: MessagePack ([`Serde`]) or JSON ([`Json`]).
//!
//! Both codecs parse the whole record on every `view`, and allocate what `T` allocates. They give you
//! any type you like, but no speed. Arrays that should be lent without copies belong in
//! [`NdArray`](super::NdArray) or [`AtomicFrameCodec`](super::AtomicFrameCodec).
//!
//! What `put` takes comes back equal, down to every bit of a float. Some values would be stored like
//! another value or not at all, and these are refused:
//!
//! | value | stored as | refused by |
//! | --- | --- | --- |
//! | `Some(None)`, `Some(())` | nil, which is `None` | both |
//! | `Some` of a unit struct | `null`, which is `None` | `Json` |
//! | NaN and infinities | `null`, which is not a number | `Json` |
//! | map keys other than strings, numbers and `bool` | | `Json` |
//! | more than 1023 (`Json`: 127) nested arrays, maps and variants | | both |
//!
//! This holds for the types of `std` and for what `derive` makes for yours. It does not hold where `T`
//! changes the form itself: by its own `Serialize` and `Deserialize` that do not fit together, or by an
//! attribute that leaves a part out, gives it a default or merges it with others (`skip`, `default`,
//! `other`, `flatten`, `untagged`, `tag`). The function `testing::comes_back_or_is_refused` (feature
//! `testing`) checks values of your type.

use std::fmt;
use std::marker::PhantomData;

use ::serde::Serialize;
use ::serde::de::DeserializeOwned;

use crate::codec::{Codec, CodecError};
use crate::exact::{Exact, Form};

/// MessagePack with field names, so fields can be added (`#[serde(default)]`) and reordered.
///
/// `view` gives an owned `T`. It parses the record each time, and `get` parses it once more to check it.
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
    /// Makes the codec. It holds no data.
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
        rmp_serde::encode::write_named(out, &Exact(item, Form::MessagePack))
            .map_err(|error| CodecError::invalid(format!("cannot write as MessagePack: {error}")))
    }

    fn view(&self, bytes: &[u8]) -> Result<T, CodecError> {
        if is_deeper(bytes, Form::MessagePack.max_depth()) {
            return Err(CodecError::invalid(format!(
                "MessagePack of more than {} arrays and maps inside each other",
                Form::MessagePack.max_depth()
            )));
        }
        // A slice cursor shows whether bytes are left over.
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

/// JSON: readable anywhere, but larger and slower than [`Serde`].
///
/// `view` gives an owned `T`, and parses it anew each time. JSON has no NaN and no infinity, so `put`
/// refuses them.
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
    /// Makes the codec. It holds no data.
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
        serde_json::to_writer(out, &Exact(item, Form::Json))
            .map_err(|error| CodecError::invalid(format!("cannot write as JSON: {error}")))
    }

    fn view(&self, bytes: &[u8]) -> Result<T, CodecError> {
        serde_json::from_slice(bytes)
            .map_err(|error| not_readable("JSON", std::any::type_name::<T>(), &error))
    }
}

/// Whether the first MessagePack value in `bytes` nests arrays and maps more than `limit` deep.
///
/// rmp-serde does not count enums, although their variants are maps. A forged record of a recursive type
/// would therefore take all of the stack. The result is false if the bytes are not MessagePack, or are
/// cut off.
fn is_deeper(bytes: &[u8], limit: usize) -> bool {
    if bytes.len() <= limit {
        return false;
    }
    let mut at = 0;
    // How many values are still to come: in the innermost array or map, and in those around it.
    let mut left = 1_u64;
    let mut around: Vec<u64> = Vec::new();
    loop {
        while left == 0 {
            match around.pop() {
                Some(outer) => left = outer,
                None => return false,
            }
        }
        left -= 1;
        let Some(&kind) = bytes.get(at) else { return false };
        let fixed = usize::from(FIXED[usize::from(kind)]);
        if fixed > 0 {
            at += fixed;
            // In an array of numbers the next kind is often the same. Comparing it is faster than
            // waiting for the table.
            while left > 0 && bytes.get(at) == Some(&kind) {
                at += fixed;
                left -= 1;
            }
            continue;
        }
        let number = |width: usize| {
            let bytes = bytes.get(at + 1..)?.get(..width)?;
            Some(bytes.iter().fold(0, |number, &byte| number << 8 | u64::from(byte)))
        };
        // The length of the head, the count it holds, and whether that is a count of parts instead of
        // bytes.
        let width = |first: u8| 1_usize << (kind - first);
        let (head, len, parts) = match kind {
            0x80..=0x8f => (1, Some(2 * u64::from(kind & 0x0f)), true),
            0x90..=0x9f => (1, Some(u64::from(kind & 0x0f)), true),
            0xc4..=0xc6 => (1 + width(0xc4), number(width(0xc4)), false),
            0xc7..=0xc9 => (2 + width(0xc7), number(width(0xc7)), false),
            0xdc | 0xdd => (1 + 2 * width(0xdc), number(2 * width(0xdc)), true),
            0xde | 0xdf => (1 + 2 * width(0xde), number(2 * width(0xde)).map(|n| 2 * n), true),
            _ => (1 + width(0xd9), number(width(0xd9)), false),
        };
        let Some(len) = len else { return false };
        at += head;
        if !parts {
            at = at.saturating_add(usize::try_from(len).unwrap_or(usize::MAX));
        } else if around.len() == limit {
            return true;
        } else {
            around.push(left);
            left = len;
        }
    }
}

/// Length in bytes of a MessagePack value, by its first byte.
///
/// It is 0 for arrays, for maps, and for values that store their length in the following bytes.
static FIXED: [u8; 256] = {
    let mut bytes = [0; 256];
    let mut kind = 0_u8;
    loop {
        bytes[kind as usize] = match kind {
            0x00..=0x7f | 0xe0..=0xff | 0xc0..=0xc3 => 1,
            0xa0..=0xbf => 1 + (kind & 0x1f),
            0xcc | 0xd0 => 2,
            0xcd | 0xd1 => 3,
            0xca | 0xce | 0xd2 => 5,
            0xcb | 0xcf | 0xd3 => 9,
            0xd4..=0xd8 => 2 + (1 << (kind - 0xd4)),
            _ => 0,
        };
        if kind == u8::MAX {
            break bytes;
        }
        kind += 1;
    }
};

fn not_readable(form: &str, of: &str, error: &dyn fmt::Display) -> CodecError {
    CodecError::invalid(format!("not {form} of `{of}`: {error}"))
}

// Written by hand, because a derive would ask the same traits of `T`.
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
