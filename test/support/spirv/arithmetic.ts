/** The arithmetic of SPIR-V as WGSL shaders use it: element by element, rounded to f32, integers modulo 2³². */
import type { Kind } from "./memory.ts";

type Scalar = number | boolean;
/** Of up to three numbers, for a result of a kind. */
export type Arithmetic = (kind: Kind, a: number, b: number, c: number) => Scalar;

const whole = (kind: Kind, x: number): number => (kind === "i32" ? x | 0 : x >>> 0);
const clamp = (x: number, low: number, high: number): number => Math.min(Math.max(x, low), high);
/** Division by zero gives the dividend, as in WGSL. */
const quotient = (a: number, b: number): number => (b === 0 ? a : Math.trunc(a / b));
const remainder = (a: number, b: number): number => (b === 0 ? 0 : a % b);

export const arithmetic: Readonly<Record<number, Arithmetic>> = {
  109: (_, x) => clamp(Math.trunc(x), 0, 2 ** 32 - 1), // ConvertFToU
  110: (_, x) => clamp(Math.trunc(x), -(2 ** 31), 2 ** 31 - 1), // ConvertFToS
  111: (_, x) => Math.fround(x), // ConvertSToF
  112: (_, x) => Math.fround(x), // ConvertUToF
  126: (kind, x) => whole(kind, -x), // SNegate
  127: (_, x) => -x, // FNegate
  128: (kind, a, b) => whole(kind, a + b), // IAdd
  129: (_, a, b) => Math.fround(a + b),
  130: (kind, a, b) => whole(kind, a - b),
  131: (_, a, b) => Math.fround(a - b),
  132: (kind, a, b) => whole(kind, Math.imul(a, b)),
  133: (_, a, b) => Math.fround(a * b),
  134: (kind, a, b) => whole(kind, quotient(a, b)), // UDiv
  135: (kind, a, b) => whole(kind, quotient(a, b)), // SDiv
  136: (_, a, b) => Math.fround(a / b), // FDiv
  137: (kind, a, b) => whole(kind, remainder(a, b)), // UMod
  138: (kind, a, b) => whole(kind, remainder(a, b)), // SRem
  140: (_, a, b) => Math.fround(a % b), // FRem
  142: (_, a, b) => Math.fround(a * b), // VectorTimesScalar
  164: (_, a, b) => a === b, // LogicalEqual
  165: (_, a, b) => a !== b,
  166: (_, a, b) => Boolean(a) || Boolean(b),
  167: (_, a, b) => Boolean(a) && Boolean(b),
  168: (_, a) => !a,
  169: (_, condition, a, b) => (condition ? a : b), // Select
  170: (_, a, b) => a === b, // IEqual
  171: (_, a, b) => a !== b,
  172: (_, a, b) => a > b, // UGreaterThan, SGreaterThan, …
  173: (_, a, b) => a > b,
  174: (_, a, b) => a >= b,
  175: (_, a, b) => a >= b,
  176: (_, a, b) => a < b,
  177: (_, a, b) => a < b,
  178: (_, a, b) => a <= b,
  179: (_, a, b) => a <= b,
  180: (_, a, b) => a === b, // FOrdEqual
  182: (_, a, b) => a !== b && a === a && b === b, // FOrdNotEqual
  183: (_, a, b) => a !== b, // FUnordNotEqual
  184: (_, a, b) => a < b,
  186: (_, a, b) => a > b,
  188: (_, a, b) => a <= b,
  190: (_, a, b) => a >= b,
  194: (_, a, b) => a >>> b, // ShiftRightLogical
  195: (_, a, b) => a >> b,
  196: (kind, a, b) => whole(kind, a << b),
  197: (kind, a, b) => whole(kind, a | b),
  198: (kind, a, b) => whole(kind, a ^ b),
  199: (kind, a, b) => whole(kind, a & b),
  200: (kind, a) => whole(kind, ~a),
};

function roundEven(x: number): number {
  const low = Math.floor(x);
  if (x - low !== 0.5) return Math.round(x);
  return low % 2 === 0 ? low : low + 1;
}

/** GLSL.std.450 */
export const extended: Readonly<Record<number, Arithmetic>> = {
  2: (_, x) => roundEven(x),
  3: (_, x) => Math.trunc(x),
  4: (_, x) => Math.abs(x),
  5: (_, x) => Math.abs(x) | 0,
  6: (_, x) => Math.sign(x),
  8: (_, x) => Math.floor(x),
  9: (_, x) => Math.ceil(x),
  21: (_, x) => Math.fround(Math.tanh(x)),
  26: (_, a, b) => Math.fround(a ** b),
  27: (_, x) => Math.fround(Math.exp(x)),
  28: (_, x) => Math.fround(Math.log(x)),
  29: (_, x) => Math.fround(2 ** x),
  30: (_, x) => Math.fround(Math.log2(x)),
  31: (_, x) => Math.fround(Math.sqrt(x)),
  32: (_, x) => Math.fround(1 / Math.sqrt(x)),
  37: (_, a, b) => Math.min(a, b), // FMin, UMin, SMin, FMax, UMax, SMax
  38: (_, a, b) => Math.min(a, b),
  39: (_, a, b) => Math.min(a, b),
  40: (_, a, b) => Math.max(a, b),
  41: (_, a, b) => Math.max(a, b),
  42: (_, a, b) => Math.max(a, b),
  43: (_, x, low, high) => clamp(x, low, high), // FClamp, UClamp, SClamp
  44: (_, x, low, high) => clamp(x, low, high),
  45: (_, x, low, high) => clamp(x, low, high),
  50: (_, a, b, c) => Math.fround(a * b + c), // Fma
};
