/* A picture of any size as the network was shown pictures in training: scaled until it covers the size asked for, its
   middle cut out, bicubic. The same arithmetic as Pillow's ImageOps.fit, so that a page sees what Python sees. */

function lpaFitted(pixels, height, width) {
  const ratio = width / height, w = Math.min(pixels.w, ratio * pixels.h), h = Math.min(pixels.h, pixels.w / ratio);
  const box = {x: (pixels.w - w) / 2, y: (pixels.h - h) / 2, w, h};
  if (w === width && h === height && Number.isInteger(box.x) && Number.isInteger(box.y)) return cut(pixels, box);
  const wide = scaled(pixels, width, box.x, box.w, (line, at) => 4 * (line * pixels.w + at), pixels.h, pixels.w);
  const sized = {data: wide, h: pixels.h, w: width};
  const data = scaled(sized, height, box.y, box.h, (line, at) => 4 * (at * width + line), width, pixels.h);
  // The second pass went column by column.
  const turned = new Uint8ClampedArray(data.length);
  for (let i = 0; i < height; i++) {
    for (let j = 0; j < width; j++) turned.set(data.subarray(4 * (j * height + i), 4 * (j * height + i) + 4), 4 * (i * width + j));
  }
  return {data: turned, h: height, w: width};

  function cubic(x) {
    const z = Math.abs(x);
    if (z < 1) return (1.5 * z - 2.5) * z * z + 1;
    return z < 2 ? ((-0.5 * z + 2.5) * z - 4) * z + 2 : 0;
  }

  // Each of `lines` lines, `length` long, to `size` pixels of its part from `start` on, `part` long.
  function scaled({data}, size, start, part, place, lines, length) {
    const out = new Uint8ClampedArray(4 * lines * size), scale = part / size, wide = Math.max(1, scale);
    for (let k = 0; k < size; k++) {
      const centre = start + (k + 0.5) * scale;
      const first = Math.max(0, Math.trunc(centre - 2 * wide + 0.5));
      const last = Math.min(length, Math.trunc(centre + 2 * wide + 0.5));
      const weights = Array.from({length: last - first}, (_, i) => cubic((i + first - centre + 0.5) / wide));
      const sum = weights.reduce((a, b) => a + b, 0);
      for (let line = 0; line < lines; line++) {
        for (let channel = 0; channel < 4; channel++) {
          let all = 0;
          for (let i = first; i < last; i++) all += weights[i - first] * data[place(line, i) + channel];
          out[4 * (line * size + k) + channel] = Math.floor(all / sum + 0.5);
        }
      }
    }
    return out;
  }

  function cut({data, w: across}, {x, y, w: columns, h: rows}) {
    const out = new Uint8ClampedArray(4 * rows * columns);
    for (let i = 0; i < rows; i++) {
      const from = 4 * ((y + i) * across + x);
      out.set(data.subarray(from, from + 4 * columns), 4 * i * columns);
    }
    return {data: out, h: rows, w: columns};
  }
}
