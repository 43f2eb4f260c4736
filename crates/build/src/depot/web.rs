//! Requests to services that keep blobs: whoever is told to wait waits, what broke is tried again a few times, answers are
//! read within limits, and reading goes on where it broke off. No word of a secret is in what is told of it.

use std::{
    fmt,
    fs::File,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use hako_base::{backoff::Doubling, error::chain};
use hako_engine::{
    Engine, timer,
    view::{WebAnswer, WebBody, WebRequest},
};
use tokio::{sync::mpsc, task::JoinSet};

use crate::limits;

/// A word that is shown to nobody but whom it is for.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret(pub(super) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Who asks, how long he waits, and what is not to be told.
pub(super) struct Web {
    pub(super) engine: Engine,
    pub(super) patience: Duration,
    pub(super) secrets: Vec<Secret>,
}

/// An answer and what it said.
pub(super) struct Said {
    pub(super) status: u16,
    pub(super) bytes: Vec<u8>,
}

impl Said {
    pub(super) fn is_good(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Something that is read, from any byte on.
pub(super) trait Readable {
    fn request(&self, at: u64) -> WebRequest;

    /// Where it is now, after a refusal; `false` where nothing has changed.
    fn renew(&mut self) -> impl Future<Output = Result<bool, String>> + Send;

    /// Why an answer is no good.
    fn refused(&self, said: &Said) -> String;
}

impl Web {
    /// Asks until there is an answer that is one: not "wait", not "something broke here".
    pub(super) async fn answered(&self, what: &str, request: impl Fn() -> WebRequest) -> Result<WebAnswer, String> {
        let end = Instant::now() + self.patience;
        let mut pauses = Doubling::new(limits::SERVICE_PAUSE, limits::SERVICE_PAUSE_MAX);
        let mut tries = 0;
        loop {
            let answer = self.engine.web_fetch(request()).await;
            let pause = pauses.next().unwrap_or(limits::SERVICE_PAUSE_MAX);
            let (pause, why) = match answer {
                Ok(answer) if answer.status() == 429 => {
                    let asked = answer.header("retry-after").and_then(|text| text.trim().parse().ok());
                    (asked.map_or(pause, Duration::from_secs).max(pause), "too many requests".to_owned())
                }
                Ok(answer) if answer.status() < 500 => return Ok(answer),
                answer => {
                    tries += 1;
                    if tries > limits::SERVICE_TRIES_MAX {
                        return answer.map_err(|error| format!("{what}: {}", self.masked(&chain(&error))));
                    }
                    let why = answer.map_or_else(|error| chain(&error), |answer| format!("status {}", answer.status()));
                    (pause, why)
                }
            };
            if Instant::now() + pause > end {
                return Err(format!("{what}: the cache service lets nobody in for now: {}", self.masked(&why)));
            }
            timer::after(pause).await;
        }
    }

    /// The same, and what it said.
    pub(super) async fn said(&self, what: &str, request: impl Fn() -> WebRequest) -> Result<Said, String> {
        Ok(said(self.answered(what, request).await?, limits::SERVICE_ANSWER_BYTES_MAX).await)
    }

    /// Sends bytes on: exactly `size` of them, or at most `most`.
    pub(super) async fn read(
        &self,
        what: &str,
        mut from: impl Readable,
        (size, most): (Option<u64>, u64),
        sender: &mpsc::Sender<io::Result<Bytes>>,
    ) -> Result<(), String> {
        let (mut at, mut tries, mut is_renewed) = (0, 0, false);
        loop {
            let before = at;
            let why = match self.answered(what, || from.request(at)).await? {
                answer if matches!(answer.status(), 401 | 403) && !is_renewed && from.renew().await? => {
                    is_renewed = true;
                    continue;
                }
                answer if !goes_on(&answer, at) => {
                    let said = said(answer, limits::SERVICE_ANSWER_BYTES_MAX).await;
                    return Err(format!("{what}: {}", from.refused(&said)));
                }
                answer => match pass_on(answer, &mut at, size.unwrap_or(most), sender).await {
                    Ok(()) if size.is_none_or(|size| at == size) => return Ok(()),
                    Ok(()) => format!("it ends after {at} bytes"),
                    Err(Broken::Over) => {
                        return Err(format!("{what}: it has more than {} bytes", size.unwrap_or(most)));
                    }
                    // Nobody reads any more.
                    Err(Broken::Unread) => return Ok(()),
                    Err(Broken::Off(why)) => why,
                },
            };
            (tries, is_renewed) = if at > before { (0, false) } else { (tries + 1, is_renewed) };
            if tries >= limits::SERVICE_TRIES_MAX {
                return Err(format!("{what}: {why}"));
            }
            timer::after(limits::SERVICE_PAUSE).await;
        }
    }

    /// What a service gives as its reason, as the end of a sentence.
    pub(super) fn because(&self, why: &str) -> String {
        let why: String = self.masked(why).chars().filter(|c| !c.is_control()).take(200).collect();
        if why.is_empty() { why } else { format!(": {why}") }
    }

    // A server may repeat what it was sent.
    fn masked(&self, text: &str) -> String {
        self.secrets.iter().fold(text.to_owned(), |text, word| text.replace(&word.0, "***"))
    }
}

/// Why reading ended before its end.
enum Broken {
    Over,
    Unread,
    Off(String),
}

fn goes_on(answer: &WebAnswer, at: u64) -> bool {
    let range = answer.header("content-range").unwrap_or_default();
    match answer.status() {
        200 => at == 0,
        206 => range.strip_prefix("bytes ").and_then(|rest| rest.split('-').next()) == Some(&at.to_string()),
        _ => false,
    }
}

async fn pass_on(
    mut answer: WebAnswer,
    at: &mut u64,
    most: u64,
    sender: &mpsc::Sender<io::Result<Bytes>>,
) -> Result<(), Broken> {
    while let Some(bytes) = answer.chunk().await.map_err(|error| Broken::Off(chain(&error)))? {
        *at += bytes.len() as u64;
        if *at > most {
            return Err(Broken::Over);
        }
        sender.send(Ok(bytes)).await.map_err(|_| Broken::Unread)?;
    }
    Ok(())
}

/// What an answer says, as far as it is read. One that breaks off has said nothing.
pub(super) async fn said(mut answer: WebAnswer, most: usize) -> Said {
    let mut bytes = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        if bytes.len() + chunk.len() > most {
            break;
        }
        bytes.extend_from_slice(&chunk);
    }
    Said { status: answer.status(), bytes }
}

/// A document as a whole.
pub(super) async fn document<F: Future<Output = Result<(), String>>>(
    read: impl FnOnce(mpsc::Sender<io::Result<Bytes>>) -> F,
) -> Result<Vec<u8>, String> {
    let (sender, mut chunks) = mpsc::channel::<io::Result<Bytes>>(limits::PACKETS_QUEUED);
    let collecting = async {
        let mut all = Vec::new();
        while let Some(Ok(chunk)) = chunks.recv().await {
            all.extend_from_slice(&chunk);
        }
        all
    };
    let (read, all) = tokio::join!(read(sender), collecting);
    read.map(|()| all)
}

/// Does everything, so much at once. After one that fails nothing is begun, and what goes on comes to its end: half an
/// upload would stay where it is.
pub(super) async fn side_by_side<F: Future<Output = Result<(), String>> + Send + 'static>(
    mut works: impl Iterator<Item = F>,
    at_once: usize,
) -> Result<(), String> {
    let (mut going, mut result) = (JoinSet::new(), Ok(()));
    loop {
        while result.is_ok()
            && going.len() < at_once
            && let Some(work) = works.next()
        {
            going.spawn(work);
        }
        let Some(done) = going.join_next().await else { return result };
        let done = done.unwrap_or_else(|_| Err("the export was cancelled".to_owned()));
        result = result.and(done);
    }
}

/// What is left somewhere.
#[derive(Clone)]
pub(super) enum Content {
    Bytes(Bytes),
    File(Arc<File>, u64),
}

impl Content {
    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(_, size) => *size,
        }
    }

    /// Where pieces begin and how long they are, if one is at most so long.
    pub(super) fn pieces(&self, most: u64) -> impl Iterator<Item = (u64, u64)> + use<> {
        let size = self.size();
        let step = usize::try_from(most).unwrap_or(usize::MAX);
        (0..size).step_by(step).map(move |start| (start, most.min(size - start)))
    }

    pub(super) fn piece(&self, (start, size): (u64, u64)) -> WebBody {
        let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        match self {
            Self::Bytes(bytes) => WebBody::Bytes(bytes.slice(place(start)..place(start + size))),
            Self::File(file, _) => WebBody::File { file: file.clone(), start, size },
        }
    }
}
