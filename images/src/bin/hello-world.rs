//! The program of the `hello-world` image: explains in its output what just happened.
//!
//! It is the only file of that image, static, so that it also proves that an image may consist of one file.
#![forbid(unsafe_code)]

fn main() {
    print!("{TEXT}");
}

const TEXT: &str = "
Hello from hako!
This message shows that your installation works.

What happened, in order:
 1. The command line asked the daemon, over its socket, for a container of the image \"hello-world\".
 2. The daemon laid an empty writable layer over the image, a single static program, and reserved a
    network namespace with an address on the bridge.
 3. The keeper, which is the parent of every container and outlives the daemon, cloned a process into
    namespaces and a control group of its own and executed the program you are reading the output of.
 4. The daemon took that output from the keeper, wrote it to the container's log, and sent it to the
    command line, which printed it on your terminal.

Something larger to try, once you have an image of a distribution:
 $ hako run -it debian:bookworm bash

";
