//! `buildx imagetools`: what registries have, shown and put together without a daemon.

use expect_test::expect;
use hako_testkit::Host;

use crate::{manifest::with_two, registry::serve};

const TOOLS: &str = "hako buildx imagetools";
const BLUR: &str = "sed -E 's/sha256:[0-9a-f]{64}/DIGEST/g; s/\"size\": [0-9]+/\"size\": N/; s/ [0-9.]+s$/ TIME/; s/^#1 [0-9.]+ /#1 /'";

#[test]
fn images_of_several_names_become_one() {
    let host = own_host!();
    with_two(&host);
    host.run(&format!("{TOOLS} create --progress plain -t localhost:5000/box:all localhost:5000/box:amd64 localhost:5000/box:arm64 2>&1 | {BLUR}; {TOOLS} inspect localhost:5000/box:all | {BLUR}")).shows(expect![[r#"
        #1 [internal] pushing localhost:5000/box:all
        #1 pushing localhost:5000/box:all
        #1 DONE TIME
        Name:   localhost:5000/box:all
        MediaType: application/vnd.docker.distribution.manifest.list.v2+json
        Digest:   DIGEST

        Manifests:
          Name:   localhost:5000/box:all@DIGEST
          MediaType: application/vnd.docker.distribution.manifest.v2+json
          Platform:  linux/amd64

          Name:   localhost:5000/box:all@DIGEST
          MediaType: application/vnd.docker.distribution.manifest.v2+json
          Platform:  linux/arm64
    "#]]);
    // One source stays what it is, byte for byte, under its new name; and one platform of it is an index of one.
    host.run(&format!("{TOOLS} create --progress none -t localhost:5000/box:copy localhost:5000/box:all && test \"$({TOOLS} inspect --raw localhost:5000/box:copy)\" = \"$({TOOLS} inspect --raw localhost:5000/box:all)\" && {TOOLS} create --progress none -p linux/arm64 -t localhost:5000/box:part localhost:5000/box:all && {TOOLS} inspect localhost:5000/box:part | grep Platform && {TOOLS} create --dry-run --prefer-index=false localhost:5000/box:amd64 | grep -c layers")).shows(expect![[r#"
          Platform:  linux/arm64
        1
    "#]]);
    host.run(&format!("{TOOLS} create --progress none -t localhost:5000/box:more localhost:5000/box:arm64 && {TOOLS} create --progress none --append -t localhost:5000/box:more localhost:5000/box:amd64 && {TOOLS} inspect localhost:5000/box:more | grep Platform; docker rmi -f localhost:5000/box:amd64 localhost:5000/box:arm64 >/dev/null; docker pull -q --platform linux/amd64 localhost:5000/box:more && docker image inspect --format '{{{{.Architecture}}}}' localhost:5000/box:more")).shows(expect![[r#"
          Platform:  linux/arm64
          Platform:  linux/amd64
        localhost:5000/box:more
        amd64
    "#]]);
}

#[test]
fn what_is_elsewhere_is_brought_along() {
    let host = own_host!();
    with_two(&host);
    serve(&host, 5001, "");
    let create = format!("{TOOLS} create --progress none");
    host.run(&format!("{create} -t localhost:5000/mine:1 -t localhost:5001/far/away:1 --annotation index:org.x=all --annotation 'manifest-descriptor[linux/arm64]:org.x=arm' --metadata-file known localhost:5000/box:amd64 localhost:5000/box:arm64 && {BLUR} known && echo && {TOOLS} inspect --format '{{{{json .Manifest.Annotations}}}} {{{{.Manifest.MediaType}}}}' localhost:5001/far/away:1 && {TOOLS} inspect localhost:5000/mine:1 | grep -A1 Annotations")).shows(expect![[r#"
        {
          "containerimage.descriptor": {
           "digest": "DIGEST",
           "mediaType": "application/vnd.oci.image.index.v1+json",
           "size": N
          },
          "image.name": "localhost:5000/mine:1,localhost:5001/far/away:1"
        }
        {"org.x":"all"} application/vnd.oci.image.index.v1+json
          Annotations:
           org.x: arm
    "#]]);
    // Everything is there: the first registry is not needed any more.
    host.run("docker rmi -f localhost:5000/box:amd64 localhost:5000/box:arm64 >/dev/null; rm -r registry-5000; docker pull -q --platform linux/arm64 localhost:5001/far/away:1 && docker create --name one --platform linux/arm64 localhost:5001/far/away:1 /x >/dev/null && docker cp one:/file - | tar -xO").shows(expect![[r#"
        localhost:5001/far/away:1
        arm64
    "#]]);
    // A single image goes there as well, and what is named by digest alone is of the repository that is spoken of.
    host.run(&format!("digest=$({TOOLS} inspect --format '{{{{(index .Manifest.Manifests 0).Digest}}}}' localhost:5001/far/away:1) && {create} --prefer-index=false -t localhost:5001/far/away:one $digest && {TOOLS} inspect --format '{{{{.Image.Architecture}}}} {{{{.Image.OS}}}}' localhost:5001/far/away:one")).shows(expect![[r#"
        amd64 linux
    "#]]);
}

#[test]
fn what_an_image_is_and_what_is_attested_of_it_is_shown() {
    let host = own_host!();
    serve(&host, 5000, "");
    host.run("mkdir context && echo text >context/file && printf 'FROM scratch\\nCOPY file /\\nENV A=b\\n' >context/Dockerfile && hako build -q --provenance mode=max --sbom=true --push -t localhost:5000/told:1 context >/dev/null").success();
    host.run(&format!("{TOOLS} inspect localhost:5000/told:1 | {BLUR}; {TOOLS} inspect --format '{{{{.Name}}}} {{{{.Image.OS}}}} {{{{json .Image.Config.Env}}}} {{{{(index .Image.History 0).CreatedBy}}}}' localhost:5000/told:1; {TOOLS} inspect --format '{{{{.SBOM.SPDX.spdxVersion}}}} {{{{.Provenance.SLSA.buildType}}}}' localhost:5000/told:1")).shows(expect![[r#"
        Name:   localhost:5000/told:1
        MediaType: application/vnd.oci.image.index.v1+json
        Digest:   DIGEST

        Manifests:
          Name:   localhost:5000/told:1@DIGEST
          MediaType:   application/vnd.oci.image.manifest.v1+json
          Platform:   linux/amd64

          Name:   localhost:5000/told:1@DIGEST
          MediaType:   application/vnd.oci.image.manifest.v1+json
          Platform:   unknown/unknown
          Annotations:
           vnd.docker.reference.digest: DIGEST
           vnd.docker.reference.type:   attestation-manifest
        localhost:5000/told:1 linux ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin","A=b"] COPY file / # buildkit
        SPDX-2.3 https://mobyproject.org/buildkit@v1
    "#]]);
    host.run(&format!("{TOOLS} inspect --format '{{{{json .Image.RootFS}}}}' localhost:5000/told:1 | {BLUR}; {TOOLS} inspect --format '{{{{.Bogus}}}}' localhost:5000/told:1")).shows(expect![[r#"
        {
          "type": "layers",
          "diff_ids": [
           "DIGEST"
          ]
        }
        ! ERROR: template: :1:2: executing "" at <.Bogus>: can't evaluate field Bogus
        exit 1
    "#]]);
}

#[test]
fn mistakes_are_told_before_anything_is_pushed() {
    let host = own_host!();
    with_two(&host);
    let create = format!("{TOOLS} create");
    let check = |host: &Host, words: &str, why: &str| {
        let shown = host.run(&format!("{create} {words} 2>&1"));
        assert!(shown.text().contains(why), "{words}: {}", shown.text());
    };
    check(&host, "-t localhost:5000/box:x", "ERROR: no sources specified");
    check(&host, "localhost:5000/box:amd64", "ERROR: can't push with no tags specified, please set --tag or --dry-run");
    check(&host, "-t localhost:5000/box:x UPPER", "ERROR: failed to parse source \"UPPER\"");
    check(&host, "-t localhost:5000/box:x localhost:5000/box:nosuch", "ERROR: localhost:5000/box:nosuch: not found");
    check(&host, "-t localhost:5000/box:x -p linux/riscv64 localhost:5000/box:amd64", "no image for linux/riscv64");
    check(
        &host,
        "-t localhost:5000/box:x --annotation manifest:a=b localhost:5000/box:amd64",
        "manifests stay as they are",
    );
    check(
        &host,
        "-t localhost:5000/box:x --append -t localhost:5000/box:y localhost:5000/box:amd64",
        "it needs one --tag",
    );
    check(&host, "--dry-run -f nosuch", "ERROR: cannot read nosuch: No such file or directory");
    // What a descriptor says counts, but not its size.
    host.run(&format!("{TOOLS} create --dry-run localhost:5000/box:amd64 >index && sed -n '/\"digest\"/s/.*\\(sha256:[0-9a-f]*\\).*/{{\"digest\":\"\\1\",\"size\":1,\"platform\":{{\"os.version\":\"10.1\"}}}}/p' index >descriptor && {create} --dry-run -t localhost:5000/box:x -f descriptor | {BLUR} | tail -9")).shows(expect![[r#"
           "size": N,
           "platform": {
           "architecture": "amd64",
           "os": "linux",
           "os.version": "10.1"
           }
           }
          ]
        }
    "#]]);
}
