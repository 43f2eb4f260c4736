//! Where one build is made: nodes of the chosen builder, mostly one, and what the build has to leave out there.
//!
//! hako's builders answer more than BuildKit's protocol asks (`--why`, `--flatten`, limits of steps). What another
//! builder would pass over in silence is refused here by name, or warned of where Buildx warns.

use hako_api::build::BuildNews;
use hako_client::build::{Builder, BuilderInfo, ImageBuild};
use tokio::sync::mpsc;

use super::{
    chosen::{self, Chosen, Driver, Node},
    driver, list,
    store::Store,
};
use crate::{context::Context, error::CommandError};

/// Attributes that only hako's builders know begin so.
const OWN: &str = "hako.";

/// Where a build is made.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    chosen: Chosen,
    parts: Vec<Part>,
}

/// A node that builds, and for which platforms; none: those that nobody has named.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    node: Node,
    pub platforms: Vec<String>,
}

impl Part {
    /// The node's name.
    pub(crate) fn name(&self) -> &str {
        &self.node.record.name
    }
}

impl Site {
    /// The nodes for a build of these platforms, by the builder that is meant.
    ///
    /// # Errors
    /// When there is no such builder.
    pub(crate) async fn find(cx: &Context, asked: Option<&str>, platforms: &[String]) -> Result<Self, CommandError> {
        let chosen = chosen::chosen(cx, asked)?;
        let words = platforms.iter().flat_map(|text| text.split(',')).map(|word| word.trim().to_owned());
        let words: Vec<String> = words.collect();
        let mut infos = Vec::new();
        if chosen.nodes.len() > 1 && !words.is_empty() {
            infos = list::states(&chosen).await.into_iter().map(|state| state.info).collect();
        }
        let shares = chosen.shares(&words, &infos)?;
        let parts = shares.into_iter().map(|(node, platforms)| Part { node: node.clone(), platforms }).collect();
        Ok(Self { chosen, parts })
    }

    /// The nodes, at least one.
    pub(crate) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Whether what is built is among the images of the daemon without further words.
    pub(crate) fn is_daemon(&self) -> bool {
        self.chosen.driver == Driver::Docker
    }

    /// The driver by its name.
    pub(crate) fn driver(&self) -> &str {
        self.chosen.driver.name()
    }

    /// Whether images go to the daemon if nothing is said of where they go.
    pub(crate) fn loads(&self) -> bool {
        let options = self.parts.first().map(|part| &part.node.record.driver_opts);
        options.and_then(|options| options.get("default-load")).is_some_and(|value| value == "true")
    }

    /// Starts a node if need be; answers how it is reached and what it is to build.
    ///
    /// # Errors
    /// When it does not come up, or does not know what the build asks for.
    pub(crate) async fn ready(
        &self,
        cx: &Context,
        node: &Part,
        mut wanted: ImageBuild,
        news: &mpsc::Sender<BuildNews>,
    ) -> Result<(Builder, ImageBuild), CommandError> {
        let node = &node.node;
        let builder = node.builder()?.clone();
        let asks = wanted.attributes.keys().any(|key| is_own(key));
        // A daemon that is asked for nothing of ours needs no questions before.
        let info = match &builder {
            Builder::Daemon(_) if !asks => None,
            Builder::Daemon(_) => Some(builder.info().await?),
            _ => Some(driver::boot(cx, &self.chosen, node, news).await?),
        };
        if info.is_some_and(|info: BuilderInfo| !info.is_hako()) {
            let name = format!("the builder {} ({} driver)", self.chosen.name, self.driver());
            for key in adapt(&mut wanted, &name)? {
                cx.remark(&format!("WARNING: {key} flag is ignored"));
            }
        }
        if !self.is_daemon() {
            Store::new(&cx.directory).touch(&self.chosen.name);
        }
        Ok((builder, wanted))
    }
}

// `hako.name` is only what a build is called in a list.
fn is_own(key: &str) -> bool {
    key.starts_with(OWN) && key != "hako.name"
}

/// Makes the build one for a BuildKit that is not hako's; gives the flags that have no effect there.
fn adapt(wanted: &mut ImageBuild, builder: &str) -> Result<Vec<String>, CommandError> {
    let refused = |flag: &str, why: &str| Err(CommandError::Said(format!("ERROR: {flag}: {builder} {why}")));
    let has = |key: &str| wanted.attributes.contains_key(key);
    if has("hako.why") {
        return refused("--why", "does not tell why steps were not cached");
    }
    if has("hako.flatten") {
        return refused("--flatten", "makes no image of one layer");
    }
    if has("hako.reproducible") {
        for output in &mut wanted.outputs {
            output.option.attributes.insert("rewrite-timestamp".to_owned(), "true".to_owned());
        }
    }
    let own = wanted.attributes.keys().filter_map(|key| key.strip_prefix(OWN));
    let ignored = own.filter(|key| !matches!(*key, "name" | "reproducible")).map(str::to_owned).collect();
    wanted.attributes.retain(|key, _| !key.starts_with(OWN));
    Ok(ignored)
}

#[cfg(test)]
mod tests {
    use hako_client::build::{BuildOption, BuildOutput, OutputTarget};

    use super::*;

    fn check(attributes: &[&str], expected: &str) {
        let output = BuildOutput { option: BuildOption::default(), target: OutputTarget::Builder };
        let mut wanted = ImageBuild {
            attributes: attributes.iter().map(|key| ((*key).to_owned(), "1".to_owned())).collect(),
            outputs: vec![output],
            ..ImageBuild::default()
        };
        let got = match adapt(&mut wanted, "the builder x") {
            Err(error) => error.message().unwrap_or_default(),
            Ok(ignored) => {
                let keys: Vec<&str> = wanted.attributes.keys().map(String::as_str).collect();
                let options: Vec<&str> = wanted.outputs[0].option.attributes.keys().map(String::as_str).collect();
                format!("{} ({}) {}", keys.join(" "), options.join(" "), ignored.join(" "))
            }
        };
        assert_eq!(got, expected);
    }

    #[test]
    fn what_only_hako_knows_is_left_out_or_refused() {
        check(&["target", "hako.name"], "target () ");
        check(&["hako.memory", "hako.name", "target"], "target () memory");
        check(&["hako.reproducible"], " (rewrite-timestamp) ");
        check(&["hako.why"], "ERROR: --why: the builder x does not tell why steps were not cached");
    }
}
