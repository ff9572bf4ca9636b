/**
 * A store in an S3-compatible bucket: `s3://BUCKET/PREFIX`. Region, credentials and another endpoint than Amazon's come from the
 * AWS SDK's own variables and files (AWS_REGION, AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL_S3, …).
 */
import { createReadStream, createWriteStream } from "node:fs";
import { stat } from "node:fs/promises";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type * as S3 from "@aws-sdk/client-s3";
import { BadInputError } from "../../engine/errors.ts";
import { needed } from "./packages.ts";
import type { Store } from "./store.ts";

/** What one call uploads at most, as S3 has it. */
const LARGEST = 5 * 2 ** 30;

export async function openBucket(name: string): Promise<Store> {
  const [, bucket, folder = ""] = /^s3:\/\/([^/]+)(?:\/(.*?))?\/*$/.exec(name) ?? [];
  if (bucket === undefined)
    throw new BadInputError(`--store ${name}: expected s3://BUCKET or s3://BUCKET/PREFIX`);
  const s3 = await needed(["@aws-sdk/client-s3"], () => import("@aws-sdk/client-s3"));
  const { env } = process;
  const endpoint = env["AWS_ENDPOINT_URL_S3"] ?? env["AWS_ENDPOINT_URL"];
  const client = new s3.S3Client({
    ...(endpoint !== undefined && { endpoint, forcePathStyle: true }), // servers of one's own have no host name for each bucket
    ...(env["AWS_REGION"] === undefined && endpoint !== undefined && { region: "us-east-1" }), // which they do not read
    maxAttempts: 1, // `retrying` is round it
    // else a stream's checksum follows it, which not every server understands
    ...{ requestChecksumCalculation: "WHEN_REQUIRED", responseChecksumValidation: "WHEN_REQUIRED" },
  });
  return new BucketStore(name, bucket, folder === "" ? "" : `${folder}/`, s3, client);
}

class BucketStore implements Store {
  readonly name: string;
  readonly #bucket: string;
  readonly #folder: string;
  readonly #s3: typeof S3;
  readonly #client: S3.S3Client;

  constructor(name: string, bucket: string, folder: string, s3: typeof S3, client: S3.S3Client) {
    this.name = name;
    this.#bucket = bucket;
    this.#folder = folder;
    this.#s3 = s3;
    this.#client = client;
  }

  async get(key: string): Promise<Uint8Array | null> {
    const found = await this.#client.send(new this.#s3.GetObjectCommand(this.#at(key))).catch(missing);
    return (await found?.Body?.transformToByteArray()) ?? null;
  }

  async putNew(key: string, data: Uint8Array): Promise<boolean> {
    const command = new this.#s3.PutObjectCommand({ ...this.#at(key), Body: data, IfNoneMatch: "*" });
    try {
      await this.#client.send(command);
      return true;
    } catch (error) {
      if (status(error) === 412) return false;
      throw inWords(error); // 409: another such call is in progress
    }
  }

  async upload(key: string, path: string, signal?: AbortSignal): Promise<void> {
    const { size } = await stat(path);
    if (size > LARGEST)
      throw new BadInputError(`${this.name}: a checkpoint of more than 5 GiB; use a shared folder`);
    const stream = createReadStream(path);
    const body = { Body: stream, ContentLength: size };
    const command = new this.#s3.PutObjectCommand({ ...this.#at(key), ...body });
    try {
      await this.#client.send(command, signal && { abortSignal: signal }).catch(fails);
    } finally {
      stream.destroy(); // of a call that was called off
    }
  }

  async download(key: string, path: string): Promise<boolean> {
    const found = await this.#client.send(new this.#s3.GetObjectCommand(this.#at(key))).catch(missing);
    if (!found?.Body) return false;
    await pipeline(found.Body as Readable, createWriteStream(path));
    return true;
  }

  async list(prefix: string): Promise<string[]> {
    const keys: string[] = [];
    for (let token: string | undefined; ;) {
      const found = await this.#client
        .send(
          new this.#s3.ListObjectsV2Command({
            ...{ Bucket: this.#bucket, Prefix: this.#folder + prefix },
            ...(token !== undefined && { ContinuationToken: token }),
          }),
        )
        .catch(fails);
      for (const { Key = "" } of found.Contents ?? []) keys.push(Key.slice(this.#folder.length));
      token = found.NextContinuationToken;
      if (token === undefined || token === "") return keys.sort();
    }
  }

  async remove(key: string): Promise<void> {
    await this.#client.send(new this.#s3.DeleteObjectCommand(this.#at(key))).catch(missing);
  }

  #at(key: string): { readonly Bucket: string; readonly Key: string } {
    return { Bucket: this.#bucket, Key: this.#folder + key };
  }
}

const status = (error: unknown): number | undefined =>
  (error as { $metadata?: { httpStatusCode?: number } }).$metadata?.httpStatusCode;

function missing(error: unknown): null {
  if ((error as Error).name === "NoSuchKey" || (error as Error).name === "NotFound") return null;
  throw inWords(error);
}

function fails(error: unknown): never {
  throw inWords(error);
}

/** What the user must mend is a BadInputError, so that nobody tries it again. */
function inWords(error: unknown): unknown {
  const { name, message } = error as Error;
  const lasting = [
    "NoSuchBucket",
    "AccessDenied",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "CredentialsProviderError",
  ];
  if (lasting.includes(name))
    return new BadInputError(`the S3 store: ${name}${message === "" ? "" : `: ${message}`}`);
  return error;
}
