//! The history of an execution, page by page. Hides how an event becomes a line.

use serde_json::Value;

use super::show::{near, used};
use crate::client::Client;
use crate::commands::print_more;
use crate::exit::{Blame, Outcome};
use crate::table::Table;
use crate::terminal::stdout_columns;
use crate::timeline::HistoryEvent;

/// Page by page: a reader of the first lines waits for one page, and ends it there.
pub(super) async fn history(client: &Client, arn: &str, json: bool) -> Outcome {
    let columns = stdout_columns();
    let mut table = history_head();
    let mut first_ms = None;
    let mut token = None;
    let mut separator = "{\n  \"events\": [\n";
    loop {
        let (events, next) = client.history_page(arn, token).await?;
        let mut text = String::new();
        for event in &events {
            if json {
                text.push_str(separator);
                text.push_str(&indented(event)?);
                separator = ",\n";
            } else {
                let event = HistoryEvent::read(event).runtime()?;
                let first_ms = *first_ms.get_or_insert(event.at_ms);
                table.row(history_row(&event, first_ms));
            }
        }
        match (json, &next) {
            (true, None) => {
                text.push_str("\n  ]");
                if let Some(limits) = client.limits(arn).await? {
                    text.push_str(&format!(",\n  \"limits\": {limits}"));
                }
                text.push_str("\n}\n");
            }
            (true, Some(_)) => {}
            (false, _) => text = table.take(columns),
        }
        if !print_more(&text)? {
            return Ok(());
        }
        if next.is_none() {
            break;
        }
        token = next;
    }
    if !json {
        let limits = client.limits(arn).await?;
        for usage in near(limits.as_ref(), "near") {
            let event = usage.get("event").and_then(Value::as_u64).unwrap_or(0);
            say!("warning: event {event} is near a limit: {}", used(usage));
        }
    }
    Ok(())
}

/// An event as it stands in a pretty-printed list.
fn indented(event: &Value) -> Outcome<String> {
    let text = serde_json::to_string_pretty(event).runtime()?;
    Ok(format!("    {}", text.replace('\n', "\n    ")))
}

fn history_head() -> Table {
    Table::new(&["id>", "after>", "time>", "event", "what"])
}

/// An event with the time since the first one.
fn history_row(event: &HistoryEvent, first_ms: u64) -> [String; 5] {
    let since = event.at_ms.saturating_sub(first_ms);
    [
        event.id.to_string(),
        event.previous.to_string(),
        format!("{:.3}", since as f64 / 1_000.0),
        event.kind.clone(),
        event.summary(),
    ]
}

/// A whole history.
#[cfg(test)]
pub(crate) fn history_table(events: &[HistoryEvent]) -> Table {
    let first = events.first().map_or(0, |event| event.at_ms);
    let mut table = history_head();
    for event in events {
        table.row(history_row(event, first));
    }
    table
}
