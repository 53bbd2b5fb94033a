//! Checkpoints on a disk that may fail at any call: what was safe stays safe, what is damaged is never used, and what is passed over
//! is named.

mod crash;
mod damage;
mod disk;
mod full;
mod keeping;
mod scene;
