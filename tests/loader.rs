//! What the loader promises: every record once, an order that depends on nothing but seed and epoch, and
//! exact resuming.

#![allow(
    clippy::cast_possible_truncation,
    reason = "test data are small, or made of the low bytes of counters"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use vldepot::loader::OnError;
use vldepot::storage::{Bytes, MemoryStorage, Storage};
use vldepot::{Codec, CodecError, Depot, ErrorKind, Key, Layout, Loader, LoaderBuilder, LoaderState, Raw};

/// Chunks of 8 KiB, blocks of 1 KiB.
fn small_chunks() -> Layout {
    Layout::default().with_chunk_size(8192).with_block_size(1024)
}

/// The bytes of record `n`.
fn payload(n: u64) -> Vec<u8> {
    // Some are empty, a few are larger than a chunk.
    let len = if n % 97 == 5 { 20_000 } else { n * 7919 % 700 };
    (0..len).map(|i| (n * 31 + i / 3) as u8).collect()
}

/// A depot of `n` records called 0, 1, ..
fn depot(n: u64) -> Depot<Raw> {
    let depot = Depot::builder(Raw).layout(small_chunks()).memory().unwrap();
    (0..n).for_each(|n| depot.put(n, &payload(n)).unwrap());
    depot
}

fn setting(which: usize, seed: u64) -> impl Fn(LoaderBuilder<'_, Raw>) -> LoaderBuilder<'_, Raw> {
    move |loader| match which {
        0 => loader.sequential(),
        1 => loader.shuffle(seed).window(30_000).group(3000),
        2 => loader.shuffle_full(seed),
        _ => loader.shuffle(seed),
    }
}

/// The positions in each batch.
fn batches<C: Codec>(loader: Loader<C>) -> Vec<Vec<u64>> {
    loader.map(|batch| batch.unwrap().positions().to_vec()).collect()
}

fn is_each_once(batches: &[Vec<u64>], n: u64) -> bool {
    let mut all: Vec<u64> = batches.iter().flatten().copied().collect();
    all.sort_unstable();
    all.into_iter().eq(0..n)
}

#[test]
fn records_come_with_their_own_bytes_and_names() {
    let depot = depot(500);
    for which in 0..4 {
        for threads in [0, 1, 3] {
            let set = setting(which, 3);
            for batch in set(depot.loader()).batch_size(17).threads(threads).build().unwrap() {
                let batch = batch.unwrap();
                let keys = batch.keys().unwrap();
                assert_eq!(keys.len(), batch.len());
                for ((&position, key), view) in batch.positions().iter().zip(keys).zip(batch.views()) {
                    assert!(view == payload(position), "record {position}");
                    assert_eq!(key, Key::Int(i128::from(position)));
                }
            }
        }
    }
}

#[test]
fn sequential_batches_follow_the_depot_and_the_last_has_what_is_left() {
    let depot = depot(10);
    let batches = batches(depot.loader().batch_size(4).build().unwrap());
    assert_eq!(batches, [vec![0, 1, 2, 3], vec![4, 5, 6, 7], vec![8, 9]]);
    let dropped = depot.loader().batch_size(4).drop_last(true).build().unwrap();
    assert_eq!(dropped.remaining().unwrap(), 2);
    assert_eq!(dropped.count(), 2);
}

#[test]
fn depots_of_any_size_and_batches_larger_than_the_depot_are_served() {
    for n in [0, 1, 2, 3, 40] {
        let depot = depot(n);
        for which in 0..4 {
            for batch_size in [1, 2, 1000] {
                let loader = || setting(which, 1)(depot.loader()).batch_size(batch_size).epochs(2);
                let served = batches(loader().build().unwrap());
                assert_eq!(served.len() as u64, 2 * n.div_ceil(batch_size as u64));
                let (first, second) = served.split_at(served.len() / 2);
                assert!(is_each_once(first, n) && is_each_once(second, n), "{n} {which} {batch_size}");
                let endless = loader().epochs(u64::MAX).build().unwrap();
                assert_eq!(endless.take(9).count(), if n == 0 { 0 } else { 9 });
            }
        }
    }
}

#[test]
fn a_worker_without_batches_ends_instead_of_looking_for_ever() {
    let depot = depot(3);
    let loader = depot.loader().batch_size(2).worker(5, 6).epochs(u64::MAX).build().unwrap();
    assert_eq!(loader.count(), 0);
}

#[test]
fn epochs_differ_and_the_same_epoch_of_the_same_seed_is_the_same() {
    let depot = depot(300);
    for which in 1..4 {
        let run = |seed: u64, epoch: u64, threads: usize| {
            let loader = setting(which, seed)(depot.loader()).batch_size(10).epoch(epoch).threads(threads);
            batches(loader.build().unwrap())
        };
        assert_eq!(run(1, 0, 0), run(1, 0, 2));
        assert_ne!(run(1, 0, 1), run(1, 1, 1));
        assert_ne!(run(1, 0, 1), run(2, 0, 1));
        let both = setting(which, 1)(depot.loader()).batch_size(10).epochs(2).build().unwrap();
        assert_eq!(batches(both), [run(1, 0, 1), run(1, 1, 1)].concat());
    }
}

#[test]
fn the_order_does_not_depend_on_batch_size_or_prefetching() {
    let depot = depot(400);
    let flat = |batch: usize, prefetch: usize| {
        let loader = depot.loader().shuffle(5).window(20_000).group(2000).batch_size(batch);
        batches(loader.prefetch(prefetch).build().unwrap()).concat()
    };
    assert_eq!(flat(1, 0), flat(7, 100));
    assert_eq!(flat(1, 0), flat(64, 1));
}

#[test]
fn removed_and_replaced_records_are_passed_over() {
    let depot = depot(100);
    for name in (0..100_u64).filter(|n| n % 3 == 0) {
        depot.remove(name).unwrap();
    }
    depot.put(1, b"replaced").unwrap();
    depot.set_metadata(2, &serde_json::json!({"moved": true})).unwrap();
    depot.commit().unwrap();
    depot.remove(4).unwrap();
    for which in 0..4 {
        let mut names = Vec::new();
        for batch in setting(which, 1)(depot.loader()).batch_size(9).build().unwrap() {
            let batch = batch.unwrap();
            for (key, view) in batch.keys().unwrap().into_iter().zip(batch.views()) {
                let Key::Int(name) = key else { panic!("{key}") };
                let name = u64::try_from(name).unwrap();
                assert!(view == if name == 1 { b"replaced".to_vec() } else { payload(name) });
                names.push(name);
            }
        }
        names.sort_unstable();
        assert!(names.into_iter().eq((0..100).filter(|n| n % 3 != 0 && *n != 4)));
    }
}

#[test]
fn a_loader_keeps_to_the_records_of_when_it_was_built() {
    let depot = depot(50);
    let loader = depot.loader().batch_size(8).shuffle(1).build().unwrap();
    (50..90).for_each(|n| depot.put(n, &payload(n)).unwrap());
    (0..20).for_each(|n| assert!(depot.remove(n).unwrap()));
    depot.commit().unwrap();
    assert_eq!(loader.records(), 50);
    assert!(is_each_once(&batches(loader), 50));
}

#[test]
fn a_file_closes_for_the_next_writer_while_a_loader_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("train.vld");
    let depot = Depot::builder(Raw).layout(small_chunks()).create(&path).unwrap();
    (0..200).for_each(|n| depot.put(n, &payload(n)).unwrap());
    let mut loader = depot.loader().batch_size(5).shuffle(1).build().unwrap();
    let first = loader.next().unwrap().unwrap();
    depot.close().unwrap();

    let depot = Depot::append(&path, Raw).unwrap();
    (200..300).for_each(|n| depot.put(n, &payload(n)).unwrap());
    assert!(matches!(Depot::append(&path, Raw), Err(error) if matches!(error.kind(), ErrorKind::Locked)));
    let mut rest = batches(loader);
    depot.close().unwrap();
    rest.push(first.positions().to_vec());
    assert!(is_each_once(&rest, 200));
    assert_eq!(Depot::open(&path, Raw).unwrap().len(), 300);
}

#[test]
fn batches_and_loaders_go_to_other_threads_and_outlive_the_depot() {
    let depot = depot(64);
    let mut loader = depot.loader().batch_size(16).shuffle(1).build().unwrap();
    drop(depot);
    let (batch, loader) =
        std::thread::spawn(move || (loader.next().unwrap().unwrap(), loader)).join().unwrap();
    let mut all = batches(loader);
    all.push(batch.positions().to_vec());
    assert!(is_each_once(&all, 64));
    assert!(batch.into_iter().all(|record| record.len() < 30_000));
}

#[test]
fn subsets_come_whole_and_alone() {
    let depot = depot(300);
    let train: Vec<u64> = (0..300).filter(|n| n % 5 != 0).collect();
    for which in 0..4 {
        let loader =
            setting(which, 1)(depot.loader()).batch_size(7).positions(train.clone()).build().unwrap();
        let mut all = batches(loader).concat();
        all.sort_unstable();
        assert_eq!(all, train);
        let loader = setting(which, 1)(depot.loader()).batch_size(7).range(100..=250).build().unwrap();
        let mut all = batches(loader).concat();
        all.sort_unstable();
        assert!(all.into_iter().eq(100..=250));
        let loader = setting(which, 1)(depot.loader()).keys(&[9_u64, 3, 77]).build().unwrap();
        let mut all = batches(loader).concat();
        all.sort_unstable();
        assert_eq!(all, [3, 9, 77]);
    }
    let listed = depot.loader().batch_size(2).positions([9, 3, 9]).build().unwrap();
    assert_eq!(batches(listed), [vec![9, 3], vec![9]], "in the order of the list, and as often");
    assert!(
        matches!(depot.loader().positions([300]).build(), Err(error) if matches!(error.kind(), ErrorKind::OutOfRange { position: 300, len: 300, .. }))
    );
    assert!(
        matches!(depot.loader().keys(&["nobody"]).build(), Err(error) if matches!(error.kind(), ErrorKind::NotFound))
    );
}

#[test]
fn a_shuffled_list_does_not_depend_on_the_order_of_the_list() {
    let depot = depot(100);
    let run = |positions: Vec<u64>| batches(depot.loader().shuffle(1).positions(positions).build().unwrap());
    assert_eq!(run((10..90).collect()), run((10..90).rev().collect()));
}

#[test]
fn batches_by_bytes_or_costs_keep_the_budget_and_are_as_full_as_it_allows() {
    let depot = depot(400);
    let costs: Vec<u32> = (0..400).map(|n| 1 + n * 7 % 50).collect();
    for which in 0..4 {
        let loader = || setting(which, 2)(depot.loader());
        let cost = |position: &u64| u64::from(costs[*position as usize]);
        let bytes = |position: &u64| payload(*position).len() as u64;
        let checked = |batches: Vec<Vec<u64>>, budget: u64, cost: &dyn Fn(&u64) -> u64| {
            assert!(is_each_once(&batches, 400));
            for (number, batch) in batches.iter().enumerate() {
                let sum: u64 = batch.iter().map(cost).sum();
                assert!(sum <= budget || batch.len() == 1, "{sum} of {budget}");
                if let Some(next) = batches.get(number + 1) {
                    assert!(sum + cost(&next[0]) > budget, "there was room for one more");
                }
            }
        };
        checked(batches(loader().batch_bytes(5000).build().unwrap()), 5000, &bytes);
        checked(batches(loader().batch_costs(100, costs.clone()).build().unwrap()), 100, &cost);
        let by_length = loader().batch_by_length(40, |length| u64::from(length / 50));
        checked(batches(by_length.build().unwrap()), 40, &|position| bytes(position) / 50);
        let both = batches(loader().batch_bytes(5000).batch_size(3).build().unwrap());
        assert!(is_each_once(&both, 400) && both.iter().all(|batch| batch.len() <= 3));
    }
}

#[test]
fn even_ranks_repeat_the_first_batches_or_drop_the_last() {
    let depot = depot(100);
    let ranks = |even: bool, drop: bool| -> Vec<Vec<(Vec<u64>, bool)>> {
        let rank = |rank| {
            let loader = depot.loader().batch_size(9).shuffle(3).rank(rank, 5).even(even).drop_last(drop);
            let loader = loader.build().unwrap();
            let remaining = loader.remaining().unwrap();
            let batches: Vec<_> =
                loader.map(Result::unwrap).map(|b| (b.positions().to_vec(), b.is_repeated())).collect();
            assert_eq!(batches.len() as u64, remaining);
            batches
        };
        (0..5).map(rank).collect()
    };
    let lengths = |ranks: &[Vec<_>]| ranks.iter().map(Vec::len).collect::<Vec<_>>();
    assert_eq!(lengths(&ranks(false, false)), [3, 3, 2, 2, 2]);
    assert_eq!(lengths(&ranks(false, true)), [3, 2, 2, 2, 2]);
    let dropped = ranks(true, true);
    assert_eq!(lengths(&dropped), [2; 5]);
    let repeated = ranks(true, false);
    assert_eq!(lengths(&repeated), [3; 5]);
    let own: Vec<Vec<u64>> =
        repeated.iter().flatten().filter(|batch| !batch.1).map(|batch| batch.0.clone()).collect();
    assert!(is_each_once(&own, 100), "what is not repeated is everything");
    let again: Vec<_> = repeated.iter().flatten().filter(|batch| batch.1).map(|batch| &batch.0).collect();
    assert_eq!(again, [&repeated[0][0].0, &repeated[1][0].0, &repeated[2][0].0]);
}

#[test]
fn a_world_larger_than_the_epoch_gets_repeated_batches() {
    let depot = depot(4);
    for rank in 0..9 {
        let loader = depot.loader().batch_size(2).rank(rank, 9).even(true).build().unwrap();
        let batches: Vec<_> = loader.map(Result::unwrap).collect();
        assert_eq!(batches.len(), 1);
        assert_eq!(batches[0].number(), rank as u64 % 2);
        assert!(batches[0].ends_epoch());
    }
}

/// The options of a loader.
#[derive(Debug, Clone)]
struct Case {
    n: u64,
    order: usize,
    batch: usize,
    budget: Option<u64>,
    lanes: usize,
    seed: u64,
}

fn case() -> impl Strategy<Value = Case> {
    let budget = prop_oneof![Just(None), (1..4000_u64).prop_map(Some)];
    (0..260_u64, 0..4_usize, 1..40_usize, budget, 1..7_usize, any::<u64>())
        .prop_map(|(n, order, batch, budget, lanes, seed)| Case { n, order, batch, budget, lanes, seed })
}

impl Case {
    fn set<'d>(&self, depot: &'d Depot<Raw>) -> LoaderBuilder<'d, Raw> {
        let loader = setting(self.order, self.seed)(depot.loader()).batch_size(self.batch).lanes(self.lanes);
        match self.budget {
            Some(budget) => loader.batch_bytes(budget),
            None => loader,
        }
    }
}

/// Batches with their numbers, over all epochs.
fn numbered(loader: Loader<Raw>) -> Vec<((u64, u64), Vec<u64>)> {
    loader
        .map(Result::unwrap)
        .map(|batch| ((batch.epoch(), batch.number()), batch.positions().to_vec()))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if std::env::var_os("VLDEPOT_LONG_TESTS").is_some() { 2000 } else { 40 }))]

    #[test]
    fn every_record_comes_exactly_once_an_epoch(case in case(), threads in 0..3_usize) {
        let depot = depot(case.n);
        let all = numbered(case.set(&depot).threads(threads).epochs(2).build().unwrap());
        for epoch in 0..2 {
            let batches: Vec<_> =
                all.iter().filter(|batch| batch.0.0 == epoch).map(|batch| batch.1.clone()).collect();
            prop_assert!(is_each_once(&batches, case.n));
        }
        let numbers: Vec<_> = all.iter().map(|batch| batch.0).collect();
        let half = numbers.len() as u64 / 2;
        if case.budget.is_none() {
            prop_assert!(numbers.iter().copied().eq((0..2).flat_map(|e| (0..half).map(move |b| (e, b)))));
        }
    }

    #[test]
    fn batches_do_not_depend_on_the_number_of_ranks_and_workers(
        case in case(),
        world in 1..5_usize,
        workers in 1..4_usize,
    ) {
        let depot = depot(case.n);
        let alone: BTreeMap<_, _> = numbered(case.set(&depot).epochs(2).build().unwrap()).into_iter().collect();
        let mut shared = BTreeMap::new();
        for rank in 0..world {
            for worker in 0..workers {
                let loader = case.set(&depot).epochs(2).rank(rank, world).worker(worker, workers).threads(1);
                for (number, batch) in numbered(loader.build().unwrap()) {
                    prop_assert_eq!(number.1 as usize % world, rank);
                    prop_assert_eq!(number.1 as usize / world % workers, worker);
                    prop_assert!(shared.insert(number, batch).is_none());
                }
            }
        }
        prop_assert_eq!(alone, shared);
    }

    #[test]
    fn resuming_anywhere_twice_is_as_if_nothing_had_happened(
        case in case(),
        stops in (0..60_usize, 0..60_usize),
        threads in 0..3_usize,
    ) {
        let depot = depot(case.n);
        let whole = numbered(case.set(&depot).epochs(3).build().unwrap());
        let mut pieces = Vec::new();
        let mut state: Option<LoaderState> = None;
        for stop in [stops.0, stops.1, usize::MAX] {
            let loader = case.set(&depot).epochs(3).threads(threads);
            let mut loader = match &state {
                Some(state) => loader.resume(state).build().unwrap(),
                None => loader.build().unwrap(),
            };
            for batch in loader.by_ref().take(stop) {
                let batch = batch.unwrap();
                pieces.push(((batch.epoch(), batch.number()), batch.positions().to_vec()));
            }
            let json = serde_json::to_string(&loader.state()).unwrap();
            state = Some(serde_json::from_str(&json).unwrap());
        }
        prop_assert_eq!(whole, pieces);
    }

    #[test]
    fn the_state_of_one_world_resumes_in_another(
        case in case(),
        steps in 0..20_usize,
        even in any::<bool>(),
        old in (1..4_usize, 1..4_usize),
        new in (1..4_usize, 1..4_usize),
    ) {
        let depot = depot(case.n);
        let whole: BTreeMap<_, _> = numbered(case.set(&depot).epochs(2).build().unwrap()).into_iter().collect();
        let mut seen = BTreeMap::new();
        let mut ranks = Vec::new();
        for rank in 0..old.0 {
            let make = |worker| case.set(&depot).even(even).rank(rank, old.0).worker(worker, old.1).epochs(2).threads(0).build();
            let mut workers: Vec<_> = (0..old.1).map(|worker| make(worker).unwrap()).collect();
            // The workers take turns, and begin each epoch together.
            let mut turn = 0;
            let mut taken = 0;
            while taken < steps {
                let Some(batch) = workers[turn % old.1].next() else { break };
                let batch = batch.unwrap();
                if !batch.is_repeated() {
                    seen.insert((batch.epoch(), batch.number()), batch.positions().to_vec());
                }
                taken += 1;
                let epoch = workers.iter().map(Loader::epoch).min().unwrap();
                turn = if epoch > batch.epoch() { 0 } else { turn + 1 };
            }
            let states: Vec<_> = workers.iter().map(Loader::state).collect();
            ranks.push((taken, LoaderState::merge(&states).unwrap()));
        }
        // Ranks whose epoch ended earlier are not at the same step.
        prop_assume!(ranks.iter().all(|rank| rank == &ranks[0]));
        let state = &ranks[0].1;
        for rank in 0..new.0 {
            for worker in 0..new.1 {
                let loader = case.set(&depot).even(even).rank(rank, new.0).worker(worker, new.1).epochs(2).resume(state);
                for batch in loader.build().unwrap().map(Result::unwrap).filter(|batch| !batch.is_repeated()) {
                    let number = (batch.epoch(), batch.number());
                    let twice = seen.insert(number, batch.positions().to_vec());
                    prop_assert!(twice.is_none(), "{:?} came twice", number);
                }
            }
        }
        prop_assert_eq!(whole, seen);
    }
}

#[test]
fn each_worker_resumes_from_its_own_state() {
    let depot = depot(200);
    let make = |worker| depot.loader().batch_size(7).shuffle(1).worker(worker, 3).epochs(2);
    for worker in 0..3 {
        let whole = numbered(make(worker).build().unwrap());
        let mut first = make(worker).build().unwrap();
        let mut pieces: Vec<_> = first.by_ref().take(4).map(Result::unwrap).map(|b| b.number()).collect();
        let state = first.state();
        pieces.extend(make(worker).resume(&state).build().unwrap().map(|batch| batch.unwrap().number()));
        assert!(whole.iter().map(|batch| batch.0.1).eq(pieces));
        let other = make((worker + 1) % 3).resume(&state).build();
        assert!(
            matches!(other, Err(error) if matches!(error.kind(), ErrorKind::InvalidOptions { why } if why.contains("merge")))
        );
    }
}

#[test]
fn states_that_do_not_belong_together_are_not_merged() {
    let depot = depot(200);
    let state = |worker: usize, steps: usize, seed: u64| {
        let mut loader =
            depot.loader().batch_size(7).shuffle(seed).worker(worker, 2).epochs(2).build().unwrap();
        assert_eq!(loader.by_ref().take(steps).count(), steps);
        loader.state()
    };
    let merged = LoaderState::merge(&[state(1, 3, 1), state(0, 4, 1)]).unwrap();
    assert_eq!((merged.epoch(), merged.next_batch()), (0, 7));
    let refused = |states: &[LoaderState]| LoaderState::merge(states).unwrap_err().to_string();
    assert!(refused(&[]).contains("none"));
    assert!(refused(&[state(0, 1, 1)]).contains("[0] of 2"));
    assert!(refused(&[state(0, 1, 1), state(0, 1, 1)]).contains("[0, 0] of 2"));
    assert!(refused(&[state(0, 4, 1), state(1, 1, 1)]).contains("apart"));
    assert!(
        refused(&[state(0, 16, 1), state(1, 1, 1)]).contains("epoch 1 while another has batches left in 0")
    );
    assert!(refused(&[state(0, 1, 1), state(1, 1, 2)]).contains("different options"));
}

#[test]
fn workers_without_a_batch_in_an_epoch_do_not_hold_back_the_others() {
    // With two batches in an epoch, worker 2 never has one, and worker 1 has one.
    let depot = depot(8);
    let make =
        |worker| depot.loader().batch_size(4).shuffle(1).worker(worker, 3).epochs(u64::MAX).build().unwrap();
    let mut workers: Vec<_> = (0..3).map(make).collect();
    let mut expected = depot.loader().batch_size(4).shuffle(1).epochs(u64::MAX).build().unwrap();
    for _ in 0..20 {
        for worker in 0..2 {
            let states: Vec<_> = workers.iter().map(Loader::state).collect();
            assert_eq!(LoaderState::merge(&states).unwrap(), expected.state());
            let (batch, same) = (workers[worker].next().unwrap().unwrap(), expected.next().unwrap().unwrap());
            assert_eq!((batch.epoch(), batch.positions()), (same.epoch(), same.positions()));
        }
    }
    assert!(workers[2].next().is_none());
}

#[test]
fn a_state_of_another_loader_is_refused_with_both_values() {
    let depot = depot(100);
    let mut loader = depot.loader().batch_size(8).shuffle(1).build().unwrap();
    loader.next();
    let state = loader.state();
    let refused = |loader: LoaderBuilder<'_, Raw>| {
        let error = loader.resume(&state).build().unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::OtherLoader { .. }), "{error}");
        error.to_string()
    };
    let said = refused(depot.loader().batch_size(16).shuffle(1));
    assert!(said.contains("batch size 8, this one has 16"), "{said}");
    let said = refused(depot.loader().batch_size(8).shuffle(2));
    assert!(said.contains("seed 1") && said.contains("seed 2"), "{said}");
    let said = refused(depot.loader().batch_size(8).shuffle_full(1));
    assert!(said.contains("order shuffle, seed 1") && said.contains("shuffle_full"), "{said}");
    let said = refused(depot.loader().batch_size(8).shuffle(1).window(1 << 20));
    assert!(said.contains("67108864") && said.contains("1048576"), "{said}");
    assert!(refused(depot.loader().batch_size(8).shuffle(1).lanes(2)).contains("lanes 1"));
    assert!(refused(depot.loader().batch_size(8).shuffle(1).drop_last(true)).contains("drop_last false"));
    assert!(refused(depot.loader().batch_size(8).shuffle(1).range(0..50)).contains("records 100"));
    let list = depot.loader().batch_size(8).shuffle(1).positions(0..100);
    assert!(refused(list).contains("positions"));
    let said = refused(depot.loader().batch_size(8).shuffle(1).batch_bytes(1000));
    assert!(said.contains("budget none, this one has 1000"), "{said}");

    let json = serde_json::to_string(&state).unwrap().replace("\"version\":1", "\"version\":9");
    let newer: LoaderState = serde_json::from_str(&json).unwrap();
    let error = depot.loader().batch_size(8).shuffle(1).resume(&newer).build().unwrap_err();
    assert!(error.to_string().contains("version 9, this one has 1"), "{error}");
}

#[test]
fn a_depot_that_grew_resumes_over_the_records_there_were() {
    let depot = depot(100);
    let make = || depot.loader().batch_size(8).shuffle(1).window(10_000).epochs(2);
    let whole = batches(make().build().unwrap());
    let mut loader = make().build().unwrap();
    let mut pieces: Vec<_> =
        loader.by_ref().take(5).map(|batch| batch.unwrap().positions().to_vec()).collect();
    (100..150).for_each(|n| depot.put(n, &payload(n)).unwrap());
    let resumed = make().resume(&loader.state()).build().unwrap();
    assert_eq!(resumed.records(), 100);
    pieces.extend(batches(resumed));
    assert_eq!(pieces, whole);
}

#[test]
fn a_depot_that_lost_or_replaced_records_is_refused() {
    let full = depot(100);
    let mut loader = full.loader().batch_size(8).shuffle(1).build().unwrap();
    loader.next();
    let state = loader.state();
    let resume =
        |depot: &Depot<Raw>| depot.loader().batch_size(8).shuffle(1).resume(&state).build().map(|_| ());
    resume(&full).unwrap();
    let fewer = resume(&depot(60)).unwrap_err().to_string();
    assert!(fewer.contains("records 100, this one has 60"), "{fewer}");
    full.put(7, b"replaced").unwrap();
    let error = resume(&full).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::OtherLoader { what: "a last record", .. }), "{error}");
}

#[test]
fn hostile_states_end_or_are_refused() {
    let depot = depot(30);
    let state = depot.loader().batch_size(4).build().unwrap().state();
    let json: serde_json::Value = serde_json::to_value(&state).unwrap();
    for (field, value) in
        [("epoch", u64::MAX), ("epoch", u64::MAX - 1), ("next_batch", u64::MAX), ("next_batch", 1 << 40)]
    {
        let mut hostile = json.clone();
        hostile[field] = value.into();
        let state: LoaderState = serde_json::from_value(hostile).unwrap();
        for even in [false, true] {
            let loader = depot.loader().batch_size(4).rank(1, 3).worker(1, 2).even(even).resume(&state);
            assert_eq!(loader.build().unwrap().count(), 0);
        }
    }
}

#[test]
fn nonsense_is_refused_before_anything_is_read() {
    let depot = depot(3);
    let refused = |loader: LoaderBuilder<'_, Raw>| match loader.build() {
        Err(error) => match error.kind() {
            ErrorKind::InvalidOptions { why } => why.clone(),
            _ => panic!("{error:?}"),
        },
        other => panic!("{other:?}"),
    };
    assert!(refused(depot.loader().rank(2, 2)).contains("rank 2 of 2"));
    assert!(refused(depot.loader().worker(0, 0)).contains("worker 0 of 0"));
    assert!(refused(depot.loader().batch_size(0)).contains("batch size of 0"));
    assert!(refused(depot.loader().lanes(0)).contains("0 lanes"));
    assert!(refused(depot.loader().window(0)).contains("window"));
    assert!(refused(depot.loader().batch_bytes(9).drop_last(true)).contains("drop_last"));
    assert!(refused(depot.loader().batch_costs(9, vec![1, 1])).contains("costs of 2 records"));
}

/// Memory in which one byte reads wrong.
struct Flipped {
    bytes: MemoryStorage,
    at: u64,
}

impl Storage for Flipped {
    fn len(&self) -> std::io::Result<u64> {
        self.bytes.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<()> {
        self.bytes.read_at(offset, buf)?;
        if let Some(byte) = self.at.checked_sub(offset).and_then(|at| buf.get_mut(at as usize)) {
            *byte ^= 0x10;
        }
        Ok(())
    }

    fn write_at(&self, _: u64, _: &[u8]) -> std::io::Result<()> {
        unreachable!("opened for reading")
    }

    fn set_len(&self, _: u64) -> std::io::Result<()> {
        unreachable!("opened for reading")
    }

    fn sync(&self) -> std::io::Result<()> {
        Ok(())
    }

    fn map(&self, _: u64, _: u64) -> std::io::Result<Option<Bytes>> {
        Ok(None)
    }
}

/// 60 records, some of which cannot be read, and the positions of those.
fn damaged() -> (Depot<Raw>, Vec<u64>) {
    let whole = depot(60);
    let bytes = whole.to_bytes().unwrap();
    let size = bytes.len() as u64;
    for at in (4096..size).step_by(1009) {
        let storage = Arc::new(Flipped { bytes: MemoryStorage::from_bytes(&bytes), at });
        let Ok(depot) = Depot::builder(Raw).open_in(storage) else { continue };
        let lost: Vec<u64> = (0..60).filter(|&n| depot.get_at(n).is_err()).collect();
        if (1..10).contains(&lost.len()) && depot.len() == 60 {
            return (depot, lost);
        }
    }
    panic!("no flip costs a few records");
}

#[test]
fn a_damaged_record_stops_the_loader_by_name_and_can_be_skipped() {
    let (depot, lost) = damaged();
    for threads in [0, 2] {
        for which in 0..4 {
            let make = || setting(which, 1)(depot.loader()).batch_size(6).threads(threads);
            let mut loader = make().build().unwrap();
            let mut seen = 0;
            let error = loop {
                match loader.next() {
                    Some(Ok(batch)) => {
                        assert!(batch.positions().iter().all(|position| !lost.contains(position)));
                        seen += 1;
                    }
                    Some(Err(error)) => break error,
                    None => panic!("no error"),
                }
            };
            assert!(error.is_damage(), "{error}");
            assert!(lost.iter().any(|n| error.to_string().contains(&format!("record {n}:"))), "{error}");
            assert!(loader.next().is_none());
            assert_eq!(loader.state().next_batch(), seen, "the state is before the batch that failed");

            let mut served = Vec::new();
            let mut skipped = Vec::new();
            for batch in make().on_error(OnError::Skip).build().unwrap() {
                let batch = batch.unwrap();
                for (&position, view) in batch.positions().iter().zip(batch.views()) {
                    assert!(view == payload(position));
                    served.push(position);
                }
                skipped.extend(batch.skipped().iter().map(|(position, error)| {
                    assert!(error.is_damage() && error.to_string().contains(&format!("record {position}:")));
                    *position
                }));
            }
            skipped.sort_unstable();
            assert_eq!(skipped, lost);
            served.extend(skipped);
            assert!(is_each_once(&[served], 60));
        }
    }
}

/// Refuses records that start with 1, and panics on those that start with 2.
#[derive(Debug, Default)]
struct Moody(Arc<AtomicUsize>);

impl Codec for Moody {
    type Item = [u8];
    type View<'a> = &'a [u8];
    const ID: &'static str = "test.moody";
    const ALIGN: usize = 1;

    fn encode(&self, item: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
        out.extend_from_slice(item);
        Ok(())
    }

    fn view<'a>(&self, bytes: &'a [u8]) -> Result<&'a [u8], CodecError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        match bytes.first() {
            Some(1) => Err(CodecError::invalid("a bad mood")),
            Some(2) => panic!("a very bad mood"),
            _ => Ok(bytes),
        }
    }
}

fn moody(bad: u8) -> Depot<Moody> {
    let depot = Depot::memory(Moody::default()).unwrap();
    (0..50_u64).for_each(|n| depot.put(n, &[if n == 17 { bad } else { 0 }]).unwrap());
    depot
}

#[test]
fn a_panic_in_a_codec_is_an_error_and_no_hang() {
    let depot = moody(2);
    for threads in [0, 1, 2] {
        let loader = || depot.loader().batch_size(10).shuffle(1).threads(threads);
        let error = loader().build().unwrap().find_map(Result::err).unwrap();
        assert!(
            matches!(error.kind(), ErrorKind::Panicked { message, .. } if message == "a very bad mood"),
            "{error}"
        );
        assert!(error.to_string().contains("record 17"), "{error}");
        let skipping = loader().on_error(OnError::Skip).build().unwrap();
        assert_eq!(skipping.map(|batch| batch.unwrap().len()).sum::<usize>(), 49);
    }
}

#[test]
fn a_record_that_the_codec_refuses_is_named() {
    let depot = moody(1);
    let error = depot.loader().build().unwrap().find_map(Result::err).unwrap();
    assert!(matches!(error.kind(), ErrorKind::Codec { codec: "test.moody" }), "{error}");
    assert_eq!(error.record(), Some("17"));
}

#[test]
fn a_panic_in_a_cost_function_is_an_error_and_no_hang() {
    let depot = depot(50);
    for threads in [0, 2] {
        let loader = depot.loader().threads(threads).batch_by_length(9, |_| panic!("no idea"));
        let items: Vec<_> = loader.build().unwrap().collect();
        assert_eq!(items.len(), 1);
        assert!(
            matches!(&items[0], Err(error) if matches!(error.kind(), ErrorKind::Panicked { what, .. } if what == "the cost function"))
        );
    }
}

#[test]
fn nothing_is_read_before_the_first_batch_is_asked_for_and_little_ahead() {
    let depot = moody(0);
    let seen = Arc::clone(&depot.codec().0);
    for threads in [0, 2] {
        seen.store(0, Ordering::Relaxed);
        let mut loader =
            depot.loader().batch_size(1).shuffle(1).window(260).group(65).threads(threads).build().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert_eq!(seen.load(Ordering::Relaxed), 0);
        loader.next().unwrap().unwrap();
        drop(loader);
        assert!(seen.load(Ordering::Relaxed) <= 4 + 4 + 4, "a window, and what is read ahead");
    }
}

#[test]
fn dropping_a_loader_at_any_time_ends_its_threads() {
    for taken in [0, 1, 3, 25] {
        for threads in [1, 4] {
            let depot = moody(0);
            let seen = Arc::clone(&depot.codec().0);
            let mut loader = depot.loader().batch_size(2).shuffle(1).threads(threads).build().unwrap();
            assert_eq!(loader.by_ref().take(taken).map(Result::unwrap).count(), taken);
            drop((depot, loader));
            assert_eq!(Arc::strong_count(&seen), 1, "nobody has the codec any more");
        }
    }
}

#[test]
fn batches_say_where_epochs_end() {
    let depot = depot(10);
    let loader = depot.loader().batch_size(4).epochs(2).build().unwrap();
    let said: Vec<_> = loader.map(Result::unwrap).map(|b| (b.epoch(), b.number(), b.ends_epoch())).collect();
    let one = |epoch| [(epoch, 0, false), (epoch, 1, false), (epoch, 2, true)];
    assert_eq!(said, [one(0), one(1)].concat());
}

#[test]
fn lanes_give_ranks_parts_of_their_own() {
    let depot = Depot::memory(Raw).unwrap();
    (0..1000).for_each(|n| depot.put(n, &[7; 100]).unwrap());
    // Groups of 10 records, windows of 10 groups. Each record counts 64 bytes more than its length.
    let touched = |lanes: usize| {
        let rank = |rank| {
            let loader = depot.loader().shuffle(1).window(16_400).group(1640).batch_size(5);
            let batches = batches(loader.lanes(lanes).rank(rank, 4).build().unwrap());
            let groups: BTreeSet<u64> = batches.concat().iter().map(|position| position / 10).collect();
            groups.len()
        };
        (0..4).map(rank).sum::<usize>()
    };
    let (shared, own) = (touched(1), touched(4));
    assert!(shared > 350, "without lanes every rank touches about every group: {shared} of 400");
    assert!(own <= 120, "with lanes each touches a quarter, in whole windows: {own}");
}
