//! SBOMs of builds: what is found by our own scanner, and by images that scan.

use hako_testkit::{Host, needs, require};

/// Prints a statement: what it is about, its document, its packages.
const SHOW: &str = r#"
import json, sys

statement = json.load(open(sys.argv[1]))
document = statement["predicate"]
assert statement["predicateType"] == "https://spdx.dev/Document", statement
print(document["spdxVersion"], document["name"], document["creationInfo"]["created"], document.get("comment", ""))
for package in document["packages"]:
    refs = [ref["referenceLocator"] for ref in package.get("externalRefs", [])]
    words = refs or [package["name"], package.get("versionInfo", "")]
    print(" ".join(words + [package.get("licenseComments", "")]).strip())
ids = {package["SPDXID"] for package in document["packages"]} | {"SPDXRef-DOCUMENT"}
for relation in document["relationships"]:
    assert {relation["spdxElementId"], relation["relatedSpdxElement"]} <= ids, relation
"#;

/// A tree with packages of every kind, and with what a scanner should not follow.
fn prepared(host: &Host) {
    host.write("show.py", SHOW);
    let tree = "mkdir -p ctx/root && cd ctx/root && mkdir -p etc var/lib/dpkg/status.d lib/apk/db \
                usr/lib/python3/site-packages/Flask_Login-1.dist-info opt/app/node_modules/left-pad \
                opt/app/node_modules/@s/b opt/app/node_modules/broken opt/hole.dist-info";
    host.run(tree).success();
    let write = |path: &str, text: &str| host.write(&format!("ctx/root/{path}"), text);
    write("usr/lib/os-release", "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian 12\"\n");
    write(
        "var/lib/dpkg/status",
        "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36-9+deb12u4\n\n\
         Package: gone\nStatus: deinstall ok config-files\nArchitecture: amd64\nVersion: 1\n",
    );
    write("var/lib/dpkg/status.d/tzdata", "Package: tzdata\nArchitecture: all\nVersion: 2024a-0\n");
    write("var/lib/dpkg/status.d/tzdata.md5sums", "0  usr/share/x\n");
    write("lib/apk/db/installed", "P:musl\nV:1.2.4-r2\nA:x86_64\nL:MIT\n");
    write(
        "usr/lib/python3/site-packages/Flask_Login-1.dist-info/METADATA",
        "Name: Flask_Login\nVersion: 0.6.3\nLicense: MIT\n\nVersion: 9\n",
    );
    write(
        "opt/app/node_modules/left-pad/package.json",
        r#"{"name": "left-pad", "version": "1.3.0", "license": "WTFPL"}"#,
    );
    write("opt/app/node_modules/@s/b/package.json", r#"{"name": "@s/b", "version": "2.0.0"}"#);
    write("opt/app/node_modules/broken/package.json", "{");
    host.run(
        "cd ctx/root && ln -s ../usr/lib/os-release etc/os-release && ln -s /etc/shadow opt/hole.dist-info/METADATA && \
         mkfifo opt/app/node_modules/@s/package.json",
    )
    .success();
    host.write("ctx/Dockerfile", "FROM busybox\nCOPY root /\n");
}

const FOUND: &str = "sbom\ndebian 12\npkg:apk/debian/musl@1.2.4-r2?arch=x86_64&distro=debian-12 declared as: MIT\n\
    pkg:deb/debian/libc6@2.36-9%2Bdeb12u4?arch=amd64&distro=debian-12\n\
    pkg:deb/debian/tzdata@2024a-0?arch=all&distro=debian-12\npkg:npm/%40s/b@2.0.0\n\
    pkg:npm/left-pad@1.3.0 declared as: WTFPL\npkg:pypi/flask-login@0.6.3 declared as: MIT";

#[test]
fn packages_of_the_result_are_told() {
    needs!(require::program("python3"));
    let host = own_host!("busybox");
    prepared(&host);
    let build = "SOURCE_DATE_EPOCH=86400 hako build -q --sbom=true";
    host.run(&format!("{build} -o files ctx")).success();
    let shown = host.run("python3 show.py files/sbom.spdx.json").success().text().to_owned();
    let head = "SPDX-2.3 sbom 1970-01-02T00:00:00Z not read: opt/app/node_modules/broken/package.json: \
                EOF while parsing an object at line 1 column 1";
    assert_eq!(shown, format!("{head}\n{FOUND}"));
    // It is a statement about the files that are beside it.
    let check = "import hashlib, json; told = {s['name']: s['digest']['sha256'] for s in json.load(open('files/sbom.spdx.json'))['subject']}; print(told['bin/busybox'] == hashlib.sha256(open('files/bin/busybox', 'rb').read()).hexdigest())";
    host.run(&format!("python3 -c \"{check}\"")).says("True");
    // The same files have the same document, by whoever it is made.
    host.run(&format!(
        "hako builder prune -af && {build} --no-cache -o again ctx && cmp files/sbom.spdx.json again/sbom.spdx.json"
    ))
    .success();
    // An image has it beside its provenance, in one manifest.
    host.run(&format!(
        "{build} --provenance=mode=min -t app:1 -o type=oci,dest=x.tar ctx && mkdir x && tar -C x -xf x.tar"
    ))
    .success();
    host.run("cat x/blobs/sha256/* | grep -c '\"in-toto.io/predicate-type\": \"https://spdx.dev/Document\"'").says("1");
    host.run("python3 show.py $(grep -l '\"spdxVersion\"' x/blobs/sha256/*) | tail -1")
        .says("pkg:pypi/flask-login@0.6.3");
    host.run("grep -l '\"spdxVersion\"' x/blobs/sha256/* | xargs grep -c 'pkg:docker/app@1?platform=linux%2Famd64'")
        .says("1");
    // There is nothing to be told of an empty image but that.
    host.write("ctx/Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    host.run(&format!("{build} -o empty ctx && python3 show.py empty/sbom.spdx.json"))
        .says("SPDX-2.3 sbom 1970-01-02T00:00:00Z \nsbom");
    for (flags, text) in [
        ("-t app", "the image store keeps images alone"),
        ("-o type=docker,dest=z.tar", "docker exporter does not currently support"),
    ] {
        host.run(&format!("{build} {flags} ctx")).code(1).says(text);
    }
    host.run("hako build -q --sbom=false -t app ctx").success();
}

#[test]
fn stages_and_contexts_are_looked_at_if_they_say_so() {
    needs!(require::program("python3"));
    let host = own_host!("busybox");
    prepared(&host);
    host.write(
        "ctx/Dockerfile",
        "ARG BUILDKIT_SBOM_SCAN_CONTEXT=true\nFROM busybox AS make\nARG BUILDKIT_SBOM_SCAN_STAGE=true\nCOPY root /\n\
         RUN env | grep -c SBOM_SCAN > /seen || true\nFROM busybox AS quiet\nCOPY root /\nFROM scratch\n\
         COPY --from=make /seen /\nCOPY --from=quiet /etc /etc\n",
    );
    host.run("hako build -q --sbom=true -o files ctx && ls files").success();
    host.run("ls files | grep spdx").says("sbom-context.spdx.json\nsbom-make.spdx.json\nsbom.spdx.json");
    host.run("cat files/seen").says("0");
    host.run("python3 show.py files/sbom-make.spdx.json | tail -1").says("pkg:pypi/flask-login@0.6.3");
    host.run("python3 show.py files/sbom-context.spdx.json | grep -c -e pkg:npm -e pkg:pypi").says("3");
    host.run("python3 show.py files/sbom.spdx.json | grep -c pkg:; true").says("0");
    // Everything is cached, and stages that nobody has to read are looked at all the same.
    host.run("hako build -q --sbom=true -o again ctx && ls again | grep -c spdx").says("3");
    let flags = "--build-arg BUILDKIT_SBOM_SCAN_STAGE=false --build-arg BUILDKIT_SBOM_SCAN_CONTEXT=false";
    host.run(&format!("hako build -q --sbom=true {flags} -o less ctx && ls less | grep spdx")).says("sbom.spdx.json");
}

/// An image that scans as BuildKit's protocol has it: one document for each root that it is shown.
fn scanner(host: &Host, script: &str) {
    host.run("mkdir -p scanner").success();
    host.write("scanner/scan", script);
    host.write(
        "scanner/Dockerfile",
        "FROM busybox\nCOPY --chmod=755 scan /scan\nUSER 1000\nENV OWN=word\nENTRYPOINT [\"/scan\"]\nCMD [\"given\"]\n",
    );
    host.run("hako build -q -t scanner scanner").success();
}

#[test]
fn an_image_scans() {
    needs!(require::program("python3"));
    let host = own_host!("busybox");
    prepared(&host);
    host.write(
        "ctx/Dockerfile",
        "FROM busybox AS make\nARG BUILDKIT_SBOM_SCAN_STAGE=true\nCOPY root /\nFROM scratch\nCOPY --from=make /etc /etc\n",
    );
    let script = "#!/bin/sh\necho scanning with $OWN $1 as $(id -u)\n\
        for root in $BUILDKIT_SCAN_SOURCE $BUILDKIT_SCAN_SOURCE_EXTRAS/*; do\n\
        touch $root/new 2>/dev/null && exit 9\nname=$(basename $root)\n\
        echo \"{\\\"spdxVersion\\\": \\\"SPDX-2.3\\\", \\\"name\\\": \\\"$root\\\", \\\"creationInfo\\\": {\\\"created\\\": \
        \\\"$(ls $root | wc -l)\\\"}, \\\"packages\\\": [], \\\"relationships\\\": []}\" > $BUILDKIT_SCAN_DESTINATION/$name.spdx.json\n\
        done\necho log > $BUILDKIT_SCAN_DESTINATION/log\n";
    scanner(&host, script);
    let build = "hako build --progress plain --attest type=sbom,generator=scanner";
    let told = host.run(&format!("{build} -o files ctx")).success().stderr().to_owned();
    assert!(told.contains("[sbom] generating sbom using scanner"), "{told}");
    assert!(told.contains("scanning with word given as 1000"), "{told}");
    host.run("ls files").says("etc\nsbom-make.spdx.json\nsbom.spdx.json");
    host.run("python3 show.py files/sbom.spdx.json").says("SPDX-2.3 /run/src/core/sbom 1");
    host.run("python3 show.py files/sbom-make.spdx.json").says("SPDX-2.3 /run/src/extras/sbom-make");
    // What is wrong with a scanner ends the build.
    for (script, text) in [
        ("exit 3", "did not complete successfully: exit code: 3"),
        ("exit 0", "the scanner scanner has not written /run/out/sbom.spdx.json"),
        ("echo no > $BUILDKIT_SCAN_DESTINATION/sbom.spdx.json", "sbom.spdx.json: expected ident"),
        ("echo '{}' > $BUILDKIT_SCAN_DESTINATION/sbom.spdx.json", "it is no document of SPDX"),
        ("ln -s /etc/shadow $BUILDKIT_SCAN_DESTINATION/sbom.spdx.json", "what the scanner scanner has written"),
        ("mkfifo $BUILDKIT_SCAN_DESTINATION/sbom.spdx.json", "it is no file"),
    ] {
        scanner(&host, &format!("#!/bin/sh\n{script}\n"));
        host.run(&format!("{build} -o files ctx")).code(1).says(text);
    }
    host.run("ls /run/test/hako/data/build/contexts 2>/dev/null | wc -l").says("0");
    host.run("hako build -q --sbom=generator=localhost:1/none -o files ctx").code(1).says("localhost:1");
    // Docker's own scanner, which nobody has here, is replaced by what is built in.
    let default = "--sbom=generator=docker/buildkit-syft-scanner:stable-1";
    let told = host.run(&format!("hako build --progress plain {default} -o files ctx")).success().stderr().to_owned();
    assert!(told.contains("hako's own scanner stands in for docker/buildkit-syft-scanner:stable-1"), "{told}");
    host.run("python3 show.py files/sbom-make.spdx.json | tail -1").says("pkg:pypi/flask-login@0.6.3");
}

#[test]
fn files_of_bake_and_compose_want_sboms() {
    let host = own_host!("busybox");
    super::registry::serve(&host, 5000, "");
    prepared(&host);
    host.write(
        "docker-bake.json",
        r#"{"target": {"default": {"context": "ctx", "attest": ["type=sbom"], "output": ["type=local,dest=baked"]}}}"#,
    );
    host.run("hako buildx bake --progress quiet && ls baked/sbom.spdx.json").success();
    host.write(
        "compose.yaml",
        "services:\n  web:\n    image: localhost:5000/web\n    build:\n      context: ctx\n      sbom: true\n",
    );
    host.run("hako compose build -q --push && hako manifest inspect localhost:5000/web | grep -c '\"unknown\"'")
        .says("2");
    host.run("hako compose build -q").code(17).says("the image store keeps images alone");
}
