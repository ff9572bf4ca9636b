// Weights stored as f32. The kernel's file declares `w: array<u32>`.

fn w1(element: u32) -> f32 { return bitcast<f32>(w[element]); }

fn w4(element: u32) -> vec4f {
  return bitcast<vec4f>(vec4u(w[element], w[element + 1u], w[element + 2u], w[element + 3u]));
}

fn block4(block: u32, offset: u32) -> vec4f { return w4(32u * block + offset); }
