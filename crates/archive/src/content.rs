//! containerd's content service as sessions of builds speak it: the messages, for both ends.
//!
//! A client offers stores of blobs by name: directories of caches, and OCI layouts that are contexts. Only what is needed
//! of the service is here: its messages are few, and the crate that has them all brings containerd's other services.

use prost::Message;

/// The header that names a store.
pub const STORE: &str = "buildkit-attachable-store-id";
/// The name of the service.
pub const SERVICE: &str = "containerd.services.content.v1.Content";
/// The names of stores that are caches begin so.
pub const CACHE: &str = "local:";
/// Those of OCI layouts.
pub const LAYOUT: &str = "oci:";

/// Asks how large a blob is.
#[derive(Clone, PartialEq, Message)]
pub struct InfoRequest {
    #[prost(string, tag = "1")]
    pub digest: String,
}

/// The answer.
#[derive(Clone, PartialEq, Message)]
pub struct InfoResponse {
    #[prost(message, optional, tag = "1")]
    pub info: Option<Info>,
}

/// What is known of a blob.
#[derive(Clone, PartialEq, Message)]
pub struct Info {
    #[prost(string, tag = "1")]
    pub digest: String,
    #[prost(int64, tag = "2")]
    pub size: i64,
}

/// Asks for bytes; a size of 0 is all that follow.
#[derive(Clone, PartialEq, Message)]
pub struct ReadRequest {
    #[prost(string, tag = "1")]
    pub digest: String,
    #[prost(int64, tag = "2")]
    pub offset: i64,
    #[prost(int64, tag = "3")]
    pub size: i64,
}

/// Some of them.
#[derive(Clone, PartialEq, Message)]
pub struct ReadResponse {
    #[prost(int64, tag = "1")]
    pub offset: i64,
    #[prost(bytes = "vec", tag = "2")]
    pub data: Vec<u8>,
}

/// Bytes to be kept.
#[derive(Clone, PartialEq, Message)]
pub struct WriteRequest {
    #[prost(enumeration = "Action", tag = "1")]
    pub action: i32,
    #[prost(string, tag = "2")]
    pub reference: String,
    #[prost(int64, tag = "3")]
    pub total: i64,
    #[prost(string, tag = "4")]
    pub expected: String,
    #[prost(int64, tag = "5")]
    pub offset: i64,
    #[prost(bytes = "vec", tag = "6")]
    pub data: Vec<u8>,
}

/// How far that has come.
#[derive(Clone, PartialEq, Message)]
pub struct WriteResponse {
    #[prost(enumeration = "Action", tag = "1")]
    pub action: i32,
    #[prost(int64, tag = "4")]
    pub offset: i64,
    #[prost(int64, tag = "5")]
    pub total: i64,
    #[prost(string, tag = "6")]
    pub digest: String,
}

/// What a message of a write means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum Action {
    Stat = 0,
    Write = 1,
    Commit = 2,
}
