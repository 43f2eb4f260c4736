//! `cargo x test coverage`: runs the test of each built route with that route made to fail, and writes
//! docs/api-coverage.md. A route counts only if its test then fails: a test that passes anyway judges something else.

use std::{fs, path::Path, process::Stdio};

use crate::{dist, images, run, test, tidy::routes};

pub(crate) fn coverage(filter: &[String]) -> Result<(), String> {
    let read =
        |name: &str| fs::read_to_string(run::root().join(name)).map_err(|error| format!("cannot read {name}: {error}"));
    let (table, list) = (read("crates/api/src/route.rs")?, read("tests/it/coverage.txt")?);
    let covered = routes::covered(&list);
    let binary = dist::build_unoptimised()?;
    images::prepare(&["busybox", "hello-world", "probe"]);
    let programs = test::build(&["--package", "tests", "--test", "it"])?;
    let program = programs.first().ok_or("cargo built no test program")?;
    let mut lines = Vec::new();
    let mut unjudged = 0;
    let rows = routes::built(&table);
    for row in rows.iter().filter(|row| filter.iter().all(|part| row.name.contains(part.as_str()))) {
        let test = covered.iter().find(|(name, _)| *name == row.name).map(|(_, test)| *test);
        let route = format!("{} {}", row.method, row.path);
        let judged = test
            .is_some_and(|test| passes(program, &binary, test, None) && !passes(program, &binary, test, Some(&route)));
        unjudged += usize::from(!judged);
        println!("{} {route}: {}", if judged { "judged  " } else { "UNJUDGED" }, test.unwrap_or("no test"));
        lines.push(format!("| `{route}` | {} | `{}` |", if judged { "yes" } else { "no" }, test.unwrap_or("–")));
    }
    if filter.is_empty() {
        write_page(&lines, table.matches(", NotBuilt;").count(), table.matches(", SwarmOnly;").count())?;
    }
    println!("{} passed, {unjudged} failed, 0 skipped", lines.len() - unjudged);
    if unjudged == 0 { Ok(()) } else { Err(format!("{unjudged} routes whose test does not judge them")) }
}

fn passes(program: &test::Program, binary: &Path, test: &str, fail: Option<&str>) -> bool {
    let mut command = run::program(&program.executable);
    command.current_dir(&program.package_folder).args(["--exact", test, "--quiet"]);
    command.env("CARGO_MANIFEST_DIR", &program.package_folder).env("HAKO_TARGET_DIR", run::target());
    command.env("HAKO_TEST_BINARY", binary);
    if let Some(route) = fail {
        command.env("HAKO_TEST_FAIL", route);
    }
    let mut command = run::rooted(command);
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn write_page(lines: &[String], not_built: usize, swarm_only: usize) -> Result<(), String> {
    let page = format!(
        "# Coverage of the Engine API\n\n\
         Written by `cargo x test coverage`; do not edit. A route is judged if the test named beside it passes, and fails\n\
         when that one route is made to answer 500. {} routes are built; {not_built} answer 501 with their name and\n\
         {swarm_only} answer 503 as Docker does on a node that is in no swarm.\n\n\
         | route | judged | by |\n|---|---|---|\n{}\n",
        lines.len(),
        lines.join("\n")
    );
    let place = run::root().join("docs/api-coverage.md");
    fs::write(&place, page).map_err(|error| format!("cannot write {}: {error}", place.display()))
}
