//! `buildx create`: a builder, or a node of one.

use std::{collections::BTreeMap, fs, path::Path};

use hako_model::Platform;

use super::{
    boot,
    chosen::{self, Driver, Node},
    configuration, driver,
    store::{Lasting, NodeRecord, Record, Store, check_name},
};
use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    error::CommandError,
    flag::{FlagSet, GoDuration},
    parse::csv,
};

/// What BuildKit in a container of its own may let steps have: its network is not the machine's.
const HOST_NETWORK: &str = "--allow-insecure-entitlement=network.host";

#[derive(Default)]
pub(crate) struct Create {
    append: bool,
    bootstrap: bool,
    config: Option<String>,
    old_config: Option<String>,
    debug: bool,
    driver: String,
    flags: String,
    leave: bool,
    name: String,
    node: String,
    options: Vec<String>,
    platforms: Vec<String>,
    timeout: Option<GoDuration>,
    use_it: bool,
}

impl Command for Create {
    const SHAPE: &'static Shape = &Shape {
        paths: &["buildx create"],
        usage: "[OPTIONS] [CONTEXT|ENDPOINT]",
        about: "Make a builder, or change one",
        arguments: Arguments::AtMost(1),
        interspersed: true,
    };

    fn flags<'a>(&'a mut self, set: &mut FlagSet<'a>) {
        set.add(&mut self.append, "--append", "Add a node to a builder instead of changing it");
        set.add(&mut self.bootstrap, "--bootstrap", "Start it at once");
        set.add(&mut self.config, "--buildkitd-config", "Configuration file of BuildKit");
        set.add(&mut self.old_config, "--config", "Older name of --buildkitd-config").hide();
        set.add(&mut self.flags, "--buildkitd-flags", "Flags of BuildKit");
        set.add(&mut self.debug, "-D, --debug", "Accepted, without effect").hide();
        set.add(&mut self.driver, "--driver", "How it is reached (docker-container, remote)");
        set.add(&mut self.options, "--driver-opt", "Options of the driver (key=value)").kind("stringArray");
        set.add(&mut self.leave, "--leave", "Remove a node from a builder instead of changing it");
        set.add(&mut self.name, "--name", "Name of the builder");
        set.add(&mut self.node, "--node", "Name of the node that is made or changed");
        set.add(&mut self.platforms, "--platform", "Platforms that the node is for").kind("stringArray");
        set.add(&mut self.timeout, "--timeout", "Accepted: a builder has 20 seconds to answer").hide();
        set.add(&mut self.use_it, "--use", "Use it from now on");
    }

    async fn run(self, cx: &mut Context, words: Vec<String>) -> Result<(), CommandError> {
        let store = Store::new(&cx.directory);
        if self.leave {
            return self.leave(&store);
        }
        let name = match self.name.as_str() {
            "" if self.append => return said("append requires a builder name"),
            "" => free_name(&store)?,
            name => name.to_owned(),
        };
        check_name(&name)?;
        let driver = self.driver(store.get(&name)?.as_ref());
        let wanted = self.node(cx, &store, &driver, words.into_iter().next())?;
        // Before anything is written: a builder that cannot be is none.
        let node = self.looked_at(cx, &store, (&name, &driver), wanted).await?;
        let lock = store.lock()?;
        let record = self.joined(store.get(&name)?, &name, &driver, node).map_err(ours)?;
        store.put(&record)?;
        store.touch(&name);
        if self.use_it {
            store.set_current(&chosen::key(cx)?, &name, Lasting::default())?;
        }
        drop(lock);
        if self.bootstrap {
            boot::and_show(cx, &chosen::named(cx, &name)?).await?;
        }
        cx.print_line(&name)
    }
}

fn said<T>(text: impl std::fmt::Display) -> Result<T, CommandError> {
    Err(ours(text.to_string()))
}

fn ours(text: String) -> CommandError {
    CommandError::Said(format!("ERROR: {text}"))
}

impl Create {
    fn leave(&self, store: &Store) -> Result<(), CommandError> {
        if self.name.is_empty() {
            return said("leave requires instance name");
        }
        if self.node.is_empty() {
            return said("leave requires node name");
        }
        let _lock = store.lock()?;
        let Some(mut record) = store.get(&self.name)? else {
            return said(format!("failed to find instance {:?} for leave", self.name));
        };
        let before = record.nodes.len();
        record.nodes.retain(|node| node.name != self.node);
        if record.nodes.len() == before {
            return said(format!("node {:?} not found for {}", self.node, self.name));
        }
        store.put(&record)
    }

    // The node that the flags describe, without its name.
    fn node(
        &self,
        cx: &Context,
        store: &Store,
        driver: &Driver,
        endpoint: Option<String>,
    ) -> Result<NodeRecord, CommandError> {
        match driver {
            Driver::Docker => return said("additional instances of driver \"docker\" cannot be created"),
            Driver::Other(word) if word == "kubernetes" => {
                return said("the driver kubernetes is not built: docker-container and remote are");
            }
            Driver::Other(word) => return said(format!("failed to find driver {word:?}")),
            Driver::Container | Driver::Remote => {}
        }
        let mut flags = split(&self.flags).map_err(ours)?;
        if *driver == Driver::Container && !flags.iter().any(|flag| flag.starts_with("--allow-insecure-entitlement")) {
            flags.push(HOST_NETWORK.to_owned());
        }
        let endpoint = match (driver, endpoint) {
            (Driver::Remote, None) => return said("no remote endpoint provided"),
            (_, Some(endpoint)) => endpoint,
            (_, None) => chosen::key(cx)?,
        };
        let files = if *driver == Driver::Container { self.files(store)? } else { BTreeMap::new() };
        Ok(NodeRecord {
            endpoint,
            flags,
            files,
            platforms: platforms(&self.platforms)?,
            driver_opts: options(&self.options)?,
            ..NodeRecord::default()
        })
    }

    // Nodes of one builder have one driver.
    fn driver(&self, record: Option<&Record>) -> Driver {
        match record {
            _ if !self.driver.is_empty() => Driver::read(&self.driver),
            Some(record) => Driver::read(&record.driver),
            None => Driver::Container,
        }
    }

    fn files(&self, store: &Store) -> Result<BTreeMap<String, String>, CommandError> {
        let path = match self.config.as_ref().or(self.old_config.as_ref()) {
            Some(path) => path.clone(),
            None if store.default_configuration().exists() => store.default_configuration().display().to_string(),
            None => return Ok(BTreeMap::new()),
        };
        let text = fs::read_to_string(Path::new(&path)).map_err(CommandError::local(format!("read {path}")))?;
        let files = configuration::files(&text).map_err(|why| ours(format!("{path}: {why}")))?;
        let written = |(name, bytes): (String, Vec<u8>)| (name, hako_api::text::base64_standard(&bytes));
        Ok(files.into_iter().map(written).collect())
    }

    // The node with its name, if its driver and its daemon take it.
    async fn looked_at(
        &self,
        cx: &Context,
        store: &Store,
        (name, driver): (&str, &Driver),
        node: NodeRecord,
    ) -> Result<NodeRecord, CommandError> {
        let joined = self.joined(store.get(name)?, name, driver, node.clone()).map_err(ours)?;
        let node_name = if self.node.is_empty() { joined.nodes.last().map(|node| node.name.clone()) } else { None };
        let node = NodeRecord { name: node_name.unwrap_or_else(|| self.node.clone()), ..node };
        let failed = |why: String| ours(format!("failed to initialize builder {name} ({}): {why}", node.name));
        driver::check_options(driver, &node.driver_opts).map_err(failed)?;
        let reached = Node { builder: chosen::reach(cx, driver, &node), record: node.clone() };
        match driver::state(driver, &reached).await.error {
            Some(why) => Err(failed(why)),
            None => Ok(node),
        }
    }

    // The builder with the node in it. Pure.
    fn joined(
        &self,
        record: Option<Record>,
        name: &str,
        driver: &Driver,
        mut node: NodeRecord,
    ) -> Result<Record, String> {
        let Some(mut record) = record else {
            if self.append {
                return Err(format!("failed to find instance {name:?} for append"));
            }
            node.name = if self.node.is_empty() { format!("{name}0") } else { self.node.clone() };
            let driver = driver.name().to_owned();
            return Ok(Record { name: name.to_owned(), driver, nodes: vec![node], ..Record::default() });
        };
        if record.driver != driver.name() {
            return Err(format!("existing instance for {name:?} but has mismatched driver {:?}", record.driver));
        }
        if !self.append && self.node.is_empty() {
            return Err(format!(
                "existing instance for {name:?} but no append mode, specify the node name to make changes for existing instances"
            ));
        }
        let is_same = |other: &NodeRecord| other.name == self.node;
        if let Some(other) = record.nodes.iter().find(|other| other.endpoint == node.endpoint && !is_same(other)) {
            return Err(format!("invalid duplicate endpoint {}", other.endpoint));
        }
        if let Some(known) = record.nodes.iter_mut().find(|other| is_same(other)) {
            node.name = known.name.clone();
            *known = node;
            return Ok(record);
        }
        if !self.append {
            return Err(format!("failed to find node {:?} for {name}", self.node));
        }
        node.name = match self.node.as_str() {
            "" => {
                let is_free = |name: &String| !record.nodes.iter().any(|node| node.name == *name);
                (0..).map(|number| format!("{name}{number}")).find(is_free).unwrap_or_default()
            }
            given => given.to_owned(),
        };
        record.nodes.push(node);
        Ok(record)
    }
}

fn platforms(texts: &[String]) -> Result<Vec<Platform>, CommandError> {
    let words = texts.iter().flat_map(|text| text.split(',')).map(str::trim).filter(|word| !word.is_empty());
    words.map(|word| word.parse::<Platform>().map_err(|error| ours(error.to_string()))).collect()
}

fn options(texts: &[String]) -> Result<BTreeMap<String, String>, CommandError> {
    let mut all = BTreeMap::new();
    for text in texts {
        for field in csv::fields(text).map_err(ours)? {
            match field.split_once('=') {
                Some((key, value)) => all.insert(key.to_owned(), value.to_owned()),
                None => return said(format!("invalid value {field:?}, expecting k=v")),
            };
        }
    }
    Ok(all)
}

// Words as a shell takes them apart, without its variables.
fn split(text: &str) -> Result<Vec<String>, String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            ('\'' | '"', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            ('\\', None | Some('"')) => word.get_or_insert_default().extend(chars.next()),
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err(format!("a quote in {text:?} has no end"));
    }
    words.extend(word);
    Ok(words)
}

const QUALITIES: [&str; 16] = [
    "brisk", "calm", "clever", "eager", "fair", "gentle", "keen", "lucky", "merry", "neat", "patient", "quiet",
    "steady", "swift", "tidy", "warm",
];
const TRADES: [&str; 16] = [
    "baker", "binder", "cooper", "dyer", "farrier", "glazier", "joiner", "mason", "miller", "potter", "sawyer",
    "smith", "tanner", "thatcher", "turner", "weaver",
];

fn free_name(store: &Store) -> Result<String, CommandError> {
    for _ in 0..QUALITIES.len() * TRADES.len() {
        let [first, second] = hako_base::random::bytes::<2>().map(|byte| usize::from(byte) % TRADES.len());
        let name = format!("{}_{}", QUALITIES[first], TRADES[second]);
        if store.get(&name)?.is_none() {
            return Ok(name);
        }
    }
    said("every name that could be made up is taken: say one with --name")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(create: Create, endpoint: &str, expected: &str) {
        let node = |name: &str, endpoint: &str| NodeRecord {
            name: name.to_owned(),
            endpoint: endpoint.to_owned(),
            ..NodeRecord::default()
        };
        let driver = "remote".to_owned();
        let known =
            Record { name: "x".into(), driver, nodes: vec![node("x0", "a"), node("n", "b")], ..Record::default() };
        let record = (create.name == "x").then_some(known);
        let driver = create.driver(record.as_ref());
        let got = create.joined(record, &create.name, &driver, node("", endpoint)).map_or_else(
            |why| why,
            |record| {
                let nodes = record.nodes.iter().map(|node| format!("{} {}", node.name, node.endpoint));
                format!("{}: {}", record.driver, nodes.collect::<Vec<_>>().join(", "))
            },
        );
        assert_eq!(got, expected);
    }

    fn create(name: &str, node: &str, append: bool) -> Create {
        Create { name: name.into(), node: node.into(), append, driver: "remote".into(), ..Create::default() }
    }

    #[test]
    fn nodes_join_builders() {
        check(create("y", "", false), "a", "remote: y0 a");
        check(create("y", "", true), "a", "failed to find instance \"y\" for append");
        check(create("x", "", true), "c", "remote: x0 a, n b, x1 c");
        check(create("x", "m", true), "c", "remote: x0 a, n b, m c");
        check(create("x", "", true), "b", "invalid duplicate endpoint b");
        check(create("x", "n", false), "c", "remote: x0 a, n c");
        check(create("x", "m", false), "c", "failed to find node \"m\" for x");
        check(
            Create { driver: "docker-container".into(), ..create("x", "", true) },
            "c",
            "existing instance for \"x\" but has mismatched driver \"remote\"",
        );
    }

    #[test]
    fn flags_are_taken_apart_as_by_a_shell() {
        let check = |text: &str, expected: &[&str]| assert_eq!(split(text).unwrap(), expected);
        check("--debug  --x 'a b' \"c\\\"d\"e", &["--debug", "--x", "a b", "c\"de"]);
        check(" ", &[]);
        assert!(split("'a").is_err());
    }
}
