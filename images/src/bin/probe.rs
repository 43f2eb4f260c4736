//! The program of the `probe` image: does, inside a container, what tests want to look at from outside.
//!
//! Static and alone in its image, so that a test can tell what hako gave it from what a distribution brought along.
//! What busybox can do is left to busybox.
#![forbid(unsafe_code)]

use std::{
    fs,
    io::{self, Read, Write},
    net::{TcpListener, UdpSocket},
    os::unix::net::UnixListener,
    process::ExitCode,
};

const USAGE: &str = "probe report | descriptors | lines COUNT [WIDTH] | memory MEGABYTES | tcp ADDRESS TEXT | udp ADDRESS TEXT | unix PATH TEXT";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["report"] => report(),
        ["descriptors"] => descriptors(),
        ["lines", count] => lines(count, "0"),
        ["lines", count, width] => lines(count, width),
        ["memory", megabytes] => memory(megabytes),
        ["tcp", address, text] => tcp(address, text),
        ["udp", address, text] => udp(address, text),
        ["unix", path, text] => unix(path, text),
        _ => {
            eprintln!("usage: {USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("probe: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Who we are for the kernel: ids, groups, capabilities, seccomp, no-new-privileges.
fn report() -> io::Result<()> {
    const KEYS: [&str; 9] = ["Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "Seccomp", "NoNewPrivs"];
    for line in fs::read_to_string("/proc/self/status")?.lines() {
        if line.split_once(':').is_some_and(|(key, _)| KEYS.contains(&key)) {
            println!("{}", line.split_whitespace().collect::<Vec<_>>().join(" "));
        }
    }
    Ok(())
}

/// Which descriptors we were given, and what they are.
fn descriptors() -> io::Result<()> {
    let mut open = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        let entry = entry?;
        // The descriptor of this very listing is gone by the time it is looked at.
        if let (Ok(number), Ok(what)) =
            (entry.file_name().to_string_lossy().parse::<u32>(), fs::read_link(entry.path()))
        {
            open.push((number, what));
        }
    }
    open.sort();
    for (number, what) in open.iter().filter(|(_, what)| !what.starts_with("/proc")) {
        println!("{number} {}", what.display());
    }
    Ok(())
}

/// Numbered lines, padded to `width`, as fast as they are taken.
fn lines(count: &str, width: &str) -> io::Result<()> {
    let (count, width) = (number(count)?, number(width)?);
    let mut output = io::BufWriter::new(io::stdout().lock());
    for at in 1..=count {
        writeln!(output, "{at:<width$}")?;
    }
    output.flush()
}

/// Takes memory and touches each page of it, then waits for the end of its input.
fn memory(megabytes: &str) -> io::Result<()> {
    let mut taken = vec![0_u8; number(megabytes)? << 20];
    for page in taken.chunks_mut(4096) {
        page[0] = 1;
    }
    println!("taken {} MB", taken.iter().step_by(4096).map(|byte| usize::from(*byte)).sum::<usize>() / 256);
    io::stdin().read_to_end(&mut Vec::new()).map(drop)
}

/// Answers each connection with `TEXT from PEER`, an HTTP client as well as any other.
fn tcp(address: &str, text: &str) -> io::Result<()> {
    let listener = TcpListener::bind(address)?;
    println!("listening on {}", listener.local_addr()?);
    for connection in listener.incoming() {
        let mut connection = connection?;
        let body = format!("{text} from {}\n", connection.peer_addr()?.ip());
        let mut request = [0_u8; 4096];
        let taken = connection.read(&mut request)?;
        if request[..taken].starts_with(b"GET ") {
            write!(connection, "HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n", body.len())?;
        }
        connection.write_all(body.as_bytes())?;
    }
    Ok(())
}

/// Answers each connection to a unix socket with `TEXT`, as HTTP.
fn unix(path: &str, text: &str) -> io::Result<()> {
    let listener = UnixListener::bind(path)?;
    println!("listening on {path}");
    for connection in listener.incoming() {
        let mut connection = connection?;
        let taken = connection.read(&mut [0_u8; 4096])?;
        if taken > 0 {
            write!(connection, "HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len())?;
        }
    }
    Ok(())
}

/// Answers each datagram with `TEXT from PEER`.
fn udp(address: &str, text: &str) -> io::Result<()> {
    let socket = UdpSocket::bind(address)?;
    println!("listening on {}", socket.local_addr()?);
    let mut buffer = [0_u8; 65536];
    loop {
        let (_, peer) = socket.recv_from(&mut buffer)?;
        socket.send_to(format!("{text} from {}\n", peer.ip()).as_bytes(), peer)?;
    }
}

fn number(text: &str) -> io::Result<usize> {
    text.parse().map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, format!("{text:?} is no number")))
}
