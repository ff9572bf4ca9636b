/**
 * Experience replay: tokens that were read before, drawn at random, are learnt with each chunk (`replay` of a recipe). They are read behind
 * the one token before them, not behind a window, which would take many times as long as they do.
 */
import { BadInputError } from "../engine/errors.ts";
import { Purpose, stream, uniforms } from "../engine/random.ts";
import { at } from "../kernels/base/at.ts";
import { type Sequence, sequence } from "./chunks.ts";
import type { Recipe } from "./config.ts";

/**
 * `tokens` in a row among those of `text`, which were all read before chunk `index`, or as many as there are; null where there are none.
 * The place is a function of the seed and the chunk, so nothing of it has to be kept.
 */
export function replayed(text: Int32Array, tokens: number, seed: number, index: number): Sequence | null {
  const count = Math.min(tokens, text.length - 1); // the first has nothing before it
  if (count <= 0) return null;
  const places = text.length - count;
  const start = 1 + Math.floor(at(uniforms(seed, stream(Purpose.replay, 0), index, 1), 0) * places);
  return sequence(text, { index, start, end: start + count }, 1);
}

/** Throws where a recipe (null: nothing is learnt) draws from a text that was read before, and there is none. */
export function assertDrawsNothing(recipe: Recipe | null): void {
  if (recipe && recipe.replay > 0)
    throw new BadInputError(
      `replay ${recipe.replay}: it draws from the text that was read before, and a translation has lines instead; leave it out`,
    );
}
