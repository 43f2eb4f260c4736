//! `cargo x hunt [SECONDS]`: mutations of the corpus against everything in the runtime that reads foreign bytes.
//!
//! The same test runs in `check` for a moment; here it goes on. What it finds is said, with the file that has the input.

use crate::run;

const SECONDS: &str = "60";

pub(crate) fn hunt(arguments: &[String]) -> Result<(), String> {
    let seconds = arguments.first().map_or(SECONDS, String::as_str);
    if seconds.parse::<u64>().is_err() {
        return Err(format!("hunt {seconds}: expected a number of seconds"));
    }
    let mut command = run::cargo(&["test", "--package", "hako-runtime", "--lib", "--", "hunt::", "--nocapture"]);
    command.env("HAKO_HUNT_SECONDS", seconds);
    run::succeed(command)
}
