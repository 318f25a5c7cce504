/* Scene: draw or pick a digit, move it and its distractors, and watch three maps and the answer follow. */

function lpaDraw(root, data) {
  const {make, percent} = lpaViews, {SIZE, paint} = lpaScene, SIDE = 18, SHOWN = 320;
  const TINTS = {yellow: [250, 210, 60], red: [235, 80, 70], green: [90, 200, 110], blue: [90, 140, 240], white: [245, 245, 245]};
  const NETWORKS = {"digits-pc": "pc: one learned direction", "digits-dp": "dp: the picture asks", "digits-uniform": "uniform: does not look"};
  const defaults = {digit: 3, hand: 0, at: "3.12", first: "21.1", second: "21.21", tint: "yellow", ground: 0, net: "digits-pc", t: 0, ink: "", paint1: "", paint2: "", paint: "", frozen: ""};
  const SEEN = ["digit", "hand", "at", "first", "second", "tint", "ground", "t", "ink"]; // what the maps come from
  const PAINTS = ["paint1", "paint2", "paint"], UNPAINTED = {paint1: "", paint2: "", paint: ""}; // one for each level
  const link = lpaAddress("draw", defaults), {state} = link;
  const drawn = new Uint8Array(32 * 32);
  let held = null, painted = [], drawing = false, painting = false, last = null, runner = null;

  // ---- what the state says ----
  const within = (v) => Math.max(-6, Math.min(SIZE - SIDE + 6, Number.isFinite(v) ? v : 0));
  const placeOf = (key) => state[key].split(".").map((v) => within(parseInt(v, 10)));
  const whole = (v, n) => ((Math.round(v) % n) + n) % n;
  function items() {
    const own = state.ink.length === 64 && /^[0-9a-g]+$/.test(state.ink) ? state.ink : null;
    const hands = data.digits[whole(state.digit, 10)];
    const inks = [own || (drawing ? "0".repeat(64) : hands[whole(state.hand, hands.length)]), ...data.distractors];
    return ["at", "first", "second"].map((key, k) => {
      const [top, left] = placeOf(key);
      const tint = k ? [[150, 190, 220], [225, 160, 190]][k - 1] : Object.hasOwn(TINTS, state.tint) ? TINTS[state.tint] : TINTS.yellow;
      return {key, ink: lpaScene.inkOf(inks[k]), size: SIDE, top, left, tint};
    });
  }
  const temperature = () => 10 ** Math.max(-1, Math.min(1, state.t));
  const maps = () => [0, 1, 2].map((s) => painted[s] || (held && held[s]) || null);
  const normal = (a) => { const sum = a.reduce((x, y) => x + y, 0); return sum > 0 ? a.map((v) => v / sum) : null; };

  // ---- the stage: the picture, with a handle over each item ----
  const canvas = make("canvas", {width: SHOWN, height: SHOWN, role: "img"});
  const handles = ["digit", "first distractor", "second distractor"].map((name, k) => {
    const key = ["at", "first", "second"][k];
    const move = (top, left) => { link.set({[key]: `${within(top)}.${within(left)}`}); look(); };
    let from = null;
    return make("button", {type: "button", class: "lpa-handle", "data-name": name,
      onpointerdown(event) {
        event.currentTarget.setPointerCapture(event.pointerId);
        const [top, left] = placeOf(key);
        from = {x: event.clientX, y: event.clientY, top, left, pixel: canvas.getBoundingClientRect().width / SIZE};
      },
      onpointermove(event) {
        if (!from) return;
        move(Math.round(from.top + (event.clientY - from.y) / from.pixel), Math.round(from.left + (event.clientX - from.x) / from.pixel));
      },
      onpointerup() { from = null; },
      onpointercancel() { from = null; },
      onkeydown(event) {
        const step = {ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1]}[event.key];
        if (!step) return;
        event.preventDefault();
        const [top, left] = placeOf(key), far = event.shiftKey ? 4 : 1;
        move(top + far * step[0], left + far * step[1]);
      }});
  });
  const stage = make("div", {class: "lpa-stage"}, canvas, ...handles);

  // ---- the answer ----
  const answer = lpaAnswer({...data.networks, side: 240, ordered: true, runner: () => runner,
    options: () => ({temperature: temperature(), maps: maps()}),
    onpaint(s, i) { if (painting) brush(s, i); }});

  const work = lpaViews.worker(root), look = (anew = true) => work(() => looked(anew));
  async function looked(anew) {
    const now = items();
    const pixels = paint(lpaScene.bytesOf(data.backgrounds[whole(state.ground, data.backgrounds.length)].pixels), now);
    controls();
    lpaScene.enlarge(canvas, pixels);
    now.forEach(({top, left, size}, k) => {
      Object.assign(handles[k].style, {top: `${100 * top / SIZE}%`, left: `${100 * left / SIZE}%`, width: `${100 * size / SIZE}%`, height: `${100 * size / SIZE}%`});
      handles[k].setAttribute("aria-label", `${handles[k].dataset.name}, row ${top + 1}, column ${left + 1}. Drag it, or move it with the arrow keys.`);
    });
    canvas.setAttribute("aria-label", `The picture: ${state.ink ? "a drawn digit" : drawing ? "no digit" : `a handwritten ${whole(state.digit, 10)}`} and two distractors on a photograph.`);
    const empty = !now[0].ink.some((v) => v > 0);
    try {
      runner = await lpaScene.network(state.net);
      const result = await runner.look({pixels: anew ? pixels : null, temperature: temperature(), maps: maps()});
      if (!result) return;
      last = result;
      const even = SIDE * SIDE / SIZE ** 2, byHand = painted.some(Boolean), top = lpaViews.peak(result.levels[2].a);
      answer.show(result, canvas, {
        note: (s) => `${percent(lpaScene.shareInside(result.levels[s], now[0]))} in the digit's square`,
        words(best, share) {
          const on = lpaScene.shareInside(result.levels[2], now[0]), where = lpaViews.place(top, result.levels[2]);
          return `${empty ? "Nothing is drawn yet, and still it must answer: it" : byHand ? "With your map it" : "It"} says ${best}, ${percent(share)}. `
            + `Level 3 puts ${percent(on)} of its weight into the digit's square, which covers ${percent(even)} of the picture`
            + `${held ? "; the maps are frozen" : result.levels[2].a[top] * 100 > 1.001 ? `; its peak is ${where}` : ""}.`;
        },
      });
    } catch (error) {
      answer.trouble(`The network could not look: ${error.message}.`);
    }
  }

  // ---- maps in the address: a painted one in 36 shades, runs of nothing as capitals; frozen ones as the scene they came from ----
  const written = (map) => Array.from(map, (v) => Math.min(35, Math.round(35 * v / Math.max(...map))).toString(36)).join("")
    .replace(/0{2,27}/g, (run) => String.fromCharCode(63 + run.length));
  function read(text, s) {
    if (!/^[0-9a-zA-Z]+$/.test(text)) return null;
    const map = Array.from(text.replace(/[A-Z]/g, (c) => "0".repeat(c.charCodeAt(0) - 63)), (letter) => parseInt(letter, 36));
    return map.length === last.levels[s].a.length ? normal(map) : null;
  }
  const hold = () => { held = last.levels.map(({a}) => Array.from(a)); };
  async function restored() {
    const now = {...state}, then = state.frozen.split("~");
    if (then.length === SEEN.length) SEEN.forEach((key, k) => { state[key] = typeof defaults[key] === "number" ? Number(then[k]) || 0 : then[k]; });
    await look();
    if (!last) return;
    PAINTS.forEach((key, s) => { painted[s] = read(state[key], s); });
    painting = painted.some(Boolean);
    if (then.length === SEEN.length) {
      if (painting) await look(false);
      hold();
    }
    Object.assign(state, now);
    await look();
  }

  // ---- be the attention ----
  function brush(s, i) {
    const {h, w} = last.levels[s], map = painted[s] ? Array.from(painted[s]) : new Array(h * w).fill(0), wide = h / 10;
    for (let k = 0; k < h * w; k++) {
      const far = Math.hypot(Math.floor(k / w) - Math.floor(i / w), k % w - i % w) / wide;
      if (far < 1.6) map[k] += Math.exp(-2 * far * far) / (h * w);
    }
    painted[s] = normal(map);
    link.set({[PAINTS[s]]: written(painted[s])});
    look(false);
  }

  // ---- controls ----
  const choose = (changes, anew = true) => { link.set(changes); look(anew); };
  const digits = Array.from({length: 10}, (_, k) => make("button", {type: "button", onclick() { stopDrawing(); choose({digit: k, ink: ""}); }}, String(k)));
  const another = make("button", {type: "button", onclick() { stopDrawing(); choose({hand: state.hand + 1, ink: ""}); }}, "Another hand");
  const own = make("button", {type: "button", "aria-expanded": "false", onclick: () => (drawing ? stopDrawing() || look() : startDrawing())}, "Draw your own");
  const pad = make("canvas", {width: 192, height: 192, tabindex: 0, role: "application", "aria-label": "Drawing pad. Draw a digit; by keyboard, arrows move the pen and space marks."});
  const padBox = make("div", {class: "lpa-pad", hidden: true}, pad, make("div", {},
    make("p", {}, "Draw one large digit here. It is reduced to 8 × 8 dots, as the handwriting in the data was, and enlarged into the picture."),
    make("button", {type: "button", onclick() { drawn.fill(0); drawPad(); choose({ink: ""}); }}, "Clear")));
  const tint = make("select", {onchange: () => choose({tint: tint.value})}, ...Object.keys(TINTS).map((name) => make("option", {value: name}, name)));
  const ground = make("select", {onchange: () => choose({ground: Number(ground.value)})}, ...data.backgrounds.map(({words}, k) => make("option", {value: k}, words)));
  const net = make("select", {onchange() { painted = []; held = null; choose({net: net.value, frozen: "", ...UNPAINTED}); }}, ...Object.entries(NETWORKS).map(([name, words]) => make("option", {value: name}, words)));
  const heat = make("input", {type: "range", min: -1, max: 1, step: 0.05, oninput: () => choose({t: Number(heat.value)}, false)}), heatTold = make("output");
  const freeze = make("input", {type: "checkbox", onchange() {
    held = null;
    if (freeze.checked && last) hold();
    link.set({frozen: held ? SEEN.map((key) => state[key]).join("~") : ""});
    look(false);
  }});
  const byHand = make("input", {type: "checkbox", onchange() {
    painting = byHand.checked;
    if (!painting) { painted = []; link.set(UNPAINTED); }
    look(false);
  }});

  function controls() {
    digits.forEach((button, k) => button.setAttribute("aria-pressed", String(!state.ink && !drawing && k === whole(state.digit, 10))));
    [tint.value, ground.value, net.value, heat.value] = [state.tint, whole(state.ground, data.backgrounds.length), state.net, state.t];
    [freeze.checked, byHand.checked] = [Boolean(held), painting];
    answer.maps.classList.toggle("lpa-painting", painting);
    heatTold.textContent = temperature().toFixed(2);
  }
  function drawPad(at = null) {
    const context = pad.getContext("2d");
    context.fillStyle = "#14181d";
    context.fillRect(0, 0, 192, 192);
    context.fillStyle = "#ffd23c";
    drawn.forEach((on, k) => { if (on) context.fillRect(6 * (k & 31), 6 * (k >> 5), 6, 6); });
    if (at !== null) { context.strokeStyle = "#fff"; context.strokeRect(6 * (at & 31) - 6, 6 * (at >> 5) - 6, 18, 18); }
  }
  lpaViews.pointable(pad, () => ({h: 32, w: 32}), {
    onpoint: drawPad,
    onleave: () => drawPad(),
    onpress(i, final) {
      for (let k = 0; k < 1024; k++) if (Math.hypot((k >> 5) - (i >> 5), (k & 31) - (i & 31)) < 2.3) drawn[k] = 1;
      if (!final) return;
      drawPad(i);
      choose({ink: lpaScene.textOf(lpaScene.reduced(drawn))});
    },
  });
  function startDrawing() {
    drawing = true;
    padBox.hidden = false;
    own.setAttribute("aria-expanded", "true");
    drawPad();
    pad.focus();
    choose({ink: drawn.some(Boolean) ? lpaScene.textOf(lpaScene.reduced(drawn)) : ""});
  }
  function stopDrawing() {
    [drawing, padBox.hidden] = [false, true];
    own.setAttribute("aria-expanded", "false");
    link.set({ink: ""});
  }
  function reset() {
    [held, painted, painting] = [null, [], false];
    drawn.fill(0);
    stopDrawing();
    link.reset();
    look();
  }

  if (!Object.hasOwn(NETWORKS, state.net)) state.net = defaults.net;
  root.append(
    make("div", {class: "lpa-row lpa-tight", role: "group", "aria-label": "The digit"}, ...digits, another, own), padBox,
    make("div", {class: "lpa-scene"}, make("div", {}, stage, make("p", {class: "lpa-note"}, "Drag the digit and the two distractors, or choose one with Tab and move it with the arrow keys.")),
      make("div", {class: "lpa-side"}, answer.said, answer.list)),
    answer.maps, answer.readout,
    make("div", {class: "lpa-row"}, make("label", {}, "Network", net), make("label", {}, "Temperature", heat, heatTold),
      make("label", {}, "Tint", tint), make("label", {}, "Background", ground)),
    make("div", {class: "lpa-row"}, make("label", {}, freeze, "Freeze the maps, move the picture"),
      make("label", {}, byHand, "Be the attention: paint on a map"), make("button", {type: "button", onclick: reset}, "Reset")),
    answer.opened);
  if (state.frozen || PAINTS.some((key) => state[key])) restored(); else look();
  return {look, items, answer, reset, paintMap(s, map) { painted[s] = map; return look(false); }};
}
