//! Memory is asked for where the tensors lie, before it is used.

use std::cell::Cell;

use candle_core::Device;
use medserl::model::{
    place,
    room::{OutOfMemory, Room},
    tape::{self, Footprint},
};

use super::tiny::spec;

#[test]
fn what_fitted_once_is_not_asked_for_again_and_what_is_too_much_is_refused_with_figures() {
    let (room, asked) = (Room::default(), Cell::new(0));
    let has = |bytes: Option<u64>| {
        asked.set(asked.get() + 1);
        bytes
    };
    assert_eq!(room.reserve(10, 1_000, 600, || has(Some(1_000))), Ok(1_000));
    assert_eq!(room.reserve(8, 800, 500, || has(Some(0))), Ok(800), "its own memory is free to it");
    assert_eq!(asked.get(), 1);
    let refused = room.reserve(22, 2_000, 1_100, || has(Some(1_099)));
    assert_eq!(refused, Err(OutOfMemory { rows: 22, needed: 1_100, available: 1_099 }));
    assert_eq!(room.reserve(22, 2_000, 1_100, || has(Some(1_300))), Ok(1_300), "less than wanted, and enough");
    assert_eq!(room.reserve(23, 2_100, 1_250, || has(Some(200))), Ok(1_300), "others of the batch hold what is asked for, too");
    room.begin(500);
    assert_eq!(room.reserve(5, 500, 400, || has(Some(0))), Ok(500));
    let refused = room.reserve(6, 600, 550, || has(Some(510)));
    assert_eq!(
        refused,
        Err(OutOfMemory { rows: 6, needed: 550, available: 510 }),
        "what was given back has to be asked for again"
    );
    assert_eq!(room.reserve(5_000, 9_000, 8_000, || has(None)), Ok(9_000), "where nobody says, whoever hands it out refuses it");
}

#[test]
fn layers_keep_their_tapes_as_far_as_memory_allows() {
    let all = spec().n_layers();
    let footprint = Footprint::of(&spec(), 4, 100);
    assert_eq!(footprint.bytes(1), footprint.least);
    assert_eq!(footprint.bytes(all) - footprint.bytes(1), (all - 1) * footprint.tape);
    for layers in 1..=all {
        assert_eq!(footprint.layers(layers * footprint.tape), layers);
        assert_eq!(footprint.layers(layers * footprint.tape - 1), (layers - 1).max(1), "the last layer's is needed at once");
    }
    assert_eq!(footprint.layers(usize::MAX), all);
    assert_eq!(tape::most_bytes(0), 512 << 20);
    assert_eq!(tape::most_bytes(8 << 30), 4 << 30);
}

#[test]
fn the_device_says_what_it_has_left() {
    let main = medserl::model::room::available();
    assert!(place::free_memory(&Device::Cpu).is_some() == main.is_some());
}
