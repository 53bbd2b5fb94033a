// A layer between its products: norms, heads, gates, and their slopes.

// gelu (tanh form) is x s(u) with s the logistic function and u = 2 sqrt(2/pi) (x + 0.044715 x^3).
__device__ static inline float logistic(float x) {
    float u = 1.5957691216057308f * x * (1.0f + 0.044715f * x * x);
    return 1.0f / (1.0f + expf(-u));
}

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
