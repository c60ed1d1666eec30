//! Where a codec says that the arrays of a record lie.

use super::heads::Span;
use super::split::Elements;

/// Gathers the spans of one record: see [`Codec::fields`](crate::Codec::fields).
///
/// A **span** is an array in the bytes of a record. A depot that stores fields apart keeps the bytes of each
/// field, of all records in a block, by themselves, which takes less room and less time. Fields are a hint:
/// whatever a codec says here, the same bytes come back.
#[derive(Debug)]
pub struct FieldSpans<'r> {
    record: &'r [u8],
    found: Vec<Span>,
    wrong: Option<&'static str>,
}

impl<'r> FieldSpans<'r> {
    /// No spans of `record` yet.
    pub(crate) fn new(record: &'r [u8]) -> Self {
        Self { record, found: Vec::new(), wrong: None }
    }

    /// Adds an array of `field`, whose elements are the `bytes`, borrowed from the record.
    ///
    /// Arrays that mean the same have the same field number in all records: numbers are alike then. An empty
    /// array is left out. So is one that does not lie in the record, does not have whole elements, or
    /// overlaps another one, which [`codec_conformance`](crate::testing::codec_conformance) reports.
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
            self.wrong = Some("a span does not lie in the record");
        } else if !len.is_multiple_of(elements.size()) {
            self.wrong = Some("a span does not have whole elements");
        } else if let (Ok(start), Ok(len)) = (u32::try_from(start), u32::try_from(len)) {
            self.found.push(Span { field, elements, start, len });
        } else {
            self.wrong = Some("a span lies beyond 4 GiB");
        }
    }

    /// The spans in order, none of which overlap. And what is wrong with others, if there are some.
    pub(crate) fn finish(self) -> (Vec<Span>, Option<&'static str>) {
        let Self { mut found, mut wrong, .. } = self;
        found.sort_by_key(|span| span.start);
        let mut end = 0;
        found.retain(|span| {
            let apart = span.start >= end;
            if apart {
                // Cannot overflow: the span lies in the record, whose length fits u32.
                end = span.start.saturating_add(span.len);
            } else {
                wrong = Some("two spans overlap");
            }
            apart
        });
        (found, wrong)
    }
}

/// The spans of a part of a record: `len` bytes from byte `start` on.
///
/// An element that the part does not have as a whole belongs to the part's head.
pub(crate) fn cut(spans: &[Span], start: u32, len: u32) -> Vec<Span> {
    let end = start.saturating_add(len);
    let inside = |span: &Span| {
        let size = span.elements.size() as u32;
        // Both in bytes from the span's start.
        let first = start.saturating_sub(span.start).checked_next_multiple_of(size)?;
        let last = end.saturating_sub(span.start).min(span.len) / size * size;
        let len = last.checked_sub(first).filter(|len| *len > 0)?;
        Some(Span { start: span.start + first - start, len, ..*span })
    };
    spans.iter().filter_map(inside).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Add<'f> = &'f dyn Fn(&mut FieldSpans<'_>);

    #[test]
    fn parts_have_the_whole_elements_of_a_record() {
        let span = |elements, start, len| Span { field: 1, elements, start, len };
        let record = [span(Elements::Bytes1, 5, 20), span(Elements::Float4, 30, 40)];
        assert_eq!(cut(&record, 0, 100), record);
        assert_eq!(cut(&record, 0, 5), []);
        assert_eq!(cut(&record, 70, 9), []);
        assert_eq!(cut(&record, 0, 6), [span(Elements::Bytes1, 5, 1)]);
        // The element at byte 38 is cut by both parts.
        let parts = [cut(&record, 20, 20), cut(&record, 40, 60)];
        let first = vec![span(Elements::Bytes1, 0, 5), span(Elements::Float4, 10, 8)];
        assert_eq!(parts, [first, vec![span(Elements::Float4, 2, 28)]]);
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
    fn spans_come_in_order_and_wrong_ones_are_left_out() {
        let record = [0; 100];
        let found = |add: &dyn Fn(&mut FieldSpans<'_>)| {
            let mut spans = FieldSpans::new(&record);
            add(&mut spans);
            let (found, wrong) = spans.finish();
            (found.iter().map(|span| (span.field, span.start, span.len)).collect::<Vec<_>>(), wrong)
        };
        let good = found(&|spans| {
            spans.add(2, Elements::Float4, &record[40..80]);
            spans.add(1, Elements::Bytes1, &record[3..40]);
            spans.add(3, Elements::Bytes8, &[]);
            spans.add_at(4, Elements::Bytes2, 98, 2);
        });
        assert_eq!(good, (vec![(1, 3, 37), (2, 40, 40), (4, 98, 2)], None));
        let other = [0_u8; 8];
        let wrong: [(&str, Add<'_>); 5] = [
            ("lie in the record", &|spans| spans.add(1, Elements::Bytes1, &other)),
            ("lie in the record", &|spans| spans.add_at(1, Elements::Bytes1, 99, 2)),
            ("lie in the record", &|spans| spans.add_at(1, Elements::Bytes1, 1, usize::MAX >> 33)),
            ("whole elements", &|spans| spans.add_at(1, Elements::Float8, 0, 12)),
            ("overlap", &|spans| spans.add_at(1, Elements::Bytes1, 4, 2)),
        ];
        for (why, add) in wrong {
            let (found, wrong) = found(&|spans| {
                spans.add_at(0, Elements::Float4, 0, 8);
                add(spans);
            });
            assert_eq!(found, [(0, 0, 8)], "{why}");
            assert!(wrong.is_some_and(|wrong| wrong.contains(why)), "{why}: {wrong:?}");
        }
    }
}
