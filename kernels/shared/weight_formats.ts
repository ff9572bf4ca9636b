/**
 * The storage formats of frozen weights on the host: widening to f32 values (the reference of every widening kernel)
 * and, for tests and golden files, packing. Layouts are those of engine/dtype.ts.
 */
import { type WeightDType, dtypes } from "../base/dtype.ts";
import { float16 } from "./float16.ts";

/** Widens `bytes` (whole blocks) to float64 values; every one of them is exact. */
export function widen(dtype: WeightDType, bytes: Uint8Array): Float64Array {
  const { block, bytes: blockBytes } = dtypes[dtype];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const out = new Float64Array((bytes.byteLength / blockBytes) * block);
  const widenOne = widenBlock[dtype];
  for (let b = 0; b * blockBytes < bytes.byteLength; b++) widenOne(view, b * blockBytes, out, b * block);
  return out;
}

/** For looking at a float's bits. */
const word = new DataView(new ArrayBuffer(4));

type WidenBlock = (view: DataView, at: number, out: Float64Array, to: number) => void;

const widenBlock: { readonly [D in WeightDType]: WidenBlock } = {
  f32: (view, at, out, to) => {
    out[to] = view.getFloat32(at, true);
  },
  f16: (view, at, out, to) => {
    out[to] = float16(view.getUint16(at, true));
  },
  bf16: (view, at, out, to) => {
    word.setUint32(0, view.getUint16(at, true) << 16);
    out[to] = word.getFloat32(0);
  },
  q4_0: (view, at, out, to) => {
    const d = float16(view.getUint16(at, true));
    for (let i = 0; i < 16; i++) {
      const q = view.getUint8(at + 2 + i);
      out[to + i] = d * ((q & 15) - 8);
      out[to + 16 + i] = d * ((q >> 4) - 8);
    }
  },
  q4_1: (view, at, out, to) => {
    const d = float16(view.getUint16(at, true));
    const m = float16(view.getUint16(at + 2, true));
    for (let i = 0; i < 16; i++) {
      const q = view.getUint8(at + 4 + i);
      out[to + i] = d * (q & 15) + m;
      out[to + 16 + i] = d * (q >> 4) + m;
    }
  },
  q8_0: (view, at, out, to) => {
    const d = float16(view.getUint16(at, true));
    for (let i = 0; i < 32; i++) out[to + i] = d * view.getInt8(at + 2 + i);
  },
};

/** Packs values into a storage format, block by block (round to nearest); tests and test models use it. */
export function pack(dtype: WeightDType, values: ArrayLike<number>): Uint8Array {
  const { block, bytes: blockBytes } = dtypes[dtype];
  const out = new Uint8Array((values.length / block) * blockBytes);
  const view = new DataView(out.buffer);
  const packOne = packBlock[dtype];
  const chunk = new Array<number>(block).fill(0);
  for (let b = 0; b * block < values.length; b++) {
    for (let i = 0; i < block; i++) chunk[i] = values[b * block + i];
    packOne(chunk, view, b * blockBytes);
  }
  return out;
}

type PackBlock = (values: readonly number[], view: DataView, at: number) => void;

function nibbles(q: readonly number[], view: DataView, at: number): void {
  for (let i = 0; i < 16; i++) view.setUint8(at + i, (q[i] ?? 0) | ((q[i + 16] ?? 0) << 4));
}

const packBlock: { readonly [D in WeightDType]: PackBlock } = {
  f32: ([x = 0], view, at) => view.setFloat32(at, x, true),
  f16: ([x = 0], view, at) => view.setUint16(at, float16.bits(x), true),
  bf16: ([x = 0], view, at) => {
    word.setFloat32(0, x);
    const bits = word.getUint32(0);
    view.setUint16(at, (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16, true);
  },
  q4_0: (values, view, at) => {
    const extreme = values.reduce((a, b) => (Math.abs(b) > Math.abs(a) ? b : a), 0);
    const d = extreme / -8;
    view.setUint16(at, float16.bits(d), true);
    nibbles(
      values.map((x) => (d === 0 ? 8 : Math.min(15, Math.max(0, Math.round(x / d + 8))))),
      view,
      at + 2,
    );
  },
  q4_1: (values, view, at) => {
    const low = Math.min(...values);
    const d = (Math.max(...values) - low) / 15;
    view.setUint16(at, float16.bits(d), true);
    view.setUint16(at + 2, float16.bits(low), true);
    nibbles(
      values.map((x) => (d === 0 ? 0 : Math.min(15, Math.max(0, Math.round((x - low) / d))))),
      view,
      at + 4,
    );
  },
  q8_0: (values, view, at) => {
    const d = Math.max(...values.map(Math.abs)) / 127;
    view.setUint16(at, float16.bits(d), true);
    values.forEach((x, i) => view.setInt8(at + 2 + i, d === 0 ? 0 : Math.round(x / d)));
  },
};
