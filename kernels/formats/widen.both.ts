/** Memory that widening takes beside its result. */

/** Bytes: the scales and offsets of a block. */
export const WIDEN_SCRATCH = 128;
