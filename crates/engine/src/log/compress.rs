//! Files that are full are compressed, off everybody's path.
//!
//! Meanwhile the log goes on and may turn again: names change under one lock, and who has compressed a file asks there
//! what it is called by now. At every instant a file is there under one of its two names.

use std::{
    fs::{self, File},
    io::{self, BufReader, Read},
    sync::Arc,
    time::{Duration, Instant},
};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use parking_lot::Mutex;

use super::LogPlan;

/// A file that fills faster than this is not worth the time: the next one will be full before it is done.
const FILLED_MIN: Duration = Duration::from_secs(1);
/// Smaller ones always are.
const SMALL_BYTES: u64 = 1 << 20;

/// The full files of one log.
#[derive(Debug)]
pub(crate) struct Shelf {
    state: Arc<Mutex<State>>,
    began: Instant,
}

#[derive(Debug, Default)]
struct State {
    /// How often the log has turned.
    turns: u64,
    /// Whether a file is being compressed.
    busy: bool,
}

impl Shelf {
    pub(crate) fn new() -> Self {
        Self { state: Arc::default(), began: Instant::now() }
    }

    /// The newest file is full: each becomes one older, and the oldest goes.
    pub(crate) fn turn(&mut self, plan: &LogPlan, length: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        let oldest = plan.files_max as u64 - 1;
        for file in [plan.file(oldest), plan.compressed(oldest)] {
            absent_is_fine(fs::remove_file(file))?;
        }
        for age in (0..oldest).rev() {
            absent_is_fine(fs::rename(plan.file(age), plan.file(age + 1)))?;
            absent_is_fine(fs::rename(plan.compressed(age), plan.compressed(age + 1)))?;
        }
        state.turns += 1;
        let worthwhile = self.began.elapsed() >= FILLED_MIN || length <= SMALL_BYTES;
        self.began = Instant::now();
        if plan.compress && oldest > 0 && worthwhile && !state.busy {
            state.busy = true;
            let (plan, shared, turn) = (plan.clone(), self.state.clone(), state.turns);
            let work = move || {
                if let Err(error) = compress(&plan, &shared, turn) {
                    tracing::warn!(file = %plan.path.display(), %error, "a full log file is left uncompressed");
                }
                shared.lock().busy = false;
            };
            if std::thread::Builder::new().name("log-compress".to_owned()).spawn(work).is_err() {
                state.busy = false;
            }
        }
        Ok(())
    }
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Compresses the file that was the newest before turn `turn`.
fn compress(plan: &LogPlan, shared: &Mutex<State>, turn: u64) -> io::Result<()> {
    let part = plan.half_compressed();
    let mut source = {
        let state = shared.lock();
        File::open(plan.file(1 + state.turns - turn))?
    };
    let mut encoder = GzEncoder::new(File::create(&part)?, Compression::fast());
    io::copy(&mut source, &mut encoder)?;
    encoder.finish()?;
    let state = shared.lock();
    let age = 1 + state.turns - turn;
    if age >= plan.files_max as u64 || !plan.file(age).exists() {
        // It was thrown away meanwhile, perhaps with the whole container.
        return fs::remove_file(part);
    }
    fs::rename(part, plan.compressed(age))?;
    fs::remove_file(plan.file(age))
}

/// Opens the file of so many rotations ago, whichever name it has, at an offset in what was written.
pub(crate) fn open(plan: &LogPlan, age: u64, offset: u64) -> io::Result<Box<dyn Read>> {
    match File::open(plan.file(age)) {
        Ok(mut file) => {
            io::Seek::seek(&mut file, io::SeekFrom::Start(offset))?;
            Ok(Box::new(file))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut reader = GzDecoder::new(BufReader::new(File::open(plan.compressed(age))?));
            io::copy(&mut Read::by_ref(&mut reader).take(offset), &mut io::sink())?;
            Ok(Box::new(reader))
        }
        Err(error) => Err(error),
    }
}
