//! One case: its names, its calls, and what they have to answer. Hides how names are put in and answers waited for.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use aws_sdk_sfn::Client;
use serde_json::{Map, Value, json};

use crate::{
    calls::{self, Refusal},
    matching::matches,
};

/// How long an answer is waited for, and between two looks.
const UNTIL_MAX: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(40);

pub(crate) struct Case<'a> {
    client: &'a Client,
    known: BTreeMap<String, String>,
}

impl<'a> Case<'a> {
    pub(crate) fn new(client: &'a Client, account: &str, unique: &str) -> Case<'a> {
        let role = format!("arn:aws:iam::{account}:role/tests");
        let known = [("account", account), ("role", &role), ("unique", unique)];
        Case {
            client,
            known: known
                .into_iter()
                .map(|(name, text)| (name.to_owned(), text.to_owned()))
                .collect(),
        }
    }

    /// Makes the calls in order, and writes down the operations.
    pub(crate) async fn run(&mut self, case: &Value, called: &mut BTreeSet<String>) -> Result<()> {
        let steps = case["steps"].as_array().context("no steps")?;
        for (number, step) in steps.iter().enumerate() {
            let operation = step["call"].as_str().context("a step without a call")?;
            called.insert(operation.to_owned());
            self.step(operation, step)
                .await
                .with_context(|| format!("step {}, {operation}", number + 1))?;
        }
        Ok(())
    }

    async fn step(&mut self, operation: &str, step: &Value) -> Result<()> {
        let request = self.filled(&step["with"], Side::Request)?;
        if let Some(refused) = step.get("refused") {
            return self.refused(operation, &request, refused).await;
        }
        let wanted = step.get("until").or_else(|| step.get("answer"));
        let wanted = self.filled(wanted.unwrap_or(&json!({})), Side::Answer)?;
        let begun = Instant::now();
        let answer = loop {
            let answer = self.answer(operation, step, &request).await?;
            match matches(&answer, &wanted, "answer") {
                Ok(()) => break answer,
                Err(error) if step.get("until").is_none() || begun.elapsed() > UNTIL_MAX => {
                    return Err(error);
                }
                Err(_) => tokio::time::sleep(LOOK).await,
            }
        };
        for (name, path) in step["keep"].as_object().into_iter().flatten() {
            let path = path.as_str().context("a path")?;
            let text = at(&answer, path)?;
            self.known.insert(name.clone(), text);
        }
        Ok(())
    }

    async fn answer(&self, operation: &str, step: &Value, request: &Value) -> Result<Value> {
        let pages = &step["pages"];
        if pages.is_null() {
            return Ok(calls::call(self.client, operation, request).await?);
        }
        let of = pages["of"].as_str().context("the list of pages")?;
        let size = pages["size"].as_i64().context("the size of pages")?;
        let pages = calls::pages(self.client, operation, request, size.try_into()?).await?;
        let count = pages.len();
        let mut items = Vec::new();
        for mut page in pages {
            match page[of].take() {
                Value::Array(more) => items.extend(more),
                other => bail!("{of} is {other}"),
            }
        }
        Ok(json!({ "items": items, "pages": count }))
    }

    /// The SDK has to know the error as a variant of its own, where its model has one.
    async fn refused(&self, operation: &str, request: &Value, expected: &Value) -> Result<()> {
        let code = expected.as_str().or_else(|| expected["code"].as_str());
        let code = code.context("a code")?;
        let refusal = match calls::call(self.client, operation, request).await {
            Ok(answer) => bail!("{code} is expected, not {answer}"),
            Err(refusal) => refusal,
        };
        let Refusal::Service(told) = refusal else {
            bail!("{code} is expected, not {refusal}");
        };
        ensure!(told.code == code, "{code} is expected, not {told}");
        ensure!(
            told.variant == code || expected["modelled"] == false,
            "{code} came as the variant {}",
            told.variant
        );
        ensure!(told.status == 400, "{code} came with HTTP {}", told.status);
        ensure!(told.has_request_id, "{code} came without a request id");
        if let Some(message) = expected["message"].as_str() {
            let message = self.text(message)?;
            ensure!(
                told.message == message,
                "`{message}` is expected, not {told}"
            );
        }
        Ok(())
    }

    /// What is told with names put in; in requests `{"json": …}` is the text of that JSON.
    fn filled(&self, value: &Value, side: Side) -> Result<Value> {
        Ok(match value {
            Value::String(text) => Value::String(self.text(text)?),
            Value::Array(items) => {
                let items = items.iter().map(|item| self.filled(item, side));
                Value::Array(items.collect::<Result<_>>()?)
            }
            Value::Object(members) => {
                let members = members
                    .iter()
                    .map(|(name, inner)| Ok((name.clone(), self.filled(inner, side)?)));
                let members: Map<String, Value> = members.collect::<Result<_>>()?;
                match members.get("json") {
                    Some(inner) if side == Side::Request && members.len() == 1 => {
                        Value::String(inner.to_string())
                    }
                    Some(_) | None => Value::Object(members),
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        })
    }

    /// `{name}` is what was kept under the name.
    fn text(&self, text: &str) -> Result<String> {
        let mut filled = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            filled.push_str(before);
            match after.split_once('}') {
                Some((name, more)) if is_name(name) => {
                    let known = self.known.get(name);
                    filled.push_str(known.with_context(|| format!("no step has kept {name}"))?);
                    rest = more;
                }
                Some(_) | None => {
                    filled.push('{');
                    rest = after;
                }
            }
        }
        filled.push_str(rest);
        Ok(filled)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Request,
    Answer,
}

fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.chars().all(|char| char.is_ascii_alphanumeric())
}

/// A text within an answer; `json` on the way reads a text as JSON.
fn at(answer: &Value, path: &str) -> Result<String> {
    let mut found = answer.clone();
    for key in path.split('.') {
        found = match (&found, key.parse::<usize>()) {
            (Value::String(text), _) if key == "json" => serde_json::from_str(text)?,
            (Value::Array(items), Ok(index)) => items.get(index).cloned().unwrap_or_default(),
            _ => found[key].clone(),
        };
    }
    let text = found.as_str().map(str::to_owned);
    text.with_context(|| format!("{path} is no text in {answer}"))
}
