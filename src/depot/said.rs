//! What a codec says of a record that is put: statistics of its fields, and where they lie.

use super::record::is_aligned;
use crate::buffer::Bytes;
use crate::codec::{Codec, CodecError};
use crate::engine::Told;
use crate::format::tables::Parameters;
use crate::planes::{FieldSpans, Span};
use crate::statistics::Tally;

/// Says what a codec knows of a record with these bytes. `None` if they are not what the codec holds.
pub(super) struct Describer(pub(super) Box<Describe>);

type Describe = dyn Fn(&[u8]) -> Option<Said> + Send + Sync;

/// What a codec is asked about records.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    /// Statistics of their fields.
    pub(crate) tally: bool,
    /// Where their fields lie.
    pub(crate) spans: bool,
}

impl Asked {
    /// What a depot with these parameters needs, as far as `codec` says it.
    pub(crate) fn of<C: Codec>(parameters: &Parameters, codec: &C) -> Self {
        Self {
            tally: parameters.statistics && codec.describes(),
            spans: parameters.stores_apart() && codec.has_fields(),
        }
    }

    pub(crate) fn is_nothing(self) -> bool {
        !self.tally && !self.spans
    }
}

/// What a codec says of a record.
#[derive(Debug, Default)]
pub(crate) struct Said {
    pub(crate) tally: Option<Tally>,
    pub(crate) spans: Vec<Span>,
}

impl Said {
    pub(crate) fn told(&self) -> Told<'_> {
        Told { tally: self.tally.as_ref(), spans: &self.spans }
    }
}

/// What `codec` says of a record with these bytes.
pub(crate) fn said_of<C: Codec>(codec: &C, bytes: &[u8], asked: Asked) -> Result<Said, CodecError> {
    let copy = (!is_aligned(bytes, C::ALIGN)).then(|| Bytes::copy_of(bytes));
    let bytes = copy.as_deref().unwrap_or(bytes);
    Ok(said(codec, bytes, &codec.view(bytes)?, asked))
}

/// What `codec` says of a record with these bytes and this view of them.
pub(super) fn said<C: Codec>(codec: &C, bytes: &[u8], view: &C::View<'_>, asked: Asked) -> Said {
    let mut said = Said::default();
    if asked.tally {
        let mut tally = Tally::default();
        codec.describe(view, &mut tally);
        said.tally = Some(tally);
    }
    if asked.spans {
        let mut fields = FieldSpans::new(bytes);
        codec.fields(view, &mut fields);
        said.spans = fields.finish().0;
    }
    said
}
