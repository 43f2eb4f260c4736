//! Variables, functions and blocks of all files, which know each other whatever file and order they are written in.

use std::collections::BTreeMap;

use super::{
    MATRIX_MAX,
    evaluate::{Evaluator, Scope},
    kind::Kind,
    mistake::{Mistake, Source},
    read,
    tree::{Attribute, Block, Expression, Term},
    value::Value,
};

/// What the files say, before anything is evaluated.
#[derive(Debug, Default)]
pub(crate) struct Module {
    pub variables: BTreeMap<String, Variable>,
    pub functions: BTreeMap<String, Function>,
    /// `name = value` outside of blocks, which are variables that nothing sets.
    pub attributes: BTreeMap<String, Attribute>,
    /// Variables that are there in every file.
    pub given: BTreeMap<String, String>,
    /// Targets and groups, in the order of the files.
    pub blocks: Vec<Block>,
}

#[derive(Debug)]
pub(crate) struct Variable {
    pub block: Block,
    pub kind: Option<Kind>,
}

#[derive(Debug)]
pub(crate) struct Function {
    pub parameters: Vec<String>,
    pub rest: Option<String>,
    pub result: Expression,
}

/// A variable, as it is listed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Shown {
    pub name: String,
    pub description: String,
    pub kind: String,
    pub value: Option<String>,
}

/// A block with the name that it gets; a matrix makes several of one.
#[derive(Debug, Clone)]
pub(crate) struct Instance<'m> {
    pub block: &'m Block,
    pub name: String,
    /// Values of this one of a matrix.
    pub values: BTreeMap<String, Value>,
}

const RESERVED: [&str; 4] = ["target", "group", "variable", "function"];

impl Module {
    /// Reads all files.
    ///
    /// # Errors
    /// At the first mistake of their form.
    pub(crate) fn read(sources: &[Source], given: BTreeMap<String, String>) -> Result<Self, Mistake> {
        let mut module = Self { given, ..Self::default() };
        for (at, source) in sources.iter().enumerate() {
            let body = read(source, at)?;
            for attribute in body.attributes {
                if RESERVED.contains(&attribute.name.as_str()) {
                    let detail = format!("{:?} is a block: {} \"name\" {{ … }}", attribute.name, attribute.name);
                    return Err(Mistake::new("Invalid attribute", detail).at(attribute.place));
                }
                module.attributes.insert(attribute.name.clone(), attribute);
            }
            for block in body.blocks {
                module.add(block)?;
            }
        }
        Ok(module)
    }

    fn add(&mut self, block: Block) -> Result<(), Mistake> {
        if !RESERVED.contains(&block.kind.as_str()) {
            let mut detail = format!("Blocks of type {:?} are not expected here.", block.kind);
            if let Some(meant) = hako_compose::suggest::nearest(&block.kind, RESERVED) {
                detail += &format!(" Did you mean {meant:?}?");
            }
            return Err(Mistake::new("Unsupported block type", detail).at(block.place));
        }
        let [(name, _)] = block.labels.as_slice() else {
            let detail = format!("a {} has one name: {} \"name\" {{ … }}", block.kind, block.kind);
            return Err(Mistake::new("Invalid block", detail).at(block.place));
        };
        let name = name.clone();
        match block.kind.as_str() {
            "variable" => {
                let kind = match block.body.attribute("type").map(|attribute| &attribute.value) {
                    None | Some(Expression { term: Term::Literal(Value::Null), .. }) => None,
                    Some(written) => Some(Kind::read(written)?),
                };
                self.variables.insert(name, Variable { block, kind });
            }
            "function" => {
                let function = Function::read(&name, &block)?;
                self.functions.insert(name, function);
            }
            _ => self.blocks.push(block),
        }
        Ok(())
    }
}

impl Function {
    fn read(name: &str, block: &Block) -> Result<Self, Mistake> {
        let known = ["params", "variadic_params", "result"];
        if let Some(other) = block.body.attributes.iter().find(|attribute| !known.contains(&attribute.name.as_str())) {
            return Err(unsupported(other, known));
        }
        let missing = |what: &str| {
            let detail = format!("empty {what} not allowed for {name}");
            Mistake::new("Invalid function", detail).at(block.place)
        };
        let word = |expression: &Expression| {
            expression.as_name().map(str::to_owned).ok_or_else(|| {
                let detail = "Each parameter name must be an identifier.";
                Mistake::new("Invalid param element", detail).at(expression.place)
            })
        };
        let parameters = &block.body.attribute("params").ok_or_else(|| missing("params"))?.value;
        let Term::Tuple(all) = &parameters.term else {
            return Err(
                Mistake::new("Invalid expression", "A static list expression is required.").at(parameters.place)
            );
        };
        Ok(Self {
            parameters: all.iter().map(word).collect::<Result<_, _>>()?,
            rest: block.body.attribute("variadic_params").map(|rest| word(&rest.value)).transpose()?,
            result: block.body.attribute("result").ok_or_else(|| missing("result"))?.value.clone(),
        })
    }
}

/// An attribute that is not known, with what was probably meant.
pub(crate) fn unsupported<'k>(attribute: &Attribute, known: impl IntoIterator<Item = &'k str>) -> Mistake {
    let mut detail = format!("An argument named {:?} is not expected here.", attribute.name);
    if let Some(meant) = hako_compose::suggest::nearest(&attribute.name, known) {
        detail += &format!(" Did you mean {meant:?}?");
    }
    Mistake::new("Unsupported argument", detail).at(attribute.place)
}

impl<'m> Evaluator<'m> {
    /// Every variable with its value, whose conditions hold.
    ///
    /// # Errors
    /// Where one has no value, or a condition does not hold.
    pub(crate) fn variables(&mut self) -> Result<Vec<Shown>, Mistake> {
        let module = self.module();
        let mut shown = Vec::new();
        for (name, variable) in &module.variables {
            let value = self.variable(name, variable.block.place)?;
            let description = match variable.block.body.attribute("description") {
                Some(attribute) => self.value(&attribute.value, &Scope::default())?.to_text().unwrap_or_default(),
                None => String::new(),
            };
            let value = match value {
                Value::Null => None,
                value => Some(value.to_text().unwrap_or_else(|| value.json())),
            };
            let kind = variable.kind.as_ref().map(Kind::name).unwrap_or_default();
            shown.push(Shown { name: name.clone(), description, kind, value });
        }
        for variable in module.variables.values() {
            self.validate(variable)?;
        }
        for (name, attribute) in &module.attributes {
            self.variable(name, attribute.place)?;
        }
        Ok(shown)
    }

    fn validate(&mut self, variable: &Variable) -> Result<(), Mistake> {
        for rule in variable.block.body.blocks.iter().filter(|block| block.kind == "validation") {
            let part = |name: &str| {
                let detail = format!("The argument {name:?} is required, but no definition was found.");
                rule.body
                    .attribute(name)
                    .ok_or_else(|| Mistake::new("Missing required argument", detail).at(rule.place))
            };
            let (condition, message) = (part("condition")?, part("error_message")?);
            let place = condition.value.place;
            let invalid = |detail: &str| Mistake::new("Invalid condition result", detail).at(place);
            let holds = match Kind::Truth.convert(self.value(&condition.value, &Scope::default())?) {
                Ok(Value::Truth(holds)) => holds,
                Ok(_) => return Err(invalid("Condition expression must return either true or false, not null.")),
                Err(why) => return Err(invalid(&format!("Invalid condition result value: {why}"))),
            };
            if !holds {
                let message = self.value(&message.value, &Scope::default())?.to_text();
                let message =
                    message.unwrap_or_else(|| "This check failed, but has an invalid error message.".to_owned());
                return Err(Mistake::new("Validation failed", message).at(place));
            }
        }
        Ok(())
    }

    /// The blocks with their names; after this, expressions may speak of them.
    ///
    /// # Errors
    /// Where a matrix or a name is none.
    pub(crate) fn instances(&mut self) -> Result<Vec<Instance<'m>>, Mistake> {
        let mut all = Vec::new();
        for block in &self.module().blocks {
            let (label, place) = &block.labels[0];
            let invalid = |detail: String| Mistake::new("Invalid name", detail).at(*place);
            valid(label).map_err(invalid)?;
            let mut names: Vec<String> = Vec::new();
            for values in self.matrix(block)? {
                let name = match block.body.attribute("name") {
                    None => label.clone(),
                    Some(_) if block.kind == "group" => {
                        return Err(invalid("name is not supported for groups".to_owned()));
                    }
                    Some(_) if block.body.attribute("matrix").is_none() => {
                        return Err(invalid("name requires matrix".to_owned()));
                    }
                    Some(attribute) => {
                        let name = self.value(&attribute.value, &Scope::of(values.clone()))?;
                        let name = name
                            .to_text()
                            .ok_or_else(|| Mistake::new("Invalid name", "string required").at(attribute.value.place))?;
                        valid(&name)
                            .map_err(|detail| Mistake::new("Invalid name", detail).at(attribute.value.place))?;
                        name
                    }
                };
                if names.contains(&name) {
                    return Err(invalid(format!("duplicate name {name:?}")));
                }
                names.push(name.clone());
                all.push(Instance { block, name, values });
            }
        }
        self.know(all.clone());
        Ok(all)
    }

    // The values of every combination; of a block without a matrix there is one.
    fn matrix(&mut self, block: &Block) -> Result<Vec<BTreeMap<String, Value>>, Mistake> {
        let Some(attribute) = block.body.attribute("matrix") else { return Ok(vec![BTreeMap::new()]) };
        let invalid = |detail: &str| Mistake::new("Invalid matrix", detail).at(attribute.value.place);
        if block.kind == "group" {
            return Err(invalid("matrix is not supported for groups"));
        }
        let Value::Mapping(_, axes) = self.value(&attribute.value, &Scope::default())? else {
            return Err(invalid("matrix must be a map"));
        };
        let mut all = vec![BTreeMap::new()];
        for (name, values) in axes {
            let values = match values {
                Value::Sequence(_, values) => values,
                Value::Mapping(_, values) => values.into_values().collect(),
                _ => return Err(invalid("matrix values must be a list")),
            };
            if all.len().saturating_mul(values.len()) > MATRIX_MAX {
                return Err(invalid(&format!("a matrix makes at most {MATRIX_MAX} targets")));
            }
            let mut more = Vec::with_capacity(all.len() * values.len());
            for before in &all {
                for value in &values {
                    let mut one = before.clone();
                    one.insert(name.clone(), value.clone());
                    more.push(one);
                }
            }
            all = more;
        }
        Ok(all)
    }
}

/// What a target may be called.
pub(crate) fn valid(name: &str) -> Result<(), String> {
    let is_valid = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if is_valid { Ok(()) } else { Err("only \"[a-zA-Z0-9_-]+\" are allowed".to_owned()) }
}
