//! Tokens for somebody who is not to have our password: which service a registry names, and a token from it.

use hyper::{Method, StatusCode};

use super::{
    Client, Credentials, RegistryError, Token, TokenAsk,
    auth::{Challenge, lifetime},
    exchange::Ask,
    login::registry_of,
    origin::Address,
    parsed,
};

impl Client {
    /// Where a registry has its tokens from; nothing: it takes none.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn token_service(&self, registry: &str) -> Result<Option<String>, RegistryError> {
        Ok(self.realm(registry).await?.map(|realm| realm.to_string()))
    }

    /// A token for what somebody else wants to do at a registry. A password is shown to the service that the registry
    /// itself names, whatever is asked for.
    ///
    /// # Errors
    /// When another service was meant, or it gives no token.
    pub async fn token_for(
        &self,
        registry: &str,
        ask: &TokenAsk,
        credentials: &Credentials,
    ) -> Result<Token, RegistryError> {
        if !credentials.registry_token.is_empty() {
            return Ok(Token { text: credentials.registry_token.clone(), lifetime: lifetime(None) });
        }
        let asked = Address::parse(&ask.realm).map(|address| address.to_string());
        let realm = self.realm(registry).await?.filter(|realm| Some(realm.to_string()) == asked);
        let Some(realm) = realm else {
            let TokenAsk { realm, .. } = ask;
            return Err(RegistryError::Invalid(format!(
                "{registry} has no tokens from {realm:?}: no password is shown"
            )));
        };
        self.token_fetch(&realm, &ask.service, &ask.scopes, credentials).await?.token(&realm)
    }

    async fn realm(&self, registry: &str) -> Result<Option<Address>, RegistryError> {
        let origin = self.origin(&registry_of(registry)).await?;
        let address = origin.at("/v2/");
        let answer = self.send(&Ask::new(Method::GET, address.clone())).await?;
        if answer.status != StatusCode::UNAUTHORIZED {
            return Ok(None);
        }
        let challenge = answer.header("www-authenticate").map(Challenge::parse).unwrap_or_default().into_iter().next();
        match challenge {
            Some(Challenge::Bearer { realm, .. }) => Ok(Some(self.trusted(parsed(&realm, &address)?))),
            _ => Ok(None),
        }
    }
}
