/* A trained attention network in plain JavaScript, as small as it can be read.

   A network is {steps, numbers, half, classes, mean, std, size}: a list of steps, each of which makes one value from
   earlier ones (value 0 is the picture), and all that was learned, as one line of text. Python's lpa_core writes it.
   Every value is {data, c, h, w}: c channels of h rows of w numbers, float32, one after another.

   In the paper's names: l_i are the local features of a level, one vector per position i; g is the vector of the whole
   picture; c_i the scores, a_i the weights, u the learned direction of pc; g_a = sum_i a_i l_i takes the place of g.

   The whole file is one function, so that a page can hand its text to a worker. */

function lpaEngine() {

  // ---- layers: (step, inputs, out) -> out. `out` is the value this step made last time: its memory is used again. ----

  const layers = {
    /* out_o = b_o + sum over channels and taps of W_o x. Row by row: the patches of one row of positions, each in one
       piece, times the rows of W. BatchNorm is folded into W and b. */
    conv(step, [x], out) {
      const {weight: W, shape: [outputs, inputs, rows, columns]} = step;
      const {stride: [down, across], padding: [top, left], dilation: [apart, aside], groups, edge} = step;
      const h = 1 + Math.floor((x.h + 2 * top - apart * (rows - 1) - 1) / down);
      const w = 1 + Math.floor((x.w + 2 * left - aside * (columns - 1) - 1) / across);
      const length = inputs * rows * columns, perGroup = outputs / groups;
      out = value(out, outputs, h, w);
      const patches = scratch(w * length);
      for (let group = 0; group < groups; group++) {
        for (let i = 0; i < h; i++) {
          for (let channel = 0, at = 0; channel < inputs; channel++) {
            const from = (group * inputs + channel) * x.h * x.w;
            for (let r = 0; r < rows; r++) {
              const row = inside(i * down + r * apart - top, x.h, edge);
              for (let s = 0; s < columns; s++, at++) {
                for (let j = 0, to = at, place = s * aside - left; j < w; j++, to += length, place += across) {
                  const column = inside(place, x.w, edge);
                  patches[to] = row < 0 || column < 0 ? 0 : x.data[from + row * x.w + column];
                }
              }
            }
          }
          product(W, group * perGroup, perGroup, patches, w, length, step.bias, out.data, i * w, h * w);
        }
      }
      return out;
    },

    linear(step, [x], out) {
      const [outputs, inputs] = step.shape;
      out = value(out, outputs, 1, 1);
      product(step.weight, 0, outputs, x.data, 1, inputs, step.bias, out.data, 0, 1);
      return out;
    },

    // A BatchNorm that follows no convolution: one factor and one shift per channel.
    scale(step, [x], out) {
      out = value(out, x.c, x.h, x.w);
      const n = x.h * x.w;
      for (let i = 0; i < x.data.length; i++) {
        const channel = Math.floor(i / n);
        out.data[i] = step.scale[channel] * x.data[i] + step.shift[channel];
      }
      return out;
    },

    act: (step, [x], out) => copy(x, out), // the activation itself follows every step that has one
    add: (step, [x, y], out) => (out = copy(x, out), y.data.forEach((v, i) => { out.data[i] += v; }), out),

    concat(step, parts, out) {
      out = value(out, parts.reduce((sum, part) => sum + part.c, 0), parts[0].h, parts[0].w);
      parts.reduce((at, part) => (out.data.set(part.data, at), at + part.data.length), 0);
      return out;
    },

    max: (step, [x], out) => pool(x, out, Math.max, -Infinity, () => 1, ...windows(step, x)),
    avg: (step, [x], out) => pool(x, out, (sum, v) => sum + v, 0, () => step.size[0] * step.size[1], ...windows(step, x)),
    adaptive_max: (step, [x], out) => pool(x, out, Math.max, -Infinity, () => 1, ...shares(step, x)),
    adaptive_avg: (step, [x], out) => pool(x, out, (sum, v) => sum + v, 0, (count) => count, ...shares(step, x)),

    /* One level's attention: scores -> weights -> vector. Keeps c and a beside g_a, for the page to show.
         pc       c_i = <u, l_i + g> + bias        dp   c_i = <l_i, g>        uniform   c_i = 0
         scaled_dp   c_i = <l_i, g> / sqrt(length of g)
         a_i = exp(c_i / T) / sum_j exp(c_j / T)   (T is the temperature, 1 in training)
         g_a = sum_i a_i l_i
       Where l and g differ in length and the network matches l to g, a matrix P does: <q, P l_i> = <P'q, l_i>. */
    attend(step, [l, g], out, {temperature = 1, maps = []}) {
      const n = l.h * l.w, given = maps[step.level];
      out = value(out, step.P ? step.shapeP[0] : l.c, 1, 1);
      const kind = step.compatibility;
      out.query = kind === "pc" ? step.u : kind === "uniform" ? null : g.data;
      if (kind === "scaled_dp") out.query = g.data.map((number) => number / Math.sqrt(g.data.length));
      out.constant = step.compatibility === "pc" ? (g ? dot(step.u, g.data) : 0) + step.bias[0] : 0;
      out.c_i = scores(l, out.query && step.P ? transposed(step, out.query) : out.query, out.constant);
      if (given && !(given.length === n && given.every(Number.isFinite))) throw new Error(`a map must be ${n} numbers`);
      out.a = given ? Float32Array.from(given) : softmax(out.c_i, temperature);
      const g_a = weightedSum(out.a, l, n);
      out.data.set(step.P ? multiplied(step, g_a) : g_a);
      return out;
    },
  };

  const activations = {
    relu: (x) => (x > 0 ? x : 0),
    relu6: (x) => Math.min(6, Math.max(0, x)),
    gelu: (x) => 0.5 * x * (1 + erf(x / Math.SQRT2)),
    silu: (x) => x / (1 + Math.exp(-x)),
  };

  // ---- attention, on numbers ----

  function scores(l, query, constant) {
    const n = l.h * l.w, c = new Float64Array(n).fill(query ? constant : 0);
    if (query) for (let k = 0; k < l.c; k++) for (let i = 0; i < n; i++) c[i] += query[k] * l.data[k * n + i];
    return Float32Array.from(c);
  }

  function softmax(c, temperature = 1) {
    const highest = c.reduce((a, b) => Math.max(a, b), -Infinity); // exp never overflows; the quotient is the same
    const a = Float64Array.from(c, (v) => Math.exp((v - highest) / temperature));
    const sum = a.reduce((x, y) => x + y, 0);
    return Float32Array.from(a, (v) => v / sum);
  }

  function weightedSum(a, l, n) {
    return Float32Array.from({length: l.c}, (_, k) => dot(a, l.data.subarray(k * n, (k + 1) * n)));
  }

  function dot(x, y) {
    let sum = 0;
    for (let i = 0; i < x.length; i++) sum += x[i] * y[i];
    return sum;
  }

  const multiplied = ({P, shapeP: [rows, columns]}, x) =>
    Float32Array.from({length: rows}, (_, r) => dot(x, P.subarray(r * columns, (r + 1) * columns)));
  const transposed = ({P, shapeP: [rows, columns]}, x) =>
    Float32Array.from({length: columns}, (_, k) => x.reduce((sum, v, r) => sum + v * P[r * columns + k], 0));

  // ---- helpers ----

  function value(last, c, h, w) {
    if (!(c > 0 && h > 0 && w > 0)) throw new Error("the picture is too small for this network");
    return last && last.c === c && last.h === h && last.w === w ? last : {data: new Float32Array(c * h * w), c, h, w};
  }

  function copy(x, last) {
    const out = value(last, x.c, x.h, x.w);
    out.data.set(x.data);
    return out;
  }

  let patchMemory = new Float32Array(0);
  const scratch = (n) => (patchMemory.length < n ? patchMemory = new Float32Array(n) : patchMemory);

  // Where a row or column lies that may be outside: at the edge ("replicate"), or nowhere (-1, "zeros").
  const inside = (i, size, edge) => (i >= 0 && i < size ? i : edge === "zeros" ? -1 : i < 0 ? 0 : size - 1);

  /* For o of `count` rows of W from row `first`, and n patches: out[o, j] = bias_o + <W_o, patch_j>. Four rows and two
     patches at a time, so that each number that is read is used more than once. */
  function product(W, first, count, patches, n, length, bias, out, offset, perRow) {
    const last = first + count;
    let o = first;
    for (; o + 4 <= last; o += 4) {
      const w0 = o * length, w1 = w0 + length, w2 = w1 + length, w3 = w2 + length;
      for (let j = 0; j < n; j += 2) {
        const p = j * length, q = j + 1 < n ? p + length : p; // an odd last one is computed twice
        let a0 = bias[o], a1 = bias[o + 1], a2 = bias[o + 2], a3 = bias[o + 3];
        let b0 = a0, b1 = a1, b2 = a2, b3 = a3;
        for (let k = 0; k < length; k++) {
          const x = patches[p + k], y = patches[q + k];
          const v0 = W[w0 + k], v1 = W[w1 + k], v2 = W[w2 + k], v3 = W[w3 + k];
          a0 += v0 * x; b0 += v0 * y; a1 += v1 * x; b1 += v1 * y;
          a2 += v2 * x; b2 += v2 * y; a3 += v3 * x; b3 += v3 * y;
        }
        const at = o * perRow + offset + j;
        out[at] = a0; out[at + perRow] = a1; out[at + 2 * perRow] = a2; out[at + 3 * perRow] = a3;
        if (j + 1 < n) {
          out[at + 1] = b0; out[at + perRow + 1] = b1; out[at + 2 * perRow + 1] = b2; out[at + 3 * perRow + 1] = b3;
        }
      }
    }
    for (; o < last; o++) {
      for (let j = 0; j < n; j++) {
        let sum = bias[o];
        for (let k = 0; k < length; k++) sum += W[o * length + k] * patches[j * length + k];
        out[o * perRow + offset + j] = sum;
      }
    }
  }

  // First and last row (or column) of each window; what lies outside counts for an average as zero.
  function windows({size, stride, padding}, x) {
    const along = (n, axis) => Array.from(
      {length: 1 + Math.floor((n + 2 * padding[axis] - size[axis]) / stride[axis])},
      (_, i) => [i * stride[axis] - padding[axis], i * stride[axis] - padding[axis] + size[axis]],
    );
    return [along(x.h, 0), along(x.w, 1)];
  }

  const shares = ({size: [h, w]}, x) => [[x.h, h], [x.w, w]].map(([n, parts]) => Array.from(
    {length: parts}, (_, i) => [Math.floor(i * n / parts), Math.ceil((i + 1) * n / parts)],
  ));

  function pool(x, out, join, start, divisor, rows, columns) {
    out = value(out, x.c, rows.length, columns.length);
    let at = 0;
    for (let channel = 0; channel < x.c; channel++) {
      for (const [top, bottom] of rows) {
        for (const [left, right] of columns) {
          let all = start;
          for (let i = Math.max(0, top); i < Math.min(x.h, bottom); i++) {
            const row = (channel * x.h + i) * x.w;
            for (let j = Math.max(0, left); j < Math.min(x.w, right); j++) all = join(all, x.data[row + j]);
          }
          out.data[at++] = all / divisor((bottom - top) * (right - left));
        }
      }
    }
    return out;
  }

  // The error function by its series near zero and by a continued fraction beyond: exact to 1e-9.
  function erf(x) {
    const z = Math.abs(x);
    if (z < 3) {
      let term = z, sum = z;
      for (let n = 1; Math.abs(term) > 1e-12 * sum && n < 100; n++) {
        term *= -z * z / n;
        sum += term / (2 * n + 1);
      }
      return Math.sign(x) * sum * 2 / Math.sqrt(Math.PI);
    }
    let fraction = z;
    for (let n = 30; n > 0; n--) fraction = z + n / 2 / fraction;
    return Math.sign(x) * (1 - Math.exp(-z * z) / fraction / Math.sqrt(Math.PI));
  }

  // ---- a network, from text to numbers to an answer ----

  async function open(network) {
    const numbers = await lpaNumbers(network.numbers, network.half ? 2 : 4);
    let level = 0;
    const steps = network.steps.map((step) => {
      const opened = {...step};
      for (const name of ["weight", "bias", "scale", "shift", "u", "P"]) {
        if (!step[name]) continue;
        const [from, shape] = step[name];
        opened[name] = numbers.subarray(from, from + shape.reduce((a, b) => a * b, 1));
        if (name === "weight") opened.shape = shape;
        if (name === "P") opened.shapeP = shape;
      }
      if (step.do === "attend") opened.level = level++;
      return opened;
    });
    return {...network, numbers: null, steps, values: []};
  }

  // Pixels {data: 0 to 255, row by row, channels together (RGB or RGBA), h, w} to the network's value 0.
  function prepared({data, h, w}, {mean, std}) {
    const c = mean.length, n = h * w, apart = data.length / n, out = value(null, c, h, w);
    for (let channel = 0; channel < c; channel++) {
      for (let i = 0; i < n; i++) {
        out.data[channel * n + i] = (data[i * apart + channel] / 255 - mean[channel]) / std[channel];
      }
    }
    return out;
  }

  /* Look at `picture` (value 0); null looks at the last one again, from the attention on, which is quick.
     options: temperature; maps, weights a to use in place of the network's own (null: its own), level by level. */
  function look(network, picture, options = {}) {
    const {steps, values} = network;
    if (picture && !picture.data.every(Number.isFinite)) throw new Error("the picture must be numbers, and some are not");
    if (picture) values[0] = picture;
    if (!values[0]) throw new Error("there is no picture yet");
    const first = picture ? 0 : steps.findIndex((step) => step.do === "attend");
    for (let i = first; i < steps.length; i++) {
      const step = steps[i], inputs = step.of.map((k) => values[k]);
      const out = values[i + 1] = layers[step.do](step, inputs, values[i + 1], options);
      if (step.act) for (let k = 0; k < out.data.length; k++) out.data[k] = activations[step.act](out.data[k]);
    }
    const levels = steps.flatMap(({do: what, compatibility, of: [from]}, i) => {
      const {h, w, c} = values[from], {c_i, a, data} = values[i + 1];
      return what === "attend" ? [{kind: compatibility, h, w, channels: c, c_i, a, g_a: data.slice()}] : [];
    });
    return {logits: values[steps.length].data.slice(), levels};
  }

  return {open, prepared, look, softmax};
}
