//! Many records together: put, copied, renamed, removed.

use std::borrow::Borrow;

use super::{Depot, key_of, tagged};
use crate::codec::Codec;
use crate::engine::{Known, LONG, ListedRecord, Listing, Seen, batch, in_record};
use crate::error::{ErrorKind, Result};
use crate::format::tables::{Attributes, OwnedAttributes};
use crate::key::{AsKey, Key, TaggedName};

/// Raw bytes and records that are copied together.
const AT_ONCE: (u64, usize) = (4 << 20, 1 << 14);

/// Many records together.
impl<C: Codec> Depot<C> {
    /// Stores many records, one after the other, and returns how many.
    ///
    /// Each is stored as by [`put`](Self::put).
    ///
    /// ```
    /// use vldepot::{Depot, Raw};
    /// let depot = Depot::memory(Raw)?;
    /// let n = depot.put_many([("a", vec![1]), ("b", vec![2, 2])])?;
    /// assert_eq!((n, depot.len()), (2, 2));
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// Same as [`put`](Self::put), for the first record that is refused. The records before it are
    /// stored. It and the records after it are not.
    pub fn put_many<K: AsKey, T: Borrow<C::Item>>(
        &self,
        records: impl IntoIterator<Item = (K, T)>,
    ) -> Result<u64> {
        let mut n = 0;
        for (key, item) in records {
            self.put(key, item.borrow())?;
            n += 1;
        }
        Ok(n)
    }

    /// Gives a record another name.
    ///
    /// Its bytes and metadata stay, but it moves to the end of the order.
    ///
    /// ```
    /// use vldepot::{Depot, Raw};
    /// let depot = Depot::memory(Raw)?;
    /// depot.put("draft", b"..")?;
    /// depot.rename("draft", "final")?;
    /// assert!(depot.contains("final")? && !depot.contains("draft")?);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// - [`ErrorKind::NotFound`] when there is no record called `from`.
    /// - [`ErrorKind::Exists`] when there is a record called `to`.
    /// - The errors of [`remove`](Self::remove).
    pub fn rename(&self, from: impl AsKey, to: impl AsKey) -> Result<()> {
        let (from, to) = (tagged(&self.engine, &from)?, tagged(&self.engine, &to)?);
        self.engine.rename(&from, &to)
    }

    /// Removes the records for which `keep` returns false, and returns how many.
    ///
    /// `keep` sees every record, in the order of insertion, before the first one is removed. A record
    /// that another thread replaces meanwhile stays.
    ///
    /// ```
    /// use vldepot::{Depot, Raw};
    /// let depot = Depot::memory(Raw)?;
    /// depot.put_many([("a", vec![1; 10]), ("b", vec![2; 1000])])?;
    /// assert_eq!(depot.retain(|_, bytes| bytes.len() < 100)?, 1);
    /// assert!(depot.contains("a")?);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// - The errors of [`get`](Self::get) for a record that cannot be read. Nothing is removed then.
    /// - The errors of [`remove`](Self::remove).
    pub fn retain(&self, mut keep: impl FnMut(&Key, C::View<'_>) -> bool) -> Result<u64> {
        drop(self.engine.writer()?);
        let mut listing = Listing::new(&self.engine)?;
        let mut unwanted = Vec::new();
        while let Some(listed) = listing.next() {
            let ListedRecord { name, location } = listed?;
            let location = location.map_err(|error| in_record(&name, error))?;
            let record = self.record(&name, self.engine.read_called(&name, &location)?)?;
            if !keep(&key_of(&self.engine, name.clone())?, record.view()) {
                unwanted.push((name, location));
            }
        }
        self.engine.remove_those(&unwanted)
    }

    /// Removes all records, and returns how many.
    ///
    /// The depot's own metadata stay. The bytes stay in the file until it is
    /// [compacted](crate::maintain::compact).
    ///
    /// ```
    /// use vldepot::{Depot, Raw};
    /// let depot = Depot::memory(Raw)?;
    /// depot.put("a", b"..")?;
    /// assert_eq!(depot.clear()?, 1);
    /// assert!(depot.is_empty());
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// - The errors of [`remove`](Self::remove).
    /// - [`Error::is_damage`](crate::Error::is_damage) when not all names can be listed.
    pub fn clear(&self) -> Result<u64> {
        drop(self.engine.writer()?);
        let mut listing = Listing::new(&self.engine)?;
        let mut all = Vec::new();
        while let Some(listed) = listing.next() {
            let ListedRecord { name, location } = listed?;
            let location = location.map_err(|error| in_record(&name, error))?;
            all.push((name, location));
        }
        self.engine.remove_those(&all)
    }

    /// Copies records from another depot, with their metadata, and returns how many.
    ///
    /// The codec is not involved. So a tool that opened both depots with [`Raw`](crate::Raw) can copy
    /// any records.
    ///
    /// ```
    /// use vldepot::{Depot, Raw};
    /// let (from, to) = (Depot::memory(Raw)?, Depot::memory(Raw)?);
    /// from.put("a", b"first")?;
    /// from.put("b", b"second")?;
    /// assert_eq!(to.copy_from(&from, &["b"])?, 1);
    /// assert_eq!(to.get("b")?.view(), b"second");
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// - [`ErrorKind::WrongCodec`] when the depots were written with different codecs or parameters.
    /// - The errors of [`get_many`](Self::get_many), from the other depot.
    /// - The errors of [`put`](Self::put). The records before the one that failed are copied.
    pub fn copy_from<D: Codec, K: AsKey>(&self, other: &Depot<D>, keys: &[K]) -> Result<u64> {
        self.check_same_codec(other)?;
        let names = other.names(keys)?;
        self.copy_names(other, &names, &names)
    }

    /// Copies records from another depot under other names, given as pairs of the name there and the name
    /// here. Otherwise like [`copy_from`](Self::copy_from).
    ///
    /// ```
    /// use vldepot::{Depot, Raw};
    /// let (from, to) = (Depot::memory(Raw)?, Depot::memory(Raw)?);
    /// from.put("a", b"first")?;
    /// to.copy_from_as(&from, &[("a", "run_1/a")])?;
    /// assert_eq!(to.get("run_1/a")?.view(), b"first");
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// Same as [`copy_from`](Self::copy_from).
    pub fn copy_from_as<D: Codec, K: AsKey, L: AsKey>(
        &self,
        other: &Depot<D>,
        keys: &[(K, L)],
    ) -> Result<u64> {
        self.check_same_codec(other)?;
        let there: Vec<_> =
            keys.iter().map(|(there, _)| tagged(&other.engine, there)).collect::<Result<_>>()?;
        let here: Vec<_> = keys.iter().map(|(_, here)| tagged(&self.engine, here)).collect::<Result<_>>()?;
        self.copy_names(other, &there, &here)
    }

    /// Copies all records from another depot, with their metadata, and returns how many.
    ///
    /// The other depot's own metadata are not copied.
    ///
    /// ```
    /// use vldepot::{Depot, Raw};
    /// let (from, to) = (Depot::memory(Raw)?, Depot::memory(Raw)?);
    /// from.put("a", b"first")?;
    /// assert_eq!(to.copy_all_from(&from)?, 1);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// Same as [`copy_from`](Self::copy_from).
    pub fn copy_all_from<D: Codec>(&self, other: &Depot<D>) -> Result<u64> {
        self.check_same_codec(other)?;
        let mut n = 0;
        let mut names = Vec::new();
        for key in other.keys() {
            names.push(tagged(&other.engine, &key?)?);
            if names.len() == AT_ONCE.1 {
                n += self.copy_names(other, &names, &names)?;
                names.clear();
            }
        }
        Ok(n + self.copy_names(other, &names, &names)?)
    }

    fn check_same_codec<D: Codec>(&self, other: &Depot<D>) -> Result<()> {
        let (here, there) = (self.stored_codec(), other.stored_codec());
        if here == there {
            return Ok(());
        }
        let name = |codec: &super::CodecInfo| {
            let parameters = String::from_utf8_lossy(&codec.parameters).trim().replace('\n', ", ");
            format!("{} {} {parameters}", codec.id, codec.version).trim_end().to_owned()
        };
        let (stored, given) = (name(&there), name(&here));
        Err(ErrorKind::WrongCodec { stored, given }.at(other.engine.path()))
    }

    /// Copies the records called `names` there, which are called `new` here.
    fn copy_names<D: Codec>(
        &self,
        other: &Depot<D>,
        names: &[TaggedName],
        new: &[TaggedName],
    ) -> Result<u64> {
        let ((mut rest, known), mut n) = (other.engine.locations(names)?, 0);
        // What is copied is always checked.
        let known = Known { seen: Seen::default(), ..known };
        let mut new = new.iter();
        let is_known = |column| other.columns().contains(column);
        // What is described is read whole.
        let by_pieces = self.columns().iter().all(is_known) && !self.describes();
        while let Some((name, location)) = rest.first() {
            if by_pieces && location.length > LONG {
                let Some(new) = new.next() else { break };
                let OwnedAttributes { metadata, scalars } = other.engine.attributes(name)?;
                let scalars = self.scalars_copied(other, &scalars, new, &[])?;
                let attributes = Attributes { metadata: metadata.as_deref(), scalars: &scalars };
                self.engine.copy_long(new, attributes, (&other.engine, name, location))?;
                n += 1;
                rest.remove(0);
                continue;
            }
            let mut sum = 0;
            let fits = |(_, location): &&(&[u8], crate::index::Location)| {
                let before = sum;
                sum += location.length;
                before < AT_ONCE.0 && !(by_pieces && location.length > LONG)
            };
            let taken = rest.iter().take_while(fits).count();
            let behind = rest.split_off(taken);
            let read = batch::read(&other.engine, &rest, &known, 1)?;
            for (((name, location), bytes), new) in rest.iter().zip(read).zip(&mut new) {
                let OwnedAttributes { metadata, scalars } = other.engine.attributes(name)?;
                let scalars = self.scalars_copied(other, &scalars, new, &bytes)?;
                let attributes = Attributes { metadata: metadata.as_deref(), scalars: &scalars };
                let mut said = self.said_of(new, &bytes)?;
                if said.spans.is_empty() && self.engine.parameters().stores_apart() {
                    said.spans = other.engine.field_spans(location);
                }
                self.engine.put_told(new, &bytes, attributes, said.told(), false)?;
                n += 1;
            }
            rest = behind;
        }
        Ok(n)
    }
}

/// Stores records, like [`Depot::put_many`].
///
/// # Panics
/// When a record is refused, because [`Extend`] cannot return an error. [`Depot::put_many`] can.
impl<C: Codec, K: AsKey, T: Borrow<C::Item>> Extend<(K, T)> for Depot<C> {
    fn extend<I: IntoIterator<Item = (K, T)>>(&mut self, records: I) {
        if let Err(error) = self.put_many(records) {
            panic!("a depot was extended, and refused: {error}");
        }
    }
}

/// Makes a depot in memory.
///
/// ```
/// use vldepot::{Depot, Raw};
/// let depot: Depot<Raw> = [("a", vec![1]), ("b", vec![2, 2])].into_iter().collect();
/// assert_eq!(depot.len(), 2);
/// ```
///
/// # Panics
/// When a record is refused, because [`FromIterator`] cannot return an error. [`Depot::put_many`] can.
impl<C: Codec + Default, K: AsKey, T: Borrow<C::Item>> FromIterator<(K, T)> for Depot<C> {
    fn from_iter<I: IntoIterator<Item = (K, T)>>(records: I) -> Self {
        let mut depot = match Self::memory(C::default()) {
            Ok(depot) => depot,
            Err(error) => panic!("a depot was collected, and refused: {error}"),
        };
        depot.extend(records);
        depot
    }
}
