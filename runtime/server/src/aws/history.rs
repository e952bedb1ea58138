//! GetExecutionHistory, and the wire form of an event. AWS JSON 1.0.

use std::sync::Arc;

use serde::{Serialize, Serializer, ser::SerializeMap};
use stepwell_engine::HistoryEntry;
use stepwell_interp::{Field, HistoryView, Measures, history_view};

use super::{
    fault::Fault,
    operation::Call,
    wire::{Seconds, Text, json, page},
};

pub(super) async fn get(mut call: Call<'_>) -> Result<Vec<u8>, Fault> {
    let input = &mut call.input;
    let arn = input.required("executionArn");
    let reverse = input.boolean("reverseOrder").unwrap_or(false);
    let with_data = input.boolean("includeExecutionData").unwrap_or(true);
    let page = page(input);
    let _turn = call.state.page_turn().await;
    let found = call
        .state
        .engine
        .history(&call.caller, &arn, reverse, page)
        .await?;
    json(&HistoryPage::of(
        &found.items,
        found.next_token.as_deref(),
        with_data,
    ))
}

/// A page of the history.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HistoryPage<'a> {
    events: Vec<WireEvent>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<&'a str>,
}

impl<'a> HistoryPage<'a> {
    pub(crate) fn of(
        entries: &[HistoryEntry],
        next_token: Option<&'a str>,
        with_data: bool,
    ) -> HistoryPage<'a> {
        HistoryPage {
            events: entries
                .iter()
                .filter_map(|entry| WireEvent::of(entry, with_data))
                .collect(),
            next_token,
        }
    }

    /// The same for our own API, which also tells what attempts used.
    pub(crate) fn told(entries: &[HistoryEntry], next_token: Option<&'a str>) -> HistoryPage<'a> {
        HistoryPage {
            events: entries.iter().filter_map(WireEvent::told).collect(),
            next_token,
        }
    }
}

/// One event, as the wire has it.
pub(crate) struct WireEvent {
    view: HistoryView,
    /// Of the outcome of an attempt. AWS's API has no such member.
    usage: Option<Arc<Measures>>,
}

impl WireEvent {
    /// `None` for events that the public history does not show.
    pub(crate) fn of(entry: &HistoryEntry, with_data: bool) -> Option<WireEvent> {
        let view = history_view(entry.id, &entry.event, with_data)?;
        Some(WireEvent { view, usage: None })
    }

    /// The same for our own API.
    pub(crate) fn told(entry: &HistoryEntry) -> Option<WireEvent> {
        let usage = entry.used.clone();
        WireEvent::of(entry, true).map(|event| WireEvent { usage, ..event })
    }
}

impl Serialize for WireEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let view = &self.view;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("timestamp", &Seconds(view.at.0))?;
        map.serialize_entry("type", view.event_type)?;
        map.serialize_entry("id", &view.id)?;
        map.serialize_entry("previousEventId", &view.previous)?;
        if let Some((key, fields)) = &view.details {
            map.serialize_entry(key, &WireFields(fields))?;
        }
        if let Some(measures) = &self.usage {
            map.serialize_entry("usage", &WireMeasures(measures))?;
        }
        map.end()
    }
}

/// What an attempt used, by the names of what is measured; what is 0 is left out.
pub(crate) struct WireMeasures<'a>(pub(crate) &'a Measures);

impl Serialize for WireMeasures<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let measures = self.0.iter();
        serializer.collect_map(measures.map(|(measure, value)| (measure.name(), value)))
    }
}

/// Fields of an event, as the wire has them.
pub(crate) struct WireFields<'a>(pub(crate) &'a [(&'static str, Field)]);

impl Serialize for WireFields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, field)| (name, WireField(field))))
    }
}

struct WireField<'a>(&'a Field);

impl Serialize for WireField<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Field::Text(text) => serializer.serialize_str(text),
            Field::Json(value) => Text(value).serialize(serializer),
            Field::Int(number) => serializer.serialize_i64(*number),
            Field::Bool(value) => serializer.serialize_bool(*value),
            Field::Object(fields) => WireFields(fields).serialize(serializer),
            Field::JsonMap(members) => {
                serializer.collect_map(members.iter().map(|(name, value)| (&**name, Text(value))))
            }
        }
    }
}
