//! Graphs that other front ends make (LLB): operations by digest, each naming the outputs of others that it takes.
//!
//! A definition is a list of messages; the digest of one is its name for the others, so that there are no circles. Here
//! they are read and joined; what they do is the solver's business (`solve/graph.rs`). A result of ours goes to front
//! ends as a definition too, which names it ([`definition_of`]).

use std::collections::HashMap;

use bollard_buildkit_proto::pb::{self, op};
use hako_model::{Digest, Platform};
use prost::Message;

use crate::{cache::digest, limits};

/// A graph, inputs before those that take them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Graph {
    pub(crate) nodes: Vec<Node>,
    /// What is wanted of it; `None`: nothing, an empty file system.
    pub(crate) root: Option<Edge>,
}

/// One operation.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) action: Action,
    pub(crate) inputs: Vec<Edge>,
    pub(crate) platform: Option<Platform>,
    /// As progress shows it.
    pub(crate) name: String,
    /// Nothing is taken from the cache.
    pub(crate) is_fresh: bool,
}

/// What an operation does.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    Known(Box<op::Op>),
    /// Its outputs are these of its inputs (`PassthroughOp`).
    Pass(Vec<i64>),
}

/// `Op` as far as the messages that we share with others do not have it yet.
#[derive(Clone, PartialEq, Message)]
struct NewerOp {
    #[prost(message, optional, tag = "8")]
    passthrough: Option<PassthroughOp>,
}

#[derive(Clone, PartialEq, Message)]
struct PassthroughOp {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(int64, repeated, tag = "2")]
    outputs: Vec<i64>,
}

/// One message of a definition.
struct Known {
    inputs: Vec<pb::Input>,
    platform: Option<pb::Platform>,
    action: Option<Action>,
}

impl Known {
    fn read(bytes: &[u8]) -> Result<Self, String> {
        let malformed = |error| format!("an operation of the graph is malformed: {error}");
        let pb::Op { inputs, platform, op, .. } = pb::Op::decode(bytes).map_err(malformed)?;
        let action = match op {
            Some(op) => Some(Action::Known(Box::new(op))),
            None => NewerOp::decode(bytes).map_err(malformed)?.passthrough.map(|pass| Action::Pass(pass.outputs)),
        };
        Ok(Self { inputs, platform, action })
    }
}

/// An output of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Edge {
    pub(crate) node: usize,
    pub(crate) output: usize,
}

impl Graph {
    /// Reads a definition; its last message says what is wanted.
    ///
    /// # Errors
    /// What is malformed, or names what is not there.
    pub(crate) fn read(definition: &pb::Definition) -> Result<Self, String> {
        if definition.def.len() > limits::GRAPH_NODES_MAX {
            return Err(format!("the graph has more than {} operations", limits::GRAPH_NODES_MAX));
        }
        let mut ops: HashMap<String, Known> = HashMap::new();
        let mut last = None;
        for bytes in &definition.def {
            let name = digest(bytes).to_string();
            ops.insert(name.clone(), Known::read(bytes)?);
            last = Some(name);
        }
        let mut graph = Self::default();
        let Some((last, top)) = last.and_then(|last| Some((last.clone(), ops.get(&last)?))) else { return Ok(graph) };
        // The last message has no operation of its own.
        let root = match (&top.action, top.inputs.as_slice()) {
            (None, [input]) => (input.digest.clone(), input.index),
            (None, _) => return Err("the graph's last message does not say what is wanted".to_owned()),
            (Some(_), _) => (last, 0),
        };
        let node = graph.add(&root.0, &ops, definition)?;
        graph.root = Some(Edge { node, output: output(root.1)? });
        Ok(graph)
    }

    // A node after all of its inputs; without recursion, for a graph may be as deep as it is large. There are no circles: a
    // name is the digest of what names its inputs.
    fn add(&mut self, top: &str, ops: &HashMap<String, Known>, definition: &pb::Definition) -> Result<usize, String> {
        let mut known: HashMap<String, usize> = HashMap::new();
        let mut open = vec![top.to_owned()];
        while let Some(name) = open.last().cloned() {
            if known.contains_key(&name) {
                open.pop();
                continue;
            }
            let op = ops.get(&name).ok_or_else(|| format!("the graph names {name}, which it does not have"))?;
            let missing: Vec<String> =
                op.inputs.iter().map(|input| input.digest.clone()).filter(|name| !known.contains_key(name)).collect();
            if !missing.is_empty() {
                open.extend(missing);
                continue;
            }
            let edge = |input: &pb::Input| Ok(Edge { node: known[&input.digest], output: output(input.index)? });
            let inputs = op.inputs.iter().map(edge).collect::<Result<Vec<_>, String>>()?;
            let action = op.action.clone().ok_or_else(|| format!("the operation {name} does nothing"))?;
            let metadata = definition.metadata.get(&name);
            let told = metadata.and_then(|metadata| metadata.description.get("llb.customname")).cloned();
            self.nodes.push(Node {
                name: told.unwrap_or_else(|| shown(&action)),
                action,
                inputs,
                platform: op.platform.as_ref().map(platform),
                is_fresh: metadata.is_some_and(|metadata| metadata.ignore_cache),
            });
            known.insert(name, self.nodes.len() - 1);
            open.pop();
        }
        known.get(top).copied().ok_or_else(|| "the graph is empty".to_owned())
    }
}

/// A definition that stands for a result, as a source: `hako-result://` and the digest of its layers, or `scratch`.
pub(crate) fn definition_of(stack: Option<Digest>) -> pb::Definition {
    let stack = stack.map_or_else(|| "scratch".to_owned(), |stack| stack.to_string());
    let source = pb::SourceOp { identifier: format!("hako-result://{stack}"), ..pb::SourceOp::default() };
    let source = pb::Op { op: Some(op::Op::Source(source)), ..pb::Op::default() }.encode_to_vec();
    let input = pb::Input { digest: digest(&source).to_string(), index: 0 };
    let top = pb::Op { inputs: vec![input], ..pb::Op::default() }.encode_to_vec();
    let def = vec![source, top];
    // Clients take no operation of which nothing else is said.
    let metadata = def.iter().map(|bytes| (digest(bytes).to_string(), pb::OpMetadata::default())).collect();
    pb::Definition { def, metadata, ..pb::Definition::default() }
}

fn output(index: i64) -> Result<usize, String> {
    usize::try_from(index).map_err(|_| format!("an operation of the graph has no output {index}"))
}

fn platform(own: &pb::Platform) -> Platform {
    let variant = Some(own.variant.clone()).filter(|variant| !variant.is_empty());
    Platform { os: own.os.clone(), architecture: own.architecture.clone(), variant }
}

fn shown(action: &Action) -> String {
    let op = match action {
        Action::Known(op) => &**op,
        Action::Pass(_) => return "passthrough".to_owned(),
    };
    match op {
        op::Op::Exec(exec) => exec.meta.as_ref().map(|meta| meta.args.join(" ")).unwrap_or_default(),
        op::Op::Source(source) => source.identifier.clone(),
        op::Op::File(file) => {
            let names: Vec<&str> = file.actions.iter().map(action_on_files).collect();
            names.join(", ")
        }
        op::Op::Merge(_) => "merge".to_owned(),
        op::Op::Diff(_) => "diff".to_owned(),
        op::Op::Build(_) => "build".to_owned(),
    }
}

fn action_on_files(one: &pb::FileAction) -> &'static str {
    use pb::file_action::Action;
    match &one.action {
        Some(Action::Copy(_)) => "copy",
        Some(Action::Mkfile(_)) => "mkfile",
        Some(Action::Mkdir(_)) => "mkdir",
        Some(Action::Rm(_)) => "rm",
        Some(Action::Symlink(_)) => "symlink",
        None => "nothing",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(name: &str) -> pb::Op {
        let source = pb::SourceOp { identifier: name.to_owned(), ..pb::SourceOp::default() };
        pb::Op { op: Some(op::Op::Source(source)), ..pb::Op::default() }
    }

    fn on(below: &pb::Op, op: Option<op::Op>) -> pb::Op {
        let input = pb::Input { digest: digest(&below.encode_to_vec()).to_string(), index: 0 };
        pb::Op { inputs: vec![input], op, ..pb::Op::default() }
    }

    fn check(ops: &[pb::Op], expected: &str) {
        let definition = pb::Definition { def: ops.iter().map(Message::encode_to_vec).collect(), ..Default::default() };
        let got = match Graph::read(&definition) {
            Ok(graph) => {
                let one =
                    |node: &Node| format!("{} {:?}", node.name, node.inputs.iter().map(|e| e.node).collect::<Vec<_>>());
                format!(
                    "{} -> {:?}",
                    graph.nodes.iter().map(one).collect::<Vec<_>>().join("; "),
                    graph.root.map(|e| e.node)
                )
            }
            Err(error) => error,
        };
        assert_eq!(got, expected);
    }

    #[test]
    fn what_several_take_is_there_once() {
        let base = source("docker-image://busybox");
        let merge = on(&base, Some(op::Op::Merge(pb::MergeOp::default())));
        let input = |op: &pb::Op| pb::Input { digest: digest(&op.encode_to_vec()).to_string(), index: 0 };
        let inputs = vec![input(&base), input(&merge), input(&base)];
        let top = pb::Op { inputs, op: Some(op::Op::Merge(pb::MergeOp::default())), ..pb::Op::default() };
        let expected = "docker-image://busybox []; merge [0]; merge [0, 1, 0] -> Some(2)";
        check(&[base, merge, top.clone(), on(&top, None)], expected);
    }

    #[test]
    fn a_definition_is_joined_or_refused() {
        let base = source("docker-image://busybox");
        let merge = on(&base, Some(op::Op::Merge(pb::MergeOp::default())));
        check(&[base.clone(), merge.clone(), on(&merge, None)], "docker-image://busybox []; merge [0] -> Some(1)");
        check(std::slice::from_ref(&base), "docker-image://busybox [] -> Some(0)");
        check(&[], " -> None");
        let gone = digest(&base.encode_to_vec()).to_string();
        check(&[merge.clone(), on(&merge, None)], &format!("the graph names {gone}, which it does not have"));
        check(&[pb::Op::default()], "the graph's last message does not say what is wanted");
        let definition = pb::Definition { def: vec![vec![0xff, 0xff]], ..Default::default() };
        assert!(Graph::read(&definition).unwrap_err().contains("malformed"));
    }

    #[test]
    fn what_is_newer_than_our_messages_is_read_too() {
        let base = source("docker-image://busybox");
        let pass = NewerOp { passthrough: Some(PassthroughOp { id: "order".to_owned(), outputs: vec![0] }) };
        let bytes = [on(&base, None).encode_to_vec(), pass.encode_to_vec()].concat();
        let definition = pb::Definition { def: vec![base.encode_to_vec(), bytes], ..Default::default() };
        let graph = Graph::read(&definition).unwrap();
        assert!(matches!(&graph.nodes[1].action, Action::Pass(outputs) if outputs == &[0]), "{graph:?}");
    }

    #[test]
    fn a_result_is_a_definition() {
        let stack = digest(b"files");
        let graph = Graph::read(&definition_of(Some(stack))).unwrap();
        assert_eq!(graph.nodes[0].name, format!("hako-result://{stack}"));
        assert_eq!(Graph::read(&definition_of(None)).unwrap().nodes[0].name, "hako-result://scratch");
    }
}
