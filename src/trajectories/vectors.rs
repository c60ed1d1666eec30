//! Rows of three numbers in either precision.

use crate::codecs::AnyArray;

/// Positions, velocities or forces.
#[derive(Debug)]
pub(super) enum Vectors {
    F32(Vec<[f32; 3]>),
    F64(Vec<[f64; 3]>),
}

impl Default for Vectors {
    fn default() -> Self {
        Self::F32(Vec::new())
    }
}

impl Vectors {
    /// Calls the one for the precision, with the room that is there if it is of that precision.
    pub(super) fn filled(
        self,
        is_double: bool,
        single: impl FnOnce(&mut Vec<[f32; 3]>),
        double: impl FnOnce(&mut Vec<[f64; 3]>),
    ) -> Self {
        match (self, is_double) {
            (Self::F64(mut rows), true) => {
                double(&mut rows);
                Self::F64(rows)
            }
            (Self::F32(mut rows), false) => {
                single(&mut rows);
                Self::F32(rows)
            }
            (_, true) => Self::F64(Vec::new()).filled(true, single, double),
            (_, false) => Self::default().filled(false, single, double),
        }
    }

    pub(super) fn any(&self) -> AnyArray<'_> {
        match self {
            Self::F32(rows) => rows.into(),
            Self::F64(rows) => rows.into(),
        }
    }
}
