//! The codec of packed molecules: a user's own, which says where the arrays lie.

use vldepot::{Codec, CodecError, Elements, FieldSpans};

/// Numbers of a molecule, then its arrays: positions and forces of 12 bytes an atom, atomic numbers of 1.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packed {
    /// Bytes before the arrays.
    pub(super) head: usize,
}

const PER_ATOM: usize = 12 + 12 + 1;

impl Codec for Packed {
    type Item = [u8];
    type View<'a> = &'a [u8];
    const ID: &'static str = "compare.packed";
    const ALIGN: usize = 8;

    fn encode(&self, item: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
        out.extend_from_slice(item);
        Ok(())
    }

    fn view<'a>(&self, bytes: &'a [u8]) -> Result<&'a [u8], CodecError> {
        match bytes.len().checked_sub(self.head) {
            Some(arrays) if arrays.is_multiple_of(PER_ATOM) => Ok(bytes),
            _ => Err(CodecError::invalid("not a packed molecule")),
        }
    }

    fn has_fields(&self) -> bool {
        true
    }

    fn fields(&self, view: &&[u8], fields: &mut FieldSpans<'_>) {
        let arrays = &view[self.head..];
        let (positions, rest) = arrays.split_at(arrays.len() / PER_ATOM * 12);
        let (forces, numbers) = rest.split_at(positions.len());
        fields.add(1, Elements::Float4, positions);
        fields.add(2, Elements::Float4, forces);
        fields.add(3, Elements::Bytes1, numbers);
    }
}
