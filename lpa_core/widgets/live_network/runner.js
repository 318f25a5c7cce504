/* A network at work beside the page: in a worker made from the engine's own text, so that the page never freezes and
   nothing is fetched. Where no worker may start, the same engine runs here.

   look() answers the newest question only: one that a newer one overtakes is answered with null. */

const lpaNetworks = {}; // name -> {steps, numbers, …}; the scripts that hold weights put them here

function lpaRunner(data) {

  // What runs in the worker: messages in, answers out, one after another.
  function serve(engine, answer) {
    let network = null;
    return async ({id, ask, input}) => {
      try {
        if (ask === "open") network = await engine.open(input);
        const picture = input.pixels ? engine.prepared(input.pixels, network) : null;
        answer({id, result: ask === "look" ? engine.look(network, picture, input)
          : ask === "details" ? lpaDetails(network, ...input.about) : true});
      } catch (error) {
        answer({id, error: error.message});
      }
    };
  }

  const waiting = new Map(); // id -> {message, resolve, reject}, in the order in which they were asked
  const answer = ({id, result, error}) => {
    const {resolve, reject} = waiting.get(id);
    waiting.delete(id);
    if (error === undefined) resolve(result); else reject(new Error(error));
  };

  let send, stop = () => {};
  const here = () => {
    const reply = serve(lpaEngine(), answer);
    let last = Promise.resolve();
    send = (message) => { last = last.then(() => new Promise(requestAnimationFrame)).then(() => reply(message)); };
    stop = () => {};
    for (const {message} of waiting.values()) send(message);
  };
  try {
    const text = `"use strict";\n${lpaNumbers}\n${lpaEngine}\n${lpaDetails}\nconst serve = ${serve};\nconst reply = serve(lpaEngine(), (m) => postMessage(m));
      let last = Promise.resolve(); onmessage = ({data}) => { last = last.then(() => reply(data)); };`;
    const address = URL.createObjectURL(new Blob([text], {type: "text/javascript"}));
    const worker = new Worker(address);
    URL.revokeObjectURL(address);
    worker.onmessage = (event) => answer(event.data);
    worker.onerror = (event) => { event.preventDefault(); worker.terminate(); here(); }; // its text may not run, say by a policy
    send = (message) => worker.postMessage(message);
    stop = () => worker.terminate();
  } catch {
    here();
  }

  let count = 0;
  const asked = (ask, input) => new Promise((resolve, reject) => {
    const message = {id: ++count, ask, input};
    waiting.set(count, {message, resolve, reject});
    send(message);
  });

  const opened = asked("open", data);
  let busy = false, next = null;

  async function look(input) {
    if (next) {
      next.resolve(null);
      if (!input.pixels) input = {...input, pixels: next.input.pixels}; // a picture not yet seen is not lost
    }
    return new Promise((resolve, reject) => {
      next = {input, resolve, reject};
      work();
    });
  }

  async function work() {
    if (busy || !next) return;
    const {input, resolve, reject} = next;
    [busy, next] = [true, null];
    try {
      await opened;
      resolve(await asked("look", input));
    } catch (error) {
      reject(error);
    }
    busy = false;
    work();
  }

  return {
    look, // {pixels: {data, h, w} or null for the last ones, temperature, maps}
    details: (...about) => opened.then(() => asked("details", {about})),
    stop,
    ...data,
    numbers: null,
  };
}
