/** The storage formats of frozen weights: one line and one folder each. */
export { bf16 } from "./bf16/bf16.ts";
export { f16 } from "./f16/f16.ts";
export { f32 } from "./f32/f32.ts";
export { iq4_nl } from "./iq4_nl/iq4_nl.ts";
export { iq4_xs } from "./iq4_xs/iq4_xs.ts";
export { mxfp4 } from "./mxfp4/mxfp4.ts";
export { q2_k } from "./q2_k/q2_k.ts";
export { q3_k } from "./q3_k/q3_k.ts";
export { q4_0 } from "./q4_0/q4_0.ts";
export { q4_1 } from "./q4_1/q4_1.ts";
export { q4_k } from "./q4_k/q4_k.ts";
export { q5_0 } from "./q5_0/q5_0.ts";
export { q5_1 } from "./q5_1/q5_1.ts";
export { q5_k } from "./q5_k/q5_k.ts";
export { q6_k } from "./q6_k/q6_k.ts";
export { q8_0 } from "./q8_0/q8_0.ts";
