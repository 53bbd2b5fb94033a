// What is behind the layers: log-probs, drawing, and the step that learns.

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
