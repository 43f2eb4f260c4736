//! The folders of examples/ that are one image each, built, run and used as their first lines say.
//!
//! Packages come through a proxy of the test's own; where Debian's archive or PyPI cannot be reached these are skipped
//! with the reason.

use std::{fs, path::Path};

use hako_testkit::{Host, Options, Shown, needs, require, way_out};

use crate::target_folder;

/// The authorities of this machine: a proxy between it and PyPI may speak for PyPI with one of its own.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

fn requirements() -> Result<(), String> {
    require::root()?;
    require::own_daemon()?;
    require::image("debian")?;
    way_out::reachable("deb.debian.org")
}

fn python() -> Result<(), String> {
    require::program("curl")?;
    way_out::reachable("pypi.org")?;
    if Path::new(AUTHORITIES).exists() { Ok(()) } else { Err(format!("needs {AUTHORITIES}")) }
}

/// A machine whose working folder has these examples.
struct Machine {
    host: Host,
    arguments: String,
    disk: std::path::PathBuf,
}

impl Drop for Machine {
    fn drop(&mut self) {
        // What cannot be removed is replaced by the next run.
        let _ = fs::remove_dir_all(&self.disk);
    }
}

impl Machine {
    fn with(names: &[&str]) -> Self {
        let disk = target_folder().join("clients/disk").join(format!("image-{}", names[0]));
        let _ = fs::remove_dir_all(&disk);
        fs::create_dir_all(&disk).unwrap_or_else(|error| panic!("cannot make {}: {error}", disk.display()));
        let options = Options { images: Some(vec!["debian"]), disk: Some(disk.clone()), ..Options::default() };
        let host = Host::with(&options);
        let proxy = host.way_out(&target_folder().join("clients/archive"));
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
        for name in names {
            host.run(&format!("cp -a {} .", examples.join(name).display())).success();
        }
        let arguments =
            format!("--build-arg http_proxy={proxy} --build-arg https_proxy={proxy} --secret id=ca,src={AUTHORITIES}");
        Self { host, arguments, disk }
    }

    #[track_caller]
    fn build(&self, name: &str, flags: &str) -> Shown {
        self.host.run(&format!("hako build --progress plain {} {flags} -t {name} {name}", self.arguments))
    }

    #[track_caller]
    fn wait_for(&self, line: &str) -> String {
        let look = |host: &Host| host.run(line);
        let shown = self.host.wait_until(line, look, |shown| shown.stderr().is_empty() && !shown.stdout().is_empty());
        shown.stdout().to_owned()
    }
}

#[test]
fn one_static_file_is_a_whole_image() {
    needs!(require::root());
    needs!(require::program("cc"));
    let host = Host::start();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/static");
    host.run(&format!("cp -a {} . && cc -static -o static/hello static/hello.c", example.display())).success();
    host.run("hako build -q -t hello static").success();
    host.run("docker run --rm hello").success().says("Hello from an image of one file.");
    host.run("docker create --name made hello >/dev/null && docker export made | tar -t | grep -c '^hello$'").says("1");
    host.run("docker image inspect -f '{{len .RootFS.Layers}}' hello").says("1");
}

#[test]
fn somebody_logs_in_by_ssh() {
    needs!(requirements());
    needs!(require::program("ssh"));
    needs!(require::program("ssh-keygen"));
    let machine = Machine::with(&["ssh"]);
    machine.host.run("ssh-keygen -q -t ed25519 -N '' -f ssh/key").success();
    machine.build("ssh", "").success();
    machine.host.run("docker run -d --name server --hostname box -p 2222:22 ssh").success();
    let login = "ssh -i ssh/key -p 2222 -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=known \
                 -o LogLevel=ERROR dev@127.0.0.1";
    let said = machine.wait_for(&format!("{login} 'whoami; hostname; echo written > file'"));
    assert_eq!(said, "dev\nbox\n");
    machine.host.run("docker exec server cat /home/dev/file").success().says("written");
    // Nobody else gets in, and two servers of one image have keys of their own.
    machine.host.run("ssh-keygen -q -t ed25519 -N '' -f other").success();
    machine.host.run(&format!("{} true", login.replace("ssh/key", "other"))).code(255);
    machine.host.run("docker run -d --name second ssh").success();
    let key = |name: &str| machine.wait_for(&format!("docker exec {name} cat /etc/ssh/ssh_host_ed25519_key.pub"));
    assert_ne!(key("server"), key("second"));
}

#[test]
fn a_flask_application_stands_behind_nginx() {
    needs!(requirements());
    needs!(python());
    let machine = Machine::with(&["flask", "proxy"]);
    machine.build("flask", "").success().says("Successfully installed");
    machine.build("proxy", "").success();
    machine.host.run("docker network create front && docker run -d --network front --name app flask").success();
    machine.host.run("docker run -d --network front --name proxy -p 8080:80 proxy").success();
    let said = machine.wait_for("curl -fsS '127.0.0.1:8080/?name=reader'");
    assert_eq!(said, "Hello reader, through http.\n");
    // Another program, the same packages: only the last steps are done again, and the proxy stays.
    machine.host.run("sed -i 's/Hello/Good day/' flask/app.py").success();
    let built = machine.build("flask", "").success().to_string();
    assert!(!built.contains("Successfully installed"), "{built}");
    machine.host.run("docker rm -f app && docker run -d --network front --name app flask").success();
    let look = |host: &Host| host.run("curl -sS '127.0.0.1:8080/'");
    machine.host.wait_until("the new version", look, |shown| shown.text().contains("Good day world, through http."));
    machine.host.run("docker exec app id -un").says("nobody");
}

#[test]
fn a_compiler_stays_behind() {
    needs!(requirements());
    let machine = Machine::with(&["stages"]);
    machine.build("stages", "").success();
    machine.host.run("docker run --rm stages 'one two' three").success().says("2\n1\n");
    machine
        .host
        .run("docker run --rm --entrypoint sh stages -c 'command -v gcc || echo no compiler'")
        .says("no compiler");
    // Its tests are a stage of their own, which only those wait for who ask for it.
    machine.build("stages", "--target test").success().says("all is well");
    machine.host.run("sed -i 's/is_word \\&\\& !inside/is_word \\&\\& inside/' stages/count.c").success();
    machine.build("stages", "").success();
    let failed = machine.build("stages", "--target test").code(1).to_string();
    assert!(failed.contains("count() is wrong") && failed.contains(">>> RUN make test"), "{failed}");
}

#[test]
fn a_list_of_requirements_becomes_a_django_site() {
    needs!(requirements());
    needs!(python());
    let machine = Machine::with(&["requirements"]);
    machine.build("requirements", "").success().says("Successfully installed");
    machine.host.run("docker run -d --name site -p 8000:8000 requirements").success();
    let said = machine.wait_for("curl -fsS '127.0.0.1:8000/?add=ann'");
    assert_eq!(said, r#"{"django": "5.1.4", "customers": ["ann"]}"#);
    machine.host.run("docker restart site").success();
    assert!(machine.wait_for("curl -fsS 127.0.0.1:8000/").contains("ann"));
    machine.host.run("docker rm -f site && docker run -d --name site -p 8000:8000 requirements").success();
    assert!(machine.wait_for("curl -fsS 127.0.0.1:8000/").contains(r#""customers": []"#));
}
