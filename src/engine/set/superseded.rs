//! Finds the records of a set that have the name of a record in a newer shard.
//!
//! The manifest says which they are in the shards that it knows as they are. For the other shards, either
//! each name is looked up in all other shards, or the hashes of all names of the set are sorted: whichever is
//! less work.

use std::collections::BTreeSet;

use crate::catalog::{Member, Snapshot};
use crate::error::Result;
use crate::index::{find_live, hash};

/// How many lookups of a name take as long as to hash a name and to sort the hash, about.
const LOOKUPS: u64 = 5;

/// The most hashes that are sorted at a time.
const SORTED: u64 = 1 << 24;

/// Sorted ordinals of the superseded records, by what is `known` of each member.
pub(super) fn find(snapshot: &Snapshot, known: Vec<Option<Vec<u64>>>) -> Result<Vec<u64>> {
    let members = &snapshot.members.list;
    let all: u64 = members.iter().map(|member| member.n_records).sum();
    let changed = members.iter().zip(&known).filter(|(_, known)| known.is_none());
    let changed: u64 = changed.map(|(member, _)| member.n_records).sum();
    if known.iter().all(Option::is_some) {
        let mut known = known.into_iter().flatten().collect::<Vec<_>>().concat();
        known.sort_unstable();
        return Ok(known);
    }
    if changed.saturating_mul(members.len() as u64) < all.saturating_mul(LOOKUPS) {
        looked_up(snapshot, &known)
    } else {
        let mut found = sorted(snapshot, all)?;
        if !snapshot.members.missing.is_empty() {
            // A record that one in a missing shard supersedes is not the newest.
            found.extend(known.iter().flatten().flatten());
            found.sort_unstable();
            found.dedup();
        }
        Ok(found)
    }
}

/// The live record of a member that has a name.
pub(super) fn live_in(snapshot: &Snapshot, member: &Member, hash: u64, name: &[u8]) -> Result<Option<u64>> {
    let segments = snapshot.segments.get(member.segments.clone()).unwrap_or_default();
    let found = find_live(segments, hash, name, true, &mut |_| ())?;
    Ok(found.map(|(ordinal, _)| ordinal))
}

/// Gives `job` the ordinal and the name of each record that is live in its own shard.
fn each_live(
    snapshot: &Snapshot,
    member: &Member,
    job: &mut dyn FnMut(u64, &[u8]) -> Result<()>,
) -> Result<()> {
    let segments = snapshot.segments.get(member.segments.clone()).unwrap_or_default();
    let mut dead = Vec::new();
    for segment in segments {
        dead.extend(segment.tombstones()?);
    }
    dead.sort_unstable();
    for segment in segments {
        let first = segment.reference.first_ordinal;
        let mut done = Ok(());
        segment.each_name(&mut |local, name| {
            if done.is_ok() && dead.binary_search(&(first + local)).is_err() {
                done = job(first + local, name);
            }
        })?;
        done?;
    }
    Ok(())
}

fn looked_up(snapshot: &Snapshot, known: &[Option<Vec<u64>>]) -> Result<Vec<u64>> {
    let members = &snapshot.members.list;
    let mut superseded = BTreeSet::new();
    for (number, (member, known)) in members.iter().zip(known).enumerate() {
        let (older, newer) = (&members[..number], &members[number + 1..]);
        if let Some(known) = known {
            for &ordinal in known {
                let Some((segment, local)) = snapshot.segment_of(ordinal) else { continue };
                let name = segment.name(local)?;
                let hash = hash(&name);
                // What superseded it may be gone by now. If its shard is missing, that is not known.
                let mut is_superseded = !snapshot.members.missing.is_empty();
                for member in newer {
                    is_superseded = is_superseded || live_in(snapshot, member, hash, &name)?.is_some();
                }
                if is_superseded {
                    superseded.insert(ordinal);
                }
            }
            continue;
        }
        each_live(snapshot, member, &mut |ordinal, name| {
            let hash = hash(name);
            for member in newer {
                if live_in(snapshot, member, hash, name)?.is_some() {
                    superseded.insert(ordinal);
                    break;
                }
            }
            for member in older {
                superseded.extend(live_in(snapshot, member, hash, name)?);
            }
            Ok(())
        })?;
    }
    Ok(superseded.into_iter().collect())
}

/// Sorts the hashes of all names, a part of them at a time, and compares the names of equal ones.
fn sorted(snapshot: &Snapshot, all: u64) -> Result<Vec<u64>> {
    let mut superseded = Vec::new();
    let parts = all.div_ceil(SORTED).max(1);
    let mut hashes: Vec<(u64, u64)> = Vec::new();
    for part in 0..parts {
        hashes.clear();
        for member in &snapshot.members.list {
            each_live(snapshot, member, &mut |ordinal, name| {
                let hash = hash(name);
                if hash % parts == part {
                    hashes.push((hash, ordinal));
                }
                Ok(())
            })?;
        }
        hashes.sort_unstable();
        for alike in hashes.chunk_by(|a, b| a.0 == b.0).filter(|alike| alike.len() > 1) {
            let mut named = Vec::with_capacity(alike.len());
            for &(_, ordinal) in alike {
                if let Some((segment, local)) = snapshot.segment_of(ordinal) {
                    named.push((segment.name(local)?, ordinal));
                }
            }
            named.sort_unstable();
            // The last one of a name is in the newest shard: ordinals go on from shard to shard.
            superseded.extend(named.windows(2).filter(|pair| pair[0].0 == pair[1].0).map(|pair| pair[0].1));
        }
    }
    superseded.sort_unstable();
    Ok(superseded)
}

/// How many records that is, and their raw bytes.
pub(super) fn count(snapshot: &Snapshot, ordinals: &[u64]) -> Result<(u64, u64)> {
    let mut bytes = 0_u64;
    for &ordinal in ordinals {
        if let Some((segment, local)) = snapshot.segment_of(ordinal) {
            bytes = bytes.saturating_add(segment.any_location(local)?.length);
        }
    }
    Ok((ordinals.len() as u64, bytes))
}
