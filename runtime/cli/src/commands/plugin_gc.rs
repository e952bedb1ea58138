//! `plugin gc`: removes uploaded code that no plugin and no version has. Hides that it takes several calls.

use serde_json::{Value, json};

use crate::args::GcArgs;
use crate::client::{Client, Purpose};
use crate::exit::Outcome;
use crate::table::Table;
use crate::terminal::stdout_columns;

pub(super) async fn gc(args: &GcArgs) -> Outcome {
    let client = Client::open(&args.place, Purpose::Look).await?;
    let told = collected(&client, args).await;
    client.close().await;
    let told = told?;
    if let Some(counts) = told["graceSeconds"].as_u64().filter(|s| *s > args.grace) {
        say!(
            "a running server keeps unused code for {counts} s at least, so --grace {}s counts as {counts} s",
            args.grace
        );
    }
    if args.json {
        return super::print_json(&told);
    }
    super::print(&text(&told, args.dry_run))
}

/// All that there is, as one answer.
async fn collected(client: &Client, args: &GcArgs) -> Outcome<Value> {
    let asked = json!({"dryRun": args.dry_run, "graceSeconds": args.grace});
    let mut whole = client.call("Stepwell.CollectCode", asked.clone()).await?;
    // Nothing of a dry run is gone when it is asked again.
    while whole["more"] == true && !args.dry_run {
        let mut next = client.call("Stepwell.CollectCode", asked.clone()).await?;
        let bytes = |told: &Value| told["bytes"].as_u64().unwrap_or(0);
        whole["bytes"] = json!(bytes(&whole) + bytes(&next));
        for key in ["waiting", "more"] {
            whole[key] = next[key].take();
        }
        if let (Value::Array(all), Value::Array(code)) = (&mut whole["code"], next["code"].take()) {
            all.extend(code);
        }
    }
    Ok(whole)
}

/// A line for each code, and one for all.
fn text(told: &Value, dry_run: bool) -> String {
    let code = told["code"].as_array().map_or(&[][..], Vec::as_slice);
    let mut out = String::new();
    if !code.is_empty() {
        let mut table = Table::new(&["sha256", "account", "bytes>", "unused since"]);
        for one in code {
            table.row([
                super::text(one, "sha256").chars().take(12).collect(),
                super::text(one, "account").to_owned(),
                one["bytes"].to_string(),
                super::time(one, "idleSince"),
            ]);
        }
        out.push_str(&table.whole(stdout_columns()));
    }
    let count = match code.len() {
        0 => "no code".to_owned(),
        1 => "1 code".to_owned(),
        many => format!("{many} codes"),
    };
    let verb = if dry_run { "would go" } else { "went" };
    out.push_str(&format!("{count} {verb}, {} bytes", told["bytes"]));
    if told["more"] == true {
        out.push_str(", and more with another call");
    }
    match told["waiting"].as_u64().unwrap_or(0) {
        0 => {}
        waiting => out.push_str(&format!("; {waiting} unused for less than the grace time")),
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_is_told_in_a_line() {
        let none = json!({"code": [], "bytes": 0, "waiting": 0, "more": false});
        assert_eq!(text(&none, false), "no code went, 0 bytes\n");
        let some = json!({"code": [], "bytes": 0, "waiting": 2, "more": true});
        assert_eq!(
            text(&some, true),
            "no code would go, 0 bytes, and more with another call; 2 unused for less than the grace time\n"
        );
    }
}
