//! JSON objects one after the other: progress and events.

use std::marker::PhantomData;

use serde::de::DeserializeOwned;

use crate::{BodyReader, ClientError, limits};

/// Reads objects as they come, whatever stands between them.
#[derive(Debug)]
pub struct JsonStream<T> {
    operation: &'static str,
    body: BodyReader,
    buffer: Vec<u8>,
    item: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> JsonStream<T> {
    pub(crate) fn new(operation: &'static str, body: BodyReader) -> Self {
        Self { operation, body, buffer: Vec::new(), item: PhantomData }
    }

    /// The next object; `None` at the end.
    ///
    /// # Errors
    /// When what comes is not such an object, or the connection breaks off.
    pub async fn next(&mut self) -> Result<Option<T>, ClientError> {
        loop {
            if let Some(object) = self.parse()? {
                return Ok(Some(object));
            }
            match self.body.chunk().await? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None if self.buffer.iter().all(u8::is_ascii_whitespace) => return Ok(None),
                None => {
                    let source = std::io::ErrorKind::UnexpectedEof.into();
                    return Err(ClientError::Stream { operation: self.operation, source });
                }
            }
            if self.buffer.len() > limits::OBJECT_BYTES_MAX {
                let bytes_max = limits::OBJECT_BYTES_MAX;
                return Err(ClientError::TooLong { operation: self.operation, bytes_max });
            }
        }
    }

    fn parse(&mut self) -> Result<Option<T>, ClientError> {
        let mut objects = serde_json::Deserializer::from_slice(&self.buffer).into_iter::<T>();
        let object = match objects.next() {
            Some(Ok(object)) => object,
            Some(Err(error)) if !error.is_eof() => {
                return Err(ClientError::Decode { operation: self.operation, source: error });
            }
            _ => return Ok(None),
        };
        let used = objects.byte_offset();
        self.buffer.drain(..used);
        Ok(Some(object))
    }
}
