/** bf16, widened on the CPU. */

@unmanaged @final export class Element {
  @inline get bytes(): usize { return 2; }
  @inline bits(at: usize): v128 { return f32x4.splat(0); }
  @inline rebias(at: usize): v128 { return f32x4.splat(0); }
  @inline load4(at: usize, bits: v128, rebias: v128): v128 { return i32x4.shl(v128.load16x4_u(at), 16); }
  @inline load1(at: usize): f32 { return reinterpret<f32>(<u32>load<u16>(at) << 16); }
}
