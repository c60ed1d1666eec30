//! The Rust side of `benches/python/bench.py`: reads molecules that the script stored, in the order that it asks for.
//!
//! Each line on stdin names a measurement, `get` or `flat`. Each answer is the seconds that it took.

use std::fs;
use std::hint::black_box;
use std::io::{BufRead, Write};
use std::path::Path;
use std::time::Instant;

use vldepot::Depot;
use vldepot::codecs::{AtomicFrameCodec, Fields, FlatFrames};

const BATCH: usize = 256;

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let (Some(depot), Some(names)) = (arguments.next(), arguments.next()) else {
        println!("benches/python/bench.py runs this, with a depot and a file of names");
        return;
    };
    let depot = Depot::open(Path::new(&depot), AtomicFrameCodec::new()).unwrap();
    let names = fs::read_to_string(names).unwrap();
    let names: Vec<&str> = names.lines().collect();
    println!("ready");
    let mut flat = FlatFrames::default();
    for line in std::io::stdin().lock().lines() {
        let started = Instant::now();
        match line.unwrap().as_str() {
            "get" => {
                for name in &names {
                    let frame = depot.get(name).unwrap();
                    black_box(frame.view().positions().iter().sum::<f32>());
                }
            }
            "flat" => {
                for names in names.chunks(BATCH) {
                    depot.get_many_flat_into(names, Fields::POSITIONS, &mut flat).unwrap();
                    black_box(flat.positions.as_flattened().iter().sum::<f32>());
                }
            }
            other => panic!("no measurement is called {other}"),
        }
        println!("{}", started.elapsed().as_secs_f64());
        std::io::stdout().flush().unwrap();
    }
}
