//! Collections: records of several objects, with metadata, any object readable alone (feature `collections`).
//!
//! A collection is one record: an ordered list of objects, which are bytes, such as the pictures of a film.
//! Its metadata, such as a label, are the record's [metadata](crate::Depot::metadata) and lie in the index.
//! So the metadata and the number of objects are read without touching an object.
//!
//! ```
//! use vldepot::collections::{Collections, NewCollection, Split};
//!
//! let films = Collections::memory()?;
//! for label in 0..10_u8 {
//!     let mut film = NewCollection::new().with_metadata([label]);
//!     film.push(b"first picture");
//!     film.push(b"second picture");
//!     films.add(&film)?;
//! }
//! assert_eq!((films.len(), films.size(3)?, films.metadata(3)?), (10, 2, vec![3]));
//! assert_eq!(films.object(3, 1)?, b"second picture");
//!
//! // Splits stay in the depot, by name.
//! films.set_split("train", &Split::of_ids(0..8)?)?;
//! let train = films.split("train")?.unwrap();
//! let loader = films.loader(&train).batch_size(4).shuffle(1).build()?;
//! assert_eq!(loader.count(), 2);
//! # Ok::<(), vldepot::Error>(())
//! ```
//!
//! ```text
//! codec   the bytes of a record       split   which collections belong together, by name
//! store   collections in a depot      mio     files of MIO
//! ```

mod bytes;
mod codec;
mod mio;
mod split;
mod store;

pub use codec::{CollectionCodec, NewCollection, ObjectList};
pub use mio::{
    MIO_VERSION, MioExported, MioImported, export_mio, import_mio, read_mio_split, write_mio_split,
};
pub use split::{Split, remove_split, set_split, split, split_names};
pub use store::{Collections, layout};
