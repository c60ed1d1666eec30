//! What the benches share: data, Blosc2 by itself, and comparisons that hold on a busy machine.

#![allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "measurements")]

pub mod blosc;
pub mod data;

use std::time::{Duration, Instant};

use criterion::Criterion;

/// Takes few samples, because an iteration handles megabytes, and all benches together should take
/// minutes.
pub fn criterion() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(1200))
        .without_plots()
        .configure_from_args()
}

/// The times of two jobs that ran in turns, so that a slow machine slows both.
pub struct Contest {
    ours: Vec<f64>,
    theirs: Vec<f64>,
}

impl Contest {
    /// Runs both jobs in turns. Each job returns the time that counts.
    pub fn run(
        rounds: usize,
        mut ours: impl FnMut() -> Duration,
        mut theirs: impl FnMut() -> Duration,
    ) -> Self {
        let mut times = Self { ours: Vec::new(), theirs: Vec::new() };
        // Runs each once to fill the caches.
        ours();
        theirs();
        for _ in 0..rounds {
            times.ours.push(ours().as_secs_f64());
            times.theirs.push(theirs().as_secs_f64());
        }
        times
    }

    /// Our time divided by theirs: the median over the rounds.
    pub fn time_ratio(&self) -> f64 {
        median(self.ours.iter().zip(&self.theirs).map(|(ours, theirs)| ours / theirs).collect())
    }

    /// Our median, in seconds.
    pub fn ours(&self) -> f64 {
        median(self.ours.clone())
    }

    /// Their median, in seconds.
    pub fn theirs(&self) -> f64 {
        median(self.theirs.clone())
    }
}

/// The median of `values`.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// How long `job` takes.
pub fn timed(job: impl FnOnce()) -> Duration {
    let start = Instant::now();
    job();
    start.elapsed()
}

/// Prints a measured number and its goal, which is an upper limit.
pub fn goal(what: &str, value: f64, unit: &str, at_most: f64) {
    verdict(what, value, unit, "<=", at_most, value <= at_most);
}

/// Like [`goal`], but the goal is a lower limit.
pub fn goal_at_least(what: &str, value: f64, unit: &str, at_least: f64) {
    verdict(what, value, unit, ">=", at_least, value >= at_least);
}

fn verdict(what: &str, value: f64, unit: &str, sign: &str, limit: f64, good: bool) {
    let good = if good { "met" } else { "MISSED" };
    println!("  {what:<68} {value:>8.3} {unit:<5} {sign} {limit} {good}");
}

/// Prints a fact without a goal.
pub fn fact(what: &str, value: impl std::fmt::Display) {
    println!("  {what:<68} {value}");
}
