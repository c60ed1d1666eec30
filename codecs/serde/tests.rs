//! Promises of the serde codecs.

#![expect(clippy::option_option, reason = "what can be mistaken for something else is put here")]

use std::collections::BTreeMap;

use ::serde::{Deserialize, Serialize};
use proptest::prelude::*;

use super::*;
use crate::testing::comes_back_or_is_refused;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Sample {
    name: String,
    values: Vec<f64>,
    note: Option<String>,
}

fn sample() -> Sample {
    Sample { name: "α".into(), values: vec![1.5, -0.0, f64::MIN_POSITIVE], note: None }
}

fn encoded<C: Codec>(codec: &C, item: &C::Item) -> Vec<u8> {
    let mut out = Vec::new();
    codec.encode(item, &mut out).unwrap();
    out
}

#[test]
fn what_is_written_as_messagepack_reads_back() {
    let codec = Serde::<Sample>::new();
    assert_eq!(codec.view(&encoded(&codec, &sample())).unwrap(), sample());
}

#[test]
fn every_cut_and_every_surplus_is_an_error() {
    let codec = Serde::<Sample>::new();
    let mut bytes = encoded(&codec, &sample());
    for len in 0..bytes.len() {
        assert!(codec.view(&bytes[..len]).is_err(), "{len} bytes were accepted");
    }
    bytes.push(0);
    assert!(matches!(codec.view(&bytes), Err(CodecError::Length { .. })));
}

#[test]
fn a_hostile_length_allocates_nothing_large() {
    // An array of 2^32 - 1 numbers, without the numbers.
    assert!(Serde::<Vec<f64>>::new().view(&[0xdd, 0xff, 0xff, 0xff, 0xff]).is_err());
}

#[cfg(feature = "json")]
#[test]
fn what_is_written_as_json_reads_back() {
    let codec = Json::<Sample>::new();
    let bytes = encoded(&codec, &sample());
    assert_eq!(codec.view(&bytes).unwrap(), sample());
    assert!(codec.view(&bytes[..bytes.len() - 1]).is_err());
}

/// A number that is compared bit by bit.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Double(f64);

impl PartialEq for Double {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Single(f32);

impl PartialEq for Single {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Nothing;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct NoFields {}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Holder<T>(T);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Pair<T>(T, T);

/// Every form that serde knows, and forms that can be mistaken for another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Any {
    Unit,
    HoldsUnit(()),
    NoParts(),
    NoFields {},
    Nothing(Nothing),
    Empty(NoFields),
    Bool(bool),
    Byte(i8),
    Signed(i64),
    Unsigned(u64),
    Large(i128),
    LargeUnsigned(u128),
    Double(Double),
    Single(Single),
    Char(char),
    Text(String),
    Bytes(Vec<u8>),
    MaybeUnit(Option<()>),
    MaybeNothing(Option<Nothing>),
    MaybeNumber(Option<Double>),
    MaybeLarge(Option<i128>),
    MaybeMaybe(Option<Option<Box<Any>>>),
    MaybeHeld(Option<Holder<Option<u8>>>),
    HeldUnits(Option<Holder<Holder<()>>>),
    MaybeMap(Option<BTreeMap<String, Option<Any>>>),
    Numbered(BTreeMap<i64, Any>),
    Spelled(BTreeMap<char, Option<bool>>),
    Two(Box<Any>, Option<Box<Any>>),
    Named { a: Box<Any>, b: Option<Box<Any>>, c: Holder<u8> },
    Pair(Box<Pair<Any>>),
    Array([Option<u8>; 3]),
    List(Vec<Any>),
    Tried(Result<Option<Single>, ()>),
}

/// Whether the codec refuses this value, because it would be stored like another one.
fn is_refused(any: &Any, json: bool) -> bool {
    let number = |x: f64| json && !x.is_finite();
    let of = |any: &Any| is_refused(any, json);
    match any {
        Any::Double(x) | Any::MaybeNumber(Some(x)) => number(x.0),
        Any::Single(x) | Any::Tried(Ok(Some(x))) => number(x.0.into()),
        Any::MaybeUnit(Some(()))
        | Any::MaybeMaybe(Some(None))
        | Any::MaybeHeld(Some(Holder(None)))
        | Any::HeldUnits(Some(_)) => true,
        Any::MaybeNothing(some) => json && some.is_some(),
        Any::MaybeMaybe(Some(Some(any))) => of(any),
        Any::MaybeMap(Some(map)) => map.values().flatten().any(of),
        Any::Numbered(map) => map.values().any(of),
        Any::Two(a, b) | Any::Named { a, b, .. } => of(a) || b.as_ref().is_some_and(|b| of(b)),
        Any::Pair(pair) => of(&pair.0) || of(&pair.1),
        Any::List(list) => list.iter().any(of),
        _ => false,
    }
}

fn doubles() -> impl Strategy<Value = Double> {
    let bits = any::<u64>().prop_map(f64::from_bits);
    let odd = prop::sample::select(vec![
        0.0,
        -0.0,
        f64::MAX,
        f64::MIN_POSITIVE,
        5e-324,
        f64::NAN,
        -f64::NAN,
        f64::INFINITY,
        0.1 + 0.2,
        9_007_199_254_740_993.0,
        1e23,
    ]);
    prop_oneof![4 => bits, 1 => odd].prop_map(Double)
}

fn leaves() -> impl Strategy<Value = Any> {
    let units = prop::sample::select(vec![
        Any::Unit,
        Any::HoldsUnit(()),
        Any::NoParts(),
        Any::NoFields {},
        Any::Nothing(Nothing),
        Any::Empty(NoFields {}),
        Any::MaybeUnit(None),
        Any::MaybeUnit(Some(())),
        Any::MaybeNothing(None),
        Any::MaybeNothing(Some(Nothing)),
        Any::MaybeMaybe(None),
        Any::MaybeMaybe(Some(None)),
        Any::HeldUnits(None),
        Any::HeldUnits(Some(Holder(Holder(())))),
        Any::Tried(Err(())),
        Any::Tried(Ok(None)),
    ]);
    let edges = prop::sample::select(vec![0, 1, -1, i128::MAX, i128::MIN, 1 << 64, -(1 << 63) - 1]);
    let single = any::<u32>().prop_map(|bits| Single(f32::from_bits(bits)));
    let held = prop::option::of(prop::option::of(any::<u8>()).prop_map(Holder));
    prop_oneof![
        6 => units,
        1 => any::<bool>().prop_map(Any::Bool),
        1 => any::<i8>().prop_map(Any::Byte),
        1 => any::<i64>().prop_map(Any::Signed),
        1 => any::<u64>().prop_map(Any::Unsigned),
        1 => any::<i128>().prop_map(Any::Large),
        1 => any::<u128>().prop_map(Any::LargeUnsigned),
        1 => edges.prop_map(|x| Any::MaybeLarge(Some(x))),
        2 => doubles().prop_map(Any::Double),
        2 => prop::option::of(doubles()).prop_map(Any::MaybeNumber),
        2 => single.clone().prop_map(Any::Single),
        1 => single.prop_map(|x| Any::Tried(Ok(Some(x)))),
        1 => any::<char>().prop_map(Any::Char),
        1 => any::<String>().prop_map(Any::Text),
        1 => any::<Vec<u8>>().prop_map(Any::Bytes),
        1 => any::<[Option<u8>; 3]>().prop_map(Any::Array),
        1 => any::<BTreeMap<char, Option<bool>>>().prop_map(Any::Spelled),
        2 => held.prop_map(Any::MaybeHeld),
    ]
}

fn anything() -> impl Strategy<Value = Any> {
    leaves().prop_recursive(6, 48, 4, |inner| {
        let boxed = inner.clone().prop_map(Box::new);
        let maybe = prop::option::of(boxed.clone());
        let map = prop::collection::btree_map(".{0,3}", prop::option::of(inner.clone()), 0..4);
        prop_oneof![
            maybe.clone().prop_map(|any| Any::MaybeMaybe(Some(any))),
            prop::option::of(map).prop_map(Any::MaybeMap),
            prop::collection::btree_map(any::<i64>(), inner.clone(), 0..4).prop_map(Any::Numbered),
            (boxed.clone(), maybe.clone()).prop_map(|(a, b)| Any::Two(a, b)),
            (boxed, maybe, any::<u8>()).prop_map(|(a, b, c)| Any::Named { a, b, c: Holder(c) }),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| Any::Pair(Box::new(Pair(a, b)))),
            prop::collection::vec(inner, 0..4).prop_map(Any::List),
        ]
    })
}

fn asked<C: for<'a> Codec<Item = T, View<'a> = T>, T: PartialEq>(codec: &C, item: &T) -> bool {
    comes_back_or_is_refused(codec, item, |item, view| *item == view).is_err()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_value_comes_back_equal_or_has_no_form_and_is_refused(any in anything()) {
        prop_assert_eq!(asked(&Serde::<Any>::new(), &any), is_refused(&any, false));
        #[cfg(feature = "json")]
        prop_assert_eq!(asked(&Json::<Any>::new(), &any), is_refused(&any, true));
    }

    #[test]
    fn every_bit_of_a_float_comes_back(bits in any::<u64>()) {
        let (double, single) = (Double(f64::from_bits(bits)), Single(f32::from_bits(bits as u32)));
        prop_assert!(!asked(&Serde::<(Double, Single)>::new(), &(double, single)));
        #[cfg(feature = "json")]
        prop_assert_eq!(asked(&Json::<Double>::new(), &double), !double.0.is_finite());
        #[cfg(feature = "json")]
        prop_assert_eq!(asked(&Json::<Single>::new(), &single), !single.0.is_finite());
    }

    #[test]
    fn what_is_not_wrong_is_written_as_serde_writes_it(any in anything()) {
        let mut out = Vec::new();
        if Serde::new().encode(&any, &mut out).is_ok() {
            prop_assert_eq!(out, rmp_serde::to_vec_named(&any).unwrap());
        }
        #[cfg(feature = "json")]
        {
            let mut out = Vec::new();
            if Json::new().encode(&any, &mut out).is_ok() {
                prop_assert_eq!(out, serde_json::to_vec(&any).unwrap());
            }
        }
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Serde::<Any>::new().view(&bytes);
        let _ = is_deeper(&bytes, 3);
        #[cfg(feature = "json")]
        let _ = Json::<Any>::new().view(&bytes);
    }
}

fn refusal<C: Codec>(codec: &C, item: &C::Item) -> String {
    codec.encode(item, &mut Vec::new()).unwrap_err().to_string()
}

#[test]
fn a_refusal_names_the_field_and_why() {
    #[derive(Serialize, Deserialize)]
    struct Run {
        energy: Vec<f32>,
        restart: Option<Option<u64>>,
    }
    let mut run = Run { energy: vec![1.0], restart: Some(None) };
    let text = refusal(&Serde::new(), &run);
    assert!(text.contains("field `restart`: a `Some` whose content MessagePack writes as nil"), "{text}");
    run.restart = Some(Some(1));
    assert!(Serde::new().encode(&run, &mut Vec::new()).is_ok());
    run.energy.push(f32::NAN);
    assert!(Serde::new().encode(&run, &mut Vec::new()).is_ok());
    #[cfg(feature = "json")]
    {
        let text = refusal(&Json::new(), &run);
        assert!(text.contains("field `energy`: NaN, which JSON cannot hold"), "{text}");
        run.energy[1] = f32::NEG_INFINITY;
        assert!(refusal(&Json::new(), &run).contains("field `energy`: -inf"));
        let text = refusal(&Json::new(), &BTreeMap::from([(vec![1_u8], 2)]));
        assert!(text.contains("cannot write as JSON"), "{text}");
    }
}

#[test]
fn large_and_empty_values_come_back() {
    let texts = vec![String::new(), "x".repeat(70_000), "\u{0}\u{10ffff}\"\\".repeat(300)];
    let bytes: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    assert!(!asked(&Serde::new(), &(texts.clone(), bytes.clone(), Vec::<Any>::new())));
    let map: BTreeMap<u32, Option<u64>> = (0..70_000).map(|n| (n, Some(u64::MAX - u64::from(n)))).collect();
    assert!(!asked(&Serde::new(), &map));
    #[cfg(feature = "json")]
    {
        assert!(!asked(&Json::new(), &(texts, bytes, Vec::<Any>::new())));
        assert!(!asked(&Json::new(), &map));
    }
}

#[test]
fn a_value_deeper_than_readers_go_is_refused() {
    let wraps: [fn(Any) -> Any; 6] = [
        |any| Any::List(vec![any]),
        |any| Any::Two(Box::new(any), None),
        |any| Any::MaybeMaybe(Some(Some(Box::new(any)))),
        |any| Any::Numbered(BTreeMap::from([(1, any)])),
        |any| Any::Named { a: Box::new(any), b: None, c: Holder(0) },
        |any| Any::Pair(Box::new(Pair(any, Any::Unit))),
    ];
    let deep =
        |wrap: fn(Any) -> Any, times: usize| (0..times).fold(Any::Empty(NoFields {}), |any, _| wrap(any));
    for wrap in wraps {
        let mut refused = 0;
        for times in (0..200).chain(450..520) {
            refused += usize::from(asked(&Serde::new(), &deep(wrap, times)));
            #[cfg(feature = "json")]
            asked(&Json::new(), &deep(wrap, times));
        }
        // A list in a variant is two levels, and at most 1023 levels are allowed.
        assert!(refused <= 520 - 511, "{refused}");
    }
    assert!(refusal(&Serde::new(), &deep(wraps[0], 600)).contains("more than 1023 inside each other"));
    #[cfg(feature = "json")]
    assert!(refusal(&Json::new(), &deep(wraps[0], 64)).contains("more than 127 inside each other"));
}

#[test]
fn a_forged_record_does_not_take_all_of_the_stack() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Chain {
        L(Box<Chain>),
        End,
    }
    let record = |depth: usize| [b"\x81\xa1L".repeat(depth), b"\xa3End".to_vec()].concat();
    assert!(Serde::<Chain>::new().view(&record(1023)).is_ok());
    for depth in [1024, 1_000_000] {
        let error = Serde::<Chain>::new().view(&record(depth)).unwrap_err().to_string();
        assert!(error.contains("more than 1023"), "{error}");
    }
}

#[test]
fn depth_is_that_of_the_value_and_not_its_length() {
    let value = (vec![vec![1_u64; 300]; 300], BTreeMap::from([("key".repeat(200), Some(vec![0.5_f32; 20]))]));
    let bytes = encoded(&Serde::new(), &value);
    assert!(!is_deeper(&bytes, 3) && is_deeper(&bytes, 2));
    let all: Vec<Any> = vec![Any::Large(1), Any::Text("x".repeat(300)), Any::Signed(i64::MIN)];
    let bytes = encoded(&Serde::new(), &(all, vec![(); 20], vec![Some(1.5); 300]));
    assert!(!is_deeper(&bytes, 3) && is_deeper(&bytes, 2));
    assert!(!is_deeper(b"\xdd\xff\xff\xff\xff", 1), "cut off");
}

/// A type that announces more parts than it gives.
#[derive(Debug, PartialEq, Deserialize)]
struct Boastful(Vec<u8>);

impl Serialize for Boastful {
    fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use ::serde::ser::SerializeSeq;
        let mut seq = serializer.serialize_seq(Some(self.0.len() + 1))?;
        self.0.iter().try_for_each(|byte| seq.serialize_element(byte))?;
        seq.end()
    }
}

#[test]
fn a_wrong_number_of_parts_is_refused_where_it_is_written() {
    let text = refusal(&Serde::new(), &(Boastful(vec![1, 2]), 3));
    assert!(text.contains("3 parts announced by its `Serialize`, 2 given"), "{text}");
    #[cfg(feature = "json")]
    assert!(!asked(&Json::new(), &Boastful(vec![1, 2])));
}
