//! The maps of sparse files: where each piece of the payload belongs in the file.

use super::{BLOCK, Sparse, TarError, read::size_field};
use crate::limits;

/// GNU's old format: four pairs in the header.
pub(super) fn header_map(block: &[u8; BLOCK], offset: u64) -> Result<Vec<u64>, TarError> {
    let mut numbers = Vec::new();
    pairs(&mut numbers, &block[386..482], offset)?;
    Ok(numbers)
}

/// GNU's old format: 21 pairs in each following block.
pub(super) fn continue_map(numbers: &mut Vec<u64>, block: &[u8; BLOCK], offset: u64) -> Result<(), TarError> {
    if numbers.len() >= 2 * limits::SPARSE_PIECES_MAX {
        return Err(TarError::Limit {
            what: format!("the sparse map at byte {offset}"),
            found: numbers.len() as u64 / 2,
            limit: limits::SPARSE_PIECES_MAX as u64,
        });
    }
    pairs(numbers, &block[..504], offset)
}

fn pairs(numbers: &mut Vec<u64>, fields: &[u8], offset: u64) -> Result<(), TarError> {
    for pair in fields.chunks_exact(24) {
        if pair[0] == 0 {
            break;
        }
        numbers.push(size_field(&pair[..12], offset)?);
        numbers.push(size_field(&pair[12..], offset)?);
    }
    Ok(())
}

/// Checks a map: in order, without overlap, inside the file, and together exactly the payload.
pub(super) fn pieces(numbers: &[u64], length: u64, payload: u64, offset: u64) -> Result<Sparse, TarError> {
    let malformed = |why| TarError::Header { offset, why };
    if length > limits::FILE_BYTES_MAX {
        return Err(TarError::Limit {
            what: format!("the sparse file at byte {offset}"),
            found: length,
            limit: limits::FILE_BYTES_MAX,
        });
    }
    if !numbers.len().is_multiple_of(2) {
        return Err(malformed("a sparse map is malformed"));
    }
    let mut end = 0;
    let mut carried = 0_u64;
    let mut pieces = Vec::with_capacity(numbers.len() / 2);
    for pair in numbers.chunks_exact(2) {
        let (start, count) = (pair[0], pair[1]);
        let stop = start.checked_add(count).filter(|stop| start >= end && *stop <= length);
        end = stop.ok_or(malformed("a sparse map has pieces that overlap or lie outside the file"))?;
        carried += count;
        if count > 0 {
            pieces.push((start, count));
        }
    }
    if carried != payload {
        return Err(malformed("a sparse map does not fit the payload"));
    }
    Ok(Sparse { pieces, length })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_must_be_ordered_inside_and_exact() {
        assert_eq!(pieces(&[0, 2, 10, 3, 20, 0], 20, 5, 0).unwrap().pieces, [(0, 2), (10, 3)]);
        for (numbers, length, payload) in [
            (&[0, 2, 1, 3][..], 20, 5),
            (&[0, 30], 20, 30),
            (&[0, 2], 20, 3),
            (&[u64::MAX, 2], 20, 2),
            (&[0], 20, 0),
            (&[], u64::MAX, 0),
        ] {
            assert!(pieces(numbers, length, payload, 0).is_err(), "{numbers:?}");
        }
    }
}
