//! htpasswd files: `user:bcrypt-hash` a line, as `htpasswd -B` writes them.
//!
//! The file is read again when it changes. A password that was right is remembered for a while by a keyed hash, since
//! bcrypt takes a tenth of a second on purpose and clients send their password with every request.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    time::{Instant, SystemTime},
};

use parking_lot::Mutex;
use ring::hmac;

use crate::limits;

/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// The user whose hash is computed for users that are not there, so that time does not tell them apart.
const NOBODY: &str = "$2b$10$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";

/// A file of users.
pub(crate) struct Passwords {
    path: PathBuf,
    key: hmac::Key,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    stamp: Option<(SystemTime, u64)>,
    hashes: HashMap<String, String>,
    known: HashMap<Vec<u8>, Instant>,
}

impl Passwords {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &hako_base::random::bytes::<32>());
        let passwords = Self { path: path.to_owned(), key, state: Mutex::default() };
        passwords.refresh()?;
        Ok(passwords)
    }

    // Reads the file, if it is another than the last time.
    fn refresh(&self) -> io::Result<()> {
        let metadata = fs::metadata(&self.path)?;
        let stamp = (metadata.modified()?, metadata.len());
        if self.state.lock().stamp == Some(stamp) {
            return Ok(());
        }
        if stamp.1 > FILE_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is too large"));
        }
        let hashes = parse(&fs::read_to_string(&self.path)?);
        *self.state.lock() = State { stamp: Some(stamp), hashes, known: HashMap::new() };
        Ok(())
    }

    /// Whether this is the user's password. Blocks for the time of one bcrypt.
    pub(crate) fn verify(&self, user: &str, password: &str) -> bool {
        if let Err(error) = self.refresh() {
            tracing::error!(path = %self.path.display(), %error, "cannot read the passwords");
            return false;
        }
        let mark = hmac::sign(&self.key, format!("{user}\0{password}").as_bytes()).as_ref().to_vec();
        let hash = {
            let mut state = self.state.lock();
            state.known.retain(|_, since| since.elapsed() < limits::PASSWORD_REMEMBERED);
            if state.known.contains_key(&mark) {
                return true;
            }
            state.hashes.get(user).cloned()
        };
        let good = bcrypt::verify(password, hash.as_deref().unwrap_or(NOBODY)).unwrap_or(false) && hash.is_some();
        let mut state = self.state.lock();
        if good && state.known.len() < limits::PASSWORDS_REMEMBERED_MAX && state.hashes.get(user) == hash.as_ref() {
            state.known.insert(mark, Instant::now());
        }
        good
    }
}

// Only bcrypt: the other forms of htpasswd can be guessed by the million a second.
fn parse(text: &str) -> HashMap<String, String> {
    let mut hashes = HashMap::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.split_once(':') {
            Some((user, hash)) if hash.starts_with("$2") => drop(hashes.insert(user.to_owned(), hash.to_owned())),
            Some((user, _)) => tracing::warn!(user, "this user's password is not hashed with bcrypt: use htpasswd -B"),
            None => tracing::warn!("a line of the password file has no colon"),
        }
    }
    hashes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_let_in_by_their_password_only_and_changes_are_seen() {
        let path = std::env::temp_dir().join(format!("hako-htpasswd-{}", hako_base::random::hex(8)));
        let hash = bcrypt::hash("secret", 4).unwrap();
        fs::write(&path, format!("# people\nme:{hash}\nold:{{SHA}}xyz\n")).unwrap();
        let passwords = Passwords::open(&path).unwrap();
        for (user, password, expected) in [
            ("me", "secret", true),
            ("me", "secret", true),
            ("me", "wrong", false),
            ("you", "secret", false),
            ("old", "xyz", false),
        ] {
            assert_eq!(passwords.verify(user, password), expected, "{user} {password}");
        }
        fs::write(&path, "nobody:$2b$04$x\n").unwrap();
        assert!(!passwords.verify("me", "secret"));
        fs::remove_file(&path).unwrap();
        assert!(!passwords.verify("me", "secret"));
    }
}
