/** Long work in turns of a few milliseconds: the page draws and answers in between, however many clients it has. */

const waiting: (() => void)[] = [];

/** Resolves when it is the caller's turn: a task of its own, after those who came before. */
export function turn(): Promise<void> {
  return new Promise((resolve) => {
    waiting.push(resolve);
    if (waiting.length === 1) post();
  });
}

function post(): void {
  // Not a timer: those of pages in the background wait for a second each.
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = () => {
    port1.close();
    waiting.shift()?.();
    if (waiting.length > 0) post();
  };
  port2.postMessage(undefined);
}
