// @ts-check
/** A large account as a ChatGPT export, to measure with: many conversations of two turns, one of very many. */
const WORDS = "a turn about trains and tunnels that is long enough to fill a line or two of a chat".split(
  " ",
);
/** The account's first conversation began then: unix seconds. */
const BEGIN_S = 1_790_000_000;

/**
 * Conversations 1 to `conversations`, the later ones the newer; the one numbered `large` has `messages` turns.
 * @param {{ conversations: number, messages: number, large: number }} size
 */
export function account({ conversations, messages, large }) {
  const numbers = Array.from({ length: conversations }, (_, index) => index + 1);
  return numbers.map((at) => conversation(at, at === large ? messages : 2));
}

/** @param {number} at @param {number} turns */
function conversation(at, turns) {
  const id = (/** @type {number} */ turn) =>
    `00000000-0000-4000-8000-${String(at * 100_000 + turn).padStart(12, "0")}`;
  /** @type {Record<string, unknown>} */
  const mapping = {};
  for (let turn = 0; turn < turns; turn += 1) {
    const text = `${turn + 1}: ${WORDS.slice(0, 3 + ((turn * 7) % 14)).join(" ")}`;
    mapping[id(turn)] = {
      id: id(turn),
      parent: turn === 0 ? null : id(turn - 1),
      children: turn + 1 < turns ? [id(turn + 1)] : [],
      message: {
        id: id(turn),
        author: { role: turn % 2 === 0 ? "user" : "assistant" },
        create_time: BEGIN_S + at * 10 + turn,
        content: { content_type: "text", parts: [text] },
      },
    };
  }
  return {
    title: `Conversation ${at}`,
    conversation_id: `00000000-0000-4000-8000-${String(at).padStart(12, "0")}`,
    create_time: BEGIN_S + at * 10,
    update_time: BEGIN_S + at * 10 + turns,
    current_node: id(turns - 1),
    mapping,
  };
}

/** Brings an account to a server. @param {string} url @param {string} user @param {unknown} conversations */
export async function bring(url, user, conversations) {
  const begun = performance.now();
  const body = JSON.stringify(conversations);
  const answer = await fetch(`${url}/v1/users/${user}/import`, { method: "POST", body });
  const lines = (await answer.text()).trim().split("\n");
  if (!answer.ok) throw new Error(`the server does not import: ${answer.status} ${lines.at(-1)}`);
  return { importMs: Math.round(performance.now() - begun), totals: JSON.parse(lines.at(-1) ?? "{}") };
}
