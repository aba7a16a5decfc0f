//! The footer of a sealed segment.

use crate::bytes::{crc, is_zero, key, length_at, u32_at, u64_at};

const HEAD: usize = 32;
const INDEX_ENTRY: usize = 40;
const NAMESPACE: usize = 136;
const SUMMARY: usize = 192;

#[derive(Clone)]
pub(crate) struct Footer {
    pub(crate) offset: usize,
    pub(crate) index: Vec<Vec<u8>>,
    pub(crate) namespaces: Vec<Vec<u8>>,
    pub(crate) summary: Vec<u8>,
}

impl Footer {
    /// `None` where no valid one is.
    pub(crate) fn read(bytes: &[u8], offset: usize, segment: u64) -> Option<Footer> {
        let head = bytes.get(offset..offset + HEAD)?;
        let ends_the_file = (bytes.len() - offset) as u64 == u64_at(head, 8);
        if !head.starts_with(b"HFtr") || !ends_the_file {
            return None;
        }
        let (footer, summary) = bytes[offset..].split_at_checked(bytes.len() - offset - SUMMARY)?;
        let valid = u32_at(head, 4) == crc(&[&key(segment, offset), &footer[8..]]);
        if !valid || !is_summary(summary, bytes.len()) {
            return None;
        }
        let index = INDEX_ENTRY * length_at(head, 16);
        let namespaces = NAMESPACE * length_at(head, 20);
        assert_eq!(footer.len(), HEAD + index + namespaces, "length");
        assert!(is_zero(&head[24..]), "reserved");
        let (index, namespaces) = footer[HEAD..].split_at(index);
        Some(Footer {
            offset,
            index: index.chunks(INDEX_ENTRY).map(<[u8]>::to_vec).collect(),
            namespaces: namespaces.chunks(NAMESPACE).map(<[u8]>::to_vec).collect(),
            summary: summary.to_vec(),
        })
    }

    /// The summary of a file that is read from its end.
    pub(crate) fn summary_of(bytes: &[u8]) -> Option<&[u8]> {
        let summary = &bytes[bytes.len().checked_sub(SUMMARY)?..];
        is_summary(summary, bytes.len()).then_some(summary)
    }
}

fn is_summary(bytes: &[u8], file_length: usize) -> bool {
    bytes.starts_with(b"HSum")
        && u32_at(bytes, 4) == crc(&[&bytes[8..]])
        && u64_at(bytes, 16) == file_length as u64
}
