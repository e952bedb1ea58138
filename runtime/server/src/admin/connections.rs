//! Connections of HTTP tasks over the wire, in the form that the operator's file has. What it hides: the forms of requests and answers.
//! No answer has a secret of one, and no error repeats a part of a request that may be one.

use serde::{Deserialize, Serialize};
use stepwell_engine::{AllowForm, ConnectionForm, ConnectionSummary, KeptConnection, Role};

use super::{
    Call, json,
    secrets::{Changed, KeptAnswer, Named, PageOf},
};
use crate::{aws::Fault, objects};

/// Request: a connection. The account is the caller's when absent.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Put {
    account: Option<String>,
    name: String,
    connection: ConnectionForm,
    #[serde(default)]
    description: String,
    /// Its rules may name private addresses. It takes an operator.
    #[serde(default)]
    private: bool,
}

/// Wire form of a connection without its secrets; of one that does not open all but its name and dates is empty.
#[derive(Serialize)]
struct ConnectionAnswer {
    #[serde(flatten)]
    kept: KeptAnswer,
    #[serde(skip_serializing_if = "str::is_empty")]
    authorization: &'static str,
    allow: Vec<AllowForm>,
    #[serde(skip_serializing_if = "String::is_empty")]
    description: String,
    private: bool,
}

impl From<ConnectionSummary> for ConnectionAnswer {
    fn from(summary: ConnectionSummary) -> ConnectionAnswer {
        let kept = summary.kept.into();
        match summary.connection {
            Some(KeptConnection {
                form,
                description,
                private,
                shown: _,
            }) => ConnectionAnswer {
                kept,
                authorization: form.kind(),
                allow: form.allow,
                description,
                private,
            },
            None => ConnectionAnswer {
                kept,
                authorization: "",
                allow: Vec::new(),
                description: String::new(),
                private: false,
            },
        }
    }
}

pub(super) async fn put(call: Call<'_>) -> Result<Vec<u8>, Fault> {
    let read = objects::read::<Put>(call.body);
    // What the reader says of a value that is none may repeat it.
    let put = read.map_err(|_| {
        Fault::validation(
            "a connection is put as {\"name\": \"NAME\", \"connection\": {\"allow\": [\"https://…\"], …}}, with \"account\" where it is another's, and what a connection of the file of --connections may have",
        )
    })?;
    let account = call.account(put.account);
    if put.private && call.role() < Role::Operator {
        return Err(Fault::denied(
            "a connection of the store leads to public addresses alone; what may reach private ones is kept by an operator"
                .to_owned(),
        ));
    }
    let connection = KeptConnection {
        form: put.connection,
        description: put.description,
        private: put.private,
        shown: Default::default(),
    };
    let engine = &call.state.engine;
    let change = |_| Ok(connection.clone());
    let change = engine.put_connection(&account, &put.name, change);
    let created = call
        .noted(&account, "stepwell:PutConnection", &put.name, change)
        .await?;
    let hidden = engine.hides_connection(&account, &put.name);
    json(&Changed { created, hidden })
}

pub(super) async fn list(call: Call<'_>) -> Result<Vec<u8>, Fault> {
    let PageOf { account, after } = call.read()?;
    let account = call.account(account);
    let engine = &call.state.engine;
    let page = engine.connections(&account, after.as_deref()).await?;
    let connections: Vec<ConnectionAnswer> = page.items.into_iter().map(Into::into).collect();
    json(&serde_json::json!({"connections": connections, "after": page.after.as_deref()}))
}

pub(super) async fn delete(call: Call<'_>) -> Result<Vec<u8>, Fault> {
    let Named { account, name } = call.read()?;
    let account = call.account(account);
    let change = call.state.engine.delete_connection(&account, &name);
    call.noted(&account, "stepwell:DeleteConnection", &name, change)
        .await?;
    json(&serde_json::json!({}))
}
