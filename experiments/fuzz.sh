#!/usr/bin/env bash
# The full fuzz runs, one parser after the other, each in a process of its own so that its peak memory is its own:
# experiments/fuzz.sh [CASES] [SECONDS] > figures. A parser ends at whichever comes first; by default at 1,000,000 inputs or 600 s.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export MEDSERL_FUZZ_CASES="${1:-1000000}" MEDSERL_FUZZ_SECONDS="${2:-600}"
tests="${MEDSERL_TESTS:-$(cargo test --release --locked --no-run --message-format=json 2>/dev/null | grep -o '"executable":"[^"]*/main-[^"]*"' | cut -d'"' -f4)}"
for name in $("$tests" --list fuzz:: 2>/dev/null | sed -n 's/: test$//p' | grep '^fuzz::'); do
  nice -n 10 "$tests" --exact "$name" --nocapture 2>&1 | grep -E 'figure: |panicked|case [0-9]+ of' || true
done
