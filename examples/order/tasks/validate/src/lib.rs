//! The task `validate`: an order as the shop sends it becomes an order that can be charged.

use serde::{Deserialize, Serialize};
use stepwell_task::{TaskError, log, task};

/// Most articles of one kind in one order.
const QUANTITY_MAX: u32 = 100;

/// What the shop sends. Fields that only later states need pass through untouched in the execution's input.
#[derive(Deserialize)]
pub struct Order {
    id: String,
    customer: Customer,
    lines: Vec<Line>,
}

/// Who orders.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct Customer {
    name: String,
    email: String,
}

/// A number of articles of one kind.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct Line {
    sku: String,
    quantity: u32,
    /// Price of one article.
    cents: u32,
}

/// An order that can be charged.
#[derive(Debug, PartialEq, Serialize)]
pub struct Checked {
    id: String,
    customer: Customer,
    lines: Vec<Line>,
    total_cents: u64,
}

/// Checks an order and works out its total.
///
/// # Errors
/// `InvalidOrder` with all that is wrong with it.
#[task]
pub fn validate(order: Order) -> Result<Checked, TaskError> {
    let problems = problems(&order);
    if !problems.is_empty() {
        return Err(TaskError::new("InvalidOrder", problems.join("; ")));
    }
    let total_cents = order
        .lines
        .iter()
        .map(|line| u64::from(line.quantity) * u64::from(line.cents))
        .sum();
    log::info(
        "order checked",
        &[("order", &order.id), ("total_cents", &total_cents)],
    );
    Ok(Checked {
        id: order.id,
        customer: order.customer,
        lines: order.lines,
        total_cents,
    })
}

fn problems(order: &Order) -> Vec<String> {
    let mut problems = Vec::new();
    if !order.customer.email.contains('@') {
        problems.push(format!("`{}` is no e-mail address", order.customer.email));
    }
    if order.lines.is_empty() {
        problems.push("there is nothing in it".to_owned());
    }
    for line in &order.lines {
        if !(1..=QUANTITY_MAX).contains(&line.quantity) {
            problems.push(format!(
                "{} of {}: a quantity is 1 to {QUANTITY_MAX}",
                line.quantity, line.sku
            ));
        }
        if line.cents > 10_000_000 {
            problems.push(format!(
                "{} costs more than anything that is sold here",
                line.sku
            ));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(email: &str, quantity: u32) -> Order {
        Order {
            id: "o-1".into(),
            customer: Customer {
                name: "Ada".into(),
                email: email.into(),
            },
            lines: vec![
                Line {
                    sku: "lamp".into(),
                    quantity,
                    cents: 1250,
                },
                Line {
                    sku: "desk".into(),
                    quantity: 1,
                    cents: 20_000,
                },
            ],
        }
    }

    #[test]
    fn totals_are_summed() {
        assert_eq!(
            validate(order("ada@example.com", 2)).unwrap().total_cents,
            22_500
        );
    }

    #[test]
    fn all_problems_are_named_at_once() {
        let error = validate(order("nobody", 0)).unwrap_err();
        assert_eq!(error.error(), "InvalidOrder");
        assert_eq!(
            error.cause(),
            "`nobody` is no e-mail address; 0 of lamp: a quantity is 1 to 100"
        );
    }
}
