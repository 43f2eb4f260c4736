//! Other spellings of a value: base64, CSV, JSON, URLs; digests and identifiers.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hako_base::random;
use md5::Digest as _;
use ring::digest::{self, Algorithm};

use super::{Arguments, Row, are_few, fits, list};
use crate::{builder::bake::language::value::Value, parse::csv};

pub(super) const FUNCTIONS: &[Row] = &[
    ("base64decode", 1, 1, decode),
    ("base64encode", 1, 1, |it| Ok(Value::text(STANDARD.encode(it.text(0)?)))),
    ("bcrypt", 1, 2, bcrypt),
    ("csvdecode", 1, 1, csv_decode),
    ("jsondecode", 1, 1, json_decode),
    ("jsonencode", 1, 1, |it| {
        let json = it.one(0).json();
        fits(json.len())?;
        Ok(Value::Text(json))
    }),
    ("md5", 1, 1, |it| Ok(Value::text(random::encode_hex(&md5::Md5::digest(it.text(0)?))))),
    ("rsadecrypt", 2, 2, |_| Err("it is not built: keep no private key in a bake file".to_owned())),
    ("sha1", 1, 1, |it| hashed(it, &digest::SHA1_FOR_LEGACY_USE_ONLY)),
    ("sha256", 1, 1, |it| hashed(it, &digest::SHA256)),
    ("sha512", 1, 1, |it| hashed(it, &digest::SHA512)),
    ("urlencode", 1, 1, url_encode),
    ("uuidv4", 0, 0, |_| Ok(Value::text(identifier(random::bytes(), 4)))),
    ("uuidv5", 2, 2, named),
];

/// Each more takes twice as long; this takes about a second.
const BCRYPT_COST_MAX: i128 = 14;
const BCRYPT_COST: i128 = 10;

/// Steps that a call takes.
pub(super) fn bcrypt_cost(asked: Option<&Value>) -> u64 {
    let asked = asked.and_then(|value| value.to_text()?.parse().ok()).unwrap_or(BCRYPT_COST);
    64 << asked.clamp(0, BCRYPT_COST_MAX)
}

fn hashed(it: &Arguments, algorithm: &'static Algorithm) -> Result<Value, String> {
    Ok(Value::text(random::encode_hex(digest::digest(algorithm, it.text(0)?.as_bytes()).as_ref())))
}

fn decode(it: &Arguments) -> Result<Value, String> {
    let text = it.text(0)?;
    let bytes = STANDARD.decode(&text).map_err(|_| format!("failed to decode base64 data {text:?}"))?;
    String::from_utf8(bytes).map(Value::Text).map_err(|_| "the result of decoding is not valid UTF-8".to_owned())
}

fn bcrypt(it: &Arguments) -> Result<Value, String> {
    let cost = if it.0.len() > 1 { it.whole(1)? } else { BCRYPT_COST };
    let cost = u32::try_from(cost).ok().filter(|_| (4..=BCRYPT_COST_MAX).contains(&cost));
    let cost = cost.ok_or_else(|| format!("the cost is between 4 and {BCRYPT_COST_MAX}"))?;
    let text = it.text(0)?;
    if text.len() > 72 {
        return Err("it hashes at most 72 bytes".to_owned());
    }
    let parts = bcrypt::hash_with_salt(text, cost, random::bytes()).map_err(|error| error.to_string())?;
    Ok(Value::text(parts.format_for_version(bcrypt::Version::TwoA)))
}

// Objects, whose attributes the first record names.
fn csv_decode(it: &Arguments) -> Result<Value, String> {
    let text = it.text(0)?;
    let mut records = Vec::new();
    let mut open = String::new();
    for line in text.lines() {
        // A record goes on while a quote is open.
        open.push_str(line);
        if open.matches('"').count() % 2 == 1 {
            open.push('\n');
            continue;
        }
        if !open.is_empty() {
            records.push(csv::fields(&open)?);
        }
        open.clear();
    }
    if !open.is_empty() {
        records.push(csv::fields(&open)?);
    }
    let mut records = records.into_iter();
    let names = records.next().ok_or("missing header line")?;
    if let Some(twice) = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)) {
        return Err(format!("duplicate column name {:?}", twice.1));
    }
    let mut made = Vec::new();
    for record in records {
        if record.len() != names.len() {
            return Err(format!("record {}: wrong number of fields", made.len() + 2));
        }
        are_few((made.len() + 1).saturating_mul(names.len()))?;
        made.push(Value::object(names.iter().map(String::as_str).zip(record.into_iter().map(Value::Text))));
    }
    Ok(list(made))
}

fn json_decode(it: &Arguments) -> Result<Value, String> {
    let value: serde_json::Value = serde_json::from_str(&it.text(0)?).map_err(|error| error.to_string())?;
    Ok(value.into())
}

fn url_encode(it: &Arguments) -> Result<Value, String> {
    let mut made = String::new();
    for byte in it.text(0)?.bytes() {
        match byte {
            b' ' => made.push('+'),
            b'-' | b'_' | b'.' | b'~' => made.push(byte.into()),
            _ if byte.is_ascii_alphanumeric() => made.push(byte.into()),
            _ => made += &format!("%{byte:02X}"),
        }
    }
    fits(made.len())?;
    Ok(Value::Text(made))
}

// Of a version, in the variant of RFC 9562.
fn identifier(mut bytes: [u8; 16], version: u8) -> String {
    bytes[6] = (bytes[6] & 0x0f) | (version << 4);
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex = random::encode_hex(&bytes);
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

// The same for the same name within the same space.
fn named(it: &Arguments) -> Result<Value, String> {
    let space = match it.text(0)?.as_str() {
        "dns" => "6ba7b810-9dad-11d1-80b4-00c04fd430c8".to_owned(),
        "url" => "6ba7b811-9dad-11d1-80b4-00c04fd430c8".to_owned(),
        "oid" => "6ba7b812-9dad-11d1-80b4-00c04fd430c8".to_owned(),
        "x500" => "6ba7b814-9dad-11d1-80b4-00c04fd430c8".to_owned(),
        other => other.to_owned(),
    };
    let digits: String = space.chars().filter(|c| *c != '-').collect();
    let number = (digits.len() == 32).then(|| u128::from_str_radix(&digits, 16).ok()).flatten();
    let number = number.ok_or_else(|| format!("uuidv5() doesn't support namespace {space}"))?;
    let mut text = number.to_be_bytes().to_vec();
    text.extend(it.text(1)?.as_bytes());
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &text);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.as_ref()[..16]);
    Ok(Value::text(identifier(bytes, 5)))
}
