// Attention: of one new token over caches, and of prompts and their completions around the products of their scores.

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
