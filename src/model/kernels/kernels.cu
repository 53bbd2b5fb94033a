// The model's own GPU kernels. Rows are f32; caches are f32 or bf16. Sums within a block are in a fixed order, so that the same
// input gives the same bits. Every thread of a block takes every __syncthreads and every shuffle: no early return before one.
//
// Compiled to PTX by build.rs under the feature `cuda`; tests/model/kernels.rs compiles the same file for the CPU, where blocks run
// one after the other, and holds it against the CPU's operations.

#define THREADS 256
#define WARP 32
#define WARPS (THREADS / WARP)
#define LOWEST -3.0e38f

typedef unsigned int u32;
typedef unsigned short u16;

__device__ static inline float widen(float x) { return x; }
__device__ static inline float widen(u16 bits) { return __uint_as_float((u32)bits << 16); }

__device__ static inline float warp_sum(float x) {
    for (int step = WARP / 2; step > 0; step /= 2) x += __shfl_xor_sync(0xffffffffu, x, step);
    return x;
}

__device__ static inline float warp_max(float x) {
    for (int step = WARP / 2; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, step));
    return x;
}

// Sum over the block, for every thread. `parts` holds one float a warp.
__device__ static inline float block_sum(float x, float *parts) {
    x = warp_sum(x);
    __syncthreads(); // an earlier use of `parts` may still be read
    if (threadIdx.x % WARP == 0) parts[threadIdx.x / WARP] = x;
    __syncthreads();
    float sum = 0.0f;
    for (u32 i = 0; i < blockDim.x / WARP; i++) sum += parts[i];
    return sum;
}

__device__ static inline float block_max(float x, float *parts) {
    x = warp_max(x);
    __syncthreads();
    if (threadIdx.x % WARP == 0) parts[threadIdx.x / WARP] = x;
    __syncthreads();
    float top = LOWEST;
    for (u32 i = 0; i < blockDim.x / WARP; i++) top = fmaxf(top, parts[i]);
    return top;
}

// ------------------------------------------------------------------------------------------------------- rows of features

// y = x / sqrt(mean(x^2) + eps) * (1 + w); one block a row of d.
extern "C" __global__ void rms_norm(const float *x, const float *w, float *y, u32 d, float eps) {
    __shared__ float parts[WARPS];
    size_t row = (size_t)blockIdx.x * d;
    float squares = 0.0f;
    for (u32 i = threadIdx.x; i < d; i += THREADS) squares += x[row + i] * x[row + i];
    float inverse = 1.0f / sqrtf(block_sum(squares, parts) / d + eps);
    for (u32 i = threadIdx.x; i < d; i += THREADS) y[row + i] = x[row + i] * inverse * (1.0f + w[i]);
}

// dx = r (g (1 + w)) - x r^3 mean(x g (1 + w))
extern "C" __global__ void rms_norm_back(const float *x, const float *w, const float *g, float *dx, u32 d, float eps) {
    __shared__ float parts[WARPS];
    size_t row = (size_t)blockIdx.x * d;
    float squares = 0.0f, dot = 0.0f;
    for (u32 i = threadIdx.x; i < d; i += THREADS) {
        squares += x[row + i] * x[row + i];
        dot += x[row + i] * g[row + i] * (1.0f + w[i]);
    }
    float r = 1.0f / sqrtf(block_sum(squares, parts) / d + eps);
    float c = block_sum(dot, parts) * r * r * r / d;
    for (u32 i = threadIdx.x; i < d; i += THREADS) dx[row + i] = g[row + i] * (1.0f + w[i]) * r - x[row + i] * c;
}

// Rotates every head of a row by its angles; x (rows, width), cos and sin (rows, half). One thread a pair.
extern "C" __global__ void rope(const float *x, const float *cosine, const float *sine, float *y, u32 pairs, u32 half, u32 width, float sign) {
    u32 at = blockIdx.x * THREADS + threadIdx.x;
    if (at >= pairs) return;
    u32 per_row = width / 2, row = at / per_row, head = at % per_row / half, i = at % half;
    size_t first = (size_t)row * width + (size_t)head * 2 * half + i;
    float c = cosine[(size_t)row * half + i], s = sine[(size_t)row * half + i] * sign;
    float x1 = x[first], x2 = x[first + half];
    y[first] = x1 * c - x2 * s;
    y[first + half] = x2 * c + x1 * s;
}

// gelu (tanh form) is x s(u) with s the logistic function and u = 2 sqrt(2/pi) (x + 0.044715 x^3).
__device__ static inline float logistic(float x) {
    float u = 1.5957691216057308f * x * (1.0f + 0.044715f * x * x);
    return 1.0f / (1.0f + expf(-u));
}

extern "C" __global__ void geglu(const float *gate, const float *up, float *y, u32 n) {
    u32 i = blockIdx.x * THREADS + threadIdx.x;
    if (i < n) y[i] = gate[i] * logistic(gate[i]) * up[i];
}

extern "C" __global__ void geglu_back(const float *gate, const float *up, const float *g, float *d_gate, float *d_up, u32 n) {
    u32 i = blockIdx.x * THREADS + threadIdx.x;
    if (i >= n) return;
    float x = gate[i], s = logistic(x);
    float slope = s + x * s * (1.0f - s) * 1.5957691216057308f * (1.0f + 3.0f * 0.044715f * x * x);
    d_gate[i] = g[i] * up[i] * slope;
    d_up[i] = g[i] * x * s;
}

// -------------------------------------------------------------------------------------------------------------- attention

// softmax(scale * scores) over the keys each query sees, zero elsewhere. One block a row of n keys; rows of a head are `len`
// consecutive positions from `first`. A window of 0 sees everything.
extern "C" __global__ void masked_softmax(const float *scores, float *p, u32 n, u32 len, u32 first, u32 window, float scale) {
    __shared__ float parts[WARPS];
    size_t row = (size_t)blockIdx.x * n;
    u32 last = first + blockIdx.x % len;
    u32 from = window && last + 1 > window ? last + 1 - window : 0;
    float top = LOWEST;
    for (u32 i = from + threadIdx.x; i <= last; i += THREADS) top = fmaxf(top, scores[row + i]);
    top = block_max(top, parts);
    float sum = 0.0f;
    for (u32 i = from + threadIdx.x; i <= last; i += THREADS) sum += expf((scores[row + i] - top) * scale);
    float inverse = 1.0f / block_sum(sum, parts);
    for (u32 i = threadIdx.x; i < n; i += THREADS) {
        p[row + i] = i >= from && i <= last ? expf((scores[row + i] - top) * scale) * inverse : 0.0f;
    }
}

// ds = scale * p (dp - p . dp), one block a row of n.
extern "C" __global__ void softmax_back(const float *p, const float *dp, float *ds, u32 n, float scale) {
    __shared__ float parts[WARPS];
    size_t row = (size_t)blockIdx.x * n;
    float dot = 0.0f;
    for (u32 i = threadIdx.x; i < n; i += THREADS) dot += p[row + i] * dp[row + i];
    dot = block_sum(dot, parts);
    for (u32 i = threadIdx.x; i < n; i += THREADS) ds[row + i] = scale * p[row + i] * (dp[row + i] - dot);
}

// Most features of a head that a lane holds, and keys that a warp meets between two rescalings.
#define LANE_FEATURES 8
#define KEYS 4

// One new token a row over the keys and values of its prompt, which its siblings share, and its own. One block a (row, key head);
// its warps take keys in turn and each keeps a running softmax, joined at the end. spans: (prompt start, prompt length, own start,
// own length) a row. GROUP query heads share a key head. hd is at most 256.
template <int GROUP, typename Kept>
__device__ static inline void decode(const float *q, const Kept *keys, const Kept *values, const u32 *spans, float *out, u32 kv_heads, u32 hd, u32 window, float scale) {
    __shared__ float tops[WARPS][GROUP], sums[WARPS][GROUP], mixed[WARPS][GROUP][WARP * LANE_FEATURES];
    u32 row = blockIdx.x, head = blockIdx.y, warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const u32 *span = spans + 4 * row;
    u32 n_prompt = span[1], n = n_prompt + span[3], from = window && n > window ? n - window : 0;
    size_t width = (size_t)kv_heads * hd, feature = (size_t)head * hd;
    float query[GROUP][LANE_FEATURES], sum[GROUP], top[GROUP], mix[GROUP][LANE_FEATURES];
    for (int g = 0; g < GROUP; g++) {
        top[g] = LOWEST;
        sum[g] = 0.0f;
        for (int f = 0; f < LANE_FEATURES; f++) {
            u32 i = lane + WARP * f;
            query[g][f] = i < hd ? q[((size_t)row * kv_heads + head) * GROUP * hd + g * hd + i] * scale : 0.0f;
            mix[g][f] = 0.0f;
        }
    }
    for (u32 base = from; base < n; base += WARPS * KEYS) {
        size_t at[KEYS];
        float score[KEYS][GROUP];
        for (int j = 0; j < KEYS; j++) {
            u32 key = base + warp * KEYS + j;
            u32 real = key < n ? key : n - 1;
            at[j] = (size_t)(real < n_prompt ? span[0] + real : span[2] + real - n_prompt) * width + feature;
            float dot[GROUP];
            for (int g = 0; g < GROUP; g++) dot[g] = 0.0f;
            for (int f = 0; f < LANE_FEATURES; f++) {
                u32 i = lane + WARP * f;
                float k = i < hd ? widen(keys[at[j] + i]) : 0.0f;
                for (int g = 0; g < GROUP; g++) dot[g] += query[g][f] * k;
            }
            for (int g = 0; g < GROUP; g++) {
                dot[g] = warp_sum(dot[g]);
                score[j][g] = key < n ? dot[g] : LOWEST;
            }
        }
        for (int g = 0; g < GROUP; g++) {
            float now = top[g];
            for (int j = 0; j < KEYS; j++) now = fmaxf(now, score[j][g]);
            float keep = expf(top[g] - now);
            top[g] = now;
            sum[g] *= keep;
            for (int f = 0; f < LANE_FEATURES; f++) mix[g][f] *= keep;
        }
        for (int j = 0; j < KEYS; j++) {
            bool real = base + warp * KEYS + j < n;
            float p[GROUP];
            for (int g = 0; g < GROUP; g++) {
                p[g] = real ? expf(score[j][g] - top[g]) : 0.0f;
                sum[g] += p[g];
            }
            for (int f = 0; f < LANE_FEATURES; f++) {
                u32 i = lane + WARP * f;
                float v = i < hd ? widen(values[at[j] + i]) : 0.0f;
                for (int g = 0; g < GROUP; g++) mix[g][f] += p[g] * v;
            }
        }
    }
    for (int g = 0; g < GROUP; g++) {
        if (lane == 0) {
            tops[warp][g] = top[g];
            sums[warp][g] = sum[g];
        }
        for (int f = 0; f < LANE_FEATURES; f++) mixed[warp][g][lane + WARP * f] = mix[g][f];
    }
    __syncthreads();
    for (u32 at = threadIdx.x; at < GROUP * hd; at += THREADS) {
        u32 g = at / hd, i = at % hd;
        float best = LOWEST, total = 0.0f, y = 0.0f;
        for (int w = 0; w < WARPS; w++) best = fmaxf(best, tops[w][g]);
        for (int w = 0; w < WARPS; w++) {
            float share = expf(tops[w][g] - best);
            total += share * sums[w][g];
            y += share * mixed[w][g][i];
        }
        out[((size_t)row * kv_heads + head) * GROUP * hd + at] = y / total;
    }
}

#define DECODE(GROUP)                                                                                                              \
    extern "C" __global__ void decode_##GROUP##_f32(const float *q, const float *k, const float *v, const u32 *spans, float *out, \
                                                    u32 kv_heads, u32 hd, u32 window, float scale) {                              \
        decode<GROUP, float>(q, k, v, spans, out, kv_heads, hd, window, scale);                                                   \
    }                                                                                                                             \
    extern "C" __global__ void decode_##GROUP##_bf16(const float *q, const u16 *k, const u16 *v, const u32 *spans, float *out,    \
                                                     u32 kv_heads, u32 hd, u32 window, float scale) {                             \
        decode<GROUP, u16>(q, k, v, spans, out, kv_heads, hd, window, scale);                                                     \
    }
DECODE(1)
DECODE(2)
DECODE(4)

// --------------------------------------------------------------------------------------------------------------- log-probs

// Takes a chunk of logits (rows, n), words first.., into the running (max, sum, weighted sum, target) of each row. One block a row.
extern "C" __global__ void add_statistics(const float *x, const u32 *targets, const float *before, float *after, u32 n, u32 first, float inverse) {
    __shared__ float parts[WARPS];
    size_t row = (size_t)blockIdx.x * n;
    const float *old = before + 4 * (size_t)blockIdx.x;
    float top = old[0];
    for (u32 i = threadIdx.x; i < n; i += THREADS) top = fmaxf(top, x[row + i] * inverse);
    top = block_max(top, parts);
    float sum = 0.0f, weighted = 0.0f;
    for (u32 i = threadIdx.x; i < n; i += THREADS) {
        float v = x[row + i] * inverse, e = expf(v - top);
        sum += e;
        weighted += e * v;
    }
    sum = block_sum(sum, parts);
    weighted = block_sum(weighted, parts);
    if (threadIdx.x == 0) {
        float keep = expf(old[0] - top), *now = after + 4 * (size_t)blockIdx.x;
        u32 target = targets[blockIdx.x];
        now[0] = top;
        now[1] = old[1] * keep + sum;
        now[2] = old[2] * keep + weighted;
        now[3] = target >= first && target < first + n ? x[row + target - first] * inverse : old[3];
    }
}

// (rows, 4) -> (3, rows): log-prob of the target, entropy, log-sum-exp.
extern "C" __global__ void finish_statistics(const float *running, float *stats, u32 rows) {
    u32 i = blockIdx.x * THREADS + threadIdx.x;
    if (i >= rows) return;
    const float *r = running + 4 * (size_t)i;
    float log_sum_exp = r[0] + logf(r[1]);
    stats[i] = r[3] - log_sum_exp;
    stats[rows + i] = log_sum_exp - r[2] / r[1];
    stats[2 * (size_t)rows + i] = log_sum_exp;
}

// slope * softmax of a chunk of logits (rows, n), given each row's log-sum-exp.
extern "C" __global__ void logit_slopes(const float *x, const float *log_sum_exp, const float *slope, float *y, u32 n, float inverse) {
    u32 i = blockIdx.y * THREADS + threadIdx.x;
    size_t row = blockIdx.x;
    if (i < n) y[row * n + i] = slope[row] * expf(x[row * n + i] * inverse - log_sum_exp[row]);
}

// ----------------------------------------------------------------------------------------------------------------- drawing

// For each row of logits (rows, n): where the running sum of softmax(inverse * logits) exceeds unit[row], or the first largest where
// `greedy`. picked: (token, log-prob) a row; tokens are exact in f32. One block a row; a warp sums a stretch of words, the stretch of
// the draw is then cut among the threads, and the last cut is walked word by word.
extern "C" __global__ void pick(const float *logits, const float *units, float *picked, u32 n, float inverse, u32 greedy) {
    __shared__ float parts[WARPS], cuts[THREADS], rest;
    __shared__ u32 chosen;
    const float *x = logits + (size_t)blockIdx.x * n;
    u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, stretch = (n + WARPS - 1) / WARPS;
    float top = LOWEST;
    for (u32 i = threadIdx.x; i < n; i += THREADS) top = fmaxf(top, x[i]);
    top = block_max(top, parts);
    u32 from = warp * stretch < n ? warp * stretch : n, to = from + stretch < n ? from + stretch : n;
    float sum = 0.0f;
    for (u32 i = from + lane; i < to; i += WARP) sum += expf((x[i] - top) * inverse);
    float total = block_sum(sum, parts); // leaves each warp's sum in `parts`
    if (threadIdx.x == 0) {
        float left = units[blockIdx.x] * total;
        u32 w = 0, last = 0;
        for (u32 i = 0; i < WARPS; i++)
            if (parts[i] > 0.0f) last = i;
        for (; w < last && left >= parts[w]; w++) left -= parts[w];
        chosen = w;
        rest = left;
    }
    __syncthreads();
    from = chosen * stretch;
    to = from + stretch < n ? from + stretch : n;
    u32 cut = (stretch + THREADS - 1) / THREADS;
    float mine = 0.0f;
    for (u32 i = from + threadIdx.x * cut; i < from + (threadIdx.x + 1) * cut && i < to; i++) mine += expf((x[i] - top) * inverse);
    cuts[threadIdx.x] = mine;
    u32 best = n;
    if (greedy)
        for (u32 i = threadIdx.x; i < n && best == n; i += THREADS)
            if (x[i] == top) best = i;
    // The first among the threads' firsts; indices are exact in f32.
    best = (u32)-block_max(-(float)best, parts);
    if (threadIdx.x == 0) {
        u32 token = best;
        if (!greedy) {
            float left = rest;
            u32 c = 0, last = 0;
            for (u32 i = 0; i < THREADS; i++)
                if (cuts[i] > 0.0f) last = i;
            for (; c < last && left >= cuts[c]; c++) left -= cuts[c];
            token = from;
            for (u32 i = from + c * cut; i < from + (c + 1) * cut && i < to; i++) {
                float e = expf((x[i] - top) * inverse);
                if (e > 0.0f) token = i;
                left -= e;
                if (e > 0.0f && left < 0.0f) break;
            }
        }
        picked[2 * (size_t)blockIdx.x] = (float)token;
        picked[2 * (size_t)blockIdx.x + 1] = (x[token] - top) * inverse - logf(total);
    }
}
