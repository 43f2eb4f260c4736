//! The file that the calling process runs, and that nobody writes to it through the process.
//!
//! Whoever can open `/proc/PID/exe` of a process that comes from the host has the host's program in hand, and could write
//! to it as soon as it no longer runs (CVE-2019-5736). On a mount that is read-only and that nobody else can see they
//! cannot. A process gets there by being executed from such a mount or, for less, by moving to a [`ReadOnly`] place.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    ptr,
};

use rustix::fs::{Mode, OFlags};

use crate::{
    credentials,
    mount::{self, MountAttributes},
};

const OWN: &str = "/proc/self/exe";

/// The file of the running program as a detached mount of its own that is read-only.
///
/// # Errors
/// Those of `open_tree(2)`: `EINVAL` in a process that runs from such a mount itself (where the kernel is old).
pub fn read_only() -> io::Result<OwnedFd> {
    let clone = mount::clone_tree(OWN.as_ref(), false)?;
    mount::set_attributes(clone.as_fd(), MountAttributes { read_only: true, ..MountAttributes::default() })?;
    Ok(clone)
}

/// Whether the mount that the running program comes from is read-only.
///
/// # Errors
/// Without `/proc`.
pub fn is_read_only() -> io::Result<bool> {
    let program = rustix::fs::open(OWN, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    mount::is_read_only(program.as_fd())
}

/// A read-only mount of the running program's own file, and what a process must know to move there.
///
/// It is made once, by a process that makes others of itself: what they would read of themselves is the same as its own.
#[derive(Debug)]
pub struct ReadOnly {
    file: OwnedFd,
    parts: Vec<Part>,
    memory: MemoryMap,
}

impl ReadOnly {
    /// Finds out everything, and whether this kernel lets this caller move.
    ///
    /// # Errors
    /// `EPERM` without `CAP_SYS_ADMIN` or `CAP_CHECKPOINT_RESTORE`, `EINVAL` of a kernel without
    /// `CONFIG_CHECKPOINT_RESTORE`, and those of [`read_only`].
    pub fn prepare() -> io::Result<Self> {
        may_move()?;
        let mount = read_only()?;
        // A descriptor of a mount cannot be mapped; what is opened through it is on that mount.
        let path = format!("/proc/self/fd/{}", mount.as_raw_fd());
        let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let stat = std::fs::read_to_string("/proc/self/stat")?;
        let memory = MemoryMap::read(&stat).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { file, parts: parts()?, memory })
    }

    /// Makes the calling process, which must be a child of the one that prepared this or that one itself and have one
    /// thread, one that comes from there, as if it had been executed from there, for a tenth of what that costs: the parts
    /// of the program are mapped anew, one after the other, at the places where they are, and the kernel is told
    /// (`PR_SET_MM_MAP`, prctl(2)) which file it is now. In a child it costs less still: a new process has none of the
    /// program's pages in its tables anyway.
    ///
    /// # Errors
    /// Those of mmap(2) and prctl(2): the process is then as sound as before, but has not moved.
    pub fn enter(&self) -> io::Result<()> {
        for part in &self.parts {
            if part.is_written() { part.detach()? } else { part.map_from(&self.file)? }
        }
        // The kernel takes the file together with where code, data, heap, arguments and environment are: all as they were.
        // By itself (`PR_SET_MM_EXE_FILE`) it would need CAP_SYS_RESOURCE, which containers that run containers seldom have.
        // SAFETY: this only asks where the heap ends.
        let heap_end = unsafe { libc::sbrk(0) } as u64;
        let map = MemoryMap { heap_end, executable: self.file.as_raw_fd() as u32, ..self.memory };
        // SAFETY: the structure lives through the call and has the length that is given; what it says is what already is.
        let done = unsafe { libc::prctl(libc::PR_SET_MM, libc::PR_SET_MM_MAP, &raw const map, size_of_val(&map), 0) };
        if done == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

fn may_move() -> io::Result<()> {
    const SYS_ADMIN: u64 = 1 << 21;
    const CHECKPOINT_RESTORE: u64 = 1 << 40;
    if credentials::effective_capabilities()? & (SYS_ADMIN | CHECKPOINT_RESTORE) == 0 {
        return Err(io::Error::from_raw_os_error(libc::EPERM));
    }
    let mut size = 0_u32;
    // SAFETY: the kernel writes one number, the size of the structure that it knows, to where it is told.
    let known = unsafe { libc::prctl(libc::PR_SET_MM, libc::PR_SET_MM_MAP_SIZE, &raw mut size, 0, 0) };
    match known {
        -1 => Err(io::Error::last_os_error()),
        _ if size as usize == size_of::<MemoryMap>() => Ok(()),
        _ => Err(io::Error::from_raw_os_error(libc::EINVAL)),
    }
}

/// `struct prctl_mm_map` of the kernel: where things are in the memory of a process.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct MemoryMap {
    code: [u64; 2],
    data: [u64; 2],
    heap: u64,
    heap_end: u64,
    stack: u64,
    arguments: [u64; 2],
    environment: [u64; 2],
    /// None: it stays as it is.
    auxiliary_vector: u64,
    auxiliary_vector_size: u32,
    executable: u32,
}

impl MemoryMap {
    /// As far as `/proc/PID/stat` tells (proc_pid_stat(5), fields 26 to 28 and 45 to 51).
    fn read(stat: &str) -> Option<Self> {
        // The second field is a name in parentheses, with whatever is in it.
        let (_, rest) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number.checked_sub(3)?)?.parse().ok();
        Some(Self {
            code: [field(26)?, field(27)?],
            data: [field(45)?, field(46)?],
            heap: field(47)?,
            heap_end: 0,
            stack: field(28)?,
            arguments: [field(48)?, field(49)?],
            environment: [field(50)?, field(51)?],
            auxiliary_vector: 0,
            auxiliary_vector_size: 0,
            executable: 0,
        })
    }
}

/// Whole pages of the program in memory, as its headers describe them.
#[derive(Debug, PartialEq, Eq)]
struct Part {
    start: usize,
    length: usize,
    offset: u64,
    flags: u32,
    /// Within this part, what was made unwritable when it had been relocated.
    sealed: Option<(usize, usize)>,
}

impl Part {
    fn is_written(&self) -> bool {
        self.flags & libc::PF_W != 0
    }

    fn protection(&self) -> i32 {
        let bits = [(libc::PF_R, libc::PROT_READ), (libc::PF_W, libc::PROT_WRITE), (libc::PF_X, libc::PROT_EXEC)];
        bits.iter().filter(|(flag, _)| self.flags & flag != 0).fold(0, |all, (_, bit)| all | bit)
    }

    // The same bytes of the same file, by way of another mount.
    fn map_from(&self, file: &OwnedFd) -> io::Result<()> {
        let (flags, offset) = (libc::MAP_PRIVATE | libc::MAP_FIXED, self.offset as libc::off_t);
        // SAFETY: these pages are of this very file at this offset and nobody has written to them (they are not writable),
        // so that every byte stays what it is; the kernel puts the one mapping in the place of the other in one step.
        let placed = unsafe {
            libc::mmap(self.start as *mut _, self.length, self.protection(), flags, file.as_raw_fd(), offset)
        };
        if placed == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    // What was written to lives on as memory of no file.
    fn detach(&self) -> io::Result<()> {
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: new memory, that nobody else knows of.
        let copy = unsafe { libc::mmap(ptr::null_mut(), self.length, protection, flags, -1, 0) };
        if copy == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the pages can be read (they are a part of the program) and are written by nobody else meanwhile, since
        // there is one thread; the copy, of the same length, then takes their place in one step with the same bytes.
        let placed = unsafe {
            ptr::copy_nonoverlapping(self.start as *const u8, copy.cast::<u8>(), self.length);
            libc::mremap(copy, self.length, self.length, libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED, self.start)
        };
        if placed == libc::MAP_FAILED {
            let error = io::Error::last_os_error();
            // SAFETY: the copy is still where it was made, and nobody uses it.
            unsafe { libc::munmap(copy, self.length) };
            return Err(error);
        }
        let Some((start, length)) = self.sealed else { return Ok(()) };
        // SAFETY: these pages were unwritable before.
        let sealed = unsafe { libc::mprotect(start as *mut _, length, libc::PROT_READ) };
        if sealed == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

// The parts of the running program that come from its file.
fn parts() -> io::Result<Vec<Part>> {
    // SAFETY: the kernel gives every process the address of its program headers and their number, which lie in a part of
    // the program that is always mapped.
    let headers = unsafe {
        let first = libc::getauxval(libc::AT_PHDR) as *const libc::Elf64_Phdr;
        if first.is_null() || libc::getauxval(libc::AT_PHENT) as usize != size_of::<libc::Elf64_Phdr>() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        std::slice::from_raw_parts(first, libc::getauxval(libc::AT_PHNUM) as usize)
    };
    let itself = headers.iter().find(|header| header.p_type == libc::PT_PHDR);
    // Without an entry for the headers themselves nobody knows where the program was put.
    let itself = itself.ok_or(io::ErrorKind::Unsupported)?;
    let base = (headers.as_ptr() as usize).wrapping_sub(itself.p_vaddr as usize);
    Ok(parts_of(headers, base, rustix::param::page_size()))
}

fn parts_of(headers: &[libc::Elf64_Phdr], base: usize, page: usize) -> Vec<Part> {
    let down = |address: usize| address & !(page - 1);
    let pages = |header: &libc::Elf64_Phdr, size: u64| {
        let address = base.wrapping_add(header.p_vaddr as usize);
        (down(address), down(address + size as usize + page - 1))
    };
    let sealed = headers.iter().find(|header| header.p_type == libc::PT_GNU_RELRO).map(|header| {
        // A page that is sealed in part is not sealed.
        let (start, _) = pages(header, header.p_memsz);
        (start, down(base.wrapping_add(header.p_vaddr as usize) + header.p_memsz as usize))
    });
    let loaded = headers.iter().filter(|header| header.p_type == libc::PT_LOAD && header.p_filesz > 0);
    loaded
        .map(|header| {
            let (start, end) = pages(header, header.p_filesz);
            let sealed = sealed.map(|(from, to)| (from.max(start), to.min(end))).filter(|(from, to)| from < to);
            Part {
                start,
                length: end - start,
                offset: down(header.p_offset as usize) as u64,
                flags: header.p_flags,
                sealed: sealed.map(|(from, to)| (from, to - from)),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_by_their_numbers() {
        let numbers: Vec<String> = (4..=52).map(|number: u32| number.to_string()).collect();
        let stat = format!("17 (a) b 2) S {}", numbers.join(" "));
        let expected = MemoryMap {
            code: [26, 27],
            data: [45, 46],
            heap: 47,
            heap_end: 0,
            stack: 28,
            arguments: [48, 49],
            environment: [50, 51],
            auxiliary_vector: 0,
            auxiliary_vector_size: 0,
            executable: 0,
        };
        assert_eq!(MemoryMap::read(&stat), Some(expected));
        assert_eq!(MemoryMap::read("17 (a) S 4 5"), None);
    }

    fn header(p_type: u32, p_flags: u32, p_offset: u64, p_vaddr: u64, p_filesz: u64) -> libc::Elf64_Phdr {
        libc::Elf64_Phdr {
            p_type,
            p_flags,
            p_offset,
            p_vaddr,
            p_paddr: p_vaddr,
            p_filesz,
            p_memsz: p_filesz + 0x20,
            p_align: 0x1000,
        }
    }

    #[test]
    fn parts_are_whole_pages_of_what_is_loaded_from_the_file() {
        let headers = [
            header(libc::PT_PHDR, libc::PF_R, 0x40, 0x40, 0x230),
            header(libc::PT_LOAD, libc::PF_R, 0, 0, 0x1fac),
            header(libc::PT_LOAD, libc::PF_R | libc::PF_X, 0x1fc0, 0x2fc0, 0x3000),
            header(libc::PT_LOAD, libc::PF_R | libc::PF_W, 0x5080, 0x7080, 0x1ce0),
            header(libc::PT_GNU_RELRO, libc::PF_R, 0x5080, 0x7080, 0xf60),
            header(libc::PT_LOAD, libc::PF_R | libc::PF_W, 0, 0x9000, 0),
        ];
        let part = |start, length, offset, flags, sealed| Part { start, length, offset, flags, sealed };
        let expected = [
            part(0x10_0000, 0x2000, 0, libc::PF_R, None),
            part(0x10_2000, 0x4000, 0x1000, libc::PF_R | libc::PF_X, None),
            part(0x10_7000, 0x2000, 0x5000, libc::PF_R | libc::PF_W, Some((0x10_7000, 0x1000))),
        ];
        assert_eq!(parts_of(&headers, 0x10_0000, 0x1000), expected);
    }
}
