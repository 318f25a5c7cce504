/* The calculation, opened step by step with the numbers of the moment: overview, scores, softmax, sum, class. */

const lpaOpened = (() => {
  const {make, number, percent} = lpaViews;
  const STEPS = ["Overview", "Scores", "Softmax", "Sum", "Class"];
  const i_ = () => make("sub", {}, "i");
  const plus = (x) => `${x < 0 ? "\u2212" : "+"} ${number(Math.abs(x))}`;
  const v = (letter, below = true) => make("span", {class: "lpa-symbol"}, make("i", {}, letter), below ? i_() : "");
  const formula = (...parts) => make("p", {class: "lpa-formula"}, ...parts);

  /* Numbers as thin bars up and down from a line, one per channel; pointing at one tells it in figures. */
  function strip(title, values, {mark = null, name = (k) => `channel ${k + 1}`} = {}) {
    const n = values.length, top = Math.max(1e-12, ...Array.from(values, Math.abs)), wide = Math.max(1, Math.floor(640 / n));
    const canvas = make("canvas", {width: n * wide, height: 56, tabindex: 0, role: "application",
      "aria-label": `${title}: ${n} numbers. Arrow keys read them.`});
    const told = make("span", {class: "lpa-told", "aria-live": "polite"}, `from ${number(Math.min(...values))} to ${number(Math.max(...values))}`);
    const draw = (chosen) => {
      const context = canvas.getContext("2d"), signed = Math.min(...values) < 0, zero = signed ? 28 : 55;
      context.clearRect(0, 0, canvas.width, canvas.height);
      values.forEach((x, k) => {
        const tall = x / top * (signed ? 27 : 54);
        context.fillStyle = k === chosen ? "#B84A00" : k === mark ? "#A6408A" : "#3a8fc4";
        context.fillRect(k * wide, Math.min(zero, zero - tall), Math.max(1, wide - (wide > 2 ? 1 : 0)), Math.max(1, Math.abs(tall)));
      });
    };
    lpaViews.pointable(canvas, () => ({h: 1, w: n}), {
      onpoint(k) { draw(k); told.textContent = `${name(k)}: ${number(values[k], 4)}`; },
      onleave() { draw(null); },
    });
    draw(null);
    return make("div", {class: "lpa-strip"}, make("span", {}, title), canvas, told);
  }

  const panels = {
    Overview({levels, size, chooseLevel, level}) {
      const box = (text, small) => make("span", {class: "lpa-box"}, text, make("small", {}, small));
      return [
        make("p", {}, "The trunk turns the picture into local vectors, ", v("l"), ", one per position of each level. Attention "
          + "gives each a weight, ", v("a"), ", and the weighted sums alone reach the classifier."),
        make("div", {class: "lpa-flow"}, box("picture", `${size} × 3`), "→",
          ...levels.map(({h, w, channels}, s) => make("button", {type: "button", class: "lpa-box", "aria-pressed": String(s === level),
            onclick: () => chooseLevel(s)}, `level ${s + 1}`, make("small", {}, `${h * w} vectors of ${channels}`))),
          "→", box("sums", levels.map(({channels}) => channels).join(" + ")), "→", box("class", "")),
        make("p", {}, "Choose a level here, and a position on its map; then go through the steps."),
      ];
    },

    Scores({d, kind}) {
      const products = d.query && d.l_i.length === d.query.length ? d.l_i.map((x, k) => x * d.query[k]) : null;
      const inner = d.c_i - d.constant;
      if (kind === "uniform") return [make("p", {}, "The uniform twin does not look: every score is the same."), formula(v("c"), " = 0")];
      const [words, line] = kind === "pc"
        ? ["One direction ", [v("c"), " = ⟨", v("u", false), ", ", v("l"), "⟩ + rest = ", `${number(inner)} ${plus(d.constant)} = ${number(d.c_i)}`]]
        : ["The picture's own vector ", [v("c"), " = ⟨", v("l"), ", ", v("g", false), "⟩ = ", number(d.c_i)]];
      return [
        kind === "pc"
          ? make("p", {}, words, v("u", false), " was learned for this level. A position scores by how far its vector points that way. The "
            + "rest is ⟨", v("u", false), ", ", v("g", false), "⟩ and a bias.")
          : make("p", {}, words, v("g", false), " asks; a position scores by how well its vector agrees with it."),
        formula(...line),
        ...(products ? [strip("The products that the score adds up", products)] : []),
      ];
    },

    Softmax({d, kind, temperature, byHand, a, position}) {
      const e = Math.exp((d.c_i - d.highest) / temperature), highest = number(d.highest);
      const sorted = Array.from(a).sort((x, y) => y - x), rank = sorted.indexOf(a[position]);
      return [
        make("p", {}, byHand ? "This map is held or painted: its weights are given, not computed from the scores."
          : "Exponentials make scores into shares: all weights of a level are positive and sum to 1."),
        ...(byHand ? [formula(v("a"), " = ", number(d.a_i, 4))] : [formula(v("a"), " = exp((", v("c"), " − ", highest, ") / T) / sum = ",
          `${number(e, 4)} / ${number(e / d.a_i, 2)} = ${number(d.a_i, 4)}`, make("small", {}, ` (T = ${number(temperature)}; ${highest} is the highest score)`))]),
        make("p", {}, `Even shares would be ${number(1 / d.n, 4)}: this position gets ${number(d.a_i * d.n, 1)} times that`
          + `${kind === "uniform" && !byHand ? ", as every one does" : ""}.`),
        strip("The weights, largest first", sorted.slice(0, 200), {mark: rank < 200 ? rank : null, name: (k) => `number ${k + 1}`}),
      ];
    },

    Sum({d}) {
      return [
        make("p", {}, "The level's answer is one vector: all local vectors, each times its weight. Compare it with the plain mean, "
          + "which is what even weights would give."),
        formula(make("span", {class: "lpa-symbol"}, make("i", {}, "g"), make("sub", {}, "a")), " = Σ ", v("a"), " ", v("l")),
        strip("The vector of the chosen position", d.l_i), strip("The sum", d.g_a), strip("The plain mean", d.mean),
      ];
    },

    Class({d, classes, best, logit, share}) {
      return [
        make("p", {}, `Each sum is normalised, cut at zero, and counted for every class. For “${classes[best]}” the levels say:`),
        formula("logit = ", d.parts.map((part, s) => (s ? ` ${plus(part)}` : number(part))).join(""), ` ${plus(d.bias)} = ${number(logit)}`,
          make("small", {}, ` (levels 1 to ${d.parts.length}, and a bias)`)),
        strip("What each level adds", d.parts, {name: (s) => `level ${s + 1}`}),
        make("p", {}, `A softmax over the ${classes.length} classes makes it ${percent(share)}.`),
      ];
    },
  };

  /* `facts()` gives what is shown now; call update() when it has changed. */
  return function opened(facts) {
    let step = "Overview", asked = 0;
    const panel = make("div", {class: "lpa-panel"}), title = make("summary", {}, "Open the calculation");
    const buttons = STEPS.map((name, k) => make("button", {type: "button", "aria-pressed": String(name === step), onclick() {
      step = name;
      buttons.forEach((b, j) => b.setAttribute("aria-pressed", String(STEPS[j] === name)));
      update();
    }}, `${k + 1} ${name}`));
    const root = make("details", {class: "lpa-opened", ontoggle: () => update()}, title,
      make("div", {class: "lpa-row", role: "group", "aria-label": "Steps of the calculation"}, ...buttons), panel);

    async function update() {
      const now = facts();
      if (!now) return;
      const {w} = now.levels[now.level], row = Math.floor(now.position / w) + 1, column = now.position % w + 1;
      title.textContent = `Open the calculation: level ${now.level + 1}, row ${row}, column ${column}`;
      if (!root.open) return;
      const mine = ++asked;
      try {
        const d = await now.details(now.level, now.position, now.best);
        if (mine === asked && !panel.contains(document.activeElement)) panel.replaceChildren(...panels[step]({...now, d}));
      } catch (error) {
        panel.replaceChildren(make("p", {}, error.message));
      }
    }
    return {root, update};
  };
})();
