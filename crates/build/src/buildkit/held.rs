//! Who we are at registries, as the client of a build has it: its session gives tokens, and its password only to those
//! who have no other way.
//!
//! ```text
//!   GetTokenAuthority ──► a key ──► VerifyTokenAuthority: it is the session's ──► FetchToken, at each challenge
//!                    └─► none, or not proven ──► Credentials
//! ```
//! Tokens are remembered by the key, so that the next session of the same person, which proves the same key, has them too.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use bollard_buildkit_proto::moby::filesync::v1::{
    CredentialsRequest, FetchTokenRequest, FetchTokenResponse, GetTokenAuthorityRequest, VerifyTokenAuthorityRequest,
    auth_client::AuthClient,
};
use hako_base::{clock, random};
use hako_engine::view::{Answer, Answers, Credentials, Holder, Token, TokenAsk, lifetime};
use ring::signature::{ED25519, ED25519_PUBLIC_KEY_LEN, UnparsedPublicKey};
use tonic::{Status, transport::Channel};

/// How long a session may think: a person may be asked for the key to the keys.
const PATIENCE: Duration = Duration::from_secs(60);
/// What a signed message begins with.
const SIGNATURE_BYTES: usize = 64;

/// Of this daemon's life: keys of the next one are others.
static SALT: LazyLock<[u8; 32]> = LazyLock::new(random::bytes);

/// The credentials of a session for a registry.
pub(super) async fn credentials(client: AuthClient<Channel>, host: String) -> Credentials {
    let session = SessionAnswers { client, host };
    match session.authority().await {
        Some(key) => Credentials { holder: Some(Holder::new(key, Arc::new(session))), ..Credentials::default() },
        None => session.password().await,
    }
}

struct SessionAnswers {
    client: AuthClient<Channel>,
    host: String,
}

impl SessionAnswers {
    // The key of the session, if it has one and proves it.
    async fn authority(&self) -> Option<Vec<u8>> {
        let mut client = self.client.clone();
        let (host, salt) = (self.host.clone(), SALT.to_vec());
        let asked = GetTokenAuthorityRequest { host: host.clone(), salt: salt.clone() };
        let key = said(client.get_token_authority(asked).await).ok()?.public_key;
        let payload = random::bytes::<32>();
        let asked = VerifyTokenAuthorityRequest { host, payload: payload.to_vec(), salt };
        let signed = said(client.verify_token_authority(asked).await).ok()?.signed;
        is_proven(&key, &payload, &signed).then_some(key)
    }
}

impl Answers for SessionAnswers {
    fn token(&self, ask: TokenAsk) -> Answer<'_, Result<Token, String>> {
        let asked = FetchTokenRequest {
            client_id: "buildkit-client".to_owned(),
            host: self.host.clone(),
            realm: ask.realm,
            service: ask.service,
            scopes: ask.scopes,
        };
        let mut client = self.client.clone();
        Box::pin(async move {
            match tokio::time::timeout(PATIENCE, client.fetch_token(asked)).await {
                Ok(answer) => {
                    answer.map(|answer| read(answer.into_inner())).map_err(|status| status.message().to_owned())
                }
                Err(_) => Err(format!("the client gave no token for {} within {PATIENCE:?}", self.host)),
            }
        })
    }

    fn password(&self) -> Answer<'_, Credentials> {
        let mut client = self.client.clone();
        Box::pin(async move {
            let host = self.host.clone();
            match said(client.credentials(CredentialsRequest { host }).await) {
                Ok(answer) if answer.username.is_empty() => {
                    Credentials { identity_token: answer.secret, ..Credentials::default() }
                }
                Ok(answer) => {
                    Credentials { username: answer.username, password: answer.secret, ..Credentials::default() }
                }
                // Without credentials the registry may still answer; if not, it says so itself.
                Err(()) => Credentials::default(),
            }
        })
    }
}

fn said<T>(answer: Result<tonic::Response<T>, Status>) -> Result<T, ()> {
    answer.map(tonic::Response::into_inner).map_err(|status| tracing::debug!(%status, "a session gives no credentials"))
}

fn read(answer: FetchTokenResponse) -> Token {
    let since = |issued: i64| u64::try_from(clock::now().as_second() - issued).unwrap_or_default();
    let age = if answer.issued_at > 0 { Duration::from_secs(since(answer.issued_at)) } else { Duration::ZERO };
    let expires = u64::try_from(answer.expires_in).ok().filter(|seconds| *seconds > 0);
    Token { text: answer.token, lifetime: lifetime(expires).saturating_sub(age) }
}

// A signed message is the signature and the message, as NaCl has it.
fn is_proven(key: &[u8], payload: &[u8], signed: &[u8]) -> bool {
    let Some((signature, message)) = signed.split_at_checked(SIGNATURE_BYTES) else { return false };
    key.len() == ED25519_PUBLIC_KEY_LEN
        && message == payload
        && UnparsedPublicKey::new(&ED25519, key).verify(message, signature).is_ok()
}

#[cfg(test)]
mod tests {
    use ring::signature::{Ed25519KeyPair, KeyPair};

    use super::*;

    #[test]
    fn a_key_is_proven_by_what_was_just_asked() {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let key = pair.public_key().as_ref();
        let signed = |message: &[u8]| [pair.sign(message).as_ref(), message].concat();
        assert!(is_proven(key, b"now", &signed(b"now")));
        assert!(!is_proven(key, b"now", &signed(b"before")));
        assert!(!is_proven(&[1; 32], b"now", &signed(b"now")));
        assert!(!is_proven(&key[1..], b"now", &signed(b"now")));
        assert!(!is_proven(key, b"", b"short"));
    }

    #[test]
    fn a_token_is_used_for_as_long_as_it_holds() {
        let answer = |expires_in, issued_at| read(FetchTokenResponse { token: "t".into(), expires_in, issued_at });
        assert_eq!(answer(300, 0).lifetime, Duration::from_secs(290));
        assert_eq!(answer(0, 0).lifetime, Duration::from_secs(50));
        assert_eq!(answer(-5, 0).lifetime, Duration::from_secs(50));
        assert_eq!(answer(300, 1).lifetime, Duration::ZERO);
    }
}
