//! The server as its clients see it, request by request.

use std::fs;

use hako_registry::server::{Authorization, Settings};

use crate::place::{Folder, Place, digest, manifest};

fn place(change: impl FnOnce(&mut Settings)) -> (Folder, Place) {
    let folder = Folder::new();
    let place = Place::start(folder.path(), change);
    (folder, place)
}

#[test]
fn a_blob_comes_in_pieces_and_goes_on_after_a_restart() {
    let folder = Folder::new();
    let first = Place::start(folder.path(), |_| ());
    let bytes: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    let begun = first.send("POST", "/v2/a/b/blobs/uploads/", &[], b"");
    assert_eq!((begun.status, begun.header("Range")), (202, "0-0"));
    let place = begun.header("Location").to_owned();
    let piece = first.send("PATCH", &place, &[("Content-Range", "0-99999")], &bytes[..100_000]);
    assert_eq!((piece.status, piece.header("Range")), (202, "0-99999"));
    // A piece that leaves a gap, or comes twice, is refused, with where to go on.
    for range in ["200000-200009", "0-9"] {
        let gap = first.send("PATCH", &place, &[("Content-Range", range)], &bytes[..10]);
        assert_eq!((gap.status, gap.header("Range")), (416, "0-99999"), "{range}");
    }
    drop(first);
    let second = Place::start(folder.path(), |_| ());
    let status = second.get(&place);
    assert_eq!((status.status, status.header("Range")), (204, "0-99999"));
    let whole = digest(&bytes);
    let done = second.send(
        "PUT",
        &format!("{place}?digest={whole}"),
        &[("Content-Range", "100000-399999")],
        &bytes[100_000..],
    );
    assert_eq!((done.status, done.header("Docker-Content-Digest")), (201, whole.as_str()));
    assert_eq!(second.get(&format!("/v2/a/b/blobs/{whole}")).body, bytes);
    assert_eq!(second.get(&place).code(), "BLOB_UPLOAD_UNKNOWN");
    assert_eq!(fs::read_dir(folder.path().join("docker/registry/v2/repositories/a/b/_uploads")).unwrap().count(), 0);
}

#[test]
fn what_is_not_what_it_claims_to_be_is_refused_and_leaves_nothing() {
    let (folder, place) = place(|_| ());
    let wrong = digest(b"other");
    let answer = place.send("POST", &format!("/v2/a/blobs/uploads/?digest={wrong}"), &[], b"bytes");
    assert_eq!((answer.status, answer.code()), (400, "DIGEST_INVALID".to_owned()));
    let answer = place.send("POST", "/v2/a/blobs/uploads/?digest=md5:1", &[], b"bytes");
    assert_eq!((answer.status, answer.code()), (400, "DIGEST_INVALID".to_owned()));
    for path in
        ["/v2/../blobs/uploads/", "/v2/%2e%2e/blobs/uploads/", "/v2/A/blobs/uploads/", "/v2/a/_x/blobs/uploads/"]
    {
        assert_eq!(place.send("POST", path, &[], b"").code(), "NAME_INVALID", "{path}");
    }
    let config = place.blob("a", b"{}");
    let answer = place.manifest("a", &digest(b"x"), &manifest(&config, &[], ""));
    assert_eq!((answer.status, answer.code()), (400, "DIGEST_INVALID".to_owned()));
    let answer = place.manifest("a", "1", &manifest(&config, &[(&wrong, 5)], ""));
    assert_eq!((answer.status, answer.code()), (400, "MANIFEST_BLOB_UNKNOWN".to_owned()));
    assert_eq!(place.manifest("a", "1", "{\"schemaVersion\":1}").code(), "MANIFEST_INVALID");
    assert_eq!(place.manifest("a", "1", "nothing").code(), "MANIFEST_INVALID");
    let answer = place.manifest("a", ".x", "{}");
    assert_eq!((answer.status, answer.code()), (400, "TAG_INVALID".to_owned()));
    let large = vec![b' '; (4 << 20) + 1];
    assert_eq!(place.manifest("a", "1", std::str::from_utf8(&large).unwrap()).status, 413);
    assert_eq!(place.get("/v2/a/manifests/1").code(), "MANIFEST_UNKNOWN");
    let blobs = fs::read_dir(folder.path().join("docker/registry/v2/blobs/sha256")).unwrap().count();
    assert_eq!(blobs, 1, "only the configuration is there");
}

#[test]
fn blobs_are_read_by_range_and_mounted_elsewhere() {
    let (_folder, place) = place(|_| ());
    let blob = place.blob("a", b"0123456789");
    let path = format!("/v2/a/blobs/{blob}");
    let part = place.send("GET", &path, &[("Range", "bytes=3-5")], b"");
    assert_eq!((part.status, part.header("Content-Range"), part.text().as_str()), (206, "bytes 3-5/10", "345"));
    assert_eq!(place.send("GET", &path, &[("Range", "bytes=10-")], b"").status, 416);
    let head = place.send("HEAD", &path, &[], b"");
    assert_eq!((head.status, head.header("Content-Length"), head.body.len()), (200, "10", 0));
    // A blob of one repository is not another's, until it is mounted from one that has it.
    assert_eq!(place.get(&format!("/v2/b/blobs/{blob}")).code(), "BLOB_UNKNOWN");
    let mounted = place.send("POST", &format!("/v2/b/blobs/uploads/?mount={blob}&from=c"), &[], b"");
    assert_eq!(mounted.status, 202);
    let mounted = place.send("POST", &format!("/v2/b/blobs/uploads/?mount={blob}&from=a"), &[], b"");
    assert_eq!((mounted.status, mounted.header("Location")), (201, format!("/v2/b/blobs/{blob}").as_str()));
    assert_eq!(place.get(&format!("/v2/b/blobs/{blob}")).text(), "0123456789");
}

#[test]
fn manifests_are_kept_byte_for_byte_and_listed() {
    let (folder, place) = place(|_| ());
    let config = place.blob("a/x", b"{}");
    let text = manifest(&config, &[], ",\"annotations\":{ \"org.opencontainers.image.description\" : \"A  test\" }");
    for tag in ["3", "1", "latest", "2"] {
        let put = place.manifest("a/x", tag, &text);
        assert_eq!((put.status, put.header("Docker-Content-Digest")), (201, digest(text.as_bytes()).as_str()));
    }
    let read = place.get("/v2/a/x/manifests/latest");
    assert_eq!(
        (read.text(), read.header("Content-Type")),
        (text.clone(), "application/vnd.oci.image.manifest.v1+json")
    );
    let etag = format!("\"{}\"", digest(text.as_bytes()));
    assert_eq!(place.send("GET", "/v2/a/x/manifests/latest", &[("If-None-Match", &etag)], b"").status, 304);
    let page = place.get("/v2/a/x/tags/list?n=2&last=1");
    assert_eq!(page.text(), "{\"name\":\"a/x\",\"tags\":[\"2\",\"3\"]}");
    assert_eq!(page.header("Link"), "</v2/a/x/tags/list?last=3&n=2>; rel=\"next\"");
    assert_eq!(place.get("/v2/a/x/tags/list").text(), "{\"name\":\"a/x\",\"tags\":[\"1\",\"2\",\"3\",\"latest\"]}");
    assert_eq!(place.get("/v2/nosuch/tags/list").code(), "NAME_UNKNOWN");
    assert_eq!(place.get("/v2/_catalog").text(), "{\"repositories\":[\"a/x\"]}");
    assert_eq!(place.get("/v2/_catalog?n=x").code(), "PAGINATION_NUMBER_INVALID");
    let found: serde_json::Value = serde_json::from_slice(&place.get("/v1/search?q=test").body).unwrap();
    assert_eq!((&found["results"][0]["name"], &found["results"][0]["description"]), (&"a/x".into(), &"A test".into()));
    // The layout is the reference registry's.
    let link = folder.path().join("docker/registry/v2/repositories/a/x/_manifests/tags/latest/current/link");
    assert_eq!(fs::read_to_string(link).unwrap(), digest(text.as_bytes()));
}

#[test]
fn who_refers_to_a_manifest_is_told() {
    let (_folder, place) = place(|settings| settings.delete = true);
    let config = place.blob("a", b"{}");
    let text = manifest(&config, &[], "");
    let subject = digest(text.as_bytes());
    let about = format!(
        ",\"artifactType\":\"test/signature\",\"subject\":{{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"digest\":\"{subject}\",\"size\":{}}}",
        text.len()
    );
    let signature = manifest(&config, &[], &about);
    // A subject may come after what refers to it.
    let put = place.manifest("a", &digest(signature.as_bytes()), &signature);
    assert_eq!((put.status, put.header("OCI-Subject")), (201, subject.as_str()));
    let list = |query: &str| {
        let answer = place.get(&format!("/v2/a/referrers/{subject}{query}"));
        let index: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        let all: Vec<String> = index["manifests"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["digest"].as_str().unwrap().to_owned())
            .collect();
        (all, answer.header("OCI-Filters-Applied").to_owned())
    };
    assert_eq!(list(""), (vec![digest(signature.as_bytes())], String::new()));
    assert_eq!(list("?artifactType=other"), (vec![], "artifactType".to_owned()));
    assert_eq!(list("?artifactType=test/signature").0.len(), 1);
    assert_eq!(
        place.send("DELETE", &format!("/v2/a/manifests/{}", digest(signature.as_bytes())), &[], b"").status,
        202
    );
    assert_eq!(list("").0, [""; 0]);
}

#[test]
fn nothing_is_deleted_unless_that_is_allowed() {
    let folder = Folder::new();
    let strict = Place::start(folder.path(), |_| ());
    let config = strict.blob("a", b"{}");
    let text = manifest(&config, &[], "");
    strict.manifest("a", "1", &text);
    let manifest_path = format!("/v2/a/manifests/{}", digest(text.as_bytes()));
    for path in ["/v2/a/manifests/1", &manifest_path, &format!("/v2/a/blobs/{config}")] {
        assert_eq!(strict.send("DELETE", path, &[], b"").status, 405, "{path}");
    }
    drop(strict);
    let lenient = Place::start(folder.path(), |settings| settings.delete = true);
    lenient.manifest("a", "2", &text);
    assert_eq!(lenient.send("DELETE", "/v2/a/manifests/1", &[], b"").status, 202);
    assert_eq!(lenient.get("/v2/a/manifests/2").status, 200);
    assert_eq!(lenient.send("DELETE", &manifest_path, &[], b"").status, 202);
    assert_eq!(lenient.get("/v2/a/manifests/2").status, 404);
    assert_eq!(lenient.send("DELETE", &manifest_path, &[], b"").status, 404);
    drop(lenient);
    let closed = Place::start(folder.path(), |settings| settings.read_only = true);
    assert_eq!(closed.send("POST", "/v2/a/blobs/uploads/", &[], b"").status, 405);
}

#[test]
fn strangers_are_asked_for_a_password() {
    let folder = Folder::new();
    let file = folder.path().join("htpasswd");
    fs::write(&file, format!("me:{}\n", bcrypt_of("secret"))).unwrap();
    let realm = "here \"quoted\"".to_owned();
    let place = Place::start(folder.path(), |settings| {
        settings.authorization = Authorization::Htpasswd { realm, path: file };
    });
    let answer = place.get("/v2/");
    assert_eq!((answer.status, answer.header("WWW-Authenticate")), (401, "Basic realm=\"here quoted\""));
    assert_eq!(answer.code(), "UNAUTHORIZED");
    assert_eq!(place.get("/v2/nosuch/path").status, 401);
    assert_eq!(place.get("/v1/search?q=x").status, 401);
    // me:secret and me:wrong
    assert_eq!(place.send("GET", "/v2/", &[("Authorization", "Basic bWU6c2VjcmV0")], b"").status, 200);
    assert_eq!(place.send("GET", "/v2/", &[("Authorization", "Basic bWU6d3Jvbmc=")], b"").status, 401);
    assert_eq!(place.send("GET", "/v2/", &[("Authorization", "Bearer bWU6c2VjcmV0")], b"").status, 401);
}

fn bcrypt_of(password: &str) -> String {
    bcrypt::hash(password, 4).unwrap()
}
