#!/usr/bin/env bash
# Writes experiments/RELIABILITY.md: runs the tests that print figures and lists what they found, each with the command that shows it
# again. Usage: experiments/reliability.sh [FULL_FIGURES] > experiments/RELIABILITY.md
# FULL_FIGURES is a file with the `figure:` lines of full runs made before (experiments/fuzz.sh, and tests with the settings named in the
# table); such a line takes the place of the quick one of the same test and row.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export CARGO_TERM_COLOR=never
full="${1:-/dev/null}"

filters=(vault:: torn_log:: lock:: signals:: cli::faults:: cli::warmup:: cli::kills:: cli::secrets:: cli::silence:: cli::terminal:: clock::
  readers:: full_disk:: alarm:: volume::)
out="$(cargo test --release --offline --test main -- "${filters[@]}" --nocapture 2>/dev/null)" || {
  echo "a test failed; there are no figures to print" >&2
  grep -E "FAILED|panicked" <<<"$out" >&2 || true
  exit 1
}
quick="$(grep -o 'figure: .*' <<<"$out" | sed 's/^figure: //')"
[ -n "$quick" ] || { echo "no figures were printed" >&2; exit 1; }
# Full figures first: of two lines of one row and one test the first is kept.
figures="$( { grep -o 'figure: .*' "$full" | sed 's/^figure: //' || true; echo "$quick"; } | awk -F' [|] ' '{
  split($2, what, ":"); key = $1 "|" $4 ($4 ~ /fuzz/ || $4 ~ /kills|terminal|readers|full_disk/ ? "" : "|" $2) } !seen[key]++' | sort -V)"

cat <<HEAD
# Reliability: what was tried and what happened

Written by \`experiments/reliability.sh\` on $(date -u +%F), $(uname -sm), $(nproc) cores$(git rev-parse --short HEAD 2>/dev/null | sed 's/^/, after commit /').
Every figure comes from fixed seeds, so that the command repeats it; only who wins a race differs. The command of a row is
\`cargo test --release --test main -- --exact NAME --nocapture\` with the name in its last column.

The disk of rows R2, R3, R4 and R6 is one in memory (\`tests/vault/disk.rs\`): it keeps what processes see apart from what a power cut leaves,
and fails, fills up or stops at any chosen call. Files, locks, signals and SQLite's log in the other rows are real ones.

| row | what goes wrong | found | test |
|---|---|---|---|
HEAD
awk -F' [|] ' '{ printf "| %s | %s | %s | `%s` |\n", $1, $2, $3, $4 }' <<<"$figures"

cat <<'TAIL'

Full runs are those with counts beyond the quick ones of `cargo test`. They are made by setting, before the command of the row:
`MEDSERL_KILLS=200` (R1), `MEDSERL_CLOSED=100` (R10, R11), `MEDSERL_READER_SECONDS=240` (R14, with nothing else on the machine),
`MEDSERL_DISK_STEP=1` (R4, needs root), and by `experiments/fuzz.sh` (R16-R20).

**Supply chain (R27).** `cargo deny --locked check bans licenses sources` (cargo-deny 0.20.2, 2026-11-26, rules in `deny.toml`): bans ok,
licences ok, sources ok. `cargo deny check advisories` was **not run**: the advisory database could not be reached from the machine at hand.

Not in this table, because nothing here shows it yet: anything on a GPU (out of memory there is recognised by the driver's words and has not been
met), a soak of a day (R28), LazyFS or a real power cut (R3 uses images), a real suspended machine (R12 uses made-up readings), a run on a real
NFS or Lustre (only the choice of the journal is tested), run directories of earlier releases (R29: there are none), remote rollouts and reward
endpoints (R30, R31: the program has none). GGUF files, pickles and chat templates are never read, so that nothing in them is run.
TAIL
