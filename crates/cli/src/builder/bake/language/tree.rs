//! What both forms of the language are read into. Every expression knows where it is written.

use super::{mistake::Place, value::Value};

#[derive(Debug, Clone)]
pub(crate) struct Expression {
    pub place: Place,
    pub term: Term,
}

#[derive(Debug, Clone)]
pub(crate) enum Term {
    Literal(Value),
    /// Parts that are put together to a text.
    Template(Vec<Part>),
    Tuple(Vec<Expression>),
    Object(Vec<(Expression, Expression)>),
    Variable(String),
    Get(Box<Expression>, Vec<Step>),
    Call {
        name: String,
        arguments: Vec<Expression>,
        expands_last: bool,
    },
    Not(Box<Expression>),
    Negate(Box<Expression>),
    Binary(Operator, Box<Expression>, Box<Expression>),
    Conditional(Box<[Expression; 3]>),
    For(Box<For>),
}

/// `[for …]`, or with a key `{for …}`.
#[derive(Debug, Clone)]
pub(crate) struct For {
    pub names: Names,
    pub over: Expression,
    pub key: Option<Expression>,
    pub value: Expression,
    pub condition: Option<Expression>,
    /// Values of one key become a tuple.
    pub groups: bool,
}

/// What elements are called within a loop.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    pub key: Option<String>,
    pub value: String,
}

#[derive(Debug, Clone)]
pub(crate) enum Part {
    Text(String),
    Value(Expression),
    If(Box<Expression>, Vec<Part>, Vec<Part>),
    For(Names, Box<Expression>, Vec<Part>),
}

/// A step into a value.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Attribute(String),
    Index(Box<Expression>),
    /// The steps after it are taken into each element: `.*`, which takes attributes alone, or `[*]`.
    Splat {
        is_full: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
}

/// A file, or what stands in a block.
#[derive(Debug, Clone, Default)]
pub(crate) struct Body {
    pub attributes: Vec<Attribute>,
    pub blocks: Vec<Block>,
}

#[derive(Debug, Clone)]
pub(crate) struct Attribute {
    pub name: String,
    pub place: Place,
    pub value: Expression,
}

#[derive(Debug, Clone)]
pub(crate) struct Block {
    pub kind: String,
    pub place: Place,
    pub labels: Vec<(String, Place)>,
    pub body: Body,
}

impl Body {
    pub(crate) fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|attribute| attribute.name == name)
    }
}

impl Expression {
    pub(crate) fn text(text: impl Into<String>, place: Place) -> Self {
        Self { place, term: Term::Literal(Value::text(text)) }
    }

    /// The name that it is, if it is nothing but a name.
    pub(crate) fn as_name(&self) -> Option<&str> {
        match &self.term {
            Term::Variable(name) => Some(name),
            _ => None,
        }
    }
}
