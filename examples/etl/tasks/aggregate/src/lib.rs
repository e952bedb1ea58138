//! The task `aggregate`: sums sales by shop and month.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use stepwell_task::{TaskError, log, task};

/// What the state passes in.
#[derive(Deserialize)]
pub struct Request {
    sales: Vec<Sale>,
}

/// A sale; other fields of it do not matter here.
#[derive(Deserialize)]
pub struct Sale {
    month: String,
    shop: String,
    product: String,
    quantity: u32,
    cents: u32,
}

/// Sums by shop and month, both in order, and over all.
#[derive(Debug, PartialEq, Serialize)]
pub struct Totals {
    groups: Vec<Group>,
    sum: Sum,
}

/// The sales of all.
#[derive(Debug, PartialEq, Serialize)]
pub struct Sum {
    articles: u64,
    cents: u64,
}

/// The sales of one shop in one month.
#[derive(Debug, PartialEq, Serialize)]
pub struct Group {
    shop: String,
    month: String,
    articles: u64,
    cents: u64,
    /// The product with the largest turnover.
    best: String,
}

#[derive(Default)]
struct Gathered {
    articles: u64,
    cents: u64,
    by_product: BTreeMap<String, u64>,
}

/// Sums up. No sales are no groups.
///
/// # Errors
/// None of its own.
#[task]
pub fn aggregate(request: Request) -> Result<Totals, TaskError> {
    let mut sums: BTreeMap<(String, String), Gathered> = BTreeMap::new();
    for sale in request.sales {
        let sum = sums.entry((sale.shop, sale.month)).or_default();
        let quantity = u64::from(sale.quantity);
        let turnover = quantity * u64::from(sale.cents);
        sum.articles += quantity;
        sum.cents += turnover;
        *sum.by_product.entry(sale.product).or_default() += turnover;
    }
    let groups: Vec<Group> = sums
        .into_iter()
        .map(|((shop, month), sum)| group(shop, month, sum))
        .collect();
    log::info("summed", &[("groups", &groups.len())]);
    let articles = groups.iter().map(|group| group.articles).sum();
    let cents = groups.iter().map(|group| group.cents).sum();
    Ok(Totals {
        groups,
        sum: Sum { articles, cents },
    })
}

fn group(shop: String, month: String, sum: Gathered) -> Group {
    let best = sum
        .by_product
        .into_iter()
        .max_by_key(|(_, cents)| *cents)
        .map(|(product, _)| product);
    Group {
        shop,
        month,
        articles: sum.articles,
        cents: sum.cents,
        best: best.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sale(shop: &str, product: &str, quantity: u32, cents: u32) -> Sale {
        Sale {
            month: "2026-03".into(),
            shop: shop.into(),
            product: product.into(),
            quantity,
            cents,
        }
    }

    #[test]
    fn groups_are_summed_and_ordered() {
        let sales = vec![
            sale("Oslo", "lamp", 2, 100),
            sale("Bergen", "desk", 1, 900),
            sale("Oslo", "chair", 1, 300),
        ];
        let totals = aggregate(Request { sales }).unwrap();
        assert_eq!((totals.sum.articles, totals.sum.cents), (4, 1400));
        assert_eq!(totals.groups[0].shop, "Bergen");
        assert_eq!(
            (totals.groups[1].cents, totals.groups[1].best.as_str()),
            (500, "chair")
        );
    }

    #[test]
    fn nothing_is_nothing() {
        assert_eq!(
            aggregate(Request { sales: vec![] }).unwrap(),
            Totals {
                groups: vec![],
                sum: Sum {
                    articles: 0,
                    cents: 0
                }
            }
        );
    }
}
