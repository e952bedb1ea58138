//! Parsed expressions.

use std::cell::RefCell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jsonata_core::ast::AstNode;
use jsonata_core::evaluator::{Evaluator, EvaluatorError, EvaluatorOptions};
use jsonata_core::parser::ParserError;
use jsonata_core::value::JValue;

use super::bindings::Bindings;
use super::bounds::Meter;
use super::failure::{JsonataFailure, JsonataFailureKind, split_code};
use super::functions::{self, Host};
use super::plain::PlainPath;
use super::references::{self, References};
use super::witness::{Seen, Witness};
use super::{convert, grammar, guard, length, mend, precedence, tree, witness, words};
use crate::effort::Effort;
use crate::limits::JSONATA_TREE_DEPTH_MAX;
use crate::random::Random;
use crate::value::Value;

/// A parsed JSONata expression. Cheap to clone and to share between threads.
#[derive(Clone)]
pub struct Expression {
    text: Arc<str>,
    parsed: Arc<Parsed>,
}

struct Parsed {
    tree: AstNode,
    references: References,
    plain: Option<PlainPath>,
    /// Names of the guards and helpers in the tree.
    guards: Vec<&'static str>,
    too_deep: bool,
    /// See [`crate::Effort`].
    work: u64,
}

/// A text that is no JSONata expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", .code.as_ref().map(|code| format!("{code}: ")).unwrap_or_default())]
pub struct JsonataSyntaxError {
    /// The code of the reference engine (`S0201`), when there is one.
    pub code: Option<String>,
    /// What is wrong, without the code.
    pub message: String,
}

impl JsonataSyntaxError {
    /// A sentence that names the expression.
    pub fn told(&self, expression: &str) -> String {
        let expression = expression.trim();
        format!("The JSONata expression '{expression}' is not valid: {self}")
    }
}

impl Expression {
    /// Parses the text between `{%` and `%}`.
    pub fn parse(text: &str) -> Result<Self, JsonataSyntaxError> {
        let text = text.trim();
        grammar::signatures(text)?;
        let mut tree =
            jsonata_core::parser::parse(text).map_err(|error| syntax_error(&error, text))?;
        precedence::mend(&mut tree);
        grammar::check(&tree)?;
        let references = references::collect(&tree);
        let plain = PlainPath::of(&tree);
        let too_deep = tree::depth(&tree) > JSONATA_TREE_DEPTH_MAX;
        let work = length::work(&tree);
        let mut guards = mend::install(&mut tree);
        guards.extend(guard::install(&mut tree));
        Ok(Self {
            text: text.into(),
            parsed: Arc::new(Parsed {
                tree,
                references,
                plain,
                guards,
                too_deep,
                work,
            }),
        })
    }

    /// Whether a string is a JSONata string, `{% ... %}`; gives the text between.
    pub fn unwrap(text: &str) -> Option<&str> {
        text.strip_prefix("{%")?.strip_suffix("%}")
    }

    /// The text it was parsed from, trimmed.
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// What it refers to.
    pub fn references(&self) -> &References {
        &self.parsed.references
    }

    /// The result; `None` is undefined.
    pub fn evaluate(
        &self,
        bindings: &Bindings,
        random: &mut Random,
    ) -> Result<Option<Value>, JsonataFailure> {
        if let Some(plain) = &self.parsed.plain
            && let Some(found) = plain.follow(bindings)
        {
            return Ok(found);
        }
        self.run(bindings, random)
            .map_err(|kind| self.failure(kind))
    }

    /// The result, where undefined is a failure too.
    pub fn require(
        &self,
        bindings: &Bindings,
        random: &mut Random,
    ) -> Result<Value, JsonataFailure> {
        self.evaluate(bindings, random)?
            .ok_or_else(|| self.failure(JsonataFailureKind::Undefined))
    }

    /// A failure of this expression, for results that are not what the field takes.
    pub fn failure(&self, kind: JsonataFailureKind) -> JsonataFailure {
        JsonataFailure {
            expression: self.text.clone(),
            location: String::new(),
            kind,
        }
    }

    fn run(
        &self,
        bindings: &Bindings,
        random: &mut Random,
    ) -> Result<Option<Value>, JsonataFailureKind> {
        if self.parsed.too_deep {
            return Err(JsonataFailureKind::stack_exceeded());
        }
        let Some(effort) = bindings.effort() else {
            return self.run_now(bindings, random);
        };
        // All of it counts to the state's time: making the values ready, and telling what went wrong.
        effort.expression(self.parsed.work, || {
            timed(|| self.run_now(bindings, random))
        })
    }

    fn run_now(
        &self,
        bindings: &Bindings,
        random: &mut Random,
    ) -> Result<Option<Value>, JsonataFailureKind> {
        let mut seed = [0; 32];
        if self.draws() {
            random.fill(&mut seed);
        }
        let most_ms = bindings.bounds().time_ms;
        let tree = &self.parsed.tree;
        let (result, took) = timed(|| self.run_engine(tree, bindings, seed, None, most_ms));
        // Telling an error has what the evaluation has left: together they take no longer than one may.
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let left_ms = most_ms.saturating_sub(took_ms);
        let result = result.map_err(|error| self.told(&error, bindings, seed, left_ms))?;
        convert::from_engine(&result, bindings.bounds().result_bytes)
    }

    /// Whether the expression draws randomness.
    fn draws(&self) -> bool {
        let mut functions = self.parsed.references.functions.iter();
        functions.any(|name| matches!(&**name, "random" | "uuid" | "shuffle"))
    }

    /// An error in the words of the reference engine.
    fn told(
        &self,
        error: &EvaluatorError,
        bindings: &Bindings,
        seed: [u8; 32],
        left_ms: u64,
    ) -> JsonataFailureKind {
        let mut seen = Seen::default();
        if left_ms > 0 && witness::can_tell(error.code()) {
            let mut tree = self.parsed.tree.clone();
            let witness = Rc::new(Witness::install(&mut tree));
            let again = self.run_engine(&tree, bindings, seed, Some(&witness), left_ms);
            if again.is_err_and(|again| again.message() == error.message()) {
                seen = witness.seen(&self.parsed.references.ambiguous);
            }
        }
        JsonataFailureKind::told(error, &seen)
    }

    fn run_engine(
        &self,
        tree: &AstNode,
        bindings: &Bindings,
        seed: [u8; 32],
        witness: Option<&Rc<Witness>>,
        most_ms: u64,
    ) -> Result<JValue, EvaluatorError> {
        let Parsed {
            references, guards, ..
        } = &*self.parsed;
        let bounds = bindings.bounds();
        let left_ms = bindings.effort().map_or(u64::MAX, Effort::time_left_ms);
        let options = EvaluatorOptions {
            timeout_ms: Some(most_ms.min(left_ms)),
            cancel: None,
            max_stack_depth: Some(bounds.depth),
            max_sequence_length: Some(bounds.sequence),
        };
        let mut evaluator = Evaluator::with_options(bindings.engine_context(references), options);
        if !guards.is_empty() || !references.functions.is_empty() {
            // The host's functions outlive no evaluation but must own what they use: a stream of their own.
            let host = Host {
                random: RefCell::new(Random::from_seed(seed)),
                now_ms: bindings.now_ms(),
                meter: Meter::new(bounds),
            };
            functions::register(
                &mut evaluator,
                &Rc::new(host),
                &references.functions,
                guards,
            )?;
        }
        if let Some(witness) = witness.cloned() {
            let see = move |arguments: &[JValue]| witness.see(arguments);
            evaluator.register_fn_override(witness::SEEN, see)?;
        }
        let root = bindings.engine_root();
        // A fault of the engine must fail this evaluation alone.
        let result = catch_unwind(AssertUnwindSafe(|| evaluator.evaluate(tree, &root)));
        match result {
            Ok(result) => result,
            Err(_) => Err(EvaluatorError::EvaluationError(
                "The expression engine failed internally".into(),
            )),
        }
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Expression({})", self.text)
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// The clock is read for the bound on time alone, whose outcome the history records.
#[expect(
    clippy::disallowed_methods,
    reason = "the one exception to this crate's purity"
)]
fn timed<T>(run: impl FnOnce() -> T) -> (T, Duration) {
    let began = Instant::now();
    (run(), began.elapsed())
}

fn syntax_error(error: &ParserError, expression: &str) -> JsonataSyntaxError {
    let text = error.to_string();
    if matches!(error, ParserError::UnclosedComment) {
        return JsonataSyntaxError {
            code: Some("S0106".into()),
            message: "Comment has no closing tag".into(),
        };
    }
    let (Some(code), message) = split_code(&text) else {
        return JsonataSyntaxError {
            code: None,
            message: text,
        };
    };
    let (code, message) = words::syntax(code, message, expression);
    JsonataSyntaxError {
        code: Some(code.into()),
        message,
    }
}
