//! How values of one kind lie: their median and what one in a hundred exceeds.

/// See the module.
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) p99: f64,
}

impl Spread {
    pub(crate) fn of(mut values: Vec<f64>) -> Spread {
        values.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let index = (values.len() as f64 * share) as usize;
            values.get(index).copied().unwrap_or(f64::NAN)
        };
        Spread {
            median: at(0.5),
            p99: at(0.99),
        }
    }
}
