//! The black box: what a person sees who types commands. Each file is one subject; each test is a transcript.
//!
//! The same tests judge the docker CLI against hako (`HAKO_TEST_CLI=docker`) and a Docker daemon (`HAKO_TEST_DAEMON`,
//! with `--test-threads=1`): a transcript that does not hold for Docker is wrong.

/// A machine with a running daemon and these images (busybox if none is named); the test is skipped where that
/// cannot be.
macro_rules! host {
    () => {
        host!("busybox")
    };
    ($($image:literal),+) => {{
        hako_testkit::needs!(hako_testkit::require::root());
        $(hako_testkit::needs!(hako_testkit::require::image($image));)+
        hako_testkit::Host::with_images(&[$($image),+])
    }};
}

/// The same, with a daemon that the test may kill and configure and look into.
macro_rules! own_host {
    () => {{
        hako_testkit::needs!(hako_testkit::require::own_daemon());
        host!()
    }};
    ($($image:literal),+) => {{
        hako_testkit::needs!(hako_testkit::require::own_daemon());
        host!($($image),+)
    }};
}

mod apparmor; // the profile of containers, where the kernel has AppArmor
mod bad; // bad input: what it says, and that it leaves nothing
mod build; // builds through the classic API
mod build_actions; // caches in GitHub's Actions
mod build_bake; // images that files describe
mod build_bucket; // caches in Amazon's S3
mod build_cache; // caches that are elsewhere, builds that are remembered
mod build_cli; // builds by our own command line
mod build_copy; // what COPY, ADD and WORKDIR leave, file by file
mod build_flags; // what a build is told beside its Dockerfile
mod build_language; // the language of Dockerfiles, instruction by instruction
mod build_layout; // contexts that are images in OCI layouts
mod build_platform; // builds for several platforms, and what is attested of them
mod build_remote; // builds from somewhere else
mod build_sbom; // which packages results are made of
mod build_token; // tokens of registries for builds
mod builder; // builders: made, used, removed, built with
mod compose; // compose: up, down, plan and the rest
mod compose_face; // compose: on a terminal, by other names, over ssh
mod compose_watch; // compose: sources followed into containers
mod confinement; // capabilities, seccomp, masked paths, devices
mod context; // contexts: named daemons
mod cp; // files in and out of containers
mod crowd; // many clients at once
mod daemon; // several side by side, Docker's socket, its own command line
mod daemon_door; // sockets that are handed to it, who may use them, its proxies
mod escape; // ways out that others have had
mod event; // events
mod exec; // exec: a second process in a container
mod exposure; // the host's firewall, and who can reach a published port
mod firewall_program; // ufw, firewalld and iptables beside hako
mod flag; // run's flags that no other file is about
mod health; // health checks, and what follows from them
mod image; // import, commit, save, load, tag, rmi, history
mod imagetools; // buildx imagetools
mod inspect; // inspect: what a container and an image say about themselves
mod lifecycle; // create, start, stop, kill, restart, wait, rename, rm
mod limit; // memory, processes, ulimits
mod live; // beyond Docker: edits, explanations, logs that go on
mod logs; // logs: follow, tail, since, until, timestamps
mod manifest;
mod mount; // binds, volumes, tmpfs, read-only
mod name_service; // names in user-defined networks
mod network; // bridge, host and none; names and addresses
mod network_advisory; // advisories about networks, each tried
mod network_change; // networks that a person makes: create, ls, inspect, rm, prune
mod network_connect; // several networks per container; connect and disconnect
mod network_link; // --link on the default bridge
mod network_reach; // who reaches whom; options, subnets and pools
mod network_stacked; // macvlan, ipvlan, configuration-only networks
mod plugin; // programs that add commands
mod port; // published ports, from everywhere
mod ps; // ps: filters, formats, columns
mod registry; // pull, push, login, search, and our own registry
mod registry_tls; // authorities, client certificates and mirrors over TLS
mod remote; // TCP with TLS, ssh
mod restart; // restart policies, what ended a container, update
mod run; // run: output, exit status, names, environment, users, working directory
mod runtime; // other runtimes behind runc's command line
mod stats; // stats and top
mod stdin; // what goes in: pipes, half-close, attach
mod story; // the main job, from an empty machine to a committed image
mod surroundings; // what a command line takes from variables and config.json
mod survival; // the daemon dies and nothing is lost
mod terminal; // -t and -i on a real terminal: size, keys, detaching
mod undo; // operations that fail half-way leave nothing
mod userns; // which users of the host a container's users are
mod volume; // options, sharing, memory, pruning of volumes
mod wire; // the API as bytes
