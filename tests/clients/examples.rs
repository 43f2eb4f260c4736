//! The folders of examples/: each application is built from Debian's packages, brought up, used, scaled, updated, taken
//! down and brought up again, and its data is there.
//!
//! Packages come through a proxy of the test's own, which keeps them below target/; where Debian's archive cannot be
//! reached these are skipped with the reason.

use std::{
    fs,
    path::{Path, PathBuf},
};

use hako_testkit::{Host, Options, Shown, needs, require, way_out};

use crate::target_folder;

/// A machine with an example in its working folder, and its images built.
struct Example {
    host: Host,
    disk: PathBuf,
    proxy: String,
}

impl Drop for Example {
    fn drop(&mut self) {
        // What cannot be removed is replaced by the next run.
        let _ = fs::remove_dir_all(&self.disk);
    }
}

fn requirements() -> Result<(), String> {
    require::root()?;
    require::own_daemon()?;
    require::program("curl")?;
    require::image("debian")?;
    way_out::reachable("deb.debian.org")
}

impl Example {
    /// `flags` stand before `build`: `--profile check`.
    fn built(name: &str, flags: &str) -> Self {
        let disk = target_folder().join("clients/disk").join(name);
        let _ = fs::remove_dir_all(&disk);
        fs::create_dir_all(&disk).unwrap_or_else(|error| panic!("cannot make {}: {error}", disk.display()));
        let options = Options { images: Some(vec!["debian"]), disk: Some(disk.clone()), ..Options::default() };
        let host = Host::with(&options);
        let proxy = host.way_out(&target_folder().join("clients/archive"));
        let example = Self { host, disk, proxy };
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name);
        example.run(&format!("cp -a {}/. .", folder.display())).success();
        example.build(flags, "");
        example
    }

    #[track_caller]
    fn build(&self, flags: &str, service: &str) {
        self.run(&format!("docker compose {flags} build --build-arg http_proxy={} {service}", self.proxy)).success();
    }

    #[track_caller]
    fn run(&self, line: &str) -> Shown {
        self.host.run(line)
    }

    #[track_caller]
    fn up(&self, flags: &str) {
        self.run(&format!("docker compose up -d --wait --wait-timeout 120 {flags}")).success();
    }

    /// What curl gets.
    #[track_caller]
    fn curl(&self, what: &str) -> String {
        self.run(&format!("curl -fsS {what}")).success().text().to_owned()
    }

    /// The ids of a service's containers.
    fn ids(&self, service: &str) -> Vec<String> {
        self.run(&format!("docker compose ps -q {service}")).success().stdout().lines().map(str::to_owned).collect()
    }
}

#[test]
fn a_page_an_api_and_redis() {
    needs!(requirements());
    let example = Example::built("keyvalue", "--profile check");
    let api = "http://127.0.0.1:8080/api/keys";
    example.up("");
    assert!(example.curl("http://127.0.0.1:8080/").contains("<h1>Keys and values</h1>"));
    assert_eq!(example.curl(&format!("-X PUT -d blue {api}/colour")), r#"{"key":"colour","value":"blue"}"#);
    example.curl(&format!("-X PUT -d two {api}/number"));
    example.curl(&format!("-X DELETE {api}/number"));
    assert_eq!(example.curl(api), r#"{"keys":["colour"]}"#);
    example.run(&format!("curl -s -o /dev/null -w '%{{http_code}}' {api}/number")).says("404");
    // Redis is behind the API and nowhere else.
    example.run("docker compose exec -T web getent hosts redis").code(2);

    example.up("--scale api=3");
    assert_eq!(example.ids("api").len(), 3);
    let (redis, web) = (example.ids("redis"), example.ids("web"));

    // The page of a browser that runs its script.
    example.run("docker compose run --rm -T browser").success().says("<li>colour = blue</li>");

    // A new page: one image, one container.
    example.run("sed -i 's/Keys and values/Words and values/' web/index.html").success();
    example.build("", "web");
    example.up("--scale api=3");
    assert!(example.curl("http://127.0.0.1:8080/").contains("<h1>Words and values</h1>"));
    assert_eq!(example.ids("redis"), redis);
    assert_ne!(example.ids("web"), web);

    example.run("docker compose down").success();
    example.run("docker ps -aq").says("");
    example.up("");
    assert_eq!(example.ids("api").len(), 1);
    assert_eq!(example.curl(&format!("{api}/colour")), r#"{"key":"colour","value":"blue"}"#);
    example.run("docker compose --profile check down -v --rmi local").success();
    example
        .run("docker volume ls -q; docker images -q --filter reference='keyvalue-*'")
        .shows(expect_test::expect![""]);
}

#[test]
fn a_counter_goes_on_counting() {
    needs!(requirements());
    let example = Example::built("counter", "");
    let count = |expected: &str| {
        let look = |host: &Host| host.run("curl -sS http://127.0.0.1:8000/");
        example.host.wait_until("the counter", look, |shown| shown.text().contains("Seen"));
        // Whatever the waiting counted, one visit is one more.
        let number = |text: &str| text.split(' ').nth(1).and_then(|word| word.parse::<u32>().ok());
        let before = number(look(&example.host).text());
        let after = number(look(&example.host).text());
        assert_eq!(after, before.map(|before| before + 1), "{expected}");
        after.unwrap_or_default()
    };
    example.up("");
    let first = count("after up");
    example.run("docker compose restart").success();
    let second = count("after restart");
    example.run("docker compose down").success();
    example.up("");
    let third = count("after down and up");
    assert!(first < second && second < third, "{first} {second} {third}");
    // Two of them, at a port each, count together.
    example.run("COUNTER_PORT=8000-8001 docker compose up -d --scale web=2").success();
    assert_eq!(example.ids("web").len(), 2);
    let fourth = count("with two containers");
    let look = |host: &Host| host.run("curl -sS http://127.0.0.1:8001/");
    let other = example.host.wait_until("the second container", look, |shown| shown.text().contains("Seen"));
    assert!(third < fourth && !other.text().contains(&format!(" {fourth} ")), "{third} {fourth} {}", other.text());
    // A new version beside the same Redis.
    let redis = example.ids("redis");
    example.run("sed -i 's/times/visits/' app.py").success();
    example.build("", "web");
    example.up("");
    assert_eq!((example.ids("web").len(), example.ids("redis")), (1, redis));
    let look = |host: &Host| host.run("curl -sS http://127.0.0.1:8000/");
    example.host.wait_until("the new version", look, |shown| shown.text().contains("visits"));
    example.run("docker compose down -v").success();
    example.up("");
    assert!(count("after the volume was removed") < first + 3);
}

#[test]
fn a_blog_is_dumped_and_restored() {
    needs!(requirements());
    let example = Example::built("blog", "");
    let page = "http://127.0.0.1:8080/";
    example.up("");
    assert_eq!(example.curl(&format!("-d title='Hello world' {page}")), "1. Hello world");
    example.run("docker compose exec -T db dump blog.sql && grep -c 'Hello world' backup/blog.sql").success().says("1");
    example.run("docker compose down").success();
    example.up("");
    assert_eq!(example.curl(page), "1. Hello world");
    // The volume is lost, and so is the article; the dump brings it back.
    example.run("docker compose down -v").success();
    example.up("");
    assert_eq!(example.curl(page), "");
    example.run("docker compose exec -T db restore blog.sql").success();
    assert_eq!(example.curl(page), "1. Hello world");
    // Another version of the application beside the same database.
    let database = example.ids("db");
    example.run("docker tag blog-app:1 blog-app:2").success();
    example.run("BLOG_VERSION=2 docker compose up -d --wait").success();
    example.run("docker compose ps --format '{{.Service}} {{.Image}}'").says("app blog-app:2");
    assert_eq!(example.ids("db"), database);
    assert_eq!(example.curl(page), "1. Hello world");
    // Two applications, at a port each, on one database.
    example.run("BLOG_PORT=8080-8081 docker compose up -d --wait --scale app=2").success();
    for port in [8080, 8081] {
        assert_eq!(example.curl(&format!("http://127.0.0.1:{port}/")), "1. Hello world");
    }
    example.run("docker compose down -v").success();
    by_hand(&example);
}

/// The same without a file: a network, a volume, two containers that are thrown away and made anew.
fn by_hand(example: &Example) {
    example.run("docker network create wp-net && docker volume create mysqlvolume && rm -f backup/*").success();
    let start = |version: u32| {
        example.run(
            "docker run -d --name mysql --network wp-net -e DB_PASSWORD=secret -v mysqlvolume:/var/lib/mysql -v $PWD/backup:/backup blog-db",
        ).success();
        example
            .run(&format!(
                "docker run -d --name wordpress --network wp-net -p 8080:80 -e DB_HOST=mysql -e DB_PASSWORD=secret blog-app:{version}"
            ))
            .success();
        // The first answers may be errors: nothing waits for the database here.
        let look = |host: &Host| host.run("curl -fsS http://127.0.0.1:8080/");
        example.host.wait_until("the blog", look, |shown| shown.stderr().is_empty()).text().to_owned()
    };
    assert_eq!(start(1), "");
    assert_eq!(example.curl("-d title='By hand' http://127.0.0.1:8080/"), "1. By hand");
    example.run("docker exec mysql dump blog.sql && docker rm -f mysql wordpress").success();
    assert_eq!(start(2), "1. By hand");
    example.run("docker rm -f mysql wordpress && docker volume rm mysqlvolume").success();
    assert_eq!(start(2), "");
    example.run("docker exec mysql restore blog.sql").success();
    assert_eq!(example.curl("http://127.0.0.1:8080/"), "1. By hand");
}

#[test]
fn django_waits_for_postgres() {
    needs!(requirements());
    let example = Example::built("django", "");
    let page = "http://127.0.0.1:8000/";
    example.up("");
    assert_eq!(example.curl(&format!("-d text=first {page}")), r#"{"notes": ["first"]}"#);
    example.run("docker compose logs --no-color web").says("Applying notes.0001_initial... OK");
    // The database goes and comes; the application finds it again.
    example.run("docker compose restart db").success();
    let look = |host: &Host| host.run(&format!("curl -fsS -d text=second {page}"));
    example.host.wait_until("the notes", look, |shown| shown.stderr().is_empty());
    example.run("docker compose down").success();
    example.up("");
    assert!(example.curl(page).starts_with(r#"{"notes": ["first", "second""#));
    // Two of them, at a port each.
    example.run("NOTES_PORT=8000-8001 docker compose up -d --wait --scale web=2").success();
    assert_eq!(example.curl("http://127.0.0.1:8001/"), example.curl(page));
    // A new version beside the same database.
    let database = example.ids("db");
    example.run("grep -rl '\"notes\"' app | xargs sed -i 's/\"notes\":/\"all\":/'").success();
    example.build("", "web");
    example.up("");
    assert!(example.curl(page).starts_with(r#"{"all": ["first", "second""#));
    assert_eq!(example.ids("db"), database);
    example.run("docker compose down -v").success();
}
