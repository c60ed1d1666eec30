//! Writes one depot of each kind into a folder, for other programs to read.
//!
//! `cargo run --release --example make_depots -- FOLDER`

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "test data are made of counters"
)]

use std::path::PathBuf;

use vldepot::codecs::{AnyArray, AnyNdArray, AtomicFrame, AtomicFrameCodec};
use vldepot::shards::{self, MergeOptions};
use vldepot::{Codec, CodecError, Depot, Elements, Error, FieldSpans, Layout, Placement, Raw};

/// 700 floats that compress somewhat.
fn payload(seed: u16) -> Vec<u8> {
    (0..700u16).flat_map(|i| (f32::from(i) * f32::from(seed)).sin().to_le_bytes()).collect()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: make_depots FOLDER");
        std::process::exit(2);
    };
    std::fs::create_dir_all(&folder)?;
    for preset in Layout::PRESETS {
        for placement in [Placement::NoCross, Placement::Contiguous, Placement::StartAligned] {
            for vlstore_compatible in [false, true] {
                let options = preset
                    .parse::<Layout>()?
                    .with_placement(placement)
                    .with_vlstore_compatible(vlstore_compatible)
                    .with_chunk_size(1 << 16)
                    .with_block_size(None);
                let name = format!("{preset}-{placement:?}-{vlstore_compatible}.vld").to_lowercase();
                write(&folder.join(name), options)?;
            }
        }
    }
    for preset in Layout::PRESETS {
        write_commits(&folder.join(format!("commits-{preset}.vld")), preset.parse()?)?;
    }
    write_columns(&folder.join("columns.vld"))?.close()?;
    let killed = folder.join("killed");
    std::fs::create_dir_all(&killed)?;
    // As a killed program leaves it.
    std::mem::forget(write_columns(&killed.join("columns.vld"))?);
    write_apart(&folder)?;
    let cut_short = killed.join("cut_short.vld");
    write_cut_short(&cut_short)?;
    // And as the next one goes on from there.
    let gone_on = folder.join("cut_short.vld");
    std::fs::copy(&cut_short, &gone_on)?;
    let depot = Depot::append(&gone_on, Raw)?;
    for n in 0..20u16 {
        depot.put(n, &payload(n)[..2500])?;
    }
    depot.close()?;
    _ = write_shards(&folder.join("shards"))?;
    // What the manifest notes is not true any more.
    let changed = folder.join("shards_changed");
    let paths = write_shards(&changed)?;
    let depot = Depot::append(&paths[1], Raw)?;
    depot.put(3, &payload(3))?;
    depot.close()?;
    Ok(())
}

/// A record of this example's own codec: two fields, and text that is longer in some records than in others.
struct Own;

impl Codec for Own {
    type Item = [u8];
    type View<'a> = &'a [u8];
    const ID: &'static str = "own";
    const ALIGN: usize = 4;

    fn encode(&self, item: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
        out.extend_from_slice(item);
        Ok(())
    }

    fn view<'a>(&self, bytes: &'a [u8]) -> Result<&'a [u8], CodecError> {
        Ok(bytes)
    }

    fn has_fields(&self) -> bool {
        true
    }

    fn fields(&self, view: &&[u8], fields: &mut FieldSpans<'_>) {
        // The first byte says how long the text is that lies between the fields.
        let Some((&n_text, rest)) = view.split_first() else { return };
        let half = rest.len().saturating_sub(n_text.into()) / 2 / 8 * 8;
        fields.add(7, Elements::Float8, &rest[..half]);
        fields.add(200, Elements::Bytes2, &rest[half + usize::from(n_text)..][..half / 2 * 2]);
    }
}

/// Frames that are alike, of about so many atoms.
fn alike(n: u16, n_atoms: usize) -> AtomicFrame<'static> {
    let positions: Vec<[f32; 3]> = (0..n_atoms)
        .map(|atom| [0.7_f32, 1.1, 1.3].map(|a| (a * atom as f32 + f32::from(n)).sin() * 9.0))
        .collect();
    let forces: Vec<[f32; 3]> = positions.iter().map(|row| row.map(|x| (x * 77.0).cos())).collect();
    let types: Vec<i32> = (0..n_atoms).map(|atom| [8, 1, 1, 6][(atom + usize::from(n)) % 4]).collect();
    let frame = AtomicFrame::new().positions(positions).step(n.into());
    if n % 9 == 4 { frame } else { frame.forces(forces).types(types).energy(-f64::from(n) / 3.0) }
}

/// Writes depots that have the fields of records apart.
fn write_apart(folder: &std::path::Path) -> Result<(), Box<dyn std::error::Error>> {
    for placement in [Placement::NoCross, Placement::Contiguous, Placement::StartAligned] {
        let layout = Layout::fast().with_chunk_size(1 << 18).with_placement(placement);
        let name = format!("apart-frames-{placement:?}.vld").to_lowercase();
        let depot = Depot::builder(AtomicFrameCodec::new()).layout(layout).create(folder.join(name))?;
        for n in 0..120 {
            // Some are longer than a part of a record, and one is longer than a chunk.
            let n_atoms = [5, 12, 40, 90, 6000, 300, 7][usize::from(n) % 7];
            depot.put(n, &alike(n, if n == 60 { 12_000 } else { n_atoms }))?;
            if n == 50 {
                depot.commit()?;
            }
        }
        depot.put("without arrays", &AtomicFrame::new().n_atoms(3))?;
        depot.remove(7)?;
        depot.close()?;
    }
    let layout = Layout::balanced().with_chunk_size(1 << 16).with_block_size(8192);
    let depot =
        Depot::builder(AtomicFrameCodec::any()).layout(layout).create(folder.join("apart-small.vld"))?;
    for n in 0..300 {
        depot.put(n, &alike(n, 8 + usize::from(n) % 50))?;
    }
    depot.close()?;
    let depot = Depot::create(folder.join("apart-arrays.vld"), AnyNdArray)?;
    for n in 1..80_i32 {
        let doubles = ndarray::Array2::from_shape_fn((n as usize, 9), |(i, j)| ((i * 9 + j) as f64).sin());
        depot.put(format!("f64 {n}"), &AnyArray::from(doubles.mapv(|x| x * f64::from(n))))?;
        depot.put(format!("i16 {n}"), &AnyArray::from(doubles.mapv(|x| (x * 100.0) as i16)))?;
    }
    depot.close()?;
    let layout = Layout::balanced().with_chunk_size(1 << 15).with_placement(Placement::Contiguous);
    let depot = Depot::builder(Own).layout(layout).create(folder.join("killed/apart-own.vld"))?;
    for n in 0..200_u16 {
        let n_text = n % 5 * 3;
        let mut record = vec![n_text as u8];
        record.extend(payload(n % 31).chunks(2).take(usize::from(n) * 7).flatten());
        record.extend(vec![b'x'; n_text.into()]);
        depot.put(n, &record)?;
    }
    // As a killed program leaves it.
    depot.flush()?;
    std::mem::forget(depot);
    Ok(())
}

/// Writes three shards, of which the newer ones supersede records of the older ones. Returns their paths.
fn write_shards(folder: &std::path::Path) -> Result<Vec<PathBuf>, Box<dyn std::error::Error>> {
    std::fs::create_dir_all(folder)?;
    let paths: Vec<_> = (0..3).map(|n| folder.join(format!("größe {n}.vld"))).collect();
    for (number, path) in (0..3u16).zip(&paths) {
        let depot = Depot::create(path, Raw)?;
        for n in 0..100 {
            depot.put(80 * number + n, &payload(n))?;
        }
        depot.remove(80 * number + 50)?;
        depot.close()?;
    }
    shards::merge(folder, &paths, &MergeOptions::default())?;
    Ok(paths)
}

/// Writes records of several chunks, the last of them not to its end.
fn write_cut_short(path: &std::path::Path) -> Result<(), Box<dyn std::error::Error>> {
    let layout = Layout::uncompressed().with_chunk_size(4096).with_block_size(1024);
    let depot = Depot::builder(Raw).layout(layout).create(path)?;
    depot.put("replaced", &payload(1)[..100])?;
    depot.put("whole", &payload(2).repeat(4))?;
    depot.commit()?;
    depot.put("replaced", &payload(3).repeat(5))?;
    depot.flush()?;
    std::mem::forget(depot);
    let len = std::fs::metadata(path)?.len();
    std::fs::OpenOptions::new().write(true).open(path)?.set_len(len - 3000)?;
    Ok(())
}

/// Writes records of some bytes, with a commit after each.
fn write_commits(path: &std::path::Path, options: Layout) -> Result<(), Error> {
    let depot = Depot::builder(Raw).layout(options).create(path)?;
    for n in 0..20u16 {
        depot.put(n, &payload(n)[..usize::from(n) * 130])?;
        depot.commit()?;
    }
    depot.close()
}

/// Writes frames with columns of every form, in several commits, and more that are not committed.
fn write_columns(path: &std::path::Path) -> Result<Depot<AtomicFrameCodec>, Error> {
    let columns = ["step", "time", "energy", "n_atoms"];
    let options = Layout::fast().with_chunk_size(1 << 14).with_columns(columns);
    let depot = Depot::builder(AtomicFrameCodec::new()).layout(options).create(path)?;
    for n in 0..300_i32 {
        let step = if n < 100 { 500 * n } else { n * n };
        let frame = AtomicFrame::new().n_atoms(3 + n.unsigned_abs() as usize % 2).step(step.into());
        let frame = match n % 7 {
            0 => frame,
            1 => frame.energy(f64::NAN).time(f64::INFINITY),
            _ => frame.energy(-f64::from(n) / 3.0).time(f64::from(n) * 0.5),
        };
        depot.put(n, &frame)?;
        if n % 100 == 99 {
            depot.commit()?;
        }
    }
    depot.remove(5)?;
    depot.set_metadata(6, "moved")?;
    depot.flush()?;
    Ok(depot)
}

/// Writes records with names of all kinds and with all lengths, with commits and publications in
/// between. One record is removed, and one is replaced.
fn write(path: &std::path::Path, options: Layout) -> Result<(), Error> {
    let depot = Depot::builder(Raw).layout(options).create(path)?;
    for n in 0..200u16 {
        match n % 3 {
            0 => depot.put(format!("record/{n}"), &payload(n))?,
            1 => depot.put(n, &payload(n))?,
            _ => depot.put(n.to_le_bytes(), &payload(n))?,
        }
        match n {
            50 => depot.commit()?,
            100 => depot.publish()?,
            _ => {}
        }
    }
    depot.put("zeros", &vec![0; 1 << 18])?;
    depot.put("long", &payload(7).repeat(100))?;
    depot.remove("record/0")?;
    depot.put(1, b"replaced")?;
    depot.close()
}
