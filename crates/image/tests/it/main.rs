//! The mechanism ring of this crate: one binary, so that it is linked once.

mod fixture; // a store of the test's own, and tars as text
mod hostile; // archives that mean harm, or are merely odd
mod reader; // the tar reader against others' bytes and random ones
mod recipe; // layers that are kept by their files
mod round_trip; // images and containers through everything
mod shipment; // what a push makes of layers
