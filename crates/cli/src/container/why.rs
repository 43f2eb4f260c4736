//! `why`: what is the matter with a container, from everything the daemon knows about it.
//!
//! Asks for facts (its state, its events, a sample of its counters, the end of its log) and draws conclusions from them
//! in [`conclude`], which is pure. It works with any Docker daemon, since it needs nothing of hako's own.

use hako_api::{
    Filters,
    container::ContainerInspect,
    query::{ContainerInspectQuery, ContainerLogsQuery, ContainerStatsQuery, SystemEventsQuery},
    stats::ContainerStats,
    system::EventMessage,
};
use hako_base::clock;
use jiff::Timestamp;

use crate::{
    command::{Arguments, Command, Shape},
    context::Context,
    error::CommandError,
    format::{duration, size},
    stream,
};

/// A start that takes longer than this is called slow: most take milliseconds.
const SLOW_START_MS: i64 = 1_000;

/// Lines shown of the end of the log of a container that failed.
const LOG_LINES: &str = "5";

#[derive(Default)]
pub(crate) struct Why;

impl Command for Why {
    const SHAPE: &'static Shape = &Shape {
        paths: &["container why", "why"],
        usage: "CONTAINER [CONTAINER...]",
        about: "Tell why a container does not run, is slow, unhealthy or was killed",
        arguments: Arguments::AtLeast(1),
        interspersed: true,
    };

    async fn run(self, cx: &mut Context, names: Vec<String>) -> Result<(), CommandError> {
        for name in &names {
            let facts = ask(cx, name).await?;
            let mut text = format!("{}: {}\n", facts.container.name.trim_start_matches('/'), headline(&facts));
            for reason in conclude(&facts) {
                text.push_str(&format!("  {reason}\n"));
            }
            cx.print(&text)?;
            let state = &facts.container.state;
            if !state.running && state.exit_code != 0 && !state.started_at.starts_with("0001-") {
                show_log(cx, name, &facts).await?;
            }
        }
        Ok(())
    }
}

/// What the daemon knows.
struct Facts {
    container: ContainerInspect,
    /// Oldest first; what the daemon still remembers.
    events: Vec<EventMessage>,
    /// Of one that runs.
    stats: Option<ContainerStats>,
    now: Timestamp,
}

async fn ask(cx: &mut Context, name: &str) -> Result<Facts, CommandError> {
    let client = cx.client()?;
    let container = client.container_inspect(name, &ContainerInspectQuery::default()).await?;
    let now = clock::now();
    let query = SystemEventsQuery {
        since: seconds(&container.created).unwrap_or_default().to_string(),
        until: now.as_second().saturating_add(1).to_string(),
        filters: only(&container.id),
    };
    let mut events = Vec::new();
    let mut coming = client.system_events(&query).await?;
    while let Some(event) = coming.next().await? {
        events.push(event);
    }
    let stats = if container.state.running && !container.state.restarting {
        let once = ContainerStatsQuery { stream: Some(false), one_shot: true };
        client.container_stats(name, &once).await?.next().await?
    } else {
        None
    };
    Ok(Facts { container, events, stats, now })
}

fn only(container: &str) -> Filters {
    let mut filters = Filters::default();
    filters.add("container", container);
    filters
}

async fn show_log(cx: &mut Context, name: &str, facts: &Facts) -> Result<(), CommandError> {
    cx.print(&format!("  the last it wrote, if anything (hako logs {name}):\n"))?;
    let query =
        ContainerLogsQuery { stdout: true, stderr: true, tail: LOG_LINES.to_owned(), ..ContainerLogsQuery::default() };
    match cx.client()?.container_logs(name, &query).await {
        Ok(log) => stream::copy_log(log, facts.container.config.tty).await,
        Err(error) => cx.print(&format!("  {error}\n")),
    }
}

/// Seconds since 1970 of a time as `inspect` writes it.
fn seconds(text: &str) -> Option<i64> {
    instant(text).map(Timestamp::as_second)
}

fn instant(text: &str) -> Option<Timestamp> {
    text.parse().ok().filter(|at: &Timestamp| at.as_second() > 0)
}

fn headline(facts: &Facts) -> String {
    let state = &facts.container.state;
    let since = |text: &str| {
        seconds(text).map_or(String::new(), |then| {
            format!(" since {} ago", duration::human((facts.now.as_second() - then).max(0)))
        })
    };
    match state.status.as_str() {
        "running" => format!("runs{}", since(&state.started_at)),
        "paused" => "is paused: nothing of it runs until it is unpaused".to_owned(),
        "restarting" => "ended and is waiting for its next start".to_owned(),
        "created" => "was made and has not been started".to_owned(),
        "exited" => format!("does not run{}", since(&state.finished_at)),
        other => format!("is {other}"),
    }
}

/// Everything worth saying, most telling first.
fn conclude(facts: &Facts) -> Vec<String> {
    let mut reasons = Vec::new();
    ended(facts, &mut reasons);
    restarts(facts, &mut reasons);
    started(facts, &mut reasons);
    health(facts, &mut reasons);
    counters(facts, &mut reasons);
    if reasons.is_empty() && !facts.container.state.paused {
        reasons.push("nothing is the matter with it, as far as the daemon knows".to_owned());
    }
    reasons
}

fn ended(facts: &Facts, reasons: &mut Vec<String>) {
    let state = &facts.container.state;
    if state.running && !state.restarting {
        return;
    }
    let ran = !state.started_at.starts_with("0001-");
    if !state.error.is_empty() {
        reasons.push(format!("{}: {}", if ran { "its end" } else { "its start failed" }, state.error));
    }
    if !ran {
        if state.error.is_empty() {
            reasons.push("nobody has started it: hako start does".to_owned());
        }
        return;
    }
    if state.oom_killed {
        let limit = facts.container.host_config.resources.memory;
        let limit =
            if limit > 0 { format!("its limit of {}", size::binary(limit)) } else { "the host's memory".to_owned() };
        reasons.push(format!("the kernel killed it for want of memory: it used more than {limit}"));
    }
    let signals = signals_sent(facts);
    // The daemon may have been another one then, and have told nobody that is left.
    let was_told = !signals.is_empty() || state.error.starts_with("did not end within");
    if state.exit_code != 0 || signals.is_empty() {
        reasons.push(format!(
            "exit code {}: {}",
            state.exit_code,
            code_text(state.exit_code, state.oom_killed, was_told)
        ));
    } else {
        reasons.push("it ended with exit code 0 after it was asked to".to_owned());
    }
    if !signals.is_empty() {
        reasons.push(format!("signals it was sent through the daemon before its end: {}", signals.join(", ")));
    }
}

/// Signals sent in its last life, in their order.
fn signals_sent(facts: &Facts) -> Vec<String> {
    let begin = facts.events.iter().rposition(|event| event.action == "start").unwrap_or(0);
    let kills = facts.events[begin..].iter().filter(|event| event.action == "kill");
    kills
        .filter_map(|event| {
            let number: i64 = event.actor.attributes.get("signal")?.parse().ok()?;
            Some(format!("{number} ({})", signal_name(number)))
        })
        .collect()
}

fn signal_name(number: i64) -> &'static str {
    match number {
        1 => "SIGHUP, its terminal is gone or it shall reload",
        2 => "SIGINT, interrupted",
        3 => "SIGQUIT",
        4 => "SIGILL, an instruction the processor does not know",
        6 => "SIGABRT, it gave up by itself",
        7 => "SIGBUS, memory that is not there",
        8 => "SIGFPE, a division by zero",
        9 => "SIGKILL",
        11 => "SIGSEGV, it touched memory that is not its own",
        13 => "SIGPIPE, nobody reads what it writes",
        15 => "SIGTERM, asked to end",
        31 => "SIGSYS, a system call that its seccomp profile does not allow",
        _ => "a signal",
    }
}

fn code_text(code: i64, oom: bool, was_told: bool) -> String {
    match code {
        0 => "it ended by itself, without complaint".to_owned(),
        125 => "the daemon could not start it".to_owned(),
        126 => "its command is there but cannot be executed (a directory, no x bit, or another architecture)".to_owned(),
        127 => "its command was not found in the image".to_owned(),
        137 if oom => "SIGKILL, by the kernel for want of memory".to_owned(),
        137 if was_told => "SIGKILL, after it had been told to end and did not, or at once by hand".to_owned(),
        137 => "SIGKILL from outside the daemon: the kernel (one process of it may have had too much memory) or another program of the host".to_owned(),
        139 if !was_told => format!("ended by signal 11 ({})", signal_name(11)),
        code if (129..=192).contains(&code) => format!("ended by signal {} ({})", code - 128, signal_name(code - 128)),
        _ => "chosen by the program itself: its log or manual says what it means".to_owned(),
    }
}

fn restarts(facts: &Facts, reasons: &mut Vec<String>) {
    let (state, policy) = (&facts.container.state, &facts.container.host_config.restart_policy);
    let count = facts.container.restart_count;
    if count > 0 {
        reasons.push(format!("its restart policy ({}) has started it again {count} times", policy.name));
    }
    if state.running {
        return;
    }
    let by_hand =
        facts.events.iter().rev().take_while(|event| event.action != "start").any(|event| event.action == "stop");
    match policy.name.as_str() {
        "always" | "unless-stopped" if by_hand => {
            reasons.push(format!("it was stopped by hand, so its restart policy ({}) leaves it alone", policy.name));
        }
        "on-failure" if state.exit_code == 0 => {
            reasons.push("its restart policy (on-failure) does not start again what ended well".to_owned());
        }
        "on-failure" if policy.maximum_retry_count > 0 && count >= policy.maximum_retry_count => {
            reasons.push(format!("its restart policy gave up after {} attempts", policy.maximum_retry_count));
        }
        "no" | "" if state.exit_code != 0 && !state.started_at.starts_with("0001-") => {
            reasons.push("it has no restart policy: nothing starts it again".to_owned());
        }
        _ => {}
    }
}

/// How long the last start took, from the daemon's events: between being asked for and being there.
fn started(facts: &Facts, reasons: &mut Vec<String>) {
    let at = |event: &EventMessage| event.time_nano / 1_000_000;
    let Some(begin) = facts.events.iter().rposition(|event| event.action == "start") else { return };
    let start = &facts.events[begin];
    let before =
        facts.events[..begin].iter().rfind(|event| matches!(event.action.as_str(), "create" | "die" | "attach"));
    if let Some(before) = before.filter(|before| before.action != "die") {
        let took = at(start) - at(before);
        if took > SLOW_START_MS {
            reasons.push(format!("between its {} and its start lay {took} ms", before.action));
        }
    }
    let healthy = facts.events[begin..].iter().find(|event| event.action == "health_status: healthy");
    if let Some(healthy) = healthy {
        reasons.push(format!("it was healthy {} ms after its start", at(healthy) - at(start)));
    }
}

fn health(facts: &Facts, reasons: &mut Vec<String>) {
    let state = &facts.container.state;
    let Some(health) = state.health.as_ref().filter(|_| state.running) else { return };
    let last = health.log.last();
    match health.status.as_str() {
        "starting" => reasons.push(match last {
            None => "its health is not known yet: the first check is still to come".to_owned(),
            Some(look) => {
                format!("it is not healthy yet: the last check ended with {}: {}", look.exit_code, look.output.trim())
            }
        }),
        "unhealthy" => {
            let said = last.map_or(String::new(), |look| {
                format!("; the last one ended with {}: {}", look.exit_code, look.output.trim())
            });
            reasons.push(format!("it is unhealthy: {} checks in a row have failed{said}", health.failing_streak));
        }
        _ => {}
    }
}

/// What the kernel counts of one that runs.
fn counters(facts: &Facts, reasons: &mut Vec<String>) {
    let Some(stats) = &facts.stats else { return };
    let throttled = &stats.cpu_stats.throttling_data;
    if throttled.throttled_periods > 0 && throttled.periods > 0 {
        reasons.push(format!(
            "its processor limit held it back in {} of {} periods, {} ms together: --cpus may be too small",
            throttled.throttled_periods,
            throttled.periods,
            throttled.throttled_time / 1_000_000
        ));
    }
    let memory = &stats.memory_stats;
    let limited = facts.container.host_config.resources.memory > 0;
    if limited && memory.failcnt > 0 {
        reasons.push(format!("it has run into its memory limit {} times", memory.failcnt));
    }
    if limited && memory.limit > 0 && memory.usage.saturating_mul(10) > memory.limit.saturating_mul(9) {
        let human = |bytes: u64| size::human(i64::try_from(bytes).unwrap_or(i64::MAX), 4);
        reasons.push(format!("it uses {} of the {} it may use", human(memory.usage), human(memory.limit)));
    }
    let kills: u64 =
        ["oom_kill", "total_oom_kill"].iter().filter_map(|key| memory.stats.get(*key)).copied().max().unwrap_or(0);
    if kills > 0 {
        reasons.push(format!("the kernel has killed {kills} of its processes for want of memory"));
    }
    if stats.pids_stats.limit > 0 && stats.pids_stats.current >= stats.pids_stats.limit {
        reasons.push(format!("it has as many processes as it may have ({})", stats.pids_stats.limit));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(container: &str, events: &[(&str, i64, &str)], expected: &[&str]) {
        let event = |(action, ms, signal): &(&str, i64, &str)| {
            let mut event =
                EventMessage { action: (*action).to_owned(), time_nano: ms * 1_000_000, ..EventMessage::default() };
            if !signal.is_empty() {
                event.actor.attributes.insert("signal".to_owned(), (*signal).to_owned());
            }
            event
        };
        let facts = Facts {
            container: serde_json::from_str(container).unwrap(),
            events: events.iter().map(event).collect(),
            stats: None,
            now: Timestamp::from_second(1_000_000).unwrap(),
        };
        assert_eq!(conclude(&facts), expected);
    }

    const ENDED: &str = r#""Status":"exited","StartedAt":"2026-01-01T00:00:00Z","FinishedAt":"2026-01-01T00:00:01Z""#;

    #[test]
    fn an_end_is_explained() {
        check(
            &format!(r#"{{"State":{{{ENDED},"ExitCode":137,"OOMKilled":true}},"HostConfig":{{"Memory":8000000}}}}"#),
            &[("create", 0, ""), ("start", 5, "")],
            &[
                "the kernel killed it for want of memory: it used more than its limit of 7.629MiB",
                "exit code 137: SIGKILL, by the kernel for want of memory",
                "it has no restart policy: nothing starts it again",
            ],
        );
        check(
            &format!(r#"{{"State":{{{ENDED},"ExitCode":127}}}}"#),
            &[("create", 0, ""), ("start", 1500, "")],
            &[
                "exit code 127: its command was not found in the image",
                "it has no restart policy: nothing starts it again",
                "between its create and its start lay 1500 ms",
            ],
        );
    }

    #[test]
    fn a_stop_that_had_to_insist_says_so() {
        check(
            &format!(
                r#"{{"State":{{{ENDED},"ExitCode":137,"Error":"did not end within 1 s of SIGTERM and was killed"}},"HostConfig":{{"RestartPolicy":{{"Name":"always"}}}}}}"#
            ),
            &[("start", 0, ""), ("kill", 5, "15"), ("kill", 1005, "9"), ("die", 1006, ""), ("stop", 1007, "")],
            &[
                "its end: did not end within 1 s of SIGTERM and was killed",
                "exit code 137: SIGKILL, after it had been told to end and did not, or at once by hand",
                "signals it was sent through the daemon before its end: 15 (SIGTERM, asked to end), 9 (SIGKILL)",
                "it was stopped by hand, so its restart policy (always) leaves it alone",
            ],
        );
    }

    #[test]
    fn bad_health_names_the_last_check() {
        check(
            r#"{"State":{"Status":"running","Running":true,"Health":{"Status":"unhealthy","FailingStreak":3,"Log":[{"ExitCode":1,"Output":"refused\n"}]}}}"#,
            &[],
            &["it is unhealthy: 3 checks in a row have failed; the last one ended with 1: refused"],
        );
        check(
            r#"{"State":{"Status":"running","Running":true}}"#,
            &[],
            &["nothing is the matter with it, as far as the daemon knows"],
        );
    }
}
