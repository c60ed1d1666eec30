//! HDF5: a chunked dataset for each field, with byte shuffle and deflate 1. Chunks are as large as the
//! blocks of depots.
//!
//! Per-atom fields of all records follow each other, and `atoms` says where those of each record start.
//! HDF5 has no names. They lie in a dataset of their own, and opening the file makes a hash map of them.
//! Records are taken apart: each field is visited by itself.

use std::path::Path;

use bytemuck::Pod;
use hashbrown::HashMap;
use hdf5_metno::{Dataset, File, H5Type};
use ndarray::s;
use vldepot::Codec;
use vldepot::codecs::{AtomicFrameCodec, AtomicFrameView};

use super::{Engine, Operation, Store, Visit};
use crate::Result;
use crate::data::{Load, Name, Workload, touch};

const LEVEL: u8 = 1;
/// Bytes of a field that are gathered before they are written.
const GATHERED: usize = 1 << 20;
/// The size of a field's cache of decoded chunks, which is that of HDF5 1.
///
/// The default of HDF5 2 holds all frames of a quick run, and then nothing would be decoded.
const CACHE_BYTES: usize = 1 << 20;
const CACHE_SLOTS: usize = 521;
/// How many records of a scan are read at once.
const SCANNED: usize = 512;

/// HDF5.
pub(crate) struct Hdf5<'l> {
    load: &'l Load,
}

impl<'l> Hdf5<'l> {
    pub(crate) fn new(load: &'l Load) -> Self {
        Self { load }
    }

    fn chunk_bytes(&self) -> usize {
        if self.load.workload == Workload::Frames { 64 << 10 } else { 16 << 10 }
    }
}

/// The bytes of an array's numbers.
fn bytes<T: Pod>(numbers: Option<&[T]>) -> Result<&[u8]> {
    Ok(bytemuck::cast_slice(numbers.ok_or("a field is missing")?))
}

/// Calls `each` with a record's fields in the order of the columns. All but single numbers are borrowed
/// from its bytes.
fn with_fields(load: &Load, number: usize, mut each: impl FnMut(usize, &[u8]) -> Result<()>) -> Result<()> {
    let record = load.record(number);
    if !load.workload.is_atomic() {
        return each(0, record);
    }
    let frame: AtomicFrameView<'_> = AtomicFrameCodec::default().view(record)?;
    let (positions, forces, cell) = (frame.positions(), frame.forces(), frame.cell());
    let energy = [frame.energy().ok_or("no energy")?];
    each(0, bytes(positions.as_slice())?)?;
    each(1, bytes(forces.as_ref().and_then(|array| array.as_slice()))?)?;
    each(2, bytes(cell.as_ref().and_then(|array| array.as_slice()))?)?;
    each(3, bytes(Some(&energy))?)?;
    if load.workload == Workload::Molecules {
        let numbers = frame.array("numbers").ok_or("no numbers")?;
        let stress = frame.stress();
        each(4, numbers.as_bytes())?;
        return each(5, bytes(stress.as_ref().and_then(|array| array.as_slice()))?);
    }
    let pbc = frame.pbc().ok_or("no pbc")?.map(u8::from);
    each(4, bytes(frame.velocities().as_ref().and_then(|array| array.as_slice()))?)?;
    each(5, bytes(Some(&[frame.time().ok_or("no time")?]))?)?;
    each(6, bytes(Some(&[frame.step().ok_or("no step")?]))?)?;
    each(7, &pbc)
}

/// A field of all records, of any type.
trait Column {
    /// Appends the numbers of a record.
    fn append(&mut self, bytes: &[u8]) -> Result<()>;

    /// Writes the numbers that were gathered.
    fn flush(&mut self) -> Result<()>;

    /// Reads the numbers of records `first..last`, whose atoms are `atoms[0]..atoms[1]`, for
    /// [`part`](Self::part).
    fn read(&mut self, records: [usize; 2], atoms: [usize; 2]) -> Result<()>;

    /// The bytes of the records, or atoms, from `first` to `last`. Both are counted from the first that
    /// was read.
    fn part(&self, records: [usize; 2], atoms: [usize; 2]) -> &[u8];
}

struct Typed<T> {
    dataset: Dataset,
    /// Whether there are `width` numbers for each atom, rather than for each record.
    per_atom: bool,
    width: usize,
    gathered: Vec<T>,
    read: Vec<T>,
}

impl<T: H5Type + Pod> Typed<T> {
    fn range(&self, records: [usize; 2], atoms: [usize; 2]) -> [usize; 2] {
        (if self.per_atom { atoms } else { records }).map(|at| at * self.width)
    }
}

impl<T: H5Type + Pod> Column for Typed<T> {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.gathered.extend_from_slice(bytemuck::cast_slice(bytes));
        if size_of_val(self.gathered.as_slice()) >= GATHERED { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        let start = self.dataset.size();
        let end = start + self.gathered.len();
        self.dataset.resize([end])?;
        self.dataset.write_slice(self.gathered.as_slice(), s![start..end])?;
        self.gathered.clear();
        Ok(())
    }

    fn read(&mut self, records: [usize; 2], atoms: [usize; 2]) -> Result<()> {
        let [start, end] = self.range(records, atoms);
        let array = self.dataset.read_slice_1d::<T, _>(s![start..end])?;
        self.read = array.into_raw_vec_and_offset().0;
        Ok(())
    }

    fn part(&self, records: [usize; 2], atoms: [usize; 2]) -> &[u8] {
        let [start, end] = self.range(records, atoms);
        bytemuck::cast_slice(&self.read[start..end])
    }
}

/// Where datasets are made, or found if `chunk_bytes` is none.
struct Columns<'f> {
    file: &'f File,
    chunk_bytes: Option<usize>,
}

impl Columns<'_> {
    fn dataset<T: H5Type>(&self, name: &str) -> Result<Dataset> {
        let Some(chunk_bytes) = self.chunk_bytes else { return Ok(self.file.dataset(name)?) };
        let builder =
            self.file.new_dataset::<T>().chunk(chunk_bytes / size_of::<T>()).shuffle().deflate(LEVEL);
        Ok(builder.shape(0..).create(name)?)
    }

    fn column<T: H5Type + Pod>(&self, name: &str, per_atom: bool, width: usize) -> Result<Box<dyn Column>> {
        let dataset = self.dataset::<T>(name)?;
        Ok(Box::new(Typed::<T> { dataset, per_atom, width, gathered: Vec::new(), read: Vec::new() }))
    }

    /// The columns of a workload, in the order of [`with_fields`].
    fn all(&self, workload: Workload) -> Result<Vec<Box<dyn Column>>> {
        if workload == Workload::Small {
            return Ok(vec![self.column::<f32>("values", false, 16)?]);
        }
        let mut columns = vec![
            self.column::<f32>("positions", true, 3)?,
            self.column::<f32>("forces", true, 3)?,
            self.column::<f64>("cell", false, 9)?,
            self.column::<f64>("energy", false, 1)?,
        ];
        if workload == Workload::Molecules {
            columns.push(self.column::<u8>("numbers", true, 1)?);
            columns.push(self.column::<f64>("stress", false, 9)?);
        } else {
            columns.push(self.column::<f32>("velocities", true, 3)?);
            columns.push(self.column::<f64>("time", false, 1)?);
            columns.push(self.column::<i64>("step", false, 1)?);
            columns.push(self.column::<u8>("pbc", false, 3)?);
        }
        Ok(columns)
    }
}

impl Engine for Hdf5<'_> {
    fn name(&self) -> &'static str {
        "hdf5"
    }

    fn supports(&self, operation: Operation) -> bool {
        // Reading small records one by one would take minutes.
        use Operation::{Commit, EpochCold, EpochFull, EpochWindowed, Put};
        let slow = matches!(operation, EpochWindowed | EpochFull | EpochCold);
        !matches!(operation, Put | Commit) && (self.load.workload.is_atomic() || !slow)
    }

    fn write(&mut self, path: &Path) -> Result<()> {
        let file = File::create(path)?;
        let made = Columns { file: &file, chunk_bytes: Some(self.chunk_bytes()) };
        let mut columns = made.all(self.load.workload)?;
        let mut names = made.column::<u8>("names", false, 1)?;
        let mut starts = made.column::<u64>("atoms", false, 1)?;
        let mut n_atoms = 0_u64;
        for (number, name, _) in self.load.iter() {
            names.append(name.as_str().as_bytes())?;
            starts.append(bytemuck::bytes_of(&n_atoms))?;
            with_fields(self.load, number, |column, bytes| {
                if column == 0 && self.load.workload.is_atomic() {
                    n_atoms += bytes.len() as u64 / 12;
                }
                columns[column].append(bytes)
            })?;
        }
        starts.append(bytemuck::bytes_of(&n_atoms))?;
        columns.extend([names, starts]);
        columns.iter_mut().try_for_each(|column| column.flush())?;
        file.flush()?;
        drop(columns);
        file.close()?;
        Ok(std::fs::File::open(path)?.sync_all()?)
    }

    fn open(&self, path: &Path) -> Result<Box<dyn Store>> {
        let file = File::with_options()
            .with_fapl(|access| access.chunk_cache(CACHE_SLOTS, CACHE_BYTES, 0.75))
            .open(path)?;
        let atoms = file.dataset("atoms")?.read_1d::<u64>()?.iter().map(|&at| at as usize).collect();
        let names = file.dataset("names")?.read_1d::<u8>()?;
        let names = names.as_slice().ok_or("names in no order")?;
        let width = Name::new(0).as_str().len();
        let name = |bytes: &[u8]| -> Result<Box<str>> { Ok(std::str::from_utf8(bytes)?.into()) };
        let numbers = names
            .chunks_exact(width)
            .enumerate()
            .map(|(number, bytes)| Ok((name(bytes)?, number)))
            .collect::<Result<_>>()?;
        let columns = Columns { file: &file, chunk_bytes: None }.all(self.load.workload)?;
        Ok(Box::new(Opened { columns, numbers, atoms, _file: file }))
    }
}

/// An open file.
struct Opened {
    columns: Vec<Box<dyn Column>>,
    numbers: HashMap<Box<str>, usize>,
    /// Where the atoms of each record start, and where the last ones end.
    atoms: Vec<usize>,
    _file: File,
}

impl Opened {
    /// Reads several records at once, and visits each with its number and column.
    fn read(
        &mut self,
        first: usize,
        last: usize,
        mut visit: impl FnMut(usize, usize, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let base = self.atoms[first];
        for column in &mut self.columns {
            column.read([first, last], [base, self.atoms[last]])?;
        }
        for number in first..last {
            let atoms = [self.atoms[number] - base, self.atoms[number + 1] - base];
            for (at, column) in self.columns.iter().enumerate() {
                visit(number, at, column.part([number - first, number + 1 - first], atoms))?;
            }
        }
        Ok(())
    }
}

impl Store for Opened {
    fn lookup(&mut self, _number: usize, name: &str) -> Result<bool> {
        Ok(self.numbers.contains_key(name))
    }

    fn get(&mut self, _number: usize, name: &str, visit: Visit) -> Result<()> {
        let number = *self.numbers.get(name).ok_or("no such record")?;
        self.read(number, number + 1, |_, _, bytes| {
            visit(bytes);
            Ok(())
        })
    }

    fn scan(&mut self, visit: Visit) -> Result<()> {
        let n = self.numbers.len();
        for first in (0..n).step_by(SCANNED) {
            self.read(first, n.min(first + SCANNED), |_, _, bytes| {
                visit(bytes);
                Ok(())
            })?;
        }
        Ok(())
    }

    fn touched(&self, load: &Load, number: usize) -> u64 {
        let mut sum = 0_u64;
        let all = with_fields(load, number, |_, bytes| {
            sum = sum.wrapping_add(touch(bytes));
            Ok(())
        });
        all.expect("the records are frames");
        sum
    }

    fn verify(&mut self, load: &Load) -> Result<()> {
        if self.numbers.len() != load.len() {
            return Err(format!("{} of {} records", self.numbers.len(), load.len()).into());
        }
        for first in (0..load.len()).step_by(SCANNED) {
            let mut read: Vec<Vec<Vec<u8>>> = Vec::new();
            self.read(first, load.len().min(first + SCANNED), |_, column, bytes| {
                if column == 0 {
                    read.push(Vec::new());
                }
                read.last_mut().ok_or("no record")?.push(bytes.to_vec());
                Ok(())
            })?;
            for (record, number) in read.iter().zip(first..) {
                with_fields(load, number, |column, bytes| {
                    let same = record.get(column).is_some_and(|read| read == bytes);
                    if same { Ok(()) } else { Err(format!("record {number} is not what was written").into()) }
                })?;
            }
        }
        Ok(())
    }
}
