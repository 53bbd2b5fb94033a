#!/usr/bin/env bash
# The full fuzz runs, one parser after the other, each in a process of its own so that its peak memory is its own:
# experiments/fuzz.sh [CASES] [SECONDS] [PARSER...] > figures. A parser ends at whichever comes first; by default at 1,000,000 inputs or 600 s.
# MEDSERL_TESTS names a test binary that is built already. Exit code 1 where one failed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export MEDSERL_FUZZ_CASES="${1:-1000000}" MEDSERL_FUZZ_SECONDS="${2:-600}"
shift $(( $# < 2 ? $# : 2 ))
tests="${MEDSERL_TESTS:-$(cargo test --release --locked --test main --no-run --message-format=json 2>/dev/null | grep -o '"executable":"[^"]*/main-[^"]*"' | cut -d'"' -f4)}"
if [ "$#" -eq 0 ]; then
  mapfile -t all < <("$tests" --list fuzz:: 2>/dev/null | sed -n 's/: test$//p' | grep '^fuzz::')
  set -- "${all[@]}"
fi
failed=0
for name in "$@"; do
  # Panics of a library that the program guards itself against are no failures, and their messages no figures.
  if out="$(nice -n 10 "$tests" --exact "$name" --nocapture 2>&1)"; then
    grep -E '^figure: ' <<<"$out" || true
  else
    failed=1
    tail -n 20 <<<"$out" >&2
  fi
done
exit "$failed"
