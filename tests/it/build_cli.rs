//! Builds through BuildKit's protocol, by hako's own command line: contexts, secrets, outputs, what is shown.
//!
//! What Buildx sees of the same daemon is in `tests/clients`.

use expect_test::expect;

#[test]
fn a_directory_is_built_and_only_its_own_files_are_sent() {
    let host = host!("busybox");
    host.run("mkdir -p ctx/dir && echo a > ctx/a && echo b > ctx/dir/b && ln -s a ctx/link && echo no > ctx/dir/no")
        .success();
    host.write("ctx/.dockerignore", "dir\n!dir/b\n");
    host.write("ctx/Dockerfile", "FROM busybox\nCOPY . /ctx\nRUN find /ctx | sort > /found\n");
    host.run("hako build -q -t made ctx | cut -c1-7; docker run --rm made cat /found").shows(expect![[r#"
        sha256:
        /ctx
        /ctx/.dockerignore
        /ctx/Dockerfile
        /ctx/a
        /ctx/dir
        /ctx/dir/b
        /ctx/link
    "#]]);
}

#[test]
fn what_is_asked_for_on_the_command_line_reaches_the_steps() {
    let host = host!("busybox");
    host.run("mkdir -p ctx other && echo hidden > secret && echo far > other/file").success();
    host.write(
        "ctx/Dockerfile",
        "FROM busybox AS first\nARG WHO\nRUN --mount=type=secret,id=s --mount=type=secret,id=e,env=E \\\n\
         echo $WHO $(cat /run/secrets/s) $E > /said; grep -c extra /etc/hosts >> /said\n\
         COPY --from=far file /far\nFROM first AS last\nRUN false\n",
    );
    host.run(
        "E=env hako build -q -t made --target first --build-arg WHO=me --label a=b --secret id=s,src=secret \
         --secret id=e,env=E --add-host extra:1.2.3.4 --build-context far=other ctx >/dev/null && \
         docker run --rm made cat /said /far && docker image inspect -f '{{.Config.Labels.a}}' made",
    )
    .shows(expect![[r#"
        me hidden env
        1
        far
        b
    "#]]);
}

#[test]
fn results_go_to_files_and_directories() {
    let host = host!("busybox");
    host.run("mkdir ctx").success();
    host.write(
        "ctx/Dockerfile",
        "FROM busybox AS made\nRUN mkdir /out && echo word > /out/file && chmod 640 /out/file && ln -s file /out/link\n\
         FROM scratch\nCOPY --from=made /out /\n",
    );
    host.run("hako build -q -o files ctx; stat -c '%n %a' files/file && readlink files/link && cat files/link").shows(
        expect![[r#"
            files/file 640
            file
            word
        "#]],
    );
    host.run("hako build -q -o - ctx | tar -t | sort; hako build -q -o type=tar,dest=x.tar ctx; tar -tf x.tar | wc -l; ls x.tar*").shows(
        expect![[r#"
            file
            link
            2
            x.tar
        "#]],
    );
    host.run(
        "hako build -q -o all -o type=tar,dest=all.tar -o type=oci,dest=all.oci -t made ctx && ls all && \
         tar -tf all.tar | sort && tar -tf all.oci | grep -x index.json",
    )
    .shows(expect![[r#"
        file
        link
        file
        link
        index.json
    "#]]);
}

#[test]
fn a_dockerfile_and_a_context_come_by_standard_input() {
    let host = host!("busybox");
    host.run("mkdir ctx && echo a > ctx/a").success();
    host.run("printf 'FROM busybox\\nRUN echo typed > /t\\n' | hako build -q -t typed - >/dev/null && docker run --rm typed cat /t")
        .says("typed");
    host.run("printf 'FROM busybox\\nCOPY a /\\n' | hako build -q -t piped -f - ctx >/dev/null && docker run --rm piped cat /a")
        .says("a");
    host.write("ctx/Other", "FROM busybox\nCOPY a /b\n");
    host.run("tar -C ctx -c . | hako build -q -t packed -f Other - >/dev/null && docker run --rm packed cat /b")
        .says("a");
}

#[test]
fn a_failing_step_is_shown_with_its_last_lines() {
    let host = host!("busybox");
    host.run("mkdir ctx").success();
    host.write("ctx/Dockerfile", "FROM busybox\nRUN echo out; exit 3\n");
    host.run("hako build --progress plain -t made ctx 2>&1 | sed -nE 's/[0-9]+[.][0-9]+/T/; /2.2. RUN/,$p'").shows(expect![[r#"
        #5 [2/2] RUN echo out; exit 3
        #5 T out
        #5 ERROR: process "/bin/sh -c echo out; exit 3" did not complete successfully: exit code: 3
        ------
         > [2/2] RUN echo out; exit 3:
        T out
        ------
        Dockerfile:2
        --------------------
           1 |   FROM busybox
           2 | >>> RUN echo out; exit 3
           3 |
        --------------------
        ERROR: failed to build: failed to solve: process "/bin/sh -c echo out; exit 3" did not complete successfully: exit code: 3
    "#]]);
    host.run("hako build -q ctx >/dev/null 2>&1; echo $?").says("1");
    host.run("hako build nosuch").code(1).says("path \"nosuch\" not found");
    host.run("hako build --progress odd ctx").code(1).says("invalid progress mode");
}

#[test]
fn why_says_what_changed() {
    let host = host!("busybox");
    host.run("mkdir ctx && echo 1 > ctx/a").success();
    host.write("ctx/Dockerfile", "FROM busybox\nRUN echo first\nCOPY a /a\nRUN cat /a\n");
    host.run("hako build -q -t made ctx >/dev/null; echo 2 > ctx/a; hako build -q --why -t made ctx | grep -v sha256:")
        .shows(expect![[r#"
            [1/4] FROM docker.io/library/busybox:latest
               cached
            [2/4] RUN echo first
               cached
            [3/4] COPY a /a
               changed: files
            [4/4] RUN cat /a
               changed: what is below
        "#]]);
}

#[test]
fn the_cache_is_listed_and_pruned() {
    let host = own_host!("busybox");
    host.run("mkdir ctx").success();
    host.write("ctx/Dockerfile", "FROM busybox\nRUN dd if=/dev/zero of=/big bs=1M count=3 2>/dev/null\n");
    host.run("hako build -q -t made --iidfile id --metadata-file meta ctx >/dev/null; docker image inspect -f '{{.Id}}' made | diff - id; grep -c containerimage.digest meta")
        .says("1");
    // Where so much of the disk is free, nothing has to go.
    host.run("docker rmi made >/dev/null; hako builder prune -f --min-free-space 1kB | tail -1").says("space: 0B");
    host.run("hako buildx du | tail -1; hako builder prune -f | tail -1; hako buildx du | tail -1").shows(expect![[
        r#"
        Total:   3.146MB
        Total reclaimed space: 3.146MB
        Total:   0B
    "#
    ]]);
}

#[test]
fn an_agent_is_there_for_the_step_that_asks() {
    let host = host!("busybox");
    host.run("mkdir ctx").success();
    host.write(
        "ctx/Dockerfile",
        "FROM busybox\nRUN --mount=type=ssh,required=true,uid=7 stat -c '%F %u %a' $SSH_AUTH_SOCK > /said\nRUN test ! -e /run && echo clean > /left\n",
    );
    host.run("hako build -q -t made ctx 2>&1 | tail -1").says("unset ssh forward key default");
    let _agent = std::os::unix::net::UnixListener::bind(host.path("agent")).unwrap();
    host.run("hako build -q -t made --ssh default=agent ctx >/dev/null && docker run --rm made cat /said /left").shows(
        expect![[r#"
        socket 7 600
        clean
    "#]],
    );
}

#[test]
fn an_image_goes_to_a_registry_or_into_an_archive() {
    let host = own_host!();
    super::registry::serve(&host, 5000, "");
    host.run("mkdir ctx").success();
    host.write("ctx/Dockerfile", "FROM busybox\nRUN echo word > /word\n");
    host.run(
        "hako build -q --push -t localhost:5000/made:1 ctx >/dev/null && docker rmi localhost:5000/made:1 >/dev/null && \
         docker run --rm localhost:5000/made:1 cat /word 2>/dev/null",
    )
    .says("word");
    host.run("docker rmi -f $(docker images -q localhost:5000/made) >/dev/null; hako build -q -t kept -o type=docker,dest=made.tar ctx; docker images -q kept | wc -l; docker load -q -i made.tar && docker run --rm kept cat /word").shows(expect![[r#"
        0
        Loaded image: kept:latest
        word
    "#]]);
    host.run("hako build -q -o type=oci,dest=- ctx | tar -t | grep -c oci-layout").says("1");
}

#[test]
fn what_is_not_built_is_said_by_name() {
    let host = host!("busybox");
    host.run("mkdir ctx").success();
    host.write("ctx/Dockerfile", "FROM busybox\n");
    for (flags, expected) in [
        ("-o type=oci,dest=x,compression=estargz", "compression=estargz is not built yet"),
        ("-o type=oci,dest=x,odd=1", "--output type=oci with odd is not built yet"),
    ] {
        host.run(&format!("hako build {flags} ctx 2>&1 | tail -1")).says(expected);
    }
    host.write("ctx/Dockerfile", "FROM busybox\nADD --checksum=sha256:0 Dockerfile /\n");
    host.run("hako build ctx 2>&1 | tail -1").says("--checksum is for sources that are URLs");
}

#[test]
fn the_same_input_makes_the_same_image_wherever_it_is_built() {
    let host = own_host!("busybox");
    host.run("mkdir -p here/dir && echo a > here/dir/a && cp -r here there && touch -d '2 days ago' there/dir/a")
        .success();
    host.write(
        "Dockerfile",
        "FROM busybox\nWORKDIR /w\nCOPY . .\nRUN date > /dev/null; mkdir made && echo b > made/b\n",
    );
    let build = |context: &str, daemon: &str| {
        let line = format!("hako {daemon} build -q --no-cache --reproducible -f Dockerfile {context}");
        host.run(&line).text().trim().to_owned()
    };
    let first = build("here", "");
    assert!(first.starts_with("sha256:"), "{first}");
    // Another directory, another time, and another daemon with a store and a cache of its own.
    assert_eq!(build("there", ""), first);
    let second = host.second_daemon("second", &[]);
    let daemon = format!("-H {}", second.address());
    // The base is the same image, down to its creation.
    host.run(&format!("docker save busybox | docker {daemon} load")).success();
    assert_eq!(build("there", &daemon), first);
    let epoch = "SOURCE_DATE_EPOCH=1700000000";
    let other = host.run(&format!("{epoch} hako build -q --reproducible -f Dockerfile here")).text().trim().to_owned();
    assert_ne!(other, first);
    host.run(&format!(
        "docker image inspect -f '{{{{.Created}}}}' {other} | cut -c1-10; docker run --rm {other} stat -c %Y /w/made/b"
    ))
    .shows(expect![[r#"
        2023-11-14
        1700000000
    "#]]);
}

#[test]
fn checks_find_what_is_likely_not_meant() {
    let host = host!("busybox");
    host.run("mkdir ctx").success();
    host.write("ctx/Dockerfile", "FROM busybox AS Base\nWORKDIR app\nCMD [\"true\"]\n");
    host.run("hako build --check ctx 2>/dev/null")
        .code(1)
        .says("Check complete, 2 warnings have been found!")
        .says("Stage name 'Base' should be lowercase")
        .says("Dockerfile:1:17")
        .says("WARNING: WorkdirRelativePath")
        .says(">>> WORKDIR app");
    host.run("hako build ctx 2>&1 | grep Casing")
        .says("StageNameCasing: Stage name 'Base' should be lowercase (line 1)");
    host.write("ctx/Dockerfile", "# check=error=true\nFROM busybox AS Base\n");
    host.run("hako build -q ctx 2>&1 | head -1").says("lint violation found");
    host.write("ctx/Dockerfile", "FROM busybox\n");
    host.run("hako build --check ctx 2>/dev/null").says("no warnings found");
}

#[test]
fn a_context_may_have_more_files_than_a_process_has_descriptors() {
    let host = host!("busybox");
    host.run("mkdir ctx && cd ctx && seq 3000 | while read n; do echo $n > f$n; done").success();
    host.write("ctx/Dockerfile", "FROM busybox\nCOPY . /all\nRUN ls /all | wc -l > /count\n");
    host.run("hako build -q -t made ctx >/dev/null && docker run --rm made cat /count /all/f2999").shows(expect![[
        r#"
        3001
        2999
    "#
    ]]);
}

#[test]
fn what_is_copied_is_nobody_elses() {
    let host = host!("busybox");
    host.run("mkdir -p ctx/dir/sub && echo 1 > ctx/dir/sub/a && echo 1 > ctx/dir/b && ln -s b ctx/dir/link && cp ctx/dir/b ctx/dir/c")
        .success();
    host.write(
        "ctx/Dockerfile",
        "FROM busybox\nRUN mkdir -p /old/sub /real && echo old > /old/b && ln -s /real /alias\n\
         COPY dir /old\nCOPY dir dir/sub/a /new/\nCOPY --chown=7:8 --chmod=640 dir/b /new/owned/\n\
         COPY dir /alias/below\nCOPY dir/b /new/sub/a\n\
         RUN cat /old/b /old/link /old/sub/a /new/a /new/sub/a /real/below/b | tr -d '\\n'; \
         stat -c '%u %g %a' /new/owned/b; echo changed > /new/b; test $(cat /new/c) = 1\n",
    );
    host.run("hako build --progress plain --no-cache -t one ctx 2>&1 | sed -nE 's/^#[0-9]+ [0-9.]+ //p'").shows(
        expect![[r#"
        1111117 8 640
    "#]],
    );
    // The context is another then; what was made of it stays as it was.
    host.run("echo 2 > ctx/dir/b; chmod 600 ctx/dir/sub/a; hako build -q -t two ctx > /dev/null").success();
    host.run("for i in one two; do docker run --rm $i sh -c 'cat /old/b; stat -c %a /old/sub/a; cat /new/b'; done")
        .shows(expect![[r#"
        1
        644
        changed
        2
        600
        changed
    "#]]);
    host.run("cat ctx/dir/b").says("2");
}

#[test]
fn proxies_are_for_processes_and_nothing_depends_on_them() {
    let host = host!("busybox");
    host.run("mkdir ctx").success();
    host.write("ctx/Dockerfile", "FROM busybox\nRUN echo \"$http_proxy\" > /proxy\n");
    host.run("hako build -q -t made --build-arg http_proxy=http://one:1 ctx >/dev/null; docker run --rm made cat /proxy; docker history --no-trunc made | grep -c one:1; true")
        .shows(expect![[r#"
            http://one:1
            0
        "#]]);
    host.run("hako build -q --why --build-arg http_proxy=http://two:1 ctx | grep -v sha256:").shows(expect![[r#"
        [1/2] FROM docker.io/library/busybox:latest
           cached
        [2/2] RUN echo "$http_proxy" > /proxy
           cached
    "#]]);
    // One that is asked for by name is an argument like any other.
    host.write("ctx/Dockerfile", "FROM busybox\nARG http_proxy\nRUN echo \"$http_proxy\" > /proxy\n");
    host.run("for n in one two; do hako build -q -t made --build-arg http_proxy=http://$n ctx >/dev/null; docker run --rm made cat /proxy; done")
        .shows(expect![[r#"
            http://one
            http://two
        "#]]);
}

#[test]
fn a_dockerfile_is_asked_what_it_takes() {
    let host = host!("busybox");
    host.run("mkdir ctx && touch ctx/a.log").success();
    host.write("ctx/.dockerignore", "*.log\n");
    host.write(
        "ctx/Dockerfile",
        "# VERSION of the base\nARG VERSION=latest\n# made is what is wanted\nFROM busybox:$VERSION AS made\nARG WHO\n\
         RUN --mount=type=secret,id=key true\nFROM made\n",
    );
    host.run("hako build --call outline --target made ctx 2>/dev/null; hako build --call targets ctx 2>/dev/null")
        .shows(expect![[r#"
        TARGET:   made
        DESCRIPTION: is what is wanted

        BUILD ARG   VALUE   DESCRIPTION
        VERSION   latest   of the base
        WHO

        SECRET   REQUIRED
        key

        TARGET   DESCRIPTION
        made   is what is wanted
        1 (default)
    "#]]);
    host.run("hako build --call odd ctx").code(1).says("unsupported --call=odd");
    host.write("ctx/Dockerfile", "ARG TAG\nFROM busybox:${TAG:-latest}\nCOPY $WHAT /\nENV HOME=/x\nCOPY a.log $HOME\n");
    host.run("hako build --check ctx 2>/dev/null | grep -A1 WARNING").shows(expect![[r#"
        WARNING: UndefinedVar
        Usage of undefined variable '$WHAT'
        --
        WARNING: CopyIgnoredFile
        Attempting to Copy file "a.log" that is excluded by .dockerignore
    "#]]);
}

#[test]
fn a_file_describes_what_is_baked() {
    let host = host!("busybox");
    host.run("mkdir base web && echo 1 > web/file").success();
    host.write("base/Dockerfile", "FROM busybox\nRUN echo base > /base\n");
    host.write("web/Dockerfile", "FROM lower\nARG WHO\nCOPY file /\nRUN echo $WHO > /who\n");
    host.write(
        "docker-bake.json",
        r#"{
            "variable": {"TAG": {"default": "1"}},
            "group": {"default": {"targets": ["web"]}, "all": {"targets": ["web", "base"]}},
            "target": {
                "base": {"context": "base"},
                "web": {"context": "web", "contexts": {"lower": "target:base"}, "args": {"WHO": "file"}, "tags": ["baked:${TAG}"]}
            }
        }"#,
    );
    host.run("hako buildx bake --print web --set web.args.WHO=line | tr -d ' \\n'").says(
        r#"{"group":{"default":{"targets":["web"]}},"target":{"base":{"context":"base","dockerfile":"Dockerfile"},"web":{"context":"web","contexts":{"lower":"target:base"},"dockerfile":"Dockerfile","args":{"WHO":"line"},"tags":["baked:1"]}}}"#,
    );
    host.run("TAG=2 hako buildx bake all --set web.args.WHO=line --metadata-file meta >/dev/null 2>&1; docker run --rm baked:2 cat /base /file /who; grep -c containerimage.digest meta").shows(expect![[r#"
        base
        1
        line
        2
    "#]]);
    host.run("hako buildx bake nosuch").code(1).says("failed to find target nosuch");
    host.run("rm docker-bake.json").success();
    host.write(
        "compose.yaml",
        "name: p\nservices:\n  web: {build: {context: base}, image: 'composed:1'}\n  other: {image: busybox}\n",
    );
    host.run("hako buildx bake >/dev/null 2>&1; docker run --rm composed:1 cat /base").says("base");
    host.write("docker-bake.hcl", "target \"web\" {\n  labels = {from = \"hcl\"}\n}\n");
    host.run("hako buildx bake >/dev/null 2>&1; docker image inspect -f '{{.Config.Labels.from}}' composed:1")
        .says("hcl");
}

#[test]
fn a_daemon_that_is_killed_while_a_context_comes_leaves_nothing() {
    let mut host = own_host!("busybox");
    let root = "/run/test/hako/data/build";
    host.run("mkdir ctx && truncate -s 8G ctx/large && seq 5 > ctx/small").success();
    host.write("ctx/Dockerfile", "FROM busybox\nCOPY small /\n");
    for flags in ["-q", "--progress plain -t made"] {
        host.run(&format!("rm -f shown; (hako build {flags} ctx; echo ended with $?) >shown 2>&1 &")).success();
        let coming = format!("find {root} -name large -size +1k 2>/dev/null");
        host.wait_until("the context to come", |host| host.run(&coming), |shown| !shown.text().is_empty());
        host.daemon_kill();
        let shown = host.wait_until(
            "the client to end",
            |host| host.run("cat shown"),
            |shown| shown.text().contains("ended with"),
        );
        assert!(shown.text().contains("ended with 1"), "{}", shown.text());
        assert!(shown.text().contains("the daemon ended the session"), "{}", shown.text());
        host.daemon_start();
        host.run(&format!("ls {root}/contexts 2>/dev/null | wc -l; find {root} -name large | wc -l")).says("0\n0");
        host.run("docker images -q | wc -l; hako buildx du | grep -c large; true").says("1\n0");
    }
    host.run("rm ctx/large && hako build -q -t made ctx && docker run --rm made tail -1 /small").says("5");
}

#[test]
fn a_context_that_changes_while_it_is_sent_is_told() {
    let host = own_host!("busybox");
    host.run("mkdir ctx").success();
    host.write("ctx/Dockerfile", "FROM busybox\nCOPY . /all\n");
    let root = "/run/test/hako/data/build";
    // The first file is large: while it is on its way, the list of names is told and the last is not read.
    let build_while = |number: usize, change: &str| -> String {
        host.run(&format!("rm -f ctx/a*; truncate -s 200M ctx/a{number} && seq 1000 > ctx/z")).success();
        let line = format!(
            "true; hako build --progress plain ctx >shown 2>&1 & pid=$!; \
             while kill -0 $pid && ! find {root} -name a{number} -size +1k 2>/dev/null | grep -q .; do :; done; \
             {change}; wait $pid; echo ended with $?; cat shown"
        );
        host.run(&line).text().to_owned()
    };
    let changes = [
        ("echo more >> ctx/z", "the build context changed while it was sent: z: it had 3893 bytes and has 3898"),
        ("truncate -s 7 ctx/z", "the build context changed while it was sent: z: it had 3893 bytes and has 7"),
        ("rm ctx/z", "the build context changed while it was sent: z: it is gone"),
        ("touch ctx/z", "the build context changed while it was sent: z: it was written to"),
    ];
    for (number, (change, expected)) in changes.into_iter().enumerate() {
        let shown = build_while(number, change);
        assert!(shown.starts_with("ended with 1") && shown.contains(expected), "{change}: {shown}");
    }
    host.run(&format!("ls {root}/contexts 2>/dev/null | wc -l; docker images -q | wc -l")).says("0\n1");
    // What is at rest is built, and of what was left only what is right is used.
    host.run("rm ctx/a* && seq 5 > ctx/z && hako build -q -t made ctx").success();
    host.run("docker run --rm made cat /all/z | tail -1").says("5");
}

#[test]
fn what_is_left_out_may_have_a_name_in_any_script() {
    let host = host!("busybox");
    host.run("mkdir -p ctx/größe && echo x > ctx/größe/файл && echo y > ctx/größe/kept && echo z > ctx/été").success();
    host.write("ctx/Dockerfile", "FROM busybox\nCOPY . /all\nRUN find /all -type f | sort\n");
    host.write("ctx/.dockerignore", "größe/файл\né*\nDockerfile\n.dockerignore\n");
    let shown = host.run("hako build --progress plain --no-cache ctx").success().stderr().to_owned();
    assert!(shown.contains("/all/größe/kept") && !shown.contains("файл") && !shown.contains("/all/été"), "{shown}");
    assert!(shown.contains("transferring context"), "{shown}");
}

#[test]
fn a_full_disk_where_results_go_is_told() {
    let host = host!("busybox");
    host.run("mkdir ctx tiny && mount -t tmpfs -o size=1m tmpfs tiny").success();
    host.write("ctx/Dockerfile", "FROM scratch AS out\nCOPY big /\nFROM busybox\nCOPY --from=out /big /big\n");
    host.run("head -c 5000000 /dev/urandom > ctx/big && hako build -q ctx").success();
    for (flags, expected) in [
        ("--target out -o type=tar,dest=tiny/x.tar", "cannot write the result: No space left on device"),
        ("-o type=oci,dest=tiny/x.tar", "cannot write the result: No space left on device"),
        ("-o type=docker,dest=tiny/x.tar", "cannot write the result: No space left on device"),
        ("--target out -o tiny/files", "cannot write into tiny/files: No space left on device"),
        ("--cache-to type=local,dest=tiny/cache", "o space left on device"),
    ] {
        let shown = host.run(&format!("hako build {flags} ctx")).code(1).stderr().to_owned();
        assert!(shown.contains(expected), "{flags}: {shown}");
        // An archive has its name only when it is whole, and nothing pretends to be a cache.
        host.run("ls tiny | grep -c tar; test -e tiny/cache/index.json; echo $?").says("0\n1");
        host.run("rm -rf tiny/*").success();
    }
}
