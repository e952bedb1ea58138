//! What people call a state machine or an execution, and its ARN. Hides the lists that are looked through for it.

use anyhow::{Context, anyhow};
use serde_json::{Value, json};

use stepwell_engine::EVENTS_PREFIX;

use super::{Client, calls_of, events_of};
use crate::exit::{Blame, Outcome, Stop};

/// State machines that a hint names.
const NAMES_SHOWN_MAX: usize = 10;

impl Client {
    /// All state machines of the region, as the API lists them.
    async fn machines(&self) -> Outcome<Vec<Value>> {
        self.list("ListStateMachines", json!({}), "stateMachines", usize::MAX)
            .await
    }

    /// ARN of a state machine given by its name or ARN, to be started, forked to or deleted.
    pub(crate) async fn machine_arn(&self, machine: &str) -> Outcome<String> {
        let name = machine.split_once(":stateMachine:");
        if let Some(function) = calls_of(name.map_or(machine, |(_, name)| name)) {
            return Err(Stop::Usage(anyhow!(
                "`{machine}` stands for the calls of the plugin `{function}` that nobody waits for: it is listed, and neither started, changed nor deleted\n\
                 hint: `stepwell plugin invoke {function}` calls the plugin, `stepwell plugin events {function}` lists those calls"
            )));
        }
        self.listed_arn(machine).await
    }

    /// ARN of what has executions, given by its name or ARN: a state machine, or a function's calls that nobody waits for.
    pub(crate) async fn listed_arn(&self, machine: &str) -> Outcome<String> {
        if let Some(function) = calls_of(machine) {
            let (region, account) = self.whose().await?;
            return Ok(events_of(function, &region, &account));
        }
        if machine.starts_with("arn:") {
            return Ok(machine.to_owned());
        }
        let machines = self.machines().await?;
        match machine_named(&machines, machine) {
            Some(arn) => Ok(arn),
            None => Err(Stop::Usage(anyhow!(
                "there is no state machine `{machine}` in {}\nhint: {}{}",
                self.region(),
                calls_meant(machine),
                known_machines(&machines)
            ))),
        }
    }

    /// ARN of an execution given by its ARN, as `MACHINE/NAME`, by the name of its state machine, whose last one it is,
    /// or by a name that only one state machine has an execution of.
    pub(crate) async fn execution_arn(&self, execution: &str) -> Outcome<String> {
        if execution.starts_with("arn:") {
            return Ok(execution.to_owned());
        }
        if let Some((machine, name)) = execution.split_once('/') {
            return Ok(execution_of(&self.listed_arn(machine).await?, name));
        }
        if let Some(function) = calls_of(execution) {
            return self.last_call(function).await;
        }
        let machines = self.machines().await?;
        if let Some(arn) = machine_named(&machines, execution) {
            return self.last_execution(execution, &arn).await;
        }
        let mut found = Vec::new();
        for machine in &machines {
            let arn = machine.get("stateMachineArn").and_then(Value::as_str);
            let arn = execution_of(arn.unwrap_or_default(), execution);
            let request = json!({"executionArn": arn});
            if self.try_call("DescribeExecution", request).await?.is_ok() {
                found.push(arn);
            }
        }
        match found.as_slice() {
            [only] => Ok(only.clone()),
            [] => Err(Stop::Usage(anyhow!(
                "`{execution}` is neither an execution nor a state machine in {}\nhint: {}an execution is named by its \
                 ARN or as MACHINE/NAME, the last one of a state machine by MACHINE; {}",
                self.region(),
                calls_meant(execution),
                known_machines(&machines)
            ))),
            several => Err(Stop::Usage(anyhow!(
                "several executions are named `{execution}`:\n  {}\nhint: name one as MACHINE/{execution}",
                several.join("\n  ")
            ))),
        }
    }

    async fn last_execution(&self, machine: &str, arn: &str) -> Outcome<String> {
        self.newest(arn).await?
            .with_context(|| format!("the state machine `{machine}` has no execution yet\nhint: `stepwell execution start {machine}` starts one"))
            .usage()
    }

    /// The last call of a function that nobody waits for.
    async fn last_call(&self, function: &str) -> Outcome<String> {
        let (region, account) = self.whose().await?;
        let newest = self.newest(&events_of(function, &region, &account)).await;
        if let Ok(Some(arn)) = newest {
            return Ok(arn);
        }
        self.check_called(function).await?;
        newest?
            .with_context(|| format!("nobody has called the plugin `{function}` without waiting for it yet\nhint: Invoke with the invocation type `Event` does; of what waits for its answer there is no execution"))
            .usage()
    }

    /// ARN of the newest execution in a list.
    async fn newest(&self, arn: &str) -> Outcome<Option<String>> {
        let request = json!({"stateMachineArn": arn});
        let newest = self
            .list("ListExecutions", request, "executions", 1)
            .await?;
        let arn = newest
            .first()
            .and_then(|newest| newest.get("executionArn")?.as_str());
        Ok(arn.map(str::to_owned))
    }
}

/// Of a name that is `$lambda-NAME` but for its `$`, what is meant by it and how it is written; else nothing.
fn calls_meant(name: &str) -> String {
    let function = EVENTS_PREFIX
        .strip_prefix('$')
        .and_then(|prefix| name.strip_prefix(prefix))
        .filter(|function| !function.is_empty());
    function.map_or_else(String::new, |function| {
        format!(
            "the calls of the plugin `{function}` that nobody waits for are named '{EVENTS_PREFIX}{function}', in single quotes, or a shell takes $lambda for a variable; "
        )
    })
}

/// ARN of the state machine of that name.
fn machine_named(machines: &[Value], name: &str) -> Option<String> {
    let text = |item: &Value, key: &str| item.get(key).and_then(Value::as_str).map(str::to_owned);
    let found = machines
        .iter()
        .find(|item| text(item, "name").as_deref() == Some(name))?;
    text(found, "stateMachineArn")
}

/// ARN of an execution by that of its state machine.
fn execution_of(machine: &str, name: &str) -> String {
    let execution = machine.replacen(":stateMachine:", ":execution:", 1);
    format!("{execution}:{name}")
}

/// The names that there are, as a hint.
fn known_machines(machines: &[Value]) -> String {
    let names: Vec<String> = machines
        .iter()
        .filter_map(|item| Some(format!("`{}`", item.get("name")?.as_str()?)))
        .collect();
    let more = match names.len().saturating_sub(NAMES_SHOWN_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    match names.as_slice() {
        [] => "there are none yet; `stepwell machine put FILE` creates one, and another region is named with --region"
            .to_owned(),
        [only] => format!("there is only {only}"),
        several => {
            let shown = &several[..several.len().min(NAMES_SHOWN_MAX)];
            format!("there are {}{more}", shown.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::calls_meant;

    #[test]
    fn calls_of_a_plugin_are_proposed_to_who_lost_the_dollar() {
        let told = calls_meant("lambda-pay");
        assert!(told.contains("'$lambda-pay', in single quotes"), "{told}");
        for other in ["lambda-", "pay", "my-lambda-pay", ""] {
            assert_eq!(calls_meant(other), "", "{other}");
        }
    }
}
