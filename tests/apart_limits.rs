//! What the layout with the fields apart has no room for is stored in another way, and comes back.

use std::sync::Arc;

use vldepot::maintain::{VerifyOptions, verify_in};
use vldepot::storage::{MemoryStorage, Storage};
use vldepot::{Codec, CodecError, Depot, Elements, FieldSpans, Layout, WriteOptions};

/// Records of which every `each` bytes are a field, with so many different numbers.
#[derive(Debug, Clone, Copy)]
struct Pieces {
    each: usize,
    gap: usize,
    n_fields: u8,
}

impl Codec for Pieces {
    type Item = [u8];
    type View<'a> = &'a [u8];
    const ID: &'static str = "pieces";
    const ALIGN: usize = 8;

    fn encode(&self, item: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
        out.extend_from_slice(item);
        Ok(())
    }

    fn view<'a>(&self, bytes: &'a [u8]) -> Result<&'a [u8], CodecError> {
        Ok(bytes)
    }

    fn has_fields(&self) -> bool {
        true
    }

    fn fields(&self, view: &&[u8], fields: &mut FieldSpans<'_>) {
        let kinds = [Elements::Bytes1, Elements::Bytes2];
        for (number, part) in view.chunks_exact(self.each + self.gap).enumerate() {
            let number = number.to_le_bytes()[0];
            fields.add(number % self.n_fields, kinds[usize::from(number / 255 % 2)], &part[..self.each]);
        }
    }
}

fn record(seed: usize, len: usize) -> Vec<u8> {
    (0..len).map(|i| ((i * i + seed) % 11).to_le_bytes()[0]).collect()
}

fn comes_back(codec: Pieces, layout: Layout, lengths: &[usize]) -> u64 {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let depot = Depot::builder(codec)
        .layout(layout)
        .write_options(WriteOptions::default().with_threads(0))
        .create_in(Arc::clone(&storage))
        .unwrap();
    for (n, &len) in lengths.iter().enumerate() {
        depot.put(n as u64, &record(n, len)).unwrap();
    }
    depot.close().unwrap();
    let report = verify_in(Arc::clone(&storage), &VerifyOptions::default(), |_| {}).unwrap();
    assert!(report.is_whole(), "{report:?}");
    let depot = Depot::builder(codec).open_in(Arc::clone(&storage)).unwrap();
    for (n, (_, found)) in depot.iter().map(Result::unwrap).enumerate() {
        assert!(found.view() == record(n, lengths[n]), "record {n}");
    }
    assert_eq!(depot.len(), lengths.len() as u64);
    storage.len().unwrap()
}

#[test]
fn a_record_with_more_arrays_than_a_piece_may_have() {
    for (each, gap, len) in [(2, 0, 60_000), (2, 2, 65_536), (1, 0, 200_000), (4, 1, 70_000)] {
        for n_fields in [1, 7, 255] {
            let codec = Pieces { each, gap, n_fields };
            comes_back(codec, Layout::balanced().with_chunk_size(1 << 18), &[len, len - 1, 100, len]);
        }
    }
}

#[test]
fn more_records_than_a_block_may_have() {
    let layout = Layout::balanced().with_chunk_size(1 << 20).with_block_size(1 << 20);
    let len = comes_back(Pieces { each: 8, gap: 0, n_fields: 1 }, layout.clone(), &vec![8; 140_000]);
    assert!(len < 140_000 * 60, "{len} bytes");
    // Five arrays each.
    comes_back(Pieces { each: 8, gap: 0, n_fields: 3 }, layout, &vec![40; 27_000]);
}
