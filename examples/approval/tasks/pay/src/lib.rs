//! The task `pay`: pays an approved expense.

use serde::{Deserialize, Serialize};
use stepwell_task::{Context, TaskError, log, task};

/// What the state passes in.
#[derive(Deserialize)]
pub struct Request {
    expense: Expense,
    approved_by: String,
}

/// What is paid.
#[derive(Deserialize)]
pub struct Expense {
    id: String,
    by: String,
    cents: u32,
}

/// Proof of the payment.
#[derive(Debug, PartialEq, Serialize)]
pub struct Paid {
    payment: String,
    to: String,
    cents: u32,
    approved_by: String,
}

/// Pays.
///
/// # Errors
/// `SelfApproval` when somebody approved their own expense.
#[task]
pub fn pay(request: Request, ctx: &Context) -> Result<Paid, TaskError> {
    let Request {
        expense,
        approved_by,
    } = request;
    if expense.by == approved_by {
        return Err(TaskError::new(
            "SelfApproval",
            format!("{approved_by} cannot approve expense {}", expense.id),
        ));
    }
    log::info(
        "paying",
        &[
            ("expense", &expense.id),
            ("idempotency_key", &ctx.idempotency_key),
        ],
    );
    Ok(Paid {
        payment: format!("pay-{}", expense.id),
        to: expense.by,
        cents: expense.cents,
        approved_by,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use stepwell_task::testing;

    fn request(approved_by: &str) -> Request {
        let expense = Expense {
            id: "e-1".into(),
            by: "Grace".into(),
            cents: 500,
        };
        Request {
            expense,
            approved_by: approved_by.into(),
        }
    }

    #[test]
    fn pays_once_approved() {
        assert_eq!(
            pay(request("Ada"), &testing::context()).unwrap().payment,
            "pay-e-1"
        );
    }

    #[test]
    fn nobody_approves_their_own_expense() {
        assert_eq!(
            pay(request("Grace"), &testing::context())
                .unwrap_err()
                .error(),
            "SelfApproval"
        );
    }
}
