/** Writes safetensors (https://github.com/huggingface/safetensors#format), tensor by tensor: only one is in memory at a time. */
import type { Contents } from "../engine/backends/host/files.ts";
import { formats, type WeightDType } from "../kernels/formats/index.ts";
import { elements } from "../kernels/base/shape.ts";

export interface WrittenTensor {
  readonly name: string;
  /** One that safetensors has. */
  readonly dtype: WeightDType;
  readonly shape: readonly number[];
  readonly read: () => Uint8Array | Promise<Uint8Array>;
}

/** The contents of a safetensors file, for `writeWhole`. */
export function safetensors(tensors: readonly WrittenTensor[]): Contents {
  const header: Record<string, object> = { __metadata__: { format: "pt" } }; // transformers refuses files without it
  let end = 0;
  for (const { name, dtype, shape } of tensors) {
    const { safetensors, bytes } = formats[dtype];
    if (safetensors === undefined) throw new TypeError(`${name}: safetensors has no ${dtype}`);
    const begin = end;
    end += bytes * elements(shape);
    header[name] = { dtype: safetensors, shape, data_offsets: [begin, end] };
  }
  return async (file) => {
    const json = Buffer.from(JSON.stringify(header));
    const padded = Buffer.alloc(Math.ceil(json.length / 8) * 8, " "); // so that the data is aligned
    json.copy(padded);
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(padded.length));
    await file.write(length);
    await file.write(padded);
    for (const { name, dtype, shape, read } of tensors) {
      const bytes = await read();
      if (bytes.length !== formats[dtype].bytes * elements(shape))
        throw new TypeError(`${name}: ${bytes.length} bytes do not hold ${dtype}[${shape.join(", ")}]`);
      await file.write(bytes);
    }
  };
}
