//! The standard library: the functions that Buildx has in every bake file.
//!
//! What a function makes is bounded before it is made. `try`, `can` and `convert` are the evaluator's, since they look at
//! their arguments before these have values.

mod address; // cidr…
mod collection; // lists, maps, objects
mod encode; // base64, csv, json, hashes, identifiers
mod number;
mod print; // format, formatlist
mod set;
mod text;
mod time;
mod version; // semvercmp

use super::{
    TEXT_BYTES_MAX,
    kind::{Kind, unified},
    number::Number,
    value::{Shape, Value},
};

/// Elements that one call makes.
const ELEMENTS_MAX: usize = 1 << 16;

/// What is called: its name, how many arguments it takes at least and at most, and what it does.
type Row = (&'static str, usize, usize, fn(&Arguments) -> Result<Value, String>);
/// As many as are given.
const ANY: usize = usize::MAX;

const TABLES: [&[Row]; 9] = [
    address::FUNCTIONS,
    collection::FUNCTIONS,
    encode::FUNCTIONS,
    number::FUNCTIONS,
    print::FUNCTIONS,
    set::FUNCTIONS,
    text::FUNCTIONS,
    time::FUNCTIONS,
    version::FUNCTIONS,
];

/// The functions that take null for what it is.
const NULLS: [&str; 13] = [
    "coalesce",
    "coalescelist",
    "contains",
    "equal",
    "format",
    "formatlist",
    "index",
    "indexof",
    "jsonencode",
    "length",
    "lookup",
    "merge",
    "notequal",
];

fn row(name: &str) -> Option<&'static Row> {
    TABLES.iter().flat_map(|table| table.iter()).find(|row| row.0 == name)
}

pub(super) fn is_known(name: &str) -> bool {
    row(name).is_some()
}

pub(super) fn names<'n>() -> impl Iterator<Item = &'n str> {
    let all = TABLES.iter().flat_map(|table| table.iter().map(|row| row.0));
    all.chain(["try", "can", "convert"])
}

/// What a call costs besides its result.
pub(super) fn cost(name: &str, arguments: &[Value]) -> u64 {
    let each = if name.starts_with("regex") { 64 } else { 1 };
    if name == "bcrypt" {
        return encode::bcrypt_cost(arguments.get(1));
    }
    each * arguments.iter().map(Value::size).sum::<u64>()
}

/// # Errors
/// Why there is no result.
pub(super) fn call(name: &str, arguments: Vec<Value>) -> Result<Value, String> {
    let (_, least, most, function) = row(name).ok_or_else(|| "there is no such function".to_owned())?;
    let count = arguments.len();
    if count < *least || count > *most {
        let wanted = if least == most { least.to_string() } else { format!("at least {least}") };
        let wanted = if count > *most { format!("at most {most}") } else { wanted };
        return Err(format!("it takes {wanted} argument(s), not {count}"));
    }
    if !NULLS.contains(&name) && arguments.contains(&Value::Null) {
        return Err("argument must not be null".to_owned());
    }
    function(&Arguments(arguments))
}

pub(super) fn too_long() -> String {
    format!("a text may have {} MiB", TEXT_BYTES_MAX >> 20)
}

/// The text that is about to be made.
///
/// # Errors
/// Where it is too long.
fn fits(bytes: usize) -> Result<(), String> {
    if bytes > TEXT_BYTES_MAX { Err(too_long()) } else { Ok(()) }
}

/// The elements that are about to be made.
///
/// # Errors
/// Where they are too many.
fn are_few(elements: usize) -> Result<(), String> {
    if elements > ELEMENTS_MAX { Err(format!("a function makes at most {ELEMENTS_MAX} elements")) } else { Ok(()) }
}

/// An element of a sequence or a mapping.
///
/// # Errors
/// Where there is none.
pub(super) fn index(value: Value, at: &Value) -> Result<Value, String> {
    let missing = || "The given key does not identify an element in this collection value.".to_owned();
    match value {
        Value::Sequence(Shape::Set, _) => Err("This value does not have any indices.".to_owned()),
        Value::Sequence(_, mut all) => match Kind::Number.convert(at.clone())? {
            Value::Number(number) => {
                let whole = number.as_whole().ok_or_else(|| format!("{} A whole number is required.", missing()))?;
                if whole < 0 {
                    return Err(format!("{} A negative index is none.", missing()));
                }
                let at = usize::try_from(whole).ok().filter(|at| *at < all.len()).ok_or_else(missing)?;
                Ok(all.swap_remove(at))
            }
            _ => Err("Can't use a null value as an indexing key.".to_owned()),
        },
        Value::Mapping(_, mut all) => {
            let name = at.to_text().ok_or("Can't use a null value as an indexing key.")?;
            all.remove(&name).ok_or_else(missing)
        }
        Value::Null => Err("This value is null, so it does not have any indices.".to_owned()),
        _ => Err("This value does not have any indices.".to_owned()),
    }
}

/// What a function is called with.
struct Arguments(Vec<Value>);

impl Arguments {
    fn one(&self, at: usize) -> &Value {
        &self.0[at]
    }

    fn text(&self, at: usize) -> Result<String, String> {
        self.0[at].to_text().ok_or_else(|| format!("argument {}: string required", at + 1))
    }

    fn number(&self, at: usize) -> Result<Number, String> {
        match Kind::Number.convert(self.0[at].clone()) {
            Ok(Value::Number(number)) => Ok(number),
            _ => Err(format!("argument {}: number required", at + 1)),
        }
    }

    fn whole(&self, at: usize) -> Result<i128, String> {
        self.number(at)?.as_whole().ok_or_else(|| format!("argument {}: a whole number is required", at + 1))
    }

    fn count(&self, at: usize) -> Result<usize, String> {
        usize::try_from(self.whole(at)?).map_err(|_| format!("argument {}: it must not be negative", at + 1))
    }

    fn truth(&self, at: usize) -> Result<bool, String> {
        match Kind::Truth.convert(self.0[at].clone()) {
            Ok(Value::Truth(truth)) => Ok(truth),
            _ => Err(format!("argument {}: bool required", at + 1)),
        }
    }

    /// The elements of a list, a set or a tuple, as they are.
    fn sequence(&self, at: usize) -> Result<&[Value], String> {
        match &self.0[at] {
            Value::Sequence(_, all) => Ok(all),
            other => Err(format!("argument {}: a list is required, not a {}", at + 1, other.name())),
        }
    }

    /// The elements of a list, which are of one kind.
    fn list(&self, at: usize) -> Result<Vec<Value>, String> {
        unified(self.sequence(at)?.to_vec()).map_err(|why| format!("argument {}: {why}", at + 1))
    }

    fn texts(&self, at: usize) -> Result<Vec<String>, String> {
        let text = |one: &Value| one.to_text().ok_or_else(|| format!("argument {}: list of string required", at + 1));
        self.sequence(at)?.iter().map(text).collect()
    }

    fn mapping(&self, at: usize) -> Result<&std::collections::BTreeMap<String, Value>, String> {
        match &self.0[at] {
            Value::Mapping(_, all) => Ok(all),
            other => Err(format!("argument {}: a map is required, not a {}", at + 1, other.name())),
        }
    }
}

fn list(all: Vec<Value>) -> Value {
    Value::Sequence(Shape::List, all)
}

fn texts(all: impl IntoIterator<Item = String>) -> Value {
    list(all.into_iter().map(Value::Text).collect())
}
