/** Two attentions as one, on the CPU: a unit is a query of one head. */
import { exp4, log1, madd } from "../shared/simd.as";

export function attention_merge(
  y2: usize, lse2: usize, y: usize, lse: usize, N: i32, H: i32, E: i32, T: i32, begin: i32, end: i32, scratch: usize,
): void {
  const before = <usize>(T - N) * H;
  const row = <usize>E << 2;
  for (let n = begin; n < end; n++) {
    const at = lse + ((before + n) << 2);
    const one = load<f32>(at), two = load<f32>(lse2 + (<usize>n << 2));
    const top = max(one, two);
    const e = exp4(f32x4(one - top, two - top, 0, 0));
    const sum = f32x4.extract_lane(e, 0) + f32x4.extract_lane(e, 1);
    store<f32>(at, top + log1(sum));
    const a = f32x4.extract_lane(e, 0) / sum, b = f32x4.extract_lane(e, 1) / sum;
    const a4 = f32x4.splat(a), b4 = f32x4.splat(b);
    let to = y + (before + n) * row;
    let from = y2 + <usize>n * row;
    const last = to + row;
    for (; to + 16 <= last; to += 16, from += 16) {
      v128.store(to, madd(a4, v128.load(to), f32x4.mul(b4, v128.load(from))));
    }
    for (; to < last; to += 4, from += 4) store<f32>(to, a * load<f32>(to) + b * load<f32>(from));
  }
}
