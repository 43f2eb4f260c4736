//! What `COPY`, `ADD` and `WORKDIR` leave in an image, file by file: owners, names, times, links in the way.
//!
//! Each of these was compared with BuildKit: the same Dockerfile, the same tree. What the flags of the instructions do is
//! in `build_language`.

use expect_test::expect;

#[test]
fn what_comes_from_a_stage_keeps_its_owners_and_what_is_sent_is_roots() {
    let host = host!("busybox");
    host.run("mkdir -p ctx/d && echo 1 > ctx/d/f && chown -R 12:34 ctx/d").success();
    host.write(
        "ctx/Dockerfile",
        "FROM busybox AS a\nCOPY --chown=5:6 d /d/s\nFROM busybox\nCOPY --from=a /d /staged\nCOPY --from=a /d/s/f /file\n\
         COPY --from=a --chown=7 /d /given\nCOPY d /sent\n",
    );
    host.run("hako build -q -t made ctx >/dev/null; docker run --rm made stat -c '%n %u:%g' /staged /staged/s /staged/s/f /file /given/s/f /sent/f")
        .shows(expect![[r#"
            /staged 0:0
            /staged/s 5:6
            /staged/s/f 5:6
            /file 5:6
            /given/s/f 7:7
            /sent/f 0:0
        "#]]);
}

#[test]
fn files_with_several_names_stay_one_file_and_copies_are_two() {
    let host = host!("busybox");
    host.run("mkdir -p ctx/d/s && echo 1 > ctx/d/a && ln ctx/d/a ctx/d/b && ln ctx/d/a ctx/d/s/c && echo 2 > ctx/e")
        .success();
    host.write(
        "ctx/Dockerfile",
        "FROM busybox AS a\nRUN mkdir -p /d/s && echo 1 > /d/a && ln /d/a /d/b && ln /d/a /d/s/c\n\
         FROM busybox\nCOPY --from=a /d /staged\nCOPY d /sent\nCOPY --chown=3 d /given\nCOPY e /first\nCOPY e /second\n\
         COPY . /all\n",
    );
    // Twice: the second time the files are there, and only a step is done again.
    for change in ["true", "echo 3 > ctx/f"] {
        host.run(change).success();
        host.run("hako build -q -t made ctx >/dev/null; docker run --rm made sh -c 'for d in staged sent given all/d; do \
                  echo $(stat -c %i /$d/a /$d/b /$d/s/c | uniq | wc -l); done; stat -c %i /first /second /all/e | sort -u | wc -l'")
            .shows(expect![[r#"
                1
                1
                1
                1
                3
            "#]]);
    }
}

#[test]
fn a_link_in_the_way_is_followed_and_a_directory_never_becomes_a_file() {
    let host = host!("busybox");
    host.run("mkdir -p ctx/d && echo new > ctx/f && cp ctx/f ctx/d/f").success();
    host.write(
        "ctx/Dockerfile",
        "FROM busybox AS base\nRUN echo old > /real; ln -s /real /link; ln -s /no/where /nothing; ln -s later /l; mkdir /dir; \\\n\
         ln -s /real /dir/f; ln -s ../../up /climbs\n\
         FROM base\nCOPY f /link\nCOPY f /nothing\nCOPY d /l\nCOPY f /climbs\nCOPY f /dir/\n\
         FROM base AS onto-file\nCOPY d /real\nFROM base AS onto-directory\nRUN mkdir /to /to/f\nCOPY f /to/\n\
         FROM base AS below-file\nWORKDIR /real/x\n",
    );
    let target = |name: &str| host.run(&format!("hako build -q --target {name} ctx 2>&1 | tail -1"));
    host.run("hako build -q -t made --target 1 ctx >/dev/null; docker run --rm made sh -c 'for l in /link /nothing /l; do readlink $l; done; cat /real /no/where /later/f /up; test ! -L /dir/f'")
        .shows(expect![[r#"
            /real
            /no/where
            later
            new
            new
            new
            new
        "#]]);
    target("onto-file").says("cannot copy to non-directory: /real (or something below it, from d)");
    target("onto-directory").says("cannot replace to directory /to/ (or one below it) with file f");
    target("below-file").says("cannot make the working directory /real/x: ");
}

#[test]
fn a_pattern_may_match_nothing_beside_files_that_are_there() {
    let host = host!("busybox");
    host.run("mkdir ctx && echo 1 > ctx/package.json").success();
    host.write(
        "ctx/Dockerfile",
        "FROM busybox\nCOPY package.json yarn.lock* package-lock.json* /app/\nCOPY no*e /x/\n",
    );
    host.run("hako build -q -t made ctx >/dev/null; docker run --rm made sh -c 'ls /app; ls /x 2>&1; true'").shows(
        expect![[r#"
        package.json
        ls: /x: No such file or directory
    "#]],
    );
}

#[test]
fn working_directories_are_made_for_the_user_of_the_steps() {
    let host = host!("busybox");
    host.run("mkdir ctx").success();
    host.write(
        "ctx/Dockerfile",
        "FROM busybox\nRUN echo app:x:1000:1001::/:/bin/sh >> /etc/passwd\nUSER app\nWORKDIR /a/b\nRUN touch made\nUSER 5\n\
         WORKDIR /c\nUSER 5:6\nWORKDIR /d\nWORKDIR /a\nUSER nobody-knows\nWORKDIR /e\nUSER 0\nCOPY --chown=app Dockerfile /f\n",
    );
    host.run(
        "hako build -q -t made ctx >/dev/null; docker run --rm made stat -c '%n %u:%g' /a /a/b /a/b/made /c /d /e /f",
    )
    .shows(expect![[r#"
            /a 1000:1001
            /a/b 1000:1001
            /a/b/made 1000:1001
            /c 5:5
            /d 5:6
            /e 0:0
            /f 1000:1001
        "#]]);
}

#[test]
fn times_are_those_of_the_source_and_documents_are_of_today() {
    let host = host!("busybox");
    host.run("mkdir -p ctx/d && echo 1 > ctx/d/f && touch -d 2001-02-03T04:05:06Z ctx/d/f ctx/d").success();
    // Archives of the zip kind, Python's wheels among them, know no time before 1980.
    host.write(
        "ctx/Dockerfile",
        "FROM busybox\nCOPY d /made\nCOPY <<E /document\nx\nE\nRUN touch -d 2020-01-01 /2020\n",
    );
    host.run("hako build -q -t made ctx >/dev/null; docker run --rm made sh -c 'stat -c %Y /made /made/f; test /document -nt /2020 && echo new'")
        .shows(expect![[r#"
            981173106
            981173106
            new
        "#]]);
}

#[test]
fn a_step_sees_no_container_and_its_hostname_stays() {
    let host = host!("busybox");
    host.run("mkdir ctx").success();
    host.write(
        "ctx/Dockerfile",
        "FROM busybox AS first\nRUN env | sort > /env; ls -A / > /names; ls /etc >> /names; echo mine > /etc/hostname\n\
         FROM busybox\nCOPY --from=first /etc/hostname /kept\nCOPY --from=first /env /names /\n",
    );
    host.run("hako build -q -t made ctx >/dev/null; docker run --rm made sh -c 'cat /kept; grep -v ^PATH /env; grep -E \"dockerenv|hostname|mtab\" /names'")
        .shows(expect![[r#"
            mine
            HOME=/root
            PWD=/
            SHLVL=1
            exit 1
        "#]]);
}

#[test]
fn histories_are_told_as_everybody_reads_them() {
    let host = host!("busybox");
    host.run("mkdir ctx && echo 1 > ctx/f").success();
    host.write(
        "ctx/Dockerfile",
        "FROM busybox AS a\nFROM busybox\nARG A B=1\nARG C=${B}2\nENV B=9\nRUN <<E\ntrue\nE\nRUN cat <<-X\n\ty\n\tX\n\
         COPY --from=a --chown=${B}:0 /bin/sh /x\nCOPY <<D f /y/\nd\nD\nSHELL [\"/bin/sh\", \"-ec\"]\nCMD a b\nENTRYPOINT [\"c d\", \"e\"]\n\
         ONBUILD RUN false\n",
    );
    host.run("hako build -q -t made --build-arg A=given ctx >/dev/null; docker history --no-trunc --format '{{.CreatedBy}}' made | tac | tail -n +2 | cat -A")
        .shows(expect![[r#"
            ARG A B=1$
            ARG C=12$
            ENV B=9$
             # buildkit$
            RUN |3 A=given B=9 C=12 /bin/sh -c true$
            X # buildkit$
            y$
            RUN |3 A=given B=9 C=12 /bin/sh -c cat <<-X$
            COPY --chown=9:0 /bin/sh /x # buildkit$
            COPY f <<D /y/ # buildkit$
            SHELL [/bin/sh -ec]$
            CMD ["/bin/sh" "-ec" "a b"]$
            ENTRYPOINT ["c d" "e"]$
            ONBUILD RUN false$
        "#]]);
}

/// `word` and a Dockerfile that copies it, as tars.
const XZ: &str = "/Td6WFoAAATm1rRGAgAhARwAAAAQz1jM4Cf/AJBdADubyqrP0zqX0KO5VVFgLBgZ5GJwpi1XYihE7/1HM9UOEkYFenBDNzGVuiMNpWF2xfqs3O3UGlCa9d2Ic6u0O4qCQ9HUVvFIeKgzRugdeNjdvZk+l22bCAlmPb4CKF4PvbOwA9DwOyvk6TbObDJmt3w9URP1XrfdXWK//IgOve766LXVy3M6JFhr9NNss9940gCAfDG5QQvwuAABrAGAUAAAc7QOEbHEZ/sCAAAAAARZWg==";
const BZIP2: &str = "QlpoOTFBWSZTWbB1HRsAAKbfgMsQQADvgA0C0SRvbJ6ACEggAJINEJoRkNGg0ehpGZqn6gkkFNNqD0hp6IxAAH7LKQPM7AA0UkI0w8GsrB5ObioQhkM0p9HQKYbVUhQLXCJDAYYxAew1ma1iwoVkSjg4VBgqbSwGd6rDL4zHjkZIIHNGkiMlM0kpfw7gSRUWh6iPl/UEQG4u5IpwoSFg6jo2";

#[test]
fn archives_are_unpacked_however_they_are_compressed() {
    let host = host!("busybox");
    host.run(&format!("mkdir ctx && echo {XZ} | base64 -d > ctx/a.tar.xz && echo {BZIP2} | base64 -d > ctx/a.tar.bz2"))
        .success();
    host.write("ctx/Dockerfile", "FROM busybox\nADD a.tar.xz /x/\nADD a.tar.bz2 /b/\nCOPY a.tar.xz /kept\n");
    host.run(
        "hako build -q -t made ctx >/dev/null && docker run --rm made sh -c 'cat /x/word /b/word && test -f /kept'",
    )
    .says("word\nword");
    // The root filesystem of an image, and the context of a build.
    for archive in ["xz", "bz2"] {
        host.run(&format!("docker import ctx/a.tar.{archive} imported-{archive} >/dev/null && docker export $(docker create imported-{archive} x) | tar -xO word")).says("word");
        host.run(&format!("DOCKER_BUILDKIT=0 docker build -q -t piped-{archive} - < ctx/a.tar.{archive} >/dev/null 2>&1; docker export $(docker create piped-{archive} x) | tar -xO word")).says("word");
    }
    // Half of one is no archive that is copied: it is told.
    host.run("head -c 100 ctx/a.tar.xz > ctx/half.tar.xz").success();
    host.write("ctx/Half", "FROM busybox\nADD half.tar.xz /x/\n");
    host.run("hako build -q -t half -f ctx/Half ctx >/dev/null && docker run --rm half ls /x").says("half.tar.xz");
}
