//! From a project and what is there to what has to be done. Pure; carried out by `apply`, printed by `plan::text`.

mod difference; // why a container is no longer as its file says
pub mod text; // a plan for a person

use std::collections::{BTreeMap, BTreeSet};

pub use difference::Reason;

use crate::{
    file::size,
    observe::{self, Observed, Seen},
    project::Project,
    request,
    service::Service,
};

/// When containers are made anew although they are there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Recreate {
    /// When they differ from their file.
    #[default]
    Diverged,
    Always,
    Never,
}

/// What the person asked for.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// The services that were named; none: all.
    pub services: Vec<String>,
    pub recreate: Recreate,
    /// The same for what the named ones depend on.
    pub recreate_dependencies: Recreate,
    pub scale: BTreeMap<String, u32>,
    pub remove_orphans: bool,
    /// Build although the image is there.
    pub build: bool,
    pub no_build: bool,
    /// `--pull`: replaces every service's policy.
    pub pull: Option<String>,
}

/// What has to be done.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// Keys of the networks to make.
    pub networks: Vec<String>,
    pub volumes: Vec<String>,
    pub images: Vec<ImageStep>,
    pub containers: Vec<ContainerStep>,
    /// Containers of services that the files do not know any more.
    pub orphans: Vec<Seen>,
    pub remove_orphans: bool,
}

/// How an image comes to be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageStep {
    pub service: String,
    pub image: String,
    pub how: ImageHow,
    /// There already; fetched or built again because that was asked for.
    pub present: bool,
}

/// Pulled or built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageHow {
    Pull,
    Build,
}

/// What happens to one container.
#[derive(Debug, Clone)]
pub struct ContainerStep {
    pub service: String,
    pub number: u32,
    pub name: String,
    pub action: Action,
}

/// What happens to it.
#[derive(Debug, Clone)]
pub enum Action {
    Keep(Seen),
    Start(Seen),
    Create,
    Recreate(Seen, Vec<Reason>),
    Remove(Seen),
}

impl Plan {
    /// Whether anything would be different afterwards.
    pub fn changes_anything(&self) -> bool {
        let acts = self.containers.iter().any(|step| !matches!(step.action, Action::Keep(_)));
        let orphans = self.remove_orphans && !self.orphans.is_empty();
        acts || orphans || !self.networks.is_empty() || !self.volumes.is_empty() || !self.images.is_empty()
    }

    /// The steps of one service.
    pub fn of<'p>(&'p self, service: &'p str) -> impl Iterator<Item = &'p ContainerStep> {
        self.containers.iter().filter(move |step| step.service == service)
    }
}

/// What has to be done so that what is there becomes what the project says.
///
/// # Errors
/// When something in the way belongs to somebody else, or something external is missing.
pub fn plan(project: &Project, observed: &Observed, wishes: &Wishes) -> Result<Plan, String> {
    let mut plan = Plan { remove_orphans: wishes.remove_orphans, ..Plan::default() };
    plan.networks = missing(project, &project.networks, &observed.networks, "network")?;
    plan.volumes = missing(project, &project.volumes, &observed.volumes, "volume")?;
    plan.images = images(project, observed, wishes)?;
    let renewed: BTreeSet<&str> = plan.images.iter().map(|step| step.service.as_str()).collect();
    let mut replaced: BTreeSet<String> = BTreeSet::new();
    for service in project.in_order() {
        let steps = containers(project, service, observed, wishes, &replaced, renewed.contains(service.name.as_str()));
        if steps.iter().any(|step| matches!(step.action, Action::Create | Action::Recreate(..))) {
            replaced.insert(service.name.clone());
        }
        plan.containers.extend(steps);
    }
    let is_orphan = |seen: &&Seen| !seen.one_off && !project.all_services.contains(&seen.service);
    plan.orphans = observed.containers.iter().filter(is_orphan).cloned().collect();
    Ok(plan)
}

fn missing(
    project: &Project,
    wanted: &BTreeMap<String, crate::project::Resource>,
    there: &BTreeMap<String, Option<String>>,
    kind: &str,
) -> Result<Vec<String>, String> {
    let mut missing = Vec::new();
    for (key, resource) in wanted {
        match there.get(&resource.name) {
            None if resource.external => {
                return Err(format!("{kind} {} declared as external, but could not be found", resource.name));
            }
            None => missing.push(key.clone()),
            Some(Some(owner)) if !resource.external && *owner != project.name => {
                return Err(format!(
                    "{kind} {} was found, but belongs to project {owner:?}; use \"external: true\" to share it",
                    resource.name
                ));
            }
            Some(_) => {}
        }
    }
    Ok(missing)
}

fn images(project: &Project, observed: &Observed, wishes: &Wishes) -> Result<Vec<ImageStep>, String> {
    let mut steps: Vec<ImageStep> = Vec::new();
    for service in project.services.values() {
        let image = project.image_of(service);
        let present = observed.images.get(&image).is_some_and(Option::is_some);
        let policy = wishes.pull.as_deref().unwrap_or(match service.pull_policy.as_str() {
            "" | "if_not_present" => "missing",
            policy => policy,
        });
        let builds = service.build.is_some();
        let must_build = builds && !wishes.no_build && (wishes.build || policy == "build" || !present);
        let how = match policy {
            _ if must_build => Some(ImageHow::Build),
            "always" if !builds => Some(ImageHow::Pull),
            "never" if !present => return Err(format!("No such image: {image} (and its pull policy is \"never\")")),
            "missing" if !present => Some(ImageHow::Pull),
            "never" | "missing" | "always" | "build" => None,
            other => match span(other) {
                // An image of which nobody knows the age may be of any age.
                Some(span) => {
                    let is_old = observed.image_ages.get(&image).is_none_or(|age| *age >= span);
                    (!builds && (!present || is_old)).then_some(ImageHow::Pull)
                }
                None => return Err(format!("service {}: unknown pull policy {other:?}", service.name)),
            },
        };
        if let Some(how) = how
            && !steps.iter().any(|step| step.image == image && step.how == how)
        {
            steps.push(ImageStep { service: service.name.clone(), image, how, present });
        }
    }
    Ok(steps)
}

// Seconds after which an image is pulled again.
fn span(policy: &str) -> Option<i64> {
    const DAY: i64 = 24 * 3600;
    match policy {
        "daily" => Some(DAY),
        "weekly" => Some(7 * DAY),
        other => Some(size::duration(other.strip_prefix("every_")?)? / 1_000_000_000),
    }
}

fn containers(
    project: &Project,
    service: &Service,
    observed: &Observed,
    wishes: &Wishes,
    replaced: &BTreeSet<String>,
    new_image: bool,
) -> Vec<ContainerStep> {
    let own: Vec<&Seen> =
        observed.containers.iter().filter(|seen| seen.service == service.name && !seen.one_off).collect();
    let wanted = wishes.scale.get(&service.name).copied().unwrap_or_else(|| service.replicas()) as usize;
    let named = wishes.services.is_empty() || wishes.services.contains(&service.name);
    let recreate = if named { wishes.recreate } else { wishes.recreate_dependencies };
    let step = |seen: &Seen, action| ContainerStep {
        service: service.name.clone(),
        number: seen.number,
        name: seen.name.clone(),
        action,
    };
    let mut steps = Vec::new();
    for (at, seen) in own.iter().enumerate() {
        if at >= wanted {
            steps.push(step(seen, Action::Remove((*seen).clone())));
            continue;
        }
        let reasons = match recreate {
            Recreate::Never => Vec::new(),
            Recreate::Always => vec![Reason::asked()],
            Recreate::Diverged => reasons(project, service, seen, observed, replaced, new_image),
        };
        let action = match seen.state.as_str() {
            _ if !reasons.is_empty() => Action::Recreate((*seen).clone(), reasons),
            "running" | "restarting" => Action::Keep((*seen).clone()),
            _ => Action::Start((*seen).clone()),
        };
        steps.push(step(seen, action));
    }
    let next = own.iter().map(|seen| seen.number).max().unwrap_or(0);
    for number in (next + 1..).take(wanted.saturating_sub(own.len())) {
        let name = request::container_name(project, service, number);
        steps.push(ContainerStep { service: service.name.clone(), number, name, action: Action::Create });
    }
    steps
}

// Why the container cannot stay; nothing where it can.
fn reasons(
    project: &Project,
    service: &Service,
    seen: &Seen,
    observed: &Observed,
    replaced: &BTreeSet<String>,
    new_image: bool,
) -> Vec<Reason> {
    // What asks to be restarted after an update of its dependency is made anew with it, as docker compose does.
    let follows = service.depends_on.iter().find(|(name, it)| it.restart && replaced.contains(*name));
    if let Some((other, _)) = follows
        && observed.containers.iter().any(|seen| seen.service == *other)
    {
        return vec![Reason::follows(other)];
    }
    for mode in [&service.network_mode, &service.ipc, &service.pid] {
        if let Some(other) = mode.strip_prefix("service:").filter(|other| replaced.contains(*other)) {
            return vec![Reason::shares(other)];
        }
    }
    let image = project.image_of(service);
    let mut reasons = Vec::new();
    if let Some(Some(id)) = observed.images.get(&image)
        && !new_image
        && *id != seen.image_id
    {
        reasons.push(Reason::changed("image", &seen.image_id, &format!("{id} ({image})")));
    }
    let known = observe::known(observed);
    match request::resolved_hash(project, service, &known) {
        Ok(hash) if hash != seen.hash => {
            let found = observed.details.get(&seen.id).map(|details| {
                let own = observed.image_variables.get(&image).map(Vec::as_slice).unwrap_or_default();
                difference::differences(project, service, &known, details, own)
            });
            let found = found.unwrap_or_default();
            // Something that only the hash knows: an option of the file without a trace in the container.
            reasons.extend(if found.is_empty() {
                vec![Reason::changed("configuration", &seen.hash, &hash)]
            } else {
                found
            });
        }
        _ => {}
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        file::{
            load::{self, Model},
            yaml,
        },
        labels, project,
    };

    fn project(text: &str) -> Project {
        let file =
            std::env::temp_dir().join(format!("hako-plan-{}-{}.yaml", std::process::id(), crate::hash::text(text)));
        std::fs::write(&file, text).unwrap();
        let options = load::Options {
            files: vec![file.display().to_string()],
            project_directory: Some("/p".into()),
            ..load::Options::default()
        };
        let model: Model = load::load(&options, &load::Surroundings::default()).unwrap();
        std::fs::remove_file(&file).unwrap();
        assert!(!yaml::parse(text, "f").unwrap().is_empty());
        project::select(model, &project::Selection::default(), true).unwrap()
    }

    fn seen(project: &Project, service: &str, number: u32, state: &str) -> Seen {
        let hash = project.services.get(service).map(|service| service.hash.clone()).unwrap_or_default();
        Seen {
            id: format!("{service}{number}"),
            name: format!("{}-{service}-{number}", project.name),
            service: service.to_owned(),
            number,
            hash,
            image_id: "sha256:1".to_owned(),
            state: state.to_owned(),
            labels: BTreeMap::from([(labels::SERVICE.to_owned(), service.to_owned())]),
            ..Seen::default()
        }
    }

    fn observed(project: &Project, containers: Vec<Seen>) -> Observed {
        let owner = Some(project.name.clone());
        Observed {
            containers,
            networks: BTreeMap::from([("p_default".to_owned(), owner.clone())]),
            images: BTreeMap::from([("i".to_owned(), Some("sha256:1".to_owned()))]),
            ..Observed::default()
        }
    }

    fn check(project: &Project, observed: &Observed, wishes: &Wishes, expected: &str) {
        let got = match plan(project, observed, wishes) {
            Ok(plan) => text::text(project, &plan),
            Err(error) => error,
        };
        assert_eq!(got, expected);
    }

    const TWO: &str = "name: p\nservices:\n  a: {image: i, depends_on: [b]}\n  b: {image: i}\n";

    #[test]
    fn what_is_there_and_right_is_left_alone() {
        let p = project(TWO);
        let there = observed(&p, vec![seen(&p, "a", 1, "running"), seen(&p, "b", 1, "running")]);
        check(&p, &there, &Wishes::default(), "");
        assert!(!plan(&p, &there, &Wishes::default()).unwrap().changes_anything());
    }

    #[test]
    fn what_is_missing_is_made_and_what_stands_is_started() {
        let p = project(TWO);
        let there = observed(&p, vec![seen(&p, "b", 1, "exited")]);
        check(&p, &there, &Wishes::default(), "> container p-b-1: start\n+ container p-a-1: create and start\n");
        let nothing = Observed { networks: BTreeMap::new(), ..there };
        check(
            &p,
            &nothing,
            &Wishes::default(),
            "+ network p_default: create\n> container p-b-1: start\n+ container p-a-1: create and start\n",
        );
    }

    #[test]
    fn another_hash_or_image_replaces() {
        let p = project(TWO);
        let mut a = seen(&p, "a", 1, "running");
        a.hash = "old".to_owned();
        let mut b = seen(&p, "b", 1, "running");
        b.image_id = "sha256:0".to_owned();
        let told = text::text(&p, &plan(&p, &observed(&p, vec![a, b]), &Wishes::default()).unwrap());
        assert!(told.contains("~ container p-b-1: replace (stopped for up to 10s"), "{told}");
        assert!(told.contains("    image: sha256:0 -> sha256:1 (i)\n"), "{told}");
        assert!(told.contains("    configuration: old -> "), "{told}");
    }

    #[test]
    fn who_asks_for_it_is_made_anew_with_its_dependency() {
        let p = project(
            "name: p\nservices:\n  a: {image: i, depends_on: {b: {condition: service_started, restart: true}}}\n  b: {image: i}\n  c: {image: i, depends_on: [b]}\n",
        );
        let mut b = seen(&p, "b", 1, "running");
        b.image_id = "sha256:0".to_owned();
        let there = observed(&p, vec![seen(&p, "a", 1, "running"), b, seen(&p, "c", 1, "running")]);
        let told = text::text(&p, &plan(&p, &there, &Wishes::default()).unwrap());
        assert!(told.contains("container p-a-1") && told.contains("depends_on.b.restart"), "{told}");
        assert!(!told.contains("container p-c-1"), "{told}");
    }

    #[test]
    fn numbers_follow_the_wish_and_the_highest_go() {
        let p = project(TWO);
        let there =
            observed(&p, vec![seen(&p, "a", 1, "running"), seen(&p, "a", 2, "running"), seen(&p, "b", 1, "running")]);
        check(&p, &there, &Wishes::default(), "- container p-a-2: stop and remove, there are more than wanted\n");
        let wishes = Wishes { scale: BTreeMap::from([("a".to_owned(), 4)]), ..Wishes::default() };
        check(&p, &there, &wishes, "+ container p-a-3: create and start\n+ container p-a-4: create and start\n");
    }

    #[test]
    fn orphans_are_told_and_removed_on_request() {
        let p = project(TWO);
        let there =
            observed(&p, vec![seen(&p, "a", 1, "running"), seen(&p, "b", 1, "running"), seen(&p, "old", 1, "running")]);
        check(
            &p,
            &there,
            &Wishes::default(),
            "? container p-old-1: left alone, but no file knows its service (--remove-orphans)\n",
        );
        let wishes = Wishes { remove_orphans: true, ..Wishes::default() };
        check(&p, &there, &wishes, "- container p-old-1: stop and remove, no file knows its service\n");
    }

    #[test]
    fn what_belongs_to_others_is_not_taken() {
        let p = project("name: p\nservices: {a: {image: i, networks: [n]}}\nnetworks: {n: {name: theirs}}\n");
        let mut there = observed(&p, Vec::new());
        there.networks = BTreeMap::from([("theirs".to_owned(), Some("other".to_owned()))]);
        let told = "network theirs was found, but belongs to project \"other\"; use \"external: true\" to share it";
        check(&p, &there, &Wishes::default(), told);
        let p = project(
            "name: p\nservices: {a: {image: i, networks: [n]}}\nnetworks: {n: {external: true, name: theirs}}\n",
        );
        check(&p, &there, &Wishes::default(), "+ container p-a-1: create and start\n");
        there.networks.clear();
        check(&p, &there, &Wishes::default(), "network theirs declared as external, but could not be found");
    }

    #[test]
    fn images_are_pulled_again_when_they_are_old() {
        let p = project(
            "name: p\nservices: {a: {image: i, scale: 0, pull_policy: daily}, b: {image: j, scale: 0, pull_policy: every_2h}}\n",
        );
        let mut there = observed(&p, Vec::new());
        there.images.insert("j".to_owned(), Some("sha256:2".to_owned()));
        there.image_ages = [("i", 3 * 3600), ("j", 3 * 3600)].map(|(name, age)| (name.to_owned(), age)).into();
        check(&p, &there, &Wishes::default(), "~ image j: pull again, if there is a newer one\n");
    }

    #[test]
    fn images_are_pulled_or_built_when_missing_or_asked_for() {
        let p = project("name: p\nservices: {a: {build: /c}, b: {image: new}, c: {image: i, pull_policy: always}}\n");
        let there = observed(&p, Vec::new());
        check(
            &p,
            &there,
            &Wishes { scale: ["a", "b", "c"].map(|name| (name.to_owned(), 0)).into(), ..Wishes::default() },
            "+ image p-a: build\n+ image new: pull\n~ image i: pull again, if there is a newer one\n",
        );
    }
}
