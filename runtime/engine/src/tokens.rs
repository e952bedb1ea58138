//! Answers to task tokens. Hides that an answer is a message to the token's execution, decided for good by the
//! conditional deletion of the token's row.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use stepwell_interp::{Input, TaskToken};
use stepwell_query::Value;

use crate::{
    api::Caller,
    engine::Engine,
    error::{Code, Error},
    executions::refusal,
    journal::{OpenTask, Outgoing, Refused, TokenHash, Write},
    limits::{PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MAX_RAISED, TOKEN_CHARS},
    reader,
    record::{self, Answer, InboxItem, Meta, TaskKey},
    shard::In,
};

impl Engine {
    /// SendTaskSuccess: `output` is JSON text. Durable when it answers.
    pub async fn send_task_success(
        &self,
        caller: &Caller,
        token: &str,
        output: &str,
    ) -> Result<(), Error> {
        // A text that was never a token is told before what is wrong with the output.
        check_token(token)?;
        let most = if self.raised_limits(&caller.tenant) {
            PAYLOAD_BYTES_MAX_RAISED
        } else {
            PAYLOAD_BYTES_MAX
        };
        if output.len() > most {
            return Err(Error::rejected(
                Code::InvalidOutput,
                format!("Invalid Output: 'Output exceeds the maximum of {most} bytes'"),
            ));
        }
        let output = Value::parse(output).map_err(|error| {
            Error::rejected(
                Code::InvalidOutput,
                format!("Invalid Output: '{}'", error.message),
            )
        })?;
        self.answer(caller, token, Answer::Success { output }).await
    }

    /// SendTaskFailure. Durable when it answers.
    pub async fn send_task_failure(
        &self,
        caller: &Caller,
        token: &str,
        error: Option<String>,
        cause: Option<String>,
    ) -> Result<(), Error> {
        let answer = Answer::Failure {
            error: error.map(Into::into),
            cause: cause.map(Into::into),
        };
        self.answer(caller, token, answer).await
    }

    /// SendTaskHeartbeat: moves the deadline; no history.
    pub async fn send_task_heartbeat(&self, caller: &Caller, token: &str) -> Result<(), Error> {
        let open = self.open_task(caller, token).await?;
        let key: TaskKey = record::decode(&open.task)?;
        self.node().send(
            open.execution,
            In::Heartbeat {
                execution: open.execution,
                input: Input::Heartbeat { task: key.into() },
            },
        )
    }

    async fn answer(&self, caller: &Caller, token: &str, answer: Answer) -> Result<(), Error> {
        let open = self.open_task(caller, token).await?;
        let key: TaskKey = record::decode(&open.task)?;
        let item = InboxItem::Answer {
            entry: key.entry,
            attempt: key.attempt,
            answer,
        };
        let payload = record::encode(&item);
        let message = Outgoing {
            to: open.execution,
            payload: payload.clone(),
        };
        match self
            .verdict(Write::Answer {
                token: open.token,
                message,
            })
            .await?
        {
            Err(Refused::TokenGone) => Err(timed_out()),
            Err(refused) => Err(refusal(refused)),
            landed @ Ok(_) => self.announce(landed, open.execution, payload),
        }
    }

    /// The open task of a token of the caller's tenant.
    async fn open_task(&self, caller: &Caller, token: &str) -> Result<OpenTask, Error> {
        check_token(token)?;
        let hash = hash(&TaskToken(Arc::from(token)));
        let journal = &self.node().journal;
        let open = journal
            .open_task(hash)
            .await
            .map_err(reader::broken)?
            .ok_or_else(timed_out)?;
        let row = journal
            .execution(open.execution)
            .await
            .map_err(reader::broken)?
            .ok_or_else(timed_out)?;
        let meta: Meta = record::decode(&row.new.meta)?;
        // Another tenant's token is as good as none.
        if meta.tenant != caller.tenant {
            return Err(timed_out());
        }
        Ok(open)
    }
}

/// The row key of a token: its SHA-256.
pub(crate) fn hash(token: &TaskToken) -> TokenHash {
    TokenHash(Sha256::digest(token.0.as_bytes()).into())
}

/// Tells what was never a token from one that is no longer open.
fn check_token(token: &str) -> Result<(), Error> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if token.len() == TOKEN_CHARS && token.bytes().all(plain) {
        return Ok(());
    }
    Err(Error::rejected(
        Code::InvalidToken,
        "Invalid Token: 'Invalid token'",
    ))
}

fn timed_out() -> Error {
    Error::rejected(
        Code::TaskTimedOut,
        "Task Timed Out: 'Provided task does not exist anymore'",
    )
}
