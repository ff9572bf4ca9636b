/**
 * binary16 in a DataView. JavaScript engines have functions of their own for it (V8 since that of Node 24); those of the library, for
 * older ones, give the same bits and take a hundred times as long.
 */
import * as library from "@petamoriken/float16";

interface View extends DataView {
  getFloat16(at: number, littleEndian: boolean): number;
  setFloat16(at: number, value: number, littleEndian: boolean): void;
}

const own = "setFloat16" in DataView.prototype;

export const getFloat16: (view: DataView, at: number, littleEndian: boolean) => number = own
  ? (view, at, littleEndian) => (view as View).getFloat16(at, littleEndian)
  : library.getFloat16;

export const setFloat16: (view: DataView, at: number, value: number, littleEndian: boolean) => void = own
  ? (view, at, value, littleEndian) => (view as View).setFloat16(at, value, littleEndian)
  : library.setFloat16;
