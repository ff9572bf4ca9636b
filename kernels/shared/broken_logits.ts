/** Test values for the kernels that choose among logits: rows without an answer, and rows with infinities that have one. */
import type { CaseRandom } from "../kernel.ts";

/** `count`: how many logits a case has. */
export function brokenLogits<D>(count: (dims: D) => number) {
  const sprinkled =
    (...values: readonly (number | undefined)[]) =>
    (random: CaseRandom, dims: D): number[] =>
      Array.from({ length: count(dims) }, (_, i) => values[i % values.length] ?? random.normal());
  const rare = (value: number) => [...new Array<number>(700), value];
  const negativeNaN = -NaN;
  return [
    { what: "a NaN in row 1", values: { logits: sprinkled(...rare(NaN)) } },
    { what: "a negative NaN in row 1", values: { logits: sprinkled(...rare(negativeNaN)) } },
    { what: "+∞ in row 1", values: { logits: sprinkled(...rare(Infinity)) } },
    { what: "−∞ in row 1", values: { logits: sprinkled(...rare(-Infinity)) } },
    { what: "NaN alone", values: { logits: sprinkled(NaN) } },
    { what: "+∞ alone", values: { logits: sprinkled(Infinity) } },
    { what: "−∞ alone", values: { logits: sprinkled(-Infinity) } },
    { what: "−∞ but for every third", values: { logits: sprinkled(-Infinity, -Infinity, undefined) } },
  ];
}
