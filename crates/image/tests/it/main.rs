//! The mechanism ring of this crate: one binary, so that it is linked once.

mod fixture; // a store of the test's own, and tars as text
mod hostile; // archives that mean harm, or are merely odd
mod reader; // the tar reader against others' bytes and random ones
mod round_trip;
mod shipment; // what a push makes of layers // images and containers through everything
