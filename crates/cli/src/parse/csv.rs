//! One record of comma-separated values, as `--mount`, `--network` and `--gpus` are written.
//!
//! A field that contains commas is put in double quotes as a whole; a quote within it is doubled.

/// Splits `text` into its fields.
///
/// # Errors
/// In the words of Go's csv reader.
pub(crate) fn fields(text: &str) -> Result<Vec<String>, String> {
    if text.is_empty() {
        return Err("EOF".to_owned());
    }
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let (field, after) = if let Some(quoted) = rest.strip_prefix('"') {
            quoted_field(text, quoted)?
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            if let Some(at) = rest[..end].find('"') {
                let column = text.len() - rest.len() + at + 1;
                return Err(format!("parse error on line 1, column {column}: bare \" in non-quoted-field"));
            }
            (rest[..end].to_owned(), &rest[end..])
        };
        fields.push(field);
        match after.strip_prefix(',') {
            Some(more) => rest = more,
            None => return Ok(fields),
        }
    }
}

fn quoted_field<'t>(text: &'t str, mut rest: &'t str) -> Result<(String, &'t str), String> {
    let broken = |rest: &str| {
        let column = text.len() - rest.len() + 1;
        format!("parse error on line 1, column {column}: extraneous or missing \" in quoted-field")
    };
    let mut field = String::new();
    loop {
        let Some(at) = rest.find('"') else { return Err(broken("")) };
        field.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        match rest.chars().next() {
            Some('"') => {
                field.push('"');
                rest = &rest[1..];
            }
            None | Some(',') => return Ok((field, rest)),
            Some(_) => return Err(broken(rest)),
        }
    }
}

/// Parses as Go's `strconv.ParseBool` does; nothing where it is not one of its words.
pub(crate) fn parse_bool(text: &str) -> Option<bool> {
    use crate::flag::FromFlag;
    bool::from_flag(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&[&str], &str>) {
        let got = fields(text);
        let expected = expected.map(|all| all.iter().map(|s| (*s).to_owned()).collect()).map_err(str::to_owned);
        assert_eq!(got, expected, "{text}");
    }

    #[test]
    fn quotes_keep_commas_together() {
        check("a=b,c", Ok(&["a=b", "c"]));
        check("type=volume,\"volume-opt=o=addr=1,vers=4\"", Ok(&["type=volume", "volume-opt=o=addr=1,vers=4"]));
        check("a,", Ok(&["a", ""]));
        check("\"a\"\"b\"", Ok(&["a\"b"]));
        check("", Err("EOF"));
        check("type=bind,src=a\"b", Err("parse error on line 1, column 16: bare \" in non-quoted-field"));
        check("\"a", Err("parse error on line 1, column 3: extraneous or missing \" in quoted-field"));
    }
}
