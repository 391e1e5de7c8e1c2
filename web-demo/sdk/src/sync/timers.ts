/** Timers of the background. */

/** In Node a timer keeps the process alive; one that only tidies up must not. */
export function inBackground(timer: unknown): void {
  if (typeof timer !== "object" || timer === null) return;
  if ("unref" in timer && typeof timer.unref === "function") timer.unref();
}
