//! `cargo x test vm cuts [COUNT [SEED]]`: the plug of the emulated machine is pulled while images are pulled, loaded,
//! committed and removed, at instants that nobody chose, on one disk; after each boot every image has to verify.
//!
//! One boot is one cut: it looks at what the last one left, then works until the plug is pulled. The last boot only looks.
//! The disk is the same throughout, so what one cut spoiled unnoticed is there for the next to trip over.

use std::{fs, path::Path, process::Stdio};

use crate::{dist, images, run, vm};

/// Cuts when nobody says how many.
const CUTS: u32 = 20;

/// Seconds of work before the plug is pulled: from before the daemon listens to many operations later.
const FIRST: f64 = 4.0;
const LAST: f64 = 35.0;

/// On a busy host the emulated machine's clock may fail its kernel, which then does not come up: that is no cut.
const BOOTS: u32 = 5;

/// What a boot without a cut may take, emulated.
const LIMIT: &str = "900";

/// What the machine says when its kernel is up.
const BOOTED: &str = "LAB-START";

/// Starts the daemon and a registry; both wait until they listen.
const START: &str = r#"
export PATH=/vm:$PATH DOCKER_HOST=unix:///run/hako.sock
mkdir -p /run/log
hako daemon -H unix:///run/hako.sock >/run/log/daemon 2>&1 &
hako registry serve --listen 127.0.0.1:5000 --root /vm/registry >/run/log/registry 2>&1 &
n=0; until hako version >/dev/null 2>&1; do n=$((n+1)); [ $n -lt 240 ] || { echo "CUTS: the daemon does not start"; cat /run/log/daemon; exit 1; }; sleep 0.5; done
n=0; until grep -q ready /run/log/registry; do n=$((n+1)); [ $n -lt 240 ] || { echo "CUTS: the registry does not start"; exit 1; }; sleep 0.5; done
"#;

/// An image that stays, an archive to load and a repository to pull from; none shares a layer with another.
const PREPARE: &str = r#"
set -e
hako import /vm/images/busybox.tar stay:1 >/dev/null
other() { # NAME: an image of two layers that only it has
  hako run --network none --name first stay:1 dd if=/dev/urandom of=/big bs=1M count=4 2>/dev/null
  hako export first | hako import - "$1:1" >/dev/null; hako rm first >/dev/null
  hako run --network none --name second "$1:1" dd if=/dev/urandom of=/more bs=1M count=2 2>/dev/null
  hako commit second "$1:2" >/dev/null; hako rm second >/dev/null
}
other box; hako save -o /vm/pair.tar box:1 box:2
other far; hako tag far:2 localhost:5000/far:2; hako push -q localhost:5000/far:2 >/dev/null; hako rmi far:2 localhost:5000/far:2 far:1 >/dev/null
echo "CUTS: prepared"
"#;

/// Whether everything that is here is whole, and can be run.
const CHECK: &str = r#"
n=0
for image in $(hako images -aq --no-trunc | sort -u); do
  hako image verify "$image" >/run/log/verify 2>&1 || { echo "CUTS: damaged $image"; cat /run/log/verify; exit 1; }
  n=$((n+1))
done
for container in $(hako ps -aq); do hako rm -f "$container" >/dev/null || { echo "CUTS: stuck $container"; exit 1; }; done
for image in $(hako images -q --no-trunc | sort -u | head -2); do
  hako run --rm --network none "$image" true || { echo "CUTS: does not run $image"; exit 1; }
done
left=$(find /var/lib/hako/content/staging /var/lib/hako/snapshots/staging -mindepth 1 2>/dev/null | wc -l)
[ "$left" = 0 ] || { echo "CUTS: $left files of unfinished work are left"; exit 1; }
[ "$n" -ge 2 ] || { echo "CUTS: only $n images are left"; exit 1; }
echo "CUTS: verified $n"
"#;

/// Work without an end; each step says what it is, so that a cut knows what it cut. Whatever a step takes away or brings,
/// the other images are there meanwhile, so that each cut leaves something to verify.
const WORK: &str = r#"
i=0
while :; do
  i=$((i+1))
  echo "CUTS: rm"; hako rmi -f box:2 box:1 >/dev/null 2>&1
  echo "CUTS: load"; hako load -q -i /vm/pair.tar >/dev/null || { echo "CUTS: cannot load"; exit 1; }
  echo "CUTS: rm"; hako rmi -f localhost:5000/far:2 >/dev/null 2>&1
  echo "CUTS: pull"; hako pull -q localhost:5000/far:2 >/dev/null || { echo "CUTS: cannot pull"; exit 1; }
  echo "CUTS: commit"; hako run --network none --name work stay:1 dd if=/dev/urandom of=/more bs=1M count=3 2>/dev/null
  hako commit work kept:$((i % 3)) >/dev/null || { echo "CUTS: cannot commit"; exit 1; }
  hako rm -f work >/dev/null; hako rmi -f kept:$(((i + 1) % 3)) >/dev/null 2>&1
  hako image prune -f >/dev/null
done
"#;

/// Runs the cuts and says what each of them hit.
pub(crate) fn cuts(arguments: &[String]) -> Result<(), String> {
    let machine = vm::machine();
    if !machine.exists() {
        println!("skipped: the emulated machine is not here ({})", vm::MACHINE);
        return Ok(());
    }
    let number =
        |at: usize| arguments.get(at).map(|text| text.parse::<u64>().map_err(|_| format!("{text:?} is no number")));
    let count = number(0).transpose()?.unwrap_or(u64::from(CUTS));
    let mut seed = number(1).transpose()?.unwrap_or_else(|| u64::from(std::process::id()));
    println!("{count} cuts, seed {seed}");
    let folder = run::target().join("cuts");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(folder.join("vm/images"))
        .map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
    let busybox = images::image("busybox")?;
    vm::copied(&busybox, &folder.join("vm/images/busybox.tar"))?;
    let program = match std::env::var_os("HAKO_TEST_BINARY") {
        Some(program) => program.into(),
        None => dist::build_unoptimised()?,
    };
    vm::stripped(&program, &folder.join("vm/hako"))?;
    let disk = folder.join("disk.img");
    let copy = format!("{}:/vm", folder.join("vm").display());
    boot(&machine, &disk, &["--copy", &copy], &format!("{START}{PREPARE}{CHECK}"))?;
    let mut hit: Vec<(String, u32)> = Vec::new();
    let mut fewest = u64::MAX;
    for cut in 1..=count {
        let seconds = FIRST + (LAST - FIRST) * fraction(&mut seed);
        let lines =
            boot(&machine, &disk, &["--power-cut", &format!("{seconds:.1}")], &format!("{START}{CHECK}{WORK}"))?;
        // A cut during the start has verified nothing: what it left is looked at by the next.
        let what = lines.last().cloned().unwrap_or_else(|| "the start".to_owned());
        fewest = lines.iter().filter_map(|line| verified(line)).fold(fewest, u64::min);
        println!("cut {cut} after {seconds:.1} s: {what}");
        match hit.iter_mut().find(|(known, _)| *known == what) {
            Some((_, times)) => *times += 1,
            None => hit.push((what, 1)),
        }
    }
    let lines = boot(&machine, &disk, &[], &format!("{START}{CHECK}"))?;
    fewest = lines.iter().filter_map(|line| verified(line)).fold(fewest, u64::min);
    let told: Vec<String> = hit.iter().map(|(what, times)| format!("{times} at {what:?}")).collect();
    println!("{count} cuts ({}); never fewer than {fewest} images to verify", told.join(", "));
    let _ = fs::remove_dir_all(&folder);
    Ok(())
}

/// One boot; what it said, unless that is that something is wrong.
fn boot(machine: &Path, disk: &Path, flags: &[&str], script: &str) -> Result<Vec<String>, String> {
    let mut boots = 0;
    let (output, text) = loop {
        let mut command = run::program(machine);
        command.arg("--disk").arg(disk).args(["--mem", "1024", "--timeout", LIMIT]).args(flags);
        // One word: the machine's shell runs it as it is.
        command.arg("--").arg(script);
        let mut command = run::rooted(command);
        let output = command.stdin(Stdio::null()).output();
        let output = output.map_err(|error| format!("cannot boot the machine: {error}"))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        boots += 1;
        if text.contains(BOOTED) || boots == BOOTS {
            break (output, text);
        }
    };
    let lines: Vec<String> = text.lines().filter_map(|line| line.strip_prefix("CUTS: ")).map(str::to_owned).collect();
    // 137 is a cut; a boot that was not cut has to end well.
    let expected = if flags.contains(&"--power-cut") { 137 } else { 0 };
    if output.status.code() == Some(expected) && !lines.iter().any(|line| is_bad(line)) {
        return Ok(lines);
    }
    let kept = format!("the disk is kept: {}", disk.display());
    Err(format!("{text}{}\n{}; {kept}", String::from_utf8_lossy(&output.stderr), output.status))
}

fn is_bad(line: &str) -> bool {
    !(matches!(line, "rm" | "pull" | "load" | "commit" | "prepared") || verified(line).is_some())
}

/// How many images a boot has verified, if that is what a line says.
fn verified(line: &str) -> Option<u64> {
    line.strip_prefix("verified ")?.parse().ok()
}

/// A number between 0 and 1 that follows from the last one (Knuth's MMIX generator).
fn fraction(seed: &mut u64) -> f64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 33) as f64 / f64::from(1_u32 << 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_boot_says_is_judged() {
        for good in ["rm", "commit", "verified 3"] {
            assert!(!is_bad(good), "{good}");
        }
        for bad in
            ["damaged sha256:1", "cannot pull", "the daemon does not start", "3 files of unfinished work are left"]
        {
            assert!(is_bad(bad), "{bad}");
        }
    }

    #[test]
    fn instants_are_spread_and_follow_from_the_seed() {
        let (mut one, mut other) = (7, 7);
        let drawn: Vec<f64> = (0..100).map(|_| fraction(&mut one)).collect();
        assert!(drawn.iter().all(|number| (0.0..1.0).contains(number)));
        assert!(drawn.iter().any(|number| *number < 0.2) && drawn.iter().any(|number| *number > 0.8));
        assert_eq!(drawn, (0..100).map(|_| fraction(&mut other)).collect::<Vec<_>>());
    }
}
