/** Picks what the built-in assistant can say from message trees that people wrote and rated. */

export interface Answer {
  readonly question: string;
  readonly answers: readonly string[];
}

interface Node {
  readonly text: string;
  readonly role: "prompter" | "assistant";
  readonly rank?: number | null;
  readonly replies: readonly Node[];
}

/** All answers together, in characters: they are loaded with the first question. */
const TOTAL = 250_000;
const LONGEST = 1_200;
const EACH = 3;

/** Reads trees, one JSON object a line; nothing comes of an empty text. */
export function answersFrom(lines: string): readonly Answer[] {
  const found: Answer[] = [];
  let total = 0;
  for (const line of lines.split("\n")) {
    if (line.trim() === "") continue;
    const { prompt } = JSON.parse(line) as { readonly prompt: Node };
    const replies = [...prompt.replies]
      .filter(({ text, role }) => role === "assistant" && text.length <= LONGEST)
      .sort((a, b) => (a.rank ?? 99) - (b.rank ?? 99))
      .slice(0, EACH);
    const answers = replies.map(({ text }) => text.trim());
    total += prompt.text.length + answers.reduce((sum, text) => sum + text.length, 0);
    if (total > TOTAL) break;
    if (answers.length > 0) found.push({ question: prompt.text.slice(0, 300), answers });
  }
  return found;
}
