//!use halves.wgsl
// GGUF q4_0: 32 weights in 18 bytes, {f16 d; u8 q[16]}, weight = d · (q − 8); low nibbles are weights 0–15.

fn w4(element: u32) -> vec4f {
  let block = 9u * (element >> 5u);
  let quads = word(block + 1u + ((element & 15u) >> 1u)) >> ((element & 16u) >> 2u);
  let q = (vec4u(quads) >> vec4u(0u, 8u, 16u, 24u)) & vec4u(15u);
  return half(block) * (vec4f(q) - 8.0);
}

fn w1(element: u32) -> f32 { return w4(element & ~3u)[element & 3u]; }
