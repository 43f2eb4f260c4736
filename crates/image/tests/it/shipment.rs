//! What a push makes of layers that were made here, and what a power cut leaves of it.

use hako_image::RemoveOptions;

use crate::fixture::{Fixture, tar};

#[test]
fn a_layer_becomes_gzip_once_and_stays_it() {
    let mut fixture = Fixture::new();
    fixture.import("made", &tar("f file content"));
    let shipment = fixture.store.ship("made").unwrap();
    assert!(shipment.layers[0].should_be_gzip());
    let gzip = shipment.recompression(0).make_gzip().unwrap();
    assert!(gzip.is_gzip && gzip.blob != shipment.layers[0].blob);
    assert_eq!(shipment.recompression(0).make_gzip().unwrap(), gzip);
    assert_eq!(fixture.leftovers(), "layers 1 blobs 3 staged 0 0 trash 0");
    drop(shipment);
    // A daemon that ended before it was written down has what it had before.
    fixture.reopen();
    assert_eq!(fixture.leftovers(), "layers 1 blobs 2 staged 0 0 trash 0");
    let shipment = fixture.store.ship("made").unwrap();
    assert!(shipment.layers[0].should_be_gzip());
    assert_eq!(shipment.recompression(0).make_gzip().unwrap(), gzip);
    shipment.settle().unwrap();
    assert_eq!(fixture.leftovers(), "layers 1 blobs 2 staged 0 0 trash 0");
    drop(shipment);
    fixture.reopen();
    assert_eq!(fixture.store.ship("made").unwrap().layers, [gzip]);
    assert!(fixture.store.save(&["made".to_owned()], &mut std::io::sink()).is_ok());
}

#[test]
fn a_layer_that_goes_takes_its_gzip_along() {
    let fixture = Fixture::new();
    fixture.import("made", &tar("f file content"));
    let shipment = fixture.store.ship("made").unwrap();
    shipment.recompression(0).make_gzip().unwrap();
    drop(shipment);
    fixture.store.remove("made", RemoveOptions::default(), &|_| None).unwrap();
    assert_eq!(fixture.leftovers(), "layers 0 blobs 0 staged 0 0 trash 0");
}

#[test]
fn a_damaged_layer_is_not_sent() {
    let fixture = Fixture::new();
    let id = fixture.import("made", &tar("f file content"));
    std::fs::write(fixture.layer(id).join("file"), "CONTENT").unwrap();
    let shipment = fixture.store.ship("made").unwrap();
    assert!(shipment.recompression(0).make_gzip().is_err());
    assert_eq!(fixture.leftovers(), "layers 1 blobs 2 staged 0 0 trash 0");
}
