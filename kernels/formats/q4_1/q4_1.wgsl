// GGUF q4_1: 32 weights in 5 words, {f16 d, m; u8 q[16]}, weight = d · q + m; low nibbles are weights 0–15.

/// Weights [offset, offset + 4) of a block: with constant offsets, a compiler loads each word of the block
/// once.
fn block4(block: u32, offset: u32) -> vec4f {
  let dm = unpack2x16float(w[5u * block]);
  let quads = w[5u * block + 1u + ((offset & 15u) >> 2u)] >> ((offset & 16u) >> 2u);
  let q = (vec4u(quads) >> vec4u(0u, 8u, 16u, 24u)) & vec4u(15u);
  return dm.x * vec4f(q) + dm.y;
}

fn w4(element: u32) -> vec4f { return block4(element >> 5u, element & 31u); }

fn w1(element: u32) -> f32 { return w4(element & ~3u)[element & 3u]; }
