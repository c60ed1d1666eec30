//! Names of records: strings, byte strings and integers. The three kinds never collide.
//!
//! Inside the file a name has its *tagged* form: one tag byte, then the name's bytes.
//!
//! ```text
//! 0x01 UTF-8 bytes        a string
//! 0x02 bytes              a byte string
//! 0x03 8 bytes            a negative integer: the two's complement as big-endian u64
//! 0x04 8 bytes            an integer from 0 up, big-endian u64
//! ```
//!
//! Integers are big-endian so that neighbours share a prefix and sort in the order of their values.

use std::fmt;
use std::ops::Deref;

const TAG_STR: u8 = 1;
const TAG_BYTES: u8 = 2;
const TAG_NEGATIVE: u8 = 3;
const TAG_INT: u8 = 4;

/// The longest name, in bytes.
pub const MAX_KEY_LEN: usize = 1 << 24;

/// The name of a record.
///
/// `"7"`, `b"7"` and `7` are three different names. `7u64` and `7i64` are the same name. Strings sort
/// before byte strings, and byte strings before integers.
///
/// ```
/// use vldepot::Key;
/// assert_eq!(Key::from("frame").as_str(), Some("frame"));
/// assert_eq!(Key::from(7_u64), Key::from(7_i8));
/// assert_eq!(Key::from(7).as_int(), Some(7));
/// assert_ne!(Key::from("7"), Key::from(b"7"));
/// ```
///
/// With the feature `serde`, a key serialises as what it is: a string, a number, or bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Key {
    /// Any UTF-8, the empty string included.
    Str(String),
    /// Any bytes, the empty byte string included.
    Bytes(Vec<u8>),
    /// An integer from `i64::MIN` to `u64::MAX`.
    Int(i128),
}

impl Key {
    /// Reads a tagged name back. `None` for bytes that are not the tagged form of any name.
    pub(crate) fn from_tagged(tagged: &[u8]) -> Option<Self> {
        KeyRef::from_tagged(tagged).map(Self::from)
    }

    /// Like [`from_tagged`](Self::from_tagged), but reuses the memory of `tagged`.
    #[inline]
    pub(crate) fn from_tagged_vec(mut tagged: Vec<u8>) -> Result<Self, Vec<u8>> {
        match tagged.first() {
            Some(&TAG_STR) => {
                tagged.remove(0);
                String::from_utf8(tagged).map(Self::Str).map_err(|error| {
                    let mut tagged = error.into_bytes();
                    tagged.insert(0, TAG_STR);
                    tagged
                })
            }
            _ => Self::from_tagged(&tagged).ok_or(tagged),
        }
    }

    /// Whether [`from_tagged`](Self::from_tagged) would return a key. Copies nothing.
    pub(crate) fn is_tagged(tagged: &[u8]) -> bool {
        KeyRef::from_tagged(tagged).is_some()
    }

    /// The tagged form. `None` if no depot can hold this key.
    pub(crate) fn to_tagged(&self) -> Option<TaggedName> {
        self.borrowed().tagged()
    }

    /// The key, borrowed.
    ///
    /// ```
    /// # use vldepot::{Key, KeyRef};
    /// assert_eq!(Key::from("a").borrowed(), KeyRef::Str("a"));
    /// ```
    pub fn borrowed(&self) -> KeyRef<'_> {
        match self {
            Self::Str(name) => KeyRef::Str(name),
            Self::Bytes(name) => KeyRef::Bytes(name),
            Self::Int(value) => KeyRef::Int(*value),
        }
    }

    /// The string, if the key is one.
    ///
    /// ```
    /// # use vldepot::Key;
    /// assert_eq!(Key::from("a").as_str(), Some("a"));
    /// assert_eq!(Key::from(1).as_str(), None);
    /// ```
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(name) => Some(name),
            _ => None,
        }
    }

    /// The byte string, if the key is one.
    ///
    /// ```
    /// # use vldepot::Key;
    /// assert_eq!(Key::from(b"a").as_bytes(), Some(&b"a"[..]));
    /// assert_eq!(Key::from("a").as_bytes(), None);
    /// ```
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(name) => Some(name),
            _ => None,
        }
    }

    /// The integer, if the key is one.
    ///
    /// ```
    /// # use vldepot::Key;
    /// let keys = [Key::from(3), Key::from("three")];
    /// assert_eq!(keys.each_ref().map(Key::as_int), [Some(3), None]);
    /// ```
    pub fn as_int(&self) -> Option<i128> {
        match self {
            Self::Int(value) => Some(*value),
            _ => None,
        }
    }
}

/// Strings print as they are, integers in digits, and byte strings as `b"..."` with escapes.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.borrowed().fmt(f)
    }
}

/// The name of a record, borrowed. See [`Key`].
///
/// ```
/// use vldepot::{Key, KeyRef};
/// let key = KeyRef::Str("frame");
/// assert_eq!(Key::from(key), Key::from("frame"));
/// assert_eq!(key.to_string(), "frame");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum KeyRef<'n> {
    /// Any UTF-8, the empty string included.
    Str(&'n str),
    /// Any bytes, the empty byte string included.
    Bytes(&'n [u8]),
    /// An integer from `i64::MIN` to `u64::MAX`.
    Int(i128),
}

impl<'n> KeyRef<'n> {
    /// Reads a tagged name back. `None` for bytes that are not the tagged form of any name.
    #[inline]
    pub(crate) fn from_tagged(tagged: &'n [u8]) -> Option<Self> {
        let (&tag, rest) = tagged.split_first()?;
        match tag {
            TAG_STR => std::str::from_utf8(rest).ok().map(Self::Str),
            TAG_BYTES => Some(Self::Bytes(rest)),
            TAG_NEGATIVE => {
                let value = be_u64(rest)?.cast_signed();
                (value < 0).then_some(Self::Int(i128::from(value)))
            }
            TAG_INT => Some(Self::Int(i128::from(be_u64(rest)?))),
            _ => None,
        }
    }
}

/// As a [`Key`] prints.
impl fmt::Display for KeyRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Str(name) => f.write_str(name),
            Self::Int(value) => write!(f, "{value}"),
            Self::Bytes(name) => write!(f, "b\"{}\"", name.escape_ascii()),
        }
    }
}

impl From<KeyRef<'_>> for Key {
    fn from(key: KeyRef<'_>) -> Self {
        match key {
            KeyRef::Str(name) => Self::Str(name.to_owned()),
            KeyRef::Bytes(name) => Self::Bytes(name.to_vec()),
            KeyRef::Int(value) => Self::Int(value),
        }
    }
}

#[expect(clippy::big_endian_bytes, reason = "big-endian integers sort and share prefixes like their values")]
fn be_u64(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

/// The longest tagged name, in bytes, that needs no allocation.
const INLINE: usize = 62;

/// A name in its tagged form. Short names, which most are, lie in the value itself.
#[derive(Debug, Clone)]
pub struct TaggedName(Held);

#[derive(Debug, Clone)]
enum Held {
    Inline(u8, [u8; INLINE]),
    Heap(Vec<u8>),
}

impl Deref for TaggedName {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Held::Inline(len, bytes) => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Held::Heap(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for TaggedName {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl PartialEq for TaggedName {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

fn tagged(tag: u8, bytes: &[u8]) -> TaggedName {
    let len = 1 + bytes.len();
    if let Ok(short) = u8::try_from(len)
        && len <= INLINE
    {
        let mut inline = [0; INLINE];
        inline[0] = tag;
        inline[1..len].copy_from_slice(bytes);
        return TaggedName(Held::Inline(short, inline));
    }
    let mut heap = Vec::with_capacity(len);
    heap.push(tag);
    heap.extend_from_slice(bytes);
    TaggedName(Held::Heap(heap))
}

#[expect(clippy::big_endian_bytes, reason = "big-endian integers sort and share prefixes like their values")]
fn tagged_int(value: i128) -> Option<TaggedName> {
    if let Ok(value) = u64::try_from(value) {
        Some(tagged(TAG_INT, &value.to_be_bytes()))
    } else {
        i64::try_from(value).ok().map(|value| tagged(TAG_NEGATIVE, &value.to_be_bytes()))
    }
}

/// The tagged prefix that all strings starting with `prefix` share.
pub(crate) fn tagged_prefix(prefix: &str) -> TaggedName {
    tagged(TAG_STR, prefix.as_bytes())
}

/// An error message shows at most this many bytes of a name.
const SHOWN: usize = 200;

/// Shows a tagged name in an error message.
pub(crate) fn describe(tagged: &[u8]) -> String {
    match Key::from_tagged(tagged) {
        Some(Key::Str(name)) if name.len() > SHOWN => {
            let end = (0..=SHOWN).rev().find(|&end| name.is_char_boundary(end)).unwrap_or(0);
            format!("{:?}.. ({} bytes)", &name[..end], name.len())
        }
        Some(Key::Bytes(name)) if name.len() > SHOWN => {
            format!("{}.. ({} bytes)", Key::Bytes(name[..SHOWN].to_vec()), name.len())
        }
        Some(Key::Str(name)) => format!("{name:?}"),
        Some(key) => key.to_string(),
        None => format!("with the malformed name {}", tagged.escape_ascii()),
    }
}

/// Anything that names a record: strings, byte strings, integers, and [`Key`] itself.
///
/// This trait is sealed, because the ways to write a name are part of the file format.
pub trait AsKey: sealed::Tagged {
    /// The name as a [`Key`].
    fn to_key(&self) -> Key;
}

pub(crate) mod sealed {
    /// The tagged form of a name.
    pub trait Tagged {
        /// `None` for an integer outside `i64::MIN..=u64::MAX`.
        fn tagged(&self) -> Option<super::TaggedName>;
    }
}

use sealed::Tagged;

/// Implements `AsKey` and `From` for a type, given how to tag a value and which key it is.
macro_rules! named_by {
    ($($type:ty: |$name:ident| $tagged:expr, |$owned:ident| $key:expr;)+) => {$(
        impl Tagged for $type {
            fn tagged(&self) -> Option<TaggedName> {
                let $name = self;
                $tagged
            }
        }

        impl AsKey for $type {
            fn to_key(&self) -> Key {
                Key::from(self.to_owned())
            }
        }

        impl From<$type> for Key {
            fn from($owned: $type) -> Self {
                $key
            }
        }
    )+};
}

named_by! {
    String: |s| Some(tagged(TAG_STR, s.as_bytes())), |s| Self::Str(s);
    Vec<u8>: |b| Some(tagged(TAG_BYTES, b)), |b| Self::Bytes(b);
    u8: |n| tagged_int(i128::from(*n)), |n| Self::Int(n.into());
    u16: |n| tagged_int(i128::from(*n)), |n| Self::Int(n.into());
    u32: |n| tagged_int(i128::from(*n)), |n| Self::Int(n.into());
    u64: |n| tagged_int(i128::from(*n)), |n| Self::Int(n.into());
    usize: |n| tagged_int(*n as i128), |n| Self::Int(n as i128);
    i8: |n| tagged_int(i128::from(*n)), |n| Self::Int(n.into());
    i16: |n| tagged_int(i128::from(*n)), |n| Self::Int(n.into());
    i32: |n| tagged_int(i128::from(*n)), |n| Self::Int(n.into());
    i64: |n| tagged_int(i128::from(*n)), |n| Self::Int(n.into());
    isize: |n| tagged_int(*n as i128), |n| Self::Int(n as i128);
}

impl Tagged for str {
    fn tagged(&self) -> Option<TaggedName> {
        Some(tagged(TAG_STR, self.as_bytes()))
    }
}

impl AsKey for str {
    fn to_key(&self) -> Key {
        Key::Str(self.to_owned())
    }
}

impl Tagged for [u8] {
    fn tagged(&self) -> Option<TaggedName> {
        Some(tagged(TAG_BYTES, self))
    }
}

impl AsKey for [u8] {
    fn to_key(&self) -> Key {
        Key::Bytes(self.to_vec())
    }
}

impl<const N: usize> Tagged for [u8; N] {
    fn tagged(&self) -> Option<TaggedName> {
        self[..].tagged()
    }
}

impl<const N: usize> AsKey for [u8; N] {
    fn to_key(&self) -> Key {
        self[..].to_key()
    }
}

impl<const N: usize> From<[u8; N]> for Key {
    fn from(name: [u8; N]) -> Self {
        Self::Bytes(name.to_vec())
    }
}

impl Tagged for Key {
    fn tagged(&self) -> Option<TaggedName> {
        self.to_tagged()
    }
}

impl AsKey for Key {
    fn to_key(&self) -> Key {
        self.clone()
    }
}

impl Tagged for KeyRef<'_> {
    fn tagged(&self) -> Option<TaggedName> {
        match self {
            Self::Str(name) => name.tagged(),
            Self::Bytes(name) => name.tagged(),
            Self::Int(value) => tagged_int(*value),
        }
    }
}

impl AsKey for KeyRef<'_> {
    fn to_key(&self) -> Key {
        Key::from(*self)
    }
}

impl<T: Tagged + ?Sized> Tagged for &T {
    fn tagged(&self) -> Option<TaggedName> {
        (**self).tagged()
    }
}

impl<T: AsKey + ?Sized> AsKey for &T {
    fn to_key(&self) -> Key {
        (**self).to_key()
    }
}

impl<T: AsKey + ?Sized> From<&T> for Key {
    fn from(name: &T) -> Self {
        name.to_key()
    }
}

#[cfg(feature = "serde")]
mod serde {
    //! A key serialises as what it is: a string, a number, or bytes.

    use std::fmt;

    use super::Key;

    impl ::serde::Serialize for Key {
        fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            match self {
                Self::Str(name) => serializer.serialize_str(name),
                Self::Bytes(name) => serializer.serialize_bytes(name),
                // Many formats have no i128. A stored key always fits one of the other two types.
                Self::Int(value) => match (u64::try_from(*value), i64::try_from(*value)) {
                    (Ok(value), _) => serializer.serialize_u64(value),
                    (_, Ok(value)) => serializer.serialize_i64(value),
                    _ => serializer.serialize_i128(*value),
                },
            }
        }
    }

    impl<'de> ::serde::Deserialize<'de> for Key {
        fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_any(AnyKey)
        }
    }

    /// Accepts whatever [`Key`] serialises as. JSON writes bytes as an array of numbers.
    struct AnyKey;

    impl<'de> ::serde::de::Visitor<'de> for AnyKey {
        type Value = Key;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string, an integer or bytes")
        }

        fn visit_str<E>(self, name: &str) -> Result<Key, E> {
            Ok(Key::from(name))
        }

        fn visit_string<E>(self, name: String) -> Result<Key, E> {
            Ok(Key::Str(name))
        }

        fn visit_bytes<E>(self, name: &[u8]) -> Result<Key, E> {
            Ok(Key::from(name))
        }

        fn visit_u64<E>(self, value: u64) -> Result<Key, E> {
            Ok(Key::from(value))
        }

        fn visit_i64<E>(self, value: i64) -> Result<Key, E> {
            Ok(Key::from(value))
        }

        fn visit_i128<E>(self, value: i128) -> Result<Key, E> {
            Ok(Key::Int(value))
        }

        fn visit_seq<A: ::serde::de::SeqAccess<'de>>(self, mut bytes: A) -> Result<Key, A::Error> {
            let mut name = Vec::new();
            while let Some(byte) = bytes.next_element()? {
                name.push(byte);
            }
            Ok(Key::Bytes(name))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_key_comes_back() {
        let keys = [
            Key::Str(String::new()),
            Key::Str("frame\n\0é".into()),
            Key::Bytes(vec![]),
            Key::Bytes(vec![0, 255]),
            Key::Int(0),
            Key::Int(-1),
            Key::Int(i128::from(u64::MAX)),
            Key::Int(i128::from(i64::MIN)),
            Key::Str("x".repeat(INLINE - 1)),
            Key::Str("x".repeat(INLINE)),
            Key::Bytes(vec![7; 300]),
        ];
        for key in keys {
            let tagged = key.to_tagged().unwrap();
            assert_eq!(KeyRef::from_tagged(&tagged), Some(key.borrowed()));
            assert_eq!(key.borrowed().to_string(), key.to_string());
            assert_eq!(Key::from_tagged(&tagged).as_ref(), Some(&key));
            assert_eq!(Key::from_tagged_vec(tagged.to_vec()).as_ref(), Ok(&key));
        }
        assert_eq!(Key::Int(i128::MAX).to_tagged(), None);
    }

    #[test]
    fn the_kinds_do_not_mix_but_integers_of_all_widths_are_one() {
        assert_ne!("7".tagged(), b"7".tagged());
        assert_ne!("7".tagged(), 7.tagged());
        assert_eq!(7u8.tagged(), 7i64.tagged());
        assert_eq!(7u64.tagged(), 7usize.tagged());
    }

    #[test]
    fn a_key_is_made_from_what_names_a_record_and_is_the_same_name() {
        assert_eq!(Key::from("a"), Key::Str("a".into()));
        assert_eq!(Key::from(&"a".to_owned()), Key::from("a".to_owned()));
        assert_eq!(Key::from(b"a"), Key::Bytes(b"a".to_vec()));
        assert_eq!(Key::from(&b"a"[..]), Key::from(vec![b'a']));
        assert_eq!(Key::from(u64::MAX), Key::Int(u64::MAX.into()));
        assert_eq!(Key::from(&i64::MIN).tagged(), i64::MIN.tagged());
        assert_eq!(7_usize.to_key().as_int(), Some(7));
    }

    #[cfg(feature = "json")]
    #[test]
    fn a_key_serialises_as_a_string_a_number_or_bytes_and_comes_back() {
        let keys = [Key::from("7"), Key::from(7), Key::from(u64::MAX), Key::from(i64::MIN), Key::from(b"7")];
        let json = serde_json::to_string(&keys).unwrap();
        assert_eq!(json, r#"["7",7,18446744073709551615,-9223372036854775808,[55]]"#);
        assert_eq!(serde_json::from_str::<Vec<Key>>(&json).unwrap(), keys);
        let packed = rmp_serde::to_vec(&keys).unwrap();
        assert_eq!(rmp_serde::from_slice::<Vec<Key>>(&packed).unwrap(), keys);
        assert!(serde_json::from_str::<Key>("1.5").is_err() && serde_json::from_str::<Key>("[256]").is_err());
    }

    #[test]
    fn a_long_name_is_shown_in_part() {
        let shown = describe(&"é".repeat(1 << 19).tagged().unwrap());
        assert_eq!(shown, format!("\"{}\".. (1048576 bytes)", "é".repeat(100)));
        let odd = describe(&format!("a{}", "é".repeat(200)).tagged().unwrap());
        assert!(odd.ends_with("é\".. (401 bytes)"), "{odd}");
        assert!(describe(&vec![0xff; 1000].tagged().unwrap()).ends_with("\\xff\".. (1000 bytes)"));
        assert_eq!(describe(&"a\n".tagged().unwrap()), "\"a\\n\"");
    }

    #[test]
    fn malformed_tags_are_no_keys() {
        for bytes in [&[][..], &[0], &[1, 0xff], &[3, 1], &[4, 0, 0], &[9, 9], &[3, 0, 0, 0, 0, 0, 0, 0, 1]] {
            assert_eq!(Key::from_tagged(bytes), None);
            assert_eq!(Key::from_tagged_vec(bytes.to_vec()), Err(bytes.to_vec()));
        }
    }
}
