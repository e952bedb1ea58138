//! The task `invoice`: writes the invoice of a charged order.

use serde::{Deserialize, Serialize};
use stepwell_task::{TaskError, task};

/// What the state passes in.
#[derive(Deserialize)]
pub struct Request {
    order: String,
    lines: Vec<Line>,
    charge: String,
}

/// A number of articles of one kind.
#[derive(Deserialize)]
pub struct Line {
    sku: String,
    quantity: u32,
    cents: u32,
}

/// An invoice, ready to print.
#[derive(Debug, PartialEq, Serialize)]
pub struct Invoice {
    number: String,
    paid_by: String,
    text: Vec<String>,
}

/// Writes one line of text for each line of the order, and the total.
///
/// # Errors
/// None of its own.
#[task]
pub fn invoice(request: Request) -> Result<Invoice, TaskError> {
    let mut text: Vec<String> = request
        .lines
        .iter()
        .map(|line| {
            format!(
                "{} x {} at {}",
                line.quantity,
                line.sku,
                euros(line.cents.into())
            )
        })
        .collect();
    let total = request
        .lines
        .iter()
        .map(|line| u64::from(line.quantity) * u64::from(line.cents))
        .sum();
    text.push(format!("total {}", euros(total)));
    Ok(Invoice {
        number: format!("INV-{}", request.order),
        paid_by: request.charge,
        text,
    })
}

fn euros(cents: u64) -> String {
    format!("{}.{:02} EUR", cents / 100, cents % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_up() {
        let lines = vec![Line {
            sku: "lamp".into(),
            quantity: 2,
            cents: 1205,
        }];
        let invoice = invoice(Request {
            order: "o-1".into(),
            lines,
            charge: "ch-o-1".into(),
        })
        .unwrap();
        assert_eq!(invoice.text, ["2 x lamp at 12.05 EUR", "total 24.10 EUR"]);
    }
}
