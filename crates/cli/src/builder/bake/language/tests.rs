//! Expressions and what they come to, as Buildx has it where it knows them.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    time::{Duration, Instant},
};

use expect_test::{Expect, expect};

use super::{
    evaluate::{Evaluator, Scope},
    function,
    kind::Kind,
    mistake::{Mistake, Source},
    module::Module,
};

fn any(_: &str, _: &str) -> Option<Kind> {
    Some(Kind::Any)
}

fn with<T>(
    sources: &[Source],
    environment: &dyn Fn(&str) -> Option<String>,
    look: impl FnOnce(&mut Evaluator<'_>) -> Result<T, Mistake>,
) -> Result<T, String> {
    let module = Module::read(sources, BTreeMap::new()).map_err(|mistake| mistake.shown(sources))?;
    let mut evaluator = Evaluator::new(&module, environment, any);
    look(&mut evaluator).map_err(|mistake| mistake.shown(sources))
}

fn source(name: &str, text: &str) -> Source {
    Source { name: name.to_owned(), text: text.to_owned() }
}

/// What `it` is in a file that gives it a value.
fn value(expression: &str) -> Result<String, String> {
    let sources = [source("t.hcl", &format!("it = {expression}\n"))];
    let it = |evaluator: &mut Evaluator<'_>| {
        let attribute = &evaluator.module().attributes["it"];
        evaluator.value(&attribute.value, &Scope::default())
    };
    with(&sources, &|_| None, it).map(|value| value.json())
}

fn check(expressions: &[&str], expected: &Expect) {
    let mut shown = String::new();
    for expression in expressions {
        let result = value(expression).unwrap_or_else(|error| {
            let words = error.lines().last().unwrap_or_default().to_owned();
            words.split_once(": ").map_or(words.clone(), |(_, words)| words.to_owned())
        });
        let _ = writeln!(shown, "{expression} → {result}");
    }
    expected.assert_eq(&shown);
}

#[test]
fn operators_and_templates() {
    check(
        &[
            r#"2 * 3 + 4 - 7 % 4"#,
            r#""5" + 1"#,
            r#"10 / 4"#,
            r#"123456789012345678901234567890 + 1"#,
            r#""1" == 1"#,
            r#"1 == 1.0 && !(2 > 3)"#,
            r#"true ? 1 : "a""#,
            r#""a${1}${true} $${x} %%{y}""#,
            r#""%{ for k, v in {a=1, b=2} ~}  ${k}=${v}; %{~ endfor }""#,
            r#""%{ if 1 > 2 }x\n%{ else }y\"%{ endif }""#,
            r#"[for i in [1, 2, 3] : i * 2 if i > 1]"#,
            r#"{for v in ["a", "b", "aa"] : substr(v, 0, 1) => v...}"#,
            r#"[{a=1}, {a=2}][*].a"#,
            r#"[{a=[1]}, {a=[2]}].*.a"#,
            r#"{"a b" = 1, (upper("x")) = 2, c : [1][0]}["a b"]"#,
            "<<-E\n    one\n      two ${1 + 1}\n    E\n",
            r#"1 / 0"#,
            r#""${null}""#,
            r#"{abc = 1}.abd"#,
            r#"upper(["a"])"#,
            r#"uper("a")"#,
            r#"[1, 2][2]"#,
        ],
        &expect![[r#"
            2 * 3 + 4 - 7 % 4 → 7
            "5" + 1 → 6
            10 / 4 → 2.5
            123456789012345678901234567890 + 1 → 123456789012345678901234567891
            "1" == 1 → false
            1 == 1.0 && !(2 > 3) → true
            true ? 1 : "a" → "1"
            "a${1}${true} $${x} %%{y}" → "a1true ${x} %{y}"
            "%{ for k, v in {a=1, b=2} ~}  ${k}=${v}; %{~ endfor }" → "a=1;b=2;"
            "%{ if 1 > 2 }x\n%{ else }y\"%{ endif }" → "y\""
            [for i in [1, 2, 3] : i * 2 if i > 1] → [4,6]
            {for v in ["a", "b", "aa"] : substr(v, 0, 1) => v...} → {"a":["a","aa"],"b":["b"]}
            [{a=1}, {a=2}][*].a → [1,2]
            [{a=[1]}, {a=[2]}].*.a → [[1],[2]]
            {"a b" = 1, (upper("x")) = 2, c : [1][0]}["a b"] → 1
            <<-E
                one
                  two ${1 + 1}
                E
             → "one\n  two 2\n"
            1 / 0 → t.hcl:1,10-11: Division by zero; The divisor is zero.
            "${null}" → null
            {abc = 1}.abd → t.hcl:1,6-19: Unsupported attribute; This object does not have an attribute named "abd". Did you mean "abc"?
            upper(["a"]) → t.hcl:1,6-18: Error in function call; Call to function "upper" failed: argument 1: string required.
            uper("a") → t.hcl:1,6-15: Call to unknown function; There is no function named "uper". Did you mean "upper"?
            [1, 2][2] → t.hcl:1,13-14: Invalid index; The given key does not identify an element in this collection value.
        "#]],
    );
}

#[test]
fn functions_of_texts() {
    check(
        &[
            r#"[basename("/a/b"), dirname("/a/b"), byteslen("é"), bytesslice("Docker", 0, 3)]"#,
            r#"[chomp("a\n\n"), indent(2, "a\nb"), join(",", ["a"], ["b", 1]), lower("ÀB"), upper("straße")]"#,
            r#"[regex("h.llo", "hello"), regex("(\\d)-(\\d)", "1-2"), regex("(?P<a>x)", "x")]"#,
            r#"[regexall("[a-z]+", "abc1x"), regex_replace("a1b2", "([a-z])([0-9])", "$2$1")]"#,
            r#"[replace("banana", "na", "--"), reverse("abc"), sanitize("My App!"), split(",", "a,b")]"#,
            r#"[strlen("👩‍👩‍👧"), substr("abcdef", -2, -1), title("hello w_x-y"), trim("--a-", "-")]"#,
            r#"[trimprefix("ab", "a"), trimsuffix("ab", "b"), trimspace(" a ")]"#,
            r#"format("%s %5d|%-5d|%05d %x %q %t %.2f %v %#v", "a", 1, 2, -3, 255, "q", true, 1.5, [1], "v")"#,
            r#"formatlist("%s-%d", ["a", "b"], 3)"#,
            r#"[base64encode("é"), base64decode("SGVsbG8="), urlencode("a b=c&d/é"), md5("docker")]"#,
            r#"[sha1("hello"), substr(sha256("hello"), 0, 8), substr(sha512("hello"), 0, 8)]"#,
            r#"[jsondecode("{\"a\": [1.50, null]}"), jsonencode({a = "<&>"})]"#,
            r#"csvdecode("name,age\nAl,30\n\"B,b\",40")"#,
            r#"[uuidv5("dns", "example.com"), strlen(uuidv4()), strlen(bcrypt("x", 4))]"#,
            r#"rsadecrypt("x", "y")"#,
        ],
        &expect![[r#"
            [basename("/a/b"), dirname("/a/b"), byteslen("é"), bytesslice("Docker", 0, 3)] → ["b","/a",2,"Doc"]
            [chomp("a\n\n"), indent(2, "a\nb"), join(",", ["a"], ["b", 1]), lower("ÀB"), upper("straße")] → ["a","a\n  b","a,b,1","àb","STRAßE"]
            [regex("h.llo", "hello"), regex("(\\d)-(\\d)", "1-2"), regex("(?P<a>x)", "x")] → ["hello",["1","2"],{"a":"x"}]
            [regexall("[a-z]+", "abc1x"), regex_replace("a1b2", "([a-z])([0-9])", "$2$1")] → [["abc","x"],"1a2b"]
            [replace("banana", "na", "--"), reverse("abc"), sanitize("My App!"), split(",", "a,b")] → ["ba----","cba","My_App_",["a","b"]]
            [strlen("👩‍👩‍👧"), substr("abcdef", -2, -1), title("hello w_x-y"), trim("--a-", "-")] → [1,"ef","Hello W_x-Y","a"]
            [trimprefix("ab", "a"), trimsuffix("ab", "b"), trimspace(" a ")] → ["b","a","a"]
            format("%s %5d|%-5d|%05d %x %q %t %.2f %v %#v", "a", 1, 2, -3, 255, "q", true, 1.5, [1], "v") → "a     1|2    |-0003 ff \"q\" true 1.50 [1] \"v\""
            formatlist("%s-%d", ["a", "b"], 3) → ["a-3","b-3"]
            [base64encode("é"), base64decode("SGVsbG8="), urlencode("a b=c&d/é"), md5("docker")] → ["w6k=","Hello","a+b%3Dc%26d%2F%C3%A9","05b6053c41a2130afd6fc3b158bda4e6"]
            [sha1("hello"), substr(sha256("hello"), 0, 8), substr(sha512("hello"), 0, 8)] → ["aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d","2cf24dba","9b71d224"]
            [jsondecode("{\"a\": [1.50, null]}"), jsonencode({a = "<&>"})] → [{"a":[1.5,null]},"{\"a\":\"\\u003c\\u0026\\u003e\"}"]
            csvdecode("name,age\nAl,30\n\"B,b\",40") → [{"age":"30","name":"Al"},{"age":"40","name":"B,b"}]
            [uuidv5("dns", "example.com"), strlen(uuidv4()), strlen(bcrypt("x", 4))] → ["cfbff0d1-9375-5685-968c-48ce8b15ae17",36,60]
            rsadecrypt("x", "y") → t.hcl:1,6-26: Error in function call; Call to function "rsadecrypt" failed: it is not built: keep no private key in a bake file.
        "#]],
    );
}

#[test]
fn functions_of_numbers_and_times() {
    check(
        &[
            r#"[absolute(-1), add(1, 2), ceil(1.2), floor(-1.2), int(-1.5), divide(10, 4), modulo(10, 3)]"#,
            r#"[multiply(6, 7), negate(7), pow(3, 2), log(100, 10), signum(-3), subtract(1, 2), max(1, 3), min(2, 1)]"#,
            r#"[parseint("ff", 16), parseint("zZ", 62), range(5, 0, -2), range(3)]"#,
            r#"[and(true, false), or(true, false), not(true), equal(1, 1), notequal(1, 1)]"#,
            r#"[greaterthan(2, 1), greaterthanorequalto(1, 2), lessthan(2, 1), lessthanorequalto(1, 1)]"#,
            r#"formatdate("EEEE, DD-MMM-YYYY hh:mm:ss ZZZ 'o''clock'", "2018-01-02T23:12:01Z")"#,
            r#"[formattimestamp("X", "2015-10-21T00:00:00Z"), formattimestamp("H aa Z", 0)]"#,
            r#"[timeadd("2025-09-24T12:00:00+02:00", "1h30m"), can(formatdate("YYYY", timestamp()))]"#,
            r#"unixtimestampparse(1690328596)"#,
            r#"[cidrhost("10.0.0.0/16", -1), cidrnetmask("10.0.0.0/12"), cidrsubnet("fd00::/48", 16, 162)]"#,
            r#"cidrsubnets("10.0.0.0/16", 4, 8, 4)"#,
            r#"[semvercmp("3.23", ">= 3.20"), semvercmp("1.2.3", "^2")]"#,
        ],
        &expect![[r#"
            [absolute(-1), add(1, 2), ceil(1.2), floor(-1.2), int(-1.5), divide(10, 4), modulo(10, 3)] → [1,3,2,-2,-1,2.5,1]
            [multiply(6, 7), negate(7), pow(3, 2), log(100, 10), signum(-3), subtract(1, 2), max(1, 3), min(2, 1)] → [42,-7,9,2,-1,-1,3,1]
            [parseint("ff", 16), parseint("zZ", 62), range(5, 0, -2), range(3)] → [255,2231,[5,3,1],[0,1,2]]
            [and(true, false), or(true, false), not(true), equal(1, 1), notequal(1, 1)] → [false,true,false,true,false]
            [greaterthan(2, 1), greaterthanorequalto(1, 2), lessthan(2, 1), lessthanorequalto(1, 1)] → [true,false,false,true]
            formatdate("EEEE, DD-MMM-YYYY hh:mm:ss ZZZ 'o''clock'", "2018-01-02T23:12:01Z") → "Tuesday, 02-Jan-2018 23:12:01 UTC o'clock"
            [formattimestamp("X", "2015-10-21T00:00:00Z"), formattimestamp("H aa Z", 0)] → ["1445385600","12 am Z"]
            [timeadd("2025-09-24T12:00:00+02:00", "1h30m"), can(formatdate("YYYY", timestamp()))] → ["2025-09-24T13:30:00+02:00",true]
            unixtimestampparse(1690328596) → {"day":25,"hour":23,"iso_week":30,"iso_year":2023,"minute":43,"month":7,"month_name":"July","rfc3339":"2023-07-25T23:43:16Z","second":16,"weekday":2,"weekday_name":"Tuesday","year":2023,"year_day":206}
            [cidrhost("10.0.0.0/16", -1), cidrnetmask("10.0.0.0/12"), cidrsubnet("fd00::/48", 16, 162)] → ["10.0.255.255","255.240.0.0","fd00:0:0:a2::/64"]
            cidrsubnets("10.0.0.0/16", 4, 8, 4) → ["10.0.0.0/20","10.0.16.0/24","10.0.32.0/20"]
            [semvercmp("3.23", ">= 3.20"), semvercmp("1.2.3", "^2")] → [true,false]
        "#]],
    );
}

#[test]
fn functions_of_collections() {
    check(
        &[
            r#"[chunklist([1, 2, 3], 2), coalesce(null, "a"), coalescelist([], [1]), compact(["a", ""])]"#,
            r#"[concat([1], ["a"]), contains([1, 2], 2), distinct([1, 2, 1]), element(["a", "b"], 3)]"#,
            r#"[flatten([[1], [2, [3]]]), hasindex([1], 1), index({a = 1}, "a"), indexof(["a", "b"], "b")]"#,
            r#"[keys({b = 1, a = 2}), values({b = 1, a = 2}), length([1, 2]), lookup({a = "x"}, "b", "none")]"#,
            r#"[merge({a = 1, b = 2}, {b = 3}), reverselist([1, 2]), slice([1, 2, 3], 1, 3), sort(["b", "a"])]"#,
            r#"[zipmap(["a", "b"], [1, "x"]), setproduct(["x", "y"], [1, 2]), sethaselement([1], 1)]"#,
            r#"[setunion(["b"], ["a"]), setintersection([1, 2], [2]), setsubtract([1, 2], [2]), setsymmetricdifference([1, 2], [2, 3])]"#,
            r#"[convert("42", number), convert(["a", 1], list(string)), try(parseint("z", 10), 7), can(nosuch)]"#,
            r#"[strlen(homedir()) > 0, convert({a = 1}, map(string)), convert([2, 1, 2], set(number))]"#,
            r#"convert("x", number)"#,
        ],
        &expect![[r#"
            [chunklist([1, 2, 3], 2), coalesce(null, "a"), coalescelist([], [1]), compact(["a", ""])] → [[[1,2],[3]],"a",[1],["a"]]
            [concat([1], ["a"]), contains([1, 2], 2), distinct([1, 2, 1]), element(["a", "b"], 3)] → [[1,"a"],true,[1,2],"b"]
            [flatten([[1], [2, [3]]]), hasindex([1], 1), index({a = 1}, "a"), indexof(["a", "b"], "b")] → [[1,2,3],false,1,1]
            [keys({b = 1, a = 2}), values({b = 1, a = 2}), length([1, 2]), lookup({a = "x"}, "b", "none")] → [["a","b"],[2,1],2,"none"]
            [merge({a = 1, b = 2}, {b = 3}), reverselist([1, 2]), slice([1, 2, 3], 1, 3), sort(["b", "a"])] → [{"a":1,"b":3},[2,1],[2,3],["a","b"]]
            [zipmap(["a", "b"], [1, "x"]), setproduct(["x", "y"], [1, 2]), sethaselement([1], 1)] → [{"a":1,"b":"x"},[["x",1],["x",2],["y",1],["y",2]],true]
            [setunion(["b"], ["a"]), setintersection([1, 2], [2]), setsubtract([1, 2], [2]), setsymmetricdifference([1, 2], [2, 3])] → [["a","b"],[2],[1],[1,3]]
            [convert("42", number), convert(["a", 1], list(string)), try(parseint("z", 10), 7), can(nosuch)] → [42,["a","1"],7,false]
            [strlen(homedir()) > 0, convert({a = 1}, map(string)), convert([2, 1, 2], set(number))] → [true,{"a":"1"},[1,2]]
            convert("x", number) → t.hcl:1,6-26: Error in function call; Call to function "convert" failed: number required.
        "#]],
    );
}

#[test]
fn every_function_of_buildx_is_known() {
    let mut names: Vec<&str> = function::names().collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 106, "{names:?}");
}

/// What variables come to.
fn variables(text: &str, environment: &[(&str, &str)]) -> String {
    let set = |name: &str| environment.iter().find(|one| one.0 == name).map(|one| one.1.to_owned());
    match with(&[source("t.hcl", text)], &set, |evaluator| evaluator.variables()) {
        Ok(all) => all.iter().fold(String::new(), |mut shown, one| {
            let _ = writeln!(shown, "{}: {} = {}", one.name, one.kind, one.value.as_deref().unwrap_or("<null>"));
            shown
        }),
        Err(error) => error,
    }
}

const VARIABLES: &str = r#"
        variable "TAGS" {
          type    = list(string)
          default = ["latest"]
        }
        variable "N" { default = 1 }
        variable "B" { default = false }
        variable "E" {}
        variable "T" { type = number }
        variable "PAIR" { type = tuple([string, number]) }
        variable "MAP" { type = map(bool) }
        variable "OBJECT" {
          type = object({branch = string, at = optional(number)})
          default = {branch = "main"}
        }
        of_others = "${N + 1}-${TAGS[0]}"
    "#;

#[test]
fn variables_are_typed_and_set_from_outside() {
    let text = VARIABLES;
    expect![[r#"
        B:  = false
        E:  = 
        MAP: map of bool = <null>
        N:  = 1
        OBJECT: object = {"at":null,"branch":"main"}
        PAIR: tuple = <null>
        T: number = <null>
        TAGS: list of string = ["latest"]
    "#]]
    .assert_eq(&variables(text, &[]));
    let environment = [
        ("TAGS", "a,\"b,c\""),
        ("N", "41"),
        ("B", "1"),
        ("E", "text"),
        ("PAIR", "x,2"),
        ("MAP", "a:true,b:false"),
        ("OBJECT_JSON", r#"{"branch": "dev", "at": 3}"#),
    ];
    expect![[r#"
        B:  = true
        E:  = text
        MAP: map of bool = {"a":true,"b":false}
        N:  = 41
        OBJECT: object = {"at":3,"branch":"dev"}
        PAIR: tuple = ["x",2]
        T: number = <null>
        TAGS: list of string = ["a","b,c"]
    "#]]
    .assert_eq(&variables(text, &environment));
    expect![[r#"
        t.hcl:6
        --------------------
           4 |               default = ["latest"]
           5 |             }
           6 | >>>         variable "N" { default = 1 }
           7 |             variable "B" { default = false }
           8 |             variable "E" {}
        --------------------
        ERROR: t.hcl:6,34-35: Invalid value; failed to parse N as number: "many""#]]
    .assert_eq(&variables(text, &[("N", "many")]));
    expect![[r#"
        t.hcl:4
        --------------------
           2 |             variable "TAGS" {
           3 |               type    = list(string)
           4 | >>>           default = ["latest"]
           5 |             }
           6 |             variable "N" { default = 1 }
        --------------------
        ERROR: t.hcl:4,21-31: Invalid value; failed to convert variable TAGS from JSON: EOF while parsing a value at line 1 column 3"#]].assert_eq(&variables(text, &[("TAGS_JSON", "[1,")]));
}

#[test]
fn conditions_of_variables_hold() {
    let text = "variable \"FOO\" {\n  default = 3\n  validation {\n    condition = FOO > 4\n    error_message = \"FOO is ${FOO}, which is too small\"\n  }\n}\n";
    expect![[r#"
        t.hcl:4
        --------------------
           2 |       default = 3
           3 |       validation {
           4 | >>>     condition = FOO > 4
           5 |         error_message = "FOO is ${FOO}, which is too small"
           6 |       }
        --------------------
        ERROR: t.hcl:4,17-24: Validation failed; FOO is 3, which is too small"#]]
    .assert_eq(&variables(text, &[]));
    expect![[r#"
        FOO:  = 5
    "#]]
    .assert_eq(&variables(text, &[("FOO", "5")]));
}

#[test]
fn what_needs_itself_is_told_with_its_names() {
    expect![[r#"
        t.hcl:5
        --------------------
           3 |     function "f" {
           4 |       params = [x]
           5 | >>>   result = A
           6 |     }
        --------------------
        ERROR: t.hcl:5,12-13: Invalid expression; A needs itself: A → B → f() → A"#]].assert_eq(&variables("variable \"A\" { default = B }\nvariable \"B\" { default = \"${f(1)}x\" }\nfunction \"f\" {\n  params = [x]\n  result = A\n}\n", &[]));
    expect![[r#"
        t.hcl:1
        --------------------
           1 | >>> variable "NAME" { default = NAMES }
        --------------------
        ERROR: t.hcl:1,29-34: Unknown variable; There is no variable named "NAMES". Did you mean "NAME"?"#]]
    .assert_eq(&variables("variable \"NAME\" { default = NAMES }\n", &[]));
    expect![[r#"
        t.hcl:2
        --------------------
           1 |     variable "NAME" {
           2 | >>>   default = [
        --------------------
        ERROR: t.hcl:2,14-14: Invalid expression; expected `]`"#]]
    .assert_eq(&variables("variable \"NAME\" {\n  default = [\n", &[]));
}

/// Nobody waits long for a file that wants much.
#[test]
fn hostile_files_end_soon() {
    let doubled = |of: &str, first: &str| {
        let more = (1..60)
            .map(|at| format!("variable \"v{at}\" {{ default = {} }}\n", of.replace('@', &format!("v{}", at - 1))));
        format!("variable \"v0\" {{ default = {first} }}\n{}", more.collect::<String>())
    };
    let long = (0..9000).map(|at| format!("variable \"v{at}\" {{ default = v{} }}\n", at + 1)).collect::<String>();
    let cases = [
        (doubled("\"${@}${@}\"", "\"aaaaaaaaaa\""), "a text may have 4 MiB"),
        (doubled("[@, @]", "\"a\""), "the files take more than"),
        (long + "variable \"v9000\" {}\n", "expressions are within each other"),
        (format!("it = {}1{}", "(".repeat(5000), ")".repeat(5000)), "nested levels"),
        (format!("it = {}true", "!".repeat(50_000)), "nested levels"),
        (format!("it = 1{}", " + 1".repeat(5000)), "chained binary operators"),
        ("it = length(range(0, 1e12))".to_owned(), "makes at most"),
        ("it = format(\"%1000000000d\", 1)".to_owned(), "is at most"),
        ("it = regex(\"((a{100}){100}){100}\", \"a\")".to_owned(), "size limit"),
        ("it = [for a in range(60000): [for b in range(60000): 1]]".to_owned(), "the files take more than"),
        ("it = [for i in range(60000): bcrypt(\"a\", 31)]".to_owned(), "the cost is between"),
        ("a=1,".repeat(30_000), "more than 20000 signs"),
        ("#".repeat(3 << 20), "larger than 2 MiB"),
    ];
    for (text, words) in cases {
        let started = Instant::now();
        // Depth is bounded for the stack on which files are evaluated.
        let shown = std::thread::Builder::new()
            .stack_size(super::STACK_BYTES)
            .spawn(move || variables(&text, &[]))
            .ok()
            .and_then(|thread| thread.join().ok())
            .unwrap_or_default();
        let end = shown.len().min(300);
        assert!(shown.contains(words), "{words}: {}", &shown[shown.len() - end..]);
        assert!(started.elapsed() < Duration::from_secs(60), "{words}: {:?}", started.elapsed());
    }
}

#[test]
fn json_is_the_same_language() {
    let text = r#"{
        "//": "a remark",
        "variable": {"TAG": {"default": "v1"}, "TAGS": {"type": "list(string)", "default": ["${TAG}", "x"]}},
        "function": {"twice": {"params": ["x"], "result": "${x}${x}"}},
        "name": "${twice(TAG)}-${length(TAGS)}"
    }"#;
    let name = |evaluator: &mut Evaluator<'_>| {
        let attribute = &evaluator.module().attributes["name"];
        evaluator.value(&attribute.value, &Scope::default())
    };
    let value = with(&[source("t.json", text)], &|_| None, name).map(|value| value.json());
    assert_eq!(value.as_deref(), Ok("\"v1v1-2\""));
    let broken =
        with(&[source("t.json", "{\n  \"it\": \"${nosuch}\"\n}")], &|_| None, |evaluator| evaluator.variables());
    expect![[r#"
        t.json:2
        --------------------
           1 |     {
           2 | >>>   "it": "${nosuch}"
           3 |     }
        --------------------
        ERROR: t.json:2,9-20: Unknown variable; There is no variable named "nosuch"."#]]
    .assert_eq(&broken.err().unwrap_or_default());
    let broken = with(&[source("t.json", "{\n  \"it\": [1,]\n}")], &|_| None, |evaluator| evaluator.variables());
    expect![[r#"
        t.json:2
        --------------------
           1 |     {
           2 | >>>   "it": [1,]
           3 |     }
        --------------------
        ERROR: t.json:2,12-12: Invalid JSON; expected value at line 2 column 12"#]]
    .assert_eq(&broken.err().unwrap_or_default());
}
