/* How the answer came about at position i of a level, for class k: the numbers that a page writes into the formulas.
   Each level's part of logit k is <W_k, x> with x the level's share of the vector that the last layer reads. */
function lpaDetails(network, level, i, k) {
  const dot = (x, y) => x.reduce((sum, v, n) => sum + v * y[n], 0);
  const pooled = (l, channel, n) => l.data.subarray(channel * n, (channel + 1) * n).reduce((x, y) => x + y, 0) / n;
  const {steps, values} = network, at = steps.findIndex((step) => step.level === level);
  const l = values[steps[at].of[0]], n = l.h * l.w, {query, constant, c_i, a, data: g_a} = values[at + 1];
  const last = steps[steps.length - 1], joined = steps[last.of[0] - 1], row = last.shape[1];
  const sources = joined.do === "concat" ? joined.of : last.of;
  const W_k = last.weight.subarray(k * row, (k + 1) * row);
  const parts = sources.map((source, s) => {
    const from = sources.slice(0, s).reduce((sum, other) => sum + values[other].c, 0);
    return dot(values[source].data, W_k.subarray(from, from + values[source].c));
  });
  return {
    l_i: Float32Array.from({length: l.c}, (_, channel) => l.data[channel * n + i]),
    query: query && Float32Array.from(query), constant, c_i: c_i[i], a_i: a[i], highest: Math.max(...c_i), n,
    g_a: g_a.slice(), mean: Float32Array.from({length: l.c}, (_, channel) => pooled(l, channel, n)),
    parts, bias: last.bias[k],
  };
}
