//! The rows of `/exec`.

use hako_api::{
    Operation,
    container::{ExecCreateRequest, ExecInspect, ExecStartRequest},
    image::IdResponse,
    query::ResizeQuery,
};

use crate::{Client, ClientError, Hijacked};

impl Client {
    pub async fn exec_create(&self, container: &str, request: &ExecCreateRequest) -> Result<String, ClientError> {
        let made: IdResponse = self.call(Operation::ExecCreate, &[container]).json(request)?.read().await?;
        Ok(made.id)
    }

    /// Starts it and attaches to it.
    pub async fn exec_start(&self, id: &str, request: &ExecStartRequest) -> Result<Hijacked, ClientError> {
        self.call(Operation::ExecStart, &[id]).json(request)?.hijack().await
    }

    /// Starts it and leaves it to itself.
    pub async fn exec_start_detached(&self, id: &str, request: &ExecStartRequest) -> Result<(), ClientError> {
        let request = ExecStartRequest { detach: true, ..request.clone() };
        self.call(Operation::ExecStart, &[id]).json(&request)?.done().await
    }

    pub async fn exec_resize(&self, id: &str, query: &ResizeQuery) -> Result<(), ClientError> {
        self.call(Operation::ExecResize, &[id]).query(query).done().await
    }

    pub async fn exec_inspect(&self, id: &str) -> Result<ExecInspect, ClientError> {
        self.call(Operation::ExecInspect, &[id]).read().await
    }
}
