//! Memory is asked for where the tensors lie, before it is used.

use std::cell::Cell;

use candle_core::Device;
use medserl::model::{
    place,
    room::{OutOfMemory, Room},
};

#[test]
fn rows_that_fitted_once_are_not_asked_for_again_and_what_is_too_much_is_refused_with_figures() {
    let (room, asked) = (Room::default(), Cell::new(0));
    let has = |bytes: Option<u64>| {
        asked.set(asked.get() + 1);
        bytes
    };
    assert_eq!(room.reserve(10, 100, || has(Some(1_000))), Ok(()));
    assert_eq!(room.reserve(8, 100, || has(Some(0))), Ok(()), "its own memory is free to it");
    assert_eq!(asked.get(), 1);
    let refused = room.reserve(11, 100, || has(Some(1_099)));
    assert_eq!(refused, Err(OutOfMemory { rows: 11, needed: 1_100, available: 1_099 }));
    assert_eq!(room.reserve(5_000, 100, || has(None)), Ok(()), "where nobody says, whoever hands it out refuses it");
}

#[test]
fn the_device_says_what_it_has_left() {
    let main = medserl::model::room::available();
    assert!(place::free_memory(&Device::Cpu).is_some() == main.is_some());
}
