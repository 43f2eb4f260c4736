//! What was probably meant: the nearest of the known names.

/// The known name that differs least from `typed`, if it is near enough to be a slip.
pub fn nearest<'n>(typed: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let (distance, name) = known.into_iter().map(|name| (distance(typed, name), name)).min()?;
    let allowed = if typed.chars().count() < 4 { 1 } else { 2 };
    (distance <= allowed).then_some(name)
}

fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (at, c) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (column, other) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(c != *other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_strangers_are_not() {
        let known = ["ports", "volumes", "image"];
        assert_eq!(nearest("prots", known), Some("ports"));
        assert_eq!(nearest("volume", known), Some("volumes"));
        assert_eq!(nearest("xyz", known), None);
    }
}
