//! Histories as text for people: one aligned line per event. Hides the layout.

use stepwell_interp::{Event, Field, What, history_view, label};

/// Characters of one field; longer ones are cut and counted.
const FIELD_CHARS_MAX: usize = 160;

/// One line per event: id, previous id, milliseconds since the start, place, type, details. Internal events have no id.
pub fn history(events: &[Event]) -> String {
    let started = events.first().map(|event| event.at).unwrap_or_default();
    let mut public = 0;
    let mut lines = Vec::new();
    for event in events {
        let ids = if event.what.is_public() {
            public += 1;
            (public.to_string(), event.previous.to_string())
        } else {
            ("-".to_owned(), String::new())
        };
        let (name, details) =
            match history_view(public, event, true).filter(|_| event.what.is_public()) {
                Some(view) => {
                    let fields = view.details.map(|(_, fields)| fields).unwrap_or_default();
                    (
                        view.event_type.to_owned(),
                        fields
                            .iter()
                            .filter_map(field)
                            .collect::<Vec<_>>()
                            .join(" "),
                    )
                }
                None => ("(internal)".to_owned(), label(event)),
            };
        let place = event
            .place
            .0
            .iter()
            .map(|index| format!("[{index}]"))
            .collect::<String>();
        lines.push((
            ids,
            event.at.since_ms(started),
            place,
            name,
            mask(event, details),
        ));
    }
    let width = |of: fn(&Line) -> usize| lines.iter().map(of).max().unwrap_or(0);
    let (id, ms, place) = (
        width(|l| l.0.0.len()),
        width(|l| l.1.to_string().len()),
        width(|l| l.2.len()),
    );
    let name = width(|l| l.3.len());
    let mut text = String::new();
    for ((this, previous), at, where_, what, details) in &lines {
        let line = format!(
            "{this:>id$} {previous:>id$}  {at:>ms$} ms  {where_:<place$} {what:<name$}  {details}"
        );
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

type Line = ((String, String), u64, String, String, String);

/// Tokens are random and are shown to none.
fn mask(event: &Event, details: String) -> String {
    match &event.what {
        What::Scheduled(scheduled) => match &scheduled.token {
            Some(token) => details.replace(&*token.0, "<token>"),
            None => details,
        },
        _ => details,
    }
}

fn field((key, field): &(&'static str, Field)) -> Option<String> {
    let text = match field {
        Field::Text(text) => cut(text),
        Field::Json(value) => cut(&value.to_json()),
        Field::Int(int) => int.to_string(),
        Field::Bool(bool) => bool.to_string(),
        // That nothing is truncated goes without saying.
        Field::Object(fields) if fields.iter().any(|(key, _)| *key == "truncated") => return None,
        Field::Object(fields) => fields
            .iter()
            .filter_map(self::field)
            .collect::<Vec<_>>()
            .join(","),
        Field::JsonMap(map) => {
            let members = map
                .iter()
                .map(|(name, value)| format!("{name}={}", cut(&value.to_json())));
            members.collect::<Vec<_>>().join(",")
        }
    };
    Some(format!("{key}={text}"))
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(FIELD_CHARS_MAX) {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
        None => text.to_owned(),
    }
}
