//! An interpreter for programs of another machine (binfmt_misc), for as long as a test lasts.
//!
//! The kernel's list of interpreters is one for all of the machine that is no user namespace of its own, so what is put
//! there is taken away by a process that outlives the test: it waits for the end of its input, which comes however the
//! test ends. What the machine has registered itself is used as it is.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Stdio},
};

/// Dropping it takes the interpreter away, if the test has put it there.
pub struct Emulator(Option<Child>);

/// The names that distributions give the interpreter of arm64 programs.
const PROGRAMS: [&str; 2] = ["qemu-aarch64-static", "qemu-aarch64"];

/// How arm64 programs begin, and which of those bits count.
const MAGIC: &str = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00";
const MASK: &str = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff";

/// `$1`: the line to be registered, `$2`: its name. In a mount namespace of its own, where the list is at its usual place.
const KEEP: &str = r#"
place=/proc/sys/fs/binfmt_misc
mount -t binfmt_misc none $place || exit 1
for one in $place/*; do
    grep -qs 'flags:.*F' "$one" && grep -qs '^magic 7f454c46020101.*b700$' "$one" && echo there && exit 0
done
printf '%s' "$1" > $place/register || exit 1
trap '' INT TERM HUP
echo made
cat > /dev/null
echo -1 > "$place/$2"
"#;

/// An interpreter of arm64 programs.
///
/// # Errors
/// Where there is none, or the kernel takes none.
pub fn arm64() -> Result<Emulator, String> {
    let path = std::env::var("PATH").unwrap_or_default();
    let places = path.split(':').flat_map(|folder| PROGRAMS.map(|name| Path::new(folder).join(name)));
    let interpreter = places.into_iter().find(|file| file.is_file());
    let interpreter = interpreter.ok_or("needs an interpreter of arm64 programs (qemu-user-static)")?;
    let name = format!("hako-test-{}", std::process::id());
    let line = format!(":{name}:M::{MAGIC}:{MASK}:{}:F", interpreter.display());
    let mut keeper = crate::program("unshare");
    keeper.args(["--mount", "sh", "-c", KEEP, "keep", &line, &name]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = keeper.spawn().map_err(|error| format!("needs unshare: {error}"))?;
    let mut told = String::new();
    if let Some(output) = child.stdout.take() {
        let _ = BufReader::new(output).read_line(&mut told);
    }
    match told.trim() {
        "made" => Ok(Emulator(Some(child))),
        "there" => Ok(Emulator(None)),
        _ => Err("needs a kernel that takes interpreters (binfmt_misc)".to_owned()),
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            drop(child.stdin.take());
            let _ = child.wait();
        }
    }
}
