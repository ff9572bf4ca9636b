//!use formats/halves.wgsl
// GGUF q8_0: 32 weights in 34 bytes, {f16 d; i8 q[32]}, weight = d · q.

/// Weights [offset, offset + 4) of a block: with constant offsets, a compiler loads each word of the block
/// once.
fn block4(block: u32, offset: u32) -> vec4f {
  let bytes = word(17u * block + 1u + (offset >> 1u));
  let q = bitcast<vec4i>(vec4u(bytes) << vec4u(24u, 16u, 8u, 0u)) >> vec4u(24u);
  return half(17u * block) * vec4f(q);
}

fn w4(element: u32) -> vec4f { return block4(element >> 5u, element & 31u); }

fn w1(element: u32) -> f32 { return w4(element & ~3u)[element & 3u]; }
