#!/usr/bin/env bash
# Everything there is to know about this program on a GPU, in one go: environment, every operation against the CPU, the reference dumps,
# a policy step at three shapes under a memory cap, and transformers + peft on the same work where Python has them.
# Writes FOLDER/gpu.md (a table a part) and the JSON behind it. On an H200 it takes about five minutes (experiments/LOG.md).
#
#   experiments/gpu/run.sh [FOLDER]        default target/gpu-run
#
# MEDSERL   the binary; default target/gpu/medserl, built by build.sh where it is missing
# GOLDENS   folder of reference dumps; default ../shared/goldens, then shared/goldens; where none is there that part says so
# PEER      the peer's script; default ../shared/peers/hf_step.py, then shared/peers/hf_step.py
# CAP       GiB of GPU memory left to either side; default 24, the card this is for
# DEVICE    default cuda;  SHAPES  default "tiny small 4b";  REPS  default 3;  LIMIT  seconds a part may take, default 600
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
folder=${1:-target/gpu-run}
mkdir -p "$folder"
device=${DEVICE:-cuda} cap=${CAP:-24} reps=${REPS:-3} limit=${LIMIT:-600}
failed=0
first_there() { for path in "$@"; do [ -e "$path" ] && { echo "$path"; return; }; done; }

medserl=${MEDSERL:-target/gpu/medserl}
if [ ! -x "$medserl" ]; then
  experiments/gpu/build.sh "$(dirname "$medserl")" || exit 1
fi

# CUDA's libraries: the system's, else those that came with a Python package (PyTorch's among them).
if ! ldconfig -p 2>/dev/null | grep -q 'libcublas\.so\.13'; then
  found=$(python3 - <<'PY' 2>/dev/null
import glob, os, site, sys
roots = site.getsitepackages() + [site.getusersitepackages()] + sys.path
folders = {os.path.dirname(f) for r in roots if r for n in ("libcublas.so.13", "libcurand.so.10")
           for f in glob.glob(os.path.join(r, "nvidia", "*", "lib", n))}
print(":".join(sorted(folders)))
PY
  )
  for wheels in target/gpu/wheels/lib/python3*/site-packages/nvidia/cu13/lib; do [ -d "$wheels" ] && found=${found:-$PWD/$wheels}; done
  for toolkit in /usr/local/cuda-13*/lib64 /usr/local/cuda/lib64; do [ -e "$toolkit/libcublas.so.13" ] && found=$toolkit; done
  export LD_LIBRARY_PATH="${found}${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
fi

report=$folder/gpu.md
{
  echo "# medserl on a GPU, $(date -u +%F)"
  echo
  echo "- $("$medserl" --version)"
  echo "- $(nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader 2>/dev/null || echo 'no nvidia-smi')"
  echo "- $(nproc) cores; LD_LIBRARY_PATH=${LD_LIBRARY_PATH:-}"
  echo "- device $device, $cap GiB of its memory left to each side"
} >"$report"

part() { # part TITLE COMMAND…: runs it, puts what it prints into the report, remembers a failure
  local title=$1
  shift
  printf '\n## %s\n\n`%s`\n\n' "$title" "$*" >>"$report"
  timeout "$limit" "$@" >"$folder/part" 2>"$folder/part.err"
  local status=$?
  # A table comes as it is, anything else as the text it is.
  if grep -q '^|' "$folder/part"; then cat "$folder/part"; else echo '```'; cat "$folder/part"; echo '```'; fi >>"$report"
  if [ "$status" != 0 ]; then
    failed=1
    { printf '\n**FAILED** (exit %s)\n\n```\n' "$status"; tail -20 "$folder/part.err"; echo '```'; } >>"$report"
  fi
  cat "$folder/part.err" >&2
}

# First of all: is the GPU there? Without it nothing below means anything.
if ! printf '{"ids":[2,105,2364]}\n' | "$medserl" score --device "$device" >/dev/null 2>"$folder/part.err"; then
  cat "$folder/part.err" >&2
  exit 1
fi

part "Every operation against the CPU" "$medserl" kernels --device "$device"

goldens=${GOLDENS:-$(first_there ../shared/goldens shared/goldens)}
if [ -n "$goldens" ]; then
  for golden in "$goldens"/*/; do part "Reference dump $(basename "$golden")" "$medserl" parity "$golden" --device "$device"; done
else
  printf '\n## Reference dumps\n\nNone here (GOLDENS); the part above compares the embedded model as a whole.\n' >>"$report"
fi

peer=${PEER:-$(first_there ../shared/peers/hf_step.py shared/peers/hf_step.py)}
python3 -c 'import torch, transformers, peft; assert torch.cuda.is_available()' 2>/dev/null || peer=
[ -n "$peer" ] || echo "no peer beside it: it needs python3 with torch, transformers and peft, and PEER" >&2

# shape prompts completions prompt-tokens completion-tokens micro-rows
work() {
  case $1 in
    tiny) echo 16 4 192 64 8192 ;;
    small) echo 16 8 512 128 4096 ;;
    4b) echo 4 8 768 128 2048 ;;
  esac
}
for shape in ${SHAPES:-tiny small 4b}; do
  read -r prompts completions prompt completion rows < <(work "$shape")
  args=(bench --device "$device" --shape "$shape" --precision bf16 --prompts "$prompts" --completions "$completions"
    --prompt-tokens "$prompt" --completion-tokens "$completion" --micro-rows "$rows" --memory-cap "$cap" --reps "$reps"
    --out "$folder/$shape.json")
  if [ -n "$peer" ]; then
    # Its best setting in the same memory: adapter merged for the rollout, and at the large shape checkpointing.
    micro=16 more=
    [ "$shape" = 4b ] && micro=8 more=--grad-checkpoint
    args+=(--peer "python3 $peer --device cuda --dtype bfloat16 --shape $shape -P $prompts -K $completions --prompt-len $prompt \
--completion-len $completion --micro $micro --merge-rollout $more --threads $(nproc) --reps 1 --warmup 1 --foreign 1")
  fi
  part "A policy step at shape $shape" "$medserl" "${args[@]}"
  # The same without our kernels: what they gain in a whole step.
  part "The same by candle's operations alone" "$medserl" bench --device "$device/composed" --shape "$shape" --precision bf16 \
    --prompts "$prompts" --completions "$completions" --prompt-tokens "$prompt" --completion-tokens "$completion" \
    --micro-rows "$rows" --memory-cap "$cap" --reps 1 --out "$folder/$shape-composed.json"
done
rm -f "$folder/part" "$folder/part.err"
cat "$report"
exit $failed
