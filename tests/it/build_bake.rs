//! `buildx bake`: HCL and JSON files, what they may reach, and how their mistakes are told.

use expect_test::expect;

/// The file of the guide, and what it says: the guide is tried as it is printed.
#[test]
fn the_file_of_the_guide_is_baked() {
    let guide = include_str!("../../docs/guides/builds.md");
    let file = guide.split("```hcl\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap_or_default();
    let host = host!("busybox");
    host.write("docker-bake.hcl", file);
    host.run("mkdir app && echo FROM busybox > app/Dockerfile").success();
    host.run("hako buildx bake --print | grep -A4 tags").shows(expect![[r#"
           "tags": [
           "app:dev-full"
           ],
           "target": "full"
           },
        --
           "tags": [
           "app:dev-slim"
           ],
           "target": "slim"
           },
    "#]]);
    host.write("app/Dockerfile", "FROM tools AS slim\nARG VERSION\nRUN echo $VERSION > /version\nFROM slim AS full\n");
    host.run("TAGS=v1,v2 hako buildx bake full --set '*.args.VERSION=7' --progress quiet && docker run --rm app:v2-full cat /version /tool")
        .says("7\nmade once");
    host.run("docker image ls").success().says_not("hako-bake-");
    // Their names are of one run, what was done with them is not.
    let again = "hako buildx bake full --set '*.args.VERSION=7' --progress plain 2>&1 | grep -c CACHED";
    host.run(again).says("4");
    host.run("hako buildx bake --list=variables").shows(expect![[r#"
        VARIABLE   TYPE   VALUE   DESCRIPTION
        TAGS   list of string   ["dev"]   Tags of every image
    "#]]);
    host.run("hako buildx bake --list=targets").shows(expect![[r#"
        TARGET   DESCRIPTION
        app   full, slim
        default   app
        full
        slim
        tools   What the images stand on
    "#]]);
    host.run("TAGS=a:b hako buildx bake").code(1).shows(expect![[r#"
        ! docker-bake.hcl:6
        ! --------------------
        !   4 |   description = "Tags of every image"
        !   5 |   validation {
        !   6 | >>>   condition   = length(regexall("[/:]", join("", TAGS))) == 0
        !   7 |   error_message = "a tag has neither / nor :"
        !   8 |   }
        ! --------------------
        ! ERROR: docker-bake.hcl:6,21-66: Validation failed; a tag has neither / nor :
        exit 1
    "#]]);
}

#[test]
fn mistakes_in_files_are_shown_where_they_are() {
    let host = host!();
    host.write("docker-bake.hcl", "target \"web\" {\n  tag = [\"x\"]\n}\n");
    host.run("hako buildx bake web").code(1).shows(expect![[r#"
        ! docker-bake.hcl:2
        ! --------------------
        !   1 |   target "web" {
        !   2 | >>>   tag = ["x"]
        !   3 |   }
        ! --------------------
        ! ERROR: docker-bake.hcl:2,3-6: Unsupported argument; An argument named "tag" is not expected here. Did you mean "tags"?
        exit 1
    "#]]);
    host.write("docker-bake.hcl", "variable \"A\" { default = B }\nvariable \"B\" { default = \"${A}\" }\n");
    host.run("hako buildx bake web").code(1).says("A needs itself: A → B → A");
    host.run("rm docker-bake.hcl").success();
    host.write("docker-bake.json", "{\n  \"target\": {\"web\": {\"tags\": [\"${TAG}\"]}}\n}\n");
    host.run("hako buildx bake web").code(1).shows(expect![[r#"
        ! docker-bake.json:2
        ! --------------------
        !   1 |   {
        !   2 | >>>   "target": {"web": {"tags": ["${TAG}"]}}
        !   3 |   }
        ! --------------------
        ! ERROR: docker-bake.json:2,31-39: Unknown variable; There is no variable named "TAG".
        exit 1
    "#]]);
    host.run("echo 'target \"web\" {}' | hako buildx bake -f - wed")
        .code(1)
        .says("failed to find target wed (did you mean web?)");
}

/// A file may be a stranger's: what it reaches beyond its directory is allowed by the command line alone.
#[test]
fn what_files_reach_is_allowed_by_the_command_line() {
    let host = host!("busybox");
    host.run("mkdir here elsewhere && echo FROM busybox > elsewhere/Dockerfile && echo secret > key").success();
    host.write(
        "here/docker-bake.hcl",
        "target \"default\" {\n  context = \"../elsewhere\"\n  secret  = [\"id=key,src=../key\"]\n  output  = [\"../out\"]\n}\n\
         target \"host\" {\n  dockerfile-inline = \"FROM busybox\"\n  network = \"host\"\n}\n",
    );
    let refused = host.run("cd here && hako buildx bake");
    refused.code(1).says("additional privileges requested").says("fs.read=").says("/key").says("fs.write=");
    host.run("ls out").code(2);
    host.run("cd here && hako buildx bake --allow fs=.. --progress quiet && ls ../out/bin/busybox").success();
    host.run("cd here && BUILDX_BAKE_ENTITLEMENTS_FS=0 hako buildx bake --progress quiet").success();
    host.run("cd here && hako buildx bake host").code(1).says("--allow=network.host");
    host.run("cd here && hako buildx bake host --allow network.host --progress quiet").success();
}

#[test]
fn directories_are_where_the_files_say() {
    let host = host!("busybox");
    host.run("mkdir -p sub/ctx && echo FROM busybox > sub/ctx/Dockerfile").success();
    host.write("sub/docker-bake.hcl", "target \"default\" {\n  context = \"ctx\"\n}\ntarget \"beside\" {}\n");
    host.write("sub/bakefile", "services:\n  web:\n    build: {context: ctx, tags: [served]}\n");
    host.run("BUILDX_BAKE_FILE=sub/docker-bake.hcl hako buildx bake --print | grep context")
        .says("\"context\": \"ctx\"");
    let relative = "BUILDX_BAKE_FILE_RELATIVE_PATHS=1 hako buildx bake -f sub/docker-bake.hcl --print";
    host.run(&format!("{relative} default beside | grep context")).says("sub\",\n").says("sub/ctx\",\n");
    host.run("hako buildx bake -f sub/bakefile --progress quiet && docker image inspect served").success();
}
