//! The words of `ps` about a container's state: `Up 5 minutes`, `Exited (0) 2 hours ago`.

use hako_model::ContainerState;
use jiff::Timestamp;

use crate::{health::Health, record::StateRecord};

/// Docker's status text.
pub(crate) fn text(state: &StateRecord, now: Timestamp) -> String {
    let since = |at: Option<Timestamp>| human(at.map_or(0, |at| now.duration_since(at).as_secs()));
    match state.status {
        ContainerState::Created => "Created".to_owned(),
        ContainerState::Running => format!("Up {}{}", since(state.started_at), health(state)),
        ContainerState::Paused => format!("Up {} (Paused)", since(state.started_at)),
        ContainerState::Restarting => format!("Restarting ({}) {} ago", state.exit_code, since(state.finished_at)),
        ContainerState::Removing => "Removal In Progress".to_owned(),
        ContainerState::Dead => "Dead".to_owned(),
        ContainerState::Exited => format!("Exited ({}) {} ago", state.exit_code, since(state.finished_at)),
    }
}

/// What stands behind the time of a container whose health is checked.
fn health(state: &StateRecord) -> &'static str {
    match state.health.as_ref().map(|health| health.status) {
        None => "",
        Some(Health::Starting) => " (health: starting)",
        Some(Health::Healthy) => " (healthy)",
        Some(Health::Unhealthy) => " (unhealthy)",
    }
}

/// A span in words, as go-units rounds it.
pub(crate) fn human(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match seconds {
        ..1 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        _ if minutes == 1 => "About a minute".to_owned(),
        _ if minutes < 60 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        _ if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_rounded_as_go_units_rounds_them() {
        for (seconds, expected) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (120, "2 minutes"),
            (3_599, "59 minutes"),
            (3_600, "About an hour"),
            (5_400, "2 hours"),
            (172_800, "2 days"),
            (1_209_600, "2 weeks"),
            (5_184_000, "2 months"),
            (63_072_000, "2 years"),
        ] {
            assert_eq!(human(seconds), expected, "{seconds}");
        }
    }
}
