/**
 * The conventions of the paper's published script (github.com/TemporaryLoRA/Temp-LoRA, trainer/acc_pg19_trainer.py and data_modules/pg19.py),
 * for whoever compares figures with it: its text is stripped, its first chunk has 1,024 tokens whatever the stride and counts as one
 * stride, its other chunks count with all their tokens, and its evaluation window has no effect: the training window scores, too.
 */
import type { ChunkRecord } from "./records.ts";

/** Tokens of the first chunk. */
export const OFFICIAL_FIRST_CHUNK = 1024;

/** What a chunk of a text of so many tokens counts in the script's mean of chunk perplexities. `chunk`: its stride. */
export function officialWeight(
  { index, tokens, context }: ChunkRecord,
  length: number,
  chunk: number,
): number {
  if (index === 0) return Math.min(length, chunk);
  return context === 0 ? tokens + 1 : tokens; // without context its first token is not scored
}

/** A text as the script reads it: line ends of any kind are one character, and none stands at its ends, nor other white space. */
export async function* officialText(parts: AsyncIterable<string>): AsyncGenerator<string> {
  let begun = false;
  let held = ""; // white space that may be the text's end
  for await (const part of parts) {
    const text: string = held + part;
    let [start, end] = [0, text.length];
    while (end > 0 && SPACE.test(text.charAt(end - 1))) end--;
    if (!begun) while (start < end && SPACE.test(text.charAt(start))) start++;
    begun ||= end > start;
    held = begun ? text.slice(end) : "";
    if (end > start) yield text.slice(start, end).replaceAll(/\r\n?/g, "\n");
  }
}

/** What Python's str.strip removes. */
const SPACE = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]/;
