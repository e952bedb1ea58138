//! The task `transform`: one row of text becomes one sale, or a reason why not.

use serde::{Deserialize, Serialize};
use stepwell_task::{TaskError, task};

/// What the iteration passes in.
#[derive(Deserialize)]
pub struct Item {
    /// Position in the file, counted from 1.
    line: u32,
    row: Row,
}

/// A row as the file has it.
#[derive(Deserialize)]
pub struct Row {
    date: String,
    shop: String,
    product: String,
    quantity: String,
    price: String,
}

/// A sale.
#[derive(Debug, PartialEq, Serialize)]
pub struct Sale {
    ok: bool,
    month: String,
    shop: String,
    product: String,
    quantity: u32,
    cents: u32,
}

/// Checks and types a row.
///
/// # Errors
/// `BadRow` with the line and the field at fault.
#[task]
pub fn transform(item: Item) -> Result<Sale, TaskError> {
    let Item { line, row } = item;
    let bad = |field: &str, value: &str| {
        TaskError::new("BadRow", format!("line {line}: {field} `{value}`"))
    };
    Ok(Sale {
        ok: true,
        month: month(&row.date).ok_or_else(|| bad("date", &row.date))?,
        quantity: row
            .quantity
            .trim()
            .parse()
            .map_err(|_| bad("quantity", &row.quantity))?,
        cents: cents(&row.price).ok_or_else(|| bad("price", &row.price))?,
        shop: row.shop.trim().to_owned(),
        product: row.product.trim().to_lowercase(),
    })
}

/// `2026-03` of `2026-03-14`.
fn month(date: &str) -> Option<String> {
    let parts: Vec<&str> = date.trim().split('-').collect();
    let [year, month, day] = parts.as_slice() else {
        return None;
    };
    let in_range = |text: &str, digits: usize, max: u32| {
        text.len() == digits
            && text
                .parse()
                .is_ok_and(|number: u32| (1..=max).contains(&number))
    };
    (in_range(year, 4, 9999) && in_range(month, 2, 12) && in_range(day, 2, 31))
        .then(|| format!("{year}-{month}"))
}

/// `1250` of `12.50` or `12.5`; of `12`, `1200`.
fn cents(price: &str) -> Option<u32> {
    let (whole, part) = price.trim().split_once('.').unwrap_or((price.trim(), "0"));
    let part: u32 = match part.len() {
        1 => part.parse::<u32>().ok()? * 10,
        2 => part.parse().ok()?,
        _ => return None,
    };
    whole
        .parse::<u32>()
        .ok()?
        .checked_mul(100)?
        .checked_add(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sale(date: &str, quantity: &str, price: &str) -> Result<Sale, TaskError> {
        let row = Row {
            date: date.into(),
            shop: " Oslo".into(),
            product: "Lamp".into(),
            quantity: quantity.into(),
            price: price.into(),
        };
        transform(Item { line: 7, row })
    }

    #[test]
    fn a_good_row_is_typed() {
        let sale = sale("2026-03-14", "2", "12.5").unwrap();
        assert_eq!(
            (sale.month.as_str(), sale.quantity, sale.cents),
            ("2026-03", 2, 1250)
        );
        assert_eq!(
            (sale.shop.as_str(), sale.product.as_str()),
            ("Oslo", "lamp")
        );
    }

    #[test]
    fn a_bad_row_says_where_and_why() {
        assert_eq!(
            sale("14.3.2026", "2", "1").unwrap_err().cause(),
            "line 7: date `14.3.2026`"
        );
        assert_eq!(
            sale("2026-03-14", "two", "1").unwrap_err().cause(),
            "line 7: quantity `two`"
        );
        assert_eq!(
            sale("2026-03-14", "2", "free").unwrap_err().cause(),
            "line 7: price `free`"
        );
    }

    #[test]
    fn prices_are_exact() {
        assert_eq!(cents("12"), Some(1200));
        assert_eq!(cents("0.05"), Some(5));
        assert_eq!(cents("1.234"), None);
        assert_eq!(cents("-1"), None);
    }
}
