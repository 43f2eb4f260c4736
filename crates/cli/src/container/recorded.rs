//! What flags become, against what docker's CLI 28.2.2 was recorded to send for the same words.
//!
//! `recorded.jsonl` has one case a line. The first is the whole body for a bare image; the others
//! tell what differs from it, or the complaint in place of a body. `Env` is sorted, since docker
//! sends it in random order.

use serde_json::Value;

use super::{
    create_body::{self, Surroundings},
    create_flags::CreateFlags,
};
use crate::flag::FlagSet;

fn body(words: &[String]) -> Result<Value, String> {
    let mut flags = CreateFlags::default();
    let mut set = FlagSet::default();
    flags.bind(&mut set);
    let rest = set.parse(words, false).map_err(|error| error.to_string())?;
    drop(set);
    let around = Surroundings {
        image: &rest[0],
        command: &rest[1..],
        proxies: Vec::new(),
        console: [0, 0],
        socket: None,
        detach: false,
    };
    let mut body = serde_json::to_value(create_body::build(&flags, around)?).unwrap();
    if let Some(Value::Array(variables)) = body.get_mut("Env") {
        variables.sort_by_key(Value::to_string);
    }
    Ok(body)
}

// The two halves of the request that are objects are told by their members, the rest as a whole.
fn expected(bare: &Value, differences: &Value) -> Value {
    let mut whole = bare.clone();
    for (key, value) in differences.as_object().unwrap() {
        match (key.as_str(), value) {
            ("HostConfig" | "NetworkingConfig", Value::Object(members)) => {
                whole[key].as_object_mut().unwrap().extend(members.clone());
            }
            _ => whole[key] = value.clone(),
        }
    }
    whole
}

#[test]
fn the_same_words_make_the_same_request_as_dockers() {
    let mut cases = include_str!("recorded.jsonl").lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let bare = cases.next().unwrap()["body"].clone();
    assert_eq!(body(&["img".to_owned()]), Ok(bare.clone()));
    for case in cases {
        let words: Vec<String> = serde_json::from_value(case["args"].clone()).unwrap();
        let expected = match &case["error"] {
            Value::String(complaint) => Err(complaint.clone()),
            _ => Ok(expected(&bare, &case["body"])),
        };
        assert_eq!(body(&words), expected, "{words:?}");
    }
}
