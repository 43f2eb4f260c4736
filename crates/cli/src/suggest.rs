//! "Did you mean": the nearest of the known names to a mistyped one.
//!
//! Near means at most two edits (or a third of the word), a swap of neighbours counting as one.

/// The known name closest to `typed`, if any is close enough.
pub(crate) fn nearest<'n>(typed: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let limit = (typed.chars().count() / 3).clamp(1, 2);
    known
        .map(|name| (distance(typed, name), name))
        .filter(|(edits, name)| *edits <= limit || (typed.len() > 2 && name.starts_with(typed)))
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, name)| name)
}

// Optimal string alignment: insertions, deletions, replacements and swaps of neighbours.
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().collect();
    let right: Vec<char> = right.chars().collect();
    let mut before = vec![0; right.len() + 1];
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for i in 1..=left.len() {
        let mut row = vec![i; right.len() + 1];
        for j in 1..=right.len() {
            let replaced = last[j - 1] + usize::from(left[i - 1] != right[j - 1]);
            row[j] = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_near_names_are_offered() {
        let known = ["run", "rm", "rmi", "restart", "images", "inspect"];
        let check = |typed: &str, expected: Option<&str>| assert_eq!(nearest(typed, known.into_iter()), expected);
        check("rnu", Some("run"));
        check("restrat", Some("restart"));
        check("imgaes", Some("images"));
        check("insp", Some("inspect"));
        check("frobnicate", None);
    }
}
