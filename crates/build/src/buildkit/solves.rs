//! Builds that go on: their news, their results, and what the client returned.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use bollard_buildkit_proto::moby::buildkit::v1::StatusResponse;
use tokio::sync::{Notify, watch};
use tonic::Status;

use crate::solve::Built;

/// How long news of a build that is not there yet are waited for: clients ask for both at once.
const SOLVE_DEADLINE: Duration = Duration::from_secs(10);

/// All builds by their reference.
pub(super) struct Solves(watch::Sender<HashMap<String, Arc<Solve>>>);

impl Default for Solves {
    fn default() -> Self {
        Self(watch::Sender::new(HashMap::new()))
    }
}

/// One build.
pub(super) struct Solve {
    pub(super) reference: String,
    pub(super) session: String,
    pub(super) entitlements: Vec<String>,
    news: Mutex<Vec<StatusResponse>>,
    has_news: Notify,
    is_over: watch::Sender<bool>,
    results: Mutex<HashMap<String, Arc<Built>>>,
    /// What the client wants exported: the name of a result, or nothing; or why it gave up.
    returned: watch::Sender<Option<Result<Option<String>, Status>>>,
}

/// Ends a build's entry when `Solve` ends, however it does.
pub(super) struct Ending<'s> {
    solves: &'s Solves,
    solve: Arc<Solve>,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.solve.is_over.send_replace(true);
        self.solve.has_news.notify_waiters();
        self.solves.0.send_modify(|all| drop(all.remove(&self.solve.reference)));
    }
}

impl Solves {
    pub(super) fn begin(
        &self,
        reference: String,
        session: String,
        entitlements: Vec<String>,
    ) -> Result<(Arc<Solve>, Ending<'_>), Status> {
        let solve = Arc::new(Solve {
            reference: reference.clone(),
            session,
            entitlements,
            news: Mutex::default(),
            has_news: Notify::new(),
            is_over: watch::Sender::new(false),
            results: Mutex::default(),
            returned: watch::Sender::new(None),
        });
        let is_new = self.0.send_if_modified(|all| {
            let is_new = !all.contains_key(&reference);
            if is_new {
                all.insert(reference, solve.clone());
            }
            is_new
        });
        if !is_new {
            return Err(Status::already_exists("a build with this reference goes on"));
        }
        Ok((solve.clone(), Ending { solves: self, solve }))
    }

    /// The build with this reference, as soon as it is there.
    pub(super) async fn get(&self, reference: &str) -> Result<Arc<Solve>, Status> {
        let mut watch = self.0.subscribe();
        let found = tokio::time::timeout(SOLVE_DEADLINE, watch.wait_for(|all| all.contains_key(reference))).await;
        let solve = match found {
            Ok(Ok(all)) => all.get(reference).cloned(),
            _ => None,
        };
        solve.ok_or_else(|| Status::not_found(format!("no such job {reference}")))
    }
}

impl Solve {
    pub(super) fn tell(&self, news: StatusResponse) {
        if let Ok(mut all) = self.news.lock() {
            all.push(news);
        }
        self.has_news.notify_waiters();
    }

    /// News number `index`; `None` when the build is over and there are no more.
    pub(super) async fn news(&self, index: usize) -> Option<StatusResponse> {
        loop {
            let waiting = self.has_news.notified();
            let is_over = *self.is_over.borrow();
            let found = self.news.lock().ok().and_then(|all| all.get(index).cloned());
            if found.is_some() || is_over {
                return found;
            }
            waiting.await;
        }
    }

    pub(super) fn keep(&self, built: Built) -> String {
        let name = hako_base::random::hex(12);
        if let Ok(mut results) = self.results.lock() {
            results.insert(name.clone(), Arc::new(built));
        }
        name
    }

    pub(super) fn result(&self, name: &str) -> Result<Arc<Built>, Status> {
        let found = self.results.lock().ok().and_then(|results| results.get(name).cloned());
        found.ok_or_else(|| Status::not_found(format!("no such ref: {name}")))
    }

    pub(super) fn give_back(&self, result: Result<Option<String>, Status>) {
        self.returned.send_replace(Some(result));
    }

    /// What the client returns, once it does.
    pub(super) async fn returned(&self) -> Result<Option<String>, Status> {
        let mut watch = self.returned.subscribe();
        let returned = watch.wait_for(Option::is_some).await.map_err(|_| Status::aborted("the build has ended"))?;
        returned.clone().unwrap_or_else(|| Err(Status::aborted("the build has ended")))
    }
}
