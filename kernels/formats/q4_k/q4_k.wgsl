//!use formats/six_bits.wgsl
// GGUF q4_K: 256 weights in 36 words, {f16 d, dmin; u8 scales[12]; u8 q[128]}: each 32 weights have a scale and a minimum of six
// bits; weight = d · scale · q − dmin · minimum; low nibbles of 32 bytes are a group, high ones the next. A `block` is a group.

fn block4(block: u32, offset: u32) -> vec4f {
  let start = 36u * (block >> 3u);
  let g = block & 7u;
  let factors = unpack2x16float(w[start]) * scale_and_minimum(start + 1u, g);
  let quads = w[start + 4u + 8u * (g >> 1u) + (offset >> 2u)] >> (4u * (g & 1u));
  let q = (vec4u(quads) >> vec4u(0u, 8u, 16u, 24u)) & vec4u(15u);
  return factors.x * vec4f(q) - factors.y;
}

fn w4(element: u32) -> vec4f { return block4(element >> 5u, element & 31u); }

fn w1(element: u32) -> f32 { return w4(element & ~3u)[element & 3u]; }
