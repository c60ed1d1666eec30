//! The one rule for paths in archives.

use std::borrow::Cow;

use crate::{Error, ErrorKind, Key, MAX_KEY_LEN, Result};

/// The most names in a path. Folders in folders are gone through one in the other, and deeper ones would be
/// no use: no system opens so long a path.
const MAX_PARTS: usize = 4096;

/// A path in an archive, from its root: names with `/` between them. The root itself has no name.
///
/// ```
/// use vldepot::archive::ArchivePath;
///
/// let path = ArchivePath::new("./images//cat.jpg")?;
/// assert_eq!(path.as_bytes(), b"images/cat.jpg");
/// assert_eq!(path.file_name(), Some(&b"cat.jpg"[..]));
/// assert!(ArchivePath::new("../outside").is_err());
/// assert!(ArchivePath::new("/absolute").is_err());
/// # Ok::<(), vldepot::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ArchivePath(Vec<u8>);

impl ArchivePath {
    /// The path of the archive's root folder.
    pub const ROOT: Self = Self(Vec::new());

    /// Checks a path, and takes out what says nothing: `.`, `//`, and a `/` at the end.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidPath`] for a path that starts with `/`, has a part `..` or a NUL byte, is longer
    /// than a name can be, or has more than 4,096 parts.
    pub fn new(path: impl AsRef<[u8]>) -> Result<Self> {
        let path = path.as_ref();
        let refuse = |why: &str| {
            let shown = Self(path.to_vec()).to_string();
            Err(Error::new(ErrorKind::InvalidPath { why: why.into() }).of(shown))
        };
        if path.first() == Some(&b'/') {
            return refuse("it starts with `/`, and paths in archives start at the archive's root");
        }
        if path.contains(&0) {
            return refuse("it has a NUL byte");
        }
        // A folder's record has a `/` more.
        if path.len() >= MAX_KEY_LEN {
            return refuse("it is longer than 16 MiB");
        }
        let (mut clean, mut parts) = (Vec::with_capacity(path.len()), 0);
        for part in path.split(|&byte| byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => return refuse("it has a part `..`, which may lead out of the archive"),
                part => {
                    parts += 1;
                    if parts > MAX_PARTS {
                        return refuse("it has more than 4,096 parts");
                    }
                    if !clean.is_empty() {
                        clean.push(b'/');
                    }
                    clean.extend_from_slice(part);
                }
            }
        }
        Ok(Self(clean))
    }

    /// The path of a record's name. `None` for names that are not the clean form of a path: integers,
    /// and such as `/a`, `a//b` or `../a`. A folder's name ends with `/`, which the path does not have.
    pub(super) fn of_key(key: &Key) -> Option<(Self, bool)> {
        let name = match key {
            Key::Str(name) => name.as_bytes(),
            Key::Bytes(name) => name,
            Key::Int(_) => return None,
        };
        let (path, is_folder) = match name.strip_suffix(b"/") {
            Some(path) => (path, true),
            None => (name, false),
        };
        let clean = Self::new(path).ok()?;
        (clean.0 == path && !path.is_empty()).then_some((clean, is_folder))
    }

    /// Any bytes as a path is shown: see [`Display`](std::fmt::Display).
    #[cfg(unix)]
    pub(super) fn shown(bytes: &[u8]) -> String {
        Self(bytes.to_vec()).to_string()
    }

    /// The bytes of the path, which is UTF-8 for most files.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether this is the archive's root folder.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The last name of the path. The root has none.
    pub fn file_name(&self) -> Option<&[u8]> {
        self.0.rsplit(|&byte| byte == b'/').next().filter(|name| !name.is_empty())
    }

    /// The folder that it lies in. The root lies in none.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let end = self.0.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
        Some(Self(self.0[..end].to_vec()))
    }

    /// The path of `name` in this folder.
    ///
    /// # Errors
    /// The errors of [`new`](Self::new).
    pub fn join(&self, name: impl AsRef<[u8]>) -> Result<Self> {
        let name = Self::new(name)?;
        if name.is_root() {
            return Ok(self.clone());
        }
        Ok(Self([&self.folder(), name.as_bytes()].concat()))
    }

    /// The folders that it lies in, without the root: `a` and `a/b` for `a/b/c`.
    pub(super) fn folders(&self) -> impl Iterator<Item = Self> + '_ {
        let slashes = self.0.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        slashes.map(|(at, _)| Self(self.0[..at].to_vec()))
    }

    /// The bytes with which the names of all that lies in this folder start.
    pub(super) fn folder(&self) -> Vec<u8> {
        let mut folder = self.0.clone();
        if !folder.is_empty() {
            folder.push(b'/');
        }
        folder
    }

    /// The name of a file's record.
    pub(super) fn key(&self) -> Key {
        key_of(self.0.clone())
    }

    /// The name of a folder's record.
    pub(super) fn folder_key(&self) -> Key {
        key_of(self.folder())
    }
}

/// UTF-8 makes a string, all else a byte string.
pub(super) fn key_of(name: Vec<u8>) -> Key {
    String::from_utf8(name).map_or_else(|error| Key::Bytes(error.into_bytes()), Key::Str)
}

/// The bytes of a name that is a string or a byte string.
pub(super) fn bytes_of(key: &Key) -> &[u8] {
    match key {
        Key::Str(name) => name.as_bytes(),
        Key::Bytes(name) => name,
        Key::Int(_) => &[],
    }
}

/// As it is shown to people: without control characters. What is not UTF-8 becomes `\x..`.
impl std::fmt::Display for ArchivePath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for char in chunk.valid().chars() {
                if char.is_control() { write!(f, "{}", char.escape_default())? } else { write!(f, "{char}")? }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

impl AsRef<[u8]> for ArchivePath {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<&ArchivePath> for ArchivePath {
    fn from(path: &ArchivePath) -> Self {
        path.clone()
    }
}

/// Whether a pattern for one name has nothing to match: it is the name.
pub(super) fn is_literal(pattern: &str) -> bool {
    !pattern.contains(['*', '?', '['])
}

/// The path as text, for patterns. What is not UTF-8 matches no letter, only `?` and `*`.
pub(super) fn text(path: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(path)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn clean(path: &str) -> Option<String> {
        ArchivePath::new(path).ok().map(|path| String::from_utf8(path.0).unwrap())
    }

    #[test]
    fn a_path_is_cleaned_or_refused() {
        let cleaned = [
            ("a", "a"),
            ("a/", "a"),
            ("./a//b/./c/", "a/b/c"),
            (".", ""),
            ("", ""),
            (" a /b ", " a /b "),
            ("...", "..."),
            ("a/..b", "a/..b"),
            ("ä/日本", "ä/日本"),
            ("a\\..\\b", "a\\..\\b"),
        ];
        for (path, expected) in cleaned {
            assert_eq!(clean(path).as_deref(), Some(expected), "{path:?}");
        }
        for path in ["/", "/a", "..", "../a", "a/..", "a/../b", "a\0", "./.."] {
            let error = ArchivePath::new(path).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::InvalidPath { .. }), "{path:?}");
        }
        assert!(ArchivePath::new(vec![b'a'; MAX_KEY_LEN]).is_err());
        assert!(ArchivePath::new(vec![b'a'; MAX_KEY_LEN - 1]).is_ok());
        assert!(ArchivePath::new("a/".repeat(4096)).is_ok() && ArchivePath::new("a/".repeat(4097)).is_err());
    }

    #[test]
    fn parts_of_a_path() {
        let path = ArchivePath::new("a/b/c").unwrap();
        assert_eq!(path.parent(), Some(ArchivePath::new("a/b").unwrap()));
        assert_eq!(path.folders().map(|path| path.to_string()).collect::<Vec<_>>(), ["a", "a/b"]);
        assert_eq!(ArchivePath::new("a").unwrap().parent(), Some(ArchivePath::ROOT));
        assert_eq!(ArchivePath::ROOT.parent(), None);
        assert_eq!(ArchivePath::ROOT.file_name(), None);
        assert_eq!(path.join("d/e").unwrap().to_string(), "a/b/c/d/e");
        assert_eq!(path.join(".").unwrap(), path);
        assert!(path.join("../d").is_err());
    }

    #[test]
    fn a_path_is_shown_without_control_characters() {
        let path = ArchivePath::new(b"a\x1b[31m\n\xff/\xc3\xa9").unwrap();
        assert_eq!(path.to_string(), "a\\u{1b}[31m\\n\\xff/é");
    }

    proptest! {
        #[test]
        fn a_clean_path_stays_as_it_is(path in prop::collection::vec(prop_oneof![
            Just(b'/'), Just(b'.'), Just(0), any::<u8>()], 0..12))
        {
            if let Ok(clean) = ArchivePath::new(&path) {
                prop_assert_eq!(&ArchivePath::new(&clean).unwrap(), &clean);
                prop_assert!(clean.0.split(|&byte| byte == b'/').all(|part| part != b".."));
                prop_assert!(!clean.0.starts_with(b"/") && !clean.0.contains(&0));
                if !clean.is_root() {
                    prop_assert_eq!(ArchivePath::of_key(&clean.key()), Some((clean.clone(), false)));
                    prop_assert_eq!(ArchivePath::of_key(&clean.folder_key()), Some((clean, true)));
                }
            }
        }
    }
}
