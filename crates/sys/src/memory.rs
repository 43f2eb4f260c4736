//! The memory of the calling process: giving back what it does not need.

use std::{fs, io};

use rustix::mm::Advice;

/// Lets go of every page of a file that is mapped into this process and was not changed there, such as the code that
/// only its start needed. What is needed again comes back from the page cache at the next access.
///
/// # Errors
/// Without `/proc`.
pub fn release_clean_pages() -> io::Result<()> {
    for mapping in clean_mappings(&fs::read_to_string("/proc/self/smaps")?) {
        // SAFETY: the kernel has said of this mapping that it is of a file, private, that it cannot be written to, and
        // that no page of it was ever changed (none is anonymous); dropping such pages changes nothing that is read.
        unsafe { rustix::mm::madvise(mapping.start as *mut _, mapping.end - mapping.start, Advice::LinuxDontNeed) }?;
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
struct Mapping {
    start: usize,
    end: usize,
}

// Of smaps: `5584…-5585… r-xp 00012000 fe:00 1234 /usr/bin/hako`, then lines such as `Anonymous: 0 kB`. Relocated data is
// not writable either (relro), but it is anonymous.
fn clean_mappings(smaps: &str) -> Vec<Mapping> {
    let mut found = Vec::new();
    let mut candidate = None;
    for line in smaps.lines() {
        let mut fields = line.split_ascii_whitespace();
        match (fields.next(), fields.next()) {
            (Some("Anonymous:"), Some("0")) => found.extend(candidate.take()),
            (Some("Anonymous:"), _) => candidate = None,
            (Some(range), Some("r-xp" | "r--p")) => {
                // Offset, device, and an inode that is not zero.
                let is_file = fields.nth(2).is_some_and(|inode| inode != "0");
                candidate = is_file.then(|| parse_range(range)).flatten();
            }
            (Some(range), _) if range.contains('-') && !range.ends_with(':') => candidate = None,
            _ => {}
        }
    }
    found
}

fn parse_range(range: &str) -> Option<Mapping> {
    let (start, end) = range.split_once('-')?;
    let address = |text| usize::from_str_radix(text, 16).ok();
    Some(Mapping { start: address(start)?, end: address(end)? }).filter(|mapping| mapping.start < mapping.end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_of_a_file_and_unchanged_is_released() {
        let smaps = "1000-3000 r-xp 00000000 fe:00 12 /bin/hako\nSize: 8 kB\nAnonymous:             0 kB\n\
                     3000-4000 r--p 00002000 fe:00 12 /bin/hako\nAnonymous:             4 kB\n\
                     4000-5000 rw-p 00003000 fe:00 12 /bin/hako\nAnonymous:             0 kB\n\
                     7000-8000 r--p 00000000 00:00 0  [vvar]\nAnonymous:             0 kB\n\
                     8000-9000 r--s 00000000 fe:00 13 /shared\nAnonymous:             0 kB\n";
        assert_eq!(clean_mappings(smaps), [Mapping { start: 0x1000, end: 0x3000 }]);
    }

    #[test]
    fn a_process_goes_on_after_it() {
        release_clean_pages().unwrap();
        assert!(!fs::read_to_string("/proc/self/comm").unwrap().is_empty());
    }
}
