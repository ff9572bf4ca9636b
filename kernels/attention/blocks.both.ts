/** Into what blocks the attention kernels cut their work on the CPU, and the memory that these take. */

/** Rows that share a panel: queries or keys, transposed. */
export const LANES = 16;
/** Queries of a unit of the forward; those that a key block of the backward meets at a time. */
export const QUERIES = 64;
/** Keys of a block. */
export const KEYS = 64;
/** Fewer queries than this are decoding. */
export const FEW = 4;

/** Bytes of a panel: LANES rows of E floats. */
export function panelBytes(E: number): number {
  return 4 * LANES * E;
}
/** Bytes of a panel's scores against a block of keys, and of its state: maxima, sums, factors. */
export const SCORE_BYTES = 4 * LANES * KEYS;
export const STATE_BYTES = 3 * 4 * LANES;

/** Room at the beginning of the scratch for what the units of a call have in common. */
export const CALL_BYTES = 128;

/** The forward's scratch: the call, queries and sums of each panel, its state, its scores. */
export function forwardBytes(E: number): number {
  return CALL_BYTES + (QUERIES / LANES) * (2 * panelBytes(E) + STATE_BYTES + SCORE_BYTES);
}

/** Bytes from row to row of the backward's tiles [query][key]: no power of two, to spread over the cache's sets. */
export const TILE_ROW = 272;

/** The backward's scratch: the call, a block of keys and values, two tiles, lse and delta of the queries, a cap's slopes. */
export function backwardBytes(E: number): number {
  return CALL_BYTES + (KEYS / LANES) * 2 * panelBytes(E) + QUERIES * (2 * TILE_ROW + 8) + 16 + SCORE_BYTES;
}

const UNITS = 24;
const MIN_RANGE = 32;
const PART_BYTES = 67_108_864;

/**
 * Ranges of queries that the backward is cut into: with the G kv heads about UNITS units, which 2, 3, 4, 6, 8 or 12
 * threads share evenly; fewer where the parts of dk and dv, one a range, would take more than PART_BYTES. `keys`: those
 * that are not frozen.
 */
export function ranges(T: number, E: number, G: number, keys: number): number {
  const fit = Math.max(1, Math.floor(PART_BYTES / Math.max(1, 8 * keys * E * G)));
  return Math.max(1, Math.min(Math.min(Math.ceil(UNITS / G), Math.ceil(T / MIN_RANGE)), fit));
}
