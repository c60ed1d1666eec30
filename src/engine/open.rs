//! Making and opening depots: the header page, the lock, the codec check, and recovery after a crash.

use std::borrow::Cow;
use std::sync::{Arc, Mutex};

use super::Engine;
use super::newer::check_writable;
use super::shared::Shared;
use super::wrapped;
use super::writer::Writer;
use crate::catalog::{LostCommit, State};
use crate::chunk::{Cache, ChunkReader};
use crate::codec::{Codec, CodecError, Raw};
use crate::error::{Error, ErrorKind, Part, Result};
use crate::events::event;
use crate::format::tables::{Loss, Losses, Parameters, Shard};
use crate::identity;
use crate::log::{self, Header, Loaded, Tail, header_page};
use crate::options::{Layout, Mapping, OpenOptions, WriteOptions};
use crate::scalar::{MAX_COLUMNS, ScalarField};
use crate::storage::{Storage, StorageExt};
use crate::sync::OwnedByProcess;
use crate::vlstore;

/// The description of a codec, without its type.
#[derive(Debug, Clone)]
pub(crate) struct CodecSpec {
    pub(crate) id: Cow<'static, str>,
    pub(crate) version: u32,
    pub(crate) parameters: Vec<u8>,
    pub(crate) align: usize,
    pub(crate) element_size: usize,
    pub(crate) scalars: Vec<ScalarField>,
    /// Whether it describes records.
    pub(crate) describes: bool,
}

impl CodecSpec {
    /// That of bytes.
    pub(super) fn of_raw() -> Self {
        Self {
            id: Raw::ID.into(),
            version: Raw::VERSION,
            parameters: Vec::new(),
            align: Raw::ALIGN,
            element_size: 1,
            scalars: Vec::new(),
            describes: false,
        }
    }

    /// The scalars that are called `names`.
    fn columns(&self, names: &[String]) -> Result<Vec<ScalarField>> {
        if names.len() > MAX_COLUMNS {
            return Err(Error::invalid_options(format!("{} columns: at most {MAX_COLUMNS}", names.len())));
        }
        if let Some(name) =
            names.iter().enumerate().find_map(|(nth, name)| names[..nth].iter().find(|n| *n == name))
        {
            return Err(Error::invalid_options(format!("column `{name}` twice")));
        }
        let find = |name: &String| {
            self.scalars.iter().find(|scalar| scalar.name == **name).cloned().ok_or_else(|| {
                let there: Vec<_> = self.scalars.iter().map(|scalar| &*scalar.name).collect();
                let there = if there.is_empty() { "none".into() } else { there.join(", ") };
                Error::invalid_options(format!(
                    "no column `{name}`: of the records of codec `{}`, the scalars are {there}",
                    self.id
                ))
            })
        };
        names.iter().map(find).collect()
    }
}

/// Compares the given codec with the one that a depot was written with.
pub(crate) struct CodecCheck<'c> {
    pub(crate) spec: &'c CodecSpec,
    /// Gives the codec the parameters that the depot was written with.
    pub(crate) learn: &'c mut dyn FnMut(&[u8]) -> Result<(), CodecError>,
    /// Accepts any codec, because only bytes are read.
    pub(crate) any: bool,
}

impl CodecCheck<'_> {
    pub(super) fn check(self, storage: &Arc<dyn Storage>, parameters: &Parameters) -> Result<()> {
        if self.any {
            return Ok(());
        }
        let Self { spec, learn, .. } = self;
        if parameters.codec_id != spec.id {
            let (stored, given) = (parameters.codec_id.clone(), spec.id.clone().into_owned());
            return Err(ErrorKind::WrongCodec { stored, given }.at(storage.path()));
        }
        let refuse = |source| {
            ErrorKind::CodecParameters { codec: spec.id.clone().into_owned() }
                .at(storage.path())
                .because(source)
        };
        if parameters.codec_version > spec.version {
            return Err(refuse(CodecError::Parameter {
                parameter: "version".into(),
                stored: parameters.codec_version.to_string(),
                given: spec.version.to_string(),
            }));
        }
        learn(&parameters.codec_parameters).map_err(refuse)
    }
}

impl Engine {
    /// Makes a new depot in an empty storage.
    pub(crate) fn create(
        storage: Arc<dyn Storage>,
        layout: Layout,
        write: &WriteOptions,
        open: &OpenOptions,
        codec: CodecSpec,
    ) -> Result<Self> {
        let layout = layout.with_typesize_for(codec.element_size);
        layout.validate()?;
        write.validate()?;
        if !codec.align.is_power_of_two() || codec.align > 64 || codec.id.len() > 64 {
            let why =
                format!("codec `{}`: ALIGN must be a power of two up to 64, ID at most 64 bytes", codec.id);
            return Err(Error::invalid_options(why));
        }
        let columns = codec.columns(&layout.columns)?;
        let features = wrapped::features(&codec.id);
        let parameters = Parameters {
            format_version: crate::format::FORMAT_VERSION,
            depot_id: identity::depot_id(),
            codec_id: codec.id.into_owned(),
            codec_version: codec.version,
            codec_parameters: codec.parameters,
            chunk_size: layout.chunk_size,
            block_size: layout.block_size,
            compression: layout.compression,
            placement: layout.placement,
            align: codec.align.max(16),
            vlstore: layout.vlstore_compatible,
            created: identity::now(),
            features,
            data_set: identity::data_set(),
            shard: Shard::default(),
            filters: layout.name_filters,
            order: layout.name_order,
            columns,
            statistics: layout.statistics && codec.describes,
            apart: layout.fields_apart,
            unknown_field: None,
        };
        Self::create_with(storage, parameters, write, open)
    }

    /// Makes a new depot in an empty storage, with the parameters of another one.
    pub(crate) fn create_like(storage: Arc<dyn Storage>, parameters: &Parameters) -> Result<Self> {
        let parameters = Parameters { depot_id: identity::depot_id(), ..parameters.clone() };
        let open = OpenOptions::default().with_mapping(Mapping::Never);
        Self::create_with(storage, parameters, &WriteOptions::default(), &open)
    }

    fn create_with(
        storage: Arc<dyn Storage>,
        parameters: Parameters,
        write: &WriteOptions,
        open: &OpenOptions,
    ) -> Result<Self> {
        if !storage.is_empty().map_err(|source| storage.io("ask for the file's length", source))? {
            return Err(ErrorKind::PathExists.at(storage.path()));
        }
        lock(&storage)?;
        storage
            .write_at(0, &header_page(&parameters)?)
            .and_then(|()| storage.sync())
            .map_err(|source| storage.io("write the header", source))?;
        let mapped = open.mapping == Mapping::Auto;
        let shared = Arc::new(Shared::new(storage, parameters, mapped, State::default()));
        let writer = Writer::new(Arc::clone(&shared), write, Tail::START, true);
        Ok(Self::assemble(shared, Some(writer), Tail::START, open))
    }

    pub(super) fn assemble(
        shared: Arc<Shared>,
        writer: Option<Writer>,
        tail: Tail,
        options: &OpenOptions,
    ) -> Self {
        let Shared { storage, parameters, mapped, .. } = &*shared;
        let foreign = parameters.depot_id == 0;
        let reader = ChunkReader::new(Arc::clone(storage), parameters.chunk_size, *mapped, foreign)
            .with_cache(Cache::of(options.cache_bytes).as_ref(), 0)
            // All committed chunks lie before the tail.
            .with_known_len(tail.offset);
        let (verify, owner) = (options.verify, OwnedByProcess::here());
        Self {
            shared,
            reader,
            shelf: None,
            #[cfg(feature = "shards")]
            set: None,
            verify,
            writer: writer.map(Mutex::new),
            owner,
            tail: Mutex::new(tail),
            rebuilt: Mutex::default(),
        }
    }

    /// Opens an existing depot, or a vlstore file, for reading.
    pub(crate) fn open(
        storage: Arc<dyn Storage>,
        options: &OpenOptions,
        codec: CodecCheck<'_>,
    ) -> Result<Self> {
        let mapped = options.mapping == Mapping::Auto;
        let (header, page) = log::read_header(&storage)?;
        match header {
            Header::Depot(parameters) => {
                codec.check(&storage, &parameters)?;
                let Loaded { parameters, state, tail, .. } = log::load(&storage, *parameters, page, mapped)?;
                if !options.accept_loss
                    && let Some(error) = incomplete(&storage, &state)
                {
                    return Err(error);
                }
                let is_wrapped = wrapped::is_wrapped(&parameters);
                let shared = Arc::new(Shared::new(storage, parameters, mapped, state));
                let engine = Self::assemble(shared, None, tail, options);
                if !is_wrapped {
                    return Ok(engine);
                }
                let (storage, parameters, state) = wrapped::open(&engine)?;
                // Somebody may cut the file, which a map would not survive.
                let shared = Arc::new(Shared::new(storage, parameters, false, state));
                Ok(Self::assemble(shared, None, Tail::START, options))
            }
            Header::Foreign => {
                let (parameters, state) = vlstore::import(&storage, &codec.spec.id, codec.spec.align)?;
                let shared = Arc::new(Shared::new(storage, parameters, mapped, state));
                Ok(Self::assemble(shared, None, Tail::START, options))
            }
        }
    }

    /// Opens a file of any codec for reading.
    #[cfg(not(feature = "shards"))]
    pub(crate) fn open_path(path: &std::path::Path) -> Result<Self> {
        let storage = crate::storage::FileStorage::open(path)
            .map_err(|source| crate::error::Error::io(path, "open the file", source))?;
        Self::open_any(Arc::new(storage), false)
    }

    /// Like [`open`](Self::open), but for a depot of any codec, and without mapping the file.
    pub(crate) fn open_any(storage: Arc<dyn Storage>, accept_loss: bool) -> Result<Self> {
        let spec = CodecSpec::of_raw();
        let check = CodecCheck { any: true, spec: &spec, learn: &mut |_| Ok(()) };
        let options = OpenOptions { mapping: Mapping::Never, accept_loss, ..OpenOptions::default() };
        Self::open(storage, &options, check)
    }

    /// Opens an existing depot for writing.
    pub(crate) fn append(
        storage: Arc<dyn Storage>,
        options: &OpenOptions,
        write: &WriteOptions,
        codec: CodecCheck<'_>,
    ) -> Result<Self> {
        write.validate()?;
        lock(&storage)?;
        let mapped = options.mapping == Mapping::Auto;
        let (Header::Depot(parameters), page) = log::read_header(&storage)? else {
            let found = "a Blosc2 frame of another program, which may be read and not written";
            return Err(ErrorKind::NotADepot { found: found.into() }.at(storage.path()));
        };
        codec.check(&storage, &parameters)?;
        wrapped::refuse(&*storage, &parameters, "is read and not written")?;
        let Loaded { parameters, state, tail, published, header_lost } =
            log::load(&storage, *parameters, page, mapped)?;
        check_writable(&*storage, &parameters, &state.snapshot)?;
        let len = storage.file_len()?;
        let lost = state.lost;
        if len > tail.offset && lost.is_some() {
            refuse_to_cut(&storage, &parameters, tail)?;
        }
        if !options.accept_loss
            && let Some(error) = incomplete(&storage, &state)
        {
            return Err(error);
        }
        // The notes of a commit that cannot be read lie in the end that is cut off.
        let notes = log::notes_after(&storage, &parameters, &state.snapshot, tail, lost.is_some())?;
        if header_lost {
            storage
                .write_at(0, &header_page(&parameters)?)
                .map_err(|source| storage.io("write the header", source))?;
        }
        if len != tail.offset || header_lost {
            // Durable before anything is appended, because a stale entry must not show up after a new one.
            storage
                .set_len(tail.offset)
                .and_then(|()| storage.sync())
                .map_err(|source| storage.io("cut off the torn end", source))?;
            if len > tail.offset {
                event!(
                    warn,
                    "{}: cut off {} bytes of a torn end, which a crash left",
                    storage.path().display(),
                    len - tail.offset
                );
            }
        }
        // The numbers of commits that cannot be read are not used again.
        let taken = state.unread.or(lost).map_or(0, |commit| commit.sequence);
        let needs_commit = state.pending.changed || header_lost || taken > 0;
        let shared = Arc::new(Shared::new(storage, parameters, mapped, state));
        let mut writer = Writer::new(Arc::clone(&shared), write, tail, published && !header_lost);
        writer.number_after(taken);
        let engine = Self::assemble(shared, Some(writer), tail, options);
        if needs_commit {
            let mut writer = engine.writer()?;
            if let Some(metadata) = notes.metadata {
                writer.set_depot_metadata(metadata)?;
            }
            let loss = lost.map(|lost| Loss::of_commit(lost.sequence, lost.offset));
            if let Some(lost) = &lost {
                event!(
                    warn,
                    "{}: going on without commit {}, which is noted as lost",
                    engine.path().display(),
                    lost.sequence
                );
            }
            if loss.is_some() || notes.moved_losses {
                writer.set_losses(&Losses(notes.losses.0.into_iter().chain(loss).collect()))?;
            }
            // Adopted records need a commit, and so do the empty slots of a new header.
            engine.shared.write().pending.changed = true;
            writer.commit()?;
            let mut state = engine.shared.write();
            (state.unread, state.lost) = (None, None);
        }
        Ok(engine)
    }

    /// Checks a codec for a depot that is open already. A file of vlstore does not tell its codec.
    pub(crate) fn check_codec(&self, codec: CodecCheck<'_>) -> Result<()> {
        if self.is_foreign() { Ok(()) } else { codec.check(&self.shared.storage, self.parameters()) }
    }

    /// The error for a depot that lost a commit with some of its records.
    pub(crate) fn incomplete(&self) -> Option<Error> {
        let state = self.shared.read();
        self.missing(&state.snapshot.members).or_else(|| incomplete(&self.shared.storage, &state))
    }
}

fn lock(storage: &Arc<dyn Storage>) -> Result<()> {
    match storage.try_lock() {
        Ok(true) => Ok(()),
        Ok(false) => Err(ErrorKind::Locked.at(storage.path())),
        Err(source) => Err(storage.io("lock the file", source)),
    }
}

/// The error for a file that lost a commit with some of its records.
pub(super) fn incomplete(storage: &Arc<dyn Storage>, state: &State) -> Option<Error> {
    let LostCommit { sequence: commit, offset } = state.lost?;
    Some(ErrorKind::Incomplete { commit, offset, records: state.len() }.at(storage.path()))
}

/// Refuses to cut off an end that has whole entries.
///
/// A torn end is cut off before anything is appended. If the header is lost, or names a commit that is not
/// there, the end may be damaged instead of torn. Then its entries can still be saved.
fn refuse_to_cut(storage: &Arc<dyn Storage>, parameters: &Parameters, tail: Tail) -> Result<()> {
    let scanner = log::Scanner::new(storage, false)?;
    let Some(head) = scanner.whole_entry_after(tail, parameters.depot_id)? else { return Ok(()) };
    let expected = "the end, or the entry that belongs here";
    let found = format!(
        "entry {} at byte {}, which appending would cut off: `vldepot repair` saves what is in it",
        head.sequence, head.offset
    );
    Err(scanner.damaged(Part::Entry, tail.offset, expected, found))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::tables::tests::parameters;
    use crate::storage::MemoryStorage;
    use crate::{Depot, Raw};

    #[test]
    fn a_newer_format_is_refused_by_both_numbers() {
        let newer = Parameters { format_version: 9, codec_id: "raw".into(), ..parameters() };
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::from_bytes(&header_page(&newer).unwrap()));
        for opened in
            [Depot::builder(Raw).open_in(Arc::clone(&storage)), Depot::builder(Raw).append_in(storage)]
        {
            let error = opened.map(|_| ()).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::NewerFormat { found: 9, supported: 1, .. }), "{error}");
            assert!(error.to_string().contains("update"), "{error}");
        }
    }

    #[test]
    fn parameters_that_do_not_fit_the_header_are_refused() {
        let codec = CodecSpec {
            id: "test".into(),
            version: 1,
            parameters: vec![7; 5000],
            align: 16,
            element_size: 4,
            scalars: vec![],
            describes: false,
        };
        let storage = Arc::new(MemoryStorage::new());
        let (write, open) = (WriteOptions::default(), OpenOptions::default());
        let made = Engine::create(storage, Layout::default(), &write, &open, codec).map(|_| ());
        assert!(made.unwrap_err().to_string().contains("do not fit"));
    }
}
