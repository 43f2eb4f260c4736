//! Which names are names of volumes: Docker's rule, `[a-zA-Z0-9][a-zA-Z0-9_.-]+`, and what a directory can be called.

use crate::VolumeError;

/// Longest name: a directory's.
const NAME_BYTES_MAX: usize = 255;

/// Checks a name that a person gave.
///
/// # Errors
/// [`VolumeError::BadName`], [`VolumeError::NameTooShort`].
pub fn check_name(name: &str) -> Result<(), VolumeError> {
    if name.len() == 1 {
        return Err(VolumeError::NameTooShort { name: name.to_owned() });
    }
    let mut bytes = name.bytes();
    let is_good = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
        && name.len() <= NAME_BYTES_MAX;
    if is_good { Ok(()) } else { Err(VolumeError::BadName { name: name.to_owned() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_never_a_path() {
        for name in ["data", "a.b_c-d", "0x", &"a".repeat(255)] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", "..", ".hidden", "a/b", "-a", "a b", "ä1", "a\0b", &"a".repeat(256)] {
            assert!(matches!(check_name(name), Err(VolumeError::BadName { .. })), "{name}");
        }
        assert_eq!(
            check_name("a").unwrap_err().to_string(),
            "create a: volume name is too short, names should be at least two alphanumeric characters"
        );
    }
}
