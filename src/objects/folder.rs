//! Names in their order, and folders.

use std::ops::Bound;

use super::store::{Objects, key};
use crate::error::{ErrorKind, Result};
use crate::key::Key;
use crate::{Depot, Raw};

/// A name in a folder, or the name of a folder in it.
enum Found {
    Object(String),
    Folder(String),
}

/// Bounds of all names that start with `prefix`, from `start` on.
fn names_from(start: String, prefix: &str) -> (Bound<Key>, Bound<Key>) {
    let end = match prefix.strip_suffix('/') {
        Some(folder) => key(after(folder)),
        // All strings come before all byte strings.
        None => Key::Bytes(Vec::new()),
    };
    (Bound::Included(key(start)), Bound::Excluded(end))
}

/// The first name after all that are in a folder: `0` follows on `/`.
fn after(folder: &str) -> String {
    format!("{folder}0")
}

/// Shows what is in a folder, in the order of names. Each folder in it is passed in one step.
fn look(depot: &Depot<Raw>, prefix: &str, mut job: impl FnMut(Found)) -> Result<()> {
    let mut start = Some(prefix.to_owned());
    while let Some(from) = start.take() {
        for name in depot.sorted_keys(names_from(from, prefix))? {
            let Key::Str(whole) = name? else { continue };
            let Some(rest) = whole.strip_prefix(prefix) else { continue };
            match rest.split_once('/') {
                // The record of the folder itself.
                None if rest.is_empty() => {}
                None => job(Found::Object(rest.to_owned())),
                Some((folder, _)) => {
                    job(Found::Folder(folder.to_owned()));
                    start = Some(after(&format!("{prefix}{folder}")));
                    break;
                }
            }
        }
    }
    Ok(())
}

/// Names and folders.
impl Objects {
    /// The names of all objects of this folder, sorted by their bytes.
    ///
    /// # Errors
    /// Those of [`Depot::sorted_keys`].
    pub fn names(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        self.file.look(|depot| {
            look(depot, &self.prefix, |found| {
                if let Found::Object(name) = found {
                    names.push(name);
                }
            })
        })?;
        Ok(names)
    }

    /// The names of metadata without an object in this folder, sorted by their bytes.
    ///
    /// # Errors
    /// Those of [`Depot::sorted_keys`].
    pub fn names_without_object(&self) -> Result<Vec<String>> {
        let prefix = self.prefix.as_bytes();
        let mut end = prefix.to_vec();
        let end = match end.last_mut() {
            Some(last) => {
                *last += 1;
                Bound::Excluded(Key::Bytes(end))
            }
            None => Bound::Excluded(Key::Int(i64::MIN.into())),
        };
        self.file.look(|depot| {
            let mut names = Vec::new();
            for name in depot.sorted_keys((Bound::Included(Key::Bytes(prefix.to_vec())), end))? {
                let Key::Bytes(whole) = name? else { continue };
                let name = whole.strip_prefix(prefix).and_then(|name| std::str::from_utf8(name).ok());
                if let Some(name) = name
                    && !name.contains('/')
                    && !depot.contains(format!("{}{name}", self.prefix))?
                {
                    names.push(name.to_owned());
                }
            }
            Ok(names)
        })
    }

    /// The names of all folders in this one, sorted by their bytes.
    ///
    /// # Errors
    /// Those of [`Depot::sorted_keys`].
    pub fn folders(&self) -> Result<Vec<String>> {
        let mut names: Vec<String> = Vec::new();
        self.file.look(|depot| {
            look(depot, &self.prefix, |found| {
                if let Found::Folder(name) = found {
                    names.push(name);
                }
            })
        })?;
        Ok(names)
    }

    /// A folder in this one, whether it is there or not.
    ///
    /// ```
    /// use vldepot::objects::Objects;
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("results.vld");
    /// let objects = Objects::open_or_create(&path)?;
    /// objects.folder("run 1")?.put("energies", b"..", "bytes")?;
    /// assert_eq!(objects.folders()?, ["run 1"]);
    /// assert!(objects.names()?.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidPath`].
    pub fn folder(&self, name: &str) -> Result<Self> {
        let whole = self.whole(name)?;
        Ok(Self { prefix: format!("{whole}/"), ..self.clone() })
    }

    /// A folder in this one, which is noted in the file, so that it is listed although nothing is in it.
    ///
    /// # Errors
    /// Those of [`put`](Self::put).
    pub fn create_folder(&self, name: &str) -> Result<Self> {
        let folder = self.folder(name)?;
        if !self.file.look(|depot| depot.contains(&folder.prefix))? {
            self.change(|depot| match depot.put_new(&folder.prefix, b"") {
                Err(error) if matches!(error.kind(), ErrorKind::Exists) => Ok(()),
                done => done,
            })?;
        }
        Ok(folder)
    }

    /// Removes a folder with all that is in it, and returns how many objects there were.
    ///
    /// # Errors
    /// Those of [`put`](Self::put).
    pub fn remove_folder(&self, name: &str) -> Result<u64> {
        let prefix = self.folder(name)?.prefix;
        self.change(|depot| {
            let mut removed = 0;
            let names: Vec<Key> = depot.keys_with_prefix(&prefix).collect::<Result<_>>()?;
            for name in names {
                let is_object = name.as_str().is_some_and(|name| !name.ends_with('/'));
                removed += u64::from(depot.remove(&name)? && is_object);
            }
            let bytes = |last: u8| {
                let mut bound = prefix.clone().into_bytes();
                bound.pop();
                bound.push(last);
                Key::Bytes(bound)
            };
            let bare: Vec<Key> = depot.sorted_keys(bytes(b'/')..bytes(b'0'))?.collect::<Result<_>>()?;
            for name in bare {
                depot.remove(&name)?;
            }
            Ok(removed)
        })
    }
}
