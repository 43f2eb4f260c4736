//! A command line taken apart as a shell would, without its expansions.

/// The words of a command line.
///
/// # Errors
/// When a quote is not closed.
pub fn split(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some('"'), '\\') => {
                let into = word.get_or_insert_default();
                match chars.next() {
                    Some(c @ ('"' | '\\' | '$' | '`')) => into.push(c),
                    Some('\n') => {}
                    Some(c) => into.extend(['\\', c]),
                    None => return Err(format!("EOF found after escape character in {line:?}")),
                }
            }
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '\\') => match chars.next() {
                Some('\n') => {}
                Some(c) => word.get_or_insert_default().push(c),
                None => return Err(format!("EOF found after escape character in {line:?}")),
            },
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, '#') if word.is_none() => break,
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err(format!("EOF found when expecting closing quote in {line:?}"));
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_backslashes_are_a_shells() {
        for (line, expected) in [
            ("a b  c", r#"["a", "b", "c"]"#),
            (r#"sh -c "echo 'x y' && z""#, r#"["sh", "-c", "echo 'x y' && z"]"#),
            (r"a\ b '' 'c d'e", r#"["a b", "", "c de"]"#),
            ("a # b", r#"["a"]"#),
            ("", "[]"),
        ] {
            assert_eq!(format!("{:?}", split(line).unwrap()), expected, "{line}");
        }
        assert!(split("a 'b").is_err());
    }
}
