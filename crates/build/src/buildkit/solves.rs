//! Builds that go on: their news, their results, and what the client returned.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bollard_buildkit_proto::moby::buildkit::v1::{CacheOptionsEntry, SolveRequest, StatusResponse};
use hako_model::Platform;
use tokio::sync::{Notify, watch};
use tonic::Status;

use super::{attested::Attested, depots::Export, target::Target};
use crate::{attest::Asked, limits, plan::platform_text, solve::Built};

/// How long news of a build that is not there yet are waited for: clients ask for both at once.
const SOLVE_DEADLINE: Duration = Duration::from_secs(10);

/// Builds that are over and whose news nobody has asked for yet: a client asks for `Solve` and `Status` at once, and a
/// short build may be over before the second request is read.
const UNHEARD_MAX: usize = 16;

/// All builds by their reference.
pub(super) struct Solves {
    all: watch::Sender<HashMap<String, Arc<Solve>>>,
    /// Those that are over and wait to be heard of, the oldest first.
    unheard: Mutex<VecDeque<Arc<Solve>>>,
}

impl Default for Solves {
    fn default() -> Self {
        Self { all: watch::Sender::new(HashMap::new()), unheard: Mutex::default() }
    }
}

/// One build.
pub(super) struct Solve {
    pub(super) reference: String,
    pub(super) session: String,
    pub(super) entitlements: Vec<String>,
    /// Caches elsewhere that the client named when it began the build.
    pub(super) imports: Vec<CacheOptionsEntry>,
    pub(super) exports: Vec<Export>,
    pub(super) targets: Vec<Target>,
    /// No file of one is younger than the time that the build is given.
    pub(super) rewrites_times: bool,
    /// What was asked of the front end.
    asked: Mutex<Asked>,
    /// Configurations of images that a front end of the client's has made: of one platform, or of all.
    configurations: Mutex<HashMap<String, Vec<u8>>>,
    news: Mutex<News>,
    has_news: Notify,
    is_over: watch::Sender<bool>,
    /// Somebody has asked for the news.
    is_heard: AtomicBool,
    /// By name, those of several platforms in their order.
    results: Mutex<Vec<(String, Arc<Built>)>>,
    /// How its results were made, for those who remember it.
    attested: Mutex<Vec<Attested>>,
    /// What the client wants exported: names of results, or nothing; or why it gave up.
    returned: watch::Sender<Option<Result<Vec<String>, Status>>>,
}

/// What a build has told, in its order. What steps print is kept so far back only; whoever reads it meanwhile has it all.
#[derive(Default)]
struct News {
    /// Each with its number: those that went leave gaps.
    all: VecDeque<(u64, StatusResponse)>,
    next: u64,
    /// So many at the front print nothing, and stay.
    settled: usize,
    printed_bytes: usize,
}

impl News {
    fn tell(&mut self, news: StatusResponse) {
        self.printed_bytes += printed(&news);
        self.all.push_back((self.next, news));
        self.next += 1;
        self.trim(limits::NEWS_BYTES_MAX);
    }

    fn trim(&mut self, bytes_max: usize) {
        while self.printed_bytes > bytes_max {
            match self.all.get(self.settled) {
                Some((_, news)) if news.logs.is_empty() => self.settled += 1,
                Some((_, news)) => {
                    self.printed_bytes -= printed(news);
                    self.all.remove(self.settled);
                }
                None => return,
            }
        }
    }

    /// The first with this number or a higher one, and the number of the next.
    fn from(&self, number: u64) -> Option<(StatusResponse, u64)> {
        let at = self.all.partition_point(|(known, _)| *known < number);
        let (found, news) = self.all.get(at)?;
        let mut news = news.clone();
        if let (true, Some(first)) = (*found > number, news.logs.first_mut()) {
            first.msg.splice(0..0, *b"[output clipped: more was printed than was read]\n");
        }
        Some((news, found + 1))
    }
}

fn printed(news: &StatusResponse) -> usize {
    news.logs.iter().map(|log| log.msg.len()).sum()
}

/// Ends a build when `Solve` ends, however it does; its entry goes when its news have been asked for.
pub(super) struct Ending<'s> {
    solves: &'s Solves,
    solve: Arc<Solve>,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.solve.is_over.send_replace(true);
        self.solve.has_news.notify_waiters();
        if let Ok(mut results) = self.solve.results.lock() {
            results.clear();
        }
        if let (false, Ok(mut news)) = (self.solve.is_heard.load(Ordering::Acquire), self.solve.news.lock()) {
            news.trim(limits::UNHEARD_BYTES_MAX);
        }
        let Ok(mut unheard) = self.solves.unheard.lock() else { return };
        unheard.push_back(self.solve.clone());
        let oldest = if unheard.len() > UNHEARD_MAX { unheard.pop_front() } else { None };
        drop(unheard);
        oldest.into_iter().for_each(|solve| self.solves.forget(&solve));
        if self.solve.is_heard.load(Ordering::Acquire) {
            self.solves.forget(&self.solve);
        }
    }
}

impl Solves {
    pub(super) fn begin(&self, request: &SolveRequest) -> Result<(Arc<Solve>, Ending<'_>), Status> {
        let reference = request.r#ref.clone();
        let solve = Arc::new(Solve {
            reference: reference.clone(),
            session: request.session.clone(),
            entitlements: request.entitlements.clone(),
            imports: request.cache.iter().flat_map(|cache| cache.imports.clone()).collect(),
            exports: Export::all(request)?,
            targets: Target::all(request)?,
            rewrites_times: Target::rewrites_times(request)?,
            asked: Mutex::default(),
            configurations: Mutex::default(),
            news: Mutex::default(),
            has_news: Notify::new(),
            is_over: watch::Sender::new(false),
            is_heard: AtomicBool::new(false),
            results: Mutex::default(),
            attested: Mutex::default(),
            returned: watch::Sender::new(None),
        });
        let is_new = self.all.send_if_modified(|all| {
            let is_new = all.get(&reference).is_none_or(|known| *known.is_over.borrow());
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

    /// Whether there is such a build, which goes on or waits to be heard of.
    pub(super) fn has(&self, reference: &str) -> bool {
        self.all.borrow().contains_key(reference)
    }

    /// The build with this reference, as soon as it is there.
    pub(super) async fn get(&self, reference: &str) -> Result<Arc<Solve>, Status> {
        let mut watch = self.all.subscribe();
        let found = tokio::time::timeout(SOLVE_DEADLINE, watch.wait_for(|all| all.contains_key(reference))).await;
        let solve = match found {
            Ok(Ok(all)) => all.get(reference).cloned(),
            _ => None,
        };
        solve.ok_or_else(|| Status::not_found(format!("no such job {reference}")))
    }

    /// The same for somebody who wants its news: a build that is over need not wait for that any more.
    pub(super) async fn hear(&self, reference: &str) -> Result<Arc<Solve>, Status> {
        let solve = self.get(reference).await?;
        solve.is_heard.store(true, Ordering::Release);
        if *solve.is_over.borrow() {
            self.forget(&solve);
        }
        Ok(solve)
    }

    /// Takes the entry of a build that is over, unless another build has its reference by now.
    fn forget(&self, solve: &Arc<Solve>) {
        if let Ok(mut unheard) = self.unheard.lock() {
            unheard.retain(|other| !Arc::ptr_eq(other, solve));
        }
        self.all.send_modify(|all| {
            if all.get(&solve.reference).is_some_and(|known| Arc::ptr_eq(known, solve)) {
                all.remove(&solve.reference);
            }
        });
    }
}

impl Solve {
    pub(super) fn tell(&self, news: StatusResponse) {
        if let Ok(mut all) = self.news.lock() {
            all.tell(news);
        }
        self.has_news.notify_waiters();
    }

    /// What it has told so far.
    pub(super) fn told(&self) -> Vec<StatusResponse> {
        let all = self.news.lock();
        all.map(|news| news.all.iter().map(|(_, one)| one.clone()).collect()).unwrap_or_default()
    }

    /// News from this number on, and the number of the next; `None` when the build is over and there are no more.
    pub(super) async fn news(&self, number: u64) -> Option<(StatusResponse, u64)> {
        loop {
            let waiting = self.has_news.notified();
            let is_over = *self.is_over.borrow();
            let found = self.news.lock().ok().and_then(|all| all.from(number));
            if found.is_some() || is_over {
                return found;
            }
            waiting.await;
        }
    }

    /// Remembers what is asked of a front end, for those who export the result.
    pub(super) fn ask(&self, frontend: &str, attributes: &HashMap<String, String>) {
        if let Ok(mut asked) = self.asked.lock() {
            *asked = Asked {
                frontend: frontend.to_owned(),
                attributes: attributes.clone(),
                invocation: self.reference.clone(),
                platform: platform_text(&Platform::host()),
            };
        }
    }

    pub(super) fn asked<T>(&self, look: impl FnOnce(&Asked) -> T) -> T {
        let asked = self.asked.lock().map(|asked| asked.clone()).unwrap_or_default();
        look(&asked)
    }

    /// Remembers the configurations that a client returns with its results.
    pub(super) fn configure(&self, metadata: &HashMap<String, Vec<u8>>) {
        let own = metadata.iter().filter_map(|(key, bytes)| {
            let platform = key.strip_prefix("containerimage.config")?;
            Some((platform.trim_start_matches('/').to_owned(), bytes.clone()))
        });
        if let Ok(mut configurations) = self.configurations.lock() {
            configurations.extend(own.filter(|(_, bytes)| !bytes.is_empty()));
        }
    }

    /// The configuration of the image for a platform, if a client has made one.
    pub(super) fn configuration(&self, platform: &Platform) -> Option<Vec<u8>> {
        let all = self.configurations.lock().ok()?;
        all.get(&platform_text(platform)).or_else(|| all.get("")).cloned()
    }

    pub(super) fn attest(&self, all: Vec<Attested>) {
        if let Ok(mut attested) = self.attested.lock() {
            *attested = all;
        }
    }

    pub(super) fn take_attested(&self) -> Vec<Attested> {
        self.attested.lock().map(|mut attested| std::mem::take(&mut *attested)).unwrap_or_default()
    }

    pub(super) fn keep(&self, built: Built) -> String {
        let name = hako_base::random::hex(12);
        if let Ok(mut results) = self.results.lock() {
            results.push((name.clone(), Arc::new(built)));
        }
        name
    }

    /// The results of these names, in the order of their platforms.
    pub(super) fn results(&self, names: &[String]) -> Result<Vec<Arc<Built>>, Status> {
        let found: Vec<(String, Arc<Built>)> = self.results.lock().map(|all| all.clone()).unwrap_or_default();
        if let Some(missing) = names.iter().find(|name| !found.iter().any(|(known, _)| known == *name)) {
            return Err(Status::not_found(format!("no such ref: {missing}")));
        }
        Ok(found.into_iter().filter(|(name, _)| names.contains(name)).map(|(_, built)| built).collect())
    }

    pub(super) fn give_back(&self, result: Result<Vec<String>, Status>) {
        self.returned.send_replace(Some(result));
    }

    /// What the client returns, once it does.
    pub(super) async fn returned(&self) -> Result<Vec<String>, Status> {
        let mut watch = self.returned.subscribe();
        let returned = watch.wait_for(Option::is_some).await.map_err(|_| Status::aborted("the build has ended"))?;
        returned.clone().unwrap_or_else(|| Err(Status::aborted("the build has ended")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(reference: &str) -> SolveRequest {
        SolveRequest { r#ref: reference.to_owned(), ..SolveRequest::default() }
    }

    fn news(name: &str) -> StatusResponse {
        StatusResponse {
            logs: vec![bollard_buildkit_proto::moby::buildkit::v1::VertexLog {
                msg: name.into(),
                ..Default::default()
            }],
            ..StatusResponse::default()
        }
    }

    #[tokio::test]
    async fn a_build_that_is_over_is_still_heard_of_once() {
        let solves = Solves::default();
        let (solve, ending) = solves.begin(&named("short")).unwrap();
        solve.tell(news("all"));
        drop(ending);
        let late = solves.hear("short").await.unwrap();
        assert_eq!(late.news(0).await, Some((news("all"), 1)));
        assert_eq!(late.news(1).await, None);
        assert!(solves.all.borrow().is_empty());
        // The reference is free again.
        let (_, ending) = solves.begin(&named("short")).unwrap();
        assert!(solves.begin(&named("short")).is_err());
        drop(ending);
        assert!(solves.begin(&named("short")).is_ok());
    }

    #[test]
    fn what_steps_print_is_kept_so_far_back_and_steps_are_not_lost() {
        let step = StatusResponse { vertexes: vec![Default::default()], ..StatusResponse::default() };
        let mut all = News::default();
        all.tell(step.clone());
        all.tell(news("one"));
        all.tell(step.clone());
        all.tell(news("two"));
        all.tell(news("three"));
        all.trim(8);
        let texts = |number| {
            all.from(number).map(|(found, next)| {
                (found.logs.first().map(|log| String::from_utf8_lossy(&log.msg).into_owned()), next)
            })
        };
        assert_eq!((texts(0), texts(1)), (Some((None, 1)), Some((None, 3))));
        assert_eq!(texts(3), Some((Some("two".to_owned()), 4)));
        all.trim(5);
        assert_eq!(
            all.from(3).map(|(found, next)| (found.logs[0].msg.ends_with(b"read]\nthree"), next)),
            Some((true, 5))
        );
        assert_eq!((all.all.len(), all.printed_bytes, all.from(5)), (3, 5, None));
    }

    #[tokio::test]
    async fn those_that_nobody_asks_for_are_forgotten() {
        let solves = Solves::default();
        for number in 0..100 {
            drop(solves.begin(&named(&number.to_string())).unwrap());
        }
        assert_eq!(solves.all.borrow().len(), UNHEARD_MAX);
        assert!(solves.all.borrow().contains_key("99"));
        let (_, ending) = solves.begin(&named("heard")).unwrap();
        solves.hear("heard").await.unwrap();
        drop(ending);
        assert!(!solves.all.borrow().contains_key("heard"));
    }
}
