//! The task `appraise`: says whether the price of a listing is fair, by what comparable ones cost. The honest tenant's.

use serde::{Deserialize, Serialize};
use stepwell_task::{Context, TaskError, log, task};

/// A price that is further from the median than this many percent is not fair.
const FAIR_PERCENT: u64 = 25;

/// What is offered.
#[derive(Deserialize)]
pub struct Listing {
    title: String,
    cents: u64,
    comparable: Vec<u64>,
}

/// What is said of it.
#[derive(Debug, PartialEq, Serialize)]
pub struct Appraisal {
    title: String,
    median: u64,
    verdict: &'static str,
}

/// Appraises a listing.
///
/// # Errors
/// `NothingToCompare`: nobody sells anything like it.
#[task]
pub fn appraise(listing: Listing, _: &Context) -> Result<Appraisal, TaskError> {
    let mut prices = listing.comparable;
    prices.sort_unstable();
    let Some(median) = prices.get(prices.len() / 2).copied() else {
        let cause = format!("nobody sells anything like `{}`", listing.title);
        return Err(TaskError::new("NothingToCompare", cause));
    };
    let margin = median * FAIR_PERCENT / 100;
    let verdict = match listing.cents {
        cents if cents > median + margin => "dear",
        cents if cents + margin < median => "a bargain",
        _ => "fair",
    };
    log::info("appraised", &[("median", &median), ("verdict", &verdict)]);
    Ok(Appraisal {
        title: listing.title,
        median,
        verdict,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use stepwell_task::testing;

    fn verdict(cents: u64) -> &'static str {
        let listing = Listing {
            title: "lamp".into(),
            cents,
            comparable: vec![1200, 1000, 900],
        };
        appraise(listing, &testing::context()).unwrap().verdict
    }

    #[test]
    fn a_quarter_more_or_less_is_fair() {
        assert_eq!([750, 1000, 1250].map(verdict), ["fair"; 3]);
        assert_eq!([749, 1251].map(verdict), ["a bargain", "dear"]);
    }

    #[test]
    fn without_others_there_is_no_price() {
        let listing = Listing {
            title: "moon".into(),
            cents: 1,
            comparable: vec![],
        };
        let error = appraise(listing, &testing::context()).unwrap_err();
        assert_eq!(error.error(), "NothingToCompare");
    }
}
