// What is looked at again and again: not while nobody looks at the page, and at once when somebody does, or the service is back.

import { NoAnswer } from "./api.js";
import { onReturn } from "./connection.js";
import { toast } from "./toast.js";

/**
 * Call `look()` now and `every` ms after it has ended (`every` may be a function that says how long). Gives {now, stop}.
 * A service that is away is no error: the bar says so, and look() is called when it is back.
 */
export function repeat(look, every) {
  let timer = null;
  let busy = false;
  let again = false;
  let stopped = false;
  let said = "";

  async function now() {
    if (stopped) return;
    if (busy) {
      again = true;
      return;
    }
    clearTimeout(timer);
    busy = true;
    try {
      await look();
      said = "";
    } catch (error) {
      if (!(error instanceof NoAnswer) && error.message !== said) toast(error);
      said = error.message;
    }
    busy = false;
    if (again) {
      again = false;
      now();
    } else if (!document.hidden && !stopped) {
      timer = setTimeout(now, typeof every === "function" ? every() : every);
    }
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : now()));
  onReturn(now);
  now();
  return {
    now,
    stop() {
      stopped = true;
      clearTimeout(timer);
    },
  };
}
