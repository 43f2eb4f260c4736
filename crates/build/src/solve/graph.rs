//! Graphs of other front ends: every operation is a task that waits for its inputs. What a step does is the same as in
//! Dockerfiles: looked up by what goes into it, and else done in a draft of the next layer.
//!
//! ```text
//!   source ─► exec ─┐
//!   source ─► file ─┴─► merge ─► the wanted output: a stack of layers
//! ```

use std::{
    collections::BTreeMap,
    os::fd::AsFd,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bollard_buildkit_proto::pb::op;
use hako_archive::align;
use hako_image::{BuiltImage, Hold, ShippedLayer, WantedLayer};
use hako_model::{Digest, ImageConfig, Platform};
use tokio::{sync::watch, task::JoinSet};

use super::{Builder, Built, Solving, Trail, bases, blocking, foresight, now};
use crate::{
    attest::Facts,
    cache::{Key, Record, digest},
    error::BuildError,
    event::{Completed, Event, Progress, Vertex},
    limits,
    llb::{Action, Edge, Graph, Node},
    plan::Plan,
    request::BuildRequest,
};

/// Outputs of an operation: stacks; `None` is an empty file system.
pub(super) type Outputs = Arc<Vec<Option<Digest>>>;

/// The results of a graph's operations, as they come.
pub(super) struct Flow {
    graph: Graph,
    outputs: Vec<watch::Sender<Option<Outputs>>>,
    /// How many graphs this one is within.
    depth: usize,
    /// Graphs of this build so far: each numbers its operations by itself.
    graphs: Arc<AtomicU64>,
}

/// What a graph within a graph comes to; boxed, for it may have another within it.
pub(super) type Within<'w> = Pin<Box<dyn Future<Output = Result<Option<Digest>, BuildError>> + Send + 'w>>;

impl Flow {
    /// The stack that an edge stands for, as soon as it is there.
    async fn output(&self, edge: Edge) -> Result<Option<Digest>, BuildError> {
        let mut watch = self.outputs[edge.node].subscribe();
        let outputs = watch.wait_for(Option::is_some).await.map_err(|_| BuildError::Cancelled)?;
        let found = outputs.as_ref().and_then(|outputs| outputs.get(edge.output).copied());
        found.ok_or_else(|| BuildError::invalid(format!("an operation has no output {}", edge.output)))
    }
}

impl Builder {
    /// Solves a graph; `request` says what steps get, and has the client's directories by the digest of their operation.
    ///
    /// # Errors
    /// The first thing that failed.
    pub(crate) async fn build_graph(
        &self,
        graph: Graph,
        request: BuildRequest,
        progress: Progress,
    ) -> Result<Built, BuildError> {
        let hold = Arc::new(self.store().hold());
        let solving = self.solving(&graph, 0, (Arc::new(request), hold, progress));
        let done = solving.flow(graph, 0, Arc::default()).await;
        let builder = self.clone();
        let settled = blocking(move || builder.0.cache.settle(builder.store())).await;
        let stack = done?;
        settled?;
        Ok(solving.built(stack))
    }

    fn solving(
        &self,
        graph: &Graph,
        number: u64,
        (request, hold, progress): (Arc<BuildRequest>, Arc<Hold>, Progress),
    ) -> Arc<Solving> {
        Arc::new(Solving {
            builder: self.clone(),
            hold,
            vertices: vertices(graph, number),
            request,
            plan: Plan::none(),
            progress,
            results: Vec::new(),
            images: tokio::sync::Mutex::default(),
            bases: bases::Bases::default(),
            trail: parking_lot::Mutex::default(),
            foresight: foresight::Foresight::of(0).0,
        })
    }
}

impl Solving {
    async fn flow(
        self: &Arc<Self>,
        graph: Graph,
        depth: usize,
        graphs: Arc<AtomicU64>,
    ) -> Result<Option<Digest>, BuildError> {
        let Some(root) = graph.root else { return Ok(None) };
        for vertex in self.vertices.values() {
            self.progress.tell(Event::Vertex(vertex.clone())).await;
        }
        let outputs = graph.nodes.iter().map(|_| watch::Sender::new(None)).collect();
        let flow = Arc::new(Flow { graph, outputs, depth, graphs });
        let mut tasks = JoinSet::new();
        for at in 0..flow.graph.nodes.len() {
            let (solving, flow) = (self.clone(), flow.clone());
            tasks.spawn(async move {
                let outputs = Box::pin(solving.operation(&flow, at)).await?;
                flow.outputs[at].send_replace(Some(outputs));
                Ok::<_, BuildError>(())
            });
        }
        while let Some(done) = tasks.join_next().await {
            let done = done.unwrap_or(Err(BuildError::Cancelled));
            if let Err(error) = done {
                // Dropping the set drops the other tasks, and with them their processes.
                tasks.shutdown().await;
                return Err(error);
            }
        }
        flow.output(root).await
    }

    async fn operation(&self, flow: &Flow, at: usize) -> Result<Outputs, BuildError> {
        let node = &flow.graph.nodes[at];
        let mut inputs = Vec::new();
        for edge in &node.inputs {
            inputs.push(flow.output(*edge).await?);
        }
        let id = self.vertex(at).map_or(0, |vertex| vertex.id);
        self.progress.started(id).await;
        let done = self.carry_out_node(flow, at, &inputs).await;
        let (cached, error) = match &done {
            Ok((_, cached)) => (*cached, None),
            Err(error) => (false, Some(error.modern())),
        };
        let completed = Completed { id, at: now(), cached, error, why: None, image: None };
        self.progress.tell(Event::Completed(completed)).await;
        let outputs = done?.0;
        for stack in &outputs {
            self.hold.stack(*stack);
        }
        Ok(Arc::new(outputs))
    }

    async fn carry_out_node(
        &self,
        flow: &Flow,
        at: usize,
        inputs: &[Option<Digest>],
    ) -> Result<(Vec<Option<Digest>>, bool), BuildError> {
        let node = &flow.graph.nodes[at];
        let op = match &node.action {
            Action::Known(op) => &**op,
            Action::Pass(outputs) => {
                let passed = outputs.iter().map(|at| match at {
                    ..0 => Err(BuildError::invalid("an output of a passthrough is none of its inputs")),
                    at => input(inputs, *at),
                });
                return Ok((passed.collect::<Result<_, _>>()?, true));
            }
        };
        match op {
            op::Op::Source(source) => self.source(at, node, source).await.map(|(stack, cached)| (vec![stack], cached)),
            op::Op::Exec(exec) => self.graph_exec(at, node, exec, inputs).await,
            op::Op::File(file) => self.graph_files(node, file, inputs).await,
            op::Op::Merge(merge) => {
                let chosen = merge.inputs.iter().map(|one| input(inputs, one.input));
                let chosen = chosen.collect::<Result<Vec<_>, _>>()?;
                Ok((vec![self.merged(chosen).await?], false))
            }
            op::Op::Diff(diff) => {
                let lower = input(inputs, diff.lower.as_ref().map_or(-1, |lower| lower.input))?;
                let upper = input(inputs, diff.upper.as_ref().map_or(-1, |upper| upper.input))?;
                let (stack, cached) = self.difference(node, lower, upper).await?;
                Ok((vec![stack], cached))
            }
            op::Op::Build(build) => Ok((vec![self.graph_within(flow, build, inputs).await?], false)),
        }
    }

    /// Solves a graph that an operation of another has made. What it did stays with what the other did.
    pub(super) fn within<'w>(&'w self, outer: &'w Flow, graph: Graph) -> Within<'w> {
        Box::pin(async move {
            if outer.depth >= limits::GRAPH_DEPTH_MAX {
                let text = format!("more than {} builds are within each other", limits::GRAPH_DEPTH_MAX);
                return Err(BuildError::invalid(text));
            }
            let number = outer.graphs.fetch_add(1, Ordering::Relaxed) + 1;
            let shared = (self.request.clone(), self.hold.clone(), self.progress.clone());
            let solving = self.builder.solving(&graph, number, shared);
            let done = solving.flow(graph, outer.depth + 1, outer.graphs.clone()).await;
            self.trail.lock().take_over(std::mem::take(&mut *solving.trail.lock()));
            done
        })
    }

    // The layers of each on top of those before it: what one takes away, it takes away from those too.
    async fn merged(&self, inputs: Vec<Option<Digest>>) -> Result<Option<Digest>, BuildError> {
        let mut inputs = inputs.into_iter();
        let mut stack = inputs.next().flatten();
        for upper in inputs {
            stack = self.stacked(stack, self.store().stack_blobs(upper)).await?;
        }
        Ok(stack)
    }

    // What of `upper` is not in `lower`: the layers that it has more, or one layer that leads from one to the other.
    async fn difference(
        &self,
        node: &Node,
        lower: Option<Digest>,
        upper: Option<Digest>,
    ) -> Result<(Option<Digest>, bool), BuildError> {
        let (under, all) = (self.store().stack_blobs(lower), self.store().stack_blobs(upper));
        let same = under.iter().zip(&all).take_while(|(a, b)| a.diff_id == b.diff_id).count();
        if same == under.len() {
            return Ok((self.stacked(None, all[same..].to_vec()).await?, false));
        }
        let mut key = Key::new("diff", &below(lower));
        key.input("upper", &below(upper).to_string());
        let (store, limit) = (self.store().clone(), self.times_limit());
        let made = |hold: Arc<Hold>| {
            blocking(move || {
                let draft = store.draft(lower, false)?;
                let (from, to) = (store.stack_view(lower)?, store.stack_view(upper)?);
                let aligned = align(draft.as_fd(), from.as_fd(), to.as_fd());
                aligned.map_err(BuildError::io("cannot tell two states apart"))?;
                Ok(store.draft_finish(draft, None, &hold, limit)?)
            })
        };
        let done = self.cached_on(key, None, &node.name, node.is_fresh, made).await?;
        Ok((done.record.stack, done.cached))
    }

    // These layers on top of a stack. One that lies there already is taken; else its files are put there again.
    async fn stacked(&self, below: Option<Digest>, layers: Vec<ShippedLayer>) -> Result<Option<Digest>, BuildError> {
        let mut stack = below;
        for layer in layers {
            let (store, hold) = (self.store().clone(), self.hold.clone());
            let placed = blocking(move || {
                if let Some(there) = store.stack_with(stack, layer.diff_id, &hold) {
                    return Ok(there);
                }
                let wanted = WantedLayer { diff_id: layer.diff_id, blob: layer.blob };
                store.layer_take(stack, wanted, store.blob_open(&layer)?, &hold)
            });
            stack = Some(placed.await?);
        }
        self.keep_stack(stack, "merge");
        Ok(stack)
    }

    // Layers are kept by records; a stack that no step has made gets one of its own.
    pub(super) fn keep_stack(&self, stack: Option<Digest>, description: &str) {
        let Some(stack) = stack else { return };
        let key = Key::new("layers", &stack).finish().0;
        let at = now();
        let record = Record {
            stack: Some(stack),
            has_layer: true,
            created: self.request.epoch.unwrap_or(at),
            used: at,
            uses: 1,
            description: description.to_owned(),
            inputs: BTreeMap::new(),
        };
        self.builder.0.cache.put(&key, record.clone());
        self.trail.lock().records.push((key, record));
    }

    fn built(&self, stack: Option<Digest>) -> Built {
        let hold = self.store().hold();
        hold.stack(stack);
        let trail: Trail = std::mem::take(&mut *self.trail.lock());
        for (_, record) in &trail.records {
            hold.stack(record.stack);
        }
        let created = self.request.epoch.unwrap_or_else(now);
        let image = BuiltImage {
            base: None,
            platform: self.request.platform.clone().unwrap_or_else(Platform::host),
            config: ImageConfig::default(),
            author: String::new(),
            created,
            lines: Vec::new(),
            stack,
            references: Vec::new(),
            is_changed: true,
            parent: None,
            inline_cache: None,
        };
        let facts = Facts { materials: trail.materials.clone(), finished: Some(now()), ..Facts::default() };
        Built { image, facts, sboms: Vec::new(), steps: Vec::new(), hold, trail }
    }
}

/// The stack of an input; `-1` is an empty file system.
pub(super) fn input(inputs: &[Option<Digest>], index: i64) -> Result<Option<Digest>, BuildError> {
    match usize::try_from(index) {
        Err(_) => Ok(None),
        Ok(at) => {
            let found = inputs.get(at).copied();
            found.ok_or_else(|| BuildError::invalid(format!("an operation of the graph has no input {index}")))
        }
    }
}

// `number`: which of the build's graphs it is, from 0.
fn vertices(graph: &Graph, number: u64) -> BTreeMap<usize, Vertex> {
    let id = |at: usize| (number << 32) + at as u64 + 1;
    let vertex = |(at, node): (usize, &Node)| {
        let vertex = Vertex {
            id: id(at),
            name: node.name.clone(),
            original: node.name.clone(),
            step: at + 1,
            steps: graph.nodes.len(),
            inputs: node.inputs.iter().map(|edge| id(edge.node)).collect(),
            lines: (0, 0),
        };
        (at, vertex)
    };
    graph.nodes.iter().enumerate().map(vertex).collect()
}

/// The digest that stands for a stack in a key.
pub(super) fn below(stack: Option<Digest>) -> Digest {
    stack.unwrap_or_else(|| digest(b""))
}
