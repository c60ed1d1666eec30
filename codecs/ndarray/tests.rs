//! Promises of the array codecs.

use half::{bf16, f16};
use ndarray::{Array, Array2, ArrayD, Axis, Ix2, IxDyn, arr0, array, s};
use proptest::prelude::*;

use super::*;
use crate::codec::{Codec, CodecError};
use crate::codecs::aligned::Aligned;

fn round_trip<T: Element>(array: &ArrayD<T>) {
    let record = Aligned::of(&AnyNdArray, array);
    let any = AnyNdArray.view(record.bytes()).unwrap();
    assert_eq!((any.dtype(), any.shape()), (T::DTYPE, array.shape()));
    let view = any.view::<T>().unwrap();
    assert_eq!(view, array);
    record.assert_lends(view.as_slice().unwrap());
    assert!(any.as_bytes().as_ptr().addr().is_multiple_of(16));
    assert_eq!(any.to_any().unwrap(), AnyArray::from(array));

    let typed = NdArray::<T>::new();
    assert_eq!(Aligned::of(&typed, array).bytes(), record.bytes());
    assert_eq!(typed.view(record.bytes()).unwrap(), array);
}

fn round_trip_of_every_shape<T: Element>(element: impl Fn(usize) -> T) {
    for shape in [&[][..], &[0], &[7], &[0, 3], &[3, 0, 2], &[5, 3], &[2, 1, 3, 2, 1, 2]] {
        let len = shape.iter().product();
        let elements = (0..len).map(&element).collect();
        round_trip(&Array::from_shape_vec(IxDyn(shape), elements).unwrap());
    }
}

#[test]
#[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_precision_loss)]
fn every_dtype_and_shape_reads_back_without_a_copy() {
    round_trip_of_every_shape(|i| i as f32 * 0.1);
    round_trip_of_every_shape(|i| i as f64 * 0.1);
    round_trip_of_every_shape(|i| f16::from_f64(i as f64 * 0.1));
    round_trip_of_every_shape(|i| bf16::from_f64(i as f64 * 0.1));
    round_trip_of_every_shape(|i| -(i as i8));
    round_trip_of_every_shape(|i| -(i as i16));
    round_trip_of_every_shape(|i| -(i as i32));
    round_trip_of_every_shape(|i| -(i as i64));
    round_trip_of_every_shape(|i| i as u8);
    round_trip_of_every_shape(|i| i as u16);
    round_trip_of_every_shape(|i| i as u32);
    round_trip_of_every_shape(|i| u64::MAX - i as u64);
    round_trip_of_every_shape(|i| i.is_multiple_of(2));
}

#[test]
fn what_is_not_contiguous_is_written_in_logical_order() {
    let array = Array2::from_shape_fn((4, 6), |(i, j)| 10 * i + j).mapv(|x| u32::try_from(x).unwrap());
    let codec = NdArray::<u32, Ix2>::new();
    let mut reversed = array.view();
    reversed.invert_axis(Axis(0));
    for view in [array.t(), array.slice(s![..;2, 1..;3]), reversed] {
        let record = Aligned::of(&codec, &view);
        assert_eq!(codec.view(record.bytes()).unwrap(), view);
    }
}

#[test]
fn another_dtype_or_number_of_axes_is_an_error() {
    let record = Aligned::of(&AnyNdArray, &array![[1.0_f32, 2.0]]);
    let error = NdArray::<f64>::new().view(record.bytes()).unwrap_err();
    assert!(
        matches!(error, CodecError::Dtype { expected, found, .. } if expected == "float64" && found == "float32")
    );
    assert!(NdArray::<f32, ndarray::Ix1>::new().view(record.bytes()).is_err());
    assert!(AnyNdArray.view(Aligned::of(&AnyNdArray, &arr0(1_u8)).bytes()).unwrap().view::<bool>().is_err());
}

#[test]
fn every_cut_and_surplus_is_an_error() {
    let record = Aligned::of(&AnyNdArray, &array![[1_i16, 2, 3]]);
    for len in 0..record.bytes().len() {
        assert!(AnyNdArray.view(&record.bytes()[..len]).is_err());
    }
    assert!(AnyNdArray.view(Aligned::new(&[record.bytes(), &[0]].concat()).bytes()).is_err());
}

#[test]
fn bytes_in_the_wrong_place_are_an_error() {
    let record = Aligned::of(&AnyNdArray, &array![1.0_f64]);
    let shifted = Aligned::new(&[&[0], record.bytes()].concat());
    assert!(AnyNdArray.view(&shifted.bytes()[1..]).is_err());
}

#[test]
fn hostile_shapes_are_an_error() {
    for shape in [&[u64::MAX, 2][..], &[1 << 63, 0], &[1 << 32, 1 << 32]] {
        let mut bytes = [&b"NDA1"[..], &[1, u8::try_from(shape.len()).unwrap(), 0, 0]].concat();
        bytes.extend(shape.iter().flat_map(|n| n.to_le_bytes()));
        bytes.resize(bytes.len().next_multiple_of(16), 0);
        assert!(AnyNdArray.view(Aligned::new(&bytes).bytes()).is_err(), "{shape:?}");
    }
}

#[test]
fn an_array_that_is_put_can_be_lent() {
    // ndarray counts elements but lends by bytes: an empty array can be too long to be lent.
    for n in [0, 1, usize::MAX >> 5, usize::MAX >> 4] {
        round_trip(&ArrayD::<f64>::zeros(vec![0, n]));
    }
    let long = ArrayD::<f64>::zeros(vec![0, usize::MAX >> 2]);
    for error in [
        AnyNdArray.encode(&long, &mut Vec::new()).unwrap_err(),
        NdArray::<f64>::new().encode(&long, &mut Vec::new()).unwrap_err(),
    ] {
        assert!(error.to_string().contains("too large"), "{error}");
    }
    let deep = ArrayD::<u8>::zeros(vec![1; 256]);
    assert!(AnyNdArray.encode(&deep, &mut Vec::new()).unwrap_err().to_string().contains("at most 255"));
    round_trip(&ArrayD::<u8>::zeros(vec![1; 255]));
}

#[test]
fn every_bit_of_a_float_comes_back_in_any_order_of_axes() {
    let bits = |x: f64| x.to_bits();
    let odd = [f64::NAN, -f64::NAN, f64::from_bits(0x7ff0_0000_0000_0001), -0.0, f64::INFINITY, 5e-324];
    let array = Array::from_shape_vec((2, 3), odd.to_vec()).unwrap();
    let record = Aligned::of(&NdArray::<f64, Ix2>::new(), &array.t());
    let view = AnyNdArray.view(record.bytes()).unwrap();
    assert_eq!(view.view::<f64>().unwrap().mapv(bits), array.t().mapv(bits).into_dyn());
    let halves: Vec<u16> = (0..=u16::MAX).collect();
    let (f16s, bf16s) =
        (halves.iter().map(|&x| f16::from_bits(x)), halves.iter().map(|&x| bf16::from_bits(x)));
    let (f16s, bf16s) = (Array::from_iter(f16s), Array::from_iter(bf16s));
    let record = Aligned::of(&AnyNdArray, &f16s);
    let back = AnyNdArray.view(record.bytes()).unwrap().view::<f16>().unwrap().mapv(f16::to_bits);
    assert_eq!(back.into_raw_vec_and_offset().0, halves);
    let record = Aligned::of(&AnyNdArray, &bf16s);
    let back = AnyNdArray.view(record.bytes()).unwrap().view::<bf16>().unwrap().mapv(bf16::to_bits);
    assert_eq!(back.into_raw_vec_and_offset().0, halves);
}

#[test]
fn a_bool_that_is_neither_is_an_error() {
    let mut record = Aligned::of(&AnyNdArray, &array![true, false]);
    *record.bytes_mut().last_mut().unwrap() = 2;
    assert!(AnyNdArray.view(record.bytes()).is_err());
}

proptest! {
    #[test]
    fn no_bytes_panic(changes in prop::collection::vec((0_usize..64, any::<u8>()), 1..6), len in 0_usize..64) {
        let mut record = Aligned::of(&AnyNdArray, &array![[1.0_f64, 2.0], [3.0, 4.0]]);
        for (at, byte) in changes {
            if let Some(place) = record.bytes_mut().get_mut(at) {
                *place = byte;
            }
        }
        for bytes in [record.bytes(), &record.bytes()[..len.min(record.bytes().len())]] {
            if let Ok(any) = AnyNdArray.view(bytes) {
                any.to_any().unwrap();
            }
        }
    }
}
