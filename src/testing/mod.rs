//! Helpers for your own tests (feature `testing`).
//!
//! There are test suites that every storage and codec should pass, as the built-in ones do, and storages
//! that crash and fail.

mod count;
mod crash;
#[cfg(all(feature = "atomic", feature = "json"))]
pub mod fuzz;

use std::io;
use std::sync::Arc;

pub use count::{CountingStorage, Counts};
pub use crash::{CrashStorage, FailingStorage};

use crate::codec::{Codec, CodecError};
use crate::depot::Depot;
use crate::identity::fixed;
use crate::options::Layout;
use crate::planes::FieldSpans;
use crate::storage::{Bytes, ReadRange, Storage};

/// Checks that a storage keeps the promises of [`Storage`]. `make` must return an empty one each time.
///
/// # Panics
/// When it does not.
pub fn storage_conformance(make: impl Fn() -> Arc<dyn Storage>) {
    what_is_written_is_read(&*make());
    reads_past_the_end_are_errors(&*make());
    many_ranges_are_read_as_one_by_one(&*make());
    the_start_comes_with_the_length(&*make());
    gaps_and_growth_read_as_zeros(&*make());
    only_zeros_are_left_out_of_a_search(&*make());
    cutting_forgets(&*make());
    maps_show_the_bytes_and_keep_them(&*make());
    threads_share_it(&*make());
    a_depot_lives_in_it(make());
}

fn read(storage: &dyn Storage, offset: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0xee; len];
    storage.read_at(offset, &mut bytes).expect("bytes that were written can be read");
    bytes
}

fn what_is_written_is_read(storage: &dyn Storage) {
    assert!(storage.is_empty().unwrap());
    storage.write_at(0, b"hello").unwrap();
    storage.write_at(5, b" world").unwrap();
    assert_eq!(storage.len().unwrap(), 11);
    assert_eq!(read(storage, 0, 11), b"hello world");
    // Across the boundary of two writes, and past the end.
    storage.write_at(3, b"p! wor").unwrap();
    storage.write_at(9, b"ms!").unwrap();
    assert_eq!(read(storage, 0, 12), b"help! worms!");
    assert_eq!(read(storage, 4, 3), b"! w");
    storage.write_at(12, b"").unwrap();
    storage.sync().unwrap();
    assert_eq!(storage.len().unwrap(), 12);
}

fn reads_past_the_end_are_errors(storage: &dyn Storage) {
    storage.write_at(0, &[1; 100]).unwrap();
    for (offset, len) in [(99, 2), (100, 1), (1 << 40, 1), (u64::MAX - 1, 8)] {
        let error = storage.read_at(offset, &mut vec![0; len]).unwrap_err();
        assert!(
            matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput),
            "{len} bytes at {offset}: {error:?}"
        );
    }
    assert_eq!(read(storage, 100, 0), b"");
}

fn many_ranges_are_read_as_one_by_one(storage: &dyn Storage) {
    let bytes: Vec<u8> = (0..=250).cycle().take(20_000).collect();
    storage.write_at(0, &bytes).unwrap();
    let wanted = [(19_990, 10), (0, 1), (4000, 200), (4100, 9000), (20_000, 0), (7, 0), (0, 20_000), (0, 1)];
    let read_all = |wanted: &[(u64, usize)]| {
        let mut bufs: Vec<Vec<u8>> = wanted.iter().map(|&(_, len)| vec![0xee; len]).collect();
        let ranges = wanted.iter().zip(&mut bufs).map(|(&(offset, _), buf)| ReadRange { offset, buf });
        storage.read_ranges(&mut ranges.collect::<Vec<_>>()).map(|()| bufs)
    };
    let found = read_all(&wanted).expect("bytes that were written can be read");
    for (&(offset, len), found) in wanted.iter().zip(&found) {
        assert!(*found == read(storage, offset, len), "{len} bytes at {offset}");
    }
    assert!(read_all(&[]).is_ok());
    for past in [(19_999, 2), (1 << 40, 1), (u64::MAX - 1, 8)] {
        let error = read_all(&[(0, 10), past, (5, 5)]).unwrap_err();
        assert!(
            matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput),
            "{past:?}: {error:?}"
        );
    }
}

fn the_start_comes_with_the_length(storage: &dyn Storage) {
    let mut buf = [0xee; 100];
    assert_eq!(storage.read_start(&mut buf).unwrap(), (0, 0));
    storage.write_at(0, &[1; 60]).unwrap();
    assert_eq!(storage.read_start(&mut buf).unwrap(), (60, 60));
    assert!(buf[..60] == [1; 60]);
    storage.write_at(60, &[2; 5000]).unwrap();
    assert_eq!(storage.read_start(&mut buf).unwrap(), (100, 5060));
    assert!(buf[..60] == [1; 60] && buf[60..] == [2; 40]);
}

fn gaps_and_growth_read_as_zeros(storage: &dyn Storage) {
    storage.write_at(10_000, b"far").unwrap();
    assert_eq!(read(storage, 0, 10_000), vec![0; 10_000]);
    storage.write_at(4000, b"in the gap").unwrap();
    assert_eq!(read(storage, 3999, 12), b"\0in the gap\0");
    storage.set_len(20_000).unwrap();
    assert_eq!(storage.len().unwrap(), 20_000);
    assert_eq!(read(storage, 10_000, 5), b"far\0\0");
}

fn only_zeros_are_left_out_of_a_search(storage: &dyn Storage) {
    assert_eq!(storage.next_data(0).unwrap(), None);
    storage.write_at(1_000_000, &[1; 5000]).unwrap();
    storage.write_at(3_000_000, &[2; 5000]).unwrap();
    storage.set_len(4_000_000).unwrap();
    for from in [0, 1, 999_999, 1_000_000, 1_004_999, 1_005_000, 2_000_000, 3_000_000, 3_004_999] {
        let next = storage.next_data(from).unwrap().expect("there are bytes after");
        // It must find the next written byte, or something before it.
        let most = if from < 1_000_000 {
            1_000_000
        } else if (1_005_000..3_000_000).contains(&from) {
            3_000_000
        } else {
            from
        };
        assert!((from..=most).contains(&next), "from {from}: {next}");
    }
    let last = storage.next_data(3_005_000).unwrap();
    assert!(last.is_none_or(|last| (3_005_000..4_000_000).contains(&last)), "{last:?}");
    assert_eq!(storage.next_data(4_000_000).unwrap(), None);
    assert!(!storage.is_replaced().unwrap());
}

fn cutting_forgets(storage: &dyn Storage) {
    storage.write_at(0, &[7; 5000]).unwrap();
    storage.write_at(5000, &[8; 5000]).unwrap();
    storage.set_len(4000).unwrap();
    assert_eq!(storage.len().unwrap(), 4000);
    assert!(storage.read_at(3999, &mut [0; 2]).is_err());
    storage.set_len(6000).unwrap();
    assert_eq!(read(storage, 3999, 3), [7, 0, 0], "what was cut off does not come back");
    storage.write_at(6000, &[9]).unwrap();
    assert_eq!(read(storage, 5999, 2), [0, 9]);
    storage.set_len(0).unwrap();
    assert!(storage.is_empty().unwrap());
}

fn maps_show_the_bytes_and_keep_them(storage: &dyn Storage) {
    storage.write_at(0, &[1; 4096]).unwrap();
    storage.write_at(4096, &[2; 4096]).unwrap();
    let Some(first) = storage.map(64, 1000).unwrap() else { return };
    let bytes_of = |bytes: &Bytes| bytes.to_vec();
    assert_eq!(bytes_of(&first), [1; 1000]);
    assert_eq!(first.as_ptr() as usize % 64, 0, "a map keeps the alignment in the file");
    storage.write_at(8192, &[3; 4096]).unwrap();
    let later = storage.map(8192, 4096).unwrap().expect("a storage that maps goes on mapping");
    assert_eq!((bytes_of(&later), bytes_of(&first)), (vec![3; 4096], vec![1; 1000]));
    let across = storage.map(4000, 200).unwrap().expect("a storage that maps goes on mapping");
    assert_eq!(bytes_of(&across), [vec![1; 96], vec![2; 104]].concat());
    assert!(storage.map(8192, 4097).is_err());
    assert!(storage.map(u64::MAX, 2).is_err());
}

fn threads_share_it(storage: &dyn Storage) {
    storage.write_at(0, &[0; 64]).unwrap();
    std::thread::scope(|scope| {
        for reader in 0..4 {
            scope.spawn(move || {
                for _ in 0..200 {
                    assert_eq!(read(storage, reader, 32), [0; 32]);
                }
            });
        }
        for n in 0..200u64 {
            storage.write_at(64 + 8 * n, &n.to_le_bytes()).unwrap();
            assert_eq!(read(storage, 64 + 8 * n, 8), n.to_le_bytes());
        }
    });
}

fn a_depot_lives_in_it(storage: Arc<dyn Storage>) {
    let options = Layout::default().with_chunk_size(4096).with_block_size(512);
    let depot = Depot::builder(crate::Raw).layout(options).create_in(Arc::clone(&storage)).unwrap();
    let bytes = |n: u8| vec![n; usize::from(n) * 5];
    for n in 0..200u8 {
        depot.put(n, &bytes(n)).unwrap();
        if n % 60 == 59 {
            depot.commit().unwrap();
        }
    }
    depot.close().unwrap();
    let depot = Depot::builder(crate::Raw).open_in(storage).unwrap();
    for n in 0..200u8 {
        assert_eq!(depot.get(n).unwrap().view(), bytes(n));
    }
}

/// Runs `job` with a fixed id and time for all that this thread writes in it.
///
/// The time is in seconds since 1970.
///
/// The same calls then give the same bytes, which helps tests that compare files. Outside of tests no
/// two depots may have the same id, because it tells their entries apart.
///
/// ```
/// use vldepot::testing::with_identity;
/// use vldepot::{Depot, Raw};
///
/// let bytes = || {
///     let depot = Depot::memory(Raw)?;
///     depot.put("a", b"1")?;
///     depot.to_bytes()
/// };
/// assert!(with_identity(7, 1_700_000_000, bytes)? == with_identity(7, 1_700_000_000, bytes)?);
/// assert!(bytes()? != bytes()?);
/// # Ok::<(), vldepot::Error>(())
/// ```
pub fn with_identity<T>(id: u64, time: i64, job: impl FnOnce() -> T) -> T {
    struct Restore(Option<(u64, i64)>);
    impl Drop for Restore {
        fn drop(&mut self) {
            fixed::replace(self.0);
        }
    }
    let _restore = Restore(fixed::replace(Some((id, time))));
    job()
}

/// Checks that a codec keeps [the law](Codec#the-law) for `items`.
///
/// What it encodes can be viewed. Appending leaves the earlier bytes as they were. Lending gives the
/// same bytes. No damage to them makes `view` panic. `same` compares an item with a view.
///
/// # Panics
/// When it does not.
pub fn codec_conformance<'i, C: Codec>(
    codec: C,
    items: impl IntoIterator<Item = &'i C::Item>,
    same: impl Fn(&C::Item, C::View<'_>) -> bool,
) where
    C::Item: 'i,
{
    assert!(C::ALIGN.is_power_of_two() && C::ALIGN <= 64, "ALIGN is a power of two up to 64");
    assert!(C::ID.len() <= 64 && codec.parameters().len() <= 1024, "ID and parameters fit into the header");
    assert!((1..=255).contains(&codec.element_size()), "element_size is 1 to 255");
    let parameters = codec.parameters();
    let codec = codec.open(&parameters).expect("a codec accepts its own parameters");
    assert_eq!(codec.parameters(), parameters, "a codec keeps its own parameters");
    for (number, item) in items.into_iter().enumerate() {
        let mut out = b"before".to_vec();
        codec.encode(item, &mut out).unwrap_or_else(|error| panic!("item {number}: {error}"));
        assert!(out.starts_with(b"before"), "encode appends");
        let lent = codec.with_encoded(item, &mut Vec::new(), |record| record == &out[6..]);
        assert_eq!(lent, Ok(true), "item {number} is lent as what is appended");
        let bytes = Bytes::copy_of(&out[6..]);
        let view = codec.view(&bytes).unwrap_or_else(|error| panic!("item {number}: {error}"));
        let mut fields = FieldSpans::new(&bytes);
        codec.fields(&view, &mut fields);
        let (found, wrong) = fields.finish();
        assert_eq!(wrong, None, "fields of item {number}");
        assert!(found.is_empty() || codec.has_fields(), "item {number} has fields, and the codec names none");
        assert!(same(item, view), "item {number} is viewed as something else");
        for len in [0, 1, bytes.len() / 2, bytes.len().saturating_sub(1)] {
            let _ = codec.view(&Bytes::copy_of(&bytes[..len.min(bytes.len())]));
        }
        let step = (bytes.len() / 500).max(1);
        for at in (0..bytes.len()).step_by(step) {
            for flip in [0x01, 0x80, 0xff] {
                let mut damaged = bytes.to_vec();
                damaged[at] ^= flip;
                let _ = codec.view(&Bytes::copy_of(&damaged));
            }
        }
    }
}

/// Checks that the codec either gives a value back the same, or refuses it with an error.
///
/// Use it in property tests of your own types, to find values that an encoding cannot tell apart.
///
/// ```
/// use vldepot::codecs::Json;
/// use vldepot::testing::comes_back_or_is_refused;
///
/// let same = |item: &Option<Option<u8>>, view| *item == view;
/// comes_back_or_is_refused(&Json::new(), &Some(Some(1)), same)?;
/// assert!(comes_back_or_is_refused(&Json::new(), &Some(None), same).is_err());
/// # Ok::<(), vldepot::CodecError>(())
/// ```
///
/// # Errors
/// The error of [`Codec::encode`].
///
/// # Panics
/// When the codec accepts a value that does not come back, or comes back as another one.
pub fn comes_back_or_is_refused<C: Codec>(
    codec: &C,
    item: &C::Item,
    same: impl FnOnce(&C::Item, C::View<'_>) -> bool,
) -> Result<(), CodecError> {
    let mut out = Vec::new();
    codec.encode(item, &mut out)?;
    let bytes = Bytes::copy_of(&out);
    match codec.view(&bytes) {
        Ok(view) => assert!(same(item, view), "what was taken comes back as something else"),
        Err(error) => panic!("what was taken does not come back: {error}"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{FileStorage, MemoryStorage};

    #[test]
    fn memory_keeps_the_promises_of_a_storage() {
        storage_conformance(|| Arc::new(MemoryStorage::new()));
    }

    #[test]
    fn files_keep_the_promises_of_a_storage() {
        let folder = tempfile::tempdir().unwrap();
        let next = std::sync::atomic::AtomicU32::new(0);
        storage_conformance(|| {
            let number = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Arc::new(FileStorage::create(folder.path().join(number.to_string())).unwrap())
        });
    }

    #[test]
    fn the_doubles_keep_the_promises_of_a_storage() {
        storage_conformance(|| Arc::new(CrashStorage::new()));
        storage_conformance(|| Arc::new(CountingStorage::new(MemoryStorage::new())));
        storage_conformance(|| Arc::new(CountingStorage::new(MemoryStorage::new()).with_maps()));
        storage_conformance(|| Arc::new(FailingStorage::new(MemoryStorage::new(), u64::MAX, true)));
    }

    #[test]
    fn raw_keeps_the_law_of_codecs() {
        let items: [&[u8]; 3] = [b"", b"a", &[7; 1000]];
        codec_conformance(crate::Raw, items, |item, view| item == view);
    }
}
