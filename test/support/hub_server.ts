/**
 * A hub for tests: serves the models in a folder, ROOT/ORG/NAME/FILE, through the part of the hub's API that is needed to
 * download: https://huggingface.co/docs/hub/api. Large files are redirected to a second address, as the hub's storage is one. Python's
 * huggingface_hub works with it, too.
 */
import { createHash } from "node:crypto";
import { existsSync, readFileSync, readdirSync, statSync } from "node:fs";
import { type IncomingMessage, type Server, type ServerResponse, createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join, sep } from "node:path";

/** A request as it came. */
export interface Asked {
  readonly method: string;
  readonly path: string;
  readonly range: string | undefined;
  readonly authorization: string | undefined;
  /** Whether the storage was asked, not the hub. */
  readonly storage: boolean;
}

/** What goes wrong with a request: another answer, or a body that ends, changes or takes no note of a range. */
export interface Trouble {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** The connection ends after so many bytes of the body, or, with `hangs`, stays open without any more of them. */
  readonly cutAfter?: number;
  readonly hangs?: boolean;
  readonly damaged?: boolean;
  readonly ignoresRange?: boolean;
}

const PAGE = 4;
const isLarge = (path: string): boolean => /\.(safetensors|gguf)$/.test(path);

export class HubServer {
  readonly root: string;
  readonly asked: Asked[] = [];
  /** Called for each request. */
  trouble: (asked: Asked) => Trouble | null = () => null;
  /** Changes what the hub lists. */
  listing: (entries: object[]) => object[] = (entries) => entries;
  /** Whether the pages of a list, after the first, are elsewhere. */
  pagesElsewhere = false;
  #hub: Server | null = null;
  #storage: Server | null = null;

  constructor(root: string) {
    this.root = root;
  }

  async start(): Promise<void> {
    this.#hub = await listening((request, response) => this.#answer(request, response, false));
    this.#storage = await listening((request, response) => this.#answer(request, response, true));
  }

  stop(): void {
    for (const server of [this.#hub, this.#storage]) {
      server?.closeAllConnections();
      server?.close();
    }
  }

  get endpoint(): string {
    return addressOf(this.#hub);
  }

  commit(repo: string): string {
    const hash = createHash("sha1");
    for (const path of this.#paths(repo)) hash.update(path).update(this.bytes(repo, path));
    return hash.digest("hex");
  }

  bytes(repo: string, path: string): Buffer {
    return readFileSync(join(this.root, repo, path));
  }

  /** The name of a file's bytes: SHA-256 of a large one, git's SHA-1 of a small one. */
  etag(repo: string, path: string): string {
    const bytes = this.bytes(repo, path);
    return isLarge(path) ? createHash("sha256").update(bytes).digest("hex") : gitHash(bytes);
  }

  #paths(repo: string): string[] {
    const paths = readdirSync(join(this.root, repo), { recursive: true, encoding: "utf8" });
    return paths
      .filter((path) => statSync(join(this.root, repo, path)).isFile())
      .map((path) => path.replaceAll(sep, "/"))
      .sort();
  }

  #answer(request: IncomingMessage, response: ServerResponse, storage: boolean): void {
    const { method = "", headers, url = "" } = request;
    const { pathname: path, searchParams } = new URL(url, "http://hub");
    const { range, authorization } = headers;
    const asked = { method, path, range, authorization, storage };
    this.asked.push(asked);
    const trouble = this.trouble(asked) ?? {};
    if (trouble.status !== undefined) {
      response.writeHead(trouble.status, trouble.headers).end(trouble.body ?? "");
      return;
    }
    const [, api, file] = /^\/api\/models\/(.+)$|^\/(.+)$/.exec(path) ?? [];
    if (api !== undefined) this.#api(api, searchParams, response);
    else this.#file(asked, decodeURIComponent(file ?? ""), response, trouble);
  }

  #api(path: string, search: URLSearchParams, response: ServerResponse): void {
    const [, repo = "", what] = /^([^/]+\/[^/]+)(?:\/(revision|tree)\/.*)?$/.exec(path) ?? [];
    if (repo === "" || !existsSync(join(this.root, repo))) return missing(response, "RepoNotFound");
    const json = (body: unknown, headers = {}): void => {
      response.writeHead(200, { "content-type": "application/json", ...headers }).end(JSON.stringify(body));
    };
    const sha = this.commit(repo);
    if (what !== "tree")
      return json({
        ...{ _id: "1", id: repo, modelId: repo, sha, private: false, gated: false, downloads: 0, likes: 0 },
        ...{ tags: [], lastModified: "2026-01-01T00:00:00.000Z", createdAt: "2026-01-01T00:00:00.000Z" },
        siblings: this.#paths(repo).map((rfilename) => ({ rfilename })),
      });
    const from = Number(search.get("cursor") ?? 0);
    const entries = this.listing(
      this.#paths(repo).map((file) => {
        const bytes = this.bytes(repo, file);
        const entry = { type: "file", path: file, size: bytes.length, oid: gitHash(bytes) };
        const lfs = { oid: this.etag(repo, file), size: bytes.length, pointerSize: 130 };
        return isLarge(file) ? { ...entry, lfs } : entry;
      }),
    );
    const pages = this.pagesElsewhere ? addressOf(this.#storage) : this.endpoint;
    const more = `${pages}/api/models/${path}?recursive=true&cursor=${from + PAGE}`;
    json(
      entries.slice(from, from + PAGE),
      from + PAGE < entries.length ? { link: `<${more}>; rel="next"` } : {},
    );
  }

  #file(asked: Asked, path: string, response: ServerResponse, trouble: Trouble): void {
    const [, repo = "", file = ""] = /^([^/]+\/[^/]+)\/resolve\/[^/]+\/(.+)$/.exec(path) ?? [];
    if (repo === "" || !existsSync(join(this.root, repo))) return missing(response, "RepoNotFound");
    if (!this.#paths(repo).includes(file)) return missing(response, "EntryNotFound");
    const bytes = this.bytes(repo, file);
    const etag = `"${this.etag(repo, file)}"`;
    const headers = { etag, "x-repo-commit": this.commit(repo), "accept-ranges": "bytes" };
    if (isLarge(file) && !asked.storage) {
      const linked = { "x-linked-etag": etag, "x-linked-size": String(bytes.length) };
      const location = `${addressOf(this.#storage)}${asked.path}`;
      response.writeHead(302, { ...headers, ...linked, location }).end();
      return;
    }
    const start = trouble.ignoresRange ? 0 : Number(/^bytes=(\d+)-/.exec(asked.range ?? "")?.[1] ?? 0);
    const body = Buffer.from(bytes.subarray(start));
    if (trouble.damaged && body[0] !== undefined) body[0] ^= 1;
    const ranged = { "content-range": `bytes ${start}-${bytes.length - 1}/${bytes.length}` };
    const length = { "content-length": String(body.length) };
    response.writeHead(start > 0 ? 206 : 200, { ...headers, ...length, ...(start > 0 && ranged) });
    if (asked.method === "HEAD") response.end();
    else if (trouble.cutAfter === undefined) response.end(body);
    else response.write(body.subarray(0, trouble.cutAfter), () => trouble.hangs || response.destroy());
  }
}

function listening(answer: (request: IncomingMessage, response: ServerResponse) => void): Promise<Server> {
  const server = createServer(answer);
  return new Promise((done) => void server.listen(0, "127.0.0.1", () => done(server)));
}

function addressOf(server: Server | null): string {
  return `http://127.0.0.1:${(server?.address() as AddressInfo).port}`;
}

function gitHash(bytes: Uint8Array): string {
  return createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
}

function missing(response: ServerResponse, code: string): void {
  response.writeHead(404, { "x-error-code": code }).end();
}
