//! Bake files: what the real Buildx makes of a file is what our own command line makes of it, byte for byte.
//!
//! Only what Buildx 0.13 knows and prints in the same form: entries (`output`, `secret`, …) became objects later.

use std::path::Path;

use hako_testkit::Host;

/// A case: files, and what stands behind `bake --print`.
type Case = (&'static [(&'static str, &'static str)], &'static str);

const CASES: &[Case] = &[
    (
        &[(
            "docker-bake.hcl",
            r#"
variable "TAG" { default = "latest" }
variable "N" { default = 3 }
variable "B" { default = true }
variable "E" {}
variable "Z" { default = null }
top = "x-${TAG}"
group "default" { targets = ["web", "apps", "db"] }
group "apps" { targets = ["db", "base"] }
function "tag" {
  params          = [name]
  variadic_params = rest
  result          = "${name}:${TAG}${length(rest) > 0 ? join("-", rest) : ""}"
}
target "base" {
  args      = { A = 1, B = true, C = null, D = 1.50, F = "a<b>&" }
  labels    = { "l" = upper("x"), m = null, "n.o" = B ? "y" : "n" }
  platforms = ["linux/amd64", "linux/arm64"]
}
target "web" {
  inherits = ["base"]
  context  = "./web/"
  tags     = [tag("web"), tag("web", "a", "b"), "", top, tag("web")]
  args     = { A = N + 1, T = E == "" ? "empty" : E, Z = Z }
  contexts = { base = "target:base", alpine = "docker-image://alpine:3.13" }
  dockerfile-inline = <<EOT
FROM busybox
%{ for at in [1, 2] ~}
RUN echo ${at}
%{ endfor ~}
EOT
}
target "db" {
  name     = "db-${v.n}"
  matrix   = { v = [{n = "one", t = 1}, {n = "two", t = 2}] }
  tags     = [for i in range(v.t) : "db:${i}"]
  pull     = true
  no-cache = B
  target   = target.web.args.T
}
"#,
        )],
        "",
    ),
    (
        &[(
            "docker-bake.json",
            r#"{
  "//": "a remark",
  "variable": {"TAG": {"default": "v1"}, "N": {"default": 2}},
  "function": {"up": {"params": ["x"], "variadic_params": "rest", "result": "${upper(x)}"}},
  "group": {"default": {"targets": ["a", "b"]}},
  "target": {
    "a": {
      "tags": ["${up(TAG)}:${N + 1}", "x"],
      "args": {"N": "${N}", "L": "${length([1, 2])}", "b": true, "f": 1.5, "${TAG}k": "v", "n": null},
      "no-cache": true
    },
    "b": {"inherits": ["a"], "matrix": {"i": ["1", "2"]}, "name": "b-${i}", "target": "${i}"}
  }
}"#,
        )],
        "",
    ),
    (
        &[
            (
                "docker-bake.hcl",
                "target \"a\" {\n tags=[\"x\"]\n args={A=\"1\",B=\"2\"}\n}\nvariable \"V\" {default=\"1\"}\n",
            ),
            (
                "docker-bake.override.hcl",
                "target \"a\" {\n tags=[\"y\"]\n args={A=\"3\"}\n}\nvariable \"V\" {default=\"2\"}\ntarget \"b\" {\n inherits=[\"a\"]\n labels={v=V}\n}\n",
            ),
        ],
        "a b",
    ),
    (
        &[
            (
                "compose.yaml",
                "services:\n  webapp:\n    build:\n      context: .\n      labels:\n        foo: \"foo\"\n        name: \"Alice\"\n      tags:\n        - bar\n  tool:\n    build: sub\n",
            ),
            ("docker-bake.hcl", "target \"webapp\" {\n tags=[\"foo\"]\n labels={bar=\"bar\",name=\"Bob\"}\n}\n"),
        ],
        "webapp",
    ),
    (
        &[(
            "docker-bake.hcl",
            "target \"a\" {\n tags=[\"x\"]\n platforms=[\"linux/amd64\"]\n}\ntarget \"ab\" {\n tags=[\"y\"]\n}\ngroup \"default\" {targets=[\"a\",\"ab\"]}\n",
        )],
        "--set a*.args.foo=bar --set *.tags=t1 --set *.tags=t2 --set a.platform=linux/arm64 --set ab.no-cache=true \
         --set a.context=./y/../z --set a.contexts.c=../d --set *.labels.l=1 --set a.target=tt --pull",
    ),
    (
        &[(
            "docker-bake.hcl",
            "target \"default\" {\n context=BAKE_CMD_CONTEXT\n platforms=[BAKE_LOCAL_PLATFORM]\n}\n",
        )],
        "",
    ),
    (
        &[(
            "docker-bake.hcl",
            "group \"default\" {targets=[\"g\",\"c\"]}\ngroup \"g\" {targets=[\"a\",\"b\"]}\ntarget \"a\" {}\ntarget \"b\" {\n inherits=[\"c\"]\n}\ntarget \"c\" {\n inherits=[\"b\"]\n tags=[\"c\"]\n}\n",
        )],
        "",
    ),
];

/// Expressions whose values Buildx 0.13 knows; each is a text.
const EXPRESSIONS: &[&str] = &[
    r#"add(1, 2.5)"#,
    r#"base64decode("SGVsbG8=")"#,
    r#"chomp("a\r\n")"#,
    r#"jsonencode(chunklist([1, 2, 3], 2))"#,
    r#"cidrsubnet("fd00::/48", 16, 162)"#,
    r#"jsonencode(cidrsubnets("10.0.0.0/16", 4, 4, 8, 4))"#,
    r#"jsonencode(csvdecode("a,b\n\"x,y\",\"q\"\"z\"\n"))"#,
    r#"format("%d %5d|%-5d|%05d %x %X %o %b %q %t %.2f %e %g", 1, 2, 3, 4, 255, 255, 8, 5, "a\"b", true, 1.5, 12345.678, 123456789)"#,
    r#"format("%v %v %v %#v", "a", 1, [1, {a = 1}], "x")"#,
    r#"formatdate("EEE MMMM D, HH:mm aa Z", "2018-01-02T13:05:01+02:30")"#,
    r#"jsonencode(formatlist("%s-%d", ["a", "b"], 3))"#,
    r#"indent(4, "a\nb")"#,
    r#"jsonencode({name = "<&>", n = null, l = [true, 1.50]})"#,
    r#"log(8, 2)"#,
    r#"jsonencode(merge({a = 1, b = 2}, {b = 3}))"#,
    r#"modulo(-10, 3)"#,
    r#"parseint("zZ", 62)"#,
    r#"jsonencode(range(0, 1, 0.25))"#,
    r#"jsonencode(regex("(?P<a>\\d+)-(?P<b>x)?", "12-34"))"#,
    r#"regex_replace("abc123", "([a-z])([0-9])", "$2$1")"#,
    r#"jsonencode(setproduct(["x", "y"], [1, 2]))"#,
    r#"jsonencode(setunion([10, 9], [100, 9]))"#,
    r#"substr("abcdef", -2, -1)"#,
    r#"timeadd("2025-09-24T12:00:00+02:00", "-30s")"#,
    r#"title("hello world-from_docker élan o'neil")"#,
    r#"upper("straße")"#,
    r#"urlencode("a b=c&d/é~*")"#,
    r#"uuidv5("dns", "example.com")"#,
    r#"jsonencode(zipmap(["a", "b"], [1, "x"]))"#,
    r#"2 * 3 + 4 - 7 % 4"#,
    r#"true ? 1 : "a""#,
    r#"jsonencode({for v in ["a", "b", "aa"] : substr(v, 0, 1) => v...})"#,
    r#"jsonencode([{a = [1]}, {a = [2]}].*.a)"#,
    r#"try(index([1], 3), "none")"#,
    r#""%{ if true }yes\n%{ else }no%{ endif }""#,
    r#""%{ for k, v in {a = 1, b = 2} ~}  ${k}=${v};  %{~ endfor }""#,
    r#"sort([3, 10, 2])[0]"#,
    r#"123456789012345678901234567890 + 1"#,
];

/// Compares what both print of every case.
pub(crate) fn compare(host: &Host, docker: &Path) {
    let config = std::env::var("DOCKER_CONFIG").map(|config| format!("cp -r {config} config; ")).unwrap_or_default();
    host.run(&format!("{config}mkdir -p config")).success();
    let buildx = format!("DOCKER_CONFIG=$PWD/../config {} buildx bake --print", docker.display());
    let compare = |arguments: &str| {
        // Words with a star are the builder's, not the shell's.
        host.run(&format!("cd bake && set -f && {buildx} {arguments} >../theirs")).success();
        let ours = format!("cd bake && set -f && hako buildx bake --print {arguments} >../ours");
        host.run(&format!("{ours} && diff ../theirs ../ours")).success();
    };
    for (files, arguments) in CASES {
        host.run("rm -rf bake && mkdir bake").success();
        files.iter().for_each(|(name, text)| host.write(&format!("bake/{name}"), text));
        compare(arguments);
    }
    host.run("rm -rf bake && mkdir bake").success();
    let lines: String = EXPRESSIONS.iter().enumerate().map(|(at, text)| format!("    A{at} = {text}\n")).collect();
    host.write("bake/docker-bake.hcl", format!("target \"default\" {{\n  args = {{\n{lines}  }}\n}}\n"));
    compare("");
}
