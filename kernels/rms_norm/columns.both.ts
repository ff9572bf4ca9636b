/** Columns of dg that make a unit of work on the CPU: a cache line, so that threads never write to the same one. */
export const COLUMNS = 16;
