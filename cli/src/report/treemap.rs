//! Rectangles with given areas.
//!
//! # Source
//! Mark Bruls, Kees Huizing and Jarke J. van Wijk, "Squarified Treemaps", Data Visualization 2000, pages
//! 33-42. Rows are filled, largest first, along the shorter side of what is left, for as long as that makes
//! the worst shape of the row better.

/// A rectangle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rect {
    pub(crate) x: f64,
    pub(crate) y: f64,
    pub(crate) w: f64,
    pub(crate) h: f64,
}

impl Rect {
    /// What is left inside a border, which is wider at the top.
    pub(crate) fn inside(self, top: f64, border: f64) -> Self {
        let w = (self.w - 2.0 * border).max(0.0);
        let h = (self.h - top - border).max(0.0);
        Self { x: self.x + border.min(self.w), y: self.y + top.min(self.h), w, h }
    }
}

/// The worst ratio of sides in a row of such areas along a side of length `side`.
fn worst(sum: f64, largest: f64, smallest: f64, side: f64) -> f64 {
    let (square, sums) = (side * side, sum * sum);
    (square * largest / sums).max(sums / (square * smallest))
}

/// Divides a rectangle by sizes, which are positive and go down. The areas are in the ratios of the sizes.
pub(crate) fn squarify(sizes: &[f64], whole: Rect) -> Vec<Rect> {
    let total: f64 = sizes.iter().sum();
    let scale = if total > 0.0 { whole.w * whole.h / total } else { 0.0 };
    let mut rects = Vec::with_capacity(sizes.len());
    let (mut left, mut rest) = (whole, sizes);
    while let Some(&first) = rest.first() {
        let side = left.w.min(left.h).max(f64::MIN_POSITIVE);
        let largest = first * scale;
        let (mut n, mut sum) = (1, largest);
        while let Some(&next) = rest.get(n) {
            let next = next * scale;
            let before = worst(sum, largest, rest[n - 1] * scale, side);
            if worst(sum + next, largest, next, side) > before {
                break;
            }
            (n, sum) = (n + 1, sum + next);
        }
        let (row, others) = rest.split_at(n);
        let is_last = others.is_empty();
        let across = left.w >= left.h;
        // The last row takes all that is left, whatever was rounded.
        let depth = match (is_last, across) {
            (true, true) => left.w,
            (true, false) => left.h,
            _ => (sum / side).min(left.w.max(left.h)),
        };
        let mut at = 0.0;
        for &size in row {
            let length = if sum > 0.0 { side * (size * scale / sum) } else { 0.0 };
            rects.push(if across {
                Rect { x: left.x, y: left.y + at, w: depth, h: length }
            } else {
                Rect { x: left.x + at, y: left.y, w: length, h: depth }
            });
            at += length;
        }
        if across {
            left = Rect { x: left.x + depth, w: left.w - depth, ..left };
        } else {
            left = Rect { y: left.y + depth, h: left.h - depth, ..left };
        }
        rest = others;
    }
    rects
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_example_of_the_paper_comes_out() {
        let rects = squarify(&[6.0, 6.0, 4.0, 3.0, 2.0, 2.0, 1.0], Rect { x: 0.0, y: 0.0, w: 6.0, h: 4.0 });
        let sides: Vec<_> =
            rects.iter().map(|r| ((r.w * 100.0).round() / 100.0, (r.h * 100.0).round() / 100.0)).collect();
        // Figure 4 and 5 there: two of 3 by 2 above each other, then 4 and 3 in a row of height 7/3.
        assert_eq!(sides[..4], [(3.0, 2.0), (3.0, 2.0), (1.71, 2.33), (1.29, 2.33)]);
    }

    proptest! {
        #[test]
        fn areas_are_proportional_and_nothing_overlaps(
            mut sizes in prop::collection::vec(1_u32..1_000_000, 1..60),
            w in 1_u32..2000, h in 1_u32..2000,
        ) {
            sizes.sort_unstable_by(|a, b| b.cmp(a));
            let sizes: Vec<f64> = sizes.into_iter().map(f64::from).collect();
            let whole = Rect { x: 3.0, y: -2.0, w: f64::from(w), h: f64::from(h) };
            let rects = squarify(&sizes, whole);
            prop_assert_eq!(rects.len(), sizes.len());
            let (area, total) = (whole.w * whole.h, sizes.iter().sum::<f64>());
            let small = 1e-6 * area.max(1.0);
            for (rect, size) in rects.iter().zip(&sizes) {
                prop_assert!((rect.w * rect.h - area * size / total).abs() <= small, "{rect:?}");
                let slack = 1e-6 * (whole.w + whole.h);
                prop_assert!(rect.x >= whole.x - slack && rect.x + rect.w <= whole.x + whole.w + slack);
                prop_assert!(rect.y >= whole.y - slack && rect.y + rect.h <= whole.y + whole.h + slack);
            }
            for (n, one) in rects.iter().enumerate() {
                for other in &rects[n + 1..] {
                    let w = (one.x + one.w).min(other.x + other.w) - one.x.max(other.x);
                    let h = (one.y + one.h).min(other.y + other.h) - one.y.max(other.y);
                    prop_assert!(w.max(0.0) * h.max(0.0) <= small, "{one:?} and {other:?}");
                }
            }
        }
    }
}
