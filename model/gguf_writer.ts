/** Writes GGUF (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md), version 3, tensor by tensor, part by part. */
import type { Contents } from "../engine/backends/host/files.ts";
import { formats } from "../kernels/formats/index.ts";
import { type WrittenTensor, bytesOf, writeTensor } from "./written_tensor.ts";

const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
};

const u64 = (value: number): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
};

const string = (text: string): Buffer => {
  const bytes = Buffer.from(text);
  return Buffer.concat([u64(bytes.length), bytes]);
};

/** A metadata entry with a whole number: key, type (4 = u32) and value. */
export const entryOf = (key: string, value: number): Buffer =>
  Buffer.concat([string(key), u32(4), u32(value)]);

/** The contents of a GGUF file, for `writeWhole`. `entries`: its metadata, each key with its value as the file has them. */
export function gguf(
  entries: readonly Uint8Array[],
  tensors: readonly WrittenTensor[],
  alignment: number,
): Contents {
  const padding = (length: number): Buffer => Buffer.alloc((alignment - (length % alignment)) % alignment);
  let offset = 0;
  const infos = tensors.map((tensor) => {
    const { name, dtype, shape } = tensor;
    const dims = shape.toReversed().map(u64);
    const info = [string(name), u32(dims.length), ...dims, u32(formats[dtype].ggml), u64(offset)];
    offset += bytesOf(tensor) + padding(bytesOf(tensor)).length;
    return Buffer.concat(info);
  });
  return async (file) => {
    const counts = [u32(3), u64(tensors.length), u64(entries.length)];
    const head = Buffer.concat([Buffer.from("GGUF"), ...counts, ...entries, ...infos]);
    await file.write(head);
    await file.write(padding(head.length));
    for (const tensor of tensors) {
      await writeTensor(file, tensor);
      await file.write(padding(bytesOf(tensor)));
    }
  };
}
