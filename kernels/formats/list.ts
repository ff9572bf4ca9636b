/** The storage formats of frozen weights: one line and one folder each. */
export { bf16 } from "./bf16/bf16.ts";
export { f16 } from "./f16/f16.ts";
export { f32 } from "./f32/f32.ts";
export { q4_0 } from "./q4_0/q4_0.ts";
export { q4_1 } from "./q4_1/q4_1.ts";
export { q8_0 } from "./q8_0/q8_0.ts";
