//! The loader's fixtures that compose-go publishes, where they are there: each is read, or refused with the right words.

use std::path::{Path, PathBuf};

use hako_compose::{
    file::{
        dotenv,
        interpolate::Missing,
        load::{Options, Surroundings},
    },
    project::{self, Selection},
};

fn fixtures() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/specs/compose/compose-go");
    let there = path.join("loader/testdata").is_dir();
    if !there {
        println!("skipped: needs compose-go's fixtures beside the repository");
    }
    there.then_some(path)
}

// The services with their images or contexts, or the error.
fn check(file: &str, expected: &str) {
    let Some(fixtures) = fixtures() else { return };
    let path = fixtures.join("loader/testdata").join(file);
    let path = path.canonicalize().unwrap_or(path);
    let directory = path.parent().unwrap().to_owned();
    let options = Options { files: vec![path.display().to_string()], ..Options::default() };
    let surroundings = Surroundings { directory, home: Some("/home/me".into()), ..Surroundings::default() };
    let got = match project::read(&options, &surroundings, &Selection::default()) {
        Ok(project) => {
            let told = project.services.values().map(|service| {
                let build = service.build.as_ref().map(|build| format!("build {}", build.context)).unwrap_or_default();
                format!("{}: {}{build}", service.name, service.image)
            });
            told.collect::<Vec<_>>().join(", ")
        }
        Err(error) => error.to_string(),
    };
    let root = fixtures.join("loader/testdata").canonicalize().unwrap();
    assert_eq!(got.replace(&root.display().to_string(), ""), expected, "{file}");
}

#[test]
fn extends_reaches_into_other_files() {
    check("compose-test-extends.yaml", "importer: nginx");
    check(
        "compose-test-extends-with-context-url.yaml",
        "importer-with-https-url: build https://github.com/docker/compose.git",
    );
    check("extends/nested.yaml", "with-build: build /extends");
    check(
        "extends/depends_on.yaml",
        "with_depends_on: foo, with_ipc: foo, with_network_mode: foo, with_volumes_from: foo, zot: hidden",
    );
    check("extends/reset.yaml", "base: alpine:latest, init: alpine:latest");
    check("extends/interpolated.yaml", "foo: bash");
    check("extends/withdir/compose.yaml", "test: hello-world");
    check("extends/ports.yaml", "test: test");
}

#[test]
fn include_takes_other_files_in() {
    check("compose-include.yaml", "bar: bar, imported: nginx");
    check("include/compose.yaml", "included: build /include");
    check("combined/compose.yaml", "service: build /combined/dir");
    check("remote/compose.yaml", "foo: foo");
}

#[test]
fn circles_are_found() {
    check(
        "compose-depends-on-self.yaml",
        "/compose-depends-on-self.yaml:6:9: services.service1: dependency cycle detected: service1 -> service1",
    );
    check(
        "compose-depends-on-cycle.yaml",
        "/compose-depends-on-cycle.yaml:14:9: services.service3: dependency cycle detected: service1 -> service2 -> \
         service3 -> service1",
    );
    check("empty.yaml", "empty compose file");
    check("compose-test-with-version.yaml", "other: busybox:1.31.0-uclibc, web: build /Dockerfile");
}

#[test]
fn variables_files_are_read_as_published() {
    let Some(fixtures) = fixtures() else { return };
    let check = |file: &str, expected: &str| {
        let text = std::fs::read_to_string(fixtures.join("dotenv/fixtures").join(file)).unwrap();
        let lookup = |name: &str| (name == "VAR_TO_BE_LOADED_FROM_OS_ENV").then(|| "loaded".to_owned());
        let got = match dotenv::parse(&text, &lookup, &mut Missing::new()) {
            Ok(pairs) => {
                pairs.iter().map(|(k, v)| format!("{k}={}", v.as_deref().unwrap_or("?"))).collect::<Vec<_>>().join("|")
            }
            Err(bad) => format!("{}: {}", bad.line, bad.message),
        };
        assert_eq!(got, expected, "{file}");
    };
    check(
        "plain.env",
        "OPTION_A=1|OPTION_B=2|OPTION_C=3|OPTION_D=4|OPTION_E=5|456=ABC|OPTION_F=|OPTION_G=|OPTION_H=my string",
    );
    check("exported.env", "OPTION_A=2|OPTION_B=\\n");
    check("equals.env", "OPTION_A=postgres://localhost:5432/database?sslmode=disable");
    check("inherited-multi-var.env", "foo=bar|VAR_TO_BE_LOADED_FROM_OS_ENV=loaded|bar=baz");
    check("substitutions.env", "OPTION_A=1|OPTION_B=1|OPTION_C=1|OPTION_D=1_1|OPTION_E=");
    check("special.env", "VAR.WITH.DOTS=dots|VAR_WITH_UNDERSCORES=underscores|VAR-WITH-DASHES=dashes");
    check("invalid1.env", "7: key cannot contain a space: \"INVALID LINE\"");
    check(
        "quoted.env",
        "OPTION_A=1|OPTION_B=2|OPTION_C=|OPTION_D=\\n|OPTION_E=1|OPTION_F=2|OPTION_G=|OPTION_H=\n|OPTION_I=echo 'asd'|OPTION_J=first line\nsecond line\nthird line\nand so on|OPTION_K=Let's go!|OPTION_Z=last value",
    );
}
