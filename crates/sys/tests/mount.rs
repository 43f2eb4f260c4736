//! Mechanism tests of mounts: overlays made both ways, clones and their attributes, the workshop.
//!
//! They need root and change nothing that others see: every mount here is detached or in a workshop.

use std::{
    fs,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use hako_sys::{
    features,
    mount::{self, MountAttributes, Spread},
    walk, workshop,
};
use rustix::fs::{Mode, OFlags};

struct Layers(PathBuf);

impl Layers {
    /// `None` without root, said on standard error.
    fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return None;
        }
        let path = std::env::temp_dir().join(format!("hako-mount-{}", hako_base::random::hex(8)));
        fs::create_dir(&path).unwrap();
        let layers = Self(path);
        layers.layer("upper");
        layers.layer("work");
        Some(layers)
    }

    fn layer(&self, name: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir(&path).unwrap();
        path
    }

    fn lowers(&self, count: usize) -> Vec<PathBuf> {
        (0..count)
            .map(|index| {
                let path = self.layer(&format!("lower-{index}-{}", "x".repeat(60)));
                fs::write(path.join("who"), index.to_string()).unwrap();
                fs::write(path.join(format!("only-{index}")), "").unwrap();
                path
            })
            .collect()
    }

    fn upper_work(&self) -> (PathBuf, PathBuf) {
        (self.0.join("upper"), self.0.join("work"))
    }
}

impl Drop for Layers {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn read(mount: BorrowedFd<'_>, path: &str) -> String {
    let file = walk::open_in_root(mount, Path::new(path), OFlags::RDONLY).unwrap();
    std::io::read_to_string(fs::File::from(file)).unwrap()
}

fn write(mount: BorrowedFd<'_>, name: &str) -> rustix::io::Result<()> {
    rustix::fs::openat(mount, name, OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).map(drop)
}

fn check_overlay(mount: &OwnedFd, layers: &Layers, count: usize) {
    assert_eq!(read(mount.as_fd(), "/who"), "0", "the first layer is the top");
    read(mount.as_fd(), &format!("/only-{}", count - 1));
    write(mount.as_fd(), "new").unwrap();
    assert!(layers.0.join("upper/new").exists());
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!table.contains("lower-0-"), "a detached mount is in the mount table");
}

#[test]
fn an_overlay_of_an_images_most_layers_is_made_by_the_kernels_best_way() {
    let Some(layers) = Layers::new() else { return };
    let (upper, work) = layers.upper_work();
    let mount = mount::overlay(&layers.lowers(127), Some((&upper, &work)), true).unwrap();
    check_overlay(&mount, &layers, 127);
}

#[test]
fn the_workshop_makes_the_same_overlay_with_short_names() {
    let Some(layers) = Layers::new() else { return };
    let (upper, work) = layers.upper_work();
    let mount = workshop::overlay(&layers.lowers(127), Some((&upper, &work)), false).unwrap();
    check_overlay(&mount, &layers, 127);
    let too_many = vec![PathBuf::from("/"); 128];
    assert!(workshop::overlay(&too_many, None, false).is_err());
}

#[test]
fn an_overlay_of_mapped_layers_shows_other_owners_and_changes_none() {
    use std::os::unix::fs::MetadataExt;
    let Some(layers) = Layers::new() else { return };
    let made = hako_sys::userns::make("0 100000 65536\n", "0 200000 65536\n", false).unwrap();
    let (map, lowers, (upper, work)) = (made.user.as_fd(), layers.lowers(127), layers.upper_work());
    let by_descriptors = mount::overlay_mapped(&lowers, Some((&upper, &work)), false, Some(map)).unwrap();
    let look = |mount: &OwnedFd| {
        let stat = rustix::fs::statat(mount, "who", rustix::fs::AtFlags::empty()).unwrap();
        assert_eq!((stat.st_uid, stat.st_gid), (100_000, 200_000));
    };
    look(&by_descriptors);
    drop(by_descriptors);
    std::fs::remove_dir_all(&work).unwrap();
    std::fs::create_dir(&work).unwrap();
    let by_names = workshop::overlay_mapped(&lowers, Some((&upper, &work)), false, map).unwrap();
    look(&by_names);
    // What root of the container makes is root's on the disk.
    hako_sys::credentials::with_file_owner((100_000, 200_000), || write(by_names.as_fd(), "new").unwrap()).unwrap();
    assert_eq!(layers.0.join("upper/new").metadata().unwrap().uid(), 0);
}

#[test]
fn without_a_writable_layer_nothing_can_be_written() {
    let Some(layers) = Layers::new() else { return };
    let lowers = layers.lowers(2);
    for mount in [
        mount::overlay(&lowers, None, false).unwrap(),
        mount::overlay(&lowers[..1], None, false).unwrap(),
        workshop::overlay(&lowers, None, false).unwrap(),
    ] {
        assert_eq!(read(mount.as_fd(), "/who"), "0");
        assert_eq!(write(mount.as_fd(), "new"), Err(rustix::io::Errno::ROFS));
    }
}

#[test]
fn an_error_of_the_file_system_comes_with_its_words() {
    let Some(_layers) = Layers::new() else { return };
    let error = mount::tmpfs(&[("nosuch", "1")], MountAttributes::default()).unwrap_err();
    assert_eq!(error.to_string(), "invalid argument (tmpfs: Unknown parameter 'nosuch')");
    assert_eq!(mount::errno(&error), Some(libc::EINVAL));
}

#[test]
fn a_clone_is_private_and_takes_attributes_of_its_own() {
    let Some(layers) = Layers::new() else { return };
    let origin = layers.layer("origin");
    let tree = mount::clone_tree(&origin, true).unwrap();
    let read_only = MountAttributes { read_only: true, recursive: true, ..MountAttributes::default() };
    mount::set_attributes(tree.as_fd(), read_only).unwrap();
    assert!(mount::is_read_only(tree.as_fd()).unwrap());
    assert_eq!(write(tree.as_fd(), "new"), Err(rustix::io::Errno::ROFS));
    fs::write(origin.join("new"), "the origin stays writable").unwrap();
}

#[test]
fn a_slave_sees_what_is_mounted_at_its_origin_and_a_private_clone_does_not() {
    let Some(layers) = Layers::new() else { return };
    let (origin, elsewhere) = (layers.layer("origin"), layers.layer("elsewhere"));
    workshop::run(|| {
        // A shared mount that only this workshop has.
        let stage =
            mount::tmpfs(&[], MountAttributes { propagation: Some(Spread::Shared), ..MountAttributes::default() })?;
        mount::attach(stage.as_fd(), mount::open_directory(&origin)?.as_fd())?;
        rustix::fs::mkdirat(&stage, "below", Mode::RWXU)?;
        let slave = mount::clone_tree_with(stage.as_fd(), true, Spread::Slave)?;
        mount::attach(slave.as_fd(), mount::open_directory(&elsewhere)?.as_fd())?;
        let private = mount::clone_tree_of(stage.as_fd(), true)?;
        let below = mount::tmpfs(&[], MountAttributes::default())?;
        write(below.as_fd(), "mark")?;
        let place = rustix::fs::openat(&stage, "below", OFlags::PATH, Mode::empty())?;
        mount::attach(below.as_fd(), place.as_fd())?;
        let sees = |tree: &OwnedFd| walk::open_in_root(tree.as_fd(), Path::new("/below/mark"), OFlags::PATH).is_ok();
        assert!(sees(&slave) && !sees(&private));
        Ok(())
    })
    .unwrap();
}

#[test]
fn probing_is_the_same_each_time() {
    assert_eq!(features::overlay_layer_descriptors(), features::overlay_layer_descriptors());
    assert_eq!(features::time_namespaces(), Path::new("/proc/self/ns/time").exists());
}
