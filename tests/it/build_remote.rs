//! Builds from somewhere else: git repositories, tars and Dockerfiles at addresses; and `ADD` of those.

use expect_test::expect;
use hako_testkit::{Host, needs, require};

/// A web server of the test's own: files of `www`, and the repositories in `git` by git's smart protocol.
const SERVER: &str = r#"
import http.server, os, subprocess, sys

class Handler(http.server.SimpleHTTPRequestHandler):
    def __init__(self, *words):
        super().__init__(*words, directory="www")

    def git(self, command, kind, head=b"", body=b""):
        name = self.path.split("?")[0].split("/")[1]
        if name.startswith("private") and self.headers.get("Authorization") != "Basic eC1hY2Nlc3MtdG9rZW46aHVzaA==":
            return self.send_error(401)
        if not os.path.isdir("git/" + name):
            return self.send_error(404)
        told = subprocess.run(["git", "upload-pack", "--stateless-rpc", *command, "git/" + name], input=body, capture_output=True)
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(head + told.stdout)

    def do_GET(self):
        if "/info/refs?service=git-upload-pack" in self.path:
            kind = "application/x-git-upload-pack-advertisement"
            return self.git(["--advertise-refs"], kind, b"001e# service=git-upload-pack\n0000")
        super().do_GET()

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.git([], "application/x-git-upload-pack-result", body=body)

server = http.server.ThreadingHTTPServer(("127.0.0.1", 8000), Handler)
open("serving", "w").write("yes")
server.serve_forever()
"#;

const AS_ME: &str =
    "git -c user.name=me -c user.email=me@host -c init.defaultBranch=main -c protocol.file.allow=always";

fn serve(host: &Host) {
    host.write("server.py", SERVER);
    host.run("mkdir -p www git; python3 server.py > server.log 2>&1 < /dev/null &").success();
    host.wait_until("the server", |host| host.run("cat serving"), |shown| shown.text() == "yes");
}

/// A repository with a branch `main`, a tag `v1` and a submodule.
fn repository(host: &Host) {
    host.run(&format!(
        "mkdir lib && cd lib && {AS_ME} init -q && echo lib > file && {AS_ME} add . && {AS_ME} commit -qm lib && cd .. && \
         git clone -q --bare lib git/lib.git && \
         mkdir -p repo/app && cd repo && {AS_ME} init -q && ln -s /etc out && ln -s app link && echo one > app/file && \
         printf 'FROM busybox\\nCOPY . /ctx\\nRUN find /ctx | sort; cat /ctx/file\\n' > app/Dockerfile && \
         printf 'FROM busybox\\nCOPY . /ctx\\nRUN cat /ctx/vendor/lib/file; ls -a /ctx | tr \"\\\\n\" \" \"\\n' > Dockerfile && \
         {AS_ME} add . && GIT_COMMITTER_DATE='1700000000 +0000' {AS_ME} commit -qm first && {AS_ME} tag -am first v1 && \
         echo two > app/file && {AS_ME} add . && {AS_ME} commit -qm second && \
         {AS_ME} submodule --quiet add ../git/lib.git vendor/lib && \
         sed -i 's,url = .*,url = ../lib.git,' .gitmodules && {AS_ME} add . && {AS_ME} commit -qm third && cd .. && \
         git clone -q --bare repo git/repo.git && cp -r git/repo.git git/private.git"
    ))
    .success();
}

fn requirements() -> Result<(), String> {
    require::program("git")?;
    require::program("python3")
}

/// What the steps of a build printed.
fn printed(host: &Host, address: &str) -> String {
    let line = format!(
        "hako build --progress plain --no-cache -t made '{address}' 2>&1 | sed -nE 's/^#[0-9]+ [0-9]+[.][0-9]+ //p; s/^ERROR: failed to build: //p'"
    );
    host.run(&line).text().to_owned()
}

#[test]
fn a_repository_is_a_context() {
    needs!(requirements());
    let host = host!("busybox");
    serve(&host);
    repository(&host);
    let base = "http://127.0.0.1:8000/repo.git";
    assert_eq!(printed(&host, &format!("{base}#main:app")), "/ctx\n/ctx/Dockerfile\n/ctx/file\ntwo");
    assert_eq!(printed(&host, &format!("{base}#v1:app")), "/ctx\n/ctx/Dockerfile\n/ctx/file\none");
    assert_eq!(printed(&host, &format!("{base}?tag=v1&subdir=link")), "/ctx\n/ctx/Dockerfile\n/ctx/file\none");
    // The whole, with what it says is beside it, and without git's own files.
    let whole = printed(&host, base);
    assert_eq!(whole, "lib\n. .. .gitmodules Dockerfile app link out vendor");
    // A commit by its id, also one that no branch ends in.
    let first = host.run("git -C repo rev-parse v1^{commit}").text().to_owned();
    assert_eq!(printed(&host, &format!("{base}#{first}:app")), "/ctx\n/ctx/Dockerfile\n/ctx/file\none");
    // What was a tag then is another commit now.
    let wrong = printed(&host, &format!("{base}?tag=v1&checksum=0123456789"));
    assert!(wrong.contains("expected checksum to match 0123456789, got ") && wrong.contains(&first), "{wrong}");
    // Its commit gives an image its time.
    host.run(&format!(
        "hako build -q --reproducible -t timed '{base}#v1:app' && docker image inspect -f '{{{{.Created}}}}' timed"
    ))
    .says("2023-11-14T22:13:20Z");
    // By the classic API as well.
    let answer =
        host.api("POST", "/v1.44/build?t=classic&remote=http%3A%2F%2F127.0.0.1%3A8000%2Frepo.git%23main%3Aapp", "");
    assert!(answer.text().contains("Successfully tagged classic:latest"), "{}", answer.text());
}

#[test]
fn a_repositorys_tricks_come_to_nothing() {
    needs!(requirements());
    let host = host!("busybox");
    serve(&host);
    repository(&host);
    let base = "http://127.0.0.1:8000/repo.git";
    for (address, expected) in [
        (format!("{base}#main:../../etc"), "leads out"),
        // The link is to the repository's own /etc, which it has not.
        (format!("{base}#main:out"), "cannot open the directory \"out\" of the repository"),
        (format!("{base}#--upload-pack=touch+x"), "is no name of a branch or tag"),
        (format!("{base}#nosuch"), "no branch, tag or commit \"nosuch\""),
        ("http://127.0.0.1:8000/nosuch.git".to_owned(), "repository not found"),
        ("http://127.0.0.1:8000/private.git".to_owned(), "authentication required"),
        ("git@127.0.0.1:me/it.git".to_owned(), "git over SSH is not built yet"),
    ] {
        let said = printed(&host, &address);
        assert!(said.contains(expected), "{address}: {said}");
    }
    // Who we are is told to the server, and to nobody who looks at the image or the progress.
    host.run("GIT_AUTH_TOKEN=hush hako build --progress plain -t made --secret id=GIT_AUTH_TOKEN 'http://127.0.0.1:8000/private.git#main:app' > told 2>&1; docker run --rm made cat /ctx/file; docker history --no-trunc made | cat - told | grep -c hush; true")
        .shows(expect![[r#"
            two
            0
        "#]]);
}

#[test]
fn what_is_at_an_address_is_added() {
    needs!(requirements());
    let host = host!("busybox");
    serve(&host);
    repository(&host);
    host.run("mkdir ctx in && echo fetched > www/file.txt && touch -d '2001-01-01 UTC' www/file.txt && echo x > in/x && tar -czf www/in.tar.gz in && echo here > ctx/local && sha256sum www/file.txt | cut -d' ' -f1 > sum").success();
    let sum = host.run("cat sum").text().to_owned();
    let base = "http://127.0.0.1:8000";
    host.write(
        "ctx/Dockerfile",
        format!(
            "FROM busybox\nADD --checksum=sha256:{sum} {base}/file.txt /file\nADD {base}/in.tar.gz {base}/file.txt local /dir/\n\
             ADD --unpack=true {base}/in.tar.gz /unpacked/\nADD --keep-git-dir=true {base}/repo.git#main /repo\n\
             ADD {base}/repo.git#v1:app /app\n\
             RUN cat /file /dir/local /unpacked/in/x /repo/app/file /app/file; stat -c '%a %u %Y' /file; ls /dir; ls -d /repo/.git\n"
        ),
    );
    host.run("hako build --progress plain -t made ctx 2>&1 | sed -nE 's/^#[0-9]+ [0-9]+[.][0-9]+ //p; s/^ERROR: failed to build: //p'").shows(expect![[r#"
        fetched
        here
        x
        two
        one
        600 0 978307200
        file.txt
        in.tar.gz
        local
        /repo/.git
    "#]]);
    // git itself takes it for a repository in which nothing was changed.
    host.run("docker create --name made made >/dev/null; docker cp made:/repo taken >/dev/null 2>&1; cd taken && git -c safe.directory='*' fsck 2>&1 | grep -v -e dangling -e notice; git -c safe.directory='*' status --porcelain; git -c safe.directory='*' log --format=%s; git -C ../repo rev-parse HEAD > ../a; git -c safe.directory='*' rev-parse HEAD > ../b; cmp ../a ../b && echo same").shows(expect![[r#"
        third
        same
    "#]]);
    for (line, expected) in [
        (format!("ADD --checksum=sha256:{} {base}/file.txt /", "0".repeat(64)), "digest mismatch sha256:"),
        (format!("ADD {base}/nosuch /"), "invalid response status 404"),
        (format!("COPY {base}/file.txt /"), "source can't be a URL for COPY"),
        ("ADD --checksum=sha256:00 local /".to_owned(), "--checksum is for sources that are URLs"),
    ] {
        host.write("ctx/Dockerfile", format!("FROM busybox\n{line}\n"));
        host.run("hako build ctx 2>&1 | tail -1").says(expected);
    }
}

#[test]
fn a_tar_and_a_dockerfile_at_an_address_are_contexts() {
    needs!(requirements());
    let host = host!("busybox");
    serve(&host);
    host.run("mkdir ctx && echo packed > ctx/file").success();
    host.write("ctx/Dockerfile", "FROM busybox\nCOPY file /\nRUN cat /file\n");
    host.write("www/Alone", "FROM busybox\nRUN echo alone\n");
    host.write("other", "FROM busybox\nCOPY file /other\nRUN cat /other; echo other\n");
    host.run("tar -C ctx -czf www/ctx.tar.gz .").success();
    assert_eq!(printed(&host, "http://127.0.0.1:8000/ctx.tar.gz"), "packed");
    assert_eq!(printed(&host, "http://127.0.0.1:8000/Alone"), "alone");
    host.run("hako build --progress plain -f - http://127.0.0.1:8000/ctx.tar.gz < other 2>&1 | sed -nE 's/^#[0-9]+ [0-9]+[.][0-9]+ //p'")
        .shows(expect![[r#"
            packed
            other
        "#]]);
    host.write("ctx/Dockerfile", "FROM busybox\nCOPY --from=far file /far\nRUN cat /far\n");
    host.run("hako build --progress plain --build-context far=http://127.0.0.1:8000/ctx.tar.gz ctx 2>&1 | sed -nE 's/^#[0-9]+ [0-9]+[.][0-9]+ //p'")
        .says("packed");
}

/// The builder fetches definitions as it fetches contexts; directories that they name are in the repository.
#[test]
fn a_repository_says_what_is_baked() {
    needs!(requirements());
    let host = host!("busybox");
    serve(&host);
    let file = "target \"default\" {\n  context = \"app\"\n  dockerfile-inline = \"FROM busybox\\nCOPY . /ctx\"\n  tags = [\"far\"]\n}\n\
                target \"near\" {\n  context = BAKE_CMD_CONTEXT\n  contexts = { far = \".\" }\n  dockerfile = \"cwd://Own\"\n  tags = [\"near\"]\n}\n";
    host.run("mkdir -p repo/app repo/sub here && echo one > repo/app/file && echo mine > here/file").success();
    host.write("repo/docker-bake.hcl", file);
    host.write("repo/sub/compose.yaml", "services:\n  web:\n    build: {context: ., dockerfile: ../Dockerfile}\n");
    host.write("here/Own", "FROM busybox\nCOPY file /\nCOPY --from=far app/file /far\n");
    host.run(&format!(
        "cd repo && {AS_ME} init -q && {AS_ME} add . && {AS_ME} commit -qm first && cd .. && git clone -q --bare repo git/repo.git"
    ))
    .success();
    let address = "http://127.0.0.1:8000/repo.git";
    host.run(&format!("hako buildx bake {address} --print | grep context")).says(&format!("\"{address}#:app\""));
    host.run(&format!("hako buildx bake {address} --progress quiet && docker run --rm far cat /ctx/file")).says("one");
    host.run(&format!(
        "cd here && hako buildx bake {address} near --progress quiet && docker run --rm near cat /file /far"
    ))
    .says("mine\none");
    host.run(&format!("hako buildx bake {address}#main -f sub/compose.yaml web --print | grep context"))
        .says(&format!("\"{address}#main:sub\""));
    host.run(&format!("hako bake {address} -f nosuch.hcl")).code(1).says("nosuch.hcl");
    // One file, and files in an archive, at an address.
    host.write(
        "www/one.hcl",
        "target \"default\" {\n  dockerfile-inline = \"FROM busybox\"\n  context = BAKE_CMD_CONTEXT\n}\n",
    );
    host.run("hako buildx bake http://127.0.0.1:8000/one.hcl --print | grep context").says("\".\"");
    host.run("tar -C repo -czf www/all.tgz docker-bake.hcl app").success();
    host.run("hako buildx bake http://127.0.0.1:8000/all.tgz near --print | grep '\"far\"'").says("all.tgz");
    host.run("hako buildx bake http://127.0.0.1:8000/all.tgz").code(1).says("a part of a repository can");
    host.run("ls -d /tmp/hako-bake-*").code(2);
}
