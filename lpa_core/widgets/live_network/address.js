/* The state of a scene in the address: #scene&name=value&… so that what is seen can be linked, and reset. */

function lpaAddress(scene, defaults) {
  const state = {...defaults};
  const [named, ...pairs] = location.hash.slice(1).split("&");
  const linked = named === scene;
  if (linked) {
    for (const [name, text] of pairs.map((pair) => pair.split(/=(.*)/s))) {
      if (!(name in defaults) || text === undefined) continue;
      let value = text;
      try { value = decodeURIComponent(text); } catch { continue; }
      if (typeof defaults[name] !== "number") state[name] = value;
      else if (value.trim() && Number.isFinite(Number(value))) state[name] = Number(value);
    }
  }
  let timer = 0;
  return {
    state,
    linked,
    set(changes) {
      Object.assign(state, changes);
      clearTimeout(timer);
      timer = setTimeout(() => {
        const told = Object.entries(state).filter(([name, value]) => value !== defaults[name])
          .map(([name, value]) => `&${name}=${encodeURIComponent(value)}`);
        history.replaceState(null, "", `#${scene}${told.join("")}`);
      }, 300); // browsers refuse more than a few a second
    },
    reset() {
      this.set(defaults);
    },
  };
}
