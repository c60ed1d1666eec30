//! Numbers in few bytes: seven bits a byte, the lowest first, as in LEB128.

use super::Broken;

/// Appends `number`.
pub(crate) fn push(mut number: u32, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Takes bytes from the front of a slice.
pub(crate) struct Input<'b>(pub(crate) &'b [u8]);

const ENDED: Broken = Broken("the bytes end too early");

impl<'b> Input<'b> {
    pub(crate) fn byte(&mut self) -> Result<u8, Broken> {
        let (first, rest) = self.0.split_first().ok_or(ENDED)?;
        self.0 = rest;
        Ok(*first)
    }

    pub(crate) fn take(&mut self, n: usize) -> Result<&'b [u8], Broken> {
        let (taken, rest) = self.0.split_at_checked(n).ok_or(ENDED)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn number(&mut self) -> Result<u32, Broken> {
        let mut number = 0_u32;
        for shift in (0..35).step_by(7) {
            let byte = self.byte()?;
            let bits = u32::from(byte & 0x7f);
            if (bits << shift) >> shift != bits {
                break;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Broken("a number has more than 32 bits"))
    }

    pub(crate) fn length(&mut self) -> Result<usize, Broken> {
        Ok(self.number()? as usize)
    }
}
