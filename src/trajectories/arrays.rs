//! Arrays of NumPy, made a depot of arrays.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use half::f16;
use ndarray::{ArrayD, IxDyn, ShapeBuilder};

use super::error::{Fault, ImportError, Result};
use super::format::Format;
use super::npy::{self, Head, Member};
use super::options::{ImportOptions, Imported};
use super::reader::Found;
use super::source::Source;
use crate::codecs::{AnyArray, AnyNdArray, DType};
use crate::maintain::Progress;
use crate::storage::Storage;
use crate::{Depot, Key};

/// Deflate makes at most so many bytes of one.
const MAX_RATIO: u64 = 1032;

/// Bytes of a member's head, before its name.
const LOCAL: usize = 30;

pub(super) fn import(
    files: &[&Path],
    storage: Arc<dyn Storage>,
    options: &ImportOptions,
    done: Imported,
    progress: &mut dyn FnMut(Progress),
) -> Result<Imported> {
    let builder = Depot::builder(AnyNdArray).layout(options.layout.clone());
    let depot = builder.write_options(options.write_options()).create_in(storage)?;
    let total = done.bytes;
    let mut taker = Taker { depot, done, number: options.start, before: 0, progress, total };
    for path in files {
        let Found { format, file, len } = Found::open(path)?;
        match format {
            Format::Npz => taker.npz(path, file, len)?,
            _ => taker.npy(path, file, len)?,
        }
        taker.before += len;
    }
    let Taker { depot, mut done, .. } = taker;
    done.records = depot.len();
    let names: Vec<_> = files.iter().map(|path| path.to_string_lossy()).collect();
    let imported = serde_json::json!({ "files": names, "formats": done.formats });
    depot.set_depot_metadata("imported", &imported)?;
    depot.close()?;
    Ok(done)
}

struct Taker<'p> {
    depot: Depot<AnyNdArray>,
    done: Imported,
    number: u64,
    /// Bytes of the files before this one.
    before: u64,
    total: u64,
    progress: &'p mut dyn FnMut(Progress),
}

impl Taker<'_> {
    fn put(&mut self, key: impl Into<Key>, array: &AnyArray<'static>, at: u64) -> Result<()> {
        self.depot.put_new(key.into(), array)?;
        (self.progress)(Progress { done: self.before + at, total: self.total });
        Ok(())
    }

    fn npy(&mut self, path: &Path, file: File, len: u64) -> Result<()> {
        let mut source = Source::new(file, len);
        let number = self.number;
        let fault = |fault: Fault| fault.of(path, Format::Npy, None);
        let head = Head::read(&mut source).map_err(fault)?;
        let at = source.at();
        let expected = head.bytes().unwrap_or(u64::MAX);
        if expected != source.left() {
            let why = format!(
                "an array of shape {:?} has {expected} bytes, and {} follow",
                head.shape,
                source.left()
            );
            return Err(fault(Fault::damaged(at, why)));
        }
        let mut bytes = Vec::new();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let (rows, row) = match head.shape.split_first() {
            Some((rows, row)) if !row.is_empty() => (*rows, row.to_vec()),
            _ => {
                source.bytes(expected, "the array", &mut bytes).map_err(fault)?;
                let array = array(&head, &bytes).map_err(|why| fault(Fault::damaged(at, why)))?;
                return self.put(stem, &array, len);
            }
        };
        if head.is_fortran {
            source.bytes(expected, "the array", &mut bytes).map_err(fault)?;
            let whole = array(&head, &bytes).map_err(|why| fault(Fault::damaged(at, why)))?;
            for nth in 0..rows {
                self.put(Key::Int(i128::from(number) + nth as i128), &row_of(&whole, nth), len)?;
            }
        } else {
            let of_row = Head { shape: row, ..head };
            let size = of_row.bytes().unwrap_or(u64::MAX);
            // Rows without elements take no bytes, so nothing bounds how many there are.
            if size == 0 && rows > 0 {
                let why = format!("rows without elements: the shape is {rows} times {:?}", of_row.shape);
                return Err(fault(Fault::unsupported(at, why)));
            }
            for nth in 0..rows {
                let at = source.at();
                source.bytes(size, "a row", &mut bytes).map_err(fault)?;
                let row = array(&of_row, &bytes).map_err(|why| fault(Fault::damaged(at, why)))?;
                self.put(Key::Int(i128::from(number) + nth as i128), &row, at)?;
            }
        }
        self.number += rows as u64;
        Ok(())
    }

    fn npz(&mut self, path: &Path, file: File, len: u64) -> Result<()> {
        let fault = |fault: Fault| fault.of(path, Format::Npz, None);
        let again = file.try_clone().map_err(|source| ImportError::read(path, source))?;
        let members = npy::members(&mut Source::new(file, len)).map_err(fault)?;
        for member in members {
            let Some(name) = member.name.strip_suffix(".npy") else {
                let why = format!("{} is no array: its name does not end with .npy", member.name);
                return Err(fault(Fault::unsupported(member.at, why)));
            };
            let array = of_member(&again, len, &member).map_err(fault)?;
            self.put(name, &array, member.at)?;
        }
        Ok(())
    }
}

/// The array of a member of a zip archive.
fn of_member(mut file: &File, len: u64, member: &Member) -> Result<AnyArray<'static>, Fault> {
    let damaged = |why: String| Fault::damaged(member.at, format!("{}: {why}", member.name));
    let most = if member.is_deflated { member.packed.saturating_mul(MAX_RATIO) } else { member.packed };
    if member.size > most {
        return Err(damaged(format!("{} bytes in {}, which is too few", member.size, member.packed)));
    }
    file.seek(SeekFrom::Start(member.at)).map_err(Fault::Io)?;
    let mut head = [0; LOCAL];
    file.read_exact(&mut head).map_err(|_| damaged("its head is missing".to_owned()))?;
    if !head.starts_with(b"PK\x03\x04") {
        return Err(damaged("its head is no such".to_owned()));
    }
    let length = |at: usize| u64::from(u16::from_le_bytes([head[at], head[at + 1]]));
    let at = member.at + LOCAL as u64 + length(26) + length(28);
    if at.checked_add(member.packed).is_none_or(|end| end > len) {
        return Err(damaged("it ends after the end of the file".to_owned()));
    }
    file.seek(SeekFrom::Start(at)).map_err(Fault::Io)?;
    let packed = file.take(member.packed);
    let mut bytes = Vec::new();
    let read = if member.is_deflated {
        flate2::read::DeflateDecoder::new(packed).take(member.size + 1).read_to_end(&mut bytes)
    } else {
        packed.take(member.size + 1).read_to_end(&mut bytes)
    };
    read.map_err(|error| damaged(format!("it does not unpack: {error}")))?;
    if bytes.len() as u64 != member.size {
        return Err(damaged(format!("{} bytes expected, and found {}", member.size, bytes.len())));
    }
    let mut crc = flate2::Crc::new();
    crc.update(&bytes);
    if crc.sum() != member.crc {
        return Err(damaged(format!(
            "its checksum is {:#010x}, and {:#010x} is expected",
            crc.sum(),
            member.crc
        )));
    }
    let size = bytes.len() as u64;
    let mut inner = Source::new(std::io::Cursor::new(bytes), size);
    let place = |fault: Fault| match fault {
        Fault::Damaged { why, .. } => damaged(why),
        Fault::Unsupported { why, .. } => Fault::unsupported(member.at, format!("{}: {why}", member.name)),
        Fault::Io(error) => Fault::Io(error),
    };
    let head = Head::read(&mut inner).map_err(place)?;
    if head.bytes() != Some(inner.left()) {
        return Err(damaged(format!(
            "an array of shape {:?}, and {} bytes follow",
            head.shape,
            inner.left()
        )));
    }
    let mut bytes = Vec::new();
    inner.bytes(inner.left(), "the array", &mut bytes).map_err(place)?;
    array(&head, &bytes).map_err(damaged)
}

/// The array that these bytes are.
fn array(head: &Head, bytes: &[u8]) -> Result<AnyArray<'static>, String> {
    fn shaped<T>(head: &Head, numbers: Vec<T>) -> Result<ArrayD<T>, String> {
        let shape = IxDyn(&head.shape);
        let made = ArrayD::from_shape_vec(shape.set_f(head.is_fortran), numbers);
        made.map_err(|error| format!("an array of shape {:?}: {error}", head.shape))
    }
    macro_rules! numbers {
        ($bits:ty => $of_bits:expr) => {{
            let (numbers, _) = bytes.as_chunks::<{ size_of::<$bits>() }>();
            let number = |bytes: &[u8; size_of::<$bits>()]| {
                let mut bytes = *bytes;
                if head.is_big {
                    bytes.reverse();
                }
                $of_bits(<$bits>::from_le_bytes(bytes))
            };
            shaped(head, numbers.iter().map(number).collect::<Vec<_>>())?.into()
        }};
    }
    Ok(match head.dtype {
        DType::F16 => numbers!(u16 => f16::from_bits),
        DType::F32 => numbers!(u32 => f32::from_bits),
        DType::F64 => numbers!(u64 => f64::from_bits),
        DType::I8 => numbers!(i8 => std::convert::identity),
        DType::I16 => numbers!(i16 => std::convert::identity),
        DType::I32 => numbers!(i32 => std::convert::identity),
        DType::I64 => numbers!(i64 => std::convert::identity),
        DType::U8 => numbers!(u8 => std::convert::identity),
        DType::U16 => numbers!(u16 => std::convert::identity),
        DType::U32 => numbers!(u32 => std::convert::identity),
        DType::U64 => numbers!(u64 => std::convert::identity),
        DType::Bool => numbers!(u8 => |byte| byte != 0),
        dtype => return Err(format!("an array of {dtype}")),
    })
}

/// A row, copied.
fn row_of(whole: &AnyArray<'_>, nth: usize) -> AnyArray<'static> {
    macro_rules! row {
        ($($kind:ident),*) => {
            match whole {
                $(AnyArray::$kind(array) => array.index_axis(ndarray::Axis(0), nth).to_owned().into(),)*
            }
        };
    }
    row!(F32, F64, F16, BF16, I8, I16, I32, I64, U8, U16, U32, U64, Bool)
}
