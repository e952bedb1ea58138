//! Tasks that nobody can answer, and what an execution's type or a Map's mode does not do. Hides how a token is looked
//! for in a payload.

use super::{Advised, some_text};
use crate::codes::Code;
use crate::limits::{EXPRESS_SECONDS_MAX, INLINE_CONCURRENCY_MAX, MAP_RUN_CONCURRENCY_MAX};
use crate::program::{ExecutionType, Given, Kind, Mode, QueryLanguage, Until};
use crate::resource::{Pattern, Target};

pub(super) fn check(advised: &Advised<'_, '_>) {
    match &advised.state.kind {
        Kind::Task(task) => check_token(advised, &task.resource.target),
        Kind::Wait(wait) => {
            if let Until::Seconds(Given::Fixed(seconds)) = &wait.until {
                check_wait(advised, *seconds);
            }
        }
        Kind::Map(map) => {
            if let Some(Given::Fixed(concurrency)) = &map.max_concurrency {
                check_concurrency(advised, &map.mode, *concurrency);
            }
        }
        Kind::Pass(_) | Kind::Choice(_) | Kind::Succeed(_) | Kind::Fail(_) | Kind::Parallel(_) => {}
    }
}

/// Who waits for a token must give it away, and only who waits has one.
fn check_token(advised: &Advised<'_, '_>, target: &Target) {
    let jsonata = advised.state.language == QueryLanguage::Jsonata;
    let field = if jsonata { "Arguments" } else { "Parameters" };
    let payload = advised.node.below(field);
    let holds = |found: &mut dyn FnMut(&str) -> bool| {
        payload
            .as_ref()
            .is_some_and(|payload| some_text(payload.value, found))
    };
    let token = if jsonata {
        "$states.context.Task.Token"
    } else {
        "$$.Task.Token"
    };
    match target.pattern() {
        Pattern::WaitForTaskToken => {
            let gives = match jsonata {
                true => holds(&mut |text| gives_context(text)),
                false => {
                    holds(&mut |text| text == "$$" || text.contains("$$") && text.contains("Task"))
                }
            };
            if !gives {
                let node = payload.as_ref().unwrap_or(advised.node);
                node.fault_with_hint(
                    Code::TokenKept,
                    format!(
                        "Task waits for its token, and '{field}' does not hold it: nobody can answer"
                    ),
                    Some(match jsonata {
                        true => format!("give \"TaskToken\": \"{{% {token} %}}\" to who answers"),
                        false => format!("give \"TaskToken.$\": \"{token}\" to who answers"),
                    }),
                );
            }
        }
        Pattern::RequestResponse => {
            if !matches!(target, Target::Activity { .. }) && holds(&mut |text| text.contains(token))
            {
                let node = payload.as_ref().unwrap_or(advised.node);
                node.fault_with_hint(
                    Code::NoToken,
                    format!(
                        "'{token}' is read by a task that does not wait for a token: it has none, and fails"
                    ),
                    Some("end \"Resource\" with \".waitForTaskToken\"".to_owned()),
                );
            }
        }
        Pattern::Sync | Pattern::Sync2 => {}
    }
}

/// Whether an expression reads of the context what may be the token.
fn gives_context(text: &str) -> bool {
    text.contains("context") || text.contains("$states") && !text.contains("$states.")
}

fn check_wait(advised: &Advised<'_, '_>, seconds: u32) {
    let Some(node) = advised.node.below("Seconds") else {
        return;
    };
    if advised.kind == ExecutionType::Express && seconds >= EXPRESS_SECONDS_MAX {
        node.fault_with_hint(
            Code::ExpressTime,
            format!(
                "An Express execution lasts {EXPRESS_SECONDS_MAX} seconds at most: it times out while it waits"
            ),
            Some("wait shorter, or use a STANDARD workflow".to_owned()),
        );
    }
}

fn check_concurrency(advised: &Advised<'_, '_>, mode: &Mode, concurrency: u32) {
    let (most, who, what, raised) = match mode {
        Mode::Inline => (
            INLINE_CONCURRENCY_MAX,
            "An inline Map state",
            "iterations",
            "1,000",
        ),
        Mode::Distributed(_) => (
            MAP_RUN_CONCURRENCY_MAX,
            "A map run",
            "child executions",
            "100,000",
        ),
    };
    if let Some(node) = advised.node.below("MaxConcurrency")
        && concurrency > most
    {
        node.fault_with_hint(
            Code::Concurrency,
            format!("{who} runs at most {most} {what} at a time"),
            Some(format!("with --limits raised it is {raised}")),
        );
    }
}

#[cfg(test)]
mod tests {
    use stepwell_query::Value;

    use super::*;

    #[test]
    fn the_context_may_be_given_whole() {
        assert!(gives_context("{% $states.context.Task.Token %}"));
        assert!(gives_context("{% $states %}"));
        assert!(!gives_context("{% $states.input.token %}"));
        assert!(!some_text(&Value::Null, &mut |_| true));
    }
}
