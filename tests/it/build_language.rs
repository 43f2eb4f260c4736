//! The language of Dockerfiles, instruction by instruction: what an image and its files are after each. The same by
//! docker's command line and the classic API, where those have it.

use expect_test::expect;
use hako_testkit::Host;

fn built(host: &Host, dockerfile: &str, flags: &str) {
    host.run("mkdir -p ctx").success();
    host.write("ctx/Dockerfile", dockerfile);
    host.run(&format!("hako build -q -t made {flags} ctx")).success();
}

#[test]
fn instructions_say_what_the_image_is() {
    let host = host!("busybox");
    built(
        &host,
        "FROM busybox AS base\nENV one=1 two=\"a b\"\nENV three the old way\nLABEL a=b \"c d\"=e\n\
         EXPOSE 80 53/udp 9000-9002\nWORKDIR /w\nWORKDIR below\nUSER 5:6\nVOLUME [\"/v1\"]\nVOLUME /v2\n\
         STOPSIGNAL SIGINT\nHEALTHCHECK --interval=5s --timeout=2s --start-period=1s --start-interval=1s --retries=4 CMD true\n\
         SHELL [\"/bin/sh\", \"-ec\"]\nENTRYPOINT echo shell\nCMD [\"x\"]\nMAINTAINER me\n",
        "",
    );
    host.run("docker image inspect -f '{{json .Config.Env}} {{json .Config.Labels}} {{json .Config.ExposedPorts}}' made").shows(expect![[r#"
        ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin","one=1","two=a b","three=the old way"] {"a":"b","c d":"e"} {"53/udp":{},"80/tcp":{},"9000/tcp":{},"9001/tcp":{},"9002/tcp":{}}
    "#]]);
    host.run("docker image inspect -f '{{.Config.WorkingDir}} {{.Config.User}} {{json .Config.Volumes}} {{.Config.StopSignal}} {{.Author}}' made").shows(expect![[r#"
        /w/below 5:6 {"/v1":{},"/v2":{}} SIGINT me
    "#]]);
    host.run("docker image inspect -f '{{json .Config.Healthcheck}} {{json .Config.Entrypoint}} {{json .Config.Cmd}} {{json .Config.Shell}}' made").shows(expect![[r#"
        {"Test":["CMD-SHELL","true"],"Interval":5000000000,"Timeout":2000000000,"StartPeriod":1000000000,"StartInterval":1000000000,"Retries":4} ["/bin/sh","-ec","echo shell"] ["x"] ["/bin/sh","-ec"]
    "#]]);
    // Another program does not want the arguments of the base's; a check can be taken away.
    built(
        &host,
        "FROM busybox AS base\nCMD [\"old\"]\nFROM base\nENTRYPOINT [\"echo\", \"new\"]\nHEALTHCHECK NONE\n",
        "",
    );
    host.run("docker run --rm made; docker image inspect -f '{{json .Config.Healthcheck.Test}}' made").shows(expect![
        [r#"
        new
        ["NONE"]
    "#]
    ]);
}

#[test]
fn triggers_wait_for_those_who_build_on_the_image() {
    let host = host!("busybox");
    built(&host, "FROM busybox\nONBUILD COPY word /word\nONBUILD RUN cat /word > /said\n", "");
    host.run("docker tag made base && docker run --rm base ls /said 2>&1 | grep -c 'No such'").says("1");
    host.run("echo later > ctx/word").success();
    built(&host, "FROM base\n", "");
    host.run("docker run --rm made cat /said").says("later");
    host.write("ctx/Dockerfile", "FROM busybox\nONBUILD FROM busybox\n");
    host.run("hako build ctx").code(1).says("FROM isn't allowed as an ONBUILD trigger");
    host.write("ctx/Dockerfile", "FROM busybox\nONBUILD ONBUILD RUN true\n");
    host.run("hako build ctx").code(1).says("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed");
}

#[test]
fn variables_are_replaced_with_all_their_modifiers() {
    let host = host!("busybox");
    built(
        &host,
        "# escape=`\nARG GLOBAL=g\nFROM busybox\nARG GLOBAL\nARG name=path/to/file.tar.gz\nARG none\n\
         ENV e1=${none:-default} e2=${name:+set} e3=${name#*/} e4=${name##*/} e5=${name%.*} e6=${name%%.*}\n\
         ENV e7=${name/to/from} e8=${name//t/T} e9=\"\\$name\" g=$GLOBAL`\n    more=yes\n\
         RUN env | grep -E '^(e[0-9]|g|more)=' | sort > /env\nRUN echo $TARGETPLATFORM $BUILDARCH > /p\n",
        "",
    );
    host.run("docker run --rm made cat /env").shows(expect![[r#"
        e1=default
        e2=set
        e3=to/file.tar.gz
        e4=file.tar.gz
        e5=path/to/file.tar
        e6=path/to/file
        e7=path/from/file.tar.gz
        e8=paTh/To/file.Tar.gz
        e9=\path/to/file.tar.gz
        g=g
        more=yes
    "#]]);
    built(
        &host,
        "FROM busybox\nARG TARGETPLATFORM TARGETOS TARGETARCH BUILDPLATFORM BUILDOS BUILDARCH TARGETSTAGE\n\
         RUN echo $TARGETPLATFORM $TARGETOS $TARGETARCH $BUILDPLATFORM $BUILDOS $BUILDARCH $TARGETSTAGE > /p\n",
        "",
    );
    host.run("docker run --rm made cat /p").says("linux/amd64 linux amd64 linux/amd64 linux amd64 default");
    host.write("ctx/Dockerfile", "FROM busybox\nARG must\nENV a=${must?it must be said}\n");
    host.run("hako build ctx").code(1).says("it must be said");
}

#[test]
fn documents_stand_where_they_are_used() {
    let host = host!("busybox");
    built(
        &host,
        "FROM busybox\nARG who=me\nCOPY <<first <<'second' /docs/\nhello $who\nfirst\nplain $who\nsecond\n\
         RUN <<-end\n\techo one > /run\n\techo two >> /run\nend\nRUN <<end\n#!/bin/cat\nscript\nend\n",
        "",
    );
    host.run("docker run --rm made cat /docs/first /docs/second /run").shows(expect![[r#"
        hello me
        plain $who
        one
        two
    "#]]);
}

#[test]
fn copies_choose_own_and_leave_out() {
    let host = host!("busybox");
    host.run("mkdir -p ctx/a/b ctx/c other && echo 1 > ctx/a/one.txt && echo 2 > ctx/a/b/two.txt && echo 3 > ctx/a/b/three.log && echo 4 > ctx/c/four.txt && ln -s one.txt ctx/a/link && echo far > other/far && tar -C ctx -czf ctx/packed.tgz c")
        .success();
    built(
        &host,
        "FROM busybox\nCOPY --chown=7:8 --chmod=640 a/one.txt /owned\nCOPY --parents a/./b/*.txt c/*.txt /parents/\n\
         COPY --exclude=**/*.log a/b /left/\nCOPY --link c /linked/\nCOPY [\"a/one.txt\", \"c/four.txt\", \"/json/\"]\n\
         ADD packed.tgz /unpacked/\nADD --unpack=false packed.tgz /whole/\nCOPY --from=far far /far\nCOPY --from=img /bin/busybox /far2\nCOPY a/*.txt ./\n",
        "--build-context far=other --build-context img=docker-image://busybox",
    );
    host.run("docker run --rm made sh -c 'stat -c \"%a %u:%g\" /owned; cd / && find parents left linked json unpacked whole far far2 one.txt | sort'").shows(expect![[r#"
        640 7:8
        far
        far2
        json
        json/four.txt
        json/one.txt
        left
        left/two.txt
        linked
        linked/four.txt
        one.txt
        parents
        parents/b
        parents/b/two.txt
        parents/c
        parents/c/four.txt
        unpacked
        unpacked/c
        unpacked/c/four.txt
        whole
        whole/packed.tgz
    "#]]);
    // A context of files is a base, too.
    built(&host, "FROM far AS files\nFROM busybox\nCOPY --from=files /far /again\n", "--build-context far=other");
    host.run("docker run --rm made cat /again").says("far");
}

#[test]
fn mounts_are_there_for_their_step_alone() {
    let host = host!("busybox");
    host.run("mkdir -p ctx && echo word > ctx/word && echo hush > hush").success();
    built(
        &host,
        "FROM busybox AS other\nRUN echo from > /from\nFROM busybox\n\
         RUN --mount=type=bind,target=/in cat /in/word > /said; touch /in/x 2>/dev/null || echo no >> /said\n\
         RUN --mount=type=bind,target=/in,rw echo more >> /in/word && cat /in/word >> /said\n\
         RUN --mount=type=bind,from=other,source=/from,target=/f cat /f >> /said\n\
         RUN --mount=type=cache,id=c,target=/c,mode=0700,uid=3 stat -c '%a %u' /c >> /said; echo kept > /c/kept\n\
         RUN --mount=type=cache,id=c,target=/c,sharing=locked cat /c/kept >> /said\n\
         RUN --mount=type=cache,id=c,target=/c,ro touch /c/x 2>/dev/null || echo ro >> /said\n\
         RUN --mount=type=tmpfs,target=/t,size=1m df /t | tail -1 | awk '{print $1, $2}' >> /said\n\
         RUN --mount=type=secret,id=s,target=/s,mode=0440,uid=4 cat /s >> /said; stat -c '%a %u' /s >> /said\n\
         RUN --mount=type=secret,id=none cat /run/secrets/none 2>/dev/null || echo none >> /said\n\
         RUN --network=none ls /sys/class/net | grep -c eth >> /said; true\n",
        "--secret id=s,src=hush",
    );
    host.run("docker run --rm made sh -c 'cat /said; ls -d /in /f /c /t /s 2>&1 | grep -c No'; cat ctx/word").shows(
        expect![[r#"
        word
        no
        word
        more
        from
        700 3
        kept
        ro
        tmpfs 1024
        hush
        440 4
        none
        0
        5
        word
    "#]],
    );
    host.write("ctx/Dockerfile", "FROM busybox\nRUN --mount=type=secret,id=none,required true\n");
    host.run("hako build ctx").code(1).says("secret none: not found");
    for (line, text) in [
        ("RUN --network=host true", "network.host is not allowed"),
        ("RUN --security=insecure true", "security.insecure is not allowed"),
        ("RUN --device=vendor.com/x=y,required true", "required device \"vendor.com/x=y\" is not described"),
    ] {
        host.write("ctx/Dockerfile", format!("FROM busybox\n{line}\n"));
        host.run("hako build ctx").code(1).says(text);
    }
}

#[test]
fn layers_become_one_if_that_is_wanted() {
    let host = host!("busybox");
    built(
        &host,
        "FROM busybox\nRUN head -c 3000000 /dev/urandom > /gone\nRUN rm /gone && echo b > /b && chown 7:8 /b && chmod 640 /b\nCMD [\"cat\", \"/b\"]\n",
        "--flatten",
    );
    host.run("docker run --rm made; docker run --rm made stat -c '%a %u:%g' /b; docker image inspect -f '{{len .RootFS.Layers}}' made").shows(expect![[r#"
        b
        640 7:8
        1
    "#]]);
    host.run(
        "docker run --rm made ls /gone 2>&1 | grep -c No; docker history --no-trunc made | grep -c 'all layers as one'",
    )
    .shows(expect![[r#"
            1
            1
        "#]]);
}

#[test]
fn bad_dockerfiles_and_contexts_are_told_with_their_place() {
    let host = host!("busybox");
    host.run("mkdir -p ctx && echo x > ctx/hidden && ln -s /etc/passwd ctx/out").success();
    let told = |host: &Host, text: &str| -> String {
        host.write("ctx/Dockerfile", text);
        host.run("hako build ctx").code(1).stderr().to_owned()
    };
    let comment = told(&host, "FROM busybox # a comment\n");
    assert!(comment.contains("a comment needs a line of its own") && comment.contains("Dockerfile:1"), "{comment}");
    let unknown = told(&host, "FROM busybox\nRUNN true\n");
    assert!(unknown.contains("unknown instruction: RUNN") && unknown.contains("RUN"), "{unknown}");
    assert!(unknown.contains("Dockerfile:2"), "{unknown}");
    host.write("ctx/.dockerignore", "hid*\n");
    let hidden = told(&host, "FROM busybox\nCOPY hidden /\n");
    assert!(hidden.contains("it is excluded by the pattern \"hid*\" of .dockerignore"), "{hidden}");
    // A link leads nowhere out of the context.
    let out = told(&host, "FROM busybox\nCOPY out/ /x\n");
    assert!(out.contains("/out") && out.contains("not found"), "{out}");
    host.run("docker images -q | wc -l").says("1");
}

#[test]
fn devices_are_for_steps_that_may_have_them() {
    let host = own_host!();
    host.write(
        "/run/described/vendor.json",
        r#"{"cdiVersion":"0.6.0","kind":"vendor.example/thing","devices":[
            {"name":"one","containerEdits":{"env":["ONE=1"],"deviceNodes":[{"path":"/dev/thing","hostPath":"/dev/null"}]}},
            {"name":"free","annotations":{"org.mobyproject.buildkit.device.autoallow":"true"},
             "containerEdits":{"env":["FREE=1"]}}]}"#,
    );
    let daemon = host.second_daemon("second", &["--cdi-spec-dir=/run/described"]);
    let own = format!("hako -H {}", daemon.address());
    host.load_into("busybox", &format!("-H {}", daemon.address()));
    host.run("mkdir -p ctx").success();
    let step = |flags: &str| {
        let text = format!("FROM busybox\nRUN {flags} echo ${{ONE:-no}} ${{FREE:-no}}; ls -l /dev/thing\n");
        host.write("ctx/Dockerfile", text);
    };
    step("--device=vendor.example/thing=one");
    host.run(&format!("{own} build ctx")).code(1).says("device vendor.example/thing=one is not allowed");
    for allowed in ["device", "device=vendor.example/thing=one"] {
        host.run(&format!("{own} build --no-cache --progress plain --allow {allowed} ctx"))
            .success()
            .says(" 1 no")
            .says("1,   3 ");
    }
    step("--device=vendor.example/thing=free --device=vendor.example/none");
    host.run(&format!("{own} build --progress plain ctx")).code(1).says(" no 1").says("/dev/thing: No such file");
}

#[test]
fn modes_are_changed_as_chmod_does_it() {
    let host = host!("busybox");
    host.run("mkdir -p ctx/tree/below && echo a > ctx/tree/plain && echo b > ctx/tree/below/program").success();
    host.run("chmod 640 ctx/tree/plain && chmod 700 ctx/tree/below ctx/tree/below/program").success();
    built(
        &host,
        "FROM busybox\nARG WHO=go\nCOPY --chmod=u=rwX,$WHO=rX tree /x\nCOPY --chmod=u+s,o-rwx tree/plain /y\n\
         ADD --chmod=a+x tree/plain /z\n",
        "",
    );
    host.run("docker run --rm made stat -c '%a %n' /x/plain /x/below /x/below/program /y /z").shows(expect![[r#"
        644 /x/plain
        755 /x/below
        755 /x/below/program
        4640 /y
        751 /z
    "#]]);
    host.write("ctx/Dockerfile", "FROM busybox\nCOPY --chmod=u=q tree /x\n");
    host.run("hako build ctx").code(1).says("invalid mode \"u=q\"").says("u=rwX,go=rX");
}
