//! Words of an instruction: where they end, and what variables, quotes and backslashes in them mean.

/// Splits at white space outside of quotes; quotes and backslashes stay for [`expand`].
pub(super) fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\\', None | Some('"')) => {
                word.push(c);
                word.extend(chars.next());
                continue;
            }
            ('"' | '\'', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            (c, None) if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            _ => {}
        }
        word.push(c);
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// Takes quotes and backslashes away and puts the values of variables in:
/// `$NAME`, `${NAME}`, `${NAME:-default}`, `${NAME:+instead}`.
pub(super) fn expand(text: &str, env: &[String]) -> Result<String, String> {
    let mut out = String::new();
    let mut quote = None;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match (c, quote) {
            ('\\', None | Some('"')) => {
                let Some(next) = rest.chars().next() else {
                    out.push('\\');
                    break;
                };
                // In double quotes a backslash only guards what would mean something there.
                if quote.is_some() && !matches!(next, '"' | '$' | '\\') {
                    out.push('\\');
                }
                out.push(next);
                rest = &rest[next.len_utf8()..];
            }
            ('"' | '\'', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            ('$', None | Some('"')) => rest = variable(rest, env, &mut out)?,
            (c, _) => out.push(c),
        }
    }
    match quote {
        Some('"') => Err("unexpected end of statement while looking for matching double-quote".to_owned()),
        Some(_) => Err("unexpected end of statement while looking for matching single-quote".to_owned()),
        None => Ok(out),
    }
}

// `rest` stands behind the dollar; answers what stands behind the variable.
fn variable<'t>(rest: &'t str, env: &[String], out: &mut String) -> Result<&'t str, String> {
    let value = |name: &str| {
        env.iter().rev().find_map(|known| known.split_once('=').filter(|(key, _)| *key == name)).map(|(_, value)| value)
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let Some(braced) = rest.strip_prefix('{') else {
        let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
        if end == 0 {
            out.push('$');
        }
        out.push_str(value(&rest[..end]).unwrap_or_default());
        return Ok(&rest[end..]);
    };
    let Some(close) = braced.find('}') else {
        return Err("syntax error: missing '}'".to_owned());
    };
    let (inside, after) = (&braced[..close], &braced[close + 1..]);
    let end = inside.find(|c| !is_name(c)).unwrap_or(inside.len());
    let (name, modifier) = inside.split_at(end);
    let found = value(name).filter(|value| !value.is_empty());
    match modifier.get(..2) {
        None if modifier.is_empty() => out.push_str(value(name).unwrap_or_default()),
        Some(":-") => out.push_str(found.unwrap_or(&modifier[2..])),
        Some(":+") => out.push_str(found.map_or("", |_| &modifier[2..])),
        _ => return Err(format!("unsupported modifier ({modifier}) in substitution")),
    }
    Ok(after)
}
