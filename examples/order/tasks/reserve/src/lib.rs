//! The task `reserve`: sets articles of a warehouse aside for an order.

use serde::{Deserialize, Serialize};
use stepwell_task::{TaskError, config, log, task};

/// What the state passes in.
#[derive(Deserialize)]
pub struct Request {
    order: String,
    lines: Vec<Line>,
}

/// A number of articles of one kind.
#[derive(Deserialize)]
pub struct Line {
    sku: String,
    quantity: u32,
}

/// What was set aside, and where.
#[derive(Debug, PartialEq, Serialize)]
pub struct Reservation {
    id: String,
    warehouse: String,
    articles: u32,
}

/// Reserves every line of the order, or nothing. The stock is the plugin's configuration: `stock = "lamp=4 desk=1"`.
///
/// # Errors
/// `OutOfStock` names the first article that is missing, `NotConfigured` what the manifest lacks.
#[task]
pub fn reserve(request: Request) -> Result<Reservation, TaskError> {
    let warehouse = setting("warehouse")?;
    let stock = setting("stock")?;
    for line in &request.lines {
        let left = on_stock(&stock, &line.sku);
        if left < line.quantity {
            let cause = format!(
                "{} {} ordered, {left} on stock in {warehouse}",
                line.quantity, line.sku
            );
            return Err(TaskError::new("OutOfStock", cause));
        }
    }
    let articles = request.lines.iter().map(|line| line.quantity).sum();
    log::info(
        "stock reserved",
        &[("order", &request.order), ("articles", &articles)],
    );
    Ok(Reservation {
        id: format!("res-{}", request.order),
        warehouse,
        articles,
    })
}

fn setting(key: &str) -> Result<String, TaskError> {
    config::get(key).ok_or_else(|| {
        TaskError::new(
            "NotConfigured",
            format!("set `{key}` under [grants].config in plugin.toml"),
        )
    })
}

/// The number behind `sku=` in a list such as `lamp=4 desk=1`; 0 for an article that is not in it.
fn on_stock(stock: &str, sku: &str) -> u32 {
    stock
        .split_whitespace()
        .filter_map(|entry| entry.split_once('='))
        .find(|(name, _)| *name == sku)
        .and_then(|(_, count)| count.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use stepwell_task::testing;

    fn request(quantity: u32) -> Request {
        testing::set_config("warehouse", "north");
        testing::set_config("stock", "lamp=4 desk=1");
        Request {
            order: "o-1".into(),
            lines: vec![Line {
                sku: "lamp".into(),
                quantity,
            }],
        }
    }

    #[test]
    fn takes_what_is_there() {
        let reservation = reserve(request(4)).unwrap();
        assert_eq!(
            reservation,
            Reservation {
                id: "res-o-1".into(),
                warehouse: "north".into(),
                articles: 4
            }
        );
    }

    #[test]
    fn says_what_is_missing() {
        let error = reserve(request(5)).unwrap_err();
        assert_eq!(
            (error.error(), error.cause()),
            ("OutOfStock", "5 lamp ordered, 4 on stock in north")
        );
    }

    #[test]
    fn an_unknown_article_is_out_of_stock() {
        assert_eq!(on_stock("lamp=4", "sofa"), 0);
    }
}
