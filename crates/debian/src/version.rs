//! Which of two versions is newer, as Debian's policy (section 5.6.12) says.

use std::cmp::Ordering;

/// Whether the left version is newer than the right one.
pub(crate) fn is_newer(left: &str, right: &str) -> bool {
    compare(left, right) == Ordering::Greater
}

fn compare(left: &str, right: &str) -> Ordering {
    let epoch = |version: &str| match version.split_once(':') {
        Some((epoch, rest)) => (epoch.parse::<u64>().unwrap_or(0), rest.to_owned()),
        None => (0, version.to_owned()),
    };
    let ((left_epoch, left), (right_epoch, right)) = (epoch(left), epoch(right));
    let revision = |version: &str| match version.rsplit_once('-') {
        Some((upstream, revision)) => (upstream.to_owned(), revision.to_owned()),
        None => (version.to_owned(), String::new()),
    };
    let ((left, left_revision), (right, right_revision)) = (revision(&left), revision(&right));
    left_epoch
        .cmp(&right_epoch)
        .then_with(|| parts(left.as_bytes(), right.as_bytes()))
        .then_with(|| parts(left_revision.as_bytes(), right_revision.as_bytes()))
}

/// Text and numbers in turn. In texts, `~` sorts before the end, letters before everything else.
fn parts(mut left: &[u8], mut right: &[u8]) -> Ordering {
    let weight = |bytes: &[u8]| match bytes.first() {
        Some(b'~') => -1,
        None | Some(b'0'..=b'9') => 0,
        Some(letter) if letter.is_ascii_alphabetic() => i32::from(*letter),
        Some(other) => i32::from(*other) + 256,
    };
    let starts_text = |bytes: &[u8]| bytes.first().is_some_and(|byte| !byte.is_ascii_digit());
    while !left.is_empty() || !right.is_empty() {
        while starts_text(left) || starts_text(right) {
            match weight(left).cmp(&weight(right)) {
                Ordering::Equal => (left, right) = (&left[1..], &right[1..]),
                other => return other,
            }
        }
        let (left_number, right_number) = (number(&mut left), number(&mut right));
        let by_number = left_number.len().cmp(&right_number.len()).then_with(|| left_number.cmp(right_number));
        if by_number != Ordering::Equal {
            return by_number;
        }
    }
    Ordering::Equal
}

/// The digits in front, without leading zeros.
fn number<'v>(bytes: &mut &'v [u8]) -> &'v [u8] {
    let end = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = bytes.split_at(end);
    *bytes = rest;
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    &digits[zeros..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_in_order() {
        let order = [
            "0~~",
            "0~",
            "0",
            "0.9",
            "1.0~rc1-1",
            "1.0-1~deb12u1",
            "1.0-1",
            "1.0-1+b1",
            "1.0-1+deb12u2",
            "1.0-2",
            "1.0+a-1",
            "1.2",
            "1.10",
            "2.36-9+deb12u9",
            "2.36-9+deb12u10",
            "1:0.1",
        ];
        for (at, left) in order.iter().enumerate() {
            for (other, right) in order.iter().enumerate() {
                assert_eq!(compare(left, right), at.cmp(&other), "{left} and {right}");
            }
        }
        assert_eq!(compare("1.0", "1.00"), Ordering::Equal);
    }
}
