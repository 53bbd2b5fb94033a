//! Every parser that reads what others wrote, against seeded mutations of a small corpus: no panic, no hang, bounded memory, and no file
//! outside the folder it was given. `MEDSERL_FUZZ_CASES=1000000` or `MEDSERL_FUZZ_SECONDS=600` makes a full run of one of them; see
//! `experiments/fuzz.sh`.

mod files;
mod lines;
mod mutate;
mod target;
mod wire;
