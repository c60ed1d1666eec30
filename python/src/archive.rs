//! Archives: what `vldepot.archive` calls. Its classes are written in Python.

use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString, PyTuple};
use vldepot::archive::{
    self, Archive, ArchivePath, Entry as ArchiveEntry, FileAttributes, FileKind, FileMode,
};
use vldepot::{Key, ReadOptions, Result};

use crate::codec::{AnyDepot, Fetched, bytes_of};
use crate::depot::PyDepot;
use crate::error::{Failure, of_archive};
use crate::iter::{DepotIterator, Entry, Items, Shape};
use crate::options;

/// The bytes of a path: of a `str`, whose surrogates are bytes that are no UTF-8, of `bytes`, or of an object
/// that is a path.
struct PathBytes(Vec<u8>);

impl<'py> FromPyObject<'_, 'py> for PathBytes {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let py = object.py();
        if let Ok(text) = object.cast::<PyString>() {
            if let Ok(text) = text.to_str() {
                return Ok(Self(text.as_bytes().to_vec()));
            }
            let bytes = text.call_method1(intern!(py, "encode"), ("utf-8", "surrogateescape"))?;
            return Ok(Self(bytes.cast_into::<PyBytes>()?.as_bytes().to_vec()));
        }
        if let Ok(bytes) = object.cast::<PyBytes>() {
            return Ok(Self(bytes.as_bytes().to_vec()));
        }
        match object.call_method0(intern!(py, "__fspath__")) {
            Ok(path) if path.is_instance_of::<PyString>() || path.is_instance_of::<PyBytes>() => {
                path.extract()
            }
            _ => {
                let found = object.get_type().name()?;
                Err(PyTypeError::new_err(format!("a path is a str, bytes or os.PathLike, not {found}")))
            }
        }
    }
}

impl AsRef<[u8]> for PathBytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// A path as Python has it: see [`PathBytes`].
fn text<'py>(py: Python<'py>, path: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    match std::str::from_utf8(path) {
        Ok(path) => Ok(PyString::new(py, path).into_any()),
        Err(_) => PyBytes::new(py, path).call_method1(intern!(py, "decode"), ("utf-8", "surrogateescape")),
    }
}

/// A path as a name, which ends with `/` for a folder.
fn name_of(path: &ArchivePath, is_dir: bool) -> Key {
    let mut name = path.as_bytes().to_vec();
    if is_dir {
        name.push(b'/');
    }
    String::from_utf8(name).map_or_else(|name| Key::from(name.into_bytes()), Key::from)
}

fn listed(entry: Result<ArchiveEntry>) -> Result<Entry> {
    entry.map(|entry| Entry::Name(name_of(&entry.path, entry.is_dir)))
}

fn attributes(
    mut known: FileAttributes,
    mode: Option<u32>,
    mtime_ns: Option<i128>,
    uid: Option<u32>,
    gid: Option<u32>,
) -> PyResult<FileAttributes> {
    if let Some(mode) = mode {
        known = known.with_mode(mode);
    }
    if let Some(time) = mtime_ns {
        known.mtime = Some(i64::try_from(time.div_euclid(1_000_000_000))?);
        known.mtime_ns = u32::try_from(time.rem_euclid(1_000_000_000))?;
    }
    known.uid = uid.or(known.uid);
    known.gid = gid.or(known.gid);
    Ok(known)
}

fn stat_of<'py>(py: Python<'py>, stat: &archive::Stat) -> PyResult<Bound<'py, PyTuple>> {
    let FileAttributes { mode, mtime, mtime_ns, uid, gid, xattrs, .. } = &stat.attributes;
    let kind = match stat.kind {
        FileKind::Folder => "folder",
        FileKind::Link => "link",
        _ => "file",
    };
    let time = mtime.map(|seconds| i128::from(seconds) * 1_000_000_000 + i128::from(*mtime_ns));
    let attributes = PyDict::new(py);
    for (name, value) in xattrs {
        attributes.set_item(name, PyBytes::new(py, &value.0))?;
    }
    let path = text(py, stat.path.as_bytes())?;
    (path, kind, stat.size, *mode, time, *uid, *gid, attributes).into_pyobject(py)
}

/// An archive in a depot.
#[pyclass(frozen, module = "vldepot._vldepot")]
pub(crate) struct ArchiveCore(Py<PyDepot>);

impl ArchiveCore {
    fn run<T: Send>(&self, py: Python<'_>, job: impl FnOnce(&Archive) -> Result<T> + Send) -> PyResult<T> {
        run(&self.0, py, job)
    }

    fn list<'py>(
        &self,
        py: Python<'py>,
        shape: Shape,
        start: impl for<'a> FnOnce(&'a Archive) -> Result<Items<'a>> + Send,
    ) -> PyResult<Bound<'py, DepotIterator>> {
        let listing = self.0.get().list(py, shape, move |depot| match depot {
            AnyDepot::Bytes(archive) => start(archive),
            _ => Ok(Box::new(std::iter::empty())),
        });
        listing.map_err(|error| of_archive(py, error))
    }
}

fn run<T: Send>(
    depot: &Py<PyDepot>,
    py: Python<'_>,
    job: impl FnOnce(&Archive) -> Result<T> + Send,
) -> PyResult<T> {
    let done = depot.get().with(py, |depot| match depot {
        AnyDepot::Bytes(archive) => job(archive).map_err(Failure::Library),
        _ => Err(Failure::Closed),
    });
    done.map_err(|error| of_archive(py, error))
}

#[pymethods]
impl ArchiveCore {
    #[new]
    fn new(depot: Py<PyDepot>) -> PyResult<Self> {
        if depot.get().is_plain() {
            return Ok(Self(depot));
        }
        Err(PyTypeError::new_err("an archive is a depot of bytes: open it with the codec \"bytes\""))
    }

    fn read<'py>(&self, py: Python<'py>, path: PathBytes) -> PyResult<Bound<'py, PyBytes>> {
        let record = self.run(py, |archive| archive.read(&path))?;
        Ok(PyBytes::new(py, record.as_bytes()))
    }

    fn read_range<'py>(
        &self,
        py: Python<'py>,
        path: PathBytes,
        offset: u64,
        size: Option<u64>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = self.run(py, |archive| {
            let file = archive.open_apart(&path, FileMode::Read)?;
            let left = file.len().saturating_sub(offset);
            let n = usize::try_from(size.unwrap_or(left).min(left)).unwrap_or(usize::MAX);
            let mut bytes = vec![0; n];
            file.read_at(archive, offset, &mut bytes)?;
            Ok(bytes)
        })?;
        Ok(PyBytes::new(py, &bytes))
    }

    fn read_many<'py>(
        &self,
        py: Python<'py>,
        paths: Vec<PathBytes>,
        threads: i64,
    ) -> PyResult<Vec<Bound<'py, PyBytes>>> {
        let options = ReadOptions::default().with_threads(options::threads(py, threads)?);
        let records = self.run(py, |archive| archive.read_many(&paths, &options))?;
        Ok(records.iter().map(|record| PyBytes::new(py, record.as_bytes())).collect())
    }

    #[allow(clippy::too_many_arguments, reason = "called by one function of the package")]
    fn write(
        &self,
        py: Python<'_>,
        path: PathBytes,
        data: &Bound<'_, PyAny>,
        replace: bool,
        mode: u32,
        mtime_ns: i128,
        uid: Option<u32>,
        gid: Option<u32>,
    ) -> PyResult<()> {
        let data = bytes_of("a file takes", data)?;
        let (bytes, attributes) =
            (data.as_bytes(), attributes(FileAttributes::new(), Some(mode), Some(mtime_ns), uid, gid)?);
        self.run(py, |archive| {
            if replace {
                archive.write_with(&path, bytes, &attributes)
            } else {
                archive.write_new_with(&path, bytes, &attributes)
            }
        })
    }

    fn write_link(&self, py: Python<'_>, target: PathBytes, path: PathBytes, mtime_ns: i128) -> PyResult<()> {
        let attributes = attributes(FileAttributes::new(), Some(0o777), Some(mtime_ns), None, None)?;
        self.run(py, |archive| archive.write_link(&path, &target, &attributes))
    }

    fn read_link<'py>(&self, py: Python<'py>, path: PathBytes) -> PyResult<Bound<'py, PyAny>> {
        let target = self.run(py, |archive| archive.read_link(&path))?;
        text(py, &target)
    }

    fn make_folder(&self, py: Python<'_>, path: PathBytes, mode: u32, mtime_ns: i128) -> PyResult<()> {
        let attributes = attributes(FileAttributes::new(), Some(mode), Some(mtime_ns), None, None)?;
        self.run(py, |archive| archive.create_dir_with(&path, &attributes))
    }

    fn remove_file(&self, py: Python<'_>, path: PathBytes) -> PyResult<()> {
        self.run(py, |archive| archive.remove_file(&path))
    }

    fn remove_folder(&self, py: Python<'_>, path: PathBytes) -> PyResult<()> {
        self.run(py, |archive| archive.remove_dir(&path))
    }

    fn remove_tree(&self, py: Python<'_>, path: PathBytes) -> PyResult<u64> {
        self.run(py, |archive| archive.remove_dir_all(&path))
    }

    fn rename(&self, py: Python<'_>, from: PathBytes, to: PathBytes) -> PyResult<()> {
        self.run(py, |archive| archive.rename(&from, &to))
    }

    fn exists(&self, py: Python<'_>, path: PathBytes) -> PyResult<bool> {
        self.run(py, |archive| archive.exists(&path))
    }

    fn is_file(&self, py: Python<'_>, path: PathBytes) -> PyResult<bool> {
        self.run(py, |archive| archive.is_file(&path))
    }

    fn is_folder(&self, py: Python<'_>, path: PathBytes) -> PyResult<bool> {
        self.run(py, |archive| archive.is_dir(&path))
    }

    fn stat<'py>(&self, py: Python<'py>, path: PathBytes, follow: bool) -> PyResult<Bound<'py, PyTuple>> {
        let stat =
            self.run(py, |archive| if follow { archive.resolve(&path) } else { archive.stat(&path) })?;
        stat_of(py, &stat)
    }

    fn stat_many<'py>(&self, py: Python<'py>, paths: Vec<PathBytes>) -> PyResult<Vec<Bound<'py, PyTuple>>> {
        let stats = self
            .run(py, |archive| paths.iter().map(|path| archive.resolve(path)).collect::<Result<Vec<_>>>())?;
        stats.iter().map(|stat| stat_of(py, stat)).collect()
    }

    fn set_attributes(
        &self,
        py: Python<'_>,
        path: PathBytes,
        mode: Option<u32>,
        mtime_ns: Option<i128>,
        uid: Option<u32>,
        gid: Option<u32>,
    ) -> PyResult<()> {
        let stat = self.run(py, |archive| archive.resolve(&path))?;
        let attributes = attributes(stat.attributes, mode, mtime_ns, uid, gid)?;
        self.run(py, |archive| archive.set_attributes(&stat.path, &attributes))
    }

    fn count(&self, py: Python<'_>, path: PathBytes) -> PyResult<(u64, u64, u64)> {
        let count = self.run(py, |archive| archive.count(&path))?;
        Ok((count.files, count.folders, count.bytes))
    }

    fn refresh(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.run(py, Archive::refresh)?.changed())
    }

    /// The clean form of a path, which need not be there.
    #[staticmethod]
    fn clean(py: Python<'_>, path: PathBytes) -> PyResult<Bound<'_, PyAny>> {
        text(py, ArchivePath::new(&path).map_err(Failure::Library)?.as_bytes())
    }

    fn list_folder<'py>(&self, py: Python<'py>, path: PathBytes) -> PyResult<Bound<'py, DepotIterator>> {
        self.list(py, Shape::Names, |archive| Ok(Box::new(archive.read_dir(&path)?.map(listed))))
    }

    fn list_tree<'py>(&self, py: Python<'py>, path: PathBytes) -> PyResult<Bound<'py, DepotIterator>> {
        self.list(py, Shape::Names, |archive| Ok(Box::new(archive.walk(&path)?.map(listed))))
    }

    fn list_stored<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, DepotIterator>> {
        self.list(py, Shape::Names, |archive| Ok(Box::new(archive.stored().map(listed))))
    }

    fn read_all<'py>(&self, py: Python<'py>, threads: i64) -> PyResult<Bound<'py, DepotIterator>> {
        let options = ReadOptions::default().with_threads(options::threads(py, threads)?);
        self.list(py, Shape::Items, move |archive| {
            Ok(Box::new(archive.read_all(&options).map(|file| {
                let (path, record) = file?;
                Ok(Entry::Record(name_of(&path, false), Fetched::Bytes(record)))
            })))
        })
    }

    fn open_file(&self, py: Python<'_>, path: PathBytes, mode: &str) -> PyResult<OpenFile> {
        let mode = match mode {
            "r+" => FileMode::Update,
            "w" => FileMode::Replace,
            "x" => FileMode::New,
            "a" => FileMode::Append,
            _ => FileMode::Read,
        };
        let file = self.run(py, |archive| archive.open_apart(&path, mode))?;
        Ok(OpenFile { depot: self.0.clone_ref(py), file: Mutex::new(file) })
    }
}

/// A file of an archive, to be read and written at positions.
#[pyclass(frozen, module = "vldepot._vldepot")]
pub(crate) struct OpenFile {
    depot: Py<PyDepot>,
    /// Held without the GIL only.
    file: Mutex<archive::OpenFile>,
}

impl OpenFile {
    fn run<T: Send>(
        &self,
        py: Python<'_>,
        job: impl FnOnce(&Archive, &mut archive::OpenFile) -> Result<T> + Send,
    ) -> PyResult<T> {
        run(&self.depot, py, |archive| {
            job(archive, &mut self.file.lock().unwrap_or_else(PoisonError::into_inner))
        })
    }
}

#[pymethods]
impl OpenFile {
    fn read_at<'py>(&self, py: Python<'py>, at: u64, size: u64) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = self.run(py, |archive, file| {
            let n = usize::try_from(file.len().saturating_sub(at).min(size)).unwrap_or(usize::MAX);
            let mut bytes = vec![0; n];
            file.read_at(archive, at, &mut bytes)?;
            Ok(bytes)
        })?;
        Ok(PyBytes::new(py, &bytes))
    }

    fn write_at(&self, py: Python<'_>, at: u64, data: &Bound<'_, PyAny>) -> PyResult<u64> {
        let data = bytes_of("a file takes", data)?;
        let bytes = data.as_bytes();
        self.run(py, |archive, file| file.write_at(archive, at, bytes))
    }

    fn set_len(&self, py: Python<'_>, len: u64) -> PyResult<()> {
        self.run(py, |archive, file| file.set_len(archive, len))
    }

    fn store(&self, py: Python<'_>) -> PyResult<()> {
        self.run(py, |archive, file| file.store(archive))
    }

    fn len(&self, py: Python<'_>) -> u64 {
        py.detach(|| self.file.lock().unwrap_or_else(PoisonError::into_inner).len())
    }
}

/// Files of the disk.
#[cfg(unix)]
mod disk {
    use pyo3::prelude::*;
    use pyo3::types::PyDict;
    use vldepot::archive::{AddOptions, Archive, ArchivePath, ExtractOptions, Progress, Selection, Transfer};

    use super::{PathBytes, of_archive};
    use crate::codec::AnyDepot;
    use crate::depot::PyDepot;
    use crate::error::Failure;
    use crate::maintain::{catching, end};
    use crate::report::report;

    pub(super) type Globs = Option<Vec<String>>;

    pub(super) fn selection(include: Globs, exclude: Globs) -> vldepot::Result<Selection> {
        let mut selection = Selection::new();
        for glob in include.into_iter().flatten() {
            selection = selection.include(&glob)?;
        }
        for glob in exclude.into_iter().flatten() {
            selection = selection.exclude(&glob)?;
        }
        Ok(selection)
    }

    /// Runs `work` without the GIL and without the depot's lock, which code of Python may want meanwhile.
    fn moved<'py>(
        py: Python<'py>,
        depot: &Py<PyDepot>,
        progress: Option<Py<PyAny>>,
        work: impl FnOnce(&Archive, &mut dyn FnMut(Progress)) -> vldepot::Result<Transfer> + Send,
    ) -> PyResult<Bound<'py, PyAny>> {
        let shared = depot.get().shared(py)?;
        let done = py.detach(move || {
            let mut tell = |now: Progress| {
                let told = Python::attach(|py| {
                    py.check_signals()?;
                    progress
                        .as_ref()
                        .map_or(Ok(()), |tell| tell.call1(py, (now.entries, now.bytes)).map(drop))
                });
                if let Err(error) = told {
                    end(Failure::Python(error));
                }
            };
            let done = match &*shared {
                AnyDepot::Bytes(archive) => catching(|| work(archive, &mut tell)),
                _ => Err(Failure::Closed),
            };
            // If the depot was closed meanwhile, this closes it: without the GIL.
            drop(shared);
            done
        });
        let moved = done.map_err(|failure| of_archive(py, failure.into()))?;
        let failures: Vec<_> = moved
            .failures
            .iter()
            .map(|failure| (failure.path.as_os_str().to_owned(), failure.error.to_string()))
            .collect();
        report!(py, "Transfer", {
            files: moved.files,
            folders: moved.folders,
            links: moved.links,
            bytes: moved.bytes,
            failures: failures,
            failed: moved.failed,
        })
    }

    #[pymethods]
    impl super::DiskFiles {
        #[allow(clippy::too_many_arguments, reason = "called by one function of the package")]
        #[staticmethod]
        fn add<'py>(
            py: Python<'py>,
            core: &super::ArchiveCore,
            #[pyo3(from_py_with = crate::options::path)] from: std::path::PathBuf,
            to: PathBytes,
            include: Globs,
            exclude: Globs,
            only_new: bool,
            owner: bool,
            threads: Option<usize>,
            progress: Option<Py<PyAny>>,
        ) -> PyResult<Bound<'py, PyAny>> {
            let to = ArchivePath::new(&to).map_err(Failure::Library)?;
            let selection = selection(include, exclude).map_err(Failure::Library)?;
            let mut options = AddOptions::new().with_selection(selection);
            if only_new {
                options = options.only_new();
            }
            if !owner {
                options = options.without_owner();
            }
            if let Some(threads) = threads {
                options = options.with_threads(threads);
            }
            moved(py, &core.0, progress, |archive, tell| archive.add(&from, &to, &options, tell))
        }

        #[allow(clippy::too_many_arguments, reason = "called by one function of the package")]
        #[staticmethod]
        fn extract<'py>(
            py: Python<'py>,
            core: &super::ArchiveCore,
            from: PathBytes,
            #[pyo3(from_py_with = crate::options::path)] target: std::path::PathBuf,
            include: Globs,
            exclude: Globs,
            overwrite: bool,
            owner: bool,
            threads: Option<usize>,
            progress: Option<Py<PyAny>>,
        ) -> PyResult<Bound<'py, PyAny>> {
            let from = ArchivePath::new(&from).map_err(Failure::Library)?;
            let selection = selection(include, exclude).map_err(Failure::Library)?;
            let mut options = ExtractOptions::new().with_selection(selection);
            if overwrite {
                options = options.overwrite();
            }
            if owner {
                options = options.with_owner();
            }
            if let Some(threads) = threads {
                options = options.with_threads(threads);
            }
            moved(py, &core.0, progress, |archive, tell| archive.extract(&from, &target, &options, tell))
        }
    }
}

/// Files of the disk, put into an archive and written out again. It has no methods where there are none yet.
#[pyclass(frozen, module = "vldepot._vldepot")]
pub(crate) struct DiskFiles;

#[cfg(not(unix))]
#[pymethods]
impl DiskFiles {}
