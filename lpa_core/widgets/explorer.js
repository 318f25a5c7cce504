// One script for all explorers of a page: whichever copy runs takes over those that none has taken yet.
(() => {
  for (const root of document.querySelectorAll(".lpa-explorer[data-frames]")) {
    const {names, panels, frames} = JSON.parse(root.dataset.frames);
    root.removeAttribute("data-frames");
    const inputs = [...root.querySelectorAll("input, select")];
    const show = () => {
      let place = 0;
      inputs.forEach((input, i) => {
        place = place * names[i].length + Number(input.value);
        if (input.type !== "range") return;
        input.setAttribute("aria-valuetext", names[i][input.value]);
        input.nextElementSibling.textContent = names[i][input.value];
      });
      root.querySelectorAll("figure").forEach((figure, i) => {
        const [source, alt, title, low, high, signed] = panels[frames[place][i]];
        const image = figure.querySelector("img"), bar = figure.querySelector(".lpa-bar");
        image.src = source;
        image.alt = alt;
        figure.querySelector("figcaption").textContent = title;
        bar.hidden = low === undefined;
        bar.className = "lpa-bar lpa-bar-" + (signed || 0);
        bar.firstElementChild.textContent = low || "";
        bar.lastElementChild.textContent = high || "";
      });
      root.querySelector("[role=status]").textContent = frames[place].at(-1);
    };
    for (const input of inputs) {
      input.disabled = false;
      for (const event of ["input", "change"]) input.addEventListener(event, show); // not every list tells both
    }
    root.querySelector(".lpa-note").remove();
    show();
  }
})();
