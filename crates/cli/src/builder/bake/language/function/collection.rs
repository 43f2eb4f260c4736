//! Lists, tuples, maps and objects.

use std::collections::{BTreeMap, BTreeSet};

use super::{ANY, Arguments, Row, are_few, list, texts};
use crate::builder::bake::language::{
    kind::unified,
    value::{Shape, Value},
};

pub(super) const FUNCTIONS: &[Row] = &[
    ("chunklist", 2, 2, chunks),
    ("coalesce", 1, ANY, coalesce),
    ("coalescelist", 1, ANY, coalesce_list),
    ("compact", 1, 1, |it| Ok(texts(it.texts(0)?.into_iter().filter(|one| !one.is_empty())))),
    ("concat", 1, ANY, concat),
    ("contains", 2, 2, |it| Ok(Value::Truth(it.sequence(0)?.iter().any(|one| one.equals(it.one(1)))))),
    ("distinct", 1, 1, distinct),
    ("element", 2, 2, element),
    ("flatten", 1, 1, flatten),
    ("hasindex", 2, 2, |it| Ok(Value::Truth(super::index(it.one(0).clone(), it.one(1)).is_ok()))),
    ("index", 2, 2, |it| super::index(it.one(0).clone(), it.one(1))),
    ("indexof", 2, 2, index_of),
    ("keys", 1, 1, |it| Ok(texts(it.mapping(0)?.keys().cloned()))),
    ("length", 1, 1, length),
    ("lookup", 3, 3, |it| Ok(it.mapping(0)?.get(&it.text(1)?).unwrap_or(it.one(2)).clone())),
    ("merge", 1, ANY, merge),
    ("reverselist", 1, 1, |it| Ok(same(it, it.sequence(0)?.iter().rev().cloned().collect()))),
    ("slice", 3, 3, slice),
    ("sort", 1, 1, sort),
    ("values", 1, 1, |it| Ok(Value::Sequence(Shape::Tuple, it.mapping(0)?.values().cloned().collect()))),
    ("zipmap", 2, 2, zip),
];

// As the first argument is: a tuple stays one.
fn same(it: &Arguments, all: Vec<Value>) -> Value {
    match it.one(0) {
        Value::Sequence(Shape::Tuple, _) => Value::Sequence(Shape::Tuple, all),
        _ => list(all),
    }
}

fn chunks(it: &Arguments) -> Result<Value, String> {
    let (all, size) = (it.list(0)?, it.count(1)?);
    if size == 0 {
        return Ok(list(vec![list(all)]));
    }
    Ok(list(all.chunks(size).map(|chunk| list(chunk.to_vec())).collect()))
}

fn coalesce(it: &Arguments) -> Result<Value, String> {
    let all = unified(it.0.clone())?;
    all.into_iter().find(|one| *one != Value::Null).ok_or_else(|| "no non-null arguments".to_owned())
}

fn coalesce_list(it: &Arguments) -> Result<Value, String> {
    for (at, one) in it.0.iter().enumerate() {
        if *one != Value::Null && !it.sequence(at)?.is_empty() {
            return Ok(one.clone());
        }
    }
    Err("no non-null arguments".to_owned())
}

fn concat(it: &Arguments) -> Result<Value, String> {
    let mut made = Vec::new();
    for at in 0..it.0.len() {
        made.extend_from_slice(it.sequence(at)?);
    }
    let is_list = it.0.iter().all(|one| matches!(one, Value::Sequence(Shape::List, _)));
    Ok(if is_list { list(unified(made)?) } else { Value::Sequence(Shape::Tuple, made) })
}

fn distinct(it: &Arguments) -> Result<Value, String> {
    let mut seen = BTreeSet::new();
    Ok(list(it.list(0)?.into_iter().filter(|one| seen.insert(one.json())).collect()))
}

fn element(it: &Arguments) -> Result<Value, String> {
    let (all, at) = (it.sequence(0)?, it.whole(1)?);
    let count = i128::try_from(all.len()).unwrap_or(i128::MAX);
    if count == 0 {
        return Err("cannot use element function with an empty list".to_owned());
    }
    Ok(usize::try_from(at.rem_euclid(count)).ok().and_then(|at| all.get(at)).cloned().unwrap_or(Value::Null))
}

fn flatten(it: &Arguments) -> Result<Value, String> {
    fn into(all: &[Value], made: &mut Vec<Value>) {
        for one in all {
            match one {
                Value::Sequence(_, inner) => into(inner, made),
                other => made.push(other.clone()),
            }
        }
    }
    let mut made = Vec::new();
    into(it.sequence(0)?, &mut made);
    Ok(Value::Sequence(Shape::Tuple, made))
}

fn index_of(it: &Arguments) -> Result<Value, String> {
    let all = it.sequence(0)?;
    if all.is_empty() {
        return Err("cannot search an empty list".to_owned());
    }
    all.iter().position(|one| one.equals(it.one(1))).map(Value::count).ok_or_else(|| "item not found".to_owned())
}

fn length(it: &Arguments) -> Result<Value, String> {
    match it.one(0) {
        Value::Sequence(_, all) => Ok(Value::count(all.len())),
        Value::Mapping(_, all) => Ok(Value::count(all.len())),
        other => Err(format!("collection must be a list, a map or a tuple, not a {}", other.name())),
    }
}

fn merge(it: &Arguments) -> Result<Value, String> {
    let mut made = BTreeMap::new();
    for (at, one) in it.0.iter().enumerate() {
        if *one != Value::Null {
            made.extend(it.mapping(at)?.clone());
        }
    }
    let is_map = it.0.iter().all(|one| matches!(one, Value::Mapping(true, _)));
    Ok(Value::Mapping(is_map, made))
}

fn slice(it: &Arguments) -> Result<Value, String> {
    let (all, from, to) = (it.sequence(0)?, it.count(1)?, it.count(2)?);
    if from > to {
        return Err("start index must not be greater than end index".to_owned());
    }
    let chosen = all.get(from..to).ok_or("end index must not be greater than the length of the list")?;
    Ok(same(it, chosen.to_vec()))
}

fn sort(it: &Arguments) -> Result<Value, String> {
    let mut all = it.texts(0)?;
    all.sort();
    Ok(texts(all))
}

fn zip(it: &Arguments) -> Result<Value, String> {
    let (keys, values) = (it.texts(0)?, it.sequence(1)?);
    are_few(keys.len())?;
    if keys.len() != values.len() {
        return Err(format!("number of keys ({}) does not match number of values ({})", keys.len(), values.len()));
    }
    let is_map = matches!(it.one(1), Value::Sequence(Shape::List, _));
    Ok(Value::Mapping(is_map, keys.into_iter().zip(values.iter().cloned()).collect()))
}
