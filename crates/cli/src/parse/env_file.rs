//! Files of variables: `--env-file` and `--label-file`.
//!
//! One `name=value` a line; blank lines and lines that begin with `#` are skipped, values are taken
//! as they stand. A name alone means the variable of that name here, if there is one.

use std::{fs, io, path::Path};

/// A variable file larger than this is a mistake: the kernel would refuse such an environment.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Reads a file into `name=value` lines; `lookup` answers names that stand alone.
///
/// # Errors
/// In Docker's words, which differ for a file that cannot be opened and a line that is wrong.
pub(crate) fn read(path: &str, lookup: impl Fn(&str) -> Option<String>) -> Result<Vec<String>, String> {
    let open = |error: io::Error| {
        let code = error.raw_os_error().map_or_else(|| error.to_string(), hako_base::error::errno_text);
        format!("open {path}: {code}")
    };
    if fs::metadata(Path::new(path)).map_err(open)?.len() > FILE_BYTES_MAX {
        return Err(format!("invalid env file ({path}): larger than 16MiB"));
    }
    let bytes = fs::read(path).map_err(open)?;
    parse(&bytes, lookup).map_err(|reason| format!("invalid env file ({path}): {reason}"))
}

fn parse(bytes: &[u8], lookup: impl Fn(&str) -> Option<String>) -> Result<Vec<String>, String> {
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    let mut variables = Vec::new();
    for (at, line) in bytes.split(|b| *b == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = std::str::from_utf8(line).map_err(|_| format!("invalid utf8 bytes at line {}", at + 1))?;
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (line, None),
        };
        if name.is_empty() {
            return Err(format!("no variable name on line '{line}'"));
        }
        if name.contains(char::is_whitespace) {
            return Err(format!("variable '{name}' contains whitespaces"));
        }
        match value {
            Some(_) => variables.push(line.to_owned()),
            None => variables.extend(lookup(name).map(|value| format!("{name}={value}"))),
        }
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&[&str], &str>) {
        let lookup = |name: &str| (name == "HOME").then(|| "/home/me".to_owned());
        let expected = expected.map(|all| all.iter().map(|s| (*s).to_owned()).collect()).map_err(str::to_owned);
        assert_eq!(parse(text.as_bytes(), lookup), expected, "{text}");
    }

    #[test]
    fn values_are_taken_as_they_stand() {
        check(
            "# comment\nA=1\n  B= x y \nNONE\nHOME\r\nQ=\"q\"\n\n",
            Ok(&["A=1", "B= x y ", "HOME=/home/me", "Q=\"q\""]),
        );
        check("d = e", Err("variable 'd ' contains whitespaces"));
        check("=x", Err("no variable name on line '=x'"));
    }
}
