//! What is there: containers, networks, volumes and images of a project, as the daemon shows them.

use std::collections::{BTreeMap, BTreeSet};

use hako_api::{
    Filters,
    container::{ContainerInspect, ContainerSummary},
    image::ImageInspect,
    query::{ContainerInspectQuery, ContainerListQuery, NetworkListQuery, VolumeListQuery},
};
use hako_client::{Client, ClientError};

use crate::{labels, project::Project, request};

/// A container of a project.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Seen {
    pub id: String,
    pub name: String,
    pub service: String,
    pub number: u32,
    pub one_off: bool,
    pub hash: String,
    pub image_id: String,
    pub state: String,
    pub networks: BTreeSet<String>,
    pub labels: BTreeMap<String, String>,
}

impl Seen {
    /// A line of the list.
    pub fn from_summary(it: &ContainerSummary) -> Self {
        let label = |key: &str| it.labels.get(key).cloned().unwrap_or_default();
        Self {
            id: it.id.clone(),
            name: it.names.first().map(|name| name.trim_start_matches('/').to_owned()).unwrap_or_default(),
            service: label(labels::SERVICE),
            number: label(labels::NUMBER).parse().unwrap_or(0),
            one_off: label(labels::ONE_OFF) == "True",
            hash: label(labels::HASH),
            image_id: label(labels::IMAGE),
            state: it.state.clone(),
            networks: it.network_settings.networks.keys().cloned().collect(),
            labels: it.labels.clone(),
        }
    }

    pub fn is_running(&self) -> bool {
        matches!(self.state.as_str(), "running" | "restarting")
    }
}

/// Everything that a plan must know of the daemon.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// Sorted by service and number.
    pub containers: Vec<Seen>,
    /// Names of all networks, and the project of each that has one.
    pub networks: BTreeMap<String, Option<String>>,
    pub volumes: BTreeMap<String, Option<String>>,
    /// Ids of the images that services want; none where the image is not there.
    pub images: BTreeMap<String, Option<String>>,
    /// Seconds since an image got its name here, by image name, where the daemon tells.
    pub image_ages: BTreeMap<String, i64>,
    /// The variables that an image sets by itself, by image name.
    pub image_variables: BTreeMap<String, Vec<String>>,
    /// Everything about the containers that are no longer as their file says.
    pub details: BTreeMap<String, ContainerInspect>,
}

/// The containers of a project, or of all projects.
///
/// # Errors
/// When the daemon does not answer.
pub async fn containers(
    client: &Client,
    project: Option<&str>,
    all: bool,
) -> Result<Vec<ContainerSummary>, ClientError> {
    let mut filters = Filters::default();
    filters
        .add("label", project.map_or_else(|| labels::PROJECT.to_owned(), |name| format!("{}={name}", labels::PROJECT)));
    client.container_list(&ContainerListQuery { all, filters, ..ContainerListQuery::default() }).await
}

/// Looks at everything that a plan for this project needs.
///
/// # Errors
/// When the daemon does not answer.
pub async fn observe(client: &Client, project: &Project) -> Result<Observed, ClientError> {
    // Asked once, not by all requests at the same time.
    client.version().await?;
    let query = NetworkListQuery::default();
    let volume_query = VolumeListQuery::default();
    let (summaries, networks, volumes, images) = tokio::try_join!(
        containers(client, Some(&project.name), true),
        client.network_list(&query),
        client.volume_list(&volume_query),
        images(client, project),
    )?;
    let owner = |labels: &BTreeMap<String, String>| labels.get(labels::PROJECT).cloned();
    let mut observed = Observed {
        containers: sorted(&summaries),
        networks: networks.into_iter().map(|it| (it.name, owner(&it.labels))).collect(),
        volumes: volumes.volumes.into_iter().map(|it| (it.name, it.labels.as_ref().and_then(owner))).collect(),
        ..Observed::default()
    };
    let now = hako_base::clock::now().as_second();
    for (name, found) in images {
        let Some(image) = found else {
            observed.images.insert(name, None);
            continue;
        };
        if let Ok(tagged) = image.metadata.last_tag_time.parse::<jiff::Timestamp>() {
            observed.image_ages.insert(name.clone(), now.saturating_sub(tagged.as_second()));
        }
        observed.images.insert(name.clone(), Some(image.id));
        observed.image_variables.insert(name, image.config.env.unwrap_or_default());
    }
    details(client, project, &mut observed).await?;
    Ok(observed)
}

fn sorted(summaries: &[ContainerSummary]) -> Vec<Seen> {
    let mut seen: Vec<Seen> = summaries.iter().map(Seen::from_summary).collect();
    seen.sort_by(|left, right| (&left.service, left.number).cmp(&(&right.service, right.number)));
    seen
}

type Image = (String, Option<ImageInspect>);

async fn images(client: &Client, project: &Project) -> Result<Vec<Image>, ClientError> {
    let names: BTreeSet<String> = project.services.values().map(|service| project.image_of(service)).collect();
    let asking: Vec<_> = names
        .into_iter()
        .map(|name| {
            let client = client.clone();
            tokio::spawn(async move {
                let found = client.image_inspect(&name).await;
                (name, found)
            })
        })
        .collect();
    let mut images = Vec::new();
    for task in asking {
        let (name, found) = match task.await {
            Ok(answer) => answer,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        let image = match found {
            Ok(image) => Some(image),
            Err(ClientError::Api { status: 404, .. }) => None,
            Err(error) => return Err(error),
        };
        images.push((name, image));
    }
    Ok(images)
}

// Only of those that will have to be replaced, so that the plan can say why.
async fn details(client: &Client, project: &Project, observed: &mut Observed) -> Result<(), ClientError> {
    let known = known(observed);
    for seen in &observed.containers {
        let Some(service) = project.services.get(&seen.service) else { continue };
        let wanted = request::resolved_hash(project, service, &known).unwrap_or_default();
        if seen.one_off || wanted == seen.hash {
            continue;
        }
        match client.container_inspect(&seen.id, &ContainerInspectQuery::default()).await {
            Ok(details) => drop(observed.details.insert(seen.id.clone(), details)),
            Err(ClientError::Api { status: 404, .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The containers that others may refer to.
pub fn known(observed: &Observed) -> request::Known {
    let mut known = request::Known::default();
    for seen in observed.containers.iter().filter(|seen| !seen.one_off) {
        known.containers.entry(seen.service.clone()).or_default().push((seen.name.clone(), seen.id.clone()));
    }
    known
}
