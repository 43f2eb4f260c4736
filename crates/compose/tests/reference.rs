//! What `config` prints, and every service's hash, against what docker compose 2.26 said for the same files.
//!
//! `reference/*/{config.yaml,config.json,hashes}` were written by
//! `docker compose --project-directory /project -f compose.yaml [-f override.yaml] config [--format json | --hash '*']`.

use std::{fs, path::Path};

use hako_compose::{
    file::load::{Options, Surroundings},
    project::{self, Project, Selection},
};

fn read(name: &str) -> Project {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference").join(name);
    let files =
        ["compose.yaml", "override.yaml"].map(|file| directory.join(file)).into_iter().filter(|file| file.exists());
    let options = Options {
        files: files.map(|file| file.display().to_string()).collect(),
        project_directory: Some("/project".into()),
        ..Options::default()
    };
    let surroundings = Surroundings { directory, home: Some("/home/me".into()), ..Surroundings::default() };
    match project::read(&options, &surroundings, &Selection::default()) {
        Ok(project) => project,
        Err(error) => panic!("{name}: {error}"),
    }
}

fn check(name: &str) {
    let project = read(name);
    let expected = |file: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference").join(name).join(file);
        fs::read_to_string(path).unwrap()
    };
    same(name, &expected("config.yaml"), &project.yaml());
    same(name, &expected("config.json"), &project.json());
    let hashes: String =
        project.services.values().map(|service| format!("{} {}\n", service.name, service.hash)).collect();
    same(name, &expected("hashes"), &hashes);
}

fn same(name: &str, expected: &str, got: &str) {
    let lines = |text: &str| text.trim_end().lines().map(str::to_owned).collect::<Vec<_>>();
    let (expected, got) = (lines(expected), lines(got));
    for (at, line) in expected.iter().enumerate() {
        let around = got.get(at.saturating_sub(5)..(at + 5).min(got.len())).unwrap_or_default().join("\n");
        assert_eq!(Some(line), got.get(at), "{name}, line {}, in:\n{around}", at + 1);
    }
    assert_eq!(expected.len(), got.len(), "{name}");
}

#[test]
fn every_key_is_printed_as_the_reference_prints_it() {
    check("every-key");
}

#[test]
fn short_forms_are_spelled_out() {
    check("forms");
}

#[test]
fn scalars_are_quoted_where_they_must_be() {
    check("scalars");
}

#[test]
fn what_is_not_said_is_filled_in() {
    check("defaults");
}

#[test]
fn files_of_version_2_work_unchanged() {
    check("old-version-2");
}

#[test]
fn files_of_version_3_work_unchanged() {
    check("old-version-3");
}

#[test]
fn corners_of_the_short_forms_are_those_of_the_reference() {
    check("corners");
}

#[test]
fn files_are_laid_over_each_other() {
    check("merged");
}
