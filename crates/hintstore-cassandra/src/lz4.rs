//! LZ4 as the native library that Cassandra uses unpacks it, of version 1.9.3, also where a block is
//! damaged: what that gives decides which hints Cassandra's readers return. Good blocks are left to
//! the crate, which is faster, and takes fewer of the bad ones.

/// What the library's loops keep clear of at the ends, in bytes.
const FAST_DISTANCE: usize = 64;
const WILD: usize = 32;
const MATCH_LIMIT: usize = 12;
const LAST_LITERALS: usize = 5;

/// Unpacks a block into `out`; gives how much it is, or how much it was when it went wrong. What was
/// in `out` before stays behind that.
pub(crate) fn unpack(block: &[u8], out: &mut [u8]) -> Result<usize, usize> {
    let mut op = 0;
    walk(block, out, &mut op).ok_or(op)
}

fn walk(block: &[u8], out: &mut [u8], op: &mut usize) -> Option<usize> {
    if out.is_empty() {
        return (block == [0]).then_some(0);
    }
    let (input_end, out_end) = (block.len(), out.len());
    let mut ip = 0;
    // The fast loop looks at less, as long as both ends are far.
    let mut fast = out_end >= FAST_DISTANCE;
    loop {
        let token = usize::from(*block.get(ip)?);
        ip += 1;
        let mut literals = token >> 4;
        let mut sure = false;
        if literals == 15 {
            if ip + 15 >= input_end {
                return None;
            }
            literals += more(block, &mut ip, input_end.saturating_sub(15)).0;
            if fast {
                let far = *op + literals + WILD <= out_end && ip + literals + WILD <= input_end;
                (sure, fast) = (far, far);
            }
        } else if fast {
            let far = ip + 17 <= input_end;
            (sure, fast) = (far, far);
        } else {
            // A short cut, where both ends are far enough for it.
            sure = ip + 16 < input_end && *op + 32 <= out_end;
        }
        let last = *op + literals + MATCH_LIMIT > out_end || ip + literals + 8 > input_end;
        if last && !sure {
            if ip + literals != input_end || *op + literals > out_end {
                return None;
            }
            copy_in(out, *op, block.get(ip..)?);
            return Some(*op + literals);
        }
        copy_in(out, *op, block.get(ip..ip + literals)?);
        ip += literals;
        *op += literals;
        let offset = usize::from(*block.get(ip)?) | usize::from(*block.get(ip + 1)?) << 8;
        ip += 2;
        let mut length = token & 15;
        if length == 15 {
            let (extra, ended) = more(
                block,
                &mut ip,
                (input_end + 1).saturating_sub(LAST_LITERALS),
            );
            if ended {
                return None;
            }
            length += extra;
        }
        length += 4;
        fast = fast && *op + length + FAST_DISTANCE < out_end;
        if offset > *op {
            return None;
        }
        if !fast && *op + length + LAST_LITERALS > out_end {
            return None;
        }
        copy_match(out, *op, offset, length)?;
        *op += length;
    }
}

/// The rest of a length, a byte at a time; and whether it ran into `end`.
fn more(block: &[u8], ip: &mut usize, end: usize) -> (usize, bool) {
    let mut length = 0;
    loop {
        let byte = block.get(*ip).copied().unwrap_or(0);
        *ip += 1;
        length += usize::from(byte);
        if *ip >= end {
            return (length, true);
        }
        if byte != 255 {
            return (length, false);
        }
    }
}

fn copy_in(out: &mut [u8], at: usize, from: &[u8]) {
    if let Some(into) = out.get_mut(at..at + from.len()) {
        into.copy_from_slice(from);
    }
}

/// Copies from before; from nowhere before, as the library does, it is zeros.
fn copy_match(out: &mut [u8], at: usize, offset: usize, length: usize) -> Option<()> {
    for place in at..at + length {
        let byte = if offset == 0 {
            0
        } else {
            *out.get(place - offset)?
        };
        *out.get_mut(place)? = byte;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_blocks_unpack() {
        for length in [1, 11, 12, 13, 64, 65, 100, 5000, 70_000] {
            let bytes: Vec<u8> = (0..length)
                .map(|i: u32| (i % 977 * (i % 31) / 7 % 13) as u8)
                .collect();
            let block = lz4_flex::block::compress(&bytes);
            let mut out = vec![7; bytes.len()];
            assert_eq!(unpack(&block, &mut out), Ok(bytes.len()), "{length}");
            assert_eq!(out, bytes);
            assert!(unpack(&block, &mut vec![0; bytes.len() / 2]).is_err());
            // What comes before a cut is right.
            let mut out = vec![0; bytes.len()];
            let good = unpack(block.get(..block.len() - 1).unwrap(), &mut out).unwrap_err();
            assert_eq!(out[..good], bytes[..good]);
        }
    }
}
