//! `cargo x dist`: the binary as it is published. `cargo x timings`: where a clean build spends its time.
//!
//! Published binaries are static glibc without position independence: a static-PIE of this size relocates itself at
//! every exec, which costs a start 0.4 ms and the keeper its memory.

use std::{fs, path::PathBuf};

use crate::run;

/// What makes a program static, and its addresses known when it is linked.
const STATIC: &str = "-C target-feature=+crt-static -C relocation-model=static";

/// Where the published binary ends up.
pub(crate) fn path() -> PathBuf {
    run::target().join("dist/hako")
}

pub(crate) fn dist(_: &[String]) -> Result<(), String> {
    build()?;
    let size = fs::metadata(path()).map_err(|error| format!("cannot read {}: {error}", path().display()))?.len();
    println!("{} ({:.1} MB)", path().display(), size as f64 / 1e6);
    Ok(())
}

/// Builds the published binary.
pub(crate) fn build() -> Result<(), String> {
    let built = build_static(&["--release", "--package", "hako"])?.join("release/hako");
    let place = path();
    fs::create_dir_all(place.parent().unwrap_or(&place)).map_err(|error| error.to_string())?;
    fs::copy(built, &place).map(drop).map_err(|error| format!("cannot write {}: {error}", place.display()))
}

/// Builds hako without optimising it, for tests and throw-away daemons, and returns its path. It is static, too: for
/// `--init` it runs inside containers, where there is no dynamic loader.
pub(crate) fn build_unoptimised() -> Result<PathBuf, String> {
    Ok(build_static(&["--quiet", "--package", "hako"])?.join("debug/hako"))
}

/// Builds statically and returns the folder of this machine's triple. In a target directory of its own: these flags
/// must not throw away what daily work has built.
pub(crate) fn build_static(arguments: &[&str]) -> Result<PathBuf, String> {
    let triple = host_triple()?;
    let directory = run::target().join("static");
    let mut cargo = run::cargo(&["build", "--target", &triple, "--target-dir"]);
    cargo.arg(&directory).args(arguments);
    cargo.env("RUSTFLAGS", STATIC);
    run::succeed(cargo)?;
    Ok(directory.join(triple))
}

/// Builds programs of tests statically, for a machine with another C library.
pub(crate) fn build_static_tests(selection: &[&str]) -> Result<Vec<crate::test::Program>, String> {
    let (triple, directory) = (host_triple()?, run::target().join("static").display().to_string());
    let mut words = vec!["--target", &triple, "--target-dir", &directory];
    words.extend(selection);
    let mut cargo = run::cargo(&[]);
    cargo.env("RUSTFLAGS", STATIC);
    crate::test::build_with(cargo, &words)
}

/// The triple that rustc builds for by default, such as `x86_64-unknown-linux-gnu`.
pub(crate) fn host_triple() -> Result<String, String> {
    let mut rustc = run::program("rustc");
    rustc.arg("-vV");
    let text = run::output(rustc)?;
    text.lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .ok_or_else(|| "rustc -vV names no host".to_owned())
}

pub(crate) fn timings(_: &[String]) -> Result<(), String> {
    let directory = run::target().join("timings");
    let _ = fs::remove_dir_all(&directory);
    let mut cargo = run::cargo(&["build", "--workspace", "--timings", "--target-dir"]);
    cargo.arg(&directory);
    run::succeed(cargo)?;
    println!("{}", directory.join("cargo-timings/cargo-timing.html").display());
    Ok(())
}
