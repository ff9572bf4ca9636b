//!use halves.wgsl
// GGUF q8_0: 32 weights in 34 bytes, {f16 d; i8 q[32]}, weight = d · q.

fn w4(element: u32) -> vec4f {
  let block = 17u * (element >> 5u);
  let bytes = word(block + 1u + ((element & 31u) >> 1u));
  let q = bitcast<vec4i>(vec4u(bytes) << vec4u(24u, 16u, 8u, 0u)) >> vec4u(24u);
  return half(block) * vec4f(q);
}

fn w1(element: u32) -> f32 { return w4(element & ~3u)[element & 3u]; }
