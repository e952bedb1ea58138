//! The task `notify`: writes the message that a customer gets. Sending is left out, so that the example needs nobody.

use serde::{Deserialize, Serialize};
use stepwell_task::{TaskError, log, task};

/// What the state passes in.
#[derive(Deserialize)]
pub struct Request {
    to: String,
    name: String,
    order: String,
    what: What,
    /// The reason, where there is one.
    #[serde(default)]
    why: String,
}

/// What happened to the order.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    Shipped,
    Cancelled,
}

/// The message.
#[derive(Debug, PartialEq, Serialize)]
pub struct Message {
    to: String,
    text: String,
}

/// Writes the message.
///
/// # Errors
/// None of its own.
#[task]
pub fn notify(request: Request) -> Result<Message, TaskError> {
    let Request {
        to,
        name,
        order,
        what,
        why,
    } = request;
    let text = match what {
        What::Shipped => format!("Dear {name}, your order {order} is on its way."),
        What::Cancelled => format!("Dear {name}, we had to cancel your order {order}: {why}."),
    };
    log::info("message", &[("to", &to), ("text", &text)]);
    Ok(Message { to, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(what: What) -> String {
        let request = Request {
            to: "ada@example.com".into(),
            name: "Ada".into(),
            order: "o-1".into(),
            what,
            why: "no lamps left".into(),
        };
        notify(request).unwrap().text
    }

    #[test]
    fn says_what_happened_and_why() {
        assert_eq!(
            text(What::Shipped),
            "Dear Ada, your order o-1 is on its way."
        );
        assert_eq!(
            text(What::Cancelled),
            "Dear Ada, we had to cancel your order o-1: no lamps left."
        );
    }
}
