//! Builds for several platforms, annotations, and provenance: in archives, registries and directories.
//!
//! No step runs for another machine here: what is for it is made by steps of this one.

use expect_test::expect;
use hako_testkit::{Host, needs, require};

/// Prints an OCI layout that was unpacked into the directory of its first argument: its platforms with their files, and
/// what is attested of them.
const SHOW: &str = r#"
import gzip, io, json, sys, tarfile

blob = lambda digest: open(sys.argv[1] + "/blobs/" + digest.replace(":", "/"), "rb").read()
document = lambda one: json.loads(blob(one["digest"]))
for named in json.load(open(sys.argv[1] + "/index.json"))["manifests"]:
    print(named.get("annotations", {}).get("io.containerd.image.name", "no name"))
    index = document(named)
    print(" annotations", json.dumps(index.get("annotations", {})))
    for one in index.get("manifests", [named]):
        manifest, platform = document(one), one.get("platform")
        assert len(blob(one["digest"])) == one["size"]
        if platform and platform["os"] == "unknown":
            statement = json.loads(blob(manifest["layers"][0]["digest"]))
            assert one["annotations"]["vnd.docker.reference.type"] == "attestation-manifest"
            assert one["annotations"]["vnd.docker.reference.digest"] == "sha256:" + statement["subject"][0]["digest"]["sha256"]
            assert manifest["layers"][0]["annotations"]["in-toto.io/predicate-type"] == statement["predicateType"]
            print(" attested", statement["predicateType"], statement["subject"][0]["name"], manifest.get("artifactType", ""))
            continue
        config = json.loads(blob(manifest["config"]["digest"]))
        assert not platform or platform["architecture"] == config["architecture"]
        print("", config["architecture"], json.dumps(manifest.get("annotations", {})))
        for layer in manifest["layers"]:
            assert len(blob(layer["digest"])) == layer["size"]
            for file in tarfile.open(fileobj=io.BytesIO(blob(layer["digest"]))):
                print("  ", file.name, tarfile.open(fileobj=io.BytesIO(blob(layer["digest"]))).extractfile(file).read() if file.isfile() else "")
"#;

/// What is for every platform is made once, by this machine; each platform gets its own of it.
const CROSS: &str = "FROM --platform=$BUILDPLATFORM busybox AS make\nRUN echo once > /shared\nARG TARGETPLATFORM TARGETARCH\n\
    RUN echo $TARGETPLATFORM $TARGETARCH on $(uname -m | wc -l) > /own\n\
    FROM scratch\nCOPY --from=make /own /shared /\nCMD [\"/none\"]\n";

fn show(host: &Host, archive: &str) -> String {
    host.write("show.py", SHOW);
    let line = format!("rm -rf shown && mkdir shown && tar -C shown -xf {archive} && python3 show.py shown");
    host.run(&line).success().text().to_owned()
}

fn prepared(host: &Host) {
    host.run("mkdir -p ctx").success();
    host.write("ctx/Dockerfile", CROSS);
}

const BOTH: &str = "--platform linux/amd64,linux/arm64";

#[test]
fn an_archive_has_every_platform() {
    needs!(require::program("python3"));
    let host = host!("busybox");
    prepared(&host);
    let told = host.run(&format!("hako build --progress plain {BOTH} -t app:1 -o type=oci,dest=x.tar ctx"));
    let told = told.success().stderr().to_owned();
    assert!(told.contains("[linux/amd64 make 2/3] RUN echo once"), "{told}");
    assert!(told.contains("[linux/arm64 make 3/3] RUN echo $TARGETPLATFORM"), "{told}");
    assert_eq!(
        show(&host, "x.tar"),
        "docker.io/library/app:1\n annotations {}\n amd64 {}\n   own b'linux/amd64 amd64 on 1\\n'\n   shared b'once\\n'\n \
         arm64 {}\n   own b'linux/arm64 arm64 on 1\\n'\n   shared b'once\\n'"
    );
    // The same documents again, from the cache alone, and nothing of it in the store.
    host.run(&format!("hako build -q {BOTH} -t app:1 -o type=oci,dest=y.tar ctx && cmp x.tar y.tar")).success();
    host.run("docker image ls -q app | wc -l").says("0");
    // Docker's own archives are of one platform.
    host.run(&format!("hako build -q {BOTH} -o type=docker,dest=z.tar ctx"))
        .code(1)
        .says("docker exporter does not currently support exporting manifest lists");
    host.run("test -e z.tar; echo $?").says("1");
}

#[test]
fn steps_that_platforms_share_are_done_once() {
    let host = host!("busybox");
    prepared(&host);
    host.write("ctx/Dockerfile", CROSS.replace("echo once", "date +%s%N"));
    host.run(&format!("hako build -q {BOTH} -o files ctx")).success();
    host.run("cd files && ls && cmp linux_amd64/shared linux_arm64/shared && cat linux_arm64/own").shows(expect![[
        r#"
        linux_amd64
        linux_arm64
        linux/arm64 arm64 on 1
    "#
    ]]);
    host.run(&format!("hako build -q {BOTH} -o type=tar,dest=x.tar ctx && tar -tf x.tar | sort")).shows(expect![[r#"
        linux_amd64/
        linux_amd64/own
        linux_amd64/shared
        linux_arm64/
        linux_arm64/own
        linux_arm64/shared
    "#]]);
}

#[test]
fn the_image_store_keeps_this_machines_platform_and_says_so() {
    let host = host!("busybox");
    prepared(&host);
    let told = host.run(&format!("hako build {BOTH} -t kept --iidfile id ctx")).success().stderr().to_owned();
    assert!(told.contains("The image store keeps one platform of a name: linux/amd64 is kept"), "{told}");
    host.run("docker image inspect -f '{{.Id}}' kept | tr -d '\\n' | cmp - id").success();
    host.run("docker image inspect -f '{{.Architecture}}' kept; docker images -q | wc -l").shows(expect![[r#"
        amd64
        2
    "#]]);
}

#[test]
fn a_step_for_another_machine_needs_an_interpreter() {
    let host = host!("busybox");
    host.run("mkdir ctx && cp /proc/self/mounts mounts").success();
    // Nowhere is there an interpreter for this one.
    host.write("ctx/Dockerfile", "FROM scratch\nCOPY Dockerfile /\nRUN [\"/program\"]\n");
    let line = "hako build --platform linux/mips64 ctx 2>&1 | tail -1";
    host.run(line).says("RUN cannot be done for linux/mips64: this machine is linux/amd64").says("binfmt_misc");
    host.run("docker images -q | wc -l").says("1");
    host.write("ctx/Dockerfile", "FROM busybox\n");
    host.run("hako build --platform linux/amd64,odd/a/b/c ctx").code(1).says("cannot parse platform specifier");
}

/// An arm64 program that writes the name of the machine it runs on into `/made`.
const PROGRAM: [u32; 17] = [
    0xd108_03ff, // sub sp, sp, #512
    0x9100_03e0, // mov x0, sp
    0xd280_1408, // mov x8, #160
    0xd400_0001, // svc #0: uname
    0x9280_0c60, // mov x0, #-100
    0x1000_0181, // adr x1, the path
    0xd280_4822, // mov x2, #O_WRONLY|O_CREAT|O_TRUNC
    0xd280_3483, // mov x3, #0644
    0xd280_0708, // mov x8, #56
    0xd400_0001, // svc #0: openat
    0x9104_13e1, // add x1, sp, #260: the machine's name
    0xd280_00e2, // mov x2, #7
    0xd280_0808, // mov x8, #64
    0xd400_0001, // svc #0: write
    0xd280_0000, // mov x0, #0
    0xd280_0ba8, // mov x8, #93
    0xd400_0001, // svc #0: exit
];

// The program as a file: one segment, right behind the headers.
fn arm64_program() -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let mut code: Vec<u8> = PROGRAM.iter().flat_map(|word| word.to_le_bytes()).collect();
    code.extend(b"/made\0");
    let size = HEADERS + code.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let half = |file: &mut Vec<u8>, values: &[u16]| file.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    let long = |file: &mut Vec<u8>, values: &[u64]| file.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    // An executable for machine 183, version 1: entry, program headers, no section headers, flags.
    half(&mut file, &[2, 183, 1, 0]);
    long(&mut file, &[BASE + HEADERS, 64, 0]);
    half(&mut file, &[0, 0, 64, 56, 1, 64, 0, 0]);
    // To be loaded, readable and executable: offset, addresses, sizes, alignment.
    half(&mut file, &[1, 0, 5, 0]);
    long(&mut file, &[0, BASE, BASE, size, size, 0x1000]);
    file.extend(code);
    file
}

#[test]
fn a_step_for_another_machine_runs_by_an_interpreter() {
    let host = own_host!("busybox");
    let emulator = hako_testkit::emulator::arm64();
    needs!(emulator.as_ref().map(|_| ()).map_err(Clone::clone));
    // The list is seen where it is mounted; the machine of this test has mounts of its own.
    host.run("mount -t binfmt_misc none /proc/sys/fs/binfmt_misc && mkdir ctx").success();
    let octal: String = arm64_program().iter().map(|byte| format!("\\{byte:03o}")).collect();
    host.run(&format!("printf '{octal}' > ctx/program && chmod 755 ctx/program")).success();
    host.write("ctx/Dockerfile", "FROM scratch\nCOPY program /\nRUN [\"/program\"]\nCMD [\"/program\"]\n");
    host.run("hako build -q --platform linux/arm64 -o out ctx && cat out/made").success().says("aarch64");
    // Both at once, by what is done for each; and what was made runs.
    host.write(
        "ctx/Both",
        "FROM busybox AS amd64\nRUN uname -m > /made\nFROM scratch AS arm64\nCOPY program /\nRUN [\"/program\"]\n\
         FROM $TARGETARCH\n",
    );
    host.run(&format!("hako build -q {BOTH} -f ctx/Both -o both ctx && cat both/linux_*/made")).says("x86_64\naarch64");
    host.run("docker buildx ls 2>/dev/null; hako buildx inspect | grep -c linux/arm64").says("1");
    host.run("hako build -q --platform linux/arm64 -t other ctx && docker run --name ran other && docker cp ran:/made made && cat made")
        .says("aarch64");
}

#[test]
fn an_index_goes_to_a_registry_and_its_images_are_bases() {
    let host = own_host!("busybox");
    super::registry::serve(&host, 5000, "");
    prepared(&host);
    host.run(&format!("hako build -q {BOTH} --push -t localhost:5000/app:1 --metadata-file meta ctx")).success();
    let platforms = "hako manifest inspect localhost:5000/app:1 | grep architecture | tr -d ' \",'";
    host.run(platforms).says("architecture:amd64\narchitecture:arm64");
    // A push of the name here does not take the other platforms away.
    host.run("docker push -q localhost:5000/app:1").success();
    host.run(platforms).says("architecture:amd64\narchitecture:arm64");
    // What clients learn of it is what the registry has.
    host.run("sed -nE 's/.*\"containerimage.digest\": \"(.*)\".*/\\1/p' meta > told && hako pull -q localhost:5000/app@$(cat told)")
        .success();
    host.run("grep -c 'vnd.oci.image.index' meta").says("1");
    host.run("docker rmi -f $(docker images -q localhost:5000/app) >/dev/null; docker pull -q --platform linux/arm64 localhost:5000/app:1; docker image inspect -f '{{.Architecture}}' localhost:5000/app:1")
        .says("arm64");
    host.run("docker pull -q localhost:5000/app:1 && docker image inspect -f '{{.Architecture}}' localhost:5000/app:1")
        .says("amd64");
    // Each platform stands on its own base, and the name here stays with this machine's.
    host.write("ctx/Dockerfile", "FROM localhost:5000/app:1\nCOPY Dockerfile /further\n");
    host.run(&format!("hako build -q {BOTH} -o files ctx && cat files/linux_amd64/own files/linux_arm64/own")).shows(
        expect![[r#"
            linux/amd64 amd64 on 1
            linux/arm64 arm64 on 1
        "#]],
    );
    host.run("docker image inspect -f '{{.Architecture}}' localhost:5000/app:1").says("amd64");
    // Without a tag, by its digest alone.
    host.run(&format!(
        "hako build -q {BOTH} -o type=image,name=localhost:5000/other,push=true,push-by-digest=true --metadata-file meta ctx"
    ))
    .success();
    host.run("hako manifest inspect localhost:5000/other:latest").code(1);
    host.run("sed -nE 's/.*\"containerimage.digest\": \"(.*)\".*/\\1/p' meta > told; hako manifest inspect localhost:5000/other@$(cat told) | grep -c architecture")
        .says("2");
}

#[test]
fn how_an_image_was_made_is_attested_beside_it() {
    needs!(require::program("python3"));
    let host = own_host!("busybox");
    super::registry::serve(&host, 5000, "");
    host.run("mkdir ctx").success();
    host.write("ctx/Dockerfile", "FROM busybox\nARG WORD\nRUN echo $WORD > /said\n");
    let build = "hako build -q --build-arg WORD=hush";
    host.run(&format!("{build} --provenance=mode=min -t app -o type=oci,dest=x.tar ctx")).success();
    let shown = show(&host, "x.tar");
    let name = "pkg:docker/app@latest?platform=linux%2Famd64";
    assert!(shown.ends_with(&format!("attested https://slsa.dev/provenance/v0.2 {name}")), "{shown}");
    host.run(
        "grep -rl 'mobyproject.org/buildkit@v1' shown/blobs | xargs cat | grep -c -e hush -e 'pkg:docker/busybox@'",
    )
    .says("1");
    // All of it, in the newer version, as an OCI artifact.
    let flags =
        "--attest type=provenance,mode=max,version=v1,builder-id=https://me -o type=oci,dest=y.tar,oci-artifact=true";
    host.run(&format!("{build} {flags} ctx")).success();
    let shown = show(&host, "y.tar");
    let expected = "attested https://slsa.dev/provenance/v1 _ application/vnd.docker.attestation.manifest.v1+json";
    assert!(shown.ends_with(expected), "{shown}");
    host.run("grep -rl 'slsa-definitions.md' shown/blobs | xargs cat | grep -c -e '\"build-arg:WORD\": \"hush\"' -e '\"id\": \"https://me\"'")
        .says("2");
    // Of each step the layers that it came to, by their descriptors in the image.
    let check = "import json, sys; how = json.load(sys.stdin); print([len(layers[0]) for _, layers in sorted(how['predicate']['runDetails']['metadata']['buildkit_metadata']['layers'].items())])";
    host.run(&format!("cat $(grep -l 'slsa-definitions.md' shown/blobs/sha256/*) | python3 -c \"{check}\""))
        .says("[1, 2]");
    // A registry has it in the index; who pulls gets the image.
    host.run(&format!("{build} --provenance=true --push -t localhost:5000/app ctx")).success();
    host.run("hako manifest inspect localhost:5000/app | grep -c '\"unknown\"'").says("2");
    host.run("docker rmi -f localhost:5000/app && docker run --rm localhost:5000/app cat /said").says("hush");
    // Beside files it is a file, unless only images are to have it.
    host.run(&format!(
        "{build} --provenance=mode=max,filename=how.json -o files ctx && ls files | grep -e how -e said"
    ))
    .says("how.json\nsaid");
    let check = "import hashlib, json; told = {s['name']: s['digest']['sha256'] for s in json.load(open('files/how.json'))['subject']}; print(told['said'] == hashlib.sha256(open('files/said', 'rb').read()).hexdigest())";
    host.run(&format!("python3 -c \"{check}\"")).says("True");
    host.run(&format!("{build} --provenance=mode=min,inline-only=true -o plain ctx && ls plain | grep -c provenance"))
        .code(1);
    host.run(&format!("{build} --provenance=mode=min,inline-only=true -t here ctx")).success();
    for (flags, text) in [
        ("--provenance=true -t app", "the image store keeps images alone"),
        ("--provenance=mode=most", "invalid mode=most in the attestation provenance"),
        ("--sbom=mode=max", "invalid mode=max in the attestation sbom"),
        ("--provenance=true -o type=docker,dest=z.tar", "docker exporter does not currently support"),
    ] {
        host.run(&format!("{build} {flags} ctx")).code(1).says(text);
    }
    host.run(&format!("{build} --sbom=false --provenance=false ctx")).success();
}

#[test]
fn manifests_are_written_as_they_are_wanted() {
    needs!(require::program("python3"));
    let host = own_host!("busybox");
    super::registry::serve(&host, 5000, "");
    prepared(&host);
    let flags = "--annotation a.b=all --annotation 'index,manifest[linux/arm64]:c=some'";
    host.run(&format!("hako build -q {BOTH} {flags} -o type=oci,dest=x.tar ctx")).success();
    let shown = show(&host, "x.tar");
    assert!(shown.contains(" annotations {\"c\": \"some\"}\n amd64 {\"a.b\": \"all\"}"), "{shown}");
    assert!(shown.contains(" arm64 {\"a.b\": \"all\", \"c\": \"some\"}"), "{shown}");
    host.write("ctx/Dockerfile", CROSS.replace("once", "again"));
    let raw = "python3 -c \"import urllib.request as u; r = u.Request('http://localhost:5000/v2/app/manifests/latest', headers={'Accept': '*/*'}); print(u.urlopen(r).read().decode())\"";
    for (output, expected) in [
        // As it is stored; once it is gzip for somebody, it stays that.
        ("compression=zstd", "application/vnd.oci.image.layer.v1.tar+zstd"),
        ("oci-mediatypes=true", "application/vnd.oci.image.layer.v1.tar+gzip"),
        ("oci-mediatypes=false,compression=gzip", "application/vnd.docker.image.rootfs.diff.tar.gzip"),
    ] {
        host.run(&format!("hako build -q -o type=registry,name=localhost:5000/app,{output} ctx")).success();
        host.run(raw).says(expected);
        host.run("docker rmi -f localhost:5000/app >/dev/null; docker pull -q localhost:5000/app").success();
    }
    for (output, text) in [
        ("type=oci,dest=z,compression=estargz", "compression=estargz is not built yet"),
        ("type=image,name=a,annotation.a=b", "the image store keeps no manifests"),
        ("type=registry,name=localhost:5000/app,force-compression=true", "force-compression"),
    ] {
        host.run(&format!("hako build -q -o {output} ctx")).code(1).says(text);
    }
}
