//! Small files of each format.
#![expect(clippy::big_endian_bytes, reason = "XDR is")]

use std::io::Write;

pub(crate) fn positions(n_atoms: usize, shift: f32) -> Vec<[f32; 3]> {
    let at = |atom: usize| atom as f32;
    (0..n_atoms).map(|atom| [at(atom) * 0.1 + shift, at(atom % 7) * 0.3, -at(atom % 3) * 0.2]).collect()
}

/// Frames of XTC: packed ones of 30 atoms, and an unpacked one if `few`.
pub(crate) fn xtc(frames: u32, few: bool) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.xtc");
    let mut writer = molly::XTCWriter::create(&path).unwrap();
    for step in 0..frames {
        let n_atoms = if few && step == 1 { 4 } else { 30 };
        let frame = molly::Frame {
            step,
            time: step as f32 * 0.5,
            boxvec: [3.0, 0.0, 0.0, 0.5, 2.5, 0.0, 0.25, 0.75, 2.0],
            precision: 1000.0,
            positions: positions(n_atoms, step as f32).into_flattened(),
        };
        writer.write_frame(&frame).unwrap();
    }
    drop(writer);
    std::fs::read(&path).unwrap()
}

/// A frame of TRR in double precision or not.
pub(crate) fn trr(step: i32, double: bool, parts: [bool; 3]) -> Vec<u8> {
    let n_atoms = 5;
    let size = if double { 8 } else { 4 };
    let of_part = |is_there: bool| if is_there { n_atoms * 3 * size } else { 0 };
    let mut bytes = Vec::new();
    let mut ints = |numbers: &[i32]| numbers.iter().for_each(|number| bytes.extend(number.to_be_bytes()));
    ints(&[1993, 13, 12]);
    bytes.extend(b"GMX_trn_file");
    let mut ints = |numbers: &[i32]| numbers.iter().for_each(|number| bytes.extend(number.to_be_bytes()));
    ints(&[
        0,
        0,
        9 * size,
        0,
        0,
        0,
        0,
        of_part(parts[0]),
        of_part(parts[1]),
        of_part(parts[2]),
        n_atoms,
        step,
        0,
    ]);
    let mut real = |number: f64| {
        if double {
            bytes.extend(number.to_be_bytes());
        } else {
            bytes.extend((number as f32).to_be_bytes());
        }
    };
    real(f64::from(step) * 0.002);
    real(0.25);
    (0..9).for_each(|at| real(if at % 4 == 0 { 3.0 } else { 0.0 }));
    for (part, is_there) in parts.into_iter().enumerate() {
        if is_there {
            (0..n_atoms * 3).for_each(|at| real(f64::from(at) * 0.1 + part as f64));
        }
    }
    bytes
}

/// A DCD file in either byte order.
pub(crate) fn dcd(frames: i32, is_big: bool, cell: Option<[f64; 6]>, fixed: &[i32]) -> Vec<u8> {
    let n_atoms = 6;
    let int = |number: i32| if is_big { number.to_be_bytes() } else { number.to_le_bytes() };
    let single = |number: f32| if is_big { number.to_be_bytes() } else { number.to_le_bytes() };
    let double = |number: f64| if is_big { number.to_be_bytes() } else { number.to_le_bytes() };
    let mut bytes = Vec::new();
    let mut record = |content: Vec<u8>| {
        let length = int(i32::try_from(content.len()).unwrap());
        bytes.extend(length);
        bytes.extend(content);
        bytes.extend(length);
    };
    let mut head = b"CORD".to_vec();
    let mut numbers = [0; 20];
    (numbers[0], numbers[1], numbers[2]) = (frames, 100, 10);
    numbers[8] = i32::try_from(fixed.len()).unwrap();
    numbers[10] = i32::from(cell.is_some());
    numbers[19] = 24;
    for (at, number) in numbers.into_iter().enumerate() {
        head.extend(if at == 9 { single(0.5) } else { int(number) });
    }
    record(head);
    let mut titles = int(1).to_vec();
    titles.extend(format!("{:80}", "made for a test").bytes());
    record(titles);
    record(int(n_atoms).to_vec());
    let moving: Vec<i32> = (1..=n_atoms).filter(|atom| !fixed.contains(atom)).collect();
    if !fixed.is_empty() {
        record(moving.iter().flat_map(|atom| int(*atom)).collect());
    }
    for frame in 0..frames {
        if let Some(cell) = cell {
            record(cell.iter().flat_map(|number| double(*number)).collect());
        }
        let n = if frame == 0 { n_atoms } else { i32::try_from(moving.len()).unwrap() };
        for axis in 0..3 {
            let number = |at: i32| at as f32 + axis as f32 * 0.25 + frame as f32 * 100.0;
            record((0..n).flat_map(|at| single(number(at))).collect());
        }
    }
    bytes
}

pub(crate) const EXTXYZ: &str = concat!(
    "3\n",
    "Lattice=\"5.0 0 0 0 5.5 0 0.5 0 6\" Properties=species:S:1:pos:R:3:forces:R:3:tag:I:1:fixed:L:1 ",
    "energy=-1.25 step=7 config_type=\"liquid water\" stress=\"1 2 3 2 4 5 3 5 6\" dipole=\"0.5 0 1\" pbc=\"T T F\"\n",
    "O 0.0 0.1 0.2 1.0e-3 0 0 1 T\n",
    "H 1.0 0.0 0.0 0 -2.5 0 2 F\n",
    "H 0.0 1.0 0.0 0 0 3 -3 F\n",
    "1\nPlain text\nAr 1 2 3\n"
);

pub(crate) const PDB: &str = concat!(
    "TITLE     water t=   2.50000 step= 1250\n",
    "CRYST1   30.000   40.000   50.000  90.00  90.00  90.00 P 1           1\n",
    "MODEL        1\n",
    "ATOM      1  N   ALA A   1      11.104   6.134  -6.504  1.00  0.25           N  \n",
    "ATOM      2  CA  ALA A   1      11.639   6.071  -5.147  1.00  0.50           C  \n",
    "HETATM    3  O   HOH B   2      -0.001   0.002  99.999  0.50 10.00           O1-\n",
    "ENDMDL\n",
    "TITLE     water t=   3.00000 step= 1500\n",
    "MODEL        2\n",
    "ATOM      1  N   ALA A   1      12.104   6.134  -6.504  1.00  0.25           N  \n",
    "ATOM      2  CA  ALA A   1      12.639   6.071  -5.147  1.00  0.50           C  \n",
    "HETATM    3  O   HOH B   2       0.001   0.002  99.999  0.50 10.00           O1-\n",
    "ENDMDL\n",
    "CONECT    1    2\n",
    "CONECT    2    1\n",
    "END\n"
);

/// A chunk of a GSD file: frame, name, rows, width, type, bytes.
type Chunk = (u64, &'static str, u64, u32, u8, Vec<u8>);

pub(crate) fn gsd(chunks: &[Chunk]) -> Vec<u8> {
    let mut names: Vec<&str> = Vec::new();
    let mut body: Vec<u8> = Vec::new();
    let mut index = Vec::new();
    for (frame, name, rows, width, kind, bytes) in chunks {
        let id = names.iter().position(|known| known == name).unwrap_or_else(|| {
            names.push(name);
            names.len() - 1
        });
        index.extend(frame.to_le_bytes());
        index.extend(rows.to_le_bytes());
        index.extend((256 + body.len() as u64).to_le_bytes());
        index.extend(width.to_le_bytes());
        index.extend(u16::try_from(id).unwrap().to_le_bytes());
        index.extend([*kind, 0]);
        body.extend(bytes);
    }
    // Not all that is allocated is used.
    index.extend([0; 32]);
    let mut list: Vec<u8> = names.iter().flat_map(|name| name.bytes().chain([0])).collect();
    list.resize(list.len().next_multiple_of(64) + 64, 0);
    let mut bytes = 0x65DF_65DF_65DF_65DF_u64.to_le_bytes().to_vec();
    let index_at = 256 + body.len() as u64;
    for number in [index_at, index.len() as u64 / 32, index_at + index.len() as u64, list.len() as u64 / 64] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend(0x0001_0004_u32.to_le_bytes());
    bytes.extend(0x0002_0000_u32.to_le_bytes());
    bytes.extend(b"a test");
    bytes.resize(112, 0);
    bytes.extend(b"hoomd");
    bytes.resize(256, 0);
    bytes.extend(body);
    bytes.extend(index);
    bytes.extend(list);
    bytes
}

fn singles(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

fn ints(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// Two frames. The second one has new positions and a logged number.
pub(crate) fn snapshots() -> Vec<u8> {
    let positions = |shift: f32| singles(&[0.0, 0.5, shift, 1.0, 1.5, 2.0]);
    gsd(&[
        (0, "configuration/step", 1, 1, 4, 10_u64.to_le_bytes().to_vec()),
        (0, "configuration/box", 6, 1, 9, singles(&[4.0, 5.0, 6.0, 0.5, 0.25, 0.125])),
        (0, "particles/N", 1, 1, 3, ints(&[2])),
        (0, "particles/types", 2, 2, 5, b"A\0Bb".to_vec()),
        (0, "particles/typeid", 2, 1, 3, ints(&[1, 0])),
        (0, "particles/mass", 2, 1, 9, singles(&[2.0, 3.0])),
        (0, "particles/position", 2, 3, 9, positions(0.0)),
        (0, "particles/orientation", 2, 4, 9, singles(&[1.0; 8])),
        (0, "bonds/N", 1, 1, 3, ints(&[1])),
        (0, "bonds/group", 1, 2, 3, ints(&[0, 1])),
        (1, "configuration/step", 1, 1, 4, (1_u64 << 40).to_le_bytes().to_vec()),
        (1, "particles/position", 2, 3, 9, positions(7.0)),
        (1, "log/energy", 1, 1, 10, (-1.5_f64).to_le_bytes().to_vec()),
    ])
}

/// An array of NumPy.
pub(crate) fn npy(descr: &str, fortran: bool, shape: &str, elements: &[u8]) -> Vec<u8> {
    let order = if fortran { "True" } else { "False" };
    let head = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(u16::try_from(head.len()).unwrap().to_le_bytes());
    bytes.extend(head.bytes());
    bytes.extend(elements);
    bytes
}

/// A zip archive of these files, deflated or stored.
pub(crate) fn zip(files: &[(&str, Vec<u8>)], deflate: bool) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in files {
        let mut crc = flate2::Crc::new();
        crc.update(content);
        let packed = if deflate {
            let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(content).unwrap();
            encoder.finish().unwrap()
        } else {
            content.clone()
        };
        let at = u32::try_from(bytes.len()).unwrap();
        let mut head = vec![20, 0, 0, 0, if deflate { 8 } else { 0 }, 0, 0, 0, 0, 0];
        head.extend(crc.sum().to_le_bytes());
        head.extend(u32::try_from(packed.len()).unwrap().to_le_bytes());
        head.extend(u32::try_from(content.len()).unwrap().to_le_bytes());
        head.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
        head.extend([0, 0]);
        bytes.extend(b"PK\x03\x04");
        bytes.extend(&head);
        bytes.extend(name.bytes());
        bytes.extend(packed);
        directory.extend(b"PK\x01\x02\x14\x00");
        directory.extend(&head);
        directory.extend([0; 10]);
        directory.extend(at.to_le_bytes());
        directory.extend(name.bytes());
    }
    let at = u32::try_from(bytes.len()).unwrap();
    bytes.extend(&directory);
    bytes.extend(b"PK\x05\x06\0\0\0\0");
    let n = u16::try_from(files.len()).unwrap();
    bytes.extend([n.to_le_bytes(), n.to_le_bytes()].concat());
    bytes.extend(u32::try_from(directory.len()).unwrap().to_le_bytes());
    bytes.extend(at.to_le_bytes());
    bytes.extend([0, 0]);
    bytes
}
