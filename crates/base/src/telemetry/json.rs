//! An event as one line of JSON, with the names that dockerd's log has: `level`, `msg`, `time`.

use std::fmt::{self, Debug};

use serde_json::{Map, Value};
use tracing::{
    Event, Level,
    field::{Field, Visit},
};
use tracing_subscriber::fmt::format::Writer;

use crate::clock;

/// Writes one line.
///
/// # Errors
/// Those of the writer.
pub(super) fn line(mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
    let mut fields = Fields(Map::new());
    fields.0.insert("level".to_owned(), level(*event.metadata().level()).into());
    event.record(&mut fields);
    fields.0.insert("time".to_owned(), clock::now().to_string().into());
    writeln!(writer, "{}", Value::Object(fields.0))
}

/// dockerd's words.
fn level(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warning",
        Level::INFO => "info",
        _ => "debug",
    }
}

struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        let name = if field.name() == "message" { "msg" } else { field.name() };
        self.0.insert(name.to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }
}
