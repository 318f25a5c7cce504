/* What a network answers, shown: a map for each level, the weight at a chosen position, the classes, the words. */

function lpaAnswer({classes, colours, alpha, side = 240, smooth = false, most = 10, ordered = false, runner, options = () => ({}),
  onpaint = null}) {
  const {make, percent, number, place, peak} = lpaViews;
  const said = make("p", {class: "lpa-said", role: "status"}), say = lpaViews.speaker(said);
  const readout = make("p", {class: "lpa-readout", "aria-live": "polite"});
  const list = make("ol", {class: "lpa-bars", "aria-label": "Classes"});
  const maps = make("div", {class: "lpa-maps"});
  const figures = [];
  let result = null, picture = null, level = 0, position = 0, chosen = false, shares = [], extra = {};

  const opened = lpaOpened(() => result && ({
    levels: result.levels.map(({h, w, channels}) => ({h, w, channels})), size: `${picture.height} × ${picture.width}`,
    level, position, details: (...about) => runner().details(...about), kind: result.levels[level].kind,
    temperature: options().temperature ?? 1, byHand: Boolean(options().maps?.[level]), a: result.levels[level].a,
    classes, best: shares.indexOf(Math.max(...shares)), logit: Math.max(...result.logits), share: Math.max(...shares),
    chooseLevel(s) { choose(s, peak(result.levels[s].a)); },
  }));

  function choose(s, i) {
    [level, position, chosen] = [s, i, true];
    draw();
    tell();
    opened.update();
  }

  function tell() {
    const {a, c_i, h, w} = result.levels[level], n = h * w;
    readout.textContent = `Level ${level + 1}, row ${Math.floor(position / w) + 1}, column ${position % w + 1}: weight `
      + `${percent(a[position])}, ${number(a[position] * n, 1)} times an even share; score ${number(c_i[position])}.`;
  }

  function figure(s) {
    const canvas = make("canvas", {width: side, height: side, tabindex: 0, role: "application"});
    const caption = make("figcaption"), note = make("p", {class: "lpa-note"});
    figures.push({canvas, caption, note});
    lpaViews.pointable(canvas, () => result.levels[s], {
      start: () => (s === level ? position : peak(result.levels[s].a)), // by the keyboard: from where one is
      onpoint(i) { if (result) choose(s, i); },
      onpress: onpaint ? (i, last) => onpaint(s, i, last) : null,
    });
    return make("figure", {class: "lpa-map"}, caption, canvas, note);
  }

  function draw() {
    result.levels.forEach(({a, h, w}, s) => {
      const {canvas, caption, note} = figures[s], n = h * w, best = peak(a), even = a[best] * n < 1.001;
      const [wide, tall] = picture.width >= picture.height ? [side, Math.round(side * picture.height / picture.width)]
        : [Math.round(side * picture.width / picture.height), side];
      if (canvas.width !== wide || canvas.height !== tall) [canvas.width, canvas.height] = [wide, tall];
      lpaViews.drawMap(canvas, picture, {a, h, w, top: Math.max(a[best], 4 / n)}, {colours, alpha, smooth});
      if (chosen && s === level) lpaViews.outline(canvas, position, {h, w});
      caption.replaceChildren(`level ${s + 1} `, make("small", {}, `${h} × ${w}`));
      const peaked = even ? `even: ${percent(1 / n)} everywhere` : `peak ${percent(a[best])}, ${number(a[best] * n, 1)} × even`;
      note.textContent = extra.note ? `${peaked} · ${extra.note(s)}` : peaked;
      canvas.setAttribute("aria-label", `Map of level ${s + 1}, ${h} by ${w}: ${even ? "the same weight everywhere"
        : `most weight ${place(best, {h, w})}, ${percent(a[best])}`}. Arrow keys move over its positions.`);
    });
  }

  return {
    maps, list, said, readout, opened: opened.root, choose,
    get result() { return result; },
    get shares() { return shares; },
    show(newResult, newPicture, more = {}) {
      [result, picture, extra] = [newResult, newPicture, more];
      shares = lpaViews.softmax(result.logits);
      if (figures.length !== result.levels.length) {
        figures.length = 0;
        maps.replaceChildren(...result.levels.map((_, s) => figure(s)));
      }
      level = Math.min(level, result.levels.length - 1);
      if (!chosen) [level, position] = [result.levels.length - 1, peak(result.levels.at(-1).a)];
      position = Math.min(position, result.levels[level].a.length - 1);
      draw();
      tell();
      lpaViews.drawBars(list, lpaViews.bars(shares, classes, {most, ordered}));
      const best = shares.indexOf(Math.max(...shares)), last = result.levels.at(-1), top = peak(last.a);
      say(more.words?.(classes[best], shares[best]) ?? `It says “${classes[best]}”, ${percent(shares[best])}. `
        + (last.a[top] * last.a.length < 1.001 ? "It looks everywhere alike."
          : `Level ${result.levels.length} looks most ${place(top, last)}.`));
      opened.update();
    },
    trouble(message) { said.textContent = message; },
  };
}
