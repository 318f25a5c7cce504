/* Scene: two digits and a brush. Cover pixels by hand and watch two logits: occlusion as the reader does it. */

function lpaOcclude(root, data) {
  const {make, number, percent} = lpaViews, {SIZE, paint} = lpaScene, SHOWN = 320, WINDOW = 8, STRIDE = 4;
  const defaults = {scene: 0, brush: 3, covered: ""};
  const link = lpaAddress("occlude", defaults), {state} = link;
  const network = data.networks, GREY = network.mean.map((v) => Math.round(255 * v)); // what the network takes for nothing
  let covered = new Uint8Array(SIZE * SIZE), runner = null, before = null, round = 0;

  const canvas = make("canvas", {width: SHOWN, height: SHOWN, tabindex: 0, role: "application"});
  const answer = lpaAnswer({...network, side: 240, ordered: true, runner: () => runner});
  const rows = make("ol", {class: "lpa-bars lpa-logits", "aria-label": "Logits of the two digits"});
  const found = make("canvas", {width: 240, height: 240, hidden: true, role: "img", "aria-label": "Not computed yet"});
  const machine = make("p", {class: "lpa-note", role: "status"}, "A window of 8 × 8 pixels goes over the picture; where it lowers the logit, colours rise.");
  const brush = make("input", {type: "range", min: 1, max: 6, step: 1, oninput() { link.set({brush: Number(brush.value)}); }});

  const scene = () => data.pairs[((Math.round(state.scene) % data.pairs.length) + data.pairs.length) % data.pairs.length];
  const pixelsOf = (mask) => {
    const {background, items} = scene();
    const pixels = paint(lpaScene.bytesOf(background), items.map((item) => ({...item, ink: lpaScene.inkOf(item.ink)})));
    for (let i = 0; i < SIZE * SIZE; i++) if (mask[i]) pixels.data.set(GREY, 3 * i);
    return pixels;
  };

  function draw(at = null) {
    lpaScene.enlarge(canvas, pixelsOf(covered));
    if (at === null) return;
    const context = canvas.getContext("2d"), x = SHOWN / SIZE;
    for (const [wide, colour] of [[4, "#000"], [1.5, "#fff"]]) {
      [context.lineWidth, context.strokeStyle] = [wide, colour];
      context.beginPath();
      context.arc((at % SIZE + 0.5) * x, (Math.floor(at / SIZE) + 0.5) * x, (state.brush + 0.3) * x, 0, 7);
      context.stroke();
    }
  }

  const work = lpaViews.worker(root), look = () => work(looked);
  async function looked() {
    const {digits, words} = scene(), [three, other] = digits;
    draw();
    brush.value = state.brush;
    canvas.setAttribute("aria-label", `${words} Brush over it; by keyboard, arrows move the brush and space covers.`);
    try {
      runner = await lpaScene.network("digits-pc");
      before = before || await ask(new Uint8Array(SIZE * SIZE));
      const result = await runner.look({pixels: pixelsOf(covered)});
      if (!result) return;
      const share = covered.reduce((a, b) => a + b, 0) / covered.length, logits = result.logits;
      const lost = before.logits[three] - logits[three];
      answer.show(result, canvas, {words: (best, sure) => `${share ? `You covered ${percent(share)} of the picture; the logit of ${three} ${lost < 0 ? "rose" : "fell"} by ${number(Math.abs(lost), 1)}. ` : `The picture holds a ${three} and a ${other}. `}`
        + `It says ${best}, ${percent(sure)}.`});
      drawLogits([three, other], logits);
    } catch (error) {
      answer.trouble(`The network could not look: ${error.message}.`);
    }
  }
  const ask = (mask) => runner.look({pixels: pixelsOf(mask)});

  function drawLogits(digits, logits) {
    const low = -3, high = 7, share = (z) => Math.max(0, Math.min(1, (z - low) / (high - low)));
    rows.replaceChildren(...digits.map((digit) => make("li", {}, make("span", {}, `logit of ${digit}`),
      make("i", {"aria-hidden": "true"}, make("b", {style: `width:${100 * share(logits[digit])}%`}), make("u", {style: `left:${100 * share(before.logits[digit])}%`})),
      make("span", {}, number(logits[digit], 1)))));
  }

  // The same question, asked by a window that goes over the whole picture.
  async function sweep() {
    const mine = ++round, [three] = scene().digits, steps = (SIZE - WINDOW) / STRIDE + 1, drops = new Float32Array(steps * steps);
    for (let k = 0; k < drops.length; k++) {
      const mask = new Uint8Array(SIZE * SIZE), top = STRIDE * Math.floor(k / steps), left = STRIDE * (k % steps);
      for (let y = top; y < top + WINDOW; y++) mask.fill(1, y * SIZE + left, y * SIZE + left + WINDOW);
      let result = null;
      try {
        while (mine === round && !(result = await ask(mask))); // a brush stroke may overtake a question
      } catch (error) {
        machine.textContent = `The network could not look: ${error.message}.`;
        return;
      }
      if (mine !== round) return;
      drops[k] = Math.max(0, before.logits[three] - result.logits[three]);
      if (k % 9 === 8) show(k + 1);
    }
    function show(done) {
      const best = lpaViews.peak(drops), clean = lpaViews.canvasOf(pixelsOf(new Uint8Array(SIZE * SIZE)));
      found.hidden = false;
      lpaViews.drawMap(found, clean, {a: drops, h: steps, w: steps, top: Math.max(drops[best], 1e-6)}, network);
      const words = `Worst to lose: the window ${lpaViews.place(best, {h: steps, w: steps})}, which takes ${number(drops[best], 1)} from the logit of ${three}.`;
      found.setAttribute("aria-label", `Occlusion map. ${words}`);
      machine.textContent = done < drops.length ? `${done} of ${drops.length} windows` : words;
    }
  }

  function clear() {
    round++;
    found.hidden = true;
    covered = new Uint8Array(SIZE * SIZE);
    link.set({covered: ""});
    look();
  }
  function cover(i, final) {
    for (let k = 0; k < covered.length; k++) {
      if (Math.hypot(Math.floor(k / SIZE) - Math.floor(i / SIZE), k % SIZE - i % SIZE) <= state.brush) covered[k] = 1;
    }
    if (!final) return;
    link.set({covered: packed(covered)});
    look().then(() => draw(i));
  }
  const packed = (mask) => Array.from({length: SIZE * SIZE / 5}, (_, k) => mask.slice(5 * k, 5 * k + 5).reduce((v, bit) => 2 * v + bit, 0).toString(36)).join("");
  if (/^[0-9a-v]{320}$/.test(state.covered)) {
    covered = Uint8Array.from(Array.from(state.covered, (letter) => parseInt(letter, 36).toString(2).padStart(5, "0")).join(""), Number);
  }

  lpaViews.pointable(canvas, () => ({h: SIZE, w: SIZE}), {onpoint: draw, onleave: () => draw(), onpress: cover});
  root.append(
    make("div", {class: "lpa-scene"}, make("div", {}, canvas, make("div", {class: "lpa-row"}, make("label", {}, "Brush", brush),
      make("button", {type: "button", onclick: clear}, "Uncover all"),
      make("button", {type: "button", onclick() { before = null; round++; link.set({scene: state.scene + 1}); clear(); }}, "Another picture"))),
    make("div", {class: "lpa-side"}, answer.said, rows, make("p", {class: "lpa-note"}, "The marks show where the logits were before you covered anything."))),
    answer.maps, answer.readout,
    make("div", {class: "lpa-row"}, make("button", {type: "button", onclick: sweep}, "Let the page do it"), machine), found);
  look();
  return {look, cover, answer, sweep};
}
