//! Statistics in the head of an index segment.

use super::varint::{push_varint, take_varint, unzigzag, zigzag};
use crate::format::growth::Fault;
use crate::scalar::ScalarKind;
use crate::statistics::{Kind, Kinds, MAX_KINDS, Summary, Tallied};

/// What is known of the values of a column in a segment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Zone {
    pub(crate) kind: ScalarKind,
    /// Of the values that are there. Min and max of integers beyond 2^53 are rounded.
    pub(crate) summary: Summary,
    /// The least and the largest finite value, as integer or float bits. Not rounded.
    pub(crate) least: u64,
    pub(crate) most: u64,
}

impl Zone {
    pub(crate) fn new(kind: ScalarKind) -> Self {
        Self { kind, summary: Summary::default(), least: 0, most: 0 }
    }

    /// Adds the bits of a value.
    pub(crate) fn add(&mut self, bits: u64) {
        let is_first = self.summary.count() == 0;
        let (number, is_least, is_most) = match self.kind {
            ScalarKind::Integer => {
                let value = bits.cast_signed();
                let (least, most) = (self.least.cast_signed(), self.most.cast_signed());
                (as_f64(value), value < least, value > most)
            }
            ScalarKind::Float => {
                let value = f64::from_bits(bits);
                (value, value < f64::from_bits(self.least), value > f64::from_bits(self.most))
            }
        };
        self.summary.add(number);
        if !number.is_finite() {
            return;
        }
        if is_first || is_least {
            self.least = bits;
        }
        if is_first || is_most {
            self.most = bits;
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "documented")]
fn as_f64(value: i64) -> f64 {
    value as f64
}

fn push_float(out: &mut Vec<u8>, number: f64) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn take_float(packed: &mut &[u8]) -> Option<f64> {
    let (bytes, rest) = packed.split_first_chunk()?;
    *packed = rest;
    Some(f64::from_le_bytes(*bytes))
}

fn push_summary(out: &mut Vec<u8>, summary: &Summary) {
    let (count, non_finite, numbers) = summary.parts();
    push_varint(out, count);
    push_varint(out, non_finite);
    if count > 0 {
        for number in numbers {
            push_float(out, number);
        }
    }
}

fn take_summary(packed: &mut &[u8]) -> Option<Summary> {
    let (count, non_finite) = (take_varint(packed)?, take_varint(packed)?);
    let mut numbers = [0.0; 4];
    if count > 0 {
        for number in &mut numbers {
            *number = take_float(packed)?;
        }
    }
    Some(Summary::from_parts(count, non_finite, numbers))
}

/// The zones of all columns as bytes.
pub(super) fn encode_zones(zones: &[Zone]) -> Vec<u8> {
    let mut out = Vec::new();
    for Zone { kind, summary, least, most } in zones {
        let (count, non_finite, [.., mean, squares]) = summary.parts();
        push_varint(&mut out, count);
        push_varint(&mut out, non_finite);
        if count == 0 {
            continue;
        }
        for &bits in [least, most] {
            match kind {
                ScalarKind::Integer => push_varint(&mut out, zigzag(bits)),
                ScalarKind::Float => out.extend_from_slice(&bits.to_le_bytes()),
            }
        }
        push_float(&mut out, mean);
        push_float(&mut out, squares);
    }
    out
}

/// The zones of columns of these kinds.
pub(super) fn decode_zones(mut packed: &[u8], kinds: &[ScalarKind]) -> Result<Vec<Zone>, Fault> {
    let mut take = |kind: ScalarKind| {
        let (count, non_finite) = (take_varint(&mut packed)?, take_varint(&mut packed)?);
        if count == 0 {
            let summary = Summary::from_parts(0, non_finite, [0.0; 4]);
            return Some(Zone { summary, ..Zone::new(kind) });
        }
        let mut bits = || match kind {
            ScalarKind::Integer => take_varint(&mut packed).map(unzigzag),
            ScalarKind::Float => take_float(&mut packed).map(f64::to_bits),
        };
        let (least, most) = (bits()?, bits()?);
        let number = |bits: u64| match kind {
            ScalarKind::Integer => as_f64(bits.cast_signed()),
            ScalarKind::Float => f64::from_bits(bits),
        };
        let (mean, squares) = (take_float(&mut packed)?, take_float(&mut packed)?);
        let numbers = [number(least), number(most), mean, squares];
        Some(Zone { kind, summary: Summary::from_parts(count, non_finite, numbers), least, most })
    };
    let zones: Option<Vec<_>> = kinds.iter().map(|&kind| take(kind)).collect();
    zones.filter(|_| packed.is_empty()).ok_or_else(|| "zones of other columns, or cut off".to_owned().into())
}

/// The statistics as bytes; none if there is nothing to tell.
pub(super) fn encode_tallied(tallied: &Tallied) -> Vec<u8> {
    let mut out = Vec::new();
    if *tallied == Tallied::default() {
        return out;
    }
    let Tallied { counted, moved, dropped, tally } = tallied;
    for n in [*counted, *moved, *dropped, u64::from(tally.is_cut())] {
        push_varint(&mut out, n);
    }
    let push_name = |out: &mut Vec<u8>, name: &str| {
        push_varint(out, name.len() as u64);
        out.extend_from_slice(name.as_bytes());
    };
    push_varint(&mut out, tally.fields().len() as u64);
    for (name, summary) in tally.fields() {
        push_name(&mut out, name);
        push_summary(&mut out, summary);
    }
    push_varint(&mut out, tally.all_kinds().len() as u64);
    for (name, kinds) in tally.all_kinds() {
        push_name(&mut out, name);
        push_varint(&mut out, kinds.others());
        push_varint(&mut out, kinds.iter().len() as u64);
        for (kind, Kind { values, records }) in kinds.iter() {
            push_varint(&mut out, zigzag(kind.cast_unsigned()));
            push_varint(&mut out, values);
            push_varint(&mut out, records);
        }
    }
    out
}

/// Reads the statistics.
pub(super) fn decode_tallied(packed: &[u8]) -> Result<Tallied, Fault> {
    take_tallied(packed).ok_or_else(|| "statistics that are cut off or out of order".to_owned().into())
}

fn take_tallied(mut packed: &[u8]) -> Option<Tallied> {
    let packed = &mut packed;
    let mut tallied = Tallied {
        counted: take_varint(packed)?,
        moved: take_varint(packed)?,
        dropped: take_varint(packed)?,
        ..Tallied::default()
    };
    if take_varint(packed)? != 0 {
        tallied.tally.set_cut();
    }
    // In forged bytes, counts may be anything. Each item takes bytes, so the loops end with these.
    for _ in 0..take_varint(packed)? {
        let name = take_name(packed)?;
        let summary = take_summary(packed)?;
        tallied.tally.summary(name, &summary);
    }
    for _ in 0..take_varint(packed)? {
        let name = take_name(packed)?;
        let mut kinds = Kinds::default();
        kinds.add_others(take_varint(packed)?);
        let (n, mut last) = (take_varint(packed)?, None);
        if n > MAX_KINDS as u64 {
            return None;
        }
        for _ in 0..n {
            let kind = unzigzag(take_varint(packed)?).cast_signed();
            let (values, records) = (take_varint(packed)?, take_varint(packed)?);
            if last.is_some_and(|last| kind <= last) {
                return None;
            }
            last = Some(kind);
            kinds.add(kind, Kind { values, records });
        }
        tallied.tally.insert_kinds(name, kinds);
    }
    packed.is_empty().then_some(tallied)
}

fn take_name(packed: &mut &[u8]) -> Option<String> {
    let len = usize::try_from(take_varint(packed)?).ok()?;
    let (name, rest) = packed.split_at_checked(len)?;
    *packed = rest;
    std::str::from_utf8(name).ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::statistics::Tally;

    fn tallied(values: &[f64], kinds: &[i32]) -> Tallied {
        let mut tally = Tally::default();
        tally.numbers("forces", values);
        tally.numbers::<f32>("none", &[]);
        tally.kinds("types", kinds);
        Tallied { counted: 7, moved: 300, dropped: u64::MAX, tally }
    }

    proptest! {
        #[test]
        fn statistics_come_back_and_cut_ones_do_not(
            values in prop::collection::vec(any::<f64>().prop_filter("overflow", |x| x.abs() < 1e100), 0..40),
            kinds in prop::collection::vec(any::<i32>(), 0..30),
        ) {
            let tallied = tallied(&values, &kinds);
            let bytes = encode_tallied(&tallied);
            prop_assert_eq!(decode_tallied(&bytes), Ok(tallied));
            for cut in 0..bytes.len() {
                prop_assert!(matches!(decode_tallied(&bytes[..cut]), Err(Fault::Damaged(_))), "{}", cut);
            }
        }

        #[test]
        fn zones_come_back_and_have_least_and_most(
            integers in prop::collection::vec(any::<i64>(), 0..20),
            floats in prop::collection::vec(prop::num::f64::ANY, 0..20),
        ) {
            let (mut whole, mut real) = (Zone::new(ScalarKind::Integer), Zone::new(ScalarKind::Float));
            for value in &integers {
                whole.add(value.cast_unsigned());
            }
            for value in &floats {
                real.add(value.to_bits());
            }
            if let Some(least) = integers.iter().min() {
                prop_assert_eq!(whole.least.cast_signed(), *least);
                prop_assert_eq!(whole.most.cast_signed(), *integers.iter().max().unwrap());
            }
            let finite: Vec<f64> = floats.iter().copied().filter(|x| x.is_finite()).collect();
            if !finite.is_empty() {
                let least = finite.iter().copied().fold(f64::INFINITY, f64::min);
                prop_assert!(f64::from_bits(real.least).total_cmp(&least).is_eq() || least == 0.0);
            }
            let (kinds, zones) = ([ScalarKind::Integer, ScalarKind::Float], [whole, real]);
            let bytes = encode_zones(&zones);
            let back = decode_zones(&bytes, &kinds).unwrap();
            // NaN, which comes of sums that overflow, is not equal to itself.
            prop_assert_eq!(encode_zones(&back), bytes.clone());
            prop_assert!(decode_zones(&bytes, &kinds[..1]).is_err());
            for cut in 0..bytes.len() {
                prop_assert!(decode_zones(&bytes[..cut], &kinds).is_err(), "{}", cut);
            }
        }
    }

    #[test]
    fn counts_without_end_are_refused_at_once() {
        let mut bytes = vec![1, 0, 0, 0];
        push_varint(&mut bytes, u64::MAX);
        assert!(decode_tallied(&bytes).is_err());
        let mut bytes = vec![1, 0, 0, 0, 0, 1, 0, 0];
        push_varint(&mut bytes, u64::MAX);
        assert!(decode_tallied(&bytes).is_err());
        assert!(encode_tallied(&Tallied::default()).is_empty());
    }
}
