//! Who we are at registries, as a build's session tells it: tokens if they are to be had here, the password else.
//!
//! A builder that asks for tokens is given a key first, made of a seed of ours and its own salt; by signing what it makes
//! up, a later session proves that it is the same person's, and that tokens from before are still theirs.

use bollard_buildkit_proto::moby::filesync::v1::{
    CredentialsRequest, CredentialsResponse, FetchTokenRequest, FetchTokenResponse, GetTokenAuthorityRequest,
    GetTokenAuthorityResponse, VerifyTokenAuthorityRequest, VerifyTokenAuthorityResponse, auth_server::Auth,
};
use ring::{
    hmac,
    signature::{Ed25519KeyPair, KeyPair},
};
use tonic::{Request, Response, Status};

use super::{TokenWish, Tokens, services::Services};

#[tonic::async_trait]
impl Auth for Services {
    async fn credentials(&self, request: Request<CredentialsRequest>) -> Result<Response<CredentialsResponse>, Status> {
        let host = request.into_inner().host;
        let domain = if host == "registry-1.docker.io" { "docker.io" } else { &host };
        let found = (self.0.credentials)(domain);
        Ok(Response::new(match found.identitytoken.as_str() {
            "" => CredentialsResponse { username: found.username, secret: found.password },
            token => CredentialsResponse { username: String::new(), secret: token.to_owned() },
        }))
    }

    async fn fetch_token(&self, request: Request<FetchTokenRequest>) -> Result<Response<FetchTokenResponse>, Status> {
        let FetchTokenRequest { host, realm, service, scopes, .. } = request.into_inner();
        let wish = TokenWish { host, realm, service, scopes };
        let given = self
            .tokens()?
            .token(wish)
            .await
            .map_err(|why| Status::unknown(format!("failed to fetch oauth token: {why}")))?;
        let expires_in = i64::try_from(given.lifetime_s).unwrap_or(i64::MAX);
        Ok(Response::new(FetchTokenResponse { token: given.text, expires_in, issued_at: 0 }))
    }

    async fn get_token_authority(
        &self,
        request: Request<GetTokenAuthorityRequest>,
    ) -> Result<Response<GetTokenAuthorityResponse>, Status> {
        let GetTokenAuthorityRequest { host, salt } = request.into_inner();
        let public_key = self.key(&host, &salt).await?.public_key().as_ref().to_vec();
        Ok(Response::new(GetTokenAuthorityResponse { public_key }))
    }

    async fn verify_token_authority(
        &self,
        request: Request<VerifyTokenAuthorityRequest>,
    ) -> Result<Response<VerifyTokenAuthorityResponse>, Status> {
        let VerifyTokenAuthorityRequest { host, payload, salt } = request.into_inner();
        let signature = self.key(&host, &salt).await?.sign(&payload);
        Ok(Response::new(VerifyTokenAuthorityResponse { signed: [signature.as_ref(), &payload].concat() }))
    }
}

impl Services {
    fn tokens(&self) -> Result<&dyn Tokens, Status> {
        self.0.tokens.as_deref().ok_or_else(|| Status::unimplemented("the builder fetches tokens itself"))
    }

    async fn key(&self, host: &str, salt: &[u8]) -> Result<Ed25519KeyPair, Status> {
        let seed = self.tokens()?.seed(host).await;
        // BuildKit takes this word for "ask for the password".
        let seed = seed.ok_or_else(|| Status::unavailable(format!("no tokens for {host} are to be had here")))?;
        key(&seed, salt).ok_or_else(|| Status::internal("a seed makes no key"))
    }
}

// Neither side alone says what the key is.
fn key(seed: &[u8], salt: &[u8]) -> Option<Ed25519KeyPair> {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, salt), seed);
    Ed25519KeyPair::from_seed_unchecked(tag.as_ref()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_of_the_seed_and_of_the_salt() {
        let of = |seed: &[u8], salt: &[u8]| key(seed, salt).unwrap().public_key().as_ref().to_vec();
        assert_eq!(of(b"seed", b"salt"), of(b"seed", b"salt"));
        assert_ne!(of(b"seed", b"salt"), of(b"other", b"salt"));
        assert_ne!(of(b"seed", b"salt"), of(b"seed", b"other"));
    }
}
