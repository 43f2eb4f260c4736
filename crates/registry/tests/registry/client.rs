//! The client: with our own server, and with servers that break off, lie, hang or never end.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use hako_image::{ImportOptions, Store};
use hako_model::Reference;
use hako_registry::{
    PullOptions, Pulled, PushOptions, Steps,
    client::{Client, Credentials, RegistryError, Settings, TokenAsk},
};

use crate::place::{Folder, Place, digest, manifest};

/// A store, and a client that is soon out of patience.
pub(crate) struct Side {
    folder: Folder,
    pub(crate) store: Store,
    client: Client,
}

impl Side {
    pub(crate) fn new() -> Self {
        Self::with(Vec::new())
    }

    /// One that looks for what is said of registries in these folders.
    pub(crate) fn with(certificates: Vec<PathBuf>) -> Self {
        let folder = Folder::new();
        let database = Arc::new(hako_base::database::Database::create(folder.path().join("state.redb")).unwrap());
        let store = Store::open(folder.path(), database).unwrap();
        let stall = Duration::from_millis(700);
        let settings = Settings { stall, attempts: 3, certificates, ..Settings::default() };
        Self { folder, store, client: Client::new(settings) }
    }

    pub(crate) fn pull(&self, name: &str) -> Result<Pulled, RegistryError> {
        let reference: Reference = name.parse().unwrap();
        let (sender, mut steps) = tokio::sync::mpsc::channel(8);
        run(async {
            let drained = tokio::spawn(async move { while steps.recv().await.is_some() {} });
            let options = PullOptions::default();
            let pulled = self.client.pull(&self.store, &reference, &options, &Steps::new(sender)).await;
            drained.await.unwrap();
            pulled
        })
    }

    pub(crate) fn push(&self, name: &str) -> String {
        self.try_push(name).unwrap()
    }

    pub(crate) fn try_push(&self, name: &str) -> Result<String, RegistryError> {
        let reference: Reference = name.parse().unwrap();
        let (sender, mut steps) = tokio::sync::mpsc::channel(8);
        run(async {
            tokio::spawn(async move { while steps.recv().await.is_some() {} });
            let options = PushOptions::default();
            let pushed = self.client.push(&self.store, &reference, &options, &Steps::new(sender)).await;
            pushed.map(|pushed| pushed.digest.to_string())
        })
    }

    /// Everything that a failed pull could leave.
    fn leftovers(&self) -> usize {
        let count = |path: &str| fs::read_dir(self.folder.path().join(path)).map_or(0, Iterator::count);
        count("content/sha256") + count("content/staging") + count("snapshots/staging") + self.store.list().len()
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(future)
}

/// The tar of one file.
pub(crate) fn tar(name: &str, content: &[u8]) -> Vec<u8> {
    let mut header = [0_u8; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..107].copy_from_slice(b"0000644");
    header[108..115].copy_from_slice(b"0000000");
    header[116..123].copy_from_slice(b"0000000");
    header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
    header[136..147].copy_from_slice(b"00000000000");
    header[148..156].copy_from_slice(b"        ");
    header[156] = b'0';
    header[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut bytes = header.to_vec();
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(512) + 1024, 0);
    bytes
}

/// One image as a registry has it.
pub(crate) struct Image {
    layer: Vec<u8>,
    config: Vec<u8>,
    manifest: String,
}

impl Image {
    pub(crate) fn new() -> Self {
        let content: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
        let layer = tar("file", &content);
        let config = format!(
            "{{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{{}},\"rootfs\":{{\"type\":\"layers\",\"diff_ids\":[\"{}\"]}}}}",
            digest(&layer)
        );
        let text = manifest(&digest(config.as_bytes()), &[(&digest(&layer), layer.len())], "");
        let manifest = text.replace("\"size\":2}", &format!("\"size\":{}}}", config.len()));
        Self { layer, config: config.into_bytes(), manifest }
    }
}

pub(crate) fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// A server that answers by `script`, given the request's head; what it gives is sent, and the connection closed.
pub(crate) fn hostile(script: impl Fn(&str, &mut TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let script = Arc::new(script);
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let (mut socket, script) = (socket.unwrap(), script.clone());
            std::thread::spawn(move || {
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") {
                    // A TLS client tries first; what it says is no HTTP.
                    match socket.read(&mut byte) {
                        Ok(1) if !head.is_empty() || byte[0].is_ascii_alphabetic() => head.push(byte[0]),
                        _ => return,
                    }
                }
                script(&String::from_utf8_lossy(&head), &mut socket);
            });
        }
    });
    address
}

// An honest answer, but for what `odd` answers itself.
pub(crate) fn serve(image: &Image, head: &str, socket: &mut TcpStream, odd: impl Fn(&str, &mut TcpStream) -> bool) {
    if odd(head, socket) {
        return;
    }
    let path = head.split([' ', '?']).nth(1).unwrap();
    let kind = "Content-Type: application/vnd.oci.image.manifest.v1+json\r\n";
    let bytes = if path.contains("/manifests/") {
        answer("200 OK", kind, image.manifest.as_bytes())
    } else if path.ends_with(&digest(&image.config)) {
        answer("200 OK", "", &image.config)
    } else if path.ends_with(&digest(&image.layer)) {
        answer("200 OK", "", &image.layer)
    } else {
        answer("200 OK", "", b"{}")
    };
    let _ = socket.write_all(&bytes);
}

fn is_layer(image: &Image, head: &str) -> bool {
    head.contains(&digest(&image.layer))
}

#[test]
fn what_is_pushed_is_pulled_with_one_digest_wherever_it_goes() {
    let (first, second) = (Folder::new(), Folder::new());
    let (first, second) = (Place::start(first.path(), |_| ()), Place::start(second.path(), |_| ()));
    let one = Side::new();
    let name = |place: &Place| format!("{}/a/image:1", place.address);
    let options = ImportOptions { reference: Some(name(&first).parse().unwrap()), ..ImportOptions::default() };
    let id = one.store.import(&tar("file", b"content")[..], &options, &mut |_| {}).unwrap();
    let pushed = one.push(&name(&first));
    let two = Side::new();
    let pulled = two.pull(&name(&first)).unwrap();
    assert_eq!((pulled.id, pulled.digest.to_string(), pulled.is_new), (id, pushed.clone(), true));
    assert!(!two.pull(&name(&first)).unwrap().is_new);
    two.store.tag(&id.to_string(), &name(&second).parse().unwrap()).unwrap();
    assert_eq!(two.push(&name(&second)), pushed);
    assert_eq!(one.push(&name(&first)), pushed);
    assert_eq!(two.store.image(id).unwrap().repo_digests.len(), 2);
}

#[test]
fn a_download_that_breaks_off_goes_on_where_it_broke() {
    let image = Image::new();
    let times = Arc::new(AtomicUsize::new(0));
    let counted = times.clone();
    let size = image.layer.len();
    let address = hostile(move |head, socket| {
        serve(&image, head, socket, |head, socket| {
            if !is_layer(&image, head) {
                return false;
            }
            let start: usize = head
                .lines()
                .find_map(|line| {
                    line.to_ascii_lowercase()
                        .strip_prefix("range: bytes=")
                        .map(|rest| rest.trim_end_matches('-').parse().unwrap())
                })
                .unwrap_or(0);
            let head = match counted.fetch_add(1, Ordering::Relaxed) {
                0 => format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n"),
                _ => format!(
                    "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {start}-{}/{size}\r\nContent-Length: {}\r\n\r\n",
                    size - 1,
                    size - start
                ),
            };
            let end = (start + 300_000).min(size);
            let _ = socket.write_all(&[head.as_bytes(), &image.layer[start..end]].concat());
            true
        });
    });
    let side = Side::new();
    assert!(side.pull(&format!("{address}/a:1")).unwrap().is_new);
    assert!(times.load(Ordering::Relaxed) >= 3);
}

fn check(odd: impl Fn(&Image, &str, &mut TcpStream) -> bool + Send + Sync + 'static, expected: &str) {
    let image = Image::new();
    let address = hostile(move |head, socket| serve(&image, head, socket, |head, socket| odd(&image, head, socket)));
    let side = Side::new();
    let error = side.pull(&format!("{address}/a:1")).unwrap_err();
    let text = hako_base::error::chain(&error).replace(&address.to_string(), "HOST");
    assert!(text.contains(expected), "{text}");
    assert_eq!(side.leftovers(), 0, "{text}");
}

#[test]
fn bytes_that_are_not_what_was_asked_for_are_refused() {
    check(
        |image, head, socket| {
            let mut other = image.layer.clone();
            other[600] ^= 1;
            is_layer(image, head) && socket.write_all(&answer("200 OK", "", &other)).is_ok()
        },
        "has digest sha256:",
    );
    check(
        |image, head, socket| {
            head.contains(&digest(&image.config))
                && socket.write_all(&answer("200 OK", "", b"{\"os\":\"linux\"}")).is_ok()
        },
        "the configuration has digest sha256:",
    );
}

#[test]
fn bodies_without_an_end_are_cut_off() {
    let endless = |socket: &mut TcpStream| {
        let _ = socket.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        let chunk = [b"10000\r\n", &[b'x'; 0x10000][..], b"\r\n"].concat();
        while socket.write_all(&chunk).is_ok() {}
        true
    };
    check(
        move |_, head, socket| head.contains("/manifests/") && endless(socket),
        "the manifest from http://HOST/v2/a/manifests/1 is larger than 4194304 bytes",
    );
    check(
        move |image, head, socket| head.contains(&digest(&image.config)) && endless(socket),
        "the configuration from",
    );
    check(
        move |image, head, socket| {
            if !is_layer(image, head) {
                return false;
            }
            let _ = socket.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            let layer = [format!("{:x}\r\n", image.layer.len()).as_bytes(), &image.layer, b"\r\n"].concat();
            while socket.write_all(&layer).is_ok() {}
            true
        },
        "is larger than",
    );
}

#[test]
fn a_registry_that_hangs_is_given_up() {
    check(
        |_, head, socket| {
            // Until the client hangs up.
            head.contains("/manifests/") && socket.read(&mut [0; 1]).is_ok()
        },
        "nothing came for 0.7 seconds",
    );
    check(
        |image, head, socket| {
            is_layer(image, head) && {
                let _ = socket.write_all(
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\nhalf", image.layer.len()).as_bytes(),
                );
                socket.read(&mut [0; 1]).is_ok()
            }
        },
        "nothing came for 0.7 seconds",
    );
}

#[test]
fn passwords_do_not_follow_a_redirect_to_another_server() {
    let image = Arc::new(Image::new());
    let seen = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let (elsewhere_image, heads) = (image.clone(), seen.clone());
    let elsewhere = hostile(move |head, socket| {
        heads.lock().push(head.to_ascii_lowercase());
        serve(&elsewhere_image, head, socket, |_, _| false);
    });
    let address = hostile(move |head, socket| {
        serve(&image, head, socket, |head, socket| {
            if !head.to_ascii_lowercase().contains("authorization: basic bwu6c2vjcmv0") {
                let ask = "WWW-Authenticate: Basic realm=\"x\"\r\n";
                return socket.write_all(&answer("401 Unauthorized", ask, b"{}")).is_ok();
            }
            let path = head.split(' ').nth(1).unwrap();
            let location = format!("Location: http://{elsewhere}{path}\r\n");
            path.contains("/blobs/") && socket.write_all(&answer("307 Temporary Redirect", &location, b"")).is_ok()
        });
    });
    let side = Side::new();
    let reference: Reference = format!("{address}/a:1").parse().unwrap();
    let credentials =
        Credentials { username: "me".to_owned(), password: "secret".to_owned(), ..Credentials::default() };
    let (sender, mut steps) = tokio::sync::mpsc::channel(8);
    run(async {
        tokio::spawn(async move { while steps.recv().await.is_some() {} });
        let options = PullOptions { credentials, ..PullOptions::default() };
        side.client.pull(&side.store, &reference, &options, &Steps::new(sender)).await.unwrap();
    });
    let seen = seen.lock();
    assert_eq!(seen.iter().filter(|head| head.contains("/blobs/")).count(), 2);
    assert!(seen.iter().all(|head| !head.contains("authorization")), "{seen:?}");
}

#[test]
fn a_token_is_got_where_the_registry_says_and_used() {
    let image = Arc::new(Image::new());
    let asked = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let heads = asked.clone();
    let address = hostile(move |head, socket| {
        let here = socket.local_addr().unwrap();
        serve(&image, head, socket, |head, socket| {
            if head.starts_with("GET /token?") {
                heads.lock().push(head.to_owned());
                return socket
                    .write_all(&answer("200 OK", "", b"{\"access_token\":\"T0ken\",\"expires_in\":300}"))
                    .is_ok();
            }
            if head.contains("Bearer T0ken") {
                return false;
            }
            let ask = format!("WWW-Authenticate: Bearer realm=\"http://{here}/token\",service=\"the registry\"\r\n");
            socket.write_all(&answer("401 Unauthorized", &ask, b"{}")).is_ok()
        });
    });
    let side = Side::new();
    side.pull(&format!("{address}/some/image:1")).unwrap();
    let asked = asked.lock();
    // Once for all requests, for this repository and no more than reading, and without a name.
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(asked[0].starts_with("GET /token?service=the%20registry&scope=repository:some/image:pull "), "{asked:?}");
    assert!(!asked[0].to_ascii_lowercase().contains("authorization"), "{asked:?}");
}

#[test]
fn a_password_is_shown_to_the_service_that_the_registry_names() {
    let heads = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let seen = heads.clone();
    let address = hostile(move |head, socket| {
        heads.lock().push(head.to_ascii_lowercase());
        if head.starts_with("GET /token?") {
            let _ = socket.write_all(&answer("200 OK", "", b"{\"token\":\"T0ken\"}"));
            return;
        }
        let here = socket.local_addr().unwrap();
        let ask = format!("WWW-Authenticate: Bearer realm=\"http://{here}/token\",service=\"the registry\"\r\n");
        let _ = socket.write_all(&answer("401 Unauthorized", &ask, b"{}"));
    });
    let credentials = Credentials { username: "me".to_owned(), password: "hush".to_owned(), ..Credentials::default() };
    let token = |path: &str| {
        let realm = format!("http://{address}/{path}");
        let ask = TokenAsk { realm, service: "the registry".to_owned(), scopes: vec!["repository:a:pull".to_owned()] };
        let client = Client::new(Settings::default());
        run(async { client.token_for(&address.to_string(), &ask, &credentials).await })
    };
    assert!(token("elsewhere").unwrap_err().to_string().contains("no password is shown"));
    assert!(seen.lock().iter().all(|head| !head.contains("authorization")), "{seen:?}");
    assert_eq!(token("token").unwrap().text, "T0ken");
    assert!(seen.lock().iter().any(|head| head.contains("get /token?") && head.contains("authorization: basic")));
}

#[test]
fn a_registry_that_asks_for_patience_gets_it() {
    let image = Image::new();
    let times = AtomicUsize::new(0);
    let address = hostile(move |head, socket| {
        serve(&image, head, socket, |head, socket| {
            let is_first = head.contains("/manifests/") && times.fetch_add(1, Ordering::Relaxed) == 0;
            is_first && socket.write_all(&answer("429 Too Many Requests", "Retry-After: 0\r\n", b"")).is_ok()
        });
    });
    assert!(Side::new().pull(&format!("{address}/a:1")).is_ok());
    check(
        |_, head, socket| {
            let said =
                b"{\"errors\":[{\"code\":\"TOOMANYREQUESTS\",\"message\":\"You have reached your pull rate limit.\"}]}";
            head.contains("/manifests/") && socket.write_all(&answer("429 Too Many Requests", "", said)).is_ok()
        },
        "toomanyrequests: You have reached your pull rate limit.",
    );
}
