//! Where a codec says that the arrays of a record lie.

use super::heads::Segment;
use super::split::Elements;

/// Gathers the segments of one record: see [`Codec::segments`](crate::Codec::segments).
///
/// A **segment** is an array in the bytes of a record. A depot that stores fields apart keeps the bytes of each
/// field, of all records in a block, by themselves, which takes less room and less time. Segments are a hint:
/// whatever a codec says here, the same bytes come back.
#[derive(Debug)]
pub struct Segments<'r> {
    record: &'r [u8],
    found: Vec<Segment>,
    wrong: Option<&'static str>,
}

impl<'r> Segments<'r> {
    /// No segments of `record` yet.
    pub(crate) fn new(record: &'r [u8]) -> Self {
        Self { record, found: Vec::new(), wrong: None }
    }

    /// Adds an array of `field`, whose elements are the `bytes`, borrowed from the record.
    ///
    /// Arrays that mean the same have the same field number in all records: numbers are alike then. An empty
    /// array is left out. So is one that does not lie in the record, does not have whole elements, or overlaps
    /// another one, which [`codec_conformance`](crate::testing::codec_conformance) reports.
    pub fn add(&mut self, field: u8, elements: Elements, bytes: &[u8]) {
        let start = bytes.as_ptr().addr().wrapping_sub(self.record.as_ptr().addr());
        self.add_at(field, elements, start, bytes.len());
    }

    /// Like [`add`](Self::add), for the `len` bytes from byte `start` of the record on.
    pub fn add_at(&mut self, field: u8, elements: Elements, start: usize, len: usize) {
        if len == 0 {
            return;
        }
        if start.checked_add(len).is_none_or(|end| end > self.record.len()) {
            self.wrong = Some("a segment does not lie in the record");
        } else if len % elements.size() != 0 {
            self.wrong = Some("a segment does not have whole elements");
        } else if let (Ok(start), Ok(len)) = (u32::try_from(start), u32::try_from(len)) {
            self.found.push(Segment { field, elements, start, len });
        } else {
            self.wrong = Some("a segment lies beyond 4 GiB");
        }
    }

    /// The segments in order, none of which overlap. And what is wrong with others, if there are some.
    pub(crate) fn finish(self) -> (Vec<Segment>, Option<&'static str>) {
        let Self { mut found, mut wrong, .. } = self;
        found.sort_by_key(|segment| segment.start);
        let mut end = 0;
        found.retain(|segment| {
            let apart = segment.start >= end;
            if apart {
                // Cannot overflow: the segment lies in the record, whose length fits u32.
                end = segment.start.saturating_add(segment.len);
            } else {
                wrong = Some("two segments overlap");
            }
            apart
        });
        (found, wrong)
    }
}

/// The segments of a part of a record: `len` bytes from byte `start` on.
///
/// An element that the part does not have as a whole belongs to the part's head.
pub(crate) fn cut(segments: &[Segment], start: u32, len: u32) -> Vec<Segment> {
    let end = start.saturating_add(len);
    let inside = |segment: &Segment| {
        let size = segment.elements.size() as u32;
        // Both in bytes from the segment's start.
        let first = start.saturating_sub(segment.start).checked_next_multiple_of(size)?;
        let last = end.saturating_sub(segment.start).min(segment.len) / size * size;
        let len = last.checked_sub(first).filter(|len| *len > 0)?;
        Some(Segment { start: segment.start + first - start, len, ..*segment })
    };
    segments.iter().filter_map(inside).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_the_whole_elements_of_a_record() {
        let segment = |elements, start, len| Segment { field: 1, elements, start, len };
        let record = [segment(Elements::Bytes1, 5, 20), segment(Elements::Float4, 30, 40)];
        assert_eq!(cut(&record, 0, 100), record);
        assert_eq!(cut(&record, 0, 5), []);
        assert_eq!(cut(&record, 70, 9), []);
        assert_eq!(cut(&record, 0, 6), [segment(Elements::Bytes1, 5, 1)]);
        // The element at byte 38 is cut by both parts.
        let parts = [cut(&record, 20, 20), cut(&record, 40, 60)];
        let first = vec![segment(Elements::Bytes1, 0, 5), segment(Elements::Float4, 10, 8)];
        assert_eq!(parts, [first, vec![segment(Elements::Float4, 2, 28)]]);
        for start in 0..100 {
            for len in 0..100 - start {
                for part in cut(&record, start, len) {
                    assert!(part.start + part.len <= len && part.len > 0);
                    assert_eq!(part.len as usize % part.elements.size(), 0);
                }
            }
        }
    }

    #[test]
    fn segments_come_in_order_and_wrong_ones_are_left_out() {
        let record = [0; 100];
        let found = |add: &dyn Fn(&mut Segments<'_>)| {
            let mut segments = Segments::new(&record);
            add(&mut segments);
            let (found, wrong) = segments.finish();
            (
                found.iter().map(|segment| (segment.field, segment.start, segment.len)).collect::<Vec<_>>(),
                wrong,
            )
        };
        let good = found(&|segments| {
            segments.add(2, Elements::Float4, &record[40..80]);
            segments.add(1, Elements::Bytes1, &record[3..40]);
            segments.add(3, Elements::Bytes8, &[]);
            segments.add_at(4, Elements::Bytes2, 98, 2);
        });
        assert_eq!(good, (vec![(1, 3, 37), (2, 40, 40), (4, 98, 2)], None));
        let other = [0_u8; 8];
        let wrong: [(&str, &dyn Fn(&mut Segments<'_>)); 5] = [
            ("lie in the record", &|segments| segments.add(1, Elements::Bytes1, &other)),
            ("lie in the record", &|segments| segments.add_at(1, Elements::Bytes1, 99, 2)),
            ("lie in the record", &|segments| segments.add_at(1, Elements::Bytes1, 1, usize::MAX >> 33)),
            ("whole elements", &|segments| segments.add_at(1, Elements::Float8, 0, 12)),
            ("overlap", &|segments| segments.add_at(1, Elements::Bytes1, 4, 2)),
        ];
        for (why, add) in wrong {
            let (found, wrong) = found(&|segments| {
                segments.add_at(0, Elements::Float4, 0, 8);
                add(segments);
            });
            assert_eq!(found, [(0, 0, 8)], "{why}");
            assert!(wrong.is_some_and(|wrong| wrong.contains(why)), "{why}: {wrong:?}");
        }
    }
}
