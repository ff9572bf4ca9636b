/** The name of the array of counters, which must be there before the modules that count. */
export const COUNTERS = "__temploraReached";
