//! `cargo x test vm`: mechanisms and part of the black box on another kernel, in an emulated machine.
//!
//! The machine is Debian 12's kernel 6.1 with cgroup v2 alone and AppArmor; the program that boots it lies beside the
//! checkout and is not part of it, so the ring is skipped, with that reason, where it is missing. Emulation is ten to
//! twenty times slower than the host: what runs is what that kernel does differently. Programs go in static and
//! stripped, since the machine's C library is older than the one they were built with. `vm cuts` is another matter: see
//! `cuts.rs`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{cuts, dist, images, run, test};

/// Where the program that boots the machine is, seen from the checkout.
pub(crate) const MACHINE: &str = "../shared/lab/vm";

/// What is run in there: the package, the program of tests in it, and which of them.
const SELECTION: &[(&str, &str, &str)] = &[
    ("sys", "mount", ""),
    ("runtime", "launch", ""),
    ("runtime", "bundle", ""),
    ("keeper", "keeper", ""),
    ("volume", "volumes", ""),
    ("network", "network", "publish bridge recover"),
    (
        "tests",
        "it",
        "run:: exec:: limit:: mount:: confinement:: apparmor:: runtime:: userns:: escape:: lifecycle:: logs:: port:: survival::containers survival::what \
         survival::the_next survival::no_line undo::",
    ),
];

/// What the machine lacks and some tests need; without it they say so.
const TOOLS: [&str; 2] = ["/sbin/apparmor_parser", "/usr/bin/crun"];

/// Seconds after which the machine is stopped.
const LIMIT: &str = "3000";

/// Runs the ring, or says why not. Words such as `runtime-launch` choose programs; others replace the choice of tests in
/// each of them.
pub(crate) fn vm(arguments: &[String]) -> Result<(), String> {
    if let Some(("cuts", rest)) = arguments.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        return cuts::cuts(rest);
    }
    let machine = machine();
    if !machine.exists() {
        println!("skipped: the emulated machine is not here ({MACHINE})");
        return Ok(());
    }
    images::prepare(&["busybox", "hello-world", "probe"]);
    let folder = run::target().join("vm");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(folder.join("images")).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
    for name in ["busybox", "hello-world", "probe"] {
        let copied = images::image(name).map(|tar| fs::copy(tar, folder.join("images").join(format!("{name}.tar"))));
        copied?.map_err(|error| format!("cannot copy the image {name}: {error}"))?;
    }
    stripped(&dist::build_unoptimised()?, &folder.join("hako"))?;
    for program in programs()? {
        stripped(&program.executable, &folder.join(program.label()))?;
    }
    for tool in TOOLS.map(Path::new) {
        with_libraries(tool, &folder.join("tools"))?;
    }
    fs::write(folder.join("run"), script(arguments)).map_err(|error| format!("cannot write the script: {error}"))?;
    let mut command = run::program(machine);
    command.arg("--copy").arg(format!("{}:/vm", folder.display())).args(["--mem", "4096", "--timeout", LIMIT]);
    command.args(["--", "sh", "/vm/run"]);
    test::judge(&mut run::rooted(command))
}

/// The program that boots it.
pub(crate) fn machine() -> PathBuf {
    run::root().join(MACHINE)
}

/// The programs of the selection, built statically.
fn programs() -> Result<Vec<test::Program>, String> {
    let mut selection = Vec::new();
    for (package, name, _) in SELECTION {
        let package = if *package == "tests" { "tests".to_owned() } else { format!("hako-{package}") };
        selection.extend(["--package".to_owned(), package, "--test".to_owned(), (*name).to_owned()]);
    }
    let words: Vec<&str> = selection.iter().map(String::as_str).collect();
    let programs = dist::build_static_tests(&words)?;
    let wanted = |program: &test::Program| SELECTION.iter().any(|(package, name, _)| program.is(package, name));
    Ok(programs.into_iter().filter(wanted).collect())
}

/// What the machine does: everything one after another, and the worst exit status in the end.
fn script(arguments: &[String]) -> String {
    let names = |word: &String| SELECTION.iter().any(|(package, name, _)| *word == format!("{package}-{name}"));
    let (programs, filter): (Vec<_>, Vec<_>) = arguments.iter().cloned().partition(names);
    let mut script = String::from(
        "export HAKO_TEST_BINARY=/vm/hako HAKO_TEST_CLI=hako HAKO_TARGET_DIR=/vm HAKO_TEST_SLOWNESS=5 CARGO_MANIFEST_DIR=/vm PATH=$PATH:/usr/sbin:/sbin\n\
         mount -t securityfs none /sys/kernel/security 2>/dev/null; cp -rn /vm/tools/. / 2>/dev/null\n\
         cd /vm; worst=0; uname -r; stat -f -c 'cgroups: %T' /sys/fs/cgroup\n",
    );
    let chosen = |package: &str, name: &str| programs.is_empty() || programs.contains(&format!("{package}-{name}"));
    for (package, name, choice) in SELECTION.iter().filter(|(package, name, _)| chosen(package, name)) {
        let choice = if filter.is_empty() { (*choice).to_owned() } else { filter.join(" ") };
        // Beside each other they would wait for one another longer than tests wait.
        let threads = if *package == "tests" { "--test-threads=1" } else { "" };
        script.push_str(&format!("echo {package} {name}; ./{package}-{name} {threads} {choice} || worst=1\n"));
    }
    script.push_str("exit $worst\n");
    script
}

pub(crate) fn stripped(program: &Path, to: &Path) -> Result<(), String> {
    let mut strip = run::program("strip");
    strip.arg("-o").arg(to).arg(program);
    run::succeed(strip).or_else(|_| copied(program, to))
}

// A program of this host and its libraries, at the places where they are. One that is not here is left out.
fn with_libraries(program: &Path, to: &Path) -> Result<(), String> {
    if !program.exists() {
        return Ok(());
    }
    let mut listed = run::program("ldd");
    listed.arg(program);
    let listed = run::output(listed)?;
    let libraries = listed.split_whitespace().filter(|word| word.starts_with('/')).map(Path::new);
    for file in libraries.chain([program]) {
        // Where the file is, not by which link: `/lib` is one on both sides.
        let (folder, name) = (file.parent().and_then(|folder| folder.canonicalize().ok()), file.file_name());
        let (Some(folder), Some(name)) = (folder, name) else { continue };
        let place = to.join(folder.strip_prefix("/").unwrap_or(&folder)).join(name);
        let directory = place.parent().unwrap_or(to);
        fs::create_dir_all(directory).map_err(|error| format!("cannot make {}: {error}", directory.display()))?;
        copied(file, &place)?;
    }
    Ok(())
}

pub(crate) fn copied(program: &Path, to: &Path) -> Result<(), String> {
    fs::copy(program, to).map(drop).map_err(|error| format!("cannot copy {}: {error}", program.display()))
}
