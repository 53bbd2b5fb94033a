// The model's own GPU kernels. Rows are f32; caches are f32 or bf16. Sums within a block are in a fixed order, so that the same
// input gives the same bits. Every thread of a block takes every __syncthreads and every shuffle: no early return before one.
//
// Compiled to PTX by build.rs under the feature `cuda`; tests/model/kernels.rs compiles the same file for the CPU, where blocks run
// one after the other, and holds it against the CPU's operations.

#define THREADS 256
#define WARP 32
#define WARPS (THREADS / WARP)
#define LOWEST -3.0e38f
// Most features of a head that a lane holds: heads are at most 256 wide.
#define LANE_FEATURES 8

typedef unsigned int u32;
typedef unsigned short u16;

__device__ static inline float widen(float x) { return x; }
__device__ static inline float widen(u16 bits) { return __uint_as_float((u32)bits << 16); }

// To the nearest bf16, ties to even.
__device__ static inline u16 narrow(float x) {
    u32 bits = __float_as_uint(x);
    return x != x ? 0x7fc0 : (u16)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
__device__ static inline void keep(float *at, float x) { *at = x; }
__device__ static inline void keep(u16 *at, float x) { *at = narrow(x); }

// A row's input of the next product: f32, and bf16 too where the weights are.
__device__ static inline void give(float *y, u16 *half, size_t at, float x) {
    y[at] = x;
    if (half) half[at] = narrow(x);
}

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

// gelu (tanh form) is x s(u) with s the logistic function and u = 2 sqrt(2/pi) (x + 0.044715 x^3).
__device__ static inline float logistic(float x) {
    float u = 1.5957691216057308f * x * (1.0f + 0.044715f * x * x);
    return 1.0f / (1.0f + expf(-u));
}

// -------------------------------------------------------------------------------------------------------------- attention

// Keys that a warp meets between two rescalings.
#define KEYS 4

// A lane's share of a head: hd / 32 features that follow each other, read in one go where there are 8.
template <typename Kept> struct alignas(sizeof(Kept) * 8 < 16 ? sizeof(Kept) * 8 : 16) Pack {
    Kept values[LANE_FEATURES];
};
template <typename Kept> __device__ static inline void lane_features(const Kept *head, u32 lane, u32 hd, float *out) {
    if (hd == WARP * LANE_FEATURES) {
        Pack<Kept> pack = *(const Pack<Kept> *)(head + lane * LANE_FEATURES);
        for (int f = 0; f < LANE_FEATURES; f++) out[f] = widen(pack.values[f]);
    } else {
        for (int f = 0; f < LANE_FEATURES; f++) out[f] = lane * LANE_FEATURES + f < hd ? widen(head[lane * LANE_FEATURES + f]) : 0.0f;
    }
}

// One new token a row over the keys and values of its prompt, which its siblings share, and its own: a part of them a block, of
// `split` parts, for one key head. The warps of a block take keys in turn and each keeps a running softmax, joined at the end and, over
// the parts, by decode_join. spans: (prompt start, prompt length, own start, own length) a row. GROUP query heads share a key head; hd is
// at most 256. parts (rows, key heads, split, GROUP, hd + 2): mixed values, their largest score, their sum.
template <int GROUP, typename Kept>
__device__ static inline void decode_part(const float *q, const Kept *keys, const Kept *values, const u32 *spans, float *parts, u32 kv_heads, u32 hd, u32 window, u32 split, float scale) {
    __shared__ float tops[WARPS][GROUP], sums[WARPS][GROUP], mixed[WARPS][GROUP][WARP * LANE_FEATURES];
    u32 row = blockIdx.x / split, part = blockIdx.x % split, head = blockIdx.y, warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const u32 *span = spans + 4 * row;
    u32 n_prompt = span[1], n = n_prompt + span[3], first = window && n > window ? n - window : 0, each = (n - first + split - 1) / split;
    u32 from = first + part * each < n ? first + part * each : n, to = from + each < n ? from + each : n;
    size_t width = (size_t)kv_heads * hd, feature = (size_t)head * hd;
    float query[GROUP][LANE_FEATURES], sum[GROUP], top[GROUP], mix[GROUP][LANE_FEATURES];
    for (int g = 0; g < GROUP; g++) {
        top[g] = LOWEST;
        sum[g] = 0.0f;
        lane_features(q + (((size_t)row * kv_heads + head) * GROUP + g) * hd, lane, hd, query[g]);
        for (int f = 0; f < LANE_FEATURES; f++) {
            query[g][f] *= scale;
            mix[g][f] = 0.0f;
        }
    }
    for (u32 base = from; base < to; base += WARPS * KEYS) {
        size_t at[KEYS];
        float score[KEYS][GROUP], k[KEYS][LANE_FEATURES];
        for (int j = 0; j < KEYS; j++) {
            u32 key = base + warp * KEYS + j;
            u32 real = key < to ? key : to - 1;
            at[j] = (size_t)(real < n_prompt ? span[0] + real : span[2] + real - n_prompt) * width + feature;
            lane_features(keys + at[j], lane, hd, k[j]);
        }
        for (int j = 0; j < KEYS; j++) {
            bool real = base + warp * KEYS + j < to;
            for (int g = 0; g < GROUP; g++) {
                float dot = 0.0f;
                for (int f = 0; f < LANE_FEATURES; f++) dot += query[g][f] * k[j][f];
                dot = warp_sum(dot);
                score[j][g] = real ? dot : LOWEST;
            }
        }
        for (int j = 0; j < KEYS; j++) lane_features(values + at[j], lane, hd, k[j]);
        for (int g = 0; g < GROUP; g++) {
            float now = top[g];
            for (int j = 0; j < KEYS; j++) now = fmaxf(now, score[j][g]);
            float keep = expf(top[g] - now);
            top[g] = now;
            sum[g] *= keep;
            for (int f = 0; f < LANE_FEATURES; f++) mix[g][f] *= keep;
            for (int j = 0; j < KEYS; j++) {
                float p = base + warp * KEYS + j < to ? expf(score[j][g] - now) : 0.0f;
                sum[g] += p;
                for (int f = 0; f < LANE_FEATURES; f++) mix[g][f] += p * k[j][f];
            }
        }
    }
    for (int g = 0; g < GROUP; g++) {
        if (lane == 0) {
            tops[warp][g] = top[g];
            sums[warp][g] = sum[g];
        }
        for (int f = 0; f < LANE_FEATURES; f++) mixed[warp][g][lane * LANE_FEATURES + f] = mix[g][f];
    }
    __syncthreads();
    float *out = parts + (((size_t)row * kv_heads + head) * split + part) * GROUP * (hd + 2);
    for (u32 at = threadIdx.x; at < GROUP * hd; at += THREADS) {
        u32 g = at / hd, i = at % hd;
        float best = LOWEST, total = 0.0f, y = 0.0f;
        for (int w = 0; w < WARPS; w++) best = fmaxf(best, tops[w][g]);
        for (int w = 0; w < WARPS; w++) {
            float share = expf(tops[w][g] - best);
            total += share * sums[w][g];
            y += share * mixed[w][g][i];
        }
        out[g * (hd + 2) + i] = y;
        if (i == 0) {
            out[g * (hd + 2) + hd] = best;
            out[g * (hd + 2) + hd + 1] = total;
        }
    }
}

#define DECODE_OF(GROUP, NAME, KEPT)                                                                                                   \
    extern "C" __global__ void decode_##GROUP##_##NAME(const float *q, const KEPT *k, const KEPT *v, const u32 *spans, float *parts,  \
                                                       u32 kv_heads, u32 hd, u32 window, u32 split, float scale) {                    \
        decode_part<GROUP, KEPT>(q, k, v, spans, parts, kv_heads, hd, window, split, scale);                                          \
    }
#define DECODE(GROUP)             \
    DECODE_OF(GROUP, f32, float)  \
    DECODE_OF(GROUP, bf16, u16)
DECODE(1)
DECODE(2)
DECODE(4)

// The parts of decode_part together, as rows (rows, key heads, group, hd). One block a row and key head.
extern "C" __global__ void decode_join(const float *parts, float *out, u16 *half, u32 kv_heads, u32 group, u32 hd, u32 split) {
    size_t at = (size_t)blockIdx.x * kv_heads + blockIdx.y;
    for (u32 j = threadIdx.x; j < group * hd; j += THREADS) {
        u32 g = j / hd, i = j % hd;
        const float *part = parts + (at * split * group + g) * (hd + 2);
        float best = LOWEST, total = 0.0f, y = 0.0f;
        for (u32 s = 0; s < split; s++) best = fmaxf(best, part[(size_t)s * group * (hd + 2) + hd]);
        for (u32 s = 0; s < split; s++) {
            const float *one = part + (size_t)s * group * (hd + 2);
            float share = expf(one[hd] - best);
            total += share * one[hd + 1];
            y += share * one[i];
        }
        give(out, half, at * group * hd + j, y / total);
    }
}

// ---------------------------------------------------------------------------------------------- a layer between its products

// x = scale * table[id]; one block a row of d and a stretch of it.
template <typename Kept>
__device__ static inline void embed(const Kept *table, const u32 *ids, float *x, u32 d, float scale) {
    u32 i = blockIdx.y * THREADS + threadIdx.x;
    if (i < d) x[(size_t)blockIdx.x * d + i] = widen(table[(size_t)ids[blockIdx.x] * d + i]) * scale;
}
extern "C" __global__ void embed_f32(const float *table, const u32 *ids, float *x, u32 d, float scale) { embed(table, ids, x, d, scale); }
extern "C" __global__ void embed_bf16(const u16 *table, const u32 *ids, float *x, u32 d, float scale) { embed(table, ids, x, d, scale); }

extern "C" __global__ void halve(const float *x, u16 *half, u32 n) {
    u32 i = blockIdx.x * THREADS + threadIdx.x;
    if (i < n) half[i] = narrow(x[i]);
}

// h = norm(x), one block a row of d.
extern "C" __global__ void enter(const float *x, const float *w, float *h, u16 *half, u32 d, float eps) {
    __shared__ float parts[WARPS];
    size_t row = (size_t)blockIdx.x * d;
    float squares = 0.0f;
    for (u32 i = threadIdx.x; i < d; i += THREADS) squares += x[row + i] * x[row + i];
    float inverse = 1.0f / sqrtf(block_sum(squares, parts) / d + eps);
    for (u32 i = threadIdx.x; i < d; i += THREADS) give(h, half, row + i, x[row + i] * inverse * (1.0f + w[i]));
}

// joined = x + norm(y; after), h = norm(joined; before): the end of one half of a layer and the start of the next. One block a row.
extern "C" __global__ void join(const float *x, const float *y, const float *after, const float *before, float *joined, float *h, u16 *half, u32 d, float eps) {
    __shared__ float parts[WARPS];
    size_t row = (size_t)blockIdx.x * d;
    float squares = 0.0f;
    for (u32 i = threadIdx.x; i < d; i += THREADS) squares += y[row + i] * y[row + i];
    float inverse = 1.0f / sqrtf(block_sum(squares, parts) / d + eps);
    squares = 0.0f;
    for (u32 i = threadIdx.x; i < d; i += THREADS) {
        float sum = x[row + i] + y[row + i] * inverse * (1.0f + after[i]);
        joined[row + i] = sum;
        squares += sum * sum;
    }
    inverse = 1.0f / sqrtf(block_sum(squares, parts) / d + eps);
    for (u32 i = threadIdx.x; i < d; i += THREADS) give(h, half, row + i, joined[row + i] * inverse * (1.0f + before[i]));
}

// dx = base + the slope of norm(x) by x; without base where there is none. One block a row.
extern "C" __global__ void norm_slope(const float *x, const float *w, const float *g, const float *base, float *dx, u16 *half, u32 d, float eps) {
    __shared__ float parts[WARPS];
    size_t row = (size_t)blockIdx.x * d;
    float squares = 0.0f, dot = 0.0f;
    for (u32 i = threadIdx.x; i < d; i += THREADS) {
        squares += x[row + i] * x[row + i];
        dot += x[row + i] * g[row + i] * (1.0f + w[i]);
    }
    float r = 1.0f / sqrtf(block_sum(squares, parts) / d + eps);
    float c = block_sum(dot, parts) * r * r * r / d;
    for (u32 i = threadIdx.x; i < d; i += THREADS) {
        float slope = g[row + i] * (1.0f + w[i]) * r - x[row + i] * c;
        give(dx, half, row + i, base ? base[row + i] + slope : slope);
    }
}

// act = gelu(gate) up; gate and up follow each other in a row of 2 d.
extern "C" __global__ void gate_rows(const float *gate_up, float *act, u16 *half, u32 d) {
    u32 i = blockIdx.y * THREADS + threadIdx.x;
    size_t row = (size_t)blockIdx.x * 2 * d;
    if (i >= d) return;
    float x = gate_up[row + i];
    give(act, half, (size_t)blockIdx.x * d + i, x * logistic(x) * gate_up[row + d + i]);
}

extern "C" __global__ void gate_slope(const float *gate_up, const float *g, float *slope, u16 *half, u32 d) {
    u32 i = blockIdx.y * THREADS + threadIdx.x;
    size_t row = (size_t)blockIdx.x * 2 * d;
    if (i >= d) return;
    float x = gate_up[row + i], s = logistic(x), gi = g[(size_t)blockIdx.x * d + i];
    float bend = s + x * s * (1.0f - s) * 1.5957691216057308f * (1.0f + 3.0f * 0.044715f * x * x);
    give(slope, half, row + i, gi * gate_up[row + d + i] * bend);
    give(slope, half, row + d + i, gi * x * s);
}

// Of a row's queries, keys and values (qkv, heads side by side): queries and keys normed and turned by the row's position. q, k and v
// take them as f32 rows, k and v where they are given; the caches take keys and values at the row's place, where there are caches. A
// warp a head; hd is at most 256.
template <typename Kept>
__device__ static inline void heads(const float *qkv, const float *q_norm, const float *k_norm, const float *cosine, const float *sine, const u32 *positions, const u32 *places, float *q, float *k, float *v, Kept *keys, Kept *values, u32 n_heads, u32 kv_heads, u32 hd, float eps) {
    __shared__ float normed[WARPS][WARP * LANE_FEATURES];
    u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, row = blockIdx.x, n = n_heads + 2 * kv_heads;
    u32 head = blockIdx.y * WARPS + warp, half = hd / 2;
    float value[LANE_FEATURES], squares = 0.0f;
    for (int f = 0; f < LANE_FEATURES; f++) {
        u32 i = lane + WARP * f;
        value[f] = head < n && i < hd ? qkv[((size_t)row * n + head) * hd + i] : 0.0f;
        squares += value[f] * value[f];
    }
    float inverse = 1.0f / sqrtf(warp_sum(squares) / hd + eps);
    const float *norm = head < n_heads ? q_norm : k_norm;
    for (int f = 0; f < LANE_FEATURES; f++) {
        u32 i = lane + WARP * f;
        if (head < n_heads + kv_heads && i < hd) value[f] *= inverse * (1.0f + norm[i]);
        normed[warp][i] = value[f];
    }
    __syncthreads();
    if (head >= n) return;
    for (int f = 0; f < LANE_FEATURES; f++) {
        u32 i = lane + WARP * f;
        if (i >= hd) continue;
        float y = value[f];
        if (head < n_heads + kv_heads) {
            size_t at = (size_t)positions[row] * half + i % half;
            float c = cosine[at], s = sine[at];
            y = i < half ? y * c - normed[warp][i + half] * s : y * c + normed[warp][i - half] * s;
        }
        if (head < n_heads) {
            q[((size_t)row * n_heads + head) * hd + i] = y;
            continue;
        }
        bool is_key = head < n_heads + kv_heads;
        u32 of = head - n_heads - (is_key ? 0 : kv_heads);
        float *out = is_key ? k : v;
        Kept *cache = is_key ? keys : values;
        if (out) out[((size_t)row * kv_heads + of) * hd + i] = y;
        if (cache) keep(cache + ((size_t)places[row] * kv_heads + of) * hd + i, y);
    }
}
#define HEADS(NAME, KEPT)                                                                                                              \
    extern "C" __global__ void heads_##NAME(const float *qkv, const float *q_norm, const float *k_norm, const float *cosine,          \
                                            const float *sine, const u32 *positions, const u32 *places, float *q, float *k, float *v, \
                                            KEPT *keys, KEPT *values, u32 n_heads, u32 kv_heads, u32 hd, float eps) {                 \
        heads<KEPT>(qkv, q_norm, k_norm, cosine, sine, positions, places, q, k, v, keys, values, n_heads, kv_heads, hd, eps);         \
    }
HEADS(f32, float)
HEADS(bf16, u16)

// The slope of `heads` by qkv, from those of q, k and v rows.
extern "C" __global__ void heads_slope(const float *qkv, const float *q_norm, const float *k_norm, const float *cosine, const float *sine, const u32 *positions, const float *dq, const float *dk, const float *dv, float *slope, u16 *halved, u32 n_heads, u32 kv_heads, u32 hd, float eps) {
    __shared__ float given[WARPS][WARP * LANE_FEATURES];
    u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, row = blockIdx.x, n = n_heads + 2 * kv_heads;
    u32 head = blockIdx.y * WARPS + warp, half = hd / 2;
    bool is_query = head < n_heads, is_key = !is_query && head < n_heads + kv_heads;
    const float *from = is_query ? dq : is_key ? dk : dv, *norm = is_query ? q_norm : k_norm;
    u32 of = is_query ? head : head - n_heads - (is_key ? 0 : kv_heads), n_of = is_query ? n_heads : kv_heads;
    for (int f = 0; f < LANE_FEATURES; f++) {
        u32 i = lane + WARP * f;
        given[warp][i] = head < n && i < hd ? from[((size_t)row * n_of + of) * hd + i] : 0.0f;
    }
    __syncthreads();
    float value[LANE_FEATURES], g[LANE_FEATURES], squares = 0.0f, dot = 0.0f;
    for (int f = 0; f < LANE_FEATURES; f++) {
        u32 i = lane + WARP * f;
        bool real = head < n && i < hd;
        value[f] = real ? qkv[((size_t)row * n + head) * hd + i] : 0.0f;
        g[f] = given[warp][i];
        if (real && (is_query || is_key)) {
            size_t at = (size_t)positions[row] * half + i % half;
            float c = cosine[at], s = sine[at];
            float turned = i < half ? g[f] * c + given[warp][i + half] * s : g[f] * c - given[warp][i - half] * s;
            g[f] = turned * (1.0f + norm[i]);
        }
        squares += value[f] * value[f];
        dot += value[f] * g[f];
    }
    float r = 1.0f / sqrtf(warp_sum(squares) / hd + eps), c = warp_sum(dot) * r * r * r / hd;
    for (int f = 0; f < LANE_FEATURES; f++) {
        u32 i = lane + WARP * f;
        if (head >= n || i >= hd) continue;
        give(slope, halved, ((size_t)row * n + head) * hd + i, is_query || is_key ? g[f] * r - value[f] * c : g[f]);
    }
}

// -------------------------------------------------------------------------------- attention of a prompt and its completions

// Rows of completions as heads of equal length: y (heads, completions, longest, hd), zero past a completion's end. Head j g + i of the
// rows, the i-th query head of key head j, becomes head i kv + j. spans: (first row, length) a completion.
extern "C" __global__ void pad(const float *x, const u32 *spans, float *y, u32 n, u32 kids, u32 longest, u32 kv_heads, u32 group, u32 hd) {
    u32 at = blockIdx.x * THREADS + threadIdx.x;
    if (at >= n) return;
    u32 i = at % hd, t = at / hd % longest, kid = at / hd / longest % kids, h = at / hd / longest / kids;
    u32 head = h % kv_heads * group + h / kv_heads;
    size_t row = (size_t)spans[2 * kid] + t;
    y[at] = t < spans[2 * kid + 1] ? x[(row * kv_heads * group + head) * hd + i] : 0.0f;
}

// The other way, added to what is there or, where `fresh`, in its place.
extern "C" __global__ void unpad(const float *y, const u32 *spans, float *x, u32 n, u32 kids, u32 longest, u32 kv_heads, u32 group, u32 hd, u32 fresh) {
    u32 at = blockIdx.x * THREADS + threadIdx.x;
    if (at >= n) return;
    u32 i = at % hd, t = at / hd % longest, kid = at / hd / longest % kids, h = at / hd / longest / kids;
    if (t >= spans[2 * kid + 1]) return;
    u32 head = h % kv_heads * group + h / kv_heads;
    size_t to = (((size_t)spans[2 * kid] + t) * kv_heads * group + head) * hd + i;
    x[to] = fresh ? y[at] : x[to] + y[at];
}

// Where a row of a prompt and its completions looks: columns [from, to) of the prompt, [own_from, own_to) of its own completion.
// seats: (completion, or NONE in the prompt; place in it) a row.
#define NONE 0xffffffffu
struct Sight {
    u32 from, to, own_from, own_to;
};
__device__ static inline Sight sight(u32 kid, u32 t, u32 prompt, u32 window) {
    u32 end = (kid == NONE ? t : prompt + t) + 1, low = window && end > window ? end - window : 0;
    if (kid == NONE) return {low, end, 0, 0};
    return {low < prompt ? low : prompt, prompt, low > prompt ? low - prompt : 0, t + 1};
}

// Scores to probabilities in their place: softmax(scale * score) over what the row sees, zero elsewhere. scores (heads, rows, prompt),
// own (heads, kids, longest, longest). One block a row and head.
extern "C" __global__ void tree_softmax(const u32 *seats, float *scores, float *own, u32 rows, u32 prompt, u32 kids, u32 longest, u32 window, float scale) {
    __shared__ float parts[WARPS];
    u32 row = blockIdx.x, head = blockIdx.y, kid = seats[2 * row], t = seats[2 * row + 1];
    Sight see = sight(kid, t, prompt, window);
    float *x = scores + ((size_t)head * rows + row) * prompt;
    float *y = kid == NONE ? own : own + (((size_t)head * kids + kid) * longest + t) * longest;
    float top = LOWEST;
    for (u32 i = see.from + threadIdx.x; i < see.to; i += THREADS) top = fmaxf(top, x[i]);
    for (u32 i = see.own_from + threadIdx.x; i < see.own_to; i += THREADS) top = fmaxf(top, y[i]);
    top = block_max(top, parts);
    float sum = 0.0f;
    for (u32 i = see.from + threadIdx.x; i < see.to; i += THREADS) sum += expf((x[i] - top) * scale);
    for (u32 i = see.own_from + threadIdx.x; i < see.own_to; i += THREADS) sum += expf((y[i] - top) * scale);
    float inverse = 1.0f / block_sum(sum, parts);
    for (u32 i = threadIdx.x; i < prompt; i += THREADS) x[i] = i >= see.from && i < see.to ? expf((x[i] - top) * scale) * inverse : 0.0f;
    if (kid == NONE) return;
    for (u32 i = threadIdx.x; i < longest; i += THREADS) y[i] = i >= see.own_from && i < see.own_to ? expf((y[i] - top) * scale) * inverse : 0.0f;
}

// ds = scale * p (dp - p . dp) in the place of dp; the shapes of tree_softmax.
extern "C" __global__ void tree_softmax_slope(const u32 *seats, const float *p, const float *own_p, float *dp, float *own_dp, u32 rows, u32 prompt, u32 kids, u32 longest, float scale) {
    __shared__ float parts[WARPS];
    u32 row = blockIdx.x, head = blockIdx.y, kid = seats[2 * row], t = seats[2 * row + 1];
    size_t at = ((size_t)head * rows + row) * prompt, own_at = kid == NONE ? 0 : (((size_t)head * kids + kid) * longest + t) * longest;
    u32 n_own = kid == NONE ? 0 : longest;
    float dot = 0.0f;
    for (u32 i = threadIdx.x; i < prompt; i += THREADS) dot += p[at + i] * dp[at + i];
    for (u32 i = threadIdx.x; i < n_own; i += THREADS) dot += own_p[own_at + i] * own_dp[own_at + i];
    dot = block_sum(dot, parts);
    for (u32 i = threadIdx.x; i < prompt; i += THREADS) dp[at + i] = scale * p[at + i] * (dp[at + i] - dot);
    for (u32 i = threadIdx.x; i < n_own; i += THREADS) own_dp[own_at + i] = scale * own_p[own_at + i] * (own_dp[own_at + i] - dot);
}

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

// ---------------------------------------------------------------------------------------------------------------- learning

// The sum of the squares of n values, a part of it a block: parts (blocks) f64. Not finite where a value is not.
extern "C" __global__ void squares(const float *x, double *parts, u32 n, u32 blocks) {
    __shared__ double sums[THREADS];
    double sum = 0.0;
    for (size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x; i < n; i += (size_t)blocks * THREADS) sum += (double)x[i] * x[i];
    sums[threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.x > 0) return;
    for (u32 i = 1; i < THREADS; i++) sum += sums[i];
    parts[blockIdx.x] = sum;
}

// One step of AdamW (Loshchilov and Hutter, 1711.05101) with gradients times `factor`.
extern "C" __global__ void adamw(float *w, float *first, float *second, const float *g, u32 n, float factor, float b1, float rest1, float b2, float rest2, float step_size, float correct2, float eps, float keep) {
    u32 i = blockIdx.x * THREADS + threadIdx.x;
    if (i >= n) return;
    float slope = g[i] * factor, m = b1 * first[i] + rest1 * slope, v = b2 * second[i] + rest2 * slope * slope;
    first[i] = m;
    second[i] = v;
    w[i] = w[i] * keep - step_size * m / (sqrtf(v) / correct2 + eps);
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
