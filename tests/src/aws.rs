//! History views as the JSON that the API gives, for comparison with recordings. The server has its own writer.

use stepwell_interp::{Event, Field, HistoryView, history_view};
use stepwell_query::{ObjectBuilder, Value};

/// The public events as GetExecutionHistory shows them, with `timestamp` for each time.
pub fn history(events: &[Event]) -> Value {
    let public = events.iter().filter(|event| event.what.is_public());
    Value::array(
        public
            .zip(1..)
            .filter_map(|(event, id)| history_view(id, event, true))
            .map(|view| event(&view)),
    )
}

fn event(view: &HistoryView) -> Value {
    let mut object = ObjectBuilder::default();
    object
        .insert("id", view.id)
        .insert("previousEventId", view.previous);
    object
        .insert("timestamp", "timestamp")
        .insert("type", view.event_type);
    if let Some((key, fields)) = &view.details {
        object.insert(*key, members(fields));
    }
    object.into()
}

fn members(fields: &[(&'static str, Field)]) -> Value {
    Value::object(fields.iter().map(|(key, field)| (*key, value(field))))
}

fn value(field: &Field) -> Value {
    match field {
        Field::Text(text) => Value::from(text.clone()),
        Field::Json(value) => Value::from(value.to_json()),
        Field::Int(int) => Value::from(*int),
        Field::Bool(bool) => Value::from(*bool),
        Field::Object(fields) => members(fields),
        Field::JsonMap(map) => Value::object(
            map.iter()
                .map(|(name, value)| (name.clone(), value.to_json().into())),
        ),
    }
}
