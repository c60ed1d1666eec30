//! Describes records while they are put, and shows the statistics of all of them.

use super::Depot;
use super::create::learned;
use super::said::{Asked, Describer, Said, said_of};
use super::statistics::Statistics;
use crate::codec::{Codec, Raw};
use crate::error::Result;

/// Statistics.
impl<C: Codec> Depot<C> {
    /// Count, min, max, mean and variance of the columns and of the fields of all records.
    ///
    /// No record is read: segments of the index have statistics of what is in them. Those of columns are
    /// always exact. Those of fields are bounds after records were removed or replaced, and then
    /// [`exact`](crate::FieldStatistics::exact) is false.
    ///
    /// ```
    /// use vldepot::codecs::{AtomicFrame, AtomicFrameCodec};
    /// use vldepot::{Depot, Layout};
    ///
    /// let layout = Layout::default().with_statistics(true);
    /// let depot = Depot::builder(AtomicFrameCodec::new()).layout(layout).memory()?;
    /// for n in 0..4_u8 {
    ///     let forces = vec![[f32::from(n), 0.0, 0.0]; 2];
    ///     depot.put(n, &AtomicFrame::new().types(&[8, 1]).forces(&forces).energy(-f64::from(n)))?;
    /// }
    /// let statistics = depot.statistics()?;
    /// let energy = statistics.field("energy").unwrap();
    /// assert_eq!((energy.min(), energy.max(), energy.mean()), (Some(-3.0), Some(0.0), Some(-1.5)));
    /// assert_eq!(statistics.field("forces").unwrap().count(), 4 * 2 * 3);
    /// assert_eq!(statistics.kinds("types").unwrap().get(8).unwrap().values, 4);
    /// assert!(statistics.fields.unwrap().exact);
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::is_damage`](crate::Error::is_damage) when a value of a column cannot be read.
    pub fn statistics(&self) -> Result<Statistics> {
        Statistics::new(&self.engine)
    }

    /// Whether records are described when they are put.
    pub(super) fn describes(&self) -> bool {
        self.engine.parameters().statistics && (self.describer.is_some() || self.codec.describes())
    }

    /// What the depot needs the codec to say of records.
    pub(super) fn asked(&self) -> Asked {
        Asked::of(self.engine.parameters(), &*self.codec)
    }

    /// What the codec says of a record with these bytes, as far as the depot needs it.
    pub(super) fn said_of(&self, name: &[u8], bytes: &[u8]) -> Result<Said> {
        if let Some(Describer(describe)) = &self.describer {
            return Ok(describe(bytes).unwrap_or_default());
        }
        let asked = self.asked();
        if asked.is_nothing() {
            return Ok(Said::default());
        }
        said_of(&*self.codec, bytes, asked).map_err(|error| self.codec_error(name, error))
    }
}

impl Depot<Raw> {
    /// Lets `codec`, which must be that of the depot, describe the records that are put as bytes, so that
    /// copies have [statistics](Self::statistics), and [fields that lie
    /// apart](crate::Layout::fields_apart).
    ///
    /// Records that are not what the codec holds are stored all the same, and are missing in the statistics.
    ///
    /// ```
    /// use vldepot::codecs::{AtomicFrame, AtomicFrameCodec};
    /// use vldepot::{Depot, Layout, Raw};
    ///
    /// let layout = Layout::default().with_statistics(true);
    /// let frames = Depot::builder(AtomicFrameCodec::new()).layout(layout).memory()?;
    /// frames.put(0, &AtomicFrame::new().n_atoms(2).energy(-1.5))?;
    /// let copy = Depot::builder(Raw).like(&frames).memory()?.describing(AtomicFrameCodec::any())?;
    /// copy.copy_all_from(&frames)?;
    /// assert_eq!(copy.statistics()?.field("energy").unwrap().mean(), Some(-1.5));
    /// # Ok::<(), vldepot::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::WrongCodec`](crate::ErrorKind::WrongCodec),
    /// [`ErrorKind::CodecParameters`](crate::ErrorKind::CodecParameters).
    pub fn describing<C: Codec>(mut self, codec: C) -> Result<Self> {
        let ((), codec) = learned(codec, |check| self.engine.check_codec(check))?;
        let asked = Asked::of(self.engine.parameters(), &*codec);
        let describe = move |bytes: &[u8]| said_of(&*codec, bytes, asked).ok();
        self.describer = (!asked.is_nothing()).then(|| Describer(Box::new(describe)));
        Ok(self)
    }
}
