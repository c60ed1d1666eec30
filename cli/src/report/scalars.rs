//! Scalars over the run, as lines: from the columns of all records, or from some frames that are read.

use std::collections::BTreeMap;
use std::time::Instant;

use vldepot::codecs::AtomicFrameCodec;
use vldepot::{Codec, Depot, Raw, ScalarKind};

use super::data::{Data, LIMIT, Sampled, scattered};
use super::plot::{self, Point, Series};
use super::scene::{Scenes, singles};
use crate::failure::chain;
use crate::text;

/// Points of a plot.
const POINTS: u64 = 500;

/// Records of a depot without columns that are read for their single values.
const READ_FOR_PLOTS: u64 = 1000;

impl Data {
    /// Scalars over the run: those in columns, or else those of frames that are read.
    pub(super) fn read_columns(&mut self, depot: &Depot<Raw>) {
        if depot.columns().is_empty() {
            if self.is(AtomicFrameCodec::ID) {
                self.read_singles(depot, &[]);
            }
            return;
        }
        let deadline = Instant::now() + LIMIT;
        let len = depot.len();
        // The index gives columns fast by long ranges; each range is divided into as many points as it needs.
        let at_once = (len / POINTS).max(1).saturating_mul((200_000 / (len / POINTS).max(1)).max(1));
        let step = len.div_ceil(POINTS).max(1);
        let mut all: Vec<Vec<Point>> = vec![Vec::new(); depot.columns().len()];
        let mut absent = vec![0_u64; all.len()];
        let mut from = 0;
        while from < len && Instant::now() < deadline {
            let to = (from + at_once.div_ceil(step) * step).min(len);
            for (nth, column) in depot.columns().iter().enumerate() {
                match depot.column(&column.name, from..to) {
                    Ok(values) => {
                        absent[nth] += values.n_absent() as u64;
                        let values: Vec<f64> = values
                            .iter()
                            .map(|value| value.map_or(f64::NAN, vldepot::Scalar::to_f64))
                            .collect();
                        let step = usize::try_from(step).unwrap_or(usize::MAX);
                        for (n, values) in (0_u64..).zip(values.chunks(step)) {
                            all[nth].push(point(from + n * step as u64, values));
                        }
                    }
                    Err(error) => self.fail(chain(&error)),
                }
            }
            from = to;
        }
        self.plots_from =
            format!("the columns of {}", Sampled { seen: from, of: len }.of_things(self.thing()));
        let units = Scenes::new(depot).units;
        let is_atomic = self.is(AtomicFrameCodec::ID);
        let all = depot.columns().iter().zip(all).zip(absent).map(|((column, points), absent)| {
            let unit = match column.name.as_ref() {
                "time" if is_atomic => units.time.to_string(),
                "energy" if is_atomic => units.energy.to_string(),
                _ => String::new(),
            };
            let note = if absent > 0 {
                format!("{} without a value", text::count(absent, "record"))
            } else {
                String::new()
            };
            let is_whole = column.kind == ScalarKind::Integer;
            (Series { name: column.name.to_string(), unit, points, note, ..Series::default() }, is_whole)
        });
        let all = all.collect();
        self.sort_out(all, &[]);
        if is_atomic {
            // The writer's own values, such as a temperature, are in no column.
            let mut known: Vec<String> =
                depot.columns().iter().map(|column| column.name.to_string()).collect();
            known.push("atoms".into());
            self.read_singles(depot, &known);
        }
    }

    /// Single values of frames from all over the depot.
    fn read_singles(&mut self, depot: &Depot<Raw>, known: &[String]) {
        let deadline = Instant::now() + LIMIT;
        let units = Scenes::new(depot).units;
        let mut all: BTreeMap<String, (Vec<(u64, f64)>, String)> = BTreeMap::new();
        let mut order = Vec::new();
        let mut read = Vec::new();
        for position in scattered(depot.len(), READ_FOR_PLOTS) {
            if Instant::now() > deadline {
                break;
            }
            let Ok(record) = depot.get_at(position) else { continue };
            let Ok(frame) = AtomicFrameCodec::any().view(record.as_bytes()) else { continue };
            if frame.positions_any().is_none() {
                continue;
            }
            read.push(position);
            #[allow(clippy::cast_precision_loss, reason = "it is drawn")]
            let atoms = ("atoms".to_owned(), frame.n_atoms() as f64, String::new());
            for (name, value, unit) in singles(&frame, &units).into_iter().chain([atoms]) {
                let (values, _) = all.entry(name.clone()).or_insert_with(|| {
                    order.push(name);
                    (Vec::new(), unit)
                });
                values.push((position, value));
            }
        }
        let series = order.into_iter().filter_map(|name| {
            let (values, unit) = all.remove(&name)?;
            let values: BTreeMap<u64, f64> = values.into_iter().collect();
            let points = read.iter().map(|&at| point(at, &[values.get(&at).copied().unwrap_or(f64::NAN)]));
            let is_whole = name == "step" || name == "atoms";
            Some((Series { name, unit, points: points.collect(), ..Series::default() }, is_whole))
        });
        let series: Vec<_> = series.collect();
        if series.iter().all(|(series, _)| known.contains(&series.name)) {
            return;
        }
        let from = Sampled { seen: read.len() as u64, of: depot.len() }.of_things(self.thing());
        self.plots_from = match self.plots_from.as_str() {
            "" => from,
            columns => format!("{columns}, and what is in no column from {from}"),
        };
        self.sort_out(series, known);
    }

    /// Says what needs no plot, and chooses what goes from left to right.
    fn sort_out(&mut self, mut all: Vec<(Series, bool)>, known: &[String]) {
        // Topologies have no values at all.
        let n = all.first().map_or(0, |(series, _)| series.points.len());
        let has_any: Vec<bool> = (0..n)
            .map(|nth| {
                all.iter().any(|(series, _)| series.points.get(nth).is_some_and(|p| p.mean.is_finite()))
            })
            .collect();
        for (series, _) in &mut all {
            let mut kept = has_any.iter();
            series.points.retain(|_| kept.next().copied().unwrap_or(true));
        }
        let of = |name: &str| all.iter().find(|(series, _)| series.name == name).map(|(series, _)| series);
        let goes_up = |series: &&Series| {
            let xs: Vec<f64> = series.points.iter().map(|p| p.mean).collect();
            xs.len() > 1 && xs.iter().all(|x| x.is_finite()) && xs.windows(2).all(|pair| pair[0] < pair[1])
        };
        let along = of("time").filter(goes_up).or_else(|| of("step").filter(goes_up)).cloned();
        for (mut series, is_whole) in all.into_iter().filter(|(series, _)| !known.contains(&series.name)) {
            let Some((least, most)) = series.range() else {
                continue;
            };
            let unit = if series.unit.is_empty() { String::new() } else { format!(" {}", series.unit) };
            let show = |value| if is_whole { plot::number(value, 0) } else { plot::short(value) };
            let all_there = series.note.is_empty();
            if least.to_bits() == most.to_bits() && all_there {
                self.even.push((series.name, format!("{}{unit} throughout", show(least))));
                continue;
            }
            if (series.name == "step" || series.name == "time") && goes_up(&&series) {
                let note = if all_there { String::new() } else { format!(" ({})", series.note) };
                self.even.push((series.name, format!("{} to {}{unit}{note}", show(least), show(most))));
                continue;
            }
            if let Some(along) = &along {
                series.along = (along.name.clone(), along.unit.clone());
                for (point, x) in series.points.iter_mut().zip(&along.points) {
                    point.x = x.mean;
                }
            } else {
                series.along = ("record".into(), String::new());
            }
            self.plots.push(series);
        }
    }
}

/// Some values of records from `position` on, as one point.
fn point(position: u64, values: &[f64]) -> Point {
    let finite = values.iter().copied().filter(|value| value.is_finite());
    let (mut n, mut mean, mut least, mut most) = (0.0, 0.0, f64::INFINITY, f64::NEG_INFINITY);
    for value in finite {
        n += 1.0;
        // Welford's mean: no sum that overflows.
        mean += (value - mean) / n;
        (least, most) = (least.min(value), most.max(value));
    }
    #[allow(clippy::cast_precision_loss, reason = "it is drawn")]
    let x = position as f64;
    if n == 0.0 {
        Point { x, least: f64::NAN, mean: f64::NAN, most: f64::NAN }
    } else {
        Point { x, least, mean, most }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_of_finite_values() {
        let p = point(3, &[1.0, f64::NAN, 3.0, f64::INFINITY]);
        assert_eq!((p.x, p.least, p.mean, p.most), (3.0, 1.0, 2.0, 3.0));
        assert!(point(0, &[f64::NAN]).mean.is_nan());
        assert!(point(0, &[f64::MAX, f64::MAX]).mean.is_finite());
    }
}
