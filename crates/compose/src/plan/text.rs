//! A plan for a person: what would be made, changed and why, started, removed, and what is interrupted for how long.

use super::{Action, ImageHow, Plan, Reason};
use crate::project::Project;

/// Docker's patience before it kills, where the file says nothing.
const GRACE_S: i64 = 10;

/// The plan as text; empty where nothing would change.
pub fn text(project: &Project, plan: &Plan) -> String {
    let mut out = String::new();
    for key in &plan.networks {
        line(&mut out, '+', "network", &project.networks[key].name, "create");
    }
    for key in &plan.volumes {
        line(&mut out, '+', "volume", &project.volumes[key].name, "create");
    }
    for step in &plan.images {
        let verb = match (step.how, step.present) {
            (ImageHow::Pull, false) => "pull",
            (ImageHow::Pull, true) => "pull again, if there is a newer one",
            (ImageHow::Build, false) => "build",
            (ImageHow::Build, true) => "build again",
        };
        line(&mut out, if step.present { '~' } else { '+' }, "image", &step.image, verb);
    }
    for step in &plan.containers {
        match &step.action {
            Action::Keep(_) => {}
            Action::Create => line(&mut out, '+', "container", &step.name, "create and start"),
            Action::Start(_) => line(&mut out, '>', "container", &step.name, "start"),
            Action::Remove(_) => {
                line(&mut out, '-', "container", &step.name, "stop and remove, there are more than wanted")
            }
            Action::Recreate(seen, reasons) => {
                let interrupted = if seen.is_running() { interruption(project, &step.service) } else { String::new() };
                line(&mut out, '~', "container", &step.name, &format!("replace{interrupted}"));
                reasons.iter().for_each(|reason| out_reason(&mut out, reason));
                continue;
            }
        }
    }
    for seen in &plan.orphans {
        let what = if plan.remove_orphans {
            "stop and remove, no file knows its service"
        } else {
            "left alone, but no file knows its service (--remove-orphans)"
        };
        out.push_str(&format!("{} container {}: {what}\n", if plan.remove_orphans { '-' } else { '?' }, seen.name));
    }
    out
}

fn line(out: &mut String, sign: char, kind: &str, name: &str, what: &str) {
    out.push_str(&format!("{sign} {kind} {name}: {what}\n"));
}

fn interruption(project: &Project, service: &str) -> String {
    let nanos = project.services.get(service).and_then(|service| service.stop_grace_period);
    let seconds = nanos.map_or(GRACE_S, |nanos| nanos / 1_000_000_000);
    format!(" (stopped for up to {seconds}s and the time it takes to start)")
}

fn out_reason(out: &mut String, reason: &Reason) {
    let shown = match (reason.from.as_str(), reason.to.as_str()) {
        ("", "") => String::new(),
        ("", to) => format!(": + {to}"),
        (from, "") => format!(": - {from}"),
        (from, to) => format!(": {from} -> {to}"),
    };
    out.push_str(&format!("    {}{shown}\n", reason.key));
}
