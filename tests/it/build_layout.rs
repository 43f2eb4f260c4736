//! Contexts that are images in OCI layouts of the client's (`--build-context NAME=oci-layout://…`).

use hako_testkit::Host;

/// A layout with an image of this machine and one with files for two platforms, and the directory of a build that stands
/// on the first.
fn prepared(host: &Host) {
    host.run("mkdir -p make ctx && echo intel > make/for-amd64 && echo arm > make/for-arm64").success();
    host.write("make/Dockerfile", "FROM busybox\nCOPY for-amd64 /own\nENV SAID=layout\nWORKDIR /there\n");
    host.write("make/Files", "FROM scratch\nARG TARGETARCH\nCOPY for-$TARGETARCH /own\n");
    host.run("hako build -q -t app:v1 -o type=oci,dest=one.tar make && mkdir one && tar -C one -xf one.tar").success();
    let both =
        "hako build -q --platform linux/amd64,linux/arm64 -f make/Files -t app:v1 -o type=oci,dest=both.tar make";
    host.run(&format!("{both} && mkdir both && tar -C both -xf both.tar")).success();
    host.write("ctx/Dockerfile", "FROM base AS made\nRUN cat /own > said && echo $SAID >> said && pwd >> said\n");
}

#[test]
fn an_image_in_a_layout_is_a_base() {
    let host = own_host!("busybox");
    prepared(&host);
    let seen = "docker run --rm made cat /there/said";
    host.run("hako build -q -t made --build-context base=oci-layout://one:v1 ctx").success();
    host.run(seen).says("intel\nlayout\n/there");
    // The base has no name here, and is nobody's image but the one's that stands on it.
    host.run("docker images -q | wc -l").says("2");
    // The only image of a layout needs no tag; a digest names it too. Once here it is not read again.
    let digest = host.run("grep -o 'sha256:[0-9a-f]*' one/index.json | head -1").success().text().to_owned();
    let context = format!("--build-context base=oci-layout://one@{digest}");
    host.run(&format!("hako build -q -t made --no-cache {context} ctx && {seen}")).success().says("intel");
    host.run("hako build -q -t made --build-context base=oci-layout://$PWD/one ctx").success();
    // Its files are copied from, and mounted.
    host.write(
        "ctx/Dockerfile",
        "FROM busybox\nCOPY --from=base /own /copied\nRUN --mount=from=base,target=/b cat /b/own /copied > /said\n",
    );
    host.run("hako build -q -t made --build-context base=oci-layout://one ctx && docker run --rm made cat /said")
        .success()
        .says("intel\nintel");
    // The platform that is wanted is the one that is taken.
    host.write("ctx/Dockerfile", "FROM scratch\nCOPY --from=base /own /\n");
    host.run("hako build -q --platform linux/arm64 -o out --build-context base=oci-layout://both ctx && cat out/own")
        .success()
        .says("arm");
    // What the image was made of is told.
    let build = "hako build -q --provenance=true -o out --build-context base=oci-layout://one:v1 ctx";
    host.run(&format!("{build} && grep -c 'pkg:oci/base@{digest}' out/provenance.json")).says("1");
}

#[test]
fn files_of_bake_and_compose_name_layouts() {
    let host = own_host!("busybox");
    prepared(&host);
    host.write(
        "docker-bake.json",
        r#"{"target": {"default": {"context": "ctx", "tags": ["baked"], "contexts": {"base": "oci-layout://one:v1"}}}}"#,
    );
    host.run("hako buildx bake --progress quiet && docker run --rm baked cat /there/said").says("intel\nlayout");
    host.write(
        "compose.yaml",
        "services:\n  web:\n    image: composed\n    build:\n      context: ctx\n      additional_contexts:\n        - base=oci-layout://one:v1\n",
    );
    host.run("hako compose build -q && docker run --rm composed cat /there/said").says("intel\nlayout");
}

#[test]
fn what_is_wrong_with_a_layout_is_told_and_leaves_nothing() {
    let host = own_host!("busybox");
    prepared(&host);
    host.run("docker image ls -aq | sort > before").success();
    let fails = |place: &str, text: &str| {
        host.run(&format!("hako build -q --build-context base=oci-layout://{place} ctx")).code(1).says(text);
    };
    fails("nowhere", "failed to get build context base: the OCI layout nowhere: No such file or directory");
    host.run(
        "mkdir two && cp -r both/. two && sed -i 's/\\(.*\"manifests\":\\[\\)\\(.*\\)\\]/\\1\\2,\\2]/' two/index.json",
    )
    .success();
    fails("two:v2", "nothing is called \"v2\"");
    fails("both@sha256:0", "the OCI layout base: \"sha256:0\" is no digest");
    let gone = "0".repeat(64);
    fails(&format!("both@sha256:{gone}"), &format!("{gone}: No such file or directory"));
    // A document that is another one, and a layer that is cut off.
    let digest = host.run("grep -o 'sha256:[0-9a-f]*' one/index.json | head -1").success().text().to_owned();
    let hex = digest.trim_start_matches("sha256:");
    host.run(&format!("cp -r one bad && echo ' ' >> bad/blobs/sha256/{hex}")).success();
    fails("bad:v1", &format!("not {digest}"));
    // The layers above busybox's, which is here, without their ends.
    host.run("cp -r one cut && for blob in $(find cut/blobs -size -10k); do case $(head -c1 $blob) in {) ;; *) truncate -s -600 $blob;; esac; done")
        .success();
    host.write("ctx/Dockerfile", "FROM base\n");
    host.run("hako builder prune -af && docker image ls -aq | sort > now && cmp before now").success();
    fails("cut:v1", "the OCI layout base: ");
    host.run("hako build -q --platform linux/s390x --build-context base=oci-layout://both ctx")
        .code(1)
        .says("the OCI layout base: it has no image for linux/s390x");
    host.run("docker image ls -aq | sort > after && cmp before after").success();
}
