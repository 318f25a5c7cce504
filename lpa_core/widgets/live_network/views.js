/* What a scene is made of: elements, pictures under maps, bars, and one way to point at a grid by mouse, touch, keys. */

const lpaViews = (() => {

  // make("p", {class: "note", onclick: f}, "text", other, …)
  function make(tag, attributes = {}, ...inside) {
    const element = document.createElement(tag);
    for (const [name, set] of Object.entries(attributes)) {
      if (name.startsWith("on")) element.addEventListener(name.slice(2), set);
      else if (set === true) element.setAttribute(name, "");
      else if (set !== false && set !== null && set !== undefined) element.setAttribute(name, set);
    }
    element.append(...inside.filter((part) => part !== null && part !== undefined));
    return element;
  }

  const percent = (share) => `${share > 0 && share < 0.0995 ? (100 * share).toFixed(share < 0.00095 ? 2 : 1) : Math.round(100 * share)} %`;
  const number = (x, digits = 2) => (Math.abs(x) < 0.5 * 10 ** -digits && x !== 0 ? x.toExponential(1) : x.toFixed(digits))
    .replace("-", "\u2212");

  function softmax(logits) {
    const highest = Math.max(...logits), e = Array.from(logits, (z) => Math.exp(z - highest));
    const sum = e.reduce((a, b) => a + b, 0);
    return e.map((v) => v / sum);
  }

  // In words, where a position lies.
  function place(i, {h, w}) {
    const row = Math.floor(i / w), column = i % w, third = (at, n, names) => names[Math.min(2, Math.floor(3 * at / n))];
    const words = [third(row, h, ["top", "", "bottom"]), third(column, w, ["left", "", "right"])].filter(Boolean);
    return words.length ? `at the ${words.join(" ")}` : "in the middle";
  }

  const peak = (a) => a.reduce((best, v, i) => (v > a[best] ? i : best), 0);

  // ---- pictures ----

  function canvasOf({data, h, w}) {
    const canvas = make("canvas", {width: w, height: h}), apart = data.length / (h * w);
    const pixels = new Uint8ClampedArray(4 * h * w).fill(255);
    for (let i = 0; i < h * w; i++) {
      for (let k = 0; k < 3; k++) pixels[4 * i + k] = data[apart * i + (apart > 1 ? k : 0)];
    }
    canvas.getContext("2d").putImageData(new ImageData(pixels, w, h), 0, 0);
    return canvas;
  }

  /* A map over its picture in grey: colours from 0 to `top`. Blocks show the positions; `smooth` runs between them. */
  function drawMap(canvas, picture, {a, h, w, top}, {colours, alpha, smooth = false}) {
    const context = canvas.getContext("2d"), {width, height} = canvas;
    const cells = make("canvas", {width: w, height: h}), image = new ImageData(w, h);
    a.forEach((v, i) => {
      const colour = colours[Math.max(0, Math.min(colours.length - 1, Math.round(v / top * (colours.length - 1))))];
      image.data.set([...colour, 255], 4 * i);
    });
    cells.getContext("2d").putImageData(image, 0, 0);
    context.globalAlpha = 1;
    context.imageSmoothingEnabled = smooth;
    context.filter = "grayscale(1) contrast(0.6)";
    context.drawImage(picture, 0, 0, width, height);
    context.filter = "none";
    context.globalAlpha = alpha;
    context.drawImage(cells, 0, 0, width, height);
    context.globalAlpha = 1;
  }

  function outline(canvas, i, {h, w}) {
    const context = canvas.getContext("2d"), x = canvas.width / w, y = canvas.height / h;
    const [left, top] = [(i % w) * x, Math.floor(i / w) * y];
    for (const [grow, colour] of [[2.5, "#000"], [1, "#fff"]]) {
      context.strokeStyle = colour;
      context.lineWidth = grow === 1 ? 1.5 : 4;
      context.strokeRect(left, top, x, y);
    }
  }

  /* Bars, the highest first or in the order of the classes. Each says its share in words too. */
  function bars(shares, names, {most = 10, ordered = false} = {}) {
    const order = shares.map((_, k) => k);
    if (!ordered) order.sort((a, b) => shares[b] - shares[a]);
    const best = shares.indexOf(Math.max(...shares));
    return order.slice(0, most).map((k) => [names[k], shares[k], k === best]);
  }

  function drawBars(list, rows) {
    while (list.children.length > rows.length) list.lastChild.remove();
    while (list.children.length < rows.length) {
      list.append(make("li", {}, make("span"), make("i", {"aria-hidden": "true"}, make("b")), make("span")));
    }
    rows.forEach(([name, share, best], k) => {
      const [label, bar, value] = list.children[k].children;
      label.textContent = name;
      bar.firstChild.style.width = `${100 * share}%`;
      value.textContent = percent(share);
      list.children[k].className = best ? "lpa-best" : "";
    });
  }

  /* Point at the cells of a grid: onpoint(i, {down, moved}) for each cell that is touched or reached by the arrow keys
     (space or enter presses), onleave when the pointer goes. `drag`: cells crossed while pressed count as pressed. */
  function pointable(canvas, grid, {onpoint, onleave = () => {}, onpress = null, start = null}) {
    let at = 0, before = null;
    const cell = (event) => {
      const {left, top, width, height} = canvas.getBoundingClientRect(), {h, w} = grid();
      const clamp = (v, n) => Math.max(0, Math.min(n - 1, Math.floor(v)));
      return clamp((event.clientY - top) / height * h, h) * w + clamp((event.clientX - left) / width * w, w);
    };
    const press = (i) => {
      if (!onpress) return;
      const {w} = grid(), from = before ?? i, [r, c, y, x] = [Math.floor(from / w), from % w, Math.floor(i / w), i % w];
      const steps = Math.max(1, Math.abs(y - r), Math.abs(x - c)); // no gaps where the pointer was quick
      for (let s = before === null ? steps : 1; s <= steps; s++) {
        onpress(Math.round(r + (y - r) * s / steps) * w + Math.round(c + (x - c) * s / steps), s === steps);
      }
      before = i;
    };
    canvas.addEventListener("pointerdown", (event) => {
      if (onpress) event.preventDefault();
      canvas.focus({preventScroll: true});
      if (onpress) canvas.setPointerCapture(event.pointerId);
      at = cell(event);
      before = null;
      onpoint(at);
      press(at);
    });
    canvas.addEventListener("pointermove", (event) => {
      at = cell(event);
      onpoint(at);
      if (event.buttons) press(at);
    });
    canvas.addEventListener("pointerup", () => { before = null; });
    canvas.addEventListener("pointerleave", () => onleave());
    canvas.addEventListener("blur", () => onleave());
    canvas.addEventListener("keydown", (event) => {
      const {h, w} = grid(), step = {ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1]}[event.key];
      if (!step && event.key !== " " && event.key !== "Enter") return;
      event.preventDefault();
      at = start?.() ?? at;
      if (step) {
        const row = Math.max(0, Math.min(h - 1, Math.floor(at / w) + step[0]));
        at = row * w + Math.max(0, Math.min(w - 1, at % w + step[1]));
        onpoint(at);
      } else {
        before = null;
        onpoint(at);
        press(at);
      }
    });
  }

  // Words for the ears only after things have come to rest.
  function speaker(element) {
    let timer = 0;
    return (text) => {
      clearTimeout(timer);
      timer = setTimeout(() => { if (element.textContent !== text) element.textContent = text; }, 250);
    };
  }

  // work(f) runs f and marks the scene as busy until the last of what runs is done.
  function worker(root) {
    let running = 0;
    return async (f) => {
      running++;
      root.setAttribute("aria-busy", "true");
      try {
        return await f();
      } finally {
        if (--running === 0) root.setAttribute("aria-busy", "false");
      }
    };
  }

  return {worker, make, percent, number, softmax, place, peak, canvasOf, drawMap, outline, bars, drawBars, pointable, speaker};
})();
