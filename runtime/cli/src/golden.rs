//! Golden files: what pictures, progress and tables look like. Expected text lies in `tests/golden`; `BLESS=1` rewrites
//! it. Each `NAME.asl.json` there is drawn, each `NAME.history.json` told.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::commands::marks;
use crate::graph::{Chart, mermaid, svg};
use crate::progress::Progress;
use crate::terminal::Paint;
use crate::timeline::{HistoryEvent, Note, Timeline};
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

#[test]
fn what_a_running_state_says_is_beside_it_until_its_attempt_ends() {
    let events = events("order");
    let mut progress = Progress::new(Paint::OFF);
    let note = |entered_id, text: &str| Note {
        entered_id,
        text: text.to_owned(),
    };
    drop(progress.take(&events[..4]));
    progress.take_notes(vec![note(2, "3 of 10"), note(99, "of no state")]);
    progress.take_notes(vec![note(2, "4 of 10")]);
    let live = progress.live(now(progress.timeline()));
    assert!(
        live[0].contains("Validate") && live[0].ends_with("4 of 10"),
        "{live:?}"
    );
    // `Invoice` fails once, and its second attempt has said nothing yet.
    drop(progress.take(&events[4..44]));
    progress.take_notes(vec![note(42, "printing")]);
    let lines = |progress: &Progress| progress.live(now(progress.timeline())).join("\n");
    assert!(lines(&progress).contains("printing"));
    drop(progress.take(&events[44..47]));
    assert!(
        !lines(&progress).contains("printing"),
        "{}",
        lines(&progress)
    );
}

#[test]
fn what_attempts_used_is_told_where_they_are_shown() {
    let used =
        serde_json::json!({"cpuMicros": 850, "memoryBytesMax": 1_114_112, "httpRequests": 1});
    let text = "cpu 850 µs, 1.1 MiB, 1 host call";
    let outcome = serde_json::json!({
        "id": 5, "previousEventId": 4, "type": "TaskSucceeded", "timestamp": 1.5, "usage": used,
    });
    let event = HistoryEvent::read(&outcome).unwrap();
    assert_eq!(event.summary(), format!("used {text}"));
    let mut timeline = Timeline::of(&events("order"));
    assert!(timeline.visits.iter().all(|visit| visit.used().is_none()));
    let told =
        serde_json::json!({"state": "Invoice", "enteredEventId": 42, "attempt": 2, "usage": used});
    let of_none =
        serde_json::json!({"state": "Invoice", "enteredEventId": 42, "attempt": 9, "usage": used});
    timeline.take_usage(&[told.clone(), of_none]);
    let attempts = |timeline: &Timeline| {
        let visit = timeline
            .visits
            .iter()
            .find(|visit| visit.state == "Invoice");
        let attempts = visit.unwrap().attempts.iter();
        attempts
            .map(|attempt| attempt.used.map(|used| used.to_string()))
            .collect::<Vec<_>>()
    };
    assert_eq!(attempts(&timeline), [None, Some(text.to_owned())]);
    let picture = waterfall(&timeline, "order", now(&timeline));
    assert_eq!(picture.matches(text).count(), 1);
    // One that was dispatched again used something each time.
    timeline.take_usage(&[told]);
    let twice = "cpu 1.70 ms, 1.1 MiB, 2 host calls".to_owned();
    assert_eq!(attempts(&timeline), [None, Some(twice)]);
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
