//! A summary of numbers that can be merged with others.

/// Count, least, most, mean and variance of numbers.
///
/// Numbers that are not finite are counted apart, and are in nothing else.
///
/// Two summaries are merged by the formula of Chan, Golub and LeVeque, "Updating Formulae and a Pairwise
/// Algorithm for Computing Sample Variances" (1979). Many numbers together are summed after the
/// first of them is subtracted: the shifted data algorithm of the same authors, "Algorithms for Computing the
/// Sample Variance" (1983). One number after the other is added as by Welford, "Note on a Method for
/// Calculating Corrected Sums of Squares and Products" (1962).
///
/// ```
/// use vldepot::statistics::Summary;
///
/// let mut summary = Summary::of(&[1.0_f64, 2.0, 3.0, f64::NAN]);
/// summary.merge(&Summary::of(&[6_i32]));
/// assert_eq!((summary.count(), summary.non_finite()), (4, 1));
/// assert_eq!((summary.min(), summary.max(), summary.mean()), (Some(1.0), Some(6.0), Some(3.0)));
/// assert_eq!(summary.variance(), Some(3.5));
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    count: u64,
    non_finite: u64,
    min: f64,
    max: f64,
    mean: f64,
    /// The sum of the squared differences to the mean.
    squares: f64,
}

impl Default for Summary {
    fn default() -> Self {
        Self { count: 0, non_finite: 0, min: f64::INFINITY, max: f64::NEG_INFINITY, mean: 0.0, squares: 0.0 }
    }
}

/// A type of numbers that can be summed up. Integers beyond 2^53 are rounded.
pub trait Number: Copy + PartialOrd + sealed::Sealed {
    /// The number as `f64`.
    fn to_f64(self) -> f64;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! numbers {
    ($($type:ty),*) => {$(
        impl sealed::Sealed for $type {}
        impl Number for $type {
            #[allow(clippy::cast_lossless, clippy::cast_precision_loss, reason = "documented")]
            fn to_f64(self) -> f64 {
                self as f64
            }
        }
    )*};
}

numbers!(f32, f64, i8, i16, i32, i64, u8, u16, u32, u64);

/// Numbers that are summed side by side.
const LANES: usize = 8;

impl Summary {
    /// Sums up numbers.
    pub fn of<T: Number>(numbers: &[T]) -> Self {
        let Some(&first) = numbers.first() else { return Self::default() };
        let shift = first.to_f64();
        let (lanes, rest) = numbers.as_chunks::<LANES>();
        let (mut sums, mut squares) = ([0.0; LANES], [0.0; LANES]);
        let (mut least, mut most) = ([first; LANES], [first; LANES]);
        let mut add = |nth: usize, number: T| {
            let difference = number.to_f64() - shift;
            least[nth] = if number < least[nth] { number } else { least[nth] };
            most[nth] = if number > most[nth] { number } else { most[nth] };
            sums[nth] += difference;
            squares[nth] += difference * difference;
        };
        for lane in lanes {
            for (nth, &number) in lane.iter().enumerate() {
                add(nth, number);
            }
        }
        for (nth, &number) in rest.iter().enumerate() {
            add(nth, number);
        }
        let (sum, squared): (f64, f64) = (sums.iter().sum(), squares.iter().sum());
        // A number that is not finite makes the sum of squares infinite, or no number.
        if !squared.is_finite() {
            let mut summary = Self::default();
            for number in numbers {
                summary.add(number.to_f64());
            }
            return summary;
        }
        let mean = sum / as_f64(numbers.len() as u64);
        let of = |numbers: [T; LANES], choose: fn(f64, f64) -> f64| {
            numbers.into_iter().map(Number::to_f64).fold(shift, choose)
        };
        Self {
            count: numbers.len() as u64,
            non_finite: 0,
            min: of(least, f64::min),
            max: of(most, f64::max),
            mean: shift + mean,
            squares: (squared - sum * mean).max(0.0),
        }
    }

    /// Adds one number.
    pub fn add(&mut self, number: f64) {
        if !number.is_finite() {
            self.non_finite = self.non_finite.saturating_add(1);
            return;
        }
        self.count = self.count.saturating_add(1);
        self.min = self.min.min(number);
        self.max = self.max.max(number);
        let before = number - self.mean;
        self.mean += before / as_f64(self.count);
        self.squares += before * (number - self.mean);
    }

    /// Adds all numbers of another summary.
    pub fn merge(&mut self, other: &Self) {
        self.non_finite = self.non_finite.saturating_add(other.non_finite);
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = Self { non_finite: self.non_finite, ..*other };
            return;
        }
        let count = self.count.saturating_add(other.count);
        let share = as_f64(other.count) / as_f64(count);
        let difference = other.mean - self.mean;
        self.mean += difference * share;
        self.squares += other.squares + difference * difference * (as_f64(self.count) * share);
        self.count = count;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// How many finite numbers there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// How many numbers are NaN or infinite.
    pub fn non_finite(&self) -> u64 {
        self.non_finite
    }

    /// The least finite number. `None` if there is none.
    pub fn min(&self) -> Option<f64> {
        (self.count > 0).then_some(self.min)
    }

    /// The largest finite number. `None` if there is none.
    pub fn max(&self) -> Option<f64> {
        (self.count > 0).then_some(self.max)
    }

    /// The mean of the finite numbers. `None` if there is none.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then_some(self.mean)
    }

    /// The variance of the finite numbers: the mean of the squared differences to their mean (as `numpy.var`
    /// gives it, with `ddof=0`). `None` if there is none, or if it is too large for a float.
    pub fn variance(&self) -> Option<f64> {
        (self.count > 0).then(|| self.squares / as_f64(self.count)).filter(|variance| variance.is_finite())
    }

    /// The square root of the [`variance`](Self::variance).
    pub fn std(&self) -> Option<f64> {
        self.variance().map(f64::sqrt)
    }

    /// Count, number of those that are not finite, and min, max, mean and sum of squares.
    pub(crate) fn parts(&self) -> (u64, u64, [f64; 4]) {
        (self.count, self.non_finite, [self.min, self.max, self.mean, self.squares])
    }

    /// The summary with these [`parts`](Self::parts).
    pub(crate) fn from_parts(count: u64, non_finite: u64, [min, max, mean, squares]: [f64; 4]) -> Self {
        if count == 0 {
            return Self { non_finite, ..Self::default() };
        }
        Self { count, non_finite, min, max, mean, squares }
    }

    /// Where this summary, which was stored, is no bound of that of some of its numbers.
    pub(crate) fn bounds(&self, some: &Self) -> Option<(String, String)> {
        if some.count > self.count || some.non_finite > self.non_finite {
            return Some((format!("a count of at least {}", some.count), self.count.to_string()));
        }
        if some.count > 0 && (some.min < self.min || some.max > self.max) {
            let found = format!("{:?} to {:?}", self.min, self.max);
            return Some((format!("bounds of {:?} to {:?}", some.min, some.max), found));
        }
        None
    }

    /// Where this summary, which was stored, differs from what it should be: what was expected and found.
    ///
    /// Counts, min and max must be equal. Mean and variance may differ by `tolerance`, relative to the size
    /// of the numbers: their order of summation may be another one.
    pub(crate) fn difference(&self, expected: &Self, tolerance: f64) -> Option<(String, String)> {
        let exact = |name: &str, expected: &dyn std::fmt::Debug, found: &dyn std::fmt::Debug| {
            (format!("{name} {expected:?}"), format!("{found:?}"))
        };
        if self.count != expected.count {
            return Some(exact("count", &expected.count, &self.count));
        }
        if self.non_finite != expected.non_finite {
            return Some(exact(
                "number of values that are not finite",
                &expected.non_finite,
                &self.non_finite,
            ));
        }
        if self.count == 0 {
            return None;
        }
        #[allow(clippy::float_cmp, reason = "they must be equal")]
        let unequal = |found: f64, expected: f64| found != expected;
        if unequal(self.min, expected.min) {
            return Some(exact("min", &expected.min, &self.min));
        }
        if unequal(self.max, expected.max) {
            return Some(exact("max", &expected.max, &self.max));
        }
        let size = expected.min.abs().max(expected.max.abs()).max(f64::MIN_POSITIVE);
        // Sums that overflowed are equal if both did.
        let far = |found: f64, expected: f64, size: f64| {
            let near = (found - expected).abs() <= tolerance * size;
            !near && (found.is_finite() || expected.is_finite())
        };
        if far(self.mean, expected.mean, size) {
            return Some(exact("mean", &expected.mean, &self.mean));
        }
        let n = as_f64(self.count);
        if far(self.squares / n, expected.squares / n, size * size) {
            return Some(exact("variance", &(expected.squares / n), &(self.squares / n)));
        }
        None
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts beyond 2^53 are rounded")]
fn as_f64(n: u64) -> f64 {
    n as f64
}

#[cfg(feature = "serde")]
impl serde::Serialize for Summary {
    /// A map of `count`, `non_finite`, `min`, `max`, `mean`, `variance` and `std`.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut map = serializer.serialize_struct("Summary", 7)?;
        map.serialize_field("count", &self.count)?;
        map.serialize_field("non_finite", &self.non_finite)?;
        map.serialize_field("min", &self.min())?;
        map.serialize_field("max", &self.max())?;
        map.serialize_field("mean", &self.mean())?;
        map.serialize_field("variance", &self.variance())?;
        map.serialize_field("std", &self.std())?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// By the definition, in two passes.
    fn expected(numbers: &[f64]) -> Summary {
        let finite: Vec<f64> = numbers.iter().copied().filter(|number| number.is_finite()).collect();
        let n = as_f64(finite.len() as u64);
        let mean = finite.iter().sum::<f64>() / n.max(1.0);
        let squares = finite.iter().map(|number| (number - mean) * (number - mean)).sum();
        let min = finite.iter().copied().fold(f64::INFINITY, f64::min);
        let max = finite.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let non_finite = (numbers.len() - finite.len()) as u64;
        Summary::from_parts(finite.len() as u64, non_finite, [min, max, mean, squares])
    }

    fn number() -> impl Strategy<Value = f64> {
        prop_oneof![
            20 => -1e3..1e3_f64,
            1 => prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(f64::NEG_INFINITY)],
            1 => Just(1e9),
        ]
    }

    proptest! {
        #[test]
        fn summaries_are_those_of_the_definition_however_they_are_made(
            numbers in prop::collection::vec(number(), 0..200),
            cut in 0..200_usize,
        ) {
            let (whole, expected) = (Summary::of(&numbers), expected(&numbers));
            prop_assert_eq!(whole.difference(&expected, 1e-12), None);
            let (head, tail) = numbers.split_at(cut.min(numbers.len()));
            let mut merged = Summary::of(head);
            merged.merge(&Summary::of(tail));
            prop_assert_eq!(merged.difference(&expected, 1e-12), None);
            let mut added = Summary::default();
            for &number in &numbers {
                added.add(number);
            }
            prop_assert_eq!(added.difference(&expected, 1e-12), None);
        }
    }

    #[test]
    fn a_small_variance_far_from_zero_is_kept() {
        let numbers: Vec<f64> = (0..10_000).map(|n| 1e9 + f64::from(n % 2)).collect();
        assert!((Summary::of(&numbers).variance().unwrap() - 0.25).abs() < 1e-6);
        let mut merged = Summary::default();
        numbers.chunks(7).for_each(|part| merged.merge(&Summary::of(part)));
        assert!((merged.variance().unwrap() - 0.25).abs() < 1e-6, "{merged:?}");
    }

    #[test]
    fn integers_and_nothing_are_summed_up_too() {
        let summary = Summary::of(&[i32::MIN, 0, i32::MAX]);
        assert_eq!((summary.min(), summary.max()), (Some(-2_147_483_648.0), Some(2_147_483_647.0)));
        let none = Summary::of::<f32>(&[]);
        assert_eq!((none.count(), none.min(), none.mean(), none.variance()), (0, None, None, None));
        let odd = Summary::of(&[f32::NAN; 20]);
        assert_eq!((odd.count(), odd.non_finite(), odd.max()), (0, 20, None));
        let huge = Summary::of(&[1e300, -1e300]);
        assert_eq!((huge.count(), huge.max(), huge.variance(), huge.std()), (2, Some(1e300), None, None));
    }

    #[test]
    fn differences_are_named() {
        let one = Summary::of(&[1.0_f64, 2.0]);
        let found = |other: &[f64]| one.difference(&Summary::of(other), 1e-9).unwrap();
        assert_eq!(found(&[1.0]), ("count 1".into(), "2".into()));
        assert_eq!(found(&[1.5, 2.0]), ("min 1.5".into(), "1.0".into()));
        assert_eq!(found(&[1.0, 2.5]), ("max 2.5".into(), "2.0".into()));
        assert!(found(&[1.0, 2.0, f64::NAN]).0.starts_with("number of values"));
        let moved = Summary { mean: 1.51, ..one };
        assert_eq!(one.difference(&moved, 1e-9).unwrap().0, "mean 1.51");
        let wider = Summary { squares: 1.0, ..one };
        assert_eq!(one.difference(&wider, 1e-9).unwrap(), ("variance 0.5".into(), "0.25".into()));
    }
}
