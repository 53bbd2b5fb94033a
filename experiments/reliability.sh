#!/usr/bin/env bash
# Writes experiments/RELIABILITY.md: runs the tests that print figures and lists what they found, each with the command that shows it
# again, and beside it the figure of the full run in experiments/reliability/full.txt, which experiments/reliability/full.sh makes.
# Usage: experiments/reliability.sh > experiments/RELIABILITY.md     MEDSERL_TESTS names a test binary that is built already.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export CARGO_TERM_COLOR=never
full=experiments/reliability/full.txt
unset MEDSERL_KILLS MEDSERL_CLOSED MEDSERL_DISK_STEP MEDSERL_READER_SECONDS MEDSERL_FUZZ_CASES MEDSERL_FUZZ_SECONDS

filters=(vault:: torn_log:: lock:: signals:: cli::faults:: cli::warmup:: cli::kills:: cli::secrets:: cli::silence:: cli::terminal:: clock::
  readers:: full_disk:: alarm:: volume::)
tests=(cargo test --release --offline --test main --)
[ -z "${MEDSERL_TESTS:-}" ] || tests=("$MEDSERL_TESTS")
out="$("${tests[@]}" "${filters[@]}" --nocapture 2>/dev/null)" || {
  echo "a test failed; there are no figures to print" >&2
  grep -E "FAILED|panicked" <<<"$out" >&2 || true
  exit 1
}
grep -E '^skipped' <<<"$out" | sort -u >&2 || true
quick="$(grep -o 'figure: .*' <<<"$out")"
[ -n "$quick" ] || { echo "no figures were printed" >&2; exit 1; }

cat <<HEAD
# Reliability: what was tried and what happened

Written by \`experiments/reliability.sh\` on $(date -u +%F), $(uname -sm), $(nproc) cores$(git rev-parse --short HEAD 2>/dev/null | sed 's/^/, after commit /').
Quick figures are those of \`cargo test\`, made just now. Full ones come from \`experiments/reliability/full.txt\`:

$(grep '^# ' "$full" | sed 's/^# /- /')

Every figure comes from fixed seeds, so that the command repeats it; only who wins a race, and where a kill falls, differs. The command of a
quick figure is \`cargo test --release --test main -- --exact TEST --nocapture\` with the test of its row; a full one has the setting named in
front of it besides, or is made by \`experiments/fuzz.sh\`.

The disk of rows R2, R3, R4 and R6 is one in memory (\`tests/vault/disk.rs\`) where the row says nothing of a real one: it keeps what processes see
apart from what a power cut leaves, and fails, fills up or stops at any chosen call. Files, locks, signals and SQLite's log are real ones.

| row | what goes wrong | quick | full | test |
|---|---|---|---|---|
HEAD
# A line of the full figures that has no quick one stands alone; of two with one row, one test and one question the later was made later.
{ sed -n 's/^figure: /full | /p' "$full"; sed 's/^figure: /quick | /' <<<"$quick"; } | awk -F' [|] ' '
  { key = $2 " | " $3 " | " $5; seen[key] = 1; if ($1 == "full") full[key] = $4; else quick[key] = $4 }
  END { for (key in seen) { split(key, part, " [|] ")
    printf "| %s | %s | %s | %s | `%s` |\n", part[1], part[2], quick[key] == "" ? "-" : quick[key], full[key] == "" ? "as quick" : full[key], part[3] } }' | sort -V

cat <<'TAIL'

Settings of the full runs: `MEDSERL_KILLS=200` (R1), `MEDSERL_CLOSED=100` (R10, R11), `MEDSERL_READER_SECONDS=300` (R14), `MEDSERL_DISK_STEP=1` (R4, needs root);
`experiments/reliability/full.sh` makes them all. Where the quick figure has the full count already (crashes, power cuts, flipped bits, cuts, locks) there is no other.

**Supply chain (R27).** `cargo deny --locked check bans licenses sources` (cargo-deny 0.20.2, 2026-11-26, rules in `deny.toml`): bans ok,
licences ok, sources ok. `cargo deny check advisories` was **not run**: the advisory database could not be reached from the machine at hand.

**Not reached, or not run again.** Parsers behind a socket or a library of others end at 600 s, below a million inputs; so does the one of experiments.

Not in this table, because nothing here shows it yet: anything on a GPU (how much memory is free is asked of its driver, and out of memory is recognised by
the driver's words; neither has been met), a soak of a day (R28), LazyFS or a real power cut (R3 uses images), a real suspended machine (R12 uses made-up
readings), a run on a real NFS or Lustre (only the choice of the journal is tested), run directories of earlier releases (R29: there are none), remote rollouts
and reward endpoints (R30, R31: the program has none). GGUF files and pickles are never read, so that nothing in them is run. A bit that flips in `run.db`
itself (not in its log, R5) is found only where SQLite's own structure shows it: its rows have no checksums. A chat template is bounded in work and depth, not in
memory: one written to fill it can.
TAIL
