//! What all files say together: groups, targets and variables.

use std::{
    collections::{BTreeMap, BTreeSet},
    thread,
};

use super::{
    language::{Evaluator, Instance, Mistake, Module, STACK_BYTES, Shown, Source, unsupported},
    target::{ATTRIBUTES, Target, kind_of},
};

/// Everything that the files say, merged.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Definition {
    pub groups: BTreeMap<String, Group>,
    pub targets: BTreeMap<String, Target>,
    pub variables: Vec<Shown>,
}

/// Targets that are built together.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub(crate) struct Group {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    pub targets: Vec<String>,
}

impl Definition {
    /// Adds what bake files say. `given` are variables that are there in every file, `environment` gives others values
    /// other than their defaults; with `is_relative` directories are beside the file that names them.
    ///
    /// # Errors
    /// With what is wrong, as it is shown.
    pub(crate) fn add(
        &mut self,
        sources: &[Source],
        given: &BTreeMap<String, String>,
        environment: &(dyn Fn(&str) -> Option<String> + Sync),
        is_relative: bool,
    ) -> Result<(), String> {
        // What files say is evaluated within each other; their depth is bounded for this much of a stack.
        let evaluated = thread::scope(|scope| {
            let thread = thread::Builder::new().name("bake".to_owned()).stack_size(STACK_BYTES);
            let evaluating = thread.spawn_scoped(scope, || self.evaluate(sources, given, environment, is_relative));
            let evaluating = evaluating.map_err(|error| format!("ERROR: cannot start a thread: {error}"))?;
            evaluating.join().map_err(|_| "ERROR: the files could not be evaluated".to_owned())
        })?;
        evaluated.map_err(|mistake| mistake.shown(sources))
    }

    fn evaluate(
        &mut self,
        sources: &[Source],
        given: &BTreeMap<String, String>,
        environment: &dyn Fn(&str) -> Option<String>,
        is_relative: bool,
    ) -> Result<(), Mistake> {
        let module = Module::read(sources, given.clone())?;
        let mut evaluator = Evaluator::new(&module, environment, kind_of);
        self.variables = evaluator.variables()?;
        let instances = evaluator.instances()?;
        for (at, instance) in instances.iter().enumerate() {
            check(instance)?;
            if instance.block.kind == "group" {
                let group = group(&mut evaluator, at, instance)?;
                self.groups.insert(instance.name.clone(), group);
            } else {
                let mut target = target(&mut evaluator, at, instance)?;
                if is_relative {
                    target.stand_beside(&sources[instance.block.place.file].name);
                }
                let before = self.targets.remove(&instance.name).unwrap_or_default();
                self.targets.insert(instance.name.clone(), before.overridden_by(target));
            }
        }
        self.name_matrices(&instances);
        Ok(())
    }

    // A target with other names than its own is a group of what it became.
    fn name_matrices(&mut self, instances: &[Instance<'_>]) {
        let mut became: BTreeMap<&String, Vec<String>> = BTreeMap::new();
        for instance in instances.iter().filter(|instance| instance.block.kind == "target") {
            let names = became.entry(&instance.block.labels[0].0).or_default();
            if !names.contains(&instance.name) {
                names.push(instance.name.clone());
            }
        }
        for (label, names) in became {
            if names != [label.clone()] {
                self.groups.entry(label.clone()).or_insert(Group { description: None, targets: names });
            }
        }
    }
}

fn check(instance: &Instance<'_>) -> Result<(), Mistake> {
    let is_group = instance.block.kind == "group";
    let known = if is_group { &["description", "targets"][..] } else { &ATTRIBUTES[..] };
    let body = &instance.block.body;
    if let Some(other) = body.attributes.iter().find(|attribute| !known.contains(&attribute.name.as_str())) {
        return Err(unsupported(other, known.iter().copied()));
    }
    match body.blocks.first() {
        Some(inner) => {
            let mut detail = format!("Blocks of type {:?} are not expected here.", inner.kind);
            if known.contains(&inner.kind.as_str()) {
                detail += &format!(
                    " Did you mean to define argument {:?}? If so, use the equals sign to assign it a value.",
                    inner.kind
                );
            }
            Err(Mistake::new("Unsupported block type", detail).at(inner.place))
        }
        None => Ok(()),
    }
}

fn group(evaluator: &mut Evaluator<'_>, at: usize, instance: &Instance<'_>) -> Result<Group, Mistake> {
    let place = instance.block.place;
    if instance.block.body.attribute("targets").is_none() {
        let detail = "The argument \"targets\" is required, but no definition was found.";
        return Err(Mistake::new("Missing required argument", detail).at(place));
    }
    let description = evaluator.instance_attribute(at, "description", place)?.to_text();
    let mut holder = Target::default();
    let targets = evaluator.instance_attribute(at, "targets", place)?;
    holder.put("inherits", targets).map_err(|why| Mistake::new("Unsuitable value type", why).at(place))?;
    let mut seen = BTreeSet::new();
    holder.inherits.retain(|name| seen.insert(name.clone()));
    Ok(Group { description: description.filter(|text| !text.is_empty()), targets: holder.inherits })
}

fn target(evaluator: &mut Evaluator<'_>, at: usize, instance: &Instance<'_>) -> Result<Target, Mistake> {
    let mut target = Target::default();
    for attribute in &instance.block.body.attributes {
        if kind_of("target", &attribute.name).is_none() {
            continue;
        }
        let value = evaluator.instance_attribute(at, &attribute.name, attribute.place)?;
        target.put(&attribute.name, value).map_err(|why| {
            let detail = format!("Inappropriate value for attribute {:?}: {why}.", attribute.name);
            Mistake::new("Unsuitable value type", detail).at(attribute.value.place)
        })?;
    }
    Ok(target)
}
