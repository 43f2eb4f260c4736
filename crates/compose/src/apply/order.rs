//! A graph of services walked so that each comes after what it depends on, or before it; independent ones together.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
};

use tokio::task::JoinSet;

use super::Dependencies;
use crate::error::ApplyError;

/// Turns a graph round.
pub(super) fn reversed(graph: &Dependencies) -> Dependencies {
    let mut reversed: Dependencies = graph.keys().map(|name| (name.clone(), Vec::new())).collect();
    for (name, targets) in graph {
        for target in targets {
            if let Some(list) = reversed.get_mut(target) {
                list.push(name.clone());
            }
        }
    }
    reversed
}

/// Does something for every name, after it is done for all that the name depends on.
///
/// # Errors
/// The first failure; what has begun by then is finished, nothing else is begun.
pub(super) async fn walk<F, Doing>(graph: &Dependencies, act: F) -> Result<(), ApplyError>
where
    F: Fn(String) -> Doing,
    Doing: Future<Output = Result<(), ApplyError>> + Send + 'static,
{
    let mut waiting: BTreeMap<&str, BTreeSet<&str>> = graph
        .iter()
        .map(|(name, on)| (name.as_str(), on.iter().map(String::as_str).filter(|on| graph.contains_key(*on)).collect()))
        .collect();
    let mut running = JoinSet::new();
    let mut failure = None;
    loop {
        if failure.is_none() {
            let ready: Vec<&str> = waiting.iter().filter(|(_, on)| on.is_empty()).map(|(name, _)| *name).collect();
            for name in ready {
                waiting.remove(name);
                let doing = act(name.to_owned());
                let name = name.to_owned();
                running.spawn(async move { (name, doing.await) });
            }
        }
        let Some(done) = running.join_next().await else { break };
        match done {
            Ok((name, Ok(()))) => waiting.values_mut().for_each(|on| {
                on.remove(name.as_str());
            }),
            Ok((_, Err(error))) => drop(failure.get_or_insert(error)),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
    failure.map_or(Ok(()), Err)
}

/// Does something for every item at once.
///
/// # Errors
/// The first failure, when all have ended.
pub(super) async fn together<T, Doing>(items: Vec<T>, act: impl Fn(T) -> Doing) -> Result<(), ApplyError>
where
    Doing: Future<Output = Result<(), ApplyError>> + Send + 'static,
{
    let mut running = JoinSet::new();
    for item in items {
        running.spawn(act(item));
    }
    let mut failure = None;
    while let Some(done) = running.join_next().await {
        match done {
            Ok(Ok(())) => {}
            Ok(Err(error)) => drop(failure.get_or_insert(error)),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
    failure.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    fn graph(edges: &[(&str, &[&str])]) -> Dependencies {
        edges.iter().map(|(name, on)| ((*name).to_owned(), on.iter().map(|it| (*it).to_owned()).collect())).collect()
    }

    fn run(graph: &Dependencies, fails: &'static str) -> (Vec<String>, Option<String>) {
        let done = Arc::new(Mutex::new(Vec::new()));
        let log = done.clone();
        let act = move |name: String| {
            let log = log.clone();
            async move {
                log.lock().unwrap().push(name.clone());
                if name == fails { Err(ApplyError::Said(format!("{name} fails"))) } else { Ok(()) }
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let failed = runtime.block_on(walk(graph, act)).err().map(|error| error.to_string());
        let done = done.lock().unwrap().clone();
        (done, failed)
    }

    #[test]
    fn dependencies_come_first_and_last_when_reversed() {
        let graph = graph(&[("web", &["app"]), ("app", &["db"]), ("db", &[])]);
        assert_eq!(run(&graph, "").0, ["db", "app", "web"]);
        assert_eq!(run(&reversed(&graph), "").0, ["web", "app", "db"]);
    }

    #[test]
    fn after_a_failure_nothing_else_begins() {
        let graph = graph(&[("web", &["app"]), ("app", &["db"]), ("db", &[])]);
        assert_eq!(run(&graph, "app"), (vec!["db".to_owned(), "app".to_owned()], Some("app fails".to_owned())));
    }
}
