/** Writes safetensors (https://github.com/huggingface/safetensors#format), part by part. */
import type { Contents } from "../engine/backends/host/files.ts";
import { formats } from "../kernels/formats/index.ts";
import { type WrittenTensor, bytesOf, writeTensor } from "./written_tensor.ts";

/** The contents of a safetensors file, for `writeWhole`. */
export function safetensors(tensors: readonly WrittenTensor[]): Contents {
  const header: Record<string, object> = { __metadata__: { format: "pt" } }; // transformers refuses files without it
  let end = 0;
  for (const tensor of tensors) {
    const { name, dtype, shape } = tensor;
    const begin = end;
    end += bytesOf(tensor);
    header[name] = { dtype: formats[dtype].safetensors, shape, data_offsets: [begin, end] };
  }
  return async (file) => {
    const json = JSON.stringify(header);
    const length = Math.ceil(Buffer.byteLength(json) / 8) * 8; // with spaces, so that the data is aligned
    const head = Buffer.alloc(8 + length, " ");
    head.writeBigUInt64LE(BigInt(length));
    head.write(json, 8);
    await file.write(head);
    for (const tensor of tensors) await writeTensor(file, tensor);
  };
}
