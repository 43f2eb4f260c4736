//! What Go makes of a struct that is printed as a whole: `{{.State}}`, `{{.Mounts}}`, `{{.HostConfig.RestartPolicy}}`.
//!
//! Docker's templates work on Go structs, which print as their values in braces, in the order of their definition. Here
//! an object is a map; what is a struct in Docker gets its printed form beside its fields, under a name that no
//! template can say, and the printed map is replaced by it afterwards ([`printed`]).

use super::json::Document;

/// The first and the last key of a map that is a struct; everything between them in print is not shown.
pub(crate) const FIRST: &str = "\u{0}";
pub(crate) const LAST: &str = "\u{10ffff}";
/// The names of what a map has although the daemon left it out; not part of its JSON.
pub(crate) const LEFT_OUT: &str = "\u{2}";
/// Ends the printed form within the printed map.
const END: char = '\u{1}';

/// A field that the daemon left out prints as this.
const NOTHING: &str = "";
const ZERO: &str = "0";
const NIL: &str = "<nil>";
const NO: &str = "false";
const LIST: &str = "[]";
const MAP: &str = "map[]";
const TIME: &str = "0s";

type Fields = &'static [(&'static str, &'static str)];

const STATE: Fields = &[
    ("Status", NOTHING),
    ("Running", NO),
    ("Paused", NO),
    ("Restarting", NO),
    ("OOMKilled", NO),
    ("Dead", NO),
    ("Pid", ZERO),
    ("ExitCode", ZERO),
    ("Error", NOTHING),
    ("StartedAt", NOTHING),
    ("FinishedAt", NOTHING),
    ("Health", NIL),
];
const MOUNT_POINT: Fields = &[
    ("Type", NOTHING),
    ("Name", NOTHING),
    ("Source", NOTHING),
    ("Destination", NOTHING),
    ("Driver", NOTHING),
    ("Mode", NOTHING),
    ("RW", NO),
    ("Propagation", NOTHING),
];
const MOUNT: Fields = &[
    ("Type", NOTHING),
    ("Source", NOTHING),
    ("Target", NOTHING),
    ("ReadOnly", NO),
    ("Consistency", NOTHING),
    ("BindOptions", NIL),
    ("VolumeOptions", NIL),
    ("ImageOptions", NIL),
    ("TmpfsOptions", NIL),
    ("ClusterOptions", NIL),
];
const ENDPOINT: Fields = &[
    ("IPAMConfig", NIL),
    ("Links", LIST),
    ("Aliases", LIST),
    ("MacAddress", NOTHING),
    ("DriverOpts", MAP),
    ("GwPriority", ZERO),
    ("NetworkID", NOTHING),
    ("EndpointID", NOTHING),
    ("Gateway", NOTHING),
    ("IPAddress", NOTHING),
    ("IPPrefixLen", ZERO),
    ("IPv6Gateway", NOTHING),
    ("GlobalIPv6Address", NOTHING),
    ("GlobalIPv6PrefixLen", ZERO),
    ("DNSNames", LIST),
];
const HEALTH_CHECK: Fields = &[
    ("Test", LIST),
    ("Interval", TIME),
    ("Timeout", TIME),
    ("StartPeriod", TIME),
    ("StartInterval", TIME),
    ("Retries", ZERO),
];

/// The fields of the struct that stands under this name, or of those in the list or map that does.
fn fields(key: &str, entries: &[(String, Document)]) -> Option<Fields> {
    let has = |name: &str| entries.iter().any(|(key, _)| key == name);
    Some(match key {
        "State" => STATE,
        "Mounts" if has("Target") => MOUNT,
        "Mounts" => MOUNT_POINT,
        "Networks" if has("EndpointID") => ENDPOINT,
        "RestartPolicy" => &[("Name", NOTHING), ("MaximumRetryCount", ZERO)],
        "LogConfig" => &[("Type", NOTHING), ("Config", MAP)],
        "GraphDriver" => &[("Data", MAP), ("Name", NOTHING)],
        "Ports" | "PortBindings" if has("HostPort") => &[("HostIp", NOTHING), ("HostPort", NOTHING)],
        "Devices" => &[("PathOnHost", NOTHING), ("PathInContainer", NOTHING), ("CgroupPermissions", NOTHING)],
        "Ulimits" => &[("Name", NOTHING), ("Hard", ZERO), ("Soft", ZERO)],
        "Healthcheck" => HEALTH_CHECK,
        "Health" => &[("Status", NOTHING), ("FailingStreak", ZERO), ("Log", LIST)],
        "Log" => &[("Start", NOTHING), ("End", NOTHING), ("ExitCode", ZERO), ("Output", NOTHING)],
        "IPAM" => &[("Driver", NOTHING), ("Options", MAP), ("Config", LIST)],
        "Config" if has("Subnet") => {
            &[("Subnet", NOTHING), ("IPRange", NOTHING), ("Gateway", NOTHING), ("AuxiliaryAddresses", MAP)]
        }
        "IPAMConfig" => &[("IPv4Address", NOTHING), ("IPv6Address", NOTHING), ("LinkLocalIPs", LIST)],
        "Containers" if has("EndpointID") => &[
            ("Name", NOTHING),
            ("EndpointID", NOTHING),
            ("MacAddress", NOTHING),
            ("IPv4Address", NOTHING),
            ("IPv6Address", NOTHING),
        ],
        "ConfigFrom" => &[("Network", NOTHING)],
        "RootFS" => &[("Type", NOTHING), ("Layers", LIST)],
        "ExposedPorts" | "Volumes" if entries.is_empty() => &[],
        _ => return None,
    })
}

/// What the daemon leaves out where it is empty, of a container and its settings, but for what a question must fail at
/// that goes further: there is no status of a health check that is not made.
pub(crate) fn left_out(key: &str, entries: &[(String, Document)]) -> impl Iterator<Item = &'static str> {
    let has = |name: &str| entries.iter().any(|(key, _)| key == name);
    let names: &[&str] = match key {
        "" if has("HostConfig") => &["SizeRootFs", "SizeRw"],
        "Config" if has("Cmd") => &["ExposedPorts", "Shell", "StopTimeout"],
        "HostConfig" => &["Annotations", "Init", "Mounts", "StorageOpt", "Sysctls", "Tmpfs"],
        _ => &[],
    };
    let missing: Vec<&str> = names.iter().copied().filter(|name| !has(name)).collect();
    missing.into_iter()
}

/// The printed form of a struct; `None` for a map.
pub(crate) fn form(key: &str, entries: &[(String, Document)]) -> Option<String> {
    let Some(fields) = fields(key, entries) else {
        let settings = key == "HostConfig" || (key == "Config" && entries.iter().any(|(name, _)| name == "Cmd"));
        let values = || entries.iter().map(|(name, value)| text(name, value)).collect::<Vec<_>>().join(" ");
        return settings.then(|| format!("{{{}}}{END}", values()));
    };
    let find = |name: &str| entries.iter().find(|(key, _)| key == name).map(|(_, value)| value);
    if key == "Ulimits" {
        let text = |name: &str| find(name).map_or_else(|| ZERO.to_owned(), |value| text(name, value));
        return Some(format!("{}={}:{}{END}", text("Name"), text("Soft"), text("Hard")));
    }
    let values = fields.iter().map(|(name, zero)| match find(name) {
        None => (*zero).to_owned(),
        Some(Document::Null) if *zero == NOTHING => NIL.to_owned(),
        Some(Document::Null) => (*zero).to_owned(),
        Some(Document::Int(nanos)) if *zero == TIME => hako_base::duration::go(*nanos),
        Some(value) => text(name, value),
    });
    Some(format!("{{{}}}{END}", values.collect::<Vec<_>>().join(" ")))
}

/// How Go prints a value within a struct.
fn text(key: &str, value: &Document) -> String {
    match value {
        Document::Null => NIL.to_owned(),
        Document::Bool(value) => value.to_string(),
        Document::Int(value) => value.to_string(),
        Document::Uint(value) => value.to_string(),
        Document::Float(value) => value.to_string(),
        Document::Text(text) => text.clone(),
        Document::List(items) => {
            format!("[{}]", items.iter().map(|item| self::text(key, item)).collect::<Vec<_>>().join(" "))
        }
        Document::Object(entries) => form(key, entries).map_or_else(
            || {
                // What is in a map of structs is such a struct.
                let mut pairs: Vec<_> = entries.iter().map(|(name, value)| (name, self::text(key, value))).collect();
                pairs.sort();
                let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}:{value}")).collect();
                format!("map[{}]", pairs.join(" "))
            },
            |form| form.trim_end_matches(END).to_owned(),
        ),
    }
}

/// What a template has printed, structs as Go prints them.
pub(crate) fn printed(text: &str) -> String {
    let (open, close) = (format!("map[{FIRST}:"), format!("{LAST}:]"));
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(&open) {
        out.push_str(&rest[..at]);
        rest = &rest[at + open.len()..];
        let Some(end) = rest.find(END) else { break };
        out.push_str(&rest[..end]);
        rest = &rest[end + END.len_utf8()..];
        // To the end of this map, past those within it.
        let mut depth = 1;
        while depth > 0 {
            match (rest.find(&open), rest.find(&close)) {
                (Some(inner), Some(end)) if inner < end => {
                    depth += 1;
                    rest = &rest[inner + open.len()..];
                }
                (_, Some(end)) => {
                    depth -= 1;
                    rest = &rest[end + close.len()..];
                }
                (_, None) => return out,
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(key: &str, json: &str, expected: &str) {
        let document: Document = serde_json::from_str(json).unwrap();
        assert_eq!(text(key, &document), expected, "{key}");
    }

    #[test]
    fn structs_print_their_values_in_the_order_of_their_definition() {
        check("RestartPolicy", r#"{"MaximumRetryCount":3,"Name":"on-failure"}"#, "{on-failure 3}");
        check("LogConfig", r#"{"Type":"json-file","Config":{"b":"2","a":"1"}}"#, "{json-file map[a:1 b:2]}");
        check(
            "Ports",
            r#"{"80/tcp":[{"HostIp":"::","HostPort":"7"}],"81/tcp":null}"#,
            "map[80/tcp:[{:: 7}] 81/tcp:<nil>]",
        );
        check("ExposedPorts", r#"{"80/tcp":{}}"#, "map[80/tcp:{}]");
        check("Ulimits", r#"[{"Name":"nofile","Hard":20,"Soft":10}]"#, "[nofile=10:20]");
        check(
            "Mounts",
            r#"[{"Type":"bind","Source":"/tmp","Destination":"/h","Mode":"ro","RW":false,"Propagation":"rprivate"}]"#,
            "[{bind  /tmp /h  ro false rprivate}]",
        );
        check("Healthcheck", r#"{"Test":["CMD","true"],"Interval":30000000000}"#, "{[CMD true] 30s 0s 0s 0s 0}");
    }

    #[test]
    fn what_stands_between_the_marks_is_not_shown() {
        let inner = format!("map[{FIRST}:{{b}}{END} B:b {LAST}:]");
        let text = format!("x [map[{FIRST}:{{a {{b}}}}{END} A:a I:{inner} {LAST}:]] y map[k:v]");
        assert_eq!(printed(&text), "x [{a {b}}] y map[k:v]");
        assert_eq!(printed("plain"), "plain");
    }
}
