//! The task `release`: gives reserved stock back. It undoes `reserve`.

use serde::{Deserialize, Serialize};
use stepwell_task::{TaskError, log, task};

/// What `reserve` gave.
#[derive(Deserialize)]
pub struct Reservation {
    id: String,
    articles: u32,
}

/// What is free again.
#[derive(Debug, PartialEq, Serialize)]
pub struct Released {
    reservation: String,
    articles: u32,
}

/// Releases a reservation. Releasing twice is harmless, so the state may retry it as often as it likes.
///
/// # Errors
/// None of its own.
#[task]
pub fn release(reservation: Reservation) -> Result<Released, TaskError> {
    log::info("stock released", &[("reservation", &reservation.id)]);
    Ok(Released {
        reservation: reservation.id,
        articles: reservation.articles,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_everything_back() {
        let released = release(Reservation {
            id: "res-o-1".into(),
            articles: 3,
        })
        .unwrap();
        assert_eq!(
            released,
            Released {
                reservation: "res-o-1".into(),
                articles: 3
            }
        );
    }
}
