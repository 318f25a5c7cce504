/* Puts the scenes into their places on the page. A scene's still picture stays where its scene cannot start. */

document.addEventListener("DOMContentLoaded", () => {
  const scenes = {
    draw: (root) => lpaDraw(root, lpaScenes),
    occlude: (root) => lpaOcclude(root, lpaScenes),
    photograph: (root) => lpaScene.network(lpaScenes.photo).then((runner) => {
      runner.stop(); // it comes with a worker of its own
      lpaNetworks[lpaScenes.photo].pictures = lpaScenes.pictures;
      return lpaPhotograph(root, lpaScenes.photo);
    }),
  };
  const begin = async (root) => {
    const name = root.dataset.scene, still = document.querySelector(`.lpa-still-${name}`);
    try {
      root.scene = await scenes[name](root);
      if (still) still.hidden = true;
    } catch (error) {
      root.append(lpaViews.make("p", {role: "alert"}, `This scene could not start: ${error.message}.`));
    }
  };
  // Weights are heavy: a scene starts when it comes near, or when the address names it.
  const near = new IntersectionObserver((entries) => entries.filter((entry) => entry.isIntersecting).forEach(({target}) => {
    near.unobserve(target);
    begin(target);
  }), {rootMargin: "200px"});
  for (const root of document.querySelectorAll(".lpa-live[data-scene]")) {
    near.observe(root);
    if (location.hash.split("&")[0] === `#${root.dataset.scene}`) root.scrollIntoView();
  }
});
