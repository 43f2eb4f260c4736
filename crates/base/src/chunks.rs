//! Chunks that come from elsewhere (a channel, a connection), for code that blocks while it reads.

use std::io::{self, Read};

/// Reads what `next` gives, chunk after chunk, until it gives none.
pub struct ChunkReader<B, F> {
    next: F,
    current: Option<B>,
    position: usize,
}

impl<B: AsRef<[u8]>, F: FnMut() -> Option<io::Result<B>>> ChunkReader<B, F> {
    pub fn new(next: F) -> Self {
        Self { next, current: None, position: 0 }
    }
}

impl<B: AsRef<[u8]>, F: FnMut() -> Option<io::Result<B>>> Read for ChunkReader<B, F> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let left = self.current.as_ref().map_or(&[][..], |chunk| &chunk.as_ref()[self.position..]);
            if !left.is_empty() {
                let count = left.len().min(into.len());
                into[..count].copy_from_slice(&left[..count]);
                self.position += count;
                return Ok(count);
            }
            self.current = None;
            self.position = 0;
            match (self.next)() {
                Some(chunk) => self.current = Some(chunk?),
                None => return Ok(0),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_read_in_order_and_an_error_is_told() {
        let mut chunks = vec![Ok(&b"ab"[..]), Ok(&b""[..]), Ok(&b"cde"[..])].into_iter();
        let mut text = String::new();
        ChunkReader::new(|| chunks.next()).read_to_string(&mut text).unwrap();
        assert_eq!(text, "abcde");
        let mut broken = vec![Ok(&b"ab"[..]), Err(io::ErrorKind::BrokenPipe.into())].into_iter();
        let mut all = Vec::new();
        let error = ChunkReader::new(|| broken.next()).read_to_end(&mut all).unwrap_err();
        assert_eq!((all.as_slice(), error.kind()), (&b"ab"[..], io::ErrorKind::BrokenPipe));
    }
}
