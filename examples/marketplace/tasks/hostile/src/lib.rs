//! The task `hostile`: tries what a stranger might try on a host that runs it beside others. Each attack either ends this
//! task or is refused; what one got hold of would be the output.

use serde::Deserialize;
use serde_json::{Value, json};
use std::hint::black_box;
use std::time::Duration;
use stepwell_task::http::{self, HttpError};
use stepwell_task::{Context, TaskError, task};

/// Bytes that a bomb takes at a time.
const BITE_BYTES: usize = 1 << 20;
const TIMEOUT: Duration = Duration::from_secs(5);

/// What to try.
#[derive(Deserialize)]
#[serde(tag = "attack", rename_all = "lowercase")]
pub enum Attack {
    /// Take a processor for ever.
    Loop,
    /// Take all memory.
    Memory,
    /// Read a file of the host or of another tenant.
    Read { path: String },
    /// Read what is in the host's environment.
    Environment,
    /// Reach what only the host can reach.
    Fetch { url: String },
    /// The same, past HTTP.
    Connect { address: String },
}

/// Attacks. Its output is the loot.
///
/// # Errors
/// `NothingThere` and `Refused`, as far as the host lets it live to say so.
#[task]
pub fn hostile(attack: Attack, _: &Context) -> Result<Value, TaskError> {
    match attack {
        Attack::Loop => loop {
            black_box(());
        },
        Attack::Memory => {
            let mut hoard = Vec::new();
            loop {
                hoard.push(black_box(vec![1_u8; BITE_BYTES]));
            }
        }
        Attack::Read { path } => match std::fs::read(&path) {
            Ok(bytes) => Ok(json!(bytes.len())),
            Err(error) => Err(TaskError::new("NothingThere", error.to_string())),
        },
        Attack::Environment => match std::env::vars().next() {
            Some((name, _)) => Ok(json!(name)),
            None => Err(TaskError::new("NothingThere", "no variable")),
        },
        Attack::Fetch { url } => match http::get(url).timeout(TIMEOUT).send() {
            Ok(reply) => Ok(json!(reply.status)),
            Err(HttpError::Denied(what)) => Err(TaskError::new("Refused", what)),
            Err(error) => Err(TaskError::new("NoAnswer", error.to_string())),
        },
        Attack::Connect { address } => match std::net::TcpStream::connect(&address) {
            Ok(_) => Ok(json!("connected")),
            Err(error) => Err(TaskError::new("Refused", error.to_string())),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stepwell_task::testing;

    fn name(attack: Value) -> String {
        let attack = serde_json::from_value(attack).unwrap();
        let error = hostile(attack, &testing::context()).unwrap_err();
        error.error().to_owned()
    }

    #[test]
    fn what_is_refused_is_told_apart_from_what_is_not_there() {
        assert_eq!(
            name(json!({"attack": "read", "path": "/nowhere/at/all"})),
            "NothingThere"
        );
        testing::answer_http(Err(HttpError::Denied("GET".into())));
        let fetch = json!({"attack": "fetch", "url": "http://169.254.169.254/"});
        assert_eq!(name(fetch.clone()), "Refused");
        testing::answer_http(Err(HttpError::Failed("reset".into())));
        assert_eq!(name(fetch), "NoAnswer");
    }
}
