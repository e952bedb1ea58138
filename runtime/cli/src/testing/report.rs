//! What came of the tests, for people and for scripts.

use serde_json::json;
use stepwell_query::Value;

use crate::given::count;
use crate::terminal::{Paint, Tone};
use crate::timeline::duration_text;

/// All cases of a state machine.
pub(crate) struct Report {
    pub(crate) machine: String,
    pub(crate) cases: Vec<CaseReport>,
    /// States that no case came to; none when not all cases ran.
    pub(crate) not_reached: Vec<String>,
}

/// One case.
pub(crate) struct CaseReport {
    pub(crate) name: String,
    /// The state, where it was tested alone.
    pub(crate) state: Option<String>,
    /// Empty when it did not come to an end.
    pub(crate) status: String,
    pub(crate) output: Option<Value>,
    pub(crate) error: Option<String>,
    pub(crate) cause: Option<String>,
    pub(crate) next: Option<String>,
    pub(crate) states: Vec<String>,
    pub(crate) virtual_ms: Option<u64>,
    /// Why it failed; empty when it passed.
    pub(crate) differences: Vec<String>,
}

impl CaseReport {
    pub(super) fn new(name: &str, state: Option<&str>) -> CaseReport {
        CaseReport {
            name: name.to_owned(),
            state: state.map(str::to_owned),
            status: String::new(),
            output: None,
            error: None,
            cause: None,
            next: None,
            states: Vec::new(),
            virtual_ms: None,
            differences: Vec::new(),
        }
    }

    pub(crate) fn passed(&self) -> bool {
        self.differences.is_empty()
    }
}

impl Report {
    pub(crate) fn failed(&self) -> usize {
        self.cases.iter().filter(|case| !case.passed()).count()
    }
}

/// To the millisecond below a minute.
fn virtual_time(ms: u64) -> String {
    match ms {
        0..60_000 => format!("{:.3} s", ms as f64 / 1_000.0),
        _ => duration_text(ms),
    }
}

/// A line a case, and beneath a failed one why.
pub(crate) fn as_text(report: &Report, paint: Paint) -> String {
    let wide = |case: &CaseReport| case.name.chars().count();
    let width = report.cases.iter().map(wide).max().unwrap_or(0);
    let mut text = format!(
        "{}, {}\n",
        paint.paint(Tone::Bold, &report.machine),
        count(report.cases.len(), "case")
    );
    for case in &report.cases {
        let mark = match case.passed() {
            true => paint.paint(Tone::Good, "pass"),
            false => paint.paint(Tone::Bad, "FAIL"),
        };
        let blanks = " ".repeat(width - wide(case));
        let what = match (&case.state, case.virtual_ms) {
            (Some(state), _) => format!("the state `{state}`"),
            (None, Some(ms)) => {
                let time = virtual_time(ms);
                format!("{time:>11}  {}", count(case.states.len(), "state"))
            }
            (None, None) => String::new(),
        };
        let what = paint.paint(Tone::Dim, &what);
        text.push_str(format!("  {mark}  {}{blanks}  {what}", case.name).trim_end());
        text.push('\n');
        for difference in &case.differences {
            text.push_str(&format!("        {difference}\n"));
        }
    }
    if !report.not_reached.is_empty() {
        let states = report.not_reached.join(", ");
        text.push_str(&format!("not reached by any case: {states}\n"));
    }
    let (failed, all) = (report.failed(), report.cases.len());
    let verdict = format!("{} passed, {failed} failed", all - failed);
    let tone = if failed == 0 { Tone::Good } else { Tone::Bad };
    text.push_str(&format!("{}\n", paint.paint(tone, &verdict)));
    text
}

pub(crate) fn as_json(report: &Report) -> serde_json::Value {
    let cases = report.cases.iter().map(|case| {
        let output = case.output.as_ref();
        json!({
            "name": case.name,
            "state": case.state,
            "passed": case.passed(),
            "status": case.status,
            "output": output.and_then(|value| serde_json::from_str(&value.to_json()).ok()).unwrap_or(serde_json::Value::Null),
            "error": case.error,
            "cause": case.cause,
            "nextState": case.next,
            "states": case.states,
            "virtualMilliseconds": case.virtual_ms,
            "differences": case.differences,
        })
    });
    json!({
        "machine": report.machine,
        "cases": cases.collect::<Vec<_>>(),
        "passed": report.cases.len() - report.failed(),
        "failed": report.failed(),
        "notReached": report.not_reached,
    })
}
