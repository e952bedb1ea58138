//! `execution logs`: what tasks logged and printed, attempt by attempt. Hides the pages of the API.

use serde::Deserialize;
use serde_json::json;

use crate::args::LogsArgs;
use crate::client::Client;
use crate::exit::{Blame, Outcome, Stop};
use crate::terminal;

/// What is looked for.
struct Wanted {
    state: Option<String>,
    level: Option<String>,
    contains: Option<String>,
}

/// Wire form of a page.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    attempts: Vec<Attempt>,
    next_token: Option<String>,
}

/// Wire form of an attempt's log.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Attempt {
    state: String,
    /// Id of the event that entered the state: tells visits of a state apart. Logs of versions before have none.
    entered_event_id: Option<u64>,
    /// Counts the attempts of that visit.
    attempt: u32,
    plugin: String,
    lines: Vec<Line>,
    stdout: String,
    stderr: String,
    cut: bool,
    /// The last note that it gave of its progress.
    progress: Option<String>,
}

/// Wire form of a line.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    level: String,
    message: String,
    fields: Vec<(String, String)>,
    after_ms: u64,
}

/// Levels, the least first.
const LEVELS: [&str; 5] = ["trace", "debug", "info", "warn", "error"];

/// Prints all that is wanted.
pub(super) async fn print(client: &Client, arn: &str, args: LogsArgs) -> Outcome {
    let as_json = args.json;
    let wanted = Wanted {
        state: args.state,
        level: args.level,
        contains: args.contains,
    };
    let mut token: Option<String> = None;
    let mut said = false;
    loop {
        let page = client.attempt_logs(arn, token.as_deref()).await?;
        let page = page.ok_or_else(|| {
            Stop::Usage(anyhow::anyhow!(
                "there are no logs of `{arn}`\nhint: `stepwell execution list MACHINE` names the executions that there are"
            ))
        })?;
        let page: Page = serde_json::from_value(page).runtime()?;
        let mut text = String::new();
        for attempt in &page.attempts {
            text.push_str(&wanted.of(attempt, as_json));
        }
        said |= !text.is_empty();
        if !super::print_more(&text)? {
            return Ok(());
        }
        token = page.next_token;
        if token.is_none() {
            if !said {
                say!("its tasks logged and printed nothing of what is asked for");
            }
            return Ok(());
        }
    }
}

impl Wanted {
    /// What of an attempt's log is wanted, as text.
    fn of(&self, attempt: &Attempt, as_json: bool) -> String {
        if self
            .state
            .as_ref()
            .is_some_and(|state| *state != attempt.state)
        {
            return String::new();
        }
        let logged = attempt.lines.iter().filter(|line| self.takes(line));
        let mut text: String = logged.map(|line| attempt.shown(line, as_json)).collect();
        for (stream, all) in [("stdout", &attempt.stdout), ("stderr", &attempt.stderr)] {
            let printed = all
                .lines()
                .filter(|line| self.level.is_none() && self.has(line));
            text.extend(printed.map(|line| attempt.shown_printed(stream, line, as_json)));
        }
        let noted = attempt.progress.iter();
        let noted = noted.filter(|note| self.level.is_none() && self.has(note));
        text.extend(noted.map(|note| attempt.shown_printed("progress", note, as_json)));
        if attempt.cut && !text.is_empty() && !as_json {
            text.push_str(&format!(
                "{}  … more was said than is kept\n",
                attempt.place()
            ));
        }
        text
    }

    fn takes(&self, line: &Line) -> bool {
        let rank = |level: &str| LEVELS.iter().position(|known| *known == level);
        let high = self
            .level
            .as_ref()
            .is_none_or(|level| rank(&line.level) >= rank(level));
        high && (self.has(&line.message)
            || line
                .fields
                .iter()
                .any(|(name, value)| self.has(&format!("{name}={value}"))))
    }

    fn has(&self, text: &str) -> bool {
        self.contains
            .as_ref()
            .is_none_or(|part| text.contains(part.as_str()))
    }
}

impl Attempt {
    fn place(&self) -> String {
        format!("{}#{}", terminal::shown(&self.state), self.attempt)
    }

    /// A line of JSON: which attempt, and what it said.
    fn line_of(&self, said: serde_json::Value) -> String {
        let mut line = json!({ "state": self.state });
        if let Some(id) = self.entered_event_id {
            line["enteredEventId"] = json!(id);
        }
        line["attempt"] = json!(self.attempt);
        line["plugin"] = json!(self.plugin);
        for (name, value) in said.as_object().into_iter().flatten() {
            line[name.as_str()] = value.clone();
        }
        format!("{line}\n")
    }

    fn shown(&self, line: &Line, as_json: bool) -> String {
        if as_json {
            let fields: serde_json::Map<_, _> = line
                .fields
                .iter()
                .map(|(name, value)| (name.clone(), value.as_str().into()))
                .collect();
            return self.line_of(json!({
                "afterMs": line.after_ms, "level": line.level, "message": line.message, "fields": fields,
            }));
        }
        let fields: String = line
            .fields
            .iter()
            .map(|(name, value)| format!("  {name}={value}"))
            .collect();
        let seconds = line.after_ms as f64 / 1_000.0;
        // What a task says moves no cursor, and makes no line of its own.
        let said = terminal::shown(&format!("{}{fields}", line.message));
        format!("{} {seconds:>8.3} {:<5} {said}\n", self.place(), line.level)
    }

    fn shown_printed(&self, stream: &str, line: &str, as_json: bool) -> String {
        if as_json {
            return self.line_of(json!({"stream": stream, "message": line}));
        }
        let line = terminal::shown(line);
        format!("{} {stream:>8} {:<5} {line}\n", self.place(), "")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt() -> Attempt {
        let line = |level: &str, message: &str| Line {
            level: level.to_owned(),
            message: message.to_owned(),
            fields: vec![("order".to_owned(), "7".to_owned())],
            after_ms: 1500,
        };
        Attempt {
            state: "Charge".to_owned(),
            entered_event_id: Some(5),
            attempt: 2,
            plugin: "pay".to_owned(),
            lines: vec![line("info", "begun"), line("error", "declined")],
            stdout: String::new(),
            stderr: "one\ntwo\n".to_owned(),
            cut: true,
            progress: Some("2 of 3".to_owned()),
        }
    }

    fn wanted(state: Option<&str>, level: Option<&str>, contains: Option<&str>) -> String {
        let own = |text: Option<&str>| text.map(str::to_owned);
        let wanted = Wanted {
            state: own(state),
            level: own(level),
            contains: own(contains),
        };
        wanted.of(&attempt(), false)
    }

    #[test]
    fn lines_are_found_by_state_level_and_text() {
        let all = "Charge#2    1.500 info  begun  order=7\nCharge#2    1.500 error declined  order=7\n\
                   Charge#2   stderr       one\nCharge#2   stderr       two\nCharge#2 progress       2 of 3\n\
                   Charge#2  … more was said than is kept\n";
        assert_eq!(wanted(None, None, None), all);
        assert_eq!(wanted(Some("Ship"), None, None), "");
        for (level, contains, count) in [
            (Some("warn"), None, 1),
            (Some("info"), None, 2),
            (None, Some("two"), 1),
            (None, Some("order=7"), 2),
            (Some("error"), Some("begun"), 0),
        ] {
            let lines = wanted(None, level, contains);
            let found = lines.lines().filter(|line| !line.contains('…')).count();
            assert_eq!(found, count, "{level:?} {contains:?}: {lines}");
        }
    }

    #[test]
    fn as_json_each_line_says_which_attempt_of_which_visit() {
        let all = Wanted {
            state: None,
            level: None,
            contains: None,
        };
        let told = |attempt: &Attempt| -> Vec<serde_json::Value> {
            let lines = all.of(attempt, true);
            lines
                .lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect()
        };
        let lines = told(&attempt());
        assert_eq!(
            lines[0],
            json!({"state": "Charge", "enteredEventId": 5, "attempt": 2, "plugin": "pay", "afterMs": 1500,
                "level": "info", "message": "begun", "fields": {"order": "7"}})
        );
        assert_eq!(
            lines[2],
            json!({"state": "Charge", "enteredEventId": 5, "attempt": 2, "plugin": "pay", "stream": "stderr", "message": "one"})
        );
        // A version before kept no such id.
        let mut old = attempt();
        old.entered_event_id = None;
        assert!(
            told(&old)
                .iter()
                .all(|line| line.get("enteredEventId").is_none())
        );
    }

    #[test]
    fn what_a_task_says_moves_no_cursor_and_makes_no_line() {
        let mut hostile = attempt();
        hostile.lines.truncate(1);
        hostile.lines[0].message = "\u{1b}[2J\nCharge#3    0.000 info  paid".to_owned();
        hostile.lines[0].fields = vec![("a\r".to_owned(), "\u{9b}1A".to_owned())];
        hostile.stderr = "\u{1b}]0;title\u{7}".to_owned();
        (hostile.progress, hostile.cut) = (Some("\u{8}\u{8}done".to_owned()), false);
        let all = Wanted {
            state: None,
            level: None,
            contains: None,
        };
        let told = all.of(&hostile, false);
        assert_eq!(told.lines().count(), 3, "{told}");
        let moves = |c: char| c.is_control() && c != '\n';
        assert!(!told.contains(moves), "{told:?}");
        // As JSON it is as it was, escaped.
        let told = all.of(&hostile, true);
        assert!(told.contains(r"\u001b[2J\nCharge#3"), "{told}");
    }
}
