/** How the elementwise kernels cut up N elements on the CPU. */

/** Elements of one unit of work. */
export const UNIT = 1024;
