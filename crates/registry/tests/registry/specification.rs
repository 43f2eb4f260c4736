//! The sentences of the distribution specification that say MUST to a registry, each as requests and answers.
//!
//! What `server.rs` shows already is not repeated here.

use crate::place::{Answer, Folder, Place, digest, manifest, sha512};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn place() -> (Folder, Place) {
    let folder = Folder::new();
    let place = Place::start(folder.path(), |settings| settings.delete = true);
    (folder, place)
}

/// A repository `a` with one image under the tag `1`; answers its manifest.
fn image(place: &Place) -> String {
    let config = place.blob("a", b"{}");
    let text = manifest(&config, &[], "");
    assert_eq!(place.manifest("a", "1", &text).status, 201);
    text
}

fn json(answer: &Answer) -> serde_json::Value {
    serde_json::from_slice(&answer.body).unwrap()
}

#[test]
fn a_head_is_a_get_without_its_body() {
    let (_folder, place) = place();
    let text = image(&place);
    let (whole, blob) = (digest(text.as_bytes()), digest(b"{}"));
    for path in [
        "/v2/".to_owned(),
        "/v2/_catalog".to_owned(),
        "/v2/a/tags/list".to_owned(),
        "/v2/a/manifests/1".to_owned(),
        format!("/v2/a/manifests/{whole}"),
        format!("/v2/a/blobs/{blob}"),
        format!("/v2/a/referrers/{whole}"),
    ] {
        let (get, head) = (place.get(&path), place.send("HEAD", &path, &[], b""));
        assert_eq!((get.status, head.status), (200, 200), "{path}");
        assert_eq!(head.body, b"", "{path}");
        for name in ["Content-Type", "Content-Length", "Docker-Content-Digest"] {
            assert_eq!(head.header(name), get.header(name), "{path} {name}");
        }
        assert_eq!(head.header("Content-Length"), get.body.len().to_string(), "{path}");
    }
    for path in ["/v2/a/manifests/2", &format!("/v2/a/blobs/{}", digest(b"x")), "/v2/nosuch/manifests/1"] {
        let head = place.send("HEAD", path, &[], b"");
        assert_eq!((head.status, head.body.len()), (404, 0), "{path}");
        assert_eq!(place.get(path).status, 404, "{path}");
    }
}

#[test]
fn a_refusal_says_what_may_be_done() {
    let (_folder, place) = place();
    let text = image(&place);
    let blob = digest(b"{}");
    for (method, path, allowed) in [
        ("POST", "/v2/".to_owned(), "GET, HEAD"),
        ("PUT", "/v2/a/tags/list".to_owned(), "GET, HEAD"),
        ("POST", "/v2/a/manifests/1".to_owned(), "GET, HEAD, PUT, DELETE"),
        ("PUT", format!("/v2/a/blobs/{blob}"), "GET, HEAD, DELETE"),
        ("GET", "/v2/a/blobs/uploads/".to_owned(), "POST"),
        ("DELETE", format!("/v2/a/referrers/{}", digest(text.as_bytes())), "GET, HEAD"),
    ] {
        let answer = place.send(method, &path, &[], b"");
        assert_eq!((answer.status, answer.header("Allow")), (405, allowed), "{method} {path}");
        assert_eq!(json(&answer)["errors"][0]["code"], "UNSUPPORTED", "{method} {path}");
    }
}

#[test]
fn what_a_client_has_is_not_sent_again() {
    let (_folder, place) = place();
    let text = image(&place);
    for (path, of) in [
        ("/v2/a/manifests/1".to_owned(), text.as_bytes()),
        (format!("/v2/a/blobs/{}", digest(b"{}")), b"{}".as_slice()),
    ] {
        let tag = place.get(&path).header("ETag").to_owned();
        assert_eq!(tag, format!("\"{}\"", digest(of)));
        let known = place.send("GET", &path, &[("If-None-Match", &format!("\"other\", {tag}"))], b"");
        assert_eq!((known.status, known.body.len(), known.header("ETag")), (304, 0, tag.as_str()), "{path}");
        assert_eq!(place.send("GET", &path, &[("If-None-Match", "\"other\"")], b"").status, 200, "{path}");
    }
    let gone = digest(b"not here");
    let tag = format!("\"{gone}\"");
    assert_eq!(place.send("GET", &format!("/v2/a/blobs/{gone}"), &[("If-None-Match", &tag)], b"").status, 404);
}

#[test]
fn a_manifest_that_cannot_be_kept_is_told_why() {
    let (_folder, place) = place();
    let text = image(&place);
    let long = "t".repeat(129);
    for tag in [".first", "a%20b", &long] {
        let answer = place.manifest("a", tag, &text);
        assert_eq!((answer.status, &json(&answer)["errors"][0]["code"]), (400, &"TAG_INVALID".into()), "{tag}");
        // Nobody can have put it there, so asking is no mistake.
        assert_eq!(place.get(&format!("/v2/a/manifests/{tag}")).status, 404, "{tag}");
    }
    let answer = place.manifest("a", "big", &format!("{{\"x\":\"{}\"}}", "a".repeat(5 << 20)));
    assert_eq!((answer.status, &json(&answer)["errors"][0]["code"]), (413, &"SIZE_INVALID".into()));
}

#[test]
fn an_upload_ends_with_put_however_its_pieces_came() {
    let (_folder, place) = place();
    let bytes = b"0123456789";
    // Without a range a piece is simply the next: clients stream so.
    let begun = place.send("POST", "/v2/a/blobs/uploads/", &[], b"");
    assert_eq!(begun.status, 202);
    let mut at = begun.header("Location").to_owned();
    assert!(at.split('/').any(|part| part == begun.header("Docker-Upload-UUID")), "{at}");
    for piece in [&bytes[..4], &bytes[4..]] {
        let answer = place.send("PATCH", &at, &[("Content-Type", "application/octet-stream")], piece);
        assert_eq!(answer.status, 202);
        at = answer.header("Location").to_owned();
    }
    let (status, closed) = (place.get(&at), place.send("PUT", &format!("{at}?digest={}", digest(bytes)), &[], b""));
    assert_eq!((status.status, status.header("Range"), status.header("Location")), (204, "0-9", at.as_str()));
    assert_eq!(closed.status, 201);
    assert_eq!(place.get(closed.header("Location")).body, bytes);
    // The last piece out of order, in the request that closes.
    let begun = place.send("POST", "/v2/a/blobs/uploads/", &[], b"");
    let at = begun.header("Location").to_owned();
    let closing = format!("{at}?digest={}", digest(bytes));
    let wrong = place.send("PUT", &closing, &[("Content-Range", "5-14")], bytes);
    assert_eq!((wrong.status, wrong.header("Location")), (416, at.as_str()));
    // The first piece begins at 0.
    assert_eq!(place.send("PATCH", &at, &[("Content-Range", "1-10")], bytes).status, 416);
    assert_eq!(place.send("PATCH", &at, &[("Content-Range", "a-b")], bytes).status, 400);
    assert_eq!(place.send("PUT", &closing, &[("Content-Range", "0-9")], bytes).status, 201);
    // Without a digest there is nothing to close with; the upload is still there.
    let begun = place.send("POST", "/v2/a/blobs/uploads/", &[], b"");
    let at = begun.header("Location").to_owned();
    let answer = place.send("PUT", &at, &[], bytes);
    assert_eq!((answer.status, answer.code()), (400, "DIGEST_INVALID".to_owned()));
    assert_eq!(place.send("DELETE", &at, &[], b"").status, 204);
    for (method, path) in
        [("GET", &at), ("PATCH", &at), ("DELETE", &at), ("PUT", &format!("{at}?digest={}", digest(b"")))]
    {
        let answer = place.send(method, path, &[], b"");
        assert_eq!((answer.status, answer.code()), (404, "BLOB_UPLOAD_UNKNOWN".to_owned()), "{method}");
    }
}

#[test]
fn content_has_digests_of_either_algorithm() {
    let folder = Folder::new();
    let place = Place::start(folder.path(), |_| ());
    let (bytes, long) = (&b"0123456789"[..], sha512(b"0123456789"));
    // At once; said when it begins; said only when it ends; after a restart.
    let whole = place.send("POST", &format!("/v2/a/blobs/uploads/?digest={long}"), &[], bytes);
    assert_eq!((whole.status, whole.header("Docker-Content-Digest")), (201, long.as_str()));
    assert_eq!(place.get(&format!("/v2/a/blobs/{long}")).body, bytes);
    for (name, query) in [("b", "?digest-algorithm=sha512"), ("c", "")] {
        let begun = place.send("POST", &format!("/v2/{name}/blobs/uploads/{query}"), &[], b"");
        let at = begun.header("Location").to_owned();
        assert_eq!(place.send("PATCH", &at, &[("Content-Range", "0-4")], &bytes[..5]).status, 202);
        let closed = place.send("PUT", &format!("{at}?digest={long}"), &[("Content-Range", "5-9")], &bytes[5..]);
        assert_eq!(closed.status, 201, "{name}");
        assert_eq!(place.get(&format!("/v2/{name}/blobs/{long}")).body, bytes, "{name}");
    }
    let refused = place.send("POST", "/v2/a/blobs/uploads/?digest-algorithm=md5", &[], b"");
    assert_eq!((refused.status, refused.code()), (400, "DIGEST_INVALID".to_owned()));
    let refused = place.send("POST", &format!("/v2/a/blobs/uploads/?digest={long}"), &[], b"other");
    assert_eq!((refused.status, refused.code()), (400, "DIGEST_INVALID".to_owned()));
    // Manifests, with blobs and subjects of the one and the other.
    let config = place.blob("a", b"{}");
    let text = manifest(&config, &[(&long, bytes.len())], "");
    let named = sha512(text.as_bytes());
    let put = place.manifest("a", &format!("{named}?tag=big"), &text);
    assert_eq!((put.status, put.header("Docker-Content-Digest")), (201, named.as_str()));
    for target in ["big", &named] {
        let read = place.get(&format!("/v2/a/manifests/{target}"));
        assert_eq!((read.text(), read.header("Docker-Content-Digest")), (text.clone(), named.as_str()));
    }
    let about =
        format!(",\"artifactType\":\"t/s\",\"subject\":{{\"mediaType\":\"x\",\"digest\":\"{named}\",\"size\":1}}");
    let put = place.manifest("a", "signature", &manifest(&config, &[], &about));
    assert_eq!(put.header("OCI-Subject"), named);
    assert_eq!(json(&place.get(&format!("/v2/a/referrers/{named}")))["manifests"].as_array().unwrap().len(), 1);
}

#[test]
fn one_push_sets_several_tags() {
    let (_folder, place) = place();
    let text = image(&place);
    let whole = digest(text.as_bytes());
    let tags: Vec<String> = (0..12).map(|number| format!("tag=v{number}")).collect();
    let put = place.manifest("a", &format!("{whole}?{}", tags.join("&")), &text);
    assert_eq!(put.status, 201);
    assert_eq!(put.header("OCI-Tag").split(", ").count(), 12);
    assert_eq!(place.get("/v2/a/manifests/v11").text(), text);
    assert_eq!(place.manifest("a", &format!("{whole}?tag=.x"), &text).code(), "TAG_INVALID");
    let many = vec!["tag=x"; 200].join("&");
    assert_eq!(place.manifest("a", &format!("{whole}?{many}"), &text).status, 414);
    assert_eq!(place.manifest("a", "2", &text).header("OCI-Tag"), "");
}

#[test]
fn a_manifest_names_everything_that_it_lacks() {
    let (_folder, place) = place();
    let (one, two) = (digest(b"1"), digest(b"2"));
    let config = place.blob("a", b"{}");
    let refused = place.manifest("a", "1", &manifest(&config, &[(&one, 1), (&two, 1)], ""));
    assert_eq!(refused.status, 400);
    let errors = json(&refused)["errors"].as_array().unwrap().clone();
    let named: Vec<&str> = errors.iter().map(|error| error["detail"]["digest"].as_str().unwrap()).collect();
    assert_eq!(named, [one.as_str(), two.as_str()]);
    assert!(errors.iter().all(|error| error["code"] == "MANIFEST_BLOB_UNKNOWN"), "{errors:?}");
    // What lives elsewhere need not be here.
    let text = manifest(&config, &[], "").replace(
        "\"layers\":[",
        &format!("\"layers\":[{{\"mediaType\":\"x\",\"digest\":\"{one}\",\"size\":1,\"urls\":[\"https://elsewhere.test/x\"]}}"),
    );
    assert_eq!(place.manifest("a", "1", &text).status, 201);
    // Parameters of the type are passed over.
    let kind = [("Content-Type", "application/vnd.oci.image.manifest.v1+json; charset=utf-8")];
    assert_eq!(place.send("PUT", "/v2/a/manifests/3", &kind, text.as_bytes()).status, 201);
    assert_eq!(place.get("/v2/a/manifests/3").header("Content-Type"), "application/vnd.oci.image.manifest.v1+json");
}

#[test]
fn tags_come_in_order_and_in_pages() {
    let (_folder, place) = place();
    let text = image(&place);
    for tag in ["b", "A", "_x", "a", "10", "2"] {
        place.manifest("a", tag, &text);
    }
    let tags = |query: &str| {
        let answer = place.get(&format!("/v2/a/tags/list{query}"));
        let value = json(&answer);
        assert_eq!(value["name"], "a");
        let list: Vec<String> =
            value["tags"].as_array().unwrap().iter().map(|tag| tag.as_str().unwrap().to_owned()).collect();
        (list.join(" "), answer.header("Link").to_owned())
    };
    assert_eq!(tags(""), ("1 10 2 A _x a b".to_owned(), String::new()));
    assert_eq!(tags("?n=0"), (String::new(), String::new()));
    assert_eq!(tags("?n=100"), ("1 10 2 A _x a b".to_owned(), String::new()));
    assert_eq!(tags("?n=3"), ("1 10 2".to_owned(), "</v2/a/tags/list?last=2&n=3>; rel=\"next\"".to_owned()));
    assert_eq!(tags("?n=3&last=2").0, "A _x a");
    assert_eq!(tags("?last=A").0, "_x a b");
    // A tag that is not there is a place in the order all the same.
    assert_eq!(tags("?last=1a&n=1").0, "2");
    // Deleting the last tag leaves a repository with an empty list.
    for tag in ["1", "b", "A", "_x", "a", "10", "2"] {
        assert_eq!(place.send("DELETE", &format!("/v2/a/manifests/{tag}"), &[], b"").status, 202);
        assert_eq!(place.get(&format!("/v2/a/manifests/{tag}")).status, 404);
    }
    assert_eq!(tags("").0, "");
    assert_eq!(place.get(&format!("/v2/a/manifests/{}", digest(text.as_bytes()))).status, 200);
}

#[test]
fn the_catalogue_comes_in_pages() {
    let (_folder, place) = place();
    for name in ["c", "a/b", "a"] {
        let config = place.blob(name, b"{}");
        place.manifest(name, "1", &manifest(&config, &[], ""));
    }
    let first = place.get("/v2/_catalog?n=2");
    assert_eq!(json(&first)["repositories"], serde_json::json!(["a", "a/b"]));
    assert_eq!(first.header("Link"), "</v2/_catalog?last=a%2Fb&n=2>; rel=\"next\"");
    let next = place.get("/v2/_catalog?last=a%2Fb&n=2");
    assert_eq!((json(&next)["repositories"].clone(), next.header("Link")), (serde_json::json!(["c"]), ""));
}

/// CVE-2023-2253: the old server made room for as many names as a client asked for, before it had one.
#[test]
fn a_page_is_as_long_as_there_are_names_whatever_is_asked() {
    let (_folder, place) = place();
    let config = place.blob("a", b"{}");
    place.manifest("a", "1", &manifest(&config, &[], ""));
    for path in ["/v2/_catalog?n=9000000000000000000", "/v2/a/tags/list?n=9000000000000000000"] {
        let page = place.get(path);
        assert_eq!((page.status, page.header("Link")), (200, ""), "{path}");
    }
    assert_eq!(place.get("/v2/_catalog?n=-1").code(), "PAGINATION_NUMBER_INVALID");
}

#[test]
fn referrers_say_what_they_are_and_old_lists_are_believed_only_where_they_are_true() {
    let (_folder, place) = place();
    let text = image(&place);
    let (config, subject) = (digest(b"{}"), digest(text.as_bytes()));
    let of = |digest: &str| {
        format!(
            ",\"subject\":{{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"digest\":\"{digest}\",\"size\":1}}"
        )
    };
    // Nothing refers to it, or to what is not here, or in a repository that is not: an empty list, never 404.
    for path in [format!("/v2/a/referrers/{subject}"), format!("/v2/nosuch/referrers/{subject}")] {
        let answer = place.get(&path);
        assert_eq!((answer.status, answer.header("Content-Type")), (200, INDEX));
        assert_eq!(json(&answer), serde_json::json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}));
    }
    for path in ["/v2/a/referrers/latest", "/v2/a/referrers/sha256:12"] {
        let answer = place.get(path);
        assert_eq!((answer.status, answer.code()), (400, "DIGEST_INVALID".to_owned()));
    }
    // The type is the manifest's, else its configuration's; an index without one has none.
    let plain = manifest(&config, &[], &format!("{},\"annotations\":{{\"k\":\"v\"}}", of(&subject)));
    assert_eq!(place.manifest("a", "plain", &plain).header("OCI-Subject"), subject);
    let index = format!("{{\"schemaVersion\":2,\"mediaType\":\"{INDEX}\",\"manifests\":[]{}}}", of(&subject));
    let put = place.send("PUT", "/v2/a/manifests/index", &[("Content-Type", INDEX)], index.as_bytes());
    assert_eq!((put.status, put.header("OCI-Subject")), (201, subject.as_str()));
    let answer = place.get(&format!("/v2/a/referrers/{subject}"));
    assert_eq!(answer.header("OCI-Filters-Applied"), "");
    let listed = json(&answer)["manifests"].as_array().unwrap().clone();
    assert_eq!(listed.len(), 2);
    for one in &listed {
        if one["mediaType"] == INDEX {
            assert!(one.get("artifactType").is_none(), "{one}");
        } else {
            assert_eq!(one["artifactType"], "application/vnd.oci.image.config.v1+json");
            assert_eq!(one["annotations"]["k"], "v");
            assert_eq!(one["size"], plain.len());
        }
    }
    // A list that a client kept under the tag: one entry is true, one refers to something else, one is not here.
    let (true_one, other) =
        (manifest(&config, &[], &format!("{},\"x\":1", of(&subject))), manifest(&config, &[], ",\"x\":2"));
    for text in [&true_one, &other] {
        place.manifest("b", &digest(text.as_bytes()), text);
        place.blob("b", b"{}");
        assert_eq!(place.manifest("b", &digest(text.as_bytes()), text).status, 201);
    }
    let entry = |digest: &str| format!("{{\"mediaType\":\"x\",\"digest\":\"{digest}\",\"size\":9}}");
    let list = [digest(true_one.as_bytes()), digest(other.as_bytes())].map(|digest| entry(&digest)).join(",");
    let list = format!("{{\"schemaVersion\":2,\"mediaType\":\"{INDEX}\",\"manifests\":[{list}]}}");
    let tag = subject.replace(':', "-");
    assert_eq!(
        place.send("PUT", &format!("/v2/b/manifests/{tag}"), &[("Content-Type", INDEX)], list.as_bytes()).status,
        201
    );
    let listed = json(&place.get(&format!("/v2/b/referrers/{subject}")))["manifests"].clone();
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["size"]), (1, &true_one.len().into()));
}

#[test]
fn referrers_too_many_for_one_manifest_come_in_pages() {
    let (_folder, place) = place();
    let text = image(&place);
    let (config, subject) = (digest(b"{}"), digest(text.as_bytes()));
    let long = "x".repeat(1_500_000);
    for number in 0..4 {
        let more = format!(
            ",\"artifactType\":\"a+b\",\"annotations\":{{\"long\":\"{long}\",\"n\":\"{number}\"}},\"subject\":{{\"mediaType\":\"x\",\"digest\":\"{subject}\",\"size\":1}}"
        );
        let text = manifest(&config, &[], &more);
        assert_eq!(place.manifest("a", &digest(text.as_bytes()), &text).status, 201);
    }
    let mut seen = Vec::new();
    let mut next = format!("/v2/a/referrers/{subject}?artifactType=a%2Bb");
    for _ in 0..2 {
        let answer = place.get(&next);
        assert!(answer.body.len() <= 4 << 20);
        assert_eq!(answer.header("OCI-Filters-Applied"), "artifactType");
        for one in json(&answer)["manifests"].as_array().unwrap() {
            seen.push(one["annotations"]["n"].as_str().unwrap().to_owned());
        }
        next = answer.header("Link").trim_start_matches('<').split('>').next().unwrap().to_owned();
    }
    seen.sort();
    assert_eq!((seen.concat(), next.as_str()), ("0123".to_owned(), ""));
}

#[test]
fn what_is_deleted_is_gone_and_what_is_not_there_is_404() {
    let (_folder, place) = place();
    let text = image(&place);
    let (whole, config) = (digest(text.as_bytes()), digest(b"{}"));
    for path in [
        "/v2/nosuch/manifests/1".to_owned(),
        format!("/v2/nosuch/manifests/{whole}"),
        format!("/v2/nosuch/blobs/{config}"),
        format!("/v2/a/blobs/{}", digest(b"x")),
        format!("/v2/a/manifests/{}", digest(b"x")),
    ] {
        assert_eq!(place.send("DELETE", &path, &[], b"").status, 404, "{path}");
    }
    assert_eq!(place.send("DELETE", &format!("/v2/a/manifests/{whole}"), &[], b"").status, 202);
    assert_eq!(
        (place.get(&format!("/v2/a/manifests/{whole}")).status, place.get("/v2/a/manifests/1").status),
        (404, 404)
    );
    assert_eq!(place.send("DELETE", &format!("/v2/a/blobs/{config}"), &[], b"").status, 202);
    assert_eq!(place.get(&format!("/v2/a/blobs/{config}")).status, 404);
    assert_eq!(place.send("HEAD", &format!("/v2/a/blobs/{config}"), &[], b"").status, 404);
}
