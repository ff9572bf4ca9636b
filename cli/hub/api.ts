/**
 * Asks a hub. @huggingface/hub makes the requests of its API; this is the `fetch` that it is given: the token goes to the hub's own
 * address only, what may pass is tried again, and every refusal is one clear line. The package itself does none of these, and takes
 * only tokens that begin with hf_, which other hubs need not have.
 */
import { setTimeout } from "node:timers/promises";
import { listFiles, modelInfo } from "@huggingface/hub";
import { BadInputError } from "../../engine/errors.ts";
import { cut, inOneLine, quote } from "../../model/untrusted.ts";
import { duration } from "../format.ts";
import type { Listed } from "./choose.ts";
import type { HubSettings } from "./settings.ts";

/** Failures in a row, of which the last is final. The pauses between them double. */
const TRIES = 4;
const FIRST_PAUSE_MS = 500;
/** A server that asks for more patience than this is not waited for. */
const MOST_SECONDS = 120;
const PASSING = [408, 429, 500, 502, 503, 504];

/** Of a file in a repository: as long as a name may be on most disks. */
const LONGEST_PATH = 255;

export interface RemoteFile extends Listed {
  /** Its name among the blobs: the SHA-256 of a large file, git's SHA-1 of a small one. */
  readonly etag: string;
}

export interface RemoteRepo {
  readonly commit: string;
  readonly files: readonly RemoteFile[];
}

export class Hub {
  readonly #settings: HubSettings;
  readonly #signal: AbortSignal;
  readonly #note: (line: string) => void;

  constructor(settings: HubSettings, signal: AbortSignal, note: (line: string) => void) {
    [this.#settings, this.#signal, this.#note] = [settings, signal, note];
  }

  /** The newest commit of a repository, and its files. */
  async list(repo: string): Promise<RemoteRepo> {
    const hubUrl = this.#settings.endpoint;
    const asked = { hubUrl, fetch: ((url, init) => this.#fetch(repo, url as URL, init)) as typeof fetch };
    try {
      const { sha } = await modelInfo({ ...asked, name: repo, revision: "main", additionalFields: ["sha"] });
      if (!/^[\da-f]{40}$/.test(sha)) throw new TypeError("a commit without its hash");
      const files: RemoteFile[] = [];
      for await (const { type, path, size, oid, lfs } of listFiles({
        ...{ ...asked, repo: { type: "model", name: repo }, revision: sha, recursive: true },
      }))
        if (type === "file") files.push(checked(repo, { path, size, etag: lfs?.oid ?? oid ?? "" }));
      return { commit: sha, files };
    } catch (error) {
      // the package reads what the hub answers without a check
      if (!(error instanceof SyntaxError || error instanceof TypeError)) throw error;
      if (error.cause !== undefined) throw new Error(`${hubUrl}: the connection was cut; try again`);
      throw new Error(
        `${hubUrl} does not answer as a hub does (${cut(inOneLine(error.message))}); is HF_ENDPOINT right?`,
      );
    }
  }

  /** A file's bytes from `start` on. */
  async file(repo: string, commit: string, { path }: Listed, start = 0): Promise<Response> {
    const name = path.split("/").map(encodeURIComponent).join("/");
    const url = new URL(`${this.#settings.endpoint}/${repo}/resolve/${commit}/${name}`);
    const headers = { "accept-encoding": "identity", ...(start > 0 && { range: `bytes=${start}-` }) };
    return this.#fetch(repo, url, { headers });
  }

  /** Waits before try `n` + 1; throws when `n` was the last. `after` is the pause that the server asks for, in seconds. */
  async pause(n: number, what: string, after: number | null = null): Promise<void> {
    const seconds = after ?? (FIRST_PAUSE_MS * 2 ** (n - 1)) / 1000;
    if (seconds > MOST_SECONDS)
      throw new Error(`${what}, and asks to wait ${duration(seconds)}; try again then`);
    if (n >= TRIES) throw new Error(`${what}, ${TRIES} times in a row; try again later`);
    this.#note(`${what}; once more in ${seconds} s`);
    await setTimeout(1000 * seconds, undefined, { signal: this.#signal }).catch(() => undefined);
    this.#signal.throwIfAborted();
  }

  throwIfStopped(): void {
    this.#signal.throwIfAborted();
  }

  async #fetch(repo: string, address: string | URL, init: RequestInit = {}): Promise<Response> {
    const { endpoint, token } = this.#settings;
    const [url, signal] = [new URL(address), this.#signal];
    const ours = token !== "" && url.origin === new URL(endpoint).origin;
    const headers = { ...(init.headers as object), ...(ours && { authorization: `Bearer ${token}` }) };
    for (let n = 1; ; n++) {
      let response: Response;
      try {
        response = await fetch(url, { ...init, headers, signal });
      } catch (error) {
        signal.throwIfAborted();
        await this.pause(n, `${url.origin} cannot be reached (${reason(error)})`);
        continue;
      }
      if (response.ok) return response;
      await response.body?.cancel();
      if (!PASSING.includes(response.status)) throw this.#refusal(repo, response);
      const what = response.status === 429 ? "takes no more requests for now" : "is in trouble";
      await this.pause(n, `${url.origin} ${what} (HTTP ${response.status})`, retryAfter(response));
    }
  }

  /** What a refusal means for the user, and what to do. */
  #refusal(repo: string, { status, headers, url }: Response): Error {
    const { endpoint, token, tokenSource } = this.#settings;
    const code = headers.get("x-error-code");
    const said = headers.get("x-error-message");
    const other = new Error(`${cut(url)}: HTTP ${status}${said === null ? "" : ` (${quote(said)})`}`);
    if (new URL(url).origin !== new URL(endpoint).origin) return other; // the storage behind the hub
    const page = `${endpoint}/${repo}`;
    const login = "set HF_TOKEN (a token from the account's settings), or run hf auth login";
    if (code === "GatedRepo")
      return new BadInputError(
        token === ""
          ? `${repo} is gated: accept its terms at ${page}, then ${login}`
          : `${repo} is gated, and the account of ${tokenSource} has no access yet: ask for it at ${page}`,
      );
    if (code === "EntryNotFound")
      return new BadInputError(`${repo}: ${cut(url)} is not there any more; try again`);
    const missing = code === "RepoNotFound" || status === 404;
    if (missing || (status === 401 && token === ""))
      return new BadInputError(
        `${repo}: ${endpoint} has no such repository, or it is private: check the name` +
          (token === "" ? `, or ${login}` : `, and whether the account of ${tokenSource} may read it`),
      );
    if (status === 401 || status === 403)
      return new BadInputError(
        `${repo}: ${endpoint} refuses the token of ${tokenSource} (HTTP ${status}): set another, or remove it`,
      );
    return other;
  }
}

/** A file of the list that may be put into the cache folder under its own name. */
function checked(repo: string, file: RemoteFile): RemoteFile {
  const { path, size, etag } = file;
  if (
    typeof path !== "string" ||
    path.length > LONGEST_PATH ||
    path.split("/").some((part) => !/^(?!\.{0,2}$)[^\\:\x00-\x1f\x7f-\x9f]+$/.test(part))
  )
    throw new BadInputError(
      `${repo}: the hub lists ${quote(String(path))}, a name that is too long or odd, or could leave the cache folder; nothing is downloaded`,
    );
  if (!Number.isSafeInteger(size) || size < 0 || !/^([\da-f]{40}|[\da-f]{64})$/.test(etag))
    throw new BadInputError(`${repo}: the hub lists ${quote(path)} without its size or checksum`);
  return file;
}

/** Seconds until the time that Retry-After names; null where it names none. */
function retryAfter({ headers }: Response): number | null {
  const text = headers.get("retry-after");
  if (text === null) return null;
  const seconds = /^\d+$/.test(text) ? Number(text) : Math.ceil((Date.parse(text) - Date.now()) / 1000);
  return Number.isNaN(seconds) ? null : Math.max(0, seconds);
}

/** undici says no more than "fetch failed"; its cause knows. */
function reason(error: unknown): string {
  const { cause, message } = error as Error;
  return cause instanceof Error ? ("code" in cause ? String(cause.code) : cause.message) : message;
}
