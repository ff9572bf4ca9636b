/** Partial sums of sum_squares: the partition is fixed, so that any number of threads gives the same bits. */
export const PARTS = 256;
