//! Promises of the atomic codec.

use half::{bf16, f16};
use ndarray::{Array1, Array2, Array3, ArrayD, ArrayView2, array, s};
use proptest::prelude::*;

use super::*;
use crate::codec::{Codec, CodecError, Shape};
use crate::codecs::aligned::Aligned;
use crate::codecs::ndarray::{AnyArray, DType};

#[allow(clippy::cast_precision_loss)]
fn matrix(n: usize, seed: f64) -> Array2<f64> {
    Array2::from_shape_fn((n, 3), |(i, j)| seed + i as f64 + 0.1 * j as f64)
}

fn topology<'a>(n: usize) -> Topology<'a> {
    let types = vec![8_u8; n];
    let bonds: Vec<[usize; 2]> = (1..n).map(|i| [i - 1, i]).collect();
    let bonds: Vec<[u32; 2]> = bonds.iter().map(|b| b.map(|i| u32::try_from(i).unwrap())).collect();
    Topology::new()
        .types(types)
        .masses(vec![16.0_f64; n])
        .charges(vec![-0.5_f32; n])
        .names((0..n).map(|i| format!("O{}", i % 3)))
        .bonds(bonds)
        .residues(vec![0_i64; n])
        .residue_names(["SOL"])
        .molecules(vec![7_u16; n])
}

fn full(n: usize) -> AtomicFrame<'static> {
    AtomicFrame::new()
        .name("x")
        .positions(matrix(n, 0.0))
        .velocities(matrix(n, 10.0))
        .forces(matrix(n, 20.0))
        .charges(Array1::from_elem(n, 0.25_f64))
        .types(vec![6_i32; n])
        .masses(vec![12.0_f32; n])
        .cell([[1.0, 0.0, 0.0], [0.1, 2.0, 0.0], [0.0, 0.2, 3.0]])
        .pbc([true, false, true])
        .step(-3)
        .time(0.1)
        .energy(f64::MIN_POSITIVE)
        .stress([[0.1, 0.2, 0.3]; 3])
        .per_atom("tensor", Array3::from_elem((n, 3, 2), 0.3_f64))
        .per_atom("flag", vec![true; n])
        .per_frame("odd", vec![1_u8, 2, 3])
        .per_frame("scalar", 1.0_f64)
        .per_frame("half", vec![f16::ONE; 3])
        .topology_name("top")
        .topology(topology(n))
}

/// Calls every accessor that reads.
fn read_all(frame: &AtomicFrameView<'_>, record: &Aligned) {
    let any = [frame.positions_any(), frame.velocities_any(), frame.forces_any(), frame.charges_any()];
    for array in any.into_iter().flatten() {
        if !array.as_bytes().is_empty() {
            record.assert_lends(array.as_bytes());
        }
        assert!(array.as_bytes().as_ptr().addr().is_multiple_of(array.dtype().size()));
        array.to_any().unwrap();
    }
    let singles = [Some(frame.positions()), frame.velocities(), frame.forces()];
    for array in singles.into_iter().flatten().filter(|array| !array.is_empty()) {
        record.assert_lends(array.as_slice().unwrap());
    }
    for array in [frame.cell(), frame.stress()].into_iter().flatten() {
        record.assert_lends(array.as_slice().unwrap());
    }
    for own in frame.arrays() {
        assert!(own.array.as_bytes().is_empty() || own.array.as_bytes().as_ptr().addr().is_multiple_of(8));
        own.array.to_any().unwrap();
    }
    if let Some(topology) = frame.topology() {
        topology.to_topology();
    }
    let _ = (frame.pbc(), frame.step(), frame.time(), frame.energy(), frame.name(), format!("{frame:?}"));
    let _ = frame.to_frame();
}

#[test]
fn every_field_reads_back_in_every_precision() {
    let precisions = [
        (Precision::F32, DType::F32),
        (Precision::F64, DType::F64),
        (Precision::F16, DType::F16),
        (Precision::BF16, DType::BF16),
        (Precision::AsGiven, DType::F64),
    ];
    for (precision, dtype) in precisions {
        for n in [0, 1, 2, 5] {
            let codec = AtomicFrameCodec::new().with_precision(precision);
            let record = Aligned::of(&codec, &full(n));
            let frame = codec.view(record.bytes()).unwrap();
            read_all(&frame, &record);
            assert_eq!(frame.n_atoms(), n);
            assert_eq!(frame.positions_any().unwrap().dtype(), dtype);
            assert_eq!(frame.charges_any().unwrap().shape(), [n]);
            assert_eq!(frame.types().unwrap(), Array1::from_elem(n, 6));
            assert_eq!(frame.masses().unwrap(), Array1::from_elem(n, 12.0));
            assert_eq!(frame.cell().unwrap()[[1, 0]].to_bits(), 0.1_f64.to_bits());
            assert_eq!(frame.pbc(), Some([true, false, true]));
            assert_eq!((frame.step(), frame.time()), (Some(-3), Some(0.1)));
            assert_eq!((frame.energy(), frame.name()), (Some(f64::MIN_POSITIVE), Some("x")));
            assert_eq!(
                frame.array("scalar").unwrap().view::<f64>().unwrap()[[]].to_bits(),
                1.0_f64.to_bits()
            );
            for own in frame.arrays() {
                assert!(own.array.as_bytes().as_ptr().addr().is_multiple_of(16), "{}", own.name);
            }
            let top = frame.topology().unwrap();
            assert_eq!((top.n_atoms(), top.bonds().unwrap().nrows()), (n, n.saturating_sub(1)));
            assert_eq!(top.names().unwrap().len(), n);
            assert_eq!(top.residue_names().unwrap().collect::<Vec<_>>(), ["SOL"]);
            // Made into a frame and encoded again, the bytes are the same.
            let again = Aligned::of(&codec, &frame.to_frame().unwrap());
            assert_eq!(again.bytes(), record.bytes());
            // SAFETY: `view` accepted these bytes above.
            let unchecked = unsafe { codec.view_unchecked(record.bytes()) };
            assert_eq!(unchecked.to_frame().unwrap(), frame.to_frame().unwrap());
        }
    }
}

#[test]
fn f64_is_exact_and_the_others_are_rounded_once() {
    let x = matrix(4, 0.123_456_789);
    let codec = AtomicFrameCodec::new().with_precision(Precision::F64);
    let record = Aligned::of(&codec, &AtomicFrame::new().positions(&x));
    assert_eq!(codec.view(record.bytes()).unwrap().positions_as::<f64>().unwrap(), x);
    let codec = AtomicFrameCodec::new().with_precision(Precision::BF16);
    let record = Aligned::of(&codec, &AtomicFrame::new().positions(&x));
    let stored = codec.view(record.bytes()).unwrap();
    assert_eq!(stored.positions_as::<bf16>().unwrap(), x.mapv(crate::codecs::ndarray::to_bf16));
    // Just above the middle of two numbers. Rounding to f32 first would give the middle, which then goes
    // down.
    let above = |bits: i32| 1.0 + 2f64.powi(-bits - 1) + 2f64.powi(-40);
    let frame = AtomicFrame::new().charges(vec![above(10), -above(10), above(7)]);
    let codec = AtomicFrameCodec::new().with_precision(Precision::F16);
    let record = Aligned::of(&codec, &frame);
    let charges = codec.view(record.bytes()).unwrap().charges_as::<f16>().unwrap().mapv(f16::to_f64);
    assert_eq!(charges.to_vec()[..2], [1.0 + 2f64.powi(-10), -1.0 - 2f64.powi(-10)]);
    let codec = AtomicFrameCodec::new().with_precision(Precision::BF16);
    let record = Aligned::of(&codec, &frame);
    let charges = codec.view(record.bytes()).unwrap().charges_as::<bf16>().unwrap().mapv(bf16::to_f64);
    assert_eq!(charges.to_vec(), [1.0, -1.0, 1.0 + 2f64.powi(-7)]);
}

#[test]
fn any_combination_of_fields_is_aligned() {
    let n = 3;
    let (x, charges) = (matrix(n, 0.0), vec![1.0_f32; n]);
    for combination in 0_u32..512 {
        let has = |bit: u32| combination >> bit & 1 == 1;
        let mut frame = AtomicFrame::new().n_atoms(n);
        if has(0) {
            frame = frame.positions(&x);
        }
        if has(1) {
            frame = frame.charges(&charges);
        }
        if has(2) {
            frame = frame.cell([[0.5; 3]; 3]);
        }
        if has(3) {
            frame = frame.pbc([true; 3]);
        }
        if has(4) {
            frame = frame.step(1).name("four");
        }
        if has(5) {
            frame = frame.stress([[0.5; 3]; 3]).energy(1.0);
        }
        if has(6) {
            frame = frame.per_frame("a", vec![1_u8]).per_atom("b", vec![0.5_f64; n]);
        }
        if has(7) {
            frame = frame.topology(topology(n));
        }
        let precision = if has(8) { Precision::F64 } else { Precision::F32 };
        let codec = AtomicFrameCodec::new().with_precision(precision);
        let record = Aligned::of(&codec, &frame);
        read_all(&codec.view(record.bytes()).unwrap(), &record);
    }
}

#[test]
fn the_two_lines_of_a_simulation_borrow_and_lend() {
    let positions = vec![[0.5_f32, 1.0, 1.5]; 3];
    let codec = AtomicFrameCodec::default();
    let record = Aligned::of(&codec, &AtomicFrame::new().positions(&positions).time(0.5));
    let frame = codec.view(record.bytes()).unwrap();
    let x: ArrayView2<f32> = frame.positions();
    assert_eq!(x, ArrayView2::from(positions.as_slice()));
    assert!(frame.velocities().is_none());
}

#[test]
fn what_is_not_contiguous_is_written_in_logical_order() {
    let wide = Array2::from_shape_fn((3, 8), |(i, j)| f32::from(u8::try_from(10 * i + j).unwrap()));
    let codec = AtomicFrameCodec::default();
    let view = wide.t();
    let record = Aligned::of(
        &codec,
        &AtomicFrame::new().positions(view).per_frame("own", wide.slice(s![..;2, ..;-3])),
    );
    let frame = codec.view(record.bytes()).unwrap();
    assert_eq!(frame.positions(), view);
    assert_eq!(frame.array("own").unwrap().view::<f32>().unwrap(), wide.slice(s![..;2, ..;-3]).into_dyn());
}

fn refusal(frame: &AtomicFrame<'_>) -> CodecError {
    AtomicFrameCodec::default().encode(frame, &mut Vec::new()).unwrap_err()
}

#[test]
fn a_wrong_shape_names_field_expected_and_found() {
    let x = matrix(4, 0.0);
    let error = refusal(&AtomicFrame::new().positions(&x).forces(matrix(5, 0.0)));
    assert_eq!(error, CodecError::shape("forces", &[4, 3], &[5, 3]));
    let error = refusal(&AtomicFrame::new().positions(array![[1.0_f32, 2.0]]));
    assert_eq!(error, CodecError::shape("positions", &[1, 3], &[1, 2]));
    let error = refusal(&AtomicFrame::new().positions(&x).types(vec![1_i32; 3]));
    assert_eq!(error, CodecError::shape("types", &[4], &[3]));
    let error = refusal(&AtomicFrame::new().positions(&x).per_atom("q", matrix(2, 0.0)));
    assert_eq!(error, CodecError::shape("q", &[4, 3], &[2, 3]));
    let error = refusal(&AtomicFrame::new().positions(&x).topology(topology(3)));
    assert_eq!(error, CodecError::shape("topology.types", &[4], &[3]));
}

#[test]
fn what_the_record_cannot_hold_is_refused() {
    let x = matrix(2, 0.0);
    assert!(matches!(refusal(&AtomicFrame::new().positions(x.mapv(|_| 1_i32))), CodecError::Dtype { .. }));
    assert!(matches!(refusal(&AtomicFrame::new().positions(x.mapv(|_| 1e300))), CodecError::Invalid(_)));
    assert!(matches!(
        refusal(&AtomicFrame::new().per_frame("a", 1_u8).per_frame("a", 2_u8)),
        CodecError::Invalid(_)
    ));
    // NaN is kept like any other number.
    let nan = Aligned::of(&AtomicFrameCodec::default(), &AtomicFrame::new().positions(x.mapv(|_| f64::NAN)));
    assert!(AtomicFrameCodec::default().view(nan.bytes()).unwrap().positions()[[0, 0]].is_nan());
}

/// Puts integers by `set` and reads them by `of`. Returns the value at which they are refused, if any.
fn integers<T: Clone + Into<i128>>(
    set: impl Fn(AnyArray<'static>) -> AtomicFrame<'static>,
    of: impl Fn(&AtomicFrameView<'_>) -> Vec<T>,
    array: AnyArray<'static>,
) -> Result<Vec<i128>, CodecError> {
    let codec = AtomicFrameCodec::default();
    let frame = set(array);
    codec.encode(&frame, &mut Vec::new())?;
    let record = Aligned::of(&codec, &frame);
    Ok(of(&codec.view(record.bytes()).unwrap()).into_iter().map(Into::into).collect())
}

fn range(field: &str, index: &[usize], found: i128, least: i128, most: i128) -> CodecError {
    CodecError::Range { field: field.into(), index: Shape(index.to_vec()), found, least, most }
}

#[test]
fn integers_come_back_with_sign_and_range_or_are_refused_with_value_and_range() {
    let types = |array| {
        let set = |array| AtomicFrame::new().types(array);
        integers(set, |frame| frame.types().unwrap().to_vec(), array)
    };
    let molecules = |array: AnyArray<'static>| {
        let set = |array| AtomicFrame::new().topology(Topology::new().molecules(array));
        let of = |frame: &AtomicFrameView<'_>| frame.topology().unwrap().molecules().unwrap().to_vec();
        integers(set, of, array)
    };
    let (least, most) = (i128::from(i32::MIN), i128::from(i32::MAX));
    assert_eq!(types(vec![i64::from(i32::MIN), -1, i64::from(i32::MAX)].into()), Ok(vec![least, -1, most]));
    assert_eq!(types(vec![i8::MIN, i8::MAX].into()), Ok(vec![-128, 127]));
    assert_eq!(types(vec![u16::MAX].into()), Ok(vec![65535]));
    let error = |found| Err(range("types", &[1], found, least, most));
    assert_eq!(types(vec![0_u32, 1 << 31].into()), error(1 << 31));
    assert_eq!(types(vec![0, u64::MAX].into()), error(i128::from(u64::MAX)));
    assert_eq!(types(vec![0, i64::MIN].into()), error(i128::from(i64::MIN)));
    let most = i128::from(u32::MAX);
    assert_eq!(molecules(vec![i64::from(u32::MAX), 0].into()), Ok(vec![most, 0]));
    let error = |found| Err(range("topology.molecules", &[0], found, 0, most));
    assert_eq!(molecules(vec![-1_i8].into()), error(-1));
    assert_eq!(molecules(vec![1_u64 << 32].into()), error(1 << 32));
    let text = molecules(vec![-7_i32].into()).unwrap_err().to_string();
    assert_eq!(text, "field `topology.molecules` at [0]: found -7, allowed are 0 to 4294967295");
}

#[test]
fn what_refers_to_something_that_is_not_there_is_refused() {
    let of = |topology: Topology<'static>| AtomicFrame::new().n_atoms(3).topology(topology);
    let bonds = |bonds: Vec<[i64; 2]>| of(Topology::new().bonds(bonds));
    let encode = |frame: AtomicFrame<'_>| AtomicFrameCodec::default().encode(&frame, &mut Vec::new());
    assert_eq!(encode(bonds(vec![[0, 2], [2, 1]])), Ok(()));
    let error = |index: [usize; 2], found| range("topology.bonds", &index, found, 0, 2);
    assert_eq!(refusal(&bonds(vec![[0, 2], [1, 3]])), error([1, 1], 3));
    assert_eq!(refusal(&bonds(vec![[0, 2], [-1, 0]])), error([1, 0], -1));
    let none = AtomicFrame::new().topology(Topology::new().bonds(vec![[0_u8, 0]]));
    assert_eq!(refusal(&none), range("topology.bonds", &[0, 0], 0, 0, -1));
    assert!(refusal(&none).to_string().ends_with("found 0, and there is nothing to refer to"));

    let residues = |residues: Vec<i64>| Topology::new().residues(residues);
    assert_eq!(encode(of(residues(vec![0, 1, 1]).residue_names(["ALA", "SOL"]))), Ok(()));
    assert_eq!(encode(of(residues(vec![7, 8, 4_000_000_000]))), Ok(()), "numbers of nothing");
    let error = refusal(&of(residues(vec![0, 2, 1]).residue_names(["ALA", "SOL"])));
    assert_eq!(error, range("topology.residues", &[1], 2, 0, 1));
    let error = refusal(&of(residues(vec![0, 0, 0]).residue_names([""; 0])));
    assert_eq!(error, range("topology.residues", &[0], 0, 0, -1));
}

#[test]
fn many_own_arrays_are_put_and_found_and_two_of_a_name_are_refused() {
    let mut frame = AtomicFrame::new();
    for number in 0..20_000_u32 {
        frame = frame.per_frame(format!("array {number}"), number);
    }
    let record = Aligned::of(&AtomicFrameCodec::default(), &frame);
    let view = AtomicFrameCodec::default().view(record.bytes()).unwrap();
    assert_eq!(view.arrays().count(), 20_000);
    assert_eq!(view.array("array 19999").unwrap().view::<u32>().unwrap()[[]], 19_999);
    let error = refusal(&frame.per_atom("array 7", vec![0_u8; 0]));
    assert!(error.to_string().contains("two arrays named `array 7`"), "{error}");
    let mut frame = AtomicFrame::new();
    frame.arrays =
        vec![NamedArray { name: "".into(), per_atom: false, array: 0_u8.into() }; MAX_OWN_ARRAYS + 1];
    assert!(refusal(&frame).to_string().contains("at most 999000"));
}

#[test]
fn as_many_own_arrays_as_are_put_are_read() {
    let mut frame = AtomicFrame::new().positions(matrix(1, 0.0)).topology(Topology::new());
    frame.arrays = (0..MAX_OWN_ARRAYS)
        .map(|number| NamedArray { name: number.to_string().into(), per_atom: false, array: 0_u8.into() })
        .collect();
    let codec = AtomicFrameCodec::new().with_precision(Precision::F64);
    let record = Aligned::of(&codec, &frame);
    assert_eq!(codec.view(record.bytes()).unwrap().arrays().count(), MAX_OWN_ARRAYS);
}

#[test]
fn an_array_that_is_put_can_be_lent() {
    let codec = AtomicFrameCodec::default();
    let empty = |n: usize| Array2::<f64>::zeros((0, n));
    for n in [0, 1, usize::MAX >> 5, usize::MAX >> 4] {
        let record = Aligned::of(&codec, &AtomicFrame::new().per_frame("empty", empty(n)));
        assert_eq!(codec.view(record.bytes()).unwrap().array("empty").unwrap().shape(), [0, n]);
    }
    let error = refusal(&AtomicFrame::new().per_frame("empty", empty(usize::MAX >> 2)));
    assert!(error.to_string().contains("too large"), "{error}");
}

#[test]
fn a_frame_of_another_precision_is_refused_not_shown_empty() {
    let double = AtomicFrameCodec::new().with_precision(Precision::F64);
    let record = Aligned::of(&double, &AtomicFrame::new().positions(matrix(2, 0.0)));
    let error = AtomicFrameCodec::default().view(record.bytes()).unwrap_err();
    assert!(matches!(error, CodecError::Dtype { field, .. } if field == "positions"));
    assert_eq!(
        AtomicFrameCodec::any().view(record.bytes()).unwrap().positions_any().unwrap().shape(),
        [2, 3]
    );
}

#[test]
fn parameters_differ_by_name() {
    let gromacs = AtomicFrameCodec::default();
    let ase = AtomicFrameCodec::new().with_units(Units::ase());
    let double = AtomicFrameCodec::new().with_precision(Precision::F64);
    assert!(ase.parameters().len() < 1024);
    assert_eq!(gromacs.clone().open(&gromacs.parameters()), Ok(gromacs.clone()));
    assert_eq!(gromacs.clone().open(&[]), Ok(gromacs.clone()), "vlstore records none");
    let expected = |parameter: &str, stored: &str, given: &str| {
        let (parameter, stored, given) = (parameter.into(), stored.into(), given.into());
        Err(CodecError::Parameter { parameter, stored, given })
    };
    assert_eq!(gromacs.clone().open(&ase.parameters()), expected("length", "Å", "nm"));
    assert_eq!(gromacs.clone().open(&double.parameters()), expected("precision", "float64", "float32"));
    for codec in [&gromacs, &ase, &double] {
        assert_eq!(AtomicFrameCodec::any().open(&codec.parameters()), Ok(AtomicFrameCodec::any()));
        let read = AtomicFrameCodec::from_parameters(&codec.parameters()).unwrap();
        assert_eq!(read.parameters(), codec.parameters());
    }
    assert!(gromacs.clone().open(&[0xff]).is_err());
}

#[test]
fn a_frame_of_vlstore_reads() {
    // Only the seven fields of vlstore, with empty vectors for absent ones.
    let mut builder = flatbuffers::FlatBufferBuilder::new();
    let name = builder.create_string("f");
    let positions = builder.create_vector(&[1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let none = builder.create_vector::<f32>(&[]);
    let types = builder.create_vector(&[1_i32, 8]);
    let args = generated::FBFrameArgs {
        name: Some(name),
        nsites: 2,
        ncodim: 3,
        types: Some(types),
        masses: Some(none),
        positions: Some(positions),
        forces: Some(none),
        ..Default::default()
    };
    let root = generated::FBFrame::create(&mut builder, &args);
    builder.finish(root, None);
    let record = Aligned::new(builder.finished_data());
    let frame = AtomicFrameCodec::default().view(record.bytes()).unwrap();
    assert_eq!(frame.positions(), array![[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]);
    assert_eq!(frame.types().unwrap().as_slice(), Some(&[1, 8][..]));
    assert!(frame.masses().is_none() && frame.forces().is_none() && frame.time().is_none());
}

#[test]
fn field_numbers_are_those_of_vlstore() {
    use generated::FBFrame as F;
    let offsets =
        [F::VT_NAME, F::VT_NSITES, F::VT_NCODIM, F::VT_TYPES, F::VT_MASSES, F::VT_POSITIONS, F::VT_FORCES];
    assert_eq!(offsets, [4, 6, 8, 10, 12, 14, 16]);
}

#[test]
fn no_change_of_one_byte_panics() {
    for codec in [AtomicFrameCodec::default(), AtomicFrameCodec::any()] {
        let mut record = Aligned::of(&codec, &full(2));
        for at in 0..record.bytes().len() {
            let byte = record.bytes()[at];
            for changed in [byte ^ 1, byte ^ 0x80, byte.wrapping_add(4), 0, 0xff] {
                record.bytes_mut()[at] = changed;
                look(&codec, record.bytes());
            }
            record.bytes_mut()[at] = byte;
        }
        for len in 0..record.bytes().len() {
            look(&codec, &record.bytes()[..len]);
        }
    }
}

/// Calls every accessor, and ignores what it gives.
fn look(codec: &AtomicFrameCodec, bytes: &[u8]) {
    if let Ok(frame) = codec.view(bytes) {
        let _ = frame.to_frame();
        let _ = (frame.positions(), frame.velocities(), frame.forces(), frame.charges());
        let _ = format!("{frame:?}");
    }
}

/// Floats of any precision, of this shape.
fn reals(shape: Vec<usize>) -> impl Strategy<Value = AnyArray<'static>> {
    let len = shape.iter().product::<usize>();
    (prop::collection::vec(any::<u64>(), len), 0..4).prop_map(move |(bits, dtype)| {
        let of = |shape: &[usize]| shape.to_vec();
        match dtype {
            0 => ArrayD::from_shape_vec(of(&shape), bits.iter().map(|&x| f64::from_bits(x)).collect())
                .unwrap()
                .into(),
            1 => ArrayD::from_shape_vec(of(&shape), bits.iter().map(|&x| f32::from_bits(x as u32)).collect())
                .unwrap()
                .into(),
            2 => ArrayD::from_shape_vec(of(&shape), bits.iter().map(|&x| f16::from_bits(x as u16)).collect())
                .unwrap()
                .into(),
            _ => {
                ArrayD::from_shape_vec(of(&shape), bits.iter().map(|&x| bf16::from_bits(x as u16)).collect())
                    .unwrap()
                    .into()
            }
        }
    })
}

fn maybe_reals(shape: Vec<usize>) -> impl Strategy<Value = Option<AnyArray<'static>>> {
    prop::option::of(reals(shape))
}

fn topologies(n: usize) -> impl Strategy<Value = Topology<'static>> {
    let atom = 0..u32::try_from(n.max(1)).unwrap();
    let bonds = prop::collection::vec([atom.clone(), atom], if n == 0 { 0..1 } else { 0..4 });
    let singles = prop::collection::vec(any::<u32>(), n);
    let residue_names = prop::option::of(prop::collection::vec(".{0,2}", 2..4));
    (
        prop::option::of(prop::collection::vec(any::<i32>(), n)),
        prop::option::of(singles.prop_map(|bits| bits.into_iter().map(f32::from_bits).collect::<Vec<_>>())),
        prop::option::of(prop::collection::vec(".{0,2}", n)),
        prop::option::of(bonds),
        prop::option::of(prop::collection::vec(0_u32..2, n)),
        residue_names,
    )
        .prop_map(|(types, masses, names, bonds, residues, residue_names)| Topology {
            types: types.map(Into::into),
            charges: masses.clone().map(Into::into),
            masses: masses.map(Into::into),
            names: names.map(|names| names.into_iter().map(Into::into).collect()),
            bonds: bonds.map(Into::into),
            molecules: residues.clone().map(Into::into),
            residues: residues.map(Into::into),
            residue_names: residue_names.map(|names| names.into_iter().map(Into::into).collect()),
        })
}

fn frames() -> impl Strategy<Value = AtomicFrame<'static>> {
    let number = || prop::option::of(any::<u64>().prop_map(f64::from_bits));
    let matrix = || {
        prop::option::of(any::<[u64; 9]>().prop_map(|bits| {
            let mut rows = [[0.0; 3]; 3];
            rows.as_flattened_mut().iter_mut().zip(bits).for_each(|(x, bits)| *x = f64::from_bits(bits));
            rows
        }))
    };
    (0_usize..4).prop_flat_map(move |n| {
        let arrays = (
            maybe_reals(vec![n, 3]),
            maybe_reals(vec![n, 3]),
            maybe_reals(vec![n]),
            prop::option::of(prop::collection::vec(any::<i32>(), n)),
            prop::option::of(topologies(n)),
        );
        let own =
            (reals(vec![n, 2, 0]), reals(vec![0, 5]), reals(vec![]), reals(vec![n]), reals(vec![1, 2, 1]));
        let text = || prop::option::of(".{0,3}");
        let one = (
            number(),
            number(),
            matrix(),
            matrix(),
            any::<Option<i64>>(),
            any::<Option<[bool; 3]>>(),
            text(),
            text(),
        );
        (Just(n), arrays, own, one).prop_map(
            |(
                n,
                (positions, forces, charges, types, topology),
                own,
                (time, energy, cell, stress, step, pbc, name, of),
            )| {
                let mut frame = AtomicFrame::new()
                    .n_atoms(n)
                    .per_atom("", own.0)
                    .per_frame("empty", own.1)
                    .per_frame("number", own.2)
                    .per_atom("per atom", own.3)
                    .per_frame("axes", own.4);
                (frame.velocities, frame.positions, frame.forces) = (forces.clone(), positions, forces);
                (frame.charges, frame.types, frame.topology) = (charges, types.map(Into::into), topology);
                (frame.time, frame.energy, frame.cell, frame.stress) = (time, energy, cell, stress);
                (frame.step, frame.pbc) = (step, pbc);
                (frame.name, frame.topology_name) = (name.map(Into::into), of.map(Into::into));
                frame
            },
        )
    })
}

proptest! {
    #[test]
    fn any_frame_comes_back_bit_by_bit(frame in frames()) {
        let codec = AtomicFrameCodec::new().with_precision(Precision::AsGiven);
        let record = Aligned::of(&codec, &frame);
        let view = codec.view(record.bytes()).unwrap();
        read_all(&view, &record);
        prop_assert!(view.to_frame().unwrap().is_same(&frame), "{:?}", frame);
    }

    #[test]
    fn random_frames_read_back(
        x in prop::collection::vec(any::<[f32; 3]>(), 0..20),
        time in any::<Option<f64>>(),
        step in any::<Option<i64>>(),
        own in prop::collection::vec(any::<f64>(), 0..9),
        name in ".{0,8}",
    ) {
        let mut frame = AtomicFrame::new().positions(&x).forces(&x).per_frame("own", &own).name(name.as_str());
        frame.time = time;
        frame.step = step;
        let codec = AtomicFrameCodec::default();
        let record = Aligned::of(&codec, &frame);
        let view = codec.view(record.bytes()).unwrap();
        read_all(&view, &record);
        let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        prop_assert_eq!(bits(view.positions().as_slice().unwrap()), bits(x.as_flattened()));
        prop_assert_eq!(view.time().map(f64::to_bits), time.map(f64::to_bits));
        prop_assert_eq!((view.step(), view.name()), (step, Some(name.as_str())));
        let stored = view.array("own").unwrap();
        prop_assert_eq!(stored.as_bytes(), bytemuck::cast_slice::<f64, u8>(&own));
    }

    #[test]
    fn no_bytes_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let codec = AtomicFrameCodec::any();
        let mut record = Aligned::of(&codec, &full(3));
        for (at, byte) in changes {
            let at = at.index(record.bytes().len());
            record.bytes_mut()[at] = byte;
        }
        look(&codec, record.bytes());
    }
}

#[test]
fn frames_that_differ_in_a_bit_are_not_the_same() {
    assert!(full(3).is_same(&full(3)));
    let changes: [fn(&mut AtomicFrame<'static>); 12] = [
        |frame| frame.name = None,
        |frame| frame.n_atoms = Some(3),
        |frame| frame.positions = frame.velocities.clone(),
        |frame| frame.charges = Some(vec![0.25_f32; 3].into()),
        |frame| frame.types = None,
        |frame| frame.cell.as_mut().unwrap()[0][1] = -0.0,
        |frame| frame.pbc = Some([true; 3]),
        |frame| frame.energy = Some(f64::NAN),
        |frame| frame.stress = None,
        |frame| frame.arrays[1].per_atom = false,
        |frame| frame.arrays[2].name = "even".into(),
        |frame| frame.topology.as_mut().unwrap().residue_names = None,
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let (mut one, mut other) = (full(3), full(3));
        change(&mut one);
        assert!(!one.is_same(&other) && !other.is_same(&one), "{number}");
        change(&mut other);
        assert!(one.is_same(&other), "{number}");
    }
}

#[test]
fn an_array_may_come_from_anywhere() {
    let rows = vec![[1_i32, 2, 3]];
    for array in [AnyArray::from(&rows), AnyArray::from(&[[1_i32, 2, 3]]), array![[1_i32, 2, 3]].into()] {
        assert_eq!((array.dtype(), array.shape()), (DType::I32, &[1, 3][..]));
    }
}
