//!use formats/halves.wgsl
// GGUF q5_0: 32 weights in 22 bytes, {f16 d; u32 high; u8 q[16]}, weight = d · (q − 16): low nibbles are weights 0–15, and bit i of
// `high` is the fifth of weight i.

fn block4(block: u32, offset: u32) -> vec4f {
  let start = 11u * block;
  let quads = word(start + 3u + ((offset & 15u) >> 1u)) >> ((offset & 16u) >> 2u);
  let fifth = (vec4u(word(start + 1u) >> offset) >> vec4u(0u, 1u, 2u, 3u)) & vec4u(1u);
  let q = ((vec4u(quads) >> vec4u(0u, 8u, 16u, 24u)) & vec4u(15u)) | (fifth << vec4u(4u));
  return half(start) * (vec4f(q) - 16.0);
}

fn w4(element: u32) -> vec4f { return block4(element >> 5u, element & 31u); }

fn w1(element: u32) -> f32 { return w4(element & ~3u)[element & 3u]; }
