//! Changes below watched paths, as the kernel tells them, put together until it has been quiet for a moment.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use notify::{
    Event, EventKind, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode},
};
use tokio::{sync::mpsc, time::Instant};

/// An editor that saves, or a branch that is checked out, makes many changes in a row: they are one.
const QUIET: Duration = Duration::from_millis(300);
/// Where something changes all the time, its changes are told this often.
const LONGEST: Duration = Duration::from_secs(3);

/// Hears of changes as long as it lives.
pub struct Notices {
    _watcher: notify::RecommendedWatcher,
    changes: mpsc::UnboundedReceiver<notify::Result<Event>>,
    roots: Vec<PathBuf>,
}

impl Notices {
    /// Listens below these files and directories, those that are not there yet too.
    ///
    /// # Errors
    /// When the kernel does not let us: too many directories, or none to look at.
    pub fn begin<'p>(roots: impl Iterator<Item = &'p Path>) -> Result<Self, String> {
        let (send, changes) = mpsc::unbounded_channel();
        let hear = move |event| {
            // Nobody listens any more when the command has ended.
            let _ = send.send(event);
        };
        let mut watcher = notify::recommended_watcher(hear).map_err(|error| format!("cannot watch files: {error}"))?;
        let roots: BTreeSet<PathBuf> = roots.map(Path::to_owned).collect();
        let mut places = BTreeSet::new();
        for root in &roots {
            places.extend(place(root));
        }
        for (path, mode) in &places {
            let mode = if *mode { RecursiveMode::Recursive } else { RecursiveMode::NonRecursive };
            watcher.watch(path, mode).map_err(|error| hint(path, &error))?;
        }
        Ok(Self { _watcher: watcher, changes, roots: roots.into_iter().collect() })
    }

    /// The next changes: what has changed since the last call and until it was quiet.
    ///
    /// # Errors
    /// When changes can no longer be heard of.
    pub async fn next(&mut self) -> Result<Vec<PathBuf>, String> {
        let mut paths = BTreeSet::new();
        let (mut first, mut last) = (Instant::now(), Instant::now());
        loop {
            let end = (last + QUIET).min(first + LONGEST);
            let event = if paths.is_empty() {
                self.changes.recv().await
            } else if Instant::now() >= end {
                return Ok(paths.into_iter().collect());
            } else {
                match tokio::time::timeout_at(end, self.changes.recv()).await {
                    Ok(event) => event,
                    Err(_) => continue,
                }
            };
            let meant = match event {
                Some(Ok(event)) => self.meant(event),
                Some(Err(error)) => return Err(format!("cannot watch files any more: {error}")),
                None => return Err("cannot watch files any more".to_owned()),
            };
            // Whoever only reads a file does not disturb the quiet.
            if !meant.is_empty() {
                last = Instant::now();
                if paths.is_empty() {
                    first = last;
                }
                paths.extend(meant);
            }
        }
    }

    fn meant(&self, event: Event) -> Vec<PathBuf> {
        // After lost events everything may have changed.
        if event.need_rescan() {
            return self.roots.clone();
        }
        let is_change = match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
            EventKind::Access(_) => false,
            // A directory whose times changed says nothing that its entries do not say.
            EventKind::Modify(notify::event::ModifyKind::Metadata(_)) => !event.paths.iter().any(|path| path.is_dir()),
            _ => true,
        };
        let ours = |path: &PathBuf| self.roots.iter().any(|root| path.starts_with(root));
        event.paths.into_iter().filter(|path| is_change && ours(path)).collect()
    }
}

// Where to listen for a path, and whether below it too. A file is watched by its directory: editors replace files, and a
// watch of a file dies with it.
fn place(root: &Path) -> Option<(PathBuf, bool)> {
    if root.is_dir() {
        return Some((root.to_owned(), true));
    }
    let above = root.ancestors().skip(1).find(|above| above.is_dir())?;
    let is_near = root.parent() == Some(above);
    Some((above.to_owned(), !is_near))
}

fn hint(path: &Path, error: &notify::Error) -> String {
    let more = match &error.kind {
        notify::ErrorKind::MaxFilesWatch => " (raise fs.inotify.max_user_watches)",
        _ => "",
    };
    format!("cannot watch {}: {error}{more}", path.display())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn changes_are_told_together_when_it_is_quiet() {
        let folder = std::env::temp_dir().join(format!("hako-notice-{}", std::process::id()));
        fs::create_dir_all(folder.join("src")).unwrap();
        let roots = [folder.join("src"), folder.join("conf")];
        let mut notices = Notices::begin(roots.iter().map(PathBuf::as_path)).unwrap();
        fs::write(folder.join("src/a"), "a").unwrap();
        fs::write(folder.join("conf"), "c").unwrap();
        fs::write(folder.join("other"), "o").unwrap();
        let told = notices.next().await.unwrap();
        assert_eq!(told, [folder.join("conf"), folder.join("src/a")]);
        // An editor writes a file beside and renames it.
        fs::write(folder.join("conf.new"), "d").unwrap();
        fs::rename(folder.join("conf.new"), folder.join("conf")).unwrap();
        fs::remove_file(folder.join("src/a")).unwrap();
        let told = notices.next().await.unwrap();
        assert_eq!(told, [folder.join("conf"), folder.join("src/a")]);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[tokio::test]
    async fn readers_do_not_keep_changes_back() {
        let folder = std::env::temp_dir().join(format!("hako-notice-read-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("read"), "r").unwrap();
        let mut notices = Notices::begin(std::iter::once(folder.as_path())).unwrap();
        let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (reading, file) = (done.clone(), folder.join("read"));
        let reader = std::thread::spawn(move || {
            while !reading.load(std::sync::atomic::Ordering::Relaxed) {
                fs::read(&file).unwrap();
            }
        });
        fs::write(folder.join("a"), "a").unwrap();
        let began = Instant::now();
        assert_eq!(notices.next().await.unwrap(), [folder.join("a")]);
        assert!(began.elapsed() < LONGEST, "{:?}", began.elapsed());
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        reader.join().unwrap();
        fs::remove_dir_all(&folder).unwrap();
    }
}
