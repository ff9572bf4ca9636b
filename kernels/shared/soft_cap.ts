/**
 * Soft caps, x ↦ cap · tanh(x / cap): Gemma 2, https://arxiv.org/abs/2408.00118, section 2. What the declarations of kernels
 * that have one share, and float64 for their references.
 */

/** Caps at which x / cap and its square are normal numbers. */
export const capRange = (): readonly [number, number] => [2 ** -40, 2 ** 40];
/** The same of a cap that may be missing: 0. */
export const optionalCap = (): readonly [number, number] => [0, 2 ** 40];

/** x, capped unless `cap` is 0. */
export const softCap = (x: number, cap: number): number => (cap === 0 ? x : cap * Math.tanh(x / cap));

/** The derivative of `softCap` by x, from the capped y. */
export const softCapSlope = (y: number, cap: number): number => (cap === 0 ? 1 : 1 - (y / cap) ** 2);
