//! `cargo x images`: root file systems as tar files in target/images, made without any registry of images.
//!
//! busybox is Debian's busybox-static, `hello-world` and `probe` are the static programs of the folder images/, and
//! debian is debootstrap's. Each is made once; delete the file to make it anew.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use crate::{dist, run};

const ALL: [&str; 4] = ["busybox", "hello-world", "probe", "debian"];
const RELEASE: &str = "bookworm";

pub(crate) fn images(arguments: &[String]) -> Result<(), String> {
    let wanted: Vec<&str> =
        if arguments.is_empty() { ALL.to_vec() } else { arguments.iter().map(String::as_str).collect() };
    for name in wanted {
        println!("{}", image(name)?.display());
    }
    Ok(())
}

/// Makes what can be made; what cannot is said, and the tests that want it skip.
pub(crate) fn prepare(names: &[&str]) {
    for name in names {
        if let Err(why) = image(name) {
            println!("image {name}: {why}");
        }
    }
}

/// The tar file of an image, made if it is not there.
pub(crate) fn image(name: &str) -> Result<PathBuf, String> {
    let folder = run::target().join("images");
    fs::create_dir_all(&folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
    let finished = folder.join(format!("{name}.tar"));
    let program = format!("images/src/bin/{name}.rs");
    if finished.exists() && !is_newer(&run::root().join(program), &finished) {
        return Ok(finished);
    }
    // Two commands may make the same image at once: each in a folder of its own, the last rename wins.
    let work = folder.join(format!("{name}.{}", std::process::id()));
    let _ = fs::remove_dir_all(&work);
    let tree = work.join("root");
    fs::create_dir_all(&tree).map_err(|error| format!("cannot make {}: {error}", tree.display()))?;
    let made = match name {
        "busybox" => busybox(&tree),
        "hello-world" => program_alone(&tree, "hello-world", "hello"),
        "probe" => program_alone(&tree, "probe", "probe"),
        "debian" => debian(&tree),
        _ => Err(format!("there is no recipe for it; there are {}", ALL.join(", "))),
    };
    let packed = made.and_then(|()| pack(&tree, &work.join("tar"))).and_then(|()| {
        fs::rename(work.join("tar"), &finished).map_err(|error| format!("cannot write {}: {error}", finished.display()))
    });
    let mut sweep = run::program("rm");
    sweep.arg("-rf").arg(&work);
    // debootstrap ran as root, so its tree is root's.
    let _ = run::succeed(if name == "debian" { run::rooted(sweep) } else { sweep });
    packed.map(|()| finished)
}

fn is_newer(left: &Path, right: &Path) -> bool {
    let modified = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    matches!((modified(left), modified(right)), (Some(left), Some(right)) if left > right)
}

fn busybox(tree: &Path) -> Result<(), String> {
    let find = || ["/bin/busybox", "/usr/bin/busybox"].map(PathBuf::from).into_iter().find(|path| is_static(path));
    let binary = find().or_else(|| run::install("busybox-static").then(find).flatten());
    let binary = binary.ok_or("needs a static busybox. Type: apt-get install busybox-static")?;
    let write = || -> std::io::Result<()> {
        for folder in ["bin", "etc", "tmp", "root", "var/spool/mail", "home", "dev", "proc", "sys", "usr"] {
            fs::create_dir_all(tree.join(folder))?;
        }
        fs::set_permissions(tree.join("tmp"), std::os::unix::fs::PermissionsExt::from_mode(0o1777))?;
        fs::copy(&binary, tree.join("bin/busybox"))?;
        fs::write(tree.join("etc/passwd"), PASSWD)?;
        fs::write(tree.join("etc/group"), GROUP)
    };
    write().map_err(|error| format!("cannot lay out the root: {error}"))?;
    let mut list = run::program(&binary);
    list.arg("--list");
    for applet in run::output(list)?.lines().filter(|applet| *applet != "busybox") {
        symlink("busybox", tree.join("bin").join(applet)).map_err(|error| format!("cannot link {applet}: {error}"))?;
    }
    Ok(())
}

/// Whether a program needs no dynamic loader, which an image of one file would lack.
fn is_static(program: &Path) -> bool {
    fs::read(program).is_ok_and(|bytes| !bytes.windows(9).any(|window| window == b"/ld-linux"))
}

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\n\
    bin:x:2:2:bin:/bin:/bin/false\nwww-data:x:33:33:www-data:/var/www:/bin/false\nnobody:x:65534:65534:nobody:/home:/bin/false\n";
const GROUP: &str =
    "root:x:0:\ndaemon:x:1:\nbin:x:2:\nwheel:x:10:root\nwww-data:x:33:\nusers:x:100:bin\nnogroup:x:65534:\n";

/// An image that is nothing but one static program of ours.
fn program_alone(tree: &Path, program: &str, name: &str) -> Result<(), String> {
    let built = dist::build_static(&["--quiet", "--release", "--package", "images"])?;
    fs::copy(built.join("release").join(program), tree.join(name))
        .map(drop)
        .map_err(|error| format!("cannot copy {program}: {error}"))
}

/// Debian's own archive, through debootstrap; needs root.
fn debian(tree: &Path) -> Result<(), String> {
    if !run::have_or_install("debootstrap", "debootstrap") {
        return Err("needs debootstrap. Type: apt-get install debootstrap".to_owned());
    }
    let mut debootstrap = run::program(run::find("debootstrap").unwrap_or_else(|| "debootstrap".into()));
    debootstrap.args(["--variant=minbase", "--include=ca-certificates", RELEASE]).arg(tree);
    debootstrap.stdout(std::process::Stdio::null());
    run::succeed(run::rooted(debootstrap)).map_err(|why| format!("the Debian archive cannot be reached: {why}"))?;
    // Services must not start while a package is installed in a container.
    let script = "rm -rf \"$0\"/var/cache/apt/archives/*.deb \"$0\"/var/lib/apt/lists/* \"$0\"/dev/*; \
        printf '#!/bin/sh\\nexit 101\\n' > \"$0\"/usr/sbin/policy-rc.d; chmod +x \"$0\"/usr/sbin/policy-rc.d";
    let mut clean = run::program("sh");
    clean.arg("-c").arg(script).arg(tree);
    run::succeed(run::rooted(clean))
}

/// Owned by root, whoever built it.
fn pack(tree: &Path, file: &Path) -> Result<(), String> {
    let is_ours = std::os::unix::fs::MetadataExt::uid(&fs::metadata(tree).map_err(|error| error.to_string())?) != 0;
    let mut tar = run::program("tar");
    tar.arg("-C").arg(tree);
    if is_ours && fs::metadata(tree.join("var/lib/dpkg")).is_err() {
        tar.args(["--owner=0", "--group=0"]);
    }
    tar.arg("--numeric-owner").arg("-cf").arg(file).arg(".");
    run::succeed(if is_ours && tree.join("var/lib/dpkg").exists() { run::rooted(tar) } else { tar })
}
