//! What is at an address of the web, as a stream: an archive that `import` is told to fetch.

use bytes::Bytes;
use hyper::Method;

use super::{
    Client, RegistryError,
    exchange::{Ask, Reading},
    origin::Address,
};

/// Bytes of an error page that are told.
const PAGE_BYTES_MAX: usize = 4 << 10;

/// Something that comes.
pub struct Fetching {
    answer: Reading,
    /// How much it will be, if the server says so.
    pub size: Option<u64>,
}

impl Client {
    /// Asks for what is at an address; one without a scheme is `http`, as in Docker. Redirects are followed.
    ///
    /// # Errors
    /// When it is no address, or nothing is to be had there.
    pub async fn fetch(&self, address: &str) -> Result<Fetching, RegistryError> {
        let whole = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
        let bad = || RegistryError::Invalid(format!("{address:?} is not an address: expected http:// or https://"));
        let target = Address::parse(&whole).ok_or_else(bad)?;
        let mut answer = self.ask(&Ask::new(Method::GET, target)).await?;
        if answer.status.is_success() {
            let size = answer.header("content-length").and_then(|text| text.parse().ok());
            return Ok(Fetching { answer, size });
        }
        let page = answer.collect("an error", PAGE_BYTES_MAX).await.unwrap_or_default();
        let page = String::from_utf8_lossy(&page);
        Err(RegistryError::Invalid(format!("failed to GET {whole} with status {}: {}", answer.status, page.trim())))
    }
}

impl Fetching {
    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// When it breaks off, or nothing comes for too long.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, RegistryError> {
        self.answer.chunk().await
    }
}
