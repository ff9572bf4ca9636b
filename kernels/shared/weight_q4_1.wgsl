// GGUF q4_1: 32 weights in 5 words, {f16 d, m; u8 q[16]}, weight = d · q + m; low nibbles are weights 0–15.

fn w4(element: u32) -> vec4f {
  let block = 5u * (element >> 5u);
  let dm = unpack2x16float(w[block]);
  let quads = w[block + 1u + ((element & 15u) >> 2u)] >> ((element & 16u) >> 2u);
  let q = (vec4u(quads) >> vec4u(0u, 8u, 16u, 24u)) & vec4u(15u);
  return dm.x * vec4f(q) + dm.y;
}

fn w1(element: u32) -> f32 { return w4(element & ~3u)[element & 3u]; }
