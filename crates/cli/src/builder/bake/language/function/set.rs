//! Sets: elements in order, each once.

use super::{ANY, Arguments, Row, are_few, list};
use crate::builder::bake::language::value::{Shape, Value};

pub(super) const FUNCTIONS: &[Row] = &[
    ("sethaselement", 2, 2, |it| Ok(Value::Truth(of(it, 0)?.iter().any(|one| one.equals(it.one(1)))))),
    ("setintersection", 1, ANY, |it| {
        folded(it, |left, right| left.into_iter().filter(|one| right.contains(one)).collect())
    }),
    ("setproduct", 1, ANY, product),
    ("setsubtract", 2, 2, |it| folded(it, |left, right| left.into_iter().filter(|one| !right.contains(one)).collect())),
    ("setsymmetricdifference", 1, ANY, |it| {
        folded(it, |left, right| {
            let (kept, both): (Vec<_>, Vec<_>) = left.into_iter().partition(|one| !right.contains(one));
            kept.into_iter().chain(right.into_iter().filter(|one| !both.contains(one))).collect()
        })
    }),
    ("setunion", 1, ANY, |it| {
        folded(it, |mut left, right| {
            left.extend(right);
            left
        })
    }),
];

fn of(it: &Arguments, at: usize) -> Result<Vec<Value>, String> {
    match Value::set(it.list(at)?) {
        Value::Sequence(_, all) => Ok(all),
        _ => Ok(Vec::new()),
    }
}

fn folded(it: &Arguments, both: fn(Vec<Value>, Vec<Value>) -> Vec<Value>) -> Result<Value, String> {
    let mut made = of(it, 0)?;
    for at in 1..it.0.len() {
        let other = of(it, at)?;
        // Each is looked for in the other.
        are_few(made.len().saturating_mul(other.len()) / 64)?;
        made = both(made, other);
    }
    Ok(Value::set(made))
}

// Tuples of one element of each; a list if all are lists.
fn product(it: &Arguments) -> Result<Value, String> {
    if it.0.len() < 2 {
        return Err("at least two arguments are required".to_owned());
    }
    let is_list = it.0.iter().all(|one| !matches!(one, Value::Sequence(Shape::Set, _)));
    let mut made: Vec<Vec<Value>> = vec![Vec::new()];
    for at in 0..it.0.len() {
        let all = if is_list { it.list(at)? } else { of(it, at)? };
        are_few(made.len().saturating_mul(all.len()).saturating_mul(at + 1))?;
        let with = |before: &Vec<Value>, one: &Value| before.iter().chain([one]).cloned().collect::<Vec<_>>();
        made = made.iter().flat_map(|before| all.iter().map(move |one| with(before, one))).collect();
    }
    let tuples = made.into_iter().map(|one| Value::Sequence(Shape::Tuple, one)).collect();
    Ok(if is_list { list(tuples) } else { Value::set(tuples) })
}
