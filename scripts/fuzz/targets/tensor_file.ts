/** A safetensors file with tensors of these shapes, all of zeros. */
export function tensorFile(
  shapes: Readonly<Record<string, readonly number[]>>,
  dtype: "F32" | "BF16" = "F32",
): Buffer {
  const header: Record<string, object> = {};
  let end = 0;
  for (const [name, shape] of Object.entries(shapes)) {
    const begin = end;
    end += shape.reduce((n, dim) => n * dim, dtype === "F32" ? 4 : 2);
    header[name] = { dtype, shape, data_offsets: [begin, end] };
  }
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  return Buffer.concat([length, json, Buffer.alloc(end)]);
}
