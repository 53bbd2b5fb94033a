#!/usr/bin/env bash
# Writes experiments/RELIABILITY.md: runs the tests that print figures and lists what they found, each with the command that shows it
# again. Usage: experiments/reliability.sh [CRATE_DIR] > experiments/RELIABILITY.md
set -euo pipefail
crate="${1:-$(dirname "${BASH_SOURCE[0]}")/..}"
cd "$crate"
export CARGO_TERM_COLOR=never

filters=(vault:: torn_log:: lock:: signals::)
out="$(cargo test --release --offline --test main -- "${filters[@]}" --nocapture 2>/dev/null)" || {
  echo "a test failed; there are no figures to print" >&2
  grep -E "FAILED|panicked" <<<"$out" >&2 || true
  exit 1
}
figures="$(grep -o 'figure: .*' <<<"$out" | sed 's/^figure: //' | sort -V)"
[ -n "$figures" ] || { echo "no figures were printed" >&2; exit 1; }

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

Not in this table, because nothing here shows it yet: kill -9 at random times with a twin to compare (R1; one
kill at a fixed place is `cli::interrupted::a_killed_run_goes_on_as_if_nothing_had_happened`), a real full tmpfs (R4 uses the disk in
memory and RLIMIT_FSIZE), NaN and out-of-memory recovery (R7, R8), readers beside a writer for minutes (R14), fuzz totals per parser
(R16-R18), a network-silence proof (R25), a soak (R28), anything on a GPU.
TAIL
