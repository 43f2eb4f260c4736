//! One build on several nodes: each builds its share of the platforms, side by side, and the index of all is put together
//! here.
//!
//! ```text
//!   node a ── linux/amd64 ──► pushed by digest ─┐
//!                                               ├─► one index under the names that are wanted
//!   node b ── linux/arm64 ──► pushed by digest ─┘
//! ```
//! The first node that fails ends the others. Nothing has a name in a registry before all are done.

use std::{
    collections::{BTreeMap, HashMap},
    mem,
};

use hako_api::{
    build::{BuildNews, BuildVertex},
    text,
};
use hako_client::build::{BuildOutput, Builder, ImageBuild, OutputTarget};
use hako_model::Reference;
use serde_json::json;
use tokio::{sync::mpsc, task::JoinSet};

use super::{Failure, NEWS_QUEUED, Step};
use crate::{
    builder::site::{Part, Site},
    context::Context,
    error::CommandError,
    imagetools,
    registry::named,
};

/// What the builder answers, and what we add.
type Answer = HashMap<String, String>;

const DIGEST: &str = "containerimage.digest";

/// What is put together when all nodes are done.
#[derive(Debug, Default, PartialEq, Eq)]
struct Merge {
    names: Vec<Reference>,
    /// The index is wanted under its digest, not under these names.
    by_digest: bool,
    annotations: BTreeMap<String, String>,
}

/// Builds on every node of the site; answers what there is to be said of the whole.
pub(super) async fn build(
    cx: &Context,
    site: &Site,
    mut wanted: ImageBuild,
    news: mpsc::Sender<BuildNews>,
) -> Result<Answer, Failure> {
    let merges = divide(&mut wanted).map_err(|why| Failure::Before(CommandError::Said(format!("ERROR: {why}"))))?;
    let mut building = JoinSet::new();
    for (number, part) in site.parts().iter().enumerate() {
        let wanted = share(&wanted, part);
        let (builder, wanted) = site.ready(cx, part, wanted, &news).await.map_err(Failure::Before)?;
        let (name, news) = (part.name().to_owned(), news.clone());
        building.spawn(async move { (number, on_node(name, builder, wanted, news).await) });
    }
    let mut answers: BTreeMap<usize, Answer> = BTreeMap::new();
    while let Some(done) = building.join_next().await {
        let cut_off = |_| Failure::Before(CommandError::Said("ERROR: the build was cut off".to_owned()));
        let (number, answer) = done.map_err(cut_off)?;
        // Leaving drops the builds that go on, which ends them.
        answers.insert(number, answer.map_err(Failure::Within)?);
    }
    let mut whole = Answer::new();
    for merge in merges {
        let title = merge.names.iter().map(Reference::familiar).collect::<Vec<_>>().join(",");
        let step = Step::begin(news.clone(), format!("merging manifest list {title}")).await;
        let merged = together(cx, &merge, answers.values(), &step).await;
        step.end(merged.as_ref().err().and_then(CommandError::message)).await;
        whole.extend(merged.map_err(Failure::Before)?);
    }
    Ok(whole)
}

async fn on_node(
    name: String,
    builder: Builder,
    wanted: ImageBuild,
    news: mpsc::Sender<BuildNews>,
) -> Result<Answer, hako_client::ClientError> {
    let (send, mut own) = mpsc::channel(NEWS_QUEUED);
    let telling = async {
        while let Some(message) = own.recv().await {
            let _ = news.send(marked(message, &name)).await;
        }
    };
    tokio::join!(builder.build(wanted, send), telling).0
}

// Each node its platforms; an index even of one, so that what is attested of it goes with it.
fn share(wanted: &ImageBuild, part: &Part) -> ImageBuild {
    let mut own = wanted.clone();
    own.attributes.insert("platform".to_owned(), part.platforms.join(","));
    own.attributes.insert("multi-platform".to_owned(), "true".to_owned());
    own
}

// Makes of what is wanted what every node is to do; answers what then is to be done with all. Pure.
fn divide(wanted: &mut ImageBuild) -> Result<Vec<Merge>, String> {
    if wanted.upload.is_some() {
        return Err("a tar on standard input is a context for one node, and several build: name a directory".to_owned());
    }
    let mut merges = Vec::new();
    for output in &mut wanted.outputs {
        match (output.option.kind.as_str(), &output.target) {
            ("docker", _) | (_, OutputTarget::Load) => {
                let why = "docker exporter does not currently support exporting manifest lists";
                return Err(format!("failed to solve: {why}: several nodes build, push instead"));
            }
            (kind, OutputTarget::File(_) | OutputTarget::Stdout) => {
                return Err(format!("{kind} for multi-node builds currently not supported"));
            }
            (_, OutputTarget::Directory(_)) => {}
            (_, OutputTarget::Builder) => merges.extend(by_digest(output)?),
        }
    }
    Ok(merges)
}

// An image that is to be pushed is pushed without names; answers what these are.
fn by_digest(output: &mut BuildOutput) -> Result<Option<Merge>, String> {
    let attributes = &mut output.option.attributes;
    let is_true = |attributes: &HashMap<String, String>, key: &str| attributes.get(key).is_some_and(|it| it == "true");
    if !is_true(attributes, "push") {
        return Ok(None);
    }
    let names = attributes.get("name").cloned().unwrap_or_default();
    let names = names.split(',').map(str::trim).filter(|name| !name.is_empty());
    let names = names.map(|name| named(name).map_err(|error| format!("invalid tag {name:?}: {error}")));
    let names = names.collect::<Result<Vec<_>, _>>()?;
    if names.is_empty() {
        return Err("tag is needed when pushing to registry".to_owned());
    }
    let mut places: Vec<String> = names.iter().map(Reference::familiar_name).collect();
    places.sort();
    places.dedup();
    let by_digest = is_true(attributes, "push-by-digest");
    attributes.insert("name".to_owned(), places.join(","));
    attributes.insert("push-by-digest".to_owned(), "true".to_owned());
    let said =
        |(key, value): (&String, &String)| Some((key.strip_prefix("annotation-index.")?.to_owned(), value.clone()));
    let annotations = attributes.iter().filter_map(said).collect();
    Ok(Some(Merge { names, by_digest, annotations }))
}

async fn together(
    cx: &Context,
    merge: &Merge,
    answers: impl Iterator<Item = &Answer>,
    step: &Step,
) -> Result<Answer, CommandError> {
    let mut sources = Vec::new();
    for answer in answers {
        let digest = answer.get(DIGEST).and_then(|text| text.parse().ok());
        let digest =
            digest.ok_or_else(|| CommandError::Said("ERROR: a node tells no digest of its image".to_owned()))?;
        // Every node has pushed to every repository.
        sources.push(merge.names[0].with_digest(digest));
    }
    let merged = imagetools::merge(cx, &sources, &merge.annotations, (&merge.names, merge.by_digest), step).await?;
    let descriptor = json!({ "mediaType": merged.media_type, "digest": merged.digest, "size": merged.size });
    let names: Vec<String> = merge.names.iter().map(ToString::to_string).collect();
    Ok(HashMap::from([
        (DIGEST.to_owned(), merged.digest),
        ("containerimage.descriptor".to_owned(), text::base64_standard(descriptor.to_string().as_bytes())),
        ("image.name".to_owned(), names.join(",")),
    ]))
}

// What a node tells, with its name; nodes that do the same have steps of the same digest.
fn marked(mut news: BuildNews, node: &str) -> BuildNews {
    let own = |digest: &mut String| {
        let bytes = ring::digest::digest(&ring::digest::SHA256, format!("{node} {digest}").as_bytes());
        *digest = format!("sha256:{}", hako_base::random::encode_hex(bytes.as_ref()));
    };
    for BuildVertex { digest, inputs, name, .. } in &mut news.vertexes {
        own(digest);
        inputs.iter_mut().for_each(own);
        *name = title(&mem::take(name), node);
    }
    news.statuses.iter_mut().for_each(|status| own(&mut status.vertex));
    news.logs.iter_mut().for_each(|log| own(&mut log.vertex));
    news.warnings.iter_mut().for_each(|warning| own(&mut warning.vertex));
    news
}

// `[internal] load` is `[node internal] load`, and `exporting` is `[node] exporting`.
fn title(name: &str, node: &str) -> String {
    match name.strip_prefix('[') {
        Some(rest) => format!("[{node} {rest}"),
        None => format!("[{node}] {name}"),
    }
}

#[cfg(test)]
mod tests {
    use hako_client::build::BuildOption;

    use super::*;

    fn check(kind: &str, attributes: &[(&str, &str)], target: OutputTarget, expected: &str) {
        let attributes = attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let option = BuildOption { kind: kind.to_owned(), attributes };
        let mut wanted = ImageBuild { outputs: vec![BuildOutput { option, target }], ..ImageBuild::default() };
        let got = match divide(&mut wanted) {
            Err(why) => why,
            Ok(merges) => {
                let mut left: Vec<String> =
                    wanted.outputs[0].option.attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
                left.sort();
                let merges = merges.iter().map(|merge| {
                    let names: Vec<String> = merge.names.iter().map(ToString::to_string).collect();
                    format!(" -> {} {} {:?}", names.join(" "), merge.by_digest, merge.annotations)
                });
                left.join(" ") + &merges.collect::<String>()
            }
        };
        assert_eq!(got, expected);
    }

    #[test]
    fn what_is_pushed_gets_its_names_last() {
        check(
            "image",
            &[("push", "true"), ("name", "h:5/a:1,h:5/a:2,h:5/b"), ("annotation-index.k", "v")],
            OutputTarget::Builder,
            "annotation-index.k=v name=h:5/a,h:5/b push-by-digest=true push=true -> h:5/a:1 h:5/a:2 h:5/b:latest false {\"k\": \"v\"}",
        );
        check(
            "image",
            &[("push", "true"), ("name", "h:5/a"), ("push-by-digest", "true")],
            OutputTarget::Builder,
            "name=h:5/a push-by-digest=true push=true -> h:5/a:latest true {}",
        );
        check("image", &[("name", "h:5/a")], OutputTarget::Builder, "name=h:5/a");
        check("local", &[], OutputTarget::Directory("out".into()), "");
    }

    #[test]
    fn what_several_nodes_cannot_make_is_refused() {
        check("image", &[("push", "true")], OutputTarget::Builder, "tag is needed when pushing to registry");
        for (kind, target) in [("docker", OutputTarget::Load), ("docker", OutputTarget::File("x".into()))] {
            let why = "failed to solve: docker exporter does not currently support exporting manifest lists: several nodes build, push instead";
            check(kind, &[], target, why);
        }
        check("oci", &[], OutputTarget::Stdout, "oci for multi-node builds currently not supported");
        check("tar", &[], OutputTarget::File("x".into()), "tar for multi-node builds currently not supported");
    }

    #[test]
    fn steps_say_where_they_are_done() {
        assert_eq!(title("[internal] load build definition", "n1"), "[n1 internal] load build definition");
        assert_eq!(title("[2/3] RUN x", "n1"), "[n1 2/3] RUN x");
        assert_eq!(title("exporting to image", "n1"), "[n1] exporting to image");
        let vertex = BuildVertex { digest: "sha256:a".into(), ..BuildVertex::default() };
        let news = BuildNews { vertexes: vec![vertex], ..BuildNews::default() };
        let digest = |node: &str| marked(news.clone(), node).vertexes[0].digest.clone();
        assert_eq!((digest("a") == digest("a"), digest("a") == digest("b")), (true, false));
    }
}
