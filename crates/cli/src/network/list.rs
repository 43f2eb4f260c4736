//! `network ls`: the networks of this host.

use std::collections::BTreeMap;

use hako_api::{network::Network, query::NetworkListQuery};

use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    error::CommandError,
    filter::FilterFlag,
    flag::FlagSet,
    format::{
        listing::{self, Row},
        text,
    },
};

#[derive(Default)]
pub(crate) struct List {
    filter: FilterFlag,
    format: Option<String>,
    no_trunc: bool,
    quiet: bool,
}

const SHAPE: listing::Shape = listing::Shape {
    columns: &[
        ("CreatedAt", "CREATED AT"),
        ("Driver", "DRIVER"),
        ("ID", "NETWORK ID"),
        ("IPv4", "IPV4"),
        ("IPv6", "IPV6"),
        ("Internal", "INTERNAL"),
        ("Labels", "LABELS"),
        ("Name", "NAME"),
        ("Scope", "SCOPE"),
    ],
    table: "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}",
};
const RAW: &str = "network_id: {{.ID}}\nname: {{.Name}}\ndriver: {{.Driver}}\nscope: {{.Scope}}\n";

impl Command for List {
    const SHAPE: &'static Shape = &Shape {
        paths: &["network ls", "network list"],
        usage: "[OPTIONS]",
        about: "List networks",
        arguments: Arguments::None,
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.filter, "-f, --filter", "Only those that match (\"driver=bridge\")");
        set.add(&mut self.format, "--format", "\"table\", \"json\", or a Go template for each");
        set.add(&mut self.no_trunc, "--no-trunc", "Shorten nothing");
        set.add(&mut self.quiet, "-q, --quiet", "Ids alone");
    }

    async fn run(self, cx: &mut Context, _words: Vec<String>) -> Result<(), CommandError> {
        let mut networks = cx.client()?.network_list(&NetworkListQuery { filters: self.filter.0 }).await?;
        networks.sort_by(|left, right| text::natural(&left.name, &right.name));
        let format = match &self.format {
            Some(format) => format.as_str(),
            None if self.quiet => "",
            None => cx.config.networks_format.as_str(),
        };
        let rows: Vec<NetworkRow> =
            networks.into_iter().map(|network| NetworkRow { network, whole: self.no_trunc }).collect();
        let text = if self.quiet && matches!(format, "" | "table") {
            rows.iter().map(|row| format!("{}\n", row.column("ID"))).collect()
        } else {
            listing::render(&SHAPE, if format == "raw" { RAW } else { format }, &rows)?
        };
        cx.print(&text)
    }
}

struct NetworkRow {
    network: Network,
    whole: bool,
}

impl Row for NetworkRow {
    fn column(&self, name: &str) -> String {
        let it = &self.network;
        match name {
            "ID" if self.whole => it.id.clone(),
            "ID" => text::short_id(&it.id).to_owned(),
            "Name" => it.name.clone(),
            "Driver" => it.driver.clone(),
            "Scope" => it.scope.clone(),
            "IPv4" => it.enable_ipv4.unwrap_or(true).to_string(),
            "IPv6" => it.enable_ipv6.to_string(),
            "Internal" => it.internal.to_string(),
            "Labels" => listing::labels_text(&it.labels),
            "CreatedAt" => text::go_time_exact(&it.created),
            _ => String::new(),
        }
    }

    fn labels(&self) -> Option<&BTreeMap<String, String>> {
        Some(&self.network.labels)
    }
}
