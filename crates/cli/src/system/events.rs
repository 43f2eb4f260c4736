//! `system events`: what happens in the daemon, as it happens.

use hako_api::{query::SystemEventsQuery, system::EventMessage};
use jiff::{Timestamp, tz::TimeZone};

use crate::{
    command::{Arguments, Command, Shape},
    container::logs::instant,
    context::Context,
    error::CommandError,
    filter::FilterFlag,
    flag::FlagSet,
    format::{
        json::{Document, KeyOrder},
        template::{Format, FormatError, Missing, row_of_known},
    },
};

#[derive(Default)]
pub(crate) struct Events {
    filter: FilterFlag,
    format: String,
    since: String,
    until: String,
}

impl Command for Events {
    const SHAPE: &'static Shape = &Shape {
        paths: &["system events", "events"],
        usage: "[OPTIONS]",
        about: "Show what happens, as it happens",
        arguments: Arguments::None,
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.filter, "-f, --filter", "Only those that match (\"event=start\")");
        set.add(&mut self.format, "--format", "\"json\", or a Go template for each");
        set.add(&mut self.since, "--since", "Begin with what happened since a time, or so long ago");
        set.add(&mut self.until, "--until", "End at a time, or so long ago");
    }

    async fn run(self, cx: &mut Context, _words: Vec<String>) -> Result<(), CommandError> {
        let query = SystemEventsQuery {
            since: instant("since", &self.since)?,
            until: instant("until", &self.until)?,
            filters: self.filter.0,
        };
        let format = match self.format.as_str() {
            "" => None,
            "json" => Some("{{json .}}"),
            other => Some(other),
        };
        if let Some(text) = format {
            let names: Vec<_> = GO_NAMES.iter().collect();
            // What an event has in the places that are asked for is for the events to say.
            if let Err(error @ FormatError::Unknown { .. }) =
                row_of_known(text, event_order, &value(&EventMessage::default(), &names)?, 1, &[])
            {
                let message = format!("Error parsing format: {error}");
                return Err(CommandError::Usage { message, hint: None, code: 64 });
            }
        }
        let format = format.map(|text| Format::parse(text, event_order(), Missing::NoValue)).transpose()?;
        let names = GO_NAMES.iter().filter(|(name, _)| self.format.contains(&format!(".{name}"))).collect::<Vec<_>>();
        let mut events = cx.client()?.system_events(&query).await?;
        while let Some(event) = events.next().await? {
            let line = match &format {
                Some(format) => format.row(&value(&event, &names)?)?,
                None => plain(&event, &TimeZone::system()),
            };
            cx.print_line(&line)?;
        }
        Ok(())
    }
}

/// Fields that templates call by the names of Go's struct, and their keys in JSON.
const GO_NAMES: [(&str, &str); 6] = [
    ("Status", "status"),
    ("ID", "id"),
    ("From", "from"),
    ("Scope", "scope"),
    ("Time", "time"),
    ("TimeNano", "timeNano"),
];

/// An event as templates see it, with those of Go's names that this one uses.
fn value(event: &EventMessage, names: &[&(&str, &str)]) -> Result<gotmpl::Value, CommandError> {
    let value = gotmpl::to_value(event).map_err(|error| CommandError::Said(error.to_string()))?;
    let gotmpl::Value::Map(keys) = value else { return Ok(value) };
    let mut fields = (*keys).clone();
    for (name, key) in names {
        let field = keys.get(*key).cloned().unwrap_or_else(|| gotmpl::Value::String("".into()));
        fields.insert((*name).into(), field);
    }
    Ok(gotmpl::Value::Map(fields.into()))
}

fn event_order() -> KeyOrder {
    let mut order = KeyOrder::default();
    let example = EventMessage {
        status: "x".to_owned(),
        id: "x".to_owned(),
        from: "x".to_owned(),
        scope: "x".to_owned(),
        time: 1,
        time_nano: 1,
        ..EventMessage::default()
    };
    for event in [
        example.clone(),
        EventMessage { status: String::new(), id: String::new(), from: String::new(), ..example.clone() },
        EventMessage { from: String::new(), ..example },
    ] {
        let text = serde_json::to_string(&event).unwrap_or_default();
        if let Ok(document) = serde_json::from_str::<Document>(&text) {
            order.learn(&document);
        }
    }
    order
}

// `2026-11-27T03:28:25.123456789+00:00 container start 4a2f… (image=debian, name=web)`
fn plain(event: &EventMessage, zone: &TimeZone) -> String {
    let nanos = if event.time_nano != 0 { i128::from(event.time_nano) } else { i128::from(event.time) * 1_000_000_000 };
    let at = Timestamp::from_nanosecond(nanos).unwrap_or_default().to_zoned(zone.clone());
    let mut line = at.strftime("%Y-%m-%dT%H:%M:%S.%9f%:z").to_string();
    line.push_str(&format!(" {} {} {}", event.kind, event.action, event.actor.id));
    if !event.actor.attributes.is_empty() {
        let attributes: Vec<String> =
            event.actor.attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
        line.push_str(&format!(" ({})", attributes.join(", ")));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use hako_api::system::EventActor;

    #[test]
    fn templates_know_the_fields_by_gos_names() {
        let event =
            EventMessage { kind: "network".to_owned(), scope: "local".to_owned(), time: 7, ..EventMessage::default() };
        let names: Vec<_> = GO_NAMES.iter().collect();
        let format =
            Format::parse("{{.Type}}[{{.Status}}] {{.Scope}} {{.Time}}", event_order(), Missing::Error).unwrap();
        assert_eq!(format.row(&value(&event, &names).unwrap()).unwrap(), "network[] local 7");
    }

    #[test]
    fn an_event_is_one_line() {
        let event = EventMessage {
            kind: "container".to_owned(),
            action: "start".to_owned(),
            actor: EventActor {
                id: "4a2f".to_owned(),
                attributes: [("image", "debian"), ("name", "web")]
                    .into_iter()
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .collect(),
            },
            time: 1_700_000_000,
            time_nano: 1_700_000_000_120_000_000,
            ..EventMessage::default()
        };
        let expected = "2023-11-14T22:13:20.120000000+00:00 container start 4a2f (image=debian, name=web)";
        assert_eq!(plain(&event, &TimeZone::UTC), expected);
    }
}
