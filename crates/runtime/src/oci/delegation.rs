//! Whose a container's cgroup is: pure, tested as text.
//!
//! Only where the program could use it: cgroup v2 alone, in a cgroup namespace of its own, mounted so that it can be
//! written. Then a program without root's rights on the host (systemd, another container engine) can divide its group
//! among its children, and no more than that: the limits of the group itself stay the host's.

use super::config::{Config, IdMapping};

/// The host's number of the user who shall own it; `None` leaves it root's.
pub(super) fn owner(config: &Config) -> Option<u32> {
    let linux = &config.linux;
    let own = |kind: &str| linux.namespaces.iter().any(|one| one.kind == kind && one.path.is_empty());
    let joined = |kind: &str| linux.namespaces.iter().any(|one| one.kind == kind && !one.path.is_empty());
    let writable = config.mounts.iter().any(|mount| {
        let read_only = mount.options.iter().flat_map(|words| words.split(',')).any(|word| word == "ro");
        mount.source == "cgroup" && mount.destination.trim_end_matches('/') == "/sys/fs/cgroup" && !read_only
    });
    // Whose the ids of somebody else's user namespace are is known there.
    if !own("cgroup") || !writable || joined("user") {
        return None;
    }
    let user = config.process.as_ref().map_or(0, |process| process.user.uid);
    let owner = if own("user") { on_host(&linux.uid_mappings, user)? } else { user };
    (owner != 0).then_some(owner)
}

fn on_host(mappings: &[IdMapping], user: u32) -> Option<u32> {
    let of = |one: &IdMapping| {
        let offset = user.checked_sub(one.container).filter(|offset| *offset < one.size)?;
        one.host.checked_add(offset)
    };
    mappings.iter().find_map(of)
}

#[cfg(test)]
mod tests {
    fn owner(namespaces: &str, options: &str, uid: u32) -> Option<u32> {
        let text = format!(
            r#"{{"ociVersion":"1.2.0","root":{{"path":"r"}},"process":{{"cwd":"/","args":["x"],"user":{{"uid":{uid}}}}},
                "mounts":[{{"destination":"/sys/fs/cgroup","type":"cgroup","source":"cgroup","options":[{options}]}}],
                "linux":{{"namespaces":[{namespaces}],"uidMappings":[{{"containerID":0,"hostID":1000,"size":1}},
                {{"containerID":1,"hostID":200000,"size":100}}]}}}}"#
        );
        super::owner(&serde_json::from_str(&text).unwrap())
    }

    #[test]
    fn who_may_write_to_it_owns_it() {
        const BOTH: &str = r#"{"type":"cgroup"},{"type":"user"}"#;
        assert_eq!(owner(BOTH, r#""nosuid""#, 0), Some(1000));
        assert_eq!(owner(BOTH, "", 33), Some(200_032));
        assert_eq!(owner(r#"{"type":"cgroup"}"#, "", 33), Some(33));
    }

    #[test]
    fn everybody_elses_stays_roots() {
        const BOTH: &str = r#"{"type":"cgroup"},{"type":"user"}"#;
        for (namespaces, options, uid) in [
            (BOTH, r#""ro""#, 0),
            (BOTH, r#""nosuid,ro""#, 0),
            (BOTH, "", 101),
            (r#"{"type":"cgroup"}"#, "", 0),
            (r#"{"type":"user"}"#, "", 0),
            (r#"{"type":"cgroup","path":"/proc/1/ns/cgroup"},{"type":"user"}"#, "", 0),
            (r#"{"type":"cgroup"},{"type":"user","path":"/proc/1/ns/user"}"#, "", 5),
        ] {
            assert_eq!(owner(namespaces, options, uid), None, "{namespaces} {options} {uid}");
        }
    }
}
