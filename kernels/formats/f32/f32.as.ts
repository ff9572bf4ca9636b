/** f32 on the CPU. */

@unmanaged @final export class Element {
  @inline get bytes(): usize { return 4; }
  @inline bits(at: usize): v128 { return f32x4.splat(0); }
  @inline rebias(at: usize): v128 { return f32x4.splat(0); }
  @inline load4(at: usize, bits: v128, rebias: v128): v128 { return v128.load(at); }
  @inline load1(at: usize): f32 { return load<f32>(at); }
}
