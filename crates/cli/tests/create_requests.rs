//! What `create`'s flags become on the wire, against what docker's own command line sends for them.
//!
//! Both programs get each line of `create_requests.txt`, with a recording server for a daemon, and
//! must send the same requests, say the same and leave with the same code. The test is its own
//! command line: run again with [`ROLE`] set, it is the program under test. Without docker on the
//! PATH there is nothing to compare with, and it says so.

use std::{
    env, fs,
    io::{BufRead, BufReader, Write},
    os::unix::{
        net::{UnixListener, UnixStream},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, ExitCode, Output, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use serde_json::Value;

/// Set where this program is to behave as the command line.
const ROLE: &str = "HAKO_TEST_IS_COMMAND_LINE";
/// Pairs of programs that run at the same time.
const WORKERS: usize = 4;
/// What flags may name: variables, labels, a profile, an id that is there already.
const FILES: [(&str, &str); 5] = [
    ("ENVF", "# comment\nA=1\nB= x y \nNONE\nHOME\nQ=\"q\"\n"),
    ("LABELF", "a=b\nc\nd = e f\n"),
    ("LABELG", "# c\na=b\nc\nd=e f\n"),
    ("SECC", "{\n \"defaultAction\" : \"SCMP_ACT_ALLOW\"\n}\n"),
    ("EXISTS", ""),
];

fn main() -> ExitCode {
    if env::var_os(ROLE).is_some() {
        return hako_cli::main(env::args_os().collect());
    }
    let Some(docker) = find_docker() else {
        println!("skipped: no docker on the PATH to compare with");
        return ExitCode::SUCCESS;
    };
    let lines: Vec<&str> = include_str!("create_requests.txt").lines().collect();
    let share = lines.len().div_ceil(WORKERS);
    let failures: Vec<String> = thread::scope(|scope| {
        let workers: Vec<_> = lines
            .chunks(share)
            .enumerate()
            .map(|(number, lines)| {
                let docker = &docker;
                scope.spawn(move || Bench::new(number).differences(docker, lines))
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a worker panicked")).collect()
    });
    failures.iter().for_each(|failure| println!("{failure}\n"));
    println!("{} lines compared, {} differ", lines.len(), failures.len());
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn find_docker() -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join("docker")).find(|program| program.is_file())
}

/// A folder with the files that flags name, and a server that records.
struct Bench {
    folder: PathBuf,
    socket: PathBuf,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Bench {
    fn new(number: usize) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("create-requests-{number}"));
        // What an earlier run left there.
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder for the test");
        for (name, text) in FILES {
            fs::write(folder.join(name), text).expect("a file for flags to name");
        }
        let socket = folder.join("daemon.sock");
        let listener = UnixListener::bind(&socket).expect("a socket in the test's folder");
        let requests = Arc::default();
        let record: Arc<Mutex<Vec<Request>>> = Arc::clone(&requests);
        // Ends with the test program.
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let record = Arc::clone(&record);
                thread::spawn(move || serve(connection, &record));
            }
        });
        Self { folder, socket, requests }
    }

    fn differences(&self, docker: &Path, lines: &[&str]) -> Vec<String> {
        let own = env::current_exe().expect("the path of this program");
        let compare = |line: &&str| {
            let arguments = split(line);
            let (expected, theirs) = (self.run(docker, &arguments), self.recorded());
            let (got, ours) = (self.run(&own, &arguments), self.recorded());
            let (expected, got) = (told(&expected, theirs), told(&got, ours));
            (expected != got).then(|| format!("create {line}\n--- docker\n{expected}--- hako\n{got}"))
        };
        lines.iter().filter_map(compare).collect()
    }

    fn run(&self, program: &Path, arguments: &[String]) -> Output {
        // Refused by the programs if it were still there.
        let _ = fs::remove_file(self.folder.join("CIDF"));
        #[expect(clippy::disallowed_methods, reason = "this compares two programs")]
        let mut command = Command::new(program);
        command.arg0("docker").arg("create").args(arguments).current_dir(&self.folder).stdin(Stdio::null()).env_clear();
        command.env(ROLE, "1").env("HOME", &self.folder).env("PATH", env::var_os("PATH").unwrap_or_default());
        command.env("DOCKER_HOST", format!("unix://{}", self.socket.display()));
        command.output().expect("run a program")
    }

    fn recorded(&self) -> Vec<Request> {
        std::mem::take(&mut *self.requests.lock().expect("no thread panics with it"))
    }
}

#[derive(Debug)]
struct Request {
    /// Method and path.
    target: String,
    parameters: Vec<String>,
    body: Value,
}

// One field a line, so that a difference is easy to see. Hints are hako's own.
fn told(output: &Output, requests: Vec<Request>) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said: String = text(&output.stderr)
        .lines()
        .filter(|line| !line.starts_with("hint: "))
        .map(|line| format!("{line}\n"))
        .collect();
    let mut all = format!("exit {:?}\nout {}\nerr {said}", output.status.code(), text(&output.stdout));
    for mut request in requests {
        request.parameters.sort();
        // Docker keeps these in maps, and so sends them in any order.
        for unordered in ["/Env", "/HostConfig/Binds"] {
            if let Some(Value::Array(items)) = request.body.pointer_mut(unordered) {
                items.sort_by_key(Value::to_string);
            }
        }
        let body = serde_json::to_string_pretty(&request.body).expect("JSON is printable");
        all.push_str(&format!("{} {:?} {body}\n", request.target, request.parameters));
    }
    all
}

fn serve(connection: UnixStream, record: &Mutex<Vec<Request>>) {
    let mut reader = BufReader::new(connection.try_clone().expect("a second descriptor"));
    let mut writer = connection;
    while let Some((method, path, body)) = read_request(&mut reader) {
        let (status, answer) = match path.split_once('?').map_or(path.as_str(), |(path, _)| path) {
            "/_ping" => ("200 OK", "OK".to_owned()),
            path if path.ends_with("/containers/create") => {
                ("201 Created", format!(r#"{{"Id":"{}","Warnings":[]}}"#, "a".repeat(64)))
            }
            _ => ("500 Internal Server Error", r#"{"message":"recorded"}"#.to_owned()),
        };
        if path != "/_ping" {
            let (path, query) = path.split_once('?').unwrap_or((&path, ""));
            record.lock().expect("no thread panics with it").push(Request {
                target: format!("{method} {path}"),
                parameters: query.split('&').map(str::to_owned).collect(),
                body: serde_json::from_slice(&body).unwrap_or_default(),
            });
        }
        let answer = if method == "HEAD" { String::new() } else { answer };
        let head = format!(
            "HTTP/1.1 {status}\r\nApi-Version: 1.50\r\nOstype: linux\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            answer.len()
        );
        if writer.write_all(format!("{head}{answer}").as_bytes()).is_err() {
            return;
        }
    }
}

fn read_request(reader: &mut impl BufRead) -> Option<(String, String, Vec<u8>)> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
    let mut words = line.split(' ').map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim_end().split_once(": ") else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((method, path, body))
}

// Words as a shell splits them; quotes of both kinds, no escapes.
fn split(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote): (Vec<String>, Option<String>, Option<char>) = (Vec::new(), None, None);
    for c in line.chars() {
        match (quote, c) {
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (Some(open), close) if open == close => quote = None,
            (None, ' ') => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}
