//! Drawings of numbers, in SVG: lines over a run, and bars.

use std::fmt::Write;

use super::escape::html;

/// A line over a run. Each point stands for one record or more: the least, the mean and the largest value.
#[derive(Debug, Clone, Default)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) unit: String,
    /// What is given from left to right, such as `time` or `record`, and its unit.
    pub(crate) along: (String, String),
    pub(crate) points: Vec<Point>,
    /// What is to be said below, such as how many values are absent.
    pub(crate) note: String,
}

/// Some records that follow each other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Point {
    pub(crate) x: f64,
    pub(crate) least: f64,
    pub(crate) mean: f64,
    pub(crate) most: f64,
}

const WIDTH: f64 = 500.0;
const HEIGHT: f64 = 190.0;
/// Bars take the width of the page.
const WIDE: f64 = 1020.0;
const LEFT: f64 = 66.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 34.0;

/// Round numbers in a range, about `n` of them, and how many decimals they need.
///
/// # Source
/// Paul S. Heckbert, "Nice numbers for graph labels", in: Graphics Gems, 1990.
pub(crate) fn ticks(least: f64, most: f64, n: f64) -> (Vec<f64>, usize) {
    let range = most - least;
    if !range.is_finite() || range <= 0.0 {
        return (vec![least], 3);
    }
    let rough = range / n;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().find(|&nice| rough <= nice * power).unwrap_or(10.0) * power;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 20")]
    let decimals = (-step.log10().floor()).clamp(0.0, 20.0) as usize;
    let first = (least / step).ceil();
    let ticks =
        (0..64).map(|nth| (first + f64::from(nth)) * step).take_while(|&tick| tick <= most + 1e-9 * range);
    // No tick is -0.
    (ticks.map(|tick| tick + 0.0).collect(), decimals)
}

/// A number with its decimals, or with an exponent if it is long.
pub(crate) fn number(value: f64, decimals: usize) -> String {
    if value != 0.0 && (value.abs() >= 1e9 || decimals > 6) {
        return format!("{value:.3e}").replace("e-", "e\u{2212}").replace('-', "\u{2212}");
    }
    let text = format!("{:.decimals$}", value.abs());
    let (whole, rest) = text
        .split_once('.')
        .map_or((text.as_str(), String::new()), |(whole, rest)| (whole, format!(".{rest}")));
    let whole = whole.parse().map_or_else(|_| whole.to_owned(), crate::text::grouped);
    let sign = if value < 0.0 && text.bytes().any(|c| (b'1'..=b'9').contains(&c)) { "\u{2212}" } else { "" };
    format!("{sign}{whole}{rest}")
}

/// A value for people: five digits that say something.
pub(crate) fn short(value: f64) -> String {
    if !value.is_finite() {
        return if value.is_nan() { "not a number".into() } else { format!("{value}") };
    }
    if value == 0.0 {
        return "0".into();
    }
    #[allow(clippy::cast_possible_truncation, reason = "from -324 to 308")]
    let power = value.abs().log10().floor() as i32;
    if !(-4..9).contains(&power) {
        return number(value, 7);
    }
    let decimals = usize::try_from(4 - power).unwrap_or(0);
    let text = number(value, decimals.min(6));
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

impl Series {
    /// Whether each point is one record of many that come in no order of time.
    pub(crate) fn is_unordered(&self) -> bool {
        self.along.0 == "record"
            && self.points.iter().all(|p| p.least.to_bits() == p.most.to_bits() || p.mean.is_nan())
    }

    /// The least and the largest value, and the mean of the means. `None` if no value is finite.
    pub(crate) fn range(&self) -> Option<(f64, f64)> {
        let finite = self.points.iter().filter(|p| p.least.is_finite() && p.most.is_finite());
        finite.fold(None, |range: Option<(f64, f64)>, p| {
            let (least, most) = range.unwrap_or((p.least, p.most));
            Some((least.min(p.least), most.max(p.most)))
        })
    }

    /// The plot. Empty if there are no two points to draw.
    pub(crate) fn svg(&self) -> String {
        let Some((least, most)) = self.range() else { return String::new() };
        let xs = || self.points.iter().map(|p| p.x).filter(|x| x.is_finite());
        let (from, to) = (xs().fold(f64::INFINITY, f64::min), xs().fold(f64::NEG_INFINITY, f64::max));
        if from >= to {
            return String::new();
        }
        let pad = if most > least { 0.04 * (most - least) } else { 0.5_f64.max(1e-3 * most.abs()) };
        let (low, high) = (least - pad, most + pad);
        if !(high - low).is_finite() || high <= low {
            return String::new();
        }
        let (w, h) = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
        let x = |value: f64| LEFT + w * (value - from) / (to - from);
        let y = |value: f64| TOP + h * (high - value) / (high - low);
        let title = format!("{} from {} to {} {}", self.name, short(least), short(most), self.unit);
        let mut out = String::new();
        let _ = write!(
            out,
            "<svg class=\"plot\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\" data-along=\"{}\" \
             data-from=\"{from:e}\" data-to=\"{to:e}\" data-left=\"{LEFT}\" data-width=\"{w}\" data-top=\"{TOP}\" \
             data-height=\"{h}\">",
            html(&title),
            html(&self.along.0)
        );
        let (marks, decimals) = ticks(low, high, 4.0);
        for mark in marks {
            let at = y(mark);
            level(&mut out, w, at, &number(mark, decimals));
        }
        let (marks, decimals) = ticks(from, to, 6.0);
        for mark in marks {
            let _ = write!(
                out,
                "<text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                x(mark),
                TOP + h + 17.0,
                number(mark, decimals)
            );
        }
        let (along, unit) = &self.along;
        let unit = if unit.is_empty() { String::new() } else { format!(" / {unit}") };
        let _ = write!(
            out,
            "<text class=\"label\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT + w,
            HEIGHT - 3.0,
            html(&format!("{along}{unit}"))
        );
        // Gaps stay gaps: a piece for each run of finite points.
        for piece in self.points.split(|p| !(p.x.is_finite() && p.least.is_finite() && p.most.is_finite())) {
            if piece.is_empty() {
                continue;
            }
            if piece.iter().any(|p| p.most > p.least) {
                let above = piece.iter().map(|p| format!("{:.1},{:.1}", x(p.x), y(p.most)));
                let below = piece.iter().rev().map(|p| format!("{:.1},{:.1}", x(p.x), y(p.least)));
                let band = above.chain(below).collect::<Vec<_>>().join(" ");
                let _ = write!(out, "<polygon class=\"band\" points=\"{band}\"/>");
            }
            if let [p] = piece {
                let _ = write!(
                    out,
                    "<circle class=\"dot\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"1.6\"/>",
                    x(p.x),
                    y(p.mean)
                );
            } else {
                let line = piece.iter().map(|p| format!("{:.1},{:.1}", x(p.x), y(p.mean)));
                let _ = write!(
                    out,
                    "<polyline class=\"line\" points=\"{}\"/>",
                    line.collect::<Vec<_>>().join(" ")
                );
            }
        }
        let _ = write!(
            out,
            "<line class=\"cursor\" x1=\"0\" x2=\"0\" y1=\"{TOP}\" y2=\"{:.1}\"/></svg>",
            TOP + h
        );
        out
    }
}

/// A line across a plot, and its value beside it.
fn level(out: &mut String, width: f64, at: f64, value: &str) {
    let _ = write!(
        out,
        "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
         <text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>",
        LEFT + width,
        LEFT - 8.0,
        at + 4.0
    );
}

/// Bars of counts, with the range of each below.
pub(crate) fn histogram(bars: &[(String, u64)], label: &str) -> String {
    bars_of(bars, label, WIDE)
}

/// The values of all points, where their order says nothing.
pub(crate) fn distribution(series: &Series) -> String {
    const BINS: u32 = 24;
    let Some((least, most)) =
        series.range().filter(|(least, most)| (most - least).is_finite() && most > least)
    else {
        return String::new();
    };
    let is_whole = series.points.iter().all(|p| p.mean.is_nan() || p.mean.fract().abs() < f64::EPSILON);
    let step = (most - least) / f64::from(BINS - u32::from(is_whole));
    let step = if is_whole { step.ceil() } else { step };
    let mut counts = vec![0; BINS as usize];
    for point in series.points.iter().filter(|p| p.mean.is_finite()) {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "below the number of bins"
        )]
        let nth = ((point.mean - least) / step).clamp(0.0, f64::from(BINS - 1)) as usize;
        counts[nth] += 1;
    }
    let bars: Vec<_> = (0..BINS).map(|nth| short(least + f64::from(nth) * step)).zip(counts).collect();
    let unit = if series.unit.is_empty() { String::new() } else { format!(" / {}", series.unit) };
    bars_of(&bars, &format!("{}{unit}, and how many have it", series.name), WIDTH)
}

fn bars_of(bars: &[(String, u64)], label: &str, width: f64) -> String {
    let most = bars.iter().map(|(_, n)| *n).max().unwrap_or(0);
    if most == 0 {
        return String::new();
    }
    #[allow(clippy::cast_precision_loss, reason = "a drawing")]
    let (n, most) = (bars.len() as f64, most as f64);
    let (w, h) = (width - LEFT - RIGHT, 130.0);
    let mut out = format!(
        "<svg class=\"plot\" viewBox=\"0 0 {width} 190\" role=\"img\" aria-label=\"{}\">",
        html(label)
    );
    let (marks, decimals) = ticks(0.0, most, 3.0);
    for mark in marks {
        let at = TOP + h * (1.0 - mark / most);
        level(&mut out, w, at, &number(mark, decimals));
    }
    let every = bars.len().div_ceil(if width > WIDTH { 12 } else { 5 }).max(1);
    for (nth, (name, count)) in bars.iter().enumerate() {
        #[allow(clippy::cast_precision_loss, reason = "a drawing")]
        let (at, height) = (LEFT + w * nth as f64 / n, h * *count as f64 / most);
        let title = format!("{name}: {}", crate::text::grouped(*count));
        let _ = write!(
            out,
            "<rect class=\"bar\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.1}\"><title>{}</title></rect>",
            at + 1.0,
            TOP + h - height,
            (w / n - 2.0).max(1.0),
            html(&title)
        );
        if nth % every == 0 {
            let _ = write!(
                out,
                "<text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"start\">{}</text>",
                at,
                TOP + h + 17.0,
                html(name)
            );
        }
    }
    let _ = write!(
        out,
        "<text class=\"label\" x=\"{:.1}\" y=\"184\" text-anchor=\"end\">{}</text></svg>",
        LEFT + w,
        html(label)
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(ticks(0.0, 10.0, 5.0), (vec![0.0, 2.0, 4.0, 6.0, 8.0, 10.0], 0));
        assert_eq!(ticks(-0.15, 0.15, 3.0), (vec![-0.1, 0.0, 0.1], 1));
        assert_eq!(ticks(5.0, 5.0, 4.0).0, [5.0]);
        assert_eq!(ticks(f64::NAN, 1.0, 4.0).0.len(), 1);
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(number(-12_345.5, 1), "\u{2212}12,345.5");
        assert_eq!(number(-0.01, 1), "0.0");
        assert_eq!([short(0.5), short(-3.0), short(1234.5678)], ["0.5", "\u{2212}3", "1,234.6"]);
        assert_eq!(short(1.5e-7), "1.500e\u{2212}7");
    }

    #[test]
    fn what_is_no_number_leaves_a_gap() {
        let point = |x: f64, value: f64| Point { x, least: value, mean: value, most: value };
        let mut series = Series { name: "energy".into(), ..Series::default() };
        for x in 0..10_u8 {
            series.points.push(point(x.into(), if x == 4 { f64::NAN } else { f64::from(x) }));
        }
        let svg = series.svg();
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        series.points = vec![point(0.0, f64::INFINITY), point(1.0, f64::NAN)];
        assert_eq!(series.svg(), "");
        series.points = vec![point(0.0, f64::MIN), point(1.0, f64::MAX)];
        assert!(!series.svg().contains("NaN"));
        series.points = vec![point(0.0, 7.0), point(1.0, 7.0)];
        assert!(series.svg().contains("<polyline"));
    }
}
