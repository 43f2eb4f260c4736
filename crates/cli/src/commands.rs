//! The table of all commands: what runs, what groups them, and what hako does not have.

use crate::{
    build, builder,
    command::{Entry, entry},
    completion, compose, container, contexts, image, imagetools, inspect, login, manifest, manual, network, system,
    volume, volume_copy,
};

/// Every command; the order does not matter.
static TABLE: &[Entry] = &[
    entry::<build::Build>(),
    entry::<builder::bake::Bake>(),
    entry::<builder::cache::Disk>(),
    entry::<builder::cache::Prune>(),
    entry::<builder::create::Create>(),
    entry::<builder::history::Inspect>(),
    entry::<builder::history::List>(),
    entry::<builder::history::Logs>(),
    entry::<builder::history::Remove>(),
    entry::<builder::inspect::Inspect>(),
    entry::<builder::list::List>(),
    entry::<builder::list::Version>(),
    entry::<builder::remove::Remove>(),
    entry::<builder::remove::Stop>(),
    entry::<builder::select::Use>(),
    entry::<container::run::Run>(),
    entry::<container::exec::Exec>(),
    entry::<container::list::List>(),
    entry::<container::attach::Attach>(),
    entry::<container::commit::Commit>(),
    entry::<container::cp::Cp>(),
    entry::<container::create::Create>(),
    entry::<container::diff::Diff>(),
    entry::<container::export::Export>(),
    entry::<container::kill::Kill>(),
    entry::<container::logs::Logs>(),
    entry::<container::pause::Pause>(),
    entry::<container::pause::Unpause>(),
    entry::<container::port::Port>(),
    entry::<container::prune::Prune>(),
    entry::<container::remove::Remove>(),
    entry::<container::rename::Rename>(),
    entry::<container::restart::Restart>(),
    entry::<container::start::Start>(),
    entry::<container::stats::Stats>(),
    entry::<container::stop::Stop>(),
    entry::<container::top::Top>(),
    entry::<container::update::Update>(),
    entry::<container::wait::Wait>(),
    entry::<container::audit::AuditCommand>(),
    entry::<container::why::Why>(),
    entry::<contexts::create::Create>(),
    entry::<contexts::create::Update>(),
    entry::<contexts::list::Inspect>(),
    entry::<contexts::list::List>(),
    entry::<contexts::list::Show>(),
    entry::<contexts::select::Remove>(),
    entry::<contexts::select::Use>(),
    entry::<contexts::transfer::Export>(),
    entry::<contexts::transfer::Import>(),
    entry::<image::anatomy::Diff>(),
    entry::<image::anatomy::Explain>(),
    entry::<image::anatomy::Verify>(),
    entry::<image::bootstrap::Bootstrap>(),
    entry::<image::copy::Copy>(),
    entry::<image::history::History>(),
    entry::<image::import::Import>(),
    entry::<image::list::List>(),
    entry::<image::load::Load>(),
    entry::<image::prune::Prune>(),
    entry::<image::pull::Pull>(),
    entry::<image::push::Push>(),
    entry::<image::remove::Remove>(),
    entry::<image::save::Save>(),
    entry::<image::search::Search>(),
    entry::<image::tag::Tag>(),
    entry::<imagetools::create::Create>(),
    entry::<imagetools::inspect::Inspect>(),
    entry::<inspect::Inspect>(),
    entry::<inspect::InspectContainer>(),
    entry::<inspect::InspectImage>(),
    entry::<inspect::InspectNetwork>(),
    entry::<inspect::InspectVolume>(),
    entry::<network::change::Connect>(),
    entry::<network::change::Create>(),
    entry::<network::change::Disconnect>(),
    entry::<network::change::Prune>(),
    entry::<network::change::Remove>(),
    entry::<login::Login>(),
    entry::<login::Logout>(),
    entry::<manifest::change::Annotate>(),
    entry::<manifest::change::Create>(),
    entry::<manifest::change::Remove>(),
    entry::<manifest::inspect::Inspect>(),
    entry::<manifest::push::Push>(),
    entry::<network::list::List>(),
    entry::<system::dial::DialStdio>(),
    entry::<system::disk::Disk>(),
    entry::<system::events::Events>(),
    entry::<system::info::Info>(),
    entry::<system::prune::Prune>(),
    entry::<system::version::Version>(),
    entry::<volume_copy::Clone>(),
    entry::<volume_copy::Export>(),
    entry::<volume_copy::Import>(),
    entry::<volume_copy::Restore>(),
    entry::<volume_copy::Snapshot>(),
    entry::<volume_copy::Snapshots>(),
    entry::<volume::Create>(),
    entry::<volume::List>(),
    entry::<volume::Prune>(),
    entry::<volume::Update>(),
    entry::<volume::Remove>(),
    entry::<compose::attach::Attach>(),
    entry::<compose::build::Build>(),
    entry::<compose::config::Config>(),
    entry::<compose::container::Commit>(),
    entry::<compose::container::Export>(),
    entry::<compose::container::Stats>(),
    entry::<compose::container::Top>(),
    entry::<compose::cp::Cp>(),
    entry::<compose::down::Down>(),
    entry::<compose::events::Events>(),
    entry::<compose::exec::Exec>(),
    entry::<compose::image::Images>(),
    entry::<compose::image::Pull>(),
    entry::<compose::image::Push>(),
    entry::<compose::lifecycle::Create>(),
    entry::<compose::lifecycle::Kill>(),
    entry::<compose::lifecycle::Pause>(),
    entry::<compose::lifecycle::Remove>(),
    entry::<compose::lifecycle::Restart>(),
    entry::<compose::lifecycle::Scale>(),
    entry::<compose::lifecycle::Start>(),
    entry::<compose::lifecycle::Stop>(),
    entry::<compose::lifecycle::Unpause>(),
    entry::<compose::list::List>(),
    entry::<compose::list::Port>(),
    entry::<compose::list::Ps>(),
    entry::<compose::list::Volumes>(),
    entry::<compose::logs::Logs>(),
    entry::<compose::plan::Plan>(),
    entry::<compose::run::Run>(),
    entry::<compose::up::Up>(),
    entry::<compose::version::Version>(),
    entry::<compose::wait::Wait>(),
    entry::<compose::watch::Watch>(),
    entry::<completion::Completion>(),
    entry::<manual::Manual>(),
];

/// Words that only stand before commands.
pub(crate) const GROUPS: &[(&str, &str)] = &[
    ("builder", "Manage builds"),
    ("buildx", "Build with what BuildKit's users know"),
    ("compose", "Run applications that Compose files describe"),
    ("container", "Manage containers"),
    ("context", "Manage contexts"),
    ("image", "Manage images"),
    ("manifest", "Put images of several platforms under one name"),
    ("network", "Manage networks"),
    ("system", "Look after the daemon"),
    ("volume", "Manage volumes"),
];

/// What people use most, in the order in which help shows it.
pub(crate) const COMMON: &[&str] = &["run", "exec", "ps", "build", "pull", "images", "version", "info"];

/// Commands of docker that hako does not have, and what it lacks for them.
pub(crate) const ABSENT: &[(&str, &str)] = &[
    ("checkpoint", "cannot save the state of processes"),
    ("config", "does not form swarms so far"),
    ("node", "does not form swarms so far"),
    ("plugin", "does not run plugins"),
    ("secret", "does not form swarms so far"),
    ("service", "does not form swarms so far"),
    ("stack", "does not form swarms so far"),
    ("swarm", "does not form swarms so far"),
    ("trust", "does not sign images"),
];

/// All commands.
pub(crate) fn all() -> impl Iterator<Item = &'static Entry> {
    TABLE.iter()
}

/// All ways to call all commands.
pub(crate) fn paths() -> impl Iterator<Item = &'static str> {
    TABLE.iter().flat_map(|entry| entry.shape.paths.iter().copied())
}

/// Whether no command or group of our own has this name.
pub(crate) fn is_free(name: &str) -> bool {
    find(name).is_none() && !GROUPS.iter().any(|(group, _)| *group == name)
}

/// The command that is called by exactly this.
pub(crate) fn find(path: &str) -> Option<&'static Entry> {
    TABLE.iter().find(|entry| entry.shape.paths.contains(&path))
}

/// The command that these words begin with, how it was called, and how many words that took.
pub(crate) fn resolve(words: &[String]) -> Option<(&'static Entry, String, usize)> {
    if let [group, name, third, ..] = words {
        // `build history` alone would be a directory of that name.
        let group = if group == "build" && name == "history" { "builder" } else { group.as_str() };
        let path = format!("{group} {name} {third}");
        if let Some(entry) = find(&path) {
            return Some((entry, path, 3));
        }
    }
    if let [group, name, ..] = words {
        let path = format!("{group} {name}");
        if let Some(entry) = find(&path) {
            return Some((entry, path, 2));
        }
    }
    let name = words.first()?;
    find(name).map(|entry| (entry, name.clone(), 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_names_of_its_own_and_flags_that_do_not_clash() {
        let mut seen = std::collections::BTreeSet::new();
        for path in paths() {
            assert!(seen.insert(path), "{path} is there twice");
            if let Some((group, _)) = path.split_once(' ') {
                assert!(GROUPS.iter().any(|(name, _)| *name == group), "{path} has no group");
            }
        }
        for entry in all() {
            (entry.show_flags)(&mut |set| {
                let mut names = std::collections::BTreeSet::new();
                for flag in set.flags() {
                    assert!(names.insert(flag.name().to_owned()), "{}: {}", entry.shape.paths[0], flag.name());
                    if let Some(short) = flag.short() {
                        assert!(names.insert(short.to_string()), "{}: -{short}", entry.shape.paths[0]);
                    }
                }
            });
        }
    }

    #[test]
    fn nothing_is_both_there_and_absent() {
        for (name, _) in ABSENT {
            assert!(find(name).is_none(), "{name}");
        }
    }
}
