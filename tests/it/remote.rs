//! Daemons that are not reached by a socket of this machine: TCP with TLS, and ssh.

use expect_test::expect;
use hako_testkit::Host;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

/// An authority, and what it has signed, as files of the machine: `FOLDER/{ca,cert,key}.pem`.
pub(crate) struct Authority {
    params: CertificateParams,
    key: KeyPair,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self { params, key: KeyPair::generate().unwrap() }
    }

    pub(crate) fn sign(&self, host: &Host, folder: &str, names: &[&str]) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        let signed = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
        host.write(&format!("{folder}/ca.pem"), self.params.self_signed(&self.key).unwrap().pem());
        host.write(&format!("{folder}/cert.pem"), signed.pem());
        host.write(&format!("{folder}/key.pem"), key.serialize_pem());
    }
}

/// The folder that command lines of the machine run in.
fn folder(host: &Host) -> String {
    host.run("pwd").stdout().trim().to_owned()
}

#[test]
fn tls_lets_in_those_who_show_a_certificate() {
    let host = own_host!();
    let authority = Authority::new();
    authority.sign(&host, "server", &["localhost", "127.0.0.1"]);
    authority.sign(&host, "client", &["someone"]);
    Authority::new().sign(&host, "stranger", &["someone"]);
    let work = folder(&host);
    let files = ["ca", "cert", "key"]
        .map(|name| format!("--tls{0}={work}/server/{name}.pem", if name == "ca" { "cacert" } else { name }));
    let [authority, certificate, key] = &files;
    let _daemon =
        host.second_daemon("tls", &["-H", "tcp://127.0.0.1:2376", "--tlsverify", authority, certificate, key]);

    host.run("export DOCKER_HOST=tcp://127.0.0.1:2376 DOCKER_CERT_PATH=$PWD/client DOCKER_TLS_VERIFY=1; docker version --format {{.Server.Os}}")
        .shows(expect![[r#"
            linux
        "#]]);
    // Flags instead of variables; the daemon's name is not verified, the client's still is.
    host.run("docker -H tcp://127.0.0.1:2376 --tls --tlscacert client/ca.pem --tlscert client/cert.pem --tlskey client/key.pem ps -q").success();
    for refused in [
        "docker -H tcp://127.0.0.1:2376 --tls --tlscacert client/ca.pem --tlscert stranger/cert.pem --tlskey stranger/key.pem ps",
        "docker -H tcp://127.0.0.1:2376 --tls ps",
        "docker -H tcp://127.0.0.1:2376 --tlsverify --tlscacert stranger/ca.pem --tlscert client/cert.pem --tlskey client/key.pem ps",
        "docker -H tcp://127.0.0.1:2376 --tlsverify --tlscacert missing.pem ps",
    ] {
        host.run(refused).code(1);
    }
    host.run("docker -H tcp://127.0.0.1:2376 ps").code(1).says("Client sent an HTTP request to an HTTPS server");
}

#[test]
fn streams_go_through_tls_both_ways() {
    let host = own_host!();
    let authority = Authority::new();
    authority.sign(&host, "certs", &["localhost", "127.0.0.1"]);
    let work = folder(&host);
    let flags = [
        "-H",
        "tcp://127.0.0.1:2376",
        "--tlsverify",
        &format!("--tlscacert={work}/certs/ca.pem"),
        &format!("--tlscert={work}/certs/cert.pem"),
        &format!("--tlskey={work}/certs/key.pem"),
    ];
    let _daemon = host.second_daemon("tls", &flags);
    let through =
        "--tlsverify -H tcp://localhost:2376 --tlscacert certs/ca.pem --tlscert certs/cert.pem --tlskey certs/key.pem";
    host.load_into("busybox", through);
    host.run(&format!("printf 'one\\ntwo\\n' | docker {through} run --rm -i busybox sh -c 'wc -l; echo done >&2'"))
        .success()
        .says("2")
        .says("done");
    // Half a million bytes each way.
    host.run(&format!("head -c 500000 /dev/zero | docker {through} run --rm -i busybox cat | wc -c"))
        .success()
        .says("500000");
}

#[test]
fn tcp_without_tls_is_not_offered_to_everybody() {
    let host = own_host!();
    let daemon = "timeout 10 hako daemon --data-root /run/test/other --exec-root /run/test/other-run";
    host.run(&format!("{daemon} -H tcp://0.0.0.0:2375")).code(1).says("whoever reaches the port would be root here");
    host.run(&format!("{daemon} -H tcp://0.0.0.0:2375 --tls=false")).code(1).says("only a loopback address");
    host.run(&format!("{daemon} -H tcp://127.0.0.1:2376 --tlsverify --tlscacert nosuch.pem"))
        .code(1)
        .says("nosuch.pem");
}

/// The real thing is any sshd; what is judged here is what the command line makes of it.
const SSH: &str = r#"#!/bin/sh
echo "$@" >> ssh.log
while [ "$1" != -- ]; do shift; done
shift 2
exec sh -c "$*"
"#;

#[test]
fn a_daemon_is_reached_by_way_of_ssh() {
    let host = own_host!();
    host.write("bin/ssh", SSH);
    host.run("chmod +x bin/ssh").success();
    let ssh = "export PATH=$PWD/bin:$PATH";
    // The daemon of the machine is the one "over there"; ssh leaves the variable to the remote command.
    host.run(&format!("{ssh}; echo in | docker -H ssh://me@box:2222 run --rm -i busybox sh -c 'cat; echo out'")).shows(
        expect![[r#"
        in
        out
    "#]],
    );
    host.run("cat ssh.log | head -1").says("-l me -p 2222").says("box").says("system dial-stdio");
    host.write("bin/ssh", "#!/bin/sh\nread request\necho 'no route to box' >&2\nexit 255\n");
    host.run(&format!("{ssh}; docker -H ssh://box ps")).code(1).says("no route to box");
}

#[test]
fn an_image_is_copied_by_way_of_ssh() {
    let host = own_host!();
    let second = host.second_daemon("second", &[]);
    host.write("bin/ssh", SSH.replace("exec sh", &format!("DOCKER_HOST={} exec sh", second.address())));
    host.run("chmod +x bin/ssh; docker tag busybox busybox:other").success();
    let copy = "PATH=$PWD/bin:$PATH hako image copy";
    // One image is meant, not all tags of a repository.
    host.run(&format!("{copy} busybox ssh://box 2>&1; {copy} -q busybox:other ssh://box; docker -H {} images --format '{{{{.Repository}}}}:{{{{.Tag}}}}' | sort", second.address()))
        .shows(expect![[r#"
            0 of 1 layers are there already
            Loaded image: busybox:latest
            busybox:other
            busybox:latest
            busybox:other
        "#]]);
    host.run(&format!(
        "{copy} busybox ssh://box 2>&1 | head -1; docker -H {} run --rm --network none busybox echo runs",
        second.address()
    ))
    .shows(expect![[r#"
            1 of 1 layers are there already
            runs
        "#]]);
}
