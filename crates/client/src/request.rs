//! One request, one answer.

use bytes::Bytes;
use hako_api::{Operation, Route, error::ErrorResponse, query::Query};
use hyper::{
    HeaderMap, Request, Response,
    body::Incoming,
    header::{self, HeaderName, HeaderValue},
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{BodyReader, Client, ClientError, RequestBody, hijack::Hijacked, limits};

/// An answer as it came: any status, nothing interpreted.
#[derive(Debug)]
pub struct RawResponse {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: BodyReader,
}

/// A request being put together.
pub(crate) struct Call<'a> {
    client: &'a Client,
    route: &'static Route,
    path: String,
    query: Query,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: RequestBody,
}

impl Client {
    /// A request of a row, with the values of its path's parameters.
    pub(crate) fn call(&self, operation: Operation, values: &[&str]) -> Call<'_> {
        let route = operation.route();
        Call {
            client: self,
            route,
            path: route.fill(values),
            query: Query::default(),
            headers: Vec::new(),
            body: RequestBody::Empty,
        }
    }

    /// The JSON answer of a row that has one, byte for byte: `inspect` prints what the daemon said.
    ///
    /// # Errors
    /// When the daemon does not answer, or with an error.
    pub async fn bytes(&self, operation: Operation, values: &[&str], query: &Query) -> Result<Bytes, ClientError> {
        self.call(operation, values).query(query.clone()).bytes().await
    }

    /// Any request at all. `target` is the path with its query, and is sent with the negotiated
    /// version before it unless it begins with a version of its own.
    ///
    /// # Errors
    /// When there is no answer; a bad status is an answer.
    pub async fn raw(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: RequestBody,
    ) -> Result<RawResponse, ClientError> {
        let operation = "request";
        let versioned = hako_api::route::split_version(target).0.is_some();
        let target = if versioned { target.to_owned() } else { format!("/v{}{target}", self.version().await?) };
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body).map_err(|source| ClientError::Request { operation, source })?;
        let (response, _) = self.send(operation, request).await?;
        let (head, body) = response.into_parts();
        Ok(RawResponse { status: head.status.as_u16(), headers: head.headers, body: BodyReader::new(operation, body) })
    }

    /// Sends a request, on an idle connection if there is one; gives the connection back for
    /// keeping once the body has been read.
    pub(crate) async fn send(
        &self,
        operation: &'static str,
        mut request: Request<RequestBody>,
    ) -> Result<(Response<Incoming>, hyper::client::conn::http1::SendRequest<RequestBody>), ClientError> {
        let host = HeaderValue::from_str(self.inner.host.header())
            .map_err(|error| ClientError::Request { operation, source: error.into() })?;
        for (name, value) in &self.inner.headers {
            request.headers_mut().entry(name).or_insert_with(|| value.clone());
        }
        request.headers_mut().insert(header::HOST, host);
        request.headers_mut().insert(header::USER_AGENT, self.inner.user_agent.clone());
        let (mut sender, was_idle) = self.connection().await?;
        match sender.try_send_request(request).await {
            Ok(response) => Ok((response, sender)),
            // The daemon closed the idle connection before it saw the request: a new one is safe.
            Err(mut error) if was_idle && error.message().is_some() => {
                let request = error.take_message().expect("asked for in the line above");
                let mut sender = self.connect().await?;
                let sent = sender.send_request(request).await;
                Ok((sent.map_err(|source| ClientError::Transport { operation, source })?, sender))
            }
            Err(error) => Err(ClientError::Transport { operation, source: error.into_error() }),
        }
    }
}

impl Call<'_> {
    pub(crate) fn query(mut self, query: impl Into<Query>) -> Self {
        self.query = query.into();
        self
    }

    pub(crate) fn header(mut self, name: HeaderName, value: &str) -> Self {
        // Values that are not header text (they are base64 here) are left out rather than cut.
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
        self
    }

    pub(crate) fn json(mut self, body: &impl Serialize) -> Result<Self, ClientError> {
        let operation = self.route.operation.name();
        let bytes = serde_json::to_vec(body).map_err(|source| ClientError::Encode { operation, source })?;
        self.body = RequestBody::Bytes(bytes.into());
        Ok(self.header(header::CONTENT_TYPE, "application/json"))
    }

    pub(crate) fn tar(mut self, body: RequestBody) -> Self {
        self.body = body;
        self.header(header::CONTENT_TYPE, "application/x-tar")
    }

    /// The answer's head, once it is not an error; the rest is to be streamed.
    pub(crate) async fn start(self) -> Result<Response<Incoming>, ClientError> {
        Ok(self.begin().await?.0)
    }

    /// The answer's body, to be streamed.
    pub(crate) async fn stream(self) -> Result<BodyReader, ClientError> {
        let operation = self.route.operation.name();
        Ok(BodyReader::new(operation, self.start().await?.into_body()))
    }

    /// The whole body.
    pub(crate) async fn bytes(self) -> Result<Bytes, ClientError> {
        let (client, operation) = (self.client, self.route.operation.name());
        let (response, sender) = self.begin().await?;
        let bytes = BodyReader::new(operation, response.into_body()).collect(limits::ANSWER_BYTES_MAX).await?;
        client.keep(sender);
        Ok(bytes)
    }

    /// The whole body, parsed.
    pub(crate) async fn read<T: DeserializeOwned>(self) -> Result<T, ClientError> {
        let operation = self.route.operation.name();
        serde_json::from_slice(&self.bytes().await?).map_err(|source| ClientError::Decode { operation, source })
    }

    /// Nothing but that it went well.
    pub(crate) async fn done(self) -> Result<(), ClientError> {
        self.bytes().await.map(drop)
    }

    /// The connection itself, after `101 UPGRADED`.
    pub(crate) async fn hijack(self) -> Result<Hijacked, ClientError> {
        self.hijack_as("tcp").await
    }

    /// The connection itself, for this protocol.
    pub(crate) async fn hijack_as(self, protocol: &str) -> Result<Hijacked, ClientError> {
        let call = self.header(header::CONNECTION, "Upgrade").header(header::UPGRADE, protocol);
        let operation = call.route.operation.name();
        let response = call.start().await?;
        Hijacked::from_response(operation, response).await
    }

    async fn begin(
        self,
    ) -> Result<(Response<Incoming>, hyper::client::conn::http1::SendRequest<RequestBody>), ClientError> {
        let operation = self.route.operation.name();
        let version = self.client.version().await?;
        let separator = if self.query.is_empty() { "" } else { "?" };
        let target = format!("/v{version}{}{separator}{}", self.path, self.query);
        let mut request = Request::builder().method(self.route.method.name()).uri(target);
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        let request = request.body(self.body).map_err(|source| ClientError::Request { operation, source })?;
        let (response, sender) = self.client.send(operation, request).await?;
        let status = response.status().as_u16();
        if (200..300).contains(&status) || status == 101 {
            return Ok((response, sender));
        }
        Err(read_error(operation, self.path, response).await)
    }
}

/// The daemon's sentence. A 304 has none.
pub(crate) async fn read_error(operation: &'static str, path: String, response: Response<Incoming>) -> ClientError {
    let status = response.status().as_u16();
    let body = match BodyReader::new(operation, response.into_body()).collect(limits::ERROR_BYTES_MAX).await {
        Ok(body) => body,
        Err(error) => return error,
    };
    let message = match serde_json::from_slice::<ErrorResponse>(&body) {
        Ok(error) => error.message,
        // Daemons before 1.24 and proxies answer in plain text.
        Err(_) => String::from_utf8_lossy(&body).trim().to_owned(),
    };
    let message = if message.is_empty() && status != 304 {
        format!(
            "request returned {status} for API route {path}, check if the server supports the requested API version"
        )
    } else {
        message
    };
    ClientError::Api { status, message }
}
