//! **The one route table.** Every endpoint of the Engine API is one row: method, path, the name of
//! its operation in every layer, the minor version it came with, and whether hako has it.
//!
//! The server dispatches by it, the client builds its paths from it, `tidy` and the coverage page
//! read it. `since` is information: Docker, too, answers an old version on a newer path.

use std::fmt;

use crate::ApiVersion;

/// An HTTP method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Options,
}

impl Method {
    /// As the request line has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
        }
    }
}

/// How far a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// The server does it.
    Built,
    /// Answered with 501 and the operation's name.
    NotBuilt,
    /// Answered with 503 and Docker's sentence for a node that is in no swarm.
    SwarmOnly,
}

/// One row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    pub operation: Operation,
    pub method: Method,
    /// With `{parameters}`; `{name}` and `{any}` may contain slashes, as the names of images
    /// and of linked containers (`web/db`) do.
    pub path: &'static str,
    pub since: ApiVersion,
    pub state: State,
}

macro_rules! routes {
    ($( $operation:ident = $name:literal, $method:ident $path:literal, since $since:literal, $state:ident; )*) => {
        /// What a request asks for, by one name in every layer: `Client::container_stop`,
        /// `Engine::container_stop`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Operation {
            $( $operation, )*
        }

        impl Operation {
            /// `container_stop`
            pub const fn name(self) -> &'static str {
                match self {
                    $( Self::$operation => $name, )*
                }
            }
        }

        /// Every row.
        pub const ROUTES: &[Route] = &[
            $( Route {
                operation: Operation::$operation,
                method: Method::$method,
                path: $path,
                since: ApiVersion::new(1, $since),
                state: State::$state,
            }, )*
        ];
    };
}

routes! {
    // Container
    ContainerList = "container_list", Get "/containers/json", since 0, Built;
    ContainerCreate = "container_create", Post "/containers/create", since 0, Built;
    ContainerInspect = "container_inspect", Get "/containers/{name}/json", since 0, Built;
    ContainerExposure = "container_exposure", Get "/containers/{name}/exposure", since 0, Built;
    ContainerTop = "container_top", Get "/containers/{name}/top", since 3, Built;
    ContainerLogs = "container_logs", Get "/containers/{name}/logs", since 11, Built;
    ContainerChanges = "container_changes", Get "/containers/{name}/changes", since 0, Built;
    ContainerExport = "container_export", Get "/containers/{name}/export", since 0, Built;
    ContainerStats = "container_stats", Get "/containers/{name}/stats", since 17, Built;
    ContainerResize = "container_resize", Post "/containers/{name}/resize", since 16, Built;
    ContainerStart = "container_start", Post "/containers/{name}/start", since 0, Built;
    ContainerStop = "container_stop", Post "/containers/{name}/stop", since 0, Built;
    ContainerRestart = "container_restart", Post "/containers/{name}/restart", since 0, Built;
    ContainerKill = "container_kill", Post "/containers/{name}/kill", since 0, Built;
    ContainerUpdate = "container_update", Post "/containers/{name}/update", since 22, Built;
    ContainerRename = "container_rename", Post "/containers/{name}/rename", since 17, Built;
    ContainerPause = "container_pause", Post "/containers/{name}/pause", since 12, Built;
    ContainerUnpause = "container_unpause", Post "/containers/{name}/unpause", since 12, Built;
    ContainerAttach = "container_attach", Post "/containers/{name}/attach", since 0, Built;
    ContainerAttachWs = "container_attach_ws", Get "/containers/{name}/attach/ws", since 0, Built;
    ContainerWait = "container_wait", Post "/containers/{name}/wait", since 0, Built;
    ContainerRemove = "container_remove", Delete "/containers/{name}", since 0, Built;
    ContainerArchiveStat = "container_archive_stat", Head "/containers/{name}/archive", since 20, Built;
    ContainerArchiveGet = "container_archive_get", Get "/containers/{name}/archive", since 20, Built;
    ContainerArchivePut = "container_archive_put", Put "/containers/{name}/archive", since 20, Built;
    ContainerPrune = "container_prune", Post "/containers/prune", since 25, Built;

    // Image
    ImageList = "image_list", Get "/images/json", since 0, Built;
    BuildStart = "build_start", Post "/build", since 0, Built;
    BuildPrune = "build_prune", Post "/build/prune", since 31, Built;
    ImageCreate = "image_create", Post "/images/create", since 0, Built;
    ImageInspect = "image_inspect", Get "/images/{name}/json", since 0, Built;
    ImageAttestations = "image_attestations", Get "/images/{name}/attestations", since 55, NotBuilt;
    ImageHistory = "image_history", Get "/images/{name}/history", since 0, Built;
    ImagePush = "image_push", Post "/images/{name}/push", since 0, Built;
    ImageTag = "image_tag", Post "/images/{name}/tag", since 0, Built;
    ImageRemove = "image_remove", Delete "/images/{name}", since 0, Built;
    ImageSearch = "image_search", Get "/images/search", since 0, Built;
    ImagePrune = "image_prune", Post "/images/prune", since 25, Built;
    ImageCommit = "image_commit", Post "/commit", since 0, Built;
    ImageSaveOne = "image_save_one", Get "/images/{name}/get", since 7, Built;
    ImageSave = "image_save", Get "/images/get", since 15, Built;
    ImageLoad = "image_load", Post "/images/load", since 7, Built;

    // Image, beyond Docker: in a name space of hako's own
    ImageVerify = "image_verify", Post "/hako/images/{name}/verify", since 44, Built;
    ImageExplain = "image_explain", Get "/hako/images/{name}/explain", since 44, Built;
    ImageDiff = "image_diff", Get "/hako/images/{name}/diff", since 44, Built;

    // System
    SystemAuth = "system_auth", Post "/auth", since 0, Built;
    SystemInfo = "system_info", Get "/info", since 0, Built;
    SystemVersion = "system_version", Get "/version", since 0, Built;
    SystemPing = "system_ping", Get "/_ping", since 11, Built;
    SystemPingHead = "system_ping_head", Head "/_ping", since 40, Built;
    SystemEvents = "system_events", Get "/events", since 3, Built;
    SystemDf = "system_df", Get "/system/df", since 25, Built;

    // Exec
    ExecCreate = "exec_create", Post "/containers/{name}/exec", since 15, Built;
    ExecStart = "exec_start", Post "/exec/{id}/start", since 15, Built;
    ExecResize = "exec_resize", Post "/exec/{id}/resize", since 15, Built;
    ExecInspect = "exec_inspect", Get "/exec/{id}/json", since 16, Built;

    // Volume
    VolumeList = "volume_list", Get "/volumes", since 21, Built;
    VolumeCreate = "volume_create", Post "/volumes/create", since 21, Built;
    VolumeInspect = "volume_inspect", Get "/volumes/{name}", since 21, Built;
    VolumeUpdate = "volume_update", Put "/volumes/{name}", since 42, SwarmOnly;
    VolumeRemove = "volume_remove", Delete "/volumes/{name}", since 21, Built;
    VolumePrune = "volume_prune", Post "/volumes/prune", since 25, Built;

    // Container, beyond Docker
    ContainerEdit = "container_edit", Post "/hako/containers/{id}/edit", since 44, Built;

    // Volume, beyond Docker: in a name space of hako's own
    VolumeSnapshotList = "volume_snapshot_list", Get "/hako/volumes/{volume}/snapshots", since 44, Built;
    VolumeSnapshotCreate = "volume_snapshot_create", Post "/hako/volumes/{volume}/snapshots", since 44, Built;
    VolumeSnapshotRemove = "volume_snapshot_remove", Delete "/hako/volumes/{volume}/snapshots/{snapshot}", since 44, Built;
    VolumeRestore = "volume_restore", Post "/hako/volumes/{volume}/restore", since 44, Built;
    VolumeClone = "volume_clone", Post "/hako/volumes/{volume}/clone", since 44, Built;
    VolumeExport = "volume_export", Get "/hako/volumes/{volume}/export", since 44, Built;
    VolumeImport = "volume_import", Put "/hako/volumes/{volume}/import", since 44, Built;

    // Network
    NetworkList = "network_list", Get "/networks", since 21, Built;
    NetworkInspect = "network_inspect", Get "/networks/{id}", since 21, Built;
    NetworkRemove = "network_remove", Delete "/networks/{id}", since 21, Built;
    NetworkCreate = "network_create", Post "/networks/create", since 21, Built;
    NetworkConnect = "network_connect", Post "/networks/{id}/connect", since 21, Built;
    NetworkDisconnect = "network_disconnect", Post "/networks/{id}/disconnect", since 21, Built;
    NetworkPrune = "network_prune", Post "/networks/prune", since 25, Built;

    // Plugin
    PluginList = "plugin_list", Get "/plugins", since 24, Built;
    PluginPrivileges = "plugin_privileges", Get "/plugins/privileges", since 25, NotBuilt;
    PluginPull = "plugin_pull", Post "/plugins/pull", since 24, NotBuilt;
    PluginInspect = "plugin_inspect", Get "/plugins/{name}/json", since 25, Built;
    PluginRemove = "plugin_remove", Delete "/plugins/{name}", since 24, NotBuilt;
    PluginEnable = "plugin_enable", Post "/plugins/{name}/enable", since 24, NotBuilt;
    PluginDisable = "plugin_disable", Post "/plugins/{name}/disable", since 24, NotBuilt;
    PluginUpgrade = "plugin_upgrade", Post "/plugins/{name}/upgrade", since 26, NotBuilt;
    PluginCreate = "plugin_create", Post "/plugins/create", since 25, NotBuilt;
    PluginPush = "plugin_push", Post "/plugins/{name}/push", since 25, NotBuilt;
    PluginSet = "plugin_set", Post "/plugins/{name}/set", since 25, NotBuilt;

    // Node
    NodeList = "node_list", Get "/nodes", since 24, SwarmOnly;
    NodeInspect = "node_inspect", Get "/nodes/{id}", since 24, SwarmOnly;
    NodeRemove = "node_remove", Delete "/nodes/{id}", since 24, SwarmOnly;
    NodeUpdate = "node_update", Post "/nodes/{id}/update", since 24, SwarmOnly;

    // Swarm
    SwarmInspect = "swarm_inspect", Get "/swarm", since 24, SwarmOnly;
    SwarmInit = "swarm_init", Post "/swarm/init", since 24, NotBuilt;
    SwarmJoin = "swarm_join", Post "/swarm/join", since 24, NotBuilt;
    SwarmLeave = "swarm_leave", Post "/swarm/leave", since 24, SwarmOnly;
    SwarmUpdate = "swarm_update", Post "/swarm/update", since 24, SwarmOnly;
    SwarmUnlockKey = "swarm_unlock_key", Get "/swarm/unlockkey", since 25, SwarmOnly;
    SwarmUnlock = "swarm_unlock", Post "/swarm/unlock", since 25, SwarmOnly;

    // Service
    ServiceList = "service_list", Get "/services", since 24, SwarmOnly;
    ServiceCreate = "service_create", Post "/services/create", since 24, SwarmOnly;
    ServiceInspect = "service_inspect", Get "/services/{id}", since 24, SwarmOnly;
    ServiceRemove = "service_remove", Delete "/services/{id}", since 24, SwarmOnly;
    ServiceUpdate = "service_update", Post "/services/{id}/update", since 24, SwarmOnly;
    ServiceLogs = "service_logs", Get "/services/{id}/logs", since 25, SwarmOnly;

    // Task
    TaskList = "task_list", Get "/tasks", since 24, SwarmOnly;
    TaskInspect = "task_inspect", Get "/tasks/{id}", since 24, SwarmOnly;
    TaskLogs = "task_logs", Get "/tasks/{id}/logs", since 29, SwarmOnly;

    // Secret
    SecretList = "secret_list", Get "/secrets", since 25, SwarmOnly;
    SecretCreate = "secret_create", Post "/secrets/create", since 25, SwarmOnly;
    SecretInspect = "secret_inspect", Get "/secrets/{id}", since 25, SwarmOnly;
    SecretRemove = "secret_remove", Delete "/secrets/{id}", since 25, SwarmOnly;
    SecretUpdate = "secret_update", Post "/secrets/{id}/update", since 26, SwarmOnly;

    // Config
    ConfigList = "config_list", Get "/configs", since 30, SwarmOnly;
    ConfigCreate = "config_create", Post "/configs/create", since 30, SwarmOnly;
    ConfigInspect = "config_inspect", Get "/configs/{id}", since 30, SwarmOnly;
    ConfigRemove = "config_remove", Delete "/configs/{id}", since 30, SwarmOnly;
    ConfigUpdate = "config_update", Post "/configs/{id}/update", since 30, SwarmOnly;

    // Distribution
    DistributionInspect = "distribution_inspect", Get "/distribution/{name}/json", since 30, Built;

    // Session
    SessionStart = "session_start", Post "/session", since 31, Built;

    // Served but not in swagger
    GrpcStart = "grpc_start", Post "/grpc", since 31, Built;
    SystemOptions = "system_options", Options "/{any}", since 0, Built;
    BuildCancel = "build_cancel", Post "/build/cancel", since 0, NotBuilt;
    CheckpointList = "checkpoint_list", Get "/containers/{name}/checkpoints", since 0, NotBuilt;
    CheckpointCreate = "checkpoint_create", Post "/containers/{name}/checkpoints", since 0, NotBuilt;
    CheckpointRemove = "checkpoint_remove", Delete "/containers/{name}/checkpoints/{checkpoint}", since 0, NotBuilt;
    DebugVars = "debug_vars", Get "/debug/vars", since 0, NotBuilt;
    DebugPprof = "debug_pprof", Get "/debug/pprof/", since 0, NotBuilt;
    DebugPprofCmdline = "debug_pprof_cmdline", Get "/debug/pprof/cmdline", since 0, NotBuilt;
    DebugPprofProfile = "debug_pprof_profile", Get "/debug/pprof/profile", since 0, NotBuilt;
    DebugPprofSymbol = "debug_pprof_symbol", Get "/debug/pprof/symbol", since 0, NotBuilt;
    DebugPprofTrace = "debug_pprof_trace", Get "/debug/pprof/trace", since 0, NotBuilt;
    DebugPprofNamed = "debug_pprof_named", Get "/debug/pprof/{name}", since 0, NotBuilt;
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Operation {
    /// Its row.
    pub fn route(self) -> &'static Route {
        // The enum and the table come from the same rows, in the same order.
        &ROUTES[self as usize]
    }
}

impl Route {
    /// The path with `values` in the place of its parameters, encoded.
    pub fn fill(&self, values: &[&str]) -> String {
        let mut values = values.iter();
        let mut path = String::with_capacity(96);
        for segment in self.path.split('/').skip(1) {
            path.push('/');
            match parameter(segment) {
                Some(name) => {
                    // `inspect` shows a container's name with a slash before it, and scripts hand it back like this.
                    let is_whole = is_greedy(name) && !self.path.starts_with("/containers/");
                    let also = if is_whole { "/:@" } else { ":" };
                    let value = values.next().copied().unwrap_or_default();
                    let value = if is_whole { value } else { value.strip_prefix('/').unwrap_or(value) };
                    path.push_str(&crate::query::percent_encode(value, also));
                }
                None => path.push_str(segment),
            }
        }
        path
    }

    /// The values of the parameters if this row's path is like `path` (already decoded).
    fn matches<'p>(&self, path: &'p str) -> Option<Vec<&'p str>> {
        let segments = || self.path.split('/').skip(1);
        let mut rest = path.strip_prefix('/')?;
        let mut spare = rest.split('/').count().checked_sub(segments().count())?;
        let mut values = Vec::new();
        for segment in segments() {
            // A greedy parameter takes the segments that the template does not account for.
            let take = match parameter(segment) {
                Some(name) if is_greedy(name) => 1 + std::mem::take(&mut spare),
                _ => 1,
            };
            let end = rest.match_indices('/').nth(take - 1).map_or(rest.len(), |(at, _)| at);
            let value = &rest[..end];
            rest = rest.get(end + 1..).unwrap_or_default();
            match parameter(segment) {
                // Only OPTIONS is about nothing in particular.
                Some(name) if !value.is_empty() || name == "any" => values.push(value),
                None if value == segment => {}
                _ => return None,
            }
        }
        (spare == 0).then_some(values)
    }
}

fn parameter(segment: &str) -> Option<&str> {
    segment.strip_prefix('{')?.strip_suffix('}')
}

fn is_greedy(parameter: &str) -> bool {
    matches!(parameter, "name" | "any")
}

/// A row and the values of its parameters.
#[derive(Debug, PartialEq, Eq)]
pub struct Match<'p> {
    pub route: &'static Route,
    pub values: Vec<&'p str>,
}

/// The row for a request: of those that match, the one with the fewest parameters.
///
/// `path` is decoded and without its version. No row at all is a 404 in Docker, for a wrong method
/// too.
pub fn find<'p>(method: &str, path: &'p str) -> Option<Match<'p>> {
    // Docker has both spellings of this one.
    let path = if path == "/networks/" { "/networks" } else { path };
    let rows = ROUTES.iter().filter(|route| route.method.name() == method);
    let found = rows.filter_map(|route| Some(Match { route, values: route.matches(path)? }));
    // The row that says most of the path itself: a name with slashes in it would match nearly everything.
    found.max_by_key(|found| found.route.path.split('/').filter(|segment| parameter(segment).is_none()).count())
}

/// Takes the version off a path: `/v1.41/info` is `("1.41", "/info")`.
pub fn split_version(path: &str) -> (Option<&str>, &str) {
    let versioned = path.strip_prefix("/v").and_then(|rest| {
        let (version, _) = rest.split_once('/')?;
        let plausible = version.contains('.') && version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        plausible.then(|| (version, &rest[version.len()..]))
    });
    match versioned {
        Some((version, rest)) => (Some(version), rest),
        None => (None, path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(request: &str, expected: &str) {
        let (method, path) = request.split_once(' ').unwrap();
        let got = match find(method, path) {
            Some(found) => format!("{} {}", found.route.operation, found.values.join(" ")),
            None => "none".to_owned(),
        };
        assert_eq!(got.trim_end(), expected, "{request}");
    }

    #[test]
    fn requests_find_their_row() {
        check("GET /containers/json", "container_list");
        check("GET /containers/web/json", "container_inspect web");
        check("GET /containers/web/db/json", "container_inspect web/db");
        check("GET /containers/web/db/attach/ws", "container_attach_ws web/db");
        check("GET /images/json", "image_list");
        check("GET /images/a/b:c/json", "image_inspect a/b:c");
        check("GET /images/json/json", "image_inspect json");
        check("GET /images/get", "image_save");
        check("GET /images/localhost:5000/x/get", "image_save_one localhost:5000/x");
        check("DELETE /images/a/b", "image_remove a/b");
        check("DELETE /containers/web", "container_remove web");
        check("DELETE /containers/web/checkpoints/one", "checkpoint_remove web one");
        check("GET /containers/web/attach/ws", "container_attach_ws web");
        check("GET /networks/", "network_list");
        check("GET /debug/pprof/", "debug_pprof");
        check("GET /debug/pprof/heap", "debug_pprof_named heap");
        check("GET /debug/pprof/trace", "debug_pprof_trace");
        check("OPTIONS /any/thing", "system_options any/thing");
        check("OPTIONS /", "system_options");
        check("HEAD /_ping", "system_ping_head");
    }

    #[test]
    fn what_is_not_in_the_table_is_not_found() {
        for request in [
            "GET /",
            "GET /containers",
            "GET /containers//json",
            "POST /containers/json",
            "PATCH /info",
            "GET /info/",
            "GET containers/json",
            "HEAD /info",
        ] {
            check(request, "none");
        }
    }

    #[test]
    fn versions_are_taken_off() {
        for (path, expected) in [
            ("/v1.41/info", (Some("1.41"), "/info")),
            ("/v1.999/info", (Some("1.999"), "/info")),
            ("/info", (None, "/info")),
            ("/version", (None, "/version")),
            ("/volumes/v1.41", (None, "/volumes/v1.41")),
            ("/v1/info", (None, "/v1/info")),
            ("/vx.y/info", (None, "/vx.y/info")),
            ("/v1.41", (None, "/v1.41")),
        ] {
            assert_eq!(split_version(path), expected, "{path}");
        }
    }

    #[test]
    fn every_row_finds_itself_and_has_a_name_of_its_own() {
        let mut names = std::collections::HashSet::new();
        for route in ROUTES {
            assert_eq!(route.operation.route(), route);
            assert!(names.insert(route.operation.name()), "{} twice", route.operation);
            let count = route.path.matches('{').count();
            let path = route.fill(&vec!["some"; count]);
            let found = find(route.method.name(), &path).unwrap();
            assert_eq!(found.route.operation, route.operation, "{path}");
        }
        // All of Docker's that the surface list has; hako's own are apart.
        let dockers = ROUTES.iter().filter(|route| !route.path.starts_with("/hako/"));
        assert_eq!(dockers.count(), 122);
    }

    #[test]
    fn values_are_encoded_where_they_could_be_mistaken() {
        assert_eq!(Operation::ImageInspect.route().fill(&["a/b:c@d"]), "/images/a/b:c@d/json");
        assert_eq!(Operation::ContainerStop.route().fill(&["/web"]), "/containers/web/stop");
        assert_eq!(Operation::ContainerStop.route().fill(&["a/b?c"]), "/containers/a%2Fb%3Fc/stop");
    }
}
