// Weights stored as IEEE binary16, two a word. The kernel's file declares `w: array<u32>`.

fn w4(element: u32) -> vec4f {
  let at = element >> 1u;
  return vec4f(unpack2x16float(w[at]), unpack2x16float(w[at + 1u]));
}

fn w1(element: u32) -> f32 {
  let pair = unpack2x16float(w[element >> 1u]);
  return select(pair.x, pair.y, (element & 1u) == 1u);
}

fn block4(block: u32, offset: u32) -> vec4f { return w4(32u * block + offset); }
