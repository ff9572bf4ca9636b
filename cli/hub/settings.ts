/** What the environment says about the hub: the variables of Python's huggingface_hub, with the same meaning. */
import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { HUB_URL } from "@huggingface/hub";
import { BadInputError } from "../../engine/errors.ts";
import { fileError } from "../../model/file.ts";

export interface HubSettings {
  /** Without a slash at its end. */
  readonly endpoint: string;
  /** Empty: none. */
  readonly token: string;
  /** Where the token is from, or would be. */
  readonly tokenSource: string;
  /** Nothing may be asked for over the network. */
  readonly offline: boolean;
}

const { env } = process;

/** HF_ENDPOINT, HF_TOKEN, else the file that `hf auth login` writes, and HF_HUB_OFFLINE. */
export async function hubSettings(): Promise<HubSettings> {
  const endpoint = (env["HF_ENDPOINT"] || HUB_URL).replace(/\/+$/, "");
  if (!/^https?:/.test(endpoint) || !URL.canParse(endpoint))
    throw new BadInputError(`HF_ENDPOINT=${endpoint}: expected an address that begins with https://`);
  const { username, password } = new URL(endpoint);
  if (username !== "" || password !== "")
    throw new BadInputError("HF_ENDPOINT: an address with a name and password in it; HF_TOKEN is for that");
  const file = tokenFile();
  const named = (env["HF_TOKEN"] ?? "").trim();
  const token = named || (await readToken(file));
  const tokenSource = named === "" ? file : "HF_TOKEN";
  if (!/^[\x21-\x7e]*$/.test(token)) throw new BadInputError(`${tokenSource}: this is no token of the hub`);
  return { endpoint, token, tokenSource, offline: isOffline() };
}

function isOffline(): boolean {
  return /^(1|on|yes|true)$/i.test(env["HF_HUB_OFFLINE"] || env["TRANSFORMERS_OFFLINE"] || "");
}

function tokenFile(): string {
  const home = env["HF_HOME"] || join(env["XDG_CACHE_HOME"] || join(homedir(), ".cache"), "huggingface");
  return env["HF_TOKEN_PATH"] || join(home, "token");
}

async function readToken(path: string): Promise<string> {
  try {
    return (await readFile(path, "utf8")).trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return "";
    throw fileError(path, error);
  }
}
