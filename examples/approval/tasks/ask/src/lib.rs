//! The task `ask`: asks a person for a decision. It ends at once; the state goes on when somebody answers its token.

use serde::{Deserialize, Serialize};
use stepwell_task::{TaskError, log, task};

/// What the state passes in.
#[derive(Deserialize)]
pub struct Request {
    expense: Expense,
    /// Who is asked.
    approver: String,
    /// What the answer has to name.
    token: String,
}

/// What is to be decided.
#[derive(Deserialize)]
pub struct Expense {
    id: String,
    by: String,
    cents: u32,
    what: String,
}

/// What was sent.
#[derive(Debug, PartialEq, Serialize)]
pub struct Sent {
    to: String,
    text: String,
}

/// Writes the request. A real one sends it by mail or chat, with a link that carries the token.
///
/// # Errors
/// `NoToken` when the state's resource does not end in `.waitForTaskToken`.
#[task]
pub fn ask(request: Request) -> Result<Sent, TaskError> {
    let Request {
        expense,
        approver,
        token,
    } = request;
    if token.is_empty() {
        return Err(TaskError::new(
            "NoToken",
            "use the resource `arn:aws:states:::lambda:invoke.waitForTaskToken`",
        ));
    }
    let text = format!(
        "{} asks for {}.{:02} EUR ({}): expense {}",
        expense.by,
        expense.cents / 100,
        expense.cents % 100,
        expense.what,
        expense.id
    );
    log::info("asked", &[("approver", &approver), ("text", &text)]);
    Ok(Sent { to: approver, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(token: &str) -> Request {
        let expense = Expense {
            id: "e-1".into(),
            by: "Grace".into(),
            cents: 12_305,
            what: "train".into(),
        };
        Request {
            expense,
            approver: "lead@example.com".into(),
            token: token.into(),
        }
    }

    #[test]
    fn says_who_wants_what() {
        assert_eq!(
            ask(request("t")).unwrap().text,
            "Grace asks for 123.05 EUR (train): expense e-1"
        );
    }

    #[test]
    fn needs_a_token() {
        assert_eq!(ask(request("")).unwrap_err().error(), "NoToken");
    }
}
