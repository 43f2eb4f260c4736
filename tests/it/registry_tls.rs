//! Registries that speak TLS with an authority of their own and ask for a certificate: `certs.d` as Docker has it, and
//! mirrors by containerd's `hosts.toml`.

use expect_test::expect;
use hako_testkit::Host;

use crate::{
    registry::{serve, serve_with},
    remote::Authority,
};

/// Names for this machine, and an `/etc` of its own to put certificates into.
fn prepare(host: &Host) -> Authority {
    let authority = Authority::new();
    authority.sign(host, "server", &["registry.test"]);
    authority.sign(host, "mirror", &["mirror.test"]);
    authority.sign(host, "client", &["someone"]);
    Authority::new().sign(host, "stranger", &["someone"]);
    host.run(
        "mkdir -p over/etc over/work && mount -t overlay overlay -o lowerdir=/etc,upperdir=$PWD/over/etc,workdir=$PWD/over/work /etc &&
         echo 127.0.0.1 registry.test mirror.test >> /etc/hosts && mkdir -p /etc/docker/certs.d /etc/hako/certs.d",
    )
    .success();
    authority
}

/// A registry that speaks only with those whom the authority knows.
fn serve_closed(host: &Host, port: u16, name: &str) {
    let files = [("CERTIFICATE", "cert"), ("KEY", "key"), ("CLIENTCAS_0", "ca")];
    let variables: String =
        files.iter().map(|(word, file)| format!("REGISTRY_HTTP_TLS_{word}=$PWD/{name}/{file}.pem ")).collect();
    serve_with(host, &variables, port, "");
}

#[test]
fn a_registry_with_an_authority_of_its_own_is_trusted_by_certs_d() {
    let host = own_host!();
    prepare(&host);
    serve_closed(&host, 5443, "server");
    host.run("docker tag busybox registry.test:5443/box:1").success();
    let push = "docker push -q registry.test:5443/box:1";
    host.run(push).code(1).says("tls: failed to verify certificate: x509: certificate signed by unknown authority");
    // The authority alone: the registry wants to see a certificate.
    host.run("mkdir /etc/docker/certs.d/registry.test:5443 && cp server/ca.pem /etc/docker/certs.d/registry.test:5443/ca.crt").success();
    host.run(push).code(1).says("certificate required");
    host.run("cp stranger/cert.pem /etc/docker/certs.d/registry.test:5443/own.cert").success();
    host.run(push).code(1).says("own.cert");
    host.run("cp stranger/key.pem /etc/docker/certs.d/registry.test:5443/own.key").success();
    host.run(push).code(1).says("tls: ");
    host.run("for part in cert key; do cp client/$part.pem /etc/docker/certs.d/registry.test:5443/own.$part; done")
        .success();
    host.run(&format!(
        "{push} && docker rmi registry.test:5443/box:1 >/dev/null && docker pull -q registry.test:5443/box:1"
    ))
    .shows(expect![[r#"
            registry.test:5443/box:1
            registry.test:5443/box:1
        "#]]);
    // A name that the certificate does not have.
    host.run("cp -r /etc/docker/certs.d/registry.test:5443 /etc/docker/certs.d/mirror.test:5443; docker pull -q mirror.test:5443/box:1")
        .code(1)
        .says("certificate is not valid for mirror.test");
}

#[test]
fn a_mirror_is_reached_by_hosts_toml_with_its_own_authority_and_certificate() {
    let host = own_host!();
    prepare(&host);
    serve_closed(&host, 5444, "mirror");
    host.write(
        "hosts.toml",
        r#"server = "https://registry.test:5443"
[host."https://mirror.test:5444"]
capabilities = ["pull", "resolve"]
ca = "mirror.crt"
client = [["own.cert", "own.key"]]
"#,
    );
    // Filled by its own name; asked for by another's, which nobody answers.
    host.run("mkdir /etc/hako/certs.d/mirror.test:5444 /etc/hako/certs.d/registry.test:5443 &&
              for folder in mirror.test:5444 registry.test:5443; do cp mirror/ca.pem /etc/hako/certs.d/$folder/mirror.crt; for part in cert key; do cp client/$part.pem /etc/hako/certs.d/$folder/own.$part; done; done").success();
    host.run("docker tag busybox mirror.test:5444/box:1 && docker push -q mirror.test:5444/box:1 && docker rmi mirror.test:5444/box:1 >/dev/null").success();
    host.run("docker pull -q registry.test:5443/box:1").code(1).says("127.0.0.1:5443: connect: connection refused");
    host.run("cp hosts.toml /etc/hako/certs.d/registry.test:5443/ && docker pull -q registry.test:5443/box:1 && docker run --rm registry.test:5443/box:1 echo mirrored")
        .shows(expect![[r#"
            registry.test:5443/box:1
            mirrored
        "#]]);
    // Nothing is pushed to it.
    host.run("docker push -q registry.test:5443/box:1").code(1).says("127.0.0.1:5443: connect: connection refused");
    // Without the certificate the mirror says no, and the registry itself is asked.
    host.run("docker rmi registry.test:5443/box:1 >/dev/null; sed -i /client/d /etc/hako/certs.d/registry.test:5443/hosts.toml; rm /etc/hako/certs.d/*/own.*; docker pull -q registry.test:5443/box:1")
        .code(1)
        .says("127.0.0.1:5443: connect: connection refused");
    // Neither verified nor shown anything: only where the file says so.
    serve(&host, 5445, "--tls-cert server/cert.pem --tls-key server/key.pem");
    host.write(
        "hosts.toml",
        "[host.\"https://mirror.test:5445\"]\ncapabilities = [\"pull\", \"resolve\", \"push\"]\nskip_verify = true\n",
    );
    host.run("cp hosts.toml /etc/hako/certs.d/registry.test:5443/ && docker tag busybox registry.test:5443/box:2 && docker push -q registry.test:5443/box:2 && docker rmi registry.test:5443/box:2 >/dev/null && docker pull -q registry.test:5443/box:2")
        .shows(expect![[r#"
            registry.test:5443/box:2
            registry.test:5443/box:2
        "#]]);
}
