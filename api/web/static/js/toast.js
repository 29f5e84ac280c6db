// Short messages in a corner, read out by screen readers, gone by themselves.

import { h } from "./dom.js";

const SECONDS = 6;

/** toast("Copied"), or toast(error) for what went wrong. */
export function toast(what) {
  const failed = what instanceof Error;
  const shown = h(failed ? "div.toast.bad" : "div.toast", {}, failed ? what.message : what);
  document.getElementById("toasts").append(shown);
  setTimeout(() => shown.remove(), (failed ? 2 : 1) * SECONDS * 1000);
}

/** Do something that may fail, with the button disabled meanwhile; what fails is said in a toast. Gives undefined then. */
export async function attempt(button, action) {
  if (button) button.disabled = true;
  try {
    return await action();
  } catch (error) {
    if (error.name !== "AbortError") toast(error);
    return undefined;
  } finally {
    if (button) button.disabled = false;
  }
}
