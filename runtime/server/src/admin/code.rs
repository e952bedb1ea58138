//! What becomes of uploaded code, over the wire: what an upload waits for, and the collection of code that no function has.
//! What it hides: the wire forms.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use stepwell_engine::{CodeCollection, CollectedCode};

use super::{Call, json};
use crate::aws::Fault;

/// Request: of all accounts, since code is kept once for all.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Asked {
    #[serde(default)]
    dry_run: bool,
    /// A minute at least where executions run.
    grace_seconds: Option<u64>,
}

/// Wire form of the answer.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    code: Vec<Code>,
    /// That the accounts of this answer no longer pay for.
    bytes: u64,
    /// Unused code that stays for its grace time.
    waiting: u64,
    /// Whether another call finds more.
    more: bool,
    /// What counted, which may be more than was asked for.
    grace_seconds: u64,
}

/// Wire form of code that no function of the account has.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Code {
    account: String,
    sha256: String,
    bytes: u64,
    /// Seconds since 1970.
    idle_since: f64,
    /// Whether it is out of the store: no other account has it.
    removed: bool,
}

pub(super) async fn collect(call: Call<'_>) -> Result<Vec<u8>, Fault> {
    let Asked {
        dry_run,
        grace_seconds,
    } = call.read()?;
    let usual = CodeCollection::default();
    let how = CodeCollection {
        grace: grace_seconds.map_or(usual.grace, Duration::from_secs),
        dry_run,
    };
    let CollectedCode {
        codes,
        waiting,
        more,
        grace,
    } = call.state.engine.collect_code(how).await?;
    let code: Vec<Code> = codes
        .into_iter()
        .map(|code| Code {
            account: code.tenant.to_string(),
            sha256: code.sha256,
            bytes: code.bytes,
            idle_since: code.idle_since.0 as f64 / 1_000.0,
            removed: code.removed,
        })
        .collect();
    json(&Answer {
        bytes: code.iter().map(|code| code.bytes).sum(),
        code,
        waiting,
        more,
        grace_seconds: grace.as_secs(),
    })
}

/// Request: an upload that is under way.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct AskedUpload {
    function_name: String,
}

/// Wire form of what it is at.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Upload {
    /// For people; absent when there is none under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    waits_for: Option<String>,
}

pub(super) async fn upload(call: Call<'_>) -> Result<Vec<u8>, Fault> {
    let AskedUpload { function_name } = call.read()?;
    let engine = &call.state.engine;
    json(&Upload {
        waits_for: engine.upload_waits_for(&call.caller, &function_name),
    })
}
