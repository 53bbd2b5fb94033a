#!/usr/bin/env bash
# Makes the full figures of experiments/RELIABILITY.md, one after the other: experiments/reliability/full.sh [PART...] >> experiments/reliability/full.txt
# Parts: kills terminals disk readers fuzz; all of them where none is named, which takes some hours on two cores. Lines that begin with "# "
# say when, where and by what they were made. MEDSERL_TESTS names a test binary that is built already.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export MEDSERL_TESTS="${MEDSERL_TESTS:-$(cargo test --release --locked --test main --no-run --message-format=json | grep -o '"executable":"[^"]*/main-[^"]*"' | cut -d'"' -f4)}"

part() { # part NAME SETTING FILTER: says by what, and the figures; a failure ends it all with what the test said.
  local out
  if ! out="$(env "$2" nice -n 10 "$MEDSERL_TESTS" "$3" --nocapture --test-threads=1 2>&1)"; then
    echo "full.sh: $1 failed" >&2
    echo "$out" >&2
    exit 1
  fi
  stamp "$2 $3"
  grep -o 'figure: .*' <<<"$out"
}
stamp() { echo "# $1: $(date -u +%F), $(uname -sm), $(nproc) cores, after commit $(git rev-parse --short HEAD)"; }

[ "$#" -gt 0 ] || set -- kills terminals disk readers fuzz
for name in "$@"; do
  case $name in
    kills) part kills MEDSERL_KILLS=200 cli::kills:: ;;
    terminals) part terminals MEDSERL_CLOSED=100 cli::terminal:: ;;
    disk) part disk MEDSERL_DISK_STEP=1 full_disk:: ;;
    readers) part readers MEDSERL_READER_SECONDS=300 readers::what_eight_readers_cost ;;
    fuzz) stamp experiments/fuzz.sh && experiments/fuzz.sh ;;
    *) echo "full.sh: no part is called $name" >&2 && exit 2 ;;
  esac
done
