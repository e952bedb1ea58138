//! Triggers beside AWS's APIs for them: one API for all kinds of them, which the command line speaks, the paths of HTTP triggers,
//! and CloudEvents. What it hides: paths and wire forms.

mod cloud;
mod endpoint;
mod own;

pub(crate) use cloud::answer as cloud_events;
pub(crate) use endpoint::{answer as endpoint, is_own_path as is_endpoint};
pub(crate) use own::{answer as own, is_ours};

/// Where CloudEvents are sent to.
pub(crate) const EVENTS_PATH: &str = "/events";

/// Seconds since the Unix epoch as `2026-01-31T12:00:00Z`.
fn iso(at_s: i64) -> String {
    let at = jiff::Timestamp::from_second(at_s).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Milliseconds since the Unix epoch, with three digits below the second.
fn iso_ms(at_ms: u64) -> String {
    let at = i64::try_from(at_ms)
        .ok()
        .and_then(|at| jiff::Timestamp::from_millisecond(at).ok());
    format!("{:.3}", at.unwrap_or(jiff::Timestamp::UNIX_EPOCH))
}
