//! The JSON form to the tree: objects are blocks where blocks are expected, and every other text is a template.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{
    hcl,
    mistake::{Mistake, Place},
    number::Number,
    tree::{Attribute, Block, Body, Expression, Term},
    value::Value,
};

/// Values within each other; `serde_json` itself allows 128.
const DEPTH_MAX: usize = 64;

/// Reads a file.
///
/// # Errors
/// Where it is not JSON, or nested too deep.
pub(super) fn body(text: &str, file: usize) -> Result<Body, Mistake> {
    let reader = Reader { text, file };
    let root: &RawValue = serde_json::from_str(text).map_err(|error| reader.syntax(&error))?;
    let mut body = Body::default();
    for (name, value) in reader.pairs(root)? {
        match name.as_str() {
            "variable" | "target" | "group" | "function" => reader.blocks(&name, value, &mut body.blocks)?,
            _ => body.attributes.push(reader.attribute(name, value, 0)?),
        }
    }
    Ok(body)
}

struct Reader<'t> {
    text: &'t str,
    file: usize,
}

impl<'t> Reader<'t> {
    // The text of a value is a part of the text of the file.
    fn place(&self, value: &RawValue) -> Place {
        let from = (value.get().as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize);
        Place { file: self.file, from, to: from + value.get().len() }
    }

    fn syntax(&self, error: &serde_json::Error) -> Mistake {
        let lines = self.text.split_inclusive('\n').take(error.line().saturating_sub(1));
        let from = lines.map(str::len).sum::<usize>() + error.column().saturating_sub(1);
        let place = Place { file: self.file, from, to: from };
        Mistake::new("Invalid JSON", error.to_string()).at(place)
    }

    // The members of an object, in order. What begins with `//` is a remark.
    fn pairs(&self, value: &'t RawValue) -> Result<Vec<(String, &'t RawValue)>, Mistake> {
        let pairs: Pairs = serde_json::from_str(value.get()).map_err(|_| {
            Mistake::new("Incorrect JSON value type", "A JSON object is required here.").at(self.place(value))
        })?;
        Ok(pairs.0.into_iter().filter(|(name, _)| name != "//").collect())
    }

    // `{"label": {…}}`; several blocks of one label are a list.
    fn blocks(&self, kind: &str, value: &'t RawValue, to: &mut Vec<Block>) -> Result<(), Mistake> {
        for (label, value) in self.pairs(value)? {
            for one in several(value) {
                let place = self.place(one);
                let place = Place { to: place.from + 1, ..place };
                let labels = vec![(label.clone(), place)];
                to.push(Block { kind: kind.to_owned(), place, labels, body: self.inner(kind, one)? });
            }
        }
        Ok(())
    }

    fn inner(&self, kind: &str, value: &'t RawValue) -> Result<Body, Mistake> {
        let mut body = Body::default();
        for (name, value) in self.pairs(value)? {
            if kind == "variable" && name == "validation" {
                for one in several(value) {
                    let inner = self.inner("validation", one)?;
                    body.blocks.push(Block {
                        kind: name.clone(),
                        place: self.place(one),
                        labels: Vec::new(),
                        body: inner,
                    });
                }
                continue;
            }
            let mut attribute = self.attribute(name, value, 0)?;
            // These are words of the language, not texts.
            if matches!(
                (kind, attribute.name.as_str()),
                ("variable", "type") | ("function", "params" | "variadic_params")
            ) {
                attribute.value = unquoted(attribute.value)?;
            }
            body.attributes.push(attribute);
        }
        Ok(body)
    }

    fn attribute(&self, name: String, value: &'t RawValue, depth: usize) -> Result<Attribute, Mistake> {
        Ok(Attribute { name, place: self.place(value), value: self.expression(value, depth)? })
    }

    fn expression(&self, value: &'t RawValue, depth: usize) -> Result<Expression, Mistake> {
        let place = self.place(value);
        if depth > DEPTH_MAX {
            let detail = format!("at most {DEPTH_MAX} values may be nested within each other");
            return Err(Mistake::new("Invalid expression", detail).at(place));
        }
        let invalid = |error: serde_json::Error| Mistake::new("Invalid JSON", error.to_string()).at(place);
        let term = match value.get().as_bytes().first() {
            Some(b'{') => {
                let mut pairs = Vec::new();
                for (key, value) in self.pairs(value)? {
                    let key = Expression { place, term: text(key, place)? };
                    pairs.push((key, self.expression(value, depth + 1)?));
                }
                Term::Object(pairs)
            }
            Some(b'[') => {
                let all: Vec<&RawValue> = serde_json::from_str(value.get()).map_err(invalid)?;
                Term::Tuple(all.into_iter().map(|one| self.expression(one, depth + 1)).collect::<Result<_, _>>()?)
            }
            Some(b'"') => text(serde_json::from_str(value.get()).map_err(invalid)?, place)?,
            Some(b't') => Term::Literal(Value::Truth(true)),
            Some(b'f') => Term::Literal(Value::Truth(false)),
            Some(b'n') => Term::Literal(Value::Null),
            _ => {
                let number = Number::parse(value.get());
                let number = number.ok_or_else(|| Mistake::new("Invalid number", value.get()).at(place))?;
                Term::Literal(Value::Number(number))
            }
        };
        Ok(Expression { place, term })
    }
}

// A list of values, or one.
fn several(value: &RawValue) -> Vec<&RawValue> {
    serde_json::from_str(value.get()).unwrap_or_else(|_| vec![value])
}

fn text(text: String, place: Place) -> Result<Term, Mistake> {
    if text.contains("${") || text.contains("%{") {
        hcl::template(&text, place)
    } else {
        Ok(Term::Literal(Value::Text(text)))
    }
}

fn unquoted(expression: Expression) -> Result<Expression, Mistake> {
    let place = expression.place;
    let term = match expression.term {
        Term::Literal(Value::Text(text)) => return hcl::expression(&text, place),
        Term::Tuple(all) => Term::Tuple(all.into_iter().map(unquoted).collect::<Result<_, _>>()?),
        other => other,
    };
    Ok(Expression { place, term })
}

// Members with their order, and each as often as it is written.
struct Pairs<'t>(Vec<(String, &'t RawValue)>);

impl<'de> Deserialize<'de> for Pairs<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Pairs<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object, or a list of them")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<'de>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }

            // A body may be a list of objects, which are put together.
            fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Pairs<'de>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(Pairs(more)) = all.next_element()? {
                    pairs.extend(more);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_any(Read)
    }
}
