//! The task `charge`: takes the money. The card's number decides what the payment gateway does, as with the test cards
//! of payment providers.

use serde::{Deserialize, Serialize};
use stepwell_task::{Context, TaskError, log, task};

/// A card with this ending is always declined.
const DECLINED: &str = "0002";
/// With this one the gateway is busy at first.
const BUSY: &str = "0119";
/// Attempts that a busy gateway turns away.
const BUSY_ATTEMPTS: u32 = 2;

/// What the state passes in.
#[derive(Deserialize)]
pub struct Payment {
    order: String,
    cents: u64,
    card: String,
}

/// Proof of the charge.
#[derive(Debug, PartialEq, Serialize)]
pub struct Receipt {
    charge: String,
    cents: u64,
    /// The last four digits.
    card: String,
    attempts: u32,
}

/// Charges a card.
///
/// # Errors
/// `GatewayBusy` is worth another try; `CardDeclined` is final.
#[task]
pub fn charge(payment: Payment, ctx: &Context) -> Result<Receipt, TaskError> {
    // A real gateway takes this key and so recognises a request that comes twice.
    log::info(
        "charging",
        &[
            ("order", &payment.order),
            ("idempotency_key", &ctx.idempotency_key),
        ],
    );
    let card = last_four(&payment.card);
    if card == DECLINED {
        return Err(TaskError::new(
            "CardDeclined",
            format!("the bank declined the card ending in {card}"),
        ));
    }
    if card == BUSY && ctx.attempt <= BUSY_ATTEMPTS {
        return Err(TaskError::new(
            "GatewayBusy",
            format!("no answer at attempt {}", ctx.attempt),
        ));
    }
    Ok(Receipt {
        charge: format!("ch-{}", payment.order),
        cents: payment.cents,
        card,
        attempts: ctx.attempt,
    })
}

fn last_four(card: &str) -> String {
    let digits: Vec<char> = card.chars().filter(char::is_ascii_digit).collect();
    digits[digits.len().saturating_sub(4)..].iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use stepwell_task::testing;

    fn charged(card: &str, attempt: u32) -> Result<Receipt, TaskError> {
        let mut context = testing::context();
        context.attempt = attempt;
        charge(
            Payment {
                order: "o-1".into(),
                cents: 100,
                card: card.into(),
            },
            &context,
        )
    }

    #[test]
    fn a_good_card_is_charged_at_once() {
        let receipt = charged("4242 4242 4242 4242", 1).unwrap();
        assert_eq!((receipt.card.as_str(), receipt.attempts), ("4242", 1));
    }

    #[test]
    fn a_busy_gateway_answers_the_third_time() {
        let card = "4000 0000 0000 0119";
        assert_eq!(charged(card, 1).unwrap_err().error(), "GatewayBusy");
        assert_eq!(charged(card, 2).unwrap_err().error(), "GatewayBusy");
        assert_eq!(charged(card, 3).unwrap().attempts, 3);
    }

    #[test]
    fn a_declined_card_stays_declined() {
        assert_eq!(
            charged("4000-0000-0000-0002", 9).unwrap_err().error(),
            "CardDeclined"
        );
    }
}
