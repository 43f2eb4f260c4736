//! Tokens: whose are believed, and what they open.

use std::fs;

use base64::{Engine, prelude::BASE64_STANDARD, prelude::BASE64_URL_SAFE_NO_PAD};
use hako_registry::server::{Authorization, TokenSettings};
use rcgen::{CertificateParams, KeyPair};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};

use crate::place::{Answer, Folder, Place, manifest};

/// One who signs.
struct Signer {
    certificate: rcgen::Certificate,
    key: EcdsaKeyPair,
}

impl Signer {
    fn new() -> Self {
        let pair = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["tokens.test".to_owned()]).unwrap().self_signed(&pair).unwrap();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let key = EcdsaKeyPair::from_pkcs8(algorithm, &pair.serialize_der(), &SystemRandom::new()).unwrap();
        Self { certificate, key }
    }

    fn sign(&self, header: &serde_json::Value, claims: &serde_json::Value) -> String {
        let part = |value: &serde_json::Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", part(header), part(claims));
        let signature = self.key.sign(&SystemRandom::new(), text.as_bytes()).unwrap();
        format!("{text}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }
}

fn claims(name: &str, actions: &[&str]) -> serde_json::Value {
    serde_json::json!({
        "iss": "the issuer", "aud": "the registry", "exp": 4_000_000_000_u64, "nbf": 0,
        "access": [{ "type": "repository", "name": name, "actions": actions }],
    })
}

fn place(signer: &Signer) -> (Folder, Place) {
    let folder = Folder::new();
    let bundle = folder.path().join("bundle.pem");
    fs::write(&bundle, signer.certificate.pem()).unwrap();
    let settings = TokenSettings {
        realm: "https://tokens.test/token".to_owned(),
        service: "the registry".to_owned(),
        issuer: "the issuer".to_owned(),
        bundle: Some(bundle),
        jwks: None,
    };
    let place = Place::start(folder.path(), |all| all.authorization = Authorization::Token(settings));
    (folder, place)
}

fn show(place: &Place, method: &str, path: &str, token: &str, body: &[u8]) -> Answer {
    place.send(method, path, &[("Authorization", &format!("Bearer {token}"))], body)
}

#[test]
fn a_token_opens_what_it_says_and_no_more() {
    let signer = Signer::new();
    let (_folder, place) = place(&signer);
    let header = serde_json::json!({ "alg": "ES256", "typ": "JWT" });
    let asked = place.get("/v2/a/tags/list");
    assert_eq!(asked.status, 401);
    assert_eq!(
        asked.header("WWW-Authenticate"),
        "Bearer realm=\"https://tokens.test/token\",service=\"the registry\",scope=\"repository:a:pull\""
    );
    assert_eq!(
        place.get("/v2/").header("WWW-Authenticate"),
        "Bearer realm=\"https://tokens.test/token\",service=\"the registry\""
    );
    let (pushes, pulls) =
        (signer.sign(&header, &claims("a", &["pull", "push"])), signer.sign(&header, &claims("a", &["pull"])));
    let put =
        show(&place, "POST", &format!("/v2/a/blobs/uploads/?digest={}", crate::place::digest(b"{}")), &pushes, b"{}");
    assert_eq!(put.status, 201);
    let text = manifest(&crate::place::digest(b"{}"), &[], "");
    assert_eq!(show(&place, "PUT", "/v2/a/manifests/1", &pushes, text.as_bytes()).status, 201);
    assert_eq!(show(&place, "GET", "/v2/a/manifests/1", &pulls, b"").status, 200);
    for (method, path) in [("PUT", "/v2/a/manifests/1"), ("GET", "/v2/b/tags/list"), ("GET", "/v2/_catalog")] {
        let answer = show(&place, method, path, &pulls, b"");
        assert_eq!((answer.status, answer.code()), (401, "UNAUTHORIZED".to_owned()), "{method} {path}");
        assert!(answer.header("WWW-Authenticate").ends_with(",error=\"insufficient_scope\""), "{method} {path}");
    }
    // What may not be read may not be mounted either: it is to be sent.
    let other = signer.sign(&header, &claims("b", &["pull", "push"]));
    let path = format!("/v2/b/blobs/uploads/?mount={}&from=a", crate::place::digest(b"{}"));
    assert_eq!(show(&place, "POST", &path, &other, b"").status, 202);
    assert!(
        place
            .send("POST", &path, &[], b"")
            .header("WWW-Authenticate")
            .contains("repository:b:pull,push repository:a:pull")
    );
}

#[test]
fn what_is_not_signed_for_us_by_ours_and_now_opens_nothing() {
    let (signer, stranger) = (Signer::new(), Signer::new());
    let (_folder, place) = place(&signer);
    let header = serde_json::json!({ "alg": "ES256" });
    let good = claims("a", &["pull"]);
    let with = |key: &str, value: serde_json::Value| {
        let mut claims = good.clone();
        claims[key] = value;
        signer.sign(&header, &claims)
    };
    let chain =
        |of: &Signer| serde_json::json!({ "alg": "ES256", "x5c": [BASE64_STANDARD.encode(of.certificate.der())] });
    let unsigned = format!(
        "{}.{}.",
        BASE64_URL_SAFE_NO_PAD.encode("{\"alg\":\"none\"}"),
        BASE64_URL_SAFE_NO_PAD.encode(good.to_string())
    );
    let check = |token: &str, expected: u16| {
        let answer = show(&place, "GET", "/v2/", token, b"");
        assert_eq!(answer.status, expected, "{token}");
        if expected == 401 {
            assert!(answer.header("WWW-Authenticate").ends_with(",error=\"invalid_token\""));
        }
    };
    check(&signer.sign(&header, &good), 200);
    check(&signer.sign(&chain(&signer), &good), 200);
    check(&with("aud", serde_json::json!(["x", "the registry"])), 200);
    check(&stranger.sign(&header, &good), 401);
    // Bringing one's own certificate makes nobody one of ours.
    check(&stranger.sign(&chain(&stranger), &good), 401);
    check(&stranger.sign(&chain(&signer), &good), 401);
    // CVE-2025-24976: nor does a bare key.
    let key = serde_json::json!({ "kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA" });
    check(&stranger.sign(&serde_json::json!({ "alg": "ES256", "jwk": key }), &good), 401);
    check(&with("iss", "another".into()), 401);
    check(&with("aud", "another".into()), 401);
    check(&with("exp", 1.into()), 401);
    check(&with("exp", serde_json::Value::Null), 401);
    check(&with("nbf", 3_900_000_000_u64.into()), 401);
    check(&unsigned, 401);
    check("nonsense", 401);
    check(&signer.sign(&serde_json::json!({ "alg": "HS256" }), &good), 401);
}
