//! Images from and to registries.

use std::collections::BTreeMap;

use hako_api::{
    progress::ProgressMessage,
    query::{ImageCreateQuery, ImagePushQuery},
};
use hako_client::{JsonStream, RequestBody};
use hako_model::Reference;

use super::Actor;
use crate::error::ApplyError;

impl Actor {
    /// Pulls an image, and tells how far it is.
    ///
    /// # Errors
    /// When the daemon cannot get it.
    pub async fn pull(&self, image: &str, service: &str) -> Result<(), ApplyError> {
        let reference = parsed(image)?.with_default_tag();
        let platform = self.project.services.get(service).map(|service| service.platform.clone());
        let query = ImageCreateQuery {
            from_image: reference.familiar_name(),
            tag: tag(&reference),
            platform: platform.filter(|platform| !platform.is_empty()),
            ..ImageCreateQuery::default()
        };
        let credentials = (self.credentials)(&reference);
        let pulling = async {
            let stream = self.client.image_create(&query, credentials.as_ref(), RequestBody::Empty).await?;
            self.follow(stream, image, "Pulling").await
        };
        let pulled = self.step("Image", image, ["Pulling", "Pulled"], pulling).await;
        pulled.map_err(|error| ApplyError::Pull(Box::new(error)))
    }

    /// Pushes an image.
    ///
    /// # Errors
    /// When the registry does not take it.
    pub async fn push(&self, image: &str) -> Result<(), ApplyError> {
        let reference = parsed(image)?.with_default_tag();
        let query = ImagePushQuery { tag: tag(&reference), platform: None };
        let credentials = (self.credentials)(&reference).unwrap_or_default();
        let pushing = async {
            let stream = self.client.image_push(&reference.familiar_name(), &query, &credentials).await?;
            self.follow(stream, image, "Pushing").await
        };
        self.step("Image", image, ["Pushing", "Pushed"], pushing).await
    }

    async fn follow(
        &self,
        mut stream: JsonStream<ProgressMessage>,
        image: &str,
        doing: &str,
    ) -> Result<(), ApplyError> {
        let mut layers = Layers::default();
        while let Some(message) = stream.next().await? {
            if let Some(error) = message.error_text() {
                return Err(ApplyError::Object { what: image.to_owned(), message: error.to_owned() });
            }
            if let Some(far) = layers.add(&message).filter(|_| !self.quiet_transfers) {
                self.say_detail("Image", image, doing, far);
            }
        }
        Ok(())
    }
}

/// How far each layer is.
#[derive(Default)]
struct Layers {
    of: BTreeMap<String, (i64, i64)>,
}

impl Layers {
    /// How far all are together, where that is known and has changed.
    fn add(&mut self, message: &ProgressMessage) -> Option<String> {
        let detail = message.progress_detail.as_ref().filter(|detail| detail.total > 0)?;
        self.of.insert(message.id.clone(), (detail.current, detail.total));
        let (current, total) = self.of.values().fold((0, 0), |sum, layer| (sum.0 + layer.0, sum.1 + layer.1));
        Some(format!("{:.1}/{:.1} MB", megabytes(current), megabytes(total)))
    }
}

fn megabytes(bytes: i64) -> f64 {
    // A tenth of a megabyte is shown: nothing is lost.
    f64::from(u32::try_from(bytes / 100_000).unwrap_or(u32::MAX)) / 10.0
}

fn parsed(image: &str) -> Result<Reference, ApplyError> {
    image.parse().map_err(|error| ApplyError::Said(format!("{image:?} is no name of an image: {error}")))
}

fn tag(reference: &Reference) -> String {
    reference.digest().map_or_else(|| reference.tag().unwrap_or_default().to_owned(), |digest| digest.to_string())
}

#[cfg(test)]
mod tests {
    use hako_api::progress::ProgressDetail;

    use super::*;

    #[test]
    fn layers_are_added_up() {
        let mut layers = Layers::default();
        let message = |id: &str, current, total| ProgressMessage {
            id: id.to_owned(),
            progress_detail: Some(ProgressDetail { current, total, ..ProgressDetail::default() }),
            ..ProgressMessage::default()
        };
        assert_eq!(layers.add(&message("a", 1_000_000, 3_000_000)).unwrap(), "1.0/3.0 MB");
        assert_eq!(layers.add(&message("b", 250_000, 1_000_000)).unwrap(), "1.2/4.0 MB");
        assert_eq!(layers.add(&message("a", 3_000_000, 3_000_000)).unwrap(), "3.2/4.0 MB");
        assert_eq!(layers.add(&message("a", 0, 0)), None);
    }
}
