//!use formats/six_bits.wgsl
// GGUF q5_K: as q4_K, with the fifth bits of the 8 groups in `high`, 256 weights in 44 words:
// {f16 d, dmin; u8 scales[12]; u8 high[32]; u8 q[128]}. A `block` is a group of 32.

fn block4(block: u32, offset: u32) -> vec4f {
  let start = 44u * (block >> 3u);
  let g = block & 7u;
  let factors = unpack2x16float(w[start]) * scale_and_minimum(start + 1u, g);
  let quads = w[start + 12u + 8u * (g >> 1u) + (offset >> 2u)] >> (4u * (g & 1u));
  let fifth = (vec4u(w[start + 4u + (offset >> 2u)] >> g) >> vec4u(0u, 8u, 16u, 24u)) & vec4u(1u);
  let q = ((vec4u(quads) >> vec4u(0u, 8u, 16u, 24u)) & vec4u(15u)) | (fifth << vec4u(4u));
  return factors.x * vec4f(q) - factors.y;
}

fn w4(element: u32) -> vec4f { return block4(element >> 5u, element & 31u); }

fn w1(element: u32) -> f32 { return w4(element & ~3u)[element & 3u]; }
