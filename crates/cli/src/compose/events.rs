//! `compose events`: what happens to a project's containers, as it happens.

use hako_api::{Filters, query::SystemEventsQuery, system::EventMessage};
use hako_compose::labels;
use jiff::{Timestamp, tz::TimeZone};

use super::project_or_name;
use crate::{
    command::{Arguments, Command, Shape},
    container::logs::instant,
    context::Context,
    error::CommandError,
    flag::FlagSet,
};

#[derive(Default)]
pub(crate) struct Events {
    json: bool,
    since: String,
    until: String,
}

impl Command for Events {
    const SHAPE: &'static Shape = &Shape {
        paths: &["compose events"],
        usage: "[OPTIONS] [SERVICE...]",
        about: "Show what happens to containers, as it happens",
        arguments: Arguments::AtLeast(0),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.json, "--json", "One JSON object a line");
        set.add(&mut self.since, "--since", "Begin with what happened since a time, or so long ago");
        set.add(&mut self.until, "--until", "End at a time, or so long ago");
    }

    async fn run(self, cx: &mut Context, services: Vec<String>) -> Result<(), CommandError> {
        let project = project_or_name(cx, &services)?;
        let mut filters = Filters::default();
        filters.add("type", "container");
        filters.add("label", format!("{}={}", labels::PROJECT, project.name));
        let query =
            SystemEventsQuery { since: instant("since", &self.since)?, until: instant("until", &self.until)?, filters };
        let mut events = cx.client()?.system_events(&query).await?;
        while let Some(event) = events.next().await? {
            let service = event.actor.attributes.get(labels::SERVICE).cloned().unwrap_or_default();
            if services.is_empty() || services.contains(&service) {
                let line = if self.json { json(&event, &service) } else { plain(&event, &TimeZone::system()) };
                cx.print_line(&line)?;
            }
        }
        Ok(())
    }
}

fn shown(event: &EventMessage) -> impl Iterator<Item = (&String, &String)> {
    event.actor.attributes.iter().filter(|(key, _)| !key.starts_with("com.docker.compose."))
}

fn at(event: &EventMessage) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(event.time_nano)).unwrap_or_default()
}

fn plain(event: &EventMessage, zone: &TimeZone) -> String {
    let attributes: Vec<String> = shown(event).map(|(key, value)| format!("{key}={value}")).collect();
    let at = at(event).to_zoned(zone.clone());
    let at = at.strftime("%Y-%m-%d %H:%M:%S.%6f");
    format!("{at} container {} {} ({})", event.action, event.actor.id, attributes.join(", "))
}

fn json(event: &EventMessage, service: &str) -> String {
    let attributes: std::collections::BTreeMap<_, _> = shown(event).collect();
    serde_json::json!({
        "action": event.action,
        "attributes": attributes,
        "id": event.actor.id,
        "service": service,
        "time": at(event).to_string(),
        "type": "container",
    })
    .to_string()
}
