#!/usr/bin/env bash
# How the cost of a policy step grows: `medserl bench` at the tiny shape, one size doubled at a time, the others as in the first row; the
# exponent of each size is the slope of log(seconds) over log(size). Usage: experiments/scaling.sh [PROGRAM] > table.md (about 3 minutes)
set -euo pipefail
program="${1:-target/release/medserl}"

row() { # NAME SIZE ARGS…
  local name="$1" size="$2"
  shift 2
  "$program" bench --shape tiny --reps 3 --json "$@" |
    awk -v name="$name" -v size="$size" 'BEGIN { RS = "," } {
      gsub(/[{}"]/, "")
      n = split($0, part, ":"); value = part[n]
      if ($0 ~ /peak_bytes/ && !($0 ~ /gpu/)) peak = value / 1048576
      if ($0 ~ /^step_s/) step = value
      for (i = 1; i < n; i++) { if (part[i] == "rollout" || part[i] == "update" || part[i] == "prefill" || part[i] == "decode") phase = part[i] }
      if ($0 ~ /median_s/) seconds[phase] = value
    } END { printf "| %s | %d | %.3f | %.3f | %.3f | %.0f |\n", name, size, seconds["rollout"], seconds["update"], step, peak }'
}

table() {
  for n in 128 256 512 1024; do row "prompt tokens" "$n" --prompts 8 --completions 4 --prompt-tokens "$n" --completion-tokens 32; done
  for n in 1 2 4 8 16; do row "completions" "$n" --prompts 8 --completions "$n" --prompt-tokens 128 --completion-tokens 32; done
  for n in 4096 16384 65536 262144; do row "vocabulary" "$n" --prompts 8 --completions 4 --prompt-tokens 128 --completion-tokens 32 --vocab "$n"; done
  for n in 2 4 8 16 32; do row "prompts" "$n" --prompts "$n" --completions 4 --prompt-tokens 128 --completion-tokens 32; done
}

rows="$(table)"
echo "| size | value | rollout s | update s | step s | peak MiB |"
echo "|---|---|---|---|---|---|"
echo "$rows"
echo
awk -F' *[|] *' '{ n[$2]++; x = log($3); y = log($6); m = log($7); sx[$2] += x; sy[$2] += y; sm[$2] += m; sxx[$2] += x * x; sxy[$2] += x * y; sxm[$2] += x * m }
  END { for (k in n) { d = n[k] * sxx[k] - sx[k] ^ 2
    printf "- %s: step time grows as size^%.2f, peak memory as size^%.2f\n", k, (n[k] * sxy[k] - sx[k] * sy[k]) / d, (n[k] * sxm[k] - sx[k] * sm[k]) / d } }' <<<"$rows" | sort
