//! Memory shared between processes: a memfd, mapped.
//!
//! The other side may write at any moment, so bytes are only ever copied in and out; there are no references
//! into the mapping. Words that order the bytes (positions, counters) are atomics.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    ptr::NonNull,
    sync::atomic::{AtomicU32, AtomicU64, Ordering, fence},
};

use rustix::{
    fs::{MemfdFlags, SealFlags},
    mm::{MapFlags, ProtFlags},
};

/// A mapped memfd of fixed size. Its descriptor, which the mapping does not need, can be sent to another process and
/// mapped there with [`Shared::map`].
#[derive(Debug)]
pub struct Shared {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the mapping is plain memory that belongs to this value; all access is by copies or atomics.
unsafe impl Send for Shared {}
// SAFETY: as above; concurrent copies may mix old and new bytes, which the other process may cause anyway.
unsafe impl Sync for Shared {}

impl Shared {
    /// New memory of `length` bytes, all zero, whose size can no longer change (so that no access can fault).
    ///
    /// # Errors
    /// When there is no memory or descriptor left.
    pub fn create(name: &str, length: usize) -> io::Result<(Self, OwnedFd)> {
        let descriptor = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        rustix::fs::ftruncate(&descriptor, length as u64)?;
        rustix::fs::fcntl_add_seals(&descriptor, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        Ok((Self::map(&descriptor)?, descriptor))
    }

    /// Maps what another process has made.
    ///
    /// # Errors
    /// `InvalidInput` for a descriptor whose size is not sealed or is 0: truncating it would make any access fault.
    pub fn map(descriptor: impl AsFd) -> io::Result<Self> {
        let seals = rustix::fs::fcntl_get_seals(&descriptor)?;
        let length = usize::try_from(rustix::fs::fstat(&descriptor)?.st_size).unwrap_or(0);
        if !seals.contains(SealFlags::SHRINK) || length == 0 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: a new mapping at an address of the kernel's choice touches no existing memory.
        let start = unsafe {
            let protection = ProtFlags::READ | ProtFlags::WRITE;
            rustix::mm::mmap(std::ptr::null_mut(), length, protection, MapFlags::SHARED, &descriptor, 0)?
        };
        let start = NonNull::new(start.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, length })
    }

    /// The number of bytes.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Never: a mapping has at least one byte.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Copies bytes out, from `offset` on.
    ///
    /// # Panics
    /// When they do not all lie inside.
    pub fn read(&self, offset: usize, into: &mut [u8]) {
        self.check(offset, into.len());
        // SAFETY: the range lies inside the mapping (checked), `into` is memory of this process outside of it.
        unsafe { std::ptr::copy_nonoverlapping(self.start.as_ptr().add(offset), into.as_mut_ptr(), into.len()) };
        fence(Ordering::Acquire);
    }

    /// Copies bytes in, from `offset` on.
    ///
    /// # Panics
    /// When they do not all lie inside.
    pub fn write(&self, offset: usize, from: &[u8]) {
        self.check(offset, from.len());
        fence(Ordering::Release);
        // SAFETY: as in `read`, the other way round.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), self.start.as_ptr().add(offset), from.len()) };
    }

    /// The 64-bit word at `offset`, shared with the other process.
    ///
    /// # Panics
    /// When it does not lie inside or `offset` is not a multiple of 8.
    pub fn word(&self, offset: usize) -> &AtomicU64 {
        self.check(offset, 8);
        assert!(offset.is_multiple_of(8), "a word lies at a multiple of its size");
        // SAFETY: inside the mapping and aligned (both checked; mappings start at pages); lives as long as `self`.
        unsafe { AtomicU64::from_ptr(self.start.as_ptr().add(offset).cast()) }
    }

    /// The 32-bit word at `offset`, shared with the other process.
    ///
    /// # Panics
    /// When it does not lie inside or `offset` is not a multiple of 4.
    pub fn word32(&self, offset: usize) -> &AtomicU32 {
        self.check(offset, 4);
        assert!(offset.is_multiple_of(4), "a word lies at a multiple of its size");
        // SAFETY: as in `word`.
        unsafe { AtomicU32::from_ptr(self.start.as_ptr().add(offset).cast()) }
    }

    /// Reads from a descriptor straight into the memory: `length` bytes at most, at `offset`. Returns how many came.
    ///
    /// # Errors
    /// Those of `read(2)`, `WouldBlock` and `Interrupted` among them.
    ///
    /// # Panics
    /// When the range does not lie inside.
    pub fn read_from(&self, source: BorrowedFd<'_>, offset: usize, length: usize) -> io::Result<usize> {
        use std::os::fd::AsRawFd;
        self.check(offset, length);
        // SAFETY: the range lies inside the mapping, which outlives the call; the kernel writes nowhere else.
        let count = unsafe { libc::read(source.as_raw_fd(), self.start.as_ptr().add(offset).cast(), length) };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    }

    fn check(&self, offset: usize, length: usize) {
        let end = offset.checked_add(length).expect("an offset in memory");
        assert!(end <= self.length, "bytes {offset}..{end} of shared memory of {} bytes", self.length);
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `map` with this length, and no reference into it outlives `self`.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_mappings_of_one_descriptor_are_the_same_memory() {
        let (here, descriptor) = Shared::create("test", 8192).unwrap();
        let there = Shared::map(&descriptor).unwrap();
        here.write(100, b"hello");
        here.word(0).store(7, Ordering::Release);
        let mut bytes = [0; 5];
        there.read(100, &mut bytes);
        assert_eq!(&bytes, b"hello");
        assert_eq!(there.word(0).load(Ordering::Acquire), 7);
    }

    #[test]
    fn memory_that_could_shrink_is_refused() {
        let descriptor = rustix::fs::memfd_create("test", MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&descriptor, 4096).unwrap();
        assert!(Shared::map(descriptor).is_err());
    }
}
