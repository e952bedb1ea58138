//! The task `ship`: hands a parcel to the carrier.

use serde::{Deserialize, Serialize};
use stepwell_task::{TaskError, heartbeat, log, task};

/// Most articles in one parcel.
const ARTICLES_A_PARCEL: u32 = 5;

/// What the state passes in.
#[derive(Deserialize)]
pub struct Request {
    order: String,
    articles: u32,
    warehouse: String,
}

/// What the carrier took.
#[derive(Debug, PartialEq, Serialize)]
pub struct Shipment {
    carrier: String,
    from: String,
    tracking: Vec<String>,
}

/// Ships an order in as many parcels as it needs.
///
/// # Errors
/// `Cancelled` when the execution is stopped between two parcels.
#[task]
pub fn ship(request: Request) -> Result<Shipment, TaskError> {
    let parcels = request.articles.div_ceil(ARTICLES_A_PARCEL);
    let mut tracking = Vec::new();
    for parcel in 1..=parcels {
        heartbeat(format!("parcel {parcel} of {parcels}"))?;
        tracking.push(format!("SW-{}-{parcel}", request.order));
    }
    log::info(
        "handed over",
        &[("order", &request.order), ("parcels", &parcels)],
    );
    Ok(Shipment {
        carrier: "Tortoise Express".into(),
        from: request.warehouse,
        tracking,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use stepwell_task::{Cancelled, testing};

    fn request(articles: u32) -> Request {
        Request {
            order: "o-1".into(),
            articles,
            warehouse: "north".into(),
        }
    }

    #[test]
    fn many_articles_go_in_several_parcels() {
        assert_eq!(ship(request(6)).unwrap().tracking, ["SW-o-1-1", "SW-o-1-2"]);
        assert_eq!(
            testing::take_heartbeats(),
            ["parcel 1 of 2", "parcel 2 of 2"]
        );
    }

    #[test]
    fn a_stop_ends_it() {
        testing::cancel(Cancelled::Stopped);
        assert_eq!(ship(request(1)).unwrap_err().error(), "Cancelled");
    }
}
