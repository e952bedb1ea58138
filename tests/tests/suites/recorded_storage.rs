//! Recorded executions that need object storage: what their buckets hold, and the recordings with the names that they
//! were transcribed under. Hides that the corpus's runner knows of no buckets.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

/// What buckets hold before a case, by its name.
const OBJECTS: &str = include_str!("recorded_storage.json");

/// Fills the buckets of a data directory, and writes the cases with the corpus's runner to a folder.
pub(super) fn prepare(corpus: &Path, data: &Path, folder: &Path) -> Result<()> {
    let objects: Value = serde_json::from_str(OBJECTS)?;
    let recorded = corpus.join("recorded/execution.jsonl");
    let text = std::fs::read_to_string(&recorded).context("the recorded executions")?;
    let mut cases = String::new();
    for line in text.lines() {
        let mut case: Value = serde_json::from_str(line)?;
        if case["needs"] != serde_json::json!(["s3"]) {
            continue;
        }
        let id = case["id"].as_str().unwrap_or_default().to_owned();
        let name = id.rsplit("::").next().unwrap_or_default();
        let input: Value = serde_json::from_str(case["input"].as_str().context("an input")?)?;
        let bucket = input["Bucket"].as_str().context("a bucket")?;
        let bucket = data.join("buckets").join(bucket);
        std::fs::create_dir_all(&bucket)?;
        let held = objects.as_object().into_iter().flatten();
        let held = held.filter(|(pattern, _)| super::recorded_wire::names(pattern, name));
        for (key, text) in held.filter_map(|(_, held)| held.as_object()).flatten() {
            std::fs::write(bucket.join(key), text.as_str().unwrap_or_default())?;
        }
        let names = case["expected_history"][0]["executionStartedEventDetails"]["input"].clone();
        for field in ["Bucket", "Key"] {
            rename(&mut case["expected_history"], &names[field], &input[field]);
        }
        case["needs"] = serde_json::json!([]);
        cases.push_str(&format!("{case}\n"));
    }
    std::fs::create_dir_all(folder.join("recorded"))?;
    std::fs::write(folder.join("recorded/execution.jsonl"), cases)?;
    std::fs::copy(corpus.join("run_cases.py"), folder.join("run_cases.py"))?;
    Ok(())
}

/// Puts the name that a case uses in place of the one that its recording has for it.
fn rename(value: &mut Value, from: &Value, to: &Value) {
    match value {
        _ if value == from && from.is_string() => *value = to.clone(),
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, from, to)),
        Value::Object(members) => members
            .values_mut()
            .for_each(|member| rename(member, from, to)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
