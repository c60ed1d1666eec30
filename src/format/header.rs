//! The metalayer `vldepot` of the Blosc2 header: the parameters, and where the newest commit is.
//!
//! ```text
//!  file byte                                                     3072         3584        4096
//!  +---------------+--------------------------------------------------------+------------+------------+
//!  | Blosc2 header | c6 len u32 BE | "VLDEPOT1" | len u32 | CRC u32 | Parameters | 0 | slot 0 | 0 | slot 1 | 0 |
//!  +---------------+--------------------------------------------------------+------------+------------+
//!
//!  a slot:  0        8          16        24       32         40        44     60    64
//!           +--------+----------+---------+--------+----------+---------+------+-----+
//!           |"VLSLOT"| sequence | commit  | commit | depot id | commit  |  0   | CRC |
//!           |        | u64      | offset  | length | u64      | CRC u32 |      | u32 |
//!           +--------+----------+---------+--------+----------+---------+------+-----+
//! ```
//!
//! The marker `c6` and the length after it make the whole content a MessagePack byte string, which is what
//! python-blosc2 expects of a metalayer.
//!
//! Each slot has a 512-byte sector to itself, and commits take turns. A torn write therefore costs at most
//! the older slot. The slots only say where to start looking: a later commit is found by scanning.

use super::frame::HEADER_LEN;
use super::growth::{Fault, Newer};
use super::metalayers::{CONTENT_HEAD, byte_string, byte_string_head};
use super::tables::Parameters;
use crate::checksum::crc32c;
use crate::le::{u32_at, u64_at};

/// Where the two slots lie in the file.
pub(crate) const SLOT_AT: [u64; 2] = [3072, 3584];
/// Bytes of a slot.
pub(crate) const SLOT_LEN: usize = 64;
/// Where the first entry lies. The trailer of the empty frame lies between the header and it.
pub(crate) const FIRST_ENTRY_AT: u64 = 4160;
const _: () = assert!(HEADER_LEN as u64 + 64 == FIRST_ENTRY_AT);

const MAGIC: [u8; 8] = *b"VLDEPOT1";
const LEN_AT: usize = MAGIC.len();
const CRC_AT: usize = LEN_AT + 4;
const PARAMETERS_AT: usize = CRC_AT + 4;

const SLOT_MAGIC: [u8; 8] = *b"VLSLOT\r\n";
const SEQUENCE_AT: usize = 8;
const COMMIT_AT: usize = 16;
const COMMIT_LEN_AT: usize = 24;
const DEPOT_AT: usize = 32;
const COMMIT_CRC_AT: usize = 40;
const SLOT_CRC_AT: usize = SLOT_LEN - 4;

/// Writes the parameters into the metalayer, which starts at byte `at` of `header`.
///
/// Returns whether they fit.
pub(crate) fn write_parameters(header: &mut [u8], at: usize, parameters: &Parameters) -> bool {
    let table = parameters.encode();
    let content_len = HEADER_LEN.saturating_sub(at + CONTENT_HEAD);
    let at = at + CONTENT_HEAD;
    let end = at + PARAMETERS_AT + table.len();
    let Ok(len) = u32::try_from(table.len()) else { return false };
    if end as u64 > SLOT_AT[0] {
        return false;
    }
    header[at - CONTENT_HEAD..at].copy_from_slice(&byte_string_head(content_len));
    header[at..at + LEN_AT].copy_from_slice(&MAGIC);
    header[at + LEN_AT..at + CRC_AT].copy_from_slice(&len.to_le_bytes());
    header[at + CRC_AT..at + PARAMETERS_AT].copy_from_slice(&crc32c(&table).to_le_bytes());
    header[at + PARAMETERS_AT..end].copy_from_slice(&table);
    true
}

/// Reads the parameters from the metalayer's `content`.
///
/// The error says what was expected, and what was found instead.
pub(crate) fn read_parameters(content: &[u8]) -> Result<Parameters, (String, Fault)> {
    let marked = byte_string(content);
    let Some(content) = marked else {
        let found = content.get(..5).unwrap_or(content).escape_ascii().to_string();
        return Err(("a MessagePack byte string".into(), format!("\"{found}\"").into()));
    };
    if !content.starts_with(&MAGIC) {
        let found = content.get(..8).unwrap_or(content).escape_ascii().to_string();
        return Err(("the bytes \"VLDEPOT1\"".into(), format!("\"{found}\"").into()));
    }
    let (len, crc) = (u32_at(content, LEN_AT).unwrap_or(0), u32_at(content, CRC_AT).unwrap_or(0));
    let table = content.get(PARAMETERS_AT..).and_then(|rest| rest.get(..len as usize));
    let Some(table) = table else {
        return Err(("parameters inside the header".into(), format!("a length of {len} bytes").into()));
    };
    let computed = crc32c(table);
    if computed != crc {
        return Err((format!("parameters of CRC32C {crc:#010x}"), format!("{computed:#010x}").into()));
    }
    Parameters::decode(table).map_err(|found| ("a table of parameters".into(), found))
}

/// A slot of the header, which says where a commit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CommitSlot {
    pub(crate) sequence: u64,
    pub(crate) offset: u64,
    pub(crate) length: u64,
    pub(crate) depot_id: u64,
    /// CRC of the COMMIT entry's head.
    pub(crate) head_crc: u32,
}

impl CommitSlot {
    /// The 64 bytes.
    pub(crate) fn encode(&self) -> [u8; SLOT_LEN] {
        let mut out = [0; SLOT_LEN];
        let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &SLOT_MAGIC);
        put(SEQUENCE_AT, &self.sequence.to_le_bytes());
        put(COMMIT_AT, &self.offset.to_le_bytes());
        put(COMMIT_LEN_AT, &self.length.to_le_bytes());
        put(DEPOT_AT, &self.depot_id.to_le_bytes());
        put(COMMIT_CRC_AT, &self.head_crc.to_le_bytes());
        let crc = crc32c(&out[..SLOT_CRC_AT]);
        out[SLOT_CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a slot; `None` if it was never written, or is torn.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..SLOT_LEN)?;
        if !bytes.starts_with(&SLOT_MAGIC) || u32_at(bytes, SLOT_CRC_AT)? != crc32c(&bytes[..SLOT_CRC_AT]) {
            return None;
        }
        Some(Self {
            sequence: u64_at(bytes, SEQUENCE_AT)?,
            offset: u64_at(bytes, COMMIT_AT)?,
            length: u64_at(bytes, COMMIT_LEN_AT)?,
            depot_id: u64_at(bytes, DEPOT_AT)?,
            head_crc: u32_at(bytes, COMMIT_CRC_AT)?,
        })
    }
}

/// Refuses a whole slot with bytes that only a later version knows.
pub(crate) fn check_slot_known(bytes: &[u8]) -> Result<(), Newer> {
    let reserved = bytes.get(COMMIT_CRC_AT + 4..SLOT_CRC_AT).unwrap_or_default();
    if CommitSlot::parse(bytes).is_some() && reserved.iter().any(|&byte| byte != 0) {
        return Err(Newer::new("fields of the commit slot", &format!("from byte {} on", COMMIT_CRC_AT + 4)));
    }
    Ok(())
}

/// The place of the slot for commit number `sequence`.
pub(crate) fn slot_offset(sequence: u64) -> u64 {
    SLOT_AT[usize::from(sequence % 2 == 1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_comes_back_and_a_torn_one_does_not() {
        let slot = CommitSlot { sequence: 7, offset: 4160, length: 256, depot_id: 9, head_crc: 3 };
        let bytes = slot.encode();
        assert_eq!(CommitSlot::parse(&bytes), Some(slot));
        for bit in 0..SLOT_LEN * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(CommitSlot::parse(&damaged), None, "bit {bit}");
        }
        assert_eq!(CommitSlot::parse(&[0; SLOT_LEN]), None);
    }

    #[test]
    fn a_slot_of_a_later_version_is_told_from_a_torn_one() {
        let mut bytes =
            CommitSlot { sequence: 7, offset: 4160, length: 256, depot_id: 9, head_crc: 3 }.encode();
        assert_eq!(check_slot_known(&bytes), Ok(()));
        bytes[50] = 1;
        assert_eq!(check_slot_known(&bytes), Ok(()), "torn");
        let crc = crc32c(&bytes[..SLOT_CRC_AT]);
        bytes[SLOT_CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        assert!(check_slot_known(&bytes).is_err());
    }

    #[test]
    fn commits_take_turns() {
        assert_ne!(slot_offset(1), slot_offset(2));
        assert_eq!(slot_offset(1), slot_offset(3));
    }
}
