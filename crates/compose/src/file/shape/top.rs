//! The keys of the file as a whole and of what it declares beside services.

use super::{
    List, SERVICE, Shape,
    Shape::{Any, Bool, Mapping, Names, NamesOrList, Refused, Struct, Text},
    Short, Zero, always, field, kept, unprinted,
};

/// A file.
pub static PROJECT: Shape = Struct(&[
    field("version", Text),
    field("name", Text),
    field("include", Shape::List(&List { item: Shape::Short(Short::Include, &INCLUDE), unique: &[] })),
    kept("services", Names(&SERVICE)),
    field("networks", NamesOrList(&NETWORK, Short::Nothing)),
    field("volumes", NamesOrList(&VOLUME, Short::Nothing)),
    field("secrets", Names(&SECRET)),
    field("configs", Names(&CONFIG)),
    field("models", Refused("models run outside of containers, and hako has nothing that runs them")),
]);

static INCLUDE: Shape =
    Struct(&[field("path", Shape::OneOrMany), field("project_directory", Text), field("env_file", Shape::OneOrMany)]);

static NETWORK: Shape = Struct(&[
    field("name", Text),
    field("driver", Text),
    field("driver_opts", Mapping),
    always(
        "ipam",
        Struct(&[field("driver", Text), field("config", Shape::List(&SUBNETS)), unprinted("options", Mapping)]),
        Zero::Object,
    ),
    field("external", Shape::Short(Short::External, &Any)),
    field("internal", Bool),
    field("attachable", Bool),
    field("labels", Mapping),
    kept("enable_ipv4", Bool),
    field("enable_ipv6", Bool),
]);

static SUBNETS: List = List {
    item: Struct(&[
        field("subnet", Text),
        field("gateway", Text),
        field("ip_range", Text),
        field("aux_addresses", Mapping),
    ]),
    unique: &["subnet"],
};

static VOLUME: Shape = Struct(&[
    field("name", Text),
    field("driver", Text),
    field("driver_opts", Mapping),
    field("external", Shape::Short(Short::External, &Any)),
    field("labels", Mapping),
]);

static SECRET: Shape = Struct(&[
    field("name", Text),
    field("file", Text),
    field("environment", Text),
    field("content", Text),
    field("external", Shape::Short(Short::External, &Any)),
    field("labels", Mapping),
    field("driver", Text),
    field("driver_opts", Mapping),
    field("template_driver", Text),
]);

static CONFIG: Shape = Struct(&[
    field("name", Text),
    field("file", Text),
    field("environment", Text),
    field("content", Text),
    field("external", Shape::Short(Short::External, &Any)),
    field("labels", Mapping),
    field("driver", Text),
    field("driver_opts", Mapping),
    field("template_driver", Text),
]);
