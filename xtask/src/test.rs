//! `cargo x test`: the rings of tests, each with the rights it needs, and one closing line for all.
//!
//! Building happens as the caller; test programs that need root are run through sudo, never cargo. What a test skips
//! it writes, with its reason, into a file that is counted here, so that no skip is silent.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{coverage, dist, images, preflight, ring, run, vm};

/// One program of tests, as cargo built it.
pub(crate) struct Program {
    pub(crate) executable: PathBuf,
    pub(crate) package_folder: PathBuf,
    package: String,
    name: String,
    is_integration: bool,
}

/// What the test programs said, summed.
#[derive(Default)]
struct Sum {
    passed: usize,
    failed: usize,
    skipped: BTreeMap<String, usize>,
    failures: Vec<String>,
}

/// `cargo x test [ring] [filter]`
pub(crate) fn test(arguments: &[String]) -> Result<(), String> {
    run_rings(arguments, &[], &[])
}

/// The same, accepting what is printed as what is expected.
pub(crate) fn blessing(arguments: &[String]) -> Result<(), String> {
    run_rings(arguments, &[("UPDATE_EXPECT", "1")], &[])
}

/// Every ring of CI, counting parts that failed outside of the tests.
pub(crate) fn with_outside_failures(outside: &[&str]) -> Result<(), String> {
    run_rings(&["ci".to_owned()], &[], outside)
}

fn run_rings(arguments: &[String], environment: &[(&str, &str)], outside: &[&str]) -> Result<(), String> {
    if arguments.first().is_some_and(|ring| ring == "coverage") {
        return coverage::coverage(&arguments[1..]);
    }
    let (rings, filter): (&[&str], &[String]) = match arguments.first().map(String::as_str) {
        None => (&["unit", "mechanism", "box"], &[]),
        Some("ci" | "all") => (&["unit", "mechanism", "box", "clients"], &arguments[1..]),
        Some(ring @ ("unit" | "mechanism" | "box" | "clients")) => {
            (&["unit", "mechanism", "box", "clients"][position(ring)..=position(ring)], &arguments[1..])
        }
        Some("scale") => return ring::scale(&arguments[1..]),
        Some("chaos") => return ring::chaos(&arguments[1..]),
        Some("vm") => return vm::vm(&arguments[1..]),
        Some(_) => (&["unit", "mechanism", "box"], arguments),
    };
    let skips = run::target().join("test-skips");
    fs::create_dir_all(run::target()).map_err(|error| error.to_string())?;
    fs::write(&skips, "").map_err(|error| format!("cannot write {}: {error}", skips.display()))?;
    let mut sum = Sum { failed: outside.len(), ..Sum::default() };
    sum.failures.extend(outside.iter().map(|part| (*part).to_owned()));
    let needs_root = rings.iter().any(|ring| *ring != "unit");
    if needs_root {
        preflight::report();
        images::prepare(&["busybox", "hello-world", "probe"]);
        // A whole distribution comes over the network; only where everything is to be tried.
        if rings.contains(&"clients") {
            images::prepare(&["debian"]);
        }
    }
    let mut environment = environment.to_vec();
    let skips_path = skips.to_string_lossy().into_owned();
    environment.push(("HAKO_TEST_SKIPS", &skips_path));
    for ring in rings {
        if let Err(why) = run_ring(ring, filter, &environment, &mut sum) {
            eprintln!("{ring}: {why}");
            sum.failed += 1;
            sum.failures.push((*ring).to_owned());
        }
    }
    close(sum, &skips)
}

fn position(ring: &str) -> usize {
    ["unit", "mechanism", "box", "clients"].iter().position(|name| *name == ring).unwrap_or(0)
}

fn run_ring(ring: &str, filter: &[String], environment: &[(&str, &str)], sum: &mut Sum) -> Result<(), String> {
    match ring {
        "unit" => {
            for program in build(&["--workspace", "--lib", "--bins"])? {
                execute(&program, filter, environment, false, sum)?;
            }
        }
        "mechanism" => {
            let programs = build(&["--workspace", "--tests", "--exclude", "tests"])?;
            for program in programs.iter().filter(|program| program.is_integration) {
                execute(program, filter, environment, true, sum)?;
            }
        }
        "box" => {
            let binary = dist::build_unoptimised()?;
            let programs = build(&["--package", "tests", "--test", "it"])?;
            for cli in black_box_clients() {
                println!("with the command line {cli}");
                let mut environment = environment.to_vec();
                let binary = binary.to_string_lossy();
                environment.extend([("HAKO_TEST_CLI", cli), ("HAKO_TEST_BINARY", &binary)]);
                for program in &programs {
                    execute(program, filter, &environment, true, sum)?;
                }
            }
        }
        _ => {
            let binary = dist::build_unoptimised()?;
            let mut environment = environment.to_vec();
            let binary = binary.to_string_lossy();
            environment.push(("HAKO_TEST_BINARY", &binary));
            for program in build(&["--package", "tests", "--test", "clients"])? {
                execute(&program, filter, &environment, true, sum)?;
            }
        }
    }
    Ok(())
}

/// Our own command line always; the real docker CLI where the machine has one.
fn black_box_clients() -> Vec<&'static str> {
    let mut clients = vec!["hako"];
    if run::has("docker") {
        clients.push("docker");
    } else {
        println!("skipped: the black-box ring with the docker CLI, which is not installed");
    }
    clients
}

/// Builds tests and returns the programs, as cargo's messages name them.
pub(crate) fn build(selection: &[&str]) -> Result<Vec<Program>, String> {
    build_with(run::cargo(&[]), selection)
}

/// The same, by a cargo that was told more.
pub(crate) fn build_with(mut cargo: Command, selection: &[&str]) -> Result<Vec<Program>, String> {
    cargo.args(["test", "--no-run", "--quiet", "--message-format=json-render-diagnostics"]).args(selection);
    let messages = run::output(cargo)?;
    Ok(messages.lines().filter_map(program).collect())
}

/// Runs programs of tests elsewhere, by a command that passes on what they say, and sums that up.
pub(crate) fn judge(command: &mut Command) -> Result<(), String> {
    let mut sum = Sum::default();
    let (status, _) = listen(command, &mut sum).map_err(|error| format!("cannot run it: {error}"))?;
    for failure in &sum.failures {
        println!("failed: {failure}");
    }
    println!("{} passed, {} failed", sum.passed, sum.failed);
    if status.success() && sum.failed == 0 { Ok(()) } else { Err(format!("not all is well ({status})")) }
}

impl Program {
    /// `runtime-launch`
    pub(crate) fn label(&self) -> String {
        format!("{}-{}", self.package, self.name)
    }

    /// Whether it is this one: the package's folder, and the name of the target.
    pub(crate) fn is(&self, package: &str, name: &str) -> bool {
        self.package == package && self.name == name
    }
}

fn program(message: &str) -> Option<Program> {
    let executable = PathBuf::from(field(message, "executable")?);
    let manifest = PathBuf::from(field(message, "manifest_path")?);
    let package_folder = manifest.parent()?.to_path_buf();
    let target = &message[message.find("\"target\":")?..];
    let is_integration = target.contains("\"kind\":[\"test\"]");
    let package = package_folder.file_name()?.to_string_lossy().into_owned();
    // A target's own "test" says whether it could be tested; the profile's, whether this is the tests' program.
    let profile = &message[message.find("\"profile\":")?..];
    profile[..profile.find('}')?].contains("\"test\":true").then_some(())?;
    Some(Program { executable, package_folder, package, name: field(target, "name")?, is_integration })
}

/// The text of a JSON string field; enough for cargo's messages, whose paths need no escapes.
fn field(message: &str, name: &str) -> Option<String> {
    let opening = format!("\"{name}\":\"");
    let from = message.find(&opening)? + opening.len();
    let length = message[from..].find('"')?;
    Some(message[from..from + length].to_owned())
}

fn execute(
    program: &Program,
    filter: &[String],
    environment: &[(&str, &str)],
    rooted: bool,
    sum: &mut Sum,
) -> Result<(), String> {
    let command = |arguments: &[String]| {
        let mut command = run::program(&program.executable);
        command.current_dir(&program.package_folder).args(arguments);
        command.env("CARGO_MANIFEST_DIR", &program.package_folder).env("HAKO_TARGET_DIR", run::target());
        command.envs(environment.iter().copied());
        if rooted { run::rooted(command) } else { command }
    };
    println!("{} {}", program.package, program.name);
    let known = sum.failures.len();
    let listened =
        listen(&mut command(filter), sum).map_err(|error| format!("cannot run {}: {error}", program.name))?;
    let failed = sum.failures.split_off(known);
    if rooted && (1..=UNSTEADY_MAX).contains(&failed.len()) {
        run_alone(&command, failed, sum).map_err(|error| format!("cannot run {}: {error}", program.name))?;
    } else {
        sum.failures.extend(failed);
    }
    // A program that was killed or could not start has said no closing line, and must not pass for an empty one.
    if !listened.0.success() && listened.1 == 0 {
        sum.failed += 1;
        sum.failures.push(format!("{} {} ended with {}", program.package, program.name, listened.0));
    }
    Ok(())
}

/// Tests that fail beside others are run once more by themselves, unless so many fail that it is no accident of time.
const UNSTEADY_MAX: usize = 3;

/// Runs tests that failed once more, alone. Those that then pass are told as unsteady, loudly: each is a fault to be
/// found, in the test or in hako, but not one of the change at hand.
fn run_alone(command: &dyn Fn(&[String]) -> Command, failed: Vec<String>, sum: &mut Sum) -> std::io::Result<()> {
    for name in failed {
        let mut again = Sum::default();
        listen(&mut command(&[name.clone(), "--exact".to_owned()]), &mut again)?;
        if again.passed == 1 && again.failed == 0 {
            println!("unsteady: {name} failed beside others and passed alone");
            sum.failed -= 1;
            sum.passed += 1;
        } else {
            sum.failures.push(name);
        }
    }
    Ok(())
}

/// Passes the program's lines on, but for those of single tests that passed, and adds up what they say. Programs
/// with a harness of their own may have no closing line; then the lines of single tests count.
fn listen(command: &mut Command, sum: &mut Sum) -> std::io::Result<(std::process::ExitStatus, usize)> {
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let (mut counted, mut closing) = ((0, 0), None);
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).lines() {
            let line = line?;
            closing = closing_line(&line).or(closing);
            counted.0 += usize::from(line.starts_with("test ") && line.ends_with(" ... ok"));
            if let Some(name) = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED")) {
                counted.1 += 1;
                sum.failures.push(name.to_owned());
            }
            if !is_routine(&line) {
                println!("{line}");
            }
        }
    }
    std::io::stdout().flush()?;
    let (passed, failed) = closing.unwrap_or(counted);
    sum.passed += passed;
    sum.failed += failed;
    Ok((child.wait()?, failed))
}

/// What every program says that has nothing to tell; the sum at the end says it for all.
fn is_routine(line: &str) -> bool {
    line.is_empty() || line.ends_with(" ... ok") || line.starts_with("running ") || line.starts_with("test result: ok.")
}

/// `test result: ok. 3 passed; 0 failed; …`
fn closing_line(line: &str) -> Option<(usize, usize)> {
    let rest = line.strip_prefix("test result: ")?;
    let number = |label: &str| {
        let before = rest.split(';').find(|part| part.trim().ends_with(label))?;
        before.split_whitespace().rev().nth(1)?.parse().ok()
    };
    Some((number("passed")?, number("failed")?))
}

fn close(mut sum: Sum, skips: &Path) -> Result<(), String> {
    for line in fs::read_to_string(skips).unwrap_or_default().lines() {
        let reason = line.split('\t').nth(1).unwrap_or(line);
        *sum.skipped.entry(reason.to_owned()).or_default() += 1;
    }
    for (reason, count) in &sum.skipped {
        println!("skipped {count}: {reason}");
    }
    for failure in &sum.failures {
        println!("failed: {failure}");
    }
    // A skipped test has returned early, which the test programs count as passed.
    let skipped: usize = sum.skipped.values().sum();
    println!("{} passed, {} failed, {skipped} skipped", sum.passed.saturating_sub(skipped), sum.failed);
    if sum.failed == 0 { Ok(()) } else { Err("not all is well".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_read() {
        let line = "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s";
        assert_eq!(closing_line(line), Some((12, 3)));
        assert_eq!(closing_line("test a ... ok"), None);
    }

    #[test]
    fn a_test_program_is_recognised_in_cargos_messages() {
        let message = r#"{"reason":"compiler-artifact","manifest_path":"/x/crates/sys/Cargo.toml","target":{"kind":["test"],"crate_types":["bin"],"name":"mount","test":true},"profile":{"opt_level":"0","test":true},"executable":"/x/target/debug/deps/mount-1"}"#;
        let program = program(message).unwrap();
        assert!(super::program(&message.replace("\"0\",\"test\":true", "\"0\",\"test\":false")).is_none());
        assert_eq!((program.package.as_str(), program.name.as_str(), program.is_integration), ("sys", "mount", true));
    }
}
