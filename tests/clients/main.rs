//! Clients that nobody here wrote, against a hako of one's own: they know what Docker's answers look like.
//!
//! A client comes from its registry into a folder of its own below target/; where that cannot be reached its test is
//! skipped with the reason.

mod actions;
mod bake;
mod bootstrap;
mod bucket;
mod examples;
mod images;

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use hako_testkit::{Host, Shown, needs, program, require};

/// docker-py, the SDK for Python: a script that uses what its users use, and asserts what they rely on.
#[test]
fn the_sdk_for_python_finds_what_it_expects() {
    needs!(require::root());
    needs!(require::image("busybox"));
    let python = environment("docker-py", &["docker"]);
    needs!(python);
    let python = python.unwrap_or_default();
    let host = Host::start();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/docker_sdk.py");
    let shown = host.run(&format!("{} {}", python.display(), script.display()));
    shown.success().says("all is well");
}

/// testcontainers for Python: containers for tests, waited for, reached at chosen ports, removed.
#[test]
fn testcontainers_for_python_finds_what_it_expects() {
    needs!(require::root());
    needs!(require::image("busybox"));
    let python = environment("testcontainers", &["testcontainers"]);
    needs!(python);
    let python = python.unwrap_or_default();
    let host = Host::start();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/testcontainers_python.py");
    host.run(&format!("{} {}", python.display(), script.display())).success().says("all is well");
}

/// dockerode, the library for Node.
#[test]
fn dockerode_finds_what_it_expects() {
    needs!(require::root());
    needs!(require::image("busybox"));
    needs!(require::program("node"));
    let modules = modules("dockerode", &["dockerode"]);
    needs!(modules);
    let modules = modules.unwrap_or_default();
    let host = Host::start();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/dockerode.js");
    host.run(&format!("NODE_PATH={} node {}", modules.display(), script.display())).success().says("all is well");
}

/// bollard, the library for Rust: a program of its own, outside the workspace.
#[test]
fn bollard_finds_what_it_expects() {
    needs!(require::root());
    needs!(require::image("busybox"));
    let client = bollard();
    needs!(client);
    let client = client.unwrap_or_default();
    let host = Host::start();
    host.run(&client.display().to_string()).success().says("all is well");
}

/// Builds the program below target/; cargo brings the library, and does nothing if nothing has changed.
fn bollard() -> Result<PathBuf, String> {
    let folder = target_folder().join("clients/bollard");
    std::fs::create_dir_all(&folder).map_err(|error| format!("needs a folder: {error}"))?;
    let files = [("Cargo.toml", include_str!("bollard.toml")), ("main.rs", include_str!("bollard.rs"))];
    for (name, text) in
        files.iter().filter(|(name, text)| std::fs::read_to_string(folder.join(name)).map_or(true, |old| old != *text))
    {
        std::fs::write(folder.join(name), text).map_err(|error| format!("needs a folder: {error}"))?;
    }
    // The cargo that runs the tests, where one does.
    let mut cargo = program(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--manifest-path"]).arg(folder.join("Cargo.toml"));
    cargo.arg("--target-dir").arg(folder.join("target"));
    run(cargo, "cargo and the crate bollard")?;
    Ok(folder.join("target/debug/bollard-client"))
}

/// A folder with these packages for Node, made once.
fn modules(name: &str, packages: &[&str]) -> Result<PathBuf, String> {
    require::program("npm")?;
    let folder = target_folder().join("clients").join(name);
    if !folder.join("ready").exists() {
        std::fs::create_dir_all(&folder).map_err(|error| format!("needs a folder: {error}"))?;
        let mut npm = program("npm");
        npm.args(["install", "--silent", "--no-fund", "--no-audit", "--prefix"]).arg(&folder).args(packages);
        // By itself it waits five minutes for each connection that says nothing, three times.
        npm.args(["--fetch-timeout=30000", "--fetch-retries=2"]);
        run(npm, &format!("the packages {} for Node", packages.join(", ")))?;
        std::fs::write(folder.join("ready"), "").map_err(|error| format!("needs a folder: {error}"))?;
    }
    Ok(folder.join("node_modules"))
}

fn run(mut command: std::process::Command, what: &str) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("needs {what}: {error}"))?;
    if output.status.success() { Ok(()) } else { Err(format!("needs {what}")) }
}

/// A Python with these packages, made once: tests that run at once wait for whoever makes it.
fn environment(name: &str, packages: &[&str]) -> Result<PathBuf, String> {
    static MAKING: Mutex<()> = Mutex::new(());
    let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    require::program("python3")?;
    let folder = target_folder().join("clients").join(name);
    let python = folder.join("bin/python");
    if folder.join("ready").exists() {
        return Ok(python);
    }
    let mut venv = program("python3");
    venv.args(["-m", "venv", "--clear"]).arg(&folder);
    run(venv, "Python's venv (python3-venv)")?;
    let mut pip = program(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(packages);
    run(pip, &format!("the Python packages {}", packages.join(", ")))?;
    std::fs::write(folder.join("ready"), "").map_err(|error| format!("needs a folder: {error}"))?;
    Ok(python)
}

fn target_folder() -> PathBuf {
    std::env::var_os("HAKO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"), PathBuf::from)
}

/// Buildx, the command line's builder: a build with a secret, a cache mount and files that come back.
#[test]
fn buildx_builds_and_brings_files_back() {
    needs!(require::root());
    needs!(require::image("busybox"));
    let docker = buildx();
    needs!(docker);
    let docker = docker.unwrap_or_default();
    // A host forgets where the plugins were found.
    let config = std::env::var("DOCKER_CONFIG").map(|config| format!("DOCKER_CONFIG={config} ")).unwrap_or_default();
    let build = format!("{config}{} buildx build --progress plain", docker.display());
    let host = Host::with_images(&["busybox"]);
    host.run("mkdir ctx && echo word > ctx/file && echo hidden > secret").success();
    host.write(
        "ctx/Dockerfile",
        "FROM busybox AS made\nCOPY file /file\nRUN --mount=type=secret,id=s cat /run/secrets/s /file > /both\n\
         FROM scratch\nCOPY --from=made /both /out/\nCMD [\"/none\"]\n",
    );
    host.run(&format!("{build} --secret id=s,src=secret -o type=local,dest=files ctx")).success();
    host.run("cat files/out/both").success().says("hidden\nword");
    host.run(&format!("{build} --secret id=s,src=secret -t made ctx")).success();
    host.run("docker image inspect -f '{{json .Config.Cmd}}' made").success().says("[\"/none\"]");
    host.write("ctx/Dockerfile", "FROM busybox\nRUN echo words; exit 7\n");
    host.run(&format!("{build} ctx 2>&1; echo ended with $?")).says("exit code: 7").says("ended with 1");
    // Buildx sends what a file has become, and one that is gone as an empty one; the daemon notices. It reads some files
    // at once: so many are large that the last waits.
    host.write("ctx/Dockerfile", "FROM busybox\nCOPY . /all\n");
    for (number, (change, came)) in [("echo more >> ctx/z", 3898), ("rm ctx/z", 0)].into_iter().enumerate() {
        let large = format!("for n in 1 2 3 4 5 6 7 8; do truncate -s 60M ctx/a{number}$n; done; seq 1000 > ctx/z");
        host.run(&format!("rm -f ctx/a*; {large}")).success();
        let line = format!(
            "true; {build} ctx >shown 2>&1 & pid=$!; while kill -0 $pid && ! find /run/test/hako/data/build -name 'a{number}*' -size +1k 2>/dev/null | grep -q .; do :; done; \
             {change}; wait $pid; echo ended with $?; cat shown"
        );
        let shown = host.run(&line).text().to_owned();
        let expected = format!(
            "the build context changed while it was sent: z: it had 3893 bytes when it was listed, and {came} came"
        );
        assert!(shown.starts_with("ended with 1") && shown.contains(&expected), "{shown}");
    }
}

/// Buildx tells a context in one small message for each file, and none of the connections on the way (of which the driver
/// `remote` has one within another) take so many for an attack.
#[test]
fn buildx_sends_contexts_of_very_many_files() {
    needs!(require::root());
    needs!(require::own_daemon());
    needs!(require::image("busybox"));
    let docker = buildx();
    needs!(docker);
    let docker = docker.unwrap_or_default();
    let config = std::env::var("DOCKER_CONFIG").map(|config| format!("cp -r {config} config; ")).unwrap_or_default();
    let host = Host::with_images(&["busybox"]);
    host.run(&format!("{config}mkdir -p config ctx && cd ctx && seq 60000 | split -l 1 -a 4")).success();
    let buildx = format!("DOCKER_CONFIG=$PWD/config {} buildx", docker.display());
    host.write(
        "ctx/Dockerfile",
        "FROM busybox\nRUN --mount=target=/all ls /all | wc -l > /count\nFROM scratch\nCOPY --from=0 /count /\n",
    );
    host.run(&format!("{buildx} create --name own --driver remote $DOCKER_HOST")).success();
    for builder in ["default", "own"] {
        host.run(&format!("{buildx} build --builder {builder} -o {builder} ctx 2>&1 && cat {builder}/count"))
            .says("60001");
    }
    host.run(&format!("{buildx} prune -af")).success();
}

/// Buildx on a connection of its own (its driver `remote`): HTTP/2 from the first byte, the session within it, and
/// caches in directories of Buildx's.
#[test]
fn buildx_keeps_caches_by_its_remote_driver() {
    needs!(require::root());
    needs!(require::own_daemon());
    needs!(require::image("busybox"));
    let docker = buildx();
    needs!(docker);
    let docker = docker.unwrap_or_default();
    let config = std::env::var("DOCKER_CONFIG").map(|config| format!("cp -r {config} config; ")).unwrap_or_default();
    let host = Host::with_images(&["busybox"]);
    // What Buildx writes down of its builders is this machine's own.
    host.run(&format!("{config}mkdir -p config ctx")).success();
    let buildx = format!("DOCKER_CONFIG=$PWD/config {} buildx", docker.display());
    host.write("ctx/Dockerfile", "FROM busybox\nRUN date +%s%N > /stamp\n");
    host.run(&format!("{buildx} create --name own --driver remote $DOCKER_HOST")).success();
    let build = |flags: &str| host.run(&format!("{buildx} build --builder own --progress plain {flags} ctx"));
    build("--cache-to type=local,dest=cache,mode=max -o type=local,dest=first").success();
    host.run("hako builder prune -af && hako builder du | tail -1").says("0B");
    build("--cache-from type=local,src=cache -o type=local,dest=second").success().says("CACHED");
    host.run("cmp first/stamp second/stamp").success();
    host.write("ctx/Dockerfile", "FROM busybox\nRUN exit 3\n");
    build("").code(1).says(">>> RUN exit 3");
}

/// A front end that sends graphs (LLB) by itself, as buildctl and others do.
#[test]
fn graphs_of_other_front_ends_are_solved() {
    needs!(require::root());
    needs!(require::own_daemon());
    needs!(require::image("busybox"));
    let python = environment("grpc", &["grpcio==1.85.3"]);
    needs!(python);
    let python = python.unwrap_or_default();
    let host = Host::with_images(&["busybox"]);
    host.write("graph.py", include_str!("graph.py"));
    host.run("mkdir make layout && echo own > make/own").success();
    host.write("make/Dockerfile", "FROM busybox\nCOPY own /\n");
    host.run("hako build -q -o type=oci,dest=x.tar make && tar -C layout -xf x.tar && hako builder prune -af")
        .success();
    let blob = blob_of_a_registry(&host);
    let line = format!("{} graph.py ${{DOCKER_HOST#unix://}} layout localhost:5000/box@{blob}", python.display());
    let told = host.run(&line).success().text().to_owned();
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines[..3], ["copied done", "merged done", "again done"], "{told}");
    for (name, expected) in [
        ("layout", "the client offers none"),
        ("build ", "no llb definition input buildkit.llb.definition found"),
        ("passed-wrong", "an operation of the graph has no input 3"),
        ("built-wrong", "open none: no such file or directory"),
        ("built-by-others", "only LLB builder is currently allowed"),
        ("built-without-end", "more than 16 builds are within each other"),
        ("gone", "INVALID_ARGUMENT the graph names sha256:0000"),
        ("odd", "INVALID_ARGUMENT an operation of the graph is malformed"),
        ("fails", "did not complete successfully: exit code: 3"),
    ] {
        let line = lines.iter().find(|line| line.starts_with(name)).copied().unwrap_or_default();
        assert!(line.contains(expected), "{told}");
    }
    // A front end that looks at what it has built, then returns it.
    let file = "word.txt:1a0:10:";
    let lines_of =
        |word: &str| lines.iter().filter(|line| line.starts_with(word)).copied().collect::<Vec<_>>().join("\n");
    for (word, expected) in [
        ("file ", "file some words".to_owned()),
        ("range ", "range wor".to_owned()),
        ("through ", "through some words".to_owned()),
        ("entries ", format!("entries deep:800001ed:0: other:1a0:0: {file}")),
        ("chosen ", format!("chosen {file}")),
        ("stat ", format!("stat {file}\nstat d:800001ed:0:\nstat link:80001ff:0:d/word.txt\nstat .:800001ed:0:")),
        ("no-file ", "no-file NOT_FOUND open /d/none: no such file or directory".to_owned()),
        ("no-directory ", "no-directory NOT_FOUND open /none: no such file or directory".to_owned()),
        ("no-stat ", "no-stat NOT_FOUND open /d/none/below: no such file or directory".to_owned()),
        ("outside ", "outside NOT_FOUND open /../../../../../../etc/hostname: no such file or directory".to_owned()),
        ("unknown ", "unknown NOT_FOUND no such ref: no-result".to_owned()),
        ("container ", "container UNIMPLEMENTED NewContainer is not built yet".to_owned()),
        ("driven ", "driven done".to_owned()),
        ("remembered ", "remembered .".to_owned()),
        (
            "attested ",
            "attested True True True https://mobyproject.org/buildkit@v1 pkg:docker/busybox@latest".to_owned(),
        ),
        ("not-attested ", "not-attested NOT_FOUND\nnot-attested NOT_FOUND".to_owned()),
    ] {
        assert_eq!(lines_of(word), expected, "{told}");
    }
    assert!(lines_of("directory ").contains("Is a directory"), "{told}");
    host.run("docker image inspect -f '{{len .RootFS.Layers}}' driven").says("1");
    let look = |image: &str, line: &str| host.run(&format!("docker run --rm {image} sh -c '{line}'")).text().to_owned();
    assert_eq!(look("copied", "cat /said /copied/three; ls /stamp /bin/gunzip 2>&1 | grep -c No"), "wordout\n2");
    blobs_are_files(&host, &told, &blob);
    states_are_whole(&host);
    assert_eq!(look("merged", "cat /said /link; ls /bin/gunzip /copied 2>&1 | grep -c No"), "wordword2");
    // What was done once is not done again.
    assert_eq!(look("merged", "cat /stamp"), look("again", "cat /stamp"));
}

/// What `graph.py` has made by operations on whole states.
fn states_are_whole(host: &Host) {
    let look = |image: &str, line: &str| host.run(&format!("docker run --rm {image} sh -c '{line}'")).text().to_owned();
    assert_eq!(look("difference", "cat /seen"), ".:\nd\n\n./d:\nbytes\nnew\ntwo0\ntwo11");
    assert!(look("passed", "ls /bin/sh").ends_with("/bin/sh"));
    assert_eq!(look("built", "cat /said") + &look("built-named", "cat /said"), "mademade");
    assert_eq!(look("fitting", "cat /said"), ".\n./d\n./d/a.txt");
    assert_eq!(look("cache-1", "cat /said") + "|" + &look("cache-2", "cat /said"), "begin 1|begin 1\n2");
}

/// A front end of its own asks of images what they are before it makes graphs of them.
#[test]
fn front_ends_learn_of_images_before_they_solve() {
    needs!(require::root());
    needs!(require::own_daemon());
    needs!(require::image("busybox"));
    let python = environment("grpc", &["grpcio==1.85.3"]);
    needs!(python);
    let python = python.unwrap_or_default();
    let host = Host::with_images(&["busybox"]);
    host.run("hako registry serve --listen 127.0.0.1:5001 --root registry >registry.log 2>&1 </dev/null &").success();
    host.write("service.py", include_str!("token_service.py"));
    host.run("python3 service.py 5000 > service.log 2>&1 < /dev/null &").success();
    let are_ready = "grep -c ' ready ' registry.log && cat tokens.ready";
    host.wait_until("the registry", |host| host.run(are_ready), |shown| shown.text() == "1\nyes");
    host.write("two/Dockerfile", "FROM scratch\nARG TARGETARCH\nCOPY Dockerfile /\nLABEL of=$TARGETARCH\n");
    host.run("hako build --platform linux/amd64,linux/arm64 --push -t localhost:5001/two:1 two").success();
    host.run("hako build -q -o type=oci,dest=x.tar two && mkdir layout && tar -C layout -xf x.tar").success();
    host.run("docker tag busybox localhost:5000/two:here").success();
    host.write("graph.py", include_str!("graph.py"));
    host.write("sources.py", include_str!("sources.py"));
    let line = format!("{} sources.py ${{DOCKER_HOST#unix://}} layout", python.display());
    let told = host.run(&line).success().text().to_owned();
    let index =
        host.run("hako buildx imagetools inspect localhost:5001/two:1 | grep -m1 -o 'sha256:.*'").text().to_owned();
    let of_layout = host.run("grep -o 'sha256:[0-9a-f]*' layout/index.json | head -1").text().to_owned();
    for expected in [
        format!("own localhost:5000/two:1 {index} amd64"),
        format!("arm localhost:5000/two:1 {index} arm64"),
        format!("meta docker-image://localhost:5000/two:1 {index} arm64"),
        format!("no-config docker-image://localhost:5000/two:1 {index} nothing"),
        format!("layout any/name@{of_layout} {of_layout} amd64"),
        format!("meta-layout oci-layout://any/name@{of_layout} {of_layout} amd64"),
        // What is here has no digest that a registry knows; the registry does not have it.
        "here docker.io/library/busybox:latest nothing none".to_owned(),
        "local localhost:5000/two:here nothing none".to_owned(),
        "pull NOT_FOUND localhost:5000/two:here: not found".to_owned(),
        "nobody UNKNOWN failed to resolve source metadata".to_owned(),
        "other UNIMPLEMENTED ResolveSourceMeta of git://h/r".to_owned(),
        "wrong INVALID_ARGUMENT failed to parse".to_owned(),
        "unknown NOT_FOUND no such job none".to_owned(),
    ] {
        assert!(told.lines().any(|line| line.starts_with(&expected)), "{expected} in\n{told}");
    }
    // Nothing was brought.
    host.run("docker images -q localhost:5000/two:1").shows(expect_test::expect![[""]]);
}

/// A registry with busybox in it; answers the digest of its layer.
fn blob_of_a_registry(host: &Host) -> String {
    host.run("hako registry serve --listen 127.0.0.1:5000 --root registry >registry.log 2>&1 </dev/null &").success();
    let is_ready = |shown: &Shown| shown.text() == "1";
    host.wait_until("the registry to listen", |host| host.run("grep -c ' ready ' registry.log"), is_ready);
    host.run("docker tag busybox localhost:5000/box && docker push -q localhost:5000/box").success();
    let first = "hako manifest inspect localhost:5000/box | grep -o 'sha256:[0-9a-f]*' | tail -1";
    host.run(first).success().text().to_owned()
}

/// What `graph.py` has made of single blobs.
fn blobs_are_files(host: &Host, told: &str, blob: &str) {
    // An image in a layout of the client's, first.
    assert!(told.lines().any(|line| line == "of-layout done"), "{told}");
    host.run("docker run --rm of-layout cat /said").says("own");
    let manifest = host.run("grep -o 'sha256:[0-9a-f]*' layout/index.json | head -1").text().to_owned();
    for (image, digest) in [("blob-of-layout", &*manifest), ("blob-of-registry", blob), ("blob-of-web", blob)] {
        assert!(told.lines().any(|line| line == format!("{image} done")), "{told}");
        host.run(&format!("docker run --rm {image} cat /said"))
            .says(&format!("640 7 8 kept\n{}", digest.trim_start_matches("sha256:")));
    }
    for (name, expected) in [
        ("blob-without-digest ", "checksum required in blob reference"),
        ("blob-with-tag ", "tagged image reference not allowed for blob reference"),
        ("blob-not-there ", "not found"),
        ("blob-name ", "http.filename is no name of a file"),
    ] {
        assert!(told.lines().any(|line| line.starts_with(name) && line.contains(expected)), "{told}");
    }
}

/// Buildx on its driver for Docker: several platforms and what is attested of them, to a registry and into an archive.
#[test]
fn buildx_builds_for_several_platforms() {
    needs!(require::root());
    needs!(require::own_daemon());
    needs!(require::image("busybox"));
    let docker = buildx();
    needs!(docker);
    let docker = docker.unwrap_or_default();
    let config = std::env::var("DOCKER_CONFIG").map(|config| format!("DOCKER_CONFIG={config} ")).unwrap_or_default();
    let buildx = format!("{config}{} buildx", docker.display());
    let host = Host::with_images(&["busybox"]);
    // What comes before `&` in a list goes into the background with it, `cd` included.
    host.run(
        "mkdir ctx && { hako registry serve --listen 127.0.0.1:5000 --root registry >registry.log 2>&1 </dev/null & }",
    )
    .success();
    host.wait_until("the registry", |host| host.run("grep -c ' ready ' registry.log"), |shown| shown.text() == "1");
    host.write(
        "ctx/Dockerfile",
        "FROM --platform=$BUILDPLATFORM busybox AS make\nARG TARGETARCH\nRUN echo $TARGETARCH > /own\n\
         FROM scratch\nCOPY --from=make /own /\n",
    );
    let both = "--progress plain --platform linux/amd64,linux/arm64";
    host.run(&format!("{buildx} build {both} -o type=oci,dest=x.tar ctx && tar -xOf x.tar index.json"))
        .success()
        .says("application/vnd.oci.image.index.v1+json");
    // Buildx pushes the name once more by the daemon's API, which must not take the other platform away.
    host.run(&format!("{buildx} build {both} -t localhost:5000/app --push --metadata-file meta ctx")).success();
    let shown = host.run(&format!("{buildx} imagetools inspect localhost:5000/app")).success().text().to_owned();
    for platform in ["linux/amd64", "linux/arm64", "unknown/unknown"] {
        assert!(shown.contains(platform), "{shown}");
    }
    let digest = shown.lines().find_map(|line| line.strip_prefix("Digest:")).unwrap_or_default().trim().to_owned();
    host.run("cat meta").says(&digest);
    host.run(&format!("{buildx} imagetools inspect localhost:5000/app --format '{{{{json .Provenance}}}}'"))
        .success()
        .says("https://mobyproject.org/buildkit@v1")
        .says("linux/arm64");
    // What its packages are, as Buildx shows it.
    host.run("mkdir -p ctx/var/lib/dpkg && printf 'Package: libc6\\nArchitecture: amd64\\nVersion: 2.36-9\\n' > ctx/var/lib/dpkg/status")
        .success();
    host.write("ctx/Packages", "FROM scratch\nCOPY var /var\n");
    host.run(&format!("{buildx} build -f ctx/Packages --sbom=true -t localhost:5000/packages --push ctx")).success();
    host.run(&format!("{buildx} imagetools inspect localhost:5000/packages --format '{{{{json .SBOM}}}}'"))
        .success()
        .says("pkg:deb/debian/libc6@2.36-9?arch=amd64");
    host.write(
        "docker-bake.hcl",
        "target \"default\" {\n context = \"ctx\"\n platforms = [\"linux/amd64\", \"linux/arm64\"]\n output = [\"type=local,dest=out\"]\n}\n",
    );
    host.run(&format!("{buildx} bake --progress plain && cat out/linux_amd64/own out/linux_arm64/own"))
        .success()
        .says("amd64\narm64");
    host.run(&format!("{buildx} build --provenance=true -t here ctx"))
        .code(1)
        .says("the image store keeps images alone");
}

/// Buildx serves the content of OCI layouts: a base by tag and by digest, and files of another.
#[test]
fn buildx_has_contexts_in_layouts() {
    needs!(require::root());
    needs!(require::own_daemon());
    needs!(require::image("busybox"));
    let docker = buildx();
    needs!(docker);
    let docker = docker.unwrap_or_default();
    let config = std::env::var("DOCKER_CONFIG").map(|config| format!("DOCKER_CONFIG={config} ")).unwrap_or_default();
    let docker = format!("{config}{}", docker.display());
    let host = Host::with_images(&["busybox"]);
    host.run("mkdir make ctx && echo own > make/own").success();
    host.write("make/Dockerfile", "FROM busybox\nENV SAID=layout\nCOPY own /\n");
    host.run(&format!("{docker} buildx build -q -t app:v1 -o type=oci,dest=x.tar make")).success();
    host.run("mkdir layout && tar -C layout -xf x.tar && hako builder prune -af").success();
    host.write(
        "ctx/Dockerfile",
        "FROM base\nCOPY --from=other /own /copied\nRUN echo $SAID $(cat /own /copied) > /said\n",
    );
    let digest = host.run("grep -o 'sha256:[0-9a-f]*' layout/index.json | head -1").success().text().to_owned();
    let contexts =
        format!("--build-context base=oci-layout://layout:v1 --build-context other=oci-layout://layout@{digest}");
    for line in ["buildx build --load", "build"] {
        host.run(&format!("{docker} {line} -q -t made {contexts} ctx && docker run --rm made cat /said"))
            .success()
            .says("layout own own");
    }
    host.run(&format!("{docker} buildx build --build-context base=oci-layout://nowhere ctx")).code(1);
}

/// Targets that stand on other targets: Buildx builds those first and gives what they came to as inputs of the others.
#[test]
fn buildx_bakes_targets_on_targets() {
    needs!(require::root());
    needs!(require::own_daemon());
    needs!(require::image("busybox"));
    let docker = buildx();
    needs!(docker);
    let docker = docker.unwrap_or_default();
    let config = std::env::var("DOCKER_CONFIG").map(|config| format!("DOCKER_CONFIG={config} ")).unwrap_or_default();
    let docker = format!("{config}{}", docker.display());
    let host = Host::with_images(&["busybox"]);
    host.write("base/Dockerfile", "FROM busybox\nENV SAID=base\nWORKDIR /w\nRUN echo own > own\n");
    host.write("files/Dockerfile", "FROM scratch\nCOPY Dockerfile /list\n");
    host.write(
        "app/Dockerfile",
        "FROM base\nCOPY --from=files /list /\nRUN --mount=from=files,target=/m echo $SAID $PWD $(cat own) $(wc -l < /m/list) > /said\n",
    );
    let contexts = |platforms: &str| {
        let target = |name: &str, more: &str| {
            format!("target \"{name}\" {{\n context = \"{name}\"\n {platforms}\n {more}\n}}\n")
        };
        let more =
            "contexts = { base = \"target:base\", files = \"target:files\" }\n output = [\"type=local,dest=out\"]";
        format!("{}{}{}", target("base", ""), target("files", ""), target("app", more))
    };
    host.write("docker-bake.hcl", contexts(""));
    host.run(&format!("{docker} buildx bake --progress plain app && cat out/said")).success().says("base /w own 2");
    // One build of each platform stands on that platform's.
    host.write("base/Dockerfile", "FROM --platform=$BUILDPLATFORM busybox AS make\nARG TARGETARCH\nRUN echo $TARGETARCH > /own\nFROM scratch\nCOPY --from=make /own /\n");
    host.write("app/Dockerfile", "FROM base\nCOPY --from=files /list /\n");
    host.write("docker-bake.hcl", contexts("platforms = [\"linux/amd64\", \"linux/arm64\"]"));
    host.run(&format!("{docker} buildx bake --progress plain app && cat out/linux_amd64/own out/linux_arm64/own"))
        .success()
        .says("amd64\narm64");
    host.run("wc -l < out/linux_arm64/list").says("2");
}

/// Buildx's driver `docker-container`: what it asks of the engine to make, fill, start and reach a container, with a
/// daemon in place of BuildKit behind it. Builders are those of both tools.
#[test]
fn buildx_makes_builders_in_containers() {
    needs!(require::root());
    needs!(require::own_daemon());
    needs!(require::image("busybox"));
    let docker = buildx();
    needs!(docker);
    let docker = docker.unwrap_or_default();
    let config = std::env::var("DOCKER_CONFIG").map(|config| format!("cp -r {config} config; ")).unwrap_or_default();
    let host = Host::with_images(&["busybox"]);
    let _other = host.second_daemon("other", &["-H", "tcp://127.0.0.1:2375", "--tls=false"]);
    host.run(&format!("{config}mkdir -p config ctx image")).success();
    host.write("image/buildkitd", "#!/bin/sh\ntrap 'exit 0' TERM\nwhile :; do sleep 1; done\n");
    // Buildx asks for workers until there are some, and then dials.
    host.write("image/buildctl", "#!/bin/sh\ntest \"$1\" = dial-stdio || exit 0\nexec nc 127.0.0.1 2375\n");
    host.write(
        "image/Dockerfile",
        "FROM busybox\nCOPY --chmod=755 buildkitd buildctl /bin/\nENTRYPOINT [\"buildkitd\"]\n",
    );
    host.run("hako build -q -t stand-in image && head -c 20M /dev/urandom > ctx/large").success();
    host.write("ctx/Dockerfile", "FROM scratch\nCOPY large /large\n");
    host.write("buildkitd.toml", "debug = true\n");
    let buildx = format!("DOCKER_CONFIG=$PWD/config {} buildx", docker.display());
    let ours = "DOCKER_CONFIG=$PWD/config hako buildx";
    let create = "create --use --bootstrap --driver docker-container --driver-opt network=host,image=stand-in";
    host.run(&format!("{buildx} {create} --name theirs --config buildkitd.toml")).success();
    host.run("docker exec buildx_buildkit_theirs0 cat /etc/buildkit/buildkitd.toml").success().says("debug = true");
    host.run(&format!("{buildx} build --load -t one ctx && docker create --name got one x")).success();
    host.run("docker cp got:/large - | tar -x && cmp large ctx/large").success();
    host.run(&format!("{ours} inspect && {ours} build -o out ctx && cmp out/large ctx/large"))
        .success()
        .says("theirs0");
    host.run(&format!("{buildx} stop && {ours} ls")).success().says("stopped");
    host.run(&format!("{ours} rm theirs 2>/dev/null && {buildx} ls && docker ps -aq && docker volume ls -q"))
        .success()
        .says_not("theirs");
    host.run(&format!("{ours} {create} --name own && {buildx} inspect && {buildx} build -o back ctx"))
        .success()
        .says("own0");
    host.run(&format!(
        "cmp back/large ctx/large && {buildx} rm own 2>&1 | grep removed && {ours} ls && docker volume ls -q"
    ))
    .success()
    .says_not("own0");
}

/// Buildx gets the tokens of registries for the daemon, which so needs no password.
#[test]
fn buildx_gets_tokens_for_the_daemon() {
    needs!(require::root());
    needs!(require::own_daemon());
    needs!(require::image("busybox"));
    needs!(require::program("python3"));
    let docker = buildx();
    needs!(docker);
    let docker = docker.unwrap_or_default();
    let config = std::env::var("DOCKER_CONFIG").map(|config| format!("cp -r {config} config; ")).unwrap_or_default();
    let host = Host::with_images(&["busybox"]);
    host.run("hako registry serve --listen 127.0.0.1:5001 --root registry >registry.log 2>&1 </dev/null &").success();
    host.write("service.py", include_str!("token_service.py"));
    host.run("python3 service.py 5000 > service.log 2>&1 < /dev/null &").success();
    let are_ready = "grep -c ' ready ' registry.log && cat tokens.ready";
    host.wait_until("the registry", |host| host.run(are_ready), |shown| shown.text() == "1\nyes");
    host.run("docker tag busybox localhost:5001/base && docker push -q localhost:5001/base").success();
    host.run(&format!("{config}mkdir -p config ctx")).success();
    // me:hush
    host.write("config/config.json", r#"{"auths": {"localhost:5000": {"auth": "bWU6aHVzaA=="}}}"#);
    host.write("ctx/Dockerfile", "FROM localhost:5000/base\nCOPY Dockerfile /\n");
    // On its driver `docker` Buildx pushes by the daemon's own API, with the password.
    let buildx = format!("DOCKER_CONFIG=$PWD/config {} buildx", docker.display());
    host.run(&format!("{buildx} create --use --driver remote $DOCKER_HOST")).success();
    let build = format!("{buildx} build --pull --push -t localhost:5000/made ctx");
    host.run(&build).success();
    host.run("cut -d' ' -f1-3 tokens.log | sort -u; rm tokens.log").shows(expect_test::expect![[r#"
        POST containerd hush
    "#]]);
    host.run(&format!("{build} && test ! -e tokens.log")).success();
    // Neither command line has to have them to be the same person.
    host.run("DOCKER_CONFIG=$PWD/config hako buildx build --pull --push -t localhost:5000/made ctx").success();
    host.run("test ! -e tokens.log").success();
}

/// BuildKit itself in a container, by both command lines.
#[test]
fn buildkit_builds_in_a_container() {
    needs!(require::root());
    needs!(require::own_daemon());
    needs!(require::image("busybox"));
    let docker = buildx();
    needs!(docker);
    let archive = std::env::var("HAKO_TEST_BUILDKIT")
        .map_err(|_| "needs an archive of moby/buildkit:buildx-stable-1, named by HAKO_TEST_BUILDKIT".to_owned());
    needs!(archive);
    let (docker, archive) = (docker.unwrap_or_default(), archive.unwrap_or_default());
    let config = std::env::var("DOCKER_CONFIG").map(|config| format!("cp -r {config} config; ")).unwrap_or_default();
    let host = Host::with_images(&["busybox"]);
    host.run(&format!("{config}mkdir -p config ctx && docker load -i {archive}")).success();
    let clients =
        [format!("DOCKER_CONFIG=$PWD/config {}", docker.display()), "DOCKER_CONFIG=$PWD/config hako".to_owned()];
    host.run("docker create --name base busybox && docker export base > ctx/base.tar && docker rm base").success();
    host.write(
        "ctx/Dockerfile",
        "FROM scratch AS base\nADD base.tar /\nFROM base\nARG N\nRUN --mount=type=cache,target=/c echo x >> /c/log && wc -l < /c/log > /count\nRUN --mount=type=secret,id=s cat /run/secrets/s > /told\n",
    );
    host.write("secret", "word");
    for (client, name) in clients.iter().zip(["theirs", "own"]) {
        let run = |line: &str| host.run(&format!("{client} buildx {line}"));
        run(&format!("create --name {name} --use --bootstrap --driver docker-container")).success();
        run("inspect").success().says("running").says("org.mobyproject.buildkit.worker.snapshotter");
        run("build --secret id=s,src=secret --load -t one ctx").success();
        host.run("docker run --rm one cat /count /told").success().says("1\nword");
        run("build --secret id=s,src=secret --build-arg N=2 -o out ctx").success();
        host.run("cat out/count").success().says("2");
        run("build --secret id=s,src=secret --progress plain ctx").success().says("CACHED").says("No output specified");
        run("du").success().says("Total:");
        run("stop").success();
        run("ls").success().says("stopped");
    }
    let ours = format!("{} buildx build", clients[1]);
    host.run(&format!("{ours} --why ctx")).code(1).says("does not tell why steps were not cached");
    host.run(&format!("{ours} --flatten ctx")).code(1).says("makes no image of one layer");
    host.run(&format!("{ours} --check ctx")).success().says("Check complete, no warnings found.");
    host.run(&format!("{ours} --call outline ctx")).success().says("N");
    host.write("ctx/Dockerfile", "FROM scratch\nCOPY nosuch /\n");
    host.run(&format!("{ours} ctx")).code(1).says("nosuch").says("Dockerfile:2");
    // Each removes what the other has made.
    host.run(&format!("{} buildx rm theirs && {} buildx rm own && docker ps -aq", clients[1], clients[0])).success();
    host.run("docker volume ls -q").success().says_not("buildx");
}

/// What Buildx makes of a bake file is what our own command line makes of it.
#[test]
fn bake_files_are_what_buildx_reads() {
    needs!(require::root());
    let docker = buildx();
    needs!(docker);
    bake::compare(&Host::start(), &docker.unwrap_or_default());
}

/// The docker command line, where it has the Buildx plugin. By its path: within a host, `docker` may be hako's own.
fn buildx() -> Result<PathBuf, String> {
    let path = std::env::var("PATH").unwrap_or_default();
    let found = path.split(':').map(|folder| Path::new(folder).join("docker")).find(|file| file.is_file());
    let docker = found.ok_or("needs docker with the Buildx plugin")?;
    match program(&docker).args(["buildx", "version"]).output() {
        Ok(output) if output.status.success() => Ok(docker),
        _ => Err("needs docker with the Buildx plugin".to_owned()),
    }
}

/// Podman with hako as its runtime: output and codes, limits, exec, terminal, pause, update, volumes.
#[test]
fn podman_runs_containers_by_hakos_runtime() {
    needs!(require::root());
    needs!(require::image("busybox"));
    for name in ["podman", "conmon"] {
        needs!(require::program(name));
    }
    let host = Host::start();
    let tar = hako_testkit::image::tar("busybox").unwrap_or_default();
    // Called by this name the binary is the runtime.
    host.run(&format!("ln -s {} hako-runtime", hako_testkit::binary().display())).success();
    let common = "--root $PWD/store --runroot $PWD/run --storage-driver vfs --cgroup-manager cgroupfs";
    let podman = format!("podman {common} --runtime $PWD/hako-runtime");
    host.run(&format!("{podman} import -q {} bb", tar.display())).success();
    let run = |flags: &str, command: &str| host.run(&format!("{podman} run --network none {flags} bb {command}"));
    run("--rm", "echo hello").success().says("hello");
    run("--rm", "sh -c 'exit 7'; echo ended with $?").says("ended with 7");
    run("--rm", "nosuch; echo ended with $?").says("ended with 127");
    run("--rm", "/etc/passwd; echo ended with $?").says("ended with 126");
    run(
        "--rm --user 5:6 --pids-limit 50 -v vol:/v --tmpfs /t --read-only",
        "sh -c 'id -u; touch /v/x /t/x && ls /v /t'",
    )
    .success()
    .says("5\n");
    run("-d --name web", "sleep 1000").success();
    host.run(&format!("{podman} exec web ps")).success().says("sleep 1000");
    host.run(&format!("{podman} pause web && {podman} unpause web && {podman} update --memory 64m web")).success();
    host.run(&format!("{podman} kill web && {podman} wait web && {podman} rm web")).success().says("137");
}

/// containerd with hako as its runtime: what `ctr` does with a task, and with a process beside it.
#[test]
fn containerd_runs_containers_by_hakos_runtime() {
    needs!(require::root());
    needs!(require::own_daemon());
    needs!(require::image("busybox"));
    for name in ["containerd", "ctr", "containerd-shim-runc-v2"] {
        needs!(require::program(name));
    }
    let host = Host::start();
    host.run(&format!("ln -s {} hako-runtime && docker save -o bb.tar busybox", hako_testkit::binary().display()))
        .success();
    host.write("config.toml", "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n");
    let _containerd = host.spawn(
        "exec containerd --config $PWD/config.toml --root $PWD/root --state /run/test/c --address /run/test/c.sock",
    );
    let ctr = "ctr --address /run/test/c.sock";
    host.wait_until(
        "containerd to answer",
        |host| host.run(&format!("{ctr} version")),
        |shown| shown.text().contains("Server:"),
    );
    host.run(&format!("{ctr} image import --snapshotter native bb.tar")).success();
    let run = |flags: &str, name: &str, command: &str| {
        host.run(&format!(
            "{ctr} run --snapshotter native --runc-binary $PWD/hako-runtime {flags} docker.io/library/busybox:latest {name} {command}"
        ))
    };
    run("--rm", "one", "echo hello").success().says("hello");
    run("--rm", "two", "sh -c 'exit 7'").code(7);
    run("--rm --memory-limit 67108864 --env A=b", "three", "sh -c 'echo $A'").success().says("b");
    run("-d", "web", "sleep 1000").success();
    host.run(&format!("{ctr} task exec --exec-id e web ps")).success().says("sleep 1000");
    host.run(&format!("{ctr} task pause web && {ctr} task ls && {ctr} task resume web")).success().says("PAUSED");
    host.run(&format!("{ctr} task kill -s 9 web")).success();
    host.wait_until(
        "the task to be stopped",
        |host| host.run(&format!("{ctr} task ls")),
        |shown| shown.text().contains("STOPPED"),
    );
    host.run(&format!("{ctr} task rm web; {ctr} container rm web")).success();
}
