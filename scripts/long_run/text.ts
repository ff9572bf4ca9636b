/** The sentences of `excerpt` in an order that a seed draws, over and over: at least `characters` of them. */
export function longText(excerpt: string, tokens: number, seed = 1): string {
  const sentences = excerpt.split(/(?<=[.!?;,] )/);
  const parts: string[] = [];
  let state = seed;
  for (let length = 0; length < CHARACTERS * tokens; length += parts.at(-1)?.length ?? 0) {
    state = (state * 48_271) % 2_147_483_647;
    parts.push(sentences[state % sentences.length] ?? "");
  }
  return parts.join("");
}
/** More than a token of the tests' tokenizers has, on average. */
const CHARACTERS = 4;
