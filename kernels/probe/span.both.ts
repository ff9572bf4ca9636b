/** Elements in a unit of the two memory probes. */
export const SPAN = 65536;
