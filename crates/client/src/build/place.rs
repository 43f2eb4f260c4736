//! The places in sources that a failed build names: the lines around them, as BuildKit's users know them.

use bollard_buildkit_proto::google::rpc;
use hako_api::text::base64_url_decode;
use prost::Message;
use serde::Deserialize;

/// By this name daemons send a place in a source, written as JSON.
const SOURCE: &str = "github.com/moby/buildkit/errdefs.Source+json";
/// Lines above and below one line, and around several.
const AROUND_ONE: usize = 2;
const AROUND_SEVERAL: usize = 1;

#[derive(Deserialize)]
struct Source {
    info: Info,
    #[serde(default)]
    ranges: Vec<Range>,
    /// What a daemon of ours shows itself.
    #[serde(default)]
    hako: Option<String>,
}

#[derive(Deserialize)]
struct Info {
    #[serde(default)]
    filename: String,
    /// In base64.
    #[serde(default)]
    data: String,
}

#[derive(Deserialize)]
struct Range {
    start: Place,
    #[serde(default)]
    end: Place,
}

#[derive(Default, Deserialize)]
struct Place {
    #[serde(default)]
    line: usize,
}

/// What is to be shown of the details of a status; empty for none.
pub(super) fn excerpts(details: &[u8]) -> String {
    let Ok(status) = rpc::Status::decode(details) else { return String::new() };
    let sources = status.details.iter().filter(|detail| detail.type_url == SOURCE);
    sources.filter_map(|detail| Some(excerpt(&serde_json::from_slice(&detail.value).ok()?))).collect()
}

fn excerpt(source: &Source) -> String {
    if let Some(own) = &source.hako {
        return own.clone();
    }
    let text = base64_url_decode(&source.info.data).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.split('\n').collect();
    let first = source.ranges.iter().map(|range| range.start.line).min().unwrap_or_default();
    let last = source.ranges.iter().map(|range| range.end.line.max(range.start.line)).max().unwrap_or_default();
    if first == 0 || first > lines.len() {
        return String::new();
    }
    let around = if first == last { AROUND_ONE } else { AROUND_SEVERAL };
    let is_meant = |line: usize| {
        source.ranges.iter().any(|range| (range.start.line..=range.end.line.max(range.start.line)).contains(&line))
    };
    let rule = "--------------------\n";
    let mut shown = format!("{}:{first}\n{rule}", source.info.filename);
    for line in first.saturating_sub(around).max(1)..=(last + around).min(lines.len()) {
        let mark = if is_meant(line) { ">>>" } else { "   " };
        shown.push_str(&format!(" {line:>3} | {mark} {}\n", lines[line - 1].trim_end_matches('\r')));
    }
    shown + rule
}

#[cfg(test)]
mod tests {
    use bollard_buildkit_proto::google::protobuf::Any;
    use expect_test::expect;

    use super::*;

    #[test]
    fn the_lines_around_a_place_are_shown() {
        // FROM a / RUN b \ / c / RUN d
        let json = r#"{"info":{"filename":"Dockerfile","data":"RlJPTSBhClJVTiBiIFwKICBjClJVTiBkCg=="},"ranges":[{"start":{"line":2},"end":{"line":3}}]}"#;
        let details = vec![Any { type_url: SOURCE.to_owned(), value: json.into() }];
        let status = rpc::Status { code: 2, message: String::new(), details };
        expect![[r#"
            Dockerfile:2
            --------------------
               1 |     FROM a
               2 | >>> RUN b \
               3 | >>>   c
               4 |     RUN d
            --------------------
        "#]]
        .assert_eq(&excerpts(&status.encode_to_vec()));
        assert_eq!(excerpts(b"\xff"), "");
        let json = json.replace("\"line\":2", "\"line\":99").replace("\"line\":3", "\"line\":99");
        let details = vec![Any { type_url: SOURCE.to_owned(), value: json.into_bytes() }];
        assert_eq!(excerpts(&rpc::Status { code: 2, message: String::new(), details }.encode_to_vec()), "");
    }
}
