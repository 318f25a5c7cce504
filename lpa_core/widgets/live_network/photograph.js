/* A scene: a picture of the reader's own, named by the network, its maps over the picture. Nothing leaves the page. */

function lpaPhotograph(root, name, {still = null, address = "photograph"} = {}) {
  const {make} = lpaViews, data = lpaNetworks[name], runner = lpaRunner(data);
  const {classes, size: [height, width], pictures = []} = data;
  const defaults = {picture: 1, times: 1, t: 0};
  const link = lpaAddress(address, defaults), {state} = link;
  const SHOWN = 360, LARGEST = 1600;
  const work = lpaViews.worker(root);
  let pixels = null;

  const canvas = make("canvas", {width: SHOWN, height: SHOWN, role: "img", "aria-label": "The picture, as the network gets it"});
  const temperature = () => 10 ** state.t;
  const answer = lpaAnswer({classes, colours: data.colours, alpha: data.alpha, side: SHOWN, smooth: true, most: 5,
    ordered: false, runner: () => runner, options: () => ({temperature: temperature()})});
  const file = make("input", {type: "file", accept: "image/*", onchange: () => file.files[0] && take(file.files[0], file.files[0].name)});
  const bundled = make("div", {class: "lpa-row", role: "group", "aria-label": "Pictures that come with the page"},
    ...pictures.map(({source, words}, k) => make("button", {type: "button", class: "lpa-thumb", "aria-pressed": "false",
      "aria-label": words, style: `background-image:url(${source})`, onclick: () => bundle(k)})));
  const times = make("select", {onchange() { link.set({times: Number(times.value)}); look(); }},
    ...[1, 2, 3, 4].filter((k) => k === 1 || k * Math.max(height, width) <= 256)
      .map((k) => make("option", {value: k}, `${k * width} × ${k * height}${k === 1 ? " (as trained)" : ""}`)));
  const heat = make("input", {type: "range", min: -1, max: 1, step: 0.05, oninput() {
    link.set({t: Number(heat.value)});
    look(false);
  }});
  const heatTold = make("output");
  const drop = make("div", {class: "lpa-drop"}, canvas, make("p", {}, make("label", {class: "lpa-button"}, "Choose a picture", file),
    " or drop one here. It stays in this page: nothing is sent."));

  root.append(make("div", {class: "lpa-scene"}, drop, make("div", {class: "lpa-side"}, answer.said, answer.list,
    pictures.length ? make("p", {class: "lpa-label"}, "Or one of these") : null, bundled)),
  answer.maps, answer.readout,
  make("div", {class: "lpa-row"},
    make("label", {}, "The network sees it at", times), make("label", {}, "Temperature", heat, heatTold),
    make("button", {type: "button", onclick() { link.reset(); restore(); }}, "Reset")),
  answer.opened);
  if (still) still.hidden = true;

  for (const type of ["dragenter", "dragover", "dragleave", "drop"]) {
    drop.addEventListener(type, (event) => {
      event.preventDefault();
      drop.classList.toggle("lpa-over", type === "dragenter" || type === "dragover");
      if (type === "drop" && event.dataTransfer.files[0]) take(event.dataTransfer.files[0], event.dataTransfer.files[0].name);
    });
  }

  async function take(blob, called) {
    let bitmap;
    try {
      bitmap = await createImageBitmap(blob);
    } catch {
      answer.trouble(`“${called}” cannot be read as a picture. Try a JPEG or PNG file of a usual size; the last picture stays.`);
      return;
    }
    // What is far larger than any network sees is made smaller first, so that a phone's memory holds it.
    const shrink = Math.min(1, LARGEST / Math.max(bitmap.width, bitmap.height));
    const [w, h] = [bitmap.width, bitmap.height].map((n) => Math.max(1, Math.round(n * shrink)));
    const copy = make("canvas", {width: w, height: h}), context = copy.getContext("2d", {willReadFrequently: true});
    context.fillStyle = "#fff"; // beneath what is transparent
    context.fillRect(0, 0, w, h);
    context.imageSmoothingQuality = "high";
    context.drawImage(bitmap, 0, 0, w, h);
    bitmap.close();
    pixels = {data: context.getImageData(0, 0, w, h).data, h, w};
    const crop = lpaViews.canvasOf(lpaFitted(pixels, SHOWN, Math.round(SHOWN * width / height)));
    [canvas.width, canvas.height] = [crop.width, crop.height];
    canvas.getContext("2d").drawImage(crop, 0, 0);
    canvas.setAttribute("aria-label", `${called}, as the network gets it: its middle`);
    await look();
  }

  async function bundle(k) {
    link.set({picture: k + 1});
    [...bundled.children].forEach((button, j) => button.setAttribute("aria-pressed", String(j === k)));
    const bytes = Uint8Array.from(atob(pictures[k].source.split(",")[1]), (letter) => letter.charCodeAt(0));
    await take(new Blob([bytes]), pictures[k].words);
  }

  const look = (anew = true) => work(() => looked(anew));
  async function looked(anew) {
    heatTold.textContent = temperature().toFixed(2);
    if (!pixels) return;
    try {
      const result = await runner.look({temperature: temperature(),
        pixels: anew ? lpaFitted(pixels, height * state.times, width * state.times) : null});
      if (result) answer.show(result, canvas);
    } catch (error) {
      answer.trouble(`The network could not look: ${error.message}.`);
    }
  }

  function restore() {
    [times.value, heat.value] = [state.times, state.t];
    if (!times.value) times.value = state.times = 1;
    const k = Math.min(pictures.length, Math.max(1, Math.round(state.picture))) - 1;
    if (pictures.length) bundle(k); else answer.trouble("Choose a picture or drop one.");
  }
  restore();
  return {runner, answer, take};
}
