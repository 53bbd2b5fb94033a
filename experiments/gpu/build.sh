#!/usr/bin/env bash
# Builds medserl with --features cuda on a machine that needs neither a GPU nor a CUDA toolkit: compiler, headers and libraries come
# from NVIDIA's Python packages. The binary starts on any x86-64 Linux with glibc 2.34 or later: it loads CUDA's libraries when a GPU is
# first asked for, and says which one is missing where they are not there.
#
#   experiments/gpu/build.sh [FOLDER]      default target/gpu; the result is FOLDER/medserl
#
# Needs python3 with venv, gcc and g++ 9 or later, cargo. About 3 GB of disk and, on two cores, half an hour.
# CUDA_COMPUTE_CAP (default 80: everything since Ampere), CARGO (default cargo) and JOBS (default all cores) may be set.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
folder=$(mkdir -p "${1:-target/gpu}" && cd "${1:-target/gpu}" && pwd)
home=$folder/home

[ "$(uname -m)" = x86_64 ] || { echo "build.sh: the lazily loaded libraries are written for x86-64" >&2; exit 1; }

if [ ! -e "$folder/wheels/done" ]; then
  python3 -m venv "$folder/wheels"
  "$folder/wheels/bin/pip" install --quiet --disable-pip-version-check \
    nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85 \
    nvidia-cublas==13.0.2.14 nvidia-curand==10.4.0.35 nvidia-cuda-nvrtc==13.0.88
  touch "$folder/wheels/done"
fi
wheels=$(echo "$folder"/wheels/lib/python3*/site-packages/nvidia/cu13)

# A CUDA_HOME of links. lib64 holds archives only, so that nothing of CUDA becomes a library the binary cannot start without.
rm -rf "$home"
mkdir -p "$home/lib64"
for part in bin include nvvm lib; do ln -s "$wheels/$part" "$home/$part"; done
ln -s "$wheels/lib/libcudart_static.a" "$home/lib64/libcudart.a"
# The driver's library is nowhere without a driver; its header names what it has.
gcc -E "$wheels/include/cuda.h" | grep -oE '\bcu[A-Z][A-Za-z0-9_]* *\(' | tr -d ' (' | sort -u >"$folder/cuda.names"
experiments/gpu/lazy.sh cuda libcuda.so.1 "$home/lib64" <"$folder/cuda.names"
for library in cublas cublasLt curand nvrtc; do
  file=$(basename "$wheels"/lib/lib$library.so.*)
  nm -D --defined-only "$wheels/lib/$file" | awk -v start="$library" '$2 == "T" && index($3, start) == 1 { sub(/@.*/, "", $3); print $3 }' |
    sort -u | experiments/gpu/lazy.sh "$library" "$file" "$home/lib64"
done

export CUDA_HOME=$home PATH=$home/bin:$PATH CUDA_COMPUTE_CAP=${CUDA_COMPUTE_CAP:-80}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$folder/target} CUDAFORGE_THREADS=${JOBS:-$(nproc)}
${CARGO:-cargo} build --release --locked --features cuda --bin medserl --jobs "${JOBS:-$(nproc)}"
cp "$CARGO_TARGET_DIR/release/medserl" "$folder/medserl"
strip "$folder/medserl"

# What the binary cannot start without must hold nothing of CUDA, and it must start here.
if readelf -d "$folder/medserl" | grep NEEDED | grep -iE 'cuda|cublas|curand|nvrtc'; then
  echo "build.sh: the binary needs the libraries above to start" >&2
  exit 1
fi
"$folder/medserl" --version
echo "$folder/medserl: $(stat -c %s "$folder/medserl") bytes"
