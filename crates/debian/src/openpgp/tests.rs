//! Whose signature counts, and what does not pass for one.

use super::{
    forge::{Forge, MADE, Says, packet},
    *,
};

const NOW: u64 = MADE as u64 + 1000;
const TEXT: &str = "first  \n- dashed\n\nlast\n";

fn check(message: &str, keyring: &[u8]) -> Result<String, String> {
    let keyring = Keyring::parse(keyring).map_err(|error| error.to_string())?;
    verify(message, &keyring, NOW).map(|verified| verified.text).map_err(|error| error.to_string())
}

#[test]
fn a_signed_text_is_what_was_signed() {
    let forge = Forge::new();
    assert_eq!(check(&forge.sign(TEXT), &forge.certificate()), Ok(TEXT.to_owned()));
    let verified = verify(&forge.sign(TEXT), &Keyring::parse(&forge.certificate()).unwrap(), NOW).unwrap();
    assert_eq!(verified.signers[0].name, "A Forge");
    // As files travel through mail and editors.
    assert!(check(&forge.sign(TEXT).replace('\n', "\r\n"), &forge.certificate()).is_ok());
}

#[test]
fn every_changed_byte_of_the_text_is_found() {
    let forge = Forge::new();
    let message = forge.sign("Suite: stable\nDate: today\n");
    let start = message.find("Suite").unwrap();
    for at in start..message.find("-----BEGIN PGP SIGNATURE").unwrap() - 1 {
        let mut bytes = message.clone().into_bytes();
        bytes[at] ^= 1;
        let Ok(changed) = String::from_utf8(bytes) else { continue };
        assert!(check(&changed, &forge.certificate()).is_err(), "byte {at}");
    }
}

#[test]
fn nothing_unsigned_may_stand_beside() {
    let forge = Forge::new();
    let (message, keyring) = (forge.sign(TEXT), forge.certificate());
    for wrong in [
        format!("Suite: evil\n{message}"),
        format!("{message}Suite: evil\n"),
        message.replace("Hash: SHA256\n", "Hash: SHA256\nSuite: evil\n"),
        message.replace("-----BEGIN PGP SIGNATURE", "-----BEGIN PGP SOMETHING-----\n-----BEGIN PGP SIGNATURE"),
        TEXT.to_owned(),
        String::new(),
        message.split("-----BEGIN PGP SIGNATURE").next().unwrap().to_owned(),
    ] {
        assert!(check(&wrong, &keyring).is_err(), "{wrong}");
    }
}

#[test]
fn strangers_do_not_count_and_liars_are_named() {
    let (forge, other) = (Forge::new(), Forge::new());
    let error = check(&other.sign(TEXT), &forge.certificate()).unwrap_err();
    assert!(error.starts_with("no signature by a key of the keyring; it is signed by "), "{error}");
    let error = check(&forge.sign(TEXT).replace("last", "lost"), &forge.certificate()).unwrap_err();
    assert!(error.contains("(A Forge) does not match"), "{error}");
}

#[test]
fn time_ends_signatures_and_keys() {
    let forge = Forge::new();
    let old = Says { flags: Some(3), key_expires: Some(900), ..Says::default() };
    assert!(check(&forge.sign(TEXT), &forge.certificate_that(&old)).is_err());
    let alive = Says { key_expires: Some(1100), ..old };
    assert!(check(&forge.sign(TEXT), &forge.certificate_that(&alive)).is_ok());
    let over = Says { expires: Some(900), ..Says::default() };
    assert!(check(&forge.sign_that(TEXT, &over), &forge.certificate()).is_err());
    let keyring = Keyring::parse(&forge.certificate()).unwrap();
    assert!(verify(&forge.sign(TEXT), &keyring, u64::from(MADE) - 100_000).is_err(), "it is not made yet");
}

#[test]
fn a_revoked_key_and_one_that_may_not_sign_are_none() {
    let forge = Forge::new();
    let revocation = packet(2, &forge.signature(0x20, &forge.framed(), &Says::default()));
    let whole = forge.certificate();
    let key = packet(6, &forge.key());
    let revoked = [&key[..], &revocation, &whole[key.len()..]].concat();
    assert_eq!(check(&forge.sign(TEXT), &revoked).unwrap_err(), "the keyring has no key that may sign");
    let certifies = Says { flags: Some(1), ..Says::default() };
    assert!(check(&forge.sign(TEXT), &forge.certificate_that(&certifies)).is_err());
    // A name that the key did not sign says nothing.
    assert!(check(&forge.sign(TEXT), &[packet(6, &forge.key()), packet(13, b"X")].concat()).is_err());
}

#[test]
fn a_subkey_counts_if_both_say_so() {
    let (primary, subkey, thief) = (Forge::new(), Forge::new(), Forge::new());
    let about = [primary.framed(), subkey.framed()].concat();
    let back = subkey.signature(0x19, &about, &Says::default());
    let bound = |by: &Forge, flags, embedded| {
        let says = Says { flags: Some(flags), embedded, ..Says::default() };
        let binding = by.signature(0x18, &about, &says);
        [primary.certificate(), packet(14, &subkey.key()), packet(2, &binding)].concat()
    };
    let message = subkey.sign(TEXT);
    assert!(check(&message, &bound(&primary, 2, Some(back.clone()))).is_ok());
    assert!(check(&message, &bound(&primary, 2, None)).is_err(), "the subkey did not agree");
    assert!(check(&message, &bound(&primary, 12, Some(back.clone()))).is_err(), "it may encrypt alone");
    assert!(check(&message, &bound(&thief, 2, Some(back.clone()))).is_err(), "somebody else added it");
    let unbound = [primary.certificate(), packet(14, &subkey.key())].concat();
    assert!(check(&message, &unbound).is_err(), "nobody bound it");
    let revocation = packet(2, &primary.signature(0x28, &about, &Says::default()));
    assert!(check(&message, &[bound(&primary, 2, Some(back)), revocation].concat()).is_err(), "it was revoked");
}

#[test]
fn broken_packets_are_no_keys_and_no_panic() {
    let forge = Forge::new();
    let whole = forge.certificate();
    for length in 0..whole.len() {
        drop(Keyring::parse(&whole[..length]));
        let mut changed = whole.clone();
        changed[length] = changed[length].wrapping_add(0x80);
        drop(Keyring::parse(&changed));
    }
    assert_eq!(Keyring::parse(b"").unwrap_err(), SignatureError::NoKeys);
}
