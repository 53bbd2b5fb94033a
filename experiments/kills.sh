#!/bin/bash
# kill -9 at random times: experiments/kills.sh [KILLS] [SEED]. A run is killed that often and started again by the same command; then its
# adapter, moments and rollouts are compared, byte by byte, with those of a run that nobody killed. Needs `cargo build --release` first.
set -euo pipefail
kills=${1:-20} RANDOM=${2:-1} steps=$(( kills / 2 + 4 ))
medserl=$(cd "$(dirname "$0")/.." && pwd)/target/release/medserl
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
small=(--steps "$steps" --set doctor.samples=4 --set doctor.completions=2 --set doctor.max_tokens=24 --set scribe.max_tokens=24
  --set scribe.max_attempts=1 --set eval.notes=4 --set eval.every=3 --set data.clinic_groups=40 --set lora.rank=2
  --set checkpoint.every=2 --set sft.notes=16)
run() { MEDSERL_HOME="$work/$1" "$medserl" demo --headless --json "${small[@]}"; }

run twin > /dev/null
done_kills=0 declare -A phases=()
while (( done_kills < kills )); do
  run killed > "$work/out" 2>&1 & pid=$!
  sleep "$(( RANDOM % 3 )).$(printf %03d $(( RANDOM % 1000 )))"
  if ! kill -0 $pid 2>/dev/null; then wait $pid && break; fi
  phase=$(tail -n 1 "$work/out" | grep -o '"event":"[a-z]*"' | tail -n 1 || true)
  kill -9 $pid 2>/dev/null || true
  wait $pid 2>/dev/null || true
  phases[${phase:-none}]=$(( ${phases[${phase:-none}]:-0} + 1 ))
  done_kills=$(( done_kills + 1 ))
done
run killed > /dev/null
for who in twin killed; do
  dir="$work/$who/runs/demo-s1"
  MEDSERL_HOME="$work/$who" "$medserl" export rollouts --out "$work/$who.jsonl" > /dev/null
  cp "$dir/checkpoints/step-$steps/adapter_model.safetensors" "$work/$who.adapter"
  cp "$dir/checkpoints/step-$steps/optimizer.safetensors" "$work/$who.optimizer"
done
bad=0
for what in adapter optimizer jsonl; do
  cmp -s "$work/twin.$what" "$work/killed.$what" || { echo "DIFFERS: $what"; bad=1; }
done
echo "$done_kills kills over $steps steps; last event before each:"
for phase in "${!phases[@]}"; do echo "  ${phase:-none} ${phases[$phase]}"; done
if (( bad )); then echo "MISMATCH"; exit 1; fi
echo "adapter, moments and rollouts are the same bytes as without a kill"
