//! `manifest`: images of several platforms under one name, put together by hand.

use expect_test::expect;
use hako_testkit::Host;

use crate::registry::serve;

/// A registry with an image for each of two platforms.
pub(crate) fn with_two(host: &Host) {
    serve(host, 5000, "");
    host.run(
        "mkdir tree && echo amd64 >tree/file && tar -C tree -c . | docker import --platform linux/amd64 - localhost:5000/box:amd64 >/dev/null &&
         echo arm64 >tree/file && tar -C tree -c . | docker import --platform linux/arm64 - localhost:5000/box:arm64 >/dev/null &&
         for arch in amd64 arm64; do docker push -q localhost:5000/box:$arch; done",
    )
    .shows(expect![[r#"
        localhost:5000/box:amd64
        localhost:5000/box:arm64
    "#]]);
}

/// Digests and sizes, which depend on what the image was compressed by, are none of a transcript's business.
const BLUR: &str = r#"sed -E 's/sha256:[0-9a-f]{64}/DIGEST/g; s/"size": [0-9]+/"size": N/; s/("Raw": ")[^"]*/\1…/'"#;

#[test]
fn a_list_is_put_together_annotated_and_pushed() {
    let host = own_host!();
    with_two(&host);
    host.run("docker manifest create --insecure localhost:5000/box:all localhost:5000/box:amd64 localhost:5000/box:arm64 && docker manifest annotate --variant v8 --os-features a,b --os-version 1.2 localhost:5000/box:all localhost:5000/box:arm64")
        .shows(expect![[r#"
            Created manifest list localhost:5000/box:all
        "#]]);
    // Docker's own files: either command line goes on with what the other began.
    host.run("find $HOME/.docker/manifests -type f | sed 's/.*manifests.//' | sort").shows(expect![[r#"
        localhost-5000_box-all/localhost-5000_box-amd64
        localhost-5000_box-all/localhost-5000_box-arm64
    "#]]);
    host.run(&format!("docker manifest inspect localhost:5000/box:all | {BLUR} | tr ' ' _")).shows(expect![[r#"
        {
        ___"schemaVersion":_2,
        ___"mediaType":_"application/vnd.docker.distribution.manifest.list.v2+json",
        ___"manifests":_[
        ______{
        _________"mediaType":_"application/vnd.docker.distribution.manifest.v2+json",
        _________"size":_N,
        _________"digest":_"DIGEST",
        _________"platform":_{
        ____________"architecture":_"amd64",
        ____________"os":_"linux"
        _________}
        ______},
        ______{
        _________"mediaType":_"application/vnd.docker.distribution.manifest.v2+json",
        _________"size":_N,
        _________"digest":_"DIGEST",
        _________"platform":_{
        ____________"architecture":_"arm64",
        ____________"os":_"linux",
        ____________"os.version":_"1.2",
        ____________"os.features":_[
        _______________"a",
        _______________"b"
        ____________],
        ____________"variant":_"v8"
        _________}
        ______}
        ___]
        }
    "#]]);
    host.run(&format!("docker manifest inspect -v localhost:5000/box:all localhost:5000/box:arm64 | {BLUR} | head -9"))
        .shows(expect![[r#"
            {
            	"Ref": "localhost:5000/box:arm64",
            	"Descriptor": {
            		"mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            		"digest": "DIGEST",
            		"size": N,
            		"platform": {
            			"architecture": "arm64",
            			"os": "linux",
        "#]]);
    push_of_a_list(&host);
}

fn push_of_a_list(host: &Host) {
    host.run("docker manifest create --insecure localhost:5000/box:all localhost:5000/box:amd64; docker manifest create --insecure --amend localhost:5000/box:all localhost:5000/box:amd64").shows(expect![[r#"
        Created manifest list localhost:5000/box:all
        ! refusing to amend an existing manifest list with no --amend flag
    "#]]);
    host.run("docker manifest push --insecure --purge localhost:5000/box:all | sed -E 's/[0-9a-f]{64}/DIGEST/'; ls $HOME/.docker/manifests").shows(expect![[r#"
        sha256:DIGEST
    "#]]);
    // What a registry has now is an image for each; and each daemon takes its own.
    host.run("docker manifest inspect --insecure localhost:5000/box:all | grep -c '\"architecture\"'; docker rmi localhost:5000/box:amd64 localhost:5000/box:arm64 >/dev/null; docker pull -q --platform linux/arm64 localhost:5000/box:all && docker image inspect --format '{{.Architecture}}' localhost:5000/box:all")
        .shows(expect![[r#"
            2
            localhost:5000/box:all
            arm64
        "#]]);
}

#[test]
fn a_list_takes_images_of_other_repositories_along() {
    let host = own_host!();
    with_two(&host);
    host.run("docker manifest create --insecure localhost:5000/mine/all:1 localhost:5000/box:amd64 localhost:5000/box:arm64 && docker manifest push --insecure localhost:5000/mine/all:1 | sed -E 's/[0-9a-f]{64}/DIGEST/g'")
        .shows(expect![[r#"
            Created manifest list localhost:5000/mine/all:1
            Pushed ref localhost:5000/mine/all@sha256:DIGEST with digest: sha256:DIGEST
            Pushed ref localhost:5000/mine/all@sha256:DIGEST with digest: sha256:DIGEST
            sha256:DIGEST
        "#]]);
    host.run("docker pull -q localhost:5000/mine/all:1; docker manifest create --insecure localhost:5000/mine/again localhost:5000/mine/all:1").shows(expect![[r#"
        localhost:5000/mine/all:1
        ! localhost:5000/mine/all:1 is a manifest list
        exit 1
    "#]]);
    host.run("docker manifest create --insecure elsewhere:1 localhost:5000/box:amd64 && docker manifest push --insecure elsewhere:1").shows(expect![[r#"
        Created manifest list docker.io/library/elsewhere:1
        ! cannot use source images from a different registry than the target image: localhost:5000 != docker.io
        exit 1
    "#]]);
}

#[test]
fn what_is_not_there_is_told_in_dockers_words() {
    let host = own_host!();
    with_two(&host);
    host.run("docker manifest create --insecure localhost:5000/box:all localhost:5000/box:nosuch; docker manifest inspect --insecure localhost:5000/nosuch; docker manifest push localhost:5000/nosuch:1").shows(expect![[r#"
        ! no such manifest: localhost:5000/box:nosuch
        ! no such manifest: localhost:5000/nosuch:latest
        ! No such manifest: localhost:5000/nosuch:1
        exit 1
    "#]]);
    host.run("docker manifest create --insecure localhost:5000/box:all localhost:5000/box:amd64; docker manifest annotate localhost:5000/box:all localhost:5000/box:arm64 --arch arm; docker manifest annotate localhost:5000/box:all localhost:5000/box:amd64 --os foo --arch amd64; docker manifest inspect localhost:5000/box:all localhost:5000/box:arm64; docker manifest rm localhost:5000/box:all nosuch").shows(expect![[r#"
        Created manifest list localhost:5000/box:all
        ! manifest for image localhost:5000/box:arm64 does not exist in localhost:5000/box:all
        ! manifest entry for image has unsupported os/arch combination: foo/amd64
        ! No such manifest: localhost:5000/box:arm64
        ! No such manifest: docker.io/library/nosuch:latest
        exit 1
    "#]]);
    host.run("docker manifest create UPPER x").shows(expect![[r#"
        ! error parsing name for manifest list UPPER: invalid reference format: repository name (library/UPPER) must be lowercase
        exit 1
    "#]]);
}
