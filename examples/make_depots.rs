//! Writes one depot of each kind into a folder, for other programs to read.
//!
//! `cargo run --release --example make_depots -- FOLDER`

use std::path::PathBuf;

use vldepot::codecs::{AtomicFrame, AtomicFrameCodec};
use vldepot::shards::{self, MergeOptions};
use vldepot::{Depot, Error, Layout, Placement, Raw};

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
