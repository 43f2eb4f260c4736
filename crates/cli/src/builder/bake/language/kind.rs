//! Types: as variables are declared to be of them, and values made to be of them.

use std::collections::BTreeMap;

use super::{
    mistake::Mistake,
    number::Number,
    tree::{Expression, Term},
    value::{Shape, Value},
};
use crate::parse::csv;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    Any,
    Text,
    Number,
    Truth,
    List(Box<Kind>),
    Set(Box<Kind>),
    Map(Box<Kind>),
    Tuple(Vec<Kind>),
    /// With what may be left out.
    Object(BTreeMap<String, (Kind, bool)>),
}

impl Kind {
    /// Reads what `type =` says.
    ///
    /// # Errors
    /// Where it is no type.
    pub(crate) fn read(expression: &Expression) -> Result<Self, Mistake> {
        let invalid = |detail: &str| Mistake::new("Invalid type specification", detail).at(expression.place);
        match &expression.term {
            Term::Variable(name) => match name.as_str() {
                "any" => Ok(Self::Any),
                "string" => Ok(Self::Text),
                "number" => Ok(Self::Number),
                "bool" => Ok(Self::Truth),
                "list" | "set" | "map" | "tuple" | "object" => {
                    Err(invalid(&format!("The {name} type constructor requires one argument.")))
                }
                other => Err(invalid(&format!("The keyword {other:?} is not a valid type specification."))),
            },
            Term::Call { name, arguments, .. } => {
                let [argument] = arguments.as_slice() else {
                    return Err(invalid(&format!("The {name} type constructor requires one argument.")));
                };
                match name.as_str() {
                    "list" => Ok(Self::List(Box::new(Self::read(argument)?))),
                    "set" => Ok(Self::Set(Box::new(Self::read(argument)?))),
                    "map" => Ok(Self::Map(Box::new(Self::read(argument)?))),
                    "tuple" => match &argument.term {
                        Term::Tuple(all) => Ok(Self::Tuple(all.iter().map(Self::read).collect::<Result<_, _>>()?)),
                        _ => Err(invalid("Tuple type constructor requires a list of element types.")),
                    },
                    "object" => Self::read_object(argument),
                    other => Err(invalid(&format!("Keyword {other:?} is not a valid type constructor."))),
                }
            }
            _ => Err(invalid(
                "A type specification is either a primitive type keyword (bool, number, string) or a complex type constructor call, like list(string).",
            )),
        }
    }

    fn read_object(argument: &Expression) -> Result<Self, Mistake> {
        let invalid = |detail: &str| Mistake::new("Invalid type specification", detail).at(argument.place);
        let Term::Object(pairs) = &argument.term else {
            return Err(invalid("Object type constructor requires a map whose keys are attribute names."));
        };
        let mut attributes = BTreeMap::new();
        for (key, value) in pairs {
            let Term::Literal(Value::Text(name)) = &key.term else {
                return Err(invalid("Object constructor map keys must be attribute names."));
            };
            let (kind, may_be_left_out) = match &value.term {
                Term::Call { name, arguments, .. } if name == "optional" && !arguments.is_empty() => {
                    (Self::read(&arguments[0])?, true)
                }
                _ => (Self::read(value)?, false),
            };
            attributes.insert(name.clone(), (kind, may_be_left_out));
        }
        Ok(Self::Object(attributes))
    }

    pub(crate) fn is_primitive(&self) -> bool {
        matches!(self, Self::Text | Self::Number | Self::Truth)
    }

    /// As people call it.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Any => "dynamic".to_owned(),
            Self::Text => "string".to_owned(),
            Self::Number => "number".to_owned(),
            Self::Truth => "bool".to_owned(),
            Self::List(of) => format!("list of {}", of.name()),
            Self::Set(of) => format!("set of {}", of.name()),
            Self::Map(of) => format!("map of {}", of.name()),
            Self::Tuple(_) => "tuple".to_owned(),
            Self::Object(_) => "object".to_owned(),
        }
    }

    /// The value, made to be of this type.
    ///
    /// # Errors
    /// Where it cannot be.
    pub(crate) fn convert(&self, value: Value) -> Result<Value, String> {
        let required = || format!("{} required", self.name());
        if value == Value::Null {
            return Ok(Value::Null);
        }
        match (self, value) {
            (Self::Any, value) => Ok(value),
            (Self::Text, value) => value.to_text().map(Value::Text).ok_or_else(required),
            (Self::Number, Value::Number(number)) => Ok(Value::Number(number)),
            (Self::Number, Value::Text(text)) => Number::parse(&text).map(Value::Number).ok_or_else(required),
            (Self::Truth, Value::Truth(truth)) => Ok(Value::Truth(truth)),
            (Self::Truth, Value::Text(text)) => match text.as_str() {
                "true" | "1" => Ok(Value::Truth(true)),
                "false" | "0" => Ok(Value::Truth(false)),
                _ => Err(required()),
            },
            (Self::List(of), Value::Sequence(_, all)) => Ok(Value::Sequence(Shape::List, of.each(all)?)),
            (Self::Set(of), Value::Sequence(_, all)) => Ok(Value::set(of.each(all)?)),
            (Self::Map(of), Value::Mapping(_, all)) => {
                let (keys, values): (Vec<_>, Vec<_>) = all.into_iter().unzip();
                Ok(Value::Mapping(true, keys.into_iter().zip(of.each(values)?).collect()))
            }
            (Self::Tuple(kinds), Value::Sequence(_, all)) if kinds.len() == all.len() => {
                let converted = kinds.iter().zip(all).map(|(kind, one)| kind.convert(one));
                Ok(Value::Sequence(Shape::Tuple, converted.collect::<Result<_, _>>()?))
            }
            (Self::Object(kinds), Value::Mapping(_, mut all)) => {
                let mut made = BTreeMap::new();
                for (name, (kind, may_be_left_out)) in kinds {
                    let value = match all.remove(name) {
                        Some(value) => kind.convert(value).map_err(|why| format!("attribute {name:?}: {why}"))?,
                        None if *may_be_left_out => Value::Null,
                        None => return Err(format!("attribute {name:?} is required")),
                    };
                    made.insert(name.clone(), value);
                }
                Ok(Value::Mapping(false, made))
            }
            _ => Err(required()),
        }
    }

    fn each(&self, all: Vec<Value>) -> Result<Vec<Value>, String> {
        match self {
            Self::Any => unified(all),
            kind => all.into_iter().map(|one| kind.convert(one)).collect(),
        }
    }

    /// What an environment variable says, as a value of this type: lists by commas, maps of `key:value`.
    ///
    /// # Errors
    /// Where it says something else.
    pub(crate) fn read_environment(&self, name: &str, text: &str) -> Result<Value, String> {
        let element = |kind: &Self, text: &str| {
            if !kind.is_primitive() {
                return Err(format!("unsupported type {} for CSV specification", self.name()));
            }
            kind.read_environment(name, text)
        };
        let fields = || csv::fields(text).map_err(|why| format!("failed to parse {text} as CSV: {why}"));
        match self {
            Self::Text => Ok(Value::text(text)),
            Self::Truth => csv::parse_bool(text)
                .map(Value::Truth)
                .ok_or_else(|| format!("failed to parse {name} as bool: invalid syntax: {text:?}")),
            Self::Number => Number::parse(text)
                .map(Value::Number)
                .ok_or_else(|| format!("failed to parse {name} as number: {text:?}")),
            Self::List(of) => {
                let all = fields()?.iter().map(|field| element(of, field)).collect::<Result<_, _>>()?;
                Ok(Value::Sequence(Shape::List, all))
            }
            Self::Set(of) => {
                Ok(Value::set(fields()?.iter().map(|field| element(of, field)).collect::<Result<_, _>>()?))
            }
            Self::Tuple(kinds) => {
                let fields = fields()?;
                if fields.len() != kinds.len() {
                    return Err(format!("tuple expects {} elements but only {} provided", kinds.len(), fields.len()));
                }
                let all =
                    kinds.iter().zip(&fields).map(|(kind, field)| element(kind, field)).collect::<Result<_, _>>()?;
                Ok(Value::Sequence(Shape::Tuple, all))
            }
            Self::Map(of) => {
                let mut made = BTreeMap::new();
                for field in fields()? {
                    let (key, value) =
                        field.split_once(':').ok_or_else(|| format!("expected one k/v pair but got {field}"))?;
                    made.insert(key.to_owned(), element(of, value)?);
                }
                Ok(Value::Mapping(true, made))
            }
            Self::Any | Self::Object(_) => Err(format!("unsupported type {} for variable {name}", self.name())),
        }
    }
}

/// The values, of one kind: whatever stands beside a text becomes a text.
///
/// # Errors
/// Where there is no such kind.
pub(crate) fn unified(all: Vec<Value>) -> Result<Vec<Value>, String> {
    let mut primitive = all.iter().filter(|one| **one != Value::Null);
    let Some(first) = primitive.next() else { return Ok(all) };
    if all.iter().all(|one| *one == Value::Null || one.name() == first.name()) {
        return Ok(all);
    }
    let has_text = all.iter().any(|one| matches!(one, Value::Text(_)));
    if has_text && all.iter().all(|one| *one == Value::Null || one.is_primitive()) {
        return all.into_iter().map(|one| Kind::Text.convert(one)).collect();
    }
    if all.iter().any(Value::is_primitive) {
        return Err("all elements must have the same type".to_owned());
    }
    Ok(all)
}
