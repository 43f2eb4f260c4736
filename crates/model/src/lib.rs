//! The engine's own words.
//!
//! What a container, an image, a mount or a port *is* for hako, independent of how Docker's JSON
//! spells it (that is `api`) and of how it is carried out (that is `engine` and the mechanisms).
//! Strings become these types at the edge; inside, an identifier is valid because it has a type.
#![forbid(unsafe_code)]

pub mod container; // what a person asks for when creating a container, and its states
mod event; // what happened, for those who watch
mod filter;
mod id; // container, network and exec ids; content digests
mod image; // an image's configuration
mod limits; // what a container may use of the machine
mod mount; // what is mounted into a container
mod network; // networks and a container's place in them
mod platform; // for which machine an image is
mod port; // ports exposed and published
mod reference; // names of images, as Docker normalises them
mod signal; // signals by name and number // `filters`: keys to sets of wanted values

pub use container::{ContainerSpec, ContainerState, HealthSpec, HostSpec, NetworkMode, RestartPolicy};
pub use event::{Event, EventKind};
pub use filter::Filters;
pub use id::{ContainerId, Digest, ExecId, IdError, NetworkId};
pub use image::{ImageConfig, ImageHistory};
pub use limits::{DeviceRate, DeviceWeight, Limits, Ulimit};
pub use mount::{BindOptions, IdMapping, ImageOptions, MountKind, MountSpec, Propagation, TmpfsOptions, VolumeOptions};
pub use network::{AddressPool, EndpointSpec, NetworkDriver, NetworkSpec};
pub use platform::{Platform, PlatformError};
pub use port::{PortBinding, PortKey, PortProtocol};
pub use reference::{Reference, ReferenceError};
pub use signal::Signal;
