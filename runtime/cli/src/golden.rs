//! Golden files: what pictures, progress and tables look like. Expected text lies in `tests/golden`; `BLESS=1` rewrites
//! it. Each `NAME.asl.json` there is drawn, each `NAME.history.json` told.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::commands::marks;
use crate::graph::{Chart, mermaid, svg};
use crate::progress::Progress;
use crate::terminal::Paint;
use crate::timeline::{HistoryEvent, Timeline};
use crate::waterfall::waterfall;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Compares with the file, or rewrites it.
fn check(name: &str, actual: &str) {
    let file = folder().join(name);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&file, actual).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        expected == actual,
        "{} differs; BLESS=1 rewrites it. Now:\n{actual}",
        file.display()
    );
}

/// Names of the files with that ending, without it.
fn cases(ending: &str) -> Vec<String> {
    let entries = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries
        .filter_map(|name| name.strip_suffix(ending).map(str::to_owned))
        .collect();
    names.sort();
    assert!(!names.is_empty());
    names
}

fn chart(name: &str) -> Chart {
    let text = std::fs::read_to_string(folder().join(format!("{name}.asl.json"))).unwrap();
    let loaded = stepwell_asl::load(&text, &stepwell_asl::Options::default());
    Chart::of(
        &loaded
            .program
            .unwrap_or_else(|| panic!("{name}: {:?}", loaded.diagnostics)),
    )
}

fn events(name: &str) -> Vec<HistoryEvent> {
    let text = std::fs::read_to_string(folder().join(format!("{name}.history.json"))).unwrap();
    let history: Value = serde_json::from_str(&text).unwrap();
    history["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| HistoryEvent::read(event).unwrap())
        .collect()
}

/// Half a second after the last event.
fn now(timeline: &Timeline) -> u64 {
    timeline.last_ms + 500
}

#[test]
fn definitions_are_drawn() {
    for name in cases(".asl.json") {
        check(&format!("{name}.svg"), &svg(&chart(&name), &name));
        check(&format!("{name}.mmd"), &mermaid(&chart(&name)));
    }
}

#[test]
fn executions_are_drawn_on_their_definitions() {
    for name in cases(".history.json") {
        let timeline = Timeline::of(&events(&name));
        let marks = marks(&timeline, now(&timeline));
        check(
            &format!("{name}.marked.svg"),
            &svg(&chart(&name).with_marks(&marks), &name),
        );
        check(
            &format!("{name}.marked.mmd"),
            &mermaid(&chart(&name).with_marks(&marks)),
        );
    }
}

#[test]
fn executions_are_told_and_drawn_over_time() {
    for name in cases(".history.json") {
        let mut progress = Progress::new(Paint::OFF);
        let mut told = String::new();
        for event in events(&name) {
            progress
                .take(&[event])
                .iter()
                .for_each(|line| told.push_str(&format!("{line}\n")));
        }
        let timeline = progress.timeline();
        for line in progress.live(now(timeline)) {
            told.push_str(&format!("~ {line}\n"));
        }
        let failing = timeline
            .failing()
            .map_or_else(|| "nowhere".to_owned(), |visit| timeline.path(visit));
        told.push_str(&format!("failed at: {failing}\n"));
        check(&format!("{name}.progress.txt"), &told);
        check(
            &format!("{name}.waterfall.svg"),
            &waterfall(timeline, &name, now(timeline)),
        );
        check(
            &format!("{name}.history.txt"),
            &crate::commands::history_table(&events(&name)).to_string(),
        );
    }
}

/// 300 states that lead to 40 others each: what the layout may cost is bounded, and so is what it writes. Without the
/// bound this takes minutes and hundreds of megabytes.
#[test]
fn a_tangle_is_drawn_in_bounds() {
    const STATES: usize = 300;
    let name = |state: usize| format!("S{}", state % STATES);
    let mut states = serde_json::Map::new();
    for state in 0..STATES - 1 {
        let ways = (1..=40).map(|way| {
            serde_json::json!({"Variable": "$.n", "NumericEquals": way, "Next": name(state + way * way % 281)})
        });
        let choice = serde_json::json!({
            "Type": "Choice", "Choices": ways.collect::<Vec<_>>(), "Default": name(state + 1)
        });
        states.insert(name(state), choice);
    }
    states.insert(name(STATES - 1), serde_json::json!({"Type": "Succeed"}));
    let definition = serde_json::json!({"StartAt": "S0", "States": states}).to_string();
    let loaded = stepwell_asl::load(&definition, &stepwell_asl::Options::default());
    let chart = Chart::of(&loaded.program.expect("it is right"));
    let picture = svg(&chart, "tangle");
    assert!(picture.matches("<path").count() > 10_000);
    assert!(picture.len() < 16 << 20, "{} bytes", picture.len());
}
