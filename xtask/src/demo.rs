//! `cargo x demo`: what hako does, shown on this machine: a distribution in a container, a package installed, the
//! change kept as an image, a web server. First with hako's command line, then with the real docker CLI if it is here.
//!
//! Nothing of it stays. A step that does not do what it says ends the demo with an error.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    process::{Child, ChildStdin, Stdio},
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

use crate::{
    images,
    lodge::{self, Lodge},
    preflight, run,
    wait::wait_for,
};

/// How long one step may take; apt over a slow line takes longest.
const PATIENCE: Duration = Duration::from_secs(180);

pub(crate) fn demo(_: &[String]) -> Result<(), String> {
    lodge::as_root(&["demo"], |binary| {
        preflight::report();
        let lodge = Lodge::start(binary)?;
        println!("a throw-away daemon listens on {}", lodge.address());
        lodge.import("busybox")?;
        lodge.import("hello-world")?;
        let has_debian = match images::image("debian").and_then(|_| lodge.import("debian")) {
            Ok(()) => true,
            Err(why) => {
                println!("no Debian this time, so its part is left out: {why}");
                false
            }
        };
        tell(&Stage { lodge: &lodge, cli: "hako".to_owned(), tag: "hako" }, has_debian)?;
        match run::find("docker") {
            Some(docker) => {
                title("The same with the docker command line that is installed here");
                tell(&Stage { lodge: &lodge, cli: docker.display().to_string(), tag: "docker" }, has_debian)?;
            }
            None => println!("\nthe docker command line is not installed here; hako would serve it as well"),
        }
        println!("\nAll of it is taken away again.");
        Ok(())
    })
}

/// One telling of the story.
struct Stage<'a> {
    lodge: &'a Lodge,
    /// The command line that is shown.
    cli: String,
    /// Keeps the names of two tellings apart.
    tag: &'static str,
}

fn tell(stage: &Stage<'_>, has_debian: bool) -> Result<(), String> {
    if has_debian {
        distribution(stage)?;
    }
    title("An image of one static program");
    stage.show("run --rm hello-world", "Hello from hako!")?;
    web_server(stage)
}

/// `run -ti debian bash`, a package, a second container without it, a commit, and a container with it.
fn distribution(stage: &Stage<'_>) -> Result<(), String> {
    let (first, second, image) =
        (format!("first-{}", stage.tag), format!("second-{}", stage.tag), format!("me/{}", stage.tag));
    title("A distribution in a container, with a package installed");
    let shell = stage.type_into(&format!("run -t -i --name {first} debian:bookworm /bin/bash"))?;
    shell.type_when("# ", "apt-get update && apt-get install -y hello\n")?;
    // What is typed while a program runs would be that program's.
    shell.wait_for("Setting up hello")?;
    shell.type_when("# ", "hello\n")?;
    shell.wait_for("Hello, world!")?;
    shell.type_when("# ", "exit\n")?;
    shell.end()?;
    title("A second container of the same image does not have it");
    stage.show_failing(&format!("run --name {second} debian:bookworm hello"), "executable file not found")?;
    stage.show("ps -a", &first)?;
    title("The first one becomes an image, and a container of that has it");
    stage.show(&format!("commit {first} {image}"), "sha256:")?;
    stage.show(&format!("run --rm {image} hello"), "Hello, world!")?;
    stage.show(&format!("rm {first} {second}"), &second)?;
    stage.show(&format!("rmi {image}"), "Untagged")
}

fn web_server(stage: &Stage<'_>) -> Result<(), String> {
    title("A web server, published");
    let port = free_port();
    let name = format!("web-{}", stage.tag);
    let serve = "echo welcome > /index.html; exec httpd -f -v -p 80 -h /";
    stage.show(&format!("run -d --name {name} -p {port}:80 busybox sh -c '{serve}'"), "")?;
    stage.wait_for(&format!("curl -s http://127.0.0.1:{port}"), "welcome")?;
    stage.show(&format!("logs {name}"), "response:200")?;
    stage.show(&format!("exec {name} cat /index.html"), "welcome")?;
    stage.show("ps", &name)?;
    stage.show(&format!("stop -t 1 {name}"), &name)?;
    stage.show(&format!("rm {name}"), &name)
}

/// 8080, or another one if somebody has it, and then that is said.
fn free_port() -> u16 {
    const WANTED: u16 = 8080;
    if TcpListener::bind(("0.0.0.0", WANTED)).is_ok() {
        return WANTED;
    }
    let other = TcpListener::bind(("0.0.0.0", 0)).and_then(|listener| listener.local_addr());
    let port = other.map_or(18080, |address| address.port());
    println!("port {WANTED} is taken on this machine; taking {port}");
    port
}

fn title(text: &str) {
    println!("\n== {text}");
}

impl Stage<'_> {
    /// Runs a line, shows it and what it prints, and demands success and `expected` in its output.
    fn show(&self, line: &str, expected: &str) -> Result<(), String> {
        let (printed, success) = self.perform(line)?;
        if success && printed.contains(expected) {
            Ok(())
        } else {
            Err(format!("`{line}` should succeed and say {expected:?}"))
        }
    }

    /// The same, demanding failure.
    fn show_failing(&self, line: &str, expected: &str) -> Result<(), String> {
        let (printed, success) = self.perform(line)?;
        if !success && printed.contains(expected) {
            Ok(())
        } else {
            Err(format!("`{line}` should fail and say {expected:?}"))
        }
    }

    fn perform(&self, line: &str) -> Result<(String, bool), String> {
        println!("$ {} {line}", self.name());
        let output =
            self.shell(&format!("{} {line}", self.cli)).output().map_err(|error| format!("cannot run sh: {error}"))?;
        let printed = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        print!("{printed}");
        Ok((printed, output.status.success()))
    }

    /// Runs a line of another program until it prints `expected`; shows the last time.
    fn wait_for(&self, line: &str, expected: &str) -> Result<(), String> {
        println!("$ {line}");
        let mut last = String::new();
        let found = wait_for(Duration::from_secs(20), || {
            let output = self.shell(line).output().ok()?;
            last = String::from_utf8_lossy(&output.stdout).into_owned();
            last.contains(expected).then_some(())
        });
        print!("{last}");
        found.ok_or_else(|| format!("`{line}` should say {expected:?}"))
    }

    /// Starts a line on a terminal, to be typed into. script(1) makes the terminal; Debian always has it.
    fn type_into(&self, line: &str) -> Result<Typing, String> {
        println!("$ {} {line}", self.name());
        let mut script = run::program("script");
        script.args(["--quiet", "--return", "--command", &format!("{} {line}", self.cli), "/dev/null"]);
        self.lodge.equip(&mut script);
        script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = script.spawn().map_err(|error| format!("cannot run script: {error}"))?;
        let seen = Arc::new((Mutex::new(Seen::default()), Condvar::new()));
        if let Some(output) = child.stdout.take() {
            let seen = seen.clone();
            std::thread::spawn(move || pass_on(output, &seen));
        }
        let stdin = child.stdin.take();
        Ok(Typing { child, stdin, seen })
    }

    fn shell(&self, line: &str) -> std::process::Command {
        let mut command = run::program("sh");
        command.args(["-c", line]).stdin(Stdio::null());
        self.lodge.equip(&mut command);
        command
    }

    fn name(&self) -> &str {
        self.cli.rsplit('/').next().unwrap_or(&self.cli)
    }
}

/// What a terminal has shown: everything, and how far the last wait has read.
#[derive(Default)]
struct Seen {
    text: String,
    read: usize,
    ended: bool,
}

/// A line on a terminal that is being typed into.
struct Typing {
    child: Child,
    stdin: Option<ChildStdin>,
    seen: Arc<(Mutex<Seen>, Condvar)>,
}

impl Typing {
    /// Waits until `sign` has been shown since the last time.
    fn wait_for(&self, sign: &str) -> Result<(), String> {
        let (lock, changed) = &*self.seen;
        let seen = lock.lock().map_err(|_| "the reader has died".to_owned())?;
        let waiting = |seen: &mut Seen| !seen.text[seen.read..].contains(sign) && !seen.ended;
        let (mut seen, _) =
            changed.wait_timeout_while(seen, PATIENCE, waiting).map_err(|_| "the reader has died".to_owned())?;
        let Some(at) = seen.text[seen.read..].find(sign) else { return Err(format!("{sign:?} was not shown")) };
        seen.read += at + sign.len();
        Ok(())
    }

    /// The same, and then types.
    fn type_when(&self, sign: &str, keys: &str) -> Result<(), String> {
        self.wait_for(sign)?;
        let mut stdin = self.stdin.as_ref().ok_or("the terminal is closed")?;
        stdin.write_all(keys.as_bytes()).map_err(|error| format!("cannot type: {error}"))
    }

    fn end(mut self) -> Result<(), String> {
        let status = self.child.wait().map_err(|error| format!("cannot wait: {error}"))?;
        println!();
        if status.success() { Ok(()) } else { Err(format!("the shell ended with {status}")) }
    }
}

impl Drop for Typing {
    fn drop(&mut self) {
        // After a step that failed nobody types any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Shows what the terminal shows, and keeps it for those who wait.
fn pass_on(output: impl Read, seen: &(Mutex<Seen>, Condvar)) {
    let mut output = BufReader::new(output);
    loop {
        let count = match output.fill_buf() {
            Ok(chunk) if !chunk.is_empty() => {
                let text = String::from_utf8_lossy(chunk).into_owned();
                print!("{text}");
                let _ = std::io::stdout().flush();
                if let Ok(mut seen) = seen.0.lock() {
                    seen.text.push_str(&text);
                }
                chunk.len()
            }
            _ => break,
        };
        output.consume(count);
        seen.1.notify_all();
    }
    if let Ok(mut seen) = seen.0.lock() {
        seen.ended = true;
    }
    seen.1.notify_all();
}
