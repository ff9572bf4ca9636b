// GGUF q2_K: 256 weights in 21 words, {u8 scales[16]; u8 q[64]; f16 d, dmin}: each 16 weights have a byte, scale below and minimum
// above, and weight = d · scale · q − dmin · minimum; q has two bits. A `block` is 32 of them.

fn block4(block: u32, offset: u32) -> vec4f {
  let start = 21u * (block >> 3u);
  let g = block & 7u;
  let dm = unpack2x16float(w[start + 20u]);
  let both = w[start + (g >> 1u)] >> (16u * (g & 1u) + ((offset & 16u) >> 1u));
  let q = (vec4u(w[start + 4u + 8u * (g >> 2u) + (offset >> 2u)] >> (2u * (g & 3u))) >> vec4u(0u, 8u, 16u, 24u)) & vec4u(3u);
  return dm.x * f32(both & 15u) * vec4f(q) - dm.y * f32((both >> 4u) & 15u);
}

fn w4(element: u32) -> vec4f { return block4(element >> 5u, element & 31u); }

fn w1(element: u32) -> f32 { return w4(element & ~3u)[element & 3u]; }
