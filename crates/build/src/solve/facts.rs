//! What a build knows of itself when it is over: for its provenance.

use hako_image::Image;
use hako_model::{Digest, Platform, Reference};
use jiff::Timestamp;

use super::{Solving, Trail, now};
use crate::{
    attest::{Facts, Material},
    language::{Instruction, Kind, Mount, MountKind, Network},
    plan::platform_text,
};

impl Solving {
    pub(super) fn facts(&self, started: Timestamp, trail: &Trail) -> Facts {
        let mut facts = Facts {
            materials: trail.materials.clone(),
            started: Some(started),
            finished: Some(now()),
            hermetic: true,
            steps: self.vertices.values().cloned().collect(),
            dockerfile: self.request.dockerfile.clone(),
            stacks: trail.stacks.clone(),
            ..Facts::default()
        };
        if let Some(source) = &self.request.source {
            let (uri, algorithm, digest) = (source.address.clone(), source.algorithm, source.digest.clone());
            facts.materials.insert(Material { uri, algorithm, digest });
        }
        let needed = self.plan.needed.iter().map(|index| &self.plan.stages[*index]);
        for instruction in needed.flat_map(|stage| &stage.instructions) {
            let Kind::Run { flags, .. } = &instruction.kind else { continue };
            facts.hermetic &= flags.network == Network::None;
            for mount in flags.mounts.iter().filter_map(|text| Mount::parse(text).ok()) {
                let id = || mount.id.clone().unwrap_or_else(|| "default".to_owned());
                match mount.kind {
                    MountKind::Secret => drop(facts.secrets.insert((id(), !mount.required))),
                    MountKind::Ssh => drop(facts.agents.insert((id(), !mount.required))),
                    _ => {}
                }
            }
        }
        facts
    }

    /// Remembers that an image was used, by what its registry knows it by if it is from one.
    pub(super) fn note_image_used(&self, name: &str, image: &Image, top: Option<Digest>) {
        let Ok(name) = name.parse::<Reference>() else { return };
        let name = name.with_default_tag();
        let own = image.repo_digests.iter().find(|known| known.familiar_name() == name.familiar_name());
        let digest = top.or_else(|| own.and_then(Reference::digest)).unwrap_or(image.id);
        let platform: &Platform = &image.platform;
        self.note_material(Material::image(&name, &platform_text(platform), digest));
    }

    /// Remembers what a step came to.
    pub(super) fn note_stack(&self, instruction: &Instruction, stack: Option<Digest>) {
        if let (Some(vertex), Some(stack)) = (self.vertex(instruction.lines.0), stack) {
            self.trail.lock().stacks.insert(vertex.id, stack);
        }
    }

    pub(super) fn note_material(&self, material: Material) {
        self.trail.lock().materials.insert(material);
    }
}
