/* A scene of digits in clutter, painted here by the same whole-number arithmetic as data.digits_in_clutter: a photograph
   at half its brightness, and items on it: digits and shuffled digits, enlarged, each in a tint brighter than its ground. */

const lpaScene = (() => {
  const SIZE = 40, OPAQUE = 128, CONTRAST = 80, DIM = 2;

  const luma = (r, g, b) => (77 * r + 150 * g + 29 * b) >> 8;

  // 8 × 8 ink, 0 to 16, as opacity 0 to 128 on `size` × `size` pixels: bilinear, a quarter more than the ink there is.
  function glyph(ink, size) {
    const twice = 2 * size, weights = Array.from({length: size}, (_, i) => {
      const row = new Array(8).fill(0), at = (2 * i + 1) * 8 - size, low = Math.floor(at / twice), part = at - low * twice;
      row[Math.min(7, Math.max(0, low))] += twice - part;
      row[Math.min(7, Math.max(0, low + 1))] += part;
      return row;
    });
    return Uint8Array.from({length: size * size}, (_, k) => {
      const [y, x] = [weights[Math.floor(k / size)], weights[k % size]];
      let large = 0;
      for (let r = 0; r < 8; r++) if (y[r]) for (let s = 0; s < 8; s++) large += y[r] * x[s] * ink[8 * r + s];
      return Math.min(OPAQUE, Math.floor(large * (OPAQUE + OPAQUE / 4) / (16 * twice * twice)));
    });
  }

  // A colour moved towards white as far as its luma must lie above the ground's.
  function withContrast(colour, ground) {
    const now = luma(...colour), missing = Math.max(ground + CONTRAST - now, 0);
    return colour.map((c) => Math.min(255, c - Math.floor(-missing * (255 - c) / Math.max(255 - now, 1))));
  }

  /* background: 40 × 40 × 3 bytes of a photograph; items: {ink, size, top, left, tint}. Pixels for the network. */
  function paint(background, items) {
    const data = Uint8ClampedArray.from(background, (v) => Math.floor(v / DIM));
    for (const {ink, size, top, left, tint} of items) {
      if (!ink.some((v) => v > 0)) continue;
      let sum = 0;
      const inside = (y, x) => y >= 0 && y < SIZE && x >= 0 && x < SIZE;
      for (let y = top; y < top + size; y++) {
        for (let x = left; x < left + size; x++) {
          if (inside(y, x)) sum += luma(...background.subarray(3 * (y * SIZE + x), 3 * (y * SIZE + x) + 3));
        }
      }
      const colour = withContrast(tint, Math.floor(sum / (DIM * size * size)));
      glyph(ink, size).forEach((opacity, k) => {
        const y = top + Math.floor(k / size), x = left + k % size;
        if (!inside(y, x)) return;
        for (let c = 0; c < 3; c++) {
          const at = 3 * (y * SIZE + x) + c, under = data[at];
          data[at] = under + (((colour[c] - under) * opacity + OPAQUE / 2) >> 7);
        }
      });
    }
    return {data, h: SIZE, w: SIZE};
  }

  /* Ink drawn on 32 × 32 as the digits of the data set were made: its box scaled to full height, then 4 × 4 blocks counted. */
  function reduced(drawn) {
    const on = [...drawn.keys()].filter((k) => drawn[k]);
    if (!on.length) return new Array(64).fill(0);
    const ys = on.map((k) => k >> 5), xs = on.map((k) => k & 31);
    const [top, bottom, left, right] = [Math.min(...ys), Math.max(...ys) + 1, Math.min(...xs), Math.max(...xs) + 1];
    const side = Math.max(bottom - top, right - left), middle = (left + right) / 2, centre = (top + bottom) / 2;
    return Array.from({length: 64}, (_, block) => {
      let count = 0;
      for (let r = 0; r < 4; r++) {
        for (let s = 0; s < 4; s++) {
          const y = Math.floor(centre + ((4 * (block >> 3) + r + 0.5) / 32 - 0.5) * side);
          const x = Math.floor(middle + ((4 * (block & 7) + s + 0.5) / 32 - 0.5) * side);
          if (y >= 0 && y < 32 && x >= 0 && x < 32 && drawn[32 * y + x]) count++;
        }
      }
      return count;
    });
  }

  // The share of a map's weight inside a square of the picture; a position counts by how much of it lies inside.
  function shareInside({a, h, w}, {top, left, size}) {
    const overlap = (from, to, low, high) => Math.max(0, Math.min(to, high) - Math.max(from, low)) / (to - from);
    const y = SIZE / h, x = SIZE / w;
    return a.reduce((sum, v, i) => {
      const r = Math.floor(i / w), c = i % w;
      return sum + v * overlap(r * y, (r + 1) * y, top, top + size) * overlap(c * x, (c + 1) * x, left, left + size);
    }, 0);
  }

  const inkOf = (text) => Array.from(text, (letter) => parseInt(letter, 17));
  const textOf = (ink) => ink.map((v) => v.toString(17)).join("");
  const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

  /* A network by name, its weights fetched from the file beside this script when they are first wanted. */
  const folder = document.currentScript ? document.currentScript.src.replace(/[^/]*$/, "") : "";
  const runners = new Map();
  function network(name) {
    if (!runners.has(name)) {
      runners.set(name, new Promise((resolve, reject) => {
        const done = () => (lpaNetworks[name] ? resolve(lpaRunner(lpaNetworks[name])) : reject(new Error("it has no weights")));
        if (lpaNetworks[name]) return done();
        const script = lpaViews.make("script", {src: `${folder}${name}.js`, onload: done,
          onerror: () => { runners.delete(name); reject(new Error(`the weights ${name}.js are not beside this page`)); }});
        document.head.append(script);
      }));
    }
    return runners.get(name);
  }

  // A picture larger: each of its pixels a square.
  function enlarge(canvas, pixels) {
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.drawImage(lpaViews.canvasOf(pixels), 0, 0, canvas.width, canvas.height);
  }

  return {SIZE, glyph, withContrast, paint, reduced, shareInside, inkOf, textOf, bytesOf, network, enlarge};
})();
