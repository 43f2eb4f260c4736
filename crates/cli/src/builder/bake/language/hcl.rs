//! HCL to the tree. The grammar is `hcl-edit`'s, which bounds how deep expressions go.

use hcl_edit::{
    Formatted, Span,
    expr::{BinaryOperator, Expression as Parsed, ObjectKey, TraversalOperator, UnaryOperator},
    parser,
    structure::{Body as ParsedBody, Structure},
    template::{Directive, Element, Strip, Template},
};

use super::{
    mistake::{Mistake, Place},
    number::Number,
    tree::{Attribute, Block, Body, Expression, For, Names, Operator, Part, Step, Term},
    value::Value,
};

/// Reads a file.
///
/// # Errors
/// At the first thing that is not HCL.
pub(super) fn body(text: &str, file: usize) -> Result<Body, Mistake> {
    let reader = Reader { file, text, within: None };
    let parsed = parser::parse_body(text).map_err(|error| reader.mistake(&error))?;
    reader.body(&parsed)
}

/// Reads the inside of a text of a JSON file, which is a template; it is written at `place`.
///
/// # Errors
/// At the first thing that is no template.
pub(super) fn template(text: &str, place: Place) -> Result<Term, Mistake> {
    let reader = Reader { file: place.file, text, within: Some(place) };
    let parsed = parser::parse_template(text).map_err(|error| reader.mistake(&error))?;
    reader.template(&parsed, Form::Lines)
}

/// Reads an expression that a JSON file has as a text: a type, a name.
///
/// # Errors
/// At the first thing that is no expression.
pub(super) fn expression(text: &str, place: Place) -> Result<Expression, Mistake> {
    let reader = Reader { file: place.file, text, within: Some(place) };
    let parsed = parser::parse_expr(text).map_err(|error| reader.mistake(&error))?;
    reader.expression(&parsed)
}

struct Reader<'t> {
    file: usize,
    text: &'t str,
    /// Where the text is written, if it is a part of a JSON file.
    within: Option<Place>,
}

impl Reader<'_> {
    fn place(&self, of: &impl Span) -> Place {
        let span = of.span().unwrap_or_default();
        self.within.unwrap_or(Place { file: self.file, from: span.start, to: span.end })
    }

    fn mistake(&self, error: &parser::Error) -> Mistake {
        let location = error.location();
        let lines = self.text.split_inclusive('\n').take(location.line().saturating_sub(1));
        let before: usize = lines.map(str::len).sum();
        let line = self.text[before..].lines().next().unwrap_or_default();
        let column = location.column().saturating_sub(1);
        let from = before + line.char_indices().nth(column).map_or(line.len(), |(at, _)| at);
        let place = self.within.unwrap_or(Place { file: self.file, from, to: from });
        Mistake::new("Invalid expression", error.message().to_owned()).at(place)
    }

    // As it is written, which the parser keeps to 64 bits.
    fn number(&self, parsed: &Formatted<hcl_edit::Number>) -> Number {
        let written = parsed.span().and_then(|span| self.text.get(span)).and_then(Number::parse);
        written.or_else(|| Number::parse(&parsed.value().to_string())).unwrap_or(Number::Whole(0))
    }

    fn body(&self, parsed: &ParsedBody) -> Result<Body, Mistake> {
        let mut body = Body::default();
        for structure in parsed {
            match structure {
                Structure::Attribute(attribute) => body.attributes.push(Attribute {
                    name: attribute.key.as_str().to_owned(),
                    place: self.place(&attribute.key),
                    value: self.expression(&attribute.value)?,
                }),
                Structure::Block(block) => body.blocks.push(Block {
                    kind: block.ident.as_str().to_owned(),
                    place: self.place(&block.ident),
                    labels: block.labels.iter().map(|label| (label.as_str().to_owned(), self.place(label))).collect(),
                    body: self.body(&block.body)?,
                }),
            }
        }
        Ok(body)
    }

    fn boxed(&self, parsed: &Parsed) -> Result<Box<Expression>, Mistake> {
        self.expression(parsed).map(Box::new)
    }

    fn expression(&self, parsed: &Parsed) -> Result<Expression, Mistake> {
        let term = match parsed {
            Parsed::Null(_) => Term::Literal(Value::Null),
            Parsed::Bool(truth) => Term::Literal(Value::Truth(*truth.value())),
            Parsed::Number(number) => Term::Literal(Value::Number(self.number(number))),
            Parsed::String(text) => Term::Literal(Value::text(text.as_str())),
            Parsed::Array(all) => Term::Tuple(all.iter().map(|one| self.expression(one)).collect::<Result<_, _>>()?),
            Parsed::Object(pairs) => {
                let mut read = Vec::with_capacity(pairs.len());
                for (key, value) in pairs.iter() {
                    let key = match key {
                        ObjectKey::Ident(name) => Expression::text(name.as_str(), self.place(name)),
                        // A name alone is the name, in parentheses a variable.
                        ObjectKey::Expression(key) => self.expression(key)?,
                    };
                    read.push((key, self.expression(value.expr())?));
                }
                Term::Object(read)
            }
            Parsed::StringTemplate(template) => self.template(template, Form::Quoted)?,
            Parsed::HeredocTemplate(heredoc) => self.template(&heredoc.template, Form::Lines)?,
            Parsed::Parenthesis(inner) => return self.expression(inner.inner()),
            Parsed::Variable(name) => Term::Variable(name.as_str().to_owned()),
            Parsed::Conditional(all) => Term::Conditional(Box::new([
                self.expression(&all.cond_expr)?,
                self.expression(&all.true_expr)?,
                self.expression(&all.false_expr)?,
            ])),
            Parsed::FuncCall(call) => {
                let mut name = String::new();
                for namespace in &call.name.namespace {
                    name += namespace.as_str();
                    name += "::";
                }
                let arguments = call.args.iter().map(|one| self.expression(one)).collect::<Result<_, _>>()?;
                Term::Call { name: name + call.name.name.as_str(), arguments, expands_last: call.args.expand_final() }
            }
            Parsed::Traversal(traversal) => {
                let steps = traversal.operators.iter().map(|operator| self.step(operator.value()));
                Term::Get(self.boxed(&traversal.expr)?, steps.collect::<Result<_, _>>()?)
            }
            Parsed::UnaryOp(operation) => match operation.operator.value() {
                UnaryOperator::Neg => Term::Negate(self.boxed(&operation.expr)?),
                UnaryOperator::Not => Term::Not(self.boxed(&operation.expr)?),
            },
            Parsed::BinaryOp(operation) => Term::Binary(
                operator(*operation.operator.value()),
                self.boxed(&operation.lhs_expr)?,
                self.boxed(&operation.rhs_expr)?,
            ),
            Parsed::ForExpr(all) => Term::For(Box::new(For {
                names: Names {
                    key: all.intro.key_var.as_ref().map(|name| name.as_str().to_owned()),
                    value: all.intro.value_var.as_str().to_owned(),
                },
                over: self.expression(&all.intro.collection_expr)?,
                key: all.key_expr.as_ref().map(|key| self.expression(key)).transpose()?,
                value: self.expression(&all.value_expr)?,
                condition: all.cond.as_ref().map(|condition| self.expression(&condition.expr)).transpose()?,
                groups: all.grouping,
            })),
        };
        Ok(Expression { place: self.place(parsed), term })
    }

    fn step(&self, parsed: &TraversalOperator) -> Result<Step, Mistake> {
        Ok(match parsed {
            TraversalOperator::AttrSplat(_) => Step::Splat { is_full: false },
            TraversalOperator::FullSplat(_) => Step::Splat { is_full: true },
            TraversalOperator::GetAttr(name) => Step::Attribute(name.as_str().to_owned()),
            TraversalOperator::Index(index) => Step::Index(self.boxed(index)?),
            TraversalOperator::LegacyIndex(index) => {
                let place = self.place(index);
                Step::Index(Box::new(Expression { place, term: Term::Literal(Value::whole(*index.value())) }))
            }
        })
    }

    // A template of one expression is that expression, whatever it comes to.
    fn template(&self, parsed: &Template, form: Form) -> Result<Term, Mistake> {
        if let Some(Element::Interpolation(only)) = parsed.as_single_element() {
            return Ok(self.expression(&only.expr)?.term);
        }
        let mut parts = self.parts(parsed, form, (false, false))?;
        Ok(match parts.as_mut_slice() {
            [] => Term::Literal(Value::text("")),
            [Part::Text(text)] => Term::Literal(Value::text(std::mem::take(text))),
            _ => Term::Template(parts),
        })
    }

    // `~` at a mark takes the white space away that is beside it, also where that belongs to what is around.
    fn parts(
        &self,
        parsed: &Template,
        form: Form,
        (strip_start, strip_end): (bool, bool),
    ) -> Result<Vec<Part>, Mistake> {
        let elements: Vec<&Element> = parsed.iter().collect();
        let mut parts = Vec::with_capacity(elements.len());
        for (at, element) in elements.iter().enumerate() {
            parts.push(match element {
                Element::Literal(text) => {
                    let before = at.checked_sub(1).map_or(strip_start, |before| end_strip(elements[before]).1);
                    let after = elements.get(at + 1).map_or(strip_end, |after| end_strip(after).0);
                    Part::Text(form.stripped(text.as_str(), before, after))
                }
                Element::Interpolation(interpolation) => Part::Value(self.expression(&interpolation.expr)?),
                Element::Directive(directive) => self.directive(directive, form.within())?,
            });
        }
        Ok(parts)
    }

    fn directive(&self, parsed: &Directive, form: Form) -> Result<Part, Mistake> {
        Ok(match parsed {
            Directive::If(all) => {
                let start = strips(all.if_expr.strip).1;
                let end = strips(all.endif_expr.strip).0;
                let between = all.else_expr.as_ref().map(|other| strips(other.strip));
                let then = self.parts(&all.if_expr.template, form, (start, between.map_or(end, |it| it.0)))?;
                let other = match (&all.else_expr, between) {
                    (Some(other), Some((_, start))) => self.parts(&other.template, form, (start, end))?,
                    _ => Vec::new(),
                };
                Part::If(self.boxed(&all.if_expr.cond_expr)?, then, other)
            }
            Directive::For(all) => Part::For(
                Names {
                    key: all.for_expr.key_var.as_ref().map(|name| name.as_str().to_owned()),
                    value: all.for_expr.value_var.as_str().to_owned(),
                },
                self.boxed(&all.for_expr.collection_expr)?,
                self.parts(
                    &all.for_expr.template,
                    form,
                    (strips(all.for_expr.strip).1, strips(all.endfor_expr.strip).0),
                )?,
            ),
        })
    }
}

/// How a template is written.
#[derive(Clone, Copy)]
enum Form {
    /// As lines: a heredoc, a text of a JSON file.
    Lines,
    Quoted,
    /// What stands between marks of a quoted one, which the parser leaves as it is written.
    Escaped,
}

impl Form {
    fn within(self) -> Self {
        match self {
            Self::Lines => Self::Lines,
            Self::Quoted | Self::Escaped => Self::Escaped,
        }
    }

    // White space at a mark goes; of lines, what is on the mark's own.
    fn stripped(self, text: &str, before: bool, after: bool) -> String {
        let unescaped = if matches!(self, Self::Escaped) { unescaped(text) } else { text.to_owned() };
        let mut text = unescaped.as_str();
        if before {
            let own =
                if matches!(self, Self::Lines) { text.find('\n').map_or(text.len(), |at| at + 1) } else { text.len() };
            let kept = text[..own].trim_start().len();
            text = &text[own - kept..];
        }
        if after {
            let lines = text.strip_suffix('\n').unwrap_or(text);
            let own = if matches!(self, Self::Lines) { lines.rfind('\n').map_or(0, |at| at + 1) } else { 0 };
            text = &text[..own + text[own..].trim_end().len()];
        }
        text.to_owned()
    }
}

fn unescaped(text: &str) -> String {
    let (mut made, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find('\\') {
        made.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let letter = after.chars().next().unwrap_or('\\');
        let digits = match letter {
            'u' => 4,
            'U' => 8,
            _ => 0,
        };
        let code = after.get(1..=digits).and_then(|code| u32::from_str_radix(code, 16).ok()).and_then(char::from_u32);
        made.push(match letter {
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            _ if digits > 0 => code.unwrap_or(letter),
            other => other,
        });
        let read = if digits > 0 && code.is_some() { 1 + digits } else { letter.len_utf8() };
        rest = after.get(read..).unwrap_or_default();
    }
    made + rest
}

fn strips(strip: Strip) -> (bool, bool) {
    (strip.strip_start(), strip.strip_end())
}

// What an element takes away before and after itself.
fn end_strip(element: &Element) -> (bool, bool) {
    match element {
        Element::Literal(_) => (false, false),
        Element::Interpolation(interpolation) => strips(interpolation.strip),
        Element::Directive(directive) => match &**directive {
            Directive::If(all) => (strips(all.if_expr.strip).0, strips(all.endif_expr.strip).1),
            Directive::For(all) => (strips(all.for_expr.strip).0, strips(all.endfor_expr.strip).1),
        },
    }
}

fn operator(parsed: BinaryOperator) -> Operator {
    match parsed {
        BinaryOperator::Eq => Operator::Equal,
        BinaryOperator::NotEq => Operator::NotEqual,
        BinaryOperator::LessEq => Operator::LessOrEqual,
        BinaryOperator::GreaterEq => Operator::GreaterOrEqual,
        BinaryOperator::Less => Operator::Less,
        BinaryOperator::Greater => Operator::Greater,
        BinaryOperator::Plus => Operator::Add,
        BinaryOperator::Minus => Operator::Subtract,
        BinaryOperator::Mul => Operator::Multiply,
        BinaryOperator::Div => Operator::Divide,
        BinaryOperator::Mod => Operator::Modulo,
        BinaryOperator::And => Operator::And,
        BinaryOperator::Or => Operator::Or,
    }
}
