//! Records that match a query.

use std::ops::Range;

use super::{Depot, key_of};
use crate::codec::Codec;
use crate::engine::{Engine, Moment, NamesNear, Span};
use crate::error::{Error, ErrorKind, Result};
use crate::format::tables::Zone;
use crate::key::Key;
use crate::query::{self, Bounds, Expr, Field, Row, Value};
use crate::scalar::{Column, Scalar, ScalarKind};

/// Values of a column that are in memory together.
const AT_ONCE: u64 = 1 << 16;

/// Positions of the records that match a query. [`Depot::select`] makes it.
pub struct Matches<'d> {
    engine: &'d Engine,
    moment: Moment,
    query: Expr,
    spans: std::vec::IntoIter<Span>,
    /// The rest of a span, of which nothing is known.
    rest: Range<u64>,
    /// Positions that all match.
    sure: Range<u64>,
    part: Option<Part>,
}

/// Records that are looked at one after the other.
struct Part {
    all: Range<u64>,
    /// Those that were not looked at yet.
    positions: Range<u64>,
    /// By number; those that nobody asked for are not there.
    columns: Vec<Option<Column>>,
    names: NamesNear,
}

/// Names of the records that match a query, in the order of insertion. [`Matches::keys`] makes it.
pub struct MatchingKeys<'d> {
    matches: Matches<'d>,
    names: NamesNear,
}

impl std::fmt::Debug for Matches<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Matches").field("query", &self.query).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for MatchingKeys<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MatchingKeys").field("query", &self.matches.query).finish_non_exhaustive()
    }
}

/// Finding records.
impl<C: Codec> Depot<C> {
    /// The positions of the records that match a query, in the order of insertion.
    ///
    /// No record is read: the query is about [columns](crate::Layout::columns), names and metadata, which the
    /// index has. Segments of the index in which no record can match are left out, by the least and the
    /// largest value that they have. The records are those of this moment.
    ///
    /// ```
    /// use vldepot::codecs::{AtomicFrame, AtomicFrameCodec};
    /// use vldepot::{Depot, Key, Layout};
    ///
    /// let layout = Layout::default().with_columns(["energy", "n_atoms"]);
    /// let depot = Depot::builder(AtomicFrameCodec::new()).layout(layout).memory()?;
    /// for n in 0..8_u32 {
    ///     depot.put(n, &AtomicFrame::new().n_atoms(10 * n as usize).energy(-f64::from(n)))?;
    /// }
    /// let keys = depot.select("energy < -3 and n_atoms <= 50")?.keys();
    /// assert_eq!(keys.collect::<Result<Vec<_>, _>>()?, [Key::from(4), Key::from(5)]);
    /// // As a subset for training:
    /// let positions = depot.select("energy < -3")?.collect::<Result<Vec<_>, _>>()?;
    /// let loader = depot.loader().positions(positions).build()?;
    /// assert_eq!(loader.map(|batch| batch.unwrap().len()).sum::<usize>(), 4);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// | | |
    /// | --- | --- |
    /// | `energy`, `` `my column` `` | a column of the depot |
    /// | `name` | the name of the record |
    /// | `meta.source`, `meta.run."a b"` | a value in the metadata of the record |
    /// | `-3`, `1e-3`, `"text"`, `'text'`, `true` | values |
    /// | `<` `<=` `==` `!=` `>=` `>` | comparisons, also in a row: `-5 < energy < -3` |
    /// | `n_atoms in (3, 5)`, `name not in ("a", "b")` | one of these values, or none of them |
    /// | `name glob "run_*"` | text of this form: `*` is any text, `?` one character |
    /// | `has(energy)`, `isnan(energy)` | whether there is a value, and whether it is NaN |
    /// | `and`, `or`, `not`, `( )` | what binds less closely comes later: `not`, `and`, `or` |
    /// | `+` `-` `*` `/` | arithmetic of numbers: `energy / n_atoms < -0.5` |
    ///
    /// With a value that is missing or NaN, no comparison holds, `!=` included. So `not energy < 0` holds for
    /// a record without an energy, and `energy >= 0` does not. Values of different kinds, such as a text and
    /// a number, are not equal (`!=` holds), and no order holds between them. Integers and floats are
    /// compared without rounding.
    ///
    /// # Errors
    /// - [`ErrorKind::InvalidQuery`], which points at the place in the text.
    /// - Each item: [`Error::is_damage`](crate::Error::is_damage) when a value cannot be read.
    pub fn select(&self, query: &str) -> Result<Matches<'_>> {
        Matches::new(&self.engine, query)
    }
}

impl<'d> Matches<'d> {
    fn new(engine: &'d Engine, text: &str) -> Result<Self> {
        let refuse = |column: usize, why: String| {
            ErrorKind::InvalidQuery { query: text.to_owned(), column, why }.at(engine.path())
        };
        let mut query = query::parse(text).map_err(|fault| refuse(fault.column, fault.why))?;
        query.each_field(&mut |field| {
            if let Field::Column { name, at, number } = field {
                *number = engine.find_column(name).map_err(|why| refuse(*at, why))?;
            }
            Ok::<_, Error>(())
        })?;
        let moment = engine.moment();
        let spans = Engine::spans(&moment).into_iter();
        Ok(Self { engine, moment, query, spans, rest: 0..0, sure: 0..0, part: None })
    }

    /// The names of the records, instead of their positions.
    ///
    /// ```
    /// # use vldepot::{Depot, Key, Raw};
    /// # let depot = Depot::memory(Raw)?;
    /// depot.put_many([("run_1/a", vec![1]), ("run_2/a", vec![2])])?;
    /// let mut keys = depot.select("name glob 'run_2/*'")?.keys();
    /// assert_eq!(keys.next().transpose()?, Some(Key::from("run_2/a")));
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    pub fn keys(self) -> MatchingKeys<'d> {
        MatchingKeys { matches: self, names: NamesNear::default() }
    }

    /// Goes on to the next records that nothing is known of.
    fn next_part(&mut self) {
        let end = self.rest.end.min(self.rest.start + AT_ONCE);
        let positions = std::mem::replace(&mut self.rest.start, end)..end;
        let columns = self.engine.parameters().columns.iter().map(|_| None).collect();
        self.part = Some(Part { all: positions.clone(), positions, columns, names: NamesNear::default() });
    }

    /// Decides on the next span. Returns whether there was one.
    fn next_span(&mut self) -> bool {
        let Some(span) = self.spans.next() else { return false };
        let zones = span.zones();
        let n_records = span.n_records();
        let possible = self.query.possible(&|number| zones.get(number).map(|zone| bounds(zone, n_records)));
        if !possible.no {
            self.sure = span.positions;
        } else if possible.yes {
            self.rest = span.positions;
        }
        true
    }

    fn next_in_part(&mut self) -> Option<Result<u64>> {
        let Self { engine, moment, query, part, .. } = self;
        let part = part.as_mut()?;
        let Part { all, positions, columns, names } = part;
        for position in positions {
            let mut row = Record { engine, moment, position, all, columns, names };
            match query.matches(&mut row) {
                Ok(false) => {}
                Ok(true) => return Some(Ok(position)),
                Err(error) => {
                    // What cannot be read once is not asked for again.
                    (self.rest, self.spans, self.part) = (0..0, Vec::new().into_iter(), None);
                    return Some(Err(error));
                }
            }
        }
        self.part = None;
        None
    }
}

/// What a segment says of a column.
fn bounds(zone: &Zone, n_records: u64) -> Bounds {
    let value = |bits: u64| match zone.kind {
        ScalarKind::Integer => Value::Integer(bits.cast_signed().into()),
        ScalarKind::Float => Value::Float(f64::from_bits(bits)),
    };
    let (finite, odd) = (zone.summary.count(), zone.summary.non_finite());
    Bounds {
        values: (finite > 0).then(|| (value(zone.least), value(zone.most))),
        may_lack: finite.saturating_add(odd) < n_records,
        may_be_odd: odd > 0,
    }
}

impl Iterator for Matches<'_> {
    type Item = Result<u64>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(position) = self.sure.next() {
                return Some(Ok(position));
            }
            if let Some(found) = self.next_in_part() {
                return Some(found);
            }
            if !self.rest.is_empty() {
                self.next_part();
                continue;
            }
            if !self.next_span() {
                return None;
            }
        }
    }
}

impl Iterator for MatchingKeys<'_> {
    type Item = Result<Key>;

    fn next(&mut self) -> Option<Self::Item> {
        let position = match self.matches.next()? {
            Ok(position) => position,
            Err(error) => return Some(Err(error)),
        };
        let Matches { engine, moment, .. } = &self.matches;
        let name = engine.name_near(moment, position, &mut self.names);
        Some(name.and_then(|name| key_of(engine, name)))
    }
}

/// One record, for the query.
struct Record<'r> {
    engine: &'r Engine,
    moment: &'r Moment,
    position: u64,
    /// The records that values are read of together.
    all: &'r Range<u64>,
    columns: &'r mut Vec<Option<Column>>,
    names: &'r mut NamesNear,
}

impl Row for Record<'_> {
    type Error = Error;

    fn value(&mut self, field: &Field) -> Result<Value<'static>> {
        match field {
            Field::Column { number, .. } => {
                let nth = usize::try_from(self.position - self.all.start).unwrap_or(usize::MAX);
                let Some(column) = self.columns.get_mut(*number) else { return Ok(Value::Missing) };
                let column = match column {
                    Some(column) => column,
                    unread => unread.insert(self.engine.column(self.moment, self.all.clone(), *number)?),
                };
                Ok(match column.get(nth) {
                    None => Value::Missing,
                    Some(Scalar::Integer(value)) => Value::Integer(value.into()),
                    Some(Scalar::Float(value)) => Value::Float(value),
                })
            }
            Field::Name => {
                let name = self.engine.name_near(self.moment, self.position, self.names)?;
                Ok(match key_of(self.engine, name)? {
                    Key::Str(name) => Value::Text(name.into()),
                    Key::Int(name) => Value::Integer(name),
                    Key::Bytes(name) => Value::Bytes(name.into()),
                })
            }
            Field::Metadata(path) => {
                let Some(metadata) = self.engine.metadata_in(self.moment, self.position)? else {
                    return Ok(Value::Missing);
                };
                Ok(match query::lookup(&metadata, path) {
                    Value::Missing => Value::Missing,
                    Value::Other => Value::Other,
                    Value::Boolean(value) => Value::Boolean(value),
                    Value::Integer(value) => Value::Integer(value),
                    Value::Float(value) => Value::Float(value),
                    Value::Text(text) => Value::Text(text.into_owned().into()),
                    Value::Bytes(bytes) => Value::Bytes(bytes.into_owned().into()),
                })
            }
        }
    }
}
