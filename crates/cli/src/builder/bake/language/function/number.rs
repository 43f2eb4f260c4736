//! Numbers, truths and comparisons.

use super::{ANY, Arguments, Row, are_few, list};
use crate::builder::bake::language::{number::Number, value::Value};

pub(super) const FUNCTIONS: &[Row] =
    &[
        ("absolute", 1, 1, |it| {
            if it.number(0)? < ZERO { finite(ZERO.subtract(it.number(0)?)) } else { just(it.number(0)?) }
        }),
        ("add", 2, 2, |it| finite(it.number(0)?.add(it.number(1)?))),
        ("and", 2, 2, |it| Ok(Value::Truth(it.truth(0)? && it.truth(1)?))),
        ("ceil", 1, 1, |it| rounded(it, f64::ceil)),
        ("divide", 2, 2, divide),
        ("equal", 2, 2, |it| Ok(Value::Truth(it.one(0).equals(it.one(1))))),
        ("floor", 1, 1, |it| rounded(it, f64::floor)),
        ("greaterthan", 2, 2, |it| Ok(Value::Truth(it.number(0)? > it.number(1)?))),
        ("greaterthanorequalto", 2, 2, |it| Ok(Value::Truth(it.number(0)? >= it.number(1)?))),
        ("int", 1, 1, |it| rounded(it, f64::trunc)),
        ("lessthan", 2, 2, |it| Ok(Value::Truth(it.number(0)? < it.number(1)?))),
        ("lessthanorequalto", 2, 2, |it| Ok(Value::Truth(it.number(0)? <= it.number(1)?))),
        ("log", 2, 2, |it| finite(Number::real(it.number(0)?.as_real().ln() / it.number(1)?.as_real().ln()))),
        ("max", 1, ANY, |it| extreme(it, |one, best| one > best)),
        ("min", 1, ANY, |it| extreme(it, |one, best| one < best)),
        ("modulo", 2, 2, modulo),
        ("multiply", 2, 2, |it| finite(it.number(0)?.multiply(it.number(1)?))),
        ("negate", 1, 1, |it| finite(ZERO.subtract(it.number(0)?))),
        ("not", 1, 1, |it| Ok(Value::Truth(!it.truth(0)?))),
        ("notequal", 2, 2, |it| Ok(Value::Truth(!it.one(0).equals(it.one(1))))),
        ("or", 2, 2, |it| Ok(Value::Truth(it.truth(0)? || it.truth(1)?))),
        ("parseint", 2, 2, parse),
        ("pow", 2, 2, power),
        ("range", 1, 3, range),
        ("signum", 1, 1, |it| Ok(Value::whole(sign(it.number(0)?)))),
        ("subtract", 2, 2, |it| finite(it.number(0)?.subtract(it.number(1)?))),
    ];

const ZERO: Number = Number::Whole(0);

fn just(number: Number) -> Result<Value, String> {
    Ok(Value::Number(number))
}

fn finite(number: Option<Number>) -> Result<Value, String> {
    number.map(Value::Number).ok_or_else(|| "the result is no number".to_owned())
}

fn rounded(it: &Arguments, round: fn(f64) -> f64) -> Result<Value, String> {
    match it.number(0)? {
        Number::Real(real) => finite(Number::real(round(real))),
        whole @ Number::Whole(_) => just(whole),
    }
}

fn divide(it: &Arguments) -> Result<Value, String> {
    if it.number(1)?.is_zero() {
        return Err("divide by zero".to_owned());
    }
    finite(it.number(0)?.divide(it.number(1)?))
}

fn modulo(it: &Arguments) -> Result<Value, String> {
    if it.number(1)?.is_zero() {
        return Err("divide by zero".to_owned());
    }
    finite(it.number(0)?.modulo(it.number(1)?))
}

fn extreme(it: &Arguments, is_better: fn(Number, Number) -> bool) -> Result<Value, String> {
    let mut best = it.number(0)?;
    for at in 1..it.0.len() {
        let one = it.number(at)?;
        if is_better(one, best) {
            best = one;
        }
    }
    just(best)
}

fn power(it: &Arguments) -> Result<Value, String> {
    let (base, exponent) = (it.number(0)?, it.number(1)?);
    if let (Some(base), Some(exponent)) = (base.as_whole(), exponent.as_whole())
        && let Ok(exponent) = u32::try_from(exponent)
        && let Some(exact) = base.checked_pow(exponent)
    {
        return Ok(Value::whole(exact));
    }
    finite(Number::real(base.as_real().powf(exponent.as_real())))
}

fn sign(number: Number) -> i128 {
    i128::from(number > ZERO) - i128::from(number < ZERO)
}

fn parse(it: &Arguments) -> Result<Value, String> {
    let (text, base) = (it.text(0)?, it.whole(1)?);
    let base = u32::try_from(base).ok().filter(|base| (2..=62).contains(base));
    let base = base.ok_or("base must be a whole number between 2 and 62 inclusive")?;
    let invalid = || format!("cannot parse {text:?} as a base {base} integer");
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(&text)),
    };
    if digits.is_empty() {
        return Err(invalid());
    }
    let mut sum = 0_i128;
    for c in digits.chars() {
        let digit = match c {
            '0'..='9' => u32::from(c) - u32::from('0'),
            'a'..='z' => u32::from(c) - u32::from('a') + 10,
            // Large and small letters are one digit until the small ones are used up.
            'A'..='Z' => u32::from(c) - u32::from('A') + if base <= 36 { 10 } else { 36 },
            _ => return Err(invalid()),
        };
        if digit >= base {
            return Err(invalid());
        }
        sum = sum
            .checked_mul(base.into())
            .and_then(|sum| sum.checked_add(digit.into()))
            .ok_or("the number is too large")?;
    }
    Ok(Value::whole(if is_negative { -sum } else { sum }))
}

fn range(it: &Arguments) -> Result<Value, String> {
    let (mut at, end) = if it.0.len() == 1 { (ZERO, it.number(0)?) } else { (it.number(0)?, it.number(1)?) };
    let step = match it.0.len() {
        3 => it.number(2)?,
        _ if end < at => Number::Whole(-1),
        _ => Number::Whole(1),
    };
    if step.is_zero() && at != end {
        return Err("step must not be zero".to_owned());
    }
    if (end < at) != (step < ZERO) && at != end {
        let direction =
            if end < at { "start must not be greater than end" } else { "end must not be greater than start" };
        return Err(format!("{direction} when step is {}", if step < ZERO { "negative" } else { "positive" }));
    }
    let mut made = Vec::new();
    while if step < ZERO { at > end } else { at < end } {
        are_few(made.len() + 1)?;
        made.push(Value::Number(at));
        at = at.add(step).ok_or("the number is too large")?;
    }
    Ok(list(made))
}
