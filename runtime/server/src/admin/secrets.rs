//! Secrets of tasks over the wire. What it hides: the forms of requests and answers. No answer has a secret's value, and no error
//! repeats a part of a request that may be one.

use serde::{Deserialize, Serialize};
use stepwell_engine::{Kept, WhyClosed};

use super::{Call, json};
use crate::{
    aws::{Fault, Seconds},
    objects,
};

/// Request: a secret. The account is the caller's when absent.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Put {
    account: Option<String>,
    name: String,
    value: String,
}

/// Request: one of an account's, by its name.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Named {
    pub(super) account: Option<String>,
    pub(super) name: String,
}

/// Request: a page of what an account has.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PageOf {
    pub(super) account: Option<String>,
    /// Where the page before ended.
    pub(super) after: Option<String>,
}

/// Wire form of what became of a change.
#[derive(Serialize)]
pub(super) struct Changed {
    /// Whether there was none of that name before.
    pub(super) created: bool,
    /// Whether the operator's own file has one of that name, which counts before this one.
    pub(super) hidden: bool,
}

/// Wire form of one without its content.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct KeptAnswer {
    name: String,
    creation_date: Seconds,
    last_modified_date: Seconds,
    hidden: bool,
    opens: bool,
    /// Why it does not: the key that sealed it is not there, it was changed since, or its form is of another version.
    #[serde(skip_serializing_if = "Option::is_none")]
    closed: Option<&'static str>,
}

impl From<Kept> for KeptAnswer {
    fn from(kept: Kept) -> KeptAnswer {
        KeptAnswer {
            name: kept.name.to_string(),
            creation_date: Seconds(kept.created_at.0),
            last_modified_date: Seconds(kept.changed_at.0),
            hidden: kept.hidden,
            opens: kept.closed.is_none(),
            closed: kept.closed.map(WhyClosed::name),
        }
    }
}

pub(super) async fn put(call: Call<'_>) -> Result<Vec<u8>, Fault> {
    let read = objects::read::<Put>(call.body);
    // What the reader says of a value that is none may repeat it.
    let Put {
        account,
        name,
        value,
    } = read.map_err(|_| {
        Fault::validation(
            "a secret is put as {\"name\": \"NAME\", \"value\": \"TEXT\"}, with \"account\" where it is another's",
        )
    })?;
    let account = call.account(account);
    let engine = &call.state.engine;
    let change = engine.put_secret(&account, &name, &value);
    let created = call
        .noted(&account, "stepwell:PutSecret", &name, change)
        .await?;
    let hidden = engine.hides_secret(&account, &name);
    json(&Changed { created, hidden })
}

pub(super) async fn list(call: Call<'_>) -> Result<Vec<u8>, Fault> {
    let PageOf { account, after } = call.read()?;
    let account = call.account(account);
    let page = call
        .state
        .engine
        .secrets(&account, after.as_deref())
        .await?;
    let secrets: Vec<KeptAnswer> = page.items.into_iter().map(Into::into).collect();
    json(&serde_json::json!({"secrets": secrets, "after": page.after.as_deref()}))
}

pub(super) async fn delete(call: Call<'_>) -> Result<Vec<u8>, Fault> {
    let Named { account, name } = call.read()?;
    let account = call.account(account);
    let change = call.state.engine.delete_secret(&account, &name);
    call.noted(&account, "stepwell:DeleteSecret", &name, change)
        .await?;
    json(&serde_json::json!({}))
}
