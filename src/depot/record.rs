//! A record that was read: it shares the decoded bytes and lends views of them.

use std::sync::Arc;

use crate::buffer::Bytes;
use crate::codec::{Codec, CodecError};

/// Whether `bytes` are aligned well enough for a codec that asks for `align`.
///
/// Bytes that another program placed may lie at any address.
#[inline]
pub(crate) fn is_aligned(bytes: &[u8], align: usize) -> bool {
    (bytes.as_ptr() as usize).is_multiple_of(align.max(1))
}

/// One record. It keeps its bytes alive and lends views of them.
///
/// A record is not tied to the depot: it can go to another thread and outlive the depot. Cloning it
/// shares the bytes. Records that were read together may share one decoded buffer, which lives as long
/// as any of them.
pub struct Record<C> {
    bytes: Bytes,
    codec: Arc<C>,
}

impl<C: Codec> Record<C> {
    /// Makes a record, and lets the codec check `bytes` once.
    pub(crate) fn new(bytes: Bytes, codec: &Arc<C>) -> Result<Self, CodecError> {
        let bytes = if is_aligned(&bytes, C::ALIGN) { bytes } else { Bytes::copy_of(&bytes) };
        codec.view(&bytes)?;
        Ok(Self { bytes, codec: Arc::clone(codec) })
    }

    /// The view of the record. It borrows from this `Record`, copies nothing, and checks nothing again.
    pub fn view(&self) -> C::View<'_> {
        // SAFETY: `new`, the only constructor, returned after `view` accepted these bytes. `Bytes` is
        // immutable and keeps its buffer at one address, however often it is cloned or moved.
        unsafe { self.codec.view_unchecked(&self.bytes) }
    }
}

impl<C> Record<C> {
    /// The record's bytes, as the codec encoded them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Length of the record in bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether the record has no bytes.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

impl<C> AsRef<[u8]> for Record<C> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl<C> Clone for Record<C> {
    fn clone(&self) -> Self {
        Self { bytes: self.bytes.clone(), codec: Arc::clone(&self.codec) }
    }
}

impl<C> std::fmt::Debug for Record<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Record({} bytes)", self.len())
    }
}

/// One record, lent for the moment. See [`Depot::scan`](crate::Depot::scan).
pub struct RecordRef<'r, C> {
    bytes: &'r [u8],
    codec: &'r C,
}

impl<'r, C: Codec> RecordRef<'r, C> {
    /// Lends a record, and lets the codec check `bytes` once. They must be aligned for it.
    #[inline]
    pub(crate) fn new(bytes: &'r [u8], codec: &'r C) -> Result<Self, CodecError> {
        codec.view(bytes)?;
        Ok(Self { bytes, codec })
    }

    /// The view of the record. It copies nothing, and checks nothing again.
    pub fn view(&self) -> C::View<'r> {
        // SAFETY: `new`, the only constructor, returned after `view` of this codec accepted these bytes,
        // which are borrowed for as long as the view, and so cannot change.
        unsafe { self.codec.view_unchecked(self.bytes) }
    }
}

impl<'r, C> RecordRef<'r, C> {
    /// The record's bytes, as the codec encoded them.
    pub fn as_bytes(&self) -> &'r [u8] {
        self.bytes
    }

    /// Length of the record in bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether the record has no bytes.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

impl<C> AsRef<[u8]> for RecordRef<'_, C> {
    fn as_ref(&self) -> &[u8] {
        self.bytes
    }
}

impl<C> Clone for RecordRef<'_, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C> Copy for RecordRef<'_, C> {}

impl<C> std::fmt::Debug for RecordRef<'_, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RecordRef({} bytes)", self.len())
    }
}
