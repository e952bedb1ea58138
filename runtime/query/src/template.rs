//! Payload templates with `.$` fields. Hides how the constant parts are shared.

use std::sync::Arc;

use crate::path::{PathErrorKind, PathExpr, PathExprError, PathRoot};
use crate::random::Random;
use crate::sources::Sources;
use crate::value::{ObjectBuilder, Value};

/// A JSONPath payload template: JSON in which a field `"x.$"` stands for a field `"x"` with the value of a path or an
/// intrinsic call. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Template {
    node: Arc<Node>,
}

#[derive(Debug)]
enum Node {
    Constant(Value),
    Object(Vec<(Arc<str>, Node)>),
    Array(Vec<Node>),
    Field { name: Arc<str>, expr: PathExpr },
}

/// A fault found when a template (in either language) is built.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct TemplateError {
    /// JSON Pointer from the template's root to the faulty field; empty for the template itself.
    pub pointer: String,
    /// The field's name as written (`x.$`): the last token of the pointer, not escaped.
    pub field: String,
    /// The faulty text, or the JSON of what stands in its place.
    pub text: String,
    /// What is wrong, in the words of the service where known.
    pub message: String,
    /// What is wrong within the text.
    pub detail: String,
    /// Bytes of `text` before the fault, when known.
    pub offset: Option<usize>,
}

/// A field of a template has no value.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{error}")]
pub struct TemplateFailure {
    /// The field's name as written: `x.$`.
    pub field: Arc<str>,
    /// Why.
    pub error: PathExprError,
}

impl TemplateFailure {
    /// The cause in the words of the service; `input` is what the template was evaluated against.
    pub fn text(&self, input: &Value) -> String {
        match &self.error {
            PathExprError::Path(error) => error.not_found_text(&self.field, input),
            PathExprError::Intrinsic(error) => error.to_string(),
        }
    }
}

impl Template {
    /// Builds it from the field's JSON; finds all faults.
    pub fn build(value: &Value) -> Result<Self, Vec<TemplateError>> {
        let mut errors = Vec::new();
        let node = build(value, "", &mut errors);
        if errors.is_empty() {
            Ok(Self {
                node: Arc::new(node),
            })
        } else {
            Err(errors)
        }
    }

    /// The value; what is constant in the template is shared by all results.
    pub fn evaluate(
        &self,
        sources: &Sources,
        random: &mut Random,
    ) -> Result<Value, TemplateFailure> {
        self.node.evaluate(sources, random)
    }

    /// The value of a template without `.$` fields.
    pub fn constant(&self) -> Option<&Value> {
        if let Node::Constant(value) = &*self.node {
            Some(value)
        } else {
            None
        }
    }

    /// Names of the workflow variables it reads, without `$`, in order of appearance, each once.
    pub fn variables(&self) -> Vec<Arc<str>> {
        let mut names = Vec::new();
        self.node
            .visit(&mut |expr| expr.collect_variables(&mut names));
        names
    }

    /// Whether a path in it reads the input (`$`).
    pub fn reads_input(&self) -> bool {
        let mut found = false;
        self.node.visit(&mut |expr| {
            found |= matches!(expr, PathExpr::Path(path) if *path.root() == PathRoot::Input);
        });
        found
    }

    /// Whether it calls an intrinsic function.
    pub fn has_intrinsics(&self) -> bool {
        let mut found = false;
        self.node
            .visit(&mut |expr| found |= matches!(expr, PathExpr::Intrinsic(_)));
        found
    }
}

fn build(value: &Value, pointer: &str, errors: &mut Vec<TemplateError>) -> Node {
    match value {
        Value::Object(object) => {
            let members = object
                .iter()
                .map(|(key, member)| member_node(key, member, pointer, errors));
            let members: Vec<(Arc<str>, Node)> = members.collect();
            if members
                .iter()
                .all(|(_, node)| matches!(node, Node::Constant(_)))
            {
                return Node::Constant(value.clone());
            }
            Node::Object(members)
        }
        Value::Array(items) => {
            let items = items.iter().enumerate();
            let nodes: Vec<Node> = items
                .map(|(index, item)| build(item, &format!("{pointer}/{index}"), errors))
                .collect();
            if nodes.iter().all(|node| matches!(node, Node::Constant(_))) {
                return Node::Constant(value.clone());
            }
            Node::Array(nodes)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            Node::Constant(value.clone())
        }
    }
}

fn member_node(
    key: &Arc<str>,
    member: &Value,
    pointer: &str,
    errors: &mut Vec<TemplateError>,
) -> (Arc<str>, Node) {
    let pointer = format!("{pointer}/{}", pointer_token(key));
    let Some(name) = key.strip_suffix(".$") else {
        return (key.clone(), build(member, &pointer, errors));
    };
    let parsed = match member {
        Value::String(text) => {
            PathExpr::parse(text).map_err(|error| (error.message, Some(error.offset)))
        }
        other => Err((
            format!("expected a string, found {}", other.kind().name()),
            None,
        )),
    };
    match parsed {
        Ok(expr) => (
            name.into(),
            Node::Field {
                name: key.clone(),
                expr,
            },
        ),
        Err((detail, offset)) => {
            let message = format!(
                "The value for the field '{key}' must be a valid JSONPath or a valid intrinsic function call"
            );
            let text = member
                .as_str()
                .map_or_else(|| member.to_json(), str::to_owned);
            errors.push(TemplateError {
                pointer,
                field: key.to_string(),
                text,
                message,
                detail,
                offset,
            });
            (name.into(), Node::Constant(Value::Null))
        }
    }
}

/// A name as a token of a JSON Pointer (RFC 6901).
pub(crate) fn pointer_token(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

impl Node {
    fn evaluate(&self, sources: &Sources, random: &mut Random) -> Result<Value, TemplateFailure> {
        match self {
            Self::Constant(value) => Ok(value.clone()),
            Self::Object(members) => {
                let mut object = ObjectBuilder::with_capacity(members.len());
                for (key, node) in members {
                    object.insert(key.clone(), node.evaluate(sources, random)?);
                }
                Ok(object.into())
            }
            Self::Array(nodes) => {
                let items: Result<Vec<Value>, _> = nodes
                    .iter()
                    .map(|node| node.evaluate(sources, random))
                    .collect();
                Ok(items?.into())
            }
            Self::Field { name, expr } => match expr.evaluate(sources, random) {
                Ok(value) => Ok(value),
                // An index past the end is null here, unlike in InputPath and OutputPath.
                Err(PathExprError::Path(error))
                    if matches!(error.kind, PathErrorKind::IndexOutOfBounds { .. }) =>
                {
                    Ok(Value::Null)
                }
                Err(error) => Err(TemplateFailure {
                    field: name.clone(),
                    error,
                }),
            },
        }
    }

    fn visit(&self, seen: &mut dyn FnMut(&PathExpr)) {
        match self {
            Self::Constant(_) => {}
            Self::Object(members) => members.iter().for_each(|(_, node)| node.visit(seen)),
            Self::Array(nodes) => nodes.iter().for_each(|node| node.visit(seen)),
            Self::Field { expr, .. } => seen(expr),
        }
    }
}
