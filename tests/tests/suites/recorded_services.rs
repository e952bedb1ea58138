//! Recorded executions that send to queues and event buses: the queues that they name are made in moto's server. Hides
//! that the corpus's runner leaves them out.

use std::{collections::BTreeSet, path::Path};

use anyhow::{Context, Result};
use serde_json::Value;
use stepwell_tests::{moto::Moto, server};

/// What a case may need to be one of these.
const NEEDS: [&str; 2] = ["events", "sqs"];

/// Makes the queues, and writes the cases with the corpus's runner to a folder.
pub(super) fn prepare(corpus: &Path, moto: &Moto, folder: &Path) -> Result<()> {
    let recorded = corpus.join("recorded/execution.jsonl");
    let text = std::fs::read_to_string(&recorded).context("the recorded executions")?;
    let (mut cases, mut queues) = (String::new(), BTreeSet::new());
    for line in text.lines() {
        let mut case: Value = serde_json::from_str(line)?;
        let needs: Vec<&str> = case["needs"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        if needs.is_empty() || !needs.iter().all(|need| NEEDS.contains(need)) {
            continue;
        }
        let input: Value = serde_json::from_str(case["input"].as_str().context("an input")?)?;
        if let Some((_, queue)) = input["QueueUrl"]
            .as_str()
            .and_then(|url| url.rsplit_once('/'))
        {
            queues.insert(queue.to_owned());
        }
        case["needs"] = serde_json::json!([]);
        cases.push_str(&format!("{case}\n"));
    }
    let script = server::root().join("tests/clients/moto/queues.py");
    let queues: Vec<&str> = queues.iter().map(String::as_str).collect();
    moto.run(&script, &queues)?;
    std::fs::create_dir_all(folder.join("recorded"))?;
    std::fs::write(folder.join("recorded/execution.jsonl"), cases)?;
    std::fs::copy(corpus.join("run_cases.py"), folder.join("run_cases.py"))?;
    Ok(())
}
