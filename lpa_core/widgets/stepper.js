// One script for all steppers of a page: whichever copy runs takes over those that none has taken yet.
// What attention computes, with the numbers of the moment.
function attention({local, rows}, {kind, u1, u2, g1, g2, T}) {
  const dot = (x, y) => x[0] * y[0] + x[1] * y[1];
  const softmax = (scores) => {
    const highest = Math.max(...scores), powers = scores.map((c) => Math.exp(c - highest));
    const sum = powers.reduce((x, y) => x + y);
    return powers.map((power) => power / sum);
  };
  const scores = local.map((l) => kind === "dp" ? dot(l, [g1, g2]) : dot([u1, u2], [l[0] + g1, l[1] + g2]));
  const weights = softmax(scores.map((c) => c / T));
  const vector = [0, 1].map((k) => weights.reduce((sum, a, i) => sum + a * local[i][k], 0));
  const logits = rows.map((row) => dot(row, vector));
  return {scores, weights, vector, logits, shares: softmax(logits)};
}

// Numbers and elements.
const minus = (text) => text.replace("-", "\u2212");
const num = (x) => Math.abs(x) < 5e-4 ? "0" : minus(String(Number(x.toPrecision(3))));
const plus = (x) => `${x < 0 ? "\u2212" : "+"} ${num(Math.abs(x))}`;
const pair = ([x, y]) => `(${num(x)}, ${num(y)})`;
const percent = (x) => `${(100 * x).toFixed(1)} %`;
const share = (x) => x.toFixed(3);
function make(tag, attributes = {}, ...children) {
  const svg = ["svg", "path", "text"].includes(tag);
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}
function v(letter, below) {
  return make("span", {class: "lpa-v"}, make("i", {}, letter), ...(below === undefined ? [] : [make("sub", {}, below)]));
}

// Arrows in the plane of the two channels; one unit of it has `unit` pixels.
function path(from, to, unit, wide, attributes = {}) {
  const [x, y] = [(to[0] - from[0]) * unit, (from[1] - to[1]) * unit], long = Math.hypot(x, y);
  const at = `${from[0] * unit} ${-from[1] * unit}`;
  if (long < .5) return make("path", {d: `M${at}h.01`, "stroke-width": wide + 4, "stroke-linecap": "round", ...attributes});
  const head = Math.min(5 + wide, long / 2), [a, b] = [x / long * head, y / long * head];
  const d = `M${at}l${x} ${y}m${-a - b * .55} ${-b + a * .55}l${a + b * .55} ${b - a * .55}l${-a + b * .55} ${-b - a * .55}`;
  return make("path", {d, fill: "none", "stroke-width": wide, "stroke-linejoin": "round", ...attributes});
}
function axes([left, right, low, high]) {
  return make("path", {d: `M${left} 0H${right}M0 ${-low}V${-high}`, stroke: "#808080", "stroke-width": 1});
}

function bars(names) {
  const rows = names.map((name) => ({
    bar: make("b"), told: make("output"), label: make("span", {}, ...(Array.isArray(name) ? name : [name])),
  }));
  const root = make("div", {class: "lpa-stepper-bars"}, ...rows.flatMap(({label, bar, told}) =>
    [label, make("i", {class: "lpa-track", "aria-hidden": "true"}, bar), told]));
  return {root, show(values, texts, top) {
    const low = Math.min(0, ...values), high = top ?? Math.max(0, ...values), wide = high - low || 1;
    const most = values.indexOf(Math.max(...values));
    rows.forEach(({bar, told}, i) => {
      bar.style.left = `${100 * (Math.min(0, values[i]) - low) / wide}%`;
      bar.style.width = `${Math.max(.5, 100 * Math.abs(values[i]) / wide)}%`;
      bar.className = i === most ? "lpa-most" : "";
      told.textContent = texts[i];
    });
  }};
}

const copied = (parts) => parts.map((part) => part instanceof Node ? part.cloneNode(true) : part);

const STEPS = ["Vectors", "1 Scores", "2 Weights", "3 Vector", "4 Class"];
const SLIDERS = {
  u1: [v("u", 1), ", channel 1"], u2: [v("u", 2), ", channel 2"], g1: [v("g", 1), ", channel 1"],
  g2: [v("g", 2), ", channel 2"], T: ["temperature ", v("T")],
};

function stepper(root, data, scene) {
  const {local, positions, classes, rows, begin, stops} = data;
  const address = lpaAddress(scene, begin), now = address.state;
  const called = (i) => `position ${i + 1}${positions.length ? ` (${positions[i]})` : ""}`;
  const labels = local.map((_, i) => [v("l", i + 1), positions.length ? ` ${positions[i]}` : ""]);

  // A state from an address may hold anything: each number goes to the nearest that its slider has.
  const nearest = (name) => stops[name].reduce((best, x, k, all) =>
    Math.abs(x - now[name]) < Math.abs(all[best] - now[name]) ? k : best, 0);
  function settle() {
    now.step = Math.min(4, Math.max(0, Math.round(now.step)));
    if (now.kind !== "pc" && now.kind !== "dp") now.kind = begin.kind;
    for (const name in stops) now[name] = stops[name][nearest(name)];
  }
  const change = (changes) => { address.set(changes); show(); };

  // The grid.
  const longest = Math.max(1e-9, ...local.flat().map(Math.abs));
  const cells = local.map((l, i) => {
    const score = make("span", {class: "lpa-stepper-unseen"}), weight = make("span", {class: "lpa-stepper-unseen"});
    const arrow = make("svg", {viewBox: "-32 -32 64 64", "aria-hidden": "true"}, axes([-30, 30, -30, 30]),
      path([0, 0], l, 26 / longest, 3, {stroke: "currentColor"}));
    return {score, weight, root: make("div", {class: "lpa-stepper-cell"},
      make("div", {}, make("span", {}, ...copied(labels[i])), make("span", {}, pair(l))),
      arrow, make("div", {}, score, weight))};
  });

  // What comes of it, step by step.
  // All arrows lie between the local vectors and the origin, so the plane is as large as these need it.
  const [[left, right], [low, high]] = [0, 1].map((k) => [Math.min, Math.max].map((end) => end(0, ...local.map((l) => l[k]))));
  const unit = 190 / Math.max(right - left, high - low, 1e-9), frame = [left, right, low, high].map((x) => x * unit);
  frame.forEach((_, k) => { frame[k] += k % 2 ? 18 : -12; });
  const plane = () => make("svg", {class: "lpa-stepper-plane", role: "img",
    viewBox: `${frame[0]} ${-frame[3]} ${frame[1] - frame[0]} ${frame[3] - frame[2]}`});
  const scores = bars(labels.map(copied)), weights = bars(labels.map(copied)), answer = bars(classes);
  const vectors = plane(), sum = plane();
  vectors.setAttribute("aria-label", `The local vectors as arrows: ${local.map(pair).join(", ")}.`);
  const faint = () => local.map((l) => path([0, 0], l, unit, 2, {stroke: "currentColor", opacity: .35}));
  const names = local.map((l, i) => make("text", {x: l[0] * unit + (Math.hypot(...l) ? 8 : -16), y: -l[1] * unit - (Math.hypot(...l) ? 6 : -14)}, `l${"₁₂₃₄"[i]}`));
  vectors.append(axes(frame), ...local.map((l) => path([0, 0], l, unit, 3, {stroke: "var(--accent)"})), ...names);
  const panels = [
    make("div", {}, make("p", {}, "The same four as arrows: channel 1 to the right, channel 2 upwards."), vectors),
    make("div", {}, make("p", {}, "One score for each position:"), scores.root),
    make("div", {}, make("p", {}, "One weight for each position; together they are 1:"), weights.root),
    make("div", {}, make("p", {}, "Each vector, shortened to its weight, laid end to end:"), sum),
    make("div", {}, make("p", {}, "A linear layer and a softmax:"), answer.root),
  ];

  // The controls.
  const sliders = Object.entries(SLIDERS).map(([name, label]) => {
    const told = make("output", {"aria-hidden": "true"});
    const input = make("input", {type: "range", min: 0, max: stops[name].length - 1, step: 1, autocomplete: "off"});
    for (const event of ["input", "change"]) input.addEventListener(event, () => change({[name]: stops[name][input.value]}));
    const row = make("label", {}, make("span", {}, ...copied(label)), input, told);
    return {name, input, told, row};
  });
  const kinds = ["pc", "dp"].map((kind) => make("input", {type: "radio", name: "kind", value: kind, autocomplete: "off",
    onchange: () => change({kind})}));
  const go = (step) => { if (step >= 0 && step <= 4) change({step}); };
  const back = make("button", {type: "button", onclick: () => go(now.step - 1)}, "Back");
  const next = make("button", {type: "button", onclick: () => go(now.step + 1)}, "Next");
  const marks = STEPS.map((name, step) => make("button", {type: "button", onclick: () => go(step)}, name));
  const formula = make("div", {class: "lpa-stepper-formula"}), status = make("p", {role: "status"});
  const steps = make("div", {class: "lpa-stepper-row", role: "group", "aria-label": "Steps; arrow keys move between them",
    onkeydown(event) {
      const by = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1}[event.key];
      if (!by || event.altKey || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      go(now.step + by);
      if (marks.includes(document.activeElement)) marks[now.step].focus();
    }}, back, ...marks, next);
  const form = make("form", {onsubmit: (event) => event.preventDefault()}, steps,
    make("div", {class: "lpa-stepper-scene"}, make("div", {class: "lpa-stepper-grid"}, ...cells.map((cell) => cell.root)),
      make("div", {class: "lpa-stepper-panel"}, ...panels)),
    formula,
    make("fieldset", {class: "lpa-stepper-kinds"}, make("legend", {}, "Compatibility"),
      make("label", {}, kinds[0], make("span", {}, "pc: ⟨", v("u"), ", ", v("l"), " + ", v("g"), "⟩")),
      make("label", {}, kinds[1], make("span", {}, "dp: ⟨", v("l"), ", ", v("g"), "⟩"))),
    make("div", {class: "lpa-stepper-sliders"}, ...sliders.map(({row}) => row),
      make("label", {}, make("button", {type: "button", onclick() { address.reset(); show(); }}, "Reset"))),
    status);

  // The formula of each step with the numbers of the moment.
  const line = (...parts) => make("p", {}, ...parts);
  const power = (c) => `exp(${num(c)}${now.T === 1 ? "" : ` / ${num(now.T)}`})`;
  const formulas = [
    () => [now.kind === "pc" ? line("direction ", v("u"), ` = ${pair([now.u1, now.u2])}`) : "",
      line("global vector ", v("g"), ` = ${pair([now.g1, now.g2])}`)],
    ({scores}) => local.map((l, i) => now.kind === "pc"
      ? line(v("c", i + 1), " = ⟨", v("u"), ", ", v("l", i + 1), " + ", v("g"), `⟩ = ${num(now.u1)} × (${num(l[0])} ${plus(now.g1)}) `
        + `+ ${num(now.u2)} × (${num(l[1])} ${plus(now.g2)}) = ${num(scores[i])}`)
      : line(v("c", i + 1), " = ⟨", v("l", i + 1), ", ", v("g"), `⟩ = ${num(l[0])} × ${num(now.g1)} + ${num(l[1])} × ${num(now.g2)} = ${num(scores[i])}`)),
    ({scores, weights}) => {
      const powers = scores.map((c) => Math.exp(c / now.T)), whole = powers.reduce((x, y) => x + y), tells = whole > 1e-3 && whole < 1e6;
      return [line(`Sum = ${scores.map(power).join(" + ")}${tells ? ` = ${num(whole)}` : ""}`),
        ...scores.map((c, i) => line(v("a", i + 1), ` = ${power(c)} / Sum${tells ? ` = ${num(powers[i])} / ${num(whole)}` : ""} = ${share(weights[i])}`))];
    },
    ({weights, vector}) => [line(v("g", "a"), " = ", ...weights.flatMap((_, i) => [i ? " + " : "", v("a", i + 1), " ", v("l", i + 1)])),
      line(`= ${weights.map((a, i) => `${share(a)} × ${pair(local[i])}`).join(" + ")}`), line(`= ${pair(vector)}`)],
    ({vector, logits, shares}) => classes.map((name, k) => line(`${name}: ${num(rows[k][0])} × ${num(vector[0])} + ${num(rows[k][1])} × `
      + `${num(vector[1])} = ${num(logits[k])}; after the softmax ${percent(shares[k])}`)),
  ];
  const most = (values) => values.indexOf(Math.max(...values));
  const words = [
    () => "Four local vectors, one for each position. Next gives them scores.",
    ({scores}) => `Step 1 of 4, scores: the highest is ${num(Math.max(...scores))}, at ${called(most(scores))}.`,
    ({weights}) => `Step 2 of 4, weights: ${called(most(weights))} has ${percent(Math.max(...weights))} of the weight.`,
    ({vector}) => `Step 3 of 4, vector: the attended vector is ${pair(vector)}.`,
    ({shares}) => `Step 4 of 4, class: ${classes[most(shares)]}, with ${percent(Math.max(...shares))}.`,
  ];

  function show() {
    settle();
    const found = attention(data, now), {step} = now;
    cells.forEach((cell, i) => {
      cell.score.replaceChildren(v("c", i + 1), ` = ${num(found.scores[i])}`);
      cell.weight.replaceChildren(v("a", i + 1), ` = ${share(found.weights[i])}`);
      cell.score.className = step >= 1 ? "" : "lpa-stepper-unseen";
      cell.weight.className = step >= 2 ? "" : "lpa-stepper-unseen";
      cell.root.style.setProperty("--w", step >= 2 ? found.weights[i].toFixed(4) : 0);
    });
    scores.show(found.scores, found.scores.map(num));
    weights.show(found.weights, found.weights.map(share), 1);
    answer.show(found.shares, found.shares.map(percent), 1);
    let end = [0, 0];
    const chain = local.map((l, i) => {
      const from = end, a = found.weights[i];
      end = [from[0] + a * l[0], from[1] + a * l[1]];
      return path(from, end, unit, 1 + 6 * a, {stroke: "var(--accent)"});
    });
    sum.setAttribute("aria-label", `The weighted vectors, end to end, lead to ${pair(found.vector)}.`);
    sum.replaceChildren(axes(frame), ...faint(), ...chain, path([0, 0], found.vector, unit, 4, {stroke: "var(--sum)"}),
      make("text", {x: end[0] * unit + 8, y: -end[1] * unit + 5}, `gₐ = ${pair(found.vector)}`));
    panels.forEach((panel, k) => { panel.hidden = k !== step; });
    for (const {name, input, told, row} of sliders) {
      input.value = nearest(name);
      input.setAttribute("aria-valuetext", told.textContent = num(now[name]));
      input.disabled = now.kind === "dp" && name.startsWith("u"); // dp has no u
      row.className = input.disabled ? "lpa-stepper-off" : "";
    }
    for (const kind of kinds) kind.checked = kind.value === now.kind;
    back.disabled = step === 0;
    next.disabled = step === 4;
    marks.forEach((mark, k) => k === step ? mark.setAttribute("aria-current", "step") : mark.removeAttribute("aria-current"));
    formula.replaceChildren(...formulas[step](found));
    const said = words[step](found);
    if (status.textContent !== said) status.textContent = said; // said once
  }

  addEventListener("hashchange", () => {
    const asked = lpaAddress(scene, begin);
    if (asked.linked) { Object.assign(now, asked.state); show(); }
  });
  root.querySelector(".lpa-stepper-still").replaceWith(form);
  root.stepper = {state: now, values: () => attention(data, now)};
  show();
  if (address.linked) root.scrollIntoView();
}

for (const root of document.querySelectorAll(".lpa-stepper[data-stepper]")) {
  const data = JSON.parse(root.dataset.stepper), place = [...document.querySelectorAll(".lpa-stepper")].indexOf(root);
  root.removeAttribute("data-stepper");
  stepper(root, data, place ? `stepper-${place + 1}` : "stepper");
}
