//! Learning: the estimators against golden numbers, the loss and optimizer by hand, checkpoints, and that nano does learn.

mod advantage;
mod checkpoint;
mod learning;
mod select;
mod update_rule;
