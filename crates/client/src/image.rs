//! The rows of `/images` and `/commit`.

use hako_api::{
    Operation,
    auth::{self, AuthConfig, AuthResponse},
    container::ContainerConfig,
    image::{
        DistributionInspect, IdResponse, ImageDeleteItem, ImageDiff, ImageHistoryItem, ImageInspect, ImageLayerCheck,
        ImageLayerCost, ImagePruneResponse, ImageSummary, SearchItem,
    },
    progress::ProgressMessage,
    query::{
        ImageCommitQuery, ImageCreateQuery, ImageDiffQuery, ImageListQuery, ImageLoadQuery, ImagePlatformQuery,
        ImagePushQuery, ImageRemoveQuery, ImageSaveQuery, ImageSearchQuery, ImageTagQuery, ImageVerifyQuery,
        PruneQuery,
    },
};
use hyper::header::HeaderName;

use crate::{BodyReader, Client, ClientError, JsonStream, RequestBody};

impl Client {
    pub async fn image_list(&self, query: &ImageListQuery) -> Result<Vec<ImageSummary>, ClientError> {
        self.call(Operation::ImageList, &[]).query(query).read().await
    }

    /// `pull` (no body) or `import` (a tar); errors after the first line come in band.
    pub async fn image_create(
        &self,
        query: &ImageCreateQuery,
        credentials: Option<&AuthConfig>,
        body: RequestBody,
    ) -> Result<JsonStream<ProgressMessage>, ClientError> {
        let mut call = self.call(Operation::ImageCreate, &[]).query(query);
        if let Some(credentials) = credentials {
            call = call.header(HeaderName::from_static(AUTH_HEADER), &credentials.encode());
        }
        let body = call.tar(body).stream().await?;
        Ok(JsonStream::new(Operation::ImageCreate.name(), body))
    }

    /// Sends an image to its registry; errors after the first line come in band.
    pub async fn image_push(
        &self,
        name: &str,
        query: &ImagePushQuery,
        credentials: &AuthConfig,
    ) -> Result<JsonStream<ProgressMessage>, ClientError> {
        let call = self.call(Operation::ImagePush, &[name]).query(query);
        let body = call.header(HeaderName::from_static(AUTH_HEADER), &credentials.encode()).stream().await?;
        Ok(JsonStream::new(Operation::ImagePush.name(), body))
    }

    /// Repositories that a term matches, on Docker Hub or where the term says.
    pub async fn image_search(
        &self,
        query: &ImageSearchQuery,
        credentials: &AuthConfig,
    ) -> Result<Vec<SearchItem>, ClientError> {
        let call = self.call(Operation::ImageSearch, &[]).query(query);
        call.header(HeaderName::from_static(AUTH_HEADER), &credentials.encode()).read().await
    }

    /// What a registry has under a name.
    pub async fn distribution_inspect(
        &self,
        name: &str,
        credentials: &AuthConfig,
    ) -> Result<DistributionInspect, ClientError> {
        let call = self.call(Operation::DistributionInspect, &[name]);
        call.header(HeaderName::from_static(AUTH_HEADER), &credentials.encode()).read().await
    }

    /// Shows credentials to a registry.
    pub async fn system_auth(&self, credentials: &AuthConfig) -> Result<AuthResponse, ClientError> {
        self.call(Operation::SystemAuth, &[]).json(credentials)?.read().await
    }

    pub async fn image_inspect(&self, name: &str) -> Result<ImageInspect, ClientError> {
        self.call(Operation::ImageInspect, &[name]).read().await
    }

    pub async fn image_history(
        &self,
        name: &str,
        query: &ImagePlatformQuery,
    ) -> Result<Vec<ImageHistoryItem>, ClientError> {
        self.call(Operation::ImageHistory, &[name]).query(query).read().await
    }

    pub async fn image_tag(&self, name: &str, query: &ImageTagQuery) -> Result<(), ClientError> {
        self.call(Operation::ImageTag, &[name]).query(query).done().await
    }

    /// Looks at every layer closely; with `repair`, makes what is damaged what it was.
    pub async fn image_verify(
        &self,
        name: &str,
        query: &ImageVerifyQuery,
        credentials: &AuthConfig,
    ) -> Result<Vec<ImageLayerCheck>, ClientError> {
        let call = self.call(Operation::ImageVerify, &[name]).query(query);
        call.header(HeaderName::from_static(AUTH_HEADER), &credentials.encode()).read().await
    }

    pub async fn image_explain(&self, name: &str) -> Result<Vec<ImageLayerCost>, ClientError> {
        self.call(Operation::ImageExplain, &[name]).read().await
    }

    pub async fn image_diff(&self, name: &str, query: &ImageDiffQuery) -> Result<ImageDiff, ClientError> {
        self.call(Operation::ImageDiff, &[name]).query(query).read().await
    }

    pub async fn image_remove(
        &self,
        name: &str,
        query: &ImageRemoveQuery,
    ) -> Result<Vec<ImageDeleteItem>, ClientError> {
        self.call(Operation::ImageRemove, &[name]).query(query).read().await
    }

    pub async fn image_prune(&self, query: &PruneQuery) -> Result<ImagePruneResponse, ClientError> {
        self.call(Operation::ImagePrune, &[]).query(query).read().await
    }

    /// Gives the new image's id. `config` replaces the container's where it says something.
    pub async fn image_commit(
        &self,
        query: &ImageCommitQuery,
        config: Option<&ContainerConfig>,
    ) -> Result<String, ClientError> {
        let call = self.call(Operation::ImageCommit, &[]).query(query);
        let made: IdResponse = match config {
            Some(config) => call.json(config)?.read().await?,
            None => call.read().await?,
        };
        Ok(made.id)
    }

    /// A tar of the images named in the query.
    pub async fn image_save(&self, query: &ImageSaveQuery) -> Result<BodyReader, ClientError> {
        self.call(Operation::ImageSave, &[]).query(query).stream().await
    }

    /// A tar of one image.
    pub async fn image_save_one(&self, name: &str) -> Result<BodyReader, ClientError> {
        self.call(Operation::ImageSaveOne, &[name]).stream().await
    }

    /// Takes a tar of images; errors after the first line come in band.
    pub async fn image_load(
        &self,
        query: &ImageLoadQuery,
        tar: RequestBody,
    ) -> Result<JsonStream<ProgressMessage>, ClientError> {
        let body = self.call(Operation::ImageLoad, &[]).query(query).tar(tar).stream().await?;
        Ok(JsonStream::new(Operation::ImageLoad.name(), body))
    }
}

// `HeaderName` wants lower case.
const AUTH_HEADER: &str = {
    assert!(auth::HEADER.eq_ignore_ascii_case("x-registry-auth"));
    "x-registry-auth"
};
