// Whether the service answers: said once in a bar above the page, and taken back by itself.

const ASK_EVERY = 1500; // ms while it is away
const listeners = new Set();
let away = false;

/** Called by whoever got no answer. Asks /livez until there is one again. */
export function offline() {
  if (away) return;
  away = true;
  show("The service does not answer. Trying again; what you see may be out of date.");
  ask();
}

/** Called by whoever got an answer. */
export function online() {
  if (!away) return;
  away = false;
  show("");
  for (const listener of listeners) listener();
}

/** `listener()` is called each time the service is back. */
export function onReturn(listener) {
  listeners.add(listener);
}

export const isAway = () => away;

async function ask() {
  while (away) {
    await new Promise((done) => setTimeout(done, ASK_EVERY));
    try {
      if ((await fetch("/livez", { cache: "no-store" })).ok) online();
    } catch {
      // still away
    }
  }
}

function show(text) {
  const bar = document.getElementById("connection");
  bar.textContent = text;
  bar.hidden = !text;
}
