//! Expressions to values. Variables and what blocks say are evaluated when they are first asked for; what asks for itself
//! is told.

use std::collections::{BTreeMap, HashMap};

use super::{
    DEPTH_MAX, STEPS_MAX, TEXT_BYTES_MAX, function,
    kind::{Kind, unified},
    mistake::{Mistake, Place},
    module::{Instance, Module},
    number::Number,
    tree::{Expression, For, Names, Operator, Part, Step, Term},
    value::{Shape, Value},
};

/// Names that are known in a place besides those that are known everywhere.
#[derive(Default)]
pub(crate) struct Scope<'s> {
    names: BTreeMap<String, Value>,
    around: Option<&'s Scope<'s>>,
}

impl<'s> Scope<'s> {
    pub(crate) fn of(names: BTreeMap<String, Value>) -> Self {
        Self { names, around: None }
    }

    fn within(around: &'s Scope<'s>) -> Self {
        Self { names: BTreeMap::new(), around: Some(around) }
    }

    fn find(&self, name: &str) -> Option<&Value> {
        self.names.get(name).or_else(|| self.around?.find(name))
    }
}

/// What an attribute of a block is made to be; `target.x.tags` of another block is that.
pub(crate) type KindOf = fn(block: &str, attribute: &str) -> Option<Kind>;

pub(crate) struct Evaluator<'m> {
    module: &'m Module,
    /// What is set from outside.
    environment: &'m dyn Fn(&str) -> Option<String>,
    kind_of: KindOf,
    known: HashMap<String, Value>,
    instances: Vec<Instance<'m>>,
    attributes: HashMap<(usize, String), Value>,
    /// What is being evaluated, by the names that circles are told with.
    open: Vec<String>,
    steps: u64,
    depth: usize,
}

impl<'m> Evaluator<'m> {
    pub(crate) fn new(module: &'m Module, environment: &'m dyn Fn(&str) -> Option<String>, kind_of: KindOf) -> Self {
        Self {
            module,
            environment,
            kind_of,
            known: HashMap::new(),
            instances: Vec::new(),
            attributes: HashMap::new(),
            open: Vec::new(),
            steps: 0,
            depth: 0,
        }
    }

    pub(crate) fn module(&self) -> &'m Module {
        self.module
    }

    pub(super) fn know(&mut self, instances: Vec<Instance<'m>>) {
        self.instances = instances;
    }

    // Every value that is made is paid for.
    fn pay(&mut self, steps: u64, place: Place) -> Result<(), Mistake> {
        self.steps = self.steps.saturating_add(steps);
        if self.steps <= STEPS_MAX {
            return Ok(());
        }
        let detail = format!("the files take more than {STEPS_MAX} steps");
        Err(Mistake::new("Too much to evaluate", detail).at(place).ends_all())
    }

    fn paid(&mut self, value: Value, place: Place) -> Result<Value, Mistake> {
        self.pay(value.size(), place)?;
        Ok(value)
    }

    // What is being evaluated may not be asked for before it is done.
    fn once<T>(
        &mut self,
        what: String,
        place: Place,
        evaluate: impl FnOnce(&mut Self) -> Result<T, Mistake>,
    ) -> Result<T, Mistake> {
        if let Some(at) = self.open.iter().position(|one| *one == what) {
            let mut circle = self.open[at..].join(" → ");
            circle += &format!(" → {what}");
            let detail = format!("{what} needs itself: {circle}");
            return Err(Mistake::new("Invalid expression", detail).at(place).ends_all());
        }
        self.open.push(what);
        let result = evaluate(self);
        self.open.pop();
        result
    }

    /// # Errors
    /// With the place at which there is no value.
    pub(crate) fn value(&mut self, expression: &Expression, scope: &Scope<'_>) -> Result<Value, Mistake> {
        let place = expression.place;
        self.pay(1, place)?;
        if self.depth >= DEPTH_MAX {
            let detail = format!("more than {DEPTH_MAX} expressions are within each other");
            return Err(Mistake::new("Too deep", detail).at(place).ends_all());
        }
        self.depth += 1;
        let result = self.term(&expression.term, place, scope);
        self.depth -= 1;
        result.map_err(|mistake| mistake.at(place))
    }

    fn term(&mut self, term: &Term, place: Place, scope: &Scope<'_>) -> Result<Value, Mistake> {
        match term {
            Term::Literal(value) => self.paid(value.clone(), place),
            Term::Template(parts) => {
                let mut made = String::new();
                self.template(parts, place, scope, &mut made)?;
                self.paid(Value::Text(made), place)
            }
            Term::Tuple(all) => {
                let values = all.iter().map(|one| self.value(one, scope)).collect::<Result<_, _>>()?;
                Ok(Value::Sequence(Shape::Tuple, values))
            }
            Term::Object(pairs) => self.object(pairs, scope),
            Term::Variable(name) => self.named(name, place, scope),
            Term::Get(from, steps) => self.get(from, steps, scope),
            Term::Call { name, arguments, expands_last } => self.call(name, arguments, *expands_last, place, scope),
            Term::Not(of) => Ok(Value::Truth(!self.truth(of, scope)?)),
            Term::Negate(of) => {
                let negative = Number::Whole(0).subtract(self.number(of, scope)?);
                Ok(Value::Number(negative.ok_or_else(|| invalid_operand("the number is too large"))?))
            }
            Term::Binary(operator, left, right) => self.binary(*operator, left, right, scope),
            Term::Conditional(parts) => self.conditional(parts, scope),
            Term::For(all) => self.for_each(all, place, scope),
        }
    }

    fn object(&mut self, pairs: &[(Expression, Expression)], scope: &Scope<'_>) -> Result<Value, Mistake> {
        let mut made = BTreeMap::new();
        for (key, value) in pairs {
            let name = self.value(key, scope)?.to_text().ok_or_else(|| {
                Mistake::new("Incorrect key type", "Can't use this value as a key: string required.").at(key.place)
            })?;
            let value = self.value(value, scope)?;
            made.insert(name, value);
        }
        Ok(Value::Mapping(false, made))
    }

    fn template(&mut self, parts: &[Part], place: Place, scope: &Scope<'_>, to: &mut String) -> Result<(), Mistake> {
        for part in parts {
            match part {
                Part::Text(text) => to.push_str(text),
                Part::Value(expression) => {
                    let invalid = |detail: &str| {
                        Mistake::new("Invalid template interpolation value", detail).at(expression.place)
                    };
                    let value = self.value(expression, scope)?;
                    if value == Value::Null {
                        return Err(invalid(
                            "The expression result is null. Cannot include a null value in a string template.",
                        ));
                    }
                    let text = value.to_text().ok_or_else(|| {
                        invalid("Cannot include the given value in a string template: string required.")
                    })?;
                    to.push_str(&text);
                }
                Part::If(condition, then, other) => {
                    let chosen = if self.truth(condition, scope)? { then } else { other };
                    self.template(chosen, place, scope, to)?;
                }
                Part::For(names, over, body) => {
                    for (key, value) in self.elements(over, scope)? {
                        self.pay(1, place)?;
                        self.template(body, place, &named(names, key, value, scope), to)?;
                    }
                }
            }
            if to.len() > TEXT_BYTES_MAX {
                return Err(Mistake::new("Large value", function::too_long()).at(place).ends_all());
            }
        }
        Ok(())
    }

    fn named(&mut self, name: &str, place: Place, scope: &Scope<'_>) -> Result<Value, Mistake> {
        if let Some(value) = scope.find(name) {
            let value = value.clone();
            return self.paid(value, place);
        }
        if name == "target" || name == "group" {
            let detail = format!("cannot access {name} as a variable");
            return Err(Mistake::new("Invalid expression", detail).at(place));
        }
        self.variable(name, place)
    }

    /// What a variable is: set from outside, or as the files say.
    ///
    /// # Errors
    /// Where there is none of that name, or its value is none.
    pub(crate) fn variable(&mut self, name: &str, place: Place) -> Result<Value, Mistake> {
        if let Some(value) = self.known.get(name) {
            let value = value.clone();
            return self.paid(value, place);
        }
        let module = self.module;
        let value = if let Some(text) = module.given.get(name) {
            Value::text(text)
        } else if let Some(attribute) = module.attributes.get(name) {
            self.once(name.to_owned(), place, |it| it.value(&attribute.value, &Scope::default()))?
        } else if module.variables.contains_key(name) {
            self.once(name.to_owned(), place, |it| it.declared(name))?
        } else {
            let known = module.variables.keys().chain(module.attributes.keys()).chain(module.given.keys());
            let mut detail = format!("There is no variable named {name:?}.");
            if let Some(meant) = hako_compose::suggest::nearest(name, known.map(String::as_str)) {
                detail += &format!(" Did you mean {meant:?}?");
            }
            return Err(Mistake::new("Unknown variable", detail).at(place));
        };
        self.known.insert(name.to_owned(), value.clone());
        self.paid(value, place)
    }

    fn declared(&mut self, name: &str) -> Result<Value, Mistake> {
        let variable = &self.module.variables[name];
        let default = variable.block.body.attribute("default");
        let place = default.map_or(variable.block.place, |default| default.value.place);
        let invalid = |detail: String| Mistake::new("Invalid value", detail).at(place);
        let mut value = match (default, &variable.kind) {
            (Some(default), _) => self.value(&default.value, &Scope::default())?,
            (None, Some(_)) => Value::Null,
            (None, None) => Value::text(""),
        };
        if let Some(kind) = &variable.kind {
            let converted = kind.convert(value);
            value = converted.map_err(|why| {
                invalid(format!("invalid type {} for variable {name} default value: {why}", kind.name()))
            })?;
        }
        let Some((text, is_json)) = self.set_from_outside(name, variable.kind.is_some()) else { return Ok(value) };
        let set = match &variable.kind {
            Some(kind) if is_json => serde_json::from_str::<serde_json::Value>(&text)
                .map_err(|why| why.to_string())
                .and_then(|json| kind.convert(json.into()))
                .map_err(|why| format!("failed to convert variable {name} from JSON: {why}")),
            Some(kind) => kind.read_environment(name, &text),
            // Without a type it is of the kind of its default.
            None => match value {
                Value::Truth(_) => Kind::Truth.read_environment(name, &text),
                Value::Number(_) => Kind::Number.read_environment(name, &text),
                Value::Null | Value::Text(_) => Ok(Value::Text(text)),
                other => Err(format!("unsupported type {} for variable {name}", other.name())),
            },
        };
        set.map_err(invalid)
    }

    // `NAME_JSON` is JSON for `NAME`, unless there is a variable of that name.
    fn set_from_outside(&self, name: &str, prefers_json: bool) -> Option<(String, bool)> {
        let plain = (self.environment)(name);
        if plain.is_some() && !prefers_json {
            return plain.map(|text| (text, false));
        }
        let other = format!("{name}_JSON");
        let is_taken = self.module.variables.contains_key(&other) || self.module.given.contains_key(&other);
        let json = if is_taken { None } else { (self.environment)(&other) };
        json.map(|text| (text, true)).or(plain.map(|text| (text, false)))
    }

    fn get(&mut self, from: &Expression, steps: &[Step], scope: &Scope<'_>) -> Result<Value, Mistake> {
        if let Some(kind @ ("target" | "group")) = from.as_name()
            && scope.find(kind).is_none()
        {
            let Some(name) = self.step_name(&steps[0], scope)? else {
                let detail = format!("cannot traverse {kind} without attribute");
                return Err(Mistake::new("Invalid expression", detail).at(from.place));
            };
            return match steps.get(1) {
                Some(Step::Attribute(attribute)) => {
                    let value = self.block_attribute(kind, &name, attribute, from.place)?;
                    self.follow(value, &steps[2..], from.place, scope)
                }
                _ => {
                    let value = self.block_object(kind, &name, from.place)?;
                    self.follow(value, &steps[1..], from.place, scope)
                }
            };
        }
        let value = self.value(from, scope)?;
        self.follow(value, steps, from.place, scope)
    }

    fn step_name(&mut self, step: &Step, scope: &Scope<'_>) -> Result<Option<String>, Mistake> {
        Ok(match step {
            Step::Attribute(name) => Some(name.clone()),
            Step::Index(index) => self.value(index, scope)?.to_text(),
            Step::Splat { .. } => None,
        })
    }

    fn follow(&mut self, value: Value, steps: &[Step], place: Place, scope: &Scope<'_>) -> Result<Value, Mistake> {
        let Some((step, rest)) = steps.split_first() else { return Ok(value) };
        let one = match step {
            Step::Attribute(name) => attribute(value, name)?,
            Step::Index(index) => {
                let at = self.value(index, scope)?;
                function::index(value, &at).map_err(|why| Mistake::new("Invalid index", why).at(index.place))?
            }
            Step::Splat { is_full } => {
                // `.*` takes the attributes that follow into each element; an index after them is of the whole.
                let is_attribute = |step: &&Step| *is_full || matches!(step, Step::Attribute(_));
                let within = rest.iter().take_while(is_attribute).count();
                let all = match value {
                    Value::Sequence(_, all) => all,
                    Value::Null => Vec::new(),
                    other => vec![other],
                };
                let each = all.into_iter().map(|one| self.follow(one, &rest[..within], place, scope));
                let made = Value::Sequence(Shape::Tuple, each.collect::<Result<_, _>>()?);
                return self.follow(made, &rest[within..], place, scope);
            }
        };
        self.pay(1, place)?;
        self.follow(one, rest, place, scope)
    }

    /// What a block says of an attribute; nothing said is null.
    ///
    /// # Errors
    /// Where it is no value, or not of the attribute's kind.
    pub(crate) fn block_attribute(
        &mut self,
        kind: &str,
        name: &str,
        attribute: &str,
        place: Place,
    ) -> Result<Value, Mistake> {
        let all = self.instances.iter().enumerate();
        let of_name: Vec<usize> =
            all.filter(|(_, one)| one.block.kind == kind && one.name == name).map(|(at, _)| at).collect();
        if of_name.is_empty() {
            let known = self.instances.iter().filter(|one| one.block.kind == kind).map(|one| one.name.as_str());
            let mut detail = format!("This object does not have an attribute named {name:?}.");
            if let Some(meant) = hako_compose::suggest::nearest(name, known) {
                detail += &format!(" Did you mean {meant:?}?");
            }
            return Err(Mistake::new("Unsupported attribute", detail).at(place));
        }
        if (self.kind_of)(kind, attribute).is_none() {
            let detail = format!("This object does not have an attribute named {attribute:?}.");
            return Err(Mistake::new("Unsupported attribute", detail).at(place));
        }
        // Of several blocks of one name the last one that says something.
        for at in of_name.into_iter().rev() {
            match self.instance_attribute(at, attribute, place)? {
                Value::Null => {}
                value => return Ok(value),
            }
        }
        Ok(Value::Null)
    }

    fn block_object(&mut self, kind: &str, name: &str, place: Place) -> Result<Value, Mistake> {
        let said: Vec<String> = self
            .instances
            .iter()
            .filter(|one| one.block.kind == kind && one.name == name)
            .flat_map(|one| one.block.body.attributes.iter().map(|attribute| attribute.name.clone()))
            .collect();
        // Whether there is such a block at all.
        self.block_attribute(kind, name, "description", place)?;
        let mut made = BTreeMap::new();
        for attribute in said {
            if (self.kind_of)(kind, &attribute).is_some() {
                let value = self.block_attribute(kind, name, &attribute, place)?;
                made.insert(attribute, value);
            }
        }
        Ok(Value::Mapping(false, made))
    }

    /// What one block says of an attribute.
    ///
    /// # Errors
    /// Where it is no value, or not of the attribute's kind.
    pub(crate) fn instance_attribute(&mut self, at: usize, attribute: &str, place: Place) -> Result<Value, Mistake> {
        if let Some(value) = self.attributes.get(&(at, attribute.to_owned())) {
            let value = value.clone();
            return self.paid(value, place);
        }
        let instance = self.instances[at].clone();
        let Some(said) = instance.block.body.attribute(attribute) else { return Ok(Value::Null) };
        let kind = (self.kind_of)(&instance.block.kind, attribute).unwrap_or(Kind::Any);
        let what = format!("{}.{}.{attribute}", instance.block.kind, instance.name);
        let value = self.once(what, place, |it| it.value(&said.value, &Scope::of(instance.values)))?;
        let value = kind.convert(value).map_err(|why| {
            let detail = format!("Inappropriate value for attribute {attribute:?}: {why}.");
            Mistake::new("Unsuitable value type", detail).at(said.value.place)
        })?;
        self.attributes.insert((at, attribute.to_owned()), value.clone());
        self.paid(value, place)
    }

    fn call(
        &mut self,
        name: &str,
        written: &[Expression],
        expands_last: bool,
        place: Place,
        scope: &Scope<'_>,
    ) -> Result<Value, Mistake> {
        if let Some(value) = self.lazy(name, written, scope)? {
            return Ok(value);
        }
        let mut arguments = written.iter().map(|one| self.value(one, scope)).collect::<Result<Vec<_>, _>>()?;
        if expands_last {
            match arguments.pop() {
                Some(Value::Sequence(_, all)) => arguments.extend(all),
                _ => {
                    let detail = "The expanding argument (indicated by ...) must be of a tuple, list, or set type.";
                    return Err(Mistake::new("Invalid expanding argument value", detail).at(place));
                }
            }
        }
        if function::is_known(name) {
            self.pay(function::cost(name, &arguments), place)?;
            let result = function::call(name, arguments);
            let value = result.map_err(|why| {
                let detail = format!("Call to function {name:?} failed: {why}.");
                Mistake::new("Error in function call", detail).at(place)
            })?;
            return self.paid(value, place);
        }
        let Some(function) = self.module.functions.get(name) else {
            let known = function::names().chain(self.module.functions.keys().map(String::as_str));
            let mut detail = format!("There is no function named {name:?}.");
            if let Some(meant) = hako_compose::suggest::nearest(name, known) {
                detail += &format!(" Did you mean {meant:?}?");
            }
            return Err(Mistake::new("Call to unknown function", detail).at(place));
        };
        let wanted = function.parameters.len();
        if arguments.len() < wanted || (arguments.len() > wanted && function.rest.is_none()) {
            return Err(wrong_count(name, arguments.len(), &function.parameters).at(place));
        }
        let rest = arguments.split_off(wanted);
        let mut names: BTreeMap<String, Value> = function.parameters.iter().cloned().zip(arguments).collect();
        if let Some(name) = &function.rest {
            names.insert(name.clone(), Value::Sequence(Shape::Tuple, rest));
        }
        self.once(format!("{name}()"), place, |it| it.value(&function.result, &Scope::of(names)))
    }

    // What does not have all of its arguments evaluated.
    fn lazy(&mut self, name: &str, written: &[Expression], scope: &Scope<'_>) -> Result<Option<Value>, Mistake> {
        match (name, written) {
            ("can", [of]) => match self.value(of, scope) {
                Err(mistake) if mistake.is_final => Err(mistake),
                result => Ok(Some(Value::Truth(result.is_ok()))),
            },
            ("try", [first, ..]) => {
                for one in written {
                    match self.value(one, scope) {
                        Err(mistake) if mistake.is_final => return Err(mistake),
                        Err(_) => {}
                        Ok(value) => return Ok(Some(value)),
                    }
                }
                let detail = "Call to function \"try\" failed: no expression succeeded.";
                Err(Mistake::new("Error in function call", detail).at(first.place))
            }
            ("convert", [of, kind]) => {
                let kind = Kind::read(kind)?;
                let value = self.value(of, scope)?;
                let failed = |why| {
                    Mistake::new("Error in function call", format!("Call to function \"convert\" failed: {why}."))
                };
                Ok(Some(kind.convert(value).map_err(failed)?))
            }
            _ => Ok(None),
        }
    }

    fn truth(&mut self, of: &Expression, scope: &Scope<'_>) -> Result<bool, Mistake> {
        let value = self.value(of, scope)?;
        match Kind::Truth.convert(value) {
            Ok(Value::Truth(truth)) => Ok(truth),
            Ok(_) => Err(invalid_operand("Unsuitable value: argument must not be null.").at(of.place)),
            Err(why) => Err(invalid_operand(&format!("Unsuitable value: {why}.")).at(of.place)),
        }
    }

    fn number(&mut self, of: &Expression, scope: &Scope<'_>) -> Result<Number, Mistake> {
        let value = self.value(of, scope)?;
        match Kind::Number.convert(value) {
            Ok(Value::Number(number)) => Ok(number),
            Ok(_) => Err(invalid_operand("Unsuitable value: argument must not be null.").at(of.place)),
            Err(why) => Err(invalid_operand(&format!("Unsuitable value for operand: {why}.")).at(of.place)),
        }
    }

    fn binary(
        &mut self,
        operator: Operator,
        left: &Expression,
        right: &Expression,
        scope: &Scope<'_>,
    ) -> Result<Value, Mistake> {
        let truth = match operator {
            Operator::Or => self.truth(left, scope)? || self.truth(right, scope)?,
            Operator::And => self.truth(left, scope)? && self.truth(right, scope)?,
            Operator::Equal => self.value(left, scope)?.equals(&self.value(right, scope)?),
            Operator::NotEqual => !self.value(left, scope)?.equals(&self.value(right, scope)?),
            _ => {
                let (left, right) = (self.number(left, scope)?, (self.number(right, scope)?, right.place));
                return arithmetic(operator, left, right.0).map_err(|mistake| mistake.at(right.1));
            }
        };
        Ok(Value::Truth(truth))
    }

    // What is chosen becomes of the kind of both.
    fn conditional(&mut self, parts: &[Expression; 3], scope: &Scope<'_>) -> Result<Value, Mistake> {
        let [condition, then, other] = parts;
        let chosen = self.truth(condition, scope)?;
        let place = then.place;
        let (mut chosen, other) = if chosen {
            (self.value(then, scope)?, self.value(other, scope))
        } else {
            (self.value(other, scope)?, self.value(then, scope))
        };
        match other {
            // What is not chosen need not have a value.
            Err(mistake) if mistake.is_final => return Err(mistake),
            Err(_) => {}
            Ok(other) => {
                if chosen.is_primitive() && other.is_primitive() {
                    chosen = unified(vec![chosen, other])
                        .map_err(|_| {
                            let detail = "The true and false result expressions must have consistent types.";
                            Mistake::new("Inconsistent conditional result types", detail).at(place)
                        })?
                        .swap_remove(0);
                }
            }
        }
        Ok(chosen)
    }

    // Elements with their keys: positions of a sequence, names of a mapping.
    fn elements(&mut self, over: &Expression, scope: &Scope<'_>) -> Result<Vec<(Value, Value)>, Mistake> {
        match self.value(over, scope)? {
            Value::Sequence(Shape::Set, all) => Ok(all.into_iter().map(|one| (one.clone(), one)).collect()),
            Value::Sequence(_, all) => {
                Ok(all.into_iter().enumerate().map(|(at, one)| (Value::count(at), one)).collect())
            }
            Value::Mapping(_, all) => Ok(all.into_iter().map(|(key, one)| (Value::Text(key), one)).collect()),
            Value::Null => Err(Mistake::new(
                "Iteration over null value",
                "A null value cannot be used as the collection in a 'for' expression.",
            )
            .at(over.place)),
            other => {
                let detail =
                    format!("A value of type {} cannot be used as the collection in a 'for' expression.", other.name());
                Err(Mistake::new("Iteration over non-iterable value", detail).at(over.place))
            }
        }
    }

    fn for_each(&mut self, all: &For, place: Place, scope: &Scope<'_>) -> Result<Value, Mistake> {
        let mut sequence = Vec::new();
        let mut mapping: BTreeMap<String, Value> = BTreeMap::new();
        for (key, value) in self.elements(&all.over, scope)? {
            self.pay(1, place)?;
            let inner = named(&all.names, key, value, scope);
            if let Some(condition) = &all.condition
                && !self.truth(condition, &inner)?
            {
                continue;
            }
            let value = self.value(&all.value, &inner)?;
            let Some(key) = &all.key else {
                sequence.push(value);
                continue;
            };
            let name = self.value(key, &inner)?.to_text().ok_or_else(|| {
                Mistake::new("Invalid object key", "The key expression produced an invalid result: string required.")
                    .at(key.place)
            })?;
            if all.groups {
                match mapping.entry(name).or_insert_with(|| Value::Sequence(Shape::Tuple, Vec::new())) {
                    Value::Sequence(_, group) => group.push(value),
                    _ => return Err(Mistake::new("Invalid object key", "a group is a tuple").at(key.place)),
                }
            } else if mapping.insert(name.clone(), value).is_some() {
                let detail = format!(
                    "Two different items produced the key {name:?} in this 'for' expression. If duplicates are expected, use the ellipsis (...) after the value expression to enable grouping by key."
                );
                return Err(Mistake::new("Duplicate object key", detail).at(key.place));
            }
        }
        Ok(if all.key.is_some() { Value::Mapping(false, mapping) } else { Value::Sequence(Shape::Tuple, sequence) })
    }
}

fn named<'s>(names: &Names, key: Value, value: Value, around: &'s Scope<'s>) -> Scope<'s> {
    let mut scope = Scope::within(around);
    if let Some(name) = &names.key {
        scope.names.insert(name.clone(), key);
    }
    scope.names.insert(names.value.clone(), value);
    scope
}

fn wrong_count(name: &str, given: usize, parameters: &[String]) -> Mistake {
    match parameters.get(given) {
        Some(missing) => {
            let detail =
                format!("Function {name:?} expects {} argument(s). Missing value for {missing:?}.", parameters.len());
            Mistake::new("Not enough function arguments", detail)
        }
        None => {
            let detail = format!("Function {name:?} expects only {} argument(s).", parameters.len());
            Mistake::new("Too many function arguments", detail)
        }
    }
}

fn invalid_operand(detail: &str) -> Mistake {
    Mistake::new("Invalid operand", detail)
}

fn arithmetic(operator: Operator, left: Number, right: Number) -> Result<Value, Mistake> {
    let number = match operator {
        Operator::Less => return Ok(Value::Truth(left < right)),
        Operator::LessOrEqual => return Ok(Value::Truth(left <= right)),
        Operator::Greater => return Ok(Value::Truth(left > right)),
        Operator::GreaterOrEqual => return Ok(Value::Truth(left >= right)),
        Operator::Divide | Operator::Modulo if right.is_zero() => {
            return Err(Mistake::new("Division by zero", "The divisor is zero."));
        }
        Operator::Add => left.add(right),
        Operator::Subtract => left.subtract(right),
        Operator::Multiply => left.multiply(right),
        Operator::Divide => left.divide(right),
        _ => left.modulo(right),
    };
    number.map(Value::Number).ok_or_else(|| invalid_operand("the number is too large"))
}

fn attribute(value: Value, name: &str) -> Result<Value, Mistake> {
    match value {
        Value::Mapping(_, mut all) => all.remove(name).ok_or_else(|| {
            let mut detail = format!("This object does not have an attribute named {name:?}.");
            if let Some(meant) = hako_compose::suggest::nearest(name, all.keys().map(String::as_str)) {
                detail += &format!(" Did you mean {meant:?}?");
            }
            Mistake::new("Unsupported attribute", detail)
        }),
        Value::Null => Err(Mistake::new(
            "Attempt to get attribute from null value",
            "This value is null, so it does not have any attributes.",
        )),
        other => Err(Mistake::new(
            "Unsupported attribute",
            format!("Can't access attributes on a primitive-typed value ({}).", other.name()),
        )),
    }
}
