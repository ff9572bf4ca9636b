// Weights stored as bfloat16 (the upper half of an f32), two a word. The kernel's file declares `w:
// array<u32>`.

fn w4(element: u32) -> vec4f {
  let at = element >> 1u;
  let pairs = vec2u(w[at], w[at + 1u]);
  let low = pairs << vec2u(16u);
  let high = pairs & vec2u(0xffff0000u);
  return bitcast<vec4f>(vec4u(low.x, high.x, low.y, high.y));
}

fn w1(element: u32) -> f32 {
  let shift = 16u * (1u - (element & 1u));
  return bitcast<f32>((w[element >> 1u] << shift) & 0xffff0000u);
}

fn block4(block: u32, offset: u32) -> vec4f { return w4(32u * block + offset); }
