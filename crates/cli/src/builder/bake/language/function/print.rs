//! `format` and `formatlist`: verbs of C's `printf` in the dialect of the language.

use super::{ANY, Arguments, Row, are_few, fits, texts};
use crate::builder::bake::language::{
    kind::Kind,
    number::Number,
    value::{Value, quoted},
};

pub(super) const FUNCTIONS: &[Row] = &[("format", 1, ANY, format), ("formatlist", 1, ANY, format_list)];

/// Spaces around a value, and digits after its point.
const WIDTH_MAX: usize = 4096;

fn format(it: &Arguments) -> Result<Value, String> {
    formatted(&it.text(0)?, &it.0[1..]).map(Value::Text)
}

// Lists are gone through side by side; anything else stays the same.
fn format_list(it: &Arguments) -> Result<Value, String> {
    let pattern = it.text(0)?;
    let lengths = it.0[1..].iter().filter_map(|one| match one {
        Value::Sequence(_, all) => Some(all.len()),
        _ => None,
    });
    let lengths: Vec<usize> = lengths.collect();
    let count = lengths.first().copied().unwrap_or(1);
    if lengths.iter().any(|length| *length != count) {
        return Err("all lists must have the same length".to_owned());
    }
    are_few(count)?;
    let mut made = Vec::with_capacity(count);
    let mut bytes = 0;
    for at in 0..count {
        let row: Vec<Value> = it.0[1..]
            .iter()
            .map(|one| match one {
                Value::Sequence(_, all) => all[at].clone(),
                other => other.clone(),
            })
            .collect();
        let text = formatted(&pattern, &row)?;
        bytes += text.len();
        fits(bytes)?;
        made.push(text);
    }
    Ok(texts(made))
}

#[derive(Default)]
struct Flags {
    minus: bool,
    plus: bool,
    space: bool,
    sharp: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

fn formatted(pattern: &str, arguments: &[Value]) -> Result<String, String> {
    let mut made = String::new();
    let mut rest = pattern;
    let mut next = 0;
    let mut is_explicit = false;
    while let Some(at) = rest.find('%') {
        made.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            made.push('%');
            rest = after;
            continue;
        }
        let flags = flags(&mut rest)?;
        if let Some(after) = rest.strip_prefix('[') {
            let (number, after) = after.split_once(']').ok_or("unterminated argument index")?;
            let number: usize = number.parse().map_err(|_| format!("invalid argument index {number:?}"))?;
            next = number.checked_sub(1).ok_or("argument indices begin at 1")?;
            (rest, is_explicit) = (after, true);
        }
        let verb = rest.chars().next().ok_or("unexpected end of the format string")?;
        rest = &rest[verb.len_utf8()..];
        let value = arguments.get(next).ok_or_else(|| format!("not enough arguments for \"%{verb}\""))?;
        next += 1;
        made.push_str(&one(&flags, verb, value)?);
        fits(made.len())?;
    }
    if next < arguments.len() && !is_explicit {
        return Err(format!("too many arguments; only {next} used by format string"));
    }
    Ok(made + rest)
}

fn flags(rest: &mut &str) -> Result<Flags, String> {
    let mut flags = Flags::default();
    while let Some(c) = rest.chars().next() {
        match c {
            '-' => flags.minus = true,
            '+' => flags.plus = true,
            ' ' => flags.space = true,
            '#' => flags.sharp = true,
            '0' => flags.zero = true,
            _ => break,
        }
        *rest = &rest[1..];
    }
    flags.width = number(rest)?;
    if let Some(after) = rest.strip_prefix('.') {
        *rest = after;
        flags.precision = Some(number(rest)?.unwrap_or(0));
    }
    Ok(flags)
}

fn number(rest: &mut &str) -> Result<Option<usize>, String> {
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (digits, after) = rest.split_at(end);
    *rest = after;
    if digits.is_empty() {
        return Ok(None);
    }
    let number = digits.parse().ok().filter(|number| *number <= WIDTH_MAX);
    number.map(Some).ok_or_else(|| format!("a width or precision is at most {WIDTH_MAX}"))
}

fn one(flags: &Flags, verb: char, value: &Value) -> Result<String, String> {
    let unsuitable = |why: String| format!("unsupported value for \"%{verb}\": {why}");
    if *value == Value::Null && verb != 'v' {
        return Err(unsuitable("null value cannot be formatted".to_owned()));
    }
    let as_number = || match Kind::Number.convert(value.clone()).map_err(unsuitable)? {
        Value::Number(number) => Ok(number),
        _ => Err(unsuitable("number required".to_owned())),
    };
    let whole = || as_number()?.as_whole().ok_or_else(|| unsuitable("an integer is required".to_owned()));
    let text = || value.to_text().ok_or_else(|| unsuitable("string required".to_owned()));
    let (body, is_number) = match verb {
        'v' if flags.sharp => (value.json(), false),
        'v' => (value.to_text().unwrap_or_else(|| value.json()), false),
        's' => (shortened(flags, &text()?), false),
        'q' => (quoted(&shortened(flags, &text()?)), false),
        't' => match Kind::Truth.convert(value.clone()).map_err(unsuitable)? {
            Value::Truth(truth) => (truth.to_string(), false),
            _ => return Err(unsuitable("bool required".to_owned())),
        },
        'd' => (signed(flags, whole()?, |it| it.to_string(), ""), true),
        'b' => (signed(flags, whole()?, |it| format!("{it:b}"), "0b"), true),
        'o' => (signed(flags, whole()?, |it| format!("{it:o}"), "0"), true),
        'x' => (signed(flags, whole()?, |it| format!("{it:x}"), "0x"), true),
        'X' => (signed(flags, whole()?, |it| format!("{it:X}"), "0X"), true),
        'e' | 'E' | 'f' | 'g' | 'G' => (real(flags, verb, as_number()?), true),
        other => return Err(format!("unsupported format verb {other:?}")),
    };
    Ok(padded(flags, body, is_number))
}

fn shortened(flags: &Flags, text: &str) -> String {
    flags.precision.map_or_else(|| text.to_owned(), |count| text.chars().take(count).collect())
}

fn signed(flags: &Flags, number: i128, digits: impl Fn(u128) -> String, prefix: &str) -> String {
    let prefix = if flags.sharp { prefix } else { "" };
    format!("{}{prefix}{}", sign(flags, number < 0), digits(number.unsigned_abs()))
}

fn sign(flags: &Flags, is_negative: bool) -> &'static str {
    match (is_negative, flags.plus, flags.space) {
        (true, ..) => "-",
        (_, true, _) => "+",
        (_, _, true) => " ",
        _ => "",
    }
}

fn real(flags: &Flags, verb: char, number: Number) -> String {
    let value = number.as_real();
    let digits = match verb {
        'f' => format!("{:.*}", flags.precision.unwrap_or(6), value.abs()),
        'e' | 'E' => exponent(&format!("{:.*e}", flags.precision.unwrap_or(6), value.abs())),
        _ => shortest(flags.precision, value.abs()),
    };
    let digits = if verb.is_uppercase() { digits.to_uppercase() } else { digits };
    format!("{}{digits}", sign(flags, value < 0.0))
}

// Exponents have a sign and two digits.
fn exponent(text: &str) -> String {
    let Some((digits, exponent)) = text.split_once('e') else { return text.to_owned() };
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
    format!("{digits}e{sign}{exponent:0>2}")
}

// By an exponent if that is very small or larger than the digits.
fn shortest(precision: Option<usize>, value: f64) -> String {
    let scientific = match precision {
        None => format!("{value:e}"),
        Some(digits) => format!("{value:.*e}", digits.max(1) - 1),
    };
    let (digits, power) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let digits = if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { digits };
    let power: i32 = power.parse().unwrap_or(0);
    let limit = precision.map_or(6, |digits| i32::try_from(digits.max(1)).unwrap_or(i32::MAX));
    if power < -4 || power >= limit {
        return exponent(&format!("{digits}e{power}"));
    }
    format!("{digits}e{power}").parse::<f64>().map(|value| value.to_string()).unwrap_or_default()
}

fn padded(flags: &Flags, body: String, is_number: bool) -> String {
    let missing = flags.width.unwrap_or(0).saturating_sub(body.chars().count());
    if flags.minus {
        return body + &" ".repeat(missing);
    }
    if flags.zero && is_number {
        let digits = body.trim_start_matches(['-', '+', ' ']);
        return format!("{}{}{digits}", &body[..body.len() - digits.len()], "0".repeat(missing));
    }
    let filling = if flags.zero { "0" } else { " " };
    filling.repeat(missing) + &body
}
