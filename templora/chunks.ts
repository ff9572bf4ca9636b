/**
 * How a text is cut: chunk i is tokens [i·Δ, (i+1)·Δ), its context is up to `window` tokens before it. A sequence is
 * [context, chunk]; the loss is over the chunk's tokens only, the first of which the last context token predicts.
 * Paper §3.1, algorithm 1. Where the tokenizer puts a BOS before a text, a context begins with it wherever it begins, as a window of
 * llama.cpp's perplexity does: a model that has seen no text without one is at a loss there.
 */
import type { ModelConfig } from "../model/config.ts";

export interface ChunkSpan {
  readonly index: number;
  /** First token of the chunk. */
  readonly start: number;
  /** One past its last token. */
  readonly end: number;
}

/** The chunks of a text of `tokens` tokens, in order; the last may be shorter than `chunk`. */
export function* chunkSpans(tokens: number, chunk: number): Generator<ChunkSpan> {
  for (let index = 0; index * chunk < tokens; index++) {
    yield { index, start: index * chunk, end: Math.min(tokens, (index + 1) * chunk) };
  }
}

/** What one pass over a chunk reads and predicts. */
export interface Sequence {
  /** Index in the text of the first input. */
  readonly start: number;
  /** Ids of context and chunk, without the last token, which predicts nothing. */
  readonly inputs: Int32Array;
  /** Index of the first input whose prediction is scored. */
  readonly from: number;
  /** Ids that the inputs from `from` on must predict. */
  readonly targets: Int32Array;
  /** Number of context tokens. */
  readonly context: number;
}

/** The model's BOS, where a text begins with it; else null. */
export function bosOf(
  text: Int32Array,
  { bos_token_id: bos }: Pick<ModelConfig, "bos_token_id">,
): number | null {
  return text[0] === bos ? bos : null;
}

/** Tokens from somewhere in a text with its BOS in place of the first; as they are where there is none, or they are but one. */
export function headed(ids: Int32Array, bos: number | null): Int32Array {
  if (bos === null || ids.length < 2) return ids;
  const copy = ids.slice();
  copy[0] = bos;
  return copy;
}

/** The sequence of a chunk with up to `window` tokens of context, the first of which is `bos`, if that is not null and they are several. */
export function sequence(
  ids: Int32Array,
  { start, end }: ChunkSpan,
  window: number,
  bos: number | null = null,
): Sequence {
  const context = Math.min(window, start);
  const first = start - context;
  const from = Math.max(0, context - 1);
  const inputs = ids.subarray(first, end - 1);
  return {
    start: first,
    inputs: context > 1 ? headed(inputs, bos) : inputs,
    from,
    targets: ids.subarray(first + from + 1, end),
    context,
  };
}

/** The same sequence with its context among what is predicted, but for the first token, before which there is nothing. */
export function withContext({ start, inputs, targets, context }: Sequence): Sequence {
  const all = new Int32Array(inputs.length);
  all.set(inputs.subarray(1));
  all.set(targets.subarray(-1), inputs.length - 1);
  return { start, inputs, from: 0, targets: all, context };
}

/** A chunk's sequence `size` tokens at a time, each part with all that comes before it in the sequence; 0: the sequence as it is. */
export function partsOf(whole: Sequence, size: number): readonly Sequence[] {
  const { inputs, from, targets, context } = whole;
  const unpredicted = context === 0 ? 1 : 0; // a first token with nothing before it
  const tokens = targets.length + unpredicted;
  if (size === 0 || tokens <= size) return [whole];
  const parts: Sequence[] = [];
  for (let at = 0; at < tokens; at += size) {
    const [first, end] = [Math.max(0, at - unpredicted), Math.min(tokens, at + size) - unpredicted];
    parts.push({
      ...{ start: whole.start, inputs: inputs.subarray(0, from + end), from: from + first },
      ...{ targets: targets.subarray(first, end), context: context + at },
    });
  }
  return parts.filter((part) => part.targets.length > 0);
}
