//! JSON with JSONata strings anywhere.

use std::sync::Arc;

use super::bindings::Bindings;
use super::expression::Expression;
use super::failure::JsonataFailure;
use crate::path::push_once;
use crate::random::Random;
use crate::template::{TemplateError, pointer_token};
use crate::value::{ObjectBuilder, Value};

/// JSON in which any string may be a JSONata string, `"{% ... %}"`, that stands for its result. Cheap to clone.
#[derive(Clone, Debug)]
pub struct JsonataTemplate {
    node: Arc<Node>,
    expressions: Arc<[(String, Expression)]>,
}

#[derive(Debug)]
enum Node {
    Constant(Value),
    Object(Vec<(Arc<str>, Node)>),
    Array(Vec<Node>),
    Expression {
        location: String,
        expression: Expression,
    },
}

impl JsonataTemplate {
    /// Builds it from the field's JSON; finds all faults.
    pub fn build(value: &Value) -> Result<Self, Vec<TemplateError>> {
        let mut builder = Builder::default();
        let node = builder.node(value, "", "");
        if builder.errors.is_empty() {
            return Ok(Self {
                node: Arc::new(node),
                expressions: builder.expressions.into(),
            });
        }
        Err(builder.errors)
    }

    /// The value; what is constant in the template is shared by all results.
    pub fn evaluate(
        &self,
        bindings: &Bindings,
        random: &mut Random,
    ) -> Result<Value, JsonataFailure> {
        self.node.evaluate(bindings, random)
    }

    /// The value of a template without expressions.
    pub fn constant(&self) -> Option<&Value> {
        if let Node::Constant(value) = &*self.node {
            Some(value)
        } else {
            None
        }
    }

    /// The expression of a template that is one JSONata string.
    pub fn expression(&self) -> Option<&Expression> {
        if let Node::Expression { expression, .. } = &*self.node {
            Some(expression)
        } else {
            None
        }
    }

    /// Names of the workflow variables it reads, without `$`, in order of appearance, each once.
    pub fn variables(&self) -> Vec<Arc<str>> {
        let mut names = Vec::new();
        for (_, expression) in self.expressions() {
            expression
                .references()
                .variables
                .iter()
                .for_each(|name| push_once(&mut names, Some(name)));
        }
        names
    }

    /// The expressions with the JSON Pointers of their strings, in order.
    pub fn expressions(&self) -> impl Iterator<Item = (&str, &Expression)> {
        self.expressions
            .iter()
            .map(|(pointer, expression)| (pointer.as_str(), expression))
    }
}

#[derive(Default)]
struct Builder {
    errors: Vec<TemplateError>,
    expressions: Vec<(String, Expression)>,
}

impl Builder {
    fn node(&mut self, value: &Value, pointer: &str, location: &str) -> Node {
        match value {
            Value::Object(object) => {
                let member = |(key, member): (&Arc<str>, &Value)| {
                    let separator = if location.is_empty() { "" } else { "/" };
                    let pointer = format!("{pointer}/{}", pointer_token(key));
                    (
                        key.clone(),
                        self.node(member, &pointer, &format!("{location}{separator}{key}")),
                    )
                };
                let members: Vec<_> = object.iter().map(member).collect();
                if members
                    .iter()
                    .all(|(_, node)| matches!(node, Node::Constant(_)))
                {
                    return Node::Constant(value.clone());
                }
                Node::Object(members)
            }
            Value::Array(items) => {
                let item = |(index, item): (usize, &Value)| {
                    self.node(
                        item,
                        &format!("{pointer}/{index}"),
                        &format!("{location}[{index}]"),
                    )
                };
                let nodes: Vec<_> = items.iter().enumerate().map(item).collect();
                if nodes.iter().all(|node| matches!(node, Node::Constant(_))) {
                    return Node::Constant(value.clone());
                }
                Node::Array(nodes)
            }
            Value::String(text) => match Expression::unwrap(text) {
                Some(inner) => self.expression(inner, text, pointer, location),
                None => Node::Constant(value.clone()),
            },
            Value::Null | Value::Bool(_) | Value::Number(_) => Node::Constant(value.clone()),
        }
    }

    fn expression(&mut self, inner: &str, text: &str, pointer: &str, location: &str) -> Node {
        match Expression::parse(inner) {
            Ok(expression) => {
                self.expressions
                    .push((pointer.to_owned(), expression.clone()));
                Node::Expression {
                    location: location.to_owned(),
                    expression,
                }
            }
            Err(error) => {
                let field = pointer
                    .rsplit('/')
                    .next()
                    .unwrap_or("")
                    .replace("~1", "/")
                    .replace("~0", "~");
                self.errors.push(TemplateError {
                    pointer: pointer.to_owned(),
                    field,
                    text: text.to_owned(),
                    message: error.message.clone(),
                    detail: error.told(inner),
                    offset: None,
                });
                Node::Constant(Value::Null)
            }
        }
    }
}

// The walk has a twin in `crate::template`: the two differ in what a leaf is, what it is evaluated with and how it fails, which
// is all that there is to them but the walk.
impl Node {
    fn evaluate(&self, bindings: &Bindings, random: &mut Random) -> Result<Value, JsonataFailure> {
        match self {
            Self::Constant(value) => Ok(value.clone()),
            Self::Object(members) => {
                let mut object = ObjectBuilder::with_capacity(members.len());
                for (key, node) in members {
                    object.insert(key.clone(), node.evaluate(bindings, random)?);
                }
                Ok(object.into())
            }
            Self::Array(nodes) => {
                let items: Result<Vec<Value>, _> = nodes
                    .iter()
                    .map(|node| node.evaluate(bindings, random))
                    .collect();
                Ok(items?.into())
            }
            Self::Expression {
                location,
                expression,
            } => expression
                .require(bindings, random)
                .map_err(|failure| JsonataFailure {
                    location: location.clone(),
                    ..failure
                }),
        }
    }
}
